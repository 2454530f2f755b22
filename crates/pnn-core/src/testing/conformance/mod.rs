//! The suite that every device passes.

mod deviations;
mod misuse;
mod output;
mod physics;
mod settings;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::gradient::GradientCheck;
use super::tolerance::values;
use crate::device::{Controls, Deviations, PhysicalLayer, PortShape};
use crate::{DType, Seed, Tensor};

/// What the suite checks, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Names of controls and ports are distinct, units are given (`1` for none), bounds enclose
    /// something; [`PhysicalLayer::init`] gives exactly the controls of the spec, in their shapes,
    /// inside their bounds, in the dtype asked for, and the same bits for the same seed.
    Settings,
    /// The output is finite, of the dtype of the input, and has the batch in front.
    Output,
    /// Two calls, and calls in pools of one and two threads, give the same bits, in the forward
    /// and in the backward pass; so does `forward_with` the device's weights.
    Determinism,
    /// f32 and f64 agree.
    Precision,
    /// Each row of a batch gives what it gives alone.
    Batch,
    /// Deviations of zero, of either sign and in every shape that broadcasts, give the bits of the
    /// ideal device.
    ZeroDeviation,
    /// Every port changes the output.
    DeadPort,
    /// A deviation that all entries share is the same as a full tensor of it.
    Broadcast,
    /// A deviation of an unknown port or of a wrong shape is an error.
    WrongDeviation,
    /// Missing or wrongly shaped controls are errors, and no input makes the device panic.
    WrongInput,
    /// NaN in input, controls or deviations is an error or shows in the output.
    NotANumber,
    /// With all controls at a bound the output is finite.
    Bounds,
    /// The gradients with respect to the input, every control and every port agree with finite
    /// differences, in each element, at the initial and at random settings.
    Gradient,
    /// The output obeys the claimed [`Passivity`](crate::Passivity) on the ideal device, at the
    /// initial and at random settings.
    Passivity,
}

impl Check {
    /// All checks, in the order in which the suite runs them.
    pub const ALL: [Self; 14] = [
        Self::Settings,
        Self::Output,
        Self::Determinism,
        Self::Precision,
        Self::Batch,
        Self::ZeroDeviation,
        Self::DeadPort,
        Self::Broadcast,
        Self::WrongDeviation,
        Self::WrongInput,
        Self::NotANumber,
        Self::Bounds,
        Self::Gradient,
        Self::Passivity,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settings => "settings",
            Self::Output => "output",
            Self::Determinism => "determinism",
            Self::Precision => "precision",
            Self::Batch => "independence of the rows of a batch",
            Self::ZeroDeviation => "zero deviation",
            Self::DeadPort => "effect of every port",
            Self::Broadcast => "broadcast deviation",
            Self::WrongDeviation => "wrong deviation",
            Self::WrongInput => "wrong input",
            Self::NotANumber => "NaN",
            Self::Bounds => "controls at their bounds",
            Self::Gradient => "gradient",
            Self::Passivity => "passivity",
        })
    }
}

/// A device failed a check of the suite.
#[derive(Debug, thiserror::Error)]
#[error("device does not conform ({check}): {reason}")]
pub struct ConformanceError {
    /// The check that failed.
    pub check: Check,
    /// What was found.
    pub reason: String,
}

/// The settings of the suite; the defaults suit devices whose numbers are of order one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conformance {
    /// Steps and tolerances of the gradient check.
    pub gradient: GradientCheck,
    /// Magnitude of the deviations that are applied, in the units of the ports.
    pub deviation: f64,
    /// Number of random settings of the controls.
    pub draws: usize,
    /// Allowed difference between f32 and f64, relative to the largest output. The default of 1e-4
    /// is 800 roundings of f32 in a row.
    pub precision: f64,
}

impl Default for Conformance {
    fn default() -> Self {
        Self { gradient: GradientCheck::default(), deviation: 0.05, draws: 3, precision: 1e-4 }
    }
}

/// Runs the suite with its default settings; see [`Check`] for what it checks, and
/// [`Conformance::check`].
///
/// # Errors
/// If the device fails a check, which the error names.
pub fn conformance(
    device: &dyn PhysicalLayer,
    input: &Tensor,
    seed: &Seed,
) -> Result<(), ConformanceError> {
    Conformance::default().check(device, input, seed)
}

impl Conformance {
    /// Runs the suite on a device. `input` is a batch of at least two samples in f64 that the
    /// device takes; make it small, for the gradient check runs the device twice for each
    /// element of input, controls and deviations.
    ///
    /// # Errors
    /// If the device fails a check, which the error names.
    pub fn check(
        &self,
        device: &dyn PhysicalLayer,
        input: &Tensor,
        seed: &Seed,
    ) -> Result<(), ConformanceError> {
        if input.dtype() != DType::F64 || input.rank() < 2 || input.dims()[0] < 2 {
            let (dims, dtype) = (input.dims(), input.dtype());
            let reason = format!(
                "the suite needs an input (batch >= 2, ...) of F64, not {dims:?} of {dtype:?}"
            );
            return Err(ConformanceError { check: Check::Output, reason });
        }
        let controls = settings::initial(device, seed)?;
        let subject = Subject { device, input, controls, seed: *seed, options: *self };
        output::check(&subject)?;
        deviations::check(&subject)?;
        misuse::check(&subject)?;
        settings::bounds(&subject)?;
        physics::gradients(&subject)?;
        physics::passivity(&subject)
    }
}

/// A device under test, with an input and settings that it must accept.
struct Subject<'a> {
    device: &'a dyn PhysicalLayer,
    input: &'a Tensor,
    controls: Controls,
    seed: Seed,
    options: Conformance,
}

