//! Devices, chips, models and sources of truth.

use crate::common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{assert_close, assert_same_bits, normal, tensor, uniform, values, var, zeros};
use pnn_core::device::{ControlSpec, PortShape};
use pnn_core::layers::{BatchNorm, Digital, Product, uniform_fan_in};
use pnn_core::model::{Truth, load_model_state, model_state};
use pnn_core::model::{check_layers, measure};
use pnn_core::testing::conformance;
use pnn_core::{
    Bounds, Chip, Control, Controls, Counters, Counts, DType, DeviationPort, Deviations, Error,
    Hardware, InSilico, InSitu, Lab, Mode, Model, ParamSet, Parameter, Pass, Physical,
    PhysicalLayer, Result, Seed, Tensor, Twin, ops,
};

/// `y = x tanh(v + shift)^T + readout`.
struct Bank {
    controls: [Control; 1],
    ports: [DeviationPort; 2],
}

impl Bank {
    fn new(inputs: usize, outputs: usize) -> Self {
        let shape = vec![outputs, inputs];
        let bounds = Bounds::new(-2.0, 2.0).unwrap();
        let port = |name, shape| DeviationPort { name, unit: "1", shape };
        Self {
            ports: [
                port("shift", PortShape::Fixed(shape.clone())),
                port("readout", PortShape::Output(vec![outputs])),
            ],
            controls: [Control { name: "voltage", unit: "V", bounds, shape }],
        }
    }
}

impl PhysicalLayer for Bank {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let shape = &self.controls[0].shape;
        let voltage = uniform_fan_in(&seed.child("voltage"), shape, shape[1], dtype)?;
        Ok(Controls::one("voltage", voltage))
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(&self.ports)?;
        let voltage = controls.get("voltage")?;
        if voltage.dims() != self.controls[0].shape {
            return Err(Error::shape("voltage", voltage, format!("{:?}", self.controls[0].shape)));
        }
        let weight = deviations.shift("shift", voltage)?.tanh()?;
        deviations.shift("readout", &ops::linear(x, &weight)?)
    }
}

/// Two banks with biases and a normalisation between them.
struct Net {
    layers: [Physical; 2],
    norm: Option<BatchNorm>,
    params: ParamSet,
}

impl Net {
    fn new(seed: u64, norm: bool) -> Self {
        let seed = Seed::new(seed);
        let layer = |name: &str, inputs, outputs| {
            let bias = seed.child("bias").child(name).tensor(
                rand_distr::StandardNormal,
                &[outputs],
                DType::F64,
            );
            let device = Arc::new(Bank::new(inputs, outputs));
            Physical::new(name, device, Some(bias.unwrap()), &seed, DType::F64).unwrap()
        };
        let layers = [layer("first", 3, 4), layer("second", 4, 2)];
        let norm = norm.then(|| BatchNorm::new("norm", 4, DType::F64).unwrap());
        let of_layers = layers.iter().flat_map(Physical::parameters);
        let of_norm = norm.iter().flat_map(BatchNorm::parameters);
        let params = ParamSet::new(of_layers.chain(of_norm)).unwrap();
        Self { layers, norm, params }
    }

    fn run(&self, x: &Tensor, mode: Mode, truth: &mut dyn Truth) -> Tensor {
        self.forward(x, &mut Pass::new(mode, truth, &Counters::default())).unwrap()
    }

    fn parameter(&self, name: &str) -> Tensor {
        self.params.get(name).unwrap().var.tensor()
    }
}

impl Model for Net {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let mut y = self.layers[0].forward(x, pass)?;
        if let Some(norm) = &self.norm {
            y = norm.forward(&y, pass.mode)?;
        }
        self.layers[1].forward(&y, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.params
    }

    fn buffers(&self) -> Vec<(String, pnn_core::Var)> {
        self.norm.iter().flat_map(BatchNorm::buffers).collect()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}

fn f64s(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape, DType::F64)
}

const TRAIN: Mode = Mode::Train { update_statistics: true };
const SECOND: Mode = Mode::Train { update_statistics: false };

