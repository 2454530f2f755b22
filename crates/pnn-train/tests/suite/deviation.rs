//! Training that climbs deviations: where it evaluates, by what slope, in what order.

use std::sync::{Arc, Mutex};

use pnn_core::device::PortShape;
use pnn_core::loss::cross_entropy;
use pnn_core::model::{Counters, InSilico, Lab, Mode, Model, Pass, Physical};
use pnn_core::ops::{Sampling, linear};
use pnn_core::optim::{
    Adam, Descent, LookSam, LookSamSettings, Optimizer, Sam, Sgd, SharpnessAware,
};
use pnn_core::{
    Bounds, Chip, Control, ControlSpec, Controls, DType, DeviationPort, Deviations, ParamSet,
    PhysicalLayer, Result, Seed, Tensor, Var,
};
use pnn_train::{
    Backprop, Batch, CROSS_ENTROPY, Climb, D2nn, DeviationAscent, DeviationAscentSettings,
    FcActivation, Form, FreeSpaceMlp, LeNet5, Loss, MrrFactory, Slope, StepContext, Strategy,
    Trained, Turn,
};
use rand_distr::StandardUniform;

/// `y = w x (1 + gain) + tilt`, which notes the deviations that it is run with.
struct Noted {
    controls: [Control; 1],
    ports: [DeviationPort; 2],
    seen: Arc<Mutex<Vec<[f64; 2]>>>,
}

impl PhysicalLayer for Noted {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let shape = &self.controls[0].shape;
        Ok(Controls::one("weight", seed.tensor(rand_distr::StandardNormal, shape, dtype)?))
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let value = |port: &str| deviations.get(port).map_or(0.0, |v| v.to_scalar().unwrap());
        self.seen.lock().unwrap().push([value("gain"), value("tilt")]);
        let mut y = linear(x, controls.get("weight")?)?;
        if let Some(gain) = deviations.get("gain") {
            y = (&y + (&y * gain)?)?;
        }
        match deviations.get("tilt") {
            // Of the first class only.
            Some(tilt) => {
                let first = Tensor::from_vec(vec![1.0, 0.0, 0.0], [1, 3])?;
                &y + (first * tilt)?
            }
            None => Ok(y),
        }
    }
}

struct Network {
    layers: Vec<Physical>,
    parameters: ParamSet,
}

