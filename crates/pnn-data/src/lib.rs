#![doc = include_str!("../README.md")]

mod batches;
mod dataset;
#[cfg(feature = "download")]
pub mod download;
mod embedded;
mod error;
pub mod idx;
pub mod mnist;
mod normalisation;
mod pin;
mod shuffle;
mod source;
mod split;

pub use batches::Batches;
pub use dataset::{Dataset, ImageShape};
pub use embedded::digits;
#[cfg(feature = "download")]
pub use error::MirrorFailure;
pub use error::{Error, Offset, Result};
pub use mnist::Mnist;
pub use normalisation::Normalisation;
pub use pin::FilePin;
pub use split::{HeldOut, stratified_indices, stratified_split};
