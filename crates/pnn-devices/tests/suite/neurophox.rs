//! Meshes against those of neurophox (golden vectors of its `NumPy` backend, in float64).

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::testing::check_close;
use pnn_core::{Controls, DType, Deviations, Tensor, store};
use pnn_devices::mzi::{
    Basis, LEFT_SPLITTER_ERROR, Layout, MziMesh, RIGHT_SPLITTER_ERROR, SplitterError,
};

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    layout: Layout,
    ports: usize,
    basis: String,
}

fn golden() -> (Vec<Case>, BTreeMap<String, Tensor>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/neurophox.safetensors");
    let (tensors, metadata) = store::load(&file).unwrap();
    assert!(metadata.contains_key("neurophox"), "{metadata:?}");
    (serde_json::from_str(&metadata["cases"]).unwrap(), tensors)
}

/// An element passes at most 64 columns, and each turns and adds it with an error of about 2e-16.
const TOLERANCE: f64 = 2e-14;

#[test]
fn transfer_matrices_are_those_of_neurophox() {
    let (cases, tensors) = golden();
    assert_eq!(cases.len(), 46);
    for Case { name, layout, ports, basis } in cases {
        let get = |part: &str| &tensors[&format!("{name}/{part}")];
        let basis = if basis == "sm" { Basis::SingleMode } else { Basis::Bloch };
        let mesh = MziMesh::neurophox(layout, ports, basis).unwrap();
        let controls: Controls = [
            ("theta".to_owned(), mesh.gather(get("theta")).unwrap()),
            ("phi".to_owned(), mesh.gather(get("phi")).unwrap()),
            ("gamma".to_owned(), get("gamma").clone()),
        ]
        .into_iter()
        .collect();
        let (left, right) = (mesh.gather(get("left")).unwrap(), mesh.gather(get("right")).unwrap());
        let errors = |left: Tensor, right: Tensor| {
            Deviations::none().with(LEFT_SPLITTER_ERROR, left).with(RIGHT_SPLITTER_ERROR, right)
        };
        // Theirs are from input (first) to output.
        let want = Tensor::stack(&[&get("re").t().unwrap(), &get("im").t().unwrap()]).unwrap();
        let check = |mesh: &MziMesh, chip: &Deviations| {
            let got = mesh.transfer(&controls, &[chip]).unwrap();
            let got = got.reshape([2, ports, ports]).unwrap();
            check_close(&got, &want, 0.0, TOLERANCE).unwrap_or_else(|e| panic!("{name}: {e}"));
        };
        check(&mesh, &errors(left.clone(), right.clone()));
        let angle = |error: Tensor| {
            let angles = error.elements::<f64>().unwrap().iter().map(|e| -0.5 * e.asin());
            Tensor::from_vec(angles.collect::<Vec<_>>(), error.shape()).unwrap()
        };
        let by_angle = mesh.with_splitter_error(SplitterError::Angle);
        check(&by_angle, &errors(angle(left), angle(right)));
    }
}

#[test]
fn grids_hold_what_interferometers_have() {
    for layout in [Layout::Rectangular, Layout::Triangular, Layout::Butterfly] {
        for ports in 2..=9 {
            let mesh = MziMesh::new(layout, ports).unwrap();
            let cells = mesh.wiring().cells();
            let values: Vec<_> = (1..=cells).map(|k| k as f32).collect();
            let values = Tensor::from_vec(values, cells).unwrap();
            let grid = mesh.scatter(&values).unwrap();
            assert_eq!(grid.dims(), [mesh.wiring().columns().len(), ports / 2]);
            let found = grid.elements::<f32>().unwrap().iter().filter(|v| **v > 0.0).count();
            assert_eq!(found, cells, "{layout:?}, {ports}");
            let back = mesh.gather(&grid).unwrap();
            assert_eq!(back.to_vec1::<f32>().unwrap(), values.to_vec1::<f32>().unwrap());
        }
    }
    // The published weights: the last entry of odd columns belongs to nothing.
    let mesh = MziMesh::published(64).unwrap();
    let grid = mesh.scatter(&Tensor::ones(2016, DType::F64).unwrap()).unwrap();
    for (column, row) in grid.to_vec2::<f64>().unwrap().iter().enumerate() {
        let unused = if column % 2 == 0 { 32 } else { 31 };
        assert!((0..32).all(|k| row[k] == if k < unused { 1.0 } else { 0.0 }), "{column}");
    }
}

#[test]
fn gradients_pass_grids() {
    use pnn_core::Var;
    let mesh = MziMesh::new(Layout::Triangular, 4).unwrap();
    let weights = Tensor::new([2.0, 3.0, 5.0, 7.0, 11.0, 13.0]).unwrap();
    let grid = Var::new(&mesh.scatter(&weights).unwrap());
    let sum = (mesh.gather(&grid.tensor()).unwrap() * &weights).unwrap().sum_all().unwrap();
    let found = sum.backward().unwrap().get(&grid.tensor()).unwrap().clone();
    check_close(&found, &grid.value(), 0.0, 0.0).unwrap();
    let values = Var::new(&weights);
    let grid = mesh.scatter(&values.tensor()).unwrap();
    let sum = (&grid * &grid).unwrap().sum_all().unwrap();
    let found = sum.backward().unwrap().get(&values.tensor()).unwrap().clone();
    check_close(&found, &(weights * 2.0).unwrap(), 0.0, 0.0).unwrap();
}

#[test]
fn wrong_grids_are_named() {
    let mesh = MziMesh::published(64).unwrap();
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F64).unwrap();
    for dims in [&[64, 31][..], &[32, 64], &[2048]] {
        let error = mesh.gather(&zeros(dims)).unwrap_err().to_string();
        let want = format!("grid has shape {dims:?}, but [64, 32]");
        assert!(error.contains(&want), "{error}");
    }
    let error = mesh.scatter(&zeros(&[2048])).unwrap_err().to_string();
    assert!(error.contains("values for a grid has shape [2048], but [2016]"), "{error}");
}
