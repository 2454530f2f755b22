//! Light that is counted in photons.

use pnn_core::{Deviations, Result, Tensor};

/// Deviation port: shot noise of each detector, in roots of the unit of its light. Light `P` in a unit that has
/// `N` photons is read as `P + s sqrt(P)`, `s` from N(0, 1/N) at each shot (Poisson's distribution for many
/// photons). Darkness has none, and no slope.
pub const SHOT_NOISE: &str = "shot_noise";

/// What detectors read that should read `y` and see `light` (both of one shape).
pub(crate) fn shot(y: &Tensor, light: &Tensor, deviations: &Deviations) -> Result<Tensor> {
    match deviations.get(SHOT_NOISE) {
        Some(noise) if deviations.is_active(SHOT_NOISE)? => {
            // Below this the slope of the root would be endless.
            let root = light.clamp(1e-30, f64::INFINITY)?.sqrt()?;
            y + (root * noise.to_dtype(y.dtype())?)?
        }
        _ => Ok(y.clone()),
    }
}
