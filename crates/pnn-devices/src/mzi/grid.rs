//! Settings as grids of columns and rows, the way other software and published weights keep them.

use std::sync::Arc;

use pnn_core::{DType, Error, Result, Tensor};

use super::layout::Layout;
use super::mesh::MziMesh;

impl MziMesh {
    /// The entries of a grid that belong to interferometers, in the order of this mesh's controls
    /// and deviations; the others mean nothing. In column `k` row `r` is the pair of ports `(2 r, 2 r + 1)`,
    /// and one port further where `k` is odd; in a butterfly the pair number `r`.
    ///
    /// # Shapes
    /// `grid` (columns, ports / 2), result (interferometers).
    ///
    /// # Errors
    /// If the grid has another shape.
    pub fn gather(&self, grid: &Tensor) -> Result<Tensor> {
        let (shape, places) = self.places();
        if *grid.dims() != shape {
            let want = format!("{shape:?}: columns of the mesh, half its ports");
            return Err(Error::shape("grid", grid, want));
        }
        moved(grid, &places, vec![places.len()], gathered, scattered)
    }

    /// A grid of the settings or deviations of all interferometers, with zeros where there is none:
    /// [`Self::gather`] takes it back.
    ///
    /// # Shapes
    /// `values` (interferometers), result (columns, ports / 2).
    ///
    /// # Errors
    /// If there are not as many values as interferometers.
    pub fn scatter(&self, values: &Tensor) -> Result<Tensor> {
        let (shape, places) = self.places();
        if *values.dims() != [places.len()] {
            let want = format!("[{}], the interferometers of the mesh", places.len());
            return Err(Error::shape("values for a grid", values, want));
        }
        moved(values, &places, shape.to_vec(), scattered, gathered)
    }

    /// The shape of a grid, and where each interferometer is in it.
    fn places(&self) -> ([usize; 2], Arc<Vec<usize>>) {
        let (columns, rows) = (self.wiring().columns(), self.wiring().ports() / 2);
        let butterfly = self.layout() == Layout::Butterfly;
        let mut places = Vec::with_capacity(self.wiring().cells());
        for (column, pairs) in columns.iter().enumerate() {
            let row = |(number, (top, _)): (usize, &(usize, usize))| {
                column * rows + if butterfly { number } else { top / 2 }
            };
            places.extend(pairs.iter().enumerate().map(row));
        }
        ([columns.len(), rows], Arc::new(places))
    }
}

/// Values and places to as many values as asked for.
type Move = fn(&[f64], &[usize], usize) -> Vec<f64>;

fn gathered(values: &[f64], places: &[usize], _: usize) -> Vec<f64> {
    places.iter().map(|place| values[*place]).collect()
}

fn scattered(values: &[f64], places: &[usize], length: usize) -> Vec<f64> {
    let mut found = vec![0.0; length];
    places.iter().zip(values).for_each(|(place, value)| found[*place] = *value);
    found
}

fn moved(
    values: &Tensor,
    places: &Arc<Vec<usize>>,
    shape: Vec<usize>,
    forward: Move,
    backward: Move,
) -> Result<Tensor> {
    let exact = values.to_dtype(DType::F64)?;
    let found = forward(exact.elements::<f64>()?, places, shape.iter().product());
    let (places, of) = (Arc::clone(places), values.shape().clone());
    let found = Tensor::from_vec(found, shape)?.with_gradient(&[&exact], move |gradient| {
        let found = backward(gradient.elements::<f64>()?, &places, of.elem_count());
        Ok(vec![Some(Tensor::from_vec(found, of.clone())?)])
    });
    found.to_dtype(values.dtype())
}
