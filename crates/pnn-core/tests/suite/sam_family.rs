//! The sharpness-aware family beyond SAM: the numbers of its authors, its cost, its memory.

use crate::common;

use common::{Golden, assert_close, assert_same_bits, params, tensor, values};
use pnn_core::optim::{
    Adam, Asam, Descent, Esam, EsamSettings, Evaluation, FriendlySam, FriendlySamSettings, Gsam,
    GsamSettings, LookSam, LookSamSettings, Msam, MsamSettings, Objective, Optimizer, Point, Rule,
    Samples, Sgd, SharpnessAware,
};
use pnn_core::params::{Gradients, ParamSet};
use pnn_core::{DType, Error, Result, Seed, Tensor, loss, ops};

const STEPS: usize = 12;

/// The two-layer net of the golden file on the batch of a step.
struct Net<'a> {
    x: Tensor,
    labels: Tensor,
    set: &'a ParamSet,
    seed: Seed,
    /// Points and numbers of samples of all evaluations with a gradient, and of those without.
    gradients: Vec<(Point, usize)>,
    losses: Vec<Point>,
}

fn rows(tensor: &Tensor, which: &[usize]) -> Tensor {
    let rows: Vec<Tensor> = which.iter().map(|i| tensor.narrow(0, *i, 1).unwrap()).collect();
    Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0).unwrap()
}

impl<'a> Net<'a> {
    fn new(golden: &Golden, set: &'a ParamSet, t: usize) -> Self {
        let x = golden.get("x", DType::F64).narrow(0, t, 1).unwrap().reshape((12, 4)).unwrap();
        let labels = golden.raw("labels").unwrap().narrow(0, t, 1).unwrap().reshape(12).unwrap();
        let seed = Seed::new(601).index(t as u64);
        Self { x, labels, set, seed, gradients: Vec::new(), losses: Vec::new() }
    }

    fn loss(&self, which: &[usize]) -> Result<Tensor> {
        let p = |name: &str| self.set.get(name).unwrap().var.tensor();
        let x = rows(&self.x, which);
        let hidden = ops::sigmoid(&ops::add_bias(&ops::linear(&x, &p("w1"))?, &p("b1"))?)?;
        let logits = ops::add_bias(&ops::linear(&hidden, &p("w2"))?, &p("b2"))?;
        loss::cross_entropy(&logits, &rows(&self.labels, which))
    }

    fn each(&self) -> Vec<f64> {
        (0..12).map(|i| values(&self.loss(&[i]).unwrap())[0]).collect()
    }
}

impl Objective for Net<'_> {
    fn evaluate(&mut self, point: Point) -> Result<Evaluation> {
        self.evaluate_part(point, &(0..12).collect::<Vec<_>>())
    }

    fn samples(&mut self) -> Option<&mut dyn Samples> {
        Some(self)
    }
}

impl Samples for Net<'_> {
    fn seed(&self) -> Seed {
        self.seed
    }

    fn evaluate_each(&mut self, point: Point) -> Result<(Evaluation, Vec<f64>)> {
        Ok((self.evaluate(point)?, self.each()))
    }

    fn losses(&mut self, point: Point) -> Result<Vec<f64>> {
        self.losses.push(point);
        Ok(self.each())
    }

    fn evaluate_part(&mut self, point: Point, samples: &[usize]) -> Result<Evaluation> {
        self.gradients.push((point, samples.len()));
        let loss = self.loss(samples)?;
        let gradients = self.set.gradients(&loss.backward()?);
        Ok(Evaluation { loss: values(&loss)[0], gradients })
    }
}

