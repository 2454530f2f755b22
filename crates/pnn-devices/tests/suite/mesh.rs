//! Meshes of interferometers: laws of physics, the device suite, chips side by side, randomness.

use std::f64::consts::PI;

use pnn_core::testing::{check_close, check_same_bits, conformance};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mzi::{
    Basis, Detection, EXCESS_LOSS_DB, GAMMA_ERROR_RAD, LEFT_SPLITTER_ERROR, Layout, MziMesh,
    PHI_ERROR_RAD, PhaseHeaters, RIGHT_SPLITTER_ERROR, SplitterError, THERMAL_CROSSTALK,
    THETA_ERROR_RAD,
};
use proptest::prelude::*;

const LAYOUTS: [Layout; 3] = [Layout::Rectangular, Layout::Triangular, Layout::Butterfly];

fn controls(mesh: &MziMesh, seed: u64) -> Controls {
    mesh.init(&Seed::new(seed), DType::F64).unwrap()
}

fn normal(seed: u64, name: &str, std: f64, dims: &[usize]) -> Tensor {
    let normal = rand_distr::Normal::new(0.0, std).unwrap();
    Seed::new(seed).child(name).tensor(normal, dims, DType::F64).unwrap()
}

/// Errors of all phases and splitters, kept in the range of a splitter.
fn errors(mesh: &MziMesh, seed: u64, std: f64) -> Deviations {
    mesh.ports().iter().filter(|port| port.name != EXCESS_LOSS_DB).fold(
        Deviations::none(),
        |errors, port| {
            let error = normal(seed, port.name, std, port.shape.dims());
            errors.with(port.name, error.clamp(-0.9, 0.9).unwrap())
        },
    )
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn matrix(mesh: &MziMesh, controls: &Controls, deviations: &Deviations) -> Vec<f64> {
    values(&mesh.transfer(controls, &[deviations]).unwrap())
}

/// The largest element of `U U^H - scale 1`.
fn distance_from_unitary(u: &[f64], ports: usize, scale: f64) -> f64 {
    let (re, im) = u.split_at(ports * ports);
    let mut worst = 0.0f64;
    for i in 0..ports {
        for j in 0..ports {
            let (mut real, mut imaginary) = (if i == j { -scale } else { 0.0 }, 0.0);
            for k in 0..ports {
                let (a, b) = (i * ports + k, j * ports + k);
                real += re[a] * re[b] + im[a] * im[b];
                imaginary += im[a] * re[b] - re[a] * im[b];
            }
            worst = worst.max(real.hypot(imaginary));
        }
    }
    worst
}

#[test]
fn meshes_conform() {
    let seed = Seed::new(3);
    let real = normal(1, "x", 1.0, &[2, 4]);
    let complex = normal(1, "x", 1.0, &[3, 2, 5]);
    let lossy = |mesh: MziMesh| mesh.with_loss_db(0.3).unwrap();
    for layout in LAYOUTS {
        for (basis, splitter, detection, ports) in [
            (Basis::Bloch, SplitterError::Ratio, Detection::Coherent, 4),
            (Basis::SingleMode, SplitterError::Angle, Detection::Power, 5),
            (Basis::Bloch, SplitterError::Angle, Detection::NormalisedPower, 4),
        ] {
            let mesh = MziMesh::new(layout, ports).unwrap().with_basis(basis);
            let mesh = mesh.with_splitter_error(splitter).with_detection(detection);
            let mesh = lossy(mesh.with_idle_phase(0.7));
            let input = if ports == 4 { &real } else { &complex };
            conformance(&mesh, input, &seed)
                .unwrap_or_else(|e| panic!("{layout:?}, {basis:?}, {detection:?}: {e}"));
        }
    }
}

/// A mesh set by voltages is the mesh of the phases that they make, and rounds them itself.
#[test]
fn heaters_make_phases_of_voltages() {
    let heaters = PhaseHeaters { rad_per_volt2: 0.7, max_volt: 3.2 };
    let plain = MziMesh::new(Layout::Rectangular, 5).unwrap();
    let heated = plain.clone().with_heaters(heaters).unwrap();
    let lossy = heated.clone().with_loss_db(0.3).unwrap();
    conformance(&lossy, &normal(1, "x", 1.0, &[2, 5]), &Seed::new(3)).unwrap();
    let (phases, volts) = (controls(&plain, 1), controls(&heated, 1));
    let turned: Controls = ["theta", "phi", "gamma"]
        .map(|name| {
            let volts = volts.get(&format!("{name}_volt")).unwrap();
            (name.to_owned(), (volts.sqr().unwrap() * 0.7).unwrap())
        })
        .into_iter()
        .collect();
    for (name, phase) in phases.iter() {
        check_close(turned.get(name).unwrap(), phase, 0.0, 1e-14).unwrap();
    }
    let (of_volts, of_phases) = (
        matrix(&heated, &volts, &Deviations::none()),
        matrix(&plain, &turned, &Deviations::none()),
    );
    assert_eq!(of_volts, of_phases);
    for (drive, control) in heated.drives(&volts).unwrap().iter().zip(heated.controls()) {
        assert_eq!((drive.range, drive.setting.dims()), (control.bounds, &control.shape[..]));
        assert!(drive.port.ends_with("_error_volt"));
    }
    // Programmed by voltage as by phase.
    let target = plain.transfer(&phases, &[&Deviations::none()]).unwrap();
    let target = target.reshape([2, 5, 5]).unwrap();
    let found = heated.decompose(&target).unwrap();
    let again = heated.transfer(&found, &[&Deviations::none()]).unwrap();
    check_close(&again.reshape([2, 5, 5]).unwrap(), &target, 0.0, 1e-12).unwrap();
    let error = Deviations::none().with("theta_error_volt", Tensor::new(0.1).unwrap());
    let error = heated.program(&target, &error).unwrap_err().to_string();
    assert!(error.contains("theta_error_volt"), "{error}");
    for (rad_per_volt2, max_volt, says) in [
        (-0.7, 3.2, "rad_per_volt2 of the heaters is -0.7, allowed is (0, infinity)"),
        (f64::NAN, 3.2, "is NaN"),
        (
            0.5,
            3.0,
            "phase in rad that the heaters reach at max_volt is 4.5, allowed is [2 pi, infinity)",
        ),
        (0.5, f64::NAN, "is NaN"),
    ] {
        let heaters = PhaseHeaters { rad_per_volt2, max_volt };
        let error = plain.clone().with_heaters(heaters).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Phases are set within a turn.
#[test]
fn converters_of_phases_round_within_a_turn() {
    let mesh = MziMesh::new(Layout::Triangular, 3).unwrap();
    let far: Controls = controls(&mesh, 1)
        .iter()
        .map(|(name, phase)| (name.to_owned(), (phase + (-4.0 * PI)).unwrap()))
        .collect();
    let drives = mesh.drives(&far).unwrap();
    assert_eq!(drives.len(), 3);
    for (drive, (_, near)) in drives.iter().zip(
        ["theta", "phi", "gamma"].map(|name| (name, controls(&mesh, 1).get(name).unwrap().clone())),
    ) {
        assert_eq!((drive.range.low, drive.range.high), (0.0, 2.0 * PI));
        check_close(&drive.setting, &near, 0.0, 1e-14).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Without loss light is kept, whatever is wrong with phases and splitters; with it, all ports
    /// of a mesh whose every path has as many interferometers lose the same.
    #[test]
    fn what_is_lossless_is_unitary(
        layout in prop::sample::select(LAYOUTS.to_vec()),
        ports in 2..=24usize,
        angle in any::<bool>(),
        single in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut mesh = MziMesh::new(layout, ports).unwrap().with_idle_phase(0.4);
        if angle {
            mesh = mesh.with_splitter_error(SplitterError::Angle);
        }
        if single {
            mesh = mesh.with_basis(Basis::SingleMode);
        }
        let controls = controls(&mesh, seed);
        let off = |deviations: &Deviations| distance_from_unitary(&matrix(&mesh, &controls, deviations), ports, 1.0);
        prop_assert!(off(&Deviations::none()) < 1e-12);
        prop_assert!(off(&errors(&mesh, seed, 0.3)) < 1e-12);
    }
}

#[test]
fn sixty_four_ports_are_unitary() {
    for layout in LAYOUTS {
        let mesh = MziMesh::new(layout, 64).unwrap();
        let u = matrix(&mesh, &controls(&mesh, 1), &errors(&mesh, 1, 0.15));
        assert!(distance_from_unitary(&u, 64, 1.0) < 1e-12, "{layout:?}");
    }
}

/// In a butterfly every path meets one interferometer a column.
#[test]
fn every_interferometer_takes_its_loss() {
    let mesh = MziMesh::new(Layout::Butterfly, 8).unwrap().with_loss_db(0.5).unwrap();
    let excess = Tensor::new(0.25).unwrap();
    let deviations = Deviations::none().with(EXCESS_LOSS_DB, excess);
    let u = matrix(&mesh, &controls(&mesh, 1), &deviations);
    let left = 10f64.powf(-0.3 * 0.75);
    assert!(distance_from_unitary(&u, 8, left) < 1e-12);
}

/// One interferometer, written out.
#[test]
fn two_ports_by_hand() {
    let (theta, phi, gamma) = (0.7, 1.9, [0.3, -0.4]);
    let set = |name: &str, values: &[f64]| {
        (name.to_owned(), Tensor::from_slice(values, values.len()).unwrap())
    };
    let controls: Controls =
        [set("theta", &[theta]), set("phi", &[phi]), set("gamma", &gamma)].into_iter().collect();
    let mesh = MziMesh::new(Layout::Triangular, 2).unwrap();
    // Even splitters: i exp(i theta/2 - i theta/2) .. = i [[e^(i phi) sin, e^(i phi) cos], [cos, -sin]].
    let (sin, cos) = (theta / 2.0f64).sin_cos();
    let want = |row: usize, column: usize| {
        let amplitude = [[sin, cos], [cos, -sin]][row][column];
        let phase = PI / 2.0 + [phi, 0.0][row] + gamma[column];
        (amplitude * phase.cos(), amplitude * phase.sin())
    };
    let u = matrix(&mesh, &controls, &Deviations::none());
    for row in 0..2 {
        for column in 0..2 {
            let (re, im) = want(row, column);
            assert!((u[row * 2 + column] - re).abs() < 1e-15, "{u:?}");
            assert!((u[4 + row * 2 + column] - im).abs() < 1e-15, "{u:?}");
        }
    }
    // In the other basis half of theta more on both outputs.
    let single =
        matrix(&mesh.clone().with_basis(Basis::SingleMode), &controls, &Deviations::none());
    let (sin, cos) = (theta / 2.0f64).sin_cos();
    for k in 0..4 {
        assert!((single[k] - (u[k] * cos - u[4 + k] * sin)).abs() < 1e-15);
        assert!((single[4 + k] - (u[4 + k] * cos + u[k] * sin)).abs() < 1e-15);
    }
    // A ratio of splitting and an angle of coupling are two names of one error.
    let eta: f64 = 0.2;
    let by_angle = mesh.clone().with_splitter_error(SplitterError::Angle);
    let error = |mesh: &MziMesh, e: f64| {
        let left = Deviations::none().with(LEFT_SPLITTER_ERROR, Tensor::new(e).unwrap());
        Tensor::from_vec(matrix(mesh, &controls, &left), 8).unwrap()
    };
    check_close(&error(&by_angle, eta), &error(&mesh, -(2.0 * eta).sin()), 0.0, 1e-15).unwrap();
    // Power that stays in a splitter: (1 + e) / 2. With theta = 0 and one even splitter the upper
    // input goes to the upper output with (sqrt((1+e)/2) - sqrt((1-e)/2))^2 / 2.
    let (name, zero) = set("theta", &[0.0]);
    let still: Controls =
        [(name, zero), set("phi", &[phi]), set("gamma", &gamma)].into_iter().collect();
    let right = Deviations::none().with(RIGHT_SPLITTER_ERROR, Tensor::new(0.4).unwrap());
    let u = matrix(&mesh, &still, &right);
    let want = (0.7f64.sqrt() - 0.3f64.sqrt()).powi(2) / 2.0;
    assert!((u[0].powi(2) + u[4].powi(2) - want).abs() < 1e-15);
}

/// Every column that leaves a port alone turns that port by the idle phase.
#[test]
fn idle_ports_get_their_phase() {
    // Three ports: column 0 leaves port 2, column 1 port 0, column 2 port 2.
    let plain = MziMesh::new(Layout::Rectangular, 3).unwrap();
    let turned = plain.clone().with_idle_phase(0.9);
    let one = controls(&plain, 1);
    let (before, after) = (
        plain.transfer(&one, &[&Deviations::none()]).unwrap(),
        turned.transfer(&one, &[&Deviations::none()]).unwrap(),
    );
    // By hand: the same columns with the other port turned in between.
    let (theta, phi) = (values(one.get("theta").unwrap()), values(one.get("phi").unwrap()));
    let gamma = values(one.get("gamma").unwrap());
    let column = |pair: (usize, usize), idle: usize, cell: usize, turn: f64| {
        let mut m = [[(0.0, 0.0); 3]; 3];
        let (sin, cos) = (theta[cell] / 2.0).sin_cos();
        let i = |amplitude: f64, phase: f64| (-amplitude * phase.sin(), amplitude * phase.cos());
        m[pair.0][pair.0] = i(sin, phi[cell]);
        m[pair.0][pair.1] = i(cos, phi[cell]);
        m[pair.1][pair.0] = i(cos, 0.0);
        m[pair.1][pair.1] = i(-sin, 0.0);
        m[idle][idle] = (turn.cos(), turn.sin());
        m
    };
    for (turn, got) in [(0.0, before), (0.9, after)] {
        let mut u = [[(0.0, 0.0); 3]; 3];
        for (port, row) in u.iter_mut().enumerate() {
            row[port] = (gamma[port].cos(), gamma[port].sin());
        }
        for (pair, idle, cell) in [((0, 1), 2, 0), ((1, 2), 0, 1), ((0, 1), 2, 2)] {
            let m = column(pair, idle, cell, turn);
            let mut next = [[(0.0, 0.0); 3]; 3];
            for (row, next) in m.iter().zip(&mut next) {
                for (k, (re, im)) in row.iter().enumerate() {
                    for (sum, (a, b)) in next.iter_mut().zip(u[k]) {
                        sum.0 += re * a - im * b;
                        sum.1 += re * b + im * a;
                    }
                }
            }
            u = next;
        }
        let (re, im): (Vec<f64>, Vec<f64>) = u.concat().into_iter().unzip();
        let want = Tensor::from_vec([re, im].concat(), got.shape()).unwrap();
        check_close(&got, &want, 0.0, 1e-15).unwrap();
    }
}

#[test]
fn chips_side_by_side_are_what_they_are_alone() {
    for layout in LAYOUTS {
        let mesh = MziMesh::published(9).unwrap();
        let mesh =
            if layout == Layout::Rectangular { mesh } else { MziMesh::new(layout, 9).unwrap() };
        let controls = controls(&mesh, 1);
        let chips = [errors(&mesh, 1, 0.1), Deviations::none(), errors(&mesh, 2, 0.1)];
        let together = mesh.transfer(&controls, &chips.each_ref()).unwrap();
        for (number, chip) in chips.iter().enumerate() {
            let alone = mesh.transfer(&controls, &[chip]).unwrap();
            check_same_bits(&together.narrow(0, number, 1).unwrap(), &alone).unwrap();
        }
    }
}

/// Heaters warm their neighbours of the same column, and these only.
#[test]
fn crosstalk_reaches_neighbours() {
    let mesh = MziMesh::new(Layout::Rectangular, 6).unwrap();
    let controls = controls(&mesh, 4);
    let leak = Deviations::none().with(THERMAL_CROSSTALK, Tensor::new(0.05).unwrap());
    let neighbours = |phases: Vec<f64>| -> Tensor {
        // Columns of 3, 2, 3, 2, 3, 2 interferometers.
        let mut sums = vec![0.0; 15];
        let mut first = 0;
        for size in [3, 2, 3, 2, 3, 2] {
            for k in first..first + size {
                if k > first {
                    sums[k] += 0.05 * phases[k - 1];
                }
                if k + 1 < first + size {
                    sums[k] += 0.05 * phases[k + 1];
                }
            }
            first += size;
        }
        Tensor::from_vec(sums, 15).unwrap()
    };
    let by_hand = Deviations::none()
        .with(THETA_ERROR_RAD, neighbours(values(controls.get("theta").unwrap())))
        .with(PHI_ERROR_RAD, neighbours(values(controls.get("phi").unwrap())));
    let got = mesh.transfer(&controls, &[&leak]).unwrap();
    // A heater does not know of whole turns.
    let turned: Controls =
        controls.iter().map(|(n, v)| (n.to_owned(), (v + 4.0 * PI).unwrap())).collect();
    check_close(&mesh.transfer(&turned, &[&leak]).unwrap(), &got, 0.0, 1e-13).unwrap();
    check_close(&got, &mesh.transfer(&controls, &[&by_hand]).unwrap(), 0.0, 1e-14).unwrap();
}

/// `E |U_ij|^4 = 2 / (N (N + 1))` and `E |U_ij|^2 = 1 / N` for each element of a Haar-random matrix.
#[test]
fn random_meshes_are_haar_random() {
    let (ports, draws) = (6usize, 3000u64);
    for layout in [Layout::Rectangular, Layout::Triangular] {
        let mesh = MziMesh::new(layout, ports).unwrap();
        let (mut second, mut fourth) = (vec![0.0; ports * ports], vec![0.0; ports * ports]);
        for seed in 0..draws {
            let u = matrix(&mesh, &controls(&mesh, seed), &Deviations::none());
            let (re, im) = u.split_at(ports * ports);
            for (k, (re, im)) in re.iter().zip(im).enumerate() {
                let power = re * re + im * im;
                second[k] += power / draws as f64;
                fourth[k] += power * power / draws as f64;
            }
        }
        // |U_ij|^2 is Beta(1, N - 1): five standard errors of its mean and of its square's.
        let n = ports as f64;
        let moment =
            |k: f64| (1..=k as usize).map(|i| i as f64 / (n + i as f64 - 1.0)).product::<f64>();
        for (got, k) in [(&second, 1.0), (&fourth, 2.0)] {
            let error = 5.0 * ((moment(2.0 * k) - moment(k).powi(2)) / draws as f64).sqrt();
            for (place, got) in got.iter().enumerate() {
                assert!((got - moment(k)).abs() < error, "{layout:?}, {place}, moment {k}: {got}");
            }
        }
    }
}

#[test]
fn what_is_out_of_range_is_named() {
    let error = |layout: Layout, ports| MziMesh::new(layout, ports).unwrap_err().to_string();
    for layout in LAYOUTS {
        for ports in [0, 1] {
            let want = format!("number of ports of the mesh is {ports}, allowed is [2, infinity)");
            assert_eq!(error(layout, ports), want);
        }
    }
    let mesh = MziMesh::new(Layout::Rectangular, 4).unwrap();
    let good = controls(&mesh, 1);
    let run = |controls: &Controls, deviations: &Deviations| {
        let x = normal(1, "x", 1.0, &[2, 4]);
        mesh.forward(&x, controls, deviations).unwrap_err().to_string()
    };
    let at = |size: usize, place: usize, value: f64| {
        let values = (0..size).map(|k| if k == place { value } else { 0.1 }).collect::<Vec<_>>();
        Tensor::from_vec(values, size).unwrap()
    };
    let with = |name: &str, value: Tensor| -> Controls {
        let others = good.iter().filter(|(n, _)| *n != name);
        let others = others.map(|(n, v)| (n.to_owned(), v.clone()));
        others.chain([(name.to_owned(), value)]).collect()
    };
    let ideal = Deviations::none();
    assert_eq!(
        run(&with("theta", at(6, 3, f64::NAN)), &ideal),
        "theta (number 3) is NaN, allowed is finite"
    );
    assert_eq!(
        run(&with("gamma", at(4, 2, f64::INFINITY)), &ideal),
        "gamma (number 2) is inf, allowed is finite"
    );
    assert!(
        run(&with("phi", at(5, 0, 0.1)), &ideal).contains("phi has shape [5], but [6] is needed")
    );
    let port = |name: &str, value: f64| Deviations::none().with(name, at(6, 5, value));
    for value in [1.0, -1.0, 1.7, f64::NAN] {
        for name in [LEFT_SPLITTER_ERROR, RIGHT_SPLITTER_ERROR] {
            let want = format!("{name} (number 5) is {value}, allowed is (-1, 1)");
            assert_eq!(run(&good, &port(name, value)), want);
        }
    }
    assert_eq!(
        run(&good, &port(EXCESS_LOSS_DB, -0.5)),
        "insertion loss in dB (number 0) is 0.1, allowed is [0, infinity)"
            .replace("(number 0) is 0.1", "(number 5) is -0.5")
    );
    assert!(
        run(&good, &Deviations::none().with(GAMMA_ERROR_RAD, at(3, 0, 0.0))).contains("shape [3]")
    );
    let error = mesh.clone().with_loss_db(-1.0).unwrap_err().to_string();
    assert_eq!(error, "insertion loss in dB is -1, allowed is [0, infinity)");
    let x = normal(1, "x", 1.0, &[2, 5]);
    let error = mesh.forward(&x, &good, &ideal).unwrap_err().to_string();
    assert!(error.contains("[2, 5]") && error.contains("(batch, 4)"), "{error}");
}

#[test]
fn fields_before_and_after_the_detectors() {
    for detection in [Detection::Power, Detection::NormalisedPower, Detection::Coherent] {
        let mesh = MziMesh::published(8).unwrap().with_detection(detection);
        let (controls, x) = (controls(&mesh, 1), normal(2, "x", 1.0, &[5, 8]));
        let chip = errors(&mesh, 3, 0.2);
        let output = mesh.field_output().unwrap();
        assert_eq!(output.field_ports(), 8);
        let ideal = output.field(&x, &controls, &Deviations::none()).unwrap();
        let real = output.field(&x, &controls, &chip).unwrap();
        let measured = mesh.forward(&x, &controls, &chip).unwrap();
        check_same_bits(&output.detect(&real).unwrap(), &measured).unwrap();
        // Fused with its own measurement a field stays; another one gets the measured powers and
        // keeps its phases.
        check_close(&output.fuse(&real, &measured).unwrap(), &real, 1e-12, 1e-12).unwrap();
        let fused = output.fuse(&ideal, &measured).unwrap();
        check_close(&output.detect(&fused).unwrap(), &measured, 1e-12, 1e-12).unwrap();
        if detection == Detection::Coherent {
            check_same_bits(&fused, &real).unwrap();
            continue;
        }
        let (fused, ideal) = (values(&fused), values(&ideal));
        for (fused, ideal) in fused.chunks(16).zip(ideal.chunks(16)) {
            let power = |field: &[f64]| field.iter().map(|v| v * v).sum::<f64>();
            assert!((power(fused) / power(ideal) - 1.0).abs() < 1e-12);
            for k in 0..8 {
                let cross = fused[k] * ideal[k + 8] - fused[k + 8] * ideal[k];
                let along = fused[k] * ideal[k] + fused[k + 8] * ideal[k + 8];
                assert!(cross.abs() < 1e-12 && along > 0.0);
            }
        }
        assert!(output.fuse(&measured, &measured).is_err());
        let dark = measured.zeros_like().unwrap();
        assert!(values(&output.fuse(&real, &dark).unwrap()).iter().all(|v| *v == 0.0));
    }
}
