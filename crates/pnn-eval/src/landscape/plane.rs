//! The loss over a plane.

use pnn_core::curvature::Surface;
use serde::{Deserialize, Serialize};

use super::{Direction, check_positions, count_nan, least, loss_at, nan_from_null};
use crate::Result;

/// The loss over a plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// Where along the first direction, in steps from the point.
    pub xs: Vec<f64>,
    /// Where along the second.
    pub ys: Vec<f64>,
    /// The losses, all of the first y, then those of the second; NaN where one is not finite (null in JSON).
    #[serde(deserialize_with = "nan_from_null")]
    pub losses: Vec<f64>,
    /// The cosine of the angle between the directions: 0 where distances in a picture of the plane are true.
    pub cosine: f64,
}

impl Plane {
    /// The losses row by row, a row for each y.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.losses.chunks(self.xs.len().max(1))
    }

    /// How many losses are not finite.
    #[must_use]
    pub fn not_finite(&self) -> usize {
        count_nan(&self.losses)
    }

    /// Where the least loss is (x, y), and its value, if one is finite.
    #[must_use]
    pub fn minimum(&self) -> Option<(f64, f64, f64)> {
        let index = least(&self.losses)?;
        let (row, column) = (index / self.xs.len(), index % self.xs.len());
        Some((self.xs[column], self.ys[row], self.losses[index]))
    }
}

/// The loss at `point + x d₁ + y d₂` for all `x` of `xs` and `y` of `ys`, around the surface's present point.
/// Directions are taken as they are; [`Direction::orthogonal_to`] makes the second orthogonal to the first.
///
/// `progress` is told after each loss how many are done, and of how many.
///
/// ```
/// use pnn_core::curvature::Surface;
/// use pnn_core::{Bounds, ParamSet, Parameter, Tensor, Var};
/// use pnn_eval::landscape::{Direction, plane};
/// let x = Var::new(&Tensor::new([0.0, 0.0, 3.0])?);
/// let bounds = Bounds::UNBOUNDED;
/// let parameters = ParamSet::new([Parameter { name: "x".into(), var: x.clone(), bounds }])?;
/// let mut surface = Surface::new(parameters, 1, move |_| x.tensor().sqr()?.sum_all())?;
/// let first = Direction::new(vec![1.0, 0.0, 0.0])?;
/// let second = Direction::new(vec![1.0, 2.0, 0.0])?.orthogonal_to(&first)?;
/// let found = plane(&mut surface, [&first, &second], &[-1.0, 0.0, 1.0], &[0.0, 1.0], &mut |_, _| {})?;
/// assert_eq!(found.losses, [10.0, 9.0, 10.0, 14.0, 13.0, 14.0]);
/// assert_eq!(found.minimum(), Some((0.0, 0.0, 9.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If a direction has another length than the point, there is no x or y or one is not finite, or a loss cannot be
/// evaluated.
pub fn plane(
    surface: &mut Surface<'_>,
    [first, second]: [&Direction; 2],
    xs: &[f64],
    ys: &[f64],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Plane> {
    let base = surface.point()?;
    first.check_dim(base.len(), "the point of a surface")?;
    second.check_dim(base.len(), "the point of a surface")?;
    check_positions("the x positions of a landscape", xs)?;
    check_positions("the y positions of a landscape", ys)?;
    let total = xs.len() * ys.len();
    let mut losses = Vec::with_capacity(total);
    for y in ys {
        for x in xs {
            let steps = first.values().iter().zip(second.values());
            let point: Vec<f64> =
                base.iter().zip(steps).map(|(base, (a, b))| base + x * a + y * b).collect();
            losses.push(loss_at(surface, &point)?);
            progress(losses.len(), total);
        }
    }
    Ok(Plane { xs: xs.to_vec(), ys: ys.to_vec(), losses, cosine: first.cosine(second)? })
}
