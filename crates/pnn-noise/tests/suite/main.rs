//! All tests but those that need a process of their own, as one program: they are built faster so.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod common;
mod configuration;
mod crosstalk;
mod misalignment;
mod misuse;
mod quantisation;
mod stability;
mod stack;
mod statistics;
