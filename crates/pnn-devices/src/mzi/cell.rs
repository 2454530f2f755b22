//! The matrix of one Mach-Zehnder interferometer, and its derivatives.

use num_complex::Complex;
use pnn_core::tensor::Buffer;
use pnn_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// How the phases of an interferometer are defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// `theta` is the difference of the arms: half of it on the upper, minus half on the lower.
    #[default]
    Bloch,
    /// All of `theta` on the upper arm: one heater.
    SingleMode,
}

/// How errors of the two splitters of an interferometer are expressed. Both are zero for an even
/// split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitterError {
    /// `e` in `B = [[sqrt(1 + e), i sqrt(1 - e)], [i sqrt(1 - e), sqrt(1 + e)]] / sqrt 2`, in (-1, 1):
    /// the power that stays is `(1 + e) / 2`.
    #[default]
    Ratio,
    /// `eta` in rad in `B = [[cos(pi/4 + eta), i sin(pi/4 + eta)], ..]`; `e = -sin(2 eta)`.
    Angle,
}

impl SplitterError {
    /// Amplitudes that stay and cross.
    pub(super) fn amplitudes(self, error: f64) -> [f64; 2] {
        match self {
            Self::Ratio => [((1.0 + error) / 2.0).sqrt(), ((1.0 - error) / 2.0).sqrt()],
            Self::Angle => {
                let (sin, cos) = (std::f64::consts::FRAC_PI_4 + error).sin_cos();
                [cos, sin]
            }
        }
    }

    /// Their derivatives in the error.
    fn slopes(self, [stay, cross]: [f64; 2]) -> [f64; 2] {
        match self {
            Self::Ratio => [0.25 / stay, -0.25 / cross],
            Self::Angle => [-cross, stay],
        }
    }
}

/// Two rows of two complex numbers.
pub(super) type Matrix = [[Complex<f64>; 2]; 2];

/// What is constant about the interferometers of a mesh.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    pub(super) basis: Basis,
    pub(super) splitter: SplitterError,
    /// What each one has besides `phi`, in rad: as many as there are interferometers.
    pub(super) offsets: Vec<f64>,
}

/// The state of each interferometer: (chips, cells) of f64 each.
pub(super) struct State {
    /// Internal phase, rad.
    pub(super) theta: Tensor,
    /// External phase on the upper output, rad.
    pub(super) phi: Tensor,
    /// Error of the splitter that light meets first.
    pub(super) left: Tensor,
    /// Error of the second splitter.
    pub(super) right: Tensor,
    /// Insertion loss, dB.
    pub(super) loss_db: Tensor,
}

/// One interferometer.
struct Cell {
    basis: Basis,
    splitter: SplitterError,
    /// Cosine and sine of `theta / 2`.
    half: [f64; 2],
    /// Amplitudes that stay and cross in both splitters.
    left: [f64; 2],
    right: [f64; 2],
    /// What the upper and the lower output are multiplied by.
    outputs: [[f64; 2]; 2],
}

/// Interferometers that one task computes.
const BLOCK: usize = 256;

/// Derivatives of matrices in theta, left and right where wanted; the others follow from the matrices.
type Slopes = [Vec<[f64; 8]>; 3];

/// The matrix before `phi`, from `p = a_r a_l`, `q = b_r b_l`, `r = a_r b_l`, `t = b_r a_l` and cosine
/// and sine of `theta / 2`.
fn inner([p, q, r, t]: [f64; 4], cos: f64, sin: f64) -> [f64; 8] {
    let (stay, both) = ((p - q) * cos, (p + q) * sin);
    let (cross, odd) = ((r + t) * cos, (r - t) * sin);
    [stay, both, -odd, cross, odd, cross, stay, -both]
}

impl Cell {
    /// A matrix before what its outputs are multiplied by.
    fn turned(&self, k: [f64; 8]) -> [f64; 8] {
        let mut m = [0.0; 8];
        for (row, [re, im]) in self.outputs.into_iter().enumerate() {
            for column in 0..2 {
                let at = 4 * row + 2 * column;
                m[at] = re * k[at] - im * k[at + 1];
                m[at + 1] = re * k[at + 1] + im * k[at];
            }
        }
        m
    }

    fn with(&self, [al, bl]: [f64; 2], [ar, br]: [f64; 2], [cos, sin]: [f64; 2]) -> [f64; 8] {
        self.turned(inner([ar * al, br * bl, ar * bl, br * al], cos, sin))
    }

    /// `M`: row, column, and real and imaginary part.
    fn matrix(&self) -> [f64; 8] {
        self.with(self.left, self.right, self.half)
    }

    fn by_theta(&self, m: &[f64; 8]) -> [f64; 8] {
        let [cos, sin] = self.half;
        let mut slope = self.with(self.left, self.right, [-sin / 2.0, cos / 2.0]);
        if self.basis == Basis::SingleMode {
            for at in (0..8).step_by(2) {
                slope[at] -= m[at + 1] / 2.0;
                slope[at + 1] += m[at] / 2.0;
            }
        }
        slope
    }

    fn by_left(&self) -> [f64; 8] {
        self.with(self.splitter.slopes(self.left), self.right, self.half)
    }

