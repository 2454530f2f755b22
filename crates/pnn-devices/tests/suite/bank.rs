//! Banks: the weights that settings and deviations give.

use crate::common;

use common::{
    FAR_REACHING, Fano, LINEAR, PARAMETRISATIONS, bank, conv, full, light, settings, values,
};
use pnn_core::layers::Product;
use pnn_core::ops;
use pnn_core::testing::{GradientCheck, check_close, check_gradients, check_same_bits, strategies};
use pnn_core::{Controls, DType, Deviations, Drive, PhysicalLayer, PortShape, Seed, Tensor};
use pnn_devices::mrr::{
    CURRENT_ERROR_MA, Heater, Lorentzian, MrrBank, MrrConv2d, MrrLinear, Parametrisation,
    READOUT_ERROR, RESONANCE_SHIFT_NM, TransferFunction, WEIGHT_ERROR,
};
use proptest::prelude::*;

fn initial(bank: &impl PhysicalLayer, seed: u64) -> Controls {
    bank.init(&Seed::new(seed), DType::F64).unwrap()
}

fn weights(bank: &impl PhysicalLayer, controls: &Controls, deviations: &Deviations) -> Tensor {
    bank.weights(controls, deviations).unwrap().unwrap()
}

/// A shift of either sign of every ring.
fn shift(dims: &[usize], seed: u64) -> Tensor {
    let normal = rand_distr::Normal::new(0.0, 0.1).unwrap();
    Seed::new(seed).child("shift").tensor(normal, dims, DType::F64).unwrap()
}

/// Roundings of the inverse, of the heater and of the weight: a detuning is off by a few eps of
/// itself or, from a current, of the 9.5 nm that its terms reach; `|dw/dx| <= 9/nm`.
const ROUNDING: f64 = 4.0 * 9.5 * 9.0 * f64::EPSILON;

#[test]
fn init_is_the_usual_one_whatever_is_set() {
    for product in [LINEAR, conv(1, 0), Product::Linear { inputs: 400, outputs: 120 }] {
        let limit = 1.0 / (product.fan_in() as f64).sqrt();
        let digital = initial(&bank(product, Parametrisation::Weight), 7);
        let want = digital.get("weight").unwrap();
        for parametrisation in FAR_REACHING {
            let bank = bank(product, parametrisation);
            let got = weights(&bank, &initial(&bank, 7), &Deviations::none());
            assert!(
                values(&got).iter().all(|w| w.abs() <= limit + ROUNDING),
                "{parametrisation:?}"
            );
            check_close(&got, want, 0.0, ROUNDING).unwrap();
            let other = weights(&bank, &initial(&bank, 8), &Deviations::none());
            assert_ne!(values(&got), values(&other));
        }
        // The uniform distribution has the standard deviation limit / sqrt 3.
        let all = values(want);
        let mean_square = all.iter().map(|w| w * w).sum::<f64>() / all.len() as f64;
        let spread = limit * limit * (4.0 / 45.0 / all.len() as f64).sqrt();
        assert!((mean_square - limit * limit / 3.0).abs() < 5.0 * spread, "{product:?}");
    }
}

/// A heater that reaches only weights up to 0.28 gives the nearest ones that it can.
#[test]
fn init_stays_within_reach() {
    let product = Product::Linear { inputs: 2, outputs: 50 };
    let want = values(initial(&bank(product, Parametrisation::Weight), 7).get("weight").unwrap());
    let short = bank(product, PARAMETRISATIONS[4]);
    let controls = initial(&short, 7);
    assert!(values(controls.get("current").unwrap()).iter().all(|i| (0.0..=2.0).contains(i)));
    let most = Lorentzian::default().weight(0.53 * 0.375);
    for (got, want) in values(&weights(&short, &controls, &Deviations::none())).iter().zip(want) {
        assert!((got - want.min(most)).abs() <= ROUNDING, "{got} for {want}");
    }
}

