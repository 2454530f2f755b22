//! What experiments on the sharpness of minima measure.

use pnn_eval::{DeviationAxis, Spread};
use serde::{Deserialize, Serialize};

use super::{Contest, Plan, Strength};

/// How sharp the minima of several methods are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Landscape {
    /// Positions along a side of a plane; lines have several times as many.
    pub(crate) points: usize,
    /// How far pictures go along an eigenvector of length 1, in the units of what is trained.
    pub(crate) span: f64,
    /// How far along a filter-normalised direction, in sizes of the filters.
    pub(crate) filter_span: f64,
    /// Single batches of 100 test images whose eigenvalues are compared.
    #[serde(default)]
    pub(crate) batches: usize,
    /// Which magnitudes are claimed.
    #[serde(default)]
    pub(crate) magnitudes: Vec<Magnitude>,
    /// Which methods the claim says are flatter (better) than which.
    pub(crate) contests: Vec<Contest>,
    /// Where the paper's numbers are.
    pub(crate) paper_source: Option<String>,
    #[serde(default)]
    pub(crate) paper: Vec<PaperLambda>,
}

/// The claim that `lambda_max` of a method lies in a range.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Magnitude {
    pub(crate) method: String,
    pub(crate) range: [f64; 2],
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperLambda {
    pub(crate) method: String,
    pub(crate) lambda_max: f64,
}

/// Which measure of sharpness goes with robustness.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// Training images that sharpness is measured on, the first of them.
    pub(crate) images: usize,
    /// Products of the Hessian for each trace.
    pub(crate) trace_products: usize,
    /// Steps of the ascent within a ball.
    pub(crate) ascent_steps: usize,
    /// Pairs of noisy losses.
    pub(crate) noise_pairs: usize,
    /// Networks are compared within each of these.
    pub(crate) systems: Vec<System>,
}

/// Networks of one kind, and what they are exposed to.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct System {
    pub(crate) name: String,
    pub(crate) methods: Vec<String>,
    /// Epochs after which networks are looked at as well, where their training is longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) checkpoints: Vec<usize>,
    /// Radius of SAM's ball, and the standard deviation of noise on each parameter, in their units.
    pub(crate) radius: f64,
    pub(crate) noise: f64,
    /// The same in sizes of the parameters.
    pub(crate) relative_radius: f64,
    pub(crate) relative_noise: f64,
    /// Deviations in which the loss is curved as well.
    pub(crate) deviations: Vec<Deviation>,
    /// What accuracies are measured under.
    pub(crate) conditions: Vec<Strength>,
}

/// A deviation of a device, in steps of what is expected.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    /// Its name in tables and plots.
    pub(crate) label: String,
    pub(crate) port: String,
    pub(crate) layers: Vec<String>,
    /// A step, in the unit of the port.
    pub(crate) unit: f64,
    /// Whether all entries move by one value, as under a drift.
    #[serde(default)]
    pub(crate) shared: bool,
    /// Whether the loss is not differentiable in it at 0, as in a picture that moves by pixels: then there is no
    /// slope and no curvature to measure.
    #[serde(default)]
    pub(crate) kinked: bool,
}

impl Deviation {
    pub(crate) fn axis(&self) -> DeviationAxis {
        let spread = if self.shared { Spread::Shared } else { Spread::Each };
        let (port, layers) = (self.port.clone(), self.layers.clone());
        DeviationAxis { port, layers, unit: self.unit, spread }
    }
}

/// What members of a family of methods reach, and what they cost.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    /// What the cost of a step is given in: a method without an ascent.
    pub(crate) baseline: String,
    /// What accuracies are measured under, beside no deviation at all.
    pub(crate) conditions: Vec<Strength>,
    /// The member whose robustness the others are held against.
    pub(crate) rival: String,
    /// The members that the claim is about: they take fewer passes than the rival.
    pub(crate) cheaper: Vec<String>,
    /// By how many points of the mean accuracy over all conditions one may fall short of the rival and yet keep its
    /// robustness.
    pub(crate) margin: f64,
}

