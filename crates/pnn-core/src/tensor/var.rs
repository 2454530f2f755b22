//! Variables: what is trained.

use std::sync::{Arc, PoisonError, RwLock};

use super::{DType, Inner, Tensor};
use crate::{Error, Result};

/// A tensor that can be set anew, and in which gradients are wanted. Clones are the same variable.
#[derive(Debug, Clone)]
pub struct Var(Arc<RwLock<Tensor>>);

impl Var {
    /// A variable with a first value.
    #[must_use]
    pub fn new(value: &Tensor) -> Self {
        Self(Arc::new(RwLock::new(value.as_variable(super::graph::next_id()))))
    }

    /// The present value, as a node of the gradient graph. Later changes of the variable do not
    /// change it.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The present value, without a gradient.
    #[must_use]
    pub fn value(&self) -> Tensor {
        self.tensor().detach()
    }

    /// The sizes of its dimensions.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        self.tensor().dims().to_vec()
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// If shape or dtype differ from the present ones.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if value.dims() != present.dims() || value.dtype() != present.dtype() {
            let want = format!("{:?} of {:?}, the variable's", present.dims(), present.dtype());
            let what = format!("new value ({:?})", value.dtype());
            return Err(Error::shape(&what, value, want));
        }
        let id = present.0.id;
        *present = value.as_variable(id);
        Ok(())
    }

    /// Changes the value by a function of its elements: in place if nothing else holds it.
    ///
    /// # Errors
    /// If its elements are not of type `T`.
    pub fn update<T: super::Element>(&self, change: impl FnOnce(&mut [T])) -> Result<()> {
        let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (id, shape) = (present.0.id, present.shape().clone());
        present.elements::<T>()?;
        let old = std::mem::replace(&mut *present, Tensor::from_scalar(T::default()));
        let mut values = old.into_buffer::<T>()?;
        change(&mut values);
        let values = T::into_values(values);
        *present =
            Tensor(Arc::new(Inner { id, shape, values, offset: 0, variable: true, node: None }));
        Ok(())
    }
}
