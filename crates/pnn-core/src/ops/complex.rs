//! Arithmetic of optical fields: complex numbers as planes of real and of imaginary parts.

use rayon::prelude::*;

use super::fft::picture;
use super::real::{Real, dispatch};
use super::simd::multiversion;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Pixels of a sum over pictures that one task computes; fixed, so that results never depend on the
/// number of threads.
const PIXELS: usize = 1024;

/// `a b`, each factor of `b` for all leading dimensions of `a` that `b` lacks.
///
/// # Shapes
/// `a` and result (..., 2, height, width): real and imaginary parts; `b` the last dimensions of `a`, at least
/// these three.
///
/// # Errors
/// If the shapes do not fit.
pub fn complex_product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (height, width) = picture(a)?;
    let pixels = height * width;
    if b.rank() < 3 || !a.dims().ends_with(b.dims()) {
        let want = format!("(2, height, width) or more, the last dimensions of {:?}", a.dims());
        return Err(Error::shape("second factor", b, want));
    }
    let y = times(a, b, pixels, false)?;
    let (first, second) = (a.clone(), b.clone());
    Ok(y.with_gradient(&[a, b], move |gradient| {
        let da = first.is_tracked().then(|| times(&gradient, &second, pixels, true));
        let db = second.is_tracked().then(|| {
            dispatch!(gradient.dtype(), T => {
                let (g, a) = (gradient.elements::<T>()?, first.elements::<T>()?);
                let whole = second.elem_count();
                let mut db = Buffer::<T>::zeros(whole);
                // conj(a) g, summed over the pictures that share a factor.
                db.par_chunks_mut(2 * pixels).enumerate().for_each(|(picture, db)| {
                    let start = picture * 2 * pixels;
                    let pictures = g.chunks_exact(whole).zip(a.chunks_exact(whole));
                    for (g, a) in pictures {
                        let of = start..start + 2 * pixels;
                        add_conjugate_product(db, &a[of.clone()], &g[of]);
                    }
                });
                Tensor::from_buffer(db, second.shape())
            })
        });
        Ok(vec![da.transpose()?, db.transpose()?])
    }))
}

/// `field exp(i angle)`: light that passes a phase mask, each angle for all leading dimensions of the
/// field that `angle` lacks.
///
/// # Shapes
/// `field` and result (..., 2, height, width): real and imaginary parts; `angle`, in rad, the last dimensions of
/// the field without that of 2, at least (height, width).
///
/// # Errors
/// If the shapes do not fit.
pub fn phase_shift(field: &Tensor, angle: &Tensor) -> Result<Tensor> {
    let (height, width) = picture(field)?;
    let pixels = height * width;
    let rank = field.rank();
    let own = [&field.dims()[..rank - 3], &field.dims()[rank - 2..]].concat();
    if angle.rank() < 2 || !own.ends_with(angle.dims()) {
        let want = format!("(height, width) or more, the last dimensions of {own:?}");
        return Err(Error::shape("angle", angle, want));
    }
    let dims = [&angle.dims()[..angle.rank() - 2], &[2, height, width]].concat();
    let turn = dispatch!(angle.dtype(), T => {
        let mut turn = Buffer::<T>::scratch(2 * angle.elem_count());
        turn.par_chunks_mut(2 * pixels)
            .zip(angle.elements::<T>()?.par_chunks(pixels))
            .for_each(|(turn, angle)| {
                let (re, im) = turn.split_at_mut(pixels);
                for ((re, im), angle) in re.iter_mut().zip(im).zip(angle) {
                    (*im, *re) = angle.sin_cos();
                }
            });
        Tensor::from_buffer(turn, dims)
    })?;
    let y = times(field, &turn, pixels, false)?;
    let (inputs, result) = ((field.clone(), angle.clone()), y.clone());
    Ok(y.with_gradient(&[field, angle], move |gradient| {
        let (field, angle) = &inputs;
        let df = field.is_tracked().then(|| times(&gradient, &turn, pixels, true));
        let da = angle.is_tracked().then(|| {
            dispatch!(gradient.dtype(), T => {
                let (g, y) = (gradient.elements::<T>()?, result.elements::<T>()?);
                let whole = angle.elem_count();
                let mut da = Buffer::<T>::zeros(whole);
                da.par_chunks_mut(PIXELS).enumerate().for_each(|(block, da)| {
                    sum_turns(da, block * PIXELS, g, y, whole, pixels);
                });
                Tensor::from_buffer(da, angle.shape())
            })
        });
        Ok(vec![df.transpose()?, da.transpose()?])
    }))
}