impl Model for Network {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.layers[0].forward(x, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}

type Seen = Arc<Mutex<Vec<[f64; 2]>>>;

fn network() -> (Network, Seen) {
    let seen = Seen::default();
    let port = |name| DeviationPort { name, unit: "1", shape: PortShape::Fixed(vec![]) };
    let bounds = Bounds::UNBOUNDED;
    let device = Noted {
        controls: [Control { name: "weight", unit: "1", bounds, shape: vec![3, 4] }],
        ports: [port("gain"), port("tilt")],
        seen: Arc::clone(&seen),
    };
    let layer = Physical::new("fc", Arc::new(device), None, &Seed::new(1), DType::F64).unwrap();
    let parameters = ParamSet::new(layer.parameters()).unwrap();
    (Network { layers: vec![layer], parameters }, seen)
}

fn batch() -> Batch {
    let images = Seed::new(2).tensor(rand_distr::StandardNormal, &[5, 4], DType::F64).unwrap();
    Batch::new(images, Tensor::from_vec(vec![0u32, 1, 2, 0, 1], 5).unwrap())
}

fn climb(port: &str) -> Climb {
    let (port, layers) = (port.to_owned(), vec!["fc".to_owned()]);
    Climb { port, layers, probe: 0.5, both_signs: false, rate: 0.3, limits: None }
}

fn settings(climbs: Vec<Climb>) -> DeviationAscentSettings {
    DeviationAscentSettings {
        climbs,
        turn: Turn::default(),
        form: Form::default(),
        slope: Slope::default(),
    }
}

fn rule() -> Adam {
    Adam::new(0.01).unwrap()
}

/// One step; what the layer saw, and what the weights are then.
fn step(
    settings: &DeviationAscentSettings,
    optimizer: &mut dyn Optimizer,
    (epoch, step): (usize, usize),
) -> (Vec<[f64; 2]>, Vec<f64>) {
    let (model, seen) = network();
    let mut strategy = DeviationAscent::new(settings.clone(), &model).unwrap();
    let counters = Counters::default();
    let seed = Seed::new(7).index(epoch as u64).index(step as u64);
    let mut cx = StepContext {
        model: &model,
        optimizer,
        lab: &mut Lab::new(),
        counters: &counters,
        epoch,
        step,
        seed,
        loss: CROSS_ENTROPY,
    };
    let ascends = cx.optimizer.ascends();
    let report = strategy.step(&batch(), &mut cx).unwrap();
    let analytic = u64::from(settings.slope == Slope::Analytic) * settings.extra_passes() as u64;
    // The gradient at the calibrated setting is found only if the weights ascend by it.
    assert_eq!(counters.read().backward, 1 + u64::from(ascends) + analytic);
    let calibrated = loss_at(&network().0, [0.0, 0.0]);
    assert!((report.loss - calibrated).abs() < 1e-15, "{} {calibrated}", report.loss);
    let passes = seen.lock().unwrap().clone();
    assert_eq!(counters.read().forward as usize, passes.len());
    (passes, weights(&model))
}

fn weights(model: &Network) -> Vec<f64> {
    model.parameters.get("fc.weight").unwrap().var.value().flatten_all().unwrap().to_vec1().unwrap()
}

fn chip([gain, tilt]: [f64; 2]) -> Chip {
    let mut chip = Chip::ideal();
    for (port, value) in [("gain", gain), ("tilt", tilt)] {
        chip.layer_mut("fc").add(port, &Tensor::new(value).unwrap()).unwrap();
    }
    chip
}

fn loss_at(model: &Network, deviations: [f64; 2]) -> f64 {
    let (chip, counters) = (chip(deviations), Counters::default());
    let mut truth = InSilico(&chip);
    let mut pass = Pass::new(Mode::Eval, &mut truth, &counters);
    let batch = batch();
    let logits = model.forward(&batch.images, &mut pass).unwrap();
    cross_entropy(&logits, &batch.labels).unwrap().to_scalar().unwrap()
}

/// What a step of SAM ends at whose second pass is on a chip with these deviations.
fn second_pass_at(deviations: [f64; 2], rho: f64) -> Vec<f64> {
    let (model, _) = network();
    let batch = batch();
    let gradient = |deviations| {
        let (chip, counters) = (chip(deviations), Counters::default());
        let mut truth = InSilico(&chip);
        let mut pass = Pass::new(Mode::Eval, &mut truth, &counters);
        let logits = model.forward(&batch.images, &mut pass).unwrap();
        let store = cross_entropy(&logits, &batch.labels).unwrap().backward().unwrap();
        model.parameters.gradients(&store)
    };
    let before = model.parameters.snapshot().unwrap();
    if rho > 0.0 {
        let up = gradient([0.0, 0.0]);
        let scale = rho / up.global_norm().unwrap();
        let by = up.0.iter().map(|g| g.as_ref().map(|g| (g * scale).unwrap())).collect::<Vec<_>>();
        model.parameters.shift(&by).unwrap();
    }
    let there = gradient(deviations);
    model.parameters.restore(&before).unwrap();
    let mut rule = rule();
    pnn_core::optim::Rule::update(&mut rule, &model.parameters, &there).unwrap();
    weights(&model)
}

fn close(got: &[f64], want: &[f64]) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
}

