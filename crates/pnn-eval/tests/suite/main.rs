//! All tests but those that need a process of their own, as one program: they are built faster so.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod charts;
mod deploy;
mod landscape_charts;
mod landscapes;
mod loss_surfaces;
mod sharpness;
