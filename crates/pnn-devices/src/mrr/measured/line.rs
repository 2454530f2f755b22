//! A measured curve as the transfer function of a ring.

use std::sync::Arc;

use pnn_core::Bounds;
use pnn_core::ops::Real;

use super::{Axis, Curve};
use crate::mrr::{Heater, TransferFunction};
use crate::{Error, Result};

/// The side of the resonance on which a ring is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// The laser above the resonance: less heat than at resonance.
    Above,
    /// The laser below it: more heat.
    Below,
}

/// One side of a measured resonance, interpolated: what noise makes of it that does not rise with the distance from resonance is levelled out
/// (isotonic regression: Barlow et al., 1972), and between the points lie cubics that rise too, with a
/// continuous slope (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 238, 1980; slopes at the points by their harmonic means, Fritsch
/// and Butland, SIAM J. Sci. Stat. Comput. 5, 300, 1984).
///
/// Beyond the points nothing was measured: settings are kept within [`detuning_range`](TransferFunction::detuning_range), and where a
/// deviation leads further the weight stays that of the last point. Values beyond 1 and -1, errors of a normalisation, count as 1 and -1.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredLine {
    /// Detunings in nm, rising; weights, rising or falling as a whole; slopes in 1/nm.
    knots: Arc<[Knot]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Knot {
    x: f64,
    weight: f64,
    slope: f64,
}

impl MeasuredLine {
    /// From points (detuning in nm, weight) on one side of the resonance, the detunings rising.
    ///
    /// # Errors
    /// If there are fewer than 4 points that differ in weight, a detuning is not finite or does not rise, or a weight lies beyond 2 or
    /// -2.
    pub fn new(points: &[(f64, f64)]) -> Result<Self> {
        for (k, (x, weight)) in points.iter().enumerate() {
            let rises = k == 0 || points[k - 1].0 < *x;
            if !(x.is_finite() && rises) {
                let (what, allowed) =
                    ("detuning in nm of a measured line", "finite, above the one before");
                return Err(Error::Range { what, value: *x, allowed });
            }
            // Noise may carry a weight beyond 1; a photocurrent is no weight.
            if !(-2.0..=2.0).contains(weight) {
                let what = "weight of a measured line";
                let allowed = "about [-1, 1]: readings over those far from resonance";
                return Err(Error::Range { what, value: *weight, allowed });
            }
        }
        let weights: Vec<f64> = points.iter().map(|point| point.1.clamp(-1.0, 1.0)).collect();
        let third = weights.len().div_ceil(3);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let rising = weights.is_empty()
            || mean(&weights[weights.len() - third..]) >= mean(&weights[..third]);
        let sign = if rising { 1.0 } else { -1.0 };
        let up: Vec<f64> = weights.iter().map(|weight| sign * weight).collect();
        // A level stretch is one measurement of its weight.
        let x: Vec<f64> = points.iter().map(|point| point.0).collect();
        let levels = isotonic(&x, &up);
        if levels.len() < 4 {
            let what = "number of weights of a measured line, levelled";
            let value = levels.len() as f64;
            return Err(Error::Range { what, value, allowed: "[4, infinity)" });
        }
        let slopes = slopes(&levels);
        let knots = levels.iter().zip(slopes);
        let knots =
            knots.map(|((x, up), slope)| Knot { x: *x, weight: sign * up, slope: sign * slope });
        Ok(Self { knots: knots.collect() })
    }

