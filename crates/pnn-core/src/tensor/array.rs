//! Numbers and nested arrays of them as tensors' values.

use super::Element;

/// Numbers, and arrays of arrays of them, as [`Tensor::new`](super::Tensor::new) takes them.
pub trait Array {
    /// The type of the numbers.
    type Item: Element;
    /// The sizes, outermost first.
    fn shape(&self) -> Vec<usize>;
    /// Appends the numbers in row-major order.
    fn collect_into(&self, values: &mut Vec<Self::Item>);
}

macro_rules! scalar_array {
    ($($t:ty),*) => {$(
        impl Array for $t {
            type Item = $t;
            fn shape(&self) -> Vec<usize> { Vec::new() }
            fn collect_into(&self, values: &mut Vec<$t>) { values.push(*self); }
        }
    )*};
}
scalar_array!(f32, f64, u32);

impl<A: Array, const N: usize> Array for [A; N] {
    type Item = A::Item;
    fn shape(&self) -> Vec<usize> {
        let inner = self.first().map(Array::shape).unwrap_or_default();
        std::iter::once(N).chain(inner).collect()
    }
    fn collect_into(&self, values: &mut Vec<A::Item>) {
        self.iter().for_each(|a| a.collect_into(values));
    }
}

impl<A: Array> Array for &[A] {
    type Item = A::Item;
    fn shape(&self) -> Vec<usize> {
        let inner = self.first().map(Array::shape).unwrap_or_default();
        std::iter::once(self.len()).chain(inner).collect()
    }
    fn collect_into(&self, values: &mut Vec<A::Item>) {
        self.iter().for_each(|a| a.collect_into(values));
    }
}

impl<A: Array + ?Sized> Array for &A {
    type Item = A::Item;
    fn shape(&self) -> Vec<usize> {
        (**self).shape()
    }
    fn collect_into(&self, values: &mut Vec<A::Item>) {
        (**self).collect_into(values);
    }
}
