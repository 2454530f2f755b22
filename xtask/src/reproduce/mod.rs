//! Redoes the paper's experiments: reads experiments and a profile, trains each method once,
//! analyses, and writes a report.

mod analysis;
mod config;
#[cfg(test)]
mod config_tests;
mod data;
pub(crate) mod provenance;
mod training;
mod tuning;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pnn_eval::{Report, Section, Verdict};

use crate::error::{Error, Result};
use analysis::{Context, Outcome};
use config::{Analysis, Catalogue, Experiment, PROFILES, Profile};
use data::Data;
use training::{Job, Training};

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
    /// Folder with the published weights (`mrr/*.safetensors`), shown beside ours
    #[arg(long)]
    reference: Option<PathBuf>,
    /// Continues what was cut off and keeps what is finished
    #[arg(long)]
    resume: bool,
    /// Trains only part I of N of the trainings (from 1), to share them among machines; merge the
    /// output folders and run once more with --resume for the report
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

#[derive(Debug, Clone, Copy)]
struct Shard {
    index: usize,
    of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if index >= 1 && index <= of => Ok(Self { index, of }),
            _ => Err(format!("{text:?} is not I/N with 1 <= I <= N, such as 1/4")),
        }
    }
}

/// Figures and tables of the paper that later work brings.
const PLANNED: [(&str, &str); 9] = [
    ("fig2g", "loss landscapes and lambda_max of the microring networks"),
    ("fig3b", "CIFAR-10 classification under drift"),
    ("fig3f", "autoencoder under drift"),
    ("fig3j", "generative network under drift"),
    ("fig4c", "six methods on a 64-port interferometer mesh"),
    ("fig4d", "transfer of trained meshes to other chips"),
    ("fig5e", "misaligned free-space multiplier"),
    ("figS-d2nn", "rotated masks of a nonlinear diffractive network"),
    ("figS-curves", "networks of measured rings"),
];

pub(crate) fn run(args: &Args) -> Result<bool> {
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
    let experiments = chosen(&catalogue, args)?;
    let (data, line) = Data::load(profile.data, args.data.as_ref())?;
    if let Some(line) = line {
        eprintln!("{line}");
    }
    eprintln!("profile {}: {}", args.profile, profile.about);
    eprintln!("data: {}", data.name);

    if let Some(reference) = &args.reference {
        if !data.is_mnist {
            let line = "--reference holds networks that were trained on MNIST, which the embedded digits \
                        are a part of: it needs full MNIST (--profile paper, --data DIR)";
            return Err(Error::Usage(line.into()));
        }
        if !reference.join("mrr").is_dir() {
            let path = reference.join("mrr");
            return Err(Error::File { path, reason: "no folder of published weights".into() });
        }
    }
    for (id, _, plan) in &experiments {
        for view in &plan.views {
            view.check(&data)
                .map_err(|reason| Error::Usage(format!("{id}, view {:?}: {reason}", view.name)))?;
        }
    }

    let tuned =
        tuning::tune(&mut profile, &wanted_methods(&experiments), &data, &args.out, args.resume)?;
    let jobs = jobs(&experiments, &profile)?;
    if let Some(shard) = args.shard {
        let share: Vec<Job> = jobs
            .into_iter()
            .enumerate()
            .filter(|(i, _)| i % shard.of == shard.index - 1)
            .map(|(_, j)| j)
            .collect();
        let trainings = training::run_all(&share, &data, &args.out, args.resume, "training");
        println!(
            "shard {}/{}: {} trainings in {}",
            shard.index,
            shard.of,
            share.len(),
            args.out.display()
        );
        return Ok(trainings.values().all(|t| !matches!(t, Training::Failed(_))));
    }
    let trainings = training::run_all(&jobs, &data, &args.out, args.resume, "training");
    let context = Context {
        profile: &profile,
        data: &data,
        trainings: &trainings,
        reference: args.reference.as_deref(),
        out: &args.out,
    };
    report(args, &experiments, &context, tuned)
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

/// The experiments asked for, with their plan in the profile.
fn chosen(catalogue: &Catalogue, args: &Args) -> Result<Vec<(String, Experiment, config::Plan)>> {
    for id in &args.only {
        if let Some((_, what)) = PLANNED.iter().find(|(planned, _)| planned == id) {
            return Err(Error::Usage(format!("{id} ({what}) is planned and not there yet")));
        }
        if !catalogue.experiments.contains_key(id) {
            let known: Vec<_> = catalogue.experiments.keys().map(String::as_str).collect();
            return Err(Error::Usage(format!(
                "no experiment {id:?}; there is {}",
                known.join(", ")
            )));
        }
    }
    let mut chosen = Vec::new();
    for (id, experiment) in &catalogue.experiments {
        let asked = args.only.is_empty() || args.only.contains(id);
        let Some(plan) = experiment.profiles.get(&args.profile).filter(|_| asked) else {
            if asked && !args.only.is_empty() {
                return Err(Error::Usage(format!("{id} has no profile {:?}", args.profile)));
            }
            continue;
        };
        let mut plan = plan.clone();
        if !args.methods.is_empty() {
            let named = !args.only.is_empty();
            for method in args.methods.iter().filter(|_| named) {
                if !plan.methods.contains(method) {
                    let known = plan.methods.join(", ");
                    return Err(Error::Usage(format!(
                        "{id} has no method {method:?} in this profile; there is {known}"
                    )));
                }
            }
            plan.methods.retain(|m| args.methods.contains(m));
            if plan.methods.is_empty() {
                continue;
            }
        }
        chosen.push((id.clone(), experiment.clone(), plan));
    }
    if chosen.is_empty() {
        return Err(Error::Usage(format!(
            "no experiment has a profile {:?} and the methods asked for",
            args.profile
        )));
    }
    Ok(chosen)
}

fn wanted_methods(experiments: &[(String, Experiment, config::Plan)]) -> Vec<String> {
    let mut methods: Vec<String> =
        experiments.iter().flat_map(|(_, _, plan)| plan.methods.iter().cloned()).collect();
    methods.sort();
    methods.dedup();
    methods
}

/// Every training that the experiments need, once.
fn jobs(experiments: &[(String, Experiment, config::Plan)], profile: &Profile) -> Result<Vec<Job>> {
    let mut jobs: BTreeMap<(String, u64), Job> = BTreeMap::new();
    for (_, experiment, plan) in experiments {
        for key in &plan.methods {
            let method = &profile.methods[key];
            let variants = match &experiment.analysis {
                Analysis::Sensitivity(spec) => analysis::variants(key, method, &spec.rho)?,
                _ => vec![(key.clone(), method.clone())],
            };
            for (key, method) in variants {
                for seed in &profile.seeds {
                    let job = Job { key: key.clone(), method: method.clone(), seed: *seed };
                    jobs.insert((key.clone(), *seed), job);
                }
            }
        }
    }
    Ok(jobs.into_values().collect())
}

fn report(
    args: &Args,
    experiments: &[(String, Experiment, config::Plan)],
    context: &Context<'_>,
    tuned: Option<Section>,
) -> Result<bool> {
    let mut report = Report::new(format!("Physical neural networks: the {} profile", args.profile));
    let mut provenance =
        provenance::collect(args.profile.as_str(), context.data, &context.profile.seeds);
    if args.resume {
        // A finished training is taken over as it is, whichever commit made it.
        let line = format!(
            "continued or taken over from earlier runs in {} (--resume)",
            args.out.display()
        );
        provenance.insert("trainings".into(), line);
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
                eprintln!("{id}: {}: {words}", verdict.words());
                report = report.summary(format!(
                    "**{}** {}: {words}",
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
