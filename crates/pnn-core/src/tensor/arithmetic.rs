//! Elementwise arithmetic with broadcasting.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::shape::for_each_run;
use super::{Buffer, Shape, Tensor};
use crate::Result;
use crate::ops::{Elementwise, Real, dispatch, map};

/// `f(a, b)` for every pair of elements, after broadcasting.
fn zip<T: Real>(
    (a, a_shape): (&[T], &Shape),
    (b, b_shape): (&[T], &Shape),
    shape: &Shape,
    f: impl Fn(T, T) -> T,
) -> Buffer<T> {
    let mut y = Buffer::scratch(shape.elem_count());
    if a_shape == shape && b_shape == shape {
        for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
            *y = f(*a, *b);
        }
        return y;
    }
    let (sa, sb) = (a_shape.strides_in(shape), b_shape.strides_in(shape));
    let (ia, ib) = (sa.last().copied().unwrap_or(0), sb.last().copied().unwrap_or(0));
    for_each_run(shape.dims(), &sa, &sb, |at, oa, ob, run| {
        for (i, y) in y[at..at + run].iter_mut().enumerate() {
            *y = f(a[oa + i * ia], b[ob + i * ib]);
        }
    });
    y
}

/// Sums over the dimensions along which `shape` was repeated to give `values`' shape.
fn sum_to<T: Real>(values: &[T], from: &Shape, shape: &Shape) -> Buffer<T> {
    let mut sum = Buffer::zeros(shape.elem_count());
    let strides = shape.strides_in(from);
    let inner = strides.last().copied().unwrap_or(0);
    for_each_run(from.dims(), &strides, &strides, |at, to, _, run| {
        for (i, v) in values[at..at + run].iter().enumerate() {
            sum[to + i * inner] += *v;
        }
    });
    sum
}

/// A function of two numbers with its derivatives.
trait Binary: Copy + Send + Sync + 'static {
    fn value<T: Real>(a: T, b: T) -> T;
    /// The gradient in `a`, from the gradient in the result.
    fn first<T: Real>(g: T, a: T, b: T) -> T;
    /// The gradient in `b`.
    fn second<T: Real>(g: T, a: T, b: T) -> T;
}

macro_rules! binary {
    ($name:ident, |$g:ident, $a:ident, $b:ident| $value:expr, $first:expr, $second:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Binary for $name {
            fn value<T: Real>($a: T, $b: T) -> T {
                $value
            }
            #[allow(unused_variables)]
            fn first<T: Real>($g: T, $a: T, $b: T) -> T {
                $first
            }
            #[allow(unused_variables)]
            fn second<T: Real>($g: T, $a: T, $b: T) -> T {
                $second
            }
        }
    };
}
binary!(Sum, |g, a, b| a + b, g, g);
binary!(Difference, |g, a, b| a - b, g, -g);
binary!(Product, |g, a, b| a * b, g * b, g * a);
binary!(Quotient, |g, a, b| a / b, g / b, -g * (a / b) / b);

fn apply<F: Binary>(a: &Tensor, b: &Tensor, _: F) -> Result<Tensor> {
    let shape = a.shape().broadcast(b.shape())?;
    let y = dispatch!(a.dtype(), T => {
        let (va, vb) = (a.elements::<T>()?, b.elements::<T>()?);
        Tensor::from_buffer(zip((va, a.shape()), (vb, b.shape()), &shape, F::value), &shape)
    })?;
    let (x, z) = (a.clone(), b.clone());
    Ok(y.with_gradient(&[a, b], move |gradient| {
        let back = |operand: &Tensor, f: fn(f64, f64, f64) -> f64, g: fn(f32, f32, f32) -> f32| {
            operand
                .is_tracked()
                .then(|| gradient_of(&gradient, (&x, &z), operand.shape(), f, g))
                .transpose()
        };
        Ok(vec![
            back(&x, F::first::<f64>, F::first::<f32>)?,
            back(&z, F::second::<f64>, F::second::<f32>)?,
        ])
    }))
}

/// The gradient in one operand: the derivative at every element, summed to the operand's shape.
fn gradient_of(
    gradient: &Tensor,
    (a, b): (&Tensor, &Tensor),
    shape: &Shape,
    double: fn(f64, f64, f64) -> f64,
    single: fn(f32, f32, f32) -> f32,
) -> Result<Tensor> {
    fn each<T: Real>(
        gradient: &Tensor,
        (a, b): (&Tensor, &Tensor),
        shape: &Shape,
        f: fn(T, T, T) -> T,
    ) -> Result<Tensor> {
        let full = gradient.shape();
        let (g, va, vb) = (gradient.elements::<T>()?, a.elements::<T>()?, b.elements::<T>()?);
        let (sa, sb) = (a.shape().strides_in(full), b.shape().strides_in(full));
        let (ia, ib) = (sa.last().copied().unwrap_or(0), sb.last().copied().unwrap_or(0));
        let mut d = Buffer::scratch(full.elem_count());
        for_each_run(full.dims(), &sa, &sb, |at, oa, ob, run| {
            for i in 0..run {
                d[at + i] = f(g[at + i], va[oa + i * ia], vb[ob + i * ib]);
            }
        });
        let d = if full == shape { d } else { sum_to(&d, full, shape) };
        Tensor::from_buffer(d, shape)
    }
    match gradient.dtype() {
        crate::DType::F32 => each(gradient, (a, b), shape, single),
        _ => each(gradient, (a, b), shape, double),
    }
}

