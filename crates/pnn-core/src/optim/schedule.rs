//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// The factor on the base learning rate, as a function of the epoch (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always 1.
    #[default]
    Constant,
    /// Multiplied by `factor` after every `every` epochs (PyTorch's `StepLR`).
    Step {
        /// Epochs between changes, at least 1.
        every: usize,
        /// Factor of each change.
        factor: f64,
    },
    /// Half a cosine from 1 to 0 over `epochs` (Loshchilov and Hutter, 2017; PyTorch's
    /// `CosineAnnealingLR` with `eta_min` 0).
    Cosine {
        /// Length of the half period, at least 1.
        epochs: usize,
    },
}

impl Schedule {
    /// The factor in an epoch.
    #[must_use]
    pub fn factor(&self, epoch: usize) -> f64 {
        match *self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => factor.powi((epoch / every.max(1)) as i32),
            Self::Cosine { epochs } => {
                let progress = epoch.min(epochs) as f64 / epochs.max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_follow_their_formulas() {
        let step = Schedule::Step { every: 30, factor: 0.5 };
        assert_eq!([0, 29, 30, 60].map(|e| step.factor(e)), [1.0, 1.0, 0.5, 0.25]);
        let cosine = Schedule::Cosine { epochs: 4 };
        let want = [1.0, 0.853_553_390_593_273_8, 0.5, 0.146_446_609_406_726_2, 0.0, 0.0];
        for (epoch, want) in want.into_iter().enumerate() {
            assert!((cosine.factor(epoch) - want).abs() < 1e-15, "epoch {epoch}");
        }
    }
}