/// A step of `LookSAM` without an ascent takes its one gradient on the displaced chip, as a plain one does; one
/// with an ascent is that of SAM.
#[test]
fn looksam_ascends_in_weights_and_deviations_in_its_own_rhythm() {
    let settings = settings(vec![climb("gain")]);
    let rule = || Sgd::new(0.1, 0.0).unwrap();
    let look = LookSam::new(LookSamSettings { rho: 0.2, k: 3, alpha: 0.0 }).unwrap();
    let mut look = SharpnessAware::new(rule(), look);
    for number in 0..7 {
        let got = step(&settings, &mut look, (0, number));
        let mut sam = SharpnessAware::new(rule(), Sam::new(0.2).unwrap());
        let mut plain = Descent(rule());
        let other: &mut dyn Optimizer = if number % 3 == 0 { &mut sam } else { &mut plain };
        let (passes, after) = step(&settings, other, (0, number));
        assert_eq!(got.0, passes, "step {number}");
        close(&got.1, &after);
    }
}

/// The loss at the calibrated setting, at the probe, and the gradient behind both: with and without an ascent
/// of the weights, in either form, for each way to find the slope.
#[test]
fn a_step_descends_with_the_gradient_at_the_displaced_setting() {
    let (model, _) = network();
    let base = loss_at(&model, [0.0, 0.0]);
    for form in [Form::Published, Form::Equation4] {
        for slope in [Slope::OneSided, Slope::TwoSided, Slope::Analytic] {
            for rho in [0.0, 0.2] {
                let settings =
                    DeviationAscentSettings { form, slope, ..settings(vec![climb("gain")]) };
                let (passes, after) = match rho {
                    0.0 => step(&settings, &mut Descent(rule()), (0, 0)),
                    _ => {
                        let sam = Sam::new(rho).unwrap();
                        step(&settings, &mut SharpnessAware::new(rule(), sam), (0, 0))
                    }
                };
                let (probe, end) = (passes[1][0], passes[passes.len() - 1][0]);
                assert_eq!(passes[0], [0.0, 0.0]);
                if slope != Slope::Analytic {
                    assert!(0.0 < probe && probe <= 0.5);
                }
                let want = match slope {
                    Slope::OneSided => (loss_at(&model, [probe, 0.0]) - base) / probe,
                    Slope::TwoSided => {
                        assert_eq!(passes[2][0], -probe);
                        let apart = loss_at(&model, [probe, 0.0]) - loss_at(&model, [-probe, 0.0]);
                        apart / (2.0 * probe)
                    }
                    Slope::Analytic => {
                        assert_eq!(probe, 0.0);
                        let (h, at) = (1e-5, |gain| loss_at(&model, [gain, 0.0]));
                        (at(h) - at(-h)) / (2.0 * h)
                    }
                };
                let start = match (form, slope) {
                    (Form::Equation4, _) => 0.0,
                    // Its probe is drawn, but no pass is there.
                    (Form::Published, Slope::Analytic) => {
                        let start = end - 0.3 * want;
                        assert!(0.0 < start && start <= 0.5, "{start}");
                        start
                    }
                    (Form::Published, _) => probe,
                };
                let off = (end - (start + 0.3 * want)).abs();
                assert!(off < if slope == Slope::Analytic { 1e-9 } else { 1e-12 }, "{off:e}");
                assert_eq!(passes.len(), 2 + settings.extra_passes());
                close(&after, &second_pass_at([end, 0.0], rho));
            }
        }
    }
}

/// A sharpness-aware optimizer that does not ascend is a plain one.
#[test]
fn no_ascent_of_the_weights_is_none() {
    let settings = settings(vec![climb("gain")]);
    let plain = step(&settings, &mut Descent(rule()), (0, 0));
    let mut flat = SharpnessAware::new(rule(), Sam::new(0.0).unwrap());
    assert_eq!(step(&settings, &mut flat, (0, 0)), plain);
}

