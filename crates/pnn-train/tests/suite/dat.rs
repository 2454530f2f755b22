//! Dual adaptive training on a small mesh: what it learns, how it sees the chip, and that a run
//! continues to the same bits.

use crate::common;
use crate::common::one_mesh;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use common::{bits, digits, recipe};
use one_mesh::{OneMesh, mesh};
use pnn_core::layers::Learning;
use pnn_core::model::{Counters, Lab, Mode, Model};
use pnn_core::ops::straight_through;
use pnn_core::optim::{Adam, Descent, Optimizer, Sgd};
use pnn_core::testing::{GradientCheck, check_close, check_gradients};
use pnn_core::{Controls, DType, Deviations, Hardware, PhysicalLayer, Seed, Tensor, Twin};
use pnn_data::Normalisation;
use pnn_devices::mzi::{LEFT_SPLITTER_ERROR, RIGHT_SPLITTER_ERROR, THETA_ERROR_RAD};
use pnn_train::{
    Batch, CROSS_ENTROPY, CheckpointConfig, DualAdaptive, DualAdaptiveSettings, FcActivation,
    LeNet5, MiniUNet, MrrFactory, Observer, Recipe, StepContext, StepEvent, Strategy, TrainConfig,
    Trained, Trainer,
};

/// Phase and splitter errors.
fn errors() -> Deviations {
    [THETA_ERROR_RAD, LEFT_SPLITTER_ERROR, RIGHT_SPLITTER_ERROR].iter().fold(
        Deviations::none(),
        |errors, name| {
            let mesh = mesh();
            let port = mesh.ports().iter().find(|port| port.name == *name).unwrap();
            let normal = rand_distr::Normal::new(0.0, 0.15).unwrap();
            let error = Seed::new(3).child(name).tensor(normal, port.shape.dims(), DType::F64);
            errors.with(*name, error.unwrap().clamp(-0.9, 0.9).unwrap())
        },
    )
}

/// An instrument that counts what is asked of it.
struct Counting {
    twin: Twin,
    calls: Rc<Cell<usize>>,
}

impl Hardware for Counting {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> pnn_core::Result<Tensor> {
        self.calls.set(self.calls.get() + 1);
        assert!(!x.is_tracked() && controls.iter().all(|(_, c)| !c.is_tracked()));
        self.twin.measure(x, controls)
    }
}

fn lab() -> (Lab, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let twin = Twin::new(Arc::new(mesh()), errors()).unwrap();
    let hardware = Counting { twin, calls: Rc::clone(&calls) };
    let mut lab = Lab::new();
    lab.insert("mesh".into(), Box::new(hardware));
    (lab, calls)
}

fn batch(images: usize, dtype: DType) -> Batch {
    let data = digits(images);
    let indices: Vec<usize> = (0..images).collect();
    let images = data.images_tensor(&indices, &Normalisation::UNIT, dtype).unwrap();
    Batch::new(images, data.labels_tensor(&indices).unwrap())
}

fn step(
    strategy: &mut DualAdaptive,
    model: &OneMesh,
    optimizer: &mut dyn Optimizer,
    lab: &mut Lab,
    batch: &Batch,
    epoch: usize,
) -> (pnn_train::Result<f64>, u64) {
    let counters = Counters::default();
    let mut cx = StepContext {
        model,
        optimizer,
        lab,
        counters: &counters,
        epoch,
        step: 0,
        seed: Seed::new(5),
        loss: CROSS_ENTROPY,
    };
    let loss = strategy.step(batch, &mut cx).map(|report| report.loss);
    (loss, counters.read().measured)
}

fn settings() -> DualAdaptiveSettings {
    DualAdaptiveSettings { networks: 2, warm_up: 1, ports: 16, ..Default::default() }
}

fn strategy(model: &OneMesh) -> DualAdaptive {
    DualAdaptive::new(settings(), model, &Seed::new(1)).unwrap()
}

/// The mean squared distance between two readings.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let square = (a - b).unwrap().sqr().unwrap().mean_all().unwrap();
    square.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// How far from the chip's reading is the ideal model says, and what the corrected one does.
