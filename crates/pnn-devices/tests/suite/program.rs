//! Programming chips whose errors are known: exact in reach, nearest beyond it.

use crate::matrices;

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use matrices::{UNIVERSAL, identity, largest_difference, normal, of, random, transfer, values};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mzi::{
    Basis, EXCESS_LOSS_DB, GAMMA_ERROR_RAD, LEFT_SPLITTER_ERROR, Layout, MziMesh, PHI_ERROR_RAD,
    PhaseHeaters, Programmed, RIGHT_SPLITTER_ERROR, SplitterError, THERMAL_CROSSTALK,
    THETA_ERROR_RAD,
};
use proptest::prelude::*;

const PHASES: [&str; 3] = [THETA_ERROR_RAD, PHI_ERROR_RAD, GAMMA_ERROR_RAD];
const SPLITTERS: [&str; 2] = [LEFT_SPLITTER_ERROR, RIGHT_SPLITTER_ERROR];

/// Normal errors at some ports, kept within `limit`.
fn errors(mesh: &MziMesh, at: &[&str], std: f64, limit: f64, seed: u64) -> Deviations {
    let ports = mesh.ports().iter().filter(|port| at.contains(&port.name));
    ports.fold(Deviations::none(), |errors, port| {
        let error = normal(seed, port.name, std, port.shape.dims());
        errors.with(port.name, error.clamp(-limit, limit).unwrap())
    })
}

fn frobenius(one: &Tensor, other: &Tensor) -> f64 {
    let pairs = values(one).into_iter().zip(values(other));
    let off: f64 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
    (off / values(other).iter().map(|v| v * v).sum::<f64>()).sqrt()
}

/// Heaters do not cool: a phase that would turn negative goes on to the next turn.
#[test]
fn heated_meshes_with_errors_of_phases_are_programmed_exactly() {
    let heaters = PhaseHeaters { rad_per_volt2: 0.7, max_volt: 3.2 };
    for basis in [Basis::Bloch, Basis::SingleMode] {
        let mesh = MziMesh::new(Layout::Rectangular, 9).unwrap().with_basis(basis);
        let mesh = mesh.with_heaters(heaters).unwrap();
        let chip = errors(&mesh, &[&PHASES[..], &SPLITTERS].concat(), 0.02, 0.1, 3);
        // What this chip can do, it does, whatever its heaters are set to.
        let target = transfer(&mesh, &mesh.init(&Seed::new(3), DType::F64).unwrap(), &chip);
        let programmed = mesh.program(&target, &chip).unwrap();
        assert_eq!(programmed.unreachable, 0);
        assert!(programmed.distance < 1e-10, "{basis:?}: {:e}", programmed.distance);
        for (name, volts) in programmed.controls.iter() {
            assert!(values(volts).iter().all(|v| (0.0..=3.2).contains(v)), "{name}");
        }
    }
    // All phases of this one are zero, and their errors are not.
    let mesh = MziMesh::new(Layout::Rectangular, 4).unwrap();
    let dark: Controls = mesh
        .controls()
        .iter()
        .map(|c| (c.name.to_owned(), Tensor::zeros(c.shape.clone(), DType::F64).unwrap()))
        .collect();
    let target = transfer(&mesh, &dark, &Deviations::none());
    let chip = PHASES
        .iter()
        .fold(Deviations::none(), |chip, port| chip.with(*port, Tensor::new(0.3).unwrap()));
    let programmed = mesh.with_heaters(heaters).unwrap().program(&target, &chip).unwrap();
    assert!(programmed.distance < 1e-10, "{:e}", programmed.distance);
}

