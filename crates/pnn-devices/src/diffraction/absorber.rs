//! Saturable absorption.

use pnn_core::ops::Real;
use pnn_core::tensor::{Buffer, Element};
use pnn_core::{DType, Error, Result, Tensor};
use rayon::prelude::*;

/// Light that is too weak to saturate an absorber is swallowed: each picture loses `fraction` of its own mean
/// intensity everywhere, what is weaker is dark, and the phase stays (Xu et al., Nat. Commun. 17, 1766, 2026, with a
/// half):
///
/// ```text
/// I' = max(I - fraction mean(I), 0),    E' = E sqrt(I' / I)
/// ```
///
/// # Shapes
/// `field` and result (..., 2, height, width), real and imaginary parts; the mean is that of each pair of planes.
///
/// # Errors
/// If `field` has another shape or `fraction` lies outside [0, infinity).
pub fn saturable_absorber(field: &Tensor, fraction: f64) -> Result<Tensor> {
    let pixels = match field.dims() {
        &[.., 2, height, width] if height > 0 && width > 0 => height * width,
        _ => return Err(Error::shape("field", field, "(..., 2, height > 0, width > 0)")),
    };
    if !(0.0..f64::INFINITY).contains(&fraction) {
        let what = "absorbed fraction of the mean intensity".to_owned();
        return Err(Error::Range { what, value: fraction, allowed: "[0, infinity)" });
    }
    let y = match field.dtype() {
        DType::F32 => absorbed::<f32>(field, pixels, fraction),
        _ => absorbed::<f64>(field, pixels, fraction),
    }?;
    let input = field.clone();
    Ok(y.with_gradient(&[field], move |gradient| {
        let found = match input.dtype() {
            DType::F32 => back::<f32>(&input, &gradient, pixels, fraction),
            _ => back::<f64>(&input, &gradient, pixels, fraction),
        };
        Ok(vec![Some(found?)])
    }))
}

/// What a picture loses at each pixel.
fn lost<T: Real>(re: &[T], im: &[T], fraction: f64) -> T {
    let sum: f64 = re.iter().zip(im).map(|(re, im)| (*re * *re + *im * *im).f64()).sum();
    T::of(fraction * sum / re.len() as f64)
}

fn absorbed<T: Real + Element>(field: &Tensor, pixels: usize, fraction: f64) -> Result<Tensor> {
    let mut y = Buffer::<T>::scratch(field.elem_count());
    y.par_chunks_mut(2 * pixels).zip(field.elements::<T>()?.par_chunks(2 * pixels)).for_each(
        |(y, x)| {
            let ((re, im), (y_re, y_im)) = (x.split_at(pixels), y.split_at_mut(pixels));
            let lost = lost(re, im, fraction);
            for ((y_re, y_im), (re, im)) in y_re.iter_mut().zip(y_im).zip(re.iter().zip(im)) {
                let kept = kept(*re * *re + *im * *im, lost);
                (*y_re, *y_im) = (kept * *re, kept * *im);
            }
        },
    );
    Tensor::from_buffer(y, field.shape().clone())
}

/// `sqrt(I' / I)`, 0 where it is dark.
fn kept<T: Real>(intensity: T, lost: T) -> T {
    if intensity <= lost { T::zero() } else { (T::one() - lost / intensity).sqrt() }
}

/// With `s = sqrt(1 - t/I)`, `t` what is lost, and `c = g . E` at a pixel that is not dark:
/// `ds/dI = t / (2 s I^2)`, `ds/dt = -1 / (2 s I)`, `dI = 2 E dE`, and `t` is a share of the mean of all `I`.
fn back<T: Real + Element>(
    field: &Tensor,
    gradient: &Tensor,
    pixels: usize,
    fraction: f64,
) -> Result<Tensor> {
    let mut found = Buffer::<T>::scratch(field.elem_count());
    let pictures =
        found.par_chunks_mut(2 * pixels).zip(field.elements::<T>()?.par_chunks(2 * pixels));
    pictures.zip(gradient.elements::<T>()?.par_chunks(2 * pixels)).for_each(|((found, x), g)| {
        let ((re, im), (g_re, g_im)) = (x.split_at(pixels), g.split_at(pixels));
        let (d_re, d_im) = found.split_at_mut(pixels);
        let lost = lost(re, im, fraction);
        let mut of_lost = 0.0;
        for k in 0..pixels {
            let intensity = re[k] * re[k] + im[k] * im[k];
            let kept = kept(intensity, lost);
            let mut along = T::zero();
            if kept > T::zero() {
                let half = (g_re[k] * re[k] + g_im[k] * im[k]) / ((kept + kept) * intensity);
                of_lost -= half.f64();
                along = (half + half) * lost / intensity;
            }
            d_re[k] = kept * g_re[k] + along * re[k];
            d_im[k] = kept * g_im[k] + along * im[k];
        }
        let shared = T::of(2.0 * of_lost * fraction / pixels as f64);
        for k in 0..pixels {
            d_re[k] += shared * re[k];
            d_im[k] += shared * im[k];
        }
    });
    Tensor::from_buffer(found, field.shape().clone())
}
