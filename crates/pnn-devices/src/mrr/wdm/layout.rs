//! Which ring has which weight.

use pnn_core::Tensor;
use pnn_core::ops::{Places, take};

/// Inputs of an output in rows of rings, the last of which may be shorter.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    outputs: usize,
    inputs: usize,
    pub(super) rings: usize,
    /// From weights to rows and back, where the last row is shorter.
    ragged: Option<(Places, Places)>,
    shape: Vec<usize>,
}

impl Layout {
    pub(super) fn new(shape: &[usize], rings: usize) -> Self {
        let (outputs, inputs) = (shape[0], shape[1..].iter().product::<usize>());
        let padded = inputs.next_multiple_of(rings);
        let ragged = (padded != inputs).then(|| {
            let places = (0..outputs * padded).map(|place| {
                let (output, input) = (place / padded, place % padded);
                (input < inputs).then_some((output * inputs + input) as u32)
            });
            let back = (0..outputs * inputs)
                .map(|weight| Some((weight / inputs * padded + weight % inputs) as u32));
            (places.collect(), back.collect())
        });
        Self { outputs, inputs, rings, ragged, shape: shape.to_vec() }
    }

    /// Weights as (rows, rings), 0 for the rings that a row lacks.
    pub(super) fn pack(&self, weights: &Tensor) -> pnn_core::Result<Tensor> {
        let rows = self.outputs * self.inputs.div_ceil(self.rings);
        match &self.ragged {
            Some((places, _)) => take(weights, places, [rows, self.rings]),
            None => weights.reshape([rows, self.rings]),
        }
    }

    /// (rows, rings) as weights.
    pub(super) fn unpack(&self, rows: &Tensor) -> pnn_core::Result<Tensor> {
        match &self.ragged {
            Some((_, places)) => take(rows, places, self.shape.clone()),
            None => rows.reshape(self.shape.clone()),
        }
    }
}
