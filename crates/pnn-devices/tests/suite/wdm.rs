//! Banks of physical rings on shared waveguides: light followed ring by ring, heat from ring to ring, and the way from wanted weights
//! to settings and back.

use pnn_core::layers::Product;
use pnn_core::ops::ConvGeometry;
use pnn_core::testing::conformance;
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mrr::wdm::{
    Setting, THERMAL_CROSSTALK, ThermalCrosstalk, WIDTH_ERROR, WdmBank, WdmConfig,
};
use pnn_devices::mrr::{
    Detection, MrrLinear, Parametrisation, RESONANCE_SHIFT_NM, RingGeometry, RingWeight,
    TransferFunction,
};
use proptest::prelude::*;
use rand_distr::{StandardUniform, Uniform};

const SETTINGS: [Setting; 3] = [Setting::Current, Setting::Voltage, Setting::Power];
const DETECTIONS: [Detection; 3] = [Detection::Balanced, Detection::Through, Detection::Drop];

fn linear(inputs: usize, outputs: usize) -> Product {
    Product::Linear { inputs, outputs }
}

fn bank(product: Product, config: WdmConfig, nearest: f64, decay: f64) -> WdmBank {
    let crosstalk = ThermalCrosstalk::by_distance(config.channels, nearest, decay).unwrap();
    WdmBank::new(product, config, crosstalk).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

/// Settings within the bounds, drawn.
fn drawn(bank: &WdmBank, seed: u64) -> Controls {
    let control = &bank.controls()[0];
    let range = Uniform::new_inclusive(control.bounds.low, control.bounds.high).unwrap();
    let setting = Seed::new(seed).tensor(range, &control.shape, DType::F64).unwrap();
    Controls::one(control.name, setting)
}

/// The weights of light followed from ring to ring, for detunings of a waveguide.
fn followed(bank: &WdmBank, detunings: &[f64]) -> Vec<f64> {
    let (ring, config) = (bank.ring(), bank.config());
    let of = |j: usize| {
        let (mut passing, mut dropped) = (1.0, 0.0);
        for (i, x) in detunings.iter().enumerate() {
            let phase = ring.phase(x + (j as f64 - i as f64) * config.spacing_nm);
            dropped += passing * ring.drop(phase);
            passing *= ring.through(phase);
        }
        match config.detection {
            Detection::Balanced => passing - dropped,
            Detection::Through => passing,
            Detection::Drop => dropped,
        }
    };
    (0..detunings.len()).map(of).collect()
}

#[test]
fn banks_conform() {
    let conv = |kernel| Product::Conv2d {
        channels: 3,
        outputs: 2,
        kernel,
        geometry: ConvGeometry { stride: 1, padding: 1 },
    };
    // Whole waveguides, shorter last ones, and fewer inputs than wavelengths.
    for (number, product) in
        [linear(8, 3), linear(6, 3), linear(3, 2), conv(2), conv(1)].into_iter().enumerate()
    {
        for (setting, detection) in SETTINGS.into_iter().zip(DETECTIONS) {
            for nearest in [0.0, 0.02] {
                let config = WdmConfig { setting, detection, ..WdmConfig::default() };
                let bank = bank(product, config, nearest, 0.4);
                let seed = Seed::new(number as u64);
                let dims: &[usize] = match product {
                    Product::Linear { inputs, .. } => &[4, inputs],
                    Product::Conv2d { channels, .. } => &[4, channels, 5, 5],
                };
                let light = seed.tensor(StandardUniform, dims, DType::F64).unwrap();
                conformance(&bank, &light, &seed)
                    .unwrap_or_else(|e| panic!("{product:?} {setting:?} {detection:?}: {e}"));
            }
        }
    }
}

#[test]
fn light_meets_one_ring_after_the_other() {
    for detection in DETECTIONS {
        for inputs in [4, 8, 6, 1] {
            let config = WdmConfig { detection, ..WdmConfig::default() };
            let bank = bank(linear(inputs, 3), config, 0.03, 0.5);
            let (controls, ideal) = (drawn(&bank, 5), Deviations::none());
            let detunings = values(&bank.detunings(&controls, &ideal).unwrap());
            let got = values(&bank.weights(&controls, &ideal).unwrap().unwrap());
            for (x, got) in detunings.chunks(inputs).zip(got.chunks(inputs)) {
                for (x, got) in x.chunks(config.channels).zip(got.chunks(config.channels)) {
                    for (got, want) in got.iter().zip(followed(&bank, x)) {
                        assert!((got - want).abs() < 1e-12, "{got} for {want}");
                    }
                }
            }
        }
    }
}

/// A neighbour 0.8 nm away takes a few hundredths of a wavelength that is not its own.
#[test]
fn neighbours_take_light_that_is_not_theirs() {
    let product = linear(4, 1);
    let bank = bank(product, WdmConfig::default(), 0.0, 0.0);
    let shape = [1, 4];
    let wanted = Tensor::full(0.5, shape).unwrap();
    let alone = RingWeight::new(*bank.ring(), Detection::Balanced).unwrap();
    let single = MrrLinear::with(4, 1, alone, Parametrisation::Weight).unwrap();
    let ideal = Deviations::none();
    let detunings = single.detunings(&Controls::one("weight", wanted.clone())).unwrap();
    // The same detunings on one waveguide.
    let heat = detunings.affine(-1.0, 0.53e-3 * 375.0 * 16.0).unwrap();
    let current = (heat * (1.0 / (0.53e-3 * 375.0))).unwrap().sqrt().unwrap();
    let together = bank.weights(&Controls::one("current", current), &ideal).unwrap().unwrap();
    for weight in values(&together) {
        assert!((0.3..0.49).contains(&weight), "{weight}");
    }
}

#[test]
fn a_single_wavelength_is_a_bank_of_single_rings() {
    for detection in DETECTIONS {
        let config = WdmConfig { channels: 1, detection, ..WdmConfig::default() };
        let bank = WdmBank::new(linear(5, 2), config, ThermalCrosstalk::none(1)).unwrap();
        let (controls, ideal) = (drawn(&bank, 2), Deviations::none());
        let ring = RingWeight::new(*bank.ring(), detection).unwrap();
        let single = MrrLinear::with(5, 2, ring, Parametrisation::Detuning).unwrap();
        let detunings = bank.detunings(&controls, &ideal).unwrap();
        let want = single.weights(&Controls::one("detuning", detunings), &ideal).unwrap().unwrap();
        let got = bank.weights(&controls, &ideal).unwrap().unwrap();
        for (got, want) in values(&got).into_iter().zip(values(&want)) {
            assert!((got - want).abs() < 1e-12);
        }
    }
}

/// What the model knows and what a chip has beyond it are one matrix, whoever says it.
#[test]
fn heat_reaches_neighbours_as_the_matrix_says() {
    let config = WdmConfig::default();
    let ideal = Deviations::none();
    let known = bank(linear(8, 2), config, 0.02, 0.0);
    let apart = bank(linear(8, 2), config, 0.0, 0.0);
    let controls = drawn(&known, 9);
    let chip = Deviations::none().with(THERMAL_CROSSTALK, Tensor::new(0.02).unwrap());
    let detunings = |bank: &WdmBank, deviations: &Deviations| {
        values(&bank.detunings(&controls, deviations).unwrap())
    };
    let (with, without) = (detunings(&known, &ideal), detunings(&apart, &ideal));
    let heats = values(&known.milliwatts(&controls).unwrap());
    for (row, (with, without)) in with.chunks(4).zip(without.chunks(4)).enumerate() {
        let heat = |i: usize| 0.53 * heats[row * 4 + i];
        let of = [heat(1), heat(0) + heat(2), heat(1) + heat(3), heat(2)];
        for i in 0..4 {
            assert!((without[i] - with[i] - 0.02 * of[i]).abs() < 1e-12);
        }
    }
    for (a, b) in with.iter().zip(detunings(&apart, &chip)) {
        assert!((a - b).abs() < 1e-12);
    }
    #[rustfmt::skip]
    let matrix = [
        1.0, 0.02, 0.0, 0.0,
        0.02, 1.0, 0.02, 0.0,
        0.0, 0.02, 1.0, 0.02,
        0.0, 0.0, 0.02, 1.0,
    ];
    let crosstalk = ThermalCrosstalk::from_matrix(4, &matrix).unwrap();
    let measured = WdmBank::new(linear(8, 2), config, crosstalk).unwrap();
    assert_eq!(detunings(&measured, &ideal), with);
    // From column to row: heater 1 warms ring 0, not the other way.
    let mut one_way = vec![0.0; 16];
    one_way[1] = 0.5;
    for ring in 0..4 {
        one_way[ring * 5] = 1.0;
    }
    let crosstalk = ThermalCrosstalk::from_matrix(4, &one_way).unwrap();
    let directed = WdmBank::new(linear(8, 2), config, crosstalk).unwrap();
    let moved = detunings(&directed, &ideal);
    assert!((without[0] - moved[0] - 0.5 * 0.53 * heats[1]).abs() < 1e-12);
    assert_eq!(without[1], moved[1]);
}

#[test]
fn currents_voltages_and_powers_are_one_heat() {
    let weights = SETTINGS.map(|setting| {
        let config = WdmConfig { setting, ..WdmConfig::default() };
        let bank = bank(linear(4, 2), config, 0.01, 0.3);
        let milliamp = [3.9, 4.0, 4.05, 3.85, 3.95, 4.1, 4.0, 3.9];
        let of = |i: &f64| match setting {
            Setting::Current => *i,
            Setting::Voltage => i * 0.375,
            Setting::Power => i * i * 0.375,
        };
        let settings = milliamp.iter().map(of).collect();
        let controls =
            Controls::one(bank.controls()[0].name, Tensor::from_vec(settings, [2, 4]).unwrap());
        values(&bank.weights(&controls, &Deviations::none()).unwrap().unwrap())
    });
    for other in &weights[1..] {
        for (a, b) in weights[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-11);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Weights that some detunings between 0 and 0.3 nm have are found again, under crosstalk that is known and on chips that depart
    /// from the model.
    #[test]
    fn wanted_weights_are_found(
        seed in 0..1000u64,
        inputs in 1..9usize,
        nearest in 0.0..0.03f64,
        known in any::<bool>(),
    ) {
        let bank = bank(linear(inputs, 3), WdmConfig::default(), nearest, 0.3);
        let seed = Seed::new(seed);
        let shape = [3, inputs];
        let far = Uniform::new(0.02, 0.3).unwrap();
        let x = values(&seed.child("x").tensor(far, &shape, DType::F64).unwrap());
        let rows = x.chunks(inputs).flat_map(|x| x.chunks(4).flat_map(|x| followed(&bank, x)));
        let wanted = Tensor::from_vec(rows.collect(), shape).unwrap();
        let spread = Uniform::new(-0.05, 0.05).unwrap();
        let mut chip = Deviations::none();
        if known {
            let shift = seed.child("shift").tensor(spread, &shape, DType::F64).unwrap();
            chip = chip.with(RESONANCE_SHIFT_NM, shift);
            chip = chip.with(THERMAL_CROSSTALK, Tensor::new(0.005).unwrap());
            let narrower = Uniform::new(-0.1, 0.0).unwrap();
            let width = seed.child("width").tensor(narrower, &shape, DType::F64).unwrap();
            chip = chip.with(WIDTH_ERROR, width);
        }
        let found = bank.calibrate(&wanted, &chip, 1e-10).unwrap();
        prop_assert_eq!(found.unreached, 0);
        prop_assert!(found.largest_error <= 1e-10 && found.steps < 20);
        let got = bank.weights(&found.controls, &chip).unwrap().unwrap();
        for (got, want) in values(&got).into_iter().zip(values(&wanted)) {
            prop_assert!((got - want).abs() <= 1e-10, "{} for {}", got, want);
        }
        let bounds = bank.controls()[0].bounds;
        let settings = found.controls.get("current").unwrap();
        prop_assert!(values(settings).into_iter().all(|current| bounds.contains(current)));
    }
}

/// One ring on one wavelength: its weight at so many half-widths is the same, however wide it is.
#[test]
fn a_wider_line_has_its_weights_farther_out() {
    let config = WdmConfig { channels: 1, ..WdmConfig::default() };
    let bank = bank(linear(6, 2), config, 0.0, 0.0);
    let controls = drawn(&bank, 3);
    let ideal = Deviations::none();
    let x = values(&bank.detunings(&controls, &ideal).unwrap());
    let single = RingWeight::new(*bank.ring(), config.detection).unwrap();
    let errors: Vec<f64> = (0..12).map(|n| 0.1 * f64::from(n) - 0.5).collect();
    let errors_of = Tensor::from_vec(errors.clone(), [2, 6]).unwrap();
    let wide = ideal.clone().with(WIDTH_ERROR, errors_of);
    let got = values(&bank.weights(&controls, &wide).unwrap().unwrap());
    for ((x, error), got) in x.into_iter().zip(errors).zip(got) {
        let want = single.weight(x / (1.0 + error));
        assert!((got - want).abs() < 1e-12, "{got} for {want}");
    }
    let gone = ideal.with(WIDTH_ERROR, Tensor::new(-1.0).unwrap());
    let error = bank.weights(&controls, &gone).unwrap_err().to_string();
    assert_eq!(error, "width_error is -1, allowed is (-1, infinity)");
}

/// Settings as training may leave them, on either side of their lasers, are found again for a chip that departs from the model.
#[test]
fn rings_are_set_anew_on_their_own_side() {
    let bank = bank(linear(10, 4), WdmConfig::default(), 0.02, 0.3);
    let shape = bank.controls()[0].shape.clone();
    let seed = Seed::new(8);
    // Heats of detunings from 0.04 to 0.3 nm on either side; on resonance itself a weight has no slope to follow.
    let config = *bank.config();
    let cold = config.nm_per_milliwatt * 1e-3 * config.resistance_ohm * 16.0;
    let x = seed.tensor(Uniform::new(-0.26, 0.26).unwrap(), &shape, DType::F64).unwrap();
    let current = |x: &f64| ((cold - x - 0.04 * x.signum()) / cold).sqrt() * 4.0;
    let currents = values(&x).iter().map(current).collect();
    let controls = Controls::one("current", Tensor::from_vec(currents, shape.clone()).unwrap());
    let small = Uniform::new(-0.03, 0.03).unwrap();
    let chip = Deviations::none()
        .with(RESONANCE_SHIFT_NM, seed.child("shift").tensor(small, &shape, DType::F64).unwrap())
        .with(WIDTH_ERROR, seed.child("width").tensor(small, &shape, DType::F64).unwrap());
    let of = |controls: &Controls, chip: &Deviations| {
        values(&bank.weights(controls, chip).unwrap().unwrap())
    };
    let wanted = of(&controls, &Deviations::none());
    let found = bank.recalibrate(&controls, &chip, 1e-6).unwrap();
    let off = |got: Vec<f64>| {
        got.iter().zip(&wanted).filter(|(got, want)| (*got - *want).abs() > 1e-6).count()
    };
    assert_eq!((found.waveguides, off(of(&controls, &chip))), (12, 40));
    assert_eq!((found.unreached, off(of(&found.controls, &chip))), (0, 0), "{found:?}");
    let wanted = Tensor::from_vec(wanted, shape).unwrap();
    let above = bank.calibrate(&wanted, &chip, 1e-6).unwrap();
    assert!(above.unreached > 0, "the test needs other weights");
}

/// A line wider by 0.3 has at 0.494 nm the weight that the model has at 0.38: farther than half way to the next laser, where this heater
/// can bring it.
#[test]
fn a_wide_line_may_go_farther_from_its_laser() {
    let bank = bank(linear(1, 1), WdmConfig { channels: 1, ..WdmConfig::default() }, 0.0, 0.0);
    let single = RingWeight::new(*bank.ring(), Detection::Balanced).unwrap();
    let wanted = Tensor::new([[single.weight(0.38f64)]]).unwrap();
    let chip = Deviations::none()
        .with(WIDTH_ERROR, Tensor::new(0.3).unwrap())
        .with(RESONANCE_SHIFT_NM, Tensor::new(0.15).unwrap());
    let found = bank.calibrate(&wanted, &chip, 1e-10).unwrap();
    assert_eq!(found.unreached, 0, "{found:?}");
    let x = values(&bank.detunings(&found.controls, &chip).unwrap());
    assert!((x[0] - 1.3 * 0.38).abs() < 1e-9, "{x:?}");
}

#[test]
fn what_is_out_of_reach_is_counted() {
    let bank = bank(linear(8, 1), WdmConfig::default(), 0.0, 0.0);
    let mut wanted = vec![0.2; 8];
    wanted[5] = 0.999;
    let wanted = Tensor::from_vec(wanted, [1, 8]).unwrap();
    let found = bank.calibrate(&wanted, &Deviations::none(), 1e-6).unwrap();
    assert_eq!(found.unreached, 1);
    let got = values(&bank.weights(&found.controls, &Deviations::none()).unwrap().unwrap());
    let error = got.iter().zip(values(&wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!((found.largest_error - error).abs() < 1e-12 && error > 1e-3);
    assert!(got[..4].iter().all(|w| (w - 0.2).abs() < 1e-6));
    let error = bank.calibrate(&Tensor::new(0.1).unwrap(), &Deviations::none(), 1e-6);
    assert!(error.unwrap_err().to_string().contains("wanted weights has shape []"));
    let endless = Tensor::full(f64::NAN, [1, 8]).unwrap();
    let error = bank.calibrate(&endless, &Deviations::none(), 1e-6).unwrap_err().to_string();
    assert_eq!(error, "wanted weight is NaN, allowed is finite");
    for port in [RESONANCE_SHIFT_NM, THERMAL_CROSSTALK, WIDTH_ERROR] {
        let broken = Deviations::none().with(port, Tensor::new(f64::NAN).unwrap());
        let error = bank.calibrate(&wanted, &broken, 1e-6).unwrap_err().to_string();
        assert!(error.contains("is NaN"), "{port}: {error}");
    }
}

#[test]
fn what_no_chip_has_is_refused_by_name() {
    let product = linear(4, 2);
    let error = |config: WdmConfig| {
        let crosstalk = ThermalCrosstalk::none(config.channels);
        WdmBank::new(product, config, crosstalk).unwrap_err().to_string()
    };
    let config = WdmConfig::default();
    assert!(error(WdmConfig { channels: 0, ..config }).contains("channels times spacing) is 0"));
    assert!(error(WdmConfig { channels: 6, ..config }).contains("is 4.8"));
    assert!(
        error(WdmConfig { spacing_nm: f64::NAN, ..config }).contains("wavelengths in nm is NaN")
    );
    assert!(
        error(WdmConfig { resistance_ohm: -1.0, ..config }).contains("resistance in ohm is -1")
    );
    let ring = RingGeometry { drop_coupling: 0.0, ..config.ring };
    assert!(error(WdmConfig { ring, ..config }).contains("coupling to the drop waveguide"));
    let crosstalk = ThermalCrosstalk::none(3);
    let other = WdmBank::new(product, config, crosstalk).unwrap_err().to_string();
    assert!(other.contains("rings of the thermal crosstalk is 3"), "{other}");
    let matrix = |m: &[f64]| ThermalCrosstalk::from_matrix(2, m).unwrap_err().to_string();
    assert!(matrix(&[1.0; 3]).contains("entries of a crosstalk matrix is 3"));
    assert!(matrix(&[0.9, 0.0, 0.0, 1.0]).contains("own heater, over itself is 0.9"));
    assert!(matrix(&[1.0, -0.1, 0.0, 1.0]).contains("another's heater is -0.1"));
    let by = |n, d| ThermalCrosstalk::by_distance(2, n, d).unwrap_err().to_string();
    assert!(by(1.0, 0.1).contains("nearest ring gets is 1"));
    assert!(by(0.1, f64::NAN).contains("decay of heat from ring to ring is NaN"));
    let unknown: Result<WdmConfig, _> = serde_json::from_str(r#"{"chanels": 4}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `chanels`"));
}

/// A warmer room moves a resonance as its heater does.
#[test]
fn warmth_of_a_room_is_as_that_of_a_heater() {
    let config = WdmConfig { setting: Setting::Power, ..WdmConfig::default() };
    let bank = bank(linear(6, 2), config, 0.0, 0.0);
    let controls = drawn(&bank, 4);
    let ideal = Deviations::none();
    let power = controls.get("power").unwrap();
    let hotter = (power + 0.08 / config.nm_per_milliwatt).unwrap();
    let heated = bank.weights(&Controls::one("power", hotter), &ideal).unwrap().unwrap();
    let warmer = ideal.with(RESONANCE_SHIFT_NM, Tensor::new(-0.08).unwrap());
    let warmed = bank.weights(&controls, &warmer).unwrap().unwrap();
    for (heated, warmed) in values(&heated).into_iter().zip(values(&warmed)) {
        assert!((heated - warmed).abs() < 1e-12, "{heated} and {warmed}");
    }
}

/// The last waveguide has two rings: the heat of those it lacks is not theirs.
#[test]
fn rings_start_where_their_weights_are_on_short_waveguides_too() {
    let of = |nearest: f64| {
        let bank = bank(linear(6, 3), WdmConfig::default(), nearest, 0.5);
        let controls = bank.init(&Seed::new(5), DType::F64).unwrap();
        values(&bank.detunings(&controls, &Deviations::none()).unwrap())
    };
    for (under, without) in of(0.05).into_iter().zip(of(0.0)) {
        assert!((under - without).abs() < 1e-9, "{under} and {without}");
    }
}

/// On resonance a weight has no slope: nothing starts there.
#[test]
fn no_ring_starts_without_a_slope() {
    for detection in [Detection::Balanced, Detection::Through, Detection::Drop] {
        let bank = bank(linear(8, 4), WdmConfig { detection, ..WdmConfig::default() }, 0.0, 0.0);
        let controls = bank.init(&Seed::new(6), DType::F64).unwrap();
        let x = values(&bank.detunings(&controls, &Deviations::none()).unwrap());
        let least = 0.5e-3 * bank.ring().full_width_nm();
        assert!(x.iter().all(|x| *x > least), "{detection:?}: {x:?}");
    }
}
