//! Rounding of settings by a converter.

use crate::common;

use common::{RESONANCE, at, bank, one, place, values};
use pnn_core::device::Levels;
use pnn_core::{Bounds, Chip, DType, Physical, Seed, Tensor};
use pnn_devices::diffraction::Diffractive;
use pnn_devices::freespace::Multiplier;
use pnn_devices::mrr::{CURRENT_ERROR_MA, Heater, Parametrisation};
use pnn_noise::Source;
use proptest::prelude::*;

const PARAMETRISATIONS: [Parametrisation; 4] = [
    Parametrisation::Detuning,
    Parametrisation::Weight,
    Parametrisation::Current(Heater::Convention),
    Parametrisation::Current(Heater::PUBLISHED),
];

/// A range and the step of a converter over it.
fn converter() -> impl Strategy<Value = (Bounds, u32, f64)> {
    (-50.0..50.0f64, 0.01..100.0f64, 1..=24u32).prop_map(|(low, width, bits)| {
        let range = Bounds::new(low, low + width).unwrap();
        (range, bits, (range.high - range.low) / (f64::from(bits).exp2() - 1.0))
    })
}

/// Roundings of a level: a few of the ends' magnitude.
const ROUNDING: f64 = 200.0 * 4.0 * f64::EPSILON;

proptest! {
    #[test]
    fn the_error_is_at_most_half_a_step((range, bits, step) in converter(), at in 0.0..=1.0f64) {
        let value = range.low + at * (range.high - range.low);
        let level = Levels::Even.round(value, range, bits);
        prop_assert!((level - value).abs() <= 0.5 * step + ROUNDING);
        prop_assert!(range.contains(level));
    }

    #[test]
    fn a_level_is_its_own((range, bits, _) in converter(), at in -1.0..=2.0f64) {
        let level = Levels::Even.round(range.low + at * (range.high - range.low), range, bits);
        prop_assert_eq!(Levels::Even.round(level, range, bits), level);
    }

    #[test]
    fn values_beyond_the_range_saturate((range, bits, _) in converter(), by in 0.0..1e6f64) {
        prop_assert_eq!(Levels::Even.round(range.low - by, range, bits), range.low);
        prop_assert_eq!(Levels::Even.round(range.high + by, range, bits), range.high);
    }

    #[test]
    fn larger_values_have_no_lower_level(
        (range, bits, _) in converter(), a in -0.5..1.5f64, b in -0.5..1.5f64,
    ) {
        let level = |at: f64| Levels::Even.round(range.low + at * (range.high - range.low), range, bits);
        prop_assert!(level(a.min(b)) <= level(a.max(b)));
    }
}

#[test]
fn a_converter_has_two_to_the_bits_levels() {
    let range = Bounds::new(-4.0, 4.0).unwrap();
    for bits in 1..=8u32 {
        let mut levels: Vec<f64> = (0..=10_000)
            .map(|i| Levels::Even.round(-4.0 + 8e-4 * f64::from(i), range, bits))
            .collect();
        levels.dedup();
        assert_eq!(levels.len(), 1 << bits);
        assert_eq!((levels[0], levels[levels.len() - 1]), (-4.0, 4.0));
    }
}

#[test]
fn what_cannot_be_quantised_is_nan() {
    let range = Bounds::new(-1.0, 1.0).unwrap();
    assert!(Levels::Even.round(f64::NAN, range, 8).is_nan());
    assert!(Levels::Even.round(0.5, range, 0).is_nan());
    for half in
        [Bounds { high: f64::INFINITY, ..range }, Bounds { low: f64::NEG_INFINITY, ..range }]
    {
        assert!(Levels::Even.round(0.5, half, 8).is_nan(), "{half:?}");
    }
}

fn chip(layer: &Physical, bits: u32) -> Chip {
    one(Source::Quantisation { bits }).draw(&[layer], 1, &Seed::new(1)).unwrap()
}

/// The layer programmed to the levels of the converter.
fn programmed(layer: &Physical, bits: u32) -> Tensor {
    let drive = layer.device().drives(&layer.controls()).unwrap().remove(0);
    let setting =
        values(&drive.setting).into_iter().map(|v| drive.levels.round(v, drive.range, bits));
    Tensor::from_vec(setting.collect(), drive.setting.shape()).unwrap()
}

fn weights(layer: &Physical, chip: &Chip) -> Vec<f64> {
    let deviations = chip.layer(layer.name()).cloned().unwrap_or_default();
    values(&layer.device().weights(&layer.controls(), &deviations).unwrap().unwrap())
}

/// Sets the only control of a layer.
fn set(layer: &Physical, value: &Tensor) {
    layer.parameters().next().unwrap().var.set(value).unwrap();
}

