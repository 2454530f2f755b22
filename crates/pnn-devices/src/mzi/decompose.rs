//! Unitary matrices as products of 2x2 ones in the order of a mesh's interferometers.

use num_complex::Complex;
use pnn_core::device::{Controls, Deviations};
use pnn_core::ops::Wiring;
use pnn_core::{DType, Error, Result, Tensor};

use super::cell::Matrix;
use super::layout::Layout;
use super::mesh::MziMesh;
use super::phase::within;

/// Largest element of `U U^H - 1` that a matrix may have and be called unitary.
const UNITARY: f64 = 1e-8;

impl MziMesh {
    /// The controls with which the ideal mesh, without loss, has this matrix: theta in [0, pi], phi
    /// and gamma in [0, 2 pi) (f64, in rad).
    ///
    /// Rotations of two ports null the matrix element by element, row by row for a triangle (Reck et
    /// al., Phys. Rev. Lett. 73, 58, 1994) and diagonal by diagonal from either side for a rectangle
    /// (Clements et al., Optica 3, 1460, 2016). Each rotation is then an interferometer and two
    /// phases at its inputs, which those before it take over. What it computes is exact but for
    /// rounding, whatever elements are zero.
    ///
    /// # Shapes
    /// `target` (2, ports, ports): real and imaginary parts, from input (last) to output.
    ///
    /// # Errors
    /// If the target has another shape, is not finite or not unitary to 1e-8, or if the mesh is a
    /// butterfly, which has not every matrix.
    pub fn decompose(&self, target: &Tensor) -> Result<Controls> {
        Ok(self.realise(target, &Deviations::none())?.0)
    }
}

/// A matrix that acts on ports `top` and `top + 1` where interferometer `cell` does.
pub(super) struct Factor {
    pub(super) cell: usize,
    pub(super) top: usize,
    pub(super) matrix: Matrix,
}

/// `U = outer[0] outer[1] .. diagonal inner[0] inner[1] ..`: from the outputs to the inputs.
pub(super) struct Factors {
    pub(super) outer: Vec<Factor>,
    pub(super) diagonal: Vec<Complex<f64>>,
    pub(super) inner: Vec<Factor>,
    /// The smallest norm of two elements of which one was nulled.
    pub(super) smallest: f64,
}

/// The factors of a unitary matrix (2, ports, ports).
pub(super) fn factors(layout: Layout, wiring: &Wiring, target: &Tensor) -> Result<Factors> {
    let ports = wiring.ports();
    let mut u = Square { ports, values: unitary(target, ports)?, smallest: 1.0 };
    let firsts: Vec<usize> = wiring
        .columns()
        .iter()
        .scan(0, |next, column| {
            *next += column.len();
            Some(*next - column.len())
        })
        .collect();
    let cell = |column: usize, top: usize| firsts[column] + top / 2;
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    match layout {
        Layout::Triangular => {
            for done in 0..ports.saturating_sub(1) {
                for top in 0..ports - 1 - done {
                    let matrix = u.null_from_input(ports - 1 - done, top);
                    inner.push(Factor { cell: cell(2 * done + top, top), top, matrix });
                }
            }
        }
        Layout::Rectangular => {
            for diagonal in 0..ports.saturating_sub(1) {
                for place in 0..=diagonal {
                    if diagonal % 2 == 0 {
                        let top = diagonal - place;
                        let matrix = u.null_from_input(ports - 1 - place, top);
                        inner.push(Factor { cell: cell(place, top), top, matrix });
                    } else {
                        let top = ports - 2 - diagonal + place;
                        let matrix = u.null_from_output(top, place);
                        outer.push(Factor { cell: cell(ports - 1 - place, top), top, matrix });
                    }
                }
            }
        }
        Layout::Butterfly => {
            let device = "a butterfly, which is not universal,".to_owned();
            let capability = "the decomposition of a matrix".to_owned();
            return Err(Error::Unsupported { device, capability });
        }
    }
    inner.reverse();
    let diagonal = (0..ports).map(|port| Complex::cis(u.at(port, port).arg())).collect();
    Ok(Factors { outer, diagonal, inner, smallest: u.smallest })
}

