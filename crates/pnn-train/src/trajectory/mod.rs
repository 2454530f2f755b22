//! Sharpness-aware training by a loss with a memory: outputs should not run away from those of earlier
//! weights (Du et al., "Sharpness-Aware Training for Free", `NeurIPS` 2022). Where the loss falls
//! suddenly along the path of the weights the minimum is sharp, and so a sudden change of the outputs
//! is what is penalised.
//!
//! Both strategies wrap another one, whatever its source of truth, and add to its loss
//! [`pnn_core::loss::kl_divergence`] from remembered outputs.

mod mesa;
mod saf;

use std::collections::BTreeMap;

pub use mesa::{Mesa, MesaSettings};
use pnn_core::Tensor;
pub use saf::{Saf, SafSettings};

use crate::strategy::{StepContext, Strategy};
use crate::{Error, Result};

/// What the names of the wrapped strategy's state begin with.
const INNER: &str = "inner/";

/// The state of a strategy with that of the one that it wraps.
fn with_inner(
    mut own: BTreeMap<String, Tensor>,
    inner: &dyn Strategy,
) -> Result<BTreeMap<String, Tensor>> {
    own.extend(inner.state()?.into_iter().map(|(name, tensor)| (format!("{INNER}{name}"), tensor)));
    Ok(own)
}

/// The part of a state whose names begin with `prefix`, without it.
fn part(state: &BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let own = state
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())));
    own.collect()
}

/// In which epochs the term is added, and how.
#[derive(Debug, Clone, Copy)]
struct Term {
    weight: f64,
    temperature: f64,
    start: usize,
    end: Option<usize>,
}

impl Term {
    /// As in the authors' code, neither the first nor the last epoch has the term.
    fn is_active(&self, cx: &StepContext<'_>) -> bool {
        cx.epoch > self.start && self.end.is_none_or(|end| cx.epoch < end)
    }

    fn check(&self, names: [&'static str; 3]) -> Result<()> {
        let range = |what, value: f64, inside: bool, allowed| {
            if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
        };
        let Self { weight, temperature, start, end } = *self;
        let [weight_name, temperature_name, end_name] = names;
        let inside = (0.0..f64::INFINITY).contains(&weight);
        range(weight_name, weight, inside, "[0, infinity)")?;
        let inside = temperature > 0.0 && temperature.is_finite();
        range(temperature_name, temperature, inside, "(0, infinity)")?;
        let end = end.unwrap_or(usize::MAX);
        range(end_name, end as f64, end > start + 1, "(start + 1, infinity)")
    }
}
