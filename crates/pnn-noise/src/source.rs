//! Sources of deviations, and chips drawn from them.

use pnn_core::device::{Bounds, Chip, PortShape};
use pnn_core::model::Physical;
use pnn_core::{DType, Seed, Tensor};
use rand::distr::Distribution;
use rand_distr::{Normal, StandardNormal, Uniform};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// Deviation port that shifts of a resonance enter.
const RESONANCE: &str = "resonance_shift_nm";
/// Deviation port that errors of weights enter.
const WEIGHT: &str = "weight_error";
/// Deviation port that errors of detected outputs enter.
const READOUT: &str = "readout_error";
/// Deviation ports that errors of an interferometer's phases enter.
const PHASES: [&str; 2] = ["theta_error_rad", "phi_error_rad"];
/// Deviation ports that errors of an interferometer's splitters enter.
const SPLITTERS: [&str; 2] = ["left_splitter_error", "right_splitter_error"];

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
    /// Rounding of the programmed settings by a digital-to-analog converter with `bits` bits over
    /// its range ([`pnn_core::device::PhysicalLayer::drives`]); settings beyond it saturate. It is
    /// the rounding of the settings at the time of the draw.
    Quantisation {
        /// Resolution in bits, 1 to 24.
        bits: u32,
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

impl Source {
    fn name(&self) -> &'static str {
        match self {
            Self::Fabrication { .. } => "fabrication",
            Self::Drift { .. } => "drift",
            Self::RandomDrift { .. } => "random_drift",
            Self::Weight { .. } => "weight",
            Self::Readout { .. } => "readout",
            Self::Phase { .. } => "phase",
            Self::Splitter { .. } => "splitter",
            Self::Quantisation { .. } => "quantisation",
        }
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If one is out of range or NaN.
    pub fn check(&self) -> Result<()> {
        let non_negative = |what, value: f64| {
            if (0.0..f64::INFINITY).contains(&value) {
                Ok(())
            } else {
                Err(Error::Range { what, value, allowed: "[0, infinity)" })
            }
        };
        let finite = |what, value: f64| {
            if value.is_finite() {
                Ok(())
            } else {
                Err(Error::Range { what, value, allowed: "(-infinity, infinity)" })
            }
        };
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
            Self::Weight { std } => non_negative("weight noise std", std),
            Self::Readout { std } => non_negative("readout noise std", std),
            Self::Phase { std_rad } => non_negative("phase std_rad", std_rad),
            Self::Splitter { std, limit, .. } => {
                non_negative("splitter std", std)?;
                // With a limit of a tenth of the spread one draw in twelve is kept.
                if limit < 1.0 && limit > 0.0 && limit >= 0.1 * std {
                    return Ok(());
                }
                let allowed = "below 1, above 0 and a tenth of std";
                Err(Error::Range { what: "splitter limit", value: limit, allowed })
            }
            Self::Quantisation { bits } if (1..=24).contains(&bits) => Ok(()),
            Self::Quantisation { bits } => {
                let value = f64::from(bits);
                Err(Error::Range { what: "quantisation bits", value, allowed: "[1, 24]" })
            }
        }
    }
}

/// A source and the layers that it acts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The cause.
    #[serde(deserialize_with = "checked_source")]
    pub source: Source,
    /// Names of the layers; all physical layers if absent.
    #[serde(default, deserialize_with = "some_layers", skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

impl Noise {
    /// Checks the source, and that the list of layers is not empty.
    ///
    /// # Errors
    /// If a setting is out of range or NaN, or no layer is listed.
    pub fn check(&self) -> Result<()> {
        self.source.check()?;
        check_layers(self.layers.as_deref())
    }

    fn acts_on(&self, layer: &Physical) -> bool {
        self.layers.as_ref().is_none_or(|names| names.iter().any(|name| name == layer.name()))
    }
}

fn check_layers(layers: Option<&[String]>) -> Result<()> {
    if layers.is_some_and(<[String]>::is_empty) { Err(Error::NoLayers) } else { Ok(()) }
}

// The checks are made field by field, so that a configuration's error points at the field.

fn checked_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    let source = Source::deserialize(deserializer)?;
    source.check().map_err(serde::de::Error::custom)?;
    Ok(source)
}

fn some_layers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let layers = Option::<Vec<String>>::deserialize(deserializer)?;
    check_layers(layers.as_deref()).map_err(serde::de::Error::custom)?;
    Ok(layers)
}

