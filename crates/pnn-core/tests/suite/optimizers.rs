//! Update rules, schedules and the sharpness-aware family: PyTorch's numbers, and what defines
//! them.

use crate::common;

use common::{
    Golden, assert_close, assert_same_bits, eps, gradients, normal, params, tensor, values,
};
use pnn_core::optim::{
    Adam, Asam, Ascent, Descent, Evaluation, Optimizer, Point, Rule, Sam, Schedule, Sgd,
    SharpnessAware,
};
use pnn_core::params::{Gradients, ParamSet};
use pnn_core::{DType, Error, Result, Tensor, loss, ops};

fn rules() -> Vec<(&'static str, Box<dyn Rule>)> {
    vec![
        ("sgd", Box::new(Sgd::new(0.05, 0.0).unwrap())),
        ("sgd-momentum", Box::new(Sgd::new(0.05, 0.5).unwrap())),
        ("sgd-heavy", Box::new(Sgd::new(0.01, 0.9).unwrap())),
        ("adam", Box::new(Adam::new(0.01).unwrap())),
        ("adam-betas", Box::new(Adam::new(0.02).unwrap().betas(0.5, 0.9).unwrap())),
        ("adam-decay", Box::new(Adam::new(0.01).unwrap().weight_decay(0.1).unwrap())),
        ("adamw", Box::new(Adam::new(0.01).unwrap().decoupled(0.01).unwrap())),
        ("adamw-decay", Box::new(Adam::new(0.01).unwrap().decoupled(0.1).unwrap())),
    ]
}

/// A step is a few operations, each of which rounds; PyTorch may order or fuse them otherwise.
/// After t steps of size 0.1 at most, on parameters below 3, the difference is within
/// `8 t eps 3`. (A wrong constant shows at 1e-3 and more.)
#[test]
fn rules_follow_pytorch_step_by_step() {
    let golden = Golden::load("optim");
    for dtype in [DType::F64, DType::F32] {
        let suffix = if dtype == DType::F64 { "f64" } else { "f32" };
        for (name, mut rule) in rules() {
            let start = |k: &str| golden.get(&format!("start/{k}"), dtype);
            let set = params([("a", start("a")), ("b", start("b"))]);
            for t in 0..12 {
                let gradient = |k: &str| {
                    let tensor = golden.raw(&format!("gradient/{t}/{k}"))?;
                    Some(tensor.to_dtype(dtype).unwrap())
                };
                rule.update(&set, &Gradients(vec![gradient("a"), gradient("b")])).unwrap();
                for k in ["a", "b"] {
                    let want = golden.get(&format!("{name}/{suffix}/{t}/{k}"), dtype);
                    let tolerance = 8.0 * (t + 1) as f64 * eps(dtype) * 3.0;
                    let got = set.get(k).unwrap().var.tensor().detach();
                    let what = format!("{name} {suffix} step {t} {k}");
                    assert_close(&what, &got, &want, 0.0, tolerance);
                }
            }
        }
    }
}

#[test]
fn schedules_follow_pytorch() {
    let golden = Golden::load("schedule");
    for (name, schedule) in [
        ("step", Schedule::Step { every: 3, factor: 0.5 }),
        ("cosine", Schedule::Cosine { epochs: 10 }),
    ] {
        let want = golden.get(name, DType::F64);
        let factors: Vec<f64> = (0..want.elem_count()).map(|e| schedule.factor(e)).collect();
        // PyTorch multiplies the last rate by a ratio of cosines each epoch: 12 roundings, and
        // near the end of the cosine the ratio's own numerator cancels.
        assert_close(name, &tensor(&factors), &want, 0.0, 12.0 * f64::EPSILON);
    }
}

/// The two-layer net of the golden file.
struct Net {
    x: Tensor,
    labels: Tensor,
}

impl Net {
    fn load(golden: &Golden, dtype: DType) -> (Self, ParamSet) {
        let start = ["w1", "b1", "w2", "b2"].map(|k| (k, golden.get(&format!("start/{k}"), dtype)));
        let labels = golden.raw("labels").unwrap().clone();
        (Self { x: golden.get("x", dtype), labels }, params(start))
    }

