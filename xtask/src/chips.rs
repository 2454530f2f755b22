//! Chips that kept networks are looked at on.

use std::path::Path;

use pnn_core::model::Model;
use pnn_core::{Chip, DType, Seed, store};
use pnn_train::StrategyRecipe;

use crate::error::{Error, Result};
use crate::networks::KeptNetwork;
use crate::reproduce::chip::FixedChip;
use crate::reproduce::config::{Catalogue, default_folder};

/// A chip from a file of its deviations.
pub(crate) fn measured_chip(model: &dyn Model, path: &Path) -> Result<Chip> {
    let (tensors, _) = store::load(path)?;
    let mut chip = Chip::ideal();
    for (name, value) in &tensors {
        let layers = model.physical_layers();
        let found = layers.iter().find_map(|layer| {
            let port = name.strip_prefix(layer.name())?.strip_prefix('.')?;
            Some((layer, layer.device().ports().iter().find(|known| known.name == port)?.name))
        });
        let Some((layer, port)) = found else {
            let ports = layers.first().map_or(&[][..], |layer| layer.device().ports());
            let ports: Vec<_> = ports.iter().map(|port| port.name).collect();
            let layers: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
            let reason = format!(
                "{name:?} is no deviation; names are LAYER.PORT, of the layers {} and the ports {}",
                layers.join(", "),
                ports.join(", ")
            );
            return Err(Error::File { path: path.to_owned(), reason });
        };
        let wide = value.to_dtype(DType::F64)?;
        if let Some(bad) = wide.elements::<f64>()?.iter().find(|value| !value.is_finite()) {
            let reason = format!("{name} holds {bad}, allowed is finite");
            return Err(Error::File { path: path.to_owned(), reason });
        }
        chip.layer_mut(layer.name()).add(port, value)?;
        if let Some(deviations) = chip.layer(layer.name()) {
            deviations.check(layer.device().ports())?;
        }
    }
    Ok(chip)
}

/// The fixed chips of the workspace's profiles: with a reference, the published one.
pub(crate) fn fixed_chips(reference: Option<&Path>) -> Result<Vec<FixedChip>> {
    let profiles = Catalogue::load(&default_folder())?.profiles;
    let chip = |profile| FixedChip::new(profile, reference);
    profiles.values().map(|profile| chip(profile.fixed_chip.as_ref())).collect()
}

/// The chip that a network is deployed on: the one in the loop of its training, which its file names or its recipe draws, else
/// the ideal one.
pub(crate) fn chip_in_loop(path: &Path, kept: &KeptNetwork, fixed: &[FixedChip]) -> Result<Chip> {
    let file = |reason: String| Error::File { path: path.to_owned(), reason };
    let entry = |name: &str| kept.metadata.get(name).map_or("", String::as_str);
    let given = fixed.iter().find(|chip| chip.name == entry("chip")).map(|found| &found.chip);
    let strategy = &kept.recipe.strategy;
    if let StrategyRecipe::Pat { hardware: None } | StrategyRecipe::Dat { hardware: None, .. } =
        strategy
        && given.is_none()
    {
        return Err(file(format!(
            "was trained on a chip that is not known here, {}: --reference DIR has the published one, --deviations FILE is any that was measured",
            entry("chip")
        )));
    }
    let seed = entry("seed")
        .parse()
        .map_err(|_| file(format!("its seed is {:?}, allowed is a whole number", entry("seed"))))?;
    let model = kept.recipe.model(&Seed::new(seed).child("model"), DType::F32)?;
    let ideal = Chip::ideal();
    Ok(kept.recipe.chip_in_loop(
        model.as_ref(),
        given.unwrap_or(&ideal),
        &Seed::new(seed).child("training"),
    )?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pnn_core::DType;

    use super::*;

    /// A network that was trained with a strategy, as its file tells it.
    fn kept(strategy: &str, train: &str, chip: &str) -> KeptNetwork {
        let recipe = format!(
            r#"{{"train": "{train}", "strategy": {strategy}, "optimizer": {{"adam": {{"rate": 0.01}}}}, "epochs": 1, "batch_size": 8}}"#
        );
        let entries = [("seed", "3"), ("chip", chip)];
        let metadata = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let recipe = serde_json::from_str(&recipe).unwrap();
        KeptNetwork { recipe, tensors: BTreeMap::new(), metadata }
    }

    fn shifts(chip: &Chip, layer: &str, port: &str) -> Vec<f64> {
        let found = chip.layer(layer).unwrap().get(port).unwrap();
        found.to_dtype(DType::F64).unwrap().elements::<f64>().unwrap().to_vec()
    }

    #[test]
    fn a_network_sits_on_the_chip_of_its_training() {
        let path = Path::new("pat.safetensors");
        let fixed = fixed_chips(None).unwrap();
        let mesh = kept(r#"{"pat": {}}"#, "phases", &fixed[0].name);
        let chip = chip_in_loop(path, &mesh, &fixed).unwrap();
        let port = "theta_error_rad";
        assert_eq!(shifts(&chip, "mesh", port), shifts(&fixed[0].chip, "mesh", port));
        let ideal = chip_in_loop(path, &kept("\"bp\"", "phases", &fixed[0].name), &fixed).unwrap();
        assert_eq!(ideal.iter().count(), 0);
    }

    #[test]
    fn a_chip_that_is_not_known_is_an_error_that_says_where_it_could_be() {
        let mesh = kept(r#"{"pat": {}}"#, "phases", "the published chip (0)");
        let path = Path::new("pat.safetensors");
        let error = chip_in_loop(path, &mesh, &fixed_chips(None).unwrap()).unwrap_err().to_string();
        for part in ["pat.safetensors", "the published chip (0)", "--reference"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
