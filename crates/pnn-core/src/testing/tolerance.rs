//! Comparisons of tensors that say where they fail.

use crate::{DType, Error, Tensor};

/// Two tensors differ.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// The shapes differ.
    #[error("shape {got:?}, expected {want:?}")]
    Shape {
        /// The shape found.
        got: Vec<usize>,
        /// The shape expected.
        want: Vec<usize>,
    },
    /// The dtypes differ.
    #[error("dtype {got:?}, expected {want:?}")]
    DType {
        /// The dtype found.
        got: DType,
        /// The dtype expected.
        want: DType,
    },
    /// An element differs by more than the tolerance.
    #[error(
        "element {index:?} is {got:e}, expected {want:e}: the worst of {outside} outside \
         (difference {:e}, allowed {allowed:e})",
        (got - want).abs()
    )]
    Element {
        /// Where the element is.
        index: Vec<usize>,
        /// Its value.
        got: f64,
        /// The value expected.
        want: f64,
        /// The difference allowed there.
        allowed: f64,
        /// How many elements differ by more than the tolerance.
        outside: usize,
    },
    /// A tensor could not be read.
    #[error(transparent)]
    Tensor(#[from] Error),
}

/// Checks `|got - want| <= absolute + relative |want|` for each element, and names the worst
/// one, by its difference in units of what is allowed. NaN equals nothing; infinities equal
/// themselves. Dtypes may differ: both are compared as f64.
///
/// ```
/// use pnn_core::testing::check_close;
/// use pnn_core::{Tensor};
/// let want = Tensor::new(&[1.0, 2.0])?;
/// let got = Tensor::new(&[1.0, 2.1])?;
/// let error = check_close(&got, &want, 1e-3, 0.0).unwrap_err().to_string();
/// assert!(error.starts_with("element [1] is 2.1e0, expected 2e0"), "{error}");
/// # Ok::<(), pnn_core::Error>(())
/// ```
///
/// # Errors
/// If an element or the shape differs.
pub fn check_close(
    got: &Tensor,
    want: &Tensor,
    relative: f64,
    absolute: f64,
) -> Result<(), Mismatch> {
    check_shape(got, want)?;
    let (got_values, want_values) = (values(got)?, values(want)?);
    let mut worst: Option<(usize, f64, f64)> = None;
    let mut outside = 0;
    for (i, (g, w)) in got_values.iter().zip(&want_values).enumerate() {
        let allowed = absolute + relative * w.abs();
        if g == w || (g - w).abs() <= allowed {
            continue;
        }
        outside += 1;
        let excess = (g - w).abs() / allowed;
        let excess = if excess.is_nan() { f64::INFINITY } else { excess };
        if worst.is_none_or(|(_, most, _)| excess > most) {
            worst = Some((i, excess, allowed));
        }
    }
    match worst {
        None => Ok(()),
        Some((i, _, allowed)) => Err(Mismatch::Element {
            index: unravel(i, got.dims()),
            got: got_values[i],
            want: want_values[i],
            allowed,
            outside,
        }),
    }
}

/// Checks that two tensors have the same shape, dtype and bits; `0.0` and `-0.0` differ, and so
/// do NaNs with other payloads.
///
/// # Errors
/// If a bit differs.
pub fn check_same_bits(got: &Tensor, want: &Tensor) -> Result<(), Mismatch> {
    check_shape(got, want)?;
    if got.dtype() != want.dtype() {
        return Err(Mismatch::DType { got: got.dtype(), want: want.dtype() });
    }
    let (got_values, want_values) = (values(got)?, values(want)?);
    let differ: Vec<usize> = got_values
        .iter()
        .zip(&want_values)
        .enumerate()
        // Every f32 has its own f64, so comparing the f64 bits compares the f32 bits.
        .filter_map(|(i, (g, w))| (g.to_bits() != w.to_bits()).then_some(i))
        .collect();
    match differ.first() {
        None => Ok(()),
        Some(&i) => Err(Mismatch::Element {
            index: unravel(i, got.dims()),
            got: got_values[i],
            want: want_values[i],
            allowed: 0.0,
            outside: differ.len(),
        }),
    }
}

fn check_shape(got: &Tensor, want: &Tensor) -> Result<(), Mismatch> {
    if got.dims() == want.dims() {
        return Ok(());
    }
    Err(Mismatch::Shape { got: got.dims().to_vec(), want: want.dims().to_vec() })
}

/// The elements in row-major order.
pub(super) fn values(tensor: &Tensor) -> crate::Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The index along each dimension of the element at a row-major position.
pub(super) fn unravel(mut position: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (i, dim) in index.iter_mut().zip(dims).rev() {
        *i = position % dim;
        position /= dim;
    }
    index
}
