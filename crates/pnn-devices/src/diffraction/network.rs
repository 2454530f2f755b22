//! Masks, lenses and absorbers one behind the other, and detectors at the end.

use std::f64::consts::{PI, TAU};

use pnn_core::device::{Drive, Passivity, PortShape};
use pnn_core::ops::{Sampling, phase_shift};
use pnn_core::{
    ControlSpec, Controls, DType, DeviationPort, Deviations, PhysicalLayer, Seed, Tensor,
};

use super::absorber::check_film;
use super::grid::positive;
use super::panels::{Panels, Shown};
use super::{Detectors, FreeSpace, Grid, Method, saturable_absorber, saturable_film};
use crate::detection::{SHOT_NOISE, shot};
use crate::mrr::READOUT_ERROR;
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
    /// [`Diffractive::with_sampling`].
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

/// A diffractive network: light with the amplitudes of a picture passes through its elements and is
/// detected (Lin et al., Science 361, 1004, 2018; with absorbers Xu et al., Nat. Commun. 17, 1766, 2026).
///
/// # Shapes
/// Input (batch, height, width), amplitudes of light of phase 0 (the same for all wavelengths); output (batch, detectors),
/// powers divided by their sum (0 in the dark). Shot noise and [`READOUT_ERROR`], which is thermal noise too, are of the powers, before
/// the division; the latter in parts of the light that all detectors of the picture get. What is below 0 is read as 0.
///
/// With several wavelengths absorbers act on each by itself.
#[derive(Debug, Clone)]
pub struct Diffractive {
    grid: Grid,
    wavelengths_m: Vec<f64>,
    elements: Vec<Element>,
    stages: Vec<Stage>,
    detectors: Detectors,
    sampling: Sampling,
    panels: Panels,
    ports: Vec<DeviationPort>,
}

/// Planes that [`Diffractive::along_axis`] computes at most.
const MOST_PLANES: f64 = 1e5;

/// An element, with what can be computed beforehand.
#[derive(Debug, Clone)]
enum Stage {
    Space(FreeSpace),
    /// Phases in rad, (height, width) or (wavelengths, height, width), in f64 and f32.
    Lens([Tensor; 2]),
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

fn both(tensor: &Tensor) -> pnn_core::Result<[Tensor; 2]> {
    Ok([tensor.to_dtype(DType::F64)?, tensor.to_dtype(DType::F32)?])
}

fn of_type(tensors: &[Tensor; 2], dtype: DType) -> &Tensor {
    &tensors[usize::from(dtype == DType::F32)]
}

impl Diffractive {
    /// A network of elements on one grid, for light of one or several wavelengths.
    ///
    /// # Errors
    /// If there is no wavelength or no mask, a stretch of space or the detectors are of another grid, a focal length is 0 or not
    /// finite, an absorber's numbers are out of range, or an aperture has another shape.
    pub fn new(
        grid: Grid,
        wavelengths_m: &[f64],
        elements: &[Element],
        detectors: Detectors,
    ) -> Result<Self> {
        wavelengths_m.iter().try_for_each(|value| positive("wavelength in m", *value))?;
        if detectors.grid() != grid {
            let Grid { height, width, pitch_m } = detectors.grid();
            let what = format!("pitch in m of the {height} x {width} grid of the detectors");
            return Err(Error::from(pnn_core::Error::Range {
                what,
                value: pitch_m,
                allowed: "that of the network, and as many pixels",
            }));
        }
        let panels = Panels::of(grid, elements);
        let (mut phases, mut transmissions) = (0.., 0..);
        let stages = elements.iter().map(|element| {
            Ok(match element {
                Element::Space(space)
                    if space.grid() != grid || space.wavelengths_m() != wavelengths_m =>
                {
                    let what =
                        "pixels of a stretch of space (its grid or its wavelengths are others)";
                    let value = (space.grid().height * space.grid().width) as f64;
                    return Err(Error::Range { what, value, allowed: "those of the network" });
                }
                Element::Space(space) => Stage::Space(space.clone()),
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
                    Stage::Lens(both(&Tensor::from_vec(
                        phases,
                        per_wavelength(&grid, wavelengths_m),
                    )?)?)
                }
                Element::Mask => Stage::Mask(phases.next().unwrap_or(0)),
                Element::AmplitudeMask => Stage::AmplitudeMask(transmissions.next().unwrap_or(0)),
                Element::Absorber { fraction } => {
                    if !(0.0..f64::INFINITY).contains(fraction) {
                        let what = "absorbed fraction of the mean intensity";
                        let (value, allowed) = (*fraction, "[0, infinity)");
                        return Err(Error::Range { what, value, allowed });
                    }
                    Stage::Absorber(*fraction)
                }
                Element::SaturableFilm { depth, saturation } => {
                    check_film(*depth, *saturation)?;
                    Stage::SaturableFilm { depth: *depth, saturation: *saturation }
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
                    Stage::Amplitude(both(values)?)
                }
            })
        });
        let stages = stages.collect::<Result<Vec<_>>>()?;
        for (what, count) in
            [("number of masks", panels.count()), ("number of wavelengths", wavelengths_m.len())]
        {
            if count == 0 {
                return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
            }
        }
        let outputs = vec![detectors.regions().len()];
        let port =
            |name| DeviationPort { name, unit: "1", shape: PortShape::Output(outputs.clone()) };
        let mut ports = panels.ports.clone();
        ports.extend([port(READOUT_ERROR), port(SHOT_NOISE)]);
        let (wavelengths_m, sampling) = (wavelengths_m.to_vec(), Sampling::Nearest);
        let elements = elements.to_vec();
        Ok(Self { grid, wavelengths_m, elements, stages, detectors, sampling, panels, ports })
    }

