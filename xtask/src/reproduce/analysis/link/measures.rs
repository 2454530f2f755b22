//! Measures of the sharpness of a minimum.

use pnn_core::Seed;
use pnn_data::Dataset;
use pnn_eval::{BatchNormMode, DeviationSharpness, Evaluator, Sharpness, SharpnessSettings};

use crate::error::Result;
use crate::reproduce::config::{Link, Method, System};
use crate::reproduce::precise::Precise;
use crate::reproduce::training::Trained;

/// Names of the measures of a system, in the order of [`measure`].
pub(super) fn names(system: &System) -> Vec<String> {
    let mut names: Vec<String> = Sharpness::NAMES.map(str::to_owned).to_vec();
    for deviation in &system.deviations {
        names.push(format!("rise under {}", deviation.label));
        if !deviation.kinked {
            names.push(format!("slope in {}", deviation.label));
            names.push(format!("curvature in {}", deviation.label));
        }
    }
    names
}

/// All measures of a network on the chip that it is deployed on, with running statistics, and the largest error of a
/// Hessian product of a batch.
pub(super) fn measure(
    spec: &Link,
    system: &System,
    method: &Method,
    run: &Trained,
    images: &Dataset,
) -> Result<(Vec<Option<f64>>, f64)> {
    let precise = Precise::of(method, run)?;
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: run.normalisation,
        calibration: None,
    };
    let settings = SharpnessSettings {
        radius: system.radius,
        relative_radius: system.relative_radius,
        noise: system.noise,
        relative_noise: system.relative_noise,
        ascent_steps: spec.ascent_steps,
        noise_pairs: spec.noise_pairs,
        trace_products: spec.trace_products,
        ..SharpnessSettings::default()
    };
    let mut surface = precise.surface(evaluator, &run.chip, images)?;
    let sharpness = Sharpness::measure(&mut surface, &settings, &Seed::new(0).child("sharpness"))?;
    if sharpness.lambda_max.is_none() || sharpness.relative_lambda_max.is_none() {
        eprintln!("  an eigenvalue did not converge: the network is left out of its correlation");
    }
    let mut found = sharpness.values().to_vec();
    let mut largest_error = sharpness.differences.largest_error;
    for deviation in &system.deviations {
        let axes = [deviation.axis()];
        let mut surface = precise.deviation_surface(evaluator, &run.chip, images, &axes)?;
        let (smooth, seed) = (!deviation.kinked, Seed::new(0).child(&deviation.label));
        let bent = DeviationSharpness::measure(&mut surface, smooth, &settings, &seed)?;
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        found.push(finite(bent.rise));
        if smooth {
            found.extend([bent.slope.and_then(finite), bent.curvature.and_then(finite)]);
        }
        largest_error = largest_error.max(bent.largest_error);
    }
    Ok((found, largest_error))
}
