//! Tuning: each listed setting is trained on the training images but the last, judged on those, and
//! the best is kept for the real runs. The test set is never looked at. What a tuning found is kept
//! beside the runs, so that it is done once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pnn_core::{Chip, Seed};
use pnn_eval::{BatchNormMode, Cell, Column, Evaluator, Section, Table, on_port};
use serde::{Deserialize, Serialize};

use super::config::{Method, Profile, TunedOn};
use super::data::Data;
use super::front::Deployed;
use super::kept::Kept;
use super::training::{Job, Trained, Training, fingerprint, remove, run_all};
use crate::error::{Error, Result, read_text};

/// Temperatures in K over which a setting's accuracy is averaged, with running statistics.
const KELVIN: [f64; 5] = [-2.0, -1.0, 0.0, 1.0, 2.0];
const NM_PER_KELVIN: f64 = 0.08;
const LAYERS: [&str; 2] = ["fc2", "fc3"];
/// Chips over which a setting's accuracy is averaged where these are drawn.
const CHIPS: u64 = 5;

/// What tuning a method found: the accuracy in percent of each listed setting, none where it
/// diverged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    scores: Vec<Option<f64>>,
}

impl Found {
    /// The first of the best settings; the first of all if every one diverged.
    fn best(&self) -> usize {
        let score = |i: usize| self.scores[i].unwrap_or(f64::NEG_INFINITY);
        (0..self.scores.len())
            .reduce(|best, i| if score(i) > score(best) { i } else { best })
            .unwrap_or(0)
    }
}

/// The trainings that tuning a method takes.
pub(super) fn jobs(key: &str, method: &Method) -> Result<Vec<Job>> {
    let job = |(number, settings): (usize, &BTreeMap<String, f64>)| {
        let method = method.with_settings(settings).map_err(Error::Usage)?;
        Ok(Job { key: format!("tune-{key}-{}", number + 1), method, seed: 0 })
    };
    method.tune.iter().enumerate().map(job).collect()
}

/// Replaces every tuned method of the profile by its best setting, and says how that was found.
pub(super) fn tune(
    profile: &mut Profile,
    wanted: &[String],
    data: &Data,
    out: &Path,
    resume: bool,
    kept: &Kept,
) -> Result<Option<Section>> {
    let wanted: Vec<&String> =
        wanted.iter().filter(|key| !profile.methods[*key].tune.is_empty()).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let tuning = data.for_tuning()?;
    let mut table = Table::new(
        "Mean accuracy of each listed setting over the tuning images, seed 0, running statistics; drift is at -2, -1, 0, 1 and 2 K, drawn chips are five",
        vec![
            Column::text("method"),
            Column::text("tuned on"),
            Column::text("setting"),
            Column::percent("accuracy", 2),
            Column::text("chosen"),
        ],
    )?;
    for key in wanted {
        let method = profile.methods[key].clone();
        let seeds = profile.seeds_of(key).to_vec();
        if let Some((settings, chosen)) = kept_setting(key, &method, &seeds, data, kept)? {
            table.push(vec![
                Cell::Text(method.label.clone()),
                Cell::Text(method.tuned_on.words()),
                Cell::Text(words(settings)),
                Cell::Text("kept".into()),
                Cell::Text("yes".into()),
            ])?;
            profile.methods.insert(key.clone(), chosen);
            continue;
        }
        let found = found(key, &method, &tuning, out, resume)?;
        let best = found.best();
        for (number, (settings, score)) in method.tune.iter().zip(&found.scores).enumerate() {
            table.push(vec![
                Cell::Text(method.label.clone()),
                Cell::Text(method.tuned_on.words()),
                Cell::Text(words(settings)),
                score.map_or_else(|| Cell::Text("diverged".into()), |s| Cell::Number(s / 100.0)),
                Cell::Text(if number == best { "yes" } else { "" }.into()),
            ])?;
        }
        let chosen = method.with_settings(&method.tune[best]).map_err(Error::Usage)?;
        profile.methods.insert(key.clone(), chosen);
    }
    Ok(Some(
        Section::new("Tuning")
            .paragraph(format!("Data: {}. The test set took no part.", tuning.name))
            .table(table),
    ))
}

/// A setting in words.
fn words(settings: &BTreeMap<String, f64>) -> String {
    let words = settings.iter().map(|(path, value)| format!("{path} = {value}"));
    words.collect::<Vec<_>>().join(", ")
}

