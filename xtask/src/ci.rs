//! What CI runs, and what a developer runs before a commit.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::error::{Error, Result, read_text};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves out the tests, the packages and the replay: a minute instead of ten
    #[arg(long)]
    quick: bool,
}

/// Each crate's features, built alone.
const FEATURES: [(&str, &[&str]); 4] = [
    ("pnn-core", &["", "testing", "npy", "export"]),
    ("pnn-devices", &["", "process"]),
    ("pnn-data", &["", "download"]),
    ("pnn-eval", &["", "plots"]),
];

const CRATES: [&str; 6] =
    ["pnn-core", "pnn-devices", "pnn-noise", "pnn-data", "pnn-train", "pnn-eval"];

/// Tests of `pnn-core` that run under the address sanitizer, beside that of memory.
const SANITIZED: [&str; 5] = ["reference::", "fused::", "gradients::", "graph::", "threads::"];

/// Where packages are built when they are verified: apart, so that what was built of them before can
/// be told from everything else.
const VERIFICATION: &str = "target/verification";

/// Where the published weights are, if they are at all.
const REFERENCE: &str = "../shared/reference/manifest.json";

pub(crate) fn run(args: &Args) -> Result<bool> {
    cargo("formatting", &["fmt", "--all", "--check"], &[])?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    cargo("lints", &clippy, &[])?;
    let doc = ["doc", "--workspace", "--no-deps", "--all-features"];
    cargo("documentation", &doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    if args.quick {
        return Ok(true);
    }
    for (name, features) in FEATURES {
        for feature in features {
            let build =
                ["check", "--package", name, "--no-default-features", "--features", feature];
            cargo(&format!("{name} with features [{feature}]"), &build, &[])?;
        }
    }
    let mut package = vec!["package", "--allow-dirty", "--target-dir", VERIFICATION];
    for name in CRATES {
        package.extend(["--package", name]);
    }
    forget_packages()?;
    // Whether they build is asked, not what they are worth.
    cargo("packages", &package, &[("CARGO_PROFILE_DEV_DEBUG", "false")])?;
    cargo("tests", &["test", "--workspace"], &[])?;
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        address_sanitizer()?;
    }
    // `cargo run --package` would build everything once more, with the features that one package asks for.
    cargo("examples", &["build", "--workspace", "--examples"], &[])?;
    for example in ["custom_device", "custom_ring", "custom_strategy"] {
        let program = root().join("target/debug/examples").join(example);
        step(&format!("example {example}"), &mut Command::new(program))?;
    }
    let reproduce = ["xtask", "reproduce", "--only", "fig2e,fig2h", "--out", "target/ci-reproduce"];
    cargo("reproduce", &reproduce, &[])?;
    clean_accuracy(&root().join("target/ci-reproduce/results.json"))?;
    guide()?;
    if root().join(REFERENCE).exists() {
        let replay = ["xtask", "replay", "--manifest", REFERENCE, "--data", "../shared/data"];
        cargo("replay", &replay, &[])?;
    } else {
        println!("ci: replay left out, {REFERENCE} is not there");
    }
    println!("ci: all passed");
    Ok(true)
}

/// The tests that run through the kernels with unchecked loads, under the address sanitizer: a read
/// or write beyond an allocation fails. It needs an unstable flag of the compiler, hence the
/// variable, and a target named, lest build scripts be instrumented too.
fn address_sanitizer() -> Result<()> {
    let mut args = vec!["test", "--package", "pnn-core", "--target", "x86_64-unknown-linux-gnu"];
    args.extend(["--target-dir", "target/sanitizer", "--test"]);
    let suite = [args.as_slice(), &["suite", "--"], &SANITIZED].concat();
    let memory = [args.as_slice(), &["memory"]].concat();
    let environment = [("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")];
    cargo("address sanitizer", &suite, &environment)?;
    cargo("address sanitizer", &memory, &environment)
}

/// Runs the commands of the user guide as they are written there.
fn guide() -> Result<()> {
    let text = read_text(&root().join("docs/guide/README.md"))?;
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let script: String = blocks.collect();
    step("user guide", Command::new("bash").args(["-euxc", &script]))
}

/// Removes what cargo keeps of packages that were verified before: it would take them for those of
/// today, whose version is the same.
fn forget_packages() -> Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let Some(home) = home else { return Ok(()) };
    let built = root().join(VERIFICATION).join("debug/.fingerprint");
    for entry in std::fs::read_dir(&built).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with("pnn-") {
            std::fs::remove_dir_all(&path).map_err(|source| Error::Io { path, source })?;
        }
    }
    for kind in ["src", "cache"] {
        let registries = std::fs::read_dir(home.join("registry").join(kind));
        // The registry of a verification has no name, only a hash.
        let unnamed = registries.into_iter().flatten().flatten().map(|entry| entry.path());
        let unnamed = unnamed.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('-'))
        });
        for package in unnamed.flat_map(std::fs::read_dir).flatten().flatten() {
            let path = package.path();
            let name = package.file_name().to_string_lossy().into_owned();
            if !CRATES.iter().any(|ours| name.starts_with(&format!("{ours}-"))) {
                continue;
            }
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(|source| Error::Io { path, source })?;
        }
    }
    Ok(())
}

/// The root of the workspace, wherever the command was given.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// BP and SAT must both reach 95 % on the held-out digits: if they do not, training is broken.
fn clean_accuracy(results: &Path) -> Result<()> {
    let malformed = |reason: &str| Error::File { path: results.to_owned(), reason: reason.into() };
    let json: serde_json::Value =
        serde_json::from_str(&read_text(results)?).map_err(|e| malformed(&e.to_string()))?;
    let rows = json["experiments"]["fig2e"]["tables"][0]["rows"].as_array();
    let rows = rows.filter(|rows| rows.len() == 2).ok_or_else(|| malformed("not two methods"))?;
    for row in rows {
        let accuracy = row["accuracy, running statistics (%)"]["estimate"].as_f64();
        if !accuracy.is_some_and(|percent| percent >= 95.0) {
            let reason =
                format!("{}: clean accuracy {accuracy:?} %, at least 95 is needed", row["method"]);
            return Err(malformed(&reason));
        }
    }
    Ok(())
}

fn cargo(what: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).envs(environment.iter().copied());
    step(&format!("{what}: cargo {}", args.join(" ")), &mut command)
}

/// A step of ci, in the root of the workspace.
fn step(what: &str, command: &mut Command) -> Result<()> {
    println!("ci: {what}");
    // What cargo tells the program that it runs is not for the cargo that this starts: build scripts that watch such
    // variables (ring's) would be run anew, with all that depends on them, and once more the next time.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.to_string_lossy().starts_with(own))
        {
            command.env_remove(name);
        }
    }
    let started = Instant::now();
    let status = command.current_dir(root()).status();
    let status = status.map_err(|e| Error::Usage(format!("{what}: cannot be started: {e}")))?;
    if !status.success() {
        return Err(Error::Usage(format!("{what}: {status}")));
    }
    println!("ci: {what}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
