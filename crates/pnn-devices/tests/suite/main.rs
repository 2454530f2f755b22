//! All tests but those that need a process of their own, as one program: they are built faster so.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod activation;
mod bank;
mod common;
mod conformance;
mod curvature;
mod decompose;
mod diffraction;
mod freespace;
mod matrices;
mod measured;
mod mesh;
mod misuse;
mod neurophox;
mod process;
mod program;
mod propagation;
mod propagation_range;
mod ring;
mod svd;
mod transfer;
mod wdm;
