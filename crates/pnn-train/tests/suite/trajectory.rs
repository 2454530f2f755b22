//! SAF and MESA: every step is that of the authors' code.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pnn_core::layers::{BatchNorm, Digital, Product};
use pnn_core::model::{Counters, Lab, Model, Pass, Physical, load_model_state, model_state};
use pnn_core::ops::sigmoid;
use pnn_core::optim::{Descent, Sam, Sgd, SharpnessAware};
use pnn_core::{Bounds, DType, ParamSet, Result, Seed, Tensor, Var, store};
use pnn_train::{
    Backprop, Batch, CROSS_ENTROPY, Mesa, MesaSettings, Saf, SafSettings, StepContext, Strategy,
};

const EPOCHS: usize = 6;
const BATCH: usize = 4;
const STEPS: usize = 3;

/// The network of the golden file.
struct Net {
    layers: Vec<Physical>,
    norm: BatchNorm,
    parameters: ParamSet,
}

impl Net {
    fn new() -> Self {
        let layer = |name: &str, inputs, outputs, bias: Option<Tensor>| {
            let device = Digital::new(Product::Linear { inputs, outputs }, Bounds::UNBOUNDED);
            Physical::new(name, Arc::new(device), bias, &Seed::new(1), DType::F64).unwrap()
        };
        let bias = Tensor::zeros(3, DType::F64).unwrap();
        let layers = vec![layer("fc1", 4, 5, None), layer("fc2", 5, 3, Some(bias))];
        let norm = BatchNorm::new("norm", 5, DType::F64).unwrap();
        let of_layers = layers.iter().flat_map(Physical::parameters);
        let parameters = ParamSet::new(of_layers.chain(norm.parameters())).unwrap();
        Self { layers, norm, parameters }
    }
}

impl Model for Net {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let h = self.layers[0].forward(x, pass)?;
        let h = sigmoid(&self.norm.forward(&h, pass.mode)?)?;
        self.layers[1].forward(&h, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.norm.buffers()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}

struct Golden(BTreeMap<String, Tensor>);

impl Golden {
    fn load() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        Self(store::load(&folder.join("trajectory.safetensors")).unwrap().0)
    }

    fn values(&self, name: &str) -> Vec<f64> {
        values(&self.0[name])
    }

    fn start(&self) -> Net {
        let (net, prefix) = (Net::new(), "initial/");
        let initial = self.0.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        });
        load_model_state(&net, &initial.collect()).unwrap();
        net
    }

    fn batch(&self, epoch: usize, step: usize) -> Batch {
        let order = self.values("order");
        let start = epoch * STEPS * BATCH + step * BATCH;
        let indices: Vec<usize> = order[start..start + BATCH].iter().map(|i| *i as usize).collect();
        let row = |name: &str, i: usize| self.0[name].narrow(0, i, 1).unwrap();
        let rows = |name: &str| {
            let rows: Vec<Tensor> = indices.iter().map(|i| row(name, *i)).collect();
            Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0).unwrap()
        };
        Batch { indices: indices.clone(), ..Batch::new(rows("images"), rows("labels")) }
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Weights below 4 and gradients below 1 in 18 steps of a rate of 0.1, each right to some 10 eps: 1e-13
/// would still be generous.
fn assert_close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-12 * (0.1 + want.abs()), "{what}: {got} is not {want}");
    }
}

fn step(
    strategy: &mut dyn Strategy,
    optimizer: &mut Descent<Sgd>,
    net: &Net,
    batch: &Batch,
    (epoch, step): (usize, usize),
) -> (f64, u64) {
    let counters = Counters::default();
    let mut cx = StepContext {
        model: net,
        optimizer,
        lab: &mut Lab::new(),
        counters: &counters,
        epoch,
        step,
        seed: Seed::new(0),
        loss: CROSS_ENTROPY,
    };
    let loss = strategy.step(batch, &mut cx).unwrap().loss;
    assert_eq!(counters.read().backward, 1);
    (loss, counters.read().forward)
}

const SAF: SafSettings =
    SafSettings { weight: 0.35, temperature: 2.5, past: 2, start: 1, end: Some(5) };
const MESA: MesaSettings =
    MesaSettings { weight: 0.6, temperature: 3.0, decay: 0.8, start: 0, end: Some(5) };

fn saf() -> Saf {
    Saf::new(SAF, Box::new(Backprop)).unwrap()
}

fn mesa() -> Mesa {
    Mesa::new(MESA, Box::new(Backprop)).unwrap()
}

/// Follows a method step by step; passes of each step must be `passes` of its epoch.
fn follow(method: &str, strategy: &mut dyn Strategy, passes: impl Fn(usize) -> u64) {
    let golden = Golden::load();
    let net = golden.start();
    let mut optimizer = Descent(Sgd::new(0.1, 0.5).unwrap());
    let losses = golden.values(&format!("{method}/loss"));
    for epoch in 0..EPOCHS {
        for at in 0..STEPS {
            let batch = golden.batch(epoch, at);
            let (loss, forward) = step(strategy, &mut optimizer, &net, &batch, (epoch, at));
            let number = epoch * STEPS + at;
            assert_close(&format!("{method} loss {number}"), &[loss], &[losses[number]]);
            assert_eq!(forward, passes(epoch), "{method} epoch {epoch}");
            for (name, tensor) in model_state(&net) {
                let path = golden.values(&format!("{method}/{name}"));
                let (got, length) = (values(&tensor), tensor.elem_count());
                let want = &path[number * length..(number + 1) * length];
                assert_close(&format!("{method} {name} {number}"), &got, want);
            }
        }
    }
}

