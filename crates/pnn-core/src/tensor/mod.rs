//! Tensors with gradients.
//!
//! A [`Tensor`] is an immutable, row-major array of f32, f64 or u32 that remembers what it was
//! computed from; [`Tensor::backward`] gives the gradient in every [`Var`] that it depends on.
//! Kernels (convolution, batch norm, a mesh of interferometers, ...) are ordinary functions that
//! compute values and attach their gradient by hand with [`Tensor::with_gradient`]. The operators
//! here are for what is small: a device's weights from its controls, a penalty, a statistic.
//!
//! The engine is our own because a training step of a small network consists largely of what an
//! engine does beside arithmetic: this one moves the first gradient of a tensor instead of adding
//! it to zeros, computes no gradient that no variable needs, and gets its memory from a pool.

mod arithmetic;
mod array;
mod buffer;
mod element;
mod graph;
mod reduce;
mod shape;
mod shaping;
mod var;

use std::sync::Arc;

pub use array::Array;
pub use buffer::{Buffer, LocalPool, Pool};
pub use element::{DType, Element, Values};
pub use graph::{GradStore, without_gradients};
pub use shape::Shape;
pub use var::Var;

use crate::{Error, Result};

/// An array of numbers with its place in the gradient graph. Clones share both.
#[derive(Clone)]
pub struct Tensor(Arc<Inner>);

struct Inner {
    id: u64,
    shape: Shape,
    values: Values,
    offset: usize,
    variable: bool,
    node: Option<graph::Node>,
}

impl Tensor {
    fn from_parts(shape: Shape, values: Values, offset: usize) -> Self {
        let id = graph::next_id();
        Self(Arc::new(Inner { id, shape, values, offset, variable: false, node: None }))
    }

    fn as_variable(&self, id: u64) -> Self {
        let Inner { shape, values, offset, .. } = &*self.0;
        Self(Arc::new(Inner {
            id,
            shape: shape.clone(),
            values: values.clone(),
            offset: *offset,
            variable: true,
            node: None,
        }))
    }

