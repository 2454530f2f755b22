//! The one chip that in-situ methods have in their loop, and on which all are compared.

use std::path::Path;
use std::sync::Arc;

use pnn_core::model::Physical;
use pnn_core::{Chip, DType, Seed, Tensor, store};
use pnn_devices::mzi::{
    LEFT_SPLITTER_ERROR, MziMesh, PHI_ERROR_RAD, RIGHT_SPLITTER_ERROR, THETA_ERROR_RAD,
};
use pnn_noise::NoiseModel;
use pnn_train::MziLeNet5;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Ports of the mesh.
const PORTS: usize = 64;

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

/// The mesh of the networks.
pub(crate) fn mesh() -> Result<MziMesh> {
    Ok(MziMesh::published(PORTS)?)
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
                let device = Arc::new(mesh()?);
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
        let mesh = mesh()?;
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
