//! Sharpness-aware training against a deviation that has no explicit model: its slope is measured by
//! displacing it, and the gradient is taken where the climb ends.

use pnn_core::model::{InSilico, Mode, Model};
use pnn_core::optim::{Evaluation, Point};
use pnn_core::tensor::without_gradients;
use pnn_core::{Chip, DType, Seed, Tensor, Var};
use rand_distr::{Distribution, StandardUniform};
use serde::{Deserialize, Serialize};

use crate::strategy::{StepContext, StepReport, Strategy};
use crate::task::{Batch, Task};
use crate::{Error, Result};

/// A deviation that training climbs. Its unit is that of the port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Climb {
    /// The deviation port, such as `rotation_deg`.
    pub port: String,
    /// The layers whose port it is: all get the same deviation.
    pub layers: Vec<String>,
    /// The largest displacement at which the loss is probed: it is drawn evenly from (0, probe].
    pub probe: f64,
    /// Probes to the other side as often.
    #[serde(default)]
    pub both_signs: bool,
    /// How far training climbs for a slope of 1: the `alpha` of Xu et al. (2026), Eq. 4, in units of the
    /// port squared over that of the loss. Where the loss is a sum over images (masks), so is the slope: with half the batch twice the rate is the same climb.
    pub rate: f64,
    /// Where the second pass may be; anywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<[f64; 2]>,
}

/// Which deviations are climbed in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// One after the other, step by step.
    #[default]
    EachStep,
    /// One after the other, epoch by epoch.
    EachEpoch,
    /// All, each probed alone.
    Together,
}

/// Where the second pass of a step is, for the setting `theta` of a deviation, its probe `d` and the
/// slope `g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `theta + d + rate g`, as the code of Xu et al. (2026) has it: the climb starts at the probe. With its
    /// constants for one deviation it is short against that.
    #[default]
    Published,
    /// `theta + rate g`, as Eq. 4 of the paper has it.
    #[serde(rename = "equation_4")]
    Equation4,
}

/// How the slope of the loss in a deviation is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slope {
    /// `(L(d) - L(0)) / d`: one pass more.
    #[default]
    OneSided,
    /// `(L(d) - L(-d)) / 2 d`: two passes more.
    TwoSided,
    /// `dL/dtheta` at the calibrated setting, by backpropagation: the model must be differentiable in the
    /// deviation. Pictures that are seen bilinearly have a kink there, at which the derivative is the mean of both sides'.
    Analytic,
}

/// Settings of [`DeviationAscent`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviationAscentSettings {
    /// The deviations.
    pub climbs: Vec<Climb>,
    /// Which of them a step climbs.
    #[serde(default)]
    pub turn: Turn,
    /// Where the second pass is.
    #[serde(default)]
    pub form: Form,
    /// How slopes are found.
    #[serde(default)]
    pub slope: Slope,
}

impl DeviationAscentSettings {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If there is nothing to climb, a climb has no layers, or a setting is out of range or NaN.
    pub fn check(&self) -> Result<()> {
        let range = |what, value: f64, inside: bool, allowed| {
            if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
        };
        let some = "[1, infinity)";
        let climbs = self.climbs.len() as f64;
        range("number of climbs of deviation_ascent", climbs, climbs > 0.0, some)?;
        for climb in &self.climbs {
            let layers = climb.layers.len() as f64;
            range("number of layers of a climb", layers, layers > 0.0, some)?;
            let inside = climb.probe > 0.0 && climb.probe.is_finite();
            range("probe of a climb", climb.probe, inside, "(0, infinity)")?;
            let inside = (0.0..f64::INFINITY).contains(&climb.rate);
            range("rate of a climb", climb.rate, inside, "[0, infinity)")?;
            if let Some([low, high]) = climb.limits {
                range("lower limit of a climb", low, low <= high, "at most the upper limit")?;
            }
        }
        Ok(())
    }

    /// How many passes more than a step without deviations a step makes.
    #[must_use]
    pub fn extra_passes(&self) -> usize {
        let each = if self.slope == Slope::TwoSided { 2 } else { 1 };
        if self.turn == Turn::Together { each * self.climbs.len() } else { each }
    }
}

/// Sharpness-aware training in deviations (Xu et al., Nat. Commun. 17, 1766, 2026, Eq. 4 and methods): a
/// step takes the loss at the calibrated setting, probes it at a random displacement, climbs by the slope
/// between the two, and descends with the gradient taken there; the setting is then as before. Under a
/// sharpness-aware optimizer the weights ascend too, by their gradient at the calibrated setting.
#[derive(Debug, Clone)]
pub struct DeviationAscent {
    settings: DeviationAscentSettings,
}

impl DeviationAscent {
    /// The strategy for a model.
    ///
    /// # Errors
    /// If a setting is out of range, or a layer or its port is not there.
    pub fn new(settings: DeviationAscentSettings, model: &dyn Model) -> Result<Self> {
        settings.check()?;
        let layers = model.physical_layers();
        for climb in &settings.climbs {
            pnn_core::model::check_layers(model, climb.layers.iter().map(String::as_str))?;
            for layer in layers.iter().filter(|l| climb.layers.iter().any(|name| name == l.name()))
            {
                let ports = layer.device().ports();
                if !ports.iter().any(|port| port.name == climb.port) {
                    let known = ports.iter().map(|port| port.name);
                    return Err(
                        pnn_core::Error::unknown("deviation port", &climb.port, known).into()
                    );
                }
            }
        }
        Ok(Self { settings })
    }

