//! The numbers that a tensor may hold.

use std::sync::Arc;

use super::{Buffer, LocalPool, Pool};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// Single precision: what training runs in.
    F32,
    /// Double precision: what checks run in.
    F64,
    /// Labels and counters; no arithmetic.
    U32,
}

/// The values of a tensor.
#[derive(Clone)]
pub enum Values {
    /// Single precision.
    F32(Arc<Buffer<f32>>),
    /// Double precision.
    F64(Arc<Buffer<f64>>),
    /// Unsigned integers.
    U32(Arc<Buffer<u32>>),
}

/// What a tensor may hold: `f32`, `f64`, `u32`.
pub trait Element: Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// Its name.
    const DTYPE: DType;
    /// Values as they lie in a tensor.
    fn into_values(buffer: Buffer<Self>) -> Values;
    /// The buffer, if it is of this type.
    fn buffer(values: &Values) -> Option<&Arc<Buffer<Self>>>;
    /// The buffer itself, if it is of this type.
    fn into_buffer(values: Values) -> Option<Arc<Buffer<Self>>>;
    /// Where threads keep free buffers of this type.
    fn pool() -> &'static LocalPool<Self>;
}

macro_rules! element {
    ($t:ty, $variant:ident) => {
        impl Element for $t {
            const DTYPE: DType = DType::$variant;
            fn into_values(buffer: Buffer<Self>) -> Values {
                Values::$variant(Arc::new(buffer))
            }
            fn buffer(values: &Values) -> Option<&Arc<Buffer<Self>>> {
                if let Values::$variant(buffer) = values { Some(buffer) } else { None }
            }
            fn into_buffer(values: Values) -> Option<Arc<Buffer<Self>>> {
                if let Values::$variant(buffer) = values { Some(buffer) } else { None }
            }
            fn pool() -> &'static LocalPool<Self> {
                thread_local! {
                    static POOL: std::cell::RefCell<Pool<$t>> = std::cell::RefCell::default();
                }
                &POOL
            }
        }
    };
}
element!(f32, F32);
element!(f64, F64);
element!(u32, U32);