/// What a chip with errors does with each theta at one end, programmed.
fn at_the_ends(layout: Layout, ports: usize, seed: u64) -> Programmed {
    let mesh = MziMesh::new(layout, ports).unwrap().with_splitter_error(SplitterError::Angle);
    let chip = errors(&mesh, &SPLITTERS, 0.2, 0.7, seed);
    let set = mesh.init(&Seed::new(seed), DType::F64).unwrap();
    let ends = values(set.get("theta").unwrap());
    let ends = ends.iter().map(|theta| if *theta < FRAC_PI_2 { 0.0 } else { PI });
    let ends = Tensor::from_vec(ends.collect::<Vec<_>>(), mesh.wiring().cells()).unwrap();
    let rest = set.iter().filter(|(name, _)| *name != "theta");
    let rest = rest.map(|(name, value)| (name.to_owned(), value.clone()));
    let set: Controls = rest.chain([("theta".to_owned(), ends)]).collect();
    mesh.program(&transfer(&mesh, &set, &chip), &chip).unwrap()
}

/// Where two small elements have to be eliminated, their ratio has few digits, and what follows inherits
/// that: the larger the mesh, the more often. These two seeds are among the worst of 20,000.
#[test]
fn rounding_is_no_lack_of_reach() {
    let mut distances = vec![];
    for seed in [3418, 6969639752767504200].into_iter().chain(0..998) {
        let programmed = at_the_ends(Layout::Rectangular, 8, seed);
        assert_eq!(programmed.unreachable, 0, "seed {seed}");
        distances.push(programmed.distance);
    }
    distances.sort_by(f64::total_cmp);
    assert!(distances[950] < 1e-13 && distances[990] < 1e-12 && distances[999] < 1e-9);
}

