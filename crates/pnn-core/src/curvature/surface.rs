//! The loss of a whole data set as a function of parameters.

use crate::params::ParamSet;
use crate::tensor::without_gradients;
use crate::{DType, Error, Result, Tensor};

type Part<'a> = dyn FnMut(usize) -> Result<Tensor> + 'a;

/// A loss as a function of parameters, summed over the batches of a data set. It is what curvature and
/// landscapes are measured on. What the parameters are is the caller's choice: all that is trained, the controls of
/// one layer, or the deviations of a device.
///
/// ```
/// use pnn_core::curvature::Surface;
/// use pnn_core::{Bounds, ParamSet, Parameter, Tensor, Var};
/// let x = Var::new(&Tensor::new([3.0, -1.0])?);
/// let bounds = Bounds::UNBOUNDED;
/// let parameters = ParamSet::new([Parameter { name: "x".into(), var: x.clone(), bounds }])?;
/// // Two batches, whose parts add up to |x|^2.
/// let mut surface = Surface::new(parameters, 2, move |_| x.tensor().sqr()?.sum_all()? * 0.5)?;
/// assert_eq!(surface.loss()?, 10.0);
/// assert_eq!(surface.loss_at(&[1.0, 1.0])?, 2.0);
/// assert_eq!(surface.gradient()?, [6.0, -2.0]);
/// # Ok::<(), pnn_core::Error>(())
/// ```
pub struct Surface<'a> {
    parameters: ParamSet,
    batches: usize,
    part: Box<Part<'a>>,
}

impl<'a> Surface<'a> {
    /// A loss of `parameters`. `part` gives what a batch adds to it at their present values: the mean loss
    /// of the batch times its share of the data set. A function of these values only (no moving statistics, no
    /// fresh noise), it must have a gradient wherever it is asked for one.
    ///
    /// # Errors
    /// If there is no parameter or no batch, or a parameter is not of f64: differences of gradients need it.
    pub fn new(
        parameters: ParamSet,
        batches: usize,
        part: impl FnMut(usize) -> Result<Tensor> + 'a,
    ) -> Result<Self> {
        for (what, value) in
            [("number of parameters", parameters.len()), ("number of batches", batches)]
        {
            if value == 0 {
                let what = format!("{what} of a loss surface");
                return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
            }
        }
        if let Some(single) = parameters.iter().find(|p| p.var.dtype() != DType::F64) {
            return Err(Error::Unsupported {
                device: format!("a loss surface of {} in {:?}", single.name, single.var.dtype()),
                capability: "curvature: make the model with DType::F64".into(),
            });
        }
        Ok(Self { parameters, batches, part: Box::new(part) })
    }

    /// What it is a function of.
    #[must_use]
    pub fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    /// The same loss as a function of those parameters only whose name `chosen` accepts.
    ///
    /// # Errors
    /// If there is none.
    pub fn restricted(self, chosen: impl Fn(&str) -> bool) -> Result<Self> {
        let some = self.parameters.iter().filter(|p| chosen(&p.name)).cloned();
        Self::new(ParamSet::new(some)?, self.batches, self.part)
    }

    /// Number of values of all parameters together.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.parameters.iter().map(|p| p.var.tensor().elem_count()).sum()
    }

    /// Number of batches.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// All present values, parameter by parameter.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn point(&self) -> Result<Vec<f64>> {
        self.parameters.to_flat()
    }

    /// The loss at the present values.
    ///
    /// # Errors
    /// If a batch cannot be evaluated.
    pub fn loss(&mut self) -> Result<f64> {
        let mut sum = 0.0;
        for batch in 0..self.batches {
            sum += without_gradients(|| (self.part)(batch))?.to_scalar::<f64>()?;
        }
        Ok(sum)
    }

    /// The loss at other values, parameter by parameter; the present ones come back to the bit.
    ///
    /// # Errors
    /// If there are not [`dim`](Self::dim) values or a batch cannot be evaluated.
    pub fn loss_at(&mut self, point: &[f64]) -> Result<f64> {
        self.at(point, Self::loss)
    }

    /// The gradient at the present values.
    ///
    /// # Errors
    /// If a batch cannot be evaluated.
    pub fn gradient(&mut self) -> Result<Vec<f64>> {
        let mut sum = vec![0.0; self.dim()];
        for batch in 0..self.batches {
            let part = self.gradient_of(batch)?;
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        Ok(sum)
    }

    /// The part of a batch in the gradient.
    ///
    /// # Errors
    /// If the batch cannot be evaluated, or its loss is not of f64.
    pub fn gradient_of(&mut self, batch: usize) -> Result<Vec<f64>> {
        let loss = (self.part)(batch)?;
        self.parameters.gradients(&loss.backward()?).to_flat(&self.parameters)
    }

    /// What `measure` finds at other values; the present ones come back to the bit.
    ///
    /// # Errors
    /// If there are not [`dim`](Self::dim) values or `measure` fails.
    pub fn at<T>(
        &mut self,
        point: &[f64],
        measure: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = self.parameters.snapshot()?;
        let found = match self.parameters.set_flat(point) {
            Ok(()) => measure(self),
            Err(error) => Err(error),
        };
        self.parameters.restore(&before)?;
        found
    }
}
