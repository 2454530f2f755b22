//! Accuracy of a network under several perturbations.

use pnn_core::{Chip, Seed};
use pnn_data::Dataset;

use super::Context;
use crate::error::Result;
use crate::reproduce::config::{Strength, View};
use crate::reproduce::front::Deployed;
use crate::reproduce::training::Trained;

/// Accuracy in percent on the network's own chip, and under each condition by chip: one where the condition is not
/// random, else `chips`, the same for every network.
pub(super) fn accuracies(
    run: &Trained,
    view: &View,
    images: &Dataset,
    conditions: &[Strength],
    chips: u64,
    context: &Context<'_>,
) -> Result<(f64, Vec<Vec<f64>>)> {
    let evaluator = context.evaluator(view, run.normalisation);
    let deployed = Deployed::new(run.model.as_ref(), run.fc_activation, evaluator, images)?;
    let layers = run.model.physical_layers();
    let seed = Seed::new(0).child("conditions");
    let under = |condition: &Strength| -> Result<Vec<f64>> {
        let count = if condition.is_random() { chips } else { 1 };
        let on = |chip: u64| -> Result<f64> {
            let drawn: Chip = condition.noise.draw(&layers, 1, &seed.index(chip))?;
            deployed.percent(&run.chip.plus(&drawn)?)
        };
        (0..count).map(on).collect()
    };
    let clean = deployed.percent(&run.chip)?;
    Ok((clean, conditions.iter().map(under).collect::<Result<_>>()?))
}
