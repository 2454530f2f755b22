//! SAF: stays near to what the network said of the same images some epochs ago.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pnn_core::model::{Mode, Model, Pass, Physical};
use pnn_core::{DType, ParamSet, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{INNER, Term, part, with_inner};
use crate::strategy::{StepContext, StepReport, Strategy};
use crate::task::{Batch, SoftTargets};
use crate::{Error, Result};

/// Settings of [`Saf`]; the defaults are those of the authors' README and code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SafSettings {
    /// Factor of the term (the paper's lambda); 0.3 if absent.
    pub weight: f64,
    /// Both outputs are divided by it; 5 if absent.
    pub temperature: f64,
    /// How many epochs ago the outputs are from that are stayed near to, at least 1; 3 if absent.
    pub past: usize,
    /// The epoch, from 0, after which the term is added; 5 if absent.
    pub start: usize,
    /// The epoch from which it is not added any more; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
}

impl Default for SafSettings {
    fn default() -> Self {
        Self { weight: 0.3, temperature: 5.0, past: 3, start: 5, end: None }
    }
}

impl SafSettings {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If one is outside.
    pub fn check(&self) -> Result<()> {
        self.term().check(["weight of saf", "temperature of saf", "end of saf"])?;
        let past = self.past as f64;
        let range = |what, value, allowed| Err(Error::Range { what, value, allowed });
        if !(1..=100).contains(&self.past) {
            return range("past of saf", past, "[1, 100]");
        }
        if self.start + 1 < self.past {
            return range("past of saf", past, "[1, start + 1]: there are no outputs before");
        }
        Ok(())
    }

    fn term(&self) -> Term {
        let Self { weight, temperature, start, end, .. } = *self;
        Term { weight, temperature, start, end }
    }
}

/// Sharpness-aware training for free (Du et al., `NeurIPS` 2022, Eq. 6 and Algorithm 1; `SAF_train.py`
/// of `AngusDujw/SAF`): a strategy whose loss has the term
///
/// ```text
/// weight temperature^2 / batch  sum of  p (log p - log q)
/// ```
///
/// with `q` the softmax of the outputs over the temperature, and `p` that of the outputs for the same
/// images `past` epochs ago. It costs no pass: the outputs are those of the first pass of each step,
/// whatever truth they come from (ideal model, drawn chip, hardware). It keeps `past + 1` outputs of every
/// image of the training set.
///
/// The paper's equation has no `temperature^2`; the authors' code has, and this follows it. As there, an
/// image that was in no batch `past` epochs ago (of a last batch that is left out) is compared with
/// what it gave a cycle before, or with equal outputs.
pub struct Saf {
    settings: SafSettings,
    inner: Box<dyn Strategy>,
    /// For each of `past + 1` epochs the outputs of all images, image by image.
    outputs: Vec<Vec<f64>>,
    classes: usize,
    dtype: DType,
}

impl Saf {
    /// The term around a strategy.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(settings: SafSettings, inner: Box<dyn Strategy>) -> Result<Self> {
        settings.check()?;
        let outputs = vec![Vec::new(); settings.past + 1];
        Ok(Self { settings, inner, outputs, classes: 0, dtype: DType::F32 })
    }

    /// What the images gave `past` epochs ago.
    fn reference(&self, epoch: usize, indices: &[usize]) -> Result<Tensor> {
        let slot = &self.outputs[(epoch - self.settings.past) % self.outputs.len()];
        let mut values = Vec::with_capacity(indices.len() * self.classes);
        for index in indices {
            match slot.get(index * self.classes..(index + 1) * self.classes) {
                Some(row) => values.extend_from_slice(row),
                None => values.resize(values.len() + self.classes, 0.0),
            }
        }
        Ok(Tensor::from_vec(values, [indices.len(), self.classes])?.to_dtype(self.dtype)?)
    }

    fn record(&mut self, epoch: usize, indices: &[usize], outputs: &Tensor) -> Result<()> {
        let (_, classes) = outputs.dims2()?;
        (self.classes, self.dtype) = (classes, outputs.dtype());
        let values = outputs.to_dtype(DType::F64)?;
        let slots = self.outputs.len();
        let slot = &mut self.outputs[epoch % slots];
        let images = indices.iter().map(|index| index + 1).max().unwrap_or(0);
        if slot.len() < images * classes {
            slot.resize(images * classes, 0.0);
        }
        for (index, row) in indices.iter().zip(values.elements::<f64>()?.chunks(classes)) {
            slot[index * classes..(index + 1) * classes].copy_from_slice(row);
        }
        Ok(())
    }
}

impl Strategy for Saf {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let (indices, images) = (&batch.indices, batch.images.dim(0)?);
        if indices.len() != images {
            return Err(Error::Range {
                what: "number of indices of the images of a batch of saf",
                value: indices.len() as f64,
                allowed: "the number of images: it remembers what each gave",
            });
        }
        let term = self.settings.term();
        let mut batch = batch.clone();
        if term.is_active(cx) && self.classes > 0 {
            let logits = self.reference(cx.epoch, indices)?;
            let Term { weight, temperature, .. } = term;
            batch.soft = Some(SoftTargets { logits, weight, temperature });
        }
        let recorder = Recorder { model: cx.model, output: Mutex::new(None) };
        let epoch = cx.epoch;
        let report = self.inner.step(
            &batch,
            &mut StepContext {
                model: &recorder,
                optimizer: &mut *cx.optimizer,
                lab: &mut *cx.lab,
                counters: cx.counters,
                epoch,
                step: cx.step,
                seed: cx.seed,
                loss: cx.loss,
            },
        )?;
        if let Some(output) = recorder.output.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.record(epoch, &batch.indices, &output)?;
        }
        Ok(report)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut own = BTreeMap::new();
        for (epoch, values) in self.outputs.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
            let shape = [values.len() / self.classes, self.classes];
            let outputs = Tensor::from_slice(values, shape)?.to_dtype(self.dtype)?;
            own.insert(key(epoch), outputs);
        }
        with_inner(own, self.inner.as_ref())
    }

    fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (epoch, slot) in self.outputs.iter_mut().enumerate() {
            slot.clear();
            if let Some(outputs) = state.get(&key(epoch)) {
                (self.classes, self.dtype) = (outputs.dims2()?.1, outputs.dtype());
                *slot = outputs.to_dtype(DType::F64)?.elements::<f64>()?.to_vec();
            }
        }
        self.inner.load_state(&part(state, INNER))
    }
}

fn key(epoch: usize) -> String {
    format!("outputs.{epoch:03}")
}

/// A model that keeps the output of its first pass that moves running statistics: of that at the
/// parameters themselves.
struct Recorder<'a> {
    model: &'a dyn Model,
    output: Mutex<Option<Tensor>>,
}

impl Model for Recorder<'_> {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
        let output = self.model.forward(x, pass)?;
        if pass.mode == (Mode::Train { update_statistics: true }) {
            let mut kept = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get_or_insert_with(|| output.detach());
        }
        Ok(output)
    }

    fn parameters(&self) -> &ParamSet {
        self.model.parameters()
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.model.buffers()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.model.physical_layers()
    }
}
