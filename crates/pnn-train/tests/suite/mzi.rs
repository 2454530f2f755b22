//! The network with a mesh: every method trains it, limits hold, and methods in situ see the chip
//! through measurements alone.

use crate::common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{digits, recipe};
use pnn_core::model::{Lab, Model};
use pnn_core::{Chip, Controls, DType, Deviations, Hardware, Result, Seed, Tensor, Twin};
use pnn_noise::{NoiseModel, Source};
use pnn_train::{CROSS_ENTROPY, EpochRecord, Error, MziLeNet5, Trainer};

fn json(strategy: &str, more: &str) -> String {
    format!(
        r#"{{"train": "phases", "strategy": {strategy}, "optimizer": {{"adam": {{"rate": 0.01}}}}, {more}
            "epochs": 3, "batch_size": 50}}"#
    )
}

const SAM: &str = r#""sharpness": {"sam": {"rho": 0.05}},"#;
const DAT: &str = r#"{"dat": {"settings": {"networks": 1, "warm_up": 1}}}"#;

fn chip(model: &dyn Model) -> Chip {
    let noise = NoiseModel::all_layers(Source::Phase { std_rad: 0.15 }).unwrap();
    noise.draw(&model.physical_layers(), 1, &Seed::new(5)).unwrap()
}

/// A twin that counts how often it is measured.
struct Counted(Twin, Arc<AtomicUsize>);

impl Hardware for Counted {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> Result<Tensor> {
        self.1.fetch_add(1, Ordering::Relaxed);
        assert!(!x.is_tracked() && controls.iter().all(|(_, value)| !value.is_tracked()));
        self.0.measure(x, controls)
    }
}

/// Trains, with the lab replaced by counting hardware; returns the history and the measurements.
fn train(text: &str) -> (Vec<EpochRecord>, usize, Box<dyn Model>) {
    train_told(text, chip)
}

/// As [`train`]; the strategy is told of the chip `told`, which need not be the one in the lab.
fn train_told(
    text: &str,
    told: fn(&dyn Model) -> Chip,
) -> (Vec<EpochRecord>, usize, Box<dyn Model>) {
    let recipe = recipe(text);
    let seed = Seed::new(3);
    let model = recipe.model(&seed.child("model"), DType::F32).unwrap();
    let chip = chip(model.as_ref());
    let (mut strategy, lab) =
        recipe.strategy(model.as_ref(), &told(model.as_ref()), &seed).unwrap();
    let measured = Arc::new(AtomicUsize::new(0));
    let mut counting = Lab::new();
    for name in lab.keys() {
        let layer = model.physical_layers().into_iter().find(|layer| layer.name() == name);
        let deviations = chip.layer(name).unwrap().clone();
        let twin = Twin::new(Arc::clone(layer.unwrap().device()), deviations).unwrap();
        counting.insert(name.clone(), Box::new(Counted(twin, Arc::clone(&measured))));
    }
    let config = recipe.config(seed, None);
    let history = Trainer {
        model: model.as_ref(),
        strategy: strategy.as_mut(),
        optimizer: recipe.optimizer().unwrap().as_mut(),
        lab: &mut counting,
        loss: CROSS_ENTROPY,
    }
    .train(&digits(200), &config, &mut |_| Ok(BTreeMap::new()), &mut ())
    .unwrap();
    (history, measured.load(Ordering::Relaxed), model)
}

