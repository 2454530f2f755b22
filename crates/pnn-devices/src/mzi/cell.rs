//! The matrix of one Mach-Zehnder interferometer, and its derivatives.

use pnn_core::tensor::Buffer;
use pnn_core::{DType, Result, Tensor};

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
    /// Amplitudes that stay and cross, and their derivatives.
    pub(super) fn amplitudes(self, error: f64) -> [f64; 4] {
        match self {
            Self::Ratio => {
                let (stay, cross) = (((1.0 + error) / 2.0).sqrt(), ((1.0 - error) / 2.0).sqrt());
                [stay, cross, 0.25 / stay, -0.25 / cross]
            }
            Self::Angle => {
                let (sin, cos) = (std::f64::consts::FRAC_PI_4 + error).sin_cos();
                [cos, sin, -sin, cos]
            }
        }
    }
}

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

/// One interferometer: its matrix, and what its derivatives need.
struct Cell {
    /// `M`: row, column, and real and imaginary part.
    m: [f64; 8],
    /// Derivatives in theta, left and right.
    by_theta: [f64; 8],
    by_left: [f64; 8],
    by_right: [f64; 8],
}

/// The matrix before `phi`, from `p = a_r a_l`, `q = b_r b_l`, `r = a_r b_l`, `t = b_r a_l` and cosine
/// and sine of `theta / 2`.
fn inner([p, q, r, t]: [f64; 4], cos: f64, sin: f64) -> [f64; 8] {
    let (stay, both) = ((p - q) * cos, (p + q) * sin);
    let (cross, odd) = ((r + t) * cos, (r - t) * sin);
    [stay, both, -odd, cross, odd, cross, stay, -both]
}

impl Cells {
    /// `M = t diag(exp(i (phi + offset)), 1) B(right) diag(exp(i theta/2), exp(-i theta/2)) B(left)`, times
    /// `exp(i theta/2)` in the single-mode basis; `t` is the amplitude that the loss leaves.
    fn cell(&self, number: usize, [theta, phi, left, right, loss]: [f64; 5]) -> Cell {
        let (sin, cos) = (theta / 2.0).sin_cos();
        let [al, bl, dal, dbl] = self.splitter.amplitudes(left);
        let [ar, br, dar, dbr] = self.splitter.amplitudes(right);
        let amplitude = 10f64.powf(-loss / 20.0);
        let lower = match self.basis {
            Basis::Bloch => [amplitude, 0.0],
            Basis::SingleMode => [amplitude * cos, amplitude * sin],
        };
        let (im, re) = (phi + self.offsets[number]).sin_cos();
        let upper = [lower[0] * re - lower[1] * im, lower[0] * im + lower[1] * re];
        let turned = |k: [f64; 8]| {
            let mut m = [0.0; 8];
            for (row, [re, im]) in [upper, lower].into_iter().enumerate() {
                for column in 0..2 {
                    let at = 4 * row + 2 * column;
                    m[at] = re * k[at] - im * k[at + 1];
                    m[at + 1] = re * k[at + 1] + im * k[at];
                }
            }
            m
        };
        let products = [ar * al, br * bl, ar * bl, br * al];
        let m = turned(inner(products, cos, sin));
        let mut by_theta = turned(inner(products, -sin / 2.0, cos / 2.0));
        if self.basis == Basis::SingleMode {
            for at in (0..8).step_by(2) {
                by_theta[at] -= m[at + 1] / 2.0;
                by_theta[at + 1] += m[at] / 2.0;
            }
        }
        let by_left = turned(inner([ar * dal, br * dbl, ar * dbl, br * dal], cos, sin));
        let by_right = turned(inner([dar * al, dbr * bl, dar * bl, dbr * al], cos, sin));
        Cell { m, by_theta, by_left, by_right }
    }

    /// The matrices (chips, cells, 2, 2, 2) of f64, with gradients for the whole state.
    pub(super) fn matrices(&self, state: &State) -> Result<Tensor> {
        let State { theta, phi, left, right, loss_db } = state;
        let inputs = [theta, phi, left, right, loss_db].map(Clone::clone);
        let (chips, cells) = theta.dims2()?;
        let tracked = inputs.iter().any(Tensor::is_tracked);
        let mut values = Buffer::<f64>::zeros(chips * cells * 8);
        // Derivatives of a cell in theta, left and right.
        let mut slopes = Vec::with_capacity(if tracked { chips * cells } else { 0 });
        {
            let read = [
                theta.elements::<f64>()?,
                phi.elements::<f64>()?,
                left.elements::<f64>()?,
                right.elements::<f64>()?,
                loss_db.elements::<f64>()?,
            ];
            for (at, value) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let cell = self.cell(at % cells, read.map(|values| values[at]));
                *value = cell.m;
                if tracked {
                    slopes.push([cell.by_theta, cell.by_left, cell.by_right]);
                }
            }
        }
        let matrices = Tensor::from_buffer(values, [chips, cells, 2, 2, 2])?;
        let saved = matrices.clone();
        let parents: Vec<&Tensor> = inputs.iter().collect();
        let shape = theta.shape().clone();
        let wanted: [bool; 5] = std::array::from_fn(|i| inputs[i].is_tracked());
        Ok(matrices.with_gradient(&parents, move |gradient| {
            let (g, m) = (gradient.elements::<f64>()?, saved.elements::<f64>()?);
            let mut found: [Vec<f64>; 5] =
                wanted.map(|wanted| Vec::with_capacity(if wanted { slopes.len() } else { 0 }));
            let per_decibel = -std::f64::consts::LN_10 / 20.0;
            let cells = g.as_chunks::<8>().0.iter().zip(m.as_chunks::<8>().0);
            for ((g, m), [by_theta, by_left, by_right]) in cells.zip(&slopes) {
                let along = |d: &[f64; 8]| g.iter().zip(d).map(|(g, d)| g * d).sum::<f64>();
                // phi turns the upper row.
                let by_phi = g[1] * m[0] - g[0] * m[1] + g[3] * m[2] - g[2] * m[3];
                let all = [along(by_theta), by_phi, along(by_left), along(by_right)];
                for (found, value) in
                    found.iter_mut().zip(all.into_iter().chain([per_decibel * along(m)]))
                {
                    found.push(value);
                }
            }
            let mut gradients = Vec::with_capacity(5);
            for (found, wanted) in found.into_iter().zip(wanted) {
                gradients.push(if wanted {
                    Some(Tensor::from_vec(found, shape.clone())?)
                } else {
                    None
                });
            }
            Ok(gradients)
        }))
    }
}

/// A state's tensor in f64, one row for each chip.
pub(super) fn row(values: &Tensor, cells: usize) -> Result<Tensor> {
    values.to_dtype(DType::F64)?.broadcast_as([1, cells])
}