#[test]
fn a_weight_bank_shifts_as_the_detunings_that_program_it() {
    for product in [LINEAR, conv(2, 1)] {
        let (by_weight, by_detuning) =
            (bank(product, Parametrisation::Weight), bank(product, Parametrisation::Detuning));
        let controls = initial(&by_weight, 1);
        let programmed: Vec<f64> = values(controls.get("weight").unwrap())
            .into_iter()
            .map(|w| Lorentzian::default().detuning(w))
            .collect();
        let shape = product.weight_shape();
        let detunings = Tensor::from_vec(programmed, shape.as_slice()).unwrap();
        check_same_bits(&by_weight.detunings(&controls).unwrap(), &detunings).unwrap();
        let inverse = settings("detuning", detunings);
        let deviations = Deviations::none()
            .with(RESONANCE_SHIFT_NM, shift(&shape, 2))
            .with(WEIGHT_ERROR, full(0.01, &[]))
            .with(READOUT_ERROR, full(0.3, &[1]));
        let x = light(product);
        let got = by_weight.forward(&x, &controls, &deviations).unwrap();
        let want = by_detuning.forward(&x, &inverse, &deviations).unwrap();
        check_same_bits(&got, &want).unwrap();
        // Sensitivity and converter are those of the detunings, too.
        let slopes = |bank: &MrrBank, c: &Controls| bank.sensitivity(c).unwrap().unwrap();
        check_same_bits(&slopes(&by_weight, &controls), &slopes(&by_detuning, &inverse)).unwrap();
    }
}

/// The equation of the bank, written out.
#[test]
fn deviations_enter_where_the_equation_says() {
    let current = Parametrisation::Current(Heater::PUBLISHED);
    let bank = bank(LINEAR, current);
    let controls = initial(&bank, 1);
    let shape = LINEAR.weight_shape();
    let (shift, error) = (shift(&shape, 2), shift(&shape, 3));
    let (weight_error, readout) = (self::shift(&shape, 4), self::shift(&[4, 3], 5));
    let deviations = Deviations::none()
        .with(RESONANCE_SHIFT_NM, shift.clone())
        .with(CURRENT_ERROR_MA, error.clone())
        .with(WEIGHT_ERROR, weight_error.clone())
        .with(READOUT_ERROR, readout.clone());
    let terms = values(controls.get("current").unwrap()).into_iter().zip(values(&error));
    let detunings = terms.map(|(i, e)| 0.53 * 0.375 * (16.0 - (i + e).powi(2)));
    let shifted = detunings.zip(values(&shift)).map(|(x, s)| x + s);
    let line = |(x, e): (f64, f64)| 1.0 - 2.0 / (1.0 + (x / 0.15).powi(2)) + e;
    let want: Vec<f64> = shifted.zip(values(&weight_error)).map(line).collect();
    let want = Tensor::from_vec(want, shape.as_slice()).unwrap();
    check_close(&weights(&bank, &controls, &deviations), &want, 0.0, ROUNDING).unwrap();
    let x = light(LINEAR);
    let want = (ops::linear(&x, &want).unwrap() + readout).unwrap();
    check_close(&bank.forward(&x, &controls, &deviations).unwrap(), &want, 0.0, 6.0 * ROUNDING)
        .unwrap();
}

#[test]
fn drift_is_one_number_or_a_full_tensor_of_it() {
    for product in [LINEAR, conv(1, 2)] {
        for parametrisation in PARAMETRISATIONS {
            let bank = bank(product, parametrisation);
            let controls = initial(&bank, 1);
            let run = |shift: Tensor| {
                let deviations = Deviations::none().with(RESONANCE_SHIFT_NM, shift);
                bank.forward(&light(product), &controls, &deviations).unwrap()
            };
            let want = run(full(-0.08, &product.weight_shape()));
            check_same_bits(&run(full(-0.08, &[])), &want).unwrap();
            check_same_bits(&run(full(-0.08, &[1, 1])), &want).unwrap();
        }
    }
}

