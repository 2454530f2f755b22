//! Rings as they were measured: tuning curves and spectra from CSV, fits of them, and curves as transfer functions.

mod csv;
mod fit;
mod line;
mod resonance;

pub use csv::{Axis, Curve, read_curves};
pub use fit::Estimate;
pub use line::{Branch, MeasuredLine};
pub use resonance::{ResonanceFit, Spread, Tuning, spread};
