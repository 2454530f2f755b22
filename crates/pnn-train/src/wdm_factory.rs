//! Layers of physical rings on shared waveguides.

use std::sync::Arc;

use pnn_core::PhysicalLayer;
use pnn_core::layers::Product;
use pnn_devices::mrr::Ring;
use pnn_devices::mrr::wdm::{ThermalCrosstalk, WdmBank, WdmConfig};
use serde::{Deserialize, Serialize};

use crate::lenet::LayerFactory;

/// The chip whose heaters are trained: every layer is a [`WdmBank`] of these rings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingChip {
    /// Rings, lasers and heaters.
    pub bank: WdmConfig,
    /// The part of a heater's heat that the rings next to it get, as far as training knows, in [0, 1).
    pub crosstalk: f64,
    /// What each further ring gets of that of the one before, in [0, 1).
    pub crosstalk_decay: f64,
}

impl Default for RingChip {
    /// The rings of Xu et al. (2026), 5 % of whose heat reaches the next and half as much each further one.
    fn default() -> Self {
        Self { bank: WdmConfig::default(), crosstalk: 0.05, crosstalk_decay: 0.5 }
    }
}

impl RingChip {
    /// The bank that computes a product.
    ///
    /// # Errors
    /// If a constant is out of range.
    pub fn bank(&self, product: Product) -> pnn_devices::Result<WdmBank> {
        let rings = self.bank.channels;
        let crosstalk = ThermalCrosstalk::by_distance(rings, self.crosstalk, self.crosstalk_decay)?;
        WdmBank::new(product, self.bank, crosstalk)
    }

    /// Half the width of a ring's resonance at half depth, in nm.
    ///
    /// # Errors
    /// If a constant of the ring is out of range.
    pub fn half_width_nm(&self) -> pnn_devices::Result<f64> {
        Ok(0.5 * Ring::new(self.bank.ring)?.full_width_nm())
    }
}

impl LayerFactory for RingChip {
    fn layer(&self, _: &str, product: Product) -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
        Ok(Arc::new(self.bank(product)?))
    }
}
