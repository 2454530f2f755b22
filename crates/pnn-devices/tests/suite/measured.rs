//! Measured rings: what a file may have, what fits find in curves that are known, and what lies between points.

use std::path::PathBuf;

use pnn_core::testing::conformance;
use pnn_core::{DType, PhysicalLayer, Seed};
use pnn_devices::mrr::measured::{
    Axis, Branch, Curve, MeasuredLine, ResonanceFit, Tuning, read_curves, spread,
};
use pnn_devices::mrr::{Heater, MrrLinear, Parametrisation, TransferFunction};
use proptest::prelude::*;
use rand_distr::{Distribution, StandardNormal, StandardUniform};

/// A file in a folder that goes when the test is over.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rings.csv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn curves_by_label_and_by_column() {
    let (_folder, path) =
        written("Current (mA),Weight,Label\n0,1,a\n0,0.9,b\n1.5, 0.5 ,a\n2,-1e-1,b\n");
    let curves = read_curves(&path).unwrap();
    assert_eq!(curves.len(), 2);
    assert_eq!((curves[0].label.as_str(), curves[0].axis), ("a", Axis::Milliamp));
    assert_eq!(curves[0].points, [(0.0, 1.0), (1.5, 0.5)]);
    assert_eq!(curves[1].points, [(0.0, 0.9), (2.0, -0.1)]);
    let (_folder, path) = written("Wavelength (nm),Start,End\n1537,0.9,0.8\n1537.5,0.1,0.2\n");
    let curves = read_curves(&path).unwrap();
    assert_eq!(curves[1].label, "End");
    assert_eq!((curves[1].axis, curves[1].axis.unit()), (Axis::Nanometre, "nm"));
    assert_eq!(curves[1].points, [(1537.0, 0.8), (1537.5, 0.2)]);
}

#[test]
fn what_a_file_lacks_is_named_with_line_and_column() {
    let error = |text: &str| {
        let (_folder, path) = written(text);
        let error = read_curves(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}, ", path.display())).unwrap().to_owned()
    };
    let says = |text: &str, want: &str| {
        let error = error(text);
        assert!(error.starts_with(want), "{error}");
    };
    says("", "line 1, column \"all\": \"\" is a line of heads with fewer than two");
    says("Current,Weight\n0,1\n", "line 1, column \"Current\": \"Current\" is no head with a unit");
    says("I (A),Weight\n0,1\n", "line 1, column \"I (A)\": \"I (A)\" is no head with a unit: (mA)");
    says("I (mA),Weight\n", "line 2, column \"I (mA)\": \"\" is missing");
    says("I (mA),w\n0,1\n1,x\n", "line 3, column \"w\": \"x\" is no finite number");
    says("I (mA),w\n0,1\n1,\n", "line 3, column \"w\": \"\" is no finite number");
    says("I (mA),w\nNaN,1\n", "line 2, column \"I (mA)\": \"NaN\" is no finite number");
    says("I (mA),a,a\n0,1,2\n", "line 1, column \"a\": \"a\" is the name of two columns");
    says(
        "I (mA),a,b\n0,1\n",
        "line 2, column \"all\": \"the line\" has 2 entries, the line of heads has 3",
    );
    says("I (mA),w\n0,1\n0,2\n", "line 3, column \"I (mA)\": \"0\" does not rise: 0 came before");
    says(
        "I (mA),w,Label\n1,1,a\n0,2,b\n0.5,1,a\n",
        "line 4, column \"I (mA)\": \"0.5\" does not rise",
    );
    says("I (mA),w,v,Label\n1,1,1,a\n", "line 1, column \"Label\"");
    says("I (mA),w\n0,1,2\n", "line 2, column \"all\"");
    let missing = read_curves(&PathBuf::from("no-such.csv")).unwrap_err().to_string();
    assert!(missing.contains("no-such.csv") && missing.contains("No such file"), "{missing}");
}