/// A square matrix, row by row.
struct Square {
    ports: usize,
    values: Vec<Complex<f64>>,
    smallest: f64,
}

impl Square {
    fn at(&self, row: usize, column: usize) -> Complex<f64> {
        self.values[row * self.ports + column]
    }

    /// Nulls the element at `row` and column `top` by a matrix `V` on columns `top` and `top + 1`:
    /// what was `U` is now `U V`.
    fn null_from_input(&mut self, row: usize, top: usize) -> Matrix {
        let (a, b) = (self.at(row, top), self.at(row, top + 1));
        let matrix = match self.direction(a, b) {
            Some((a, b)) => [[b.conj(), -a.conj()], [a, b]],
            None => IDENTITY,
        };
        let [[v11, v12], [v21, v22]] = matrix.map(|row| row.map(|v| v.conj()));
        for row in self.values.chunks_exact_mut(self.ports) {
            let (a, b) = (row[top], row[top + 1]);
            (row[top], row[top + 1]) = (a * v11 + b * v12, a * v21 + b * v22);
        }
        matrix
    }

    /// Nulls the element at row `top + 1` and `column` by a matrix `V` on rows `top` and `top + 1`:
    /// what was `U` is now `V U`.
    fn null_from_output(&mut self, top: usize, column: usize) -> Matrix {
        let (a, b) = (self.at(top, column), self.at(top + 1, column));
        let matrix = match self.direction(a, b) {
            Some((a, b)) => [[a, -b.conj()], [b, a.conj()]],
            None => IDENTITY,
        };
        let [[v11, v12], [v21, v22]] = matrix.map(|row| row.map(|v| v.conj()));
        for k in 0..self.ports {
            let (upper, lower) = (top * self.ports + k, (top + 1) * self.ports + k);
            let (a, b) = (self.values[upper], self.values[lower]);
            (self.values[upper], self.values[lower]) = (a * v11 + b * v21, a * v12 + b * v22);
        }
        matrix
    }

    /// Two numbers divided by their norm; none where that has not all its digits.
    fn direction(
        &mut self,
        a: Complex<f64>,
        b: Complex<f64>,
    ) -> Option<(Complex<f64>, Complex<f64>)> {
        let norm = a.norm().hypot(b.norm());
        let exact = norm >= f64::MIN_POSITIVE / f64::EPSILON;
        if exact {
            self.smallest = self.smallest.min(norm);
        }
        exact.then(|| (a / norm, b / norm))
    }
}

const IDENTITY: Matrix = [[Complex::ONE, Complex::ZERO], [Complex::ZERO, Complex::ONE]];

/// The elements of a matrix, if it is unitary.
fn unitary(target: &Tensor, ports: usize) -> Result<Vec<Complex<f64>>> {
    if target.dims() != [2, ports, ports] {
        return Err(Error::shape("target", target, format!("(2, {ports}, {ports})")));
    }
    let values = complex(target)?;
    let mut largest = 0.0f64;
    for (i, one) in values.chunks_exact(ports).enumerate() {
        for (j, other) in values.chunks_exact(ports).enumerate() {
            let product: Complex<f64> = one.iter().zip(other).map(|(a, b)| a * b.conj()).sum();
            largest = largest.max((product - if i == j { 1.0 } else { 0.0 }).norm());
        }
    }
    if largest > UNITARY {
        let what = "largest element of U U^H - 1 of the target U".to_owned();
        return Err(Error::Range { what, value: largest, allowed: "[0, 1e-8]: unitary" });
    }
    Ok(values)
}

/// The elements of a tensor (2, ...) of real and imaginary parts, if all are finite.
pub(super) fn complex(target: &Tensor) -> Result<Vec<Complex<f64>>> {
    let any = (f64::NEG_INFINITY, f64::INFINITY, "finite");
    let values = within("element of the target", target.to_dtype(DType::F64)?, any)?;
    let (re, im) = values.elements::<f64>()?.split_at(target.elem_count() / 2);
    Ok(re.iter().zip(im).map(|(re, im)| Complex::new(*re, *im)).collect())
}
