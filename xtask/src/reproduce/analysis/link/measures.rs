//! Measures of the sharpness of a minimum.

use pnn_core::Seed;
use pnn_core::curvature::{
    Hessian, Lanczos, Neighbourhood, Operator, Scaling, Surface, hutch_plus_plus, rise_in_ball,
    rise_under_noise,
};
use pnn_data::Dataset;
use pnn_eval::{BatchNormMode, Evaluator};

use crate::error::Result;
use crate::reproduce::config::{Link, Method, System};
use crate::reproduce::precise::Precise;
use crate::reproduce::training::Trained;

/// The Hessian in units of the parameters' sizes: `|x_i| H_ij |x_j|`, which does not change when weights are scaled up
/// and what follows them down.
struct Relative<'a, 's, 'b> {
    hessian: &'a mut Hessian<'s, 'b>,
    sizes: Vec<f64>,
}

impl Operator for Relative<'_, '_, '_> {
    fn dim(&self) -> usize {
        self.sizes.len()
    }

    fn apply(&mut self, vector: &[f64]) -> pnn_core::Result<Vec<f64>> {
        let scaled: Vec<f64> = vector.iter().zip(&self.sizes).map(|(v, size)| v * size).collect();
        let mut product = self.hessian.apply(&scaled)?;
        product.iter_mut().zip(&self.sizes).for_each(|(p, size)| *p *= size);
        Ok(product)
    }
}

/// Names of the measures of a system, in the order of [`measure`].
pub(super) fn names(system: &System) -> Vec<String> {
    let plain = [
        "training loss",
        "lambda_max",
        "trace",
        "relative lambda_max",
        "rise in a ball",
        "rise in a relative ball",
        "rise under noise",
        "rise under relative noise",
    ];
    let mut names: Vec<String> = plain.map(str::to_owned).to_vec();
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
) -> Result<Vec<f64>> {
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
        found.push(if deviation.shared {
            let (here, sides) =
                (surface.loss()?, [surface.loss_at(&[1.0])?, surface.loss_at(&[-1.0])?]);
            0.5 * (sides[0] + sides[1]) - here
        } else {
            let unit = Neighbourhood { size: 1.0, scaling: Scaling::Plain };
            rise_under_noise(&mut surface, unit, spec.noise_pairs, &seed)?.value
        });
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
        found.extend([slope, curvature]);
    }
    Ok(found)
}

fn of_parameters(spec: &Link, system: &System, surface: &mut Surface<'_>) -> Result<Vec<f64>> {
    let seed = Seed::new(0).child("sharpness");
    let loss = surface.loss()?;
    let sizes: Vec<f64> = surface.point()?.iter().map(|x| x.abs()).collect();
    let mut hessian = Hessian::new(surface)?;
    let lanczos = Lanczos::extremes(1, 0).tolerance(1e-2);
    let largest = lanczos.run(&mut hessian, &seed)?.largest[0].value;
    let trace = hutch_plus_plus(&mut hessian, spec.trace_products, &seed)?.value;
    let mut relative = Relative { hessian: &mut hessian, sizes };
    let relative = lanczos.run(&mut relative, &seed)?.largest[0].value;
    let mut ball = |size, scaling| -> Result<f64> {
        Ok(rise_in_ball(surface, Neighbourhood { size, scaling }, spec.ascent_steps)?.value)
    };
    let plain = ball(system.radius, Scaling::Plain)?;
    let adaptive = ball(system.relative_radius, Scaling::Adaptive)?;
    let mut noise = |size, scaling| -> Result<f64> {
        let around = Neighbourhood { size, scaling };
        Ok(rise_under_noise(surface, around, spec.noise_pairs, &seed)?.value)
    };
    let noisy = noise(system.noise, Scaling::Plain)?;
    let relatively = noise(system.relative_noise, Scaling::Adaptive)?;
    Ok(vec![loss, largest, trace, relative, plain, adaptive, noisy, relatively])
}
