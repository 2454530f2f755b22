#![doc = include_str!("../README.md")]

mod error;
pub mod mrr;
pub mod mzi;

pub use error::{Error, Result};