    /// The network of Xu et al. (2026): 128 x 128 pixels of 2 um, light of 532 nm; 5 mm, a lens of 5 mm, 4 mm, a mask and
    /// an absorber, 2 mm, a mask and an absorber, 4 mm, a lens of 5 mm, 5 mm, ten detectors. Light wraps around at the
    /// edges, as in the published code.
    ///
    /// # Errors
    /// None, as all of that is in range.
    pub fn published() -> Result<Self> {
        let (grid, green) = (Grid::new(128, 128, 2e-6)?, [532e-9]);
        let space = |distance| -> Result<Element> {
            let space = FreeSpace::new(grid, distance, &green)?.with_padding(false)?;
            let space = space.with_band_limit(false)?.with_method(Method::AngularSpectrum)?;
            Ok(Element::Space(space))
        };
        let lens = Element::Lens { focal_length_m: 5e-3 };
        let absorber = Element::Absorber { fraction: 0.5 };
        let elements = [
            space(5e-3)?,
            lens.clone(),
            space(4e-3)?,
            Element::Mask,
            absorber.clone(),
            space(2e-3)?,
            Element::Mask,
            absorber,
            space(4e-3)?,
            lens,
            space(5e-3)?,
        ];
        Self::new(grid, &green, &elements, Detectors::published(grid)?)
    }

    /// What a place between the pixels of a misaligned mask has: by default the nearest pixel's value, as in the code of
    /// Xu et al. (2026).
    ///
    /// [`Sampling::Bilinear`] takes means of the phases in turns, not of `exp(2 pi i p)`: the mask is a continuous relief,
    /// such as printed or etched glass, and between neighbours of 0.1 and 0.9 turns lies a slope through 0.5. A modulator that
    /// shows phases less whole turns (0.9 as -0.1) has another one there, through 0. So with it whole turns of a phase
    /// matter as soon as a mask is moved; aligned or with [`Sampling::Nearest`], and for one wavelength, they do not.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// The elements, in the order in which light meets them.
    #[must_use]
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The detectors.
    #[must_use]
    pub fn detectors(&self) -> &Detectors {
        &self.detectors
    }

    /// The grid of all planes.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// The field after each element, the first being that which enters.
    ///
    /// # Shapes
    /// `x` (batch, height, width); each result (batch, 2, height, width), with several wavelengths (batch, wavelengths, 2,
    /// height, width).
    ///
    /// # Errors
    /// If input, controls or deviations do not fit.
    pub fn fields(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        let shown = self.shown(controls, deviations)?;
        let mut fields = vec![self.enter(x)?];
        for stage in &self.stages {
            let next = self.pass(stage, &fields[fields.len() - 1], &shown)?;
            fields.push(next);
        }
        Ok(fields)
    }

