//! How sharp a minimum is, by every measure at once.

use pnn_core::Seed;
use pnn_core::curvature::{
    Differences, Eigenpair, Estimate, Extremes, Hessian, Lanczos, Neighbourhood, Operator, Scaling,
    Surface, hutch_plus_plus, rise_in_ball, rise_under_noise,
};

use crate::{Cell, Column, Result, Table};

/// How far around a minimum [`Sharpness`] looks, and how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharpnessSettings {
    /// Radius of the ball in which the loss is climbed, in the units of the parameters; 0.1.
    pub radius: f64,
    /// The same in units of each parameter's own size; 0.5, that of ASAM's runs (Kwon et al., 2021).
    pub relative_radius: f64,
    /// Standard deviation of noise on every parameter, in their units; 0.01.
    pub noise: f64,
    /// The same in units of each parameter's own size; 0.05.
    pub relative_noise: f64,
    /// Gradient steps of a climb; 5.
    pub ascent_steps: usize,
    /// Samples of noise, each with both signs; 20.
    pub noise_pairs: usize,
    /// Hessian products of the trace; 30.
    pub trace_products: usize,
    /// Largest residual of an eigenvalue, relative to it; 0.01.
    pub tolerance: f64,
}

impl Default for SharpnessSettings {
    fn default() -> Self {
        Self {
            radius: 0.1,
            relative_radius: 0.5,
            noise: 0.01,
            relative_noise: 0.05,
            ascent_steps: 5,
            noise_pairs: 20,
            trace_products: 30,
            tolerance: 0.01,
        }
    }
}

/// The sharpness of a minimum, by the measures that the literature knows. A measure is nothing by itself: compare it
/// between networks, over the same images and in the same parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharpness {
    /// The loss at the point, in nats for cross-entropy.
    pub loss: f64,
    /// The largest eigenvalue of the Hessian with its eigenvector; none if Lanczos' method did not converge.
    pub lambda_max: Option<Eigenpair>,
    /// The trace of the Hessian, by Hutch++.
    pub trace: Estimate,
    /// The largest eigenvalue of `|x_i| H_ij |x_j|`, which does not change when weights are scaled up and what follows
    /// them down.
    pub relative_lambda_max: Option<Eigenpair>,
    /// SAM's sharpness: the largest rise of the loss that a climb found within a radius.
    pub rise_in_ball: f64,
    /// The same in units of each parameter's size.
    pub rise_in_relative_ball: f64,
    /// The mean rise under normal noise on every parameter.
    pub rise_under_noise: Estimate,
    /// The same in units of each parameter's size.
    pub rise_under_relative_noise: Estimate,
    /// How exact the Hessian's products were.
    pub differences: Differences,
}

/// The Hessian in units of the parameters' sizes: `|x_i| H_ij |x_j|`.
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

