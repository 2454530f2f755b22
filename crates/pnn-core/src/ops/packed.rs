//! Values that lie in pictures, seen through a motion of these.

use std::sync::Arc;

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::resample::{Motion, Sampling, Taps, motion_gradients};
use super::take::{Places, take};
use crate::multiversion;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Where values lie in pictures: which of them a pixel shows, and at which pixel each is read. All pictures have
/// the same layout; the first has the first values, and the last may lack some at the end.
#[derive(Debug, Clone)]
pub struct Packing {
    /// Number, height, width.
    pictures: [usize; 3],
    /// Number of values in all pictures.
    values: usize,
    /// The value that a pixel shows, among those of its picture.
    shown: Places,
    /// The pixel at which each value of a picture is read.
    read: Vec<u32>,
}

impl Packing {
    /// Pictures (number, height, width) of so many values; `shown` has for each pixel of a picture, row by row, the value that it
    /// shows among those of the picture, or none where it is dark; `read` the pixel of each value of a picture.
    ///
    /// # Errors
    /// If `shown` has not as many entries as a picture has pixels, an entry is no value or no pixel, or the
    /// values are not those of so many pictures.
    pub fn new(pictures: [usize; 3], values: usize, shown: Places, read: &[u32]) -> Result<Self> {
        let [count, height, width] = pictures;
        let check = |what: &str, value: usize, inside: bool, allowed| {
            let what = what.to_owned();
            if inside { Ok(()) } else { Err(Error::Range { what, value: value as f64, allowed }) }
        };
        let fits = shown.len() == height * width;
        check("number of pixels of a packing", shown.len(), fits, "that of a picture")?;
        for value in shown.iter().flatten() {
            let value = *value as usize;
            check("value that a pixel shows", value, value < read.len(), "below their number")?;
        }
        for pixel in read {
            let pixel = *pixel as usize;
            check("pixel of a value", pixel, pixel < shown.len(), "below their number")?;
        }
        let fits = count > 0 && values > (count - 1) * read.len() && values <= count * read.len();
        check("number of values of a packing", values, fits, "that of its pictures")?;
        Ok(Self { pictures, values, shown, read: read.to_vec() })
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
        let (each, last) = (self.read.len(), self.values);
        let first = (0..self.pictures[0]).map(|picture| picture * each);
        let shown = first.flat_map(|first| {
            let of = move |value: u32| Some(first + value as usize).filter(|value| *value < last);
            self.shown.iter().map(move |value| value.and_then(of).map(|value| value as u32))
        });
        take(values, &shown.collect(), self.pictures)
    }

    /// The value of a picture that a pixel shows.
    fn value(&self, pixel: usize) -> Option<usize> {
        self.shown[pixel].map(|value| value as usize)
    }

    /// The pixels at which the values of a picture are read.
    fn pixels(&self) -> impl Iterator<Item = usize> {
        self.read.iter().map(|pixel| *pixel as usize)
    }

    /// How far one value is from the next when pictures lie side by side.
    fn lanes(&self) -> usize {
        self.pictures[0].next_multiple_of(LANES)
    }

    /// Pictures side by side: (values of a picture, lanes), 0 where there is none. What happens to one value of a
    /// picture happens to its neighbours in the others, in one vector.
    fn side_by_side<T: Real>(&self, values: &[T]) -> Buffer<T> {
        let (each, lanes) = (self.read.len(), self.lanes());
        let mut beside = Buffer::<T>::zeros(each * lanes);
        beside.par_chunks_mut(lanes * BLOCK).enumerate().for_each(|(block, beside)| {
            for (picture, values) in values.chunks(each).enumerate() {
                let values = values.iter().skip(block * BLOCK);
                for (row, value) in beside.chunks_exact_mut(lanes).zip(values) {
                    row[picture] = *value;
                }
            }
        });
        beside
    }

    /// Picture after picture again.
    fn one_by_one<T: Real>(&self, beside: &[T]) -> Buffer<T> {
        let (each, lanes) = (self.read.len(), self.lanes());
        let mut values = Buffer::<T>::scratch(self.values);
        values.par_chunks_mut(each).enumerate().for_each(|(picture, values)| {
            for (value, row) in values.iter_mut().zip(beside.chunks_exact(lanes)) {
                *value = row[picture];
            }
        });
        values
    }
}

/// Values around a place, and how the weight of each changes with the place.
type Corners = Vec<(usize, (f64, f64))>;

