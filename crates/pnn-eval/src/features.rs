//! Evaluations that differ only from one layer on: what comes before it is run once.
//!
//! Most deviations of an experiment sit in the last layers. [`Evaluator::features`] keeps what the
//! first of these reads, and [`Features::evaluate`] runs the rest of the network for each chip.

use pnn_core::model::{InSilico, Mode, Model, Truth, check_layers};
use pnn_core::{Chip, Controls, PhysicalLayer, Tensor};
use pnn_data::{Batches, Dataset};

use crate::accuracy::{calibration_batches, forward, keeping_state, run};
use crate::programmed::Programmed;
use crate::{BatchNormMode, Error, Evaluation, Evaluator, Result};

/// What a layer reads for every image of a data set (and for the calibration images, if batch-norm
/// is recalibrated on the chip).
pub struct Features {
    mode: Mode,
    classes: usize,
    batches: Vec<(Tensor, Vec<u8>)>,
    calibration: Vec<Tensor>,
}

impl Evaluator<'_> {
    /// Runs every image of a data set up to the input of a layer. The model's running statistics
    /// are afterwards what they were.
    ///
    /// # Errors
    /// If the model has no such layer or lacks one of the chip's, biases are to be trimmed, or as [`Evaluator::evaluate`].
    pub fn features(
        &self,
        model: &dyn Model,
        chip: &Chip,
        layer: &str,
        data: &Dataset,
    ) -> Result<Features> {
        if let BatchNormMode::Trimmed(_) = self.batch_norm {
            return Err(Error::Core(pnn_core::Error::Unsupported {
                device: "what is run once for many chips".into(),
                capability: "biases that are trimmed on each of them".into(),
            }));
        }
        check_layers(model, chip.iter().map(|(layer, _)| layer))?;
        keeping_state(model, || {
            let read = |data: &Dataset, indices: &[usize], mode| {
                let mut tap = Tap { chip, layer, read: None };
                run(model, &mut tap, data, indices, mode, &self.normalisation)?;
                let known = model.physical_layers();
                let unknown = || {
                    let known = known.iter().map(|l| l.name());
                    Error::Core(pnn_core::Error::unknown("physical layer", layer, known))
                };
                tap.read.ok_or_else(unknown)
            };
            let mut calibration = Vec::new();
            if let Some((images, from)) = self.recalibrated()? {
                for (seen, indices) in calibration_batches(from, images)?.iter().enumerate() {
                    calibration.push(read(from, indices, Mode::Calibrate { seen })?);
                }
            }
            let (mode, batch) = self.mode();
            let mut batches = Vec::new();
            for indices in &Batches::new(data.len(), batch, None)? {
                let labels = indices.iter().map(|i| data.label(*i)).collect();
                batches.push((read(data, indices, mode)?, labels));
            }
            if mode == Mode::Eval {
                // The number of images a pass does not matter then, and what is done once a pass
                // (a mesh's matrix) is done less often.
                batches =
                    batches.chunks(TOGETHER.div_ceil(batch)).map(joined).collect::<Result<_>>()?;
            }
            Ok(Features { mode, classes: data.classes(), batches, calibration })
        })
    }
}

impl Features {
    /// Classifies every image with the rest of the network, from the layer on, on a chip. What the
    /// chip does to layers before that one is not seen.
    ///
    /// # Errors
    /// If a pass fails.
    pub fn evaluate(&self, rest: &dyn Model, chip: &Chip) -> Result<Evaluation> {
        keeping_state(rest, || {
            let mut chip = Programmed::new(chip);
            for (seen, x) in self.calibration.iter().enumerate() {
                forward(rest, &mut chip, x, Mode::Calibrate { seen })?;
            }
            let mut evaluation = Evaluation::empty(self.classes);
            for (x, labels) in &self.batches {
                let logits = forward(rest, &mut chip, x, self.mode)?;
                evaluation.add(&logits, labels)?;
            }
            Ok(evaluation)
        })
    }
}

/// Images that go through the rest of a network together.
const TOGETHER: usize = 2_000;

/// Batches as one.
fn joined(batches: &[(Tensor, Vec<u8>)]) -> Result<(Tensor, Vec<u8>)> {
    let inputs: Vec<_> = batches.iter().map(|(x, _)| x).collect();
    let labels = batches.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
    Ok((Tensor::cat(&inputs, 0)?, labels))
}

/// Keeps what a layer reads.
struct Tap<'a> {
    chip: &'a Chip,
    layer: &'a str,
    read: Option<Tensor>,
}

impl Truth for Tap<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> pnn_core::Result<Tensor> {
        if name == self.layer {
            self.read = Some(x.detach());
        }
        InSilico(self.chip).run(name, device, x, controls)
    }
}