#[test]
fn deviations_take_turns_or_go_together() {
    let both = vec![climb("gain"), climb("tilt")];
    let ends = |turn, at| {
        let settings = DeviationAscentSettings { turn, ..settings(both.clone()) };
        let (passes, after) = step(&settings, &mut Descent(rule()), at);
        let end = passes[passes.len() - 1];
        close(&after, &second_pass_at(end, 0.0));
        (end.map(|v| v != 0.0), passes.len())
    };
    for (turn, at, want) in [
        (Turn::EachStep, (0, 0), [true, false]),
        (Turn::EachStep, (0, 1), [false, true]),
        (Turn::EachStep, (1, 2), [true, false]),
        (Turn::EachEpoch, (0, 5), [true, false]),
        (Turn::EachEpoch, (3, 0), [false, true]),
        (Turn::EachEpoch, (3, 4), [false, true]),
    ] {
        assert_eq!(ends(turn, at), (want, 3), "{turn:?} {at:?}");
    }
    assert_eq!(ends(Turn::Together, (0, 0)), ([true, true], 4));
    // Each is probed alone.
    let settings = DeviationAscentSettings { turn: Turn::Together, ..settings(both) };
    let (passes, _) = step(&settings, &mut Descent(rule()), (0, 0));
    assert!(passes[1][1] == 0.0 && passes[2][0] == 0.0 && passes[1][0] * passes[2][1] != 0.0);
}

#[test]
fn probes_go_to_both_sides_and_ends_stay_within_limits() {
    let both = Climb { both_signs: true, limits: Some([-0.1, 0.2]), ..climb("gain") };
    let settings = settings(vec![both]);
    let (mut negative, mut sizes) = (0, vec![]);
    for number in 0..400 {
        let (passes, _) = step(&settings, &mut Descent(rule()), (0, number));
        let (probe, end) = (passes[1][0], passes[2][0]);
        negative += usize::from(probe < 0.0);
        sizes.push(probe.abs());
        assert!((-0.1..=0.2).contains(&end), "{end}");
    }
    // 200 with a standard deviation of 10; the mean of U(0, 0.5) with one of 0.5 / sqrt(12 . 400) = 0.0072.
    assert!((160..=240).contains(&negative), "{negative}");
    let mean = sizes.iter().sum::<f64>() / 400.0;
    assert!((mean - 0.25).abs() < 0.029 && sizes.iter().all(|d| *d > 0.0 && *d <= 0.5), "{mean}");
}

/// One of the two networks of the paper whose panels can be turned, and a batch for it.
struct Turned {
    model: Box<dyn Model>,
    layer: &'static str,
    loss: Loss,
    batch: Batch,
}

impl Turned {
    fn new(free: bool, sampling: Sampling) -> Self {
        let seed = Seed::new(3);
        let images = seed.tensor(StandardUniform, &[4, 1, 28, 28], DType::F64).unwrap();
        let batch = Batch::new(images, Tensor::from_vec(vec![0u32, 1, 2, 3], 4).unwrap());
        if free {
            let model = FreeSpaceMlp::new(sampling, None, &seed, DType::F64).unwrap();
            Self { model: Box::new(model), layer: "fc1", loss: CROSS_ENTROPY, batch }
        } else {
            let model = D2nn::new(sampling, &seed, DType::F64).unwrap();
            Self { model: Box::new(model), layer: D2nn::OPTICS, loss: D2nn::LOSS, batch }
        }
    }

    /// The loss with the panels turned by `degrees`.
    fn at(&self, degrees: &Tensor) -> Tensor {
        let mut chip = Chip::ideal();
        chip.layer_mut(self.layer).add("rotation_deg", degrees).unwrap();
        let (mut truth, counters) = (InSilico(&chip), Counters::default());
        let mut pass = Pass::new(Mode::Eval, &mut truth, &counters);
        let outputs = self.model.forward(&self.batch.images, &mut pass).unwrap();
        (self.loss)(&outputs, &self.batch.labels).unwrap()
    }

    fn weights(&self) -> Vec<f64> {
        let named = self.model.parameters().named();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        named.values().flat_map(values).collect()
    }

    /// The weights after a descent with the gradient that panels turned by `degrees` have.
    fn descended_at(self, degrees: f64) -> Vec<f64> {
        let store = self.at(&Tensor::new(degrees).unwrap()).backward().unwrap();
        let parameters = self.model.parameters();
        let mut rule = Sgd::new(0.1, 0.0).unwrap();
        let gradients = parameters.gradients(&store);
        pnn_core::optim::Rule::update(&mut rule, parameters, &gradients).unwrap();
        self.weights()
    }