#[test]
fn no_deviation_changes_no_bit() {
    for (product, dtype) in [(LINEAR, DType::F32), (conv(2, 1), DType::F64)] {
        for parametrisation in PARAMETRISATIONS {
            let bank = bank(product, parametrisation);
            let controls = bank.init(&Seed::new(1), dtype).unwrap();
            let x = light(product).to_dtype(dtype).unwrap();
            let ideal = bank.forward(&x, &controls, &Deviations::none()).unwrap();
            for port in bank.ports() {
                let whole = port.shape.dims();
                for zero in [full(0.0, whole), full(-0.0, whole), full(0.0, &[])] {
                    let deviations = Deviations::none().with(port.name, zero);
                    let y = bank.forward(&x, &controls, &deviations).unwrap();
                    check_same_bits(&y, &ideal).unwrap();
                    let programmed = weights(&bank, &controls, &deviations);
                    let want = weights(&bank, &controls, &Deviations::none());
                    check_same_bits(&programmed, &want).unwrap();
                }
            }
        }
    }
}

#[test]
fn the_sensitivity_is_the_derivative_of_the_weights_and_has_gradients() {
    for parametrisation in FAR_REACHING {
        for seed in 0..3 {
            let bank = MrrBank::new(LINEAR, Fano::RING, parametrisation).unwrap();
            let controls = initial(&bank, seed);
            let (name, value) = controls.iter().next().unwrap();
            // Steps grow with the magnitude, and currents are of up to 8 mA at 1.6 nm/mA.
            let step = f64::EPSILON.cbrt() / 8.0;
            let check = GradientCheck { step, ..GradientCheck::default() };
            let sensitivity = |t: &[Tensor]| {
                Ok(bank.sensitivity(&settings(name, t[0].clone()))?.expect("a bank has one"))
            };
            check_gradients(std::slice::from_ref(value), sensitivity, &check).unwrap();
            // Central differences with a step of 1e-5 nm: |w'''| h^2 / 6 < 48 / 0.12^3 * 2e-11.
            let at = |shift: f64| {
                let deviations = Deviations::none().with(RESONANCE_SHIFT_NM, full(shift, &[]));
                weights(&bank, &controls, &deviations)
            };
            let difference = ((at(1e-5) - at(-1e-5)).unwrap() / 2e-5).unwrap();
            check_close(&sensitivity(std::slice::from_ref(value)).unwrap(), &difference, 0.0, 5e-7)
                .unwrap();
        }
    }
}

#[test]
fn the_constructors_are_one_bank() {
    let x = light(LINEAR);
    let (short, long) = (MrrLinear::new(5, 3), bank(LINEAR, Parametrisation::Detuning));
    let y = |bank: &MrrBank, x: &Tensor| {
        bank.forward(x, &initial(bank, 1), &Deviations::none()).unwrap()
    };
    check_same_bits(&y(&short, &x), &y(&long, &x)).unwrap();
    let with = MrrLinear::with(5, 3, Lorentzian::default(), Parametrisation::Detuning).unwrap();
    check_same_bits(&y(&with, &x), &y(&long, &x)).unwrap();
    let Product::Conv2d { geometry, .. } = conv(2, 1) else { unreachable!() };
    let (short, long) =
        (MrrConv2d::new(2, 2, 3, geometry), bank(conv(2, 1), Parametrisation::Detuning));
    let x = light(conv(2, 1));
    check_same_bits(&y(&short, &x), &y(&long, &x)).unwrap();
    let with =
        MrrConv2d::with((2, 2, 3), geometry, Lorentzian::default(), Parametrisation::Detuning)
            .unwrap();
    check_same_bits(&y(&with, &x), &y(&long, &x)).unwrap();
    assert_eq!(with.transfer(), &Lorentzian::default());
}

