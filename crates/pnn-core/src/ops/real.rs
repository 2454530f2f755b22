//! The number types that kernels run in, and access to tensor memory.

use candle_core::{CpuStorage, Layout, Shape, Storage, Tensor, WithDType};
use num_traits::{Float, NumAssign};

/// A floating-point type that kernels are compiled for: `f32` (fast path) and `f64` (checks).
pub trait Real: Float + NumAssign + WithDType + Default + std::iter::Sum {
    /// Conversion from `f64`, rounding to nearest.
    fn of(value: f64) -> Self;
    /// Conversion to `f64`, exact.
    fn f64(self) -> f64;
}

impl Real for f32 {
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
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "pnn kernel").bt()),
        }
    };
}
pub(crate) use dispatch;

/// The elements of a contiguous storage, in row-major order.
pub(crate) fn elements<'a, T: Real>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("kernel input of shape {:?} is not contiguous", layout.shape());
    };
    Ok(&storage.as_slice::<T>()?[start..end])
}

/// Calls `f` with the row-major elements of each tensor.
pub(crate) fn with_elements<T: Real, R>(
    tensors: &[&Tensor],
    f: impl FnOnce(&[&[T]]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let contiguous = tensors.iter().map(|t| t.contiguous()).collect::<Result<Vec<_>, _>>()?;
    let guards: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let slices = guards
        .iter()
        .map(|(storage, layout)| match &**storage {
            Storage::Cpu(cpu) => elements(cpu, layout),
            _ => candle_core::bail!("pnn kernels run on the CPU device"),
        })
        .collect::<Result<Vec<_>, _>>()?;
    f(&slices)
}

/// A kernel's output storage.
pub(crate) fn output<T: Real>(values: Vec<T>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (T::to_cpu_storage_owned(values), shape.into())
}
