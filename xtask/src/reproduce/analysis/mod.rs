//! What an experiment makes of the trained networks: a section of the report, its numbers as JSON,
//! and a verdict on its claim.

mod ambient;
mod compare;
mod conditions;
mod curves;
mod deployment;
mod drift;
mod family;
mod gap;
mod histogram;
mod history;
mod judged;
mod knowledge;
mod landscape;
mod link;
mod misalignment;
mod optics;
mod sensitivity;
mod transfer;

use std::path::Path;

use pnn_core::store::write_atomic;
use pnn_data::{Dataset, Normalisation};
use pnn_eval::{Evaluator, Section, Svg, Table, Verdict};

use super::chip::FixedChip;
use super::config::{Analysis, Contest, Experiment, Plan, Profile, View};
use super::data::Data;
use super::measured::MeasuredRings;
use super::training::{Trained, Training, Trainings, remove};
use crate::error::{Error, Result};
use judged::Judged;

pub(super) use link::checkpoints;
pub(super) use sensitivity::variants;

/// Everything an analysis may look at.
pub(super) struct Context<'a> {
    pub(super) profile: &'a Profile,
    pub(super) data: &'a Data,
    pub(super) trainings: &'a Trainings,
    pub(super) fixed: &'a FixedChip,
    /// Rings that were measured, if there are any.
    pub(super) measured: Option<&'a MeasuredRings>,
    pub(super) reference: Option<&'a Path>,
    pub(super) out: &'a Path,
    /// Whether what was measured before may be taken over.
    pub(super) resume: bool,
}

/// What an analysis gives.
pub(super) struct Outcome {
    pub(super) section: Section,
    pub(super) verdict: Verdict,
    pub(super) words: String,
    pub(super) json: serde_json::Value,
}

/// Figures with their captions.
type Figures = Vec<(Svg, String)>;

/// The content of an analysis, before it is written down.
struct Findings {
    judged: Judged,
    paragraphs: Vec<String>,
    figures: Figures,
    tables: Vec<Table>,
    details: Vec<Table>,
}

pub(super) fn analyse(
    id: &str,
    experiment: &Experiment,
    plan: &Plan,
    context: &Context<'_>,
) -> Result<Outcome> {
    let (plan, lost) = &without_diverged(experiment, plan, context);
    let findings = match &experiment.analysis {
        Analysis::Curves(spec) => curves::analyse(spec, plan, context)?,
        Analysis::Histogram(spec) => histogram::analyse(spec, plan, context)?,
        Analysis::Drift(spec) => drift::analyse(spec, plan, context)?,
        Analysis::Sensitivity(spec) => sensitivity::analyse(spec, plan, context)?,
        Analysis::Knowledge(spec) => knowledge::analyse(spec, plan, context)?,
        Analysis::Gap(spec) => gap::analyse(spec, plan, context)?,
        Analysis::Deployment(spec) => deployment::analyse(spec, plan, context)?,
        Analysis::Transfer(spec) => transfer::analyse(spec, plan, context)?,
        Analysis::Misalignment(spec) => misalignment::analyse(spec, plan, context)?,
        Analysis::Landscape(spec) => landscape::analyse(spec, plan, context)?,
        Analysis::Link(spec) => link::analyse(spec, plan, context)?,
        Analysis::Family(spec) => family::analyse(spec, plan, context)?,
        Analysis::Ambient(spec) => ambient::analyse(spec, plan, context)?,
    };
    let Findings { judged, paragraphs, figures, tables, details } = findings;
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
    // What a run of more methods left would be taken for a part of this one.
    clear_after(&folder, "table-", json.len())?;
    clear_after(&folder, "figure-", figures.len())?;
    let mut section = Section::new(&experiment.title)
        .paragraph(format!("*Claim under test:* {}", experiment.claim))
        .verdict(judged.verdict, &judged.headline);
    if let Some(table) = judged.table()? {
        section = section.table(table);
    }
    for paragraph in lost.iter().cloned().chain(paragraphs) {
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
        "verdict": judged.verdict.words(),
        "words": judged.headline,
        "cases": judged.json(),
        "left_out": lost,
        "tables": json,
    });
    Ok(Outcome { section, verdict: judged.verdict, words: judged.headline, json })
}

