//! The learned correction of one layer's model.

use std::collections::BTreeMap;

use pnn_core::device::FieldOutput;
use pnn_core::layers::Learning;
use pnn_core::loss::mean_squared_error;
use pnn_core::model::Mode;
use pnn_core::optim::{Adam, Rule};
use pnn_core::{Bounds, DType, Error, ParamSet, Parameter, Result, Seed, Tensor};

use super::{DualAdaptiveSettings, MiniUNet};

/// Error networks of a layer with an optimizer of their own.
pub(super) struct Corrector {
    networks: MiniUNet,
    adam: Adam,
    /// Steps that the networks have made.
    steps: u32,
}

impl Corrector {
    pub(super) fn new(
        settings: &DualAdaptiveSettings,
        ports: usize,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let networks = MiniUNet::new(settings.networks, ports, seed, dtype)?;
        Ok(Self { networks, adam: Adam::new(settings.rate)?, steps: 0 })
    }

    /// `E' = E + S(E)`. Only the field gets a gradient if learning is off.
    pub(super) fn correct(&self, field: &Tensor, mode: Mode, learning: Learning) -> Result<Tensor> {
        field + self.networks.forward(field, mode, learning)?
    }

    /// One step of the networks on the mean squared error between what detectors make of the
    /// corrected field and what was measured.
    pub(super) fn learn(
        &mut self,
        layer: &str,
        output: &dyn FieldOutput,
        field: &Tensor,
        measured: &Tensor,
        settings: &DualAdaptiveSettings,
    ) -> Result<()> {
        let mode = Mode::Train { update_statistics: true };
        let corrected = self.correct(&field.detach(), mode, Learning::On)?;
        let read = |y: &Tensor| {
            let last = y.rank() - 1;
            y.narrow(last, 0, settings.ports.min(y.dim(last)?))
        };
        let error =
            mean_squared_error(&read(&output.detect(&corrected)?)?, &read(&measured.detach())?)?;
        let value = error.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let parameters = self.networks.parameters();
        let gradients = parameters.gradients(&error.backward()?);
        if !value.is_finite() || gradients.first_not_finite(parameters)?.is_some() {
            let what = "the error of the error networks".to_owned();
            return Err(Error::NotFinite { what, value, layer: layer.to_owned() });
        }
        let halvings = settings.halve_every.map_or(0, |every| self.steps / every.max(1));
        self.adam.set_learning_rate(settings.rate * 0.5f64.powf(halvings.into()));
        self.adam.update(parameters, &gradients)?;
        self.steps += 1;
        Ok(())
    }

    /// Weights, running statistics, moments and steps, by name.
    pub(super) fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.networks.parameters().named();
        state.extend(self.networks.buffers().into_iter().map(|(name, var)| (name, var.value())));
        let moments = self.adam.state()?.into_iter();
        state.extend(moments.map(|(name, tensor)| (format!("{ADAM}{name}"), tensor)));
        state.insert(STEPS.to_owned(), Tensor::from_scalar(self.steps));
        Ok(state)
    }

    pub(super) fn load_state(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let steps = state
            .get(STEPS)
            .ok_or_else(|| Error::unknown("state", STEPS, state.keys().map(String::as_str)))?;
        let steps = steps.to_scalar::<u32>()?;
        self.networks.parameters().load(state)?;
        let buffers = self.networks.buffers().into_iter().map(|(name, var)| {
            let bounds = Bounds::UNBOUNDED;
            Parameter { name, var, bounds }
        });
        ParamSet::new(buffers)?.load(state)?;
        let moments = state.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(ADAM)?.to_owned(), tensor.clone()))
        });
        self.adam.load_state(&moments.collect())?;
        self.steps = steps;
        Ok(())
    }
}

const ADAM: &str = "adam/";
const STEPS: &str = "steps";