    fn evaluate(&self, set: &ParamSet) -> Result<Evaluation> {
        let p = |name: &str| set.get(name).unwrap().var.tensor();
        let hidden = ops::sigmoid(&ops::add_bias(&ops::linear(&self.x, &p("w1"))?, &p("b1"))?)?;
        let logits = ops::add_bias(&ops::linear(&hidden, &p("w2"))?, &p("b2"))?;
        let value = loss::cross_entropy(&logits, &self.labels)?;
        Ok(Evaluation { loss: values(&value)[0], gradients: set.gradients(&value.backward()?) })
    }

    fn step(&self, optimizer: &mut dyn Optimizer, set: &ParamSet) -> Evaluation {
        optimizer.step(set, &mut |_| self.evaluate(set)).unwrap()
    }
}

fn around<A: Ascent + Copy + 'static>(ascent: A, base: &str) -> Box<dyn Optimizer> {
    match base {
        "sgd" => Box::new(SharpnessAware::new(Sgd::new(0.05, 0.5).unwrap(), ascent)),
        _ => Box::new(SharpnessAware::new(Adam::new(0.01).unwrap(), ascent)),
    }
}

fn sharp(kind: &str, base: &str) -> Box<dyn Optimizer> {
    match kind {
        "sam" => around(Sam::new(0.05).unwrap(), base),
        "sam-wide" => around(Sam::new(2.0).unwrap(), base),
        "asam" => around(Asam::new(0.5).unwrap(), base),
        _ => around(Asam::new(0.5).unwrap().eta(0.01).unwrap(), base),
    }
}

/// Twelve steps of f64. A rounding of the gradient, some 100 eps, enters a step of SGD times the
/// rate; in Adam it is divided by the gradient's own size, above 1e-4 here, and so is each of the
/// 12: below 12 * 0.01 * 100 eps / 1e-4 = 3e-11.
#[test]
fn sharpness_aware_steps_follow_the_reference() {
    let golden = Golden::load("sam");
    for kind in ["sam", "sam-wide", "asam", "asam-eta"] {
        for base in ["sgd", "adam"] {
            let (net, set) = Net::load(&golden, DType::F64);
            let mut optimizer = sharp(kind, base);
            let losses: Vec<f64> =
                (0..12).map(|_| net.step(optimizer.as_mut(), &set).loss).collect();
            let want = golden.get(&format!("{kind}/{base}/loss"), DType::F64);
            assert_close(&format!("{kind} {base} loss"), &tensor(&losses), &want, 0.0, 3e-11);
            for p in set.iter() {
                let what = format!("{kind}/{base}/{}", p.name);
                let want = golden.get(&what, DType::F64);
                assert_close(&what, &p.var.tensor(), &want, 0.0, 3e-11);
            }
        }
    }
}

fn assert_same_state(what: &str, a: &ParamSet, b: &ParamSet) {
    for (a, b) in a.iter().zip(b.iter()) {
        assert_same_bits(&format!("{what} {}", a.name), &a.var.tensor(), &b.var.tensor());
    }
}

#[test]
fn a_radius_of_zero_is_the_base_optimizer() {
    let golden = Golden::load("sam");
    for base in ["sgd", "adam"] {
        let plain: Box<dyn Optimizer> = match base {
            "sgd" => Box::new(Descent(Sgd::new(0.05, 0.5).unwrap())),
            _ => Box::new(Descent(Adam::new(0.01).unwrap())),
        };
        let mut optimizers =
            [plain, around(Sam::new(0.0).unwrap(), base), around(Asam::new(0.0).unwrap(), base)];
        let nets: Vec<_> = optimizers.iter().map(|_| Net::load(&golden, DType::F32)).collect();
        for step in 0..5 {
            let mut evaluations = vec![0; 3];
            for (i, (optimizer, (net, set))) in optimizers.iter_mut().zip(&nets).enumerate() {
                let mut objective = |_| {
                    evaluations[i] += 1;
                    net.evaluate(set)
                };
                optimizer.step(set, &mut objective).unwrap();
            }
            assert_eq!(evaluations, [1, 1, 1], "rho = 0 needs no second evaluation");
            for (_, set) in &nets[1..] {
                assert_same_state(&format!("{base} step {step}"), &nets[0].1, set);
            }
        }
    }
}

