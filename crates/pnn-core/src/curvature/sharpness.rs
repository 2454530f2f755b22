//! By how much a loss rises around a point: sharpness without derivatives of second order.

use rand_distr::{Distribution, StandardNormal};

use super::Surface;
use super::operator::{norm, scale};
use super::trace::Estimate;
use crate::error::in_range;
use crate::{Error, Result, Seed};

/// In which units a displacement is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// Those of the parameters (Foret et al., 2021).
    Plain,
    /// The size of each parameter (Kwon et al., 2021): what rescales parameters without changing the network
    /// does not change it. Parameters that are zero stay.
    Adaptive,
}

impl Scaling {
    /// What one unit of displacement is at each parameter.
    fn units(self, point: &[f64]) -> Vec<f64> {
        match self {
            Self::Plain => vec![1.0; point.len()],
            Self::Adaptive => point.iter().map(|x| x.abs()).collect(),
        }
    }
}

/// How far around a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbourhood {
    /// The radius of a ball, or the standard deviation of noise on each parameter.
    pub size: f64,
    /// Its unit.
    pub scaling: Scaling,
}

impl Neighbourhood {
    fn check(&self, what: &str) -> Result<()> {
        let inside = self.size > 0.0 && self.size.is_finite();
        in_range(&format!("{what} of a neighbourhood"), self.size, inside, "(0, infinity)")?;
        Ok(())
    }
}

/// The largest rise that an ascent found.
#[derive(Debug, Clone, PartialEq)]
pub struct Rise {
    /// The loss there less the loss at the point; NaN if the loss was no number somewhere on the way.
    pub value: f64,
    /// The parameters there, less those of the point.
    pub displacement: Vec<f64>,
}

/// SAM's sharpness: the largest rise of the loss within a ball around the present point, `max L(x + e) - L(x)` for
/// `|e| <= size` (Foret et al., 2021, Eq. 1), as far as climbs of `steps` gradient steps find it: a lower bound. One
/// makes steps of the whole radius, and so begins at SAM's own point, `size g / |g|`; one makes steps of `2 / steps` of it, for
/// the first may land where the network's outputs are saturated and the slope is gone; and one of such steps goes on from the
/// higher end of each of the `directions` (the sharpest eigenvector, say, in units of the scaling). What leads out of the ball
/// is put back to its surface; a climb ends where there is no slope, or none that is a number. One gradient and one loss a step.
///
/// A point without any slope is left along `directions` only: without these its rise is 0, which then says nothing.
///
/// # Errors
/// If there is no step, the size is not positive, a direction has another number of values or no length, or the loss cannot be
/// evaluated.
pub fn rise_in_ball(
    surface: &mut Surface<'_>,
    ball: Neighbourhood,
    steps: usize,
    directions: &[&[f64]],
) -> Result<Rise> {
    ball.check("radius")?;
    in_range("number of steps of an ascent", steps as f64, steps > 0, "[1, infinity)")?;
    let mut climb = Climb::new(surface, ball)?;
    let start = vec![0.0; climb.origin.len()];
    climb.from(start.clone(), steps, ball.size)?;
    climb.from(start, steps, 2.0 * ball.size / steps as f64)?;
    for direction in directions {
        let length = norm(direction);
        if direction.len() != climb.origin.len() || !(length > 0.0 && length.is_finite()) {
            let what = format!("direction of length {length} to climb along");
            let want = format!("({}), of a positive length", climb.origin.len());
            return Err(Error::Shape { what, got: vec![direction.len()], want });
        }
        let end = |sign: f64| -> Vec<f64> {
            direction.iter().map(|d| sign * ball.size / length * d).collect()
        };
        let (above, below) = (climb.look(&end(1.0))?, climb.look(&end(-1.0))?);
        let higher = end(if above >= below { 1.0 } else { -1.0 });
        climb.from(higher, steps, 2.0 * ball.size / steps as f64)?;
    }
    Ok(climb.best)
}

/// Where climbs in a ball begin, and the best that they found. Places are in units of the scaling, in which the
/// neighbourhood is a ball.
struct Climb<'s, 'a> {
    surface: &'s mut Surface<'a>,
    origin: Vec<f64>,
    units: Vec<f64>,
    radius: f64,
    base: f64,
    best: Rise,
}

impl<'s, 'a> Climb<'s, 'a> {
    fn new(surface: &'s mut Surface<'a>, ball: Neighbourhood) -> Result<Self> {
        let origin = surface.point()?;
        let units = ball.scaling.units(&origin);
        let base = surface.loss()?;
        let best = Rise { value: 0.0, displacement: vec![0.0; origin.len()] };
        Ok(Self { surface, origin, units, radius: ball.size, base, best })
    }

    fn displacement(&self, at: &[f64]) -> Vec<f64> {
        at.iter().zip(&self.units).map(|(z, unit)| z * unit).collect()
    }

    fn point(&self, displacement: &[f64]) -> Vec<f64> {
        self.origin.iter().zip(displacement).map(|(x, e)| x + e).collect()
    }

    /// The rise at a place, which is kept if none was larger.
    fn look(&mut self, at: &[f64]) -> Result<f64> {
        let displacement = self.displacement(at);
        let value = self.surface.loss_at(&self.point(&displacement))? - self.base;
        if value > self.best.value || value.is_nan() {
            self.best = Rise { value, displacement };
        }
        Ok(value)
    }

    fn from(&mut self, mut at: Vec<f64>, steps: usize, stride: f64) -> Result<()> {
        for _ in 0..steps {
            let point = self.point(&self.displacement(&at));
            let mut slope = self.surface.at(&point, Surface::gradient)?;
            slope.iter_mut().zip(&self.units).for_each(|(g, unit)| *g *= unit);
            let length = norm(&slope);
            if length == 0.0 || !length.is_finite() {
                break;
            }
            scale(&mut slope, stride / length);
            at.iter_mut().zip(&slope).for_each(|(z, g)| *z += g);
            let length = norm(&at);
            if length > self.radius {
                scale(&mut at, self.radius / length);
            }
            self.look(&at)?;
        }
        Ok(())
    }
}

/// The mean rise of the loss under normal noise on every parameter, `E L(x + size z) - L(x)`. Each of `pairs` samples
/// takes the noise with both signs, which takes out what is odd in it, such as the slope. For small noise it is `size^2 / 2`
/// times the trace of the Hessian, or with [`Scaling::Adaptive`] times `sum_i x_i^2 H_ii`.
///
/// # Errors
/// If there is no pair, the size is not positive, or the loss cannot be evaluated.
pub fn rise_under_noise(
    surface: &mut Surface<'_>,
    noise: Neighbourhood,
    pairs: usize,
    seed: &Seed,
) -> Result<Estimate> {
    noise.check("standard deviation")?;
    in_range("number of noise samples", pairs as f64, pairs > 0, "[1, infinity)")?;
    let origin = surface.point()?;
    let units = noise.scaling.units(&origin);
    let base = surface.loss()?;
    let mut rises = Vec::new();
    for pair in 0..pairs {
        let normal =
            Distribution::<f64>::sample_iter(StandardNormal, seed.index(pair as u64).rng());
        let by: Vec<f64> = normal.zip(&units).map(|(z, unit)| noise.size * z * unit).collect();
        let mut beside = |sign: f64| {
            let point: Vec<f64> = origin.iter().zip(&by).map(|(x, by)| x + sign * by).collect();
            surface.loss_at(&point)
        };
        rises.push(0.5 * (beside(1.0)? + beside(-1.0)?) - base);
    }
    Ok(Estimate::of(&rises, 0.0))
}