/// A line over currents, tuned by heat that bends, with normal noise.
fn heated(noise: f64, seed: u64) -> Curve {
    let mut rng = Seed::new(seed).rng();
    let points = (0..160).map(|k| {
        let i = 0.04 * f64::from(k);
        let q = i * i - 4.2 * 4.2;
        let u = q * (1.0 + 0.02 * q) / (0.5 * 2.0 * 4.2);
        let error: f64 = StandardNormal.sample(&mut rng);
        (i, 1.02 - 1.9 / (1.0 + u * u) + noise * error)
    });
    Curve { label: "ring".into(), axis: Axis::Milliamp, points: points.collect() }
}

#[test]
fn a_fit_finds_what_made_a_curve() {
    let fit = ResonanceFit::of(&heated(0.0, 0), Tuning::Joule).unwrap();
    let bend = fit.bend.unwrap();
    for (got, want) in [
        (fit.offset, 1.02),
        (fit.depth, 1.9),
        (fit.centre, 4.2),
        (fit.half_width, 0.5),
        (bend, 0.02),
    ] {
        assert!((got.value - want).abs() < 1e-6, "{got:?} for {want}");
    }
    assert!(fit.residual_rms < 1e-7);
    // The simpler line leaves what it cannot describe.
    let linear = ResonanceFit::of(&heated(0.0, 0), Tuning::Linear).unwrap();
    assert!(linear.residual_rms > 0.02 && linear.bend.is_none());
    // As steep at resonance as the half-width in nm says.
    let heater = fit.heater(375.0, 0.08).unwrap();
    let slope: f64 = (heater.detuning_nm(4.2 - 1e-5) - heater.detuning_nm(4.2 + 1e-5)) / 2e-5;
    assert!((slope - 0.16f64).abs() < 1e-6, "{slope}");
    assert!(heater.detuning_nm::<f64>(4.2).abs() < 1e-6);
}

/// Of 200 noisy curves the intervals at 95 % have the truth in all but about 10 (at most 22 with a probability of 0.9997).
#[test]
fn intervals_have_the_truth_as_often_as_they_say() {
    let mut missed = [0; 5];
    for seed in 0..200 {
        let fit = ResonanceFit::of(&heated(0.02, seed), Tuning::Joule).unwrap();
        let all = [fit.offset, fit.depth, fit.centre, fit.half_width, fit.bend.unwrap()];
        for (missed, (got, want)) in
            missed.iter_mut().zip(all.into_iter().zip([1.02, 1.9, 4.2, 0.5, 0.02]))
        {
            *missed += usize::from((got.value - want).abs() > got.margin);
        }
    }
    assert!(missed.iter().all(|missed| (1..=22).contains(missed)), "{missed:?}");
}

#[test]
fn rings_that_differ_are_a_distribution() {
    let at = |centre: f64, half_width: f64| {
        let point = |k: i32| {
            let i = 0.05 * f64::from(k);
            (i, 1.0 - 2.0 / (1.0 + ((i - centre) / half_width).powi(2)))
        };
        let points = (0..120).map(point).collect();
        let curve = Curve { label: "ring".into(), axis: Axis::Milliamp, points };
        ResonanceFit::of(&curve, Tuning::Linear).unwrap()
    };
    let rings = [at(4.0, 0.5), at(4.2, 0.6), at(3.8, 0.4)];
    let found = spread(&rings).unwrap();
    assert!((found.centre.0 - 4.0).abs() < 1e-6 && (found.centre.1 - 0.2).abs() < 1e-6);
    assert!((found.half_width.0 - 0.5).abs() < 1e-6 && (found.half_width.1 - 0.1).abs() < 1e-6);
    assert!((found.resonance_shift_nm(0.08) - 0.2 * 0.08 / 0.5).abs() < 1e-6);
    assert!(spread(&rings[..1]).unwrap_err().to_string().contains("is 1, allowed is [2"));
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let curve = |axis, count| Curve {
        label: "a".into(),
        axis,
        points: heated(0.0, 0).points[..count].to_vec(),
    };
    let error = ResonanceFit::of(&curve(Axis::Milliamp, 3), Tuning::Linear).unwrap_err();
    assert!(error.to_string().contains("number of points of a curve to be fitted is 3"));
    let error = ResonanceFit::of(&curve(Axis::Nanometre, 160), Tuning::Joule).unwrap_err();
    assert!(error.to_string().contains("with Tuning::Linear only"));
    assert!(ResonanceFit::of(&curve(Axis::Milliamp, 0), Tuning::Linear).is_err());
}