#[test]
fn the_device_of_these_tests_conforms() {
    conformance(&Bank::new(3, 4), &f64s(1, &[2, 3]), &Seed::new(1)).unwrap();
}

mod deviations {
    use super::*;

    #[test]
    fn absent_zero_and_minus_zero_are_one() {
        let value = tensor(&[1.0, -0.0, 0.0, -2.5]);
        for dtype in [DType::F32, DType::F64] {
            let value = value.to_dtype(dtype).unwrap();
            for zero in [tensor(&[0.0; 4]), tensor(&[-0.0; 4]), tensor(&[0.0])] {
                let deviations = Deviations::none().with("port", zero);
                assert!(!deviations.is_active("port").unwrap());
                let shifted = deviations.shift("port", &value).unwrap();
                assert_same_bits("zero", &shifted, &value);
            }
            let absent = Deviations::none().shift("port", &value).unwrap();
            assert_same_bits("absent", &absent, &value);
        }
    }

    #[test]
    fn a_deviation_adds_broadcasts_and_keeps_the_dtype() {
        let value = f64s(1, &[2, 3]).to_dtype(DType::F32).unwrap();
        for shift in [f64s(2, &[2, 3]), f64s(2, &[3]), f64s(2, &[1, 1]), f64s(2, &[])] {
            let shifted = Deviations::none().with("port", shift.clone()).shift("port", &value);
            let want = (&value + shift.to_dtype(DType::F32).unwrap()).unwrap();
            assert_same_bits("shifted", &shifted.unwrap(), &want);
        }
    }

    #[test]
    fn nan_and_tracked_deviations_are_active() {
        let nan = Deviations::none().with("port", tensor(&[0.0, f64::NAN]));
        assert!(nan.is_active("port").unwrap());
        assert!(values(&nan.shift("port", &tensor(&[1.0, 1.0])).unwrap())[1].is_nan());
        let cancelling = Deviations::none().with("port", tensor(&[1.0, -1.0]));
        assert!(cancelling.is_active("port").unwrap());
        let tracked = var(&tensor(&[0.0, 0.0]));
        let deviations = Deviations::none().with("port", tracked.tensor());
        let y = deviations.shift("port", &tensor(&[1.0, 2.0])).unwrap().sqr().unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(values(store.get(&tracked.tensor()).unwrap()), [2.0, 4.0]);
    }

    #[test]
    fn shapes_and_names_are_checked() {
        let ports = Bank::new(3, 4).ports;
        let check =
            |port: &str, shape: &[usize]| Deviations::none().with(port, zeros(shape)).check(&ports);
        for shape in [&[4, 3][..], &[1, 3], &[4, 1], &[3], &[1], &[]] {
            check("shift", shape).unwrap();
        }
        for shape in [&[3, 4][..], &[2, 4, 3], &[1, 4, 3], &[4], &[0], &[5, 3]] {
            let error = check("shift", shape).unwrap_err();
            assert!(matches!(&error, Error::Shape { what, .. } if what == "shift"), "{error}");
        }
        for shape in [&[4][..], &[1, 4], &[7, 4], &[7, 1], &[]] {
            check("readout", shape).unwrap();
        }
        for shape in [&[3][..], &[7, 3], &[2, 7, 4]] {
            assert!(check("readout", shape).is_err(), "{shape:?}");
        }
        let error = check("redout", &[4]).unwrap_err().to_string();
        assert!(error.contains("redout") && error.contains("shift, readout"), "{error}");
        // A deviation that is larger than what it shifts would change the shape.
        let large = Deviations::none().with("p", (zeros(&[2, 3]) + 1.0).unwrap());
        assert!(matches!(large.shift("p", &zeros(&[3])), Err(Error::Shape { .. })));
    }

