//! Whether the parts of profiles and experiments fit together.

use std::collections::BTreeMap;

use pnn_eval::BatchNormMode;
use pnn_train::{StrategyRecipe, Trained};

use super::{Analysis, Experiment, Profile, TunedOn, View};
use crate::reproduce::data::Data;

impl View {
    /// Whether the data have the images that the view asks for.
    pub(crate) fn check(&self, data: &Data) -> Result<(), String> {
        let there = data.test.len();
        let images = self.images.map_or(there, |range| range.count);
        if let Some(range) = self.images
            && (range.count == 0 || range.first + range.count > there)
        {
            let last = range.first + range.count;
            return Err(format!(
                "images {} to {last} are asked for, there are {there}",
                range.first
            ));
        }
        match self.batch_norm {
            BatchNormMode::Batch(batch) if images % batch == 1 => Err(format!(
                "batches of {batch} leave a last one of 1 of {images} images, which has no statistics"
            )),
            BatchNormMode::Recalibrated(n) | BatchNormMode::Trimmed(n) if n > data.train.len() => {
                Err(format!("{n} calibration images are asked for, there are {}", data.train.len()))
            }
            _ => Ok(()),
        }
    }
}

impl Profile {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.seeds.is_empty() {
            return Err("seeds is empty, at least one is needed".into());
        }
        if let Some(seed) = repeated(&self.seeds) {
            return Err(format!(
                "seeds lists {seed} twice; an interval over seeds needs different ones"
            ));
        }
        for (key, method) in &self.methods {
            if (1..5).contains(&method.tune.len()) {
                let given = method.tune.len();
                return Err(format!(
                    "methods.{key}.tune has {given} settings, at least 5 are needed"
                ));
            }
            if method.seeds == Some(0) {
                return Err(format!("methods.{key}.seeds is 0, at least one is needed"));
            }
            let meshes = method.recipe.train == Trained::Phases;
            let rings = method.recipe.train.is_rings();
            if !rings && !method.tune.is_empty() && method.tuned_on == TunedOn::Drift {
                return Err(format!(
                    "methods.{key}.tuned_on: the drift of rings is nothing to tune phases or pictures on; name clean or noise"
                ));
            }
            let in_situ = matches!(
                method.recipe.strategy,
                StrategyRecipe::Pat { .. } | StrategyRecipe::Dat { .. }
            );
            if in_situ
                && !method.tune.is_empty()
                && matches!(method.tuned_on, TunedOn::Noise(_) | TunedOn::Sweep(_))
            {
                return Err(format!(
                    "methods.{key}.tuned_on: what trains in situ is deployed on the chip in its loop, which has errors; name clean"
                ));
            }
            if !meshes && matches!(method.recipe.strategy, StrategyRecipe::Dat { .. }) {
                return Err(format!(
                    "methods.{key}: dat is for train = \"phases\"; other devices show no field"
                ));
            }
            for settings in &method.tune {
                method
                    .with_settings(settings)
                    .map_err(|reason| format!("methods.{key}.tune: {reason}"))?;
            }
        }
        Ok(())
    }
}

impl Experiment {
    pub(super) fn check(&self, profiles: &BTreeMap<String, Profile>) -> Result<(), String> {
        for (name, plan) in &self.profiles {
            let Some(profile) = profiles.get(name) else {
                let known: Vec<_> = profiles.keys().map(String::as_str).collect();
                return Err(format!("no profile {name:?}; there is {}", known.join(", ")));
            };
            for method in &plan.methods {
                if !profile.methods.contains_key(method) {
                    let known: Vec<_> = profile.methods.keys().map(String::as_str).collect();
                    return Err(format!(
                        "profile {name} has no method {method:?}; there is {}",
                        known.join(", ")
                    ));
                }
            }
            let needs_views =
                !matches!(self.analysis, Analysis::Curves(_) | Analysis::Histogram(_));
            if needs_views && plan.views.is_empty() {
                return Err(format!("profiles.{name}.views is empty, at least one is needed"));
            }
            for rival in &plan.rivals {
                if !plan.methods.contains(rival) {
                    return Err(format!("profiles.{name}.rivals: {rival:?} is not in methods"));
                }
            }
            for view in &plan.views {
                let images = match view.batch_norm {
                    BatchNormMode::Running => continue,
                    BatchNormMode::Batch(images)
                    | BatchNormMode::Recalibrated(images)
                    | BatchNormMode::Trimmed(images) => images,
                };
                if images < 2 {
                    return Err(format!(
                        "profiles.{name}, view {:?}: {images} images give no statistics, at least 2 are needed",
                        view.name
                    ));
                }
            }
            if matches!(self.analysis, Analysis::Deployment(_) | Analysis::Transfer(_)) {
                if profile.fixed_chip.is_none() {
                    return Err(format!(
                        "profile {name} has no fixed_chip, which the analysis needs"
                    ));
                }
                let mesh = |m: &&String| profile.methods[*m].recipe.train == Trained::Phases;
                if let Some(other) = plan.methods.iter().find(|m| !mesh(m)) {
                    return Err(format!(
                        "profiles.{name}.methods: {other:?} trains no mesh (train = \"phases\"), the fixed chip is one"
                    ));
                }
            }
            if let Some((method, baseline)) = self.analysis.compared() {
                for method in [method, baseline] {
                    if !plan.methods.contains(method) {
                        return Err(format!(
                            "profiles.{name}.methods lacks {method:?}, which the analysis compares"
                        ));
                    }
                }
            }
            self.analysis.check_plan(plan, profile).map_err(|e| format!("profiles.{name}.{e}"))?;
        }
        let known = |method: &str| profiles.values().any(|p| p.methods.contains_key(method));
        match self.analysis.mentions().into_iter().find(|method| !known(method)) {
            Some(method) => Err(format!("no profile has a method {method:?}")),
            None => self.analysis.check(),
        }
    }
}

/// The first entry that a list has twice.
pub(super) fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    list.iter().enumerate().find(|(i, item)| list[..*i].contains(item)).map(|(_, item)| item)
}