fn around<R: Rule + 'static>(kind: &str, rule: R) -> Box<dyn Optimizer> {
    let rate = rule.learning_rate();
    let gsam = |settings| Gsam::new(settings, rate).unwrap();
    let gsam_settings =
        GsamSettings { rho: 0.3, rho_min: Some(0.07), alpha: 0.35, adaptive: false };
    let friendly = FriendlySamSettings { rho: 0.3, sigma: 0.75, lambda: 0.85, adaptive: false };
    let esam = EsamSettings { rho: 0.25, beta: 0.6, gamma: 0.5, adaptive: false };
    match kind {
        "asam" => {
            let asam =
                Asam::new(0.5).unwrap().eta(0.01).unwrap().plain(|name| name.starts_with('b'));
            Box::new(SharpnessAware::new(rule, asam))
        }
        "gsam" => Box::new(SharpnessAware::new(rule, gsam(gsam_settings))),
        "gsam-adaptive" => {
            let settings =
                GsamSettings { rho: 0.6, rho_min: Some(0.2), alpha: 0.25, adaptive: true };
            Box::new(SharpnessAware::new(rule, gsam(settings)))
        }
        "looksam" => {
            let settings = LookSamSettings { rho: 0.4, k: 4, alpha: 0.65 };
            Box::new(SharpnessAware::new(rule, LookSam::new(settings).unwrap()))
        }
        "fsam" => Box::new(SharpnessAware::new(rule, FriendlySam::new(friendly).unwrap())),
        "fsam-adaptive" => {
            let settings =
                FriendlySamSettings { rho: 0.5, sigma: 0.9, lambda: 0.6, adaptive: true };
            Box::new(SharpnessAware::new(rule, FriendlySam::new(settings).unwrap()))
        }
        "esam" => Box::new(Esam::new(rule, esam).unwrap()),
        "esam-adaptive" => {
            let settings = EsamSettings { rho: 0.4, gamma: 0.7, adaptive: true, ..esam };
            Box::new(Esam::new(rule, settings).unwrap())
        }
        "esam-all" => Box::new(Esam::new(rule, EsamSettings { gamma: 0.995, ..esam }).unwrap()),
        "msam" => Box::new(Msam::new(rule, MsamSettings { rho: 0.3 }).unwrap()),
        other => panic!("no {other}"),
    }
}

const KINDS: [&str; 10] = [
    "asam",
    "gsam",
    "gsam-adaptive",
    "looksam",
    "fsam",
    "fsam-adaptive",
    "esam",
    "esam-adaptive",
    "esam-all",
    "msam",
];

fn optimizer(kind: &str, base: &str) -> Box<dyn Optimizer> {
    match base {
        "sgd" => around(kind, Sgd::new(0.05, 0.5).unwrap()),
        _ => around(kind, Adam::new(0.01).unwrap()),
    }
}

fn start(golden: &Golden) -> ParamSet {
    params(["w1", "b1", "w2", "b2"].map(|k| (k, golden.get(&format!("start/{k}"), DType::F64))))
}

/// One step at the learning rate of the golden file; what was evaluated.
fn step<'a>(
    golden: &Golden,
    optimizer: &mut dyn Optimizer,
    set: &'a ParamSet,
    (t, rate): (usize, f64),
) -> (f64, Net<'a>) {
    let factor = values(&golden.get("factors", DType::F64))[t];
    optimizer.rule_mut().set_learning_rate(rate * factor);
    let mut net = Net::new(golden, set, t);
    let loss = optimizer.step(set, &mut net).unwrap().loss;
    (loss, net)
}

/// Parameters below 4 and gradients of size 0.1: a gradient is right to some 10 eps, and 12 steps of SGD
/// add less than their own roundings, 12 * 4 eps = 1e-14. Adam divides by the root of the second moment,
/// which makes of the same 10 eps about 10 eps 0.1 / 1e-3 of a step of 0.01 where gradients are 1e-3.
#[test]
fn every_step_is_that_of_the_authors() {
    let golden = Golden::load("sam_family");
    for kind in KINDS {
        for (base, rate) in [("sgd", 0.05), ("adam", 0.01)] {
            let set = start(&golden);
            let mut optimizer = optimizer(kind, base);
            let losses = values(&golden.get(&format!("{kind}/{base}/loss"), DType::F64));
            assert_eq!(losses.len(), STEPS);
            for (t, want_loss) in losses.iter().enumerate() {
                let (loss, _) = step(&golden, optimizer.as_mut(), &set, (t, rate));
                assert!((loss - want_loss).abs() < 1e-13, "{kind} {base} {t}: {loss}");
                for p in set.iter() {
                    let what = format!("{kind}/{base}/{}", p.name);
                    let path = golden.get(&what, DType::F64).narrow(0, t, 1).unwrap();
                    let want = path.reshape(p.var.dims()).unwrap();
                    assert_close(&format!("{what} {t}"), &p.var.value(), &want, 1e-12, 1e-13);
                }
            }
        }
    }
}

