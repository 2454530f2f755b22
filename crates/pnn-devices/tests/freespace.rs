//! The multiplier in free space: conformance, its pictures, and how it is misaligned.
#![allow(clippy::unwrap_used)] // a test panics where it fails

use pnn_core::ops::Sampling;
use pnn_core::testing::{GradientCheck, check_gradients, check_same_bits, conformance};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::freespace::{
    Multiplier, ROTATION_DEG, SCALE_ERROR, SHEAR, SHIFT_X_PX, SHIFT_Y_PX, Tiling, WEIGHT_ERROR,
};

const SMALL: Tiling = Tiling { rows: 2, columns: 2, height: 5, width: 7, repeat: 2 };

fn small() -> Multiplier {
    Multiplier::with_tiling((3, 4), 5, SMALL).unwrap()
}

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Seed::new(seed).tensor(rand_distr::StandardNormal, shape, DType::F64).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn at(port: &str, value: f64) -> Deviations {
    Deviations::none().with(port, Tensor::new(value).unwrap())
}

/// Weights that say where they stand: filter, row and column.
fn numbered(layer: &Multiplier) -> Controls {
    let shape = layer.controls()[0].shape.clone();
    let count: usize = shape.iter().product();
    let weights = (0..count).map(|k| (k + 1) as f64 / 1000.0).collect();
    Controls::one("weight", Tensor::from_vec(weights, shape).unwrap())
}

#[test]
fn multipliers_conform() {
    // Nearest neighbours do not notice the small deviations that the suite tries.
    let bilinear = small().with_sampling(Sampling::Bilinear);
    conformance(&bilinear, &normal(1, &[3, 12]), &Seed::new(3)).unwrap();
}

/// Filters row by row in their tiles, in the middle of each, every column twice.
#[test]
fn pictures_hold_the_filters_where_they_belong() {
    let layer = small();
    assert_eq!(layer.picture_shape(), [2, 10, 28]);
    let controls = numbered(&layer);
    let pictures = layer.pictures(&controls, &Deviations::none()).unwrap();
    let pixels = values(&pictures);
    for (place, pixel) in pixels.iter().enumerate() {
        let (picture, row, column) = (place / 280, place % 280 / 28, place % 28 / 2);
        let filter = picture * 4 + row / 5 * 2 + column / 7;
        // Of 5 x 7 pixels a filter has 3 x 4 from (1, 1) on.
        let (y, x) = (row % 5, column % 7);
        let inside = filter < 5 && (1..4).contains(&y) && (1..5).contains(&x);
        let want = if inside { (filter * 12 + (y - 1) * 4 + x) as f64 / 1000.0 } else { 0.0 };
        assert_eq!(*pixel, want, "picture {picture}, row {row}, column {column}");
    }
    // The published one: 144 filters of 28 x 28 in twelve pictures.
    let published = Multiplier::new((28, 28), 144).unwrap();
    assert_eq!(published.picture_shape(), [12, 96, 240]);
}

/// A shift by whole pixels brings the weights of neighbours, and darkness at the border.
#[test]
fn a_shifted_modulator_shows_each_input_its_neighbours_weight() {
    let layer = small();
    let controls = numbered(&layer);
    let met =
        |deviations: &Deviations| values(&layer.weights(&controls, deviations).unwrap().unwrap());
    let aligned = met(&Deviations::none());
    let down = met(&at(SHIFT_Y_PX, 1.0));
    // A column of the filter is two of the modulator.
    let right = met(&at(SHIFT_X_PX, 2.0));
    for (place, want) in aligned.iter().enumerate() {
        let (row, column) = (place % 12 / 4, place % 4);
        if row < 2 {
            assert_eq!(down[place + 4], *want, "{place}");
        }
        if column < 3 {
            assert_eq!(right[place + 1], *want, "{place}");
        }
    }
    assert!((0..5).all(|filter| down[12 * filter..12 * filter + 4] == [0.0; 4]));
    assert_eq!(met(&at(SHIFT_Y_PX, 40.0)), [0.0; 60]);
    // Half a turn about the centre of a picture: the last filter of four stands where the first was, backwards. Four
    // columns begin at the second of a tile's seven and after the turn at the third: one further.
    let turned = met(&at(ROTATION_DEG, 180.0));
    for (got, row) in turned[..12].chunks(4).zip([44, 40, 36]) {
        assert_eq!(got, [0.0, aligned[row + 3], aligned[row + 2], aligned[row + 1]]);
    }
}