type Outcome<T = ()> = Result<T, ConformanceError>;

impl Check {
    fn failed<T>(self, reason: impl fmt::Display) -> Outcome<T> {
        Err(ConformanceError { check: self, reason: reason.to_string() })
    }

    /// Turns an error of any kind into a failure of this check.
    fn ok<T, E: fmt::Display>(self, result: Result<T, E>, doing: &str) -> Outcome<T> {
        result.or_else(|e| self.failed(format_args!("{doing}: {e}")))
    }

    /// Calls `f`; a panic is a failure of this check.
    fn no_panic<T>(self, doing: &str, f: impl FnOnce() -> T) -> Outcome<T> {
        catch_unwind(AssertUnwindSafe(f)).or_else(|payload| {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            self.failed(format_args!("{doing}: panic: {}", text.unwrap_or("(no message)")))
        })
    }
}

impl Subject<'_> {
    /// The output for arguments that the device must accept.
    fn run(
        &self,
        check: Check,
        doing: &str,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> Outcome<Tensor> {
        let result = self.attempt(check, doing, x, controls, deviations)?;
        check.ok(result, doing)
    }

    /// The output or error for arguments that the device may refuse, but not by a panic.
    fn attempt(
        &self,
        check: Check,
        doing: &str,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> Outcome<crate::Result<Tensor>> {
        check.no_panic(doing, || self.device.forward(x, controls, deviations))
    }

    /// The output of the ideal device with its initial settings, in f64.
    fn ideal(&self, check: Check) -> Outcome<Tensor> {
        self.run(check, "ideal device", self.input, &self.controls, &Deviations::none())
    }

    /// A deviation of the full shape of a port, with elements of either sign that are not small.
    fn deviation(&self, check: Check, name: &str, shape: &PortShape) -> Outcome<Tensor> {
        let seed = self.seed.child("deviation").child(name);
        let u = seed.tensor(rand_distr::StandardUniform, &self.full(shape), DType::F64);
        let scale = self.options.deviation;
        let u = check.ok(u.and_then(|u| values(&u)), name)?;
        // Rounded to f32, so that both precisions see the same number.
        let away = |u: f64| f64::from((scale * if u < 0.5 { -0.5 - u } else { u }) as f32);
        let deviation = u.into_iter().map(away).collect();
        check.ok(Tensor::from_vec(deviation, self.full(shape)), name)
    }

    /// Full deviations at all ports.
    fn all_deviations(&self, check: Check) -> Outcome<Deviations> {
        let mut all = Deviations::none();
        for port in self.device.ports() {
            all = all.with(port.name, self.deviation(check, port.name, &port.shape)?);
        }
        Ok(all)
    }

    /// The shape of a full deviation, for outputs with the batch.
    fn full(&self, shape: &PortShape) -> Vec<usize> {
        let batch = match shape {
            PortShape::Fixed(_) => None,
            PortShape::Output(_) => Some(self.input.dims()[0]),
        };
        batch.into_iter().chain(shape.dims().iter().copied()).collect()
    }

    /// Random settings: uniform over the inner part of the bounds, normal about the initial
    /// value where there is no bound. `margin` is the fraction of the range left out at each side.
    fn drawn(&self, check: Check, draw: usize, margin: f64) -> Outcome<Controls> {
        let mut controls = Vec::new();
        for control in self.device.controls() {
            let seed = self.seed.child("settings").index(draw as u64).child(control.name);
            let (low, high) = (control.bounds.low, control.bounds.high);
            let start = check.ok(self.controls.get(control.name).and_then(values), control.name)?;
            let unit = rand_distr::StandardUniform;
            let u = seed.child("uniform").tensor(unit, &control.shape, DType::F64);
            let normal = rand_distr::StandardNormal;
            let n = seed.child("normal").tensor(normal, &control.shape, DType::F64);
            let u = check.ok(u.and_then(|u| values(&u)), control.name)?;
            let n = check.ok(n.and_then(|n| values(&n)), control.name)?;
            let value = start.iter().zip(u.iter().zip(&n)).map(|(start, (u, n))| {
                match (low.is_finite(), high.is_finite()) {
                    (true, true) => low + (high - low) * (margin + (1.0 - 2.0 * margin) * u),
                    (true, false) => low + margin + n.abs(),
                    (false, true) => high - margin - n.abs(),
                    (false, false) => start + n,
                }
            });
            let value = Tensor::from_vec(value.collect(), control.shape.as_slice());
            controls.push((control.name.to_owned(), check.ok(value, control.name)?));
        }
        Ok(controls.into_iter().collect())
    }
}

/// Casts input-like tensors to another dtype.
fn cast(check: Check, tensor: &Tensor, dtype: DType) -> Outcome<Tensor> {
    check.ok(tensor.to_dtype(dtype), "cast")
}

fn cast_controls(check: Check, controls: &Controls, dtype: DType) -> Outcome<Controls> {
    let cast = |(name, value): (&str, &Tensor)| Ok((name.to_owned(), cast(check, value, dtype)?));
    controls.iter().map(cast).collect()
}

fn cast_deviations(check: Check, deviations: &Deviations, dtype: DType) -> Outcome<Deviations> {
    deviations.iter().try_fold(Deviations::none(), |all, (port, value)| {
        Ok(all.with(port, cast(check, value, dtype)?))
    })
}

/// Whether every element is finite.
fn is_finite(check: Check, tensor: &Tensor) -> Outcome<bool> {
    Ok(check.ok(values(tensor), "reading the output")?.iter().all(|v| v.is_finite()))
}