/// Several causes together: the statistics of a production line and its surroundings.
///
/// ```
/// use pnn_noise::{Noise, NoiseModel, Source};
/// let line = NoiseModel::new(vec![
///     Noise { source: Source::Fabrication { std_nm: 0.02 }, layers: None },
///     Noise {
///         source: Source::Drift { kelvin: -1.0, nm_per_kelvin: 0.08 },
///         layers: Some(vec!["fc2".into(), "fc3".into()]),
///     },
/// ])?;
/// # Ok::<(), pnn_noise::Error>(())
/// ```
///
/// It is a list in a configuration file, checked as it is read:
///
/// ```toml
/// [[noise]]
/// source.drift = { kelvin = -1.0 }
/// layers = ["fc2", "fc3"]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)] // each `Noise` is checked as it is read
pub struct NoiseModel(Vec<Noise>);

impl NoiseModel {
    /// A model of checked sources. Several sources of one kind on one layer are independent and
    /// add up, except [`Source::RandomDrift`], whose temperature is that of the whole chip.
    ///
    /// # Errors
    /// If a setting is out of range, or a source has an empty list of layers.
    pub fn new(noise: Vec<Noise>) -> Result<Self> {
        noise.iter().try_for_each(Noise::check)?;
        Ok(Self(noise))
    }

    /// One source on all layers.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn all_layers(source: Source) -> Result<Self> {
        Self::new(vec![Noise { source, layers: None }])
    }

    /// One source on some layers.
    ///
    /// # Errors
    /// If a setting is out of range or `layers` is empty.
    pub fn on(source: Source, layers: &[&str]) -> Result<Self> {
        let layers = Some(layers.iter().map(|l| (*l).to_owned()).collect());
        Self::new(vec![Noise { source, layers }])
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Noise] {
        &self.0
    }

    /// Draws one chip. The deviations of a layer depend on the seed, the layer's name and shape,
    /// and the sources that act on it ([`Source::Quantisation`]: on the layer's settings too), and
    /// on nothing else: not on the order of layers or of sources of different kinds, nor on what
    /// else there is. `shots` is the number of shots for which readout noise is drawn (1 gives
    /// each output one fixed offset).
    ///
    /// # Errors
    /// If a source names a layer that is not there, or acts on a port that a layer does not have,
    /// or `shots` is 0 where readout noise is to be drawn, or two sources round the settings of one
    /// layer.
    pub fn draw(&self, layers: &[&Physical], shots: usize, seed: &Seed) -> Result<Chip> {
        let mut chip = Chip::ideal();
        // Deviations add up, and a sum of floats depends on its order. The sort is stable.
        let mut sources: Vec<&Noise> = self.0.iter().collect();
        sources.sort_by_key(|noise| noise.source.name());
        for (i, noise) in sources.iter().enumerate() {
            for name in noise.layers.iter().flatten() {
                if !layers.iter().any(|layer| layer.name() == name) {
                    let known: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Err(Error::UnknownLayer { name: name.clone(), known });
                }
            }
            for layer in layers.iter().filter(|layer| noise.acts_on(layer)) {
                let of_this_kind = |other: &&&Noise| {
                    other.source.name() == noise.source.name() && other.acts_on(layer)
                };
                let earlier = sources[..i].iter().filter(of_this_kind).count();
                noise.source.add_to(&mut chip, layer, shots, seed, earlier)?;
            }
        }
        Ok(chip)
    }
}

impl Source {
    /// Adds this source's deviations of a layer on which it is the `position`-th of its kind.
    fn add_to(
        &self,
        chip: &mut Chip,
        layer: &Physical,
        shots: usize,
        seed: &Seed,
        position: usize,
    ) -> Result<()> {
        let chip_seed = seed.child(self.name());
        let layer_seed = match (chip_seed.child(layer.name()), position) {
            // Without an index, so that a chip with one source of each kind has always been drawn
            // from the same streams.
            (seed, 0) => seed,
            (seed, position) => seed.index(position as u64),
        };
        let normal = |port, std| self.normal(layer, port, std, shots, &layer_seed);
        let errors = match *self {
            Self::Fabrication { std_nm } => vec![(RESONANCE, normal(RESONANCE, std_nm)?)],
            Self::Drift { kelvin, nm_per_kelvin } => {
                self.port(layer, RESONANCE)?;
                vec![(RESONANCE, Tensor::new(kelvin * nm_per_kelvin)?)]
            }
            Self::RandomDrift { max_kelvin, nm_per_kelvin } => {
                self.port(layer, RESONANCE)?;
                let uniform = Uniform::new_inclusive(-1.0, 1.0).map_err(|_| Error::Range {
                    what: "random_drift max_kelvin",
                    value: max_kelvin,
                    allowed: "[0, infinity)",
                })?;
                // Not the layer's stream: the chip has one temperature.
                let share = uniform.sample(&mut chip_seed.rng());
                vec![(RESONANCE, Tensor::new(share * max_kelvin * nm_per_kelvin)?)]
            }
            Self::Weight { std } => vec![(WEIGHT, normal(WEIGHT, std)?)],
            Self::Readout { std } => vec![(READOUT, normal(READOUT, std)?)],
            Self::Phase { std_rad } => {
                let of = |port| self.normal(layer, port, std_rad, shots, &layer_seed.child(port));
                vec![(PHASES[0], of(PHASES[0])?), (PHASES[1], of(PHASES[1])?)]
            }
            Self::Splitter { std, limit, beyond } => {
                let of = |port| -> Result<Tensor> {
                    let size = self.port(layer, port)?.dims().iter().product();
                    Ok(limited(std, limit, beyond, size, &layer_seed.child(port))?)
                };
                vec![(SPLITTERS[0], of(SPLITTERS[0])?), (SPLITTERS[1], of(SPLITTERS[1])?)]
            }
            Self::Quantisation { .. } if position > 0 => {
                return Err(Error::TwoConverters { layer: layer.name().to_owned() });
            }
            Self::Quantisation { bits } => self.roundings(layer, bits)?,
        };
        for (port, value) in errors {
            chip.layer_mut(layer.name()).add(port, &value)?;
        }
        Ok(())
    }

