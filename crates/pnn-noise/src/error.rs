//! The errors of this crate.

/// What can go wrong in pnn-noise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A noise setting lies outside its allowed range.
    #[error("{what} is {value}, allowed is {allowed}")]
    Range {
        /// The name of the setting, with its unit.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range in interval notation.
        allowed: &'static str,
    },
    /// A noise source is meant for a layer that does not exist.
    #[error("no physical layer named {name:?}; there is {known}")]
    UnknownLayer {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A noise source lists no layers, and would act on nothing.
    #[error("the list of layers of a noise source is empty; leave it out to act on all of them")]
    NoLayers,
    /// Two sources round the settings of one layer, which does not add up.
    #[error("two sources of quantisation noise act on layer {layer:?}, which has one converter")]
    TwoConverters {
        /// The layer.
        layer: String,
    },
    /// A device does not have what a noise source acts on.
    #[error("layer {layer:?} has no {needs}, which {noise} noise acts on")]
    Missing {
        /// The layer.
        layer: String,
        /// The port or capability.
        needs: String,
        /// The noise source.
        noise: &'static str,
    },
    /// A tensor or device operation failed.
    #[error(transparent)]
    Core(#[from] pnn_core::Error),
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
