//! Weight banks: layers whose weights are ring transmissions.

use pnn_core::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, Levels, Passivity,
    PhysicalLayer, PortShape,
};
use pnn_core::layers::{Product, uniform_fan_in};
use pnn_core::ops::{self, ConvGeometry, map};
use pnn_core::{DType, Seed, Tensor};

use super::heater::Heater;
use super::transfer::{Inverse, Lorentzian, Slope, TransferFunction, Weight};
use crate::Result;

/// Deviation port: shift in nm, added to the detuning (outputs, inputs, ...). Fabrication spread,
/// ambient drift and DAC rounding enter here.
///
/// The sign is that of the published code: the detuning is the distance of resonance and laser on
/// the branch that training uses, and warming adds to it. In the figures' convention `x = 4 - I` a
/// heater's current takes away from it instead. On one physical ring both move the resonance to the
/// red, so with banks set by current read "warming" as the side of the laser on which that branch
/// lies, or give the drift the other sign.
pub const RESONANCE_SHIFT_NM: &str = "resonance_shift_nm";
/// Deviation port of banks that are set by currents: error of the current in mA.
pub const CURRENT_ERROR_MA: &str = "current_error_ma";
/// Deviation port: error of the weights themselves (outputs, inputs, ...).
pub const WEIGHT_ERROR: &str = "weight_error";
/// Deviation port: offset of the detected outputs, in their unit (outputs, ...), per shot if it has the
/// batch in front.
pub const READOUT_ERROR: &str = "readout_error";

/// The detunings that a heater reaches between no current and 8 mA, in the convention of the
/// figures of Xu et al. (2026).
const TUNING_RANGE_NM: Bounds = Bounds { low: -4.0, high: 4.0 };

/// What the trainable control of a bank is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Parametrisation {
    /// The detunings themselves (control `detuning`, nm): training meets the ring's transfer
    /// function, and sees how sharply each weight answers to a shift.
    Detuning,
    /// The currents through the heaters (control `current`, mA).
    Current(Heater),
    /// The weights (control `weight`), programmed afterwards through the inverse transfer
    /// function: what training in a framework without device models gives.
    Weight,
}

/// A bank of microrings: `y = W x` with `W` the rings' weights, programmed by detuning.
///
/// `W = w(x + resonance_shift) + weight_error`, `y = W * input + readout_error`, with the
/// transfer function `w`, and `*` a matrix product ([`MrrLinear`]) or a convolution
/// ([`MrrConv2d`]). Inputs are optical powers with balanced detection, so `|y_k| <= sum |x_i|`.
///
/// # Shapes
/// As [`Product`].
///
/// # Errors
/// `forward` fails if input, controls or deviations have other shapes.
#[derive(Debug, Clone)]
pub struct MrrBank<F = Lorentzian> {
    product: Product,
    transfer: F,
    parametrisation: Parametrisation,
    controls: [Control; 1],
    ports: Vec<DeviationPort>,
}

/// A weight bank as a matrix, (batch, inputs) to (batch, outputs).
#[derive(Debug, Clone, Copy)]
pub struct MrrLinear;

/// A weight bank as a convolution kernel, (batch, channels, height, width) to
/// (batch, outputs, ...): every position of the kernel uses the same rings, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct MrrConv2d;

impl MrrLinear {
    /// A bank of `outputs` x `inputs` Lorentzian rings with trainable detunings.
    #[must_use]
    #[allow(clippy::new_ret_no_self)] // both names are constructors of the one bank type
    pub fn new(inputs: usize, outputs: usize) -> MrrBank {
        MrrBank::ideal_lorentzian(Product::Linear { inputs, outputs })
    }

    /// A bank with rings of any transfer function, and any parametrisation.
    ///
    /// # Errors
    /// If the heater's constants are out of range.
    pub fn with<F: TransferFunction>(
        inputs: usize,
        outputs: usize,
        transfer: F,
        parametrisation: Parametrisation,
    ) -> Result<MrrBank<F>> {
        MrrBank::new(Product::Linear { inputs, outputs }, transfer, parametrisation)
    }
}

