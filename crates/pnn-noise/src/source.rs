//! Sources of deviations.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One physical cause of deviations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Ring-to-ring spread of the resonances left by fabrication: independent N(0, `std_nm`^2)
    /// for each ring, on port `resonance_shift_nm`.
    Fabrication {
        /// Standard deviation in nm.
        std_nm: f64,
    },
    /// Ring-to-ring spread of the widths of resonances, over their mean: independent N(0, `std`^2) for each ring, drawn again
    /// beyond +-0.9, on port `width_error`.
    Width {
        /// Standard deviation over the mean.
        std: f64,
    },
    /// Ambient temperature, the same for all rings of the chip: `kelvin * nm_per_kelvin` on port
    /// `resonance_shift_nm`.
    Drift {
        /// Temperature change in K.
        kelvin: f64,
        /// Shift in nm/K.
        #[serde(default = "published_nm_per_kelvin")]
        nm_per_kelvin: f64,
    },
    /// An ambient temperature that nobody knows: uniform in +-`max_kelvin`, one value for the
    /// whole chip, on port `resonance_shift_nm`. Two of these share the draw.
    RandomDrift {
        /// Largest temperature change in K.
        max_kelvin: f64,
        /// Shift in nm/K.
        #[serde(default = "published_nm_per_kelvin")]
        nm_per_kelvin: f64,
    },
    /// Error of the weights: independent N(0, `std`^2) on port `weight_error`.
    Weight {
        /// Standard deviation; weights lie in [-1, 1].
        std: f64,
    },
    /// Error of the detected outputs: independent N(0, `std`^2) for each output of each shot, on
    /// port `readout_error`.
    Readout {
        /// Standard deviation, in units of the output.
        std: f64,
    },
    /// Shot noise of detectors: independent N(0, 1/`photons`) for each output of each shot, on port
    /// `shot_noise`, which multiplies it by the root of the light.
    Shot {
        /// Photons in a unit of light.
        photons: f64,
    },
    /// Error of the phases of interferometers: independent N(0, `std_rad`^2) on ports
    /// `theta_error_rad` and `phi_error_rad`.
    Phase {
        /// Standard deviation in rad.
        std_rad: f64,
    },
    /// Error of the splitters of interferometers: independent N(0, `std`^2) on ports
    /// `left_splitter_error` and `right_splitter_error`, kept within +-`limit`.
    Splitter {
        /// Standard deviation, in the unit of the ports.
        std: f64,
        /// The largest error: beyond 1 a splitting ratio is no splitter at all.
        #[serde(default = "splitter_limit")]
        limit: f64,
        /// What becomes of a draw beyond it.
        #[serde(default)]
        beyond: Beyond,
    },
    /// One panel turned, moved or stretched against another.
    Misalignment {
        /// How, and with it the port.
        motion: Motion,
        /// How far.
        spread: Spread,
        /// One value for all panels of the chip, as where one stage carries them (and two of these share the
        /// draw); else each panel has its own.
        #[serde(default)]
        common: bool,
    },
    /// Heat that reaches a neighbour's heater beyond what the model knows, over what the neighbour gets of its own: one value for each
    /// layer, on port `thermal_crosstalk`.
    Crosstalk {
        /// How much.
        spread: Spread,
    },
    /// Rounding of the programmed settings by a digital-to-analog converter with `bits` bits over
    /// its range ([`pnn_core::device::PhysicalLayer::drives`]); settings beyond it saturate. It is
    /// the rounding of the settings at the time of the draw.
    Quantisation {
        /// Resolution in bits, 1 to 24.
        bits: u32,
    },
}

/// How a panel is misaligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Motion {
    /// Rotation in degrees.
    RotationDeg,
    /// Shift along the rows in pixels.
    ShiftXPx,
    /// Shift along the columns in pixels.
    ShiftYPx,
    /// Magnification less 1.
    ScaleError,
    /// Shear: pixels along the rows for each along the columns.
    Shear,
}

impl Motion {
    /// The deviation port.
    #[must_use]
    pub fn port(self) -> &'static str {
        match self {
            Self::RotationDeg => "rotation_deg",
            Self::ShiftXPx => "shift_x_px",
            Self::ShiftYPx => "shift_y_px",
            Self::ScaleError => "scale_error",
            Self::Shear => "shear",
        }
    }
}

/// How a value is drawn, in the unit of its port.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Spread {
    /// It is known.
    Fixed(f64),
    /// Evenly from [`low`, `high`].
    Uniform {
        /// The smallest value.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// From N(0, `std`^2).
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// A random walk from 0: after `hours` from N(0, `std_per_sqrt_hour`^2 `hours`). One seed is one walk, of independent steps of a
    /// quarter of an hour.
    Drifting {
        /// Standard deviation after an hour.
        std_per_sqrt_hour: f64,
        /// Time since the calibration in hours, up to 100,000.
        hours: f64,
    },
}

/// What becomes of a draw beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// It is drawn again: a truncated normal distribution.
    #[default]
    Redraw,
    /// It becomes the limit.
    Clamp,
}

fn splitter_limit() -> f64 {
    0.99
}

/// 0.08 nm/K, the drift in the published code of Xu et al. (2026); the text of the paper has
/// 12 pm in 0.2 K, which is 0.06.
fn published_nm_per_kelvin() -> f64 {
    0.08
}

