//! All tests but those that need a process of their own, as one program: they are built faster so.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod common;
mod dat;
mod determinism;
mod deviation;
mod golden;
mod mzi;
mod process;
mod resnet_golden;
mod sam_family;
mod training;
mod trajectory;
