//! Experiments and profiles as TOML: every value is checked when it is read, with file and line.

mod ambient;
mod analysis;
mod analysis_checks;
mod checks;
mod schema;
mod settings;
mod sharpness;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub(crate) use ambient::Ambient;
pub(crate) use analysis::Analysis;
pub(super) use analysis::{
    Contest, Curves, Deployment, Drift, Gap, Histogram, Keeps, Knowledge, Misalignment,
    PaperDeployment, PaperDrift, Rung, Sensitivity, Strength, SweptAxis, Transfer,
};
pub(crate) use schema::DataChoice;
pub(super) use schema::{Experiment, ImageRange, Method, Plan, Profile, TunedOn, View};
pub(super) use sharpness::{Family, Landscape, Link, Magnitude, System};

use crate::error::{Error, Result, read_text};

/// The profile names, in the order in which they are listed.
pub(crate) const PROFILES: [&str; 3] = ["quick", "paper", "controlled"];

/// All experiments and profiles of a folder.
pub(crate) struct Catalogue {
    pub(crate) profiles: BTreeMap<String, Profile>,
    pub(crate) experiments: BTreeMap<String, Experiment>,
}

/// Where the experiments of this workspace are.
pub(crate) fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")
}

impl Catalogue {
    /// Reads `profiles/*.toml` and `*.toml` of a folder and checks them against each other.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let profiles: BTreeMap<String, Profile> = read_folder(&folder.join("profiles"))?;
        let experiments: BTreeMap<String, Experiment> = read_folder(folder)?;
        for (name, profile) in &profiles {
            let path = folder.join("profiles").join(format!("{name}.toml"));
            profile.check().map_err(|reason| Error::File { path, reason })?;
        }
        for (id, experiment) in &experiments {
            let path = folder.join(format!("{id}.toml"));
            experiment.check(&profiles).map_err(|reason| Error::File { path, reason })?;
        }
        Ok(Self { profiles, experiments })
    }
}

fn read_folder<T: DeserializeOwned>(folder: &Path) -> Result<BTreeMap<String, T>> {
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let mut read = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "toml")
            && let Some(name) = path.file_stem().and_then(|n| n.to_str())
        {
            read.insert(name.to_owned(), parse(&path, &read_text(&path)?)?);
        }
    }
    Ok(read)
}

/// Parses a TOML file; the error names file, line and what is allowed.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| Error::File { path: path.to_owned(), reason: e.to_string() })
}
