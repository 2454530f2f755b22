//! The electro-optic activation: its equation, gradients, energy, limits.

use crate::matrices;

use std::f64::consts::PI;

use matrices::{normal, values};
use pnn_core::testing::{GradientCheck, check_close, check_gradients};
use pnn_core::{DType, Tensor};
use pnn_devices::mzi::ElectroOptic;
use proptest::prelude::*;

fn one(activation: &ElectroOptic, re: f64, im: f64) -> [f64; 2] {
    let field = Tensor::new([[[re], [im]]]).unwrap();
    values(&activation.forward(&field).unwrap()).try_into().unwrap()
}

proptest! {
    /// `i sqrt(1 - alpha) exp(-i psi) cos(psi) z` with `psi = (g |z|^2 + phi_b) / 2`, by its modulus and phase.
    #[test]
    fn the_equation(
        tap in 0.0..1.0f64, gain in 0.0..5.0f64, bias in -7.0..7.0f64, re in -2.0..2.0f64, im in -2.0..2.0f64,
    ) {
        let [got_re, got_im] = one(&ElectroOptic::new(tap, gain, bias).unwrap(), re, im);
        let power = re * re + im * im;
        let psi = (gain * power + bias) / 2.0;
        let amplitude = ((1.0 - tap) * power).sqrt() * psi.cos();
        let phase = PI / 2.0 - psi + im.atan2(re);
        // psi is below 24, whose rounding is 4e-15.
        prop_assert!((got_re - amplitude * phase.cos()).abs() < 1e-13);
        prop_assert!((got_im - amplitude * phase.sin()).abs() < 1e-13);
        prop_assert!(got_re.powi(2) + got_im.powi(2) <= (1.0 - tap) * power * (1.0 + 1e-14));
    }

    #[test]
    fn gradients_are_exact(tap in 0.0..1.0f64, gain in 0.0..3.0f64, bias in -4.0..4.0f64, seed in any::<u64>()) {
        let activation = ElectroOptic::new(tap, gain, bias).unwrap();
        let field = normal(seed, "field", 0.8, &[3, 2, 4]);
        check_gradients(&[field], |t| activation.forward(&t[0]), &GradientCheck::default()).unwrap();
    }
}

/// Without gain the activation is linear; biased to pi it is dark for weak light and passes strong light.
#[test]
fn limits() {
    let close = |got: [f64; 2], want: [f64; 2]| {
        assert!(
            (got[0] - want[0]).abs() < 1e-15 && (got[1] - want[1]).abs() < 1e-15,
            "{got:?}, {want:?}"
        );
    };
    let linear = ElectroOptic::new(0.19, 0.0, 0.0).unwrap();
    close(one(&linear, 0.5, 0.0), [0.0, 0.45]);
    close(one(&linear, 0.0, 2.0), [-1.8, 0.0]);
    close(one(&ElectroOptic::new(0.0, 0.0, PI).unwrap(), 0.3, -0.4), [0.0, 0.0]);
    // Delta = 2 pi.
    close(one(&ElectroOptic::new(0.0, PI, PI).unwrap(), 0.6, 0.8), [-0.8, 0.6]);
    close(one(&linear, 0.0, 0.0), [0.0, 0.0]);
}

#[test]
fn ports_do_not_mix_and_types_stay() {
    let activation = ElectroOptic::new(0.1, 1.3, 0.4).unwrap();
    let field = normal(1, "field", 1.0, &[2, 2, 3]);
    let all = activation.forward(&field).unwrap();
    for port in 0..3 {
        let alone = activation.forward(&field.narrow(2, port, 1).unwrap()).unwrap();
        check_close(&alone, &all.narrow(2, port, 1).unwrap(), 0.0, 0.0).unwrap();
    }
    let single = activation.forward(&field.to_dtype(DType::F32).unwrap()).unwrap();
    assert_eq!((single.dtype(), single.dims()), (DType::F32, [2, 2, 3].as_slice()));
    check_close(&single, &all, 0.0, 1e-5).unwrap();
    let nan = activation.forward(&(&field * f64::NAN).unwrap()).unwrap();
    assert!(values(&nan).iter().all(|v| v.is_nan()));
}

#[test]
fn what_is_out_of_range_is_named() {
    let error = |tap, gain, bias| ElectroOptic::new(tap, gain, bias).unwrap_err().to_string();
    for (tap, shown) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN")] {
        assert_eq!(
            error(tap, 1.0, 0.0),
            format!("tap of the activation is {shown}, allowed is [0, 1)")
        );
    }
    for (gain, shown) in [(-1.0, "-1"), (f64::INFINITY, "inf"), (f64::NAN, "NaN")] {
        let want =
            format!("phase gain in rad per unit of power is {shown}, allowed is [0, infinity)");
        assert_eq!(error(0.1, gain, 0.0), want);
    }
    assert_eq!(error(0.1, 1.0, f64::NAN), "phase bias in rad is NaN, allowed is finite");
    let activation = ElectroOptic::new(0.1, 1.0, 0.0).unwrap();
    let error = activation.forward(&normal(1, "x", 1.0, &[2, 3])).unwrap_err().to_string();
    assert_eq!(error, "field of an activation has shape [2, 3], but (batch, 2, ports) is needed");
}