#[test]
fn controls_and_ports_have_units_shapes_and_bounds() {
    for product in [LINEAR, conv(1, 0)] {
        for parametrisation in PARAMETRISATIONS {
            let bank = bank(product, parametrisation);
            let [control] = bank.controls() else { panic!("one control") };
            let (name, unit, low, high) = match parametrisation {
                Parametrisation::Detuning => ("detuning", "nm", -4.0, 4.0),
                Parametrisation::Weight => ("weight", "1", -0.999, 0.999),
                Parametrisation::Current(heater) => ("current", "mA", 0.0, heater.max_milliamp()),
            };
            assert_eq!((control.name, control.unit), (name, unit));
            assert_eq!((control.bounds.low, control.bounds.high), (low, high));
            assert_eq!(control.shape, product.weight_shape());
            let whole = PortShape::Fixed(product.weight_shape());
            let output = match product {
                Product::Linear { outputs, .. } => PortShape::Output(vec![outputs]),
                Product::Conv2d { outputs, .. } => PortShape::Output(vec![outputs, 1, 1]),
            };
            let mut want = vec![
                (RESONANCE_SHIFT_NM, "nm", whole.clone()),
                (WEIGHT_ERROR, "1", whole.clone()),
                (READOUT_ERROR, "1", output),
            ];
            if name == "current" {
                want.push((CURRENT_ERROR_MA, "mA", whole));
            }
            let got: Vec<_> =
                bank.ports().iter().map(|p| (p.name, p.unit, p.shape.clone())).collect();
            assert_eq!(got, want);
        }
    }
}

/// A deviation of the drive's port is an error of the drive's setting: with minus the setting plus
/// another one it is the device that has been programmed to the other.
#[test]
fn the_drive_is_the_setting_that_its_port_adds_to() {
    for parametrisation in PARAMETRISATIONS {
        let bank = bank(LINEAR, parametrisation);
        let (here, there) = (initial(&bank, 1), initial(&bank, 2));
        let drive = |controls: &Controls| -> Drive { bank.drives(controls).unwrap().remove(0) };
        let (from, to) = (drive(&here), drive(&there));
        assert!(
            values(&from.setting).iter().all(|v| from.range.contains(*v)),
            "{parametrisation:?}"
        );
        let move_there = Deviations::none().with(from.port, (to.setting - from.setting).unwrap());
        let want = weights(&bank, &there, &Deviations::none());
        check_close(&weights(&bank, &here, &move_there), &want, 0.0, ROUNDING).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Balanced detection of passive rings: no output exceeds the light that enters, whatever the
    /// settings and the shift of the resonances.
    #[test]
    fn no_bank_amplifies(
        which in 0..PARAMETRISATIONS.len(),
        at in strategies::tensor(&[3, 5], 0.0..1.0, DType::F64),
        shift in strategies::tensor(&[3, 5], -1.0..1.0, DType::F64),
        x in strategies::tensor(&[2, 5], 0.0..10.0, DType::F64),
    ) {
        let parametrisation = PARAMETRISATIONS[which];
        for bank in [
            bank(LINEAR, parametrisation),
            MrrBank::new(LINEAR, Lorentzian::new(0.3).unwrap(), parametrisation).unwrap(),
        ] {
            let control = &bank.controls()[0];
            let (low, high) = (control.bounds.low, control.bounds.high);
            let setting = ((at.clone() * (high - low)).unwrap() + low).unwrap();
            let deviations = Deviations::none().with(RESONANCE_SHIFT_NM, shift.clone());
            let y = bank.forward(&x, &settings(control.name, setting), &deviations).unwrap();
            for (y, x) in y.to_vec2::<f64>().unwrap().iter().zip(x.to_vec2::<f64>().unwrap()) {
                let light: f64 = x.iter().sum();
                prop_assert!(y.iter().all(|y| y.abs() <= light * (1.0 + 1e-14)));
            }
        }
    }
}
