//! Which interferometers lie beside each other in a column.

use pnn_core::{Result, Tensor};

/// Pairs of interferometers whose heaters are neighbours: next to each other in a column.
#[derive(Debug)]
pub(super) struct Neighbours(Vec<(usize, usize)>);

impl Neighbours {
    pub(super) fn of(columns: &[Vec<(usize, usize)>]) -> Self {
        let mut pairs = Vec::new();
        let mut first = 0;
        for column in columns {
            pairs.extend((first..first + column.len()).zip(first + 1..first + column.len()));
            first += column.len();
        }
        Self(pairs)
    }

    /// For each interferometer the sum of its neighbours' values: (chips, interferometers).
    pub(super) fn sum(self: &std::sync::Arc<Self>, values: &Tensor) -> Result<Tensor> {
        let sum = self.sum_of(values)?;
        let this = std::sync::Arc::clone(self);
        // The matrix of neighbours is symmetric.
        Ok(sum.with_gradient(&[values], move |gradient| Ok(vec![Some(this.sum_of(&gradient)?)])))
    }

    fn sum_of(&self, values: &Tensor) -> Result<Tensor> {
        let cells = values.dim(1)?;
        let mut sums = vec![0.0; values.elem_count()];
        if cells > 0 {
            let rows = sums.chunks_exact_mut(cells);
            for (sums, values) in rows.zip(values.elements::<f64>()?.chunks_exact(cells)) {
                for (one, other) in &self.0 {
                    sums[*one] += values[*other];
                    sums[*other] += values[*one];
                }
            }
        }
        Tensor::from_vec(sums, values.shape())
    }
}
