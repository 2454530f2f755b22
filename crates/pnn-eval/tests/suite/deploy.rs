//! Biases that are trimmed on a chip.

use std::sync::Arc;

use pnn_core::device::Twin;
use pnn_core::model::{Counters, InSilico, InSitu, Lab, Mode, Model, Pass, Physical, model_state};
use pnn_core::{Chip, DType, Hardware, ParamSet, Seed, Tensor, Var};
use pnn_data::{Dataset, ImageShape, Normalisation};
use pnn_devices::mrr::MrrLinear;
use pnn_eval::accuracy::deploy;
use pnn_eval::{BatchNormMode, Evaluator, on_port};
use rand::RngExt;

struct Net(Physical, ParamSet);

impl Net {
    fn new(bias: bool) -> Self {
        let bias = bias.then(|| Tensor::zeros([3], DType::F64).unwrap());
        let device = Arc::new(MrrLinear::new(4, 3));
        let layer = Physical::new("fc", device, bias, &Seed::new(1), DType::F64).unwrap();
        let parameters = ParamSet::new(layer.parameters()).unwrap();
        Self(layer, parameters)
    }
}

impl Model for Net {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
        self.0.forward(&x.flatten_from(1)?, pass)
    }
    fn parameters(&self) -> &ParamSet {
        &self.1
    }
    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }
    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.0]
    }
}

fn images(count: usize) -> Dataset {
    let mut rng = Seed::new(5).rng();
    let pixels = (0..4 * count).map(|_| rng.random::<u8>()).collect();
    let labels = (0..count).map(|i| (i % 3) as u8).collect();
    let shape = ImageShape { channels: 1, rows: 2, columns: 2 };
    Dataset::new("noise", "made up", shape, 3, pixels, labels).unwrap()
}

/// Mean outputs over all images.
fn means(net: &Net, chip: &Chip, images: &Dataset) -> Vec<f64> {
    let indices: Vec<usize> = (0..images.len()).collect();
    let x = images.images_tensor(&indices, &Normalisation::UNIT, DType::F64).unwrap();
    let mut truth = InSilico(chip);
    let y = net.forward(&x, &mut Pass::new(Mode::Eval, &mut truth, &Counters::default())).unwrap();
    let rows = y.to_vec2::<f64>().unwrap();
    (0..3).map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / rows.len() as f64).collect()
}

#[test]
fn trimmed_biases_bring_the_mean_outputs_back() {
    let (net, images) = (Net::new(true), images(230));
    let chip = on_port(&net, "resonance_shift_nm", &["fc".to_owned()], 0.1).unwrap();
    let (wanted, before) = (means(&net, &Chip::ideal(), &images), means(&net, &chip, &images));
    assert!(wanted.iter().zip(&before).any(|(a, b)| (a - b).abs() > 0.05), "{wanted:?} {before:?}");
    deploy(&net, &mut InSilico(&chip), &images, images.len(), &Normalisation::UNIT).unwrap();
    let after = means(&net, &chip, &images);
    assert!(wanted.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-12), "{wanted:?} {after:?}");
}

#[test]
fn an_evaluation_leaves_biases_as_they_were_and_sees_trimmed_ones() {
    let (net, images) = (Net::new(true), images(230));
    let chip = on_port(&net, "resonance_shift_nm", &["fc".to_owned()], 0.1).unwrap();
    let evaluator = |batch_norm| Evaluator {
        batch_norm,
        normalisation: Normalisation::UNIT,
        calibration: Some(&images),
    };
    let state = |net: &Net| model_state(net)["fc.bias"].to_vec1::<f64>().unwrap();
    let before = state(&net);
    let running = evaluator(BatchNormMode::Running).evaluate(&net, &chip, &images).unwrap();
    let trimmed = evaluator(BatchNormMode::Trimmed(230)).evaluate(&net, &chip, &images).unwrap();
    assert_eq!(state(&net), before);
    assert_ne!(trimmed, running);
    deploy(&net, &mut InSilico(&chip), &images, 230, &Normalisation::UNIT).unwrap();
    let want = evaluator(BatchNormMode::Running).evaluate(&net, &chip, &images).unwrap();
    assert_eq!(trimmed, want);
}

#[test]
fn a_last_layer_without_biases_is_named() {
    let (net, images) = (Net::new(false), images(20));
    let ideal = Chip::ideal();
    let error = deploy(&net, &mut InSilico(&ideal), &images, 20, &Normalisation::UNIT).unwrap_err();
    assert!(error.to_string().contains("fc.bias"), "{error}");
}

/// A twin in the lab is evaluated, recalibrated and trimmed to the bits of the chip that it is.
#[test]
fn an_instrument_is_evaluated_as_the_chip_that_it_is() {
    let (net, images) = (Net::new(true), images(230));
    let chip = on_port(&net, "resonance_shift_nm", &["fc".to_owned()], 0.1).unwrap();
    let twin = Twin::new(net.0.device().clone(), chip.layer("fc").unwrap().clone()).unwrap();
    let mut lab = Lab::from([("fc".to_owned(), Box::new(twin) as Box<dyn Hardware>)]);
    for batch_norm in [BatchNormMode::Running, BatchNormMode::Trimmed(230)] {
        let normalisation = Normalisation::UNIT;
        let evaluator = Evaluator { batch_norm, normalisation, calibration: Some(&images) };
        let measured = evaluator.evaluate_on(&net, &mut InSitu(&mut lab), &images).unwrap();
        assert_eq!(measured, evaluator.evaluate(&net, &chip, &images).unwrap());
    }
}