fn model_errors(model: &OneMesh, strategy: &DualAdaptive, images: &Tensor) -> (f64, f64) {
    let (x, controls) = (model.light(images), model.mesh.controls().detach());
    let device = model.mesh.device();
    let measured = device.forward(&x, &controls, &errors()).unwrap();
    let output = device.field_output().unwrap();
    let field = output.field(&x, &controls, &Deviations::none()).unwrap();
    let mode = Mode::Train { update_statistics: false };
    let corrected = strategy.corrected("mesh", &field, mode).unwrap();
    let read = |field: &Tensor| output.detect(field).unwrap();
    (distance(&read(&field), &measured), distance(&read(&corrected), &measured))
}

#[test]
fn networks_learn_what_the_chip_does_otherwise_and_then_the_task() {
    let model = OneMesh::new(DType::F32);
    let mut strategy = strategy(&model);
    let (mut lab, _) = lab();
    // The task moves the mesh slowly, so that the networks can follow.
    let mut optimizer = Descent(Adam::new(1e-4).unwrap());
    let batch = batch(480, DType::F32);
    for _ in 0..200 {
        step(&mut strategy, &model, &mut optimizer, &mut lab, &batch, 0).0.unwrap();
    }
    let (ideal, corrected) = model_errors(&model, &strategy, &batch.images);
    assert!(corrected < ideal / 4.0, "{corrected} against {ideal}");
    let mut optimizer = Descent(Adam::new(3e-3).unwrap());
    let mut loss = |epoch| step(&mut strategy, &model, &mut optimizer, &mut lab, &batch, epoch).0;
    let before = loss(1).unwrap();
    for _ in 0..60 {
        loss(1).unwrap();
    }
    let after = loss(1).unwrap();
    assert!(after < before - 0.02, "{before} to {after}");
}

#[test]
fn the_chip_is_seen_through_one_measurement_a_step() {
    let model = OneMesh::new(DType::F32);
    let mut strategy = strategy(&model);
    let (mut lab, calls) = lab();
    let batch = batch(40, DType::F32);
    for (i, epoch) in [0, 1, 2].into_iter().enumerate() {
        let before = bits(&model);
        let mut optimizer = Descent(Adam::new(1e-3).unwrap());
        let (loss, measured) = step(&mut strategy, &model, &mut optimizer, &mut lab, &batch, epoch);
        loss.unwrap();
        assert_eq!((calls.get(), measured), (i + 1, 1));
        assert!(before.iter().all(|(name, bits_before)| bits(&model)[name] != *bits_before));
    }
    // A sharpness-aware step measures at both points; networks learn at the first.
    let sharp = with_sharpness();
    let mut optimizer = sharp.optimizer().unwrap();
    let steps = |strategy: &DualAdaptive| {
        strategy.state().unwrap()["mesh/steps"].to_scalar::<u32>().unwrap()
    };
    assert_eq!(steps(&strategy), 3);
    step(&mut strategy, &model, optimizer.as_mut(), &mut lab, &batch, 1).0.unwrap();
    assert_eq!((calls.get(), steps(&strategy)), (5, 4));
    // The lab is where it was.
    assert!(lab.contains_key("mesh"));
}

fn with_sharpness() -> Recipe {
    recipe(
        r#"{"train": "weights", "strategy": "bp", "optimizer": {"adam": {"rate": 0.001}},
            "sharpness": {"sam": {"rho": 0.05}}, "epochs": 1, "batch_size": 40}"#,
    )
}

/// In warm-up the task's step is that of physics-aware training to the bit, and the task's
/// optimizer never moves the networks.
#[test]
fn warm_up_is_physics_aware_training() {
    let batch = batch(40, DType::F32);
    let (model, other) = (OneMesh::new(DType::F32), OneMesh::new(DType::F32));
    let mut strategy = strategy(&model);
    let start = strategy.state().unwrap();
    let mut optimizer = Descent(Adam::new(1e-2).unwrap());
    step(&mut strategy, &model, &mut optimizer, &mut lab().0, &batch, 0).0.unwrap();
    let (mut lab, counters) = (lab().0, Counters::default());
    let mut optimizer = Descent(Adam::new(1e-2).unwrap());
    let mut cx = StepContext {
        model: &other,
        optimizer: &mut optimizer,
        lab: &mut lab,
        counters: &counters,
        epoch: 0,
        step: 0,
        seed: Seed::new(5),
        loss: CROSS_ENTROPY,
    };
    pnn_train::PhysicsAware.step(&batch, &mut cx).unwrap();
    assert_eq!(bits(&model), bits(&other));
    // Adam's first step is its rate, in every weight: 1e-3 is the networks' own.
    let moved = strategy.state().unwrap();
    let name = "mesh/block1.0.real";
    let by = (&moved[name] - &start[name]).unwrap().abs().unwrap();
    let by: Vec<f32> = by.flatten_all().unwrap().to_vec1().unwrap();
    assert!(by.iter().all(|v| (*v - 1e-3).abs() < 1e-5), "{by:?}");
}

