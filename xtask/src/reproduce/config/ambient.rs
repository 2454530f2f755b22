//! Chips in a room whose temperature changes.

use pnn_noise::{Noise, NoiseModel, Source, Spread};
use pnn_train::{RingChip, Trained};
use serde::{Deserialize, Serialize};

use super::analysis::{percent, positive};
use super::{Contest, Plan, Profile};
use crate::error::Result;
use crate::reproduce::measured::{MeasuredRings, RingSpread};

/// Accuracy, yield and power of chips over ambient temperatures.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ambient {
    /// Temperatures, increasing.
    pub(crate) celsius: Vec<f64>,
    /// That for which the settings are made: one of them.
    pub(crate) calibrated_at: f64,
    #[serde(deserialize_with = "positive")]
    pub(crate) nm_per_kelvin: f64,
    /// How the resonances of a chip spread, as a standard deviation in half-widths of a resonance; measured rings
    /// (`--curves`, `--reference`) say it for themselves.
    #[serde(deserialize_with = "positive")]
    pub(crate) spread_half_widths: f64,
    /// How their widths spread: the standard deviation over the mean.
    #[serde(deserialize_with = "positive")]
    pub(crate) spread_widths: f64,
    /// Where that is from.
    pub(crate) spread_source: String,
    /// Standard deviation of the thermal crosstalk from ring to ring that training does not know, one value for
    /// each layer.
    #[serde(deserialize_with = "positive")]
    pub(crate) crosstalk_std: f64,
    /// A chip below this accuracy in percent is no yield.
    #[serde(deserialize_with = "percent")]
    pub(crate) good_from: f64,
    /// Symbols that modulators and detectors do in a second, in 1e9: with the heaters' power, the energy.
    #[serde(deserialize_with = "positive")]
    pub(crate) gigabaud: f64,
    /// Which methods the claim puts before which.
    pub(crate) contests: Vec<Contest>,
    /// What training and tuning know of the chips, and what a step costs: for the report.
    pub(crate) knowledge: String,
}

impl Ambient {
    /// How rings differ: as measured ones do, if there are any.
    pub(crate) fn spread(&self, measured: Option<&MeasuredRings>) -> RingSpread {
        match measured {
            Some(rings) => rings.ring_spread(),
            None => RingSpread {
                half_widths: self.spread_half_widths,
                widths: self.spread_widths,
                source: self.spread_source.clone(),
            },
        }
    }

    /// What chips are drawn from, at the temperature of the calibration, with so many times the spread of the rings.
    pub(crate) fn noise(
        &self,
        spread: &RingSpread,
        chip: &RingChip,
        times: f64,
    ) -> Result<NoiseModel> {
        let sources = [
            Source::Fabrication { std_nm: times * spread.nm(chip)? },
            Source::Width { std: times * spread.widths },
            Source::Crosstalk { spread: Spread::Normal { std: self.crosstalk_std } },
        ];
        Ok(NoiseModel::new(sources.map(|source| Noise { source, layers: None }).to_vec())?)
    }

    /// The drift from the calibration. A warmer room moves a resonance as its heater does, to longer wavelengths: the detuning, laser less
    /// resonance, falls.
    pub(crate) fn drift(&self, kelvin: f64) -> pnn_noise::Result<NoiseModel> {
        NoiseModel::all_layers(Source::Drift { kelvin: -kelvin, nm_per_kelvin: self.nm_per_kelvin })
    }

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        if !self.celsius.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(format!("celsius is {:?}, allowed is increasing", self.celsius));
        }
        if !self.celsius.contains(&self.calibrated_at) {
            return Err(format!("calibrated_at {} is not in celsius", self.calibrated_at));
        }
        Ok(())
    }

    pub(super) fn check_plan(
        &self,
        plan: &Plan,
        profile: &Profile,
    ) -> std::result::Result<(), String> {
        if !plan.chips.is_some_and(|chips| (2..=1000).contains(&chips)) {
            return Err(format!("chips is {:?}, allowed is [2, 1000]", plan.chips));
        }
        let heated = |m: &&String| profile.methods[*m].recipe.train == Trained::Heaters;
        match plan.methods.iter().find(|m| !heated(m)) {
            Some(other) => Err(format!("methods: {other:?} heats no rings (train = \"heaters\")")),
            None => Ok(()),
        }
    }
}
