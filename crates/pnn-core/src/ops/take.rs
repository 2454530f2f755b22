//! Values put in new places.

use std::sync::Arc;

use super::real::{Real, dispatch};
use crate::tensor::{Buffer, Shape};
use crate::{Error, Result, Tensor};

/// Where values come from: numbers in the row-major order of a tensor, or nowhere.
pub type Places = Arc<[Option<u32>]>;

/// The values of `x` at `places`, 0 where there is none: packing and unpacking
/// of pictures, and any other copy with gaps and repetitions.
///
/// # Shapes
/// `x` any, result `shape`, which has as many elements as there are places.
///
/// # Errors
/// If a place is not in `x`, or their number does not fit.
pub fn take(x: &Tensor, places: &Places, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let count = x.elem_count();
    if let Some(place) = places.iter().flatten().find(|place| **place as usize >= count) {
        let (what, value) = (format!("place among {count} values"), f64::from(*place));
        return Err(Error::Range { what, value, allowed: "below their number" });
    }
    let y = dispatch!(x.dtype(), T => {
        let values = x.elements::<T>()?;
        let of = |place: &Option<u32>| place.map_or(T::of(0.0), |place| values[place as usize]);
        Tensor::from_buffer(places.iter().map(of).collect::<Buffer<T>>(), shape)
    })?;
    let (input, places) = (x.shape().clone(), Arc::clone(places));
    Ok(y.with_gradient(&[x], move |gradient| {
        let dx = dispatch!(gradient.dtype(), T => {
            let mut dx = Buffer::<T>::zeros(input.elem_count());
            for (place, g) in places.iter().zip(gradient.elements::<T>()?) {
                if let Some(place) = place {
                    dx[*place as usize] += *g;
                }
            }
            Tensor::from_buffer(dx, &input)
        })?;
        Ok(vec![Some(dx)])
    }))
}