    fn into_inner(self) -> Inner {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            id: shared.id,
            shape: shared.shape.clone(),
            values: shared.values.clone(),
            offset: shared.offset,
            variable: false,
            node: None,
        })
    }

    /// A tensor of these values in row-major order.
    ///
    /// # Errors
    /// If there are not as many as the shape has elements.
    pub fn from_vec<T: Element>(values: Vec<T>, shape: impl Into<Shape>) -> Result<Self> {
        Self::from_buffer(values.into(), shape)
    }

    /// As [`Self::from_vec`], from pooled memory.
    ///
    /// # Errors
    /// If there are not as many values as the shape has elements.
    pub fn from_buffer<T: Element>(values: Buffer<T>, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if values.len() == shape.elem_count() {
            return Ok(Self::from_parts(shape, T::into_values(values), 0));
        }
        let want = format!("{} elements for shape {:?}", shape.elem_count(), shape.dims());
        Err(Error::Shape { what: "list of values".into(), got: vec![values.len()], want })
    }

    /// A copy of these values in row-major order.
    ///
    /// # Errors
    /// If there are not as many as the shape has elements.
    pub fn from_slice<T: Element>(values: &[T], shape: impl Into<Shape>) -> Result<Self> {
        Self::from_buffer(Buffer::copy_of(values), shape)
    }

    /// A tensor of one number, without dimensions.
    #[must_use]
    pub fn from_scalar<T: Element>(value: T) -> Self {
        Self::from_parts(Shape::default(), T::into_values(vec![value].into()), 0)
    }

    /// A scalar, or an array of arrays of numbers.
    ///
    /// # Errors
    /// If rows have different lengths.
    pub fn new<A: Array>(array: A) -> Result<Self> {
        let mut values = Vec::new();
        array.collect_into(&mut values);
        Self::from_vec(values, array.shape())
    }

    /// The same value everywhere.
    ///
    /// # Errors
    /// None today.
    pub fn full<T: Element>(value: T, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let mut values = Buffer::scratch(shape.elem_count());
        values.fill(value);
        Self::from_buffer(values, shape)
    }

    /// The same value everywhere, as many and of the type as in `like`.
    pub(crate) fn full_like(like: &Self, value: f64) -> Result<Self> {
        Self::full(value, like.shape())?.to_dtype(like.dtype())
    }

    /// Zeros.
    ///
    /// # Errors
    /// None today.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        let shape = shape.into();
        match dtype {
            DType::F32 => Self::from_buffer(Buffer::<f32>::zeros(shape.elem_count()), shape),
            DType::F64 => Self::from_buffer(Buffer::<f64>::zeros(shape.elem_count()), shape),
            DType::U32 => Self::from_buffer(Buffer::<u32>::zeros(shape.elem_count()), shape),
        }
    }

    /// Ones.
    ///
    /// # Errors
    /// None today.
    pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Result<Self> {
        Self::full(1u32, shape)?.to_dtype(dtype)
    }

    /// Zeros of the shape and type of this tensor.
    ///
    /// # Errors
    /// None today.
    pub fn zeros_like(&self) -> Result<Self> {
        Self::zeros(self.shape(), self.dtype())
    }

    /// Ones of the shape and type of this tensor.
    ///
    /// # Errors
    /// None today.
    pub fn ones_like(&self) -> Result<Self> {
        Self::ones(self.shape(), self.dtype())
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// The sizes of the dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        self.0.shape.dims()
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// Number of elements.
    #[must_use]
    pub fn elem_count(&self) -> usize {
        self.0.shape.elem_count()
    }

    /// The type of the elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self.0.values {
            Values::F32(_) => DType::F32,
            Values::F64(_) => DType::F64,
            Values::U32(_) => DType::U32,
        }
    }

    /// The size of a dimension.
    ///
    /// # Errors
    /// If there is no such dimension.
    pub fn dim(&self, dim: usize) -> Result<usize> {
        self.dims()
            .get(dim)
            .copied()
            .ok_or_else(|| Error::shape("tensor", self, format!("more than {dim} dimensions")))
    }

    /// The sizes of exactly `N` dimensions.
    fn sizes<const N: usize>(&self) -> Result<[usize; N]> {
        <[usize; N]>::try_from(self.dims())
            .map_err(|_| Error::shape("tensor", self, format!("{N} dimensions")))
    }

    /// The sizes of a matrix.
    ///
    /// # Errors
    /// If there are not two dimensions.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        self.sizes().map(|[a, b]| (a, b))
    }

    /// The sizes of four dimensions: batch, channels, height, width.
    ///
    /// # Errors
    /// If there are not four.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        self.sizes().map(|[a, b, c, d]| (a, b, c, d))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn elements<T: Element>(&self) -> Result<&[T]> {
        match T::buffer(&self.0.values) {
            Some(buffer) => Ok(&buffer[self.0.offset..][..self.elem_count()]),
            None => Err(self.wrong_type(T::DTYPE)),
        }
    }

    /// The elements as a buffer of one's own: the tensor's, if nothing else holds it, else a copy.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn into_buffer<T: Element>(self) -> Result<Buffer<T>> {
        self.elements::<T>()?;
        let length = self.elem_count();
        let Inner { values, offset, .. } = self.into_inner();
        let Some(buffer) = T::into_buffer(values) else {
            return Err(Error::Unsupported {
                device: "tensor".into(),
                capability: format!("{:?}", T::DTYPE),
            });
        };
        Ok(match Arc::try_unwrap(buffer) {
            Ok(own) if own.len() == length => own,
            Ok(own) => Buffer::copy_of(&own[offset..][..length]),
            Err(shared) => Buffer::copy_of(&shared[offset..][..length]),
        })
    }

    /// The elements as a buffer of one's own, and this tensor as an operand for the gradient graph:
    /// without values, if they could be taken from it.
    pub(crate) fn take_elements<T: Element>(self) -> Result<(Buffer<T>, Self)> {
        let whole = self.elements::<T>()?.len();
        let copy = |tensor: Self| Ok((Buffer::copy_of(tensor.elements::<T>()?), tensor));
        let mut inner = match Arc::try_unwrap(self.0) {
            Ok(inner) if !inner.variable => inner,
            Ok(inner) => return copy(Self(Arc::new(inner))),
            Err(shared) => return copy(Self(shared)),
        };
        let empty = T::into_values(Buffer::zeros(0));
        let values = std::mem::replace(&mut inner.values, empty);
        match T::into_buffer(values).map(Arc::try_unwrap) {
            Some(Ok(own)) if own.len() == whole => Ok((own, Self(Arc::new(inner)))),
            Some(Ok(own)) => {
                let part = Buffer::copy_of(&own[inner.offset..][..whole]);
                Ok((part, Self(Arc::new(inner))))
            }
            Some(Err(shared)) => {
                let part = Buffer::copy_of(&shared[inner.offset..][..whole]);
                Ok((part, Self(Arc::new(inner))))
            }
            None => Err(Self(Arc::new(inner)).wrong_type(T::DTYPE)),
        }
    }

    fn wrong_type(&self, want: DType) -> Error {
        let what = format!("tensor of {:?}", self.dtype());
        Error::shape(&what, self, format!("elements of {want:?}"))
    }

    /// The one element.
    ///
    /// # Errors
    /// If there is more or less than one, or it is of another type.
    pub fn to_scalar<T: Element>(&self) -> Result<T> {
        match self.elements::<T>()? {
            [value] => Ok(*value),
            _ => Err(Error::shape("tensor", self, "one element")),
        }
    }

    /// The elements of a vector.
    ///
    /// # Errors
    /// If there is not one dimension, or the elements are of another type.
    pub fn to_vec1<T: Element>(&self) -> Result<Vec<T>> {
        self.sizes::<1>()?;
        Ok(self.elements::<T>()?.to_vec())
    }

    /// The rows of a matrix.
    ///
    /// # Errors
    /// If there are not two dimensions, or the elements are of another type.
    pub fn to_vec2<T: Element>(&self) -> Result<Vec<Vec<T>>> {
        let (_, columns) = self.dims2()?;
        Ok(self.elements::<T>()?.chunks(columns.max(1)).map(<[T]>::to_vec).collect())
    }

    /// The same values without a gradient.
    #[must_use]
    pub fn detach(&self) -> Self {
        if !self.is_tracked() {
            return self.clone();
        }
        Self::from_parts(self.shape().clone(), self.0.values.clone(), self.0.offset)
    }

    /// Whether two tensors share memory (for tests of what is copied and what is not).
    #[must_use]
    pub fn shares_memory_with(&self, other: &Self) -> bool {
        match (&self.0.values, &other.0.values) {
            (Values::F32(a), Values::F32(b)) => Arc::ptr_eq(a, b),
            (Values::F64(a), Values::F64(b)) => Arc::ptr_eq(a, b),
            (Values::U32(a), Values::U32(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl From<&Tensor> for Tensor {
    fn from(tensor: &Tensor) -> Self {
        tensor.clone()
    }
}

/// Prints shape, type and the first elements.
impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor{:?} ", self.dims())?;
        let n = self.elem_count();
        let (start, end) = (self.0.offset, self.0.offset + n.min(8));
        match &self.0.values {
            Values::F32(v) => write!(f, "{:?}", &v[start..end])?,
            Values::F64(v) => write!(f, "{:?}", &v[start..end])?,
            Values::U32(v) => write!(f, "{:?}", &v[start..end])?,
        }
        if n > 8 { write!(f, " and {} more", n - 8) } else { Ok(()) }
    }
}
