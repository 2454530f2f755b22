//! Hardware behind a child process: a lab's program, in any language, speaks a protocol on its standard input and output, and
//! training has it in its loop. Feature `process`.
//!
//! The protocol is in `docs/hardware-protocol.md`; `python/pnn_instrument` speaks it in Python.

mod child;
mod config;
mod frame;
mod group;
mod hardware;
mod message;

pub use config::ProcessConfig;
pub use frame::{MAGIC, PROTOCOL};
pub use hardware::ProcessHardware;
