//! Pictures that are moved: rotated, shifted, stretched, sheared.

use rayon::prelude::*;

use super::real::{Real, dispatch};
use crate::tensor::Buffer;
use crate::{DType, Error, Result, Tensor};

/// What a place between pixels has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The value of the nearest pixel, halves to the even one. The motion gets no gradient: it has
    /// none almost everywhere.
    #[default]
    Nearest,
    /// The mean of the four pixels around it, weighed by how near they are. At a pixel itself, where it has
    /// a kink, the derivative in the motion is the mean of those to both sides.
    Bilinear,
}

/// Pictures seen through a motion: the value at a pixel is that of the old picture at
///
/// ```text
/// p' = linear (p - c - shift) + c,    c = ((width - 1) / 2, (height - 1) / 2)
/// ```
///
/// and 0 where that lies outside. With `linear` of a rotation by -a and a division by s the new picture is the old
/// one rotated by a, enlarged by s and shifted by `shift`.
///
/// # Shapes
/// `x` and result (..., height, width), `linear` (2, 2) and `shift` (2) in pixels, in the order x (columns), y
/// (rows).
///
/// # Errors
/// If the shapes do not fit or the motion is not finite.
pub fn resample(x: &Tensor, linear: &Tensor, shift: &Tensor, sampling: Sampling) -> Result<Tensor> {
    let &[.., height, width] = x.dims() else {
        return Err(Error::shape("pictures to be moved", x, "(..., height, width)"));
    };
    let motion = Motion::of(linear, shift, height, width)?;
    let pixels = height * width;
    if x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let taps = Taps::new(&motion, sampling, 0..pixels, Some);
    let y = dispatch!(x.dtype(), T => {
        let mut y = Buffer::<T>::scratch(x.elem_count());
        y.par_chunks_mut(pixels).zip(x.elements::<T>()?.par_chunks(pixels)).for_each(|(y, x)| {
            for (at, y) in y.iter_mut().enumerate() {
                let mut parts =
                    taps.of(at).iter().map(|(from, weight)| T::of(*weight) * x[*from as usize]);
                // The first as it is: 0 and -0 are not one.
                let first = parts.next().unwrap_or(T::of(0.0));
                *y = parts.fold(first, |sum, part| sum + part);
            }
        });
        Tensor::from_buffer(y, x.shape())
    })?;
    let inputs = [x.clone(), linear.clone(), shift.clone()];
    Ok(y.with_gradient(&[x, linear, shift], move |gradient| {
        let [x, linear, shift] = &inputs;
        let dx = x.is_tracked().then(|| {
            dispatch!(gradient.dtype(), T => {
                let mut dx = Buffer::<T>::zeros(x.elem_count());
                let pictures = dx.par_chunks_mut(pixels);
                pictures.zip(gradient.elements::<T>()?.par_chunks(pixels)).for_each(|(dx, g)| {
                    for (at, g) in g.iter().enumerate() {
                        for (from, weight) in taps.of(at) {
                            dx[*from as usize] += T::of(*weight) * *g;
                        }
                    }
                });
                Tensor::from_buffer(dx, x.shape())
            })
        });
        if sampling == Sampling::Nearest || !(linear.is_tracked() || shift.is_tracked()) {
            return Ok(vec![dx.transpose()?, None, None]);
        }
        let towards = dispatch!(gradient.dtype(), T => {
            Ok(motion.towards(x.elements::<T>()?, gradient.elements::<T>()?))
        })?;
        let [dl, ds] = motion_gradients(&motion, towards.into_iter().enumerate(), linear, shift)?;
        Ok(vec![dx.transpose()?, Some(dl), Some(ds)])
    }))
}

/// Parts of the old picture in some pixels of the new.
pub(super) struct Taps {
    /// A pixel of the old picture, or the value that it shows, and its weight.
    taps: Vec<(u32, f64)>,
    /// Where those of each pixel begin; and the end.
    starts: Vec<u32>,
}

impl Taps {
    /// Those of `pixels`; `value` numbers what a pixel of the old picture shows, if it is not dark.
    pub(super) fn new(
        motion: &Motion,
        sampling: Sampling,
        pixels: impl Iterator<Item = usize>,
        value: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let (mut taps, mut starts) = (Vec::new(), vec![0]);
        for at in pixels {
            motion.for_each_tap(at, sampling, |pixel, weight| {
                taps.extend(value(pixel).map(|value| (value as u32, weight)));
            });
            starts.push(taps.len() as u32);
        }
        Self { taps, starts }
    }

    /// Those of one of the pixels, by its place in the list.
    pub(super) fn of(&self, place: usize) -> &[(u32, f64)] {
        &self.taps[self.starts[place] as usize..self.starts[place + 1] as usize]
    }
}

/// How pictures move.
#[derive(Clone, Copy)]
pub(super) struct Motion {
    linear: [f64; 4],
    shift: [f64; 2],
    height: usize,
    width: usize,
}

impl Motion {
    pub(super) fn of(linear: &Tensor, shift: &Tensor, height: usize, width: usize) -> Result<Self> {
        if linear.dims() != [2, 2] {
            return Err(Error::shape("linear part of a motion", linear, "(2, 2)"));
        }
        if shift.dims() != [2] {
            return Err(Error::shape("shift of a motion", shift, "(2)"));
        }
        let read = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (linear_part, shift_part) = (read(linear)?, read(shift)?);
        if let Some(value) = linear_part.iter().chain(&shift_part).find(|v| !v.is_finite()) {
            let (what, value) = ("part of a motion".to_owned(), *value);
            return Err(Error::Range { what, value, allowed: "finite" });
        }
        let (mut linear, mut shift) = ([0.0; 4], [0.0; 2]);
        linear.copy_from_slice(&linear_part);
        shift.copy_from_slice(&shift_part);
        Ok(Self { linear, shift, height, width })
    }