#[test]
fn no_misalignment_changes_no_bit() {
    let x = normal(1, &[3, 12]).to_dtype(DType::F32).unwrap();
    for sampling in [Sampling::Nearest, Sampling::Bilinear] {
        let layer = small().with_sampling(sampling);
        let controls = layer.init(&Seed::new(2), DType::F32).unwrap();
        let ideal = layer.forward(&x, &controls, &Deviations::none()).unwrap();
        for port in [ROTATION_DEG, SHIFT_X_PX, SHIFT_Y_PX, SCALE_ERROR, SHEAR] {
            let zero = layer.forward(&x, &controls, &at(port, 0.0)).unwrap();
            check_same_bits(&zero, &ideal).unwrap();
            let much = if port == ROTATION_DEG { 20.0 } else { 0.9 };
            let changed = layer.forward(&x, &controls, &at(port, much)).unwrap();
            assert_ne!(values(&changed), values(&ideal), "{port}");
        }
    }
}

/// Bilinear sampling has a gradient in every misalignment, alone and together with the weights and their errors.
#[test]
fn a_bilinear_misalignment_can_be_differentiated() {
    let (layer, x) = (small().with_sampling(Sampling::Bilinear), normal(1, &[3, 12]));
    let ports = [ROTATION_DEG, SHIFT_X_PX, SHIFT_Y_PX, SCALE_ERROR, SHEAR];
    let mut inputs = vec![numbered(&layer).get("weight").unwrap().clone(), normal(4, &[5, 12])];
    inputs.extend([3.7, 0.31, -0.23, 0.043, 0.021].map(|value| Tensor::new(value).unwrap()));
    let check = GradientCheck::default();
    check_gradients(
        &inputs,
        |t| {
            let controls = Controls::one("weight", t[0].clone());
            let mut deviations = Deviations::none().with(WEIGHT_ERROR, t[1].clone());
            for (port, value) in ports.iter().zip(&t[2..]) {
                deviations = deviations.with(*port, value.clone());
            }
            layer.forward(&x, &controls, &deviations)
        },
        &check,
    )
    .unwrap();
}

#[test]
fn what_does_not_fit_is_named() {
    let error = |filter, outputs, tiling| {
        Multiplier::with_tiling(filter, outputs, tiling).unwrap_err().to_string()
    };
    assert!(error((6, 4), 5, SMALL).contains("height of a filter is 6"));
    assert!(error((3, 0), 5, SMALL).contains("width of a filter is 0"));
    assert!(error((3, 4), 0, SMALL).contains("number of outputs is 0"));
    assert!(
        error((3, 4), 5, Tiling { repeat: 0, ..SMALL }).contains("repetitions of a column is 0")
    );
    assert!(error((3, 4), 5, Tiling { rows: 0, ..SMALL }).contains("rows of tiles is 0"));
    let layer = small();
    let controls = numbered(&layer);
    let x = normal(1, &[3, 12]);
    let nan = layer.forward(&x, &controls, &at(ROTATION_DEG, f64::NAN)).unwrap_err().to_string();
    assert!(nan.contains("motion is NaN"), "{nan}");
    let flat = layer.forward(&x, &controls, &at(SCALE_ERROR, -1.0)).unwrap_err().to_string();
    assert!(flat.contains("finite"), "{flat}");
}