/// The masks are part of a training's bits: this pins them, and the golden file was made with them.
#[test]
fn masks_are_drawn_from_the_seed_of_the_step() {
    let golden = Golden::load("sam_family");
    let masks = values(golden.raw("masks").unwrap());
    let settings = EsamSettings { beta: 0.6, ..EsamSettings::default() };
    let esam = Esam::new(Sgd::new(0.1, 0.0).unwrap(), settings).unwrap();
    for (t, want) in masks.chunks(4).enumerate() {
        let mask = esam.mask(&Seed::new(601).index(t as u64), 4);
        let got: Vec<f64> = mask.into_iter().map(|kept| f64::from(u8::from(kept))).collect();
        assert_eq!(got, want, "step {t}");
    }
    assert!(masks.contains(&0.0) && masks.contains(&1.0));
}

#[test]
fn a_step_evaluates_as_often_as_the_method_says() {
    use Point::{Ascent, Base};
    let golden = Golden::load("sam_family");
    for kind in KINDS {
        let (set, mut optimizer) = (start(&golden), optimizer(kind, "sgd"));
        for t in 0..8 {
            let ascends = optimizer.ascends();
            let (_, net) = step(&golden, optimizer.as_mut(), &set, (t, 0.05));
            let (gradients, losses): (Vec<(Point, usize)>, usize) = match kind {
                "looksam" if t % 4 != 0 => (vec![(Base, 12)], 0),
                "msam" => (vec![(Base, 12)], 0),
                // The samples above that of rank 6, and above that of rank 8.
                "esam" => (vec![(Base, 12), (Ascent, 5)], 1),
                "esam-adaptive" => (vec![(Base, 12), (Ascent, 7)], 1),
                _ => (vec![(Base, 12), (Ascent, 12)], 0),
            };
            assert_eq!(ascends, gradients.len() == 2, "{kind} {t}");
            assert_eq!(net.gradients, gradients, "{kind} {t}");
            assert_eq!(net.losses, vec![Ascent; losses], "{kind} {t}");
        }
    }
}

fn assert_same_state(what: &str, a: &ParamSet, b: &ParamSet) {
    for (a, b) in a.iter().zip(b.iter()) {
        assert_same_bits(&format!("{what} {}", a.name), &a.var.tensor(), &b.var.tensor());
    }
}

#[test]
fn a_saved_optimizer_continues_to_the_same_bits() {
    let golden = Golden::load("sam_family");
    for kind in KINDS {
        for (base, rate) in [("sgd", 0.05), ("adam", 0.01)] {
            // Saved where LookSAM has gone half of its period.
            let (one, two) = (start(&golden), start(&golden));
            let mut whole = optimizer(kind, base);
            for t in 0..6 {
                step(&golden, whole.as_mut(), &one, (t, rate));
            }
            let state = whole.state().unwrap();
            two.load(&one.named()).unwrap();
            let mut resumed = optimizer(kind, base);
            resumed.load_state(&state).unwrap();
            for t in 6..STEPS {
                assert_eq!(whole.ascends(), resumed.ascends());
                step(&golden, whole.as_mut(), &one, (t, rate));
                step(&golden, resumed.as_mut(), &two, (t, rate));
            }
            assert_same_state(&format!("{kind} {base}"), &one, &two);
        }
    }
    let mut look = optimizer("looksam", "sgd");
    let error = look.load_state(&std::collections::BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("since"), "{error}");
}