/// `a b` or `a conj(b)`, without a gradient.
fn times(a: &Tensor, b: &Tensor, pixels: usize, conjugate: bool) -> Result<Tensor> {
    dispatch!(a.dtype(), T => {
        let (values, factors) = (a.elements::<T>()?, b.elements::<T>()?);
        let sign = T::of(if conjugate { -1.0 } else { 1.0 });
        let pictures = factors.len() / (2 * pixels);
        let mut y = Buffer::<T>::scratch(values.len());
        y.par_chunks_mut(2 * pixels).zip(values.par_chunks(2 * pixels)).enumerate().for_each(
            |(picture, (y, a))| {
                let b = &factors[picture % pictures * 2 * pixels..][..2 * pixels];
                product(y, a, b, sign);
            },
        );
        Tensor::from_buffer(y, a.shape())
    })
}

multiversion! {
    /// `y = a b`, with `sign` -1 `a conj(b)`.
    fn product[T: Real](y: &mut [T], a: &[T], b: &[T], sign: T) {
        let pixels = y.len() / 2;
        let ((y_re, y_im), (a_re, a_im)) = (y.split_at_mut(pixels), a.split_at(pixels));
        let (b_re, b_im) = b.split_at(pixels);
        let inputs = a_re.iter().zip(a_im).zip(b_re.iter().zip(b_im));
        for ((re, im), ((a_re, a_im), (b_re, b_im))) in y_re.iter_mut().zip(y_im).zip(inputs) {
            let b_im = sign * *b_im;
            *re = *a_re * *b_re - *a_im * b_im;
            *im = *a_re * b_im + *a_im * *b_re;
        }
    }

    /// `sum += conj(a) g`.
    fn add_conjugate_product[T: Real](sum: &mut [T], a: &[T], g: &[T]) {
        let pixels = sum.len() / 2;
        let ((re, im), (a_re, a_im)) = (sum.split_at_mut(pixels), a.split_at(pixels));
        let (g_re, g_im) = g.split_at(pixels);
        let inputs = a_re.iter().zip(a_im).zip(g_re.iter().zip(g_im));
        for ((re, im), ((a_re, a_im), (g_re, g_im))) in re.iter_mut().zip(im).zip(inputs) {
            *re += *a_re * *g_re + *a_im * *g_im;
            *im += *a_re * *g_im - *a_im * *g_re;
        }
    }

    /// `sum += Re(conj(g) i y)` of the angles from `first` on, over all pictures that share them.
    fn sum_turns[T: Real](
        sum: &mut [T],
        first: usize,
        g: &[T],
        y: &[T],
        angles: usize,
        pixels: usize,
    ) {
        let mut done = 0;
        while done < sum.len() {
            let (picture, pixel) = ((first + done) / pixels, (first + done) % pixels);
            let count = (pixels - pixel).min(sum.len() - done);
            let sum = &mut sum[done..done + count];
            for (g, y) in g.chunks_exact(2 * angles).zip(y.chunks_exact(2 * angles)) {
                let re = 2 * picture * pixels + pixel;
                let im = re + pixels;
                let (g_re, g_im) = (&g[re..re + count], &g[im..im + count]);
                let (y_re, y_im) = (&y[re..re + count], &y[im..im + count]);
                let parts = g_re.iter().zip(g_im).zip(y_re.iter().zip(y_im));
                for (sum, ((g_re, g_im), (y_re, y_im))) in sum.iter_mut().zip(parts) {
                    *sum += *g_im * *y_re - *g_re * *y_im;
                }
            }
            done += count;
        }
    }
}
