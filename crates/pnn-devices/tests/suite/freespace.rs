//! The multiplier in free space: conformance, its pictures, and how it is misaligned.

use pnn_core::ops::Sampling;
use pnn_core::testing::{GradientCheck, check_gradients, check_same_bits, conformance};
use pnn_core::{Bounds, Controls, DType, Deviations, PhysicalLayer, Seed, Tensor, Var};
use pnn_devices::freespace::{
    Multiplier, ROTATION_DEG, SCALE_ERROR, SHEAR, SHIFT_X_PX, SHIFT_Y_PX, SHOT_NOISE, Tiling,
    WEIGHT_ERROR,
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
    for huge in
        [Tiling { rows: 1 << 40, ..SMALL }, Tiling { rows: 1 << 40, height: 1 << 40, ..SMALL }]
    {
        assert!(error((3, 4), 5, huge).contains("pixels of all pictures"), "{huge:?}");
    }
    let layer = small();
    let controls = numbered(&layer);
    let x = normal(1, &[3, 12]);
    let nan = layer.forward(&x, &controls, &at(ROTATION_DEG, f64::NAN)).unwrap_err().to_string();
    assert!(nan.contains("motion is NaN"), "{nan}");
    let flat = layer.forward(&x, &controls, &at(SCALE_ERROR, -1.0)).unwrap_err().to_string();
    assert!(flat.contains("scale_error is -1, allowed is above -1"), "{flat}");
}

/// Levels of a display with two bits over [-1, 2] are -1, 0, 1 and 2; gradients pass as if it had all.
#[test]
fn a_display_rounds_what_it_shows() {
    let layer = Multiplier::new((1, 6), 1).unwrap();
    let shown = layer.clone().with_display(2, Bounds::new(-1.0, 2.0).unwrap()).unwrap();
    let controls = Controls::one("weight", Tensor::ones([1, 6], DType::F64).unwrap());
    let none = Deviations::none();
    for (value, level) in
        [(-9.0, -1.0), (-0.6, -1.0), (-0.4, 0.0), (0.4, 0.0), (0.6, 1.0), (7.0, 2.0)]
    {
        let x = Var::new(&Tensor::full(value, [1, 6]).unwrap());
        let y = shown.forward(&x.tensor(), &controls, &none).unwrap();
        assert_eq!(values(&y), [6.0 * level], "{value}");
        let store = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(values(store.get(&x.tensor()).unwrap()), [1.0; 6]);
    }
    let x = normal(1, &[3, 6]);
    let fine = layer.clone().with_display(24, Bounds::new(-8.0, 8.0).unwrap()).unwrap();
    let (fine, exact) = (fine.forward(&x, &controls, &none), layer.forward(&x, &controls, &none));
    for (a, b) in values(&fine.unwrap()).iter().zip(values(&exact.unwrap())) {
        assert!((a - b).abs() < 6.0 * 16.0 / 2f64.powi(25));
    }
    let error = |bits| {
        layer.clone().with_display(bits, Bounds::new(0.0, 1.0).unwrap()).unwrap_err().to_string()
    };
    assert!(error(0).contains("bits of the display is 0") && error(25).contains("is 25"));
    let endless = layer.clone().with_display(8, Bounds::UNBOUNDED).unwrap_err().to_string();
    assert!(endless.contains("range of the display is inf"), "{endless}");
}

/// What is read departs by the noise times the root of all light, that of both exposures.
#[test]
fn shot_noise_grows_with_the_root_of_the_light() {
    let layer = Multiplier::new((1, 2), 1).unwrap();
    let weights = Tensor::from_vec(vec![0.5, -0.25], [1, 2]).unwrap();
    let controls = Controls::one("weight", weights);
    let x = Tensor::from_vec(vec![1.0, 2.0, 3.0, 10.0], [2, 2]).unwrap();
    // One number for each shot.
    let noise = Deviations::none().with(SHOT_NOISE, Tensor::new([[0.1], [-0.2]]).unwrap());
    let y = values(&layer.forward(&x, &controls, &noise).unwrap());
    let want = [0.1, -1.0 - 0.2 * 2.0];
    assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15), "{y:?}");
    let check = GradientCheck::default();
    check_gradients(
        &[
            Tensor::from_vec(vec![0.5, -0.25], [1, 2]).unwrap(),
            Tensor::new([[0.1], [-0.2]]).unwrap(),
        ],
        |t| {
            let controls = Controls::one("weight", t[0].clone());
            layer.forward(&x, &controls, &Deviations::none().with(SHOT_NOISE, t[1].clone()))
        },
        &check,
    )
    .unwrap();
    // Half a pixel down a weight meets half of itself and half of the one above: 0 here, but in the light of both exposures.
    let column = Multiplier::new((2, 1), 1).unwrap().with_sampling(Sampling::Bilinear);
    let opposite = Controls::one("weight", Tensor::from_vec(vec![1.0, -1.0], [1, 2]).unwrap());
    let lower = Tensor::from_vec(vec![0.0, 2.0], [1, 2]).unwrap();
    let moved = Deviations::none().with(SHIFT_Y_PX, Tensor::new(0.5).unwrap());
    assert_eq!(values(&column.forward(&lower, &opposite, &moved).unwrap()), [0.0]);
    let noisy = moved.with(SHOT_NOISE, Tensor::new([[0.1]]).unwrap());
    let y = values(&column.forward(&lower, &opposite, &noisy).unwrap());
    assert!((y[0] - 0.1 * 2f64.sqrt()).abs() < 1e-15, "{y:?}");
    // Darkness.
    let weights = Var::new(&Tensor::zeros([1, 2], DType::F64).unwrap());
    let controls = Controls::one("weight", weights.tensor());
    let y = layer.forward(&x, &controls, &noise).unwrap();
    assert!(values(&y).iter().all(|y| y.abs() < 1e-14));
    let store = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(values(store.get(&weights.tensor()).unwrap()), [4.0, 12.0]);
}
