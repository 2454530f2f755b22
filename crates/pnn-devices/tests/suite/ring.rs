//! What defines a ring resonator: energy, resonances, width, critical coupling, and the equality with what its couplers and
//! waveguides do one by one.

use std::f64::consts::{PI, TAU};

use nalgebra::{Matrix4, Vector4};
use num_complex::Complex;
use pnn_devices::mrr::{Detection, Lorentzian, Ring, RingGeometry, RingWeight, TransferFunction};
use proptest::prelude::*;

type C = Complex<f64>;

fn geometry() -> impl Strategy<Value = RingGeometry> {
    (3.0..100.0f64, 1.5..5.0f64, 0.0..200.0f64, 1e-3..0.9f64, 0.0..0.9f64).prop_map(
        |(radius_um, group_index, loss_db_per_cm, coupling, drop_coupling)| RingGeometry {
            radius_um,
            group_index,
            loss_db_per_cm,
            coupling,
            drop_coupling,
            wavelength_nm: 1550.0,
        },
    )
}

/// Through and drop field of a ring made of its parts: two couplers `[[t, i k], [i k, t]]` and two halves of the ring, solved
/// for the four fields in the ring.
fn cascaded(ring: &Ring, phase: f64) -> (C, C) {
    let RingGeometry { coupling, drop_coupling, .. } = ring.geometry();
    let (t1, k1) = ((1.0 - coupling).sqrt(), C::i() * coupling.sqrt());
    let (t2, k2) = ((1.0 - drop_coupling).sqrt(), C::i() * drop_coupling.sqrt());
    let half = ring.round_trip_amplitude().sqrt() * C::cis(0.5 * phase);
    let (zero, one) = (C::from(0.0), C::from(1.0));
    // Fields in the ring: behind the bus, before the drop waveguide, behind it, before the bus.
    //   b1 = k1 in + t1 b4,   b2 = half b1,   b3 = t2 b2,   b4 = half b3
    #[rustfmt::skip]
    let matrix = Matrix4::new(
        one,   zero,       zero,  -C::from(t1),
        -half, one,        zero,  zero,
        zero,  -C::from(t2), one, zero,
        zero,  zero,       -half, one,
    );
    let fields = matrix.lu().solve(&Vector4::new(k1, zero, zero, zero)).unwrap();
    (t1 + k1 * fields[3], k2 * fields[1])
}

