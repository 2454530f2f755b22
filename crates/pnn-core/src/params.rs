//! Named trainable tensors, and tensors shaped like them.

use std::collections::BTreeMap;

use crate::device::Bounds;
use crate::multiversion;
use crate::ops::{Real, dispatch};
use crate::tensor::GradStore;
use crate::{DType, Error, Result, Tensor, Var};

/// A trainable tensor.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Name, such as `fc1.detuning`.
    pub name: String,
    /// The value and the node of the gradient graph.
    pub var: Var,
    /// Where the optimizer may move it.
    pub bounds: Bounds,
}

/// The trainable tensors of a model, always in order of their names: sums over them (norms) have
/// a fixed order.
#[derive(Debug, Clone, Default)]
pub struct ParamSet(Vec<Parameter>);

impl ParamSet {
    /// The set of these parameters.
    ///
    /// # Errors
    /// If two have one name.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>) -> Result<Self> {
        let mut parameters: Vec<_> = parameters.into_iter().collect();
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = parameters.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::Unsupported {
                device: format!("a second parameter named {:?}", pair[0].name),
                capability: "distinct names".into(),
            });
        }
        Ok(Self(parameters))
    }

    /// The parameters in order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.0.iter()
    }

    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A parameter by name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Parameter> {
        self.0.iter().find(|p| p.name == name).ok_or_else(|| {
            Error::unknown("parameter", name, self.0.iter().map(|p| p.name.as_str()))
        })
    }

    /// Copies of all values.
    ///
    /// # Errors
    /// If memory cannot be copied.
    pub fn snapshot(&self) -> Result<Vec<Tensor>> {
        self.0.iter().map(|p| Ok(p.var.value())).collect()
    }

    /// Writes values back, bit for bit.
    ///
    /// # Errors
    /// If number or shapes differ.
    pub fn restore(&self, values: &[Tensor]) -> Result<()> {
        self.check_count("tensors to restore", values.len())?;
        for (parameter, value) in self.0.iter().zip(values) {
            parameter.var.set(value)?;
        }
        Ok(())
    }

    /// Moves every parameter by the tensor in the same place.
    ///
    /// # Errors
    /// If number or shapes differ.
    pub fn shift(&self, by: &[Option<Tensor>]) -> Result<()> {
        self.check_count("displacements", by.len())?;
        for (parameter, by) in self.0.iter().zip(by) {
            if let Some(by) = by {
                parameter.var.set(&(parameter.var.value() + by)?)?;
            }
        }
        Ok(())
    }

    /// Moves every value that lies outside its bounds to the nearest bound.
    ///
    /// # Errors
    /// If memory cannot be written.
    pub fn clamp_to_bounds(&self) -> Result<()> {
        for parameter in self.0.iter().filter(|p| p.bounds.is_bounded()) {
            let crate::device::Bounds { low, high } = parameter.bounds;
            parameter.var.set(&parameter.var.value().clamp(low, high)?)?;
        }
        Ok(())
    }

    /// The gradients of all parameters out of a backward pass.
    #[must_use]
    pub fn gradients(&self, store: &GradStore) -> Gradients {
        Gradients(self.0.iter().map(|p| store.get(&p.var.tensor()).cloned()).collect())
    }

    /// All values, parameter by parameter, in f64.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn to_flat(&self) -> Result<Vec<f64>> {
        let mut flat = Vec::new();
        for parameter in &self.0 {
            append(&mut flat, &parameter.var.value())?;
        }
        Ok(flat)
    }

    /// Sets all values from a list as [`Self::to_flat`] gives it.
    ///
    /// # Errors
    /// If its length differs.
    pub fn set_flat(&self, flat: &[f64]) -> Result<()> {
        let count: usize = self.0.iter().map(|p| p.var.tensor().elem_count()).sum();
        if flat.len() != count {
            let want = format!("({count}): one for each value of {} parameters", self.len());
            return Err(Error::Shape {
                what: "list of parameter values".into(),
                got: vec![flat.len()],
                want,
            });
        }
        let mut rest = flat;
        for parameter in &self.0 {
            let shape = parameter.var.tensor().shape().clone();
            let (own, others) = rest.split_at(shape.elem_count());
            let value = Tensor::from_slice(own, shape)?.to_dtype(parameter.var.dtype())?;
            parameter.var.set(&value)?;
            rest = others;
        }
        Ok(())
    }

    fn check_count(&self, what: &str, count: usize) -> Result<()> {
        if count == self.0.len() {
            return Ok(());
        }
        let (what, value) =
            (format!("number of {what} for {} parameters", self.0.len()), count as f64);
        Err(Error::Range { what, value, allowed: "the number of parameters" })
    }

    /// Copies of the values by name, for a checkpoint.
    #[must_use]
    pub fn named(&self) -> BTreeMap<String, Tensor> {
        self.0.iter().map(|p| (p.name.clone(), p.var.value())).collect()
    }

    /// Sets every parameter from a map by name, or none of them.
    ///
    /// # Errors
    /// If a name is missing or a shape differs.
    pub fn load(&self, values: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut set = Vec::with_capacity(self.0.len());
        for parameter in &self.0 {
            let Some(value) = values.get(&parameter.name) else {
                let known = values.keys().map(String::as_str);
                return Err(Error::unknown("tensor", &parameter.name, known));
            };
            if value.dims() != parameter.var.dims() {
                let want = format!("{:?}", parameter.var.dims());
                return Err(Error::shape(&parameter.name, value, want));
            }
            set.push((&parameter.var, value.to_dtype(parameter.var.dtype())?));
        }
        for (var, value) in set {
            var.set(&value)?;
        }
        Ok(())
    }
}

