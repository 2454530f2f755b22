//! Shapes of tensors, row-major.

use crate::{Error, Result};

/// The sizes of a tensor's dimensions; a scalar has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The sizes.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of elements.
    #[must_use]
    pub fn elem_count(&self) -> usize {
        self.0.iter().product()
    }

    /// The shape to which two others broadcast (`NumPy`'s rules: aligned at the last dimension, a
    /// size of 1 is repeated).
    ///
    /// # Errors
    /// If they do not.
    pub fn broadcast(&self, other: &Self) -> Result<Self> {
        let rank = self.0.len().max(other.0.len());
        let size =
            |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
        let dims = (0..rank).map(|i| match (size(&self.0, i), size(&other.0, i)) {
            (a, b) if a == b || b == 1 => Ok(a),
            (1, b) => Ok(b),
            _ => Err(Error::Shape {
                what: "second operand".into(),
                got: other.0.clone(),
                want: format!("a shape that broadcasts with {:?}", self.0),
            }),
        });
        Ok(Self(dims.collect::<Result<_>>()?))
    }

    /// The stride of each dimension of `target` in memory of this shape, 0 where it is repeated.
    pub(crate) fn strides_in(&self, target: &Self) -> Vec<usize> {
        let mut strides = vec![0; target.0.len()];
        let mut stride = 1;
        let skipped = target.0.len() - self.0.len();
        for (i, &size) in self.0.iter().enumerate().rev() {
            if size != 1 {
                strides[skipped + i] = stride;
            }
            stride *= size;
        }
        strides
    }
}

macro_rules! shape_from {
    ($($t:ty => |$v:ident| $e:expr),* $(,)?) => {
        $(impl From<$t> for Shape { fn from($v: $t) -> Self { Self($e) } })*
    };
}

shape_from! {
    () => |_v| Vec::new(),
    usize => |v| vec![v],
    (usize,) => |v| vec![v.0],
    (usize, usize) => |v| vec![v.0, v.1],
    (usize, usize, usize) => |v| vec![v.0, v.1, v.2],
    (usize, usize, usize, usize) => |v| vec![v.0, v.1, v.2, v.3],
    &[usize] => |v| v.to_vec(),
    &Vec<usize> => |v| v.clone(),
    Vec<usize> => |v| v,
    &Shape => |v| v.0.clone(),
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    fn from(dims: &[usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

/// Calls `f(index in the target, offset a, offset b, run)` for every run along the last dimension
/// of `dims`, with the offsets that two sets of strides give.
pub(crate) fn for_each_run(
    dims: &[usize],
    a: &[usize],
    b: &[usize],
    mut f: impl FnMut(usize, usize, usize, usize),
) {
    let Some((&run, outer)) = dims.split_last() else {
        return f(0, 0, 0, 1);
    };
    let count: usize = outer.iter().product();
    if run == 0 {
        return;
    }
    let mut index = vec![0; outer.len()];
    let (mut at_a, mut at_b) = (0, 0);
    for i in 0..count {
        f(i * run, at_a, at_b, run);
        for d in (0..outer.len()).rev() {
            index[d] += 1;
            at_a += a[d];
            at_b += b[d];
            if index[d] < outer[d] {
                break;
            }
            at_a -= a[d] * outer[d];
            at_b -= b[d] * outer[d];
            index[d] = 0;
        }
    }
}