#[test]
fn the_ascent_is_undone_to_the_bit() {
    let golden = Golden::load("sam");
    for kind in ["sam", "asam", "asam-eta"] {
        let (net, set) = Net::load(&golden, DType::F32);
        // A negative zero must survive: adding and subtracting would lose it.
        let bias = Tensor::new([-0.0f32, 1e-30, -3.0]).unwrap();
        set.get("b2").unwrap().var.set(&bias).unwrap();
        let before = set.snapshot().unwrap();
        let mut optimizer = sharp(kind, "sgd");
        optimizer.rule_mut().set_learning_rate(0.0);
        let mut points = Vec::new();
        let mut moved = false;
        for _ in 0..3 {
            let mut objective = |point| {
                points.push(point);
                let w1 = set.get("w1").unwrap().var.tensor();
                moved |= point == Point::Ascent && values(&w1) != values(&before[2]);
                net.evaluate(&set)
            };
            optimizer.step(&set, &mut objective).unwrap();
        }
        assert_eq!(points, [Point::Base, Point::Ascent].repeat(3));
        assert!(moved, "{kind}: the ascent point is another point");
        for (p, before) in set.iter().zip(&before) {
            // `x - 0 g` keeps every bit but the sign of a zero, which IEEE 754 makes positive
            // only for -0 - (-0).
            let now = p.var.tensor();
            if p.name == "b2" {
                assert_eq!(values(&now), values(before), "{kind}");
            } else {
                assert_same_bits(&format!("{kind} {}", p.name), &now, before);
            }
        }
    }
}

#[test]
fn a_failing_second_evaluation_restores_the_parameters() {
    let golden = Golden::load("sam");
    let (net, set) = Net::load(&golden, DType::F32);
    let bias = Tensor::new([-0.0f32, 1e-30, 3.0]).unwrap();
    set.get("b2").unwrap().var.set(&bias).unwrap();
    let before = set.snapshot().unwrap();
    let mut optimizer = sharp("sam", "adam");
    let mut objective = |point| match point {
        Point::Base => net.evaluate(&set),
        Point::Ascent => Err(Error::Unsupported { device: "d".into(), capability: "c".into() }),
    };
    let error = optimizer.step(&set, &mut objective).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }));
    for (p, before) in set.iter().zip(&before) {
        assert_same_bits(&p.name, &p.var.tensor(), before);
    }
    // Nor did the rule see a step.
    assert_eq!(optimizer.rule().state().unwrap()["steps"].elem_count(), 0);
}

#[test]
fn the_norm_is_over_all_tensors_together() {
    // |g| = |(3, 4, 12)| = 13 over three tensors, one of them without a gradient.
    let set = params([("a", tensor(&[1.0, -2.0])), ("b", tensor(&[0.5])), ("c", tensor(&[7.0]))]);
    let g = Gradients(vec![Some(tensor(&[3.0, 4.0])), Some(tensor(&[12.0])), None]);
    assert_eq!(g.global_norm().unwrap(), 13.0);
    let e = Sam::new(2.0).unwrap().displacement(&set, &g).unwrap();
    let a = tensor(&[6.0 / 13.0, 8.0 / 13.0]);
    assert_close("a", e[0].as_ref().unwrap(), &a, 1e-12, 0.0);
    assert_close("b", e[1].as_ref().unwrap(), &tensor(&[24.0 / 13.0]), 1e-12, 0.0);
    assert!(e[2].is_none());

    // T g = (1 * 3, 2 * 4, 0.5 * 12), T^2 g = (3, 16, 3).
    let e = Asam::new(2.0).unwrap().displacement(&set, &g).unwrap();
    let norm = f64::sqrt(9.0 + 64.0 + 36.0);
    let a = tensor(&[6.0 / norm, 32.0 / norm]);
    assert_close("a", e[0].as_ref().unwrap(), &a, 1e-12, 0.0);
    assert_close("b", e[1].as_ref().unwrap(), &tensor(&[6.0 / norm]), 1e-12, 0.0);
    // A gradient of zero gives an ascent of zero, not NaN.
    let flat = Gradients(vec![Some(tensor(&[0.0, 0.0])), None, None]);
    let e = Sam::new(2.0).unwrap().displacement(&set, &flat).unwrap();
    assert_eq!(values(e[0].as_ref().unwrap()), [0.0, 0.0]);
}

