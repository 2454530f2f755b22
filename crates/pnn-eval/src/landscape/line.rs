//! The loss along a line.

use pnn_core::curvature::Surface;
use serde::{Deserialize, Serialize};

use super::{Direction, check_positions, count_nan, least, loss_at, nan_from_null};
use crate::{Error, Result};

/// The loss along a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Where, in steps along the direction from the point.
    pub positions: Vec<f64>,
    /// The loss there; NaN where it is not finite (null in JSON).
    #[serde(deserialize_with = "nan_from_null")]
    pub losses: Vec<f64>,
}

impl Line {
    /// How many losses are not finite.
    #[must_use]
    pub fn not_finite(&self) -> usize {
        count_nan(&self.losses)
    }

    /// Position and value of the least loss, if one is finite.
    #[must_use]
    pub fn minimum(&self) -> Option<(f64, f64)> {
        least(&self.losses).map(|i| (self.positions[i], self.losses[i]))
    }

    /// Positions with their losses, as charts take them.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.positions.iter().copied().zip(self.losses.iter().copied())
    }

    /// The barrier between two solutions: how far the loss rises above the straight line between those of the ends
    /// (Entezari et al., The Role of Permutation Invariance in Linear Mode Connectivity, ICLR 2022); 0 if it does not.
    /// NaN if a loss on the way is not finite.
    ///
    /// ```
    /// use pnn_eval::landscape::Line;
    /// let line = Line { positions: vec![0.0, 0.5, 1.0], losses: vec![0.1, 0.9, 0.3] };
    /// assert!((line.barrier() - 0.7).abs() < 1e-15);
    /// ```
    #[must_use]
    pub fn barrier(&self) -> f64 {
        let (Some(first), Some(last)) = (self.points().next(), self.points().last()) else {
            return f64::NAN;
        };
        let span = last.0 - first.0;
        let between = |at: f64| {
            let share = if span == 0.0 { 0.0 } else { (at - first.0) / span };
            first.1 * (1.0 - share) + last.1 * share
        };
        // `f64::max` passes over NaN, which must show.
        self.points().map(|(at, loss)| loss - between(at)).fold(0.0, |most, height| {
            if most.is_nan() || height.is_nan() { f64::NAN } else { most.max(height) }
        })
    }
}

/// The loss at `positions` steps along a direction from the surface's present point.
///
/// `progress` is told after each position how many are done, and of how many.
///
/// ```
/// use pnn_core::curvature::Surface;
/// use pnn_core::{Bounds, ParamSet, Parameter, Tensor, Var};
/// use pnn_eval::landscape::{Direction, line, positions};
/// let x = Var::new(&Tensor::new([1.0, 2.0])?);
/// let bounds = Bounds::UNBOUNDED;
/// let parameters = ParamSet::new([Parameter { name: "x".into(), var: x.clone(), bounds }])?;
/// let mut surface = Surface::new(parameters, 1, move |_| x.tensor().sqr()?.sum_all())?;
/// let down = Direction::new(vec![0.0, -1.0])?;
/// let found = line(&mut surface, &down, &positions(0.0, 4.0, 5), &mut |_, _| {})?;
/// assert_eq!(found.losses, [5.0, 2.0, 1.0, 2.0, 5.0]);
/// assert_eq!(found.minimum(), Some((2.0, 1.0)));
/// assert_eq!(surface.point()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the direction has another length than the point, there are no positions or one is not finite, or a loss cannot be
/// evaluated.
pub fn line(
    surface: &mut Surface<'_>,
    direction: &Direction,
    positions: &[f64],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Line> {
    let base = surface.point()?;
    direction.check_dim(base.len(), "the point of a surface")?;
    along(surface, positions, progress, |at| {
        base.iter().zip(direction.values()).map(|(base, step)| base + at * step).collect()
    })
}

/// The loss at `(1 − t) from + t to` for each position `t` (Goodfellow, Vinyals and Saxe, ICLR 2015): 0 is
/// one solution, 1 the other, both met to the bit. The surface's own point does not matter.
///
/// Running statistics of batch norm belong to one network and fit nothing between two: with them a barrier may be
/// that of the statistics. Make the surface with [`BatchNormMode::Batch`](crate::BatchNormMode::Batch).
///
/// # Errors
/// If a solution has another length than the surface's point or a value that is not finite; as [`line()`].
pub fn interpolation(
    surface: &mut Surface<'_>,
    from: &[f64],
    to: &[f64],
    positions: &[f64],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Line> {
    for (what, solution) in [("the first solution", from), ("the second solution", to)] {
        if solution.len() != surface.dim() {
            let what = format!("{what} of an interpolation");
            return Err(Error::Length { what, got: solution.len(), expected: surface.dim() });
        }
        crate::interval::check_finite("the value of a solution", solution)?;
    }
    along(surface, positions, progress, |at| {
        from.iter().zip(to).map(|(from, to)| (1.0 - at) * from + at * to).collect()
    })
}

fn along(
    surface: &mut Surface<'_>,
    positions: &[f64],
    progress: &mut dyn FnMut(usize, usize),
    point: impl Fn(f64) -> Vec<f64>,
) -> Result<Line> {
    check_positions("the positions of a landscape", positions)?;
    let mut losses = Vec::with_capacity(positions.len());
    for at in positions {
        losses.push(loss_at(surface, &point(*at))?);
        progress(losses.len(), positions.len());
    }
    Ok(Line { positions: positions.to_vec(), losses })
}