/// After warm-up a step goes down the gradient of the corrected model, at what was measured: taken
/// here by hand, with the networks as the step left them (they learn before).
#[test]
fn the_gradient_is_that_of_the_corrected_model() {
    let batch = batch(40, DType::F32);
    for fusion in [false, true] {
        let (model, other) = (OneMesh::new(DType::F32), OneMesh::new(DType::F32));
        let settings = DualAdaptiveSettings { fusion, ..settings() };
        let mut strategy = DualAdaptive::new(settings, &model, &Seed::new(1)).unwrap();
        let mut optimizer = Descent(Sgd::new(1.0, 0.0).unwrap());
        step(&mut strategy, &model, &mut optimizer, &mut lab().0, &batch, 1).0.unwrap();

        let (pixels, none) = (batch.images.flatten_from(1).unwrap(), Deviations::none());
        let light = other.front.device().forward(&pixels, &other.front.controls(), &none).unwrap();
        let (device, controls) = (other.mesh.device(), other.mesh.controls());
        let measured = device.forward(&light.detach(), &controls.detach(), &errors()).unwrap();
        let output = device.field_output().unwrap();
        let field = output.field(&light, &controls, &none).unwrap();
        let mode = Mode::Train { update_statistics: false };
        let mut corrected = strategy.corrected("mesh", &field, mode).unwrap();
        if fusion {
            let fused = output.fuse(&corrected, &measured).unwrap();
            corrected = straight_through(&corrected, &fused).unwrap();
        }
        let read = straight_through(&output.detect(&corrected).unwrap(), &measured).unwrap();
        let loss = CROSS_ENTROPY(&read.narrow(1, 0, 10).unwrap(), &batch.labels).unwrap();
        let gradients = loss.backward().unwrap();
        for (moved, still) in model.parameters().iter().zip(other.parameters().iter()) {
            let gradient = gradients.get(&still.var.tensor()).unwrap();
            let want = (still.var.value() - gradient).unwrap();
            let size: Vec<f32> = gradient.abs().unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let largest = f64::from(size.into_iter().fold(0.0, f32::max));
            assert!(largest > 1e-4, "{}", still.name);
            let tolerance = 1e-4 * largest + 1e-6;
            check_close(&moved.var.value(), &want, 0.0, tolerance)
                .unwrap_or_else(|e| panic!("fusion {fusion}, {}: {e}", still.name));
        }
    }
}

/// A step that fails leaves networks, running statistics and parameters as they were.
#[test]
fn a_step_that_fails_moves_nothing() {
    let model = OneMesh::new(DType::F32);
    let mut strategy = strategy(&model);
    let state = |strategy: &DualAdaptive| -> BTreeMap<String, Vec<u64>> {
        let bits = |t: Tensor| -> Vec<u64> {
            let values: Vec<f64> =
                t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            values.into_iter().map(f64::to_bits).collect()
        };
        strategy.state().unwrap().into_iter().map(|(name, t)| (name, bits(t))).collect()
    };
    let (batch, mut optimizer) = (batch(40, DType::F32), Descent(Adam::new(1e-3).unwrap()));
    step(&mut strategy, &model, &mut optimizer, &mut lab().0, &batch, 1).0.unwrap();
    let (before, parameters) = (state(&strategy), bits(&model));
    struct Broken(usize);
    impl Hardware for Broken {
        fn measure(&mut self, x: &Tensor, _: &Controls) -> pnn_core::Result<Tensor> {
            self.0 += 1;
            // Sane in the ports that networks learn, not in those that the task reads.
            let ports = Tensor::full(0.25f32, [x.dim(0)?, 16])?;
            let bad = Tensor::full(f32::INFINITY, [x.dim(0)?, 1])?;
            Tensor::cat(&[&ports.narrow(1, 0, 9)?, &bad, &ports.narrow(1, 0, 6)?], 1)
        }
    }
    let mut broken = Lab::new();
    broken.insert("mesh".into(), Box::new(Broken(0)));
    let narrow = DualAdaptiveSettings { ports: 9, ..settings() };
    let mut other = DualAdaptive::new(narrow, &model, &Seed::new(1)).unwrap();
    other.load_state(&strategy.state().unwrap()).unwrap();
    let failed = step(&mut other, &model, &mut optimizer, &mut broken, &batch, 1).0;
    assert!(failed.is_err());
    assert_eq!((state(&other), bits(&model)), (before, parameters));
}

