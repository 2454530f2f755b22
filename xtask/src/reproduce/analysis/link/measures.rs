//! Measures of the sharpness of a minimum.

use pnn_core::Seed;
use pnn_core::curvature::{
    Hessian, Neighbourhood, Operator, Scaling, Surface, hutch_plus_plus, rise_under_noise,
};
use pnn_data::Dataset;
use pnn_eval::{BatchNormMode, Evaluator, Sharpness, SharpnessSettings};

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

/// All measures of a network on the chip that it is deployed on, with running statistics.
pub(super) fn measure(
    spec: &Link,
    system: &System,
    method: &Method,
    run: &Trained,
    images: &Dataset,
) -> Result<Vec<Option<f64>>> {
    let precise = Precise::of(method, run)?;
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: run.normalisation,
        calibration: None,
    };
    let mut surface = precise.surface(evaluator, &run.chip, images)?;
    let mut found = of_parameters(spec, system, &mut surface)?;
    for deviation in &system.deviations {
        let axes = [deviation.axis()];
        let mut surface = precise.deviation_surface(evaluator, &run.chip, images, &axes)?;
        let seed = Seed::new(0).child(&deviation.label);
        let rise = if deviation.shared {
            let (here, sides) =
                (surface.loss()?, [surface.loss_at(&[1.0])?, surface.loss_at(&[-1.0])?]);
            0.5 * (sides[0] + sides[1]) - here
        } else {
            let unit = Neighbourhood { size: 1.0, scaling: Scaling::Plain };
            rise_under_noise(&mut surface, unit, spec.noise_pairs, &seed)?.value
        };
        found.push(finite(rise));
        if deviation.kinked {
            continue;
        }
        let mut hessian = Hessian::new(&mut surface)?;
        let slope = hessian.gradient().iter().map(|g| g * g).sum::<f64>().sqrt();
        let curvature = if hessian.dim() == 1 {
            hessian.apply(&[1.0])?[0]
        } else {
            hutch_plus_plus(&mut hessian, spec.trace_products, &seed)?.value
        };
        found.extend([slope, curvature].map(finite));
    }
    Ok(found)
}

fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite())
}

fn of_parameters(
    spec: &Link,
    system: &System,
    surface: &mut Surface<'_>,
) -> Result<Vec<Option<f64>>> {
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
    let found = Sharpness::measure(surface, &settings, &Seed::new(0).child("sharpness"))?;
    if found.lambda_max.is_none() || found.relative_lambda_max.is_none() {
        eprintln!("  an eigenvalue did not converge: the network is left out of its correlation");
    }
    Ok(found.values().to_vec())
}