/// A walk takes its time.
const LONGEST_HOURS: f64 = 1e5;
/// With a larger one hardly a draw would be kept.
const WIDEST_STD: f64 = 9.0;

impl Source {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fabrication { .. } => "fabrication",
            Self::Width { .. } => "width",
            Self::Drift { .. } => "drift",
            Self::RandomDrift { .. } => "random_drift",
            Self::Weight { .. } => "weight",
            Self::Readout { .. } => "readout",
            Self::Shot { .. } => "shot",
            Self::Phase { .. } => "phase",
            Self::Splitter { .. } => "splitter",
            Self::Misalignment { motion: Motion::RotationDeg, .. } => "misalignment rotation",
            Self::Misalignment { motion: Motion::ShiftXPx, .. } => "misalignment shift_x",
            Self::Misalignment { motion: Motion::ShiftYPx, .. } => "misalignment shift_y",
            Self::Misalignment { motion: Motion::ScaleError, .. } => "misalignment scale",
            Self::Misalignment { motion: Motion::Shear, .. } => "misalignment shear",
            Self::Crosstalk { .. } => "crosstalk",
            Self::Quantisation { .. } => "quantisation",
        }
    }

    /// [`Self::Splitter`] with this standard deviation, whose draws are kept below 0.99 by drawing again.
    #[must_use]
    pub fn splitter(std: f64) -> Self {
        Self::Splitter { std, limit: splitter_limit(), beyond: Beyond::default() }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If one is out of range or NaN.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Fabrication { std_nm } => non_negative("fabrication std_nm", std_nm),
            Self::Drift { kelvin, nm_per_kelvin } => {
                finite("drift kelvin", kelvin)?;
                finite("drift nm_per_kelvin", nm_per_kelvin)
            }
            Self::RandomDrift { max_kelvin, nm_per_kelvin } => {
                non_negative("random_drift max_kelvin", max_kelvin)?;
                finite("random_drift nm_per_kelvin", nm_per_kelvin)
            }
            Self::Width { std } if (0.0..=WIDEST_STD).contains(&std) => Ok(()),
            Self::Width { std } => {
                Err(Error::Range { what: "width std", value: std, allowed: "[0, 9]" })
            }
            Self::Weight { std } => non_negative("weight noise std", std),
            Self::Readout { std } => non_negative("readout noise std", std),
            Self::Shot { photons } if photons > 0.0 && photons.is_finite() => Ok(()),
            Self::Shot { photons } => {
                let allowed = "(0, infinity)";
                Err(Error::Range { what: "shot photons", value: photons, allowed })
            }
            Self::Phase { std_rad } => non_negative("phase std_rad", std_rad),
            Self::Splitter { std, limit, .. } => {
                non_negative("splitter std", std)?;
                // With a limit of a tenth of the spread one draw in twelve is kept.
                if limit < 1.0 && limit > 0.0 && limit >= 0.1 * std {
                    return Ok(());
                }
                let allowed = "below 1, above 0 and at least a tenth of splitter std";
                Err(Error::Range { what: "splitter limit", value: limit, allowed })
            }
            Self::Misalignment { spread, .. } => spread.check([
                "fixed misalignment",
                "misalignment low",
                "misalignment high",
                "misalignment std",
                "misalignment std_per_sqrt_hour",
                "misalignment hours",
                "at most misalignment high",
            ]),
            Self::Crosstalk { spread } => spread.check([
                "fixed crosstalk",
                "crosstalk low",
                "crosstalk high",
                "crosstalk std",
                "crosstalk std_per_sqrt_hour",
                "crosstalk hours",
                "at most crosstalk high",
            ]),
            Self::Quantisation { bits } if (1..=24).contains(&bits) => Ok(()),
            Self::Quantisation { bits } => {
                let value = f64::from(bits);
                Err(Error::Range { what: "quantisation bits", value, allowed: "[1, 24]" })
            }
        }
    }
}

impl Spread {
    /// Checks its settings, which are called so: the known value, both ends, the deviation, that of a walk with its time, and what the
    /// low end may be.
    fn check(self, names: [&'static str; 7]) -> Result<()> {
        let [fixed, lowest, highest, deviation, walk, time, allowed] = names;
        match self {
            Self::Fixed(value) => finite(fixed, value),
            Self::Uniform { low, high } => {
                finite(lowest, low)?;
                finite(highest, high)?;
                if low <= high {
                    return Ok(());
                }
                Err(Error::Range { what: lowest, value: low, allowed })
            }
            Self::Normal { std } => non_negative(deviation, std),
            Self::Drifting { std_per_sqrt_hour, hours } => {
                non_negative(walk, std_per_sqrt_hour)?;
                if (0.0..=LONGEST_HOURS).contains(&hours) {
                    return Ok(());
                }
                Err(Error::Range { what: time, value: hours, allowed: "[0, 100000]" })
            }
        }
    }
}

fn non_negative(what: &'static str, value: f64) -> Result<()> {
    if (0.0..f64::INFINITY).contains(&value) {
        Ok(())
    } else {
        Err(Error::Range { what, value, allowed: "[0, infinity)" })
    }
}

fn finite(what: &'static str, value: f64) -> Result<()> {
    if value.is_finite() {
        Ok(())
    } else {
        Err(Error::Range { what, value, allowed: "(-infinity, infinity)" })
    }
}
