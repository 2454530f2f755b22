//! What follows a batch normalisation and is computed with it.

use super::super::real::Real;
use crate::{Error, Result, Tensor};

/// What follows a batch normalisation.
#[derive(Debug, Clone)]
pub enum Tail {
    /// Nothing.
    None,
    /// `max(y, 0)`.
    Relu,
    /// `max(y + r, 0)` with another tensor of the shape of `y`: the end of a residual block.
    AddRelu(Tensor),
    /// `max(y, 0)` and the maximum over windows of 2 x 2 pixels; an odd last row or column is left
    /// out. For `x` (batch, channels, height, width).
    ReluMaxPool2,
}

impl Tail {
    pub(super) fn residual(&self) -> Option<&Tensor> {
        if let Self::AddRelu(r) = self { Some(r) } else { None }
    }

    pub(super) fn check(&self, x: &Tensor) -> Result<()> {
        match self {
            Self::AddRelu(r) if r.shape() != x.shape() || r.dtype() != x.dtype() => {
                let want = format!("{:?} of {:?}, that of the other branch", x.dims(), x.dtype());
                Err(Error::shape("residual", r, want))
            }
            Self::ReluMaxPool2 if x.rank() != 4 || x.dim(2)? < 2 || x.dim(3)? < 2 => {
                let want = "(batch, channels, >= 2, >= 2)";
                Err(Error::shape("input of max pooling", x, want))
            }
            _ => Ok(()),
        }
    }
}

/// `max(x, 0)`; NaN stays.
#[inline(always)]
pub(super) fn rectified<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// The larger of two, the first of equal ones; NaN wins.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if b > a || b.is_nan() { b } else { a }
}

/// Maxima of `max(f(x), 0)` over windows of 2 x 2 of a plane.
#[inline(always)]
pub(super) fn pool<T: Real>(x: &[T], width: usize, y: &mut [T], f: impl Fn(T) -> T) {
    let columns = width / 2;
    for (y, rows) in y.chunks_exact_mut(columns).zip(x.chunks_exact(2 * width)) {
        let (top, bottom) = rows.split_at(width);
        let pairs = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        for (y, (t, b)) in y.iter_mut().zip(pairs) {
            let top = larger(f(t[0]), f(t[1]));
            *y = rectified(larger(top, larger(f(b[0]), f(b[1]))));
        }
    }
}

/// Sends every gradient to the pixel that [`pool`] took the maximum from, zero to the others.
#[inline(always)]
pub(super) fn unpool<T: Real>(x: &[T], width: usize, g: &[T], d: &mut [T], f: impl Fn(T) -> T) {
    let columns = width / 2;
    let pairs = d.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width));
    for ((d, rows), g) in pairs.zip(g.chunks_exact(columns)) {
        let (top, bottom) = rows.split_at(width);
        let (d_top, d_bottom) = d.split_at_mut(width);
        let windows = top.chunks_exact(2).zip(bottom.chunks_exact(2));
        let places = d_top.chunks_exact_mut(2).zip(d_bottom.chunks_exact_mut(2));
        for (((t, b), (dt, db)), g) in windows.zip(places).zip(g) {
            let v = [f(t[0]), f(t[1]), f(b[0]), f(b[1])];
            let best = larger(larger(v[0], v[1]), larger(v[2], v[3]));
            let g = if best > T::zero() { *g } else { T::zero() };
            let first = [
                v[0] == best,
                v[1] == best && v[0] != best,
                v[2] == best && v[1] != best && v[0] != best,
                v[3] == best && v[2] != best && v[1] != best && v[0] != best,
            ];
            dt[0] = if first[0] { g } else { T::zero() };
            dt[1] = if first[1] { g } else { T::zero() };
            db[0] = if first[2] { g } else { T::zero() };
            db[1] = if first[3] { g } else { T::zero() };
        }
    }
}
