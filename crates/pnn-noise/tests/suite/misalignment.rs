//! Panels that are turned, moved and stretched: known, drawn and drifting; and the shot noise of what they let through.

use crate::common;

use common::{linear, one, place};
use pnn_core::{Chip, Physical, Seed};
use pnn_devices::diffraction::Diffractive;
use pnn_devices::freespace::Multiplier;
use pnn_noise::{Motion, Noise, NoiseModel, Source, Spread};

fn panels() -> [Physical; 2] {
    ["fc1", "fc2"].map(|name| place(name, Multiplier::new((3, 3), 2).unwrap()))
}

fn source(motion: Motion, spread: Spread, common: bool) -> NoiseModel {
    one(Source::Misalignment { motion, spread, common })
}

fn values(chip: &Chip, layer: &str, motion: Motion) -> Vec<f64> {
    let deviation = chip.layer(layer).unwrap().get(motion.port()).unwrap();
    deviation.flatten_all().unwrap().to_vec1().unwrap()
}

/// One value of each of many chips, for each of the two panels.
fn draws(model: &NoiseModel, motion: Motion) -> Vec<[f64; 2]> {
    let panels = panels();
    let layers: Vec<&Physical> = panels.iter().collect();
    let of = |k| {
        let chip = model.draw(&layers, 1, &Seed::new(k)).unwrap();
        ["fc1", "fc2"].map(|layer| values(&chip, layer, motion)[0])
    };
    (0..4000).map(of).collect()
}

#[test]
fn every_motion_enters_its_port() {
    for motion in
        [Motion::RotationDeg, Motion::ShiftXPx, Motion::ShiftYPx, Motion::ScaleError, Motion::Shear]
    {
        let drawn = draws(&source(motion, Spread::Fixed(0.7), false), motion);
        assert!(drawn.iter().all(|pair| *pair == [0.7; 2]));
    }
}

/// The mean of U(-1, 3) is 1, its variance 16/12; that of 4000 draws of it is known to 6 in a hundred (four
/// standard deviations of sqrt(0.8/4000) each).
#[test]
fn draws_have_their_statistics_and_panels_their_own_or_one() {
    let cases = [
        (Spread::Uniform { low: -1.0, high: 3.0 }, 1.0, 16.0f64 / 12.0, 0.8),
        (Spread::Normal { std: 0.5 }, 0.0, 0.25, 2.0),
        (Spread::Drifting { std_per_sqrt_hour: 0.5, hours: 4.0 }, 0.0, 1.0, 2.0),
    ];
    for (spread, mean, variance, kurtosis) in cases {
        for common in [false, true] {
            let drawn = draws(&source(Motion::ShiftYPx, spread, common), Motion::ShiftYPx);
            let count = drawn.len() as f64;
            let average = |f: &dyn Fn(&[f64; 2]) -> f64| drawn.iter().map(f).sum::<f64>() / count;
            let found = average(&|pair| pair[0]);
            assert!((found - mean).abs() < 4.0 * (variance / count).sqrt(), "{spread:?}: {found}");
            let found = average(&|pair| (pair[0] - mean).powi(2));
            let allowed = 4.0 * variance * (kurtosis / count).sqrt();
            assert!((found - variance).abs() < allowed, "{spread:?}: {found}");
            let together = average(&|pair| (pair[0] - mean) * (pair[1] - mean)) / variance;
            if common {
                assert!(drawn.iter().all(|pair| pair[0] == pair[1]));
            } else {
                assert!(together.abs() < 4.0 / count.sqrt(), "{spread:?}: {together}");
            }
        }
    }
    let within = source(Motion::Shear, Spread::Uniform { low: -1.0, high: 3.0 }, false);
    let drawn = draws(&within, Motion::Shear);
    assert!(drawn.iter().flatten().all(|v| (-1.0..=3.0).contains(v)));
}

