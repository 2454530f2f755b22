//! The heaters of a trained network: what they are set to, and the power they take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pnn_core::layers::Product;
use pnn_core::model::Model;
use pnn_core::{Chip, Controls, DType, Deviations, PhysicalLayer, Seed};
use pnn_devices::mrr::CURRENT_ERROR_MA;
use pnn_devices::mrr::wdm::{POWER_ERROR_MW, VOLTAGE_ERROR_V, WdmBank};
use pnn_train::{FcActivation, LeNet5, RingChip};

use crate::error::{Error, Result};

/// Products of a LeNet-5 with 28 x 28 pixels that a bank does one after the other, each in a symbol: a position of the
/// picture for the convolutions, one for each fully connected layer.
pub(crate) const SYMBOLS: f64 = (28 * 28 + 10 * 10 + 3) as f64;

/// The heaters of a network.
pub(crate) struct Heaters {
    /// What is set on each, in mA, V or mW.
    pub(crate) settings: Vec<f64>,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// Power of each, in W, layer by layer.
    pub(crate) layers: Vec<(String, Vec<f64>)>,
}

impl Heaters {
    /// `I^2 R` of all heaters of a model.
    pub(crate) fn of(model: &dyn Model, resistance_ohm: f64) -> Result<Self> {
        let mut heaters = Self { settings: Vec::new(), unit: "mA", layers: Vec::new() };
        for layer in model.physical_layers() {
            let mut powers = Vec::new();
            for drive in layer.device().drives(&layer.controls())? {
                let watt = |x: f64| match drive.port {
                    CURRENT_ERROR_MA => Some(("mA", 1e-6 * x * x * resistance_ohm)),
                    VOLTAGE_ERROR_V => Some(("V", x * x / resistance_ohm)),
                    POWER_ERROR_MW => Some(("mW", 1e-3 * x)),
                    _ => None,
                };
                let setting = drive.setting.to_dtype(DType::F64)?;
                for x in setting.elements::<f64>()? {
                    let (unit, watt) = watt(*x).ok_or_else(|| {
                        Error::Usage(format!("{} is set by no heater", layer.name()))
                    })?;
                    heaters.settings.push(*x);
                    heaters.unit = unit;
                    powers.push(watt);
                }
            }
            heaters.layers.push((layer.name().to_owned(), powers));
        }
        Ok(heaters)
    }

    /// Power of all, in W.
    pub(crate) fn watt(&self) -> f64 {
        self.layers.iter().flat_map(|(_, powers)| powers).sum()
    }
}

/// The banks of a LeNet-5 of heated rings, by layer.
pub(crate) struct Banks(BTreeMap<String, Arc<WdmBank>>);

/// What a weight may be off where heaters were set anew, of a range of 2.
pub(crate) const TOLERANCE: f64 = 1e-4;

impl Banks {
    pub(crate) fn of(chip: &RingChip) -> Result<Self> {
        let banks = Mutex::new(BTreeMap::new());
        let factory = |name: &str, product: Product| -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
            let bank = Arc::new(chip.bank(product)?);
            if let Ok(mut banks) = banks.lock() {
                banks.insert(name.to_owned(), Arc::clone(&bank));
            }
            Ok(bank)
        };
        LeNet5::new(&factory, FcActivation::Relu, &Seed::new(0), DType::F32)?;
        Ok(Self(banks.into_inner().unwrap_or_default()))
    }

    /// Heaters set anew for a chip, so that it has the weights of the model, as a lab does that has measured every ring.
    pub(crate) fn calibrated(&self, model: &dyn Model, chip: &Chip) -> Result<SetAnew> {
        let (mut set, mut unreached, mut waveguides) = (BTreeMap::new(), 0, 0);
        let mut largest_error = 0.0;
        for layer in model.physical_layers() {
            let bank = self.0.get(layer.name()).ok_or_else(|| {
                Error::Usage(format!("layer {} is no bank of heated rings", layer.name()))
            })?;
            let none = Deviations::none();
            let deviations = chip.layer(layer.name()).unwrap_or(&none);
            let own = layer.controls().detach();
            let found = bank.recalibrate(&own, deviations, TOLERANCE)?;
            unreached += found.unreached;
            waveguides += found.waveguides;
            largest_error = f64::max(largest_error, found.largest_error);
            set.insert(layer.name().to_owned(), found.controls);
        }
        Ok(SetAnew { set, unreached: unreached as f64 / waveguides as f64, largest_error })
    }
}

