//! The errors of this crate.

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
        }
    }
}
