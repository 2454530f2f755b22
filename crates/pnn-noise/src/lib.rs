#![doc = include_str!("../README.md")]

mod draw;
mod error;
mod model;
mod source;

pub use error::{Error, Result};
pub use model::{Noise, NoiseModel};
pub use source::{Beyond, Motion, Source, Spread};
