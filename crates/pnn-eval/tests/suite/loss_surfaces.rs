//! Surfaces of a small network of microrings with batch norm: over its parameters, and over deviations.

use std::sync::Arc;

use pnn_core::curvature::Surface;
use pnn_core::layers::BatchNorm;
use pnn_core::loss::{cross_entropy, one_hot_distance};
use pnn_core::model::{InSilico, Model, Pass, Physical, model_state};
use pnn_core::{Chip, DType, ParamSet, Seed, Tensor, Var};
use pnn_data::{Dataset, ImageShape, Normalisation};
use pnn_devices::mrr::{MrrLinear, READOUT_ERROR, WEIGHT_ERROR};
use pnn_eval::accuracy::recalibrate;
use pnn_eval::{
    BatchNormMode, DeviationAxis, Error, Evaluator, LossSurface, Reduction, Spread, on_port,
};
use rand::RngExt;
use rand_distr::Normal;

const PORT: &str = "resonance_shift_nm";

struct Net {
    first: Physical,
    norm: BatchNorm,
    second: Physical,
    parameters: ParamSet,
}

impl Net {
    fn new(dtype: DType) -> Self {
        let seed = Seed::new(1);
        let layer = |name, inputs, outputs, bias: Option<Tensor>| {
            Physical::new(name, Arc::new(MrrLinear::new(inputs, outputs)), bias, &seed, dtype)
                .unwrap()
        };
        let bias = seed.tensor(Normal::new(0.0, 0.1).unwrap(), &[3], dtype).unwrap();
        let (first, second) = (layer("a", 4, 5, None), layer("b", 5, 3, Some(bias)));
        let norm = BatchNorm::new("norm", 5, dtype).unwrap();
        let all = first.parameters().chain(norm.parameters()).chain(second.parameters());
        let parameters = ParamSet::new(all).unwrap();
        Self { first, norm, second, parameters }
    }
}

impl Model for Net {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
        let y = self.first.forward(&x.flatten_from(1)?, pass)?;
        self.second.forward(&self.norm.forward(&y, pass.mode)?, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.norm.buffers()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.first, &self.second]
    }
}

fn images(count: usize, seed: u64) -> Dataset {
    let mut rng = Seed::new(seed).rng();
    let pixels = (0..4 * count).map(|_| rng.random::<u8>()).collect();
    let labels = (0..count).map(|i| (i % 3) as u8).collect();
    let shape = ImageShape { channels: 1, rows: 2, columns: 2 };
    Dataset::new("noise", "made up", shape, 3, pixels, labels).unwrap()
}

fn how(batch_norm: BatchNormMode, calibration: Option<&Dataset>) -> LossSurface<'_> {
    let normalisation = Normalisation::UNIT;
    let evaluator = Evaluator { batch_norm, normalisation, calibration };
    LossSurface { evaluator, loss: cross_entropy, reduction: Reduction::Mean, batch: 4 }
}

fn axis(layers: &[&str], spread: Spread) -> DeviationAxis {
    let layers = layers.iter().map(|layer| (*layer).to_owned()).collect();
    DeviationAxis { port: PORT.into(), layers, unit: 0.02, spread }
}

fn fabricated() -> Chip {
    let shift = |name: &str, shape: &[usize]| {
        let seed = Seed::new(9).child(name);
        seed.tensor(Normal::new(0.0, 0.05).unwrap(), shape, DType::F64).unwrap()
    };
    let mut chip = Chip::ideal();
    chip.layer_mut("a").add(PORT, &shift("a", &[5, 4])).unwrap();
    chip.layer_mut("b").add(PORT, &shift("b", &[3, 5])).unwrap();
    chip
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(1.0)
}

/// The gradient against central differences. With rings of a width of 0.05 nm, the third derivative is up to 1e4 a cubed nm,
/// and the truncation `h² / 6` of it up to 7e-9; rounding is about `1e-16 / h`.
fn check_gradient(surface: &mut Surface<'_>) {
    let h = 2e-6;
    let (point, gradient) = (surface.point().unwrap(), surface.gradient().unwrap());
    let largest = gradient.iter().map(|g| g.abs()).fold(0.0, f64::max);
    assert!(largest > 1e-4, "nothing depends on the parameters");
    for (i, slope) in gradient.iter().enumerate() {
        let mut at = |by: f64| {
            let mut moved = point.clone();
            moved[i] += by;
            surface.loss_at(&moved).unwrap()
        };
        let difference = (at(h) - at(-h)) / (2.0 * h);
        assert!((slope - difference).abs() < 1e-7 * largest.max(0.1), "{i}: {slope} {difference}");
    }
}

