//! Layers: batch normalisation, electronic weights, and complex layers for small networks. Physical layers are devices
//! ([`crate::device::PhysicalLayer`]) placed in a model by [`crate::model::Physical`].

mod batch_norm;
mod complex;
mod digital;

pub use batch_norm::BatchNorm;
pub use complex::{
    ComplexBatchNorm, ComplexConv2d, ComplexConvSizes, ComplexConvTranspose2d, Learning, Paths,
};
pub use digital::{Digital, Product, uniform_fan_in};
