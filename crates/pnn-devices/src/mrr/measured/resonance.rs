//! A resonance fitted to a measured curve.

use super::fit::{Estimate, least_squares};
use super::{Axis, Curve};
use crate::mrr::Heater;
use crate::{Error, Result};

/// How the resonance moves with what was varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// In proportion: `u = (x - centre) / half_width`. A spectrum, or a heater seen from near its resonance.
    Linear,
    /// As heat does, `p = x^2` of a current or voltage, `p = x` of a power, in a heater whose resistance rises with its heat: `u = q (1 +
    /// bend q) / (half_width dp/dx)`, with `q = p - p(centre)` and `dp/dx` at the centre, so that the half-width has the
    /// unit of `x`.
    Joule,
}

/// A resonance `offset - depth / (1 + u^2)` and how it moves, [`Tuning`], fitted by least squares.
#[derive(Debug, Clone, PartialEq)]
pub struct ResonanceFit {
    /// Name of the curve.
    pub label: String,
    /// What it is a function of.
    pub axis: Axis,
    /// How the resonance moves.
    pub tuning: Tuning,
    /// The value far from resonance.
    pub offset: Estimate,
    /// How much lower it is on resonance.
    pub depth: Estimate,
    /// Where the resonance is, in the unit of the axis.
    pub centre: Estimate,
    /// Half the full width at half depth, in the unit of the axis.
    pub half_width: Estimate,
    /// Of [`Tuning::Joule`], the bend, over the unit of the heat (mA^2, V^2 or mW): how the resistance rises.
    pub bend: Option<Estimate>,
    /// Root of the mean square of what the fit leaves.
    pub residual_rms: f64,
    /// Number of points.
    pub points: usize,
}

impl ResonanceFit {
    /// Fits a curve with one dip.
    ///
    /// # Errors
    /// If the curve has too few points, a spectrum is to be tuned by heat, the fit does not converge, or its centre is not where the curve was
    /// measured.
    pub fn of(curve: &Curve, tuning: Tuning) -> Result<Self> {
        let start = first_guess(&curve.points)?;
        let solution = match tuning {
            Tuning::Linear => least_squares("fit of a line", &curve.points, &start, linear)?,
            Tuning::Joule => {
                if curve.axis == Axis::Nanometre {
                    let what = "wavelength, as what heats a ring (unit of the axis: mA, V or mW)";
                    let value = curve.points[0].0;
                    return Err(Error::Range { what, value, allowed: "with Tuning::Linear only" });
                }
                let squared = curve.axis != Axis::Milliwatt;
                let joule = |p: &[f64], x: f64| joule(p, x, squared);
                // From what the simpler line found, where the bend is none.
                let found = least_squares("fit of a line", &curve.points, &start, linear)?;
                let mut start: Vec<f64> = found.parameters.iter().map(|p| p.value).collect();
                start.push(0.0);
                least_squares("fit of a heated line", &curve.points, &start, joule)?
            }
        };
        let of = |k: usize| solution.parameters[k];
        let (first, last) = (curve.points[0].0, curve.points[curve.points.len() - 1].0);
        let centre = of(2).value;
        if !(first < centre && centre < last) {
            let what = "centre of a resonance that was fitted to a curve";
            let allowed = "within what was measured, on both sides of the dip";
            return Err(Error::Range { what, value: centre, allowed });
        }
        // A line is even in its width.
        let half_width = Estimate { value: of(3).value.abs(), ..of(3) };
        Ok(Self {
            label: curve.label.clone(),
            axis: curve.axis,
            tuning,
            offset: of(0),
            depth: of(1),
            centre: of(2),
            half_width,
            bend: solution.parameters.get(4).copied(),
            residual_rms: solution.residual_rms,
            points: curve.points.len(),
        })
    }