/// The Lorentzian sampled with some noise.
fn sampled(noise: f64) -> Vec<(f64, f64)> {
    let mut rng = Seed::new(4).rng();
    let point = |k: i32| {
        let x = 0.01 * f64::from(k);
        let error: f64 = StandardNormal.sample(&mut rng);
        (x, 1.0 - 2.0 / (1.0 + (x / 0.15).powi(2)) + noise * error)
    };
    (0..100).map(point).collect()
}

#[test]
fn an_interpolated_line_passes_its_points_and_is_near_between_them() {
    let line = MeasuredLine::new(&sampled(0.0)).unwrap();
    for (x, weight) in sampled(0.0) {
        assert!((line.weight(x) - weight).abs() < 1e-14);
    }
    for k in 0..990 {
        let x = 0.001 * f64::from(k);
        let (u, g) = (x / 0.15, 0.15);
        let want = 1.0 - 2.0 / (1.0 + u * u);
        assert!((line.weight(x) - want).abs() < 2e-3, "{x}");
        let slope = 4.0 * u / (g * (1.0 + u * u).powi(2));
        // Half of what the slope changes from point to point: 4 / g^2 times 0.01.
        assert!((line.slope(x) - slope).abs() < 0.9, "{x}: {} for {slope}", line.slope(x));
    }
    // Beyond the points nothing changes, and NaN stays.
    assert_eq!(line.weight(5.0), line.weight(0.99));
    assert_eq!(line.weight(-1.0), line.weight(0.0));
    assert_eq!((line.slope(5.0), line.curvature(-1.0)), (0.0, 0.0));
    assert!(line.weight(f64::NAN).is_nan() && line.detuning(0.99999f64).is_nan());
}

proptest! {
    /// Whatever the noise: rising, continuous in value and slope, and undone by its inverse.
    #[test]
    fn an_interpolated_line_is_monotone_and_smooth(noise in 0.0..0.3f64, at in 0.0..1.0f64, falling in any::<bool>()) {
        let mut points = sampled(noise);
        if falling {
            points.iter_mut().for_each(|point| point.1 = -point.1);
        }
        let line = MeasuredLine::new(&points).unwrap();
        let range = line.detuning_range().unwrap();
        let x = range.low + at * (range.high - range.low);
        let sign = if falling { -1.0 } else { 1.0 };
        prop_assert!(sign * line.slope(x) >= 0.0);
        prop_assert!((-1.0..=1.0).contains(&line.weight(x)));
        let h = 1e-7;
        if range.contains(x - h) && range.contains(x + h) {
            let slope = (line.weight(x + h) - line.weight(x - h)) / (2.0 * h);
            prop_assert!((slope - line.slope(x)).abs() <= 1e-4 * (1.0 + slope.abs()), "{} {}", slope, line.slope(x));
            prop_assert!((line.slope(x + h) - line.slope(x - h)).abs() <= 2.0 * h * 3e5);
        }
        let (low, high) = line.weight_range();
        let wanted = low + at * (high - low);
        let x = line.detuning(wanted);
        prop_assert!(range.contains(x) && (line.weight(x) - wanted).abs() < 1e-12);
    }
}