    #[test]
    fn chips_add_up() {
        let mut chip = Chip::ideal();
        chip.layer_mut("a").add("shift", &tensor(&[1.0, 2.0])).unwrap();
        let mut drift = Chip::ideal();
        drift.layer_mut("a").add("shift", &tensor(&[0.5])).unwrap();
        drift.layer_mut("a").add("readout", &tensor(&[3.0])).unwrap();
        drift.layer_mut("b").add("shift", &tensor(&[4.0])).unwrap();
        let sum = chip.plus(&drift).unwrap();
        let at = |layer: &str, port: &str| values(sum.layer(layer).unwrap().get(port).unwrap());
        assert_eq!(at("a", "shift"), [1.5, 2.5]);
        assert_eq!(at("a", "readout"), [3.0]);
        assert_eq!(at("b", "shift"), [4.0]);
        assert_eq!(sum.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        // Neither summand changed.
        assert_eq!(values(chip.layer("a").unwrap().get("shift").unwrap()), [1.0, 2.0]);
        assert!(chip.layer("b").is_none());
        let mut other = Chip::ideal();
        other.layer_mut("a").add("shift", &tensor(&[1.0, 2.0, 3.0])).unwrap();
        assert!(chip.plus(&other).is_err());
    }
}

mod parameters {
    use super::*;

    #[test]
    fn they_come_in_order_of_their_names_with_the_bounds_of_the_device() {
        let net = Net::new(1, true);
        let names: Vec<&str> = net.params.iter().map(|p| p.name.as_str()).collect();
        let want = ["first.bias", "first.voltage", "norm.bias", "norm.weight", "second.bias"];
        assert_eq!(names, [&want[..], &["second.voltage"]].concat());
        assert_eq!(
            net.params.get("first.voltage").unwrap().bounds,
            Bounds::new(-2.0, 2.0).unwrap()
        );
        assert_eq!(net.params.get("first.bias").unwrap().bounds, Bounds::UNBOUNDED);
        let error = net.params.get("third").unwrap_err().to_string();
        assert!(error.contains("third") && error.contains("first.bias"), "{error}");
    }

    #[test]
    fn two_of_one_name_are_refused() {
        let parameter =
            || Parameter { name: "a".into(), var: var(&tensor(&[1.0])), bounds: Bounds::UNBOUNDED };
        assert!(ParamSet::new([parameter(), parameter()]).is_err());
    }

    #[test]
    fn clamping_moves_to_the_bounds_and_lets_nan_show() {
        let set = ParamSet::new(
            [
                ("both", Bounds::new(-1.0, 2.0).unwrap()),
                ("free", Bounds::UNBOUNDED),
                ("low", Bounds { low: 0.0, high: f64::INFINITY }),
            ]
            .map(|(name, bounds)| {
                let var = var(&tensor(&[-5.0, 0.5, 5.0, f64::NAN]));
                Parameter { name: name.into(), var, bounds }
            }),
        )
        .unwrap();
        set.clamp_to_bounds().unwrap();
        let at = |name: &str| values(&set.get(name).unwrap().var.tensor());
        assert_eq!(at("both")[..3], [-1.0, 0.5, 2.0]);
        assert_eq!(at("free")[..3], [-5.0, 0.5, 5.0]);
        assert_eq!(at("low")[..3], [0.0, 0.5, 5.0]);
        assert!(["both", "free", "low"].iter().all(|name| at(name)[3].is_nan()));
    }

    #[test]
    fn a_saved_state_does_not_change_with_later_steps() {
        let net = Net::new(1, true);
        let x = f64s(2, &[5, 3]);
        net.run(&x, TRAIN, &mut InSilico(&Chip::ideal()));
        let state = model_state(&net);
        assert_eq!(state.len(), net.params.len() + 2);
        let before: BTreeMap<String, Vec<f64>> =
            state.iter().map(|(name, t)| (name.clone(), values(t))).collect();
        let y = net.run(&x, TRAIN, &mut InSilico(&Chip::ideal()));
        let moved: Vec<_> = net.params.iter().map(|_| None).collect();
        net.params.shift(&moved).unwrap();
        for p in net.params.iter() {
            p.var.set(&(p.var.tensor() + 1.0).unwrap()).unwrap();
        }
        for (name, tensor) in &state {
            assert_eq!(values(tensor), before[name], "{name}");
        }
        load_model_state(&net, &state).unwrap();
        assert_eq!(values(&model_state(&net)["norm.running_mean"]), before["norm.running_mean"]);
        let again = net.run(&x, TRAIN, &mut InSilico(&Chip::ideal()));
        assert_same_bits("restored", &again, &y);
        // Into the model that it came from, and into another of the same shape.
        let other = Net::new(7, true);
        load_model_state(&other, &state).unwrap();
        assert_same_bits("other", &other.parameter("first.bias"), &state["first.bias"]);
    }

