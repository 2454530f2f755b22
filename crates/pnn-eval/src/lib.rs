#![doc = include_str!("../README.md")]

pub mod accuracy;
pub mod confusion;
pub mod correlation;
mod error;
pub mod features;
pub mod interval;
pub mod landscape;
mod loss_surface;
#[cfg(feature = "plots")]
pub mod plot;
mod programmed;
pub mod report;
mod sharpness;
pub mod svg;
pub mod sweep;
pub mod table;

pub use accuracy::{BatchNormMode, Evaluation, Evaluator};
pub use confusion::ConfusionMatrix;
pub use error::{Error, Result};
pub use features::Features;
pub use interval::{Interval, Method};
pub use loss_surface::{DeviationAxis, LossSurface, Reduction, Spread};
pub use report::{Report, Section, Verdict};
pub use sharpness::{DeviationSharpness, Sharpness, SharpnessSettings};
pub use svg::Svg;
pub use sweep::{SweepPoint, on_port, sweep};
pub use table::{Cell, Column, Table};