#[test]
fn a_radius_of_zero_is_the_base_optimizer() {
    let golden = Golden::load("sam_family");
    let plain = start(&golden);
    let mut descent = Descent(Sgd::new(0.05, 0.5).unwrap());
    let rule = || Sgd::new(0.05, 0.5).unwrap();
    let gsam = GsamSettings { rho: 0.0, ..GsamSettings::default() };
    let look = LookSamSettings { rho: 0.0, ..LookSamSettings::default() };
    let friendly = FriendlySamSettings { rho: 0.0, ..FriendlySamSettings::default() };
    let esam = EsamSettings { rho: 0.0, ..EsamSettings::default() };
    let mut others: Vec<(Box<dyn Optimizer>, ParamSet)> = vec![
        (Box::new(SharpnessAware::new(rule(), Gsam::new(gsam, 0.05).unwrap())), start(&golden)),
        (Box::new(SharpnessAware::new(rule(), LookSam::new(look).unwrap())), start(&golden)),
        (
            Box::new(SharpnessAware::new(rule(), FriendlySam::new(friendly).unwrap())),
            start(&golden),
        ),
        (Box::new(Esam::new(rule(), esam).unwrap()), start(&golden)),
        (Box::new(Msam::new(rule(), MsamSettings { rho: 0.0 }).unwrap()), start(&golden)),
    ];
    for t in 0..4 {
        step(&golden, &mut descent, &plain, (t, 0.05));
        for (i, (optimizer, set)) in others.iter_mut().enumerate() {
            assert!(!optimizer.ascends());
            let (_, net) = step(&golden, optimizer.as_mut(), set, (t, 0.05));
            assert_eq!(net.gradients.len(), 1);
            assert_same_state(&format!("{i} step {t}"), &plain, set);
        }
    }
}

/// Fails at the second evaluation of a step, or at the first.
struct Failing<'a>(Net<'a>, usize);

impl Failing<'_> {
    fn count(&mut self) -> Result<()> {
        if self.1 == 0 {
            return Err(Error::Unsupported { device: "d".into(), capability: "c".into() });
        }
        self.1 -= 1;
        Ok(())
    }
}

impl Objective for Failing<'_> {
    fn evaluate(&mut self, point: Point) -> Result<Evaluation> {
        self.count()?;
        self.0.evaluate(point)
    }

    fn samples(&mut self) -> Option<&mut dyn Samples> {
        Some(self)
    }
}

impl Samples for Failing<'_> {
    fn seed(&self) -> Seed {
        self.0.seed
    }

    fn evaluate_each(&mut self, point: Point) -> Result<(Evaluation, Vec<f64>)> {
        self.count()?;
        self.0.evaluate_each(point)
    }

    fn losses(&mut self, point: Point) -> Result<Vec<f64>> {
        self.count()?;
        self.0.losses(point)
    }

    fn evaluate_part(&mut self, point: Point, samples: &[usize]) -> Result<Evaluation> {
        self.count()?;
        self.0.evaluate_part(point, samples)
    }
}

#[test]
fn a_step_that_fails_changes_nothing() {
    let golden = Golden::load("sam_family");
    for kind in KINDS {
        let (set, mut optimizer) = (start(&golden), optimizer(kind, "adam"));
        for t in 0..4 {
            step(&golden, optimizer.as_mut(), &set, (t, 0.01));
        }
        let (before, state) = (set.snapshot().unwrap(), optimizer.state().unwrap());
        let evaluations = match kind {
            "msam" => 1,
            "esam" | "esam-adaptive" => 3,
            _ => 2,
        };
        for allowed in 0..evaluations {
            let mut failing = Failing(Net::new(&golden, &set, 4), allowed);
            assert!(optimizer.step(&set, &mut failing).is_err(), "{kind} {allowed}");
            for (p, before) in set.iter().zip(&before) {
                assert_same_bits(&format!("{kind} {}", p.name), &p.var.value(), before);
            }
            let now = optimizer.state().unwrap();
            assert_eq!(now.len(), state.len());
            for (name, tensor) in &now {
                assert_same_bits(&format!("{kind} {name}"), tensor, &state[name]);
            }
        }
    }
}

#[test]
fn esam_needs_samples() {
    let set = params([("a", tensor(&[1.0]))]);
    let mut objective =
        |_| Ok(Evaluation { loss: 0.0, gradients: Gradients(vec![Some(tensor(&[1.0]))]) });
    let mut esam = Esam::new(Sgd::new(0.1, 0.0).unwrap(), EsamSettings::default()).unwrap();
    let error = esam.step(&set, &mut objective).unwrap_err().to_string();
    assert!(error.contains("losses of single samples"), "{error}");
    assert_eq!(values(&set.get("a").unwrap().var.tensor()), [1.0]);
}