    #[test]
    fn a_state_that_does_not_fit_changes_nothing() {
        let net = Net::new(1, false);
        let whole = model_state(&net);
        let before = net.params.snapshot().unwrap();
        let other: BTreeMap<String, Tensor> =
            whole.iter().map(|(name, t)| (name.clone(), (t + 1.0).unwrap())).collect();
        let mut missing = other.clone();
        missing.remove("second.voltage");
        let mut reshaped = other;
        reshaped.insert("second.voltage".into(), zeros(&[4, 2]));
        for state in [missing, reshaped] {
            let error = load_model_state(&net, &state).unwrap_err().to_string();
            assert!(error.contains("second.voltage"), "{error}");
            for (p, before) in net.params.iter().zip(&before) {
                assert_same_bits(&p.name, &p.var.tensor(), before);
            }
        }
    }
}

mod normalisation {
    use super::*;

    fn running(layer: &BatchNorm) -> [Vec<f64>; 2] {
        let buffers = layer.buffers();
        [values(&buffers[0].1.tensor()), values(&buffers[1].1.tensor())]
    }

    #[test]
    fn the_second_pass_gives_the_same_and_leaves_the_statistics_alone() {
        let layer = BatchNorm::new("norm", 3, DType::F32).unwrap();
        let x = normal(1, &[6, 3], DType::F32);
        let y = layer.forward(&x, TRAIN).unwrap();
        let before = running(&layer);
        assert_ne!(before[0], [0.0; 3]);
        let again = layer.forward(&x, SECOND).unwrap();
        assert_same_bits("same batch", &again, &y);
        layer.forward(&normal(2, &[6, 3], DType::F32), SECOND).unwrap();
        layer.forward(&x, Mode::Eval).unwrap();
        assert_eq!(running(&layer), before);
    }

    #[test]
    fn evaluation_uses_the_running_statistics() {
        let layer = BatchNorm::new("norm", 2, DType::F64).unwrap();
        let x = f64s(1, &[4, 2]);
        // Mean 0 and variance 1 at first.
        let want = (&x / f64::sqrt(1.0 + 1e-5)).unwrap();
        assert_close("fresh", &layer.forward(&x, Mode::Eval).unwrap(), &want, 1e-15, 1e-15);
        // One sample is no batch, but can be evaluated.
        layer.forward(&x.narrow(0, 0, 1).unwrap(), Mode::Eval).unwrap();
        assert!(layer.forward(&x.narrow(0, 0, 1).unwrap(), TRAIN).is_err());
        let y = layer.forward(&x, Mode::Eval).unwrap();
        let row = layer.forward(&x.narrow(0, 2, 1).unwrap(), Mode::Eval).unwrap();
        assert_same_bits("rows do not mix", &row, &y.narrow(0, 2, 1).unwrap());
    }

    #[test]
    fn calibration_is_the_plain_average_over_batches() {
        let layer = BatchNorm::new("norm", 2, DType::F64).unwrap();
        layer.forward(&f64s(9, &[8, 2]), TRAIN).unwrap();
        let batches: Vec<Tensor> = (0..5).map(|i| f64s(i, &[7, 2])).collect();
        let before = running(&layer);
        for (seen, batch) in batches.iter().enumerate() {
            layer.forward(batch, Mode::Calibrate { seen }).unwrap();
        }
        assert_ne!(running(&layer), before);
        let average = |statistic: &dyn Fn(&Tensor) -> Tensor| {
            let all: Vec<Tensor> = batches.iter().map(statistic).collect();
            values(&Tensor::stack(&all.iter().collect::<Vec<_>>()).unwrap().mean(0).unwrap())
        };
        let want = [
            average(&|b| b.mean(0).unwrap()),
            average(&|b| common::variance(b)), // unbiased
        ];
        for (got, want) in running(&layer).iter().zip(&want) {
            assert_close("average", &tensor(got), &tensor(want), 1e-13, 1e-13);
        }
    }
}

mod truth {
    use super::*;