    /// The value of the fit at a value of what was varied.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        let mut p: Vec<f64> =
            [self.offset, self.depth, self.centre, self.half_width].map(|e| e.value).to_vec();
        p.extend(self.bend.map(|bend| bend.value));
        match self.tuning {
            Tuning::Linear => linear(&p, x),
            Tuning::Joule => joule(&p, x, self.axis != Axis::Milliwatt),
        }
    }

    /// The heater of a ring whose half-width in nm is known, from its spectrum or its quality factor: on resonance at the centre of the fit,
    /// and as steep there.
    ///
    /// # Errors
    /// If the curve is not over currents, or a constant is not positive.
    pub fn heater(&self, resistance_ohm: f64, half_width_nm: f64) -> Result<Heater> {
        if self.axis != Axis::Milliamp {
            let what = "centre of a curve that is not over a current in mA";
            let value = self.centre.value;
            return Err(Error::Range { what, value, allowed: "none: a heater is set by current" });
        }
        let nm_per_milliamp = half_width_nm / self.half_width.value;
        let resonance_milliamp = self.centre.value;
        let heater = Heater::Joule {
            resistance_ohm,
            // d(eta R I^2 / 1000) / dI = 2 eta R I / 1000.
            nm_per_milliwatt: 1e3 * nm_per_milliamp / (2.0 * resistance_ohm * resonance_milliamp),
            resonance_milliamp,
        };
        heater.check()?;
        Ok(heater)
    }
}

fn linear(p: &[f64], x: f64) -> f64 {
    line(p, (x - p[2]) / p[3])
}

/// Heat in proportion to the square of what was varied, or to itself.
fn joule(p: &[f64], x: f64, squared: bool) -> f64 {
    let (heat, slope) = if squared { (x * x - p[2] * p[2], 2.0 * p[2]) } else { (x - p[2], 1.0) };
    line(p, heat * (1.0 + p[4] * heat) / (p[3] * slope))
}

fn line(p: &[f64], u: f64) -> f64 {
    p[0] - p[1] / (1.0 + u * u)
}

/// Offset, depth, centre and half-width, read off the points.
fn first_guess(points: &[(f64, f64)]) -> Result<[f64; 4]> {
    let lowest = points.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let highest = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let Some((centre, low)) = lowest.copied() else {
        let what = "number of points of a curve to be fitted";
        return Err(Error::Range { what, value: 0.0, allowed: "above that of parameters" });
    };
    let half = 0.5 * (highest + low);
    let inside = points.iter().filter(|point| point.1 < half).map(|point| (point.0 - centre).abs());
    let half_width = inside.fold(0.0, f64::max);
    let step = (points[points.len() - 1].0 - points[0].0) / points.len() as f64;
    Ok([highest, highest - low, centre, half_width.max(step)])
}

/// How rings differ: mean and standard deviation (n - 1) over fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Of the centres, in the unit of the axis.
    pub centre: (f64, f64),
    /// Of the half-widths, in the unit of the axis.
    pub half_width: (f64, f64),
    /// Of the depths.
    pub depth: (f64, f64),
    /// Standard deviation of the widths in wavelength over their mean: what `pnn_noise::Source::Width` takes. A width in current
    /// or voltage is one in heat, and so in wavelength, times the centre.
    pub width: f64,
    /// Number of rings.
    pub rings: usize,
}

impl Spread {
    /// The standard deviation of the resonances in nm, for rings whose mean half-width in nm is known: what
    /// `pnn_noise::Source::Fabrication` takes.
    #[must_use]
    pub fn resonance_shift_nm(&self, half_width_nm: f64) -> f64 {
        self.centre.1 * half_width_nm / self.half_width.0
    }
}

/// The spread of some rings.
///
/// # Errors
/// If there are fewer than two, or they are over different axes.
pub fn spread(fits: &[ResonanceFit]) -> Result<Spread> {
    if fits.len() < 2 {
        let (what, value) = ("number of rings whose spread is asked for", fits.len() as f64);
        return Err(Error::Range { what, value, allowed: "[2, infinity)" });
    }
    if let Some(other) = fits.iter().find(|fit| fit.axis != fits[0].axis) {
        let (what, value) = ("centre of a curve over another axis", other.centre.value);
        return Err(Error::Range { what, value, allowed: "curves over one axis" });
    }
    let of = |value: &dyn Fn(&ResonanceFit) -> f64| {
        let count = fits.len() as f64;
        let mean = fits.iter().map(value).sum::<f64>() / count;
        let squares = fits.iter().map(|fit| (value(fit) - mean).powi(2)).sum::<f64>();
        (mean, (squares / (count - 1.0)).sqrt())
    };
    Ok(Spread {
        centre: of(&|fit| fit.centre.value),
        half_width: of(&|fit| fit.half_width.value),
        depth: of(&|fit| fit.depth.value),
        width: {
            let (mean, deviation) = of(&|fit| match fit.axis {
                Axis::Milliamp | Axis::Volt => fit.half_width.value * fit.centre.value,
                Axis::Milliwatt | Axis::Nanometre => fit.half_width.value,
            });
            deviation / mean
        },
        rings: fits.len(),
    })
}