fn positive(what: &str, values: &[f64]) -> Result<(), String> {
    match values.iter().find(|value| !(**value > 0.0 && value.is_finite())) {
        Some(value) => Err(format!("{what} is {value}, allowed is (0, infinity)")),
        None => Ok(()),
    }
}

fn in_range(what: &str, value: usize, low: usize, high: usize) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{what} is {value}, allowed is [{low}, {high}]"))
}

impl Landscape {
    pub(super) fn check(&self) -> Result<(), String> {
        in_range("points", self.points, 3, 201)?;
        in_range("batches", self.batches, 0, 50)?;
        positive("span", &[self.span])?;
        positive("filter_span", &[self.filter_span])?;
        let backwards = |m: &&Magnitude| !(0.0 <= m.range[0] && m.range[0] < m.range[1]);
        match self.magnitudes.iter().find(backwards) {
            Some(m) => Err(format!("magnitudes, {:?}: {:?} is no range", m.method, m.range)),
            None => Ok(()),
        }
    }
}

impl Link {
    pub(super) fn check(&self) -> Result<(), String> {
        in_range("images", self.images, 2, 60_000)?;
        in_range("trace_products", self.trace_products, 3, 1000)?;
        in_range("ascent_steps", self.ascent_steps, 1, 1000)?;
        in_range("noise_pairs", self.noise_pairs, 2, 10_000)?;
        in_range("systems", self.systems.len(), 1, 100)?;
        for system in &self.systems {
            let within = |e| format!("systems, {:?}: {e}", system.name);
            for epochs in &system.checkpoints {
                in_range("checkpoints", *epochs, 1, 10_000).map_err(within)?;
            }
            positive("radius", &[system.radius, system.relative_radius]).map_err(within)?;
            positive("noise", &[system.noise, system.relative_noise]).map_err(within)?;
            for deviation in &system.deviations {
                positive(&format!("unit of {:?}", deviation.label), &[deviation.unit])
                    .map_err(within)?;
            }
            if system.conditions.is_empty() {
                return Err(within("conditions is empty, at least one is needed".into()));
            }
        }
        Ok(())
    }

    /// The checkpoints of a method.
    pub(crate) fn checkpoints(&self, key: &str) -> &[usize] {
        let system = self.systems.iter().find(|system| system.methods.iter().any(|m| m == key));
        system.map_or(&[], |system| &system.checkpoints)
    }

    /// Every method that runs is of one system, and random conditions have chips.
    pub(super) fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        let systems = |m: &String| self.systems.iter().filter(|s| s.methods.contains(m)).count();
        if let Some(method) = plan.methods.iter().find(|m| systems(m) != 1) {
            let count = systems(method);
            return Err(format!("methods: {method:?} is of {count} systems, one is needed"));
        }
        let conditions = self.systems.iter().flat_map(|s| &s.conditions);
        check_chips(plan, conditions)
    }
}

impl Family {
    pub(super) fn check(&self) -> Result<(), String> {
        positive("margin", &[self.margin])?;
        in_range("conditions", self.conditions.len(), 1, 100)
    }

    pub(super) fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        if !plan.methods.contains(&self.baseline) {
            return Err(format!("methods lacks {:?}, the baseline", self.baseline));
        }
        check_chips(plan, self.conditions.iter())
    }
}

fn check_chips<'a>(
    plan: &Plan,
    mut conditions: impl Iterator<Item = &'a Strength>,
) -> Result<(), String> {
    let given = plan.chips.is_some_and(|chips| (2..=1000).contains(&chips));
    if given || !conditions.any(Strength::is_random) {
        return Ok(());
    }
    Err(format!("chips is {:?}, allowed is [2, 1000]", plan.chips))
}
