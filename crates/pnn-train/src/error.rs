//! The errors of this crate.

use std::path::PathBuf;

/// What can go wrong in pnn-train.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor, device or file operation failed.
    #[error(transparent)]
    Core(#[from] pnn_core::Error),
    /// A data set could not give a batch.
    #[error(transparent)]
    Data(#[from] pnn_data::Error),
    /// A device could not be built.
    #[error(transparent)]
    Device(#[from] pnn_devices::Error),
    /// Noise could not be drawn.
    #[error(transparent)]
    Noise(#[from] pnn_noise::Error),
    /// A setting of the training lies outside its allowed range.
    #[error("{what} is {value}, allowed is {allowed}")]
    Range {
        /// The name of the setting.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range in interval notation.
        allowed: &'static str,
    },
    /// A strategy needs something that the model does not offer.
    #[error("{strategy} needs {needs}, but layer {layer:?} ({what}) has none")]
    Missing {
        /// The strategy.
        strategy: &'static str,
        /// What it needs.
        needs: &'static str,
        /// The layer.
        layer: String,
        /// What the layer is.
        what: String,
    },
    /// Loss or gradients stopped being numbers; the run was stopped.
    #[error(
        "epoch {epoch}, step {step}: {what} is not finite, first in layer {layer:?}; \
         the state before this step is in {}; lower the learning rate or rho, or check the data",
        checkpoint.as_ref().map_or("no checkpoint (none was asked for)".to_owned(), |p| p.display().to_string())
    )]
    NotFinite {
        /// The epoch, from 0.
        epoch: usize,
        /// The step in the epoch, from 0.
        step: usize,
        /// The loss or the gradients.
        what: String,
        /// The first layer or parameter where it shows.
        layer: String,
        /// Where the state before the step was written.
        checkpoint: Option<PathBuf>,
    },
    /// A checkpoint does not belong to this run.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why it cannot be continued.
        reason: String,
    },
    /// An observer or a validation failed.
    #[error("{0}")]
    Observer(String),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
