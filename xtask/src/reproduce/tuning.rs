//! Tuning: each listed setting is trained on the training images but the last, judged on those, and
//! the best is kept for the real runs. The test set is never looked at.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_data::Normalisation;
use pnn_eval::{BatchNormMode, Cell, Column, Evaluator, Section, Table};

use super::analysis::against_temperature;
use super::config::Profile;
use super::data::Data;
use super::training::{Job, Training, run_all};
use crate::error::{Error, Result};

/// Temperatures in K over which a setting's accuracy is averaged, with running statistics.
const KELVIN: [f64; 5] = [-2.0, -1.0, 0.0, 1.0, 2.0];
const NM_PER_KELVIN: f64 = 0.08;
const LAYERS: [&str; 2] = ["fc2", "fc3"];

/// Replaces every tuned method of the profile by its best setting, and says how that was found.
pub(crate) fn tune(
    profile: &mut Profile,
    wanted: &[String],
    data: &Data,
    out: &Path,
    resume: bool,
) -> Result<Option<Section>> {
    let mut jobs = Vec::new();
    for key in wanted {
        let method = &profile.methods[key];
        for (number, settings) in method.tune.iter().enumerate() {
            let method = method.with_settings(settings).map_err(Error::Usage)?;
            let job = Job { key: format!("tune-{key}-{}", number + 1), method, seed: 0 };
            jobs.push((key.clone(), settings.clone(), job));
        }
    }
    if jobs.is_empty() {
        return Ok(None);
    }
    let tuning = data.for_tuning()?;
    let list: Vec<Job> = jobs.iter().map(|(_, _, job)| job.clone()).collect();
    let trainings = run_all(&list, &tuning, out, resume, "tuning");
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: Normalisation::UNIT,
        calibration: None,
    };
    let layers = LAYERS.map(str::to_owned);
    let mut table = Table::new(
        "Mean accuracy of each listed setting over the tuning images at -2, -1, 0, 1 and 2 K, running statistics",
        vec![
            Column::text("method"),
            Column::text("setting"),
            Column::percent("accuracy", 2),
            Column::text("chosen"),
        ],
    )?;
    let mut best: BTreeMap<&String, (usize, f64)> = BTreeMap::new();
    let mut scores = Vec::new();
    for (number, (key, _, job)) in jobs.iter().enumerate() {
        let score = match &trainings[&(job.key.clone(), 0)] {
            Training::Done(run) => {
                let drift = (layers.as_slice(), NM_PER_KELVIN);
                let (model, chip) = (&run.model, &run.chip);
                let points =
                    against_temperature(model, chip, &evaluator, &tuning.test, &KELVIN, drift)?;
                Some(points.iter().map(|p| p.mean).sum::<f64>() / points.len() as f64)
            }
            Training::Diverged(_) => None,
            Training::Failed(reason) => return Err(Error::Usage(format!("{}: {reason}", job.key))),
        };
        scores.push(score);
        if let Some(score) = score
            && best.get(key).is_none_or(|(_, known)| score > *known)
        {
            best.insert(key, (number, score));
        }
    }
    for (number, ((key, settings, job), score)) in jobs.iter().zip(&scores).enumerate() {
        let setting: Vec<_> =
            settings.iter().map(|(path, value)| format!("{path} = {value}")).collect();
        let chosen = best.get(key).is_some_and(|(best, _)| *best == number);
        table.push(vec![
            Cell::Text(job.method.label.clone()),
            Cell::Text(setting.join(", ")),
            score.map_or_else(|| Cell::Text("diverged".into()), |s| Cell::Number(s / 100.0)),
            Cell::Text(if chosen { "yes" } else { "" }.into()),
        ])?;
    }
    for (key, (number, _)) in best {
        profile.methods.insert(key.clone(), jobs[number].2.method.clone());
    }
    Ok(Some(
        Section::new("Tuning")
            .paragraph(format!("Data: {}. The test set took no part.", tuning.name))
            .table(table),
    ))
}