    /// What makes the computed light differ from light, in sentences that name the value and the limit; none
    /// if nothing does.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let side = self.grid.height.max(self.grid.width) as f64;
        let mut warnings = Vec::new();
        for element in &self.elements {
            match element {
                Element::Space(space) => warnings.extend(space.warnings()),
                Element::Lens { focal_length_m } => {
                    let shortest = self.wavelengths_m.iter().copied().fold(f64::INFINITY, f64::min);
                    let limit = side * self.grid.pitch_m.powi(2) / shortest;
                    if focal_length_m.abs() < limit {
                        warnings.push(format!(
                            "a lens of {focal_length_m} m: at its edge the phase turns by more than pi from pixel to \
                             pixel, allowed are focal lengths from {limit:.3e} m on"
                        ));
                    }
                }
                Element::Mask
                | Element::AmplitudeMask
                | Element::Absorber { .. }
                | Element::SaturableFilm { .. }
                | Element::Amplitude(_) => {}
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }

    /// Intensities on the way of one picture: those of the middle row, before the first element and then about
    /// every `step_m`; and the distances in m from there.
    ///
    /// # Shapes
    /// `x` (1, height, width), result (distances, width); intensities of several wavelengths add up.
    ///
    /// # Errors
    /// As [`Self::fields`], and if the step is not positive and finite, or there would be more than 100,000 planes.
    pub fn along_axis(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
        step_m: f64,
    ) -> Result<(Vec<f64>, Tensor)> {
        positive("step along the axis in m", step_m)?;
        let Grid { height, width, .. } = self.grid;
        if x.dims() != [1, height, width] {
            return Err(
                pnn_core::Error::shape("light", x, format!("(1, {height}, {width})")).into()
            );
        }
        let lengths = self.elements.iter().map(|element| match element {
            Element::Space(space) => space.distance_m(),
            _ => 0.0,
        });
        let planes = lengths.sum::<f64>() / step_m;
        if planes > MOST_PLANES {
            let what = "planes along the axis (length over step)";
            return Err(Error::Range { what, value: planes, allowed: "at most 100,000" });
        }
        let middle = |field: &Tensor| -> pnn_core::Result<Tensor> {
            let planes = field.elem_count() / (height * width);
            let rows = field.reshape([planes, height, width])?.narrow(1, height / 2, 1)?;
            rows.sqr()?.sum(0)
        };
        let fields = self.fields(x, controls, deviations)?;
        let (mut distances, mut rows) = (vec![0.0], vec![middle(&fields[0])?]);
        let mut start = 0.0;
        for (element, field) in self.elements.iter().zip(&fields) {
            let Element::Space(space) = element else { continue };
            let steps = (space.distance_m() / step_m).round().max(1.0) as usize;
            for step in 1..=steps {
                let distance = space.distance_m() * step as f64 / steps as f64;
                rows.push(middle(&space.clone().with_distance_m(distance)?.propagate(field)?)?);
                distances.push(start + distance);
            }
            start += space.distance_m();
        }
        Ok((distances, Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0)?))
    }

    /// The phases of the phase masks in turns, as light meets them.
    ///
    /// # Shapes
    /// Each (height, width).
    ///
    /// # Errors
    /// If controls or deviations do not fit, or a phase is not finite.
    pub fn masks(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        Ok(self.shown(controls, deviations)?.phases)
    }

    /// The transmissions of the amplitude masks, as light meets them.
    ///
    /// # Shapes
    /// Each (height, width).
    ///
    /// # Errors
    /// As [`Self::masks`].
    pub fn amplitude_masks(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        Ok(self.shown(controls, deviations)?.transmissions)
    }

    fn shown(&self, controls: &Controls, deviations: &Deviations) -> pnn_core::Result<Shown> {
        deviations.check(&self.ports)?;
        self.panels.shown(controls, deviations, self.sampling)
    }

