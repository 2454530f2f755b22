//! The number types that kernels run in.

use num_traits::{Float, NumAssign};

use crate::tensor::{Buffer, Element};

/// A floating-point type that kernels are compiled for: `f32` (fast path) and `f64` (checks).
pub trait Real: Float + NumAssign + Element + std::iter::Sum {
    /// Conversion from `f64`, rounding to nearest.
    fn of(value: f64) -> Self;
    /// Conversion to `f64`, exact.
    fn f64(self) -> f64;
    /// The slice itself where this type is `f32`: the way to kernels written for it.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
    /// As [`Self::as_f32`], to be written to.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;
    /// Back from [`Self::as_f32`]; any other type is rounded to.
    fn from_f32(values: Buffer<f32>) -> Buffer<Self>;
}

impl Real for f32 {
    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
    fn from_f32(values: Buffer<f32>) -> Buffer<Self> {
        values
    }
    #[inline]
    fn of(value: f64) -> Self {
        value as Self
    }
    #[inline]
    fn f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }
    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }
    fn from_f32(values: Buffer<f32>) -> Buffer<Self> {
        values.iter().map(|v| Self::from(*v)).collect()
    }
    #[inline]
    fn of(value: f64) -> Self {
        value
    }
    #[inline]
    fn f64(self) -> f64 {
        self
    }
}

/// Runs `$body` with `$t` bound to the element type of a dtype: `f32` or `f64`.
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::Error::Unsupported {
                device: "a kernel".into(),
                capability: format!("{other:?} (F32 and F64 are)"),
            }),
        }
    };
}
pub(crate) use dispatch;