    fn missing(&self, layer: &Physical, needs: &str) -> Error {
        let (layer, needs) = (layer.name().to_owned(), needs.to_owned());
        Error::Missing { layer, needs, noise: self.name() }
    }

    fn port(&self, layer: &Physical, port: &str) -> Result<PortShape> {
        let found = layer.device().ports().iter().find(|p| p.name == port);
        let found = found.ok_or_else(|| self.missing(layer, &format!("port {port:?}")))?;
        Ok(found.shape.clone())
    }

    fn normal(
        &self,
        layer: &Physical,
        port: &str,
        std: f64,
        shots: usize,
        seed: &Seed,
    ) -> Result<Tensor> {
        let dims = match self.port(layer, port)? {
            PortShape::Fixed(dims) => dims,
            PortShape::Output(_) if shots == 0 => {
                return Err(Error::Range { what: "shots", value: 0.0, allowed: "[1, infinity)" });
            }
            PortShape::Output(dims) => [vec![shots], dims].concat(),
        };
        let normal = Normal::new(0.0, std).map_err(|_| Error::Range {
            what: "standard deviation",
            value: std,
            allowed: "[0, infinity)",
        })?;
        Ok(seed.tensor(normal, &dims, DType::F64)?)
    }

    /// The rounding errors of a layer's settings, and the ports that they enter.
    fn roundings(&self, layer: &Physical, bits: u32) -> Result<Vec<(&'static str, Tensor)>> {
        let drives = layer.device().drives(&layer.controls().detach())?;
        if drives.is_empty() {
            return Err(self.missing(layer, "programmed setting"));
        }
        let rounding = |drive: pnn_core::Drive| {
            if !(drive.range.low.is_finite() && drive.range.high.is_finite()) {
                return Err(self.missing(layer, "bounded converter range"));
            }
            let setting = drive.setting.to_dtype(DType::F64)?;
            let values = setting.elements::<f64>()?.iter();
            let errors = values.map(|v| quantise(*v, drive.range, bits) - v).collect::<Vec<_>>();
            Ok((drive.port, Tensor::from_vec(errors, setting.shape())?))
        };
        drives.into_iter().map(rounding).collect()
    }
}

/// Normal draws kept within +-`limit`.
fn limited(
    std: f64,
    limit: f64,
    beyond: Beyond,
    size: usize,
    seed: &Seed,
) -> pnn_core::Result<Tensor> {
    let mut rng = seed.rng();
    let mut draw = || loop {
        let normal: f64 = StandardNormal.sample(&mut rng);
        match (std * normal, beyond) {
            (error, _) if error.abs() <= limit => return error,
            (error, Beyond::Clamp) => return error.clamp(-limit, limit),
            (_, Beyond::Redraw) => {}
        }
    };
    Tensor::from_vec((0..size).map(|_| draw()).collect::<Vec<f64>>(), size)
}

/// The nearest of `2^bits` levels that divide a range evenly, both ends included.
///
/// ```
/// use pnn_core::Bounds;
/// let range = Bounds::new(-1.0, 1.0)?;
/// assert_eq!(pnn_noise::quantise(0.2, range, 1), 1.0);
/// assert_eq!(pnn_noise::quantise(-7.0, range, 8), -1.0);
/// # Ok::<(), pnn_core::Error>(())
/// ```
///
/// The result is NaN if the value is NaN, the range is unbounded or `bits` is 0.
#[must_use]
pub fn quantise(value: f64, range: Bounds, bits: u32) -> f64 {
    let steps = f64::from(bits).exp2() - 1.0;
    let step = (range.high - range.low) / steps;
    let level = ((value - range.low) / step).round().clamp(0.0, steps);
    // A weighted mean of the ends gives these exactly, and both halves of the range alike.
    (1.0 - level / steps) * range.low + level / steps * range.high
}
