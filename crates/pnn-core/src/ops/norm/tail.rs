//! What follows a batch normalisation and is computed with it.

use super::super::pool::larger;
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

/// Windows of 2 x 2 pixels of a plane, with memory for what lies between.
pub(super) struct Windows<T> {
    width: usize,
    /// Rows and columns of windows.
    rows: usize,
    columns: usize,
    /// Values of the plane, an odd last row and column left out.
    values: Vec<T>,
    /// The larger of each horizontal pair.
    pairs: Vec<T>,
    /// The gradient of each horizontal pair.
    gradients: Vec<T>,
}

impl<T: Real> Windows<T> {
    pub(super) fn new(spatial: usize, width: usize) -> Self {
        let (rows, columns) = (spatial / width.max(1) / 2, width / 2);
        let count = 2 * rows * columns;
        let zeros = |n| vec![T::zero(); n];
        Self {
            width,
            rows,
            columns,
            values: zeros(2 * count),
            pairs: zeros(count),
            gradients: zeros(count),
        }
    }

    /// Takes `f(x)` and the larger of each pair.
    #[inline(always)]
    fn load(&mut self, x: &[T], f: impl Fn(T) -> T) {
        let kept = 2 * self.columns;
        if kept == self.width {
            for (v, x) in self.values.iter_mut().zip(x) {
                *v = f(*x);
            }
        } else {
            for (v, x) in self.values.chunks_exact_mut(kept).zip(x.chunks_exact(self.width)) {
                v.iter_mut().zip(x).for_each(|(v, x)| *v = f(*x));
            }
        }
        let (values, _) = self.values.as_chunks::<2>();
        for (pair, [left, right]) in self.pairs.iter_mut().zip(values) {
            *pair = larger(*left, *right);
        }
    }

    /// Maxima of `max(f(x), 0)`.
    #[inline(always)]
    pub(super) fn pool(&mut self, x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
        self.load(x, f);
        let pairs = self.pairs.chunks_exact(2 * self.columns);
        for (y, pairs) in y.chunks_exact_mut(self.columns).zip(pairs) {
            let (top, bottom) = pairs.split_at(self.columns);
            for ((y, top), bottom) in y.iter_mut().zip(top).zip(bottom) {
                *y = rectified(larger(*top, *bottom));
            }
        }
    }

    /// Sends every gradient to the pixel that [`Self::pool`] took the maximum from (the first in
    /// row-major order), zero to the others.
    #[inline(always)]
    pub(super) fn unpool(&mut self, x: &[T], g: &[T], d: &mut [T], f: impl Fn(T) -> T) {
        self.load(x, f);
        let (columns, zero) = (self.columns, T::zero());
        let rows = self.pairs.chunks_exact(2 * columns).zip(g.chunks_exact(columns));
        for ((pairs, g), to) in rows.zip(self.gradients.chunks_exact_mut(2 * columns)) {
            let (top, bottom) = pairs.split_at(columns);
            let (to_top, to_bottom) = to.split_at_mut(columns);
            let places = to_top.iter_mut().zip(to_bottom);
            for (((top, bottom), (to_top, to_bottom)), g) in
                top.iter().zip(bottom).zip(places).zip(g)
            {
                let (top, bottom, g) = (*top, *bottom, *g);
                *to_top = if (top >= bottom) & (top > zero) { g } else { zero };
                *to_bottom = if (top < bottom) & (bottom > zero) { g } else { zero };
            }
        }
        let kept = 2 * columns;
        let whole = kept == self.width;
        if whole && d.len() == self.values.len() {
            spread(&self.values, &self.gradients, d);
            return;
        }
        d.fill(zero);
        let rows = self.values.chunks_exact(kept).zip(self.gradients.chunks_exact(columns));
        for ((values, g), d) in rows.zip(d.chunks_exact_mut(self.width)).take(2 * self.rows) {
            spread(values, g, &mut d[..kept]);
        }
    }
}

/// The gradient of each pair to the larger of its two, the first of equal ones.
#[inline(always)]
fn spread<T: Real>(values: &[T], g: &[T], d: &mut [T]) {
    let (values, _) = values.as_chunks::<2>();
    let (d, _) = d.as_chunks_mut::<2>();
    for ((d, [left, right]), g) in d.iter_mut().zip(values).zip(g) {
        let (first, g) = (left >= right, *g);
        *d = [if first { g } else { T::zero() }, if first { T::zero() } else { g }];
    }
}