/// Removes files `prefix` N with a larger number than `last`.
fn clear_after(folder: &Path, prefix: &str, last: usize) -> Result<()> {
    let failed = |source| Error::Io { path: folder.to_owned(), source };
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number =
            path.file_stem().and_then(|stem| stem.to_str()?.strip_prefix(prefix)?.parse().ok());
        if number.is_some_and(|number: usize| number > last) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The plan without methods of which a training diverged, and what is said about those. In an
/// analysis of one method it is itself the finding.
fn without_diverged(
    experiment: &Experiment,
    plan: &Plan,
    context: &Context<'_>,
) -> (Plan, Vec<String>) {
    let mut plan = plan.clone();
    let mut lost = Vec::new();
    if !matches!(experiment.analysis, Analysis::Sensitivity(_)) {
        plan.methods.retain(|key| {
            let reason = context.divergence(key);
            lost.extend(
                reason.map(|reason| format!("**{}** is left out: {reason}.", context.label(key))),
            );
            reason.is_none()
        });
    }
    (plan, lost)
}

impl Context<'_> {
    /// The trained networks of a method, one for each seed.
    fn trained(&self, key: &str) -> Result<Vec<&Trained>> {
        self.profile.seeds_of(key).iter().map(|seed| self.network(key, *seed)).collect()
    }

    /// A trained network.
    fn network(&self, key: &str, seed: u64) -> Result<&Trained> {
        match self.trainings.get(&(key.to_owned(), seed)) {
            Some(Training::Done(trained)) => Ok(trained.as_ref()),
            Some(Training::Diverged(reason) | Training::Failed(reason)) => {
                Err(Error::Usage(format!("{key}, seed {seed}: {reason}")))
            }
            None => Err(Error::Usage(format!("{key}, seed {seed} was not trained"))),
        }
    }

    /// How a training of the method diverged, if one did.
    fn divergence(&self, key: &str) -> Option<&str> {
        let of_seed = |seed: &u64| self.trainings.get(&(key.to_owned(), *seed));
        self.profile.seeds_of(key).iter().filter_map(of_seed).find_map(|training| match training {
            Training::Diverged(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    /// What intervals are, in sentences, and which of the methods have fewer seeds than the others.
    fn about_intervals(&self, methods: &[String]) -> String {
        let mut words = compare::about_intervals(self.profile.seeds.len()).to_owned();
        for key in methods {
            let seeds = self.profile.seeds_of(key).len();
            if seeds < self.profile.seeds.len() {
                words += &format!(
                    " {} has {seeds} of {} seeds; it is compared on {}.",
                    self.label(key),
                    self.profile.seeds.len(),
                    if seeds == 1 { "that one" } else { "these" }
                );
            }
        }
        words
    }

    fn label(&self, key: &str) -> String {
        self.profile.methods.get(key).map_or_else(|| key.to_owned(), |m| m.label.clone())
    }

    /// Whether the profile has both methods of a contest.
    fn runs(&self, contest: &Contest) -> bool {
        [&contest.better, &contest.worse].iter().all(|m| self.profile.methods.contains_key(*m))
    }

    /// The test images of a view.
    fn images(&self, view: &View) -> Result<Dataset> {
        match view.images {
            Some(range) => Ok(self.data.test.range(range.first, range.count)?),
            None => Ok(self.data.test.clone()),
        }
    }

    fn evaluator(&self, view: &View, normalisation: Normalisation) -> Evaluator<'_> {
        Evaluator {
            batch_norm: view.batch_norm,
            normalisation,
            calibration: Some(&self.data.train),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Catalogue, DataChoice, default_folder};
    use super::*;

    #[test]
    fn what_a_larger_run_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["table-1.md", "table-2.md", "table-10.csv", "figure-9.svg", "table-x.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        clear_after(folder.path(), "table-", 1).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> =
            left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["figure-9.svg", "table-1.md", "table-x.md"]);
        clear_after(&folder.path().join("absent"), "table-", 0).unwrap();
    }

    /// A method of which one seed diverged is left out and named; one that failed for another reason
    /// stays, to stop the analysis; an analysis of one method keeps it, as its finding.
    #[test]
    fn what_diverged_is_left_out_and_named() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let (data, _) = Data::load(DataChoice::Digits, None).unwrap();
        let trainings = Trainings::from([
            (("sat".to_owned(), 2), Training::Diverged("its loss is NaN in epoch 3".into())),
            (("sam".to_owned(), 0), Training::Diverged("its loss is NaN".into())),
            (("nat".to_owned(), 1), Training::Failed("the disk is full".into())),
        ]);
        let context = Context {
            profile: &catalogue.profiles["paper"],
            data: &data,
            trainings: &trainings,
            fixed: &FixedChip::default(),
            measured: None,
            reference: None,
            out: Path::new("."),
            resume: false,
        };
        let kept = |id: &str| {
            let experiment = &catalogue.experiments[id];
            without_diverged(experiment, &experiment.profiles["paper"], &context)
        };
        let (plan, lost) = kept("fig2j");
        assert_eq!(plan.methods, ["bp", "nat", "pruning", "pat"]);
        assert_eq!(lost, ["**SAT** is left out: its loss is NaN in epoch 3."]);
        let (plan, lost) = kept("figS-rho");
        assert_eq!((plan.methods, lost), (vec!["sam".to_owned()], vec![]));
    }
}