/// Trains two epochs of 6 steps with a warm-up of one; with `stop`, fails after so many steps.
fn train(
    checkpoint: Option<std::path::PathBuf>,
    stop: Option<usize>,
) -> (OneMesh, BTreeMap<String, Tensor>) {
    struct Stop(Option<usize>);
    impl Observer for Stop {
        fn on_step(&mut self, event: &StepEvent) -> pnn_train::Result<()> {
            match self.0 {
                Some(stop) if event.epoch * event.steps + event.step == stop => {
                    Err(pnn_train::Error::Observer("stopped".into()))
                }
                _ => Ok(()),
            }
        }
    }
    let model = OneMesh::new(DType::F32);
    let halving = DualAdaptiveSettings { halve_every: Some(5), ..settings() };
    let mut strategy = DualAdaptive::new(halving, &model, &Seed::new(1)).unwrap();
    let mut optimizer = Descent(Adam::new(1e-3).unwrap());
    let checkpoint = checkpoint.map(|path| CheckpointConfig {
        path,
        every: 1,
        resume: true,
        fingerprint: "dat".into(),
    });
    let config = TrainConfig {
        epochs: 2,
        batch_size: 40,
        schedule: Default::default(),
        normalisation: Normalisation::UNIT,
        shuffle: true,
        seed: Seed::new(2),
        checkpoint,
    };
    let mut trainer = Trainer {
        model: &model,
        strategy: &mut strategy,
        optimizer: &mut optimizer,
        lab: &mut lab().0,
        loss: CROSS_ENTROPY,
    };
    let result =
        trainer.train(&digits(240), &config, &mut |_| Ok(BTreeMap::new()), &mut Stop(stop));
    match (result, stop) {
        (Err(error), None) => panic!("{error}"),
        (Ok(_), Some(stop)) => panic!("did not stop at {stop}"),
        _ => {}
    }
    let state = strategy.state().unwrap();
    (model, state)
}

fn same(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) {
    assert!(a.keys().eq(b.keys()));
    for (name, tensor) in a {
        pnn_core::testing::check_same_bits(tensor, &b[name]).unwrap();
    }
}

#[test]
fn a_run_that_was_stopped_continues_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    // In warm-up, and after it.
    train(Some(path.clone()), Some(4));
    train(Some(path.clone()), Some(8));
    let (model, state) = train(Some(path.clone()), None);
    let (whole, whole_state) = train(None, None);
    assert_eq!(bits(&model), bits(&whole));
    same(&state, &whole_state);
    assert_eq!(state["mesh/steps"].to_scalar::<u32>().unwrap(), 12);
    // A checkpoint without the networks is refused, with a name.
    let (tensors, metadata) = pnn_core::store::load(&path).unwrap();
    let tensors = tensors.into_iter().filter(|(name, _)| !name.contains("up2")).collect();
    pnn_core::store::save(&path, &tensors, &metadata).unwrap();
    let failed = std::panic::catch_unwind(|| train(Some(path), None)).err().unwrap();
    let said = failed.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.contains("up2"), "{said}");
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (model, state) = train(None, None);
            (bits(&model), state)
        })
    };
    let (one, three) = (run(1), run(3));
    assert_eq!(one.0, three.0);
    same(&one.1, &three.1);
}

