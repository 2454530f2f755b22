//! From wanted weights to settings.

use nalgebra::{DMatrix, DVector};
use pnn_core::{Bounds, Controls, DType, Deviations, Tensor};
use rayon::prelude::*;

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
    /// All waveguides.
    pub waveguides: usize,
}

/// Newton steps for a waveguide at most.
const STEPS: usize = 50;

/// A waveguide's settings.
struct Found {
    heats: Vec<f64>,
    error: f64,
    steps: usize,
}

/// What one waveguide is to have, and what it has of its own.
struct Waveguide<'a> {
    wanted: &'a [f64],
    /// Shifts of the resonances in nm, and widths over the model's.
    shift: &'a [f64],
    widths: &'a [f64],
    /// Detunings in nm from which to start.
    near: Option<&'a [f64]>,
}

impl WdmBank {
    /// The settings with which a chip with known deviations (none: the model) has these weights, to `tolerance`: Newton's method
    /// for the detunings of each waveguide, where every ring acts on every wavelength, then the heats that have them,
    /// with the heat of neighbours taken off. All rings are above their laser.
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
        self.calibrate_from(weights, None, deviations, tolerance)
    }

    /// The settings with which a chip has the weights that the model has at `controls`, as [`Self::calibrate`], but from where each
    /// ring is there, on either side of its laser: what training put below its laser has no place above it that acts on its neighbours alike.
    ///
    /// # Errors
    /// As [`Self::calibrate`], and if the controls do not fit.
    pub fn recalibrate(
        &self,
        controls: &Controls,
        deviations: &Deviations,
        tolerance: f64,
    ) -> Result<Calibration> {
        let none = Deviations::none();
        let (weights, near) = (self.programmed(controls, &none)?, self.detunings(controls, &none)?);
        self.calibrate_from(&weights, Some(&near), deviations, tolerance)
    }

    fn calibrate_from(
        &self,
        weights: &Tensor,
        near: Option<&Tensor>,
        deviations: &Deviations,
        tolerance: f64,
    ) -> Result<Calibration> {
        deviations.check(pnn_core::PhysicalLayer::ports(self))?;
        let control = self.control();
        if weights.dims() != control.shape {
            let want = format!("{:?}", control.shape);
            return Err(pnn_core::Error::shape("wanted weights", weights, want).into());
        }
        let in_rows = |values: &Tensor| -> Result<Vec<Vec<f64>>> {
            Ok(self.layout().pack(&values.to_dtype(DType::F64)?)?.to_vec2::<f64>()?)
        };
        let wide = weights.to_dtype(DType::F64)?;
        if let Some(bad) = wide.elements::<f64>()?.iter().find(|weight| !weight.is_finite()) {
            let what = "wanted weight";
            return Err(crate::Error::Range { what, value: *bad, allowed: "finite" });
        }
        let wanted = in_rows(&wide)?;
        let near = near.map(in_rows).transpose()?;
        let still = Tensor::zeros(control.shape.clone(), DType::F64)?;
        let shift = match deviations.get(RESONANCE_SHIFT_NM) {
            Some(shift) => (still + shift.to_dtype(DType::F64)?)?,
            None => still,
        };
        let shift = in_rows(&shift)?;
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
        let rows = (0..wanted.len()).into_par_iter().map(|row| {
            let used = self.rows.used(row);
            let waveguide = Waveguide {
                wanted: &wanted[row][..used],
                shift: &shift[row][..used],
                widths: &widths[row][..used],
                near: near.as_ref().map(|near| &near[row][..used]),
            };
            self.set(&waveguide, &thermal, tolerance)
        });
        let rows: Vec<Found> = rows.collect();
        let setting = |found: &Found| {
            let mut settings: Vec<f64> =
                found.heats.iter().map(|heat| self.config().setting_of(*heat)).collect();
            settings.resize(self.rows.rings, 0.0);
            settings
        };
        let reached = |found: &Found| found.error <= tolerance;
        let settings = rows.iter().flat_map(setting).collect();
        let settings = Tensor::from_vec(settings, [rows.len(), self.rows.rings])?;
        let settings = self.layout().unpack(&settings)?.to_dtype(weights.dtype())?;
        let settings = settings.clamp(control.bounds.low, control.bounds.high)?;
        Ok(Calibration {
            controls: Controls::one(control.name, settings),
            largest_error: worst(rows.iter().map(|found| found.error)),
            steps: rows.iter().map(|found| found.steps).max().unwrap_or(0),
            unreached: rows.iter().filter(|found| !reached(found)).count(),
            waveguides: rows.len(),
        })
    }

    /// The heats of a waveguide, within their bounds.
    fn set(&self, guide: &Waveguide<'_>, thermal: &DMatrix<f64>, tolerance: f64) -> Found {
        let (used, cold) = (guide.wanted.len(), self.config().cold_nm());
        let matrix = thermal.view((0, 0), (used, used)).into_owned();
        // Where the heaters can bring each ring while its neighbours do what it needs.
        let at = |i: usize, heat: f64| cold + guide.shift[i] - heat * matrix.row(i).sum();
        let limits = |i: usize| {
            let (low, high) = (at(i, self.heats.high), at(i, self.heats.low));
            Bounds {
                low: if guide.near.is_some() { low } else { low.max(0.0) },
                high: high.max(low.max(0.0)),
            }
        };
        let limits: Vec<Bounds> = (0..used).map(limits).collect();
        let (x, steps) = self.detune(guide, &limits, tolerance);
        let moved = DVector::from_fn(used, |i, _| cold + guide.shift[i] - x[i]);
        let own = matrix.clone().lu().solve(&moved).unwrap_or_else(|| moved.clone());
        let own = own.map(|heat| bounded(heat, self.heats));
        // What the bounded heats give.
        let given = &matrix * &own;
        let given = given.iter().zip(guide.shift).map(|(heat, shift)| cold - heat + shift);
        let (weights, _) = self.rows.row(&given.collect::<Vec<f64>>(), guide.widths);
        let error = weights.iter().zip(guide.wanted).map(|(got, want)| (got - want).abs());
        Found { heats: own.as_slice().to_vec(), error: worst(error), steps }
    }

    /// The detunings in nm with which the rings of a waveguide have these weights, and the steps that it took: from those that each
    /// ring alone would need, or from those nearby, Newton's method with steps halved while they lead away, within limits.
    fn detune(
        &self,
        guide: &Waveguide<'_>,
        limits: &[Bounds],
        tolerance: f64,
    ) -> (Vec<f64>, usize) {
        let (wanted, widths) = (guide.wanted, guide.widths);
        let rings = wanted.len();
        // On resonance a weight has no slope.
        let least = 1e-3 * self.single().ring().full_width_nm();
        let start = |i: usize| match guide.near {
            Some(near) => near[i] * widths[i],
            None => (widths[i] * self.nearest_detuning(wanted[i])).max(least),
        };
        let mut x: Vec<f64> = (0..rings).map(|i| bounded(start(i), limits[i])).collect();
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
                let there: Vec<f64> =
                    (0..rings).map(|i| bounded(x[i] - length * by[i], limits[i])).collect();
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

/// The largest, or NaN if there is one: `f64::max` would hide it.
fn worst(errors: impl Iterator<Item = f64>) -> f64 {
    errors
        .fold(0.0, |worst: f64, error| if worst.is_nan() || error <= worst { worst } else { error })
}

fn bounded(value: f64, bounds: Bounds) -> f64 {
    value.clamp(bounds.low, bounds.high)
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn what_is_no_number_is_the_worst() {
        assert_eq!(worst([0.1, 0.3, 0.2].into_iter()), 0.3);
        for errors in [[f64::NAN, 0.3, 0.2], [0.1, f64::NAN, 0.2], [0.1, 0.3, f64::NAN]] {
            assert!(worst(errors.into_iter()).is_nan(), "{errors:?}");
        }
    }
}
