//! Decompositions: matrix to phases to matrix is the identity; edge cases; errors.

use crate::matrices;

use std::f64::consts::{PI, TAU};

use matrices::{UNIVERSAL, fourier, identity, largest_difference, of, random, transfer, values};
use pnn_core::{DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mzi::{Basis, Detection, Layout, MziMesh};
use proptest::prelude::*;

/// How far the mesh with the phases of a target is from it.
fn off(mesh: &MziMesh, target: &Tensor) -> f64 {
    let controls = mesh.decompose(target).unwrap();
    let within = |name: &str, high: f64| {
        let set = values(controls.get(name).unwrap());
        assert!(set.iter().all(|v| (0.0..=high).contains(v)), "{name}: {set:?}");
    };
    within("theta", PI);
    within("phi", TAU);
    within("gamma", TAU);
    largest_difference(&transfer(mesh, &controls, &Deviations::none()), target)
}

/// Elements are sums of `ports` roundings for each of `ports` columns, each below 2^-52, and add
/// like random numbers: about `ports 2^-52`, here with a factor 10 for the worst element.
fn allowed(ports: usize) -> f64 {
    10.0 * ports as f64 * f64::EPSILON
}

fn all_meshes(ports: usize) -> Vec<MziMesh> {
    let mut meshes = Vec::new();
    for layout in UNIVERSAL {
        for basis in [Basis::Bloch, Basis::SingleMode] {
            for idle in [0.0, -1.1] {
                let mesh = MziMesh::new(layout, ports).unwrap();
                meshes.push(mesh.with_basis(basis).with_idle_phase(idle));
            }
        }
    }
    meshes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_unitary_matrix_comes_back(
        layout in prop::sample::select(vec![Layout::Rectangular, Layout::Triangular, Layout::Butterfly]),
        ports in 2..=24usize,
        seed in any::<u64>(),
    ) {
        let target = random(layout, ports, seed);
        for mesh in all_meshes(ports) {
            let off = off(&mesh, &target);
            prop_assert!(off < allowed(ports), "{:?}, {:?}: {off:e}", mesh.layout(), mesh.basis());
        }
    }

    /// The phases of a mesh are the only ones: those found are those set.
    #[test]
    fn phases_come_back(ports in 2..=9usize, which in 0..8usize, seed in any::<u64>()) {
        let mesh = &all_meshes(ports)[which];
        let set = mesh.init(&Seed::new(seed), DType::F64).unwrap();
        let found = mesh.decompose(&transfer(mesh, &set, &Deviations::none())).unwrap();
        for name in ["theta", "phi", "gamma"] {
            let pairs = values(set.get(name).unwrap()).into_iter().zip(values(found.get(name).unwrap()));
            for (set, found) in pairs {
                let off = (set - found + PI).rem_euclid(TAU) - PI;
                // Where theta is near 0 or pi, phases have few digits.
                prop_assert!(off.abs() < 1e-6, "{name}: {set} and {found}");
            }
        }
    }
}

#[test]
fn large_matrices_come_back() {
    for (ports, from) in [
        (63, Layout::Triangular),
        (64, Layout::Rectangular),
        (64, Layout::Butterfly),
        (101, Layout::Triangular),
    ] {
        let target = random(from, ports, 5);
        for layout in UNIVERSAL {
            let off = off(&MziMesh::new(layout, ports).unwrap(), &target);
            println!("{ports} ports, {from:?} on {layout:?}: {off:e}");
            assert!(off < allowed(ports), "{ports} ports, {layout:?}: {off:e}");
        }
        let off = off(&MziMesh::published(ports).unwrap().with_basis(Basis::SingleMode), &target);
        assert!(off < allowed(ports), "{ports} ports, published: {off:e}");
    }
}

/// Matrices with many zeros, in which most rotations have nothing to null.
#[test]
fn zeros_do_no_harm() {
    let swap = |a: usize, b: usize, k: usize| {
        if k == a {
            b
        } else if k == b {
            a
        } else {
            k
        }
    };
    for ports in (3..=9).chain([16, 33, 64]) {
        let permutation = |to: &dyn Fn(usize) -> usize| {
            of(ports, ports, |row, column| (f64::from(u8::from(to(column) == row)), 0.0))
        };
        let blocks = random(Layout::Rectangular, ports.div_ceil(2), 3);
        let (size, blocks) = (ports.div_ceil(2), values(&blocks));
        let block = |row: usize, column: usize| {
            if row < size && column < size {
                let at = row * size + column;
                (blocks[at], blocks[size * size + at])
            } else {
                (f64::from(u8::from(row == column)), 0.0)
            }
        };
        // Rotations of neighbours by angles down to those whose sines are subnormal.
        let small = |angle: f64| {
            of(ports, ports, |row, column| {
                let whole = ports / 2 * 2;
                match (row == column, row / 2 == column / 2 && row.max(column) < whole) {
                    (true, true) => (angle.cos(), 0.0),
                    (false, true) => (0.0, angle.sin()),
                    (one, false) => (f64::from(u8::from(one)), 0.0),
                }
            })
        };
        let flip = ports - 1;
        let targets = [
            ("identity", identity(ports)),
            ("reverse", permutation(&|k| flip - k)),
            ("cyclic", permutation(&|k| (k + 1) % ports)),
            ("stride", permutation(&|k| if ports % 3 == 0 { k } else { 3 * k % ports })),
            ("first and last", permutation(&|k| swap(0, flip, k))),
            ("neighbours", permutation(&|k| swap(ports / 2, (ports / 2 + 1) % ports, k))),
            ("fourier", fourier(ports)),
            (
                "diagonal",
                of(ports, ports, |row, column| {
                    let (sin, cos) = (row as f64).sin_cos();
                    if row == column { (cos, sin) } else { (0.0, 0.0) }
                }),
            ),
            ("first block", of(ports, ports, block)),
            ("last block", of(ports, ports, |row, column| block(flip - row, flip - column))),
            ("1e-9", small(1e-9)),
            ("1e-17", small(1e-17)),
            ("1e-170", small(1e-170)),
            ("1e-310", small(1e-310)),
            ("5e-324", small(5e-324)),
            // Two neighbours that have no digits to spare.
            (
                "subnormal row",
                of(ports, ports, |row, column| {
                    if row == column {
                        (1.0, 0.0)
                    } else if row == flip {
                        (5e-324 * (1 + 2 * column) as f64, 0.0)
                    } else {
                        (0.0, 0.0)
                    }
                }),
            ),
        ];
        for mesh in all_meshes(ports) {
            for (name, target) in &targets {
                let off = off(&mesh, target);
                let (layout, basis) = (mesh.layout(), mesh.basis());
                assert!(
                    off < allowed(ports),
                    "{name}, {ports} ports, {layout:?}, {basis:?}: {off:e}"
                );
            }
        }
    }
}

#[test]
fn loss_and_detection_do_not_matter() {
    let mesh = MziMesh::new(Layout::Rectangular, 5).unwrap();
    let other = mesh.clone().with_loss_db(0.4).unwrap().with_detection(Detection::Power);
    let target = random(Layout::Triangular, 5, 1);
    let (one, other) = (mesh.decompose(&target).unwrap(), other.decompose(&target).unwrap());
    for (name, set) in one.iter() {
        assert_eq!(values(set), values(other.get(name).unwrap()));
    }
}

#[test]
fn what_cannot_be_decomposed_is_named() {
    let mesh = MziMesh::new(Layout::Rectangular, 3).unwrap();
    let error = |target: &Tensor| mesh.decompose(target).unwrap_err().to_string();
    let wrong = random(Layout::Rectangular, 4, 1);
    assert_eq!(error(&wrong), "target has shape [2, 4, 4], but (2, 3, 3) is needed");
    let real = wrong.narrow(0, 0, 1).unwrap().reshape([4, 4]).unwrap();
    assert_eq!(error(&real), "target has shape [4, 4], but (2, 3, 3) is needed");
    let with = |place: usize, value: f64| {
        let mut elements = values(&identity(3));
        elements[place] = value;
        Tensor::from_vec(elements, [2, 3, 3]).unwrap()
    };
    for (value, word) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let want = format!("element of the target (number 10) is {word}, allowed is finite");
        assert_eq!(error(&with(10, value)), want);
    }
    // The second row is 1.5 long: 2.25 - 1.
    let want =
        "largest element of U U^H - 1 of the target U is 1.25, allowed is [0, 1e-8]: unitary";
    assert_eq!(error(&with(4, 1.5)), want);
    // 1 and i 2e-8 beside each other: the rows are no longer orthogonal by 2e-8; 5e-9 is allowed.
    assert!(error(&with(10, 2e-8)).contains("is 0.00000002,"), "{}", error(&with(10, 2e-8)));
    assert!(off(&mesh, &with(10, 5e-9)) < 1e-8);
    // Rounded to f32 a matrix is not unitary to 1e-8.
    let single = random(Layout::Rectangular, 3, 1).to_dtype(DType::F32).unwrap();
    assert!(error(&single).contains("unitary"));
    assert!(mesh.decompose(&identity(3).to_dtype(DType::F32).unwrap()).is_ok());
    let butterfly = MziMesh::new(Layout::Butterfly, 4).unwrap().decompose(&identity(4));
    assert_eq!(
        butterfly.unwrap_err().to_string(),
        "a butterfly, which is not universal, does not support the decomposition of a matrix"
    );
}
