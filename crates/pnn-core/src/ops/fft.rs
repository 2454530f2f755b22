//! Two-dimensional discrete Fourier transforms of complex pairs, and filters in their domain.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use num_complex::Complex;
use rayon::prelude::*;
use rustfft::{Fft, FftDirection, FftNum, FftPlanner};

use super::real::{Real, dispatch};
use super::simd::multiversion;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// `X[u, v] = sum_{y, x} x[y, x] exp(-2 pi i (u y / height + v x / width))`, for each picture.
///
/// # Shapes
/// `x` and result (..., 2, height, width): real and imaginary parts.
///
/// # Errors
/// If `x` has another shape or no pixels.
pub fn fft2(x: &Tensor) -> Result<Tensor> {
    plain(x, Direction::Forward)
}

/// The inverse of [`fft2`]: with `exp(+...)`, divided by the number of pixels.
///
/// # Shapes
/// As [`fft2`].
///
/// # Errors
/// As [`fft2`].
pub fn ifft2(x: &Tensor) -> Result<Tensor> {
    plain(x, Direction::Inverse)
}

/// What a linear system that looks alike everywhere does to each spatial frequency, such as a
/// stretch of free space to light.
///
/// Pictures may be smaller than it: they are padded with zeros, and what spreads over their edge is
/// cut off instead of coming back at the other side.
#[derive(Debug, Clone)]
pub struct TransferFunction {
    height: usize,
    width: usize,
    /// One or several, one after the other; columns first, as the transform leaves them.
    single: Vec<Complex<f32>>,
    double: Vec<Complex<f64>>,
    count: usize,
}

impl TransferFunction {
    /// Factors in the order of [`fft2`] (frequency 0 first), row by row; several functions, such as
    /// those of several wavelengths, one after the other.
    ///
    /// # Errors
    /// If there is no pixel, the number of factors is no multiple of `height * width`, or a factor is not
    /// finite.
    pub fn new(height: usize, width: usize, factors: &[Complex<f64>]) -> Result<Self> {
        let pixels = height * width;
        let unfit = pixels == 0 || factors.is_empty() || !factors.len().is_multiple_of(pixels);
        if unfit {
            return Err(Error::Range {
                what: format!("number of factors of a transfer function of {height} x {width}"),
                value: factors.len() as f64,
                allowed: "a multiple of the pixels, not 0",
            });
        }
        if let Some(bad) = factors.iter().find(|f| !f.re.is_finite() || !f.im.is_finite()) {
            return Err(Error::Range {
                what: "factor of a transfer function".into(),
                value: if bad.re.is_finite() { bad.im } else { bad.re },
                allowed: "finite",
            });
        }
        let mut double = vec![Complex::default(); factors.len()];
        for (to, from) in double.chunks_exact_mut(pixels).zip(factors.chunks_exact(pixels)) {
            transpose::transpose(from, to, width, height);
        }
        let single = double.iter().map(|f| Complex::new(f.re as f32, f.im as f32)).collect();
        Ok(Self { height, width, single, double, count: factors.len() / pixels })
    }

    /// Height and width of the pictures that are transformed, padding included.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    /// Number of functions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}

/// `ifft2(transfer * fft2(x))` of each picture, padded with zeros at its ends to the size of the
/// transfer function and cut back.
///
/// # Shapes
/// `x` and result (..., 2, height, width), at most as high and wide as the transfer function; where this has
/// `count > 1` functions, (..., count, 2, height, width).
///
/// # Errors
/// If `x` has another shape.
pub fn transfer(x: &Tensor, function: &Arc<TransferFunction>) -> Result<Tensor> {
    let (height, width) = picture(x)?;
    let fits = height <= function.height && width <= function.width;
    let several = x.rank() > 3 && x.dims()[x.rank() - 4] == function.count;
    if !fits || !(function.count == 1 || several) {
        let (count, high, wide) = (function.count, function.height, function.width);
        let want = match count {
            1 => format!("(..., 2, <= {high}, <= {wide})"),
            _ => format!("(..., {count}, 2, <= {high}, <= {wide})"),
        };
        return Err(Error::shape("field to be transferred", x, want));
    }
    let y = filter(x, function, false)?;
    let function = Arc::clone(function);
    Ok(y.with_gradient(&[x], move |gradient| Ok(vec![Some(filter(&gradient, &function, true)?)])))
}

/// A [`TransferFunction`] as numbers of the type at hand, and the transforms of that type.
trait Numbers: Real + FftNum {
    fn factors(function: &TransferFunction) -> &[Complex<Self>];
    fn planner() -> &'static Mutex<FftPlanner<Self>>;
}

macro_rules! numbers {
    ($t:ty, $factors:ident) => {
        impl Numbers for $t {
            fn factors(function: &TransferFunction) -> &[Complex<Self>] {
                &function.$factors
            }
            fn planner() -> &'static Mutex<FftPlanner<Self>> {
                static PLANNER: LazyLock<Mutex<FftPlanner<$t>>> =
                    LazyLock::new(|| Mutex::new(FftPlanner::new()));
                &PLANNER
            }
        }
    };
}
numbers!(f32, single);
numbers!(f64, double);

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Inverse,
}

