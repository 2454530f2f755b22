//! Phases that are set by the voltage of a heater.

use std::f64::consts::TAU;

use pnn_core::{Error, Result, Tensor};

use super::phase::within;

/// Heaters that are set by voltage: a phase of `rad_per_volt2 V^2`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PhaseHeaters {
    /// Phase in rad for each V^2.
    pub rad_per_volt2: f64,
    /// The largest voltage in V.
    pub max_volt: f64,
}

impl PhaseHeaters {
    pub(super) fn check(&self) -> Result<()> {
        let Self { rad_per_volt2, max_volt } = *self;
        let range = |what: &str, value, allowed| {
            Err(Error::Range { what: what.to_owned(), value, allowed })
        };
        if !(rad_per_volt2 > 0.0 && rad_per_volt2.is_finite()) {
            return range("rad_per_volt2 of the heaters", rad_per_volt2, "(0, infinity)");
        }
        let reach = rad_per_volt2 * max_volt * max_volt;
        // Whole turns take rounding.
        if !(max_volt > 0.0 && (TAU * (1.0 - 1e-12)..f64::INFINITY).contains(&reach)) {
            let what = "phase in rad that the heaters reach at max_volt";
            return range(what, reach, "[2 pi, infinity)");
        }
        Ok(())
    }

    /// The phases that voltages make.
    pub(super) fn phases(&self, volts: &Tensor) -> Result<Tensor> {
        volts.sqr()?.affine(self.rad_per_volt2, 0.0)
    }

    /// The voltages that make phases (f64), which are not negative: heaters do not cool.
    pub(super) fn volts(&self, control: &str, phases: Tensor) -> Result<Tensor> {
        let reach = (-f64::MIN_POSITIVE, f64::INFINITY, "[0, infinity): heaters");
        let phases = within(&format!("phase in rad of {control}"), phases, reach)?;
        (phases / self.rad_per_volt2)?.sqrt()?.clamp(0.0, self.max_volt)
    }
}