    /// One side of a tuning curve over currents, for a ring with this heater: the detuning is laser less resonance, 0 at the heater's current at
    /// resonance.
    ///
    /// # Errors
    /// If the curve is not over currents, the heater's constants are out of range, or too few points lie on that side.
    pub fn of_tuning_curve(curve: &Curve, heater: Heater, branch: Branch) -> Result<Self> {
        heater.check()?;
        if curve.axis != Axis::Milliamp {
            let what = "first number of a tuning curve that is not over currents in mA";
            let value = curve.points.first().map_or(0.0, |point| point.0);
            return Err(Error::Range { what, value, allowed: "curves over mA" });
        }
        let points = curve.points.iter().map(|(i, weight)| (heater.detuning_nm(*i), *weight));
        let side = |x: f64| if branch == Branch::Above { x >= 0.0 } else { x <= 0.0 };
        let mut points: Vec<(f64, f64)> = points.filter(|(x, _)| side(*x)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self::new(&points)
    }

    /// The cubic around a detuning: its first knot, the place in it from 0 to 1, and its second knot.
    fn piece(&self, x: f64) -> Option<(Knot, f64, Knot)> {
        let last = self.knots.len() - 1;
        if !(self.knots[0].x..=self.knots[last].x).contains(&x) {
            return None;
        }
        let next = self.knots.partition_point(|knot| knot.x <= x).clamp(1, last);
        let (left, right) = (self.knots[next - 1], self.knots[next]);
        Some((left, (x - left.x) / (right.x - left.x), right))
    }

    fn end(&self, x: f64) -> f64 {
        // NaN is no detuning, and has no weight.
        match x.partial_cmp(&self.knots[0].x) {
            None => f64::NAN,
            Some(std::cmp::Ordering::Less) => self.knots[0].weight,
            Some(_) => self.knots[self.knots.len() - 1].weight,
        }
    }

    fn weight_at(&self, x: f64) -> f64 {
        let Some((left, t, right)) = self.piece(x) else { return self.end(x) };
        let width = right.x - left.x;
        let (s, t2) = (1.0 - t, t * t);
        // Hermite's form.
        left.weight * s * s * (1.0 + 2.0 * t)
            + right.weight * t2 * (3.0 - 2.0 * t)
            + width * (left.slope * t * s * s - right.slope * t2 * s)
    }

    fn slope_at(&self, x: f64) -> f64 {
        let Some((left, t, right)) = self.piece(x) else { return 0.0 };
        let secant = (right.weight - left.weight) / (right.x - left.x);
        6.0 * t * (1.0 - t) * secant
            + left.slope * (1.0 - t) * (1.0 - 3.0 * t)
            + right.slope * t * (3.0 * t - 2.0)
    }

    fn curvature_at(&self, x: f64) -> f64 {
        let Some((left, t, right)) = self.piece(x) else { return 0.0 };
        let width = right.x - left.x;
        let secant = (right.weight - left.weight) / width;
        (6.0 * (1.0 - 2.0 * t) * secant
            + left.slope * (6.0 * t - 4.0)
            + right.slope * (6.0 * t - 2.0))
            / width
    }

    fn detuning_at(&self, weight: f64) -> f64 {
        let last = self.knots.len() - 1;
        let (first, end) = (self.knots[0], self.knots[last]);
        let (low, high) = (first.weight.min(end.weight), first.weight.max(end.weight));
        if !(low..=high).contains(&weight) {
            return f64::NAN;
        }
        let rising = end.weight >= first.weight;
        let below = |w: f64| if rising { w < weight } else { w > weight };
        let (mut left, mut right) = (first.x, end.x);
        // Halved until nothing lies between them.
        for _ in 0..2000 {
            let middle = 0.5 * (left + right);
            if middle <= left || middle >= right {
                break;
            }
            if below(self.weight_at(middle)) { left = middle } else { right = middle }
        }
        0.5 * (left + right)
    }
}

impl TransferFunction for MeasuredLine {
    fn weight<T: Real>(&self, x: T) -> T {
        T::of(self.weight_at(x.f64()))
    }
    fn slope<T: Real>(&self, x: T) -> T {
        T::of(self.slope_at(x.f64()))
    }
    /// Of each cubic; at the points it jumps.
    fn curvature<T: Real>(&self, x: T) -> T {
        T::of(self.curvature_at(x.f64()))
    }
    fn detuning<T: Real>(&self, weight: T) -> T {
        T::of(self.detuning_at(weight.f64()))
    }
    /// Between the first and the last point, less a two-thousandth at either end.
    fn weight_range(&self) -> (f64, f64) {
        let ends = [self.knots[0].weight, self.knots[self.knots.len() - 1].weight];
        let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let margin = 5e-4 * (high - low);
        (low + margin, high - margin)
    }
    fn detuning_range(&self) -> Option<Bounds> {
        Some(Bounds { low: self.knots[0].x, high: self.knots[self.knots.len() - 1].x })
    }
}

/// The rising values nearest to some values (pool adjacent violators), with the mean place of each level: strictly rising.
fn isotonic(x: &[f64], values: &[f64]) -> Vec<(f64, f64)> {
    // Sum of places, sum of values, count.
    let mut levels: Vec<(f64, f64, f64)> = Vec::new();
    for (x, value) in x.iter().zip(values) {
        let mut level = (*x, *value, 1.0);
        while let Some(last) = levels.last().filter(|last| last.1 / last.2 >= level.1 / level.2) {
            level = (level.0 + last.0, level.1 + last.1, level.2 + last.2);
            levels.pop();
        }
        levels.push(level);
    }
    levels.into_iter().map(|(x, value, count)| (x / count, value / count)).collect()
}

/// Slopes at the points for which every cubic between two rises.
fn slopes(points: &[(f64, f64)]) -> Vec<f64> {
    let secant = |k: usize| (points[k + 1].1 - points[k].1) / (points[k + 1].0 - points[k].0);
    let width = |k: usize| points[k + 1].0 - points[k].0;
    let last = points.len() - 1;
    // At an end the parabola through three points, between 0 and three times the secant.
    let end = |near: usize, far: usize| {
        let (h, g) = (width(near), width(far));
        let slope = ((2.0 * h + g) * secant(near) - h * secant(far)) / (h + g);
        slope.clamp(0.0, 3.0 * secant(near))
    };
    let inner = (1..last).map(|k| {
        let (before, after) = (secant(k - 1), secant(k));
        let (one, two) = (2.0 * width(k) + width(k - 1), width(k) + 2.0 * width(k - 1));
        (one + two) / (one / before + two / after)
    });
    std::iter::once(end(0, 1))
        .chain(inner)
        .chain(std::iter::once(end(last - 1, last - 2)))
        .collect()
}
