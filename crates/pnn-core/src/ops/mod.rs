//! Kernels with checked gradients, on f32 and f64.
//!
//! No kernel's result depends on the number of threads: work is split into blocks whose size
//! depends on shapes alone, and every sum has a fixed order.

mod cascade;
mod complex;
mod complex_norm;
mod conv;
mod dense;
mod detect;
mod fft;
mod gemm;
mod linear;
mod map;
mod norm;
mod packed;
mod pool;
mod product;
pub(crate) mod real;
mod resample;
pub mod simd;
mod take;
mod through;

pub use cascade::{Wiring, cascade};
pub use complex::{complex_product, phase_shift};
pub use complex_norm::{ComplexStatistics, complex_batch_norm};
pub use conv::{
    ConvGeometry, conv_transpose2d, conv_transpose2d_interleaved, conv2d, conv2d_interleaved,
    deinterleave, interleave, lanes,
};
pub use detect::{normalised_power, power};
pub use fft::{TransferFunction, fft2, ifft2, transfer};
pub use linear::{add_bias, linear};
pub use map::{Elementwise, Relu, Sigmoid, map, relu, sigmoid};
pub use norm::{ChannelStatistics, Tail, batch_norm, batch_norm_fused, batch_norm_with};
pub use packed::{Packing, resample_packed};
pub use pool::{avg_pool2d, max_pool2d};
pub use real::Real;
pub(crate) use real::dispatch;
pub use resample::{Sampling, resample};
pub use take::{Places, take};
pub use through::straight_through;
