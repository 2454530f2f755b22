//! Devices: differentiable functions with controls and deviations, `y = F(x; controls, deviations)`.

mod levels;
mod specimen;

use std::sync::Arc;

use crate::{Error, Result, Seed, Tensor};

pub use levels::Levels;
pub use specimen::{Chip, Controls, Deviations};

/// The values that a control may take.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Smallest allowed value.
    pub low: f64,
    /// Largest allowed value.
    pub high: f64,
}

impl Bounds {
    /// No limit at either side.
    pub const UNBOUNDED: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };

    /// The closed interval from `low` to `high`.
    ///
    /// # Errors
    /// If `low < high` does not hold.
    pub fn new(low: f64, high: f64) -> Result<Self> {
        if low < high {
            Ok(Self { low, high })
        } else {
            let what = format!("lower bound (upper bound {high})");
            Err(Error::Range { what, value: low, allowed: "below the upper bound" })
        }
    }

    /// Whether `value` lies inside (NaN does not).
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Whether there is a limit at either side.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.low.is_finite() || self.high.is_finite()
    }
}

/// One trainable setting of a device: currents, phases, detunings, pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Name, unique within the device, such as `detuning`.
    pub name: &'static str,
    /// Unit, such as `nm`; `1` if it has none.
    pub unit: &'static str,
    /// Allowed values, in that unit.
    pub bounds: Bounds,
    /// Shape of the tensor of settings.
    pub shape: Vec<usize>,
}

/// What can be set on a device.
pub type ControlSpec = [Control];

/// What shape a deviation has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortShape {
    /// One value for each entry of a tensor of this shape; anything that broadcasts to it will do
    /// (a scalar is a deviation that all entries share).
    Fixed(Vec<usize>),
    /// One value for each output of one shot (this shape, without the batch): with a leading
    /// dimension of 1 it is a fixed offset, with the batch it differs from shot to shot.
    Output(Vec<usize>),
}

impl PortShape {
    /// The shape without any batch dimension.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Fixed(dims) | Self::Output(dims) => dims,
        }
    }
}

/// A place where reality enters a device: a named tensor that is zero on the ideal device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviationPort {
    /// Name, such as `resonance_shift_nm`.
    pub name: &'static str,
    /// Unit, such as `nm`; `1` if it has none.
    pub unit: &'static str,
    /// Shape of a full deviation.
    pub shape: PortShape,
}

/// What the electronics of a device program.
#[derive(Debug, Clone)]
pub struct Drive {
    /// The settings.
    pub setting: Tensor,
    /// The range of the converter, in the unit of the setting.
    pub range: Bounds,
    /// Which values of the range it can set.
    pub levels: Levels,
    /// The deviation port that adds to the setting.
    pub port: &'static str,
}

/// What the output of a passive device obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passivity {
    /// No bound is claimed (amplifiers, electronics).
    None,
    /// Balanced detection of powers: `|y_k| <= sum_i |x_i|` for each output of each sample.
    Incoherent,
    /// Fields: `sum_k |y_k|^2 <= sum_i |x_i|^2` for each sample.
    Coherent,
}

/// A physical layer: a differentiable function of its input, its controls and its deviations.
///
/// The layer holds no settings and no randomness, so "ideal", "this chip", "another chip" and
/// "this chip at +1 K" are calls of one function. Check a new device with
/// `pnn_core::testing::conformance` (feature `testing`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a device",
    note = "implement `PhysicalLayer`: controls, ports, init and forward"
)]
pub trait PhysicalLayer: Send + Sync {
    /// What can be set, with units and bounds.
    fn controls(&self) -> &ControlSpec;

    /// Where deviations enter.
    fn ports(&self) -> &[DeviationPort];

    /// Settings to start training from.
    ///
    /// # Errors
    /// If the settings cannot be drawn.
    fn init(&self, seed: &Seed, dtype: crate::DType) -> Result<Controls>;

    /// The device's output for a batch of inputs. Zero deviations must give the ideal device's
    /// bits.
    ///
    /// # Errors
    /// If shapes do not match or a deviation names no port of this device.
    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor>;