    /// The deviations that a step climbs.
    fn turn(&self, epoch: usize, step: usize) -> &[Climb] {
        let climbs = &self.settings.climbs;
        let one = |number: usize| {
            let number = number % climbs.len();
            &climbs[number..=number]
        };
        match self.settings.turn {
            Turn::EachStep => one(step),
            Turn::EachEpoch => one(epoch),
            Turn::Together => climbs,
        }
    }

    /// Where a deviation is in the second pass.
    fn climb(
        &self,
        climb: &Climb,
        task: &Task<'_>,
        loss: f64,
        seed: &Seed,
    ) -> pnn_core::Result<f64> {
        let mut rng = seed.rng();
        let mut share = || -> f64 { StandardUniform.sample(&mut rng) };
        let size = climb.probe * (1.0 - share());
        let sign = if climb.both_signs && share() < 0.5 { -1.0 } else { 1.0 };
        // Not 0, by which the slope would be divided.
        let probe = sign * size;
        let at = |value: f64| -> pnn_core::Result<f64> {
            let chip = displaced(&[(climb, Tensor::new(value)?)])?;
            without_gradients(|| task.loss(STILL, &mut InSilico(&chip)))?
                .to_dtype(DType::F64)?
                .to_scalar::<f64>()
        };
        let slope: f64 = match self.settings.slope {
            Slope::OneSided => (at(probe)? - loss) / probe,
            Slope::TwoSided => (at(probe)? - at(-probe)?) / (2.0 * probe),
            Slope::Analytic => {
                let deviation = Var::new(&Tensor::new(0.0)?);
                let chip = displaced(&[(climb, deviation.tensor())])?;
                let store = task.loss(STILL, &mut InSilico(&chip))?.backward()?;
                task.counters.count_backward();
                let slope = store.get(&deviation.tensor()).map(Tensor::to_scalar).transpose()?;
                slope.ok_or_else(|| pnn_core::Error::Unsupported {
                    device: climb.layers.join(", "),
                    capability: format!("a gradient in {}: sample bilinearly", climb.port),
                })?
            }
        };
        if !slope.is_finite() {
            let (what, layer) =
                (format!("the slope of the loss in {}", climb.port), climb.layers.join(", "));
            return Err(pnn_core::Error::NotFinite { what, value: slope, layer });
        }
        let there =
            climb.rate * slope + if self.settings.form == Form::Published { probe } else { 0.0 };
        let [low, high] = climb.limits.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        Ok(there.clamp(low, high))
    }
}

/// Running statistics move in the pass at the calibrated setting only.
const STILL: Mode = Mode::Train { update_statistics: false };

/// The chip whose layers have these deviations.
fn displaced(climbs: &[(&Climb, Tensor)]) -> pnn_core::Result<Chip> {
    let mut chip = Chip::ideal();
    for (climb, value) in climbs {
        for layer in &climb.layers {
            chip.layer_mut(layer).add(&climb.port, value)?;
        }
    }
    Ok(chip)
}

impl Strategy for DeviationAscent {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let climbs = self.turn(cx.epoch, cx.step);
        let seed = cx.seed.child("probes");
        let task = cx.task(batch);
        let ascends = cx.optimizer.ascends();
        let mut there = Chip::ideal();
        let mut objective = |point: Point| -> pnn_core::Result<Evaluation> {
            let mut base = None;
            if point == Point::Base {
                let (ideal, mode) = (Chip::ideal(), Mode::Train { update_statistics: true });
                let truth = &mut InSilico(&ideal);
                // Without an ascent of the weights the gradient is wanted elsewhere only.
                let (loss, evaluation) = if ascends {
                    let evaluation = task.gradient(&task.loss(mode, truth)?, mode, truth)?;
                    (evaluation.loss, Some(evaluation))
                } else {
                    let value = without_gradients(|| task.loss(mode, truth))?;
                    (task.finite(&value, mode, truth)?, None)
                };
                let at = |(number, climb): (usize, _)| {
                    let seed = seed.index(number as u64);
                    Ok((climb, Tensor::new(self.climb(climb, &task, loss, &seed)?)?))
                };
                there = displaced(
                    &climbs.iter().enumerate().map(at).collect::<pnn_core::Result<Vec<_>>>()?,
                )?;
                if let Some(evaluation) = evaluation {
                    return Ok(evaluation);
                }
                base = Some(loss);
            }
            let truth = &mut InSilico(&there);
            let evaluation = task.gradient(&task.loss(STILL, truth)?, STILL, truth)?;
            Ok(Evaluation { loss: base.unwrap_or(evaluation.loss), ..evaluation })
        };
        task.minimise(cx.optimizer, &mut objective)
    }
}