    /// A chip on which both ports of both layers deviate.
    fn chip() -> Chip {
        let mut chip = Chip::ideal();
        for (i, (layer, shape)) in [("first", [4, 3]), ("second", [2, 4])].into_iter().enumerate() {
            let seed = 10 * i as u64;
            let shift = (f64s(seed + 1, &shape) * 0.3).unwrap();
            let readout = (f64s(seed + 2, &shape[..1]) * 0.3).unwrap();
            let deviations = Deviations::none().with("shift", shift).with("readout", readout);
            *chip.layer_mut(layer) = deviations;
        }
        chip
    }

    fn twins(chip: &Chip) -> Lab {
        let twin = |name: &str, inputs, outputs| {
            let deviations = chip.layer(name).unwrap().clone();
            let twin = Twin::new(Arc::new(Bank::new(inputs, outputs)), deviations).unwrap();
            (name.to_owned(), Box::new(twin) as Box<dyn Hardware>)
        };
        [twin("first", 3, 4), twin("second", 4, 2)].into_iter().collect()
    }

    #[test]
    fn the_ideal_chip_and_a_chip_of_zeros_give_the_same_bits() {
        let (net, x) = (Net::new(1, true), f64s(2, &[5, 3]));
        let ideal = net.run(&x, SECOND, &mut InSilico(&Chip::ideal()));
        let mut zero = Chip::ideal();
        *zero.layer_mut("first") =
            Deviations::none().with("shift", zeros(&[4, 3])).with("readout", tensor(&[-0.0]));
        assert_same_bits("zero", &net.run(&x, SECOND, &mut InSilico(&zero)), &ideal);
        // Deviations of a layer that the model does not have play no part.
        zero.layer_mut("third").add("shift", &tensor(&[1.0])).unwrap();
        assert_same_bits("third", &net.run(&x, SECOND, &mut InSilico(&zero)), &ideal);
        assert_ne!(values(&net.run(&x, SECOND, &mut InSilico(&chip()))), values(&ideal));
    }

    #[test]
    fn a_twin_measures_what_its_chip_computes() {
        let (net, x, chip) = (Net::new(1, true), f64s(2, &[5, 3]), chip());
        let simulated = net.run(&x, SECOND, &mut InSilico(&chip));
        let measured = net.run(&x, SECOND, &mut InSitu(&mut twins(&chip)));
        assert_same_bits("measured", &measured, &simulated);
        let mut twin = twins(&chip).remove("first").unwrap();
        let y = twin.measure(&net.parameter("first.voltage"), &net.layers[0].controls());
        assert!(!y.unwrap().is_tracked(), "a measurement has no gradient");
        let wrong = Deviations::none().with("unknown", tensor(&[1.0]));
        assert!(Twin::new(Arc::new(Bank::new(3, 4)), wrong).is_err());
    }

