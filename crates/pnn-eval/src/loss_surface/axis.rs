//! Which deviations of a chip are varied.

use pnn_core::model::{Model, Truth};
use pnn_core::{
    Bounds, Chip, Controls, DType, DeviationPort, Deviations, Parameter, PhysicalLayer, PortShape,
    Tensor, Var,
};

use crate::sweep::find_port;
use crate::{Error, Result};

/// Deviations that are varied: those of one port of some layers.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviationAxis {
    /// The deviation port, such as `resonance_shift_nm`.
    pub port: String,
    /// The physical layers that have it and are displaced.
    pub layers: Vec<String>,
    /// How much deviation a step of 1 is, in the port's unit: a standard deviation of what is expected, so
    /// that curvature is that per squared standard deviation and different ports can be compared.
    pub unit: f64,
    /// Which entries move together.
    pub spread: Spread,
}

/// Which entries of a port move together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Every entry of every layer by itself, as fabrication errors do. A parameter `layer.port` for each layer, of
    /// the port's shape; a port of outputs has a leading dimension of 1 (the same offset in each shot).
    Each,
    /// All entries of all layers by one value, as under a common drift. One parameter of a single value, named
    /// `layer+layer.port (shared)`.
    Shared,
}

impl DeviationAxis {
    /// Adds the axis' parameters, which are 0, and where they act.
    pub(super) fn place(
        &self,
        model: &dyn Model,
        displaced: &mut Vec<Displacement>,
        parameters: &mut Vec<Parameter>,
    ) -> Result<()> {
        let Self { port, unit, .. } = self;
        if !(*unit > 0.0 && unit.is_finite()) {
            let what = format!("the unit of deviations at port {port}");
            return Err(
                pnn_core::Error::Range { what, value: *unit, allowed: "(0, infinity)" }.into()
            );
        }
        if self.layers.is_empty() {
            let what = "an axis of deviations (layers)";
            return Err(Error::TooFew { what, got: 0, needed: 1 });
        }
        let mut add = |name: String, shape: &[usize]| -> Result<Var> {
            let var = Var::new(&Tensor::zeros(shape, DType::F64)?);
            parameters.push(Parameter { name, var: var.clone(), bounds: Bounds::UNBOUNDED });
            Ok(var)
        };
        let shared = match self.spread {
            Spread::Shared => Some(add(format!("{}.{port} (shared)", self.layers.join("+")), &[])?),
            Spread::Each => None,
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let found = find_port(model, port, &self.layers[..index], layer)?;
            let var = match &shared {
                Some(var) => var.clone(),
                None => add(format!("{layer}.{port}"), &shape(&found))?,
            };
            let (layer, port) = (layer.clone(), port.clone());
            displaced.push(Displacement { layer, port, unit: *unit, var });
        }
        Ok(())
    }
}

/// The shape of a deviation that is the same in every shot.
fn shape(port: &DeviationPort) -> Vec<usize> {
    match &port.shape {
        PortShape::Fixed(dims) => dims.clone(),
        PortShape::Output(dims) => [&[1], dims.as_slice()].concat(),
    }
}

/// A parameter at a port of a layer.
pub(super) struct Displacement {
    pub(super) layer: String,
    pub(super) port: String,
    pub(super) unit: f64,
    pub(super) var: Var,
}

/// The model on a chip, with settings that are constants: gradients in them, which nobody wants here, would cost a
/// third of a pass.
pub(super) struct Constant<'a>(pub(super) &'a Chip);

impl Truth for Constant<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> pnn_core::Result<Tensor> {
        let none = Deviations::none();
        device.forward(x, &controls.detach(), self.0.layer(name).unwrap_or(&none))
    }
}