/// One gradient for each parameter of a [`ParamSet`], in its order; `None` where the loss does
/// not depend on the parameter.
#[derive(Debug, Clone)]
pub struct Gradients(pub Vec<Option<Tensor>>);

impl Gradients {
    /// The 2-norm over all parameters, summed in f64 in a fixed order.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn global_norm(&self) -> Result<f64> {
        global_norm(&self.0)
    }

    /// The scalar product with other gradients over the parameters that have both, summed in f64 in a
    /// fixed order.
    ///
    /// # Errors
    /// If shapes or types differ.
    pub fn dot(&self, other: &Self) -> Result<f64> {
        let mut sum = 0.0;
        for (a, b) in self.0.iter().zip(&other.0) {
            let (Some(a), Some(b)) = (a, b) else { continue };
            if a.dims() != b.dims() {
                let want = format!("{:?}, that of the other", b.dims());
                return Err(Error::shape("gradient of a scalar product", a, want));
            }
            sum += dispatch!(a.dtype(), T => {
                Ok::<f64, Error>(products(a.elements::<T>()?, b.elements::<T>()?))
            })?;
        }
        Ok(sum)
    }

    /// All gradients, parameter by parameter, in f64; zeros where the loss does not depend on a parameter.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn to_flat(&self, params: &ParamSet) -> Result<Vec<f64>> {
        params.check_count("gradients", self.0.len())?;
        let mut flat = Vec::new();
        for (parameter, gradient) in params.iter().zip(&self.0) {
            match gradient {
                Some(gradient) => append(&mut flat, gradient)?,
                None => flat.resize(flat.len() + parameter.var.tensor().elem_count(), 0.0),
            }
        }
        Ok(flat)
    }

    /// The name of the first parameter with a gradient that is not finite.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn first_not_finite<'a>(&self, params: &'a ParamSet) -> Result<Option<&'a str>> {
        for (parameter, gradient) in params.iter().zip(&self.0) {
            if let Some(gradient) = gradient
                && !sum_of_squares(gradient)?.is_finite()
            {
                return Ok(Some(&parameter.name));
            }
        }
        Ok(None)
    }
}

fn append(flat: &mut Vec<f64>, tensor: &Tensor) -> Result<()> {
    flat.extend_from_slice(tensor.to_dtype(DType::F64)?.elements::<f64>()?);
    Ok(())
}

/// The 2-norm over a list of tensors, summed in f64 in a fixed order.
///
/// # Errors
/// If a tensor cannot be read.
pub fn global_norm(tensors: &[Option<Tensor>]) -> Result<f64> {
    let mut sum = 0.0;
    for tensor in tensors.iter().flatten() {
        sum += sum_of_squares(tensor)?;
    }
    Ok(sum.sqrt())
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    dispatch!(tensor.dtype(), T => {
        let values = tensor.elements::<T>()?;
        Ok(squares(values))
    })
}

multiversion! {
    /// The sum of squares in f64, in eight interleaved accumulators.
    fn squares[T: Real](values: &[T]) -> f64 {
        let mut lanes = [0.0; 8];
        let blocks = values.chunks_exact(8);
        let rest = blocks.remainder();
        for block in blocks {
            for (lane, v) in lanes.iter_mut().zip(block) {
                *lane += v.f64() * v.f64();
            }
        }
        for (lane, v) in lanes.iter_mut().zip(rest) {
            *lane += v.f64() * v.f64();
        }
        lanes.iter().sum()
    }

    /// The sum of products in f64, in eight interleaved accumulators.
    fn products[T: Real](a: &[T], b: &[T]) -> f64 {
        let mut lanes = [0.0; 8];
        for (a, b) in a.chunks(8).zip(b.chunks(8)) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += a.f64() * b.f64();
            }
        }
        lanes.iter().sum()
    }
}
