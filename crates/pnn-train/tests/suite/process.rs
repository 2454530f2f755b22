//! Training with a lab's program in its loop: physics-aware, and sharpness-aware in situ; killed on either side, it goes on to the
//! same bits.
#![cfg(target_os = "linux")]

use crate::common;
use crate::common::one_mesh;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use common::{bits, digits, recipe};
use one_mesh::{OneMesh, mesh};
use pnn_core::device::Hardware;
use pnn_core::model::{Lab, Model};
use pnn_core::optim::{Adam, Descent, Optimizer, Sam, SharpnessAware};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::process::{ProcessConfig, ProcessHardware};
use pnn_train::{
    CROSS_ENTROPY, CheckpointConfig, DualAdaptive, DualAdaptiveSettings, Error, FcActivation,
    LeNet5, Observer, PhysicsAware, Result, StepEvent, Trainer,
};
use rand::RngExt;

const BP: &str = r#"{"train": "detunings", "strategy": "bp",
    "optimizer": {"adam": {"rate": 0.003}}, "epochs": 6, "batch_size": 64}"#;

/// Whether there is Python with `NumPy`; it must be where `CI` is set.
fn python() -> bool {
    let found = Command::new("python3").args(["-c", "import numpy"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "python3 with numpy is needed: pip install numpy"
    );
    if !found {
        eprintln!("left out: python3 with numpy is needed (pip install numpy)");
    }
    found
}

fn lenet() -> LeNet5 {
    let factory = recipe(BP).mrr_factory();
    LeNet5::new(&factory, FcActivation::Relu, &Seed::new(3), DType::F32).unwrap()
}

/// A simulated instrument for fc3: a chip whose resonances lie off, and noise.
fn instrument(model: &LeNet5) -> ProcessHardware {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/pnn_instrument");
    let script = folder.join("simulated_ring_bank.py").to_string_lossy().into_owned();
    let settings = ["--inputs", "84", "--outputs", "10", "--shift-nm", "0.05", "--noise", "0.01"];
    let settings = settings.into_iter().chain(["--latency-ms", "2"]).map(str::to_owned);
    let config = ProcessConfig {
        arguments: std::iter::once(script).chain(settings).collect(),
        retries: 100,
        ..ProcessConfig::default()
    };
    let layers = model.physical_layers();
    let layer = layers.into_iter().find(|layer| layer.name() == "fc3").unwrap();
    ProcessHardware::new("fc3", layer.device().as_ref(), config).unwrap()
}

/// Lets another thread know the process and how often it has answered.
struct Watched {
    hardware: ProcessHardware,
    process: Arc<AtomicU32>,
    answers: Arc<AtomicUsize>,
}

impl Hardware for Watched {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> pnn_core::Result<Tensor> {
        let y = self.hardware.measure(x, controls)?;
        self.process.store(self.hardware.process_id().unwrap_or(0), Ordering::SeqCst);
        self.answers.fetch_add(1, Ordering::SeqCst);
        Ok(y)
    }
}

fn train(
    optimizer: &mut dyn Optimizer,
    hardware: impl FnOnce(ProcessHardware) -> Box<dyn Hardware>,
    checkpoint: Option<PathBuf>,
    observer: &mut dyn Observer,
) -> Result<BTreeMap<String, Vec<u32>>> {
    let model = lenet();
    let mut lab = Lab::new();
    lab.insert("fc3".to_owned(), hardware(instrument(&model)));
    let checkpoint = checkpoint.map(|path| CheckpointConfig {
        path,
        every: 1,
        resume: true,
        fingerprint: "test".into(),
    });
    let config = recipe(BP).config(Seed::new(3), checkpoint);
    let mut trainer = Trainer {
        model: &model,
        strategy: &mut PhysicsAware,
        optimizer,
        lab: &mut lab,
        loss: CROSS_ENTROPY,
    };
    trainer.train(&digits(640), &config, &mut |_| Ok(BTreeMap::new()), observer)?;
    Ok(bits(&model))
}

fn adam() -> Adam {
    Adam::new(0.003).unwrap()
}

fn sharpness_aware() -> SharpnessAware<Adam, Sam> {
    SharpnessAware::new(adam(), Sam::new(0.1).unwrap())
}

/// The losses, and an end after some steps.
struct Stop {
    losses: Vec<f64>,
    after: usize,
}

impl Observer for Stop {
    fn on_step(&mut self, event: &StepEvent) -> Result<()> {
        self.losses.push(event.loss);
        if self.losses.len() == self.after {
            let (what, value) = ("steps of a test", self.after as f64);
            return Err(Error::Range { what, value, allowed: "fewer" });
        }
        Ok(())
    }
}

#[test]
fn networks_learn_through_an_instrument_and_resume_to_the_same_bits() {
    if !python() {
        return;
    }
    for sharp in [false, true] {
        let optimizer = || -> Box<dyn Optimizer> {
            if sharp { Box::new(sharpness_aware()) } else { Box::new(Descent(adam())) }
        };
        let mut whole = Stop { losses: Vec::new(), after: usize::MAX };
        let want = train(optimizer().as_mut(), |h| Box::new(h), None, &mut whole).unwrap();
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&whole.losses[..5]), mean(&whole.losses[55..]));
        assert!(last < 0.5 * first, "from {first} to {last}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut half = Stop { losses: Vec::new(), after: 23 };
        let cut = train(optimizer().as_mut(), |h| Box::new(h), Some(path.clone()), &mut half);
        assert!(cut.is_err());
        let got = train(optimizer().as_mut(), |h| Box::new(h), Some(path), &mut ()).unwrap();
        assert_eq!(got, want);
    }
}

