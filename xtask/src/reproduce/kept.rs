//! Networks that were trained and kept before, such as those in docs/results/weights: taken instead of trained.

use std::path::{Path, PathBuf};

use pnn_core::model::{Model, load_model_state};
use pnn_core::store;
use pnn_train::Recipe;

use super::config::{Analysis, Method};
use super::data::Data;
use crate::error::{Error, Result};
use crate::networks::KeptNetwork;

/// Kept networks of a folder.
#[derive(Default)]
pub(crate) struct Kept(Vec<Network>);

/// What a file says of its network.
struct Network {
    path: PathBuf,
    recipe: Recipe,
    seed: String,
    data: String,
    chip: String,
    trained_by: String,
}

impl Kept {
    /// What the files `*.safetensors` of a folder say of themselves.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: folder.to_owned(), source };
        let mut networks = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_none_or(|ending| ending != "safetensors") {
                continue;
            }
            let KeptNetwork { recipe, metadata, .. } = KeptNetwork::read(&path)?;
            let of = |key: &str| metadata.get(key).cloned().unwrap_or_default();
            let trained_by = match of("trained by") {
                commits if commits.is_empty() => "a commit that was not recorded".into(),
                commits => commits,
            };
            let (seed, data, chip) = (of("seed"), of("data"), of("chip"));
            networks.push(Network { path, recipe, seed, data, chip, trained_by });
        }
        networks.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self(networks))
    }

    /// The file of a method's network: called `...-KEY-seedN`, trained by the method's very recipe, on these data and this chip.
    fn find(&self, key: &str, method: &Method, seed: u64, data: &Data) -> Option<&Network> {
        let stem = format!("-{key}-seed{seed}");
        self.0.iter().find(|network| {
            network.path.file_stem().is_some_and(|s| s.to_string_lossy().ends_with(&stem))
                && network.recipe == method.recipe
                && network.seed == seed.to_string()
                && network.data == data.name
                && network.chip == method.chip_name()
        })
    }

    /// Whether a method's networks of all these seeds are there.
    pub(super) fn has(&self, key: &str, method: &Method, seeds: &[u64], data: &Data) -> bool {
        seeds.iter().all(|seed| self.find(key, method, *seed, data).is_some())
    }

    /// Loads a method's network into its model, if it is there, and says which commits trained it.
    pub(super) fn load(
        &self,
        key: &str,
        method: &Method,
        seed: u64,
        data: &Data,
        model: &dyn Model,
    ) -> Result<Option<String>> {
        let Some(network) = self.find(key, method, seed, data) else { return Ok(None) };
        load_model_state(model, &store::load(&network.path)?.0)?;
        let name = network.path.file_name().map_or_else(String::new, |n| n.display().to_string());
        Ok(Some(format!("{} ({name})", network.trained_by)))
    }
}

/// Refuses kept networks for what looks at how networks were trained, which they do not say.
pub(super) fn check(id: &str, analysis: &Analysis) -> Result<()> {
    match analysis {
        Analysis::Curves(_) | Analysis::Deployment(_) | Analysis::Family(_) => Err(Error::Usage(
            format!("--weights: {id} is about trainings, not networks alone: it needs them done"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pnn_core::model::model_state;
    use pnn_core::{DType, Seed};

    use super::super::config::{Catalogue, DataChoice, default_folder};
    use super::*;

    #[test]
    fn a_network_is_taken_only_if_its_recipe_seed_and_data_are_those_asked_for() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let method = &catalogue.profiles["quick"].methods["sat"];
        let (data, _) = Data::load(DataChoice::Digits, None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = |seed| method.recipe.model(&Seed::new(seed), DType::F32).unwrap();
        let kept = model(1);
        let recipe = serde_json::to_string(&method.recipe).unwrap();
        let metadata = [("recipe", recipe.as_str()), ("seed", "0"), ("data", &data.name)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let path = folder.path().join("quick-sat-seed0.safetensors");
        store::save(&path, &model_state(kept.as_ref()), &metadata.into()).unwrap();
        let found = Kept::read(folder.path()).unwrap();
        let fresh = model(2);
        let bias = |model: &dyn Model| model_state(model)["fc3.bias"].to_vec1::<f32>().unwrap();
        assert_ne!(bias(fresh.as_ref()), bias(kept.as_ref()));
        let said = found.load("sat", method, 0, &data, fresh.as_ref()).unwrap().unwrap();
        assert!(said.contains("quick-sat-seed0.safetensors"), "{said}");
        assert_eq!(bias(fresh.as_ref()), bias(kept.as_ref()));
        assert!(found.has("sat", method, &[0], &data) && !found.has("sat", method, &[0, 1], &data));
        assert!(!found.has("at", method, &[0], &data), "the whole key is compared");
        let other = method.with_setting("sharpness.asam.rho", 0.25).unwrap();
        assert!(!found.has("sat", &other, &[0], &data));
        let less = Data { name: "fewer digits".into(), ..data };
        assert!(!found.has("sat", method, &[0], &less));
    }

    #[test]
    fn what_looks_at_trainings_is_refused() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let checked = |id: &str| check(id, &catalogue.experiments[id].analysis);
        assert!(checked("fig2e").unwrap_err().to_string().contains("fig2e"));
        checked("sharpness-link").unwrap();
        checked("fig2j").unwrap();
    }
}