#[test]
fn the_gradient_of_networks() {
    let networks = MiniUNet::new(2, 16, &Seed::new(4), DType::F64).unwrap();
    let normal = rand_distr::StandardNormal;
    let field = Seed::new(5).tensor(normal, &[3, 2, 16], DType::F64).unwrap();
    for mode in [Mode::Train { update_statistics: false }, Mode::Eval] {
        check_gradients(
            std::slice::from_ref(&field),
            |t| networks.forward(&t[0], mode, Learning::Frozen),
            &GradientCheck::default(),
        )
        .unwrap();
    }
    // Of the parameters, along one direction each.
    let weight = networks.parameters();
    let value = |learning| {
        let mode = Mode::Train { update_statistics: false };
        networks.forward(&field, mode, learning).unwrap().sqr().unwrap().sum_all().unwrap()
    };
    let gradients = weight.gradients(&value(Learning::On).backward().unwrap());
    for (parameter, gradient) in weight.iter().zip(&gradients.0) {
        let gradient = gradient.as_ref().unwrap();
        let old = parameter.var.value();
        let along = Seed::new(6).child(&parameter.name);
        let along = along.tensor(normal, &parameter.var.dims(), DType::F64).unwrap();
        let at = |h: f64| {
            parameter.var.set(&(&old + (&along * h).unwrap()).unwrap()).unwrap();
            value(Learning::Frozen).to_scalar::<f64>().unwrap()
        };
        let h = 1e-6;
        let difference = (at(h) - at(-h)) / (2.0 * h);
        parameter.var.set(&old).unwrap();
        let product = (gradient * &along).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        let scale = 1.0 + product.abs();
        assert!(
            (product - difference).abs() < 1e-4 * scale,
            "{}: {product} {difference}",
            parameter.name
        );
    }
}

/// Networks side by side are the sum of networks alone.
#[test]
fn networks_do_not_see_each_other() {
    let both = MiniUNet::new(2, 16, &Seed::new(4), DType::F64).unwrap();
    let field = Seed::new(5).tensor(rand_distr::StandardNormal, &[6, 2, 16], DType::F64).unwrap();
    let mode = Mode::Train { update_statistics: false };
    let mut sum: Option<Tensor> = None;
    for network in 0..2 {
        let one = MiniUNet::new(1, 16, &Seed::new(0), DType::F64).unwrap();
        for (own, shared) in one.parameters().iter().zip(both.parameters().iter()) {
            own.var.set(&shared.var.value().narrow(0, network, 1).unwrap()).unwrap();
        }
        let y = one.forward(&field, mode, Learning::On).unwrap();
        sum = Some(match sum {
            Some(sum) => (sum + y).unwrap(),
            None => y,
        });
    }
    let y = both.forward(&field, mode, Learning::On).unwrap();
    pnn_core::testing::check_close(&y, &sum.unwrap(), 1e-10, 1e-10).unwrap();
}

#[test]
fn impossible_settings_are_refused() {
    let refused = |settings: &str, says: &str| {
        let json = format!(
            r#"{{"train": "weights", "strategy": {{"dat": {{"hardware": [], "settings": {settings}}}}},
                "optimizer": {{"adam": {{"rate": 0.001}}}}, "epochs": 3, "batch_size": 40}}"#
        );
        let error = serde_json::from_str::<Recipe>(&json).unwrap_err().to_string();
        assert!(error.contains(says), "{settings}: {error}");
    };
    refused(r#"{"networks": 0}"#, "[1, 64]");
    refused(r#"{"networks": 65}"#, "[1, 64]");
    refused(r#"{"rate": -1.0}"#, "learning rate");
    refused(r#"{"rate": 0.0}"#, "(0, infinity)");
    refused(r#"{"halve_every": 0}"#, "halve_every");
    refused(r#"{"ports": 0}"#, "ports");
    refused(r#"{"warm_up": 4}"#, "[0, epochs of the recipe]");
    refused(r#"{"depth": 4}"#, "unknown field");
    for ports in [0, 4, 15, 36, 65] {
        let error = MiniUNet::new(1, ports, &Seed::new(0), DType::F32).err().unwrap().to_string();
        assert!(error.contains("16, 64, 144"), "{ports}: {error}");
    }
    let networks = MiniUNet::new(1, 16, &Seed::new(0), DType::F32).unwrap();
    let field = Tensor::zeros([3, 2, 64], DType::F32).unwrap();
    assert!(networks.forward(&field, Mode::Eval, Learning::On).is_err());
    let factory = MrrFactory(Trained::Detunings);
    let lenet = LeNet5::new(&factory, FcActivation::Relu, &Seed::new(1), DType::F32).unwrap();
    let error = DualAdaptive::new(settings(), &lenet, &Seed::new(0)).err().unwrap().to_string();
    assert!(error.contains("field before its detectors"), "{error}");
}
