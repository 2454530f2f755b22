//! Light in free space: scalar diffraction between planes, and what stands in them.
//!
//! A field is (batch, 2, height, width), real and imaginary parts, or (batch, wavelengths, 2, height,
//! width).

mod absorber;
mod detectors;
mod grid;
mod inspect;
mod network;
mod panels;
mod range;
mod space;
mod stage;

pub use crate::detection::SHOT_NOISE;
pub use crate::mrr::READOUT_ERROR;
pub use absorber::{saturable_absorber, saturable_film};
pub use detectors::{Detectors, Region};
pub use grid::Grid;
pub use network::Diffractive;
pub use panels::{PHASE_ERROR_TURN, TRANSMISSION_ERROR};
pub use space::{FreeSpace, Method};
pub use stage::Element;