impl MrrConv2d {
    /// A bank of `outputs` x `channels` x `kernel` x `kernel` Lorentzian rings with trainable
    /// detunings.
    #[must_use]
    #[allow(clippy::new_ret_no_self)] // both names are constructors of the one bank type
    pub fn new(channels: usize, outputs: usize, kernel: usize, geometry: ConvGeometry) -> MrrBank {
        MrrBank::ideal_lorentzian(Product::Conv2d { channels, outputs, kernel, geometry })
    }

    /// A bank with rings of any transfer function, and any parametrisation.
    ///
    /// # Errors
    /// If the heater's constants are out of range.
    pub fn with<F: TransferFunction>(
        (channels, outputs, kernel): (usize, usize, usize),
        geometry: ConvGeometry,
        transfer: F,
        parametrisation: Parametrisation,
    ) -> Result<MrrBank<F>> {
        let product = Product::Conv2d { channels, outputs, kernel, geometry };
        MrrBank::new(product, transfer, parametrisation)
    }
}

impl MrrBank {
    fn ideal_lorentzian(product: Product) -> Self {
        let transfer = Lorentzian::default();
        Self::build(product, transfer, Parametrisation::Detuning)
    }
}

impl<F: TransferFunction> MrrBank<F> {
    /// A bank for a product, with any transfer function and parametrisation.
    ///
    /// # Errors
    /// If the heater's constants are out of range.
    pub fn new(product: Product, transfer: F, parametrisation: Parametrisation) -> Result<Self> {
        if let Parametrisation::Current(heater) = parametrisation {
            heater.check()?;
        }
        Ok(Self::build(product, transfer, parametrisation))
    }

    fn build(product: Product, transfer: F, parametrisation: Parametrisation) -> Self {
        let shape = product.weight_shape();
        let known = transfer.detuning_range();
        let range = known.unwrap_or(TUNING_RANGE_NM);
        let (name, unit, (low, high)) = match parametrisation {
            Parametrisation::Detuning => ("detuning", "nm", (range.low, range.high)),
            // More current is less detuning.
            Parametrisation::Current(heater) => {
                let ends = known.map(|known| {
                    (heater.nearest_milliamp(known.high), heater.nearest_milliamp(known.low))
                });
                ("current", "mA", ends.unwrap_or((0.0, heater.max_milliamp())))
            }
            Parametrisation::Weight => ("weight", "1", transfer.weight_range()),
        };
        let bounds = Bounds { low, high };
        let port = |name, unit, shape| DeviationPort { name, unit, shape };
        let mut ports = vec![
            port(RESONANCE_SHIFT_NM, "nm", PortShape::Fixed(shape.clone())),
            port(WEIGHT_ERROR, "1", PortShape::Fixed(shape.clone())),
            port(READOUT_ERROR, "1", PortShape::Output(product.output_shape())),
        ];
        if matches!(parametrisation, Parametrisation::Current(_)) {
            ports.push(port(CURRENT_ERROR_MA, "mA", PortShape::Fixed(shape.clone())));
        }
        Self {
            controls: [Control { name, unit, bounds, shape }],
            ports,
            product,
            transfer,
            parametrisation,
        }
    }

    /// The transfer function of its rings.
    #[must_use]
    pub fn transfer(&self) -> &F {
        &self.transfer
    }

    /// The detunings in nm that the controls program, before any shift of the resonances.
    ///
    /// # Errors
    /// If the control is missing or has another shape.
    pub fn detunings(&self, controls: &Controls) -> Result<Tensor> {
        self.detunings_with(controls, &Deviations::none())
    }

    fn detunings_with(&self, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let setting = self.setting(controls)?;
        Ok(match self.parametrisation {
            Parametrisation::Detuning => setting.clone(),
            Parametrisation::Current(heater) => {
                map(&deviations.shift(CURRENT_ERROR_MA, setting)?, heater)?
            }
            Parametrisation::Weight => map(setting, Inverse(self.transfer.clone()))?,
        })
    }