/// One seed is one walk, which goes on from where it was: what is added later knows nothing of what was before.
#[test]
fn a_drift_is_a_random_walk() {
    let panels = panels();
    let layers: Vec<&Physical> = panels.iter().collect();
    let after = |hours, seed| {
        let spread = Spread::Drifting { std_per_sqrt_hour: 0.5, hours };
        let chip = source(Motion::RotationDeg, spread, true).draw(&layers, 1, &Seed::new(seed));
        values(&chip.unwrap(), "fc1", Motion::RotationDeg)[0]
    };
    assert_eq!(after(0.0, 3), 0.0);
    assert!((after(1.0, 3) - after(1.0 + 1e-9, 3)).abs() < 1e-4);
    let pairs: Vec<(f64, f64)> =
        (0..2000).map(|seed| (after(1.0, seed), after(4.1, seed))).collect();
    let mean = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / 2000.0;
    // Variances of a quarter for each hour, to 3 %; steps after the first hour are others.
    assert!((mean(&|p| p.0 * p.0) - 0.25).abs() < 0.03);
    assert!((mean(&|p| p.1 * p.1) - 0.25 * 4.1).abs() < 0.12);
    assert!(mean(&|p| p.0 * (p.1 - p.0)).abs() < 0.04);
    // It turns back.
    assert!(pairs.iter().any(|p| p.0 > 0.3 && p.1 < -0.3));
}

/// Each mask of a diffractive network is a panel.
#[test]
fn masks_are_panels() {
    let optics = place("optics", Diffractive::published().unwrap());
    let drawn = |common| {
        let model = source(Motion::RotationDeg, Spread::Normal { std: 1.0 }, common);
        values(&model.draw(&[&optics], 1, &Seed::new(1)).unwrap(), "optics", Motion::RotationDeg)
    };
    let own = drawn(false);
    assert!(own.len() == 2 && own[0] != own[1]);
    assert_eq!(drawn(true).len(), 1);
}

/// Several motions together are those that each would be alone, whatever their order.
#[test]
fn motions_are_independent() {
    let panels = panels();
    let layers: Vec<&Physical> = panels.iter().collect();
    let noise = |motion| {
        let spread = Spread::Normal { std: 1.0 };
        Noise { source: Source::Misalignment { motion, spread, common: false }, layers: None }
    };
    let of = |noise: Vec<Noise>| {
        NoiseModel::new(noise).unwrap().draw(&layers, 1, &Seed::new(5)).unwrap()
    };
    let (turned, moved) = (noise(Motion::RotationDeg), noise(Motion::ShiftXPx));
    let alone = values(&of(vec![turned.clone()]), "fc2", Motion::RotationDeg);
    for both in [vec![turned.clone(), moved.clone()], vec![moved, turned]] {
        let chip = of(both);
        assert_eq!(values(&chip, "fc2", Motion::RotationDeg), alone);
        assert_ne!(values(&chip, "fc2", Motion::ShiftXPx), alone);
    }
}

#[test]
fn what_is_out_of_range_or_has_no_panels_is_named() {
    let error = |spread| {
        let source = Source::Misalignment { motion: Motion::Shear, spread, common: false };
        NoiseModel::all_layers(source).unwrap_err().to_string()
    };
    assert!(error(Spread::Fixed(f64::NAN)).contains("fixed misalignment is NaN"));
    let low = error(Spread::Uniform { low: 2.0, high: 1.0 });
    assert_eq!(low, "misalignment low is 2, allowed is at most misalignment high");
    assert!(error(Spread::Normal { std: -1.0 }).contains("misalignment std is -1"));
    let hours = Spread::Drifting { std_per_sqrt_hour: 1.0, hours: f64::INFINITY };
    assert!(error(hours).contains("misalignment hours is inf"));
    let rings = linear("fc1", 3, 2);
    let model = source(Motion::RotationDeg, Spread::Fixed(1.0), false);
    let error = model.draw(&[&rings], 1, &Seed::new(1)).unwrap_err().to_string();
    let want =
        "layer \"fc1\" has no port \"rotation_deg\", which misalignment rotation noise acts on";
    assert_eq!(error, want);
}

/// A number for each output of each shot, whose spread is that of as many photons.
#[test]
fn shot_noise_is_that_of_its_photons() {
    let panels = panels();
    let model = one(Source::Shot { photons: 400.0 });
    let chip = model.draw(&[&panels[0]], 3000, &Seed::new(1)).unwrap();
    let noise = chip.layer("fc1").unwrap().get("shot_noise").unwrap();
    assert_eq!(noise.dims(), [3000, 2]);
    let noise: Vec<f64> = noise.flatten_all().unwrap().to_vec1().unwrap();
    let variance = noise.iter().map(|s| s * s).sum::<f64>() / 6000.0;
    // Known to 4 sqrt(2 / 6000) of it.
    assert!((variance * 400.0 - 1.0).abs() < 0.073, "{variance}");
    for photons in [0.0, -1.0, f64::NAN] {
        let error = NoiseModel::all_layers(Source::Shot { photons }).unwrap_err().to_string();
        assert!(error.contains("shot photons is") && error.contains("(0, infinity)"), "{error}");
    }
}
