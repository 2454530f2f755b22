//! Sources have the statistics that they say.

use crate::common;

use common::{RESONANCE, at, linear, mesh, one, stack, values};
use pnn_core::{Physical, Seed};
use pnn_noise::{Beyond, Noise, NoiseModel, Source};

/// Standard errors that a statistic of a fixed seed may be off: one in two million.
const SIGMAS: f64 = 5.0;

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (of_a, of_b) = (mean(a), mean(b));
    mean(&a.iter().zip(b).map(|(a, b)| (a - of_a) * (b - of_b)).collect::<Vec<_>>())
}

/// The mean of n draws of N(0, s^2) has the standard error s/sqrt(n), their variance s^2 sqrt(2/n),
/// their fourth moment s^4 sqrt(96/n).
fn is_normal(draws: &[f64], std: f64) {
    let n = draws.len() as f64;
    let moment =
        |power: i32| mean(&draws.iter().map(|v| (v / std).powi(power)).collect::<Vec<_>>());
    for (power, want, spread) in [(1, 0.0, 1.0f64), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let got = moment(power);
        let allowed = SIGMAS * (spread / n).sqrt();
        assert!(
            (got - want).abs() <= allowed,
            "moment {power} is {got}, expected {want} +- {allowed}"
        );
    }
    // Neighbours do not know each other.
    let (a, b) = (&draws[1..], &draws[..draws.len() - 1]);
    assert!(covariance(a, b).abs() <= SIGMAS * std * std / (n - 1.0).sqrt());
}

#[test]
fn fabrication_weights_and_readout_are_normal() {
    let layer = linear("fc1", 100, 100);
    let seed = Seed::new(1);
    let fabrication = one(Source::Fabrication { std_nm: 0.02 }).draw(&[&layer], 1, &seed).unwrap();
    is_normal(&values(at(&fabrication, "fc1", RESONANCE)), 0.02);
    let weight = one(Source::Weight { std: 0.3 }).draw(&[&layer], 1, &seed).unwrap();
    is_normal(&values(at(&weight, "fc1", "weight_error")), 0.3);
    let readout = one(Source::Readout { std: 2.0 }).draw(&[&layer], 100, &seed).unwrap();
    is_normal(&values(at(&readout, "fc1", "readout_error")), 2.0);
}

/// A mesh of 120 ports has 7,140 interferometers.
#[test]
fn phases_and_splitters_are_normal_and_each_has_its_own() {
    let (layer, seed) = (mesh(120), Seed::new(1));
    let phases = one(Source::Phase { std_rad: 0.15 }).draw(&[&layer], 1, &seed).unwrap();
    let splitter = Source::Splitter { std: 0.15, limit: 0.99, beyond: Beyond::Redraw };
    let splitters = one(splitter).draw(&[&layer], 1, &seed).unwrap();
    let ports = [
        (&phases, "theta_error_rad"),
        (&phases, "phi_error_rad"),
        (&splitters, "left_splitter_error"),
        (&splitters, "right_splitter_error"),
    ];
    let draws = ports.map(|(chip, port)| values(at(chip, "mesh", port)));
    for (number, of_port) in draws.iter().enumerate() {
        assert_eq!(of_port.len(), 7140);
        is_normal(of_port, 0.15);
        for other in &draws[..number] {
            let allowed = SIGMAS * 0.15 * 0.15 / (of_port.len() as f64).sqrt();
            assert!(covariance(of_port, other).abs() <= allowed, "{number}");
        }
    }
}

#[test]
fn splitters_beyond_their_limit_are_drawn_again_or_clamped() {
    let layer = mesh(120);
    let draw = |beyond| {
        let chip = one(Source::Splitter { std: 0.4, limit: 0.4, beyond });
        let chip = chip.draw(&[&layer], 1, &Seed::new(1)).unwrap();
        values(at(&chip, "mesh", "left_splitter_error"))
    };
    let again = draw(Beyond::Redraw);
    let n = again.len() as f64;
    assert!(
        again.iter().all(|e| e.abs() <= 0.4) && again.iter().filter(|e| e.abs() == 0.4).count() < 2
    );
    // N(0, 1) within +-1: variance 1 - 2 phi(1) / (2 Phi(1) - 1) = 0.29113, that of the square 0.07975.
    let squares: Vec<f64> = again.iter().map(|e| (e / 0.4).powi(2)).collect();
    assert!(
        (mean(&squares) - 0.291_13).abs() <= SIGMAS * (0.079_75 / n).sqrt(),
        "{}",
        mean(&squares)
    );
    let clamped = draw(Beyond::Clamp);
    let share = clamped.iter().filter(|e| e.abs() == 0.4).count() as f64 / n;
    // Beyond one standard deviation: 0.31731.
    assert!((share - 0.317_31).abs() <= SIGMAS * (0.317_31f64 * 0.682_69 / n).sqrt(), "{share}");
    assert!(clamped.iter().all(|e| e.abs() <= 0.4));
}

