//! Checks for devices and kernels (feature `testing`): gradients against finite differences,
//! tolerances that name the worst element, strategies for proptest, and the suite that every
//! device passes.
//!
//! ```
//! use pnn_core::layers::{Digital, Product};
//! use pnn_core::testing::conformance;
//! use pnn_core::{Bounds, DType, Seed};
//!
//! let device = Digital::new(Product::Linear { inputs: 3, outputs: 2 }, Bounds::UNBOUNDED);
//! let seed = Seed::new(1);
//! let input = seed.child("x").tensor(rand_distr::StandardUniform, &[4, 3], DType::F64)?;
//! conformance(&device, &input, &seed)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod conformance;
mod gradient;
pub mod strategies;
mod tolerance;

pub use conformance::{Check, Conformance, ConformanceError, conformance};
pub use gradient::{GradientCheck, GradientError, check_gradients};
pub use tolerance::{Mismatch, check_close, check_same_bits};
