//! Update rules, equal to PyTorch's `SGD`, `Adam` and `AdamW` step by step.

use crate::error::in_range;
use crate::multiversion;
use crate::ops::{Real, dispatch};
use crate::optim::RuleState;
use crate::params::{Gradients, ParamSet};
use crate::tensor::Buffer;
use crate::{DType, Error, Result, Tensor};

/// A first-order update rule with its state.
pub trait Rule: Send {
    /// Moves the parameters against the gradients. Parameters without a gradient stay, as in
    /// PyTorch.
    ///
    /// # Errors
    /// If shapes do not match or the learning rate is negative or not finite; no parameter has
    /// moved then.
    fn update(&mut self, params: &ParamSet, gradients: &Gradients) -> Result<()>;

    /// The learning rate.
    fn learning_rate(&self) -> f64;

    /// Sets the learning rate. One that is negative or not finite fails the next update.
    fn set_learning_rate(&mut self, rate: f64);

    /// The running sum or average of the gradients by which the rule moves, for each parameter: the
    /// velocity of SGD, the first moment of Adam. Shorter than the parameters or `None` where
    /// nothing has been seen yet.
    fn momentum(&self) -> &[Option<Tensor>];

    /// Everything that the next update depends on, beside parameters and settings.
    ///
    /// # Errors
    /// If memory cannot be copied.
    fn state(&self) -> Result<RuleState>;

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If a tensor is missing.
    fn load_state(&mut self, state: &RuleState) -> Result<()>;
}

fn check_rate(rate: f64) -> Result<f64> {
    in_range("learning rate", rate, (0.0..f64::INFINITY).contains(&rate), "[0, infinity)")
}

/// Checks shapes before any parameter moves; a shorter list is one that has not begun, unless it
/// must be `complete`.
fn check_like(
    params: &ParamSet,
    what: &str,
    tensors: &[Option<Tensor>],
    complete: bool,
) -> Result<()> {
    let (given, wanted) = (tensors.len(), params.len());
    if given > wanted || (complete && given < wanted) {
        let what = format!("number of {what}s for {wanted} parameters");
        let allowed = "the number of parameters";
        return Err(Error::Range { what, value: given as f64, allowed });
    }
    for (parameter, tensor) in params.iter().zip(tensors) {
        let var = &parameter.var;
        if let Some(tensor) = tensor
            && (tensor.dims() != var.dims() || tensor.dtype() != var.dtype())
        {
            let what = format!("{what} of {} ({:?})", parameter.name, tensor.dtype());
            let want = format!("{:?} of {:?}", var.dims(), var.dtype());
            return Err(Error::shape(&what, tensor, want));
        }
    }
    Ok(())
}

/// Stochastic gradient descent with momentum: `v = m v + g`, `x -= rate v` (no dampening, no
/// Nesterov step; the first `v` is `g`).
#[derive(Debug, Clone)]
pub struct Sgd {
    rate: f64,
    momentum: f64,
    velocity: Vec<Option<Tensor>>,
}

impl Sgd {
    /// A rule with a learning rate and momentum in [0, 1).
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(rate: f64, momentum: f64) -> Result<Self> {
        in_range("momentum", momentum, (0.0..1.0).contains(&momentum), "[0, 1)")?;
        Ok(Self { rate: check_rate(rate)?, momentum, velocity: Vec::new() })
    }
}

