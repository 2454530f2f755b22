//! What the loop and the strategies promise.

use crate::common;

use std::cell::Cell;
use std::rc::Rc;

use common::{bits, digits, recipe, train};
use pnn_core::model::{Counters, Lab, Model};
use pnn_core::{Controls, DType, Hardware, Seed, Tensor};
use pnn_data::Normalisation;
use pnn_noise::{NoiseModel, Source};
use pnn_train::{
    Batch, CROSS_ENTROPY, Error, FcActivation, LeNet5, MrrFactory, NoiseAware, Observer,
    PhysicsAware, Pruning, Recipe, StepContext, StepEvent, Strategy, Trained,
};

const BP: &str = r#"{"train": "detunings", "strategy": "bp",
    "optimizer": {"sgd": {"rate": 0.05, "momentum": 0.5}}, "epochs": 1, "batch_size": 64}"#;

fn with(json: &str, from: &str, to: &str) -> Recipe {
    assert!(json.contains(from));
    recipe(&json.replace(from, to))
}

#[test]
fn each_method_learns() {
    let strategies = [
        r#""bp""#,
        r#"{"nat": {"noise": [{"source": {"weight": {"std": 0.05}}}]}}"#,
        r#"{"nat": {"noise": [{"source": {"random_drift": {"max_kelvin": 1.0}}, "layers": ["fc2"]}]}}"#,
        r#"{"pruning": {"coefficient": 0.001}}"#,
        r#"{"pat": {"hardware": [{"source": {"fabrication": {"std_nm": 0.03}}, "layers": ["fc2", "fc3"]}]}}"#,
    ];
    struct Losses(Vec<f64>);
    impl Observer for Losses {
        fn on_step(&mut self, event: &StepEvent) -> pnn_train::Result<()> {
            self.0.push(event.loss);
            Ok(())
        }
    }
    for strategy in strategies {
        let recipe = with(BP, r#""bp""#, strategy);
        let mut losses = Losses(Vec::new());
        train(&recipe, &digits(1280), None, &mut losses).unwrap();
        let losses = losses.0;
        assert_eq!(losses.len(), 20, "{strategy}");
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..4]), mean(&losses[16..]));
        assert!(last < first - 0.2, "{strategy}: from {first} to {last}");
    }
}

