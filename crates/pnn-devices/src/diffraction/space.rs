//! Free space between two planes.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use num_complex::Complex;
use pnn_core::Tensor;
use pnn_core::ops::{TransferFunction, fft2, transfer};

use super::grid::{Grid, positive};
use crate::{Error, Result};

/// How propagation is computed. All three are a filter in the Fourier domain; [`FreeSpace::range_m`] has the distances
/// between which each is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The exact transfer function (Goodman, Introduction to Fourier Optics, 3.10.2):
    ///
    /// ```text
    /// H(fx, fy) = exp(i z kz),   kz = 2 pi sqrt(1/lambda^2 - fx^2 - fy^2)
    /// ```
    ///
    /// Where the root is imaginary the wave is evanescent and decays. For short distances.
    AngularSpectrum,
    /// The paraxial one, `exp(i k z) exp(-i pi lambda z (fx^2 + fy^2))`: good where `z^3` is large against
    /// `pi r^4 / (4 lambda)`, `r` the largest distance between a point and its image (Goodman, 4.2), and not so far that
    /// samples of the transfer function are too coarse.
    Fresnel,
    /// The Rayleigh-Sommerfeld integral as a convolution (Shen and Wang, Appl. Opt. 45, 1102, 2006), of
    /// the impulse response `z / (2 pi r^2) (1/r - i k) exp(i k r)`. For long distances; it needs padding.
    Direct,
    /// Direct integration where it is right, the angular spectrum nearer and where nothing is padded. On a grid much longer
    /// than high neither is right in between, and [`FreeSpace::warnings`] says so.
    #[default]
    Automatic,
}

/// A stretch of free space. Light that is `exp(-i omega t)` in time gets `exp(i k z)` on its way.
///
/// ```
/// use pnn_core::{DType, Tensor};
/// use pnn_devices::diffraction::{FreeSpace, Grid};
///
/// let grid = Grid::new(32, 32, 2e-6)?;
/// let space = FreeSpace::new(grid, 1e-3, &[532e-9])?;
/// let field = Tensor::ones([1, 2, 32, 32], DType::F64)?;
/// let there = space.propagate(&field)?;
/// assert_eq!(there.dims(), [1, 2, 32, 32]);
/// # Ok::<(), pnn_devices::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FreeSpace {
    pub(super) grid: Grid,
    pub(super) distance_m: f64,
    pub(super) wavelengths_m: Vec<f64>,
    method: Method,
    pub(super) padded: bool,
    pub(super) band_limited: bool,
    function: Arc<TransferFunction>,
}

impl FreeSpace {
    /// The distance `distance_m` between two planes of the same grid, for light of one or several
    /// wavelengths; padded to twice the size, with a band limit, by [`Method::Automatic`].
    ///
    /// # Errors
    /// If distance or wavelengths are not positive and finite, or there is no wavelength.
    pub fn new(grid: Grid, distance_m: f64, wavelengths_m: &[f64]) -> Result<Self> {
        positive("distance in m", distance_m)?;
        if wavelengths_m.is_empty() {
            let what = "number of wavelengths";
            return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
        }
        wavelengths_m.iter().try_for_each(|value| positive("wavelength in m", *value))?;
        let wavelengths_m = wavelengths_m.to_vec();
        let function = Arc::new(TransferFunction::new(1, 1, &[Complex::new(1.0, 0.0)])?);
        let (method, padded, band_limited) = (Method::Automatic, true, true);
        Self { grid, distance_m, wavelengths_m, method, padded, band_limited, function }.computed()
    }

    /// How propagation is computed.
    ///
    /// # Errors
    /// If direct integration is asked for without padding, or Fresnel propagation with pixels of less than
    /// half a wavelength.
    pub fn with_method(mut self, method: Method) -> Result<Self> {
        self.method = method;
        self.computed()
    }

    /// Whether pictures are padded with zeros to twice their size. Without, light that leaves at one
    /// side comes back at the other.
    ///
    /// # Errors
    /// If direct integration was asked for, which needs padding.
    pub fn with_padding(mut self, padded: bool) -> Result<Self> {
        self.padded = padded;
        self.computed()
    }