/// Ascends along the signs of the gradient.
struct SignAscent(f64);

impl Ascent for SignAscent {
    fn displacement(&self, _: &ParamSet, gradients: &Gradients) -> Result<Vec<Option<Tensor>>> {
        let sign = |g: &Tensor| -> Result<Tensor> { (g / g.abs()?)? * self.0 };
        gradients.0.iter().map(|g| g.as_ref().map(sign).transpose()).collect()
    }
}

#[test]
fn the_family_can_be_extended() {
    // f = x^4 / 4 at x = 1: ascent to 1.5, gradient 1.5^3 = 3.375 there.
    let set = params([("x", tensor(&[1.0]))]);
    let mut optimizer = SharpnessAware::new(Sgd::new(0.1, 0.0).unwrap(), SignAscent(0.5));
    let mut objective = |_| {
        let x = set.get("x").unwrap().var.tensor();
        let loss = (x.sqr()?.sqr()?.sum_all()? / 4.0)?;
        Ok(Evaluation { loss: loss.to_scalar()?, gradients: gradients(&set, &loss) })
    };
    let evaluation = optimizer.step(&set, &mut objective).unwrap();
    assert_eq!(evaluation.loss, 0.25, "the evaluation is that of the base point");
    let want = tensor(&[1.0 - 0.1 * 3.375]);
    assert_close("x", &set.get("x").unwrap().var.tensor(), &want, 1e-14, 0.0);
}

#[test]
fn a_saved_rule_continues_to_the_same_bits() {
    for (name, mut rule) in rules() {
        let start = [("a", normal(1, &[3, 2], DType::F32)), ("b", normal(2, &[4], DType::F32))];
        let (one, two) = (params(start.clone()), params(start));
        let gradient = |t: u64| {
            let b = (t != 1).then(|| normal(t + 20, &[4], DType::F32));
            Gradients(vec![Some(normal(t + 10, &[3, 2], DType::F32)), b])
        };
        for t in 0..4 {
            rule.update(&one, &gradient(t)).unwrap();
        }
        let state = rule.state().unwrap();
        two.load(&one.named()).unwrap();
        let (_, mut resumed) = rules().into_iter().find(|(n, _)| *n == name).unwrap();
        resumed.load_state(&state).unwrap();
        for t in 4..8 {
            rule.update(&one, &gradient(t)).unwrap();
            resumed.update(&two, &gradient(t)).unwrap();
        }
        assert_same_state(name, &one, &two);
        // The saved state did not change with the steps taken since.
        let (_, mut again) = rules().into_iter().find(|(n, _)| *n == name).unwrap();
        again.load_state(&state).unwrap();
        for (key, tensor) in again.state().unwrap() {
            assert_same_bits(&key, &tensor, &state[&key]);
        }
    }
}