impl Direction {
    fn other(self) -> Self {
        if self == Self::Forward { Self::Inverse } else { Self::Forward }
    }
}

/// Height and width of (..., 2, height, width).
pub(super) fn picture(x: &Tensor) -> Result<(usize, usize)> {
    match x.dims() {
        &[.., 2, height, width] if height > 0 && width > 0 => Ok((height, width)),
        _ => Err(Error::shape("field", x, "(..., 2, height > 0, width > 0)")),
    }
}

fn plain(x: &Tensor, direction: Direction) -> Result<Tensor> {
    let y = transform(x, direction, direction == Direction::Inverse)?;
    // The adjoint of the sum with exp(-...) is the sum with exp(+...), and has the same factor.
    let adjoint = direction.other();
    Ok(y.with_gradient(&[x], move |gradient| {
        Ok(vec![Some(transform(&gradient, adjoint, direction == Direction::Inverse)?)])
    }))
}

/// The sum of one direction over each picture, divided by the number of pixels if `mean`.
fn transform(x: &Tensor, direction: Direction, mean: bool) -> Result<Tensor> {
    let (height, width) = picture(x)?;
    dispatch!(x.dtype(), T => {
        let mut y = Buffer::<T>::scratch(x.elem_count());
        let plan = Plan::<T>::new(height, width);
        let scale = T::of(if mean { 1.0 / (height * width) as f64 } else { 1.0 });
        y.par_chunks_mut(2 * height * width)
            .zip(x.elements::<T>()?.par_chunks(2 * height * width))
            .for_each_init(|| plan.workspace(), |work, (y, x)| {
                work.load(x, height, width);
                plan.rows(work, direction, height);
                work.columns_from_rows();
                plan.columns(work, direction);
                work.rows_from_columns();
                work.store(y, height, width, scale);
            });
        Tensor::from_buffer(y, x.shape())
    })
}

fn filter(x: &Tensor, function: &TransferFunction, conjugate: bool) -> Result<Tensor> {
    let (height, width) = picture(x)?;
    let whole = function.height * function.width;
    dispatch!(x.dtype(), T => {
        let mut y = Buffer::<T>::scratch(x.elem_count());
        let plan = Plan::<T>::new(function.height, function.width);
        let scale = T::of(1.0 / whole as f64);
        let factors = T::factors(function);
        y.par_chunks_mut(2 * height * width)
            .zip(x.elements::<T>()?.par_chunks(2 * height * width))
            .enumerate()
            .for_each_init(|| plan.workspace(), |work, (picture, (y, x))| {
                work.load(x, height, width);
                plan.rows(work, Direction::Forward, height);
                work.columns_from_rows();
                plan.columns(work, Direction::Forward);
                let start = picture % function.count * whole;
                work.multiply(&factors[start..start + whole], conjugate);
                plan.columns(work, Direction::Inverse);
                work.rows_from_columns();
                plan.rows(work, Direction::Inverse, height);
                work.store(y, height, width, scale);
            });
        Tensor::from_buffer(y, x.shape())
    })
}

/// The one-dimensional transforms of a picture.
struct Plan<T> {
    height: usize,
    width: usize,
    /// Along rows and along columns, forward and inverse.
    transforms: [[Arc<dyn Fft<T>>; 2]; 2],
}

