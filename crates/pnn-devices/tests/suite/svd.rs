//! Any matrix by two meshes and attenuators.

use crate::matrices;

use matrices::{largest_difference, normal, of, values};
use pnn_core::testing::conformance;
use pnn_core::{Bounds, Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mzi::{
    ATTENUATION_ERROR, Basis, Detection, Layout, MziMesh, SplitterError, SvdMesh,
};
use proptest::prelude::*;

fn device(inputs: usize, outputs: usize) -> SvdMesh {
    let input = MziMesh::published(inputs).unwrap();
    let output = MziMesh::new(Layout::Triangular, outputs).unwrap();
    SvdMesh::new(input, output.with_basis(Basis::SingleMode)).unwrap()
}

/// How far the device with the settings of a target is from it, relative to the largest element.
fn off(device: &SvdMesh, target: &Tensor) -> f64 {
    let controls = device.decompose(target).unwrap();
    let attenuation = values(controls.get("attenuation").unwrap());
    assert!(attenuation.iter().all(|v| (0.0..=1.0).contains(v)), "{attenuation:?}");
    assert!(attenuation.windows(2).all(|pair| pair[0] >= pair[1]), "{attenuation:?}");
    let reached = device.matrix(&controls, &Deviations::none()).unwrap();
    let real = [&[2], reached.dims()].concat();
    let whole = match target.rank() {
        2 => Tensor::stack(&[target, &target.zeros_like().unwrap()]).unwrap(),
        _ => target.clone(),
    };
    assert_eq!(real[1..], *whole.dims());
    let largest = values(target).iter().fold(f64::MIN_POSITIVE, |m, v| m.max(v.abs()));
    largest_difference(&(reached / largest).unwrap(), &(whole / largest).unwrap())
}

#[test]
fn devices_conform() {
    let seed = Seed::new(5);
    // Loss of their own, so that the suite's gains at the ports of loss leave some.
    let lossy = |mesh: MziMesh| mesh.with_loss_db(0.2).unwrap();
    let mesh = |layout, ports| lossy(MziMesh::new(layout, ports).unwrap());
    let single = mesh(Layout::Triangular, 4).with_basis(Basis::SingleMode);
    let angle = mesh(Layout::Triangular, 4).with_splitter_error(SplitterError::Angle);
    let power = mesh(Layout::Rectangular, 4).with_detection(Detection::Power);
    for (device, real) in [
        (SvdMesh::new(lossy(MziMesh::published(5).unwrap()), single).unwrap(), true),
        (SvdMesh::new(angle, mesh(Layout::Rectangular, 5)).unwrap(), false),
        (SvdMesh::new(mesh(Layout::Butterfly, 4), power).unwrap(), true),
    ] {
        let inputs = device.input().wiring().ports();
        let x = if real {
            normal(1, "x", 1.0, &[2, inputs])
        } else {
            normal(1, "x", 1.0, &[2, 2, inputs])
        };
        conformance(&device, &x, &seed).unwrap_or_else(|e| panic!("{inputs} inputs: {e}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_matrix_comes_back(outputs in 2..=12usize, inputs in 2..=12usize, real in any::<bool>(), seed in any::<u64>()) {
        let dims: &[usize] = if real { &[outputs, inputs] } else { &[2, outputs, inputs] };
        let device = device(inputs, outputs);
        let target = normal(seed, "target", 1.0, dims);
        prop_assert!(off(&device, &target) < 1e-12, "{:e}", off(&device, &target));
        // Whole numbers from -1 to 1: ranks are not full, singular values coincide.
        let whole: Vec<f64> = values(&target).iter().map(|v| v.round().clamp(-1.0, 1.0)).collect();
        let whole = Tensor::from_vec(whole, dims).unwrap();
        prop_assert!(off(&device, &whole) < 1e-12, "{:e}", off(&device, &whole));
        // Of rank one, and with rows of very different lengths.
        let (left, right) = (values(&normal(seed, "left", 1.0, &[outputs])), values(&normal(seed, "right", 1.0, &[inputs])));
        let product = of(outputs, inputs, |row, column| (left[row] * right[column], -left[row]));
        prop_assert!(off(&device, &product) < 1e-12);
        let graded = of(outputs, inputs, |row, column| (left[row] * 10f64.powi(-40 * row as i32), right[column]));
        prop_assert!(off(&device, &graded) < 1e-12);
    }

    /// A chip's own matrix is in its reach, however large its errors are.
    #[test]
    fn matrices_in_reach_are_exact(ports in 3..=7usize, wide in any::<bool>(), seed in any::<u64>()) {
        let device = if wide { device(ports, ports - 1) } else { device(ports, ports) };
        let chip = device.ports().iter().filter(|p| p.unit != "dB" && !p.name.contains("crosstalk")).fold(
            Deviations::none(),
            |chip, port| {
                let error = normal(seed, port.name, 0.15, port.shape.dims());
                let limit = if port.name == ATTENUATION_ERROR { 0.1 } else { 0.9 };
                chip.with(port.name, error.clamp(-limit, limit).unwrap())
            },
        );
        let rank = if wide { ports - 1 } else { ports };
        // What passes falls from port to port, so that it is clear which singular value is which.
        let passes: Vec<f64> = (0..rank).map(|k| 0.9 - 0.8 * k as f64 / ports as f64).collect();
        let error = values(chip.get(ATTENUATION_ERROR).unwrap());
        let set = passes.iter().zip(&error).map(|(v, e)| v - e).collect();
        let controls: Controls = device
            .init(&Seed::new(seed), DType::F64)
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "attenuation")
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .chain([("attenuation".to_owned(), Tensor::from_vec(set, rank).unwrap())])
            .collect();
        let target = device.matrix(&controls, &chip).unwrap();
        let programmed = device.program(&target, &chip).unwrap();
        let reached = device.matrix(&programmed.controls, &chip).unwrap();
        prop_assert_eq!(programmed.unreachable, 0);
        prop_assert!(programmed.distance < 1e-10, "{:e}", programmed.distance);
        prop_assert!(largest_difference(&reached, &target) < 1e-10);
        let attenuation = values(programmed.controls.get("attenuation").unwrap());
        prop_assert!(attenuation.iter().all(|v| (0.0..=1.0).contains(v)), "{:?}", attenuation);
    }
}

#[test]
fn large_and_special_matrices_come_back() {
    let large = normal(2, "target", 1.0, &[2, 64, 48]);
    let found = off(&device(48, 64), &large);
    println!("64 x 48: {found:e}");
    assert!(found < 1e-12, "{found:e}");
    let square = device(4, 4);
    let of_four =
        |element: &dyn Fn(usize, usize) -> f64| of(4, 4, |row, column| (element(row, column), 0.0));
    for (name, target) in [
        ("zero", of_four(&|_, _| 0.0)),
        ("one element", of_four(&|row, column| f64::from(u8::from(row == 2 && column == 1)))),
        ("identity", of_four(&|row, column| f64::from(u8::from(row == column)))),
        ("ones", of_four(&|_, _| 1.0)),
        ("huge", of_four(&|row, column| 1e300 * (row as f64 - column as f64))),
        ("tiny", of_four(&|row, column| 1e-300 * (row as f64 - column as f64))),
        ("graded", of_four(&|row, column| 10f64.powi(-80 * (row + column) as i32))),
        ("triangle", of_four(&|row, column| if row <= column { 1.0 } else { 0.0 })),
    ] {
        let found = off(&square, &target);
        assert!(found < 1e-14, "{name}: {found:e}");
    }
}

/// The scale of a diagonal matrix is its largest element; attenuations are the others.
#[test]
fn settings_by_hand() {
    let target = of(
        3,
        4,
        |row, column| if row == column { ([2.0, -8.0, 4.0][row], 0.0) } else { (0.0, 0.0) },
    );
    let controls = device(4, 3).decompose(&target).unwrap();
    assert_eq!(values(controls.get("scale").unwrap()), [8.0]);
    assert_eq!(values(controls.get("attenuation").unwrap()), [1.0, 0.5, 0.25]);
    // Attenuators that let 0.2 too little through ask for more electronic gain.
    let less = Deviations::none().with(ATTENUATION_ERROR, Tensor::new(-0.2).unwrap());
    let programmed = device(4, 3).program(&target, &less).unwrap();
    assert!((values(programmed.controls.get("scale").unwrap())[0] - 10.0).abs() < 1e-12);
    assert!(programmed.unreachable == 0 && programmed.distance < 1e-14, "{programmed:?}");
    // Those that let 0.3 too much through cannot let 2/8 through: off by a part of 8 of the norm sqrt(84).
    let more = Deviations::none().with(ATTENUATION_ERROR, Tensor::new([0.0, 0.0, 0.3]).unwrap());
    let programmed = device(4, 3).program(&target, &more).unwrap();
    assert_eq!(programmed.unreachable, 1);
    assert!((programmed.distance - 8.0 * 0.05 / 84f64.sqrt()).abs() < 1e-14);
    // A mesh's own loss is ignored, in the distance too.
    let lossy = MziMesh::new(Layout::Rectangular, 3).unwrap().with_loss_db(1.0).unwrap();
    let lossy = SvdMesh::new(lossy.clone(), lossy).unwrap();
    let target = normal(1, "target", 1.0, &[3, 3]);
    assert!(lossy.program(&target, &Deviations::none()).unwrap().distance < 1e-14);
}

/// Before the electronics light is only lost: with ports beyond the attenuators, too.
#[test]
fn no_energy_is_made() {
    for (inputs, outputs) in [(3, 5), (5, 3), (4, 4)] {
        let device = device(inputs, outputs);
        let controls = device.init(&Seed::new(7), DType::F64).unwrap();
        let scale = values(controls.get("scale").unwrap())[0];
        let x = normal(3, "x", 1.0, &[1, 2, inputs]);
        let y = device.forward(&x, &controls, &Deviations::none()).unwrap();
        let energy = |field: &Tensor| values(field).iter().map(|v| v * v).sum::<f64>();
        assert!(energy(&y) <= scale * scale * energy(&x) * (1.0 + 1e-12));
        // The matrix does to fields what the device does.
        let w = device.matrix(&controls, &Deviations::none()).unwrap();
        assert_eq!(w.dims(), [2, outputs, inputs]);
        let (w, x, y) = (values(&w), values(&x), values(&y));
        for row in 0..outputs {
            let (mut re, mut im) = (0.0, 0.0);
            for column in 0..inputs {
                let at = row * inputs + column;
                let (a, b) = (w[at], w[outputs * inputs + at]);
                re += a * x[column] - b * x[inputs + column];
                im += a * x[inputs + column] + b * x[column];
            }
            assert!((re - y[row]).abs() < 1e-13 && (im - y[outputs + row]).abs() < 1e-13);
        }
    }
}

/// The mean square of a weight is `1 / (3 inputs)`.
#[test]
fn initial_weights_are_as_large_as_others() {
    for (inputs, outputs) in [(4, 6), (6, 4), (5, 5)] {
        let device = device(inputs, outputs);
        let draws = 400;
        let squares: Vec<f64> = (0..draws)
            .map(|seed| {
                let controls = device.init(&Seed::new(seed), DType::F64).unwrap();
                let w = values(&device.matrix(&controls, &Deviations::none()).unwrap());
                w.iter().map(|w| w * w).sum::<f64>() / (inputs * outputs) as f64
            })
            .collect();
        let mean = squares.iter().sum::<f64>() / draws as f64;
        // Squares of uniform numbers have the mean 1/3 and the variance 4/45; there are `rank` of them.
        let rank = inputs.min(outputs) as f64;
        let spread = (4.0 / 45.0 / rank / draws as f64).sqrt() * 3.0;
        let want = 1.0 / (3.0 * inputs as f64);
        assert!((mean / want - 1.0).abs() < 5.0 * spread, "{mean}, not {want}");
    }
}

#[test]
fn drives_name_their_ports() {
    let device = device(3, 2);
    let controls = device.init(&Seed::new(1), DType::F64).unwrap();
    let drives = device.drives(&controls).unwrap();
    let names: Vec<_> = drives.iter().map(|drive| drive.port).collect();
    let want = ["theta", "phi", "gamma"];
    let want = ["input", "output"]
        .iter()
        .flat_map(|side| want.map(|name| format!("{side}_{name}_error_rad")));
    assert_eq!(names, want.chain([ATTENUATION_ERROR.to_owned()]).collect::<Vec<_>>());
    for drive in &drives {
        let port = device.ports().iter().find(|port| port.name == drive.port).unwrap();
        assert_eq!(drive.setting.dims(), port.shape.dims());
    }
    assert_eq!(drives[6].range, Bounds { low: 0.0, high: 1.0 });
}

#[test]
fn what_does_not_fit_is_named() {
    let device = device(3, 2);
    let error = |target: &Tensor| device.decompose(target).unwrap_err().to_string();
    let want = "target has shape [3, 2], but (2, 3) or (2, 2, 3) is needed";
    assert_eq!(error(&normal(1, "x", 1.0, &[3, 2])), want);
    assert!(error(&normal(1, "x", 1.0, &[1, 2, 3])).contains("[1, 2, 3]"));
    let nan = Tensor::new([[0.0, 1.0, f64::NAN], [0.0; 3]]).unwrap();
    assert_eq!(error(&nan), "element of the target (number 2) is NaN, allowed is finite");
    let target = normal(1, "x", 1.0, &[2, 3]);
    let error = |chip: &Deviations| device.program(&target, chip).unwrap_err().to_string();
    let with = |port: &str, value: f64| Deviations::none().with(port, Tensor::new(value).unwrap());
    for side in ["input", "output"] {
        for port in ["excess_loss_db", "thermal_crosstalk"] {
            let want =
                format!("programming of a mesh does not support the correction of {side}_{port}");
            assert_eq!(error(&with(&format!("{side}_{port}"), 0.1)), want);
        }
    }
    let want = "attenuation_error (number 0) is -1, allowed is (-1, infinity)";
    assert_eq!(error(&with(ATTENUATION_ERROR, -1.0)), want);
    assert!(error(&with("theta_error_rad", 0.0)).contains("no deviation port named"));
    let butterfly = |ports| MziMesh::new(Layout::Butterfly, ports).unwrap();
    let other = SvdMesh::new(butterfly(3), butterfly(2)).unwrap().decompose(&target).unwrap_err();
    assert!(other.to_string().contains("not universal"), "{other}");
    let controls = device.init(&Seed::new(1), DType::F64).unwrap();
    let rest = controls.iter().filter(|(name, _)| *name != "output_phi");
    let rest: Controls = rest.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let x = normal(1, "x", 1.0, &[2, 3]);
    let missing = device.forward(&x, &rest, &Deviations::none()).unwrap_err().to_string();
    assert!(missing.starts_with("no control named \"output_phi\""), "{missing}");
}
