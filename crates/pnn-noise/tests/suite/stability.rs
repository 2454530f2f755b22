//! Same seed, same chip: pinned draws, and what a chip does not depend on.

use crate::common;

use common::{RESONANCE, at, bits, everything, linear, mesh, one, stack, values};
use pnn_core::testing::strategies;
use pnn_core::{Physical, Seed};
use pnn_noise::{Beyond, Noise, NoiseModel, Source};
use proptest::prelude::*;

fn drawn(source: Source, port: &str) -> Vec<f64> {
    let layer = linear("fc1", 2, 2);
    let chip = one(source).draw(&[&layer], 1, &Seed::new(0)).unwrap();
    values(at(&chip, "fc1", port))
}

/// Value stability: a change of these numbers changes every published result. The normal ones are
/// as `rand_distr` 0.6 draws them (ziggurat).
#[test]
fn draws_are_pinned() {
    let fabrication = [
        -0.655_175_624_109_230_4,
        -0.803_837_282_512_012_4,
        -0.346_415_286_430_346_47,
        0.026_366_183_735_864_95,
    ];
    assert_eq!(drawn(Source::Fabrication { std_nm: 1.0 }, RESONANCE), fabrication);
    let weight = [
        -0.233_673_558_590_000_22,
        -1.629_719_047_367_207_6,
        -0.630_083_562_599_909,
        -1.303_154_364_919_083,
    ];
    assert_eq!(drawn(Source::Weight { std: 1.0 }, "weight_error"), weight);
    let readout = [0.497_493_195_966_629_33, 0.284_416_434_157_719_33];
    assert_eq!(drawn(Source::Readout { std: 1.0 }, "readout_error"), readout);
    // Recomputed from SHA-256, the ChaCha8 block function and 52 bits a draw, outside Rust.
    let random = Source::RandomDrift { max_kelvin: 1.0, nm_per_kelvin: 1.0 };
    assert_eq!(drawn(random, RESONANCE), [-0.424_788_207_516_925_25]);
    let drift = Source::Drift { kelvin: -0.5, nm_per_kelvin: 0.25 };
    assert_eq!(drawn(drift, RESONANCE), [-0.125]);
}

/// Every chip of Fig. 4 is drawn from these.
#[test]
fn draws_of_a_mesh_are_pinned() {
    let layer = mesh(3);
    let draw = |source, port: &str| {
        let chip = one(source).draw(&[&layer], 1, &Seed::new(0)).unwrap();
        values(at(&chip, "mesh", port))
    };
    let phase = Source::Phase { std_rad: 1.0 };
    let splitter = Source::Splitter { std: 0.5, limit: 0.99, beyond: Beyond::Redraw };
    assert_eq!(
        draw(phase.clone(), "theta_error_rad"),
        [-0.593_429_801_391_340_3, -0.278_969_285_605_859_15, -1.472_284_366_378_271_9]
    );
    assert_eq!(
        draw(phase, "phi_error_rad"),
        [-1.039_837_879_653_143_8, 0.563_634_903_546_334_4, 0.308_930_430_504_969_54]
    );
    assert_eq!(
        draw(splitter.clone(), "left_splitter_error"),
        [0.171_471_016_628_477_83, -0.261_266_066_956_551_2, 0.149_809_600_117_747]
    );
    assert_eq!(
        draw(splitter, "right_splitter_error"),
        [-0.109_982_839_750_204_55, 0.487_329_198_736_382_2, 0.619_345_796_145_112_6]
    );
}

/// A second source of a kind has a stream of its own, pinned too.
#[test]
fn draws_of_a_second_source_are_pinned() {
    let layer = linear("fc1", 2, 2);
    let noise = |std_nm| Noise { source: Source::Fabrication { std_nm }, layers: None };
    let both = NoiseModel::new(vec![noise(0.0), noise(1.0)]).unwrap();
    let chip = both.draw(&[&layer], 1, &Seed::new(0)).unwrap();
    let second = [
        -1.784_912_261_339_001_4,
        0.419_981_270_308_225_96,
        -0.355_976_399_131_446_5,
        0.111_890_698_735_189_2,
    ];
    assert_eq!(values(at(&chip, "fc1", RESONANCE)), second);
}

