//! Grids of phases and errors, as other programs keep them.

use pnn_core::ops::Wiring;
use pnn_core::tensor::Element;
use pnn_core::{DType, Error, Result, Tensor};

use super::mesh::MziMesh;

impl MziMesh {
    /// The values of the interferometers, column by column, from a grid of (columns, ports / 2) in
    /// which columns with fewer interferometers have entries that nothing uses at their end.
    ///
    /// # Errors
    /// If the grid has another shape.
    pub fn gather(&self, grid: &Tensor) -> Result<Tensor> {
        let shape = grid_shape(self.wiring());
        if grid.dims() != shape {
            return Err(Error::shape("grid of a mesh", grid, format!("{shape:?}")));
        }
        match grid.dtype() {
            DType::F32 => gather_of::<f32>(self.wiring(), grid),
            _ => gather_of::<f64>(self.wiring(), grid),
        }
    }
}

fn grid_shape(wiring: &Wiring) -> [usize; 2] {
    [wiring.columns().len(), wiring.ports() / 2]
}

fn gather_of<T: Element>(wiring: &Wiring, grid: &Tensor) -> Result<Tensor> {
    let [_, rows] = grid_shape(wiring);
    let mut values = Vec::with_capacity(wiring.cells());
    for (pairs, row) in wiring.columns().iter().zip(grid.elements::<T>()?.chunks(rows.max(1))) {
        values.extend_from_slice(&row[..pairs.len()]);
    }
    let count = values.len();
    Tensor::from_vec(values, count)
}