impl Rule for Sgd {
    fn update(&mut self, params: &ParamSet, gradients: &Gradients) -> Result<()> {
        check_rate(self.rate)?;
        check_like(params, "gradient", &gradients.0, true)?;
        check_like(params, "velocity", &self.velocity, false)?;
        self.velocity.resize(params.len(), None);
        let parts = params.iter().zip(&gradients.0).zip(&mut self.velocity);
        for ((parameter, gradient), velocity) in parts {
            let Some(gradient) = gradient else { continue };
            let (rate, momentum, shape) = (self.rate, self.momentum, gradient.shape());
            let moved = dispatch!(gradient.dtype(), T => {
                let g = gradient.elements::<T>()?;
                let v = match velocity.take() {
                    Some(old) => {
                        let mut v = old.into_buffer::<T>()?;
                        scale_and_add(&mut v, T::of(momentum), g);
                        v
                    }
                    None => Buffer::copy_of(g),
                };
                parameter.var.update::<T>(|x| subtract(x, T::of(rate), &v))?;
                Tensor::from_buffer(v, shape)
            })?;
            *velocity = Some(moved);
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    fn momentum(&self) -> &[Option<Tensor>] {
        &self.velocity
    }

    fn state(&self) -> Result<RuleState> {
        Ok(save("velocity", &self.velocity))
    }

    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        self.velocity = load("velocity", state);
        Ok(())
    }
}

/// The name of the tensor with an index in a list. Five digits: names sort as the indices do.
fn key(name: &str, index: usize) -> String {
    format!("{name}.{index:05}")
}

/// Saves a list of optional tensors as `name.index`, with its length implied by the indices.
pub(super) fn save(name: &str, tensors: &[Option<Tensor>]) -> RuleState {
    let named = tensors.iter().enumerate();
    named.filter_map(|(i, t)| Some((key(name, i), t.clone()?))).collect()
}

pub(super) fn load(name: &str, state: &RuleState) -> Vec<Option<Tensor>> {
    let mut tensors = Vec::new();
    for (stored, tensor) in state {
        let digits = stored.strip_prefix(name).and_then(|k| k.strip_prefix('.'));
        // Five digits and no more, so that a damaged file cannot ask for a list without end.
        let index = digits.filter(|d| d.len() == 5).and_then(|d| d.parse::<usize>().ok());
        if let Some(index) = index {
            if tensors.len() <= index {
                tensors.resize(index + 1, None);
            }
            tensors[index] = Some(tensor.clone());
        }
    }
    tensors
}

/// Adam (Kingma and Ba, 2015) in PyTorch's form, with `weight_decay` either added to the gradient
/// (`Adam`) or applied to the weights (`AdamW`, Loshchilov and Hutter, 2019).
#[derive(Debug, Clone)]
pub struct Adam {
    rate: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    steps: Vec<u32>,
    first: Vec<Option<Tensor>>,
    second: Vec<Option<Tensor>>,
}

/// `AdamW` (Loshchilov and Hutter, 2019) with PyTorch's default decay of 0.01; for another one see
/// [`Adam::decoupled`].
///
/// # Errors
/// If the rate is negative or not finite.
pub fn adamw(rate: f64) -> Result<Adam> {
    Adam::new(rate)?.decoupled(0.01)
}

impl Adam {
    /// PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8, no weight decay.
    ///
    /// # Errors
    /// If the rate is negative or not finite.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: check_rate(rate)?,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            steps: Vec::new(),
            first: Vec::new(),
            second: Vec::new(),
        })
    }

    /// Sets the averaging factors.
    ///
    /// # Errors
    /// If one is outside [0, 1).
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Result<Self> {
        self.beta1 = in_range("beta1", beta1, (0.0..1.0).contains(&beta1), "[0, 1)")?;
        self.beta2 = in_range("beta2", beta2, (0.0..1.0).contains(&beta2), "[0, 1)")?;
        Ok(self)
    }

    /// Adds `decay` times the weights to the gradient.
    ///
    /// # Errors
    /// If the decay is negative or not finite.
    pub fn weight_decay(mut self, decay: f64) -> Result<Self> {
        let inside = (0.0..f64::INFINITY).contains(&decay);
        self.weight_decay = in_range("weight decay", decay, inside, "[0, infinity)")?;
        Ok(self)
    }

    /// `AdamW`: the decay shrinks the weights by `rate * decay` instead of entering the gradient.
    /// PyTorch's default decay for it is 0.01.
    ///
    /// # Errors
    /// If the decay is negative or not finite.
    pub fn decoupled(self, decay: f64) -> Result<Self> {
        Ok(Self { decoupled: true, ..self.weight_decay(decay)? })
    }
}

/// The constants of one step of Adam.
#[derive(Clone, Copy)]
struct AdamStep<T> {
    b1: T,
    b2: T,
    c2: T,
    size: T,
    root: T,
    eps: T,
    decay: T,
    shrink: T,
}