    /// Whether the angular spectrum leaves out what its samples are too coarse for: waves so steep that they leave the
    /// padded grid sideways (Matsushima and Shimobaba, Opt. Express 17, 19662, 2009). Evanescent waves of pixels of less than
    /// half a wavelength go nowhere, and stay.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_band_limit(mut self, band_limited: bool) -> Result<Self> {
        self.band_limited = band_limited;
        self.computed()
    }

    /// Its grid.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Its wavelengths in m.
    #[must_use]
    pub fn wavelengths_m(&self) -> &[f64] {
        &self.wavelengths_m
    }

    /// The distance between the planes in m.
    #[must_use]
    pub fn distance_m(&self) -> f64 {
        self.distance_m
    }

    /// The same to another distance.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_distance_m(mut self, distance_m: f64) -> Result<Self> {
        positive("distance in m", distance_m)?;
        self.distance_m = distance_m;
        self.computed()
    }

    /// The method that is used: [`Method::Automatic`] decided.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.method {
            // Without padding the integral would wrap around.
            Method::Automatic
                if self.padded && self.distance_m > self.range_m(Method::Direct).0 =>
            {
                Method::Direct
            }
            Method::Automatic => Method::AngularSpectrum,
            method => method,
        }
    }

    /// The field at the other plane.
    ///
    /// # Shapes
    /// `field` and result (batch, 2, height, width), real and imaginary parts; with several wavelengths
    /// (batch, wavelengths, 2, height, width).
    ///
    /// # Errors
    /// If the field has another shape.
    pub fn propagate(&self, field: &Tensor) -> Result<Tensor> {
        let Grid { height, width, .. } = self.grid;
        if !field.dims().ends_with(&[2, height, width]) {
            let want = format!("(..., 2, {height}, {width})");
            return Err(pnn_core::Error::shape("field", field, want).into());
        }
        Ok(transfer(field, &self.function)?)
    }

    fn computed(mut self) -> Result<Self> {
        if self.method == Method::Direct && !self.padded {
            let (device, capability) = ("free space without padding", "direct integration");
            return Err(pnn_core::Error::Unsupported {
                device: device.into(),
                capability: capability.into(),
            }
            .into());
        }
        let longest = self.wavelengths_m.iter().copied().fold(0.0, f64::max);
        if self.method == Method::Fresnel && 2.0 * self.grid.pitch_m < longest {
            let what = "pixel pitch in m of Fresnel propagation";
            let allowed =
                "at least half of the longest wavelength: finer waves are evanescent, not paraxial";
            return Err(Error::Range { what, value: self.grid.pitch_m, allowed });
        }
        let times = if self.padded { 2 } else { 1 };
        let (height, width) = (times * self.grid.height, times * self.grid.width);
        let mut factors = Vec::with_capacity(height * width * self.wavelengths_m.len());
        for wavelength in &self.wavelengths_m {
            match self.method() {
                Method::Direct => factors.extend(self.convolved(*wavelength, height, width)?),
                Method::Fresnel => {
                    factors.extend(self.over_frequencies(height, width, |fx, fy| {
                        let k = TAU / wavelength;
                        let chirp = PI * wavelength * self.distance_m * (fx * fx + fy * fy);
                        Complex::from_polar(1.0, k * self.distance_m - chirp)
                    }));
                }
                Method::AngularSpectrum | Method::Automatic => {
                    factors.extend(self.angular_spectrum(*wavelength, height, width));
                }
            }
        }
        self.function = Arc::new(TransferFunction::new(height, width, &factors)?);
        Ok(self)
    }

    fn angular_spectrum(&self, wavelength: f64, height: usize, width: usize) -> Vec<Complex<f64>> {
        let z = self.distance_m;
        // The frequency at which the phase turns by pi from one sample to the next.
        let limit = |count: usize| {
            let side = count as f64 * self.grid.pitch_m;
            1.0 / (wavelength * (2.0 * z / side).hypot(1.0))
        };
        let (highest_y, highest_x) = (limit(height), limit(width));
        let fine = 2.0 * self.grid.pitch_m < wavelength;
        self.over_frequencies(height, width, |fx, fy| {
            let squared = 1.0 / (wavelength * wavelength) - fx * fx - fy * fy;
            let limited = self.band_limited && !(fine && squared < 0.0);
            if limited && (fx.abs() > highest_x || fy.abs() > highest_y) {
                return Complex::default();
            }
            let turned = TAU * squared.abs().sqrt() * z;
            if squared < 0.0 {
                Complex::new((-turned).exp(), 0.0)
            } else {
                Complex::from_polar(1.0, turned)
            }
        })
    }

    /// A function of the spatial frequencies in 1/m, frequency 0 first.
    fn over_frequencies(
        &self,
        height: usize,
        width: usize,
        f: impl Fn(f64, f64) -> Complex<f64>,
    ) -> Vec<Complex<f64>> {
        let frequency = |number: usize, count: usize| {
            signed(number, count) / (count as f64 * self.grid.pitch_m)
        };
        let mut factors = Vec::with_capacity(height * width);
        for row in 0..height {
            let fy = frequency(row, height);
            factors.extend((0..width).map(|column| f(frequency(column, width), fy)));
        }
        factors
    }

    /// The transform of the impulse response.
    fn convolved(&self, wavelength: f64, height: usize, width: usize) -> Result<Vec<Complex<f64>>> {
        let (k, z, pitch) = (TAU / wavelength, self.distance_m, self.grid.pitch_m);
        let (mut re, mut im) = (Vec::new(), Vec::new());
        for row in 0..height {
            let y = signed(row, height) * pitch;
            for column in 0..width {
                let x = signed(column, width) * pitch;
                let r = (x * x + y * y + z * z).sqrt();
                let wave = Complex::new(1.0 / r, -k) * Complex::from_polar(1.0, k * r);
                let response = wave * (z / (TAU * r * r) * pitch * pitch);
                re.push(response.re);
                im.push(response.im);
            }
        }
        re.extend(im);
        let spectrum = fft2(&Tensor::from_vec(re, [2, height, width])?)?;
        let (re, im) = spectrum.elements::<f64>()?.split_at(height * width);
        Ok(re.iter().zip(im).map(|(re, im)| Complex::new(*re, *im)).collect())
    }
}

/// The numbers 0, 1, .., -2, -1 of a transform of `count` samples.
fn signed(number: usize, count: usize) -> f64 {
    if number < count.div_ceil(2) { number as f64 } else { number as f64 - count as f64 }
}