    /// The gradient of a two-layer net by hand: each layer's model, at the input that the layer
    /// before it really gave.
    #[test]
    fn the_gradient_in_situ_is_the_models_at_the_measured_inputs() {
        let (net, x, chip) = (Net::new(1, false), f64s(2, &[5, 3]), chip());
        let y = net.run(&x, SECOND, &mut InSitu(&mut twins(&chip)));
        let g = f64s(3, &[5, 2]);
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();

        let device = |layer: &Physical, x: &Tensor, chip: &Chip| {
            let deviations = chip.layer(layer.name()).unwrap();
            layer.device().forward(x, &layer.controls().detach(), deviations).unwrap()
        };
        let bias = |name: &str, y: &Tensor| (y + net.parameter(name).detach()).unwrap();
        let hidden = bias("first.bias", &device(&net.layers[0], &x, &chip));
        let [v1, v2] = ["first.voltage", "second.voltage"].map(|n| net.parameter(n).detach());
        // dW2 = g^T hidden, with the *measured* hidden and the *ideal* tanh'.
        let slope = |v: &Tensor| v.tanh().unwrap().sqr().unwrap().affine(-1.0, 1.0).unwrap();
        let dv2 = (g.t().unwrap().matmul(&hidden).unwrap() * slope(&v2)).unwrap();
        let back = g.matmul(&v2.tanh().unwrap()).unwrap();
        let dv1 = (back.t().unwrap().matmul(&x).unwrap() * slope(&v1)).unwrap();
        let want = [
            ("first.bias", back.sum(0).unwrap()),
            ("first.voltage", dv1),
            ("second.bias", g.sum(0).unwrap()),
            ("second.voltage", dv2),
        ];
        for (name, want) in want {
            assert_close(name, store.get(&net.parameter(name)).unwrap(), &want, 1e-12, 1e-12);
        }
        // It is another gradient than that of the ideal model and that of the chip.
        for other in [Chip::ideal(), chip] {
            let y = net.run(&x, SECOND, &mut InSilico(&other));
            let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
            let other = values(store.get(&net.parameter("second.voltage")).unwrap());
            let ours = values(&(g.t().unwrap().matmul(&hidden).unwrap() * slope(&v2)).unwrap());
            assert!(other.iter().zip(&ours).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }

    #[test]
    fn layers_without_an_instrument_run_as_their_model() {
        let (net, x, chip) = (Net::new(1, false), f64s(2, &[5, 3]), chip());
        let mut lab = twins(&chip);
        lab.remove("second");
        let y = net.run(&x, SECOND, &mut InSitu(&mut lab));
        let mut half = Chip::ideal();
        *half.layer_mut("first") = chip.layer("first").unwrap().clone();
        assert_same_bits("half", &y, &net.run(&x, SECOND, &mut InSilico(&half)));
    }

    /// Gives outputs of a shape, whatever it is asked.
    struct Broken(Vec<usize>);

    impl Hardware for Broken {
        fn measure(&mut self, _: &Tensor, _: &Controls) -> Result<Tensor> {
            Tensor::zeros(self.0.as_slice(), DType::F64)
        }
    }

    #[test]
    fn an_instrument_of_the_wrong_shape_is_an_error() {
        let (net, x) = (Net::new(1, false), f64s(2, &[5, 3]));
        let mut lab: Lab =
            [("first".to_owned(), Box::new(Broken(vec![5, 3])) as Box<dyn Hardware>)]
                .into_iter()
                .collect();
        let mut truth = InSitu(&mut lab);
        let mut pass = Pass::new(SECOND, &mut truth, &Counters::default());
        assert!(matches!(net.forward(&x, &mut pass), Err(Error::Shape { .. })));
    }

    /// Gives NaN where it is asked for a setting beyond 2 V, which no control reaches.
    struct Strict;

    impl Hardware for Strict {
        fn measure(&mut self, x: &Tensor, controls: &Controls) -> Result<Tensor> {
            let voltage = controls.get("voltage")?;
            let within = values(voltage).iter().all(|v| v.abs() <= 2.0);
            let y = Tensor::zeros([x.dim(0)?, voltage.dim(0)?], DType::F64)?;
            if within { Ok(y) } else { y + f64::NAN }
        }
    }

    #[test]
    fn an_instrument_is_asked_for_what_it_can_do_and_must_read_numbers() {
        let (bank, x) = (Bank::new(3, 4), f64s(2, &[5, 3]));
        let controls = |scale: f64| -> Controls {
            Controls::one("voltage", (f64s(1, &[4, 3]) * scale).unwrap())
        };
        assert!(values(controls(100.0).get("voltage").unwrap()).iter().any(|v| v.abs() > 2.0));
        measure(&mut Strict, "first", &bank, &x, &controls(100.0)).unwrap();
        let error = measure(&mut Strict, "first", &bank, &x, &controls(f64::NAN)).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { layer, .. } if layer == "first"), "{error}");
    }

