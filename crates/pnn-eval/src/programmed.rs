//! A chip whose weights are computed once, for as many batches as there are.

use std::collections::BTreeMap;

use pnn_core::model::{InSilico, Truth};
use pnn_core::{Chip, Controls, Deviations, PhysicalLayer, Result, Tensor};

/// As [`InSilico`], to the same bits, while the settings stay as they are.
pub(crate) struct Programmed<'a> {
    chip: &'a Chip,
    /// By layer; none of devices that cannot be split into weights and what is done with them.
    weights: BTreeMap<String, Option<Tensor>>,
}

impl<'a> Programmed<'a> {
    pub(crate) fn new(chip: &'a Chip) -> Self {
        Self { chip, weights: BTreeMap::new() }
    }
}

impl Truth for Programmed<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> Result<Tensor> {
        let none = Deviations::none();
        let deviations = self.chip.layer(name).unwrap_or(&none);
        let known = match self.weights.get(name) {
            Some(known) => known,
            None => {
                let weights = device.weights(controls, deviations)?.map(|w| w.detach());
                self.weights.entry(name.to_owned()).or_insert(weights)
            }
        };
        if let Some(weights) = known
            && let Some(y) = device.forward_with(x, weights, deviations)?
        {
            return Ok(y);
        }
        self.weights.insert(name.to_owned(), None);
        InSilico(self.chip).run(name, device, x, controls)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pnn_core::device::{ControlSpec, DeviationPort};
    use pnn_core::{DType, Seed};
    use pnn_devices::freespace::{Multiplier, ROTATION_DEG};
    use pnn_devices::mrr::{MrrBank, MrrLinear, READOUT_ERROR, RESONANCE_SHIFT_NM};

    use super::*;

    /// A bank that counts how often its weights are asked for.
    struct Counting(MrrBank, AtomicUsize);

    impl PhysicalLayer for Counting {
        fn controls(&self) -> &ControlSpec {
            self.0.controls()
        }
        fn ports(&self) -> &[DeviationPort] {
            self.0.ports()
        }
        fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
            self.0.init(seed, dtype)
        }
        fn forward(&self, x: &Tensor, set: &Controls, chip: &Deviations) -> Result<Tensor> {
            self.0.forward(x, set, chip)
        }
        fn weights(&self, set: &Controls, chip: &Deviations) -> Result<Option<Tensor>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.weights(set, chip)
        }
        fn forward_with(
            &self,
            x: &Tensor,
            weights: &Tensor,
            chip: &Deviations,
        ) -> Result<Option<Tensor>> {
            self.0.forward_with(x, weights, chip)
        }
    }

    fn same(device: &dyn PhysicalLayer, chip: &Chip) {
        let controls = device.init(&Seed::new(1), DType::F32).unwrap();
        let mut programmed = Programmed::new(chip);
        for batch in 1..4u64 {
            let dims = [batch as usize, 12];
            let normal = rand_distr::StandardNormal;
            let x = Seed::new(batch).tensor(normal, &dims, DType::F32).unwrap();
            let run = |truth: &mut dyn Truth| {
                let y = truth.run("layer", device, &x, &controls).unwrap();
                y.elements::<f32>().unwrap().iter().map(|y| y.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(run(&mut programmed), run(&mut InSilico(chip)));
        }
    }

    #[test]
    fn weights_are_computed_once_and_outputs_are_the_same() {
        let bank = Counting(MrrLinear::new(12, 3), AtomicUsize::new(0));
        let mut chip = Chip::ideal();
        let of = |value: f64| Tensor::new(value).unwrap();
        chip.layer_mut("layer").add(RESONANCE_SHIFT_NM, &of(0.05)).unwrap();
        chip.layer_mut("layer").add(READOUT_ERROR, &of(0.3)).unwrap();
        same(&bank, &chip);
        assert_eq!(bank.1.load(Ordering::Relaxed), 1);
        // Light that is displaced has no weights apart.
        let mut turned = Chip::ideal();
        turned.layer_mut("layer").add(ROTATION_DEG, &of(2.0)).unwrap();
        same(&Multiplier::new((3, 4), 2).unwrap(), &turned);
    }
}