/// What defines GSAM: its change of SAM's direction is orthogonal to SAM's gradient, but for the 1e-12
/// that are added to norms of about 1, twice.
#[test]
fn gsam_leaves_the_component_along_the_sharp_gradient() {
    use pnn_core::optim::Ascent;
    let (g, s) = (tensor(&[1.0, -2.0, 0.5]), tensor(&[0.3, 0.7, -1.1]));
    let (g, s) = (Gradients(vec![Some(g)]), Gradients(vec![Some(s)]));
    let settings = GsamSettings { alpha: 0.8, ..GsamSettings::default() };
    let mut gsam = Gsam::new(settings, 0.1).unwrap();
    let d = gsam.descent(&g, Some(s.clone())).unwrap();
    assert!((d.dot(&s).unwrap() - s.dot(&s).unwrap()).abs() < 1e-11);
    assert!(d.dot(&g).unwrap() < s.dot(&g).unwrap(), "it climbs in the base loss");
    // LookSAM's remembered part is orthogonal to the base gradient.
    let settings = LookSamSettings { k: 2, alpha: 1.0, ..LookSamSettings::default() };
    let mut look = LookSam::new(settings).unwrap();
    look.descent(&g, Some(s)).unwrap();
    let next = look.descent(&g, None).unwrap();
    assert!((next.dot(&g).unwrap() - g.dot(&g).unwrap()).abs() < 1e-11);
    assert!((next.global_norm().unwrap() / g.global_norm().unwrap() - 2f64.sqrt()).abs() < 1e-11);
}

#[test]
fn settings_outside_their_range_are_errors() {
    let sgd = || Sgd::new(0.1, 0.0).unwrap();
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let gsam = |settings| Gsam::new(settings, 0.1).err().map(|e| e.to_string());
        let default = GsamSettings::default();
        let look = |settings| LookSam::new(settings).err().map(|e| e.to_string());
        let friendly = |settings| FriendlySam::new(settings).err().map(|e| e.to_string());
        let esam = |settings| Esam::new(sgd(), settings).err().map(|e| e.to_string());
        let (l, f, e) =
            (LookSamSettings::default(), FriendlySamSettings::default(), EsamSettings::default());
        for (error, what) in [
            (gsam(GsamSettings { rho: bad, ..default }), "rho"),
            (gsam(GsamSettings { rho_min: Some(bad), ..default }), "rho_min"),
            (gsam(GsamSettings { alpha: bad, ..default }), "alpha"),
            (look(LookSamSettings { rho: bad, ..l }), "rho"),
            (look(LookSamSettings { alpha: bad, ..l }), "alpha"),
            (friendly(FriendlySamSettings { rho: bad, ..f }), "rho"),
            (friendly(FriendlySamSettings { sigma: bad, ..f }), "sigma"),
            (friendly(FriendlySamSettings { lambda: bad, ..f }), "lambda"),
            (esam(EsamSettings { rho: bad, ..e }), "rho"),
            (esam(EsamSettings { beta: bad, ..e }), "beta"),
            (esam(EsamSettings { gamma: bad, ..e }), "gamma"),
            (Msam::new(sgd(), MsamSettings { rho: bad }).err().map(|e| e.to_string()), "rho"),
        ] {
            let error = error.unwrap_or_else(|| panic!("{what} {bad} was accepted"));
            assert!(error.starts_with(what) && error.contains("allowed"), "{error}");
        }
    }
    let above = GsamSettings { rho: 0.1, rho_min: Some(0.2), ..GsamSettings::default() };
    assert!(Gsam::new(above, 0.1).is_err());
    assert!(LookSam::new(LookSamSettings { k: 0, ..LookSamSettings::default() }).is_err());
    let zero = EsamSettings { beta: 0.0, ..EsamSettings::default() };
    assert!(Esam::new(sgd(), zero).is_err());
}