    /// The control, if it has the right shape.
    fn setting<'a>(&self, controls: &'a Controls) -> Result<&'a Tensor> {
        Ok(controls.of(&self.controls[0])?)
    }

    /// The weights of the bank, deviations included.
    fn programmed(&self, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let weights = if self.parametrisation == Parametrisation::Weight
            && !deviations.is_active(RESONANCE_SHIFT_NM)?
        {
            // An ideal ring gives exactly the weight that it was programmed to.
            self.setting(controls)?.clone()
        } else {
            let shifted = deviations
                .shift(RESONANCE_SHIFT_NM, &self.detunings_with(controls, deviations)?)?;
            map(&shifted, Weight(self.transfer.clone()))?
        };
        Ok(deviations.shift(WEIGHT_ERROR, &weights)?)
    }

    fn output(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(&self.ports)?;
        Ok(read_out(&self.product, x, &self.programmed(controls, deviations)?, deviations)?)
    }
}

/// What detectors behind a bank of these weights read.
pub(super) fn read_out(
    product: &Product,
    x: &Tensor,
    weights: &Tensor,
    deviations: &Deviations,
) -> pnn_core::Result<Tensor> {
    deviations.shift(READOUT_ERROR, &product.apply(x, weights)?)
}

impl<F: TransferFunction> PhysicalLayer for MrrBank<F> {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// The usual initialisation of the weights (uniform in `+-1/sqrt(fan_in)`), whatever the
    /// parametrisation, turned into settings that give these weights, or come closest to them
    /// inside the bounds (with a single input, weights near 1 lie beyond the tuning range).
    fn init(&self, seed: &Seed, dtype: DType) -> pnn_core::Result<Controls> {
        let (shape, fan_in) = (self.product.weight_shape(), self.product.fan_in());
        let weights = uniform_fan_in(&seed.child("weight"), &shape, fan_in, DType::F64)?;
        let (low, high) = self.transfer.weight_range();
        let weights = weights.clamp(low, high)?;
        let setting = match self.parametrisation {
            Parametrisation::Weight => weights,
            Parametrisation::Detuning => map(&weights, Inverse(self.transfer.clone()))?
                .clamp(self.controls[0].bounds.low, self.controls[0].bounds.high)?,
            Parametrisation::Current(heater) => {
                let detunings = map(&weights, Inverse(self.transfer.clone()))?;
                let values = detunings.flatten_all()?.to_vec1::<f64>()?;
                let Bounds { low, high } = self.controls[0].bounds;
                let nearest = |x| heater.nearest_milliamp(x).max(low).min(high);
                let currents: Vec<f64> = values.into_iter().map(nearest).collect();
                Tensor::from_vec(currents, shape)?
            }
        };
        let name = self.controls[0].name.to_owned();
        Ok([(name, setting.to_dtype(dtype)?)].into_iter().collect())
    }

    fn forward(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        Ok(self.output(x, controls, deviations)?)
    }

    fn forward_with(
        &self,
        x: &Tensor,
        weights: &Tensor,
        deviations: &Deviations,
    ) -> pnn_core::Result<Option<Tensor>> {
        read_out(&self.product, x, weights, deviations).map(Some)
    }

    fn weights(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Option<Tensor>> {
        deviations.check(&self.ports)?;
        Ok(Some(self.programmed(controls, deviations)?))
    }

    /// `dw/dx` in 1/nm at the programmed detunings.
    fn sensitivity(&self, controls: &Controls) -> pnn_core::Result<Option<Tensor>> {
        let detunings = self.detunings(controls)?;
        Ok(Some(ops::map(&detunings, Slope(self.transfer.clone()))?))
    }

    fn drives(&self, controls: &Controls) -> pnn_core::Result<Vec<Drive>> {
        Ok(vec![match self.parametrisation {
            Parametrisation::Current(_) => Drive {
                setting: self.setting(controls)?.clone(),
                range: self.controls[0].bounds,
                levels: Levels::Even,
                port: CURRENT_ERROR_MA,
            },
            Parametrisation::Detuning | Parametrisation::Weight => Drive {
                setting: self.detunings(controls)?,
                range: self.transfer.detuning_range().unwrap_or(TUNING_RANGE_NM),
                levels: Levels::Even,
                port: RESONANCE_SHIFT_NM,
            },
        }])
    }

    fn passivity(&self) -> Passivity {
        Passivity::Incoherent
    }
}
