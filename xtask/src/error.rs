//! The errors of the command line.

use std::path::PathBuf;

/// What can go wrong in a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Core(#[from] pnn_core::Error),
    #[error(transparent)]
    Data(#[from] pnn_data::Error),
    #[error(transparent)]
    Noise(#[from] pnn_noise::Error),
    #[error(transparent)]
    Device(#[from] pnn_devices::Error),
    #[error(transparent)]
    Train(#[from] pnn_train::Error),
    #[error(transparent)]
    Eval(#[from] pnn_eval::Error),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{0}")]
    Usage(String),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Reads a text file, with its name in the error.
pub(crate) fn read_text(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}