#[test]
fn every_method_trains_and_measures_what_it_says() {
    let noise = r#"{"nat": {"noise": [{"source": {"splitter": {"std": 0.15}}}]}}"#;
    // Twelve steps; a sharpness-aware one takes two passes.
    for (strategy, more, passes, measured) in [
        (r#""bp""#, "", 12, 0),
        (r#""bp""#, SAM, 24, 0),
        (noise, "", 12, 0),
        (r#"{"pat": {}}"#, "", 12, 12),
        (r#"{"pat": {}}"#, SAM, 24, 24),
        (DAT, "", 12, 12),
    ] {
        let (history, calls, _) = train(&json(strategy, more));
        let last = history.last().unwrap();
        assert!(last.train_loss < history[0].train_loss, "{strategy} {more}: {history:?}");
        assert!(last.train_loss > 1.461, "below the floor of normalised powers");
        assert_eq!((last.counts.backward, last.counts.measured), (passes, measured), "{strategy}");
        assert_eq!(calls as u64, measured, "{strategy} {more}");
    }
}

/// The errors of the chip reach training through measurements alone: what the strategy was built
/// with plays no part.
#[test]
fn training_in_situ_knows_nothing_of_the_chip_but_what_it_measures() {
    fn other(model: &dyn Model) -> Chip {
        let noise = NoiseModel::all_layers(Source::Phase { std_rad: 0.5 }).unwrap();
        noise.draw(&model.physical_layers(), 1, &Seed::new(77)).unwrap()
    }
    for (strategy, more) in [(r#"{"pat": {}}"#, ""), (r#"{"pat": {}}"#, SAM), (DAT, "")] {
        let (told, _, model) = train(&json(strategy, more));
        let (untold, _, blind) = train_told(&json(strategy, more), other);
        let losses = |history: &[EpochRecord]| -> Vec<u64> {
            history.iter().map(|epoch| epoch.train_loss.to_bits()).collect()
        };
        assert_eq!(losses(&told), losses(&untold), "{strategy} {more}");
        for (a, b) in model.parameters().iter().zip(blind.parameters().iter()) {
            let [a, b] = [a, b].map(|p| p.var.value().to_dtype(DType::F64).unwrap());
            assert_eq!(a.elements::<f64>().unwrap(), b.elements::<f64>().unwrap(), "{strategy}");
        }
    }
}

/// Settings that are no numbers stop the run as what they are, not as a device that refuses them.
#[test]
fn a_phase_that_is_not_finite_stops_the_run() {
    let recipe = recipe(&json(r#""bp""#, ""));
    let seed = Seed::new(3);
    let model = recipe.model(&seed, DType::F32).unwrap();
    let theta = model.parameters().iter().find(|p| p.name == "mesh.theta").unwrap();
    theta.var.set(&(theta.var.value() * f64::NAN).unwrap()).unwrap();
    let (mut strategy, mut lab) = recipe.strategy(model.as_ref(), &Chip::ideal(), &seed).unwrap();
    let mut optimizer = recipe.optimizer().unwrap();
    let mut trainer = Trainer {
        model: model.as_ref(),
        strategy: strategy.as_mut(),
        optimizer: optimizer.as_mut(),
        lab: &mut lab,
        loss: CROSS_ENTROPY,
    };
    let config = recipe.config(seed, None);
    let run = |trainer: &mut Trainer<'_>| {
        trainer.train(&digits(60), &config, &mut |_| Ok(BTreeMap::new()), &mut ()).unwrap_err()
    };
    let error = run(&mut trainer);
    assert!(matches!(&error, Error::NotFinite { layer, .. } if layer == "mesh.theta"), "{error}");
    // And hardware for a layer that is not there is refused.
    let mesh = model.physical_layers()[0].device();
    let twin = Twin::new(Arc::clone(mesh), Deviations::none()).unwrap();
    trainer.lab.insert("Mesh".into(), Box::new(twin));
    let error = run(&mut trainer).to_string();
    assert!(error.contains("physical layer") && error.contains("Mesh"), "{error}");
}

#[test]
fn electronic_weights_stay_within_their_limit_and_phases_have_none() {
    let (_, _, model) = train(&json(r#""bp""#, r#""weight_limit": 0.06,"#));
    let mut beyond = 0;
    for parameter in model.parameters().iter() {
        let value = parameter.var.value().to_dtype(DType::F64).unwrap();
        let largest = value.elements::<f64>().unwrap().iter().fold(0.0f64, |m, v| m.max(v.abs()));
        if parameter.name.ends_with(".weight") && !parameter.name.starts_with("norm") {
            assert!(largest <= 0.06 + 1e-7, "{}: {largest}", parameter.name);
        } else if parameter.name.starts_with(MziLeNet5::MESH) {
            beyond += usize::from(largest > 0.06);
        }
    }
    assert_eq!(beyond, 3);
}

#[test]
fn training_in_situ_without_a_chip_is_refused() {
    for strategy in [r#"{"pat": {}}"#, DAT] {
        let recipe = recipe(&json(strategy, ""));
        let model = recipe.model(&Seed::new(1), DType::F32).unwrap();
        let refused = recipe.strategy(model.as_ref(), &Chip::ideal(), &Seed::new(1));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("needs a chip in its loop") && error.contains("mesh"), "{error}");
    }
}