#[test]
fn banks_of_measured_rings_conform_and_stay_where_was_measured() {
    let curve = heated(0.01, 3);
    let fit = ResonanceFit::of(&curve, Tuning::Joule).unwrap();
    let heater = fit.heater(375.0, 0.15).unwrap();
    let line = MeasuredLine::of_tuning_curve(&curve, heater, Branch::Above).unwrap();
    assert!(line.weight_range().0 < -0.7 && line.weight_range().1 > 0.7);
    for parametrisation in
        [Parametrisation::Detuning, Parametrisation::Weight, Parametrisation::Current(heater)]
    {
        let bank = MrrLinear::with(5, 3, line.clone(), parametrisation).unwrap();
        let seed = Seed::new(1);
        let light = seed.tensor(StandardUniform, &[4, 5], DType::F64).unwrap();
        conformance(&bank, &light, &seed).unwrap_or_else(|e| panic!("{parametrisation:?}: {e}"));
        let bounds = bank.controls()[0].bounds;
        let range = line.detuning_range().unwrap();
        match parametrisation {
            Parametrisation::Detuning => assert_eq!(bounds, range),
            Parametrisation::Current(heater) => {
                let ends = [bounds.high, bounds.low].map(|i| heater.detuning_nm(i));
                assert!(
                    (ends[0] - range.low).abs() < 1e-12 && (ends[1] - range.high).abs() < 1e-12
                );
                assert!(bounds.high < 4.3, "{bounds:?}");
            }
            Parametrisation::Weight => {}
        }
    }
    let below = MeasuredLine::of_tuning_curve(&curve, heater, Branch::Below).unwrap();
    assert!(below.detuning_range().unwrap().high <= 0.0);
    let few = MeasuredLine::new(&[(0.0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.3, 0.1), (0.4, 0.2)]);
    assert!(few.unwrap_err().to_string().contains("levelled is 2, allowed is [4, infinity)"));
    let still = MeasuredLine::new(&[(0.0, 0.1), (0.0, 0.2)]);
    assert!(still.unwrap_err().to_string().contains("detuning in nm of a measured line is 0"));
    let raw = MeasuredLine::new(&[(0.0, 3.2), (0.1, 3.3), (0.2, 3.4), (0.3, 3.5)]).unwrap_err();
    assert!(raw.to_string().starts_with("weight of a measured line is 3.2, allowed is about"));
    let broken =
        Heater::Joule { resistance_ohm: 0.0, nm_per_milliwatt: 1.0, resonance_milliamp: 1.0 };
    assert!(MeasuredLine::of_tuning_curve(&curve, broken, Branch::Above).is_err());
}

#[test]
fn a_file_that_is_not_there_is_named_by_the_system() {
    let error = read_curves("no/such/rings.csv".as_ref()).unwrap_err().to_string();
    assert!(error.starts_with("no/such/rings.csv: No such file"), "{error}");
}

/// On resonance a fit is its offset less its depth, and half of that half a width beside it.
#[test]
fn a_fit_has_the_values_of_its_line() {
    let curve = heated(0.0, 0);
    for tuning in [Tuning::Linear, Tuning::Joule] {
        let fit = ResonanceFit::of(&curve, tuning).unwrap();
        let (low, depth) = (fit.offset.value - fit.depth.value, fit.depth.value);
        assert!((fit.at(fit.centre.value) - low).abs() < 1e-12);
        if tuning == Tuning::Linear {
            let beside = fit.at(fit.centre.value + fit.half_width.value);
            assert!((beside - (low + 0.5 * depth)).abs() < 1e-12, "{beside}");
        } else {
            let left = curve.points.iter().map(|(x, y)| (fit.at(*x) - y).powi(2)).sum::<f64>();
            let rms = (left / curve.points.len() as f64).sqrt();
            assert!((rms - fit.residual_rms).abs() < 1e-12, "{rms} {}", fit.residual_rms);
        }
    }
}
