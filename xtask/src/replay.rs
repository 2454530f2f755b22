//! Evaluates published weights case by case, in double precision, and compares with what they must
//! give.

use std::path::{Path, PathBuf};

use pnn_core::model::load_model_state;
use pnn_core::{DType, Seed, store};
use pnn_data::{Mnist, Normalisation};
use pnn_eval::sweep::{on_port, sweep};
use pnn_eval::{BatchNormMode, Evaluator};
use pnn_train::{FcActivation, LeNet5, MrrFactory, Trained};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, read_text};
use crate::progress::Progress;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The cases (JSON); weight files are relative to it
    #[arg(long)]
    manifest: PathBuf,
    /// Folder that holds mnist/*.gz
    #[arg(long)]
    data: PathBuf,
    /// Only the case with this id
    #[arg(long)]
    only: Option<String>,
    /// Writes the outcome as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Systems that are planned; a case for one of them is unsupported, not wrong.
const PLANNED: [&str; 3] = ["mzi-lenet5", "freespace-mlp", "d2nn"];

#[derive(Deserialize)]
struct Manifest {
    cases: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // annotations of a case, named so that a misspelt key is an error
struct Case {
    id: String,
    note: Option<String>,
    weights_are: Option<String>,
    system: String,
    weights: PathBuf,
    input: Input,
    batch_norm: BatchNorm,
    images: Images,
    fc_activation: FcActivation,
    perturb: Option<Perturb>,
    metric: String,
    expected: Vec<f64>,
    tolerance: Option<f64>,
    relative_tolerance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    mean: f64,
    std: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BatchNorm {
    Batch,
    Running,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Images {
    first: usize,
    count: usize,
    batch: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // as above
struct Perturb {
    note: Option<String>,
    port: String,
    layers: Vec<String>,
    values: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Passed,
    Failed,
    Unsupported,
}

#[derive(Serialize)]
struct Outcome {
    id: String,
    status: Status,
    expected: serde_json::Value,
    got: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    passed: usize,
    failed: usize,
    unsupported: usize,
    cases: Vec<Outcome>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let malformed = |reason: String| Error::File { path: args.manifest.clone(), reason };
    let manifest: Manifest = serde_json::from_str(&read_text(&args.manifest)?)
        .map_err(|e| malformed(format!("no manifest of cases: {e}")))?;
    let id_of = |index: usize, case: &serde_json::Value| {
        case["id"].as_str().map_or_else(|| format!("case {index}"), str::to_owned)
    };
    let cases: Vec<_> =
        manifest.cases.into_iter().enumerate().map(|(i, c)| (id_of(i, &c), c)).collect();
    let wanted: Vec<_> =
        cases.iter().filter(|(id, _)| args.only.as_ref().is_none_or(|only| only == id)).collect();
    if wanted.is_empty() {
        let known: Vec<_> = cases.iter().map(|(id, _)| id.as_str()).collect();
        return Err(malformed(match &args.only {
            Some(only) => format!("no case {only:?}; there is {}", known.join(", ")),
            None => "no cases".to_owned(),
        }));
    }
    let mut progress = Progress::new("replay", wanted.len() as u64);
    let mut mnist = None;
    let mut outcomes = Vec::new();
    for (done, (id, case)) in wanted.into_iter().enumerate() {
        progress.at(done as u64, id);
        let outcome = replay(id, case, args, &mut mnist);
        progress.say(&line(&outcome));
        outcomes.push(outcome);
    }
    let count = |status| outcomes.iter().filter(|o| o.status == status).count();
    let summary = Summary {
        passed: count(Status::Passed),
        failed: count(Status::Failed),
        unsupported: count(Status::Unsupported),
        cases: outcomes,
    };
    progress.finish("done");
    println!(
        "{} passed, {} failed, {} unsupported",
        summary.passed, summary.failed, summary.unsupported
    );
    if let Some(path) = &args.json {
        let json =
            serde_json::to_string_pretty(&summary).map_err(|e| Error::Usage(e.to_string()))?;
        store::write_atomic(path, json.as_bytes())?;
    }
    Ok(summary.failed == 0)
}

fn line(outcome: &Outcome) -> String {
    let numbers = |values: &[f64]| {
        let shown: Vec<_> = values.iter().map(|v| format!("{v:.2}")).collect();
        shown.join(" ")
    };
    let (status, id) = (outcome.status, &outcome.id);
    match (status, &outcome.reason) {
        (Status::Unsupported, reason) => {
            format!("unsupported  {id}: {}", reason.as_deref().unwrap_or("not built yet"))
        }
        (Status::Failed, Some(reason)) => format!("FAIL         {id}: {reason}"),
        (Status::Failed, None) => {
            format!(
                "FAIL         {id}: expected {} got {}",
                outcome.expected,
                numbers(&outcome.got)
            )
        }
        (Status::Passed, _) => format!("pass         {id}: {}", numbers(&outcome.got)),
    }
}

fn replay(id: &str, case: &serde_json::Value, args: &Args, mnist: &mut Option<Mnist>) -> Outcome {
    let mut outcome = Outcome {
        id: id.to_owned(),
        status: Status::Failed,
        expected: case["expected"].clone(),
        got: Vec::new(),
        reason: None,
    };
    let system = case["system"].as_str().unwrap_or_default();
    if PLANNED.contains(&system) {
        outcome.status = Status::Unsupported;
        outcome.reason = Some(format!("system {system} is not built yet"));
        return outcome;
    }
    let case: Case = match serde_json::from_value(case.clone()) {
        Ok(case) => case,
        Err(error) => {
            outcome.reason = Some(format!("malformed case: {error}"));
            return outcome;
        }
    };
    if case.system != "mrr-lenet5" {
        outcome.reason = Some(format!("unknown system {:?}", case.system));
        return outcome;
    }
    if let Err(reason) = case.check() {
        outcome.reason = Some(format!("malformed case: {reason}"));
        return outcome;
    }
    match case.metric.as_str() {
        "accuracy_percent" => {}
        "lambda_max" => {
            outcome.status = Status::Unsupported;
            outcome.reason = Some("metric lambda_max is not built yet".to_owned());
            return outcome;
        }
        other => {
            outcome.reason = Some(format!("unknown metric {other:?}"));
            return outcome;
        }
    }
    match accuracies(&case, args, mnist) {
        Ok(got) => {
            match agree(&case, &got) {
                Ok(()) => outcome.status = Status::Passed,
                Err(reason) => outcome.reason = Some(reason),
            }
            outcome.got = got;
        }
        Err(error) => outcome.reason = Some(error.to_string()),
    }
    outcome
}

impl Case {
    /// Whether the case tests anything at all.
    fn check(&self) -> Result<(), &'static str> {
        if self.expected.is_empty() {
            return Err("expected is empty");
        }
        if self.images.count == 0 || self.images.batch == 0 {
            return Err("images.count and images.batch must be at least 1");
        }
        match &self.perturb {
            Some(p) if p.values.is_empty() => Err("perturb.values is empty"),
            Some(p) if p.layers.is_empty() => Err("perturb.layers is empty"),
            _ => Ok(()),
        }
    }
}

/// Whether every value lies within the case's tolerance.
fn agree(case: &Case, got: &[f64]) -> Result<(), String> {
    if got.len() != case.expected.len() {
        return Err(format!(
            "malformed case: {} expected values for {} settings",
            case.expected.len(),
            got.len()
        ));
    }
    let tolerance = |expected: f64| match (case.tolerance, case.relative_tolerance) {
        (Some(absolute), _) => Ok(absolute),
        (None, Some(relative)) => Ok(relative * expected.abs()),
        (None, None) => Err("malformed case: neither tolerance nor relative_tolerance".to_owned()),
    };
    for (index, (expected, got)) in case.expected.iter().zip(got).enumerate() {
        let tolerance = tolerance(*expected)?;
        // In this form NaN fails.
        let within = (got - expected).abs() <= tolerance;
        if !within {
            return Err(format!(
                "value {index}: expected {expected}, got {got:.4}, tolerance {tolerance}"
            ));
        }
    }
    Ok(())
}

fn accuracies(case: &Case, args: &Args, mnist: &mut Option<Mnist>) -> Result<Vec<f64>> {
    let model =
        LeNet5::new(&MrrFactory(Trained::Weights), case.fc_activation, &Seed::new(0), DType::F64)?;
    let folder = args.manifest.parent().unwrap_or(Path::new("."));
    let (mut tensors, _) = store::load(&folder.join(&case.weights))?;
    for layer in ["conv1", "conv2", "fc1", "fc2", "fc3"] {
        if let Some(weight) = tensors.get_mut(&format!("{layer}.weight")) {
            *weight = weight.clamp(-1.0, 1.0).map_err(pnn_core::Error::from)?;
        }
    }
    load_model_state(&model, &tensors)?;
    let mnist = match mnist {
        Some(mnist) => mnist,
        None => mnist.insert(Mnist::load(&args.data)?),
    };
    let images = mnist.test.range(case.images.first, case.images.count)?;
    let evaluator = Evaluator {
        batch_norm: match case.batch_norm {
            BatchNorm::Batch => BatchNormMode::Batch(case.images.batch),
            BatchNorm::Running => BatchNormMode::Running,
        },
        normalisation: Normalisation::new(case.input.mean, case.input.std)?,
        calibration: None,
    };
    let ideal = Perturb { note: None, port: String::new(), layers: Vec::new(), values: vec![0.0] };
    let perturb = case.perturb.as_ref().unwrap_or(&ideal);
    let points = sweep(&model, &evaluator, &images, &perturb.values, 1, &|value, _| {
        on_port(&model, &perturb.port, &perturb.layers, value)
    })?;
    Ok(points.into_iter().map(|point| point.mean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(change: impl Fn(&mut serde_json::Value)) -> Outcome {
        let mut case = serde_json::json!({
            "id": "a", "system": "mrr-lenet5", "weights": "absent.safetensors", "fc_activation": "relu",
            "input": { "mean": 0.0, "std": 1.0 }, "batch_norm": "running",
            "images": { "first": 0, "count": 10, "batch": 10 },
            "perturb": { "port": "resonance_shift_nm", "layers": ["fc2"], "values": [0.0] },
            "metric": "accuracy_percent", "expected": [50.0], "tolerance": 0.1
        });
        change(&mut case);
        let folder = PathBuf::from("no-such-folder");
        let args = Args { manifest: folder.join("m.json"), data: folder, only: None, json: None };
        replay("a", &case, &args, &mut None)
    }

    #[test]
    fn what_is_malformed_or_unheard_of_fails_and_what_is_planned_is_unsupported() {
        let failed = |change: &dyn Fn(&mut serde_json::Value), says: &str| {
            let outcome = outcome(change);
            assert_eq!(outcome.status, Status::Failed);
            let reason = outcome.reason.unwrap();
            assert!(reason.contains(says), "{reason}");
        };
        failed(&|_| {}, "absent.safetensors");
        failed(&|c| c["pertrub"] = c["perturb"].take(), "unknown field");
        failed(&|c| c["expected"] = serde_json::json!([]), "expected is empty");
        failed(&|c| c["perturb"]["values"] = serde_json::json!([]), "values is empty");
        failed(&|c| c["perturb"]["layers"] = serde_json::json!([]), "layers is empty");
        failed(&|c| c["images"]["count"] = 0.into(), "at least 1");
        failed(&|c| c["system"] = "abacus".into(), "unknown system");
        failed(&|c| c["metric"] = "beauty".into(), "unknown metric");
        failed(&|c| c["expected"] = "many".into(), "malformed case");
        for planned in PLANNED {
            let outcome = outcome(|c| c["system"] = planned.into());
            assert_eq!(outcome.status, Status::Unsupported);
        }
        assert_eq!(outcome(|c| c["metric"] = "lambda_max".into()).status, Status::Unsupported);
    }

    #[test]
    fn agreement_needs_every_value_and_a_tolerance() {
        let case = |expected: &str, tolerance: &str| -> Case {
            serde_json::from_str(&format!(
                r#"{{"id": "a", "system": "mrr-lenet5", "weights": "w", "fc_activation": "relu",
                    "input": {{"mean": 0, "std": 1}}, "batch_norm": "running",
                    "images": {{"first": 0, "count": 1, "batch": 1}}, "metric": "accuracy_percent",
                    "expected": {expected} {tolerance}}}"#
            ))
            .unwrap()
        };
        let strict = case("[50.0, 60.0]", r#", "tolerance": 0.1"#);
        assert!(agree(&strict, &[50.05, 59.95]).is_ok());
        assert!(agree(&strict, &[50.2, 60.0]).unwrap_err().contains("value 0"));
        assert!(agree(&strict, &[50.0, f64::NAN]).unwrap_err().contains("value 1"));
        assert!(agree(&strict, &[50.0]).unwrap_err().contains("malformed"));
        let relative = case("[1000.0]", r#", "relative_tolerance": 0.01"#);
        assert!(agree(&relative, &[1009.0]).is_ok() && agree(&relative, &[1011.0]).is_err());
        assert!(agree(&case("[1.0]", ""), &[1.0]).unwrap_err().contains("neither"));
    }
}
