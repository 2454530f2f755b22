//! A training strategy of one's own: each step trains on the worse of two freshly drawn chips.
//!
//! A strategy chooses a source of truth for the step and calls `StepContext::descend`; whether the
//! step is plain or sharpness-aware is the optimizer's business, so it works with both.

use std::collections::BTreeMap;

use pnn_core::model::{InSilico, Mode, Pass};
use pnn_core::{DType, Seed};
use pnn_data::{HeldOut, stratified_split};
use pnn_noise::{NoiseModel, Source};
use pnn_train::{
    Batch, CROSS_ENTROPY, FcActivation, LeNet5, Recipe, Result, StepContext, StepReport, Strategy,
    Trainer,
};

struct WorstOfTwo {
    noise: NoiseModel,
}

impl Strategy for WorstOfTwo {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let layers = cx.model.physical_layers();
        let mut worst = None;
        for draw in 0..2 {
            let chip = self.noise.draw(&layers, 1, &cx.seed.index(draw))?;
            let mut truth = InSilico(&chip);
            let mut pass =
                Pass::new(Mode::Train { update_statistics: false }, &mut truth, cx.counters);
            let logits = cx.model.forward(&batch.images, &mut pass)?;
            let loss = (cx.loss)(&logits, &batch.labels)?.to_scalar::<f32>()?;
            if worst.as_ref().is_none_or(|(largest, _)| loss > *largest) {
                worst = Some((loss, chip));
            }
        }
        let (_, chip) = worst.unwrap_or_default();
        cx.descend(batch, &mut InSilico(&chip), None)
    }
}

fn main() -> Result<()> {
    let seed = Seed::new(0);
    let recipe: Recipe = serde_json::from_str(
        r#"{"train": "detunings", "strategy": "bp", "optimizer": {"adam": {"rate": 0.01}},
            "sharpness": {"sam": {"rho": 0.05}}, "epochs": 1, "batch_size": 64}"#,
    )
    .map_err(|e| pnn_train::Error::Observer(e.to_string()))?;
    let model = LeNet5::new(&recipe.mrr_factory(), FcActivation::Relu, &seed, DType::F32)?;
    let mut optimizer = recipe.optimizer()?;
    let noise = NoiseModel::on(
        Source::RandomDrift { max_kelvin: 1.0, nm_per_kelvin: 0.08 },
        &["fc2", "fc3"],
    )?;
    let (_, digits) = stratified_split(&pnn_data::digits(), HeldOut::PerClass(128), &seed)?;
    let config = recipe.config(seed, None);
    let history = Trainer {
        model: &model,
        strategy: &mut WorstOfTwo { noise },
        optimizer: optimizer.as_mut(),
        lab: &mut BTreeMap::new(),
        loss: CROSS_ENTROPY,
    }
    .train(&digits, &config, &mut |_| Ok(BTreeMap::new()), &mut ())?;
    let counts = history[0].counts;
    println!(
        "mean loss {:.3} over {} images; {} forward and {} backward passes",
        history[0].train_loss,
        digits.len(),
        counts.forward,
        counts.backward
    );
    // Two passes to choose the chip, two of the sharpness-aware step; two gradients.
    let steps = 20;
    assert_eq!((counts.forward, counts.backward), (4 * steps, 2 * steps));
    Ok(())
}