/// Amplitudes that miss their reach by more than rounding are out of it.
#[test]
fn a_little_beyond_is_out_of_reach() {
    let mesh = MziMesh::new(Layout::Rectangular, 2).unwrap();
    let mesh = mesh.with_splitter_error(SplitterError::Angle);
    let chip = Deviations::none().with(LEFT_SPLITTER_ERROR, Tensor::new(0.1).unwrap());
    for (beyond, unreachable) in [(0.0, 0), (1e-13, 0), (1e-11, 1), (1e-7, 1)] {
        let bar = 0.1f64.sin() - beyond;
        let cross = (1.0 - bar * bar).sqrt();
        let target = of(2, 2, |i, j| if i == j { (bar, 0.0) } else { (0.0, cross) });
        let programmed = mesh.program(&target, &chip).unwrap();
        assert_eq!(programmed.unreachable, unreachable, "{beyond:e}");
        assert!(programmed.distance < 1.1 * beyond + 1e-15, "{:e}", programmed.distance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What a chip can do it is programmed to do: its own matrix with random controls has the
    /// amplitudes that its interferometers have, however large their errors are.
    #[test]
    fn matrices_in_reach_are_exact(
        layout in prop::sample::select(UNIVERSAL.to_vec()),
        ports in 2..=16usize,
        angle in any::<bool>(),
        single in any::<bool>(),
        std in prop::sample::select(vec![0.02, 0.2, 0.7]),
        seed in any::<u64>(),
    ) {
        let splitter = if angle { SplitterError::Angle } else { SplitterError::Ratio };
        let basis = if single { Basis::SingleMode } else { Basis::Bloch };
        let mesh = MziMesh::new(layout, ports).unwrap().with_idle_phase(0.8);
        let mesh = mesh.with_basis(basis).with_splitter_error(splitter);
        // Beyond pi/4 (angles) most of the light crosses the other way.
        let limit = if angle { 1.4 } else { 0.95 };
        let chip = errors(&mesh, &[&PHASES[..], &SPLITTERS].concat(), std, limit, seed);
        let set = mesh.init(&Seed::new(seed), DType::F64).unwrap();
        let target = transfer(&mesh, &set, &chip);
        let programmed = mesh.program(&target, &chip).unwrap();
        prop_assert_eq!(programmed.unreachable, 0);
        prop_assert!(programmed.distance < 1e-10, "{:e}", programmed.distance);
        let reached = transfer(&mesh, &programmed.controls, &chip);
        prop_assert!(largest_difference(&reached, &target) < 1e-10);
    }

    /// Interferometers at the ends of their reach are in reach.
    #[test]
    fn ends_of_the_reach_are_exact(
        layout in prop::sample::select(UNIVERSAL.to_vec()),
        ports in 2..=8usize,
        seed in any::<u64>(),
    ) {
        let programmed = at_the_ends(layout, ports, seed);
        prop_assert_eq!(programmed.unreachable, 0);
        // With more ports three of 40,000 lie beyond: see rounding_is_no_lack_of_reach.
        let allowed = if ports <= 6 { 1e-10 } else { 1e-9 };
        prop_assert!(programmed.distance < allowed, "{:e}", programmed.distance);
    }

    /// Errors of phases are no obstacle to any matrix.
    #[test]
    fn phase_errors_are_subtracted(ports in 2..=12usize, which in 0..3usize, seed in any::<u64>()) {
        let target = match which {
            0 => identity(ports),
            1 => of(ports, ports, |row, column| (f64::from(u8::from(row + column + 1 == ports)), 0.0)),
            _ => random(Layout::Rectangular, ports, seed),
        };
        for layout in UNIVERSAL {
            let mesh = MziMesh::new(layout, ports).unwrap();
            let chip = errors(&mesh, &PHASES, 1.0, 9.0, seed);
            let programmed = mesh.program(&target, &chip).unwrap();
            prop_assert_eq!(programmed.unreachable, 0);
            prop_assert!(programmed.distance < 1e-12, "{:e}", programmed.distance);
        }
    }
}

#[test]
fn the_ideal_chip_is_a_decomposition() {
    for layout in UNIVERSAL {
        let mesh = MziMesh::published(7).unwrap();
        let mesh = if layout == mesh.layout() { mesh } else { MziMesh::new(layout, 7).unwrap() };
        let target = random(Layout::Triangular, 7, 2);
        let programmed = mesh.program(&target, &Deviations::none()).unwrap();
        assert!(programmed.unreachable == 0 && programmed.distance < 1e-14);
        for (name, set) in mesh.decompose(&target).unwrap().iter() {
            assert_eq!(values(set), values(programmed.controls.get(name).unwrap()));
        }
        // The distance is that without the mesh's own loss.
        let lossy = mesh.with_loss_db(1.0).unwrap().program(&target, &Deviations::none()).unwrap();
        assert_eq!(lossy.distance, programmed.distance);
    }
}

/// Splitters of angles pi/4 + eta leave `|M_11|` between `|sin(eta_l + eta_r)|` and `cos(eta_l - eta_r)`. From a
/// matrix with amplitude `cos a` on the diagonal one with `cos b` and the same phases is at the distance
/// `2 |sin((a - b)/2)|`, relative to its norm of sqrt 2; no other controls come nearer.
#[test]
fn out_of_reach_the_nearest_is_taken_and_counted() {
    let (left, right) = (0.21, -0.13);
    for layout in UNIVERSAL {
        for basis in [Basis::Bloch, Basis::SingleMode] {
            let mesh = MziMesh::new(layout, 2).unwrap().with_basis(basis);
            let mesh = mesh.with_splitter_error(SplitterError::Angle);
            let chip = Deviations::none()
                .with(LEFT_SPLITTER_ERROR, Tensor::new(left).unwrap())
                .with(RIGHT_SPLITTER_ERROR, Tensor::new(right).unwrap());
            let phases = |row: f64| (row.cos(), row.sin());
            let bar = of(2, 2, |i, j| if i == j { phases(i as f64) } else { (0.0, 0.0) });
            let cross = of(2, 2, |i, j| if i == j { (0.0, 0.0) } else { phases(2.0 + i as f64) });
            // |M_11| = 0.02, below sin(0.08).
            let nearly =
                of(2, 2, |i, j| if i == j { (0.02, 0.0) } else { (0.0, (1.0f64 - 0.0004).sqrt()) });
            for (target, angle) in [
                (&bar, left - right),
                (&cross, left + right),
                (&nearly, left + right - 0.02f64.asin()),
            ] {
                let programmed = mesh.program(target, &chip).unwrap();
                assert_eq!(programmed.unreachable, 1);
                let want = 2.0 * (angle / 2.0).sin().abs();
                assert!((programmed.distance - want).abs() < 1e-12, "{programmed:?}, {want}");
                for draw in 0..2000 {
                    let uniform = |name: &str, size: usize| {
                        let seed = Seed::new(draw).child(name);
                        let u = seed.tensor(rand_distr::StandardUniform, &[size], DType::F64);
                        (name.to_owned(), (u.unwrap() * TAU).unwrap())
                    };
                    let other: Controls =
                        [uniform("theta", 1), uniform("phi", 1), uniform("gamma", 2)]
                            .into_iter()
                            .collect();
                    assert!(frobenius(&transfer(&mesh, &other, &chip), target) >= want);
                }
                // Small changes do not help either.
                for (name, set) in programmed.controls.iter() {
                    for step in [-1e-3, 1e-3] {
                        let moved = (name.to_owned(), (set + step).unwrap());
                        let rest = programmed.controls.iter().filter(|(n, _)| *n != name);
                        let rest = rest.map(|(n, v)| (n.to_owned(), v.clone()));
                        let moved: Controls = rest.chain([moved]).collect();
                        let off = frobenius(&transfer(&mesh, &moved, &chip), target);
                        assert!(off >= want - 1e-15, "{name}: {off}");
                    }
                }
            }
            let even = of(2, 2, |i, j| {
                let half = 0.5f64.sqrt();
                if i == j { (half, 0.0) } else { (0.0, half) }
            });
            let programmed = mesh.program(&even, &chip).unwrap();
            assert!(programmed.unreachable == 0 && programmed.distance < 1e-14);
        }
    }
}

/// How many interferometers are out of reach adds up over a mesh: the identity on a mesh whose splitters
/// differ wants all of them to let everything stay.
#[test]
fn every_interferometer_out_of_reach_is_counted() {
    for layout in UNIVERSAL {
        let mesh = MziMesh::new(layout, 6).unwrap();
        let chip = Deviations::none().with(LEFT_SPLITTER_ERROR, Tensor::new(0.1).unwrap());
        let programmed = mesh.program(&identity(6), &chip).unwrap();
        assert_eq!(programmed.unreachable, 15);
        let reached = transfer(&mesh, &programmed.controls, &chip);
        assert!((programmed.distance - frobenius(&reached, &identity(6))).abs() < 1e-15);
    }
}

/// Errors of the splitters' angles, independent and of standard deviation s, on Haar-random targets.
///
/// Uncorrected: an error eta changes a splitter by `i eta X B`, whose squared norm is `2 eta^2`; `N (N - 1)`
/// of them add at random, so the mean of `distance^2` is `2 (N - 1) s^2`.
///
/// Corrected: an interferometer whose wanted `|M_11| = r` lies below `D = |eta_l + eta_r|` is off by the
/// angle `D - r`, whose squared norm is `2 (D - r)^2`. Power that crosses is `u^(1/a)` (see `init`), so the density of
/// r at 0 is `2 a r`: the mean is `2 . 2 a <D^4> / 12 = 4 a s^4`, for `<D^4> = 3 (2 s^2)^2`. With the sum of all a,
/// `N (N^2 - 1) / 6`, the mean of `distance^2` is `2/3 (N^2 - 1) s^4`; and `4 s^4` for each of the `N - 1`
/// interferometers with a = 1 that are kept from letting all light stay. The ratio of the two is 70 for N = 16 and
/// s = 0.05: distances fall by a factor of 8.4.
///
/// Few interferometers are out of reach, and the squares (2 (D - r)^2)^2 have the mean 32 a s^6: over all draws the sum of
/// `distance^2` has the relative standard deviation `sqrt(2 / (draws s^2 sum of a)) = 7 %`. Four of these are allowed,
/// which leaves room for the next order of `N s^2` too.
#[test]
fn correction_gains_what_it_should() {
    let (n, s, draws) = (16.0f64, 0.05f64, 240);
    let all = n * (n * n - 1.0) / 6.0;
    let allowed = 4.0 * (2.0 / (draws as f64 * s.powi(2) * all)).sqrt();
    for (layout, splitter, std) in [
        (Layout::Rectangular, SplitterError::Angle, s),
        // e = -sin(2 eta): twice the number for the same error.
        (Layout::Triangular, SplitterError::Ratio, 2.0 * s),
    ] {
        let mesh = MziMesh::new(layout, 16).unwrap().with_splitter_error(splitter);
        let (mut before, mut after, mut missed) = (0.0, 0.0, 0);
        for seed in 0..draws {
            let target = random(Layout::Triangular, 16, 100 + seed);
            let chip = errors(&mesh, &SPLITTERS, std, 0.9, seed);
            let plain = transfer(&mesh, &mesh.decompose(&target).unwrap(), &chip);
            before += frobenius(&plain, &target).powi(2) / draws as f64;
            let programmed = mesh.program(&target, &chip).unwrap();
            after += programmed.distance.powi(2) / draws as f64;
            missed += programmed.unreachable;
        }
        let want_before = 2.0 * (n - 1.0) * s.powi(2);
        let want_after = (2.0 / 3.0 * (n * n - 1.0) + 4.0 * (n - 1.0) / n) * s.powi(4);
        println!(
            "{layout:?}, {splitter:?}: {before} ({want_before}), {after} ({want_after}), {missed}"
        );
        assert!((before / want_before - 1.0).abs() < allowed, "{before}, not {want_before}");
        assert!((after / want_after - 1.0).abs() < allowed, "{after}, not {want_after}");
        // r lies below D with probability a D^2, in the mean 2 a s^2.
        let want = draws as f64 * 2.0 * s.powi(2) * all;
        assert!((missed as f64 / want - 1.0).abs() < allowed, "{missed}, not {want}");
    }
}

#[test]
fn what_is_not_corrected_is_named() {
    let mesh = MziMesh::new(Layout::Rectangular, 4).unwrap();
    let target = identity(4);
    let error = |chip: &Deviations| mesh.program(&target, chip).unwrap_err().to_string();
    let with = |port: &str, value: f64| Deviations::none().with(port, Tensor::new(value).unwrap());
    for port in [EXCESS_LOSS_DB, THERMAL_CROSSTALK] {
        let want = format!("programming of a mesh does not support the correction of {port}");
        assert_eq!(error(&with(port, 0.01)), want);
        assert!(mesh.program(&target, &with(port, 0.0)).is_ok());
    }
    assert_eq!(
        error(&with(LEFT_SPLITTER_ERROR, 1.0)),
        "left_splitter_error (number 0) is 1, allowed is (-1, 1)"
    );
    assert!(error(&with(PHI_ERROR_RAD, f64::NAN)).contains("phi (number 0) is NaN"));
    assert!(error(&with("nonsense", 0.0)).starts_with("no deviation port named \"nonsense\""));
    let long = Deviations::none().with(GAMMA_ERROR_RAD, normal(1, "x", 1.0, &[5]));
    assert!(error(&long).contains("gamma_error_rad has shape [5]"));
    let wrong = mesh.program(&identity(3), &Deviations::none()).unwrap_err().to_string();
    assert_eq!(wrong, "target has shape [2, 3, 3], but (2, 4, 4) is needed");
    let butterfly = MziMesh::new(Layout::Butterfly, 4).unwrap();
    let error = butterfly.program(&target, &Deviations::none()).unwrap_err().to_string();
    assert!(error.contains("not universal"), "{error}");
}
