//! By how much a loss rises around a point: sharpness without derivatives of second order.

use rand_distr::{Distribution, StandardNormal};

use super::Surface;
use super::operator::{norm, scale};
use super::trace::Estimate;
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
        if self.size > 0.0 && self.size.is_finite() {
            return Ok(());
        }
        let what = format!("{what} of a neighbourhood");
        Err(Error::Range { what, value: self.size, allowed: "(0, infinity)" })
    }
}

/// The largest rise that an ascent found.
#[derive(Debug, Clone, PartialEq)]
pub struct Rise {
    /// The loss there less the loss at the point.
    pub value: f64,
    /// The parameters there, less those of the point.
    pub displacement: Vec<f64>,
}

/// SAM's sharpness: the largest rise of the loss within a ball around the present point, `max L(x + e) - L(x)` for
/// `|e| <= size` (Foret et al., 2021, Eq. 1). The first of `steps` gradient steps leads to SAM's own point, `size g /
/// |g|`; the others go on from there along the sphere, and the largest rise met is kept: a lower bound of the maximum. One
/// gradient and one loss a step.
///
/// # Errors
/// If there is no step, the size is not positive, or the loss cannot be evaluated.
pub fn rise_in_ball(surface: &mut Surface<'_>, ball: Neighbourhood, steps: usize) -> Result<Rise> {
    ball.check("radius")?;
    if steps == 0 {
        let what = "number of steps of an ascent".into();
        return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
    }
    let origin = surface.point()?;
    let units = ball.scaling.units(&origin);
    let base = surface.loss()?;
    // In units of the scaling, in which the neighbourhood is a ball.
    let mut at = vec![0.0; origin.len()];
    let mut best = Rise { value: 0.0, displacement: at.clone() };
    let moved = |at: &[f64]| -> Vec<f64> { at.iter().zip(&units).map(|(z, u)| z * u).collect() };
    for _ in 0..steps {
        let point: Vec<f64> = origin.iter().zip(moved(&at)).map(|(x, e)| x + e).collect();
        let mut slope = surface.at(&point, Surface::gradient)?;
        slope.iter_mut().zip(&units).for_each(|(g, u)| *g *= u);
        let length = norm(&slope);
        if length == 0.0 {
            break;
        }
        scale(&mut slope, ball.size / length);
        at.iter_mut().zip(&slope).for_each(|(z, g)| *z += g);
        let length = norm(&at);
        if length > 0.0 {
            scale(&mut at, ball.size / length);
        }
        let displacement = moved(&at);
        let point: Vec<f64> = origin.iter().zip(&displacement).map(|(x, e)| x + e).collect();
        let value = surface.loss_at(&point)? - base;
        if value > best.value || value.is_nan() {
            best = Rise { value, displacement };
        }
    }
    Ok(best)
}

/// The mean rise of the loss under normal noise on every parameter, `E L(x + size z) - L(x)`. Each of `pairs` samples
/// takes the noise with both signs, which takes out what is odd in it, such as the slope. For small noise it is half
/// the trace of the Hessian times the square of `size`.
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
    if pairs == 0 {
        let what = "number of noise samples".into();
        return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
    }
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
