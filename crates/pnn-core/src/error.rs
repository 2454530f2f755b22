//! The errors of this crate.

use std::path::PathBuf;

/// What can go wrong in pnn-core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor has another shape than the operation needs.
    #[error("{what} has shape {got:?}, but {want} is needed")]
    Shape {
        /// The name of the tensor.
        what: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is needed, in words.
        want: String,
    },

    /// A parameter lies outside its allowed range.
    #[error("{what} is {value}, allowed is {allowed}")]
    Range {
        /// The name of the parameter.
        what: String,
        /// Its value.
        value: f64,
        /// The allowed range in interval notation.
        allowed: &'static str,
    },

    /// Something is asked for by a name that does not exist.
    #[error("no {kind} named {name:?}; there is {known}")]
    Unknown {
        /// What kind of thing was looked up.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// The names that exist, comma separated.
        known: String,
    },

    /// A loss or gradient is not finite.
    #[error(
        "{what} is {value}: not finite (layer {layer}); lower the learning rate or rho, or check the data"
    )]
    NotFinite {
        /// What is not finite.
        what: String,
        /// The value found.
        value: f64,
        /// The first parameter or layer in which it shows.
        layer: String,
    },

    /// A device does not offer a capability that was asked for.
    #[error("{device} does not support {capability}")]
    Unsupported {
        /// The device or layer.
        device: String,
        /// The capability.
        capability: String,
    },

    /// An iteration did not come to an end.
    #[error(
        "{what} did not converge in {iterations} iterations: the relative residual is {residual:.2e}, allowed is \
         {tolerance:.2e}; allow more iterations or a larger tolerance"
    )]
    NotConverged {
        /// The method.
        what: String,
        /// Iterations made.
        iterations: usize,
        /// The residual after the last one.
        residual: f64,
        /// The residual asked for.
        tolerance: f64,
    },

    /// An instrument could not be used.
    #[error("the instrument of layer {layer} {reason}")]
    Instrument {
        /// The layer that it realises.
        layer: String,
        /// What it did, after "the instrument".
        reason: String,
    },

    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// A file was read but its content is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A lookup of `name` failed among `known`.
    pub fn unknown<'a>(
        kind: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::Unknown { kind, name: name.to_owned(), known }
    }

    /// The shape of `tensor` is not `want`.
    pub fn shape(what: &str, tensor: &crate::Tensor, want: impl Into<String>) -> Self {
        Self::Shape { what: what.to_owned(), got: tensor.dims().to_vec(), want: want.into() }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The value if it is inside its range.
pub(crate) fn in_range(what: &str, value: f64, inside: bool, allowed: &'static str) -> Result<f64> {
    if inside { Ok(value) } else { Err(Error::Range { what: what.to_owned(), value, allowed }) }
}
