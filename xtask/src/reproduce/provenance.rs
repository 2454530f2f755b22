//! Where the numbers of a report come from.

use std::collections::BTreeMap;
use std::process::Command;

use super::data::Data;
use super::training::{Training, Trainings};

/// Command, profile, data, seeds, commit, versions and machine.
pub(crate) fn collect(profile: &str, data: &Data, seeds: &[u64]) -> BTreeMap<String, String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let entries = [
        ("command", format!("cargo xtask {}", arguments.join(" "))),
        ("profile", profile.to_owned()),
        ("data", data.name.clone()),
        ("seeds", seeds.join(", ")),
        ("commit", commit()),
        ("version", format!("pnn {}", env!("CARGO_PKG_VERSION"))),
        ("machine", machine()),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Which commits trained what, in words.
pub(super) fn trained_by(trainings: &Trainings) -> String {
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((key, seed), training) in trainings {
        if let Training::Done(trained) = training {
            by.entry(trained.commits.join(", then "))
                .or_default()
                .push(format!("{key}-seed{seed}"));
        }
    }
    if let [commits] = by.keys().collect::<Vec<_>>()[..] {
        return format!("all by {commits}");
    }
    let lines = by.iter().map(|(commits, runs)| format!("{} by {commits}", runs.join(", ")));
    lines.collect::<Vec<_>>().join("; ")
}

fn git(args: &[&str]) -> Option<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}

/// The commit of this program, as it was when first asked: a run of hours must not pass as what is
/// checked out meanwhile.
pub(crate) fn commit() -> String {
    static COMMIT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    COMMIT.get_or_init(ask_for_commit).clone()
}

fn ask_for_commit() -> String {
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown (not in a git checkout)".into();
    };
    // A run whose code differs from the commit must not pass as that commit's.
    let sources = [
        "status",
        "--porcelain",
        "--",
        "crates",
        "xtask",
        "benches",
        "Cargo.lock",
        "Cargo.toml",
        ".cargo",
    ];
    match git(&sources) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with uncommitted changes"),
    }
}

fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let processor = processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{processor}, {} threads, {}", rayon::current_num_threads(), std::env::consts::OS)
}
