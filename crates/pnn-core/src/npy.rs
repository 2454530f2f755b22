//! Arrays in `NumPy`'s file format (`.npy`): how phases, errors and matrices come from Python, and
//! settings go back. Feature `npy`.
//!
//! ```
//! use pnn_core::{Tensor, npy};
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("theta.npy");
//! let theta = Tensor::new([[0.1, 0.2], [0.3, 0.4]])?;
//! npy::save(&path, &theta)?; // in Python: numpy.load("theta.npy")
//! assert_eq!(npy::load(&path)?.to_vec2::<f64>()?, theta.to_vec2::<f64>()?);
//! # Ok::<(), pnn_core::Error>(())
//! ```

use std::path::Path;

use npyz::{NpyFile, Order, WriterBuilder};
use num_complex::Complex;

use crate::store::write_atomic;
use crate::tensor::Element;
use crate::{DType, Error, Result, Tensor};

/// Reads an array of f32 or f64, or of complex numbers of these, which becomes (2, ...): all real
/// parts, then all imaginary ones. Either order of dimensions, either order of bytes.
///
/// # Errors
/// If the file is missing, truncated, malformed or holds numbers of another kind.
pub fn load(path: &Path) -> Result<Tensor> {
    let format = |reason: String| Error::Format { path: path.to_owned(), reason };
    let bytes =
        std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let file = NpyFile::new(&bytes[..]).map_err(|e| format(format!("no array of NumPy: {e}")))?;
    let shape = file.shape().iter().map(|size| usize::try_from(*size).ok());
    let shape: Option<Vec<usize>> = shape.collect();
    let count = shape.as_ref().and_then(|shape| {
        shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
    });
    // A number takes four bytes at least: what claims more of them is damaged.
    let (Some(shape), Some(_)) = (shape, count.filter(|count| *count <= bytes.len() / 4)) else {
        return Err(format(format!("an array of {:?} in {} bytes", file.shape(), bytes.len())));
    };
    let fortran = file.order() == Order::Fortran;
    let kind = file.dtype().descr();
    let damaged = |e: std::io::Error| format(format!("not a whole array: {e}"));
    let file = match file.try_data::<f64>() {
        Ok(data) => return ordered(collected(data).map_err(damaged)?, &shape, fortran),
        Err(file) => file,
    };
    let file = match file.try_data::<f32>() {
        Ok(data) => return ordered(collected(data).map_err(damaged)?, &shape, fortran),
        Err(file) => file,
    };
    let file = match file.try_data::<Complex<f64>>() {
        Ok(data) => return complex(collected(data).map_err(damaged)?, &shape, fortran),
        Err(file) => file,
    };
    match file.try_data::<Complex<f32>>() {
        Ok(data) => complex(collected(data).map_err(damaged)?, &shape, fortran),
        Err(_) => Err(format(format!("numbers of type {kind}; f4, f8, c8 and c16 can be read"))),
    }
}

fn collected<T>(data: impl Iterator<Item = std::io::Result<T>>) -> std::io::Result<Vec<T>> {
    data.collect()
}

/// A tensor of values that lie as in C or as in Fortran.
fn ordered<T: Element>(values: Vec<T>, shape: &[usize], fortran: bool) -> Result<Tensor> {
    if !fortran {
        return Tensor::from_vec(values, shape);
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let tensor = Tensor::from_vec(values, reversed)?;
    (0..shape.len() / 2).try_fold(tensor, |tensor, i| tensor.transpose(i, shape.len() - 1 - i))
}

fn complex<T: Element>(values: Vec<Complex<T>>, shape: &[usize], fortran: bool) -> Result<Tensor> {
    let (re, im) = values.into_iter().map(|z| (z.re, z.im)).unzip();
    Tensor::stack(&[&ordered(re, shape, fortran)?, &ordered(im, shape, fortran)?])
}

/// Writes an array of f32 or f64, atomically.
///
/// # Errors
/// If the numbers are of another type or the file cannot be written.
pub fn save(path: &Path, tensor: &Tensor) -> Result<()> {
    let bytes = match tensor.dtype() {
        DType::F32 => written(tensor.elements::<f32>()?, tensor.dims()),
        DType::F64 => written(tensor.elements::<f64>()?, tensor.dims()),
        other @ DType::U32 => {
            let (device, capability) = ("a file of NumPy".into(), format!("{other:?}"));
            return Err(Error::Unsupported { device, capability });
        }
    };
    let bytes = bytes.map_err(|source| Error::Io { path: path.to_owned(), source })?;
    write_atomic(path, &bytes)
}

fn written<T: npyz::AutoSerialize + Copy>(
    values: &[T],
    dims: &[usize],
) -> std::io::Result<Vec<u8>> {
    let shape: Vec<u64> = dims.iter().map(|size| *size as u64).collect();
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes);
    let mut writer = options.begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    Ok(bytes)
}
