//! Light that is counted in photons.

use pnn_core::{Deviations, Result, Tensor};

/// Deviation port: shot noise of each detector, in units of the root of its light. Light `P` in units of which there
/// are `N` photons is read as `P + s sqrt(P)`, `s` from N(0, 1/N) at each shot (Poisson's distribution for many
/// photons).
pub const SHOT_NOISE: &str = "shot_noise";

/// What detectors read that should read `y` and see `light` (both of one shape).
pub(crate) fn shot(y: &Tensor, light: &Tensor, deviations: &Deviations) -> Result<Tensor> {
    match deviations.get(SHOT_NOISE) {
        Some(noise) if deviations.is_active(SHOT_NOISE)? => {
            y + (light.sqrt()? * noise.to_dtype(y.dtype())?)?
        }
        _ => Ok(y.clone()),
    }
}
