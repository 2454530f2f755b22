//! What an experiment makes of the trained networks: a section of the report, its numbers as JSON,
//! and a verdict on the paper's claim.

mod compare;
mod curves;
mod drift;
mod gap;
mod histogram;
mod knowledge;
mod sensitivity;

use std::path::Path;

use pnn_core::store::write_atomic;
use pnn_data::{Dataset, Normalisation};
use pnn_eval::{Evaluator, Section, Svg, Table, Verdict};

use super::config::{Analysis, Experiment, Plan, Profile, View};
use super::data::Data;
use super::training::{Trained, Training, Trainings};
use crate::error::{Error, Result};

pub(super) use sensitivity::variants;

/// Everything an analysis may look at.
pub(super) struct Context<'a> {
    pub(super) profile: &'a Profile,
    pub(super) data: &'a Data,
    pub(super) trainings: &'a Trainings,
    pub(super) reference: Option<&'a Path>,
    pub(super) out: &'a Path,
}

/// What an analysis gives.
pub(super) struct Outcome {
    pub(super) section: Section,
    pub(super) verdict: Verdict,
    pub(super) words: String,
    pub(super) json: serde_json::Value,
}

/// The content of an analysis, before it is written down.
struct Findings {
    verdict: Verdict,
    words: String,
    paragraphs: Vec<String>,
    figures: Vec<(Svg, String)>,
    tables: Vec<Table>,
    details: Vec<Table>,
}

pub(super) fn analyse(
    id: &str,
    experiment: &Experiment,
    plan: &Plan,
    context: &Context<'_>,
) -> Result<Outcome> {
    let findings = match &experiment.analysis {
        Analysis::Curves(spec) => curves::analyse(spec, plan, context)?,
        Analysis::Histogram(spec) => histogram::analyse(spec, plan, context)?,
        Analysis::Drift(spec) => drift::analyse(spec, plan, context)?,
        Analysis::Sensitivity(spec) => sensitivity::analyse(spec, plan, context)?,
        Analysis::Knowledge(spec) => knowledge::analyse(spec, plan, context)?,
        Analysis::Gap(spec) => gap::analyse(spec, plan, context)?,
    };
    let Findings { verdict, words, paragraphs, figures, tables, details } = findings;
    let folder = context.out.join(id);
    let mut json = Vec::new();
    for (number, table) in tables.iter().chain(&details).enumerate() {
        let stem = folder.join(format!("table-{}", number + 1));
        write_atomic(&stem.with_extension("md"), table.to_markdown().as_bytes())?;
        write_atomic(&stem.with_extension("csv"), table.to_csv().as_bytes())?;
        let text = table.to_json()?;
        write_atomic(&stem.with_extension("json"), text.as_bytes())?;
        let rows: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Error::Usage(e.to_string()))?;
        json.push(serde_json::json!({ "caption": table.caption(), "rows": rows }));
    }
    for (number, (svg, _)) in figures.iter().enumerate() {
        svg.write(folder.join(format!("figure-{}.svg", number + 1)))?;
    }
    let mut section = Section::new(&experiment.title)
        .paragraph(format!("*The paper's claim:* {}", experiment.claim))
        .verdict(verdict, &words);
    for paragraph in paragraphs {
        section = section.paragraph(paragraph);
    }
    for (svg, caption) in figures {
        section = section.figure(svg, caption);
    }
    for table in tables {
        section = section.table(table);
    }
    for table in details {
        section = section.table_details(table.caption().to_owned(), table);
    }
    let config = serde_json::to_string_pretty(&serde_json::json!({
        "experiment": experiment.analysis,
        "methods": plan.methods.iter().map(|m| (m, &context.profile.methods[m])).collect::<std::collections::BTreeMap<_, _>>(),
    }))
    .map_err(|e| Error::Usage(e.to_string()))?;
    section = section.details("Configuration", config);
    let json = serde_json::json!({
        "claim": experiment.claim,
        "verdict": verdict.words(),
        "words": words,
        "tables": json,
    });
    Ok(Outcome { section, verdict, words, json })
}

impl Context<'_> {
    /// The trained networks of a method, one for each seed.
    fn trained(&self, key: &str) -> Result<Vec<&Trained>> {
        let of_seed = |seed: &u64| match self.trainings.get(&(key.to_owned(), *seed)) {
            Some(Training::Done(trained)) => Ok(trained.as_ref()),
            Some(Training::Diverged(reason) | Training::Failed(reason)) => {
                Err(Error::Usage(format!("{key}, seed {seed}: {reason}")))
            }
            None => Err(Error::Usage(format!("{key}, seed {seed} was not trained"))),
        };
        self.profile.seeds.iter().map(of_seed).collect()
    }

    /// Whether a training of the method diverged.
    fn diverged(&self, key: &str) -> bool {
        let of_seed = |seed: &u64| self.trainings.get(&(key.to_owned(), *seed));
        self.profile.seeds.iter().filter_map(of_seed).any(|t| matches!(t, Training::Diverged(_)))
    }

    fn label(&self, key: &str) -> String {
        self.profile.methods.get(key).map_or_else(|| key.to_owned(), |m| m.label.clone())
    }

    /// The test images of a view.
    fn images(&self, view: &View) -> Result<Dataset> {
        match view.images {
            Some(range) => Ok(self.data.test.range(range.first, range.count)?),
            None => Ok(self.data.test.clone()),
        }
    }

    fn evaluator(&self, view: &View) -> Evaluator<'_> {
        Evaluator {
            batch_norm: view.batch_norm,
            normalisation: Normalisation::UNIT,
            calibration: Some(&self.data.train),
        }
    }
}