/// Heaters that are set anew for a chip.
pub(crate) struct SetAnew {
    /// What is set, layer by layer.
    pub(crate) set: BTreeMap<String, Controls>,
    /// The share of waveguides on which some weight is off by more than [`TOLERANCE`]: out of reach.
    pub(crate) unreached: f64,
    /// By how much a weight is off at most.
    pub(crate) largest_error: f64,
}

impl SetAnew {
    /// The chip with these settings: what is set differs from the model's by a deviation of the setting.
    pub(crate) fn on(&self, model: &dyn Model, chip: &Chip) -> Result<Chip> {
        let mut changed = chip.clone();
        for layer in model.physical_layers() {
            let Some(set) = self.set.get(layer.name()) else { continue };
            let own = layer.controls().detach();
            let device = layer.device();
            for (before, after) in device.drives(&own)?.iter().zip(&device.drives(set)?) {
                let by = (&after.setting.to_dtype(DType::F64)?
                    - &before.setting.to_dtype(DType::F64)?)?;
                changed.layer_mut(layer.name()).add(before.port, &by)?;
            }
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use pnn_devices::mrr::wdm::{Setting, WdmConfig};
    use pnn_noise::{Noise, NoiseModel, Source, Spread};

    use super::*;

    /// A ring at 4 mA takes 6 mW, whatever is set on its heater.
    #[test]
    fn heaters_take_the_power_of_their_settings() {
        for (setting, unit, on_resonance) in [
            (Setting::Current, "mA", 4.0),
            (Setting::Voltage, "V", 1.5),
            (Setting::Power, "mW", 6.0),
        ] {
            let bank = WdmConfig { setting, ..WdmConfig::default() };
            let chip = RingChip { bank, crosstalk: 0.0, ..RingChip::default() };
            let model = LeNet5::new(&chip, FcActivation::Relu, &Seed::new(0), DType::F64).unwrap();
            for layer in model.physical_layers() {
                let control = layer.device().controls()[0].name;
                let name = format!("{}.{control}", layer.name());
                let var = &model.parameters().get(&name).unwrap().var;
                var.set(&(var.value().zeros_like().unwrap() + on_resonance).unwrap()).unwrap();
            }
            let heaters = Heaters::of(&model, chip.bank.resistance_ohm).unwrap();
            assert_eq!((heaters.settings.len(), heaters.unit), (61_470, unit));
            let watt = heaters.watt();
            assert!((watt / 61_470.0 - 6e-3).abs() < 1e-9, "{unit}: {watt}");
            assert_eq!(heaters.layers[0].1.len(), 150);
        }
    }

    /// A chip with a spread and crosstalk, its heaters set anew, has the weights of the model but where they are out of reach.
    #[test]
    fn calibrated_chips_have_the_weights_of_the_model() {
        let chip = RingChip::default();
        let model = LeNet5::new(&chip, FcActivation::Relu, &Seed::new(0), DType::F64).unwrap();
        let sources = [
            Source::Fabrication { std_nm: 0.04 },
            Source::Crosstalk { spread: Spread::Fixed(0.01) },
        ];
        let noise = sources.map(|source| Noise { source, layers: None }).to_vec();
        let noise = NoiseModel::new(noise).unwrap();
        let drawn = noise.draw(&model.physical_layers(), 1, &Seed::new(1)).unwrap();
        let banks = Banks::of(&chip).unwrap();
        let anew = banks.calibrated(&model, &drawn).unwrap();
        assert!(anew.unreached < 0.05, "{}", anew.unreached);
        assert!(anew.largest_error > 0.0 && anew.largest_error < 0.5, "{}", anew.largest_error);
        let calibrated = anew.on(&model, &drawn).unwrap();
        for layer in model.physical_layers() {
            let weights = |chip: &Chip| -> Vec<f64> {
                let none = Deviations::none();
                let deviations = chip.layer(layer.name()).unwrap_or(&none);
                let weights =
                    layer.device().weights(&layer.controls(), deviations).unwrap().unwrap();
                weights.elements::<f64>().unwrap().to_vec()
            };
            let off = |chip: &Chip, by: f64| {
                let (ideal, got) = (weights(&Chip::ideal()), weights(chip));
                let count = ideal.iter().zip(&got).filter(|(a, b)| (*a - *b).abs() > by).count();
                count as f64 / ideal.len() as f64
            };
            assert!(off(&drawn, 0.05) > 0.5, "{}", layer.name());
            assert!(off(&calibrated, 0.001) < 0.05, "{}", layer.name());
        }
    }
}