#[test]
fn an_incomplete_state_is_an_error() {
    let set = params([("a", tensor(&[1.0]))]);
    let mut adam = Adam::new(0.1).unwrap();
    adam.update(&set, &Gradients(vec![Some(tensor(&[1.0]))])).unwrap();
    let state = adam.state().unwrap();
    for key in ["steps", "first.00000", "second.00000"] {
        let mut part = state.clone();
        part.remove(key).unwrap();
        let error = Adam::new(0.1).unwrap().load_state(&part).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    // A state of another model is refused at the next step.
    let other = params([("a", tensor(&[1.0, 2.0]))]);
    let mut loaded = Adam::new(0.1).unwrap();
    loaded.load_state(&state).unwrap();
    let gradient = Gradients(vec![Some(tensor(&[1.0, 1.0]))]);
    assert!(matches!(loaded.update(&other, &gradient), Err(Error::Shape { .. })));
    // An absurd index in a damaged file allocates nothing.
    let mut absurd = state.clone();
    absurd.insert(format!("first.{}", usize::MAX), tensor(&[1.0]));
    Adam::new(0.1).unwrap().load_state(&absurd).unwrap();
}

#[test]
fn settings_outside_their_range_are_errors() {
    let range = |result: Option<Error>| assert!(matches!(result, Some(Error::Range { .. })));
    for bad in [-1.0, f64::NAN, f64::INFINITY, -f64::INFINITY] {
        range(Sgd::new(bad, 0.0).err());
        range(Sgd::new(0.1, bad).err());
        range(Adam::new(bad).err());
        range(Adam::new(0.1).unwrap().betas(bad, 0.9).err());
        range(Adam::new(0.1).unwrap().betas(0.9, bad).err());
        range(Adam::new(0.1).unwrap().weight_decay(bad).err());
        range(Adam::new(0.1).unwrap().decoupled(bad).err());
        range(Sam::new(bad).err());
        range(Asam::new(bad).err());
        range(Asam::new(0.1).unwrap().eta(bad).err());
        // A schedule or a user may set any rate later: the step refuses it and moves nothing.
        for (name, mut rule) in rules() {
            let set = params([("a", tensor(&[1.0]))]);
            rule.set_learning_rate(bad);
            range(rule.update(&set, &Gradients(vec![Some(tensor(&[1.0]))])).err());
            assert_eq!(values(&set.get("a").unwrap().var.tensor()), [1.0], "{name}");
        }
    }
    range(Sgd::new(0.1, 1.0).err());
    range(Adam::new(0.1).unwrap().betas(1.0, 0.9).err());
}

#[test]
fn gradients_that_do_not_fit_are_errors_and_move_nothing() {
    for (name, mut rule) in rules() {
        let set = params([("a", tensor(&[1.0, 2.0])), ("b", tensor(&[3.0]))]);
        let fits = Some(tensor(&[1.0, 1.0]));
        for bad in [
            vec![fits.clone()],
            vec![fits.clone(), Some(tensor(&[1.0])), None],
            vec![fits.clone(), Some(tensor(&[1.0, 2.0]))],
            vec![fits.clone(), Some(tensor(&[1.0]).to_dtype(DType::F32).unwrap())],
        ] {
            assert!(rule.update(&set, &Gradients(bad)).is_err(), "{name}");
            assert_eq!(values(&set.get("a").unwrap().var.tensor()), [1.0, 2.0], "{name}");
        }
    }
    let set = params([("a", tensor(&[1.0]))]);
    assert!(set.restore(&[]).is_err());
    assert!(set.shift(&[None, None]).is_err());
    // An ascent that answers for too few parameters is caught too.
    struct Short;
    impl Ascent for Short {
        fn displacement(&self, _: &ParamSet, _: &Gradients) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![Some(tensor(&[1.0])); 2])
        }
    }
    let mut optimizer = SharpnessAware::new(Sgd::new(0.1, 0.0).unwrap(), Short);
    let mut objective =
        |_| Ok(Evaluation { loss: 0.0, gradients: Gradients(vec![Some(tensor(&[1.0]))]) });
    assert!(optimizer.step(&set, &mut objective).is_err());
    assert_eq!(values(&set.get("a").unwrap().var.tensor()), [1.0]);
}

#[test]
fn gradients_that_are_not_finite_are_named() {
    let set = params([("a", tensor(&[1.0])), ("b", tensor(&[1.0]))]);
    let g = |b: f64| Gradients(vec![Some(tensor(&[1.0])), Some(tensor(&[b]))]);
    assert_eq!(g(1.0).first_not_finite(&set).unwrap(), None);
    assert_eq!(g(f64::NAN).first_not_finite(&set).unwrap(), Some("b"));
    assert_eq!(g(f64::INFINITY).first_not_finite(&set).unwrap(), Some("b"));
}