    fn by_right(&self) -> [f64; 8] {
        self.with(self.left, self.splitter.slopes(self.right), self.half)
    }
}

impl Cells {
    /// `M = t diag(exp(i (phi + offset)), 1) B(right) diag(exp(i theta/2), exp(-i theta/2)) B(left)`, times
    /// `exp(i theta/2)` in the single-mode basis; `t` is the amplitude that the loss leaves.
    fn cell(&self, number: usize, [theta, phi, left, right, loss]: [f64; 5]) -> Cell {
        let (sin, cos) = (theta / 2.0).sin_cos();
        let amplitude = if loss == 0.0 { 1.0 } else { 10f64.powf(-loss / 20.0) };
        let lower = match self.basis {
            Basis::Bloch => [amplitude, 0.0],
            Basis::SingleMode => [amplitude * cos, amplitude * sin],
        };
        let (im, re) = (phi + self.offsets[number]).sin_cos();
        let upper = [lower[0] * re - lower[1] * im, lower[0] * im + lower[1] * re];
        Cell {
            basis: self.basis,
            splitter: self.splitter,
            half: [cos, sin],
            left: self.splitter.amplitudes(left),
            right: self.splitter.amplitudes(right),
            outputs: [upper, lower],
        }
    }

    /// `M` of one interferometer without loss: rows of complex numbers.
    pub(super) fn matrix(&self, number: usize, [theta, phi, left, right]: [f64; 4]) -> Matrix {
        let [a, b, c, d, e, f, g, h] = self.cell(number, [theta, phi, left, right, 0.0]).matrix();
        [[Complex::new(a, b), Complex::new(c, d)], [Complex::new(e, f), Complex::new(g, h)]]
    }

    /// The matrices (chips, cells, 2, 2, 2) of f64, with gradients for the whole state.
    pub(super) fn matrices(&self, state: &State) -> Result<Tensor> {
        let State { theta, phi, left, right, loss_db } = state;
        let inputs = [theta, phi, left, right, loss_db].map(Clone::clone);
        let (chips, cells) = theta.dims2()?;
        let wanted: [bool; 5] = std::array::from_fn(|i| inputs[i].is_tracked());
        let mut values = Buffer::<f64>::zeros(chips * cells * 8);
        let read = [
            theta.elements::<f64>()?,
            phi.elements::<f64>()?,
            left.elements::<f64>()?,
            right.elements::<f64>()?,
            loss_db.elements::<f64>()?,
        ];
        let block = |(block, values): (usize, &mut [f64])| {
            let values = values.as_chunks_mut::<8>().0;
            let room = |wanted| Vec::with_capacity(if wanted { values.len() } else { 0 });
            let mut slopes: Slopes = [wanted[0], wanted[2], wanted[3]].map(room);
            for (at, value) in (block * BLOCK..).zip(values) {
                let cell = self.cell(at % cells, read.map(|values| values[at]));
                *value = cell.matrix();
                if wanted[0] {
                    slopes[0].push(cell.by_theta(value));
                }
                if wanted[2] {
                    slopes[1].push(cell.by_left());
                }
                if wanted[3] {
                    slopes[2].push(cell.by_right());
                }
            }
            slopes
        };
        let slopes: Vec<Slopes> = values.par_chunks_mut(8 * BLOCK).enumerate().map(block).collect();
        let matrices = Tensor::from_buffer(values, [chips, cells, 2, 2, 2])?;
        let saved = matrices.clone();
        let parents: Vec<&Tensor> = inputs.iter().collect();
        let shape = theta.shape().clone();
        Ok(matrices.with_gradient(&parents, move |gradient| {
            let g = gradient.elements::<f64>()?.as_chunks::<8>().0;
            let m = saved.elements::<f64>()?.as_chunks::<8>().0;
            let along = |(g, d): (&[f64; 8], &[f64; 8])| -> f64 {
                g.iter().zip(d).map(|(g, d)| g * d).sum()
            };
            let by = |which: usize| {
                let slopes = slopes.iter().flat_map(|block| &block[which]);
                g.iter().zip(slopes).map(along).collect::<Vec<_>>()
            };
            // phi turns the upper row.
            let by_phi = |(g, m): (&[f64; 8], &[f64; 8])| {
                g[1] * m[0] - g[0] * m[1] + g[3] * m[2] - g[2] * m[3]
            };
            let per_decibel = -std::f64::consts::LN_10 / 20.0;
            let found = |input| match input {
                0 => by(0),
                1 => g.iter().zip(m).map(by_phi).collect(),
                2 | 3 => by(input - 1),
                _ => g.iter().zip(m).map(|pair| per_decibel * along(pair)).collect(),
            };
            let gradient = |(input, wanted): (usize, bool)| {
                wanted.then(|| Tensor::from_vec(found(input), shape.clone())).transpose()
            };
            wanted.into_iter().enumerate().map(gradient).collect()
        }))
    }
}

/// A state's tensor in f64, one row for each chip.
pub(super) fn row(values: &Tensor) -> Result<Tensor> {
    values.to_dtype(DType::F64)?.reshape([1, values.elem_count()])
}