    #[test]
    fn layers_that_a_model_lacks_are_named() {
        let net = Net::new(1, true);
        check_layers(&net, ["second", "first"]).unwrap();
        let error = check_layers(&net, ["first", "frist"]).unwrap_err().to_string();
        assert!(error.contains("frist") && error.contains("first, second"), "{error}");
    }

    #[test]
    fn a_measured_view_of_a_larger_buffer_is_taken_as_it_is() {
        let buffer = f64s(1, &[6, 3]);
        for view in [buffer.narrow(0, 0, 2), buffer.narrow(0, 3, 2)] {
            let view = view.unwrap();
            let y = ops::straight_through(&f64s(2, &[2, 3]), &view).unwrap();
            assert_same_bits("view", &y, &view);
        }
        let columns = buffer.narrow(1, 1, 2).unwrap();
        let y = ops::straight_through(&f64s(2, &[6, 2]), &columns).unwrap();
        assert_same_bits("columns", &y, &columns);
    }

    #[test]
    fn passes_are_counted() {
        let (net, x, chip) = (Net::new(1, false), f64s(2, &[5, 3]), chip());
        let counters = Counters::default();
        let mut lab = twins(&chip);
        for _ in 0..3 {
            let mut truth = InSilico(&chip);
            net.forward(&x, &mut Pass::new(SECOND, &mut truth, &counters)).unwrap();
        }
        for _ in 0..2 {
            let mut truth = InSitu(&mut lab);
            net.forward(&x, &mut Pass::new(SECOND, &mut truth, &counters)).unwrap();
            counters.count_backward();
        }
        let want = Counts { forward: 5, backward: 2, measured: 2 };
        assert_eq!(counters.read(), want);
        assert_eq!(Counters::starting_at(want).read(), want);
    }
}

#[test]
fn initial_settings_depend_on_seed_and_name_alone() {
    let layer = |name: &str, seed: u64| {
        let device = Arc::new(Bank::new(3, 4));
        let layer = Physical::new(name, device, None, &Seed::new(seed), DType::F64).unwrap();
        values(layer.controls().get("voltage").unwrap())
    };
    assert_eq!(layer("a", 1), layer("a", 1));
    assert_ne!(layer("a", 1), layer("b", 1));
    assert_ne!(layer("a", 1), layer("a", 2));
}

#[test]
fn the_usual_initialisation_stays_within_its_bound() {
    let w = uniform_fan_in(&Seed::new(1), &[50, 40], 40, DType::F64).unwrap();
    let bound = 1.0 / 40f64.sqrt();
    let w = values(&w);
    assert!(w.iter().all(|w| w.abs() <= bound));
    // Mean and standard deviation of 2000 uniform draws, within 5 standard errors.
    let mean = w.iter().sum::<f64>() / 2000.0;
    let square = w.iter().map(|w| w * w).sum::<f64>() / 2000.0;
    assert!(mean.abs() < 5.0 * bound / (3.0f64 * 2000.0).sqrt());
    assert!((square / (bound * bound) - 1.0 / 3.0).abs() < 5.0 * (4.0f64 / 45.0 / 2000.0).sqrt());
}

#[test]
fn a_bias_of_another_length_is_an_error() {
    let device =
        Arc::new(Digital::new(Product::Linear { inputs: 3, outputs: 2 }, Bounds::UNBOUNDED));
    let bias = Some(uniform(1, &[3], DType::F64));
    let layer = Physical::new("fc", device, bias, &Seed::new(1), DType::F64).unwrap();
    let chip = Chip::ideal();
    let mut truth = InSilico(&chip);
    let mut pass = Pass::new(Mode::Eval, &mut truth, &Counters::default());
    assert!(layer.forward(&f64s(1, &[2, 3]), &mut pass).is_err());
}