    /// The weights that the controls program, or `None` if the device is no weight bank.
    ///
    /// # Errors
    /// If controls or deviations do not fit.
    fn weights(&self, _controls: &Controls, _deviations: &Deviations) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// As [`Self::forward`], to the same bits, with the device's [`weights`](Self::weights) computed before: what many batches on one chip
    /// share. `None` if the output is not made of inputs and weights alone.
    ///
    /// # Errors
    /// As [`Self::forward`].
    fn forward_with(
        &self,
        _x: &Tensor,
        _weights: &Tensor,
        _deviations: &Deviations,
    ) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// `dw/dx`, differentiable: how strongly each weight answers to a change of its physical
    /// setting (optical pruning flattens it). `None` if the device has no such measure.
    ///
    /// # Errors
    /// If the controls do not fit.
    fn sensitivity(&self, _controls: &Controls) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The physical settings that the electronics program (detunings, currents, phases), each
    /// with the range of the converter and the port at which an error of the setting enters.
    /// None if the device has no converter to speak of.
    ///
    /// # Errors
    /// If the controls do not fit.
    fn drives(&self, _controls: &Controls) -> Result<Vec<Drive>> {
        Ok(Vec::new())
    }

    /// The field that its detectors read, if there is one: what methods need that correct the
    /// model of a device before its detectors.
    fn field_output(&self) -> Option<&dyn FieldOutput> {
        None
    }

    /// What its output obeys.
    fn passivity(&self) -> Passivity {
        Passivity::None
    }
}

/// A device whose detectors read one optical field, of which its model knows the phases too.
pub trait FieldOutput {
    /// Number of ports at which the field is read.
    fn field_ports(&self) -> usize;

    /// The field before the detectors, as the model has it.
    ///
    /// # Shapes
    /// Input as [`PhysicalLayer::forward`], result (batch, 2, ports): real and imaginary parts.
    ///
    /// # Errors
    /// As [`PhysicalLayer::forward`].
    fn field(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor>;

    /// What the detectors make of a field: `detect(field(x, ..))` has the bits of the device's
    /// output.
    ///
    /// # Errors
    /// If the field is not (batch, 2, ports).
    fn detect(&self, field: &Tensor) -> Result<Tensor>;

    /// The field with the amplitudes that were measured and the phases of `field` (state fusion, Zheng
    /// et al., Nat. Mach. Intell. 5, 1119, 2023). Where detectors hide how strong the light is,
    /// the power of each sample is that of `field`. No gradient passes.
    ///
    /// # Shapes
    /// `field` (batch, 2, ports), `measured` as the device's output, result as `field`.
    ///
    /// # Errors
    /// If the shapes do not match.
    fn fuse(&self, field: &Tensor, measured: &Tensor) -> Result<Tensor>;
}

/// A device that can only be measured: an instrument in the lab, or its digital twin.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be measured",
    note = "implement `Hardware::measure`: program the controls, send the batch, return the output"
)]
pub trait Hardware {
    /// Programs the controls, sends a batch through and returns what the detectors read. No
    /// gradient passes.
    ///
    /// # Shapes
    /// Those of the device's [`PhysicalLayer::forward`] and [`PhysicalLayer::controls`]; controls come by name.
    ///
    /// # Errors
    /// If the instrument fails or the shapes do not match.
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> Result<Tensor>;
}

/// A simulated specimen of a device, seen only through measurements.
pub struct Twin {
    device: Arc<dyn PhysicalLayer>,
    deviations: Deviations,
}

impl Twin {
    /// A specimen of `device` with these deviations.
    ///
    /// # Errors
    /// If the deviations do not fit the device.
    pub fn new(device: Arc<dyn PhysicalLayer>, deviations: Deviations) -> Result<Self> {
        deviations.check(device.ports())?;
        Ok(Self { device, deviations })
    }
}

impl Hardware for Twin {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> Result<Tensor> {
        Ok(self.device.forward(&x.detach(), &controls.detach(), &self.deviations)?.detach())
    }
}
