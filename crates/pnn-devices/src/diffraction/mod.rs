//! Light in free space: scalar diffraction between planes.
//!
//! A field is (batch, 2, height, width), real and imaginary parts, or (batch, wavelengths, 2, height,
//! width).

mod grid;
mod space;

pub use grid::Grid;
pub use space::{FreeSpace, Method};
