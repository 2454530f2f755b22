//! From wanted weights to settings.

use nalgebra::{DMatrix, DVector};
use pnn_core::{Bounds, Controls, DType, Deviations, Tensor};

use super::WdmBank;
use crate::Result;
use crate::mrr::RESONANCE_SHIFT_NM;

/// Settings that were found for wanted weights.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// The settings, within their bounds.
    pub controls: Controls,
    /// The largest distance of a weight from what was wanted.
    pub largest_error: f64,
    /// The largest number of Newton steps that a waveguide took.
    pub steps: usize,
    /// Waveguides whose weights were not reached to the tolerance: what was wanted is beyond a ring, or beyond the bounds
    /// of a heater.
    pub unreached: usize,
}

/// Newton steps for a waveguide at most.
const STEPS: usize = 50;

impl WdmBank {
    /// The settings with which a chip with known deviations (none: the model) has these weights, to `tolerance`: Newton's method
    /// for the detunings of each waveguide, where every ring acts on every wavelength, then the heats that have them,
    /// with the heat of neighbours taken off. The branch is that of training, above the laser.
    ///
    /// Errors of weights, readings and settings are not made up for.
    ///
    /// # Shapes
    /// `weights` that of the bank's weights.
    ///
    /// # Errors
    /// If weights or deviations do not fit or are no numbers. Weights that are out of reach are no error, but counted.
    pub fn calibrate(
        &self,
        weights: &Tensor,
        deviations: &Deviations,
        tolerance: f64,
    ) -> Result<Calibration> {
        deviations.check(pnn_core::PhysicalLayer::ports(self))?;
        let control = self.control();
        if weights.dims() != control.shape {
            let want = format!("{:?}", control.shape);
            return Err(pnn_core::Error::shape("wanted weights", weights, want).into());
        }
        let wide = weights.to_dtype(DType::F64)?;
        if let Some(bad) = wide.elements::<f64>()?.iter().find(|weight| !weight.is_finite()) {
            let what = "wanted weight";
            return Err(crate::Error::Range { what, value: *bad, allowed: "finite" });
        }
        let wanted = self.layout().pack(&wide)?.to_vec2::<f64>()?;
        let still = Tensor::zeros(control.shape.clone(), DType::F64)?;
        let shift = match deviations.get(RESONANCE_SHIFT_NM) {
            Some(shift) => (still + shift.to_dtype(DType::F64)?)?,
            None => still,
        };
        let shift = self.layout().pack(&shift)?.to_vec2::<f64>()?;
        let widths = match self.widths(deviations, DType::F64)? {
            Some(widths) => widths.to_vec2::<f64>()?,
            None => vec![vec![1.0; self.rows.rings]; wanted.len()],
        };
        let thermal = self.thermal_matrix(deviations)?;
        let all = shift.iter().chain(&widths).flatten().chain(thermal.iter());
        if let Some(bad) = all.copied().find(|value| !value.is_finite()) {
            let what = "deviation of a chip that is calibrated";
            return Err(crate::Error::Range { what, value: bad, allowed: "finite" });
        }
        let mut settings = Vec::new();
        let (mut largest_error, mut steps, mut unreached) = (0.0, 0, 0);
        for (row, ((wanted, shift), widths)) in wanted.iter().zip(&shift).zip(&widths).enumerate() {
            let used = self.rows.used(row);
            let widths = &widths[..used];
            let found = self.detune(&wanted[..used], widths, tolerance);
            steps = steps.max(found.1);
            let cold = self.config().cold_nm();
            let moved = DVector::from_fn(used, |i, _| cold + shift[i] - found.0[i]);
            let matrix = thermal.view((0, 0), (used, used)).into_owned();
            let own = matrix.clone().lu().solve(&moved).unwrap_or_else(|| moved.clone());
            let own = own.map(|heat| bounded(heat, self.heats));
            // What the bounded heats give.
            let given = (&matrix * &own).map(|heat| cold - heat);
            let given: Vec<f64> = given.iter().zip(shift).map(|(x, shift)| x + shift).collect();
            let (weights, _) = self.rows.row(&given, widths);
            let error = weights.iter().zip(wanted).map(|(got, want)| (got - want).abs());
            let error = error.fold(0.0, f64::max);
            unreached += usize::from(error > tolerance);
            largest_error = f64::max(largest_error, error);
            settings.extend(own.iter().map(|heat| self.config().setting_of(*heat)));
            settings.resize(settings.len() + self.rows.rings - used, 0.0);
        }
        let settings = Tensor::from_vec(settings, [wanted.len(), self.rows.rings])?;
        let settings = self.layout().unpack(&settings)?.to_dtype(weights.dtype())?;
        let settings = settings.clamp(control.bounds.low, control.bounds.high)?;
        let controls = Controls::one(control.name, settings);
        Ok(Calibration { controls, largest_error, steps, unreached })
    }

    /// The detunings in nm with which the rings of a waveguide have these weights, and the steps that it took: from those that each
    /// ring alone would need, Newton's method with steps halved while they lead away. A ring may go half the distance to the next laser,
    /// one with a wider line as much farther as its line is wider.
    fn detune(&self, wanted: &[f64], widths: &[f64], tolerance: f64) -> (Vec<f64>, usize) {
        let rings = wanted.len();
        let reach =
            |width: &f64| Bounds { low: 0.0, high: width.max(1.0) * self.config().reach_nm() };
        let start = |(wanted, width): (&f64, &f64)| {
            bounded(width * self.nearest_detuning(*wanted), reach(width))
        };
        let mut x: Vec<f64> = wanted.iter().zip(widths).map(start).collect();
        // On resonance a weight has no slope.
        let least = 1e-3 * self.single().ring().full_width_nm();
        x.iter_mut().for_each(|x| *x = x.max(least));
        let miss = |x: &[f64]| {
            let (weights, slopes) = self.rows.row(x, widths);
            let miss = DVector::from_fn(rings, |j, _| weights[j] - wanted[j]);
            (miss, DMatrix::from_row_slice(rings, rings, &slopes))
        };
        let (mut here, mut slopes) = miss(&x);
        for step in 0..STEPS {
            if here.amax() <= 0.01 * tolerance {
                return (x, step);
            }
            let Some(by) = slopes.clone().lu().solve(&here) else { return (x, step) };
            let mut length = 1.0;
            let better = loop {
                let step = x.iter().zip(&by).zip(widths);
                let there: Vec<f64> =
                    step.map(|((x, by), width)| bounded(x - length * by, reach(width))).collect();
                let (miss, slopes) = miss(&there);
                if miss.norm() < here.norm() {
                    break Some((there, miss, slopes));
                }
                length *= 0.5;
                if length < 1e-6 {
                    break None;
                }
            };
            let Some(better) = better else { return (x, step) };
            (x, here, slopes) = better;
        }
        (x, STEPS)
    }
}

fn bounded(value: f64, bounds: Bounds) -> f64 {
    value.clamp(bounds.low, bounds.high)
}
