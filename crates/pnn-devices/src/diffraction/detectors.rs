//! Detectors in a plane.

use std::sync::Arc;

use pnn_core::ops::Real;
use pnn_core::tensor::{Buffer, Element};
use pnn_core::{DType, Tensor};
use rayon::prelude::*;

use super::Grid;
use crate::{Error, Result};

/// A rectangle of pixels whose light one detector sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first row.
    pub top: usize,
    /// Its first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Detectors that measure the power in their regions.
#[derive(Debug, Clone)]
pub struct Detectors {
    grid: Grid,
    regions: Arc<[Region]>,
}

impl Detectors {
    /// The grid that they lie on.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// A detector for each region of the grid. Regions may overlap.
    ///
    /// # Errors
    /// If there is no region, or one has no pixels or reaches beyond the grid.
    pub fn new(grid: Grid, regions: &[Region]) -> Result<Self> {
        if regions.is_empty() {
            let what = "number of detectors";
            return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
        }
        for region in regions {
            for (what, value) in
                [("rows of a detector", region.height), ("columns of a detector", region.width)]
            {
                if value == 0 {
                    return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
                }
            }
            for (what, first, count, size) in [
                ("last row of a detector", region.top, region.height, grid.height),
                ("last column of a detector", region.left, region.width, grid.width),
            ] {
                let last = first.saturating_add(count - 1);
                if last >= size {
                    let (value, allowed) = (last as f64, "inside the grid");
                    return Err(Error::Range { what, value, allowed });
                }
            }
        }
        Ok(Self { grid, regions: regions.into() })
    }

    /// The ten detectors of Xu et al. (2026) on a grid of 128 x 128: 9 x 9 pixels each, in rows of 3, 4 and 3.
    ///
    /// # Errors
    /// If the grid is smaller than that.
    pub fn published(grid: Grid) -> Result<Self> {
        let mut regions = Vec::new();
        for (row, (count, apart)) in [(3, 27), (4, 18), (3, 27)].into_iter().enumerate() {
            regions.extend((0..count).map(|column| Region {
                top: 32 + 27 * row,
                left: 32 + apart * column,
                height: 9,
                width: 9,
            }));
        }
        Self::new(grid, &regions)
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The powers `sum |E|^2` of the regions.
    ///
    /// # Shapes
    /// `field` (batch, 2, height, width), real and imaginary parts, or (batch, wavelengths, 2, height, width), whose
    /// powers add up; result (batch, detectors).
    ///
    /// # Errors
    /// If the field has another shape.
    pub fn powers(&self, field: &Tensor) -> pnn_core::Result<Tensor> {
        let Grid { height, width, .. } = self.grid;
        let batch = match field.dims() {
            &[batch, 2, h, w] | &[batch, _, 2, h, w] if (h, w) == (height, width) => batch,
            _ => {
                let want = format!("(batch, [wavelengths,] 2, {height}, {width})");
                return Err(pnn_core::Error::shape("field at the detectors", field, want));
            }
        };
        let y = match field.dtype() {
            DType::F32 => self.sums::<f32>(field, batch),
            _ => self.sums::<f64>(field, batch),
        }?;
        let (detectors, input) = (self.clone(), field.clone());
        Ok(y.with_gradient(&[field], move |gradient| {
            let found = match input.dtype() {
                DType::F32 => detectors.back::<f32>(&input, &gradient),
                _ => detectors.back::<f64>(&input, &gradient),
            };
            Ok(vec![Some(found?)])
        }))
    }

    /// Calls `f(detector, range of pixels)` for every row of every region.
    fn for_each_row(&self, mut f: impl FnMut(usize, std::ops::Range<usize>)) {
        for (number, region) in self.regions.iter().enumerate() {
            for row in region.top..region.top + region.height {
                let start = row * self.grid.width + region.left;
                f(number, start..start + region.width);
            }
        }
    }

    fn sums<T: Real + Element>(&self, field: &Tensor, batch: usize) -> pnn_core::Result<Tensor> {
        let (count, plane) = (self.regions.len(), self.grid.height * self.grid.width);
        let mut y = Buffer::<T>::zeros(batch * count);
        let sample = field.elem_count() / batch.max(1);
        y.par_chunks_mut(count).zip(field.elements::<T>()?.par_chunks(sample.max(1))).for_each(
            |(y, x)| {
                for plane in x.chunks_exact(plane) {
                    self.for_each_row(|detector, pixels| {
                        y[detector] += plane[pixels].iter().map(|v| *v * *v).sum::<T>();
                    });
                }
            },
        );
        Tensor::from_buffer(y, [batch, count])
    }

    fn back<T: Real + Element>(&self, field: &Tensor, g: &Tensor) -> pnn_core::Result<Tensor> {
        let (count, plane) = (self.regions.len(), self.grid.height * self.grid.width);
        let mut found = Buffer::<T>::zeros(field.elem_count());
        let sample = (field.elem_count() / g.dim(0)?.max(1)).max(1);
        let samples = found.par_chunks_mut(sample).zip(field.elements::<T>()?.par_chunks(sample));
        samples.zip(g.elements::<T>()?.par_chunks(count)).for_each(|((found, x), g)| {
            for (found, x) in found.chunks_exact_mut(plane).zip(x.chunks_exact(plane)) {
                self.for_each_row(|detector, pixels| {
                    let twice = g[detector] + g[detector];
                    for (d, x) in found[pixels.clone()].iter_mut().zip(&x[pixels]) {
                        *d += twice * *x;
                    }
                });
            }
        });
        Tensor::from_buffer(found, field.shape().clone())
    }
}
