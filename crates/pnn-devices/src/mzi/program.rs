//! The phases with which a chip whose errors are known has a given matrix.

use std::f64::consts::TAU;

use num_complex::Complex;
use pnn_core::device::{Controls, Deviations, PhysicalLayer};
use pnn_core::{DType, Error, Result, Tensor};

use super::cell::{Cells, Matrix};
use super::decompose::{Factor, complex, factors};
use super::mesh::MziMesh;
use super::ports::{
    EXCESS_LOSS_DB, GAMMA_ERROR_VOLT, PHI_ERROR_VOLT, THERMAL_CROSSTALK, THETA_ERROR_VOLT,
};

/// Deviations that programming does not correct.
const NOT_CORRECTED: [&str; 5] =
    [EXCESS_LOSS_DB, THERMAL_CROSSTALK, THETA_ERROR_VOLT, PHI_ERROR_VOLT, GAMMA_ERROR_VOLT];

/// How far an amplitude may miss what is reachable and still be called reachable: rounding. The ratio of two
/// small elements that are eliminated has few digits, what follows inherits its error, and two such in a row
/// multiply theirs.
fn rounding(ports: usize, smallest: f64) -> f64 {
    (ports as f64 * f64::EPSILON / (smallest * smallest)).clamp(1e-12, 1e-8)
}

/// Controls for a chip, and how far it is from its target with them.
#[derive(Debug, Clone)]
pub struct Programmed {
    /// The controls (f64).
    pub controls: Controls,
    /// Interferometers (and attenuators) that the errors of the chip keep from what is wanted of
    /// them; these are set to the nearest.
    pub unreachable: usize,
    /// `|A - T| / |T|` in the Frobenius norm for the chip's matrix `A` and the target `T`.
    pub distance: f64,
}

impl MziMesh {
    /// The controls with which a chip whose errors are known is nearest to a matrix, one
    /// interferometer at a time (Bandyopadhyay, Hamerly and Englund, Optica 8, 1247, 2021).
    ///
    /// With splitters of angles `pi/4 + eta` ([`SplitterError`](super::SplitterError)) the amplitude
    /// that stays in its waveguide, `|M_11|`, reaches from `|sin(eta_l + eta_r)|` to `|cos(eta_l -
    /// eta_r)|`. In between theta makes it what it is in [`Self::decompose`], and phi and the phases
    /// of the interferometers before it make the matrix the same: the result is exact. Beyond, it is
    /// the nearest amplitude with the right phases. Errors of phases are subtracted; what is set lies within a turn. The mesh's own
    /// loss is ignored, as it is in [`Self::decompose`].
    ///
    /// For Haar-random targets and independent `eta` of standard deviation `sigma` the distance (root
    /// mean square) falls from `sqrt(2 (N - 1)) sigma` to about `sqrt(2/3) N sigma^2`.
    ///
    /// # Shapes
    /// `target` (2, ports, ports): real and imaginary parts, from input (last) to output.
    ///
    /// # Errors
    /// As [`Self::decompose`]; if the deviations do not fit; if the chip has [`EXCESS_LOSS_DB`],
    /// [`THERMAL_CROSSTALK`] or errors of voltages, which are not corrected.
    pub fn program(&self, target: &Tensor, chip: &Deviations) -> Result<Programmed> {
        let (controls, unreachable) = self.realise(target, chip)?;
        let reached = self.clone().with_loss_db(0.0)?.transfer(&controls, &[chip])?;
        Ok(Programmed { controls, unreachable, distance: distance(&reached, target)? })
    }

    /// The controls, and how many interferometers are out of reach.
    pub(super) fn realise(&self, target: &Tensor, chip: &Deviations) -> Result<(Controls, usize)> {
        chip.check(self.ports())?;
        refuse(chip, &NOT_CORRECTED)?;
        let factors = factors(self.layout(), self.wiring(), target)?;
        let (errors, turned) = self.errors(chip)?;
        let count = self.wiring().cells();
        let mut pass = Pass {
            cells: &self.cells,
            splitters: (errors.left.elements::<f64>()?, errors.right.elements::<f64>()?),
            theta_errors: errors.theta.elements::<f64>()?,
            carried: vec![Complex::ONE; self.wiring().ports()],
            theta: vec![0.0; count],
            phi: vec![0.0; count],
            unreachable: 0,
            rounding: rounding(self.wiring().ports(), factors.smallest),
        };
        for factor in &factors.outer {
            pass.realise(factor);
        }
        for (carried, phase) in pass.carried.iter_mut().zip(&factors.diagonal) {
            *carried *= phase;
        }
        for factor in &factors.inner {
            pass.realise(factor);
        }
        let less = |values: &[f64], errors: &Tensor| -> Result<Vec<f64>> {
            Ok(values.iter().zip(errors.elements::<f64>()?).map(|(v, error)| v - error).collect())
        };
        let gamma: Vec<f64> = pass.carried.iter().map(|carried| carried.arg()).collect();
        let in_a_turn = |values: Vec<f64>| values.iter().map(|v| v.rem_euclid(TAU)).collect();
        let set = |values: Vec<f64>| -> Result<Tensor> {
            let size = values.len();
            Tensor::from_vec(values, size)
        };
        let phases = [
            set(pass.theta)?,
            set(in_a_turn(less(&pass.phi, &errors.phi)?))?,
            set(in_a_turn(less(&gamma, &turned)?))?,
        ];
        Ok((self.controls_of(phases, DType::F64)?, pass.unreachable))
    }
}

