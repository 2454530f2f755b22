//! Dual adaptive training (Zheng et al., Nat. Mach. Intell. 5, 1119, 2023), as in Xu et al., Nat.
//! Commun. 17, 1766 (2026): physics-aware training whose model is corrected by networks that learn,
//! beside the task, what the chip does otherwise.
//!
//! Each layer that the lab realises and that shows the field before its detectors
//! ([`pnn_core::FieldOutput`]) gets error networks `S` ([`MiniUNet`]). A step measures the chip once and then
//!
//! 1. makes a step of the networks on the mean squared error between the detected powers of `E' = E +
//!    S(E)`, with `E` the ideal model's field, and the measured ones, with an Adam of their own;
//! 2. makes the task's step: values as measured, gradients through `E'`. By state fusion detectors are
//!    differentiated at the measured amplitudes with the phases of `E'`. During warm-up it is plain
//!    physics-aware training instead, without the networks.
//!
//! The published method has variants with and without internal states: fields measured between the
//! meshes of a chain. One mesh has no such state beside its output, so there is nothing to choose; in
//! a model of several such layers each has an instrument of its own in the lab, which is the variant with
//! internal states, trained layer by layer. The published code's task optimizer also moves five of six
//! error networks, by mistake; that quirk is left out.

mod corrector;
mod truth;
mod unet;

use std::collections::{BTreeMap, BTreeSet};

use pnn_core::layers::Learning;
use pnn_core::model::{Mode, Model};
use pnn_core::optim::Adam;
use pnn_core::{DType, Seed, Tensor};
use serde::{Deserialize, Serialize};

pub use unet::MiniUNet;

use crate::strategy::{StepContext, StepReport, Strategy};
use crate::task::Batch;
use crate::{Error, Result};
use corrector::Corrector;
use truth::Corrected;

/// Settings of [`DualAdaptive`]; the defaults are those of Xu et al. (2026), where the rate is
/// halved every 60 steps (`halve_every`) in the code only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DualAdaptiveSettings {
    /// Error networks whose outputs are added, 1 to 64.
    pub networks: usize,
    /// Epochs in which the networks learn and the task's step is made without them, at most those of
    /// the recipe (with as many it is PAT).
    pub warm_up: usize,
    /// Learning rate of the networks' Adam, above 0.
    pub rate: f64,
    /// Steps after which that rate is halved, again and again, at least 1; `None` for never.
    pub halve_every: Option<u32>,
    /// The networks learn the first so many outputs, at least 1, or all if there are fewer.
    pub ports: usize,
    /// Whether detectors are differentiated at the measured amplitudes.
    pub fusion: bool,
}

impl Default for DualAdaptiveSettings {
    fn default() -> Self {
        Self { networks: 6, warm_up: 20, rate: 1e-3, halve_every: None, ports: 10, fusion: true }
    }
}

impl DualAdaptiveSettings {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If one is outside.
    pub fn check(&self) -> Result<()> {
        let range = |what, value: f64, inside: bool, allowed| {
            if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
        };
        let networks = (1..=64).contains(&self.networks);
        range("number of error networks", self.networks as f64, networks, "[1, 64]")?;
        Adam::new(self.rate)?;
        range("learning rate of the error networks", self.rate, self.rate > 0.0, "(0, infinity)")?;
        let every = self.halve_every.unwrap_or(1);
        range("halve_every", f64::from(every), every > 0, "[1, infinity)")?;
        range("ports of the error networks", self.ports as f64, self.ports > 0, "[1, infinity)")
    }
}

/// Dual adaptive training: see [the module](self).
pub struct DualAdaptive {
    settings: DualAdaptiveSettings,
    correctors: BTreeMap<String, Corrector>,
}

impl DualAdaptive {
    /// The strategy for a model, with error networks for every layer that shows its field.
    ///
    /// # Errors
    /// If a setting is out of range, no layer shows its field, or networks do not fit its ports.
    pub fn new(settings: DualAdaptiveSettings, model: &dyn Model, seed: &Seed) -> Result<Self> {
        settings.check()?;
        let dtype = model.parameters().iter().next().map_or(DType::F32, |p| p.var.dtype());
        let mut correctors = BTreeMap::new();
        for layer in model.physical_layers() {
            if let Some(output) = layer.device().field_output() {
                let seed = seed.child("error networks").child(layer.name());
                let corrector = Corrector::new(&settings, output.field_ports(), &seed, dtype)?;
                correctors.insert(layer.name().to_owned(), corrector);
            }
        }
        if correctors.is_empty() {
            let layers = model.physical_layers();
            return Err(Error::Missing {
                strategy: "dat",
                needs: "a field before its detectors",
                layer: layers.iter().map(|layer| layer.name()).collect::<Vec<_>>().join(", "),
                what: "all layers".into(),
            });
        }
        Ok(Self { settings, correctors })
    }

    /// A layer's field as its networks correct it.
    ///
    /// # Shapes
    /// `field` (batch, 2, ports), result the same.
    ///
    /// # Errors
    /// If the layer has no networks or the field another shape.
    pub fn corrected(&self, layer: &str, field: &Tensor, mode: Mode) -> Result<Tensor> {
        let corrector = self.correctors.get(layer).ok_or_else(|| {
            let known = self.correctors.keys().map(String::as_str);
            pnn_core::Error::unknown("corrected layer", layer, known)
        })?;
        Ok(corrector.correct(field, mode, Learning::Frozen)?)
    }
}

impl Strategy for DualAdaptive {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let kept = self.state()?;
        let task = cx.task(batch);
        let mut truth = Corrected {
            settings: &self.settings,
            correctors: &mut self.correctors,
            lab: cx.lab,
            warming_up: cx.epoch < self.settings.warm_up,
            learned: BTreeSet::new(),
        };
        let result = task.descend(cx.optimizer, &mut truth, None);
        if result.is_err() {
            // The networks have moved before the pass that failed.
            self.load_state(&kept)?;
        }
        result
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (layer, corrector) in &self.correctors {
            let own = corrector.state()?.into_iter();
            state.extend(own.map(|(name, tensor)| (format!("{layer}/{name}"), tensor)));
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (layer, corrector) in &mut self.correctors {
            let own = state.iter().filter_map(|(name, tensor)| {
                let name = name.strip_prefix(layer.as_str())?.strip_prefix('/')?;
                Some((name.to_owned(), tensor.clone()))
            });
            corrector.load_state(&own.collect())?;
        }
        Ok(())
    }
}