    fn enter(&self, x: &Tensor) -> pnn_core::Result<Tensor> {
        let Grid { height, width, .. } = self.grid;
        let &[batch, h, w] = x.dims() else {
            return Err(pnn_core::Error::shape("light", x, format!("(batch, {height}, {width})")));
        };
        if (h, w) != (height, width) {
            return Err(pnn_core::Error::shape("light", x, format!("(batch, {height}, {width})")));
        }
        let dark = x.zeros_like()?;
        let planes = |t: &Tensor| t.reshape([batch, 1, height, width]);
        let one = Tensor::cat(&[&planes(x)?, &planes(&dark)?], 1)?;
        let colours = self.wavelengths_m.len();
        if colours == 1 {
            return Ok(one);
        }
        let one = one.reshape([batch, 1, 2, height, width])?;
        Tensor::cat(&vec![&one; colours], 1)
    }

    fn pass(&self, stage: &Stage, field: &Tensor, shown: &Shown) -> pnn_core::Result<Tensor> {
        match stage {
            Stage::Space(space) => Ok(space.propagate(field)?),
            Stage::Lens(phases) => phase_shift(field, of_type(phases, field.dtype())),
            Stage::Mask(number) => {
                let phase = (&shown.phases[*number] * TAU)?.to_dtype(field.dtype())?;
                if self.wavelengths_m.len() == 1 {
                    return phase_shift(field, &phase);
                }
                let first = self.wavelengths_m[0];
                let of = |wavelength: &f64| {
                    (&phase * (first / wavelength))?.reshape([1, self.grid.height, self.grid.width])
                };
                let phases: Vec<Tensor> =
                    self.wavelengths_m.iter().map(of).collect::<pnn_core::Result<_>>()?;
                phase_shift(field, &Tensor::cat(&phases.iter().collect::<Vec<_>>(), 0)?)
            }
            Stage::AmplitudeMask(number) => {
                field * shown.transmissions[*number].to_dtype(field.dtype())?
            }
            Stage::Absorber(fraction) => saturable_absorber(field, *fraction),
            Stage::SaturableFilm { depth, saturation } => {
                saturable_film(field, *depth, *saturation)
            }
            Stage::Amplitude(values) => field * of_type(values, field.dtype()),
        }
    }
}

/// The sum of powers (batch, detectors), as (batch, 1).
fn total(powers: &Tensor) -> pnn_core::Result<Tensor> {
    powers.sum(1)?.reshape([powers.dim(0)?, 1])
}

/// With 1 for 0: where no light arrives the shares are 0, not NaN.
fn not_zero(total: &Tensor) -> pnn_core::Result<Tensor> {
    let wide = total.to_dtype(DType::F64)?;
    let dark: Vec<f64> =
        wide.elements::<f64>()?.iter().map(|t| f64::from(u8::from(*t == 0.0))).collect();
    if dark.iter().all(|dark| *dark == 0.0) {
        return Ok(total.clone());
    }
    total + Tensor::from_vec(dark, total.shape().clone())?.to_dtype(total.dtype())?
}

fn per_wavelength(grid: &Grid, wavelengths_m: &[f64]) -> Vec<usize> {
    match wavelengths_m.len() {
        1 => vec![grid.height, grid.width],
        count => vec![count, grid.height, grid.width],
    }
}

impl PhysicalLayer for Diffractive {
    fn controls(&self) -> &ControlSpec {
        &self.panels.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// Phases uniform in a turn, transmissions between a half and 1.
    fn init(&self, seed: &Seed, dtype: DType) -> pnn_core::Result<Controls> {
        self.panels.init(seed, dtype)
    }

    fn forward(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        let shown = self.shown(controls, deviations)?;
        let mut field = self.enter(x)?;
        for stage in &self.stages {
            field = self.pass(stage, &field, &shown)?;
        }
        let powers = self.detectors.powers(&field)?;
        let mut noisy = shot(&powers, &powers, deviations)?;
        if deviations.is_active(READOUT_ERROR)? {
            let thermal = deviations.shift(READOUT_ERROR, &powers.zeros_like()?)?;
            noisy = (noisy + (thermal * total(&powers)?)?)?;
        }
        // No converter reads less than nothing; a negative sum would turn every share around.
        let noisy = noisy.clamp(0.0, f64::INFINITY)?;
        &noisy / not_zero(&total(&noisy)?)?
    }

    fn drives(&self, controls: &Controls) -> pnn_core::Result<Vec<Drive>> {
        self.panels.drives(controls)
    }

    fn passivity(&self) -> Passivity {
        Passivity::None
    }
}