/// An error if a chip has one of these deviations.
pub(super) fn refuse(chip: &Deviations, ports: &[&str]) -> Result<()> {
    for port in ports {
        if chip.is_active(port)? {
            let device = "programming of a mesh".to_owned();
            let capability = format!("the correction of {port}");
            return Err(Error::Unsupported { device, capability });
        }
    }
    Ok(())
}

/// `|A - T| / |T|`, or `|A|` where `T` is zero, of tensors (.., 2, ...) of the same elements.
pub(super) fn distance(reached: &Tensor, target: &Tensor) -> Result<f64> {
    let (reached, target) = (complex(reached)?, complex(target)?);
    let off: f64 = reached.iter().zip(&target).map(|(a, t)| (a - t).norm_sqr()).sum();
    let norm: f64 = target.iter().map(|t| t.norm_sqr()).sum();
    Ok(if norm > 0.0 { (off / norm).sqrt() } else { off.sqrt() })
}

/// From the outputs to the inputs, with the phases at the outputs of what is still to be realised.
struct Pass<'a> {
    cells: &'a Cells,
    splitters: (&'a [f64], &'a [f64]),
    theta_errors: &'a [f64],
    carried: Vec<Complex<f64>>,
    /// What is set: the phases without their errors, within a turn.
    theta: Vec<f64>,
    phi: Vec<f64>,
    unreachable: usize,
    rounding: f64,
}

impl Pass<'_> {
    /// `diag(carried) V = M(theta, phi) diag(carried on)`.
    fn realise(&mut self, &Factor { cell, top, matrix }: &Factor) {
        let [upper, lower] = [self.carried[top], self.carried[top + 1]];
        let wanted = [matrix[0].map(|v| upper * v), matrix[1].map(|v| lower * v)];
        let (left, right) = (self.splitters.0[cell], self.splitters.1[cell]);
        let (theta, reached) = split(self.cells, &wanted, (left, right), self.rounding);
        let error = self.theta_errors[cell];
        self.theta[cell] = (theta - error).rem_euclid(TAU);
        // A turn of theta may change a sign, which the phases around it take over.
        let own = self.cells.matrix(cell, [self.theta[cell] + error, 0.0, left, right]);
        let turn =
            |row: usize, column: usize| (wanted[row][column] * own[row][column].conj()).arg();
        let carried = [turn(1, 0), turn(1, 1)];
        // Three of the four phases make the fourth, and those of large elements must be among them.
        let of = usize::from(wanted[0][0].norm() < wanted[0][1].norm());
        self.phi[cell] = turn(0, of) - carried[of];
        (self.carried[top], self.carried[top + 1]) =
            (Complex::cis(carried[0]), Complex::cis(carried[1]));
        self.unreachable += usize::from(!reached);
    }
}

/// The theta with which an interferometer splits as wanted, or as near as it can; and whether it
/// can. With `p`, `q`, `r` and `t` of its splitters,
///
/// ```text
/// |M_11|^2 - (p - q)^2 = 4 p q sin^2(theta/2)
/// |M_12|^2 - (r - t)^2 = 4 p q cos^2(theta/2)
/// ```
fn split(cells: &Cells, wanted: &Matrix, (left, right): (f64, f64), rounding: f64) -> (f64, bool) {
    let [al, bl] = cells.splitter.amplitudes(left);
    let [ar, br] = cells.splitter.amplitudes(right);
    let sign = (ar * al * br * bl).signum();
    let beyond = |amplitude: f64, limit: f64| {
        let above = sign * (amplitude - limit);
        ((above * (amplitude + limit)).max(0.0).sqrt(), above >= -rounding)
    };
    let (sin, bar) = beyond(wanted[0][0].norm(), (ar * al - br * bl).abs());
    let (cos, cross) = beyond(wanted[0][1].norm(), (ar * bl - br * al).abs());
    (2.0 * sin.atan2(cos), bar && cross)
}
