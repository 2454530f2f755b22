//! All tests but those that need a process of their own, as one program: they are built faster so.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod common;
mod conformance;
mod curvature;
mod export;
mod fused;
mod golden_ops;
mod gradients;
mod graph;
mod misuse;
mod model;
mod npy;
mod optimizers;
mod reference;
mod sam_family;
mod tensor_gradients;
mod threads;
