//! Layers: batch normalisation and electronic weights. Physical layers are devices
//! ([`crate::device::PhysicalLayer`]) placed in a model by [`crate::model::Physical`].

mod batch_norm;
mod digital;

pub use batch_norm::BatchNorm;
pub use digital::{Digital, Product, uniform_fan_in};