/// While a network trains, its instrument is killed a hundred times: while it measures and between measurements.
#[test]
fn a_hundred_kills_of_the_instrument_lose_nothing() {
    if !python() {
        return;
    }
    let want = train(&mut sharpness_aware(), |h| Box::new(h), None, &mut ()).unwrap();
    let (process, answers) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let killer = {
        let (process, answers, over) =
            (Arc::clone(&process), Arc::clone(&answers), Arc::clone(&over));
        std::thread::spawn(move || {
            let mut rng = Seed::new(5).rng();
            let (mut kills, mut seen) = (0, 0);
            while kills < 100 && !over.load(Ordering::SeqCst) {
                if answers.load(Ordering::SeqCst) == seen {
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
                seen = answers.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(rng.random_range(0..8000)));
                let id = process.load(Ordering::SeqCst).to_string();
                let killed = Command::new("kill").args(["-9", &id]).output().unwrap();
                kills += usize::from(killed.status.success());
            }
            kills
        })
    };
    let watched = |hardware| -> Box<dyn Hardware> {
        Box::new(Watched { hardware, process: Arc::clone(&process), answers: Arc::clone(&answers) })
    };
    let got = train(&mut sharpness_aware(), watched, None, &mut ()).unwrap();
    over.store(true, Ordering::SeqCst);
    assert_eq!(killer.join().unwrap(), 100, "the training must last for all of them");
    assert_eq!(got, want);
}

/// A simulated instrument for a mesh.
fn instrument_of_mesh(settings: &[&str]) -> ProcessHardware {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/pnn_instrument");
    let script = folder.join("simulated_mesh.py").to_string_lossy().into_owned();
    let settings = ["--ports", "16"].iter().chain(settings).map(|s| (*s).to_owned());
    let config = ProcessConfig {
        arguments: std::iter::once(script).chain(settings).collect(),
        ..ProcessConfig::default()
    };
    ProcessHardware::new("mesh", &mesh(), config).unwrap()
}

/// Python's mesh, written from its formulas, is this one.
#[test]
fn an_ideal_instrument_measures_what_the_device_computes() {
    if !python() {
        return;
    }
    let (mesh, seed) = (mesh(), Seed::new(11));
    let light = seed.child("light").tensor(rand_distr::StandardUniform, &[5, 16], DType::F64);
    let light = light.unwrap();
    let controls = mesh.init(&seed, DType::F64).unwrap();
    let want = mesh.forward(&light, &controls, &Deviations::none()).unwrap();
    let read = |settings: &[&str]| {
        let got = instrument_of_mesh(settings).measure(&light, &controls).unwrap();
        let apart = (&got - &want).unwrap().to_vec2::<f64>().unwrap().concat();
        apart.into_iter().fold(0.0, |worst: f64, x| worst.max(x.abs()))
    };
    assert!(read(&[]) < 1e-13, "{}", read(&[]));
    assert!(read(&["--phase-rad", "0.15", "--splitter", "0.15"]) > 0.01);
}

#[test]
fn dual_adaptive_training_goes_through_an_instrument_and_resumes_to_the_same_bits() {
    if !python() {
        return;
    }
    const DAT: &str = r#"{"train": "phases", "strategy": {"dat": {"settings": {"warm_up": 2}}},
        "optimizer": {"adam": {"rate": 0.01}}, "epochs": 6, "batch_size": 64}"#;
    let train = |checkpoint: Option<PathBuf>, stop: &mut Stop| {
        let model = OneMesh::new(DType::F32);
        let mut lab = Lab::new();
        let settings = ["--phase-rad", "0.15", "--splitter", "0.15", "--noise", "0.001"];
        lab.insert("mesh".to_owned(), Box::new(instrument_of_mesh(&settings)));
        let checkpoint = checkpoint.map(|path| CheckpointConfig {
            path,
            every: 1,
            resume: true,
            fingerprint: "test".into(),
        });
        let settings = DualAdaptiveSettings { networks: 2, warm_up: 2, ..Default::default() };
        let mut strategy = DualAdaptive::new(settings, &model, &Seed::new(3)).unwrap();
        let mut trainer = Trainer {
            model: &model,
            strategy: &mut strategy,
            optimizer: &mut Descent(Adam::new(0.01).unwrap()),
            lab: &mut lab,
            loss: CROSS_ENTROPY,
        };
        let config = recipe(DAT).config(Seed::new(3), checkpoint);
        let result = trainer.train(&digits(320), &config, &mut |_| Ok(BTreeMap::new()), stop);
        result.map(|_| bits(&model))
    };
    let mut whole = Stop { losses: Vec::new(), after: usize::MAX };
    let want = train(None, &mut whole).unwrap();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&whole.losses[..5]), mean(&whole.losses[25..]));
    assert!(last < first - 0.05, "from {first} to {last}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    // In the third epoch, with networks.
    assert!(train(Some(path.clone()), &mut Stop { losses: Vec::new(), after: 13 }).is_err());
    let got = train(Some(path), &mut Stop { losses: Vec::new(), after: usize::MAX }).unwrap();
    assert_eq!(got, want);
}
