#![doc = include_str!("../README.md")]

pub mod curvature;
pub mod device;
mod error;
#[cfg(feature = "export")]
pub mod export;
pub mod layers;
pub mod loss;
pub mod model;
#[cfg(feature = "npy")]
pub mod npy;
pub mod ops;
pub mod optim;
pub mod params;
pub mod seed;
pub mod store;
pub mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
mod threads;

pub use device::{
    Bounds, Chip, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, FieldOutput,
    Hardware, Levels, Passivity, PhysicalLayer, PortShape, Twin,
};
pub use error::{Error, Result};
pub use model::{Counters, Counts, InSilico, InSitu, Lab, Mode, Model, Pass, Physical, Truth};
pub use params::{Gradients, ParamSet, Parameter};
pub use seed::Seed;
pub use tensor::{DType, Tensor, Var};
pub use threads::use_threads;