#[test]
fn rho_zero_is_plain_descent_to_the_bit() {
    let plain = train(&recipe(BP), &digits(320), None, &mut ()).unwrap();
    for sharpness in [r#"{"sam": {"rho": 0.0}}"#, r#"{"asam": {"rho": 0.0}}"#] {
        let zero = with(BP, r#""epochs""#, &format!(r#""sharpness": {sharpness}, "epochs""#));
        assert_eq!(train(&zero, &digits(320), None, &mut ()).unwrap().bits, plain.bits);
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_with_step_layer_and_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let recipe = with(BP, "0.05", "1e38");
    let error = train(&recipe, &digits(640), Some(checkpoint.clone()), &mut ()).err().unwrap();
    let message = error.to_string();
    let Error::NotFinite { step, layer, checkpoint: kept, .. } = error else {
        panic!("another error: {message}")
    };
    assert!(step > 0, "the first step is still finite");
    assert!(!layer.is_empty());
    assert_eq!(kept.as_deref(), Some(checkpoint.as_path()));
    assert!(message.contains("checkpoint.safetensors") && message.contains("step"), "{message}");
    // What is kept is the state before the step, running statistics included: all finite.
    let (tensors, _) = pnn_core::store::load(&checkpoint).unwrap();
    for (name, tensor) in tensors.iter().filter(|(name, _)| name.contains("running")) {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn a_checkpoint_of_another_run_or_of_half_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    train(&recipe(BP), &digits(320), Some(path.clone()), &mut ()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = train(&recipe(BP), &digits(320), Some(path.clone()), &mut ()).err().unwrap();
    assert!(error.to_string().contains("checkpoint.safetensors"), "{error}");
    let text = String::from_utf8_lossy(&whole).replace("test", "tent");
    assert_ne!(text.as_bytes(), whole);
    std::fs::write(&path, {
        // Only the fingerprint in the header changes; the tensors stay.
        let mut bytes = whole.clone();
        let needle = br#"\"fingerprint\":\"test\""#;
        let inner = br#"fingerprint"#;
        let at = bytes.windows(inner.len()).position(|w| w == inner).unwrap();
        let end = at + needle.len() + 8;
        let slice = &mut bytes[at..end];
        let t = slice.windows(4).position(|w| w == b"test").unwrap();
        slice[t..t + 4].copy_from_slice(b"else");
        bytes
    })
    .unwrap();
    let error = train(&recipe(BP), &digits(320), Some(path), &mut ()).err().unwrap();
    assert!(error.to_string().contains("another run"), "{error}");
}

#[test]
fn impossible_recipes_are_refused_with_the_allowed_range() {
    let cases = [
        (r#""rate": 0.05"#, r#""rate": -1.0"#, "learning rate"),
        (r#""momentum": 0.5"#, r#""momentum": 1.0"#, "[0, 1)"),
        (r#""epochs": 1"#, r#""epochs": 0"#, "[1, 10000]"),
        (r#""batch_size": 64"#, r#""batch_size": 1"#, "[2, 60000]"),
        (r#""bp""#, r#"{"pruning": {"coefficient": -1.0}}"#, "[0, infinity)"),
        (
            r#""bp""#,
            r#"{"nat": {"noise": [{"source": {"weight": {"std": -0.1}}}]}}"#,
            "weight noise",
        ),
        (r#""bp""#, r#""sat""#, "unknown variant"),
        (r#""epochs""#, r#""epoch""#, "unknown field"),
        (r#""epochs""#, r#""sharpness": {"sam": {"rho": -0.1}}, "epochs""#, "rho"),
        (
            r#""epochs""#,
            r#""ring_chip": {"bank": {"channels": 2}}, "epochs""#,
            "number of ring_chips",
        ),
    ];
    for (from, to, says) in cases {
        let error = serde_json::from_str::<Recipe>(&BP.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
}

fn lenet() -> LeNet5 {
    lenet_of(DType::F32)
}

fn lenet_of(dtype: DType) -> LeNet5 {
    let factory = MrrFactory(Trained::Detunings);
    LeNet5::new(&factory, FcActivation::Relu, &Seed::new(1), dtype).unwrap()
}

fn dtype_of(model: &LeNet5) -> DType {
    model.parameters().get("conv1.bias").unwrap().var.dtype()
}

fn one_step(
    strategy: &mut dyn Strategy,
    model: &LeNet5,
    lab: &mut Lab,
) -> (pnn_train::Result<f64>, Counters) {
    let data = digits(40);
    let indices: Vec<usize> = (0..40).collect();
    let images = data.images_tensor(&indices, &Normalisation::UNIT, dtype_of(model)).unwrap();
    let batch = Batch::new(images, data.labels_tensor(&indices).unwrap());
    let mut optimizer = recipe(BP).optimizer().unwrap();
    let counters = Counters::default();
    let mut cx = StepContext {
        model,
        optimizer: optimizer.as_mut(),
        lab,
        counters: &counters,
        epoch: 0,
        step: 0,
        seed: Seed::new(5),
        loss: CROSS_ENTROPY,
    };
    (strategy.step(&batch, &mut cx).map(|report| report.loss), counters)
}

/// An instrument that counts what is asked of it and doubles what it reads.
struct Instrument {
    calls: Rc<Cell<usize>>,
}

impl Hardware for Instrument {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> pnn_core::Result<Tensor> {
        self.calls.set(self.calls.get() + 1);
        assert!(!x.is_tracked(), "no gradient leaks into the measurement");
        assert_eq!(controls.get("detuning")?.dims(), [10, 84]);
        Tensor::ones((x.dim(0)?, 10), DType::F32)
    }
}

#[test]
fn physics_aware_training_sees_hardware_through_measurements_only() {
    let calls = Rc::new(Cell::new(0));
    let mut lab = Lab::new();
    lab.insert("fc3".into(), Box::new(Instrument { calls: Rc::clone(&calls) }));
    let model = lenet();
    let before = bits(&model);
    let (loss, counters) = one_step(&mut PhysicsAware, &model, &mut lab);
    assert_eq!(calls.get(), 1, "one measurement a pass");
    assert_eq!(counters.read().measured, 1);
    // The instrument reads 1 everywhere, so the loss is that of the biases alone plus a constant:
    // near ln 10, whatever the model says.
    let loss = loss.unwrap();
    assert!((loss - 10f64.ln()).abs() < 0.1, "{loss}");
    // Gradients pass through the model: layers before the instrument moved.
    assert_ne!(bits(&model)["conv1.detuning"], before["conv1.detuning"]);
}

#[test]
fn strategies_name_what_is_missing() {
    use pnn_core::layers::{Digital, Product};
    use pnn_core::{Bounds, PhysicalLayer};
    use std::sync::Arc;
    let digital = |_: &str, product: Product| -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
        Ok(Arc::new(Digital::new(product, Bounds::UNBOUNDED)))
    };
    let model = LeNet5::new(&digital, FcActivation::Relu, &Seed::new(1), DType::F32).unwrap();
    let (result, _) = one_step(&mut Pruning { coefficient: 0.01 }, &model, &mut Lab::new());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("conv1") && message.contains("dw/dx"), "{message}");
    let noise = NoiseModel::on(Source::Weight { std: 0.1 }, &["fc9"]).unwrap();
    let (result, _) = one_step(&mut NoiseAware { noise }, &lenet(), &mut Lab::new());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("fc9") && message.contains("fc3"), "{message}");
}

#[test]
fn the_penalty_of_pruning_has_the_gradient_of_its_formula() {
    // The first steps of gradient descent with and without the penalty differ by
    // -rate * coefficient * d(sum of norms)/dx, which finite differences of the norms give too.
    let (rate, coefficient) = (0.05, 0.01);
    let (start, plain, pruned) = (lenet_of(DType::F64), lenet_of(DType::F64), lenet_of(DType::F64));
    one_step(&mut Pruning { coefficient: 0.0 }, &plain, &mut Lab::new()).0.unwrap();
    one_step(&mut Pruning { coefficient }, &pruned, &mut Lab::new()).0.unwrap();
    let detunings = |model: &LeNet5| -> Vec<f64> {
        let var = &model.parameters().get("fc3.detuning").unwrap().var;
        var.value().flatten_all().unwrap().to_vec1().unwrap()
    };
    let norm = |detunings: &[f64]| -> f64 {
        let layers = start.physical_layers();
        let fc3 = layers.iter().find(|layer| layer.name() == "fc3").unwrap();
        let tensor = Tensor::from_slice(detunings, (10, 84)).unwrap();
        let controls = Controls::one("detuning", tensor);
        let slopes = fc3.device().sensitivity(&controls).unwrap().unwrap();
        let slopes: Vec<f64> = slopes.flatten_all().unwrap().to_vec1().unwrap();
        slopes.iter().map(|s| s * s).sum::<f64>().sqrt()
    };
    let (x, plain, pruned) = (detunings(&start), detunings(&plain), detunings(&pruned));
    for i in 0..x.len() {
        let h = 1e-6;
        let at = |shift: f64| {
            let mut moved = x.clone();
            moved[i] += shift;
            norm(&moved)
        };
        let want = -rate * coefficient * (at(h) - at(-h)) / (2.0 * h);
        let got = pruned[i] - plain[i];
        // Central differences: the norm is about 170, so rounding leaves 170 * 2^-52 / h = 4e-8 of
        // its derivative, of which rate * coefficient = 5e-4 enters; truncation is smaller.
        assert!((got - want).abs() < 1e-10, "ring {i}: {got} is not {want}");
        assert!(want != 0.0);
    }
}
