//! Times training and evaluation side by side with another framework: the same weights and batches,
//! checked to give the same numbers before the clock starts, in interleaved rounds of one run.

mod agree;
mod inputs;
mod kernels;
mod machine;
mod ours;
mod peer;
mod report;
mod rounds;
mod workload;

use std::path::{Path, PathBuf};

use self::peer::Peer;
use self::report::{Report, Row};
use self::workload::{Rival, Workload};
use crate::error::{Error, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The framework to compare with
    #[arg(long, value_enum, default_value_t = PeerName::Pytorch)]
    peer: PeerName,
    /// Only these workloads, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Writes the results as JSON, and a Markdown table beside it
    #[arg(long)]
    json: Option<PathBuf>,
    /// Threads of each side
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Interleaved rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// The Python that has torch and numpy
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder that holds mnist/*.gz [default: the embedded 5,000 digits, repeated]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Lists the workloads with their targets
    #[arg(long)]
    list: bool,
    /// Instead of workloads: the kernels that `cargo bench --package pnn-benches` timed, against what
    /// the processor can do at best [default folder: target/criterion]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "target/criterion")]
    kernels: Option<PathBuf>,
}

impl Args {
    /// How many threads to start.
    pub(crate) fn threads(&self) -> usize {
        self.threads.into()
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum PeerName {
    Pytorch,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let workloads = wanted(&args.only)?;
    if args.list {
        print!("{}", report::list(&workloads));
        return Ok(true);
    }
    if let Some(folder) = &args.kernels {
        print!("{}", kernels::table(folder)?);
        return Ok(true);
    }
    let threads = args.threads();
    let folder =
        tempfile::tempdir().map_err(|source| Error::Io { path: std::env::temp_dir(), source })?;
    let mut report = Report::new(machine::describe(), threads);
    let mut peer = None;
    if workloads.iter().any(|w| w.rival == Rival::Peer) {
        let PeerName::Pytorch = args.peer;
        let started = Peer::start(&args.python, threads)?;
        eprintln!("peer: {}", started.description());
        report.machine.insert("peer".into(), started.description().clone());
        peer = Some(started);
    }
    for workload in &workloads {
        eprintln!("{}: {}", workload.id, workload.what);
        match measure(workload, args, folder.path(), peer.as_mut()) {
            Ok(row) => report.workloads.push(row),
            Err(error) => {
                eprintln!("{}: NOT RUN: {error}", workload.id);
                report.not_run.insert(workload.id.to_owned(), error.to_string());
            }
        }
    }
    println!("{}", report.to_markdown());
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(report.not_run.is_empty())
}

fn wanted(only: &[String]) -> Result<Vec<Workload>> {
    let all = workload::all();
    if let Some(id) = only.iter().find(|id| all.iter().all(|w| w.id != id.as_str())) {
        let known: Vec<_> = all.iter().map(|w| w.id).collect();
        return Err(Error::Usage(format!("no workload {id:?}; there is {}", known.join(", "))));
    }
    Ok(all.into_iter().filter(|w| only.is_empty() || only.iter().any(|id| id == w.id)).collect())
}

/// Checks that both sides give the same numbers, then times them.
fn measure(
    workload: &Workload,
    args: &Args,
    folder: &Path,
    peer: Option<&mut Peer>,
) -> Result<Row> {
    let inputs = inputs::prepare(workload, args.data.as_ref())?;
    let rounds = usize::from(args.rounds);
    let mut ours = ours::prepare(workload, &inputs)?;
    let Some(peer) = peer.filter(|_| workload.rival == Rival::Peer) else {
        let mut rival = ours::prepare(&workload.without_sharpness(), &inputs)?;
        let names = ["our own BP step".to_owned()];
        let timings = rounds::interleave(workload, &names, rounds, &mut |side| match side {
            0 => ours.round(workload.iterations),
            _ => rival.round(workload.iterations),
        })?;
        return Row::new(workload, &names, &timings);
    };
    let file = folder.join("inputs.safetensors");
    ours::save_inputs(ours.as_ref(), &inputs, &file)?;
    let expected = ours.check()?;
    peer.release()?;
    let mut variants = Vec::new();
    let mut not_run = Vec::new();
    for variant in peer::variants(workload).iter().copied() {
        if let Err(error) = peer.prepare(workload, &file, variant) {
            let reason = format!("it cannot run: {error}");
            eprintln!("{}: {variant} is left out: {reason}", workload.id);
            not_run.push((variant.to_owned(), reason));
            continue;
        }
        let tolerance = workload.network.gradient_tolerance();
        let agreed = peer
            .check(variant, &folder.join("gradients.safetensors"))
            .map_err(|e| e.to_string())
            .and_then(|got| agree::agree(&expected, &got, tolerance));
        match agreed {
            Ok(worst) => {
                eprintln!("{}: {variant} agrees with ours ({worst})", workload.id);
                variants.push(variant.to_owned());
            }
            Err(reason) => {
                eprintln!("{}: {variant} is left out: {reason}", workload.id);
                not_run.push((variant.to_owned(), reason));
            }
        }
    }
    // The plain variant is the judge: one that computes something else may be left out, not this.
    let plain = peer::variants(workload)[0];
    if !variants.iter().any(|variant| variant == plain) {
        let reason = not_run.iter().find(|(variant, _)| variant == plain);
        let reason = reason.map_or("it did not run", |(_, reason)| reason.as_str());
        return Err(Error::Usage(format!("{plain}: {reason}")));
    }
    let timings = rounds::interleave(workload, &variants, rounds, &mut |side| match side {
        0 => ours.round(workload.iterations),
        _ => peer.round(&variants[side - 1], workload.iterations),
    })?;
    let mut row = Row::new(workload, &variants, &timings)?;
    row.not_run = not_run;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_workload_is_an_error_that_lists_the_known() {
        let error = wanted(&["lenet6".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("lenet6") && error.contains("lenet5-mrr-b64"), "{error}");
        let one = wanted(&["sat-over-bp".to_owned()]).unwrap();
        assert_eq!(one.iter().map(|w| w.id).collect::<Vec<_>>(), ["sat-over-bp"]);
    }
}
