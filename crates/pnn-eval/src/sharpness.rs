//! How sharp a minimum is, by every measure at once.

use pnn_core::Seed;
use pnn_core::curvature::{
    Differences, Eigenpair, Estimate, Extremes, Hessian, Lanczos, Neighbourhood, Operator, Scaling,
    Surface, frobenius_norm, hutch_plus_plus, rise_in_ball, rise_under_noise,
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
    /// Hessian products of a trace, of which the Frobenius norm takes a third as many more; 30.
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
    /// The trace of the Hessian, by Hutch++. Negative curvature counts against positive: a small trace may be that of a flat
    /// point or of one that bends as much down as up.
    pub trace: Estimate,
    /// The Frobenius norm of the Hessian, the root of the sum of its squared eigenvalues: curvature of either sign.
    pub frobenius_norm: Estimate,
    /// The largest eigenvalue of `|x_i| H_ij |x_j|`, which does not change when weights are scaled up and what follows
    /// them down.
    pub relative_lambda_max: Option<Eigenpair>,
    /// SAM's sharpness: the largest rise of the loss that climbs found within a radius, from the point and along the
    /// eigenvector of `lambda_max`.
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
    /// assert!((found.frobenius_norm.value - 10f64.sqrt()).abs() < 1e-6);
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
        let samples = (settings.trace_products / 3).max(1);
        let frobenius_norm = frobenius_norm(&mut hessian, samples, &seed.child("norm"))?;
        let mut relative = Relative { hessian: &mut hessian, sizes };
        let relative_lambda_max = converged(lanczos.run(&mut relative, seed))?;
        let differences = hessian.differences();
        let mut ball = |size, scaling, sharpest: &Option<Eigenpair>| -> Result<f64> {
            let sharpest: Vec<&[f64]> = sharpest.iter().map(|pair| &pair.vector[..]).collect();
            let ball = Neighbourhood { size, scaling };
            Ok(rise_in_ball(surface, ball, settings.ascent_steps, &sharpest)?.value)
        };
        let in_ball = ball(settings.radius, Scaling::Plain, &lambda_max)?;
        let in_relative_ball =
            ball(settings.relative_radius, Scaling::Adaptive, &relative_lambda_max)?;
        let mut noise = |size, scaling| {
            rise_under_noise(surface, Neighbourhood { size, scaling }, settings.noise_pairs, seed)
        };
        Ok(Self {
            loss,
            lambda_max,
            trace,
            frobenius_norm,
            relative_lambda_max,
            rise_in_ball: in_ball,
            rise_in_relative_ball: in_relative_ball,
            rise_under_noise: noise(settings.noise, Scaling::Plain)?,
            rise_under_relative_noise: noise(settings.relative_noise, Scaling::Adaptive)?,
            differences,
        })
    }

    /// Names of the measures, in the order of [`values`](Self::values).
    pub const NAMES: [&'static str; 9] = [
        "training loss",
        "lambda_max",
        "trace",
        "Frobenius norm",
        "relative lambda_max",
        "rise in a ball",
        "rise in a relative ball",
        "rise under noise",
        "rise under relative noise",
    ];

    /// All measures, none for an eigenvalue that did not converge or what is no finite number; the loss is that of the
    /// images given, which are training images as a rule.
    #[must_use]
    pub fn values(&self) -> [Option<f64>; 9] {
        let value = |pair: &Option<Eigenpair>| pair.as_ref().map(|pair| pair.value);
        [
            Some(self.loss),
            value(&self.lambda_max),
            Some(self.trace.value),
            Some(self.frobenius_norm.value),
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
            error(&self.frobenius_norm),
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
            "{products} Hessian products by central differences of gradients in f64, steps from {step:.1e}, shortened in {shortened} products of a batch and at a kink at \
             every step in {unresolved}; the largest error of a batch's product is {largest_error:.1e} of it."
        )
    }
}

/// How the loss bends in what a device does wrong: its sharpness in the space of deviations, on a surface that
/// [`LossSurface::of_deviations`](crate::LossSurface::of_deviations) makes, at no deviation. What is trained stays.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviationSharpness {
    /// The mean rise of the loss under a step of the deviation: over both signs if it is one number, as a drift is, else over
    /// pairs of normal noise of one step on each of its entries.
    pub rise: f64,
    /// The length of the gradient, in loss per step; none where the loss is not smooth.
    pub slope: Option<f64>,
    /// The trace of the Hessian, by Hutch++, in loss per step squared: twice what the rise would be if the loss were a
    /// parabola. None where the loss is not smooth.
    pub curvature: Option<f64>,
    /// The largest error of a Hessian product of a batch, relative to it.
    pub largest_error: f64,
}

impl DeviationSharpness {
    /// All three at the surface's present point. `smooth` says whether the loss is differentiable there: a picture that moves
    /// by pixels is not.
    ///
    /// ```
    /// use pnn_core::curvature::Surface;
    /// use pnn_core::{Bounds, ParamSet, Parameter, Seed, Tensor, Var};
    /// use pnn_eval::{DeviationSharpness, SharpnessSettings};
    /// let (x, bounds) = (Var::new(&Tensor::new([0.0])?), Bounds::UNBOUNDED);
    /// let parameters = ParamSet::new([Parameter { name: "drift".into(), var: x.clone(), bounds }])?;
    /// // 3 x^2 + x.
    /// let mut surface = Surface::new(parameters, 1, move |_| {
    ///     let x = x.tensor();
    ///     (x.sqr()? * 3.0)?.sum_all()? + x.sum_all()?
    /// })?;
    /// let settings = SharpnessSettings::default();
    /// let found = DeviationSharpness::measure(&mut surface, true, &settings, &Seed::new(0))?;
    /// assert!((found.rise - 3.0).abs() < 1e-12);
    /// assert!((found.slope.unwrap() - 1.0).abs() < 1e-12);
    /// assert!((found.curvature.unwrap() - 6.0).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a setting is outside its range or the loss cannot be evaluated.
    pub fn measure(
        surface: &mut Surface<'_>,
        smooth: bool,
        settings: &SharpnessSettings,
        seed: &Seed,
    ) -> Result<Self> {
        let rise = if surface.dim() == 1 {
            let here = surface.point()?[0];
            let sides = [surface.loss_at(&[here + 1.0])?, surface.loss_at(&[here - 1.0])?];
            0.5 * (sides[0] + sides[1]) - surface.loss()?
        } else {
            let step = Neighbourhood { size: 1.0, scaling: Scaling::Plain };
            rise_under_noise(surface, step, settings.noise_pairs, seed)?.value
        };
        if !smooth {
            return Ok(Self { rise, slope: None, curvature: None, largest_error: 0.0 });
        }
        let mut hessian = Hessian::new(surface)?;
        let slope = hessian.gradient().iter().map(|g| g * g).sum::<f64>().sqrt();
        let curvature = if hessian.dim() == 1 {
            hessian.apply(&[1.0])?[0]
        } else {
            hutch_plus_plus(&mut hessian, settings.trace_products, seed)?.value
        };
        let largest_error = hessian.differences().largest_error;
        Ok(Self { rise, slope: Some(slope), curvature: Some(curvature), largest_error })
    }
}