    /// The weights after a step of the strategy, which climbs from the calibrated setting.
    fn climbed(self, slope: Slope, climb: Climb) -> pnn_train::Result<Vec<f64>> {
        let climb = Climb { layers: vec![self.layer.into()], probe: 5.0, ..climb };
        let settings =
            DeviationAscentSettings { slope, form: Form::Equation4, ..settings(vec![climb]) };
        let mut cx = StepContext {
            model: self.model.as_ref(),
            optimizer: &mut Descent(Sgd::new(0.1, 0.0).unwrap()),
            lab: &mut Lab::new(),
            counters: &Counters::default(),
            epoch: 0,
            step: 0,
            seed: Seed::new(3).child("step"),
            loss: self.loss,
        };
        let calibrated: f64 = self.at(&Tensor::new(0.0).unwrap()).to_scalar().unwrap();
        let mut strategy = DeviationAscent::new(settings, self.model.as_ref()).unwrap();
        let report = strategy.step(&self.batch, &mut cx)?;
        assert!((report.loss / calibrated - 1.0).abs() < 1e-12, "{} {calibrated}", report.loss);
        Ok(self.weights())
    }
}

/// Nearest neighbours have no slope, bilinear sampling has; both networks of the paper are climbed, and descend with the
/// gradient of panels that are turned.
#[test]
fn the_networks_of_the_paper_can_be_climbed() {
    let climb = |rate, limits| Climb { rate, limits, ..climb("rotation_deg") };
    let apart = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    for free in [true, false] {
        let network = |sampling| Turned::new(free, sampling);
        let nearest = || network(Sampling::Nearest);
        // Where the limits leave one place, it is there that the gradient is taken.
        let aligned = nearest().descended_at(0.0);
        let held = nearest().climbed(Slope::OneSided, climb(1.0, Some([1.5, 1.5]))).unwrap();
        assert!(apart(&held, &nearest().descended_at(1.5)) < 1e-12);
        assert!(apart(&held, &aligned) > 1e-6);
        // With no rate that is the calibrated setting, and with one the measured slope leads away from it.
        let still = nearest().climbed(Slope::OneSided, climb(0.0, None)).unwrap();
        assert!(apart(&still, &aligned) < 1e-12);
        let far = climb(1e9, Some([-3.0, 3.0]));
        let moved = nearest().climbed(Slope::OneSided, far).unwrap();
        let ends = [-3.0, 3.0].map(|end| apart(&moved, &nearest().descended_at(end)));
        assert!(ends[0].min(ends[1]) < 1e-12 && ends[0].max(ends[1]) > 1e-6, "{ends:?}");

        // The slope of bilinear sampling, found here.
        let bilinear = || network(Sampling::Bilinear);
        let degrees = Var::new(&Tensor::new(0.0).unwrap());
        let store = bilinear().at(&degrees.tensor()).backward().unwrap();
        let slope: f64 = store.get(&degrees.tensor()).unwrap().to_scalar().unwrap();
        let rate = 1.5 / slope.abs();
        let climbed = bilinear().climbed(Slope::Analytic, climb(rate, None)).unwrap();
        assert!(apart(&climbed, &bilinear().descended_at(rate * slope)) < 1e-9);
        assert!(apart(&climbed, &bilinear().descended_at(-rate * slope)) > 1e-6);

        let error = nearest().climbed(Slope::Analytic, climb(1.0, None)).unwrap_err().to_string();
        assert!(error.contains("a gradient in rotation_deg: sample bilinearly"), "{error}");
    }
}

