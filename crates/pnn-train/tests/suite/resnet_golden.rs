//! ResNet-18's outputs and gradients against PyTorch's, in double precision
//! (`tests/golden/generate_resnet.py`), and the same network made of microrings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pnn_core::device::Bounds;
use pnn_core::layers::{Digital, Product};
use pnn_core::loss::cross_entropy;
use pnn_core::model::{Counters, InSilico, Lab, Mode, Model, Pass, load_model_state, model_state};
use pnn_core::optim::{Adam, Descent};
use pnn_core::{Chip, DType, PhysicalLayer, Seed, Tensor, store};
use pnn_train::{
    Backprop, Batch, CROSS_ENTROPY, MrrFactory, ResNet18, StepContext, Strategy, Trained,
};

const WIDTH: usize = 4;

/// Both sides compute in f64 (rounding 1e-16), through twenty layers whose last batch-norms divide
/// by the spread of only eight values.
const TOLERANCE: f64 = 1e-9;

fn electronic(_: &str, product: Product) -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
    Ok(Arc::new(Digital::new(product, Bounds::UNBOUNDED)))
}

fn golden() -> BTreeMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    store::load(&folder.join("resnet18.safetensors")).unwrap().0
}

fn part(golden: &BTreeMap<String, Tensor>, prefix: &str) -> BTreeMap<String, Tensor> {
    let strip = |(k, v): (&String, &Tensor)| Some((k.strip_prefix(prefix)?.to_owned(), v.clone()));
    golden.iter().filter_map(strip).collect()
}

fn compare(what: &str, got: &Tensor, want: &Tensor) {
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (got, want) = (values(got), values(want));
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!((g - w).abs() <= TOLERANCE * scale, "{what}[{i}]: {g} is not {w}");
    }
}

#[test]
fn outputs_gradients_and_statistics_equal_pytorch() {
    let golden = golden();
    let model = ResNet18::new(&electronic, WIDTH, 10, &Seed::new(0), DType::F64).unwrap();
    let mut state = model_state(&model);
    let initial = part(&golden, "initial/");
    assert!(model.parameters().iter().map(|p| &p.name).eq(initial.keys()));
    state.extend(initial);
    load_model_state(&model, &state).unwrap();

    let images = golden["images"].to_dtype(DType::F64).unwrap();
    let chip = Chip::ideal();
    let (mut truth, counters) = (InSilico(&chip), Counters::default());
    let mut pass = Pass::new(Mode::Train { update_statistics: true }, &mut truth, &counters);
    let logits = model.forward(&images, &mut pass).unwrap();
    let loss = cross_entropy(&logits, &golden["labels"]).unwrap();
    compare("logits", &logits, &golden["logits"]);
    compare("loss", &loss, &golden["loss"]);
    let gradients = model.parameters().gradients(&loss.backward().unwrap());
    for (parameter, gradient) in model.parameters().iter().zip(gradients.0) {
        let want = &golden[&format!("gradient/{}", parameter.name)];
        compare(&parameter.name, &gradient.unwrap(), want);
    }
    let running = part(&golden, "running/");
    assert_eq!(running.len(), model.buffers().len());
    for (name, var) in model.buffers() {
        compare(&name, &var.tensor(), &running[&name]);
    }
}

#[test]
fn a_network_of_microrings_learns_a_batch() {
    let golden = golden();
    let factory = MrrFactory(Trained::Detunings);
    let model = ResNet18::new(&factory, WIDTH, 10, &Seed::new(1), DType::F32).unwrap();
    assert_eq!(model.physical_layers().len(), 21);
    let batch = Batch::new(golden["images"].clone(), golden["labels"].clone());
    let mut optimizer = Descent(Adam::new(0.01).unwrap());
    let mut losses = Vec::new();
    for _ in 0..10 {
        let mut context = StepContext {
            model: &model,
            optimizer: &mut optimizer,
            lab: &mut Lab::new(),
            counters: &Counters::default(),
            epoch: 0,
            step: 0,
            seed: Seed::new(0),
            loss: CROSS_ENTROPY,
        };
        losses.push(Backprop.step(&batch, &mut context).unwrap().loss);
    }
    assert!(losses[9] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn a_size_out_of_range_is_an_error_that_names_the_limit() {
    for (width, classes) in [(0, 10), (4097, 10), (4, 0)] {
        let model = ResNet18::new(&electronic, width, classes, &Seed::new(0), DType::F32);
        let error = model.err().unwrap().to_string();
        assert!(error.contains("of ResNet-18") && error.contains("[1, "), "{error}");
    }
}
