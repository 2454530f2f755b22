//! Heat of neighbours that the model does not know: of heaters of a mesh, and of rings on a waveguide.

use crate::common;

use common::{linear, mesh, one, place};
use pnn_core::layers::Product;
use pnn_core::{Deviations, Physical, Seed};
use pnn_devices::mrr::wdm::{THERMAL_CROSSTALK, ThermalCrosstalk, WIDTH_ERROR, WdmBank, WdmConfig};
use pnn_noise::{Source, Spread};

fn rings(name: &str) -> Physical {
    let product = Product::Linear { inputs: 8, outputs: 2 };
    let crosstalk = ThermalCrosstalk::by_distance(4, 0.01, 0.3).unwrap();
    place(name, WdmBank::new(product, WdmConfig::default(), crosstalk).unwrap())
}

#[test]
fn a_layer_has_one_crosstalk_and_its_own() {
    let layers = [rings("fc1"), rings("fc2"), mesh(4)];
    let layers: Vec<&Physical> = layers.iter().collect();
    let drawn = |spread, seed| -> Vec<f64> {
        let chip = one(Source::Crosstalk { spread }).draw(&layers, 1, &Seed::new(seed)).unwrap();
        let of = |layer: &&Physical| {
            let deviations = chip.layer(layer.name()).unwrap();
            deviations.check(layer.device().ports()).unwrap();
            deviations.get(THERMAL_CROSSTALK).unwrap().to_scalar::<f64>().unwrap()
        };
        layers.iter().map(of).collect()
    };
    assert_eq!(drawn(Spread::Fixed(0.02), 1), [0.02; 3]);
    let uniform = Spread::Uniform { low: 0.0, high: 0.05 };
    let one = drawn(uniform, 1);
    assert!(one.iter().all(|part| (0.0..0.05).contains(part)));
    assert!(one[0] != one[1] && one[1] != one[2]);
    assert_eq!(one, drawn(uniform, 1));
    assert_ne!(one, drawn(uniform, 2));
    let mean = (0..1000).map(|seed| drawn(uniform, seed)[0]).sum::<f64>() / 1000.0;
    // 0.05 / sqrt(12 000) is 4.6e-4.
    assert!((mean - 0.025).abs() < 2e-3, "{mean}");
}

/// Each ring has a width of its own, near N(0, std), and none is gone.
#[test]
fn rings_differ_in_width() {
    let product = Product::Linear { inputs: 100, outputs: 40 };
    let bank = WdmBank::new(product, WdmConfig::default(), ThermalCrosstalk::none(4)).unwrap();
    let layer = place("fc1", bank);
    let drawn = |std: f64, seed: u64| -> Vec<f64> {
        let chip = one(Source::Width { std }).draw(&[&layer], 1, &Seed::new(seed)).unwrap();
        let deviations = chip.layer("fc1").unwrap();
        deviations.check(layer.device().ports()).unwrap();
        let errors = deviations.get(WIDTH_ERROR).unwrap();
        errors.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let errors = drawn(0.1, 1);
    assert_eq!((errors.len(), errors == drawn(0.1, 1)), (4000, true));
    let mean = errors.iter().sum::<f64>() / 4000.0;
    let std = (errors.iter().map(|e| e * e).sum::<f64>() / 4000.0).sqrt();
    // Standard errors are 0.0016 and 0.0011.
    assert!(mean.abs() < 0.006 && (std - 0.1).abs() < 0.004, "{mean} {std}");
    assert!(drawn(2.0, 1).iter().all(|error| error.abs() <= 0.9));
    let error = pnn_noise::NoiseModel::all_layers(Source::Width { std: -0.1 }).unwrap_err();
    assert_eq!(error.to_string(), "width std is -0.1, allowed is [0, 9]");
}

/// The same number means the same heat whoever draws it: that of a chip is what the device does with its port.
#[test]
fn what_is_drawn_moves_the_rings() {
    let layer = rings("fc1");
    let chip = one(Source::Crosstalk { spread: Spread::Fixed(0.02) });
    let chip = chip.draw(&[&layer], 1, &Seed::new(0)).unwrap();
    let weights = |deviations: &Deviations| {
        let weights = layer.device().weights(&layer.controls(), deviations).unwrap().unwrap();
        weights.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let (ideal, moved) = (weights(&Deviations::none()), weights(chip.layer("fc1").unwrap()));
    assert!(ideal.iter().zip(&moved).all(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn what_has_no_heaters_or_is_no_number_is_refused() {
    let layer = linear("fc1", 2, 2);
    let source = |spread| Source::Crosstalk { spread };
    let error = one(source(Spread::Fixed(0.1))).draw(&[&layer], 1, &Seed::new(0));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("thermal_crosstalk") && error.contains("fc1"), "{error}");
    let refused = |spread| source(spread).check().unwrap_err().to_string();
    assert!(refused(Spread::Fixed(f64::NAN)).contains("fixed crosstalk is NaN"));
    let error = refused(Spread::Uniform { low: 0.2, high: 0.1 });
    assert_eq!(error, "crosstalk low is 0.2, allowed is at most crosstalk high");
}