#[test]
fn gradients_of_all_surfaces_equal_finite_differences() {
    let (net, chip, data, other) =
        (Net::new(DType::F64), fabricated(), images(12, 1), images(20, 2));
    for mode in [BatchNormMode::Running, BatchNormMode::Batch(6), BatchNormMode::Recalibrated(12)] {
        let how = how(mode, Some(&other));
        check_gradient(&mut how.of_parameters(&net, &chip, &data).unwrap());
        let axes = [axis(&["a", "b"], Spread::Each), axis(&["b", "a"], Spread::Shared)];
        let mut surface = how.of_deviations(&net, &chip, &data, &axes).unwrap();
        check_gradient(&mut surface);
        // Also away from the chip.
        let elsewhere: Vec<f64> = (0..surface.dim()).map(|i| (i as f64 * 1.7).sin()).collect();
        surface.parameters().clone().set_flat(&elsewhere).unwrap();
        check_gradient(&mut surface);
    }
}

/// An offset of each output is the same in every shot; an error of each weight has a unit of its own.
#[test]
fn all_ports_can_be_varied_together() {
    let (net, chip, data) = (Net::new(DType::F64), fabricated(), images(12, 1));
    let of = |port: &str, unit| DeviationAxis {
        port: port.into(),
        unit,
        ..axis(&["a", "b"], Spread::Each)
    };
    let axes = [of(READOUT_ERROR, 0.1), of(WEIGHT_ERROR, 0.05), axis(&["a"], Spread::Shared)];
    let how = how(BatchNormMode::Running, None);
    let mut surface = how.of_deviations(&net, &chip, &data, &axes).unwrap();
    let shape = |name: &str| surface.parameters().get(name).unwrap().var.dims();
    assert_eq!(shape(&format!("a.{READOUT_ERROR}")), [1, 5]);
    assert_eq!(shape(&format!("b.{WEIGHT_ERROR}")), [3, 5]);
    assert_eq!(surface.dim(), 5 + 3 + 20 + 15 + 1);
    check_gradient(&mut surface);
}

#[test]
fn displacements_are_multiples_of_the_unit_on_top_of_the_chip() {
    let (net, chip, data) = (Net::new(DType::F64), fabricated(), images(7, 1));
    let how = how(BatchNormMode::Running, None);
    let on = |chip: &Chip| how.of_parameters(&net, chip, &data).unwrap().loss().unwrap();
    let axes = [axis(&["a", "b"], Spread::Shared)];
    let mut shared = how.of_deviations(&net, &chip, &data, &axes).unwrap();
    assert_eq!(shared.parameters().iter().next().unwrap().name, "a+b.resonance_shift_nm (shared)");
    assert_eq!((shared.dim(), shared.loss().unwrap()), (1, on(&chip)));
    let drift = on_port(&net, PORT, &["a".into(), "b".into()], 3.0 * 0.02).unwrap();
    let drifted = on(&chip.plus(&drift).unwrap());
    assert!(close(shared.loss_at(&[3.0]).unwrap(), drifted) && !close(drifted, on(&chip)));

    let axes = [axis(&["a", "b"], Spread::Each)];
    let mut each = how.of_deviations(&net, &chip, &data, &axes).unwrap();
    let names: Vec<&str> = each.parameters().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a.resonance_shift_nm", "b.resonance_shift_nm"]);
    assert_eq!(each.dim(), 35);
    assert!(close(each.loss_at(&[3.0; 35]).unwrap(), drifted));
    // What all entries do together is the sum of what each does.
    let sum: f64 = each.gradient().unwrap().iter().sum();
    assert!(close(shared.gradient().unwrap()[0], sum));
    // A single entry is that of the chip.
    let mut one = chip.clone();
    let mut shift = vec![0.0; 20];
    shift[6] = -2.0 * 0.02;
    one.layer_mut("a").add(PORT, &Tensor::from_vec(shift, [5, 4]).unwrap()).unwrap();
    let mut point = vec![0.0; 35];
    point[6] = -2.0;
    assert!(close(each.loss_at(&point).unwrap(), on(&one)));
}

