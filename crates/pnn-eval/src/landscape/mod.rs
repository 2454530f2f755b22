//! The loss around a solution, along lines and over planes through its parameters.
//!
//! | Question | Function |
//! |---|---|
//! | Along which way? | [`Direction`]: chosen (an eigenvector), random, filter-normalised, towards another solution |
//! | What does the loss do along it? | [`line()`] |
//! | Is there a barrier between two solutions? | [`interpolation`] |
//! | What does it look like over two ways? | [`plane`] |
//!
//! All of them take a [`Surface`], so the parameters may be those of a model
//! ([`LossSurface::of_parameters`](crate::LossSurface::of_parameters)) or the deviations of a chip
//! ([`LossSurface::of_deviations`](crate::LossSurface::of_deviations)). Its parameters have their values again
//! afterwards, to the bit, also after an error.
//!
//! Landscapes leave the bounds of a device on purpose: what the loss does beyond the range of a converter
//! belongs to its shape, and a clamped path would show flat stretches that are none. How far the bounds allow
//! is for the caller to say.
//!
//! Where the loss is not finite it is kept as NaN and counted, neither dropped nor replaced.
//!
//! A low-dimensional cut of a space of many dimensions shows a small part of it: a random direction meets the few
//! sharp ones hardly at all. Eigenvectors of the Hessian show these.

mod direction;
mod line;
mod plane;

pub use direction::{Direction, Vectors};
pub use line::{Line, interpolation, line};
pub use plane::{Plane, plane};

use pnn_core::curvature::Surface;

use crate::interval::check_finite;
use crate::{Error, Result};

/// `count` positions from `low` to `high` at equal distances; the ends, and 0 in the middle of a symmetric range,
/// are met to the bit.
///
/// ```
/// assert_eq!(pnn_eval::landscape::positions(-1.0, 1.0, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
/// ```
#[must_use]
pub fn positions(low: f64, high: f64, count: usize) -> Vec<f64> {
    let share = |i: usize| if count > 1 { i as f64 / (count - 1) as f64 } else { 0.5 };
    (0..count).map(|i| low * (1.0 - share(i)) + high * share(i)).collect()
}

fn check_positions(what: &'static str, positions: &[f64]) -> Result<()> {
    if positions.is_empty() {
        return Err(Error::TooFew { what, got: 0, needed: 1 });
    }
    check_finite(what, positions)
}

/// The loss at a point, NaN if it is not finite.
fn loss_at(surface: &mut Surface<'_>, point: &[f64]) -> Result<f64> {
    let loss = surface.loss_at(point)?;
    Ok(if loss.is_finite() { loss } else { f64::NAN })
}

/// The index of the least loss, if one is finite; the first of equal ones.
fn least(losses: &[f64]) -> Option<usize> {
    let finite = losses.iter().enumerate().filter(|(_, loss)| !loss.is_nan());
    finite.reduce(|best, one| if one.1 < best.1 { one } else { best }).map(|(index, _)| index)
}

fn count_nan(losses: &[f64]) -> usize {
    losses.iter().filter(|loss| loss.is_nan()).count()
}

/// JSON has no NaN: `serde_json` writes null, and this reads it.
fn nan_from_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = serde::Deserialize::deserialize(from)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}