#[test]
fn what_cannot_be_climbed_is_named() {
    let (model, _) = network();
    let error = |climb: Climb| {
        DeviationAscent::new(settings(vec![climb]), &model).err().unwrap().to_string()
    };
    let wrong = error(Climb { port: "twist".into(), ..climb("gain") });
    assert_eq!(wrong, "no deviation port named \"twist\"; there is gain, tilt");
    let wrong = error(Climb { layers: vec!["fc9".into()], ..climb("gain") });
    assert_eq!(wrong, "no physical layer named \"fc9\"; there is fc");
    let wrong = error(Climb { layers: vec![], ..climb("gain") });
    assert_eq!(wrong, "number of layers of a climb is 0, allowed is [1, infinity)");
    let wrong = error(Climb { probe: 0.0, ..climb("gain") });
    assert_eq!(wrong, "probe of a climb is 0, allowed is (0, infinity)");
    let wrong = error(Climb { rate: f64::NAN, ..climb("gain") });
    assert_eq!(wrong, "rate of a climb is NaN, allowed is [0, infinity)");
    let wrong = error(Climb { limits: Some([1.0, -1.0]), ..climb("gain") });
    assert_eq!(wrong, "lower limit of a climb is 1, allowed is at most the upper limit");
    let nothing = DeviationAscent::new(settings(vec![]), &model).err().unwrap().to_string();
    assert_eq!(nothing, "number of climbs of deviation_ascent is 0, allowed is [1, infinity)");
}

/// Without a slope and with a probe that is next to nothing it is backpropagation.
#[test]
fn a_vanishing_climb_is_backpropagation() {
    let small = Climb { probe: 1e-300, rate: 0.0, ..climb("gain") };
    let (_, after) = step(&settings(vec![small]), &mut Descent(rule()), (0, 0));
    let (model, _) = network();
    let mut cx = StepContext {
        model: &model,
        optimizer: &mut Descent(rule()),
        lab: &mut Lab::new(),
        counters: &Counters::default(),
        epoch: 0,
        step: 0,
        seed: Seed::new(1),
        loss: CROSS_ENTROPY,
    };
    Backprop.step(&batch(), &mut cx).unwrap();
    assert_eq!(after, weights(&model));
}

/// Running statistics move in the pass at the parameters of the ideal device, and in no displaced one: after a step they are those
/// of backpropagation.
#[test]
fn displaced_passes_leave_running_statistics_alone() {
    let after = |strategy: &dyn Fn(&LeNet5) -> Box<dyn Strategy>| -> Vec<f32> {
        let factory = MrrFactory(Trained::Detunings);
        let activation = FcActivation::Relu;
        let model = LeNet5::new(&factory, activation, &Seed::new(3), DType::F32).unwrap();
        let images = Seed::new(4).tensor(StandardUniform, &[6, 1, 28, 28], DType::F32).unwrap();
        let batch = Batch::new(images, Tensor::from_vec(vec![0u32, 1, 2, 3, 4, 5], 6).unwrap());
        let mut cx = StepContext {
            model: &model,
            optimizer: &mut SharpnessAware::new(rule(), Sam::new(0.1).unwrap()),
            lab: &mut Lab::new(),
            counters: &Counters::default(),
            epoch: 0,
            step: 0,
            seed: Seed::new(7),
            loss: CROSS_ENTROPY,
        };
        strategy(&model).step(&batch, &mut cx).unwrap();
        let values = |(_, var): (String, Var)| var.value().to_vec1::<f32>().unwrap();
        model.buffers().into_iter().flat_map(values).collect()
    };
    let want = after(&|_| Box::new(Backprop));
    assert!(want.iter().any(|v| *v != 0.0 && *v != 1.0), "statistics moved at all");
    for (form, slope) in [(Form::default(), Slope::default()), (Form::Equation4, Slope::Analytic)] {
        let mut climb = climb("resonance_shift_nm");
        climb.layers = vec!["fc2".into()];
        let settings = DeviationAscentSettings { form, slope, ..settings(vec![climb]) };
        let got = after(&|model| Box::new(DeviationAscent::new(settings.clone(), model).unwrap()));
        assert_eq!(got, want);
    }
}