#[test]
fn the_value_is_the_mean_over_all_images_however_they_are_cut() {
    let (net, chip, data) = (Net::new(DType::F64), fabricated(), images(7, 1));
    let squares = |y: &Tensor, labels: &Tensor| one_hot_distance(y, labels, 0.1);
    for (loss, reduction) in
        [(cross_entropy as pnn_core::loss::Loss, Reduction::Mean), (squares, Reduction::Sum)]
    {
        let with = |batch| {
            let how = LossSurface { loss, reduction, batch, ..how(BatchNormMode::Running, None) };
            how.of_parameters(&net, &chip, &data).unwrap().loss().unwrap()
        };
        for batch in [1, 2, 3, 6, 100] {
            assert!(close(with(batch), with(7)), "{reduction:?} {batch}");
        }
    }
}

#[test]
fn statistics_are_those_of_the_mode_and_the_models_own_never_move() {
    let (net, chip, data, other) =
        (Net::new(DType::F64), fabricated(), images(10, 1), images(20, 2));
    let before = model_state(&net);
    let unmoved = || {
        model_state(&net).iter().zip(&before).all(|((_, a), (_, b))| {
            a.to_vec1::<f64>().ok().is_none_or(|a| a == b.to_vec1::<f64>().unwrap())
        })
    };
    let loss = |mode| {
        let how = how(mode, Some(&other));
        let mut surface = how.of_parameters(&net, &chip, &data).unwrap();
        surface.gradient().unwrap();
        (surface.loss().unwrap(), surface.batches())
    };
    let (running, _) = loss(BatchNormMode::Running);
    let (batch, batches) = loss(BatchNormMode::Batch(5));
    assert_eq!(batches, 2);
    let (recalibrated, _) = loss(BatchNormMode::Recalibrated(20));
    assert!(unmoved());
    assert!(running != batch && running != recalibrated && batch != recalibrated);
    recalibrate(&net, &mut InSilico(&chip), &other, 20, &Normalisation::UNIT).unwrap();
    assert_eq!(loss(BatchNormMode::Running).0, recalibrated);
}

#[test]
fn impossible_input_is_refused() {
    let (net, chip, data) = (Net::new(DType::F64), Chip::ideal(), images(7, 1));
    let running = how(BatchNormMode::Running, None);
    let over = |axes: &[DeviationAxis]| match running.of_deviations(&net, &chip, &data, axes) {
        Ok(_) => panic!("taken"),
        Err(error) => error.to_string(),
    };
    let each = axis(&["a"], Spread::Each);
    assert!(over(&[]).contains("number of parameters"));
    assert!(over(&[each.clone(), each.clone()]).contains("distinct names"));
    assert!(over(&[axis(&[], Spread::Shared)]).contains("layers"));
    assert!(over(&[axis(&["a", "a"], Spread::Shared)]).contains("twice"));
    assert!(over(&[axis(&["c"], Spread::Each)]).contains("there is a, b"));
    let port = DeviationAxis { port: "angle".into(), ..each.clone() };
    assert!(over(&[port]).contains("no deviation port named \"angle\""));
    for unit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(over(&[DeviationAxis { unit, ..each.clone() }]).contains("(0, infinity)"));
    }
    let single = Net::new(DType::F32);
    let text = |found: Result<Surface<'_>, Error>| found.err().unwrap().to_string();
    assert!(text(running.of_deviations(&single, &chip, &data, &[each])).contains("DType::F64"));
    assert!(text(running.of_parameters(&single, &chip, &data)).contains("DType::F64"));
    let none = data.subset(&[]).unwrap();
    assert!(text(running.of_parameters(&net, &chip, &none)).contains("number of batches"));
    let recalibrated = how(BatchNormMode::Recalibrated(10), None);
    assert!(text(recalibrated.of_parameters(&net, &chip, &data)).contains("calibration set"));
    let zero = LossSurface { batch: 0, ..running };
    assert!(text(zero.of_parameters(&net, &chip, &data)).contains("batch size"));
    let mut foreign = Chip::ideal();
    foreign.layer_mut("c").add(PORT, &Tensor::new(0.1).unwrap()).unwrap();
    assert!(text(running.of_parameters(&net, &foreign, &data)).contains("\"c\""));
}
