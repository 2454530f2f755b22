//! A short LeNet-5 training on embedded digits, shared by the tests.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part

pub(crate) mod one_mesh;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pnn_core::model::{Model, model_state};
use pnn_core::{DType, Seed};
use pnn_data::{Dataset, HeldOut, stratified_split};
use pnn_train::{
    CROSS_ENTROPY, CheckpointConfig, EpochRecord, FcActivation, LeNet5, Observer, Recipe, Result,
    Trainer,
};

pub(crate) fn recipe(json: &str) -> Recipe {
    serde_json::from_str(json).unwrap()
}

/// SAT in situ with Adam: every part of the state is in play (running statistics, moments, step
/// counts, hardware).
pub(crate) const IN_SITU_SAT: &str = r#"{
    "train": "detunings",
    "strategy": {"pat": {"hardware": [{"source": {"fabrication": {"std_nm": 0.08}}, "layers": ["fc2", "fc3"]}]}},
    "optimizer": {"adam": {"rate": 0.01}},
    "sharpness": {"asam": {"rho": 0.5}},
    "schedule": {"step": {"every": 1, "factor": 0.5}},
    "epochs": 2,
    "batch_size": 64
}"#;

/// `images` of the embedded digits, all classes alike.
pub(crate) fn digits(images: usize) -> Dataset {
    let held_out = HeldOut::PerClass(images / 10);
    stratified_split(&pnn_data::digits(), held_out, &Seed::new(0)).unwrap().1
}

pub(crate) struct Outcome {
    pub(crate) history: Vec<EpochRecord>,
    /// Bits of every parameter and buffer.
    pub(crate) bits: BTreeMap<String, Vec<u32>>,
}

pub(crate) fn bits(model: &dyn Model) -> BTreeMap<String, Vec<u32>> {
    let bits = |t: pnn_core::Tensor| -> Vec<u32> {
        let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    model_state(model).into_iter().map(|(name, tensor)| (name, bits(tensor))).collect()
}

pub(crate) fn train(
    recipe: &Recipe,
    data: &Dataset,
    checkpoint: Option<PathBuf>,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let seed = Seed::new(3);
    let model =
        LeNet5::new(&recipe.mrr_factory(), FcActivation::Relu, &seed.child("model"), DType::F32)?;
    let mut optimizer = recipe.optimizer()?;
    let (mut strategy, mut lab) = recipe.strategy(&model, &pnn_core::Chip::ideal(), &seed)?;
    let checkpoint = checkpoint.map(|path| CheckpointConfig {
        path,
        every: 1,
        resume: true,
        fingerprint: "test".into(),
    });
    let config = recipe.config(seed, checkpoint);
    let mut trainer = Trainer {
        model: &model,
        strategy: strategy.as_mut(),
        optimizer: optimizer.as_mut(),
        lab: &mut lab,
        loss: CROSS_ENTROPY,
    };
    let history = trainer.train(data, &config, &mut |_| Ok(BTreeMap::new()), observer)?;
    Ok(Outcome { history, bits: bits(&model) })
}