/// Pictures of one vector.
const LANES: usize = 8;
/// Values of a picture that a task takes.
const BLOCK: usize = 512;

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
    if values.elem_count() != packing.values {
        let want = format!("{} values, those of the packing", packing.values);
        return Err(Error::shape("values in pictures", values, want));
    }
    let lanes = packing.lanes();
    let taps = Taps::new(&motion, sampling, packing.pixels(), |pixel| packing.value(pixel));
    let y = dispatch!(values.dtype(), T => {
        let x = packing.side_by_side(values.elements::<T>()?);
        let mut y = Buffer::<T>::zeros(x.len());
        y.par_chunks_mut(lanes * BLOCK).enumerate().for_each(|(block, y)| {
            mix(y, &x, lanes, &taps, block * BLOCK);
        });
        Tensor::from_buffer(packing.one_by_one(&y), values.shape())
    })?;
    let inputs = [values.clone(), linear.clone(), shift.clone()];
    let packing = Arc::clone(packing);
    Ok(y.with_gradient(&[values, linear, shift], move |gradient| {
        let [x, linear, shift] = &inputs;
        dispatch!(gradient.dtype(), T => {
            let g = packing.side_by_side(gradient.elements::<T>()?);
            let dx = x.is_tracked().then(|| {
                let mut dx = Buffer::<T>::zeros(g.len());
                spread(&mut dx, &g, lanes, &taps);
                Tensor::from_buffer(packing.one_by_one(&dx), x.shape())
            });
            let dx = dx.transpose()?;
            if sampling == Sampling::Nearest || !(linear.is_tracked() || shift.is_tracked()) {
                return Ok(vec![dx, None, None]);
            }
            let x = packing.side_by_side(x.elements::<T>()?);
            let corners: Vec<_> = packing
                .pixels()
                .map(|pixel| {
                    let corners = motion.slopes(pixel).into_iter();
                    let known = corners.filter_map(|(pixel, slope)| Some((packing.value(pixel?)?, slope)));
                    known.collect::<Vec<_>>()
                })
                .collect();
            let towards = packing.pixels().zip(towards(&x, &g, lanes, &corners));
            let [dl, ds] = motion_gradients(&motion, towards, linear, shift)?;
            Ok(vec![dx, Some(dl), Some(ds)])
        })
    }))
}

multiversion! {
    /// What is read of all pictures at the places from `first` on.
    fn mix[T: Real](y: &mut [T], x: &[T], lanes: usize, taps: &Taps, first: usize) {
        for (place, y) in y.chunks_exact_mut(lanes).enumerate() {
            for (value, weight) in taps.of(first + place) {
                let weight = T::of(*weight);
                let x = &x[*value as usize * lanes..][..lanes];
                for (y, x) in y.as_chunks_mut::<LANES>().0.iter_mut().zip(x.as_chunks::<LANES>().0) {
                    for lane in 0..LANES {
                        y[lane] += weight * x[lane];
                    }
                }
            }
        }
    }

    /// The gradient of [`mix`] at all places.
    fn spread[T: Real](dx: &mut [T], g: &[T], lanes: usize, taps: &Taps) {
        for (place, g) in g.chunks_exact(lanes).enumerate() {
            for (value, weight) in taps.of(place) {
                let weight = T::of(*weight);
                let dx = &mut dx[*value as usize * lanes..][..lanes];
                for (dx, g) in dx.as_chunks_mut::<LANES>().0.iter_mut().zip(g.as_chunks::<LANES>().0) {
                    for lane in 0..LANES {
                        dx[lane] += weight * g[lane];
                    }
                }
            }
        }
    }

    /// What a displacement of each pixel that is read would change, summed over the pictures; `corners` are the values
    /// around each, and how the weight of each changes.
    fn towards[T: Real](x: &[T], g: &[T], lanes: usize, corners: &[Corners]) -> Vec<(f64, f64)> {
        let mut sums = Vec::with_capacity(corners.len());
        for (corners, g) in corners.iter().zip(g.chunks_exact(lanes)) {
            let mut sum = (0.0, 0.0);
            for (value, slope) in corners {
                let mut products = [0.0; LANES];
                let x = &x[*value * lanes..][..lanes];
                for (x, g) in x.as_chunks::<LANES>().0.iter().zip(g.as_chunks::<LANES>().0) {
                    for lane in 0..LANES {
                        products[lane] += x[lane].f64() * g[lane].f64();
                    }
                }
                let product: f64 = products.iter().sum();
                sum = (sum.0 + slope.0 * product, sum.1 + slope.1 * product);
            }
            sums.push(sum);
        }
        sums
    }
}
