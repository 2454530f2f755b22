//! Tuning: each listed setting is trained on the training images but the last, judged on those, and
//! the best is kept for the real runs. The test set is never looked at.

use std::path::Path;

use pnn_data::Normalisation;
use pnn_eval::sweep::{on_port, sweep};
use pnn_eval::{BatchNormMode, Cell, Column, Evaluator, Section, Table};

use super::config::Profile;
use super::data::Data;
use super::training::{Job, run_all};
use crate::error::Result;

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
        let Some(tune) = &method.tune else { continue };
        for value in &tune.values {
            let method =
                method.with_setting(&tune.setting, *value).map_err(crate::error::Error::Usage)?;
            jobs.push((
                key.clone(),
                *value,
                Job { key: format!("tune-{key}-{value}"), method, seed: 0 },
            ));
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
            Column::number("value", 4),
            Column::percent("accuracy", 2),
            Column::text("chosen"),
        ],
    )?;
    let mut best: std::collections::BTreeMap<String, (f64, f64)> =
        std::collections::BTreeMap::new();
    let mut scores = Vec::new();
    for (key, value, job) in &jobs {
        let score = match &trainings[&(job.key.clone(), 0)] {
            Ok(trained) => {
                let points =
                    sweep(&trained.model, &evaluator, &tuning.test, &KELVIN, 1, &|kelvin, _| {
                        on_port(
                            &trained.model,
                            "resonance_shift_nm",
                            &layers,
                            kelvin * NM_PER_KELVIN,
                        )
                    })?;
                Some(points.iter().map(|p| p.mean).sum::<f64>() / points.len() as f64)
            }
            Err(_) => None,
        };
        scores.push(score);
        if let Some(score) = score
            && best.get(key).is_none_or(|(_, known)| score > *known)
        {
            best.insert(key.clone(), (*value, score));
        }
    }
    for ((key, value, job), score) in jobs.iter().zip(&scores) {
        let setting =
            profile.methods[key].tune.as_ref().map_or("", |t| t.setting.as_str()).to_owned();
        let chosen = best.get(key).is_some_and(|(best, _)| best == value);
        table.push(vec![
            Cell::Text(job.method.label.clone()),
            Cell::Text(setting),
            Cell::Number(*value),
            score.map_or_else(|| Cell::Text("diverged".into()), |s| Cell::Number(s / 100.0)),
            Cell::Text(if chosen { "yes" } else { "" }.into()),
        ])?;
    }
    for (key, (value, _)) in best {
        if let Some(method) = profile.methods.get_mut(&key)
            && let Some(tune) = method.tune.clone()
        {
            *method =
                method.with_setting(&tune.setting, value).map_err(crate::error::Error::Usage)?;
        }
    }
    Ok(Some(
        Section::new("Tuning")
            .paragraph(format!("Data: {}. The test set took no part.", tuning.name))
            .table(table),
    ))
}