/// Nothing where Lanczos' method did not converge.
fn converged(found: pnn_core::Result<Extremes>) -> Result<Option<Eigenpair>> {
    match found {
        Ok(found) => Ok(found.largest.into_iter().next()),
        Err(pnn_core::Error::NotConverged { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

impl Sharpness {
    /// All measures at the surface's present point. An eigenvalue that does not converge is none; nothing else is left
    /// out.
    ///
    /// ```
    /// use pnn_core::curvature::Surface;
    /// use pnn_core::{Bounds, ParamSet, Parameter, Seed, Tensor, Var};
    /// use pnn_eval::{Sharpness, SharpnessSettings};
    /// let (x, bounds) = (Var::new(&Tensor::new([2.0, -1.0])?), Bounds::UNBOUNDED);
    /// let parameters = ParamSet::new([Parameter { name: "x".into(), var: x.clone(), bounds }])?;
    /// // (x^2 + 3 y^2) / 2: the Hessian is diag(1, 3).
    /// let scales = Tensor::new([0.5, 1.5])?;
    /// let mut surface = Surface::new(parameters, 1, move |_| (x.tensor().sqr()? * &scales)?.sum_all())?;
    /// let found = Sharpness::measure(&mut surface, &SharpnessSettings::default(), &Seed::new(0))?;
    /// assert!((found.lambda_max.unwrap().value - 3.0).abs() < 1e-6);
    /// assert!((found.relative_lambda_max.unwrap().value - 4.0).abs() < 1e-6);
    /// assert!((found.trace.value - 4.0).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a setting is outside its range or the loss cannot be evaluated.
    pub fn measure(
        surface: &mut Surface<'_>,
        settings: &SharpnessSettings,
        seed: &Seed,
    ) -> Result<Self> {
        let loss = surface.loss()?;
        let sizes: Vec<f64> = surface.point()?.iter().map(|x| x.abs()).collect();
        let mut hessian = Hessian::new(surface)?;
        let lanczos = Lanczos::extremes(1, 0).tolerance(settings.tolerance);
        let lambda_max = converged(lanczos.run(&mut hessian, seed))?;
        let trace = hutch_plus_plus(&mut hessian, settings.trace_products, seed)?;
        let mut relative = Relative { hessian: &mut hessian, sizes };
        let relative_lambda_max = converged(lanczos.run(&mut relative, seed))?;
        let differences = hessian.differences();
        let mut ball = |size, scaling| -> Result<f64> {
            Ok(rise_in_ball(surface, Neighbourhood { size, scaling }, settings.ascent_steps)?.value)
        };
        let in_ball = ball(settings.radius, Scaling::Plain)?;
        let in_relative_ball = ball(settings.relative_radius, Scaling::Adaptive)?;
        let mut noise = |size, scaling| {
            rise_under_noise(surface, Neighbourhood { size, scaling }, settings.noise_pairs, seed)
        };
        Ok(Self {
            loss,
            lambda_max,
            trace,
            relative_lambda_max,
            rise_in_ball: in_ball,
            rise_in_relative_ball: in_relative_ball,
            rise_under_noise: noise(settings.noise, Scaling::Plain)?,
            rise_under_relative_noise: noise(settings.relative_noise, Scaling::Adaptive)?,
            differences,
        })
    }

    /// Names of the measures, in the order of [`values`](Self::values).
    pub const NAMES: [&'static str; 8] = [
        "training loss",
        "lambda_max",
        "trace",
        "relative lambda_max",
        "rise in a ball",
        "rise in a relative ball",
        "rise under noise",
        "rise under relative noise",
    ];

    /// All measures, none for an eigenvalue that did not converge or what is no finite number; the loss is that of the
    /// images given, which are training images as a rule.
    #[must_use]
    pub fn values(&self) -> [Option<f64>; 8] {
        let value = |pair: &Option<Eigenpair>| pair.as_ref().map(|pair| pair.value);
        [
            Some(self.loss),
            value(&self.lambda_max),
            Some(self.trace.value),
            value(&self.relative_lambda_max),
            Some(self.rise_in_ball),
            Some(self.rise_in_relative_ball),
            Some(self.rise_under_noise.value),
            Some(self.rise_under_relative_noise.value),
        ]
        .map(|value| value.filter(|value| value.is_finite()))
    }

    /// A line for each measure, with how sure it is: the residual of an eigenvalue, the standard error of an estimate.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn table(&self, caption: impl Into<String>) -> Result<Table> {
        let columns = vec![
            Column::text("measure"),
            Column::number("value", 3).scientific(),
            Column::number("uncertainty", 1).scientific(),
        ];
        let mut table = Table::new(caption, columns)?;
        let residual = |pair: &Option<Eigenpair>| pair.as_ref().map(|pair| pair.residual);
        let error = |estimate: &Estimate| Some(estimate.standard_error);
        let unsure = [
            None,
            residual(&self.lambda_max),
            error(&self.trace),
            residual(&self.relative_lambda_max),
            None,
            None,
            error(&self.rise_under_noise),
            error(&self.rise_under_relative_noise),
        ];
        let cell = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        for ((name, value), unsure) in Self::NAMES.into_iter().zip(self.values()).zip(unsure) {
            let unsure = unsure.filter(|unsure| unsure.is_finite());
            table.push(vec![Cell::from(name), cell(value), cell(unsure)])?;
        }
        Ok(table)
    }

    /// How exact the Hessian's products were, in a sentence.
    #[must_use]
    pub fn exactness(&self) -> String {
        let Differences { products, step, shortened, unresolved, largest_error, .. } =
            self.differences;
        format!(
            "{products} Hessian products by central differences of gradients in f64, steps from {step:.1e}, shortened in {shortened} batches and at a kink at \
             every step in {unresolved}; the largest error of a batch's product is {largest_error:.1e} of it."
        )
    }
}
