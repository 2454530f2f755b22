//! Other shapes and types of the same values.

use rayon::prelude::*;

use super::shape::for_each_run;
use super::{Buffer, DType, Element, Shape, Tensor};
use crate::ops::dispatch;
use crate::{Error, Result};

/// As `dispatch!`, with u32 too.
macro_rules! dispatch_all {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
        }
    };
}

/// Values that are copied by one thread: waking another costs more.
const SMALL: usize = 1 << 18;

/// Calls `f` with the number of each row of a length and the row, on several threads where that
/// pays.
fn for_each_row<T: Element>(values: &mut [T], length: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let length = length.max(1);
    if values.len() < SMALL {
        values.chunks_exact_mut(length).enumerate().for_each(|(row, values)| f(row, values));
    } else {
        let rows = values.par_chunks_exact_mut(length).enumerate();
        rows.with_min_len(SMALL.div_ceil(length)).for_each(|(row, values)| f(row, values));
    }
}

impl Tensor {
    /// The same elements in another shape, without a copy.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.elem_count() != self.elem_count() {
            let want = format!("as many elements as {:?}", shape.dims());
            return Err(Error::shape("tensor to reshape", self, want));
        }
        let y = Self::from_parts(shape, self.0.values.clone(), self.0.offset);
        let old = self.shape().clone();
        Ok(y.with_gradient(&[self], move |gradient| Ok(vec![Some(gradient.reshape(&old)?)])))
    }

    /// As a vector.
    ///
    /// # Errors
    /// None today.
    pub fn flatten_all(&self) -> Result<Self> {
        self.reshape(self.elem_count())
    }

    /// Dimension `dim` and all after it as one.
    ///
    /// # Errors
    /// If there is no such dimension.
    pub fn flatten_from(&self, dim: usize) -> Result<Self> {
        self.dim(dim)?;
        let (kept, merged) = self.dims().split_at(dim);
        let shape: Vec<usize> = kept.iter().copied().chain([merged.iter().product()]).collect();
        self.reshape(shape)
    }

    /// Elements `start..start + length` of a dimension: a view where `dim` is 0, else a copy.
    ///
    /// # Errors
    /// If they are not all there.
    pub fn narrow(&self, dim: usize, start: usize, length: usize) -> Result<Self> {
        let size = self.dim(dim)?;
        if start.checked_add(length).is_none_or(|end| end > size) {
            let want = format!("{length} entries from {start} on along dimension {dim}");
            return Err(Error::shape("tensor to narrow", self, want));
        }
        let mut dims = self.dims().to_vec();
        dims[dim] = length;
        let inner: usize = dims[dim + 1..].iter().product();
        let y = if dim == 0 {
            let offset = self.0.offset + start * inner;
            Self::from_parts(dims.into(), self.0.values.clone(), offset)
        } else {
            dispatch_all!(self.dtype(), T => {
                let x = self.elements::<T>()?;
                let mut y = Buffer::<T>::scratch(dims.iter().product());
                for_each_row(&mut y, length * inner, |row, y| {
                    y.copy_from_slice(&x[(row * size + start) * inner..][..y.len()]);
                });
                Self::from_buffer(y, dims)
            })?
        };
        let full = self.shape().clone();
        Ok(y.with_gradient(&[self], move |gradient| {
            let dx = dispatch!(gradient.dtype(), T => {
                let g = gradient.elements::<T>()?;
                let mut dx = Buffer::<T>::zeros(full.elem_count());
                for_each_row(&mut dx, size * inner, |row, dx| {
                    let g = &g[row * length * inner..][..length * inner];
                    dx[start * inner..][..g.len()].copy_from_slice(g);
                });
                Tensor::from_buffer(dx, &full)
            })?;
            Ok(vec![Some(dx)])
        }))
    }

    /// The transpose of a matrix.
    ///
    /// # Errors
    /// If there are not two dimensions.
    pub fn t(&self) -> Result<Self> {
        self.dims2()?;
        self.transpose(0, 1)
    }

    /// Two dimensions exchanged (a copy).
    ///
    /// # Errors
    /// If there are no such dimensions.
    pub fn transpose(&self, one: usize, other: usize) -> Result<Self> {
        let (mut dims, mut strides) = (self.dims().to_vec(), self.shape().strides_in(self.shape()));
        self.dim(one.max(other))?;
        dims.swap(one, other);
        strides.swap(one, other);
        let inner = strides.last().copied().unwrap_or(0);
        let y = dispatch_all!(self.dtype(), T => {
            let x = self.elements::<T>()?;
            let mut y = Buffer::<T>::scratch(x.len());
            for_each_run(&dims, &strides, &strides, |at, from, _, run| {
                for (i, y) in y[at..at + run].iter_mut().enumerate() {
                    *y = x[from + i * inner];
                }
            });
            Self::from_buffer(y, dims)
        })?;
        Ok(y.with_gradient(&[self], move |gradient| {
            Ok(vec![Some(gradient.transpose(one, other)?)])
        }))
    }

    /// Tensors one after the other along a dimension; their other sizes must agree.
    ///
    /// # Errors
    /// If there is none, or sizes or types differ.
    pub fn cat(tensors: &[&Self], dim: usize) -> Result<Self> {
        let Some(first) = tensors.first() else {
            let (what, got) = ("list of tensors to join".to_owned(), vec![0]);
            return Err(Error::Shape { what, got, want: "at least one".into() });
        };
        let mut dims = first.dims().to_vec();
        first.dim(dim)?;
        dims[dim] = 0;
        for tensor in tensors {
            let mut other = tensor.dims().to_vec();
            let size = other.get_mut(dim).map_or(0, |d| std::mem::replace(d, 0));
            let mut wanted = dims.clone();
            wanted[dim] = 0;
            if other != wanted {
                let want = format!("{:?} but for dimension {dim}", first.dims());
                return Err(Error::shape("tensor to join", tensor, want));
            }
            dims[dim] += size;
        }
        let inner: usize = dims[dim + 1..].iter().product();
        let y = dispatch_all!(first.dtype(), T => {
            let parts = tensors.iter().map(|t| t.elements::<T>()).collect::<Result<Vec<_>>>()?;
            let mut y = Buffer::<T>::scratch(dims.iter().product());
            for_each_row(&mut y, dims[dim] * inner, |row, mut y| {
                for (part, tensor) in parts.iter().zip(tensors) {
                    let length = tensor.dims()[dim] * inner;
                    let (here, rest) = y.split_at_mut(length);
                    here.copy_from_slice(&part[row * length..][..length]);
                    y = rest;
                }
            });
            Self::from_buffer(y, dims)
        })?;
        let sizes: Vec<usize> = tensors.iter().map(|t| t.dims()[dim]).collect();
        Ok(y.with_gradient(tensors, move |gradient| {
            let mut start = 0;
            sizes
                .iter()
                .map(|&size| {
                    start += size;
                    gradient.narrow(dim, start - size, size).map(Some)
                })
                .collect()
        }))
    }

    /// Tensors of one shape along a new dimension in front.
    ///
    /// # Errors
    /// If there is none, or shapes or types differ.
    pub fn stack(tensors: &[&Self]) -> Result<Self> {
        let one = |t: &&Self| t.reshape([&[1], t.dims()].concat());
        let tensors = tensors.iter().map(one).collect::<Result<Vec<_>>>()?;
        Self::cat(&tensors.iter().collect::<Vec<_>>(), 0)
    }

    /// This tensor repeated to a shape to which it broadcasts.
    ///
    /// # Errors
    /// If it does not.
    pub fn broadcast_as(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if self.shape().broadcast(&shape)? != shape {
            let want = format!("a shape that broadcasts to {:?}", shape.dims());
            return Err(Error::shape("tensor", self, want));
        }
        self + Self::zeros(&shape, self.dtype())?
    }

    /// The same numbers in another type, rounded to nearest.
    ///
    /// # Errors
    /// None today.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        if self.dtype() == dtype {
            return Ok(self.clone());
        }
        fn cast<A: Element, B: Element>(x: &Tensor, f: impl Fn(A) -> B) -> Result<Tensor> {
            let y = x.elements::<A>()?.iter().map(|v| f(*v)).collect();
            Tensor::from_buffer(y, x.shape())
        }
        let y = match (self.dtype(), dtype) {
            (DType::F32, DType::F64) => cast(self, |v: f32| f64::from(v)),
            (DType::F64, DType::F32) => cast(self, |v: f64| v as f32),
            (DType::U32, DType::F64) => cast(self, |v: u32| f64::from(v)),
            (DType::U32, DType::F32) => cast(self, |v: u32| v as f32),
            (DType::F32, _) => cast(self, |v: f32| v.round() as u32),
            (_, _) => cast(self, |v: f64| v.round() as u32),
        }?;
        let old = self.dtype();
        if dtype == DType::U32 {
            return Ok(y);
        }
        Ok(y.with_gradient(&[self], move |gradient| Ok(vec![Some(gradient.to_dtype(old)?)])))
    }
}
