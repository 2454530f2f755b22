//! Saturable absorption.

use pnn_core::multiversion;
use pnn_core::ops::Real;
use pnn_core::ops::simd::lane_sum;
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

/// A film whose absorption saturates, as that of two-level atoms does (Guo et al., Photonics Res. 9, B71, 2021, Eq. 1, where
/// intensities are in units of `saturation`); the phase stays:
///
/// ```text
/// E' = E exp(-(depth / 2) / (1 + I / saturation))
/// ```
///
/// Weak light loses all but `exp(-depth)` of its power, strong light next to nothing.
///
/// # Shapes
/// `field` and result (..., 2, height, width), real and imaginary parts.
///
/// # Errors
/// If `field` has another shape, `depth` lies outside [0, infinity) or `saturation` outside (0, infinity).
pub fn saturable_film(field: &Tensor, depth: f64, saturation: f64) -> Result<Tensor> {
    let &[.., 2, height, width] = field.dims() else {
        return Err(Error::shape("field", field, "(..., 2, height, width)"));
    };
    check_film(depth, saturation)?;
    let pictures = field.elem_count() / (2 * height * width).max(1);
    let planes = field.reshape([pictures, 2, height, width])?;
    let intensity = planes.sqr()?.sum(1)?.reshape([pictures, 1, height, width])?;
    let bleached = intensity.affine(1.0 / saturation, 1.0)?;
    let kept = ((bleached.ones_like()? * (-0.5 * depth))? / bleached)?.exp()?;
    (planes * kept)?.reshape(field.shape().clone())
}

/// Checks the numbers of [`saturable_film`].
pub(super) fn check_film(depth: f64, saturation: f64) -> Result<()> {
    let range = |what: &str, value: f64, inside: bool, allowed| {
        if inside { Ok(()) } else { Err(Error::Range { what: what.to_owned(), value, allowed }) }
    };
    let inside = (0.0..f64::INFINITY).contains(&depth);
    range("optical depth of a film", depth, inside, "[0, infinity)")?;
    let inside = saturation > 0.0 && saturation.is_finite();
    range("saturation intensity of a film", saturation, inside, "(0, infinity)")
}

/// What a picture loses at each pixel.
fn lost<T: Real>(re: &[T], im: &[T], fraction: f64) -> T {
    T::of(fraction * power(re, im) / re.len() as f64)
}

fn absorbed<T: Real + Element>(field: &Tensor, pixels: usize, fraction: f64) -> Result<Tensor> {
    let mut y = Buffer::<T>::scratch(field.elem_count());
    y.par_chunks_mut(2 * pixels).zip(field.elements::<T>()?.par_chunks(2 * pixels)).for_each(
        |(y, x)| {
            let (re, im) = x.split_at(pixels);
            absorb(y, x, lost(re, im, fraction));
        },
    );
    Tensor::from_buffer(y, field.shape().clone())
}

/// `sqrt(I' / I)`, 0 where it is dark.
#[inline(always)]
fn kept<T: Real>(intensity: T, lost: T) -> T {
    if intensity <= lost { T::zero() } else { (T::one() - lost / intensity).sqrt() }
}

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
        let (re, im) = x.split_at(pixels);
        let lost = lost(re, im, fraction);
        let of_lost = slopes(found, x, g, lost);
        let shared = T::of(-2.0 * of_lost * fraction / pixels as f64);
        absorb_back(found, x, g, lost, shared);
    });
    Tensor::from_buffer(found, field.shape().clone())
}

/// Pixels whose sum may be one of `T`; longer ones are added in f64.
const BLOCK: usize = 1024;

// With `s = sqrt(1 - t/I)`, `t` what is lost, and `c = g . E` at a pixel that is not dark:
// `ds/dI = t / (2 s I^2)`, `ds/dt = -1 / (2 s I)`, `dI = 2 E dE`, and `t` is a share of the mean of all `I`.
multiversion! {
    /// The sum of all intensities.
    fn power[T: Real](re: &[T], im: &[T]) -> f64 {
        let mut sum = 0.0;
        for (re, im) in re.chunks(BLOCK).zip(im.chunks(BLOCK)) {
            sum += lane_sum(re, im, |re, im| re * re + im * im);
        }
        sum
    }

    fn absorb[T: Real](y: &mut [T], x: &[T], lost: T) {
        let pixels = x.len() / 2;
        let ((re, im), (y_re, y_im)) = (x.split_at(pixels), y.split_at_mut(pixels));
        for ((y_re, y_im), (re, im)) in y_re.iter_mut().zip(y_im).zip(re.iter().zip(im)) {
            let kept = kept(*re * *re + *im * *im, lost);
            (*y_re, *y_im) = (kept * *re, kept * *im);
        }
    }

    /// Writes `c / (2 s I)` of each pixel into the first half of `found`, and returns their sum.
    fn slopes[T: Real](found: &mut [T], x: &[T], g: &[T], lost: T) -> f64 {
        let pixels = x.len() / 2;
        let ((re, im), (g_re, g_im)) = (x.split_at(pixels), g.split_at(pixels));
        let halves = &mut found[..pixels];
        for ((half, (re, im)), (g_re, g_im)) in
            halves.iter_mut().zip(re.iter().zip(im)).zip(g_re.iter().zip(g_im))
        {
            let intensity = *re * *re + *im * *im;
            let kept = kept(intensity, lost);
            let slope = (*g_re * *re + *g_im * *im) / ((kept + kept) * intensity);
            *half = if kept > T::zero() { slope } else { T::zero() };
        }
        let mut sum = 0.0;
        for halves in halves.chunks(BLOCK) {
            sum += lane_sum(halves, halves, |half, _| half);
        }
        sum
    }

    /// The gradient, from what [`slopes`] has left in `found`.
    fn absorb_back[T: Real](found: &mut [T], x: &[T], g: &[T], lost: T, shared: T) {
        let pixels = x.len() / 2;
        let ((re, im), (g_re, g_im)) = (x.split_at(pixels), g.split_at(pixels));
        let (d_re, d_im) = found.split_at_mut(pixels);
        let inputs = re.iter().zip(im).zip(g_re.iter().zip(g_im));
        for ((d_re, d_im), ((re, im), (g_re, g_im))) in d_re.iter_mut().zip(d_im).zip(inputs) {
            let intensity = *re * *re + *im * *im;
            let kept = kept(intensity, lost);
            let own = (*d_re + *d_re) * lost / intensity;
            let along = shared + if kept > T::zero() { own } else { T::zero() };
            (*d_re, *d_im) = (kept * *g_re + along * *re, kept * *g_im + along * *im);
        }
    }
}
