//! What a bank of physical rings is made of, and how its heaters are set.

use pnn_core::{Bounds, Tensor};
use serde::{Deserialize, Serialize};

use super::ThermalCrosstalk;
use crate::mrr::{CURRENT_ERROR_MA, Detection, RingGeometry};

/// Deviation port of banks that are set by voltages: error of the voltage in V.
pub const VOLTAGE_ERROR_V: &str = "voltage_error_v";
/// Deviation port of banks that are set by heater powers: error of the power in mW.
pub const POWER_ERROR_MW: &str = "power_error_mw";

/// What is set on the heaters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// The current (control `current`, mA).
    #[default]
    Current,
    /// The voltage (control `voltage`, V).
    Voltage,
    /// The power (control `power`, mW).
    Power,
}

impl Setting {
    pub(super) fn control(self) -> (&'static str, &'static str) {
        match self {
            Self::Current => ("current", "mA"),
            Self::Voltage => ("voltage", "V"),
            Self::Power => ("power", "mW"),
        }
    }

    pub(super) fn error_port(self) -> &'static str {
        match self {
            Self::Current => CURRENT_ERROR_MA,
            Self::Voltage => VOLTAGE_ERROR_V,
            Self::Power => POWER_ERROR_MW,
        }
    }
}

/// A bank's rings, lasers and heaters. The default is the chip of Xu et al. (2026): rings of 20 um, wavelengths 0.8 nm
/// apart, heaters of 375 ohm that move a resonance by 0.53 nm/mW and put it on its laser at 4 mA.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WdmConfig {
    /// The rings; all have one radius but for what sets their resonances apart.
    pub ring: RingGeometry,
    /// Wavelengths, and so rings, on one waveguide.
    pub channels: usize,
    /// Distance of neighbouring wavelengths in nm.
    pub spacing_nm: f64,
    /// What is read.
    pub detection: Detection,
    /// What is set.
    pub setting: Setting,
    /// Resistance of a heater in ohm.
    pub resistance_ohm: f64,
    /// Shift of a resonance for each mW of heat, in nm.
    pub nm_per_milliwatt: f64,
    /// Current in mA that puts a ring on resonance with its laser, while no other ring is heated.
    pub resonance_milliamp: f64,
}

impl Default for WdmConfig {
    fn default() -> Self {
        Self {
            ring: RingGeometry::default(),
            channels: 4,
            spacing_nm: 0.8,
            detection: Detection::Balanced,
            setting: Setting::Current,
            resistance_ohm: 375.0,
            nm_per_milliwatt: 0.53,
            resonance_milliamp: 4.0,
        }
    }
}

impl WdmConfig {
    /// The heat in nm of settings.
    pub(super) fn heat(&self, setting: &Tensor) -> pnn_core::Result<Tensor> {
        match self.setting {
            Setting::Power => setting * self.nm_per_setting(),
            Setting::Current | Setting::Voltage => setting.sqr()? * self.nm_per_setting(),
        }
    }

    /// nm for each mA^2, V^2 or mW.
    fn nm_per_setting(&self) -> f64 {
        let milliwatts = match self.setting {
            Setting::Current => 1e-3 * self.resistance_ohm,
            Setting::Voltage => 1e3 / self.resistance_ohm,
            Setting::Power => 1.0,
        };
        self.nm_per_milliwatt * milliwatts
    }

    /// The setting of a heat in nm, not negative.
    pub(super) fn setting_of(&self, heat: f64) -> f64 {
        let value = heat / self.nm_per_setting();
        if self.setting == Setting::Power { value } else { value.sqrt() }
    }

    /// The detuning in nm of a ring that is not heated.
    pub(super) fn cold_nm(&self) -> f64 {
        self.nm_per_milliwatt * 1e-3 * self.resistance_ohm * self.resonance_milliamp.powi(2)
    }

    /// How far a ring may be from its laser in nm: half the distance to the next.
    pub(super) fn reach_nm(&self) -> f64 {
        0.5 * self.spacing_nm
    }
}

/// Heats with which rings can be anywhere between the lasers beside their own, whatever their neighbours do: from the least, where
/// neighbours give most, to the largest, where they give nothing.
pub(super) fn heats(config: &WdmConfig, crosstalk: &ThermalCrosstalk) -> Bounds {
    let (cold, reach) = (config.cold_nm(), config.reach_nm());
    let most = crosstalk.matrix().row_iter().map(|row| row.sum()).fold(1.0, f64::max);
    Bounds { low: ((cold - reach) / most).max(0.0), high: cold + reach }
}
