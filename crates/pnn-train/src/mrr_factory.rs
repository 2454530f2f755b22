//! Layers of microrings.

use std::sync::Arc;

use pnn_core::PhysicalLayer;
use pnn_core::layers::Product;
use pnn_devices::mrr::{Heater, Lorentzian, MrrBank, Parametrisation};

use crate::lenet::LayerFactory;
use crate::recipe::Trained;

/// Makes every layer a bank of the paper's microrings.
#[derive(Debug, Clone, Copy)]
pub struct MrrFactory(pub Trained);

impl LayerFactory for MrrFactory {
    fn layer(&self, _: &str, product: Product) -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
        let parametrisation = match self.0 {
            Trained::Weights => Parametrisation::Weight,
            Trained::Detunings => Parametrisation::Detuning,
            Trained::Currents => Parametrisation::Current(Heater::Convention),
            Trained::Heaters | Trained::Phases | Trained::Modulators | Trained::Masks => {
                return Err(pnn_core::Error::Unsupported {
                    device: "a microring bank".into(),
                    capability: format!("training {:?}", self.0).to_lowercase(),
                });
            }
        };
        match MrrBank::new(product, Lorentzian::default(), parametrisation) {
            Ok(bank) => Ok(Arc::new(bank)),
            Err(pnn_devices::Error::Core(error)) => Err(error),
            Err(error) => Err(pnn_core::Error::Unsupported {
                device: "microring bank".into(),
                capability: error.to_string(),
            }),
        }
    }
}