impl<T: Numbers> Plan<T> {
    fn new(height: usize, width: usize) -> Self {
        // A planner that a panic left behind is as good as any: it only adds plans.
        let mut planner = T::planner().lock().unwrap_or_else(PoisonError::into_inner);
        let transforms = [width, height].map(|length| {
            [FftDirection::Forward, FftDirection::Inverse].map(|way| planner.plan_fft(length, way))
        });
        Self { height, width, transforms }
    }

    fn workspace(&self) -> Workspace<T> {
        let scratch = self.transforms.iter().flatten().map(|t| t.get_inplace_scratch_len()).max();
        let zeros = |length| vec![Complex::new(T::zero(), T::zero()); length];
        Workspace {
            height: self.height,
            width: self.width,
            rows: zeros(self.height * self.width),
            columns: zeros(self.height * self.width),
            scratch: zeros(scratch.unwrap_or_default()),
        }
    }

    /// Transforms the first `count` rows.
    fn rows(&self, work: &mut Workspace<T>, direction: Direction, count: usize) {
        let rows = &mut work.rows[..count * self.width];
        self.transforms[0][direction as usize].process_with_scratch(rows, &mut work.scratch);
    }

    fn columns(&self, work: &mut Workspace<T>, direction: Direction) {
        let transform = &self.transforms[1][direction as usize];
        transform.process_with_scratch(&mut work.columns, &mut work.scratch);
    }
}

/// One picture, row by row and column by column.
struct Workspace<T> {
    height: usize,
    width: usize,
    rows: Vec<Complex<T>>,
    columns: Vec<Complex<T>>,
    scratch: Vec<Complex<T>>,
}

impl<T: Numbers> Workspace<T> {
    /// A pair of planes, padded with zeros.
    fn load(&mut self, pair: &[T], height: usize, width: usize) {
        let zero = Complex::new(T::zero(), T::zero());
        let (re, im) = pair.split_at(height * width);
        let parts = re.chunks_exact(width).zip(im.chunks_exact(width));
        let mut rows = self.rows.chunks_exact_mut(self.width);
        for (row, (re, im)) in rows.by_ref().zip(parts) {
            let (row, padding) = row.split_at_mut(width);
            join(row, re, im);
            padding.fill(zero);
        }
        self.rows[height * self.width..].fill(zero);
    }

    fn columns_from_rows(&mut self) {
        transpose::transpose(&self.rows, &mut self.columns, self.width, self.height);
    }

    fn rows_from_columns(&mut self) {
        transpose::transpose(&self.columns, &mut self.rows, self.height, self.width);
    }

    fn multiply(&mut self, factors: &[Complex<T>], conjugate: bool) {
        multiply(&mut self.columns, factors, if conjugate { -T::one() } else { T::one() });
    }

    /// The first rows and columns as a pair of planes, scaled.
    fn store(&self, pair: &mut [T], height: usize, width: usize, scale: T) {
        let (re, im) = pair.split_at_mut(height * width);
        let parts = re.chunks_exact_mut(width).zip(im.chunks_exact_mut(width));
        for ((re, im), row) in parts.zip(self.rows.chunks_exact(self.width)) {
            split(re, im, &row[..width], scale);
        }
    }
}

multiversion! {
    /// `values = re + i im`.
    fn join[T: Real](values: &mut [Complex<T>], re: &[T], im: &[T]) {
        for (value, (re, im)) in values.iter_mut().zip(re.iter().zip(im)) {
            *value = Complex::new(*re, *im);
        }
    }

    /// `re + i im = scale values`.
    fn split[T: Real](re: &mut [T], im: &mut [T], values: &[Complex<T>], scale: T) {
        for ((re, im), value) in re.iter_mut().zip(im).zip(values) {
            (*re, *im) = (value.re * scale, value.im * scale);
        }
    }

    /// `values *= factors`, with `sign` -1 by their conjugates.
    fn multiply[T: Real](values: &mut [Complex<T>], factors: &[Complex<T>], sign: T) {
        for (value, factor) in values.iter_mut().zip(factors) {
            let (re, im) = (factor.re, sign * factor.im);
            *value = Complex::new(value.re * re - value.im * im, value.re * im + value.im * re);
        }
    }
}