/// The listed setting by which a method's kept networks were trained, if there are any.
fn kept_setting<'a>(
    key: &str,
    method: &'a Method,
    seeds: &[u64],
    data: &Data,
    kept: &Kept,
) -> Result<Option<(&'a BTreeMap<String, f64>, Method)>> {
    for settings in &method.tune {
        let chosen = method.with_settings(settings).map_err(Error::Usage)?;
        if kept.has(key, &chosen, seeds, data) {
            return Ok(Some((settings, chosen)));
        }
    }
    Ok(None)
}

/// Where what tuning a method found is kept.
fn path(key: &str, method: &Method, tuning: &Data, out: &Path) -> Result<PathBuf> {
    let all = serde_json::to_string(method).map_err(|e| Error::Usage(e.to_string()))?;
    let fingerprint = fingerprint(&format!("{all}\n{}{}", tuning.name, method.chip_name()));
    Ok(out.join("runs").join(format!("tuning-{key}-{fingerprint}.json")))
}

/// What tuning a method found: read if it is there and `resume` is set, else found out.
fn found(key: &str, method: &Method, tuning: &Data, out: &Path, resume: bool) -> Result<Found> {
    let path = path(key, method, tuning, out)?;
    if resume && path.exists() {
        let malformed = |reason| Error::File { path: path.clone(), reason };
        let found: Found =
            serde_json::from_str(&read_text(&path)?).map_err(|e| malformed(e.to_string()))?;
        let (got, listed) = (found.scores.len(), method.tune.len());
        if got != listed {
            return Err(malformed(format!("{got} scores for {listed} settings")));
        }
        return Ok(found);
    }
    remove(&path)?;
    let jobs = jobs(key, method)?;
    let trainings = run_all(&jobs, tuning, out, resume, &Kept::default(), &format!("tuning {key}"));
    let mut scores = Vec::new();
    for job in &jobs {
        scores.push(match &trainings[&(job.key.clone(), 0)] {
            Training::Done(run) => Some(score(run, &method.tuned_on, tuning)?),
            Training::Diverged(_) => None,
            Training::Failed(reason) => return Err(Error::Usage(format!("{}: {reason}", job.key))),
        });
    }
    let found = Found { scores };
    let text = serde_json::to_string(&found).map_err(|e| Error::Usage(e.to_string()))?;
    pnn_core::store::write_atomic(&path, text.as_bytes())?;
    Ok(found)
}

/// Mean accuracy in percent over the chips that a method is tuned on.
fn score(run: &Trained, tuned_on: &TunedOn, tuning: &Data) -> Result<f64> {
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: run.normalisation,
        calibration: None,
    };
    let deployed = Deployed::new(run.model.as_ref(), run.fc_activation, evaluator, &tuning.test)?;
    let chips: Vec<Chip> = match tuned_on {
        TunedOn::Clean => vec![Chip::ideal()],
        TunedOn::Drift => {
            let at = |kelvin: &f64| {
                let layers = LAYERS.map(str::to_owned);
                on_port(run.model.as_ref(), "resonance_shift_nm", &layers, kelvin * NM_PER_KELVIN)
            };
            KELVIN.iter().map(at).collect::<Result<_, _>>()?
        }
        TunedOn::Sweep(axes) => {
            let mut chips = vec![Chip::ideal()];
            for axis in axes {
                let at =
                    |value: &f64| on_port(run.model.as_ref(), &axis.port, &axis.layers, *value);
                let values = axis.values.iter().map(at).collect::<Result<Vec<Chip>, _>>()?;
                let pairs = chips.iter().flat_map(|chip| values.iter().map(|v| chip.plus(v)));
                chips = pairs.collect::<Result<_, _>>()?;
            }
            chips
        }
        TunedOn::Noise(noise) => {
            let layers = run.model.physical_layers();
            let seed = Seed::new(0).child("tuning chips");
            (0..CHIPS).map(|i| noise.draw(&layers, 1, &seed.index(i))).collect::<Result<_, _>>()?
        }
    };
    let mut sum = 0.0;
    for chip in &chips {
        sum += deployed.percent(&run.chip.plus(chip)?)?;
    }
    Ok(sum / chips.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_best_settings_is_chosen_and_divergence_never_is() {
        let best = |scores: &[Option<f64>]| Found { scores: scores.to_vec() }.best();
        assert_eq!(best(&[Some(90.0), None, Some(95.0), Some(95.0)]), 2);
        assert_eq!(best(&[None, Some(10.0)]), 1);
        assert_eq!(best(&[None, None]), 0);
    }
}
