//! Models: physical layers and electronics in sequence, run in one of several modes against a
//! source of truth.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::device::{Bounds, Chip, Controls, Deviations, Hardware, PhysicalLayer};
use crate::ops::{add_bias, straight_through};
use crate::params::{ParamSet, Parameter};
use crate::{DType, Error, Result, Seed, Tensor, Var};

/// How layers with more than one behaviour act. There is no default: every call says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch-norm uses the batch's statistics and, if asked, moves its running ones. The second
    /// pass of a sharpness-aware step leaves them alone.
    Train {
        /// Whether running statistics move.
        update_statistics: bool,
    },
    /// Batch-norm uses the running statistics: what a deployed chip has.
    Eval,
    /// Batch-norm uses the batch's statistics, and its running ones become the plain average over
    /// the calibration batches so far.
    Calibrate {
        /// How many calibration batches came before this one.
        seen: usize,
    },
}

/// Counts of what was done, in passes of a batch through the whole model; one of a part of a batch
/// (as in ESAM) counts as one.
#[derive(Debug, Default)]
pub struct Counters {
    forward: Cell<u64>,
    backward: Cell<u64>,
    measured: Cell<u64>,
}

/// A reading of [`Counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Forward passes through the model.
    pub forward: u64,
    /// Backward passes through the model.
    pub backward: u64,
    /// Passes in which hardware was measured.
    pub measured: u64,
}

impl Counters {
    /// Counters that start from an earlier reading.
    #[must_use]
    pub fn starting_at(counts: Counts) -> Self {
        Self {
            forward: Cell::new(counts.forward),
            backward: Cell::new(counts.backward),
            measured: Cell::new(counts.measured),
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            forward: self.forward.get(),
            backward: self.backward.get(),
            measured: self.measured.get(),
        }
    }

    /// Counts one backward pass.
    pub fn count_backward(&self) {
        self.backward.set(self.backward.get() + 1);
    }
}

/// Where the output of a physical layer comes from: its model, with a chip's deviations, or
/// hardware.
pub trait Truth {
    /// The output of the layer called `name` for the input `x`.
    ///
    /// # Errors
    /// If the layer or the instrument fails.
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> Result<Tensor>;

    /// Whether running a model measures hardware.
    fn measures(&self) -> bool {
        false
    }
}

/// The model, with the deviations of a chip; [`Chip::ideal`] for none.
#[derive(Debug)]
pub struct InSilico<'a>(pub &'a Chip);

impl Truth for InSilico<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> Result<Tensor> {
        match self.0.layer(name) {
            Some(deviations) => device.forward(x, controls, deviations),
            None => device.forward(x, controls, &Deviations::none()),
        }
    }
}

/// Instruments by the name of the layer that they realise.
pub type Lab = BTreeMap<String, Box<dyn Hardware>>;

/// What the instrument that realises the layer called `layer` reads. Settings beyond the bounds of their
/// control, where the ascent of a sharpness-aware step may lie, are programmed at the bound.
///
/// # Errors
/// If the instrument fails or a reading is not finite.
pub fn measure(
    hardware: &mut dyn Hardware,
    layer: &str,
    device: &dyn PhysicalLayer,
    x: &Tensor,
    controls: &Controls,
) -> Result<Tensor> {
    let bounded = device.controls().iter().map(|control| {
        let setting = controls.get(control.name)?.detach();
        let Bounds { low, high } = control.bounds;
        let bounded = control.bounds.is_bounded();
        let setting = if bounded { setting.clamp(low, high)? } else { setting };
        Ok((control.name.to_owned(), setting))
    });
    let measured = hardware.measure(&x.detach(), &bounded.collect::<Result<_>>()?)?;
    if measured.all_finite()? {
        return Ok(measured);
    }
    let sum = measured.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    let (what, layer) = ("the sum of what was measured".to_owned(), layer.to_owned());
    Err(Error::NotFinite { what, value: sum, layer })
}

/// Hardware in the loop: values as measured, gradients of the ideal model at the *measured* layer
/// inputs, layer by layer (physics-aware training, Wright et al., Nature 601, 549, 2022). Layers
/// without an instrument run as their ideal model.
pub struct InSitu<'a>(pub &'a mut Lab);

impl Truth for InSitu<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> Result<Tensor> {
        let model = device.forward(x, controls, &Deviations::none())?;
        match self.0.get_mut(name) {
            Some(hardware) => {
                straight_through(&model, &measure(hardware.as_mut(), name, device, x, controls)?)
            }
            None => Ok(model),
        }
    }

    fn measures(&self) -> bool {
        true
    }
}

/// One pass of a batch through a model: the mode and the source of truth.
pub struct Pass<'a> {
    /// How batch-norm acts.
    pub mode: Mode,
    truth: &'a mut dyn Truth,
}

