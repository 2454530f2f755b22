//! The one chip that in-situ methods have in their loop, and on which all are compared.

use std::path::Path;
use std::sync::Arc;

use pnn_core::model::Physical;
use pnn_core::{Chip, DType, Seed, Tensor, store};
use pnn_devices::mzi::{LEFT_SPLITTER_ERROR, PHI_ERROR_RAD, RIGHT_SPLITTER_ERROR, THETA_ERROR_RAD};
use pnn_noise::NoiseModel;
use pnn_train::MziLeNet5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A fabricated mesh, and where it comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixedChip {
    pub(crate) chip: Chip,
    /// For reports and fingerprints; empty for the ideal chip.
    pub(crate) name: String,
}

/// The statistics of the fixed chip of a profile.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChipRecipe {
    /// What it is drawn from.
    pub(crate) noise: NoiseModel,
    /// Which of all chips it is.
    pub(crate) seed: u64,
}

/// The first digits of a file's SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl FixedChip {
    /// The published chip if there is a reference, else one drawn with the same statistics.
    pub(crate) fn new(recipe: Option<&ChipRecipe>, reference: Option<&Path>) -> Result<Self> {
        let file = reference.map(|folder| folder.join("mzi/fabrication-errors.safetensors"));
        match (file, recipe) {
            (Some(file), Some(_)) => {
                let bytes = std::fs::read(&file)
                    .map_err(|source| Error::Io { path: file.clone(), source })?;
                let name = format!("the published chip ({})", digest(&bytes));
                Ok(Self { chip: Self::load(&file)?, name })
            }
            (None, Some(recipe)) => {
                let device = Arc::new(MziLeNet5::published_mesh()?);
                let seed = Seed::new(recipe.seed).child("fixed chip");
                let layer = Physical::new(MziLeNet5::MESH, device, None, &seed, DType::F32)?;
                let noise = serde_json::to_string(&recipe.noise);
                let noise = noise.map_err(|e| Error::Usage(e.to_string()))?.replace('"', "");
                let name = format!("drawn from seed {} and {noise}", recipe.seed);
                Ok(Self { chip: recipe.noise.draw(&[&layer], 1, &seed)?, name })
            }
            (_, None) => Ok(Self::default()),
        }
    }

    /// Fabrication errors of a mesh: `theta_error`, `phi_error`, `splitter_left` and
    /// `splitter_right`, each (columns, ports / 2).
    pub(crate) fn load(path: &Path) -> Result<Chip> {
        let (tensors, _) = store::load(path)?;
        let mesh = MziLeNet5::published_mesh()?;
        let mut chip = Chip::ideal();
        for (name, port) in [
            ("theta_error", THETA_ERROR_RAD),
            ("phi_error", PHI_ERROR_RAD),
            ("splitter_left", LEFT_SPLITTER_ERROR),
            ("splitter_right", RIGHT_SPLITTER_ERROR),
        ] {
            let missing =
                || Error::File { path: path.to_owned(), reason: format!("no tensor {name:?}") };
            let grid: &Tensor = tensors.get(name).ok_or_else(missing)?;
            let errors = mesh.gather(&grid.to_dtype(DType::F64)?)?;
            chip.layer_mut(MziLeNet5::MESH).add(port, &errors)?;
        }
        Ok(chip)
    }
}

#[cfg(test)]
mod tests {
    use pnn_noise::Source;

    use super::*;

    fn recipe() -> ChipRecipe {
        let noise = NoiseModel::all_layers(Source::Phase { std_rad: 0.1 }).unwrap();
        ChipRecipe { noise, seed: 3 }
    }

    #[test]
    fn a_chip_is_drawn_named_and_drawn_alike_again() {
        let chip = FixedChip::new(Some(&recipe()), None).unwrap();
        assert!(chip.name.contains("seed 3") && chip.name.contains("std_rad:0.1"), "{}", chip.name);
        let theta = chip.chip.layer(MziLeNet5::MESH).unwrap().get(THETA_ERROR_RAD).unwrap();
        assert_eq!(theta.dims(), [64 * 63 / 2]);
        let read = |chip: &FixedChip| {
            let theta = chip.chip.layer(MziLeNet5::MESH).unwrap().get(THETA_ERROR_RAD).unwrap();
            theta.to_vec1::<f64>().unwrap()
        };
        assert_eq!(read(&FixedChip::new(Some(&recipe()), None).unwrap()), read(&chip));
        let other = FixedChip::new(Some(&ChipRecipe { seed: 4, ..recipe() }), None).unwrap();
        assert_ne!(read(&other), read(&chip));
        let none = FixedChip::new(None, None).unwrap();
        assert!(none.name.is_empty() && none.chip.iter().next().is_none());
    }

    #[test]
    fn a_chip_is_loaded_interferometer_by_interferometer_with_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mzi/fabrication-errors.safetensors");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let grid = |by: f64| {
            let values = (0..64 * 32).map(|i| by + f64::from(i)).collect::<Vec<_>>();
            Tensor::from_vec(values, (64, 32)).unwrap()
        };
        let names = ["theta_error", "phi_error", "splitter_left", "splitter_right"];
        let mut tensors: std::collections::BTreeMap<_, _> = names
            .iter()
            .zip(1..)
            .map(|(n, i)| ((*n).to_owned(), grid(1e4 * f64::from(i))))
            .collect();
        store::save(&path, &tensors, &Default::default()).unwrap();
        let chip = FixedChip::new(Some(&recipe()), Some(folder.path())).unwrap();
        assert!(chip.name.starts_with("the published chip ("), "{}", chip.name);
        let layer = chip.chip.layer(MziLeNet5::MESH).unwrap();
        let ports = [THETA_ERROR_RAD, PHI_ERROR_RAD, LEFT_SPLITTER_ERROR, RIGHT_SPLITTER_ERROR];
        for (port, i) in ports.iter().zip(1..) {
            let values = layer.get(port).unwrap().to_vec1::<f64>().unwrap();
            // Odd columns have 31 interferometers: the last place of their row is left out.
            assert_eq!(values.len(), 32 * 32 + 32 * 31, "{port}");
            assert_eq!(values[..2], [1e4 * f64::from(i), 1e4 * f64::from(i) + 1.0], "{port}");
            assert_eq!(values[63] - values[62], 2.0, "{port}");
        }
        tensors.remove("phi_error");
        store::save(&path, &tensors, &Default::default()).unwrap();
        let error = FixedChip::new(Some(&recipe()), Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("\"phi_error\"") && error.contains("fabrication-errors"), "{error}");
        let error = FixedChip::new(Some(&recipe()), Some(&folder.path().join("absent")));
        assert!(error.unwrap_err().to_string().contains("absent"));
    }
}
