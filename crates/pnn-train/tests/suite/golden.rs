//! LeNet-5's outputs, gradients and optimizer steps against PyTorch's, in double precision
//! (`tests/golden/generate_lenet.py`).

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::model::{Counters, Lab, Model, load_model_state, model_state};
use pnn_core::optim::{
    Adam, Asam, Descent, Evaluation, Objective, Optimizer, Rule, Sam, Sgd, SharpnessAware,
};
use pnn_core::params::{Gradients, ParamSet};
use pnn_core::{DType, Seed, Tensor, store};
use pnn_train::{
    Backprop, Batch, CROSS_ENTROPY, FcActivation, LeNet5, MrrFactory, StepContext, Strategy,
    Trained,
};

/// Both sides compute in f64; they differ in the order of sums of up to 6,272 terms (the pixels of
/// a channel in a batch), whose rounding is about sqrt(6272) * 2^-53 = 1e-14 relative to the terms,
/// carried through ten layers.
const TOLERANCE: f64 = 1e-11;

/// A bias before batch-norm has no effect, so its gradient is rounding, about 1e-15 on either side.
/// Adam's first step divides it by itself plus 1e-8, and with a rate of 0.01 turns it into 1e-9.
fn tolerance_of(prefix: &str, name: &str) -> f64 {
    let has_no_effect = ["conv1.bias", "conv2.bias", "fc1.bias", "fc2.bias"].contains(&name);
    if has_no_effect && prefix.contains("adam") { 1e-8 } else { TOLERANCE }
}

struct Golden {
    tensors: BTreeMap<String, Tensor>,
    model: LeNet5,
}

impl Golden {
    fn load(trained: Trained, file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
        let (tensors, _) = store::load(&path).unwrap();
        let model =
            LeNet5::new(&MrrFactory(trained), FcActivation::Relu, &Seed::new(0), DType::F64)
                .unwrap();
        let golden = Self { tensors, model };
        golden.reset();
        golden
    }

    /// The initial state: the golden parameters, running mean 0 and variance 1.
    fn reset(&self) {
        let mut state = self.part("initial/");
        for (name, var) in self.model.buffers() {
            let start = if name.ends_with("var") {
                var.value().ones_like()
            } else {
                var.value().zeros_like()
            };
            state.insert(name, start.unwrap());
        }
        load_model_state(&self.model, &state).unwrap();
    }

    fn part(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let strip =
            |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    fn batch(&self) -> Batch {
        let images = self.tensors["images"].to_dtype(DType::F64).unwrap();
        Batch::new(images, self.tensors["labels"].clone())
    }

    fn step(&self, optimizer: &mut dyn Optimizer) -> (f64, Counters) {
        let counters = Counters::default();
        let mut lab = Lab::new();
        let mut cx = StepContext {
            model: &self.model,
            optimizer,
            lab: &mut lab,
            counters: &counters,
            epoch: 0,
            step: 0,
            seed: Seed::new(0),
            loss: CROSS_ENTROPY,
        };
        let loss = Backprop.step(&self.batch(), &mut cx).unwrap().loss;
        (loss, counters)
    }

    /// Compares values by name with the golden ones under a prefix; tensors of more than 1,000
    /// elements are stored as every 17th.
    fn compare(&self, prefix: &str, got: &BTreeMap<String, Tensor>) {
        let want = self.part(prefix);
        assert!(!want.is_empty(), "no golden {prefix}");
        for (name, want) in want {
            let want: Vec<f64> = want.flatten_all().unwrap().to_vec1().unwrap();
            let got: Vec<f64> = got[&name].flatten_all().unwrap().to_vec1().unwrap();
            let stride = if got.len() == want.len() { 1 } else { 17 };
            let got: Vec<f64> = got.into_iter().step_by(stride).collect();
            assert_eq!(got.len(), want.len(), "{prefix}{name}");
            let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            let tolerance = scale * tolerance_of(prefix, &name);
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                assert!((g - w).abs() <= tolerance, "{prefix}{name}[{i}]: {g} is not {w}");
            }
        }
    }
}

/// An optimizer that keeps the gradients and moves nothing.
struct Keep(Option<Gradients>, Descent<Sgd>);

impl Optimizer for Keep {
    fn step(
        &mut self,
        _: &ParamSet,
        objective: &mut dyn Objective,
    ) -> pnn_core::Result<Evaluation> {
        let evaluation = objective.evaluate(pnn_core::optim::Point::Base)?;
        self.0 = Some(evaluation.gradients.clone());
        Ok(evaluation)
    }

    fn ascends(&self) -> bool {
        false
    }

    fn rule(&self) -> &dyn Rule {
        self.1.rule()
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        self.1.rule_mut()
    }
}

fn gradients_equal_pytorch(trained: Trained, file: &str) {
    let golden = Golden::load(trained, file);
    let mut keep = Keep(None, Descent(Sgd::new(0.0, 0.0).unwrap()));
    let (loss, counters) = golden.step(&mut keep);
    let want: Vec<f64> = golden.tensors["loss"].flatten_all().unwrap().to_vec1().unwrap();
    assert!((loss - want[0]).abs() < TOLERANCE, "{loss} is not {}", want[0]);
    let counts = counters.read();
    assert_eq!((counts.forward, counts.backward, counts.measured), (1, 1, 0));
    let names = golden.model.parameters().iter().map(|p| p.name.clone());
    let gradients = keep.0.unwrap().0.into_iter().map(Option::unwrap);
    golden.compare("gradient/", &names.zip(gradients).collect());
    golden.compare("running/", &model_state(&golden.model));
}

fn steps_equal_pytorch(trained: Trained, file: &str) {
    let golden = Golden::load(trained, file);
    let sgd = || Sgd::new(0.05, 0.5).unwrap();
    let adam = || Adam::new(0.01).unwrap();
    let optimizers: [(&str, Box<dyn Optimizer>, u64); 4] = [
        ("sgd/", Box::new(Descent(sgd())), 1),
        ("adam/", Box::new(Descent(adam())), 1),
        ("sam-sgd/", Box::new(SharpnessAware::new(sgd(), Sam::new(0.05).unwrap())), 2),
        ("asam-adam/", Box::new(SharpnessAware::new(adam(), Asam::new(0.5).unwrap())), 2),
    ];
    for (prefix, mut optimizer, passes) in optimizers {
        golden.reset();
        let (_, counters) = golden.step(optimizer.as_mut());
        assert_eq!(
            (counters.read().forward, counters.read().backward),
            (passes, passes),
            "{prefix}"
        );
        golden.compare(prefix, &golden.model.parameters().named());
        // The second pass leaves the running statistics as one pass made them.
        golden.compare("running/", &model_state(&golden.model));
    }
}

#[test]
fn gradients_of_weights_equal_pytorch() {
    gradients_equal_pytorch(Trained::Weights, "lenet-weights.safetensors");
}

#[test]
fn gradients_of_detunings_equal_pytorch() {
    gradients_equal_pytorch(Trained::Detunings, "lenet-detunings.safetensors");
}

#[test]
fn steps_on_weights_equal_pytorch() {
    steps_equal_pytorch(Trained::Weights, "lenet-weights.safetensors");
}

#[test]
fn steps_on_detunings_equal_pytorch() {
    steps_equal_pytorch(Trained::Detunings, "lenet-detunings.safetensors");
}
