//! What defines a ring's line: its values, its derivatives, its inverse.

use crate::common;

use common::Fano;
use pnn_devices::mrr::{Lorentzian, TransferFunction};
use proptest::prelude::*;

/// Half-widths in nm, over four decades.
fn half_width() -> impl Strategy<Value = f64> {
    (-2.0..2.0f64).prop_map(|exponent| 10f64.powf(exponent))
}

/// Central differences in units of the half-width `g`, for which the line's length scale is 1:
/// slope and curvature must agree with them to `tolerance / g` and `tolerance / g^2`.
fn derivatives_are_true(
    ring: &impl TransferFunction,
    g: f64,
    u: f64,
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let h = f64::EPSILON.cbrt();
    let (above, below) = (g * (u + h), g * (u - h));
    let width = (above - below) / g;
    let slope = (ring.weight(above) - ring.weight(below)) / width;
    let error = (ring.slope(g * u) * g - slope).abs();
    prop_assert!(error <= tolerance, "slope at u = {u}: {error:e}");
    let curvature = g * (ring.slope(above) - ring.slope(below)) / width;
    let error = (ring.curvature(g * u) * g * g - curvature).abs();
    prop_assert!(error <= tolerance, "curvature at u = {u}: {error:e}");
    Ok(())
}

proptest! {
    /// With `|w'''|, |w''''| <= 48` the truncation `h^2/6 f'''` is at most 3e-10 at `h = 6e-6`;
    /// rounding, 16 eps at each point over the step `2 h`, is 6e-10.
    #[test]
    fn slope_and_curvature_are_the_derivatives(g in half_width(), u in -30.0..30.0f64) {
        derivatives_are_true(&Lorentzian::new(g).unwrap(), g, u, 1e-9)?;
    }

    /// As above; the sine and cosine of the angle add roundings of their own.
    #[test]
    fn a_users_slope_and_curvature_are_the_derivatives(u in -30.0..30.0f64) {
        derivatives_are_true(&Fano::RING, Fano::RING.half_width_nm, u, 2e-9)?;
    }

    /// A weight within eps of its own is known to `eps (1 + u^2)/2` of `1 - w`, and to
    /// `eps (1 + u^2)/(2 u^2)` of `1 + w`; a detuning has half of these relative errors.
    #[test]
    fn the_inverse_undoes_the_weight(g in half_width(), u in 1e-3..1e3f64) {
        let ring = Lorentzian::new(g).unwrap();
        let x = g * u;
        let allowed = 2.0 * f64::EPSILON * (2.0 + u * u + 1.0 / (u * u));
        let back = ring.detuning(ring.weight(x));
        prop_assert!((back - x).abs() <= allowed * x, "{back} for {x}");
    }

    /// `|u w'(u)| <= 1`, so roundings in the detuning enter the weight at most once each.
    #[test]
    fn the_weight_undoes_the_inverse(g in half_width(), w in -0.999..=0.999f64) {
        let ring = Lorentzian::new(g).unwrap();
        let back = ring.weight(ring.detuning(w));
        prop_assert!((back - w).abs() <= 8.0 * f64::EPSILON, "{back} for {w}");
        let back = Fano::RING.weight(Fano::RING.detuning(w));
        prop_assert!((back - w).abs() <= 16.0 * f64::EPSILON, "{back} for {w}");
    }

    #[test]
    fn a_line_is_even_and_passive_and_rises_with_distance(g in half_width(), u in 0.0..1e6f64) {
        let ring = Lorentzian::new(g).unwrap();
        let x = g * u;
        prop_assert_eq!(ring.weight(-x), ring.weight(x));
        prop_assert_eq!(ring.slope(-x), -ring.slope(x));
        prop_assert_eq!(ring.curvature(-x), ring.curvature(x));
        prop_assert!((-1.0..=1.0).contains(&ring.weight(x)));
        prop_assert!((-1.0..=1.0).contains(&ring.weight(x as f32)));
        prop_assert!(ring.slope(x) >= 0.0);
        // The steepest point is at u = 1/sqrt 3: 4 u / (1 + u^2)^2 = 3 sqrt 3 / 4 there.
        let steepest = 0.75 * 3f64.sqrt() / g;
        prop_assert!(ring.slope(x) <= steepest * (1.0 + 4.0 * f64::EPSILON));
        let smooth = Fano::RING.weight(x);
        prop_assert!((-1.0..=1.0).contains(&smooth));
    }
}

#[test]
fn known_values() {
    for g in [0.15, 0.05, 3.0] {
        let ring = Lorentzian::new(g).unwrap();
        assert_eq!(ring.weight(0.0), -1.0);
        assert_eq!(ring.weight(0.0f32), -1.0);
        assert_eq!(ring.weight(g), 0.0);
        assert!((ring.weight(g * 3f64.sqrt()) - 0.5).abs() < 1e-15);
        assert_eq!(ring.weight(f64::INFINITY), 1.0);
        assert_eq!(ring.slope(0.0), 0.0);
        // w = 0 at the half-width: slope 1/g, twice that of the published code.
        assert!((ring.slope(g) * g - 1.0).abs() < 1e-15);
        let steepest = g / 3f64.sqrt();
        assert!((ring.slope(steepest) * g - 0.75 * 3f64.sqrt()).abs() < 1e-15);
        assert!((ring.curvature(steepest) * g * g).abs() < 1e-14);
        assert!((ring.curvature(0.0) * g * g - 4.0).abs() < 1e-14);
    }
    assert_eq!(Lorentzian::default().half_width_nm(), 0.15);
    assert_eq!(Lorentzian::default().weight_range(), (-0.999, 0.999));
}

#[test]
fn impossible_half_widths_are_errors() {
    for half_width in [0.0, -0.0, -0.15, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Lorentzian::new(half_width).unwrap_err().to_string();
        assert_eq!(error, format!("half-width in nm is {half_width}, allowed is (0, infinity)"));
    }
}

#[test]
fn impossible_weights_have_no_detuning() {
    for weight in [-1.1, 1.1, f64::NAN] {
        assert!(Lorentzian::default().detuning(weight).is_nan(), "{weight}");
    }
    assert_eq!(Lorentzian::default().detuning(-1.0), 0.0);
    assert_eq!(Lorentzian::default().detuning(1.0), f64::INFINITY);
}
