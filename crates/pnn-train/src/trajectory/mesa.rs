//! MESA: stays near to what the average of the weights says.

use std::collections::BTreeMap;

use pnn_core::model::{InSilico, InSitu, Mode, Pass, Truth, load_model_state, model_state};
use pnn_core::tensor::without_gradients;
use pnn_core::{Chip, Tensor};
use serde::{Deserialize, Serialize};

use super::{INNER, Term, part, with_inner};
use crate::strategy::{StepContext, StepReport, Strategy};
use crate::task::{Batch, SoftTargets};
use crate::{Error, Result};

/// Settings of [`Mesa`]; the defaults are those of the authors' README and code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MesaSettings {
    /// Factor of the term (the paper's lambda); 0.8 if absent.
    pub weight: f64,
    /// Both outputs are divided by it; 5 if absent.
    pub temperature: f64,
    /// Share of the old average in the new one, in [0, 1); 0.9998 if absent.
    pub decay: f64,
    /// The epoch, from 0, after which the term is added; 5 if absent.
    pub start: usize,
    /// The epoch from which it is not added any more; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
}

impl Default for MesaSettings {
    fn default() -> Self {
        Self { weight: 0.8, temperature: 5.0, decay: 0.9998, start: 5, end: None }
    }
}

impl MesaSettings {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If one is outside.
    pub fn check(&self) -> Result<()> {
        self.term().check(["weight of mesa", "temperature of mesa", "end of mesa"])?;
        if !(0.0..1.0).contains(&self.decay) {
            let (what, allowed) = ("decay of mesa", "[0, 1)");
            return Err(Error::Range { what, value: self.decay, allowed });
        }
        Ok(())
    }

    fn term(&self) -> Term {
        let Self { weight, temperature, start, end, .. } = *self;
        Term { weight, temperature, start, end }
    }
}

/// Memory-efficient sharpness-aware training (Du et al., `NeurIPS` 2022, Algorithm 2; `MESA_train.py` of
/// `AngusDujw/SAF`): the term of [`super::Saf`] with the outputs of an exponential average of the weights
/// instead of remembered ones,
///
/// ```text
/// average = decay average + (1 - decay) weights,  after each step
/// ```
///
/// for parameters and running statistics alike, from the initial weights on (`ModelEmaV2` of timm, as
/// the authors use it). Its outputs are taken with the averaged running statistics: from the hardware
/// of the lab, where there is one, else from the ideal model. One forward pass more in each step that
/// has the term.
///
/// The paper's equation has no `temperature^2`; the authors' code has, and this follows it.
pub struct Mesa {
    settings: MesaSettings,
    inner: Box<dyn Strategy>,
    /// Parameters and running statistics by name; empty before the first step.
    average: BTreeMap<String, Tensor>,
}

impl Mesa {
    /// The term around a strategy.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(settings: MesaSettings, inner: Box<dyn Strategy>) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings, inner, average: BTreeMap::new() })
    }

    /// The averaged parameters and running statistics by name; empty before the first step.
    #[must_use]
    pub fn average(&self) -> &BTreeMap<String, Tensor> {
        &self.average
    }
}

impl Strategy for Mesa {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        if self.average.is_empty() {
            self.average = model_state(cx.model);
        }
        let term = self.settings.term();
        let mut batch = batch.clone();
        if term.is_active(cx) {
            let now = model_state(cx.model);
            let logits =
                load_model_state(cx.model, &self.average).and_then(|()| output(&batch.images, cx));
            load_model_state(cx.model, &now)?;
            let Term { weight, temperature, .. } = term;
            batch.soft = Some(SoftTargets { logits: logits?, weight, temperature });
        }
        let report = self.inner.step(&batch, cx)?;
        let decay = self.settings.decay;
        for (name, now) in model_state(cx.model) {
            if let Some(average) = self.average.get_mut(&name) {
                *average = ((&*average * decay)? + (now * (1.0 - decay))?)?;
            }
        }
        Ok(report)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let own = self.average.iter();
        let own = own.map(|(name, tensor)| (format!("{AVERAGE}{name}"), tensor.clone()));
        with_inner(own.collect(), self.inner.as_ref())
    }

    fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.average = part(state, AVERAGE);
        self.inner.load_state(&part(state, INNER))
    }
}

/// What the names of the average's state begin with.
const AVERAGE: &str = "average/";

/// What the model, as it is, gives for images when deployed.
fn output(images: &Tensor, cx: &mut StepContext<'_>) -> pnn_core::Result<Tensor> {
    let ideal = Chip::ideal();
    let (mut model, mut hardware);
    let truth: &mut dyn Truth = if cx.lab.is_empty() {
        model = InSilico(&ideal);
        &mut model
    } else {
        hardware = InSitu(&mut *cx.lab);
        &mut hardware
    };
    without_gradients(|| cx.model.forward(images, &mut Pass::new(Mode::Eval, truth, cx.counters)))
}
