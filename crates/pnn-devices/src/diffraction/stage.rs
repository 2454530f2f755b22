//! Elements of a diffractive network, and what each does to light.

use std::f64::consts::{PI, TAU};

use pnn_core::ops::phase_shift;
use pnn_core::{DType, Tensor};

use super::absorber::check_film;
use super::panels::Shown;
use super::{FreeSpace, Grid, saturable_absorber, saturable_film};
use crate::{Error, Result};

/// What light meets on its way.
#[derive(Debug, Clone)]
pub enum Element {
    /// A stretch of free space.
    Space(FreeSpace),
    /// A thin lens: `exp(-i pi (x^2 + y^2) / (lambda f))`.
    Lens {
        /// Focal length in m; negative for a lens that spreads light.
        focal_length_m: f64,
    },
    /// A trainable phase mask, `exp(2 pi i p)` at the first wavelength and, as a relief, less at longer ones; where it is moved away,
    /// light passes unchanged. When
    /// it is misaligned its turns `p` are moved, as heights of a relief are, and not `exp(2 pi i p)`:
    /// [`Diffractive::with_sampling`](super::Diffractive::with_sampling).
    Mask,
    /// A trainable amplitude mask: the field times a transmission from 0 to 1. Where it is moved away, light is held back.
    AmplitudeMask,
    /// A saturable absorber, [`saturable_absorber`].
    Absorber {
        /// The part of a picture's mean intensity that is lost.
        fraction: f64,
    },
    /// A film whose absorption saturates, [`saturable_film`].
    SaturableFilm {
        /// Optical depth for weak light.
        depth: f64,
        /// Intensity at which it is half of that.
        saturation: f64,
    },
    /// A fixed transmission of the amplitude (height, width), such as an aperture.
    Amplitude(Tensor),
}

/// An element, with what can be computed beforehand.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Space(FreeSpace),
    /// Phases in rad, (height, width) or (wavelengths, height, width), in f64 and f32.
    Lens([Tensor; 2]),
    /// The number of the mask among those of its kind.
    Mask(usize),
    AmplitudeMask(usize),
    Absorber(f64),
    SaturableFilm {
        depth: f64,
        saturation: f64,
    },
    /// (height, width), in f64 and f32.
    Amplitude([Tensor; 2]),
}

impl Stage {
    /// Of an element on a grid, behind others.
    pub(super) fn of(
        element: &Element,
        before: &[Element],
        grid: Grid,
        wavelengths_m: &[f64],
    ) -> Result<Self> {
        let count = |is: fn(&Element) -> bool| before.iter().filter(|other| is(other)).count();
        Ok(match element {
            Element::Space(space)
                if space.grid() != grid || space.wavelengths_m() != wavelengths_m =>
            {
                let what = "pixels of a stretch of space (its grid or its wavelengths are others)";
                let value = (space.grid().height * space.grid().width) as f64;
                return Err(Error::Range { what, value, allowed: "those of the network" });
            }
            Element::Space(space) => Self::Space(space.clone()),
            Element::Lens { focal_length_m } => {
                if !focal_length_m.is_finite() || *focal_length_m == 0.0 {
                    let (what, value) = ("focal length in m", *focal_length_m);
                    return Err(Error::Range { what, value, allowed: "finite, not 0" });
                }
                let mut phases = Vec::new();
                for wavelength in wavelengths_m {
                    let curvature = -PI / (wavelength * focal_length_m);
                    phases.extend(grid.map(|y, x| curvature * (x * x + y * y)));
                }
                Self::Lens(both(&Tensor::from_vec(phases, per_wavelength(&grid, wavelengths_m))?)?)
            }
            Element::Mask => Self::Mask(count(|e| matches!(e, Element::Mask))),
            Element::AmplitudeMask => {
                Self::AmplitudeMask(count(|e| matches!(e, Element::AmplitudeMask)))
            }
            Element::Absorber { fraction } => {
                if !(0.0..f64::INFINITY).contains(fraction) {
                    let what = "absorbed fraction of the mean intensity";
                    let (value, allowed) = (*fraction, "[0, infinity)");
                    return Err(Error::Range { what, value, allowed });
                }
                Self::Absorber(*fraction)
            }
            Element::SaturableFilm { depth, saturation } => {
                check_film(*depth, *saturation)?;
                Self::SaturableFilm { depth: *depth, saturation: *saturation }
            }
            Element::Amplitude(values) => {
                if values.dims() != [grid.height, grid.width] {
                    let want = format!("({}, {})", grid.height, grid.width);
                    return Err(pnn_core::Error::shape("aperture", values, want).into());
                }
                let wide = values.to_dtype(DType::F64)?;
                // Glass does not amplify.
                let bad = wide.elements::<f64>()?.iter().find(|v| v.is_nan() || v.abs() > 1.0);
                if let Some(value) = bad {
                    let (what, value) = ("transmission of an aperture", *value);
                    return Err(Error::Range { what, value, allowed: "[-1, 1]" });
                }
                Self::Amplitude(both(values)?)
            }
        })
    }

    /// The field behind it.
    pub(super) fn pass(
        &self,
        field: &Tensor,
        shown: &Shown,
        grid: Grid,
        wavelengths_m: &[f64],
    ) -> pnn_core::Result<Tensor> {
        match self {
            Self::Space(space) => Ok(space.propagate(field)?),
            Self::Lens(phases) => phase_shift(field, of_type(phases, field.dtype())),
            Self::Mask(number) => {
                let phase = (&shown.phases[*number] * TAU)?.to_dtype(field.dtype())?;
                if wavelengths_m.len() == 1 {
                    return phase_shift(field, &phase);
                }
                let first = wavelengths_m[0];
                let of = |wavelength: &f64| {
                    (&phase * (first / wavelength))?.reshape([1, grid.height, grid.width])
                };
                let phases: Vec<Tensor> =
                    wavelengths_m.iter().map(of).collect::<pnn_core::Result<_>>()?;
                phase_shift(field, &Tensor::cat(&phases.iter().collect::<Vec<_>>(), 0)?)
            }
            Self::AmplitudeMask(number) => {
                field * shown.transmissions[*number].to_dtype(field.dtype())?
            }
            Self::Absorber(fraction) => saturable_absorber(field, *fraction),
            Self::SaturableFilm { depth, saturation } => saturable_film(field, *depth, *saturation),
            Self::Amplitude(values) => field * of_type(values, field.dtype()),
        }
    }
}

fn both(tensor: &Tensor) -> pnn_core::Result<[Tensor; 2]> {
    Ok([tensor.to_dtype(DType::F64)?, tensor.to_dtype(DType::F32)?])
}

fn of_type(tensors: &[Tensor; 2], dtype: DType) -> &Tensor {
    &tensors[usize::from(dtype == DType::F32)]
}

fn per_wavelength(grid: &Grid, wavelengths_m: &[f64]) -> Vec<usize> {
    match wavelengths_m.len() {
        1 => vec![grid.height, grid.width],
        count => vec![count, grid.height, grid.width],
    }
}
