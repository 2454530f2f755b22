//! Chips of a small network of a convolution and a matrix.

use crate::common;

use common::{RESONANCE, everything, one, stack};
use pnn_core::ops::relu;
use pnn_core::testing::check_same_bits;
use pnn_core::{Chip, Counters, DType, InSilico, Mode, Pass, Physical, Seed, Tensor};
use pnn_noise::{NoiseModel, Source};

fn logits(layers: &[Physical; 2], chip: &Chip) -> Tensor {
    let images =
        Seed::new(9).tensor(rand_distr::StandardUniform, &[6, 1, 8, 8], DType::F64).unwrap();
    let (counters, mut truth) = (Counters::default(), InSilico(chip));
    let mut pass = Pass::new(Mode::Eval, &mut truth, &counters);
    let features = relu(&layers[0].forward(&images, &mut pass).unwrap()).unwrap();
    layers[1].forward(&features.flatten_from(1).unwrap(), &mut pass).unwrap()
}

fn draw(layers: &[Physical; 2], source: Source, chip: u64) -> Chip {
    let layers: Vec<&Physical> = layers.iter().collect();
    one(source).draw(&layers, 6, &Seed::new(1).index(chip)).unwrap()
}

#[test]
fn every_source_reaches_the_logits_and_another_chip_gives_others() {
    let layers = stack();
    let ideal = logits(&layers, &Chip::ideal());
    assert_eq!(ideal.dims(), [6, 10]);
    for noise in everything() {
        let run = |chip| logits(&layers, &draw(&layers, noise.source.clone(), chip));
        let first = run(0);
        check_same_bits(&run(0), &first).unwrap();
        assert!(check_same_bits(&first, &ideal).is_err(), "{noise:?}");
        let same = matches!(noise.source, Source::Drift { .. } | Source::Quantisation { .. });
        assert_eq!(check_same_bits(&run(1), &first).is_ok(), same, "{noise:?}");
    }
}

#[test]
fn sources_of_no_strength_change_no_bit() {
    let layers = stack();
    let ideal = logits(&layers, &Chip::ideal());
    for source in [
        Source::Fabrication { std_nm: 0.0 },
        Source::Fabrication { std_nm: -0.0 },
        Source::Drift { kelvin: 0.0, nm_per_kelvin: 0.08 },
        Source::Drift { kelvin: -0.0, nm_per_kelvin: 0.08 },
        Source::RandomDrift { max_kelvin: 0.0, nm_per_kelvin: 0.08 },
        Source::Weight { std: 0.0 },
        Source::Readout { std: 0.0 },
    ] {
        check_same_bits(&logits(&layers, &draw(&layers, source, 0)), &ideal).unwrap();
    }
}

#[test]
fn a_fabricated_chip_drifts() {
    let layers = stack();
    let fabricated = draw(&layers, Source::Fabrication { std_nm: 0.02 }, 3);
    let drift = Source::Drift { kelvin: -2.0, nm_per_kelvin: 0.08 };
    let mut by_hand = fabricated.clone();
    for layer in &layers {
        let shift = Tensor::new(-0.16).unwrap();
        by_hand.layer_mut(layer.name()).add(RESONANCE, &shift).unwrap();
    }
    let want = logits(&layers, &by_hand);
    let later = fabricated.plus(&draw(&layers, drift.clone(), 3)).unwrap();
    check_same_bits(&logits(&layers, &later), &want).unwrap();
    let both = [Source::Fabrication { std_nm: 0.02 }, drift]
        .map(|source| pnn_noise::Noise { source, layers: None });
    let both = NoiseModel::new(both.into()).unwrap();
    let all: Vec<&Physical> = layers.iter().collect();
    let both = both.draw(&all, 6, &Seed::new(1).index(3)).unwrap();
    check_same_bits(&logits(&layers, &both), &want).unwrap();
}
