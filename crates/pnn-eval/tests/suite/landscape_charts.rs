//! Charts of landscapes and spectra, drawn from good and from impossible data. With `PNN_EVAL_CHARTS` set to a folder,
//! they are written there to be looked at.
#![cfg(feature = "plots")]

use pnn_eval::landscape::positions;
use pnn_eval::plot::{Axis, Relief, SpectralDensity, contour, spectrum, surface};
use pnn_eval::{Error, Svg};
use proptest::prelude::*;

fn relief(title: &str, size: usize, value: Axis, f: impl Fn(f64, f64) -> f64) -> Relief {
    let at = positions(-1.0, 1.0, size);
    let rows = at.iter().map(|y| at.iter().map(|x| f(*x, *y)).collect()).collect();
    Relief::new(title, (at.clone(), at), rows, value)
}

fn loss() -> Axis {
    Axis::linear("cross-entropy loss").unit("nats")
}

/// A narrow curved valley in a wide bowl.
fn valley(x: f64, y: f64) -> f64 {
    let bent = y - 0.6 * x * x + 0.1;
    0.02 + 8.0 * bent * bent + 1.2 * (x - 0.15).powi(2) + 0.4 * (x * y).abs()
}

/// Two minima with a barrier, and a wild far corner.
fn wild(x: f64, y: f64) -> f64 {
    if x + y > 1.25 || (x < -0.8 && y > 0.85) {
        return f64::NAN;
    }
    2.3 - 1.9 * (-6.0 * ((x + 0.5).powi(2) + (y + 0.2).powi(2))).exp()
        - 1.6 * (-9.0 * ((x - 0.45).powi(2) + (y - 0.1).powi(2))).exp()
        + 0.3 * (4.0 * x).sin() * (3.0 * y).cos()
}

fn log_loss() -> Axis {
    Axis::logarithmic("cross-entropy loss").unit("nats")
}

fn curve(name: &str, scale: f64, outliers: &[f64]) -> SpectralDensity {
    let density = |x: f64| {
        let bell = |at: f64, width: f64, weight: f64| {
            weight * (-0.5 * ((x - at) / width).powi(2)).exp() / width
        };
        let bulk = bell(0.02 * scale, 0.04 * scale, 0.6) + bell(0.3 * scale, 0.3 * scale, 0.01);
        bulk + outliers.iter().map(|at| bell(*at, 0.08, 2e-5)).sum::<f64>()
    };
    let xs = positions(-1.5, 14.0, 600);
    SpectralDensity::new(name, xs.into_iter().map(|x| (x, density(x))))
        .eigenvalues(outliers.to_vec())
}

fn all_charts() -> Vec<(&'static str, Svg)> {
    let named = |relief: Relief| {
        relief.axes("first eigenvector (λ = 12.4)", "second eigenvector (λ = 3.1)")
    };
    let bowl = named(relief("Loss around the solution of SAT", 41, log_loss(), valley));
    let bowl = bowl.mark("trained", 0.0, 0.0).mark("after recalibration", 0.3, -0.4);
    let wild_relief = relief("Loss around the solution of BP", 31, loss(), wild);
    let wild_relief =
        wild_relief.axes("random direction 1, normalised by filters", "random direction 2");
    let steep =
        relief("Cut off", 25, loss(), |x, y| (3.0 * x * x + 3.0 * y * y).exp()).ceiling(40.0);
    let (xs, ys) = (positions(0.0, 50.0, 9), positions(-1e-3, 1e-3, 6));
    let rows = ys.iter().map(|y| xs.iter().map(|x| 1e3 * y * x).collect()).collect();
    let coarse = Relief::new("", (xs, ys), rows, Axis::linear("loss")).levels([-25.0, 0.0, 25.0]);
    let curves = [curve("BP", 4.0, &[7.5, 9.1, 12.8]), curve("SAT", 1.0, &[2.1, 2.9, 3.3])];
    let labels = ("eigenvalue of the Hessian (nats)", "spectral density (1/nats)");
    let spectrum =
        spectrum("Spectrum of the Hessian after training", labels, &curves, 1e-7).unwrap();
    vec![
        ("contour-valley", contour(&bowl).unwrap()),
        ("surface-valley", surface(&bowl).unwrap()),
        ("contour-wild", contour(&wild_relief).unwrap()),
        ("surface-wild", surface(&wild_relief).unwrap()),
        ("contour-steep", contour(&steep).unwrap()),
        ("surface-steep", surface(&steep).unwrap()),
        ("contour-coarse", contour(&coarse).unwrap()),
        ("surface-coarse", surface(&coarse).unwrap()),
        ("spectrum", spectrum),
    ]
}

#[test]
fn charts_are_labelled_short_and_have_no_ids() {
    for (name, svg) in all_charts() {
        let text = svg.as_str();
        assert!(text.contains("role=\"img\" aria-label=\""), "{name}");
        assert!(!text.contains(" id=\"") && !text.contains("NaN"), "{name}");
        assert!(text.len() < 250_000, "{name}: {} bytes", text.len());
    }
    assert_eq!(all_charts(), all_charts());
    if let Some(folder) = std::env::var_os("PNN_EVAL_CHARTS") {
        for (name, svg) in all_charts() {
            svg.write(std::path::Path::new(&folder).join(format!("{name}.svg"))).unwrap();
        }
    }
}