#[test]
fn saf_follows_the_authors_and_costs_no_pass() {
    follow("saf", &mut saf(), |_| 1);
}

#[test]
fn mesa_follows_the_authors_and_costs_a_forward_pass_where_it_acts() {
    let mut mesa = mesa();
    follow("mesa", &mut mesa, |epoch| if (1..5).contains(&epoch) { 2 } else { 1 });
    let golden = Golden::load();
    for (name, average) in mesa.average() {
        let want = golden.values(&format!("mesa/average/{name}"));
        assert_close(&format!("average {name}"), &values(average), &want);
    }
}

/// The state after any step continues to the same bits in a strategy that knows nothing.
#[test]
fn a_saved_strategy_continues_to_the_same_bits() {
    let golden = Golden::load();
    let make = |method: &str| -> Box<dyn Strategy> {
        if method == "saf" { Box::new(saf()) } else { Box::new(mesa()) }
    };
    for method in ["saf", "mesa"] {
        let net = golden.start();
        let mut optimizer = Descent(Sgd::new(0.1, 0.5).unwrap());
        let mut strategy = make(method);
        for number in 0..EPOCHS * STEPS {
            let state = strategy.state().unwrap();
            strategy = make(method);
            strategy.load_state(&state).unwrap();
            for (name, tensor) in strategy.state().unwrap() {
                assert_eq!(values(&tensor), values(&state[&name]), "{method} {name}");
            }
            let at = (number / STEPS, number % STEPS);
            let batch = golden.batch(at.0, at.1);
            step(strategy.as_mut(), &mut optimizer, &net, &batch, at);
        }
        let mut whole = make(method);
        let (other, mut rule) = (golden.start(), Descent(Sgd::new(0.1, 0.5).unwrap()));
        for number in 0..EPOCHS * STEPS {
            let at = (number / STEPS, number % STEPS);
            step(whole.as_mut(), &mut rule, &other, &golden.batch(at.0, at.1), at);
        }
        for ((name, a), (_, b)) in model_state(&net).iter().zip(model_state(&other)) {
            assert_eq!(values(a), values(&b), "{method} {name}");
        }
    }
}

#[test]
fn a_step_that_fails_remembers_nothing_and_restores_the_weights() {
    let golden = Golden::load();
    for method in ["saf", "mesa"] {
        let net = golden.start();
        let mut strategy: Box<dyn Strategy> =
            if method == "saf" { Box::new(saf()) } else { Box::new(mesa()) };
        let mut optimizer = Descent(Sgd::new(0.1, 0.5).unwrap());
        for number in 0..3 * STEPS {
            let at = (number / STEPS, number % STEPS);
            step(strategy.as_mut(), &mut optimizer, &net, &golden.batch(at.0, at.1), at);
        }
        let (before, kept) = (model_state(&net), strategy.state().unwrap());
        let mut batch = golden.batch(3, 0);
        batch.images = (&batch.images * f64::NAN).unwrap();
        let mut sharp = SharpnessAware::new(Sgd::new(0.1, 0.5).unwrap(), Sam::new(0.1).unwrap());
        let mut cx = StepContext {
            model: &net,
            optimizer: &mut sharp,
            lab: &mut Lab::new(),
            counters: &Counters::default(),
            epoch: 3,
            step: 0,
            seed: Seed::new(0),
            loss: CROSS_ENTROPY,
        };
        assert!(strategy.step(&batch, &mut cx).is_err());
        for (name, tensor) in model_state(&net) {
            assert_eq!(values(&tensor), values(&before[&name]), "{method} {name}");
        }
        for (name, tensor) in strategy.state().unwrap() {
            assert_eq!(values(&tensor), values(&kept[&name]), "{method} {name}");
        }
    }
}

#[test]
fn settings_and_batches_that_do_not_fit_are_errors() {
    let saf = |settings: SafSettings| settings.check().unwrap_err().to_string();
    let mesa = |settings: MesaSettings| settings.check().unwrap_err().to_string();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(saf(SafSettings { weight: bad, ..SAF }).contains("weight of saf"));
        assert!(saf(SafSettings { temperature: bad, ..SAF }).contains("temperature of saf"));
        assert!(mesa(MesaSettings { weight: bad, ..MESA }).contains("weight of mesa"));
        assert!(mesa(MesaSettings { temperature: bad, ..MESA }).contains("temperature of mesa"));
        assert!(mesa(MesaSettings { decay: bad, ..MESA }).contains("decay of mesa"));
    }
    assert!(saf(SafSettings { past: 0, ..SAF }).contains("past of saf is 0"));
    assert!(saf(SafSettings { past: 3, ..SAF }).contains("past of saf is 3"));
    assert!(saf(SafSettings { end: Some(2), ..SAF }).contains("end of saf is 2"));
    assert!(mesa(MesaSettings { decay: 1.0, ..MESA }).contains("[0, 1)"));

    let golden = Golden::load();
    let batch = Batch { indices: vec![1, 2], ..golden.batch(0, 0) };
    let mut cx = StepContext {
        model: &golden.start(),
        optimizer: &mut Descent(Sgd::new(0.1, 0.5).unwrap()),
        lab: &mut Lab::new(),
        counters: &Counters::default(),
        epoch: 0,
        step: 0,
        seed: Seed::new(0),
        loss: CROSS_ENTROPY,
    };
    let error = Saf::new(SAF, Box::new(Backprop)).unwrap().step(&batch, &mut cx);
    assert!(error.unwrap_err().to_string().contains("indices"));
}