    fn centre(&self) -> (f64, f64) {
        (0.5 * (self.width as f64 - 1.0), 0.5 * (self.height as f64 - 1.0))
    }

    /// Where pixel (x, y) of the new picture lies from the centre of the shift, and in the old picture.
    fn place(&self, x: usize, y: usize) -> ((f64, f64), (f64, f64)) {
        let (cx, cy) = self.centre();
        let (dx, dy) = (x as f64 - cx - self.shift[0], y as f64 - cy - self.shift[1]);
        let [a, b, c, d] = self.linear;
        ((dx, dy), (a * dx + b * dy + cx, c * dx + d * dy + cy))
    }

    /// The number of the pixel (x, y), if there is one.
    fn pixel(&self, x: f64, y: f64) -> Option<usize> {
        let inside = |v: f64, count: usize| v >= 0.0 && v < count as f64;
        (inside(x, self.width) && inside(y, self.height))
            .then(|| y as usize * self.width + x as usize)
    }

    /// Calls `f(pixel, weight)` for the pixels of the old picture that have a part in pixel `at` of the new.
    fn for_each_tap(&self, at: usize, sampling: Sampling, mut f: impl FnMut(usize, f64)) {
        let (_, (x, y)) = self.place(at % self.width, at / self.width);
        match sampling {
            Sampling::Nearest => {
                // In single precision, as in the published code: rounding decides on ties.
                let near = |v: f64| f64::from((v as f32).round_ties_even());
                if let Some(pixel) = self.pixel(near(x), near(y)) {
                    f(pixel, 1.0);
                }
            }
            Sampling::Bilinear => {
                let (across, down) = (Neighbours::of(x), Neighbours::of(y));
                for ((x, part), (y, of)) in pairs(across.weights, down.weights) {
                    let weight = part * of;
                    if weight != 0.0
                        && let Some(pixel) = self.pixel(x, y)
                    {
                        f(pixel, weight);
                    }
                }
            }
        }
    }

    /// Pixels of the old picture near pixel `at` of the new, where there is one, and how the weight of each changes with the
    /// place: four for a step across, four for one down. A place on a pixel has one slope to either side, of which this is
    /// the mean.
    pub(super) fn slopes(&self, at: usize) -> [(Option<usize>, (f64, f64)); 8] {
        let (_, (x, y)) = self.place(at % self.width, at / self.width);
        let (across, down) = (Neighbours::of(x), Neighbours::of(y));
        let mut all = [(None, (0.0, 0.0)); 8];
        for (n, ((x, slope), (y, weight))) in pairs(across.slopes, down.weights).enumerate() {
            all[n] = (self.pixel(x, y), (slope * weight, 0.0));
        }
        for (n, ((x, weight), (y, slope))) in pairs(across.weights, down.slopes).enumerate() {
            all[4 + n] = (self.pixel(x, y), (0.0, slope * weight));
        }
        all
    }

    /// What a displacement of each place would change, summed over pictures in order.
    fn towards<T: Real>(&self, x: &[T], g: &[T]) -> Vec<(f64, f64)> {
        let pixels = self.height * self.width;
        (0..pixels)
            .into_par_iter()
            .map(|at| {
                let slopes = self.slopes(at);
                let mut sum = (0.0, 0.0);
                for (x, g) in x.chunks_exact(pixels).zip(g.chunks_exact(pixels)) {
                    for (pixel, slope) in &slopes {
                        let value = pixel.map_or(0.0, |pixel| x[pixel].f64()) * g[at].f64();
                        sum = (sum.0 + slope.0 * value, sum.1 + slope.1 * value);
                    }
                }
                sum
            })
            .collect()
    }
}

/// The gradients in the linear part and the shift of a motion, of bilinear sampling: from what a displacement
/// of each pixel of the new picture would change.
pub(super) fn motion_gradients(
    motion: &Motion,
    towards: impl Iterator<Item = (usize, (f64, f64))>,
    linear: &Tensor,
    shift: &Tensor,
) -> Result<[Tensor; 2]> {
    let (mut of_linear, mut of_shift) = (vec![0.0; 4], vec![0.0; 2]);
    let [a, b, c, d] = motion.linear;
    for (at, (tx, ty)) in towards {
        let ((dx, dy), _) = motion.place(at % motion.width, at / motion.width);
        for (sum, part) in of_linear.iter_mut().zip([tx * dx, tx * dy, ty * dx, ty * dy]) {
            *sum += part;
        }
        of_shift[0] -= a * tx + c * ty;
        of_shift[1] -= b * tx + d * ty;
    }
    Ok([
        Tensor::from_vec(of_linear, linear.shape())?.to_dtype(linear.dtype())?,
        Tensor::from_vec(of_shift, shift.shape())?.to_dtype(shift.dtype())?,
    ])
}

/// The pixels near a place along one axis, with their weights in what linear interpolation reads there and in its slope.
struct Neighbours {
    weights: [(f64, f64); 2],
    slopes: [(f64, f64); 2],
}

impl Neighbours {
    fn of(place: f64) -> Self {
        let low = place.floor();
        let part = place - low;
        let slopes = if part == 0.0 {
            [(low - 1.0, -0.5), (low + 1.0, 0.5)]
        } else {
            [(low, -1.0), (low + 1.0, 1.0)]
        };
        Self { weights: [(low, 1.0 - part), (low + 1.0, part)], slopes }
    }
}

/// Each across with each down, row by row.
fn pairs(
    across: [(f64, f64); 2],
    down: [(f64, f64); 2],
) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
    down.into_iter().flat_map(move |down| across.into_iter().map(move |across| (across, down)))
}
