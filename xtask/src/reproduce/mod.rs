//! Redoes the paper's experiments: reads experiments and a profile, trains each method once,
//! analyses, and writes a report.

mod analysis;
pub(crate) mod chip;
pub(crate) mod config;
pub(crate) mod data;
mod front;
mod kept;
pub(crate) mod measured;
pub(crate) mod precise;
pub(crate) mod provenance;
mod published;
mod record;
mod select;
mod share;
mod training;
mod tuning;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use pnn_core::{DType, Seed};
use pnn_eval::{Report, Section, Verdict, on_port};

use crate::error::{Error, Result};
use analysis::{Context, Outcome};
use chip::FixedChip;
use config::{Analysis, Catalogue, PROFILES, Profile};
use data::Data;
use kept::Kept;
use measured::MeasuredRings;
use share::{Chosen, Shard};
use training::Training;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Which settings: `quick` (minutes, embedded digits), `paper`, or `controlled`
    #[arg(long, default_value = "quick")]
    profile: String,
    /// Only these experiments, comma separated (see --list)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these methods of the experiments, comma separated
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Number of seeds, from 0 [default: the profile's]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Folder of data sets [default: `PNN_DATA`, else data, else the embedded digits]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder with the published weights (`mrr/*.safetensors`), shown beside ours, and the published
    /// mesh (`mzi/fabrication-errors.safetensors`), which training in situ then has in its loop
    #[arg(long)]
    reference: Option<PathBuf>,
    /// Tuning curves of measured rings (CSV): chips of heated rings spread as these do [default: those of
    /// `--reference`, `measured/mrr-tuning-curves.csv`]
    #[arg(long, value_name = "CSV")]
    curves: Option<PathBuf>,
    /// Folder of networks that were kept (`docs/results/weights`): those of the very recipe, seed and data are taken instead of
    /// trained
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,
    /// Continues what was cut off and keeps what is finished
    #[arg(long)]
    resume: bool,
    /// Trains only part I of N of the trainings (from 1), to share them among machines (a tuned method
    /// stays whole); merge the output folders and run once more with --resume for the report
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Folder for the report and the runs
    #[arg(long, default_value = "target/reproduce")]
    out: PathBuf,
    /// Folder of experiments to read instead of the workspace's
    #[arg(long)]
    experiments: Option<PathBuf>,
    /// Lists the experiments and what is planned
    #[arg(long)]
    list: bool,
}

/// Figures and tables of the paper that later work brings.
const PLANNED: [(&str, &str); 4] = [
    ("fig3b", "CIFAR-10 classification under drift"),
    ("fig3f", "autoencoder under drift"),
    ("fig3j", "generative network under drift"),
    ("figS-curves", "networks of measured rings"),
];

