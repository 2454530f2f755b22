#![doc = include_str!("../README.md")]

mod error;
mod source;

pub use error::{Error, Result};
pub use source::{Beyond, Noise, NoiseModel, Source, quantise};
