//! The errors of this crate.

use std::path::PathBuf;

/// What can go wrong in pnn-devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device setting lies outside its allowed range.
    #[error("{what} is {value}, allowed is {allowed}")]
    Range {
        /// The name of the setting, with its unit.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range in interval notation.
        allowed: &'static str,
    },
    /// A table of measurements cannot be used.
    #[error("{path}, line {line}, column {column:?}: {value:?} {reason}")]
    Table {
        /// The file.
        path: PathBuf,
        /// The line, from 1; that of the heads is the first.
        line: u64,
        /// The head of the column.
        column: String,
        /// What stands there.
        value: String,
        /// What is wrong with it, and what is needed.
        reason: String,
    },
    /// An instrument could not be used.
    #[error("the instrument of layer {layer} {reason}")]
    Instrument {
        /// The layer that it realises.
        layer: String,
        /// What it did, after "the instrument".
        reason: String,
    },
    /// A tensor or device operation failed.
    #[error(transparent)]
    Core(#[from] pnn_core::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// For errors that pass through a trait of pnn-core.
impl From<Error> for pnn_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(core) => core,
            Error::Range { what, value, allowed } => {
                Self::Range { what: what.to_owned(), value, allowed }
            }
            Error::Instrument { layer, reason } => Self::Instrument { layer, reason },
            Error::Table { path, line, column, value, reason } => Self::Format {
                path,
                reason: format!("line {line}, column {column:?}: {value:?} {reason}"),
            },
        }
    }
}