pub(crate) fn run(args: &Args) -> Result<bool> {
    provenance::commit();
    let folder = args.experiments.clone().unwrap_or_else(config::default_folder);
    let catalogue = Catalogue::load(&folder)?;
    if args.list {
        list(&catalogue);
        return Ok(true);
    }
    let Some(profile) = catalogue.profiles.get(&args.profile) else {
        let known: Vec<_> = catalogue.profiles.keys().map(String::as_str).collect();
        return Err(Error::Usage(format!(
            "no profile {:?}; there is {}",
            args.profile,
            known.join(", ")
        )));
    };
    let mut profile = profile.clone();
    if let Some(seeds) = args.seeds {
        profile.seeds = (0..seeds).collect();
    }
    if let Some(method) = args.methods.iter().find(|m| !profile.methods.contains_key(*m)) {
        let known: Vec<_> = profile.methods.keys().map(String::as_str).collect();
        let line = format!(
            "profile {} has no method {method:?}; there is {}",
            args.profile,
            known.join(", ")
        );
        return Err(Error::Usage(line));
    }
    let experiments = select::chosen(&catalogue, args)?;
    let (data, line) = Data::load(profile.data, args.data.as_ref())?;
    if let Some(line) = line {
        eprintln!("{line}");
    }
    eprintln!("profile {}: {}", args.profile, profile.about);
    eprintln!("data: {}", data.name);

    let wanted = share::wanted_methods(&experiments);
    let trained = || wanted.iter().map(|key| profile.methods[key].recipe.train);
    let rings = trained().any(pnn_train::Trained::is_rings);
    let meshes = trained().any(|train| train == pnn_train::Trained::Phases);
    if let Some(reference) = &args.reference {
        if !data.is_mnist {
            let line = "--reference holds networks that were trained on MNIST, which the embedded digits \
                        are a part of: it needs full MNIST (--profile paper, --data DIR)";
            return Err(Error::Usage(line.into()));
        }
        let path = reference.join("mrr");
        if rings && !path.is_dir() {
            return Err(Error::File { path, reason: "no folder of published weights".into() });
        }
    }
    let recipe = profile.fixed_chip.as_ref().filter(|_| meshes);
    let fixed = Arc::new(FixedChip::new(recipe, args.reference.as_deref())?);
    if meshes {
        eprintln!("fixed chip: {}", fixed.name);
    }
    for method in profile.methods.values_mut() {
        method.fixed = Arc::clone(&fixed);
    }
    let measured = measured_rings(args, &profile, &wanted)?;
    if let Some(rings) = &measured {
        rings.teach(&mut profile.methods)?;
    }
    for (id, experiment, plan) in &experiments {
        if args.weights.is_some() {
            kept::check(id, &experiment.analysis)?;
        }
        if let Analysis::Misalignment(spec) = &experiment.analysis {
            for key in &plan.methods {
                let model = profile.methods[key].recipe.model(&Seed::new(0), DType::F32)?;
                for axis in &spec.axes {
                    on_port(model.as_ref(), &axis.port, &axis.layers, 0.0)
                        .map_err(|reason| Error::Usage(format!("{id}, method {key}: {reason}")))?;
                }
            }
        }
        for view in &plan.views {
            view.check(&data)
                .map_err(|reason| Error::Usage(format!("{id}, view {:?}: {reason}", view.name)))?;
        }
    }

    let mut share: Vec<(String, u64)> = Vec::new();
    match args.shard {
        Some(shard) => share = share::of_shard(&experiments, &profile, &data, shard)?,
        None => {
            for key in share::wanted_methods(&experiments) {
                share.extend(profile.seeds_of(&key).iter().map(|seed| (key.clone(), *seed)));
            }
        }
    }
    let methods: BTreeSet<String> = share.iter().map(|(key, _)| key.clone()).collect();
    let methods: Vec<String> = methods.into_iter().collect();
    let kept = args.weights.as_deref().map(Kept::read).transpose()?.unwrap_or_default();
    let tuned = tuning::tune(&mut profile, &methods, &data, &args.out, args.resume, &kept)?;
    let mut jobs = Vec::new();
    for (key, seed) in &share {
        jobs.extend(share::jobs(&experiments, key, &profile.methods[key], *seed)?);
    }
    let trainings = training::run_all(&jobs, &data, &args.out, args.resume, &kept, "training");
    if let Some(Shard { index, of }) = args.shard {
        println!("shard {index}/{of}: {} trainings in {}", jobs.len(), args.out.display());
        return Ok(trainings.values().all(|t| !matches!(t, Training::Failed(_))));
    }
    let context = Context {
        profile: &profile,
        data: &data,
        trainings: &trainings,
        fixed: &fixed,
        measured: measured.as_ref(),
        reference: args.reference.as_deref(),
        out: &args.out,
        resume: args.resume,
    };
    report(args, &experiments, &context, tuned)
}