impl<'a> Pass<'a> {
    /// Starts a pass and counts it.
    pub fn new(mode: Mode, truth: &'a mut dyn Truth, counters: &Counters) -> Self {
        counters.forward.set(counters.forward.get() + 1);
        if truth.measures() {
            counters.measured.set(counters.measured.get() + 1);
        }
        Self { mode, truth }
    }
}

/// A device in a model: its trainable controls, and an electronic bias added to what its
/// detectors read.
#[derive(Clone)]
pub struct Physical {
    name: String,
    device: Arc<dyn PhysicalLayer>,
    controls: BTreeMap<String, Var>,
    bias: Option<Var>,
}

impl Physical {
    /// Places a device in a model under a name, with controls from [`PhysicalLayer::init`] and,
    /// if given, a bias of one value for each output.
    ///
    /// # Errors
    /// If the initial settings do not match the device's control spec.
    pub fn new(
        name: impl Into<String>,
        device: Arc<dyn PhysicalLayer>,
        bias: Option<Tensor>,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let name = name.into();
        let initial = device.init(&seed.child(&name), dtype)?;
        let mut controls = BTreeMap::new();
        for control in device.controls() {
            let value = initial.get(control.name)?;
            if value.dims() != control.shape {
                let what = format!("initial {}.{}", name, control.name);
                return Err(Error::shape(&what, value, format!("{:?}", control.shape)));
            }
            controls.insert(control.name.to_owned(), Var::new(value));
        }
        let bias = bias.as_ref().map(Var::new);
        Ok(Self { name, device, controls, bias })
    }

    /// The name of the layer in its model.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn PhysicalLayer> {
        &self.device
    }

    /// The present settings, as nodes of the gradient graph.
    #[must_use]
    pub fn controls(&self) -> Controls {
        self.controls.iter().map(|(name, var)| (name.clone(), var.tensor())).collect()
    }

    /// Controls as `layer.control` with the bounds of the device, and `layer.bias`.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        let controls = self.device.controls().iter().filter_map(|control| {
            Some(Parameter {
                name: format!("{}.{}", self.name, control.name),
                var: self.controls.get(control.name)?.clone(),
                bounds: control.bounds,
            })
        });
        let bias = self.bias.iter().map(|var| Parameter {
            name: format!("{}.bias", self.name),
            var: var.clone(),
            bounds: crate::device::Bounds::UNBOUNDED,
        });
        controls.chain(bias)
    }

    /// The layer's output in a pass.
    ///
    /// # Errors
    /// If the device or the instrument fails.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let y = pass.truth.run(&self.name, self.device.as_ref(), x, &self.controls())?;
        match &self.bias {
            Some(bias) => add_bias(y, &bias.tensor()),
            None => Ok(y),
        }
    }
}

/// A network whose physical layers can be run ideally, on a simulated chip or on hardware.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    note = "implement `Model`: forward, parameters, buffers and physical_layers"
)]
pub trait Model: Send + Sync {
    /// The output (logits) for a batch.
    ///
    /// # Errors
    /// If a layer fails.
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor>;

    /// What is trained, in order of the names.
    fn parameters(&self) -> &ParamSet;

    /// What is kept but not trained (running statistics), by name.
    fn buffers(&self) -> Vec<(String, Var)>;

    /// The physical layers, in the order in which light meets them.
    fn physical_layers(&self) -> Vec<&Physical>;
}

/// Checks that a model has a physical layer of each of these names, such as those of a chip.
///
/// # Errors
/// If it has none of one of them.
pub fn check_layers<'a>(model: &dyn Model, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let layers = model.physical_layers();
    let known = || layers.iter().map(|layer| layer.name());
    match names.into_iter().find(|name| !known().any(|layer| layer == *name)) {
        Some(name) => Err(Error::unknown("physical layer", name, known())),
        None => Ok(()),
    }
}

/// Copies of all parameters and buffers by name: what a checkpoint keeps of a model.
pub fn model_state(model: &dyn Model) -> BTreeMap<String, Tensor> {
    let mut state = model.parameters().named();
    state.extend(model.buffers().into_iter().map(|(name, var)| (name, var.value())));
    state
}

/// Sets parameters and buffers from values by name.
///
/// # Errors
/// If a name is missing or a shape differs.
pub fn load_model_state(model: &dyn Model, state: &BTreeMap<String, Tensor>) -> Result<()> {
    model.parameters().load(state)?;
    let buffers = model.buffers().into_iter().map(|(name, var)| Parameter {
        name,
        var,
        bounds: crate::device::Bounds::UNBOUNDED,
    });
    ParamSet::new(buffers)?.load(state)
}