#[test]
fn a_quantised_bank_has_the_weights_of_the_levels() {
    for parametrisation in PARAMETRISATIONS {
        for bits in [1, 4, 10] {
            let layer = bank(parametrisation);
            let port = match parametrisation {
                Parametrisation::Current(_) => CURRENT_ERROR_MA,
                _ => RESONANCE,
            };
            let chip = chip(&layer, bits);
            let drive = layer.device().drives(&layer.controls()).unwrap().remove(0);
            let step = (drive.range.high - drive.range.low) / (f64::from(bits).exp2() - 1.0);
            let errors = values(at(&chip, "bank", port));
            assert!(
                errors.iter().all(|e| e.abs() <= 0.5 * step * (1.0 + 1e-12)),
                "{parametrisation:?}"
            );
            assert!(errors.iter().any(|e| e.abs() > 0.05 * step), "{parametrisation:?}");
            // A weight bank is programmed by detunings.
            let levels = programmed(&layer, bits);
            let direct = match parametrisation {
                Parametrisation::Weight => bank(Parametrisation::Detuning),
                other => bank(other),
            };
            set(&direct, &levels);
            // Two roundings of settings of up to 8 mA or 4 nm, times at most 9/nm and 3.2 nm/mA.
            let allowed = 2.0 * 8.0 * f64::EPSILON * 9.0 * 3.2;
            for (got, want) in
                weights(&layer, &chip).into_iter().zip(weights(&direct, &Chip::ideal()))
            {
                assert!((got - want).abs() <= allowed, "{parametrisation:?}: {got} and {want}");
            }
        }
    }
}

#[test]
fn levels_have_no_error() {
    for parametrisation in PARAMETRISATIONS {
        let layer = bank(parametrisation);
        let levels = match parametrisation {
            // The weights of detunings at the levels, which are inverted again with a few roundings.
            Parametrisation::Weight => {
                let direct = bank(Parametrisation::Detuning);
                set(&direct, &programmed(&layer, 10));
                let weights = weights(&direct, &Chip::ideal());
                let range = 0.999;
                let weights = weights.into_iter().map(|w| w.clamp(-range, range)).collect();
                Tensor::from_vec(weights, (3, 5)).unwrap()
            }
            _ => programmed(&layer, 10),
        };
        set(&layer, &levels);
        let chip = chip(&layer, 10);
        let port = chip.layer("bank").unwrap().iter().next().unwrap().0.to_owned();
        let allowed = if parametrisation == Parametrisation::Weight { 1e-12 } else { 0.0 };
        let errors = values(at(&chip, "bank", &port));
        assert!(errors.iter().all(|e| e.abs() <= allowed), "{parametrisation:?}: {errors:?}");
    }
}

#[test]
fn settings_beyond_the_converter_saturate() {
    // 0.999 lies 6.7 nm from resonance; the converter ends at 4 nm.
    let layer = bank(Parametrisation::Weight);
    set(&layer, &Tensor::full(0.999, (3, 5)).unwrap());
    let want = 1.0 - 2.0 / (1.0 + (4.0f64 / 0.15).powi(2));
    for weight in weights(&layer, &chip(&layer, 8)) {
        assert!((weight - want).abs() < 1e-12, "{weight}");
    }
}

/// In f32 a level is known to a rounding.
#[test]
fn f32_settings_are_quantised_as_they_are() {
    let device = bank(Parametrisation::Detuning).device().clone();
    let layer = Physical::new("bank", device, None, &Seed::new(1), DType::F32).unwrap();
    let chip = chip(&layer, 6);
    let setting = values(layer.controls().get("detuning").unwrap());
    let step = 8.0 / 63.0;
    for (v, e) in setting.iter().zip(values(at(&chip, "bank", RESONANCE))) {
        let level = (v + e + 4.0) / step;
        assert!((level - level.round()).abs() < 1e-12, "{level}");
    }
}

/// A modulator of one bit shows no turn and half a one, of two bits every quarter; a whole turn is none.
#[test]
fn a_phase_has_no_level_twice() {
    let optics = place("optics", Diffractive::published().unwrap());
    let turns = values(optics.controls().get("phase").unwrap());
    let chip =
        |bits| one(Source::Quantisation { bits }).draw(&[&optics], 1, &Seed::new(1)).unwrap();
    for bits in [1, 2, 8] {
        let levels = f64::from(bits).exp2();
        let errors = values(at(&chip(bits), "optics", "phase_error_turn"));
        let mut seen = std::collections::BTreeSet::new();
        for (turn, error) in turns.iter().zip(&errors) {
            assert!(error.abs() <= 0.5 / levels + 1e-12, "{error}");
            let level = (turn + error) * levels;
            assert!((level - level.round()).abs() < 1e-9, "{level}");
            seen.insert(level.round().rem_euclid(levels) as u32);
        }
        assert_eq!(seen.len(), 1 << bits);
    }
    let turn = Bounds::new(-1.0, 1.0).unwrap();
    assert_eq!(Levels::Periodic.round(-0.2, turn, 1), 0.0);
    assert_eq!(Levels::Periodic.round(0.6, turn, 1), 1.0);
    assert!(Levels::Periodic.round(f64::NAN, turn, 1).is_nan());
}

/// Weights of a multiplier have all levels of the modulator on either side, and 0 among them.
#[test]
fn weights_on_a_modulator_are_rounded_as_magnitudes() {
    let panel = place("panel", Multiplier::new((4, 4), 3).unwrap());
    let weights = values(panel.controls().get("weight").unwrap());
    let chip = one(Source::Quantisation { bits: 2 }).draw(&[&panel], 1, &Seed::new(1)).unwrap();
    let errors = values(at(&chip, "panel", "weight_error"));
    assert_eq!(errors.len(), weights.len());
    for (weight, error) in weights.iter().zip(&errors) {
        let level = (weight + error) * 3.0;
        assert!(
            (level - level.round()).abs() < 1e-12 && error.abs() <= 1.0 / 6.0 + 1e-12,
            "{level}"
        );
    }
}
