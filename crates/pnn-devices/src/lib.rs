#![doc = include_str!("../README.md")]

mod detection;
pub mod diffraction;
mod error;
pub mod freespace;
mod misalignment;
pub mod mrr;
pub mod mzi;

pub use error::{Error, Result};