proptest! {
    #[test]
    fn a_ring_is_what_its_parts_are(geometry in geometry(), phase in -10.0..10.0f64) {
        let ring = Ring::new(geometry).unwrap();
        let (through, drop) = cascaded(&ring, phase);
        // Both are sums of a geometric series: roundings of its terms, over 1 - r.
        let allowed = 1e-10;
        prop_assert!((ring.through_field(phase) - through).norm() < allowed);
        prop_assert!((ring.drop_field(phase) - drop).norm() < allowed);
        prop_assert!((ring.through(phase) - through.norm_sqr()).abs() < allowed);
        prop_assert!((ring.drop(phase) - drop.norm_sqr()).abs() < allowed);
    }

    #[test]
    fn no_light_is_made_and_without_loss_none_is_lost(geometry in geometry(), phase in -10.0..10.0f64) {
        let total = |geometry| {
            let ring = Ring::new(geometry).unwrap();
            ring.through(phase) + ring.drop(phase)
        };
        prop_assert!(total(geometry) <= 1.0 + 1e-12);
        let lossless = RingGeometry { loss_db_per_cm: 0.0, ..geometry };
        prop_assert!((total(lossless) - 1.0).abs() < 1e-10);
    }

    /// Resonances are where the phase is whole turns: equally spaced in frequency, and to first order in wavelength.
    #[test]
    fn resonances_are_a_free_spectral_range_apart(geometry in geometry(), order in 1..4i32) {
        let ring = Ring::new(geometry).unwrap();
        let length_nm = geometry.group_index * TAU * geometry.radius_um * 1e3;
        let first = geometry.wavelength_nm;
        let next = 1.0 / (1.0 / first - f64::from(order) / length_nm);
        prop_assume!(next > 0.0 && next < 2.0 * first);
        let phase = ring.phase_at(next, first);
        prop_assert!((phase - TAU * f64::from(order)).abs() < 1e-9 * phase);
        prop_assert!((ring.drop(phase) - ring.drop(0.0)).abs() < 1e-10);
        // lambda^2 / (n L) leaves a part of order lambda / (n L).
        let apart = (next - first) / f64::from(order);
        let relative = apart / ring.free_spectral_range_nm() - 1.0;
        prop_assert!(relative.abs() <= 1.5 * f64::from(order) * first / length_nm / (1.0 - f64::from(order) * first / length_nm));
        prop_assert!((ring.phase(apart) / TAU - apart / ring.free_spectral_range_nm()).abs() < 1e-10);
    }

    #[test]
    fn half_of_the_light_is_dropped_at_half_the_width(geometry in geometry()) {
        prop_assume!(geometry.drop_coupling > 1e-3);
        let ring = Ring::new(geometry).unwrap();
        prop_assume!(ring.full_width_nm() < 0.99 * ring.free_spectral_range_nm());
        let edge = ring.phase(0.5 * ring.full_width_nm());
        prop_assert!((ring.drop(edge) / ring.drop(0.0) - 0.5).abs() < 1e-10);
        let finesse = ring.free_spectral_range_nm() / ring.full_width_nm();
        prop_assert!((ring.finesse() / finesse - 1.0).abs() < 1e-12);
        prop_assert!((ring.quality_factor() * ring.full_width_nm() / 1550.0 - 1.0).abs() < 1e-12);
        // pi sqrt(r) / (1 - r) is its limit: asin(s) = s (1 + s^2 / 6 + ...), s = (1 - r) / (2 sqrt r).
        let r = ring.loop_amplitude();
        let sine = 0.5 * (1.0 - r) / r.sqrt();
        let limit = PI * r.sqrt() / (1.0 - r);
        prop_assert!((limit / ring.finesse() - 1.0) <= 0.6 * sine * sine + 1e-12);
        prop_assert!(limit >= ring.finesse() * (1.0 - 1e-12));
    }

    #[test]
    fn nothing_passes_at_critical_coupling(geometry in geometry()) {
        let ring = Ring::new(geometry).unwrap();
        let coupling = ring.critical_coupling();
        prop_assume!(coupling > 1e-6 && coupling < 1.0);
        let critical = Ring::new(RingGeometry { coupling, ..geometry }).unwrap();
        prop_assert!(critical.through(0.0) < 1e-10);
        for other in [0.5 * coupling, 0.5 * (1.0 + coupling)] {
            let ring = Ring::new(RingGeometry { coupling: other, ..geometry }).unwrap();
            prop_assert!(ring.through(0.0) > critical.through(0.0));
        }
    }

    /// `sin^2(p/2)` is `(p/2)^2` to `p^2/12`, and a width is `1 - r` to `(1 - r)^2 / 24`: with `r >= 0.999` and 20 half-widths
    /// these are 4e-5 of what is left of a line.
    #[test]
    fn of_high_finesse_a_ring_is_a_lorentzian(coupling in 1e-6..1e-3f64, widths in -20.0..20.0f64) {
        let geometry = RingGeometry { loss_db_per_cm: 0.0, coupling, drop_coupling: coupling, ..RingGeometry::default() };
        let ring = RingWeight::new(Ring::new(geometry).unwrap(), Detection::Balanced).unwrap();
        let half_width = 0.5 * ring.ring().full_width_nm();
        let line = Lorentzian::new(half_width).unwrap();
        let x = widths * half_width;
        prop_assert!((ring.weight(x) - line.weight(x)).abs() < 0.1 * coupling + 1e-10);
    }

    #[test]
    fn slope_and_curvature_are_the_derivatives(geometry in geometry(), at in -0.5..0.5f64) {
        for detection in [Detection::Balanced, Detection::Through, Detection::Drop] {
            let drop_coupling = geometry.drop_coupling.max(0.01);
            let ring = Ring::new(RingGeometry { drop_coupling, coupling: geometry.coupling.max(0.01), ..geometry }).unwrap();
            let weight = RingWeight::new(ring, detection).unwrap();
            // In units of the full width, the length scale of a line.
            let g = ring.full_width_nm();
            let x = at * ring.free_spectral_range_nm();
            let h = f64::EPSILON.cbrt() * g;
            let slope = (weight.weight(x + h) - weight.weight(x - h)) / (2.0 * h);
            prop_assert!((weight.slope(x) - slope).abs() * g < 1e-7);
            let curvature = (weight.slope(x + h) - weight.slope(x - h)) / (2.0 * h);
            prop_assert!((weight.curvature(x) - curvature).abs() * g * g < 1e-7);
        }
    }

    #[test]
    fn the_inverse_undoes_the_weight(geometry in geometry(), part in 0.0..=1.0f64) {
        for detection in [Detection::Balanced, Detection::Through, Detection::Drop] {
            let geometry = RingGeometry { drop_coupling: geometry.drop_coupling.max(1e-3), ..geometry };
            let ring = RingWeight::new(Ring::new(geometry).unwrap(), detection).unwrap();
            let (low, high) = ring.weight_range();
            prop_assert!(low < high && (-1.0..=1.0).contains(&low) && (-1.0..=1.0).contains(&high));
            let wanted = low + part * (high - low);
            let x = ring.detuning(wanted);
            prop_assert!((0.0..=0.5 * ring.ring().free_spectral_range_nm()).contains(&x));
            prop_assert!((ring.weight(x) - wanted).abs() < 1e-10);
        }
    }
}

#[test]
fn what_no_ring_has_is_refused_by_name() {
    let error = |geometry| Ring::new(geometry).unwrap_err().to_string();
    let ring = RingGeometry::default();
    assert!(error(RingGeometry { radius_um: 0.0, ..ring }).contains("radius in um is 0"));
    assert!(error(RingGeometry { group_index: f64::NAN, ..ring }).contains("group index is NaN"));
    assert!(error(RingGeometry { loss_db_per_cm: -1.0, ..ring }).contains("loss in dB/cm is -1"));
    assert!(
        error(RingGeometry { coupling: 0.0, ..ring }).contains("coupling of ring and bus is 0")
    );
    assert!(error(RingGeometry { drop_coupling: 1.0, ..ring }).contains("drop waveguide is 1"));
    let alone = Ring::new(RingGeometry { drop_coupling: 0.0, ..ring }).unwrap();
    let error = RingWeight::new(alone, Detection::Balanced).unwrap_err().to_string();
    assert!(error.contains("coupling to the drop waveguide"), "{error}");
    assert!(RingWeight::new(alone, Detection::Through).is_ok());
    assert_eq!(alone.drop(0.3), 0.0);
}