#[test]
fn the_order_of_layers_and_sources_does_not_matter() {
    let [conv, fc] = stack();
    let seed = Seed::new(3);
    let want = NoiseModel::new(everything()).unwrap().draw(&[&conv, &fc], 2, &seed).unwrap();
    let mut noise = everything();
    for _ in 0..noise.len() {
        noise.rotate_left(1);
        for noise in [noise.clone(), noise.iter().rev().cloned().collect()] {
            let chip = NoiseModel::new(noise).unwrap().draw(&[&fc, &conv], 2, &seed).unwrap();
            assert_eq!(bits(&chip), bits(&want));
        }
    }
}

#[test]
fn other_layers_and_sources_do_not_matter() {
    let [conv, fc] = stack();
    let seed = Seed::new(3);
    let model = NoiseModel::new(everything()).unwrap();
    let alone = model.draw(&[&fc], 2, &seed).unwrap();
    let together = model.draw(&[&conv, &fc], 2, &seed).unwrap();
    for (port, value) in alone.layer("fc1").unwrap().iter() {
        assert_eq!(values(at(&together, "fc1", port)), values(value), "{port}");
    }
    for source in [Source::Weight { std: 0.1 }, Source::Readout { std: 0.3 }] {
        let port =
            if matches!(source, Source::Weight { .. }) { "weight_error" } else { "readout_error" };
        let single = one(source).draw(&[&fc], 2, &seed).unwrap();
        assert_eq!(values(at(&single, "fc1", port)), values(at(&together, "fc1", port)));
    }
    // The same source listed for one layer or for all.
    let fabrication = Source::Fabrication { std_nm: 0.02 };
    let listed = NoiseModel::on(fabrication.clone(), &["fc1"]).unwrap();
    let listed = listed.draw(&[&conv, &fc], 1, &seed).unwrap();
    assert!(listed.layer("conv1").is_none());
    let of_all = one(fabrication).draw(&[&conv, &fc], 1, &seed).unwrap();
    assert_eq!(values(at(&listed, "fc1", RESONANCE)), values(at(&of_all, "fc1", RESONANCE)));
}

#[test]
fn a_layer_that_is_listed_twice_is_one_layer() {
    let layer = linear("fc1", 3, 2);
    let draw = |names: &[&str]| {
        let model = NoiseModel::on(Source::Weight { std: 0.1 }, names).unwrap();
        bits(&model.draw(&[&layer], 1, &Seed::new(1)).unwrap())
    };
    assert_eq!(draw(&["fc1", "fc1"]), draw(&["fc1"]));
}

#[test]
fn layers_of_another_name_draw_other_numbers() {
    let (a, b) = (linear("fc1", 4, 4), linear("fc2", 4, 4));
    let chip = NoiseModel::new(everything()).unwrap().draw(&[&a, &b], 2, &Seed::new(1)).unwrap();
    for port in [RESONANCE, "weight_error", "readout_error"] {
        let (a, b) = (values(at(&chip, "fc1", port)), values(at(&chip, "fc2", port)));
        assert!(a.iter().zip(&b).all(|(a, b)| a != b), "{port}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_seed_is_a_chip(seed in strategies::seed(), other in strategies::seed()) {
        let layers = stack();
        let layers: Vec<&Physical> = layers.iter().collect();
        for noise in everything() {
            let random = !matches!(noise.source, Source::Drift { .. } | Source::Quantisation { .. });
            let model = NoiseModel::new(vec![noise]).unwrap();
            let draw = |seed: &Seed| bits(&model.draw(&layers, 2, seed).unwrap());
            prop_assert_eq!(draw(&seed), draw(&seed));
            if seed != other {
                prop_assert_eq!(draw(&seed) != draw(&other), random);
            }
        }
    }
}