/// `sum + more`, in the memory of `sum` if nothing else holds it.
pub(super) fn add_in_place(sum: Tensor, more: &Tensor) -> Result<Tensor> {
    let shape = sum.shape().clone();
    dispatch!(sum.dtype(), T => {
        let more = more.elements::<T>()?;
        let mut sum = sum.into_buffer::<T>()?;
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += *more);
        Tensor::from_buffer(sum, shape)
    })
}

macro_rules! elementwise {
    ($name:ident, |$x:ident| $value:expr, $derivative:expr) => {
        #[derive(Clone, Copy)]
        struct $name;
        impl Elementwise for $name {
            fn value<T: Real>(&self, $x: T) -> T {
                $value
            }
            fn derivative<T: Real>(&self, $x: T) -> T {
                $derivative
            }
        }
    };
}
elementwise!(Square, |x| x * x, x + x);
elementwise!(Root, |x| x.sqrt(), T::of(0.5) / x.sqrt());
elementwise!(Exponential, |x| x.exp(), x.exp());
elementwise!(Logarithm, |x| x.ln(), x.recip());
elementwise!(Sine, |x| x.sin(), x.cos());
elementwise!(Cosine, |x| x.cos(), -x.sin());
elementwise!(HyperbolicTangent, |x| x.tanh(), T::one() - x.tanh() * x.tanh());
elementwise!(Magnitude, |x| x.abs(), if x == T::zero() { T::zero() } else { x.signum() });

/// `mul x + add`.
#[derive(Clone, Copy)]
struct Affine(f64, f64);

impl Elementwise for Affine {
    fn value<T: Real>(&self, x: T) -> T {
        T::of(self.0) * x + T::of(self.1)
    }
    fn derivative<T: Real>(&self, _: T) -> T {
        T::of(self.0)
    }
}

/// The nearest value between two bounds; no gradient outside. NaN stays.
#[derive(Clone, Copy)]
struct Clamp(f64, f64);

impl Elementwise for Clamp {
    fn value<T: Real>(&self, x: T) -> T {
        let (low, high) = (T::of(self.0), T::of(self.1));
        if x < low {
            low
        } else if x > high {
            high
        } else {
            x
        }
    }
    fn derivative<T: Real>(&self, x: T) -> T {
        let inside = x >= T::of(self.0) && x <= T::of(self.1);
        if inside { T::one() } else { T::zero() }
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// If the elements are no floating-point numbers.
            pub fn $name(&self) -> Result<Self> {
                map(self, $op)
            }
        )*}
    };
}
methods! {
    /// `x^2` of every element.
    sqr => Square;
    /// The square root of every element.
    sqrt => Root;
    /// `e^x` of every element.
    exp => Exponential;
    /// The natural logarithm of every element.
    log => Logarithm;
    /// The sine of every element, in radians.
    sin => Sine;
    /// The cosine of every element, in radians.
    cos => Cosine;
    /// The hyperbolic tangent of every element.
    tanh => HyperbolicTangent;
    /// The magnitude of every element, with derivative 0 at 0 as in PyTorch.
    abs => Magnitude;
}

impl Tensor {
    /// `mul x + add` of every element.
    ///
    /// # Errors
    /// If the elements are no floating-point numbers.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Self> {
        map(self, Affine(mul, add))
    }

    /// Every element moved to the nearest value between `low` and `high`; no gradient outside. At a
    /// bound itself the derivative is 1, so that what a step moved there can leave it again (in
    /// PyTorch it is 1 or 0, depending on the version). Of a bound that f32 lacks the next inside is taken.
    ///
    /// # Errors
    /// If the elements are no floating-point numbers.
    pub fn clamp(&self, low: f64, high: f64) -> Result<Self> {
        if self.dtype() == crate::DType::F64 {
            return map(self, Clamp(low, high));
        }
        // The nearest f32 may lie beyond the limit.
        let (mut least, mut most) = (low as f32, high as f32);
        if f64::from(least) < low {
            least = least.next_up();
        }
        if f64::from(most) > high {
            most = most.next_down();
        }
        map(self, Clamp(f64::from(least), f64::from(most)))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident, |$c:ident| $mul:expr, $add:expr) => {
        operator!(@tensor $trait, $method, $op, &Tensor, &Tensor);
        operator!(@tensor $trait, $method, $op, &Tensor, Tensor);
        operator!(@tensor $trait, $method, $op, Tensor, &Tensor);
        operator!(@tensor $trait, $method, $op, Tensor, Tensor);
        operator!(@scalar $trait, $method, &Tensor, |$c| $mul, $add);
        operator!(@scalar $trait, $method, Tensor, |$c| $mul, $add);
    };
    (@tensor $trait:ident, $method:ident, $op:ident, $a:ty, $b:ty) => {
        impl $trait<$b> for $a {
            type Output = Result<Tensor>;
            fn $method(self, other: $b) -> Result<Tensor> {
                #[allow(clippy::needless_borrow)]
                apply(&self, &other, $op)
            }
        }
    };
    (@scalar $trait:ident, $method:ident, $a:ty, |$c:ident| $mul:expr, $add:expr) => {
        impl $trait<f64> for $a {
            type Output = Result<Tensor>;
            fn $method(self, $c: f64) -> Result<Tensor> {
                self.affine($mul, $add)
            }
        }
    };
}
operator!(Add, add, Sum, |c| 1.0, c);
operator!(Sub, sub, Difference, |c| 1.0, -c);
operator!(Mul, mul, Product, |c| c, 0.0);
operator!(Div, div, Quotient, |c| 1.0 / c, 0.0);

impl Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        self.affine(-1.0, 0.0)
    }
}
