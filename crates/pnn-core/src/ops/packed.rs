//! Values that lie in pictures, seen through a motion of these.

use std::sync::Arc;

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::resample::{Motion, Sampling, Taps, motion_gradients};
use super::take::{Places, take};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Where values lie in pictures: which of them a pixel shows, and at which pixel each is read.
#[derive(Debug, Clone)]
pub struct Packing {
    /// Number, height, width.
    pictures: [usize; 3],
    /// The value that a pixel shows.
    shown: Places,
    /// The picture in which each value is read, and the place of its pixel in [`Self::pixels`].
    read: Vec<(u32, u32)>,
    /// The pixels at which values are read in any picture.
    pixels: Vec<u32>,
}

impl Packing {
    /// Pictures (number, height, width); `shown` has the value of each pixel, or none where it is dark;
    /// `read` the pixel of each value; both count through all pictures, row by row.
    ///
    /// # Errors
    /// If `shown` has not as many entries as there are pixels, or an entry is no value or no pixel.
    pub fn new(pictures: [usize; 3], shown: Places, read: &[u32]) -> Result<Self> {
        let [count, height, width] = pictures;
        let plane = height * width;
        let check = |what: &str, value: usize, inside: bool, allowed| {
            let what = what.to_owned();
            if inside { Ok(()) } else { Err(Error::Range { what, value: value as f64, allowed }) }
        };
        let fits = shown.len() == count * plane;
        check("number of pixels of a packing", shown.len(), fits, "that of its pictures")?;
        for value in shown.iter().flatten() {
            let value = *value as usize;
            check("value that a pixel shows", value, value < read.len(), "below their number")?;
        }
        for pixel in read {
            let pixel = *pixel as usize;
            check("pixel of a value", pixel, pixel < shown.len(), "below their number")?;
        }
        let mut place = vec![u32::MAX; plane];
        let mut pixels = Vec::new();
        let read = read.iter().map(|pixel| {
            let (picture, pixel) = (*pixel as usize / plane, *pixel as usize % plane);
            if place[pixel] == u32::MAX {
                place[pixel] = pixels.len() as u32;
                pixels.push(pixel as u32);
            }
            (picture as u32, place[pixel])
        });
        let read = read.collect();
        Ok(Self { pictures, shown, read, pixels })
    }

    /// Number, height and width of the pictures.
    #[must_use]
    pub fn pictures(&self) -> [usize; 3] {
        self.pictures
    }

    /// The pictures of values.
    ///
    /// # Shapes
    /// `values` any of as many elements as there are values, result (number, height, width).
    ///
    /// # Errors
    /// If there are fewer values.
    pub fn show(&self, values: &Tensor) -> Result<Tensor> {
        take(values, &self.shown, self.pictures)
    }

    /// The value at a pixel of a picture.
    fn value(&self, picture: u32, pixel: usize) -> Option<usize> {
        let plane = self.pictures[1] * self.pictures[2];
        self.shown[picture as usize * plane + pixel].map(|value| value as usize)
    }
}

/// What is read where values lie when their pictures are moved: the same as showing them
/// ([`Packing::show`]), moving the pictures ([`resample`](super::resample)) and reading, but only the pixels
/// that are read are computed.
///
/// # Shapes
/// `values` and result the same, of as many elements as the packing has values; `linear` (2, 2) and `shift` (2).
///
/// # Errors
/// If the shapes do not fit or the motion is not finite.
pub fn resample_packed(
    values: &Tensor,
    packing: &Arc<Packing>,
    linear: &Tensor,
    shift: &Tensor,
    sampling: Sampling,
) -> Result<Tensor> {
    let [_, height, width] = packing.pictures;
    let motion = Motion::of(linear, shift, height, width)?;
    if values.elem_count() != packing.read.len() {
        let want = format!("{} values, those of the packing", packing.read.len());
        return Err(Error::shape("values in pictures", values, want));
    }
    let read = packing.pixels.iter().map(|pixel| *pixel as usize);
    let taps = Taps::new(&motion, sampling, read);
    let y = dispatch!(values.dtype(), T => {
        let x = values.elements::<T>()?;
        let mut y = Buffer::<T>::scratch(x.len());
        y.par_iter_mut().with_min_len(4096).zip(&packing.read).for_each(|(y, (picture, place))| {
            let value = |pixel| packing.value(*picture, pixel).map_or(T::of(0.0), |v| x[v]);
            *y = taps.mix(*place as usize, value);
        });
        Tensor::from_buffer(y, values.shape())
    })?;
    let inputs = [values.clone(), linear.clone(), shift.clone()];
    let packing = Arc::clone(packing);
    Ok(y.with_gradient(&[values, linear, shift], move |gradient| {
        let [x, linear, shift] = &inputs;
        let dx = x.is_tracked().then(|| {
            dispatch!(gradient.dtype(), T => {
                let mut dx = Buffer::<T>::zeros(x.elem_count());
                let read = packing.read.iter().zip(gradient.elements::<T>()?);
                for ((picture, place), g) in read {
                    taps.spread(*place as usize, *g, |pixel, part| {
                        if let Some(value) = packing.value(*picture, pixel) {
                            dx[value] += part;
                        }
                    });
                }
                Tensor::from_buffer(dx, x.shape())
            })
        });
        let dx = dx.transpose()?;
        if sampling == Sampling::Nearest || !(linear.is_tracked() || shift.is_tracked()) {
            return Ok(vec![dx, None, None]);
        }
        let towards = dispatch!(gradient.dtype(), T => {
            Ok(towards(&packing, &motion, x.elements::<T>()?, gradient.elements::<T>()?))
        })?;
        let places = packing.pixels.iter().map(|pixel| *pixel as usize).zip(towards);
        let [dl, ds] = motion_gradients(&motion, places, linear, shift)?;
        Ok(vec![dx, Some(dl), Some(ds)])
    }))
}

/// What a displacement of each pixel that is read would change, summed over the values read there.
fn towards<T: Real>(packing: &Packing, motion: &Motion, x: &[T], g: &[T]) -> Vec<(f64, f64)> {
    let corners: Vec<_> =
        packing.pixels.iter().map(|pixel| motion.slopes(*pixel as usize)).collect();
    let mut sums = vec![(0.0, 0.0); packing.pixels.len()];
    for ((picture, place), g) in packing.read.iter().zip(g) {
        let sum = &mut sums[*place as usize];
        for (pixel, slope) in corners[*place as usize] {
            let value = pixel.and_then(|pixel| packing.value(*picture, pixel));
            let value = value.map_or(0.0, |value| x[value].f64()) * g.f64();
            *sum = (sum.0 + slope.0 * value, sum.1 + slope.1 * value);
        }
    }
    sums
}