multiversion! {
    /// One pass over parameters `x`, gradients `g` and moments `m`, `v`.
    fn adam_step[T: Real](step: AdamStep<T>, x: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
        let AdamStep { b1, b2, c2, size, root, eps, decay, shrink } = step;
        let moments = m.iter_mut().zip(v);
        for ((x, g), (m, v)) in x.iter_mut().zip(g).zip(moments) {
            let g = if decay == T::zero() { *g } else { *g + decay * *x };
            let start = if shrink == T::one() { *x } else { *x * shrink };
            *m += b1 * (g - *m);
            *v = *v * b2 + c2 * g * g;
            *x = start - size * (*m / (v.sqrt() / root + eps));
        }
    }

    /// `v = v factor + g`.
    fn scale_and_add[T: Real](v: &mut [T], factor: T, g: &[T]) {
        for (v, g) in v.iter_mut().zip(g) {
            *v = *v * factor + *g;
        }
    }

    /// `x -= factor v`.
    fn subtract[T: Real](x: &mut [T], factor: T, v: &[T]) {
        for (x, v) in x.iter_mut().zip(v) {
            *x -= factor * *v;
        }
    }
}

impl Rule for Adam {
    fn update(&mut self, params: &ParamSet, gradients: &Gradients) -> Result<()> {
        check_rate(self.rate)?;
        check_like(params, "gradient", &gradients.0, true)?;
        check_like(params, "first moment", &self.first, false)?;
        check_like(params, "second moment", &self.second, false)?;
        self.steps.resize(params.len(), 0);
        self.first.resize(params.len(), None);
        self.second.resize(params.len(), None);
        for (i, (parameter, gradient)) in params.iter().zip(&gradients.0).enumerate() {
            let Some(gradient) = gradient else { continue };
            self.steps[i] += 1;
            let step = self.steps[i] as i32;
            // PyTorch computes these scalars in f64 (Python floats) for every dtype.
            let correction1 = 1.0 - self.beta1.powi(step);
            let step_size = self.rate / correction1;
            let root_correction2 = (1.0 - self.beta2.powi(step)).sqrt();
            let old = (self.first[i].take(), self.second[i].take());
            let shape = gradient.shape();
            let (m, v) = dispatch!(gradient.dtype(), T => {
                let g = gradient.elements::<T>()?;
                let moment = |old: Option<Tensor>| match old {
                    Some(old) => old.into_buffer::<T>(),
                    None => Ok(Buffer::zeros(g.len())),
                };
                let (mut m, mut v) = (moment(old.0)?, moment(old.1)?);
                let step = AdamStep {
                    b1: T::of(1.0 - self.beta1),
                    b2: T::of(self.beta2),
                    c2: T::of(1.0 - self.beta2),
                    size: T::of(step_size),
                    root: T::of(root_correction2),
                    eps: T::of(self.eps),
                    decay: T::of(if self.decoupled { 0.0 } else { self.weight_decay }),
                    shrink: T::of(if self.decoupled { 1.0 - self.rate * self.weight_decay } else { 1.0 }),
                };
                parameter.var.update::<T>(|x| adam_step(step, x, g, &mut m, &mut v))?;
                Ok::<_, Error>((Tensor::from_buffer(m, shape)?, Tensor::from_buffer(v, shape)?))
            })?;
            self.first[i] = Some(m);
            self.second[i] = Some(v);
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    fn momentum(&self) -> &[Option<Tensor>] {
        &self.first
    }

    fn state(&self) -> Result<RuleState> {
        let mut state = save("first", &self.first);
        state.extend(save("second", &self.second));
        let steps = Tensor::from_vec(self.steps.clone(), self.steps.len())?;
        state.insert("steps".into(), steps);
        Ok(state)
    }

    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        let steps = state.get("steps").ok_or_else(|| {
            Error::unknown("optimizer state", "steps", state.keys().map(String::as_str))
        })?;
        let steps: Vec<u32> = steps.to_dtype(DType::U32)?.to_vec1()?;
        let (first, second) = (load("first", state), load("second", state));
        for (i, _) in steps.iter().enumerate().filter(|(_, steps)| **steps > 0) {
            for (name, moments) in [("first", &first), ("second", &second)] {
                if !matches!(moments.get(i), Some(Some(_))) {
                    let known = state.keys().map(String::as_str);
                    return Err(Error::unknown("optimizer state", &key(name, i), known));
                }
            }
        }
        *self = Self { steps, first, second, ..self.clone() };
        Ok(())
    }
}
