#![doc = include_str!("../README.md")]

mod error;
pub mod mrr;

pub use error::{Error, Result};
