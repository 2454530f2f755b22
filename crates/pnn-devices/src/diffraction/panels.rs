//! Modulators that are trained: phase masks and amplitude masks, and how they stand.

use pnn_core::device::{Drive, Levels, PortShape};
use pnn_core::ops::{Sampling, resample};
use pnn_core::{
    Bounds, Control, Controls, DType, DeviationPort, Deviations, Error, Result, Seed, Tensor,
};
use rand_distr::{StandardUniform, Uniform};

use super::{Element, Grid};
use crate::misalignment::{motion, ports};

/// Deviation port: errors of the phases of the masks, in turns.
pub const PHASE_ERROR_TURN: &str = "phase_error_turn";
/// Deviation port: errors of the transmissions of amplitude masks, which stay between 0 and 1.
pub const TRANSMISSION_ERROR: &str = "transmission_error";

/// What a modulator shows is in a control, and may be misaligned.
const PHASE: &str = "phase";
const TRANSMISSION: &str = "transmission";
/// What a modulator of amplitudes can show: it does not amplify.
const TRANSMISSIONS: Bounds = Bounds { low: 0.0, high: 1.0 };

/// The modulators of a network, in the order in which light meets them.
#[derive(Debug, Clone)]
pub(super) struct Panels {
    grid: Grid,
    /// Which of the panels are phase masks, and which amplitude masks.
    phases: Vec<usize>,
    transmissions: Vec<usize>,
    pub(super) controls: Vec<Control>,
    pub(super) ports: Vec<DeviationPort>,
}

/// What they show, as light meets it: phases in turns, transmissions of the amplitude.
pub(super) struct Shown {
    pub(super) phases: Vec<Tensor>,
    pub(super) transmissions: Vec<Tensor>,
}

impl Panels {
    pub(super) fn of(grid: Grid, elements: &[Element]) -> Self {
        let trained = elements.iter().filter_map(|element| match element {
            Element::Mask => Some(true),
            Element::AmplitudeMask => Some(false),
            _ => None,
        });
        let trained: Vec<bool> = trained.collect();
        let of = |phase| (0..trained.len()).filter(|k| trained[*k] == phase).collect::<Vec<_>>();
        let (phases, transmissions) = (of(true), of(false));
        let shape = |count: usize| vec![count, grid.height, grid.width];
        let mut controls = Vec::new();
        let mut ports = ports(&[trained.len()]);
        for (panels, name, unit, bounds, error) in [
            (&phases, PHASE, "turn", Bounds::UNBOUNDED, PHASE_ERROR_TURN),
            (&transmissions, TRANSMISSION, "1", TRANSMISSIONS, TRANSMISSION_ERROR),
        ] {
            if !panels.is_empty() {
                let shape = shape(panels.len());
                controls.push(Control { name, unit, bounds, shape: shape.clone() });
                ports.push(DeviationPort { name: error, unit, shape: PortShape::Fixed(shape) });
            }
        }
        Self { grid, phases, transmissions, controls, ports }
    }

    pub(super) fn count(&self) -> usize {
        self.phases.len() + self.transmissions.len()
    }

    /// Phases uniform in a turn, transmissions between a half and 1.
    pub(super) fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let half = Uniform::new_inclusive(0.5, 1.0).map_err(|_| Error::Range {
            what: "transmission".into(),
            value: 0.5,
            allowed: "[0, 1]",
        })?;
        let drawn = |control: &Control| -> Result<(String, Tensor)> {
            let (seed, shape) = (seed.child(control.name), &control.shape);
            let value = match control.name {
                PHASE => seed.tensor(StandardUniform, shape, dtype)?,
                _ => seed.tensor(half, shape, dtype)?,
            };
            Ok((control.name.to_owned(), value))
        };
        self.controls.iter().map(drawn).collect()
    }

    /// What light meets.
    pub(super) fn shown(
        &self,
        controls: &Controls,
        deviations: &Deviations,
        sampling: Sampling,
    ) -> Result<Shown> {
        let mut shown = Shown { phases: Vec::new(), transmissions: Vec::new() };
        for control in &self.controls {
            let phase = control.name == PHASE;
            let error = if phase { PHASE_ERROR_TURN } else { TRANSMISSION_ERROR };
            let set = deviations.shift(error, controls.of(control)?)?;
            self.check_finite(&set, if phase { "phase in turns" } else { "transmission" })?;
            // Whatever its errors, a modulator does not amplify.
            let set = if phase { set } else { set.clamp(TRANSMISSIONS.low, TRANSMISSIONS.high)? };
            let panels = if phase { &self.phases } else { &self.transmissions };
            let Grid { height, width, .. } = self.grid;
            for (number, panel) in panels.iter().enumerate() {
                let own = set.narrow(0, number, 1)?.reshape([height, width])?;
                let own = match motion(deviations, *panel)? {
                    Some((linear, shift)) => resample(&own, &linear, &shift, sampling)?,
                    None => own,
                };
                if phase { &mut shown.phases } else { &mut shown.transmissions }.push(own);
            }
        }
        Ok(shown)
    }

    fn check_finite(&self, set: &Tensor, what: &str) -> Result<()> {
        if set.all_finite()? {
            return Ok(());
        }
        let wide = set.to_dtype(DType::F64)?;
        let bad = wide.elements::<f64>()?.iter().position(|p| !p.is_finite());
        let (place, plane) = (bad.unwrap_or(0), self.grid.height * self.grid.width);
        let (mask, pixel) = (place / plane, place % plane);
        let (row, column) = (pixel / self.grid.width, pixel % self.grid.width);
        let what = format!("{what} of mask {mask}, row {row}, column {column}");
        let value = wide.elements::<f64>()?[place];
        Err(Error::Range { what, value, allowed: "finite" })
    }

    /// What the modulators' electronics program. A phase modulator shows a turn; other phases are shown less whole turns, which is
    /// the same at the first wavelength only: at others the model is a relief that has all its turns.
    pub(super) fn drives(&self, controls: &Controls) -> Result<Vec<Drive>> {
        let drive = |control: &Control| -> Result<Drive> {
            let set = controls.of(control)?;
            if control.name == TRANSMISSION {
                let (setting, range) = (set.clone(), TRANSMISSIONS);
                return Ok(Drive {
                    setting,
                    range,
                    levels: Levels::Even,
                    port: TRANSMISSION_ERROR,
                });
            }
            let wide = set.to_dtype(DType::F64)?;
            let wrapped = wide.elements::<f64>()?.iter().map(|p| p - p.floor()).collect();
            let setting = Tensor::from_vec(wrapped, set.shape().clone())?.to_dtype(set.dtype())?;
            let range = Bounds { low: 0.0, high: 1.0 };
            Ok(Drive { setting, range, levels: Levels::Periodic, port: PHASE_ERROR_TURN })
        };
        self.controls.iter().map(drive).collect()
    }
}
