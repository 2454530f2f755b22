//! Strategies for proptest: shapes, tensors, convolutions, seeds. They shrink.

use std::ops::{Range, RangeInclusive};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ops::ConvGeometry;
use crate::{DType, Seed, Tensor};

/// Shapes with a number of dimensions in `rank`, each of a size in `dim`.
pub fn shape(
    rank: RangeInclusive<usize>,
    dim: RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<usize>> {
    vec(dim, rank)
}

/// Tensors of a fixed shape with elements drawn from `range`, rounded to `dtype` (f32 or f64).
///
/// ```
/// use pnn_core::DType;
/// use pnn_core::testing::strategies::tensor;
/// use proptest::prelude::*;
/// proptest!(|(x in tensor(&[2, 3], -1.0..1.0, DType::F32))| {
///     prop_assert_eq!(x.dims(), &[2, 3]);
/// });
/// ```
pub fn tensor(
    shape: &[usize],
    range: Range<f64>,
    dtype: DType,
) -> impl Strategy<Value = Tensor> + use<> {
    let shape = shape.to_vec();
    vec(range, shape.iter().product::<usize>()).prop_filter_map(
        "a tensor of this dtype",
        move |values| {
            let tensor = Tensor::from_vec(values, shape.as_slice()).ok()?;
            tensor.to_dtype(dtype).ok()
        },
    )
}

/// Tensors whose shapes are drawn too.
pub fn tensor_of(
    shapes: impl Strategy<Value = Vec<usize>>,
    range: Range<f64>,
    dtype: DType,
) -> impl Strategy<Value = Tensor> {
    shapes.prop_flat_map(move |shape| tensor(&shape, range.clone(), dtype))
}

/// The sizes of a convolution that fits its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSizes {
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Rows of the kernel.
    pub kernel_height: usize,
    /// Columns of the kernel.
    pub kernel_width: usize,
    /// Stride and padding.
    pub geometry: ConvGeometry,
}

impl ConvSizes {
    /// The shape of the input.
    #[must_use]
    pub fn input(&self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }

    /// The shape of the weights.
    #[must_use]
    pub fn weight(&self) -> [usize; 4] {
        [self.outputs, self.channels, self.kernel_height, self.kernel_width]
    }

    /// The shape of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 4] {
        let out = |length: usize, kernel: usize| {
            (length + 2 * self.geometry.padding - kernel) / self.geometry.stride + 1
        };
        let rows = out(self.height, self.kernel_height);
        [self.batch, self.outputs, rows, out(self.width, self.kernel_width)]
    }
}

/// Convolutions with images of up to `side` pixels, kernels of up to 5, strides of up to 3,
/// padding of up to 3 (which may exceed the kernel), 1 to 3 images and channels.
pub fn conv_sizes(side: usize) -> impl Strategy<Value = ConvSizes> {
    let counts = (1..=3usize, 1..=3usize, 1..=3usize);
    let image = (1..=side.max(1), 1..=side.max(1));
    let kernel = (1..=5usize, 1..=5usize);
    (counts, image, kernel, 1..=3usize, 0..=3usize).prop_map(
        |((batch, channels, outputs), (height, width), kernel, stride, padding)| ConvSizes {
            batch,
            channels,
            outputs,
            height,
            width,
            kernel_height: kernel.0.min(height + 2 * padding),
            kernel_width: kernel.1.min(width + 2 * padding),
            geometry: ConvGeometry { stride, padding },
        },
    )
}

/// Convolutions of stride 1 whose padding is below the kernel (those without unfolding): 1 to 20
/// channels and outputs, 1 to `batch` images of up to `side` (at least 5) pixels, kernels of up to
/// 5, not square either.
pub fn direct_conv_sizes(batch: usize, side: usize) -> impl Strategy<Value = ConvSizes> {
    let side = side.max(5);
    let counts = (1..=batch.max(1), 1..=20usize, 1..=20usize);
    let kernel = (1..=5usize, 1..=5usize).prop_flat_map(|kernel| {
        let padding = 0..kernel.0.min(kernel.1);
        (Just(kernel), padding)
    });
    let image = kernel.prop_flat_map(move |(kernel, padding)| {
        let least = |kernel: usize| kernel.saturating_sub(2 * padding).max(1);
        (Just((kernel, padding)), least(kernel.0)..=side, least(kernel.1)..=side)
    });
    (counts, image).prop_map(|((batch, channels, outputs), ((kernel, padding), height, width))| {
        ConvSizes {
            batch,
            channels,
            outputs,
            height,
            width,
            kernel_height: kernel.0,
            kernel_width: kernel.1,
            geometry: ConvGeometry { stride: 1, padding },
        }
    })
}

/// Tensors of whole numbers from `range` (rounded to f32 or f64): few values give many ties, and
/// sums of products of small ones are exact in f32.
pub fn whole_numbers(
    shape: &[usize],
    range: Range<i32>,
    dtype: DType,
) -> impl Strategy<Value = Tensor> + use<> {
    let shape = shape.to_vec();
    let whole = range.prop_map(f64::from);
    vec(whole, shape.iter().product::<usize>()).prop_filter_map(
        "a tensor of this dtype",
        move |values| {
            let tensor = Tensor::from_vec(values, shape.as_slice()).ok()?;
            tensor.to_dtype(dtype).ok()
        },
    )
}

/// Seeds.
pub fn seed() -> impl Strategy<Value = Seed> {
    any::<u64>().prop_map(Seed::new)
}
