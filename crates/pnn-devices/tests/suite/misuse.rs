//! What a user gets wrong is an error that names it.

use crate::common;

use common::{LINEAR, PARAMETRISATIONS, bank, conv, full, light, settings};
use pnn_core::layers::Product;
use pnn_core::ops::ConvGeometry;
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed};
use pnn_devices::mrr::{
    CURRENT_ERROR_MA, Heater, Lorentzian, MrrConv2d, MrrLinear, Parametrisation, RESONANCE_SHIFT_NM,
};

/// The messages of every call that takes controls.
fn refusals(device: &impl PhysicalLayer, product: Product, controls: &Controls) -> Vec<String> {
    let ideal = Deviations::none();
    vec![
        device.forward(&light(product), controls, &ideal).unwrap_err().to_string(),
        device.weights(controls, &ideal).unwrap_err().to_string(),
        device.sensitivity(controls).unwrap_err().to_string(),
        device.drives(controls).unwrap_err().to_string(),
    ]
}

#[test]
fn missing_and_misshapen_controls_are_named() {
    for product in [LINEAR, conv(1, 0)] {
        for parametrisation in PARAMETRISATIONS {
            let bank = bank(product, parametrisation);
            let name = bank.controls()[0].name;
            for message in refusals(&bank, product, &Controls::default()) {
                assert_eq!(message, format!("no control named {name:?}; there is none"));
            }
            let mut shape = product.weight_shape();
            shape[0] += 1;
            let wrong = settings(name, full(0.1, &shape));
            for message in refusals(&bank, product, &wrong) {
                let want = product.weight_shape();
                assert_eq!(message, format!("{name} has shape {shape:?}, but {want:?} is needed"));
            }
        }
    }
}

#[test]
fn unknown_ports_and_misshapen_deviations_are_named() {
    for parametrisation in PARAMETRISATIONS {
        let bank = bank(LINEAR, parametrisation);
        let controls = bank.init(&Seed::new(1), DType::F64).unwrap();
        let refuse = |port: &str, dims: &[usize]| {
            let deviations = Deviations::none().with(port, full(0.1, dims));
            let error =
                bank.forward(&light(LINEAR), &controls, &deviations).unwrap_err().to_string();
            assert_eq!(bank.weights(&controls, &deviations).unwrap_err().to_string(), error);
            error
        };
        let error = refuse("phase_error", &[]);
        assert!(error.starts_with("no deviation port named \"phase_error\""), "{error}");
        assert!(error.contains(RESONANCE_SHIFT_NM), "{error}");
        if !matches!(parametrisation, Parametrisation::Current(_)) {
            let error = refuse(CURRENT_ERROR_MA, &[]);
            assert!(error.contains(CURRENT_ERROR_MA), "{error}");
        }
        let error = refuse(RESONANCE_SHIFT_NM, &[5, 3]);
        assert!(error.contains("resonance_shift_nm has shape [5, 3]"), "{error}");
    }
}

#[test]
fn light_that_does_not_fit_is_an_error() {
    let linear = MrrLinear::new(5, 3);
    let controls = linear.init(&Seed::new(1), DType::F64).unwrap();
    for dims in [vec![4, 6], vec![5], vec![2, 5, 1], vec![]] {
        assert!(
            linear.forward(&full(0.5, &dims), &controls, &Deviations::none()).is_err(),
            "{dims:?}"
        );
    }
    // No step at all, and a kernel larger than the image.
    for (kernel, stride) in [(3, 0), (9, 1)] {
        let conv = MrrConv2d::new(2, 2, kernel, ConvGeometry { stride, padding: 0 });
        let controls = conv.init(&Seed::new(1), DType::F64).unwrap();
        assert!(conv.forward(&full(0.5, &[2, 2, 5, 4]), &controls, &Deviations::none()).is_err());
    }
}

#[test]
fn impossible_heaters_are_errors() {
    let heater = |resistance_ohm, nm_per_milliwatt, resonance_milliamp| {
        let heater = Heater::Joule { resistance_ohm, nm_per_milliwatt, resonance_milliamp };
        let current = Parametrisation::Current(heater);
        let ring = Lorentzian::default();
        let linear = MrrLinear::with(2, 2, ring, current).unwrap_err().to_string();
        let conv = MrrConv2d::with((1, 1, 3), ConvGeometry::default(), ring, current);
        assert_eq!(conv.unwrap_err().to_string(), linear);
        linear
    };
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let is = format!("is {wrong}, allowed is (0, infinity)");
        assert_eq!(heater(wrong, 0.53, 4.0), format!("heater resistance in ohm {is}"));
        assert_eq!(heater(375.0, wrong, 4.0), format!("heater efficiency in nm/mW {is}"));
        assert_eq!(heater(375.0, 0.53, wrong), format!("current at resonance in mA {is}"));
    }
}