/// The rings that were measured, if there are any and heaters are trained.
fn measured_rings(
    args: &Args,
    profile: &Profile,
    wanted: &[String],
) -> Result<Option<MeasuredRings>> {
    let heated = |key: &String| profile.methods[key].recipe.train == pnn_train::Trained::Heaters;
    if !wanted.iter().any(heated) {
        return match &args.curves {
            Some(_) => Err(Error::Usage(
                "--curves is for experiments on heated rings (deployed-ring)".into(),
            )),
            None => Ok(None),
        };
    }
    let rings = match (&args.curves, &args.reference) {
        (Some(path), _) => MeasuredRings::read(path)?,
        (None, Some(reference)) => {
            let path = reference.join("measured/mrr-tuning-curves.csv");
            // The paper's model stands beside its rings.
            MeasuredRings::read_without(&path, &["Model".to_owned()])?
        }
        (None, None) => return Ok(None),
    };
    let spread = rings.ring_spread();
    eprintln!(
        "{}: resonances spread by {:.2} half-widths, widths by {:.0} %",
        spread.source,
        spread.half_widths,
        100.0 * spread.widths
    );
    Ok(Some(rings))
}

fn list(catalogue: &Catalogue) {
    println!("experiments:");
    for (id, experiment) in &catalogue.experiments {
        let profiles: Vec<_> =
            PROFILES.iter().filter(|p| experiment.profiles.contains_key(**p)).copied().collect();
        println!("  {id:<12} {} [{}]", experiment.title, profiles.join(", "));
    }
    println!("planned, not there yet:");
    for (id, what) in PLANNED {
        println!("  {id:<12} {what}");
    }
    println!("profiles:");
    for name in PROFILES {
        if let Some(profile) = catalogue.profiles.get(name) {
            println!("  {name:<12} {}", profile.about);
        }
    }
}

fn report(
    args: &Args,
    experiments: &Chosen,
    context: &Context<'_>,
    tuned: Option<Section>,
) -> Result<bool> {
    let mut report = Report::new(format!("Physical neural networks: the {} profile", args.profile));
    let mut provenance =
        provenance::collect(args.profile.as_str(), context.data, &context.profile.seeds);
    // With --resume a finished training is taken over as it is, whichever commit made it.
    provenance.insert("trainings".into(), provenance::trained_by(context.trainings));
    if let Some(rings) = context.measured {
        provenance.insert("measured rings".into(), rings.name.clone());
    }
    if !context.fixed.name.is_empty() {
        provenance.insert("fixed chip".into(), context.fixed.name.clone());
    }
    for (key, value) in &provenance {
        report = report.provenance(key, value);
    }
    report = report.summary(&context.profile.about);
    let mut sections = Vec::new();
    let mut ok = true;
    let mut results = BTreeMap::new();
    for (id, experiment, plan) in experiments {
        eprintln!("{id}: analysing");
        match analysis::analyse(id, experiment, plan, context) {
            Ok(Outcome { section, verdict, words, json }) => {
                eprintln!("{id}: {}. {words}", verdict.words());
                report = report.summary(format!(
                    "**{}**: {}. {words}",
                    experiment.title,
                    verdict.words()
                ));
                results.insert(id.clone(), json);
                sections.push(section);
            }
            Err(error) => {
                ok = false;
                eprintln!("{id}: failed: {error}");
                report = report.summary(format!("**{}** failed: {error}", experiment.title));
                sections.push(
                    Section::new(&experiment.title).verdict(Verdict::NotTested, error.to_string()),
                );
            }
        }
    }
    for section in sections.into_iter().chain(tuned) {
        report = report.section(section);
    }
    let path = args.out.join("index.html");
    report.write(&path)?;
    let json = serde_json::json!({ "provenance": provenance, "experiments": results });
    let text = serde_json::to_string_pretty(&json).map_err(|e| Error::Usage(e.to_string()))?;
    pnn_core::store::write_atomic(&args.out.join("results.json"), text.as_bytes())?;
    println!("report: {}", path.display());
    Ok(ok)
}
