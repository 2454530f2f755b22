//! Hardware in the loop with a corrected model behind it.

use std::collections::{BTreeMap, BTreeSet};

use pnn_core::layers::Learning;
use pnn_core::model::{Lab, Mode, Truth, measure};
use pnn_core::ops::straight_through;
use pnn_core::{Controls, Deviations, PhysicalLayer, Result, Tensor};

use super::DualAdaptiveSettings;
use super::corrector::Corrector;

/// Values as measured, gradients of the corrected model. The error networks learn from the first
/// pass of a step; the second pass of a sharpness-aware one leaves them as they are.
pub(super) struct Corrected<'a> {
    pub(super) settings: &'a DualAdaptiveSettings,
    pub(super) correctors: &'a mut BTreeMap<String, Corrector>,
    pub(super) lab: &'a mut Lab,
    pub(super) warming_up: bool,
    /// Layers whose networks have learned in this step.
    pub(super) learned: BTreeSet<String>,
}

impl Truth for Corrected<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn PhysicalLayer,
        x: &Tensor,
        controls: &Controls,
    ) -> Result<Tensor> {
        let ideal = Deviations::none();
        let Some(hardware) = self.lab.get_mut(name) else {
            return device.forward(x, controls, &ideal);
        };
        let measured = measure(hardware.as_mut(), name, device, x, controls)?;
        let (Some(output), Some(corrector)) =
            (device.field_output(), self.correctors.get_mut(name))
        else {
            return straight_through(&device.forward(x, controls, &ideal)?, &measured);
        };
        let field = output.field(x, controls, &ideal)?;
        if self.learned.insert(name.to_owned()) {
            corrector.learn(name, output, &field, &measured, self.settings)?;
        }
        if self.warming_up {
            return straight_through(&output.detect(&field)?, &measured);
        }
        let mode = Mode::Train { update_statistics: false };
        let mut corrected = corrector.correct(&field, mode, Learning::Frozen)?;
        if self.settings.fusion {
            let fused = output.fuse(&corrected, &measured)?;
            corrected = straight_through(&corrected, &fused)?;
        }
        straight_through(&output.detect(&corrected)?, &measured)
    }

    fn measures(&self) -> bool {
        true
    }
}
