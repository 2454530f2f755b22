//! Evaluates published weights case by case, in double precision, and compares with what they must
//! give.

mod case;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use pnn_core::model::load_model_state;
use pnn_core::ops::Sampling;
use pnn_core::{Bounds, Chip, DType, Model, Seed, Tensor, store};
use pnn_data::{Mnist, Normalisation};
use pnn_eval::sweep::{on_port, sweep};
use pnn_eval::{BatchNormMode, Evaluator, LossSurface, Reduction};
use pnn_train::{CROSS_ENTROPY, D2nn, FreeSpaceMlp, LeNet5, MrrFactory, MziLeNet5, Trained};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, read_text};
use crate::networks::{self, PASS};
use crate::progress::Progress;
use crate::reproduce::chip::FixedChip;
use case::{BatchNorm, Case, Metric, agree};

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

#[derive(Deserialize)]
struct Manifest {
    cases: Vec<serde_json::Value>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
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
    let notes: String = outcome.notes.iter().map(|note| format!(" ({note})")).collect();
    match (status, &outcome.reason) {
        (Status::Unsupported, reason) => {
            format!("unsupported  {id}: {}", reason.as_deref().unwrap_or("not built yet"))
        }
        (Status::Failed, Some(reason)) => format!("FAIL         {id}: {reason}{notes}"),
        (Status::Failed, None) => {
            format!(
                "FAIL         {id}: expected {} got {}{notes}",
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
        notes: Vec::new(),
    };
    let system = case["system"].as_str().unwrap_or_default();
    if !matches!(system, "mrr-lenet5" | "mzi-lenet5" | "freespace-mlp" | "d2nn") {
        outcome.reason = Some(format!("unknown system {system:?}"));
        return outcome;
    }
    let case: Case = match serde_json::from_value(case.clone()) {
        Ok(case) => case,
        Err(error) => {
            outcome.reason = Some(format!("malformed case: {error}"));
            return outcome;
        }
    };
    outcome.notes = case.notes();
    if let Err(reason) = case.check() {
        outcome.reason = Some(format!("malformed case: {reason}"));
        return outcome;
    }
    match measure(&case, args, mnist) {
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

/// The published network of a case, and the chip that it is evaluated on.
fn network(case: &Case, folder: &Path) -> Result<(Box<dyn Model>, Chip)> {
    let (mut tensors, _) = store::load(&folder.join(&case.weights))?;
    if case.system == "mzi-lenet5" {
        let mesh = MziLeNet5::published_mesh()?;
        for name in ["theta", "phi", "gamma"] {
            let missing = || Error::Usage(format!("no tensor \"layer1.{name}\""));
            let grid = tensors.remove(&format!("layer1.{name}")).ok_or_else(missing)?;
            let values = if name == "gamma" { grid.flatten_all()? } else { mesh.gather(&grid)? };
            tensors.insert(format!("{}.{name}", MziLeNet5::MESH), values);
        }
        let mut model = MziLeNet5::published(Bounds::UNBOUNDED, &Seed::new(0), DType::F64)?;
        if let Some(ports) = case.ports {
            model = model.with_detectors(ports)?;
        }
        load_model_state(&model, &tensors)?;
        let chip = match &case.fabrication {
            Some(path) => FixedChip::load(&folder.join(path))?,
            None => Chip::ideal(),
        };
        return Ok((Box::new(model), chip));
    }
    if case.system == "freespace-mlp" {
        let model = FreeSpaceMlp::new(Sampling::Nearest, None, &Seed::new(0), DType::F64)?;
        load_model_state(&model, &tensors)?;
        return Ok((Box::new(model), Chip::ideal()));
    }
    if case.system == "d2nn" {
        let mut masks = Vec::new();
        for name in ["phase_0", "phase_1"] {
            let missing = || Error::Usage(format!("no tensor {name:?}"));
            masks.push(tensors.remove(name).ok_or_else(missing)?);
        }
        let model = D2nn::new(Sampling::Nearest, &Seed::new(0), DType::F64)?;
        let phase = Tensor::stack(&masks.iter().collect::<Vec<_>>())?;
        let state = [(format!("{}.phase", D2nn::OPTICS), phase)].into_iter().collect();
        load_model_state(&model, &state)?;
        return Ok((Box::new(model), Chip::ideal()));
    }
    let activation = case.fc_activation.unwrap_or_default();
    let trained = match case.metric {
        Metric::AccuracyPercent => Trained::Weights,
        Metric::LambdaMax => Trained::Detunings,
    };
    let model = LeNet5::new(&MrrFactory(trained), activation, &Seed::new(0), DType::F64)?;
    for layer in LeNet5::LAYERS {
        if let Some(weight) = tensors.get_mut(&format!("{layer}.weight")) {
            *weight = weight.clamp(-1.0, 1.0)?;
        }
    }
    if case.metric == Metric::LambdaMax {
        networks::as_detunings(&mut tensors)?;
    }
    load_model_state(&model, &tensors)?;
    Ok((Box::new(model), Chip::ideal()))
}

fn measure(case: &Case, args: &Args, mnist: &mut Option<Mnist>) -> Result<Vec<f64>> {
    let folder = args.manifest.parent().unwrap_or(Path::new("."));
    let (model, fabricated) = network(case, folder)?;
    let mnist = match mnist {
        Some(mnist) => mnist,
        None => mnist.insert(Mnist::load(&args.data)?),
    };
    let images = mnist.test.range(case.images.first, case.images.count)?;
    let evaluator = Evaluator {
        batch_norm: match case.batch_norm {
            Some(BatchNorm::Batch) => BatchNormMode::Batch(case.images.batch),
            Some(BatchNorm::Running) | None => BatchNormMode::Running,
        },
        normalisation: Normalisation::new(case.input.mean, case.input.std)?,
        calibration: None,
    };
    if case.metric == Metric::LambdaMax {
        let (loss, reduction) = (CROSS_ENTROPY, Reduction::Mean);
        let surface = LossSurface { evaluator, loss, reduction, batch: PASS };
        let mut surface = surface.of_parameters(model.as_ref(), &fabricated, &images)?;
        return Ok(vec![networks::lambda_max(&mut surface)?]);
    }
    let points = match &case.perturb {
        Some(perturb) => {
            let model = model.as_ref();
            sweep(model, &evaluator, &images, &perturb.values, 1, &|value, _| {
                let (port, layers, value) = perturb.at(&case.system, value);
                let perturbed = on_port(model, port, &layers, value)?;
                Ok(fabricated.plus(&perturbed)?)
            })?
        }
        None => {
            let chip = |_, _| Ok(fabricated.clone());
            sweep(model.as_ref(), &evaluator, &images, &[0.0], 1, &chip)?
        }
    };
    Ok(points.into_iter().map(|point| point.mean).collect())
}
