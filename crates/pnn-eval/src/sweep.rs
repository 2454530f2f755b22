//! Sweeps over any deviation port and over chips.

use pnn_core::model::Model;
use pnn_core::{Chip, DeviationPort, Tensor};
use pnn_data::Dataset;
use serde::Serialize;

use crate::accuracy::{Evaluation, Evaluator};
use crate::interval::{Interval, wilson};
use crate::{Error, Result};

/// A chip on which a deviation port of some layers has one value everywhere.
///
/// # Errors
/// If a layer does not exist, is listed twice or has no such port, or the value is not finite.
pub fn on_port(model: &dyn Model, port: &str, layers: &[String], value: f64) -> Result<Chip> {
    if !value.is_finite() {
        let what = format!("deviation at port {port}");
        return Err(pnn_core::Error::Range { what, value, allowed: "finite numbers" }.into());
    }
    let mut chip = Chip::ideal();
    for (index, name) in layers.iter().enumerate() {
        find_port(model, port, &layers[..index], name)?;
        chip.layer_mut(name).add(port, &Tensor::new(value)?)?;
    }
    Ok(chip)
}

/// The port called `port` of a layer that is not among those named before.
pub(crate) fn find_port(
    model: &dyn Model,
    port: &str,
    before: &[String],
    name: &String,
) -> Result<DeviationPort> {
    if before.contains(name) {
        let (device, capability) = (format!("layer {name:?}"), "being listed twice".into());
        return Err(pnn_core::Error::Unsupported { device, capability }.into());
    }
    let physical = model.physical_layers();
    let Some(layer) = physical.iter().find(|layer| layer.name() == name) else {
        let known = physical.iter().map(|layer| layer.name());
        return Err(pnn_core::Error::unknown("physical layer", name, known).into());
    };
    let ports = layer.device().ports();
    ports.iter().find(|p| p.name == port).cloned().ok_or_else(|| {
        pnn_core::Error::unknown("deviation port", port, ports.iter().map(|p| p.name)).into()
    })
}

/// Accuracy at one setting of a sweep, over one or more chips.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepPoint {
    /// The swept value.
    pub value: f64,
    /// Accuracy in percent of each chip.
    pub chips: Vec<f64>,
    /// Mean accuracy in percent.
    pub mean: f64,
    /// 95 % interval of the accuracy in percent: Wilson over the images of one chip; over more
    /// chips, Student's t over these.
    pub interval: Interval,
    /// Images a chip.
    pub images: u64,
}

/// Evaluates the model at each setting on each chip: `chip_at(value, chip)` gives the deviations.
///
/// # Errors
/// If `chips` is 0 or an evaluation fails.
pub fn sweep(
    model: &dyn Model,
    evaluator: &Evaluator<'_>,
    data: &Dataset,
    values: &[f64],
    chips: usize,
    chip_at: &dyn Fn(f64, usize) -> Result<Chip>,
) -> Result<Vec<SweepPoint>> {
    let one = |value: &f64| -> Result<SweepPoint> {
        let drawn = (0..chips).map(|chip| chip_at(*value, chip)).collect::<Result<Vec<_>>>()?;
        let evaluations = evaluator.evaluate_chips(model, &drawn, data)?;
        let accuracies: Vec<f64> = evaluations.iter().map(Evaluation::percent).collect();
        let images = evaluations.first().map_or(0, Evaluation::images);
        let interval = match evaluations.as_slice() {
            [] => {
                return Err(Error::TooFew { what: "a sweep over chips", got: 0, needed: 1 });
            }
            [one] => wilson(one.confusion.correct(), images, 0.95)?.scaled(100.0),
            _ => crate::interval::student_t(&accuracies, 0.95)?,
        };
        let mean = accuracies.iter().sum::<f64>() / chips as f64;
        Ok(SweepPoint { value: *value, chips: accuracies, mean, interval, images })
    };
    values.iter().map(one).collect()
}
