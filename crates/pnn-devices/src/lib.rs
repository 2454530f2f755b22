#![doc = include_str!("../README.md")]

mod detection;
pub mod diffraction;
mod error;
pub mod freespace;
mod misalignment;
pub mod mrr;
pub mod mzi;
#[cfg(feature = "process")]
pub mod process;

pub use error::{Error, Result};
