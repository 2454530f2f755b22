//! Every measure of a minimum whose Hessian is known.

use pnn_core::curvature::Surface;
use pnn_core::{Bounds, ParamSet, Parameter, Seed, Tensor, Var};
use pnn_eval::{Sharpness, SharpnessSettings};

/// `sum_i a_i x_i^2 / 2` at a point.
fn bowl(scales: &[f64], point: Vec<f64>) -> Surface<'static> {
    let count = scales.len();
    let x = Var::new(&Tensor::from_vec(point, count).unwrap());
    let halves = scales.iter().map(|scale| 0.5 * scale).collect::<Vec<_>>();
    let halves = Tensor::from_vec(halves, count).unwrap();
    let parameter = Parameter { name: "x".into(), var: x.clone(), bounds: Bounds::UNBOUNDED };
    let parameters = ParamSet::new([parameter]).unwrap();
    Surface::new(parameters, 1, move |_| (x.tensor().sqr()? * &halves)?.sum_all()).unwrap()
}

#[test]
fn measures_of_a_bowl_are_known() {
    let mut surface = bowl(&[2.0, 0.5, -1.0], vec![0.1, 4.0, 0.0]);
    let settings = SharpnessSettings { noise_pairs: 4000, ..SharpnessSettings::default() };
    let found = Sharpness::measure(&mut surface, &settings, &Seed::new(1)).unwrap();
    let [loss, largest, trace, norm, relative, ball, sized_ball, noise, sized] =
        found.values().map(|value| value.unwrap());
    assert!((loss - (0.01 + 4.0)).abs() < 1e-12, "{loss}");
    // In units of each parameter's size: 2 . 0.01, 0.5 . 16 and nothing.
    assert!((largest - 2.0).abs() < 1e-3 && (relative - 8.0).abs() < 1e-3, "{largest} {relative}");
    assert!((trace - 1.5).abs() < 1e-5, "{trace}");
    assert!((norm - 5.25f64.sqrt()).abs() < 1e-5, "{norm}");
    // At least what SAM's own point gives: 0.1 along the slope (0.2, 2, 0).
    let slope = 0.2f64.hypot(2.0);
    let (a, b) = (0.1 + 0.1 * 0.2 / slope, 4.0 + 0.1 * 2.0 / slope);
    let sam = a * a + 0.25 * b * b - loss;
    assert!(ball >= sam - 1e-12 && ball < 1.1 * sam, "{ball} {sam}");
    // Half of each parameter's size is at least half the way along the second: 0.25 (1.5 . 4)^2 - 4.
    assert!(sized_ball > 4.9, "{sized_ball}");
    // Half the trace times the variance, to four standard errors.
    let off = |got: f64, want: f64, error: f64| (got - want).abs() < 4.0 * error;
    assert!(off(noise, 0.5 * 1.5 * 1e-4, found.rise_under_noise.standard_error), "{noise}");
    let want = 0.5 * (0.02 + 8.0) * 0.05f64.powi(2);
    assert!(off(sized, want, found.rise_under_relative_noise.standard_error), "{sized}");
}

/// A weight scaled up and what follows it down is the same network: measures in units of each parameter's size must not see it, and those
/// in the units of the parameters must.
#[test]
fn relative_measures_do_not_change_with_the_scale_of_parameters() {
    let measured = |scale: f64| {
        // a_i (x_i / s)^2 at s x_i.
        let scales = [2.0, 0.5].map(|a| a / (scale * scale));
        let mut surface = bowl(&scales, vec![0.1 * scale, 4.0 * scale]);
        let settings = SharpnessSettings::default();
        Sharpness::measure(&mut surface, &settings, &Seed::new(1)).unwrap()
    };
    let (one, ten) = (measured(1.0), measured(10.0));
    let values = |found: &Sharpness| found.values().map(|value| value.unwrap());
    let (one, ten) = (values(&one), values(&ten));
    for (place, name) in Sharpness::NAMES.iter().enumerate() {
        let same = (one[place] / ten[place] - 1.0).abs() < 1e-4;
        let relative = name.contains("relative") || *name == "training loss";
        assert_eq!(same, relative, "{name}: {} and {}", one[place], ten[place]);
    }
}

/// The ball reaches where the loss is no number: that measure is missing, and nothing else.
#[test]
fn a_loss_that_is_no_number_in_the_ball_leaves_the_other_measures() {
    let x = Var::new(&Tensor::new([0.05]).unwrap());
    let parameter = Parameter { name: "x".into(), var: x.clone(), bounds: Bounds::UNBOUNDED };
    let parameters = ParamSet::new([parameter]).unwrap();
    let mut surface =
        Surface::new(parameters, 1, move |_| (x.tensor().log()? * -1.0)?.sum_all()).unwrap();
    let found =
        Sharpness::measure(&mut surface, &SharpnessSettings::default(), &Seed::new(1)).unwrap();
    for (name, value) in Sharpness::NAMES.iter().zip(found.values()) {
        assert_eq!(value.is_none(), *name == "rise in a ball", "{name}: {value:?}");
    }
}

/// More eigenvalues than products, and more digits asked for than there are.
#[test]
fn an_eigenvalue_that_does_not_converge_is_none_and_the_rest_is_there() {
    let scales: Vec<f64> = (0..400).map(|n| 1.0 + 1e-4 * f64::from(n)).collect();
    let mut surface = bowl(&scales, vec![1.0; 400]);
    let settings = SharpnessSettings { tolerance: 1e-300, ..SharpnessSettings::default() };
    let found = Sharpness::measure(&mut surface, &settings, &Seed::new(1)).unwrap();
    assert!(found.lambda_max.is_none() && found.relative_lambda_max.is_none());
    let missing = found.values().map(|value| value.is_none());
    assert_eq!(missing, [false, true, false, false, true, false, false, false, false]);
    let table = found.table("a bowl").unwrap().to_markdown();
    let line = table.lines().find(|line| line.contains("lambda")).unwrap();
    assert_eq!(line.matches('–').count(), 2, "{line}");
}
