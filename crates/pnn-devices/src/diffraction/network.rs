//! Masks, lenses and absorbers one behind the other, and detectors at the end.

use pnn_core::device::{Drive, Passivity, PortShape};
use pnn_core::ops::Sampling;
use pnn_core::{
    ControlSpec, Controls, DType, DeviationPort, Deviations, PhysicalLayer, Seed, Tensor,
};

use super::grid::positive;
use super::panels::{Panels, Shown};
use super::stage::Stage;
use super::{Detectors, Element, FreeSpace, Grid, Method};
use crate::detection::{SHOT_NOISE, shot};
use crate::mrr::READOUT_ERROR;
use crate::{Error, Result};

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
    pub(super) grid: Grid,
    pub(super) wavelengths_m: Vec<f64>,
    pub(super) elements: Vec<Element>,
    pub(super) stages: Vec<Stage>,
    detectors: Detectors,
    sampling: Sampling,
    panels: Panels,
    ports: Vec<DeviationPort>,
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
        let stages = elements
            .iter()
            .enumerate()
            .map(|(place, element)| Stage::of(element, &elements[..place], grid, wavelengths_m));
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

    pub(super) fn shown(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Shown> {
        deviations.check(&self.ports)?;
        self.panels.shown(controls, deviations, self.sampling)
    }

    pub(super) fn enter(&self, x: &Tensor) -> pnn_core::Result<Tensor> {
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
            field = stage.pass(&field, &shown, self.grid, &self.wavelengths_m)?;
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
