//! A case: which weights, evaluated how, must give what.

use std::path::PathBuf;

use pnn_devices::freespace::SCALE_ERROR;
use pnn_train::{D2nn, FcActivation, FreeSpaceMlp};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    id: String,
    /// What a person may read about the case; so are the next one and a perturbation's note.
    note: Option<String>,
    weights_are: Option<String>,
    pub(super) system: String,
    pub(super) weights: PathBuf,
    pub(super) input: Input,
    /// Of networks that have one.
    pub(super) batch_norm: Option<BatchNorm>,
    pub(super) images: Images,
    /// Of a microring network only.
    pub(super) fc_activation: Option<FcActivation>,
    /// How many ports of a mesh the loss is over; the ten classes' if absent.
    pub(super) ports: Option<usize>,
    /// Fabrication errors, of a mesh only.
    pub(super) fabrication: Option<PathBuf>,
    pub(super) perturb: Option<Perturb>,
    pub(super) metric: Metric,
    pub(super) expected: Vec<f64>,
    pub(super) tolerance: Option<f64>,
    pub(super) relative_tolerance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) mean: f64,
    pub(super) std: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchNorm {
    Batch,
    Running,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Metric {
    /// Of the images, at each setting of the perturbation.
    AccuracyPercent,
    /// The largest eigenvalue of the Hessian of the loss in all that is trained; of rings in their detunings.
    LambdaMax,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Images {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) batch: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Perturb {
    note: Option<String>,
    port: String,
    /// Of networks whose ports do not say it.
    #[serde(default)]
    layers: Vec<String>,
    pub(super) values: Vec<f64>,
}

impl Perturb {
    /// The port of the device, the layers and the deviation that a value stands for. Panels in free space
    /// are turned and shifted at the first layer and scaled at both, where a scale of 1 is none; masks are
    /// turned together.
    pub(super) fn at(&self, system: &str, value: f64) -> (&str, Vec<String>, f64) {
        match system {
            "d2nn" => return (&self.port, vec![D2nn::OPTICS.to_owned()], value),
            "freespace-mlp" => {}
            _ => return (&self.port, self.layers.clone(), value),
        }
        let both = FreeSpaceMlp::LAYERS.map(str::to_owned);
        match self.port.as_str() {
            "scale" => (SCALE_ERROR, both.to_vec(), value - 1.0),
            port => (port, both[..1].to_vec(), value),
        }
    }
}

impl Case {
    /// What is written about the case, for whoever reads the outcome.
    pub(super) fn notes(&self) -> Vec<String> {
        let of_perturb = self.perturb.as_ref().and_then(|perturb| perturb.note.clone());
        let weights = self.weights_are.as_ref().map(|are| format!("weights: {are}"));
        self.note.clone().into_iter().chain(weights).chain(of_perturb).collect()
    }

    /// Whether the case tests anything at all.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.id.is_empty() {
            return Err("id is empty");
        }
        if self.expected.is_empty() {
            return Err("expected is empty");
        }
        if self.images.count == 0 || self.images.batch == 0 {
            return Err("images.count and images.batch must be at least 1");
        }
        match (self.system.as_str(), self.fc_activation, &self.fabrication) {
            ("mrr-lenet5", None, _) => return Err("missing field `fc_activation`"),
            ("mrr-lenet5", _, Some(_)) => return Err("fabrication is of meshes only"),
            ("mzi-lenet5" | "freespace-mlp" | "d2nn", Some(_), _) => {
                return Err("fc_activation is of rings only");
            }
            ("freespace-mlp" | "d2nn", _, Some(_)) => return Err("fabrication is of meshes only"),
            _ => {}
        }
        if self.ports.is_some() && self.system != "mzi-lenet5" {
            return Err("ports are of meshes only");
        }
        if self.metric == Metric::LambdaMax && self.perturb.is_some() {
            return Err("perturb is of accuracies only");
        }
        let panels = matches!(self.system.as_str(), "freespace-mlp" | "d2nn");
        match (&self.batch_norm, panels) {
            (None, false) => return Err("missing field `batch_norm`"),
            (Some(_), true) => return Err("batch_norm: this network has none"),
            _ => {}
        }
        match &self.perturb {
            Some(p) if p.values.is_empty() => Err("perturb.values is empty"),
            Some(p) if p.layers.is_empty() != panels => Err(if panels {
                "perturb.layers follow from the port"
            } else {
                "perturb.layers is empty"
            }),
            _ => Ok(()),
        }
    }
}

/// Whether every value lies within the case's tolerance.
pub(super) fn agree(case: &Case, got: &[f64]) -> Result<(), String> {
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