#[test]
fn what_is_missing_or_cut_off_is_said() {
    let charts = all_charts();
    let text = |name: &str| charts.iter().find(|(n, _)| *n == name).unwrap().1.as_str().to_owned();
    for kind in ["contour", "surface"] {
        assert!(text(&format!("{kind}-wild")).contains("not finite: "));
        assert!(!text(&format!("{kind}-valley")).contains("not finite"));
        assert!(text(&format!("{kind}-steep")).contains("cut off at 40"));
        assert!(text(&format!("{kind}-valley")).contains("after recalibration"));
    }
}

#[test]
fn impossible_reliefs_are_refused() {
    let both = |relief: &Relief| [contour(relief).unwrap_err(), surface(relief).unwrap_err()];
    let of = |xs: &[f64], ys: &[f64], rows: &[&[f64]]| {
        let rows = rows.iter().map(|row| row.to_vec()).collect();
        Relief::new("t", (xs.to_vec(), ys.to_vec()), rows, loss())
    };
    let (two, square): (_, [&[f64]; 2]) = ([0.0, 1.0], [&[1.0, 2.0], &[3.0, 4.0]]);
    assert!(contour(&of(&two, &two, &square)).is_ok());
    for error in both(&of(&[], &two, &[&[], &[]])) {
        assert!(matches!(error, Error::TooFew { got: 0, needed: 2, .. }), "{error}");
    }
    for error in both(&of(&two, &two, &square[..1])) {
        assert!(matches!(error, Error::Length { got: 1, expected: 2, .. }), "{error}");
    }
    for error in both(&of(&two, &two, &[&[1.0, 2.0], &[3.0]])) {
        assert!(error.to_string().contains("a row of the relief"), "{error}");
    }
    for error in both(&of(&two, &two, &[&[f64::NAN; 2], &[f64::INFINITY; 2]])) {
        assert!(matches!(error, Error::EmptyChart { .. }), "{error}");
    }
    for wrong in [[1.0, 0.0], [0.0, 0.0], [0.0, f64::NAN], [0.0, f64::INFINITY]] {
        for error in both(&of(&wrong, &two, &square)) {
            assert!(matches!(error, Error::ChartValue { .. }), "{error}");
        }
    }
    let good = of(&two, &two, &square);
    let outside = both(&good.clone().mark("m", 0.5, 1.5))[0].to_string();
    assert!(outside.contains("the y of the mark \"m\" is 1.5, allowed is inside"), "{outside}");
    assert!(both(&good.clone().levels([f64::NAN]))[0].to_string().contains("a level"));
    assert!(both(&good.ceiling(f64::NAN))[0].to_string().contains("the ceiling"));
    let negative = relief("t", 3, log_loss(), |x, _| x);
    assert!(both(&negative)[0].to_string().contains("positive"));
    assert!(contour(&relief("flat", 3, loss(), |_, _| 1.0)).is_ok());
    assert!(surface(&relief("flat", 3, loss(), |_, _| 1.0)).is_ok());
}

#[test]
fn impossible_spectra_are_refused() {
    let draw = |curves: &[SpectralDensity], floor| spectrum("t", ("x", "y"), curves, floor);
    let points = |points: &[(f64, f64)]| [SpectralDensity::new("a", points.to_vec())];
    let good = points(&[(0.0, 1.0), (1.0, 0.0), (2.0, f64::NAN)]);
    assert!(draw(&good, 1e-3).is_ok());
    assert!(matches!(draw(&[], 1e-3), Err(Error::EmptyChart { .. })));
    assert!(matches!(draw(&points(&[]), 1e-3), Err(Error::EmptyChart { .. })));
    assert!(matches!(draw(&points(&[(0.0, 1e-4)]), 1e-3), Err(Error::EmptyChart { .. })));
    for floor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(draw(&good, floor), Err(Error::ChartValue { .. })));
    }
    for wrong in
        [[(0.0, 1.0), (0.0, 1.0)], [(0.0, 1.0), (1.0, -1.0)], [(0.0, 1.0), (f64::NAN, 1.0)]]
    {
        assert!(matches!(draw(&points(&wrong), 1e-3), Err(Error::ChartValue { .. })), "{wrong:?}");
    }
    let marked = [SpectralDensity::new("a", [(0.0, 1.0)]).eigenvalues([f64::INFINITY])];
    assert!(matches!(draw(&marked, 1e-3), Err(Error::ChartValue { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_data_and_no_text_break_a_relief(
        values in proptest::collection::vec(any::<f64>(), 6), text in any::<String>(),
    ) {
        let rows = values.chunks(3).map(<[f64]>::to_vec).collect();
        let at = (vec![-1.0, 0.0, 1e200], vec![1e-9, 2e-9]);
        let relief = Relief::new(&text, at, rows, Axis::linear(&text)).axes(&text, &text).mark(&text, 0.0, 1e-9);
        for svg in [contour(&relief), surface(&relief)].into_iter().flatten() {
            prop_assert!(!svg.as_str().contains("=\"NaN"));
        }
    }
}