#[test]
fn readout_noise_has_a_value_for_each_output_of_each_shot() {
    let [conv, fc] = stack();
    let chip = one(Source::Readout { std: 0.1 }).draw(&[&conv, &fc], 7, &Seed::new(1)).unwrap();
    assert_eq!(at(&chip, "fc1", "readout_error").dims(), [7, 10]);
    assert_eq!(at(&chip, "conv1", "readout_error").dims(), [7, 4, 1, 1]);
    // More shots go on where fewer stopped.
    let fewer = one(Source::Readout { std: 0.1 }).draw(&[&fc], 3, &Seed::new(1)).unwrap();
    let all = values(at(&chip, "fc1", "readout_error"));
    assert_eq!(values(at(&fewer, "fc1", "readout_error")), all[..30]);
}

#[test]
fn random_drift_is_uniform_and_one_temperature_of_the_chip() {
    let layers = [linear("fc1", 2, 2), linear("fc2", 3, 2)];
    let layers: Vec<&Physical> = layers.iter().collect();
    let drift = |nm_per_kelvin| Source::RandomDrift { max_kelvin: 2.0, nm_per_kelvin };
    // The second source tells that fc2 moves further at the same temperature.
    let further = Noise { source: drift(0.04), layers: Some(vec!["fc2".into()]) };
    let model =
        NoiseModel::new(vec![Noise { source: drift(0.08), layers: None }, further]).unwrap();
    let kelvin: Vec<f64> = (0..4000)
        .map(|i| {
            let chip = model.draw(&layers, 1, &Seed::new(1).index(i)).unwrap();
            let (one, two) = (at(&chip, "fc1", RESONANCE), at(&chip, "fc2", RESONANCE));
            assert_eq!((one.rank(), two.rank()), (0, 0), "one number for all rings");
            let (one, two) = (values(one)[0] / 0.08, values(two)[0] / 0.12);
            assert!((one - two).abs() <= 1e-14, "{one} K and {two} K");
            one
        })
        .collect();
    assert!(kelvin.iter().all(|k| k.abs() <= 2.0));
    let n = kelvin.len() as f64;
    // U(-m, m): variance m^2/3, that of the square 4 m^4/45.
    assert!(mean(&kelvin).abs() <= SIGMAS * 2.0 / (3.0 * n).sqrt());
    let squares: Vec<f64> = kelvin.iter().map(|k| k * k).collect();
    assert!((mean(&squares) - 4.0 / 3.0).abs() <= SIGMAS * 4.0 * (4.0 / 45.0 / n).sqrt());
    // The largest of n has a chance of less than 1e-6 to be below m (1 - 14/n).
    let largest = kelvin.iter().fold(0.0, |m: f64, k| m.max(k.abs()));
    assert!(largest >= 2.0 * (1.0 - 14.0 / n), "{largest}");
}

#[test]
fn sources_of_one_kind_are_independent() {
    let layer = linear("fc1", 100, 100);
    let noise = |std_nm, layers: Option<&str>| Noise {
        source: Source::Fabrication { std_nm },
        layers: layers.map(|name| vec![name.to_owned()]),
    };
    let draw = |noise: Vec<Noise>| {
        let chip = NoiseModel::new(noise).unwrap().draw(&[&layer], 1, &Seed::new(1)).unwrap();
        values(at(&chip, "fc1", RESONANCE))
    };
    let first = draw(vec![noise(0.03, None)]);
    let both = draw(vec![noise(0.03, None), noise(0.04, Some("fc1"))]);
    // Variances add: 3, 4, 5.
    is_normal(&both, 0.05);
    let second: Vec<f64> = both.iter().zip(&first).map(|(both, first)| both - first).collect();
    is_normal(&second, 0.04);
    let allowed = SIGMAS * 0.03 * 0.04 / (first.len() as f64).sqrt();
    assert!(covariance(&first, &second).abs() <= allowed);
}

#[test]
fn drift_is_what_it_says() {
    let layer = linear("fc1", 2, 2);
    for kelvin in [-2.0, 0.0, 0.5] {
        let chip = one(Source::Drift { kelvin, nm_per_kelvin: 0.08 });
        let chip = chip.draw(&[&layer], 1, &Seed::new(1)).unwrap();
        assert_eq!(values(at(&chip, "fc1", RESONANCE)), [kelvin * 0.08]);
    }
}
