//! The deviations that one source makes on one layer.

use pnn_core::device::{Chip, PortShape};
use pnn_core::model::Physical;
use pnn_core::{DType, Seed, Tensor};
use rand::distr::Distribution;
use rand_distr::{Normal, StandardNormal, StandardUniform, Uniform};

use crate::{Beyond, Error, Result, Source, Spread};

/// Deviation port that shifts of a resonance enter.
const RESONANCE: &str = "resonance_shift_nm";
/// Deviation port that widths of a resonance enter, and how far they may be off.
const WIDTH: &str = "width_error";
const WIDTH_LIMIT: f64 = 0.9;
/// Deviation port that errors of weights enter.
const WEIGHT: &str = "weight_error";
/// Deviation port that errors of detected outputs enter.
const READOUT: &str = "readout_error";
/// Deviation port that shot noise enters.
const SHOT: &str = "shot_noise";
/// Deviation ports that errors of an interferometer's phases enter.
const PHASES: [&str; 2] = ["theta_error_rad", "phi_error_rad"];
/// Deviation ports that errors of an interferometer's splitters enter.
const SPLITTERS: [&str; 2] = ["left_splitter_error", "right_splitter_error"];

/// Deviation port that heat of neighbours enters.
const CROSSTALK: &str = "thermal_crosstalk";

impl Source {
    /// Adds this source's deviations of a layer on which it is the `position`-th of its kind.
    pub(crate) fn add_to(
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
            Self::Width { std } => {
                let dims = self.port(layer, WIDTH)?.dims().to_vec();
                let size = dims.iter().product();
                let errors = limited(std, WIDTH_LIMIT, Beyond::Redraw, size, &layer_seed)?;
                vec![(WIDTH, errors.reshape(dims)?)]
            }
            Self::Weight { std } => vec![(WEIGHT, normal(WEIGHT, std)?)],
            Self::Readout { std } => vec![(READOUT, normal(READOUT, std)?)],
            Self::Shot { photons } => vec![(SHOT, normal(SHOT, 1.0 / photons.sqrt())?)],
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
            Self::Misalignment { motion, spread, common } => {
                let port = motion.port();
                let panels = self.port(layer, port)?.dims().to_vec();
                let (seed, dims) = match common {
                    true => (&chip_seed, vec![]),
                    false => (&layer_seed, panels),
                };
                vec![(port, spread.draw(&dims, seed)?)]
            }
            Self::Crosstalk { spread } => {
                self.port(layer, CROSSTALK)?;
                vec![(CROSSTALK, spread.draw(&[], &layer_seed)?)]
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
            let rounded = |v: f64| drive.levels.round(v, drive.range, bits);
            let errors = values.map(|v| rounded(*v) - v).collect::<Vec<_>>();
            Ok((drive.port, Tensor::from_vec(errors, setting.shape())?))
        };
        drives.into_iter().map(rounding).collect()
    }
}

impl Spread {
    fn draw(self, dims: &[usize], seed: &Seed) -> pnn_core::Result<Tensor> {
        let scaled = |std: f64| seed.tensor(StandardNormal, dims, DType::F64)?.affine(std, 0.0);
        match self {
            Self::Fixed(value) => Tensor::full(value, dims.to_vec()),
            Self::Uniform { low, high } => {
                let share = seed.tensor(StandardUniform, dims, DType::F64)?;
                share.affine(high - low, low)
            }
            Self::Normal { std } => scaled(std),
            Self::Drifting { std_per_sqrt_hour, hours } => {
                let size = dims.iter().product();
                let walks = (0..size).map(|place| walk(hours, &seed.index(place as u64)));
                let walks = Tensor::from_vec(walks.collect::<Vec<f64>>(), dims.to_vec())?;
                walks.affine(std_per_sqrt_hour, 0.0)
            }
        }
    }
}

/// Hours of a step of a random walk.
const WALK_STEP: f64 = 0.25;

/// A random walk from 0 after so many hours, with a variance of 1 in an hour: independent steps, of which the last is as long as
/// is left. One seed is one walk.
fn walk(hours: f64, seed: &Seed) -> f64 {
    let steps = (hours / WALK_STEP).floor();
    let mut normal = Distribution::<f64>::sample_iter(StandardNormal, seed.rng());
    let whole: f64 = normal.by_ref().take(steps as usize).sum();
    let last = normal.next().unwrap_or_default();
    whole * WALK_STEP.sqrt() + last * (hours - steps * WALK_STEP).max(0.0).sqrt()
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
