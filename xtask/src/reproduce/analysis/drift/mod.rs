//! Accuracy against ambient temperature (Figs. 2h and 2j).

mod judge;
mod show;

use pnn_core::{Chip, Model};
use pnn_data::{Dataset, Normalisation};
use pnn_eval::{Cell, Column, Evaluator, Interval, Table, on_port};
use pnn_train::FcActivation;

use super::compare::{about_intervals, difference, over_seeds, percent, points, sources};
use super::judged::{Case, Judged};
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Drift, Plan, View};
use crate::reproduce::front::Deployed;
use crate::reproduce::published::published;
use judge::judge;
pub(super) use show::table_of;

/// Temperatures, and which layers' resonances they shift.
pub(super) struct Sweep<'a> {
    pub(super) layers: &'a [String],
    pub(super) nm_per_kelvin: f64,
    pub(super) kelvin: &'a [f64],
}

impl Sweep<'_> {
    /// Accuracy in percent of a network on its chip at each temperature.
    pub(super) fn accuracies(
        &self,
        (model, fc_activation): (&dyn Model, FcActivation),
        chip: &Chip,
        evaluator: Evaluator<'_>,
        images: &Dataset,
    ) -> Result<Vec<f64>> {
        let deployed = Deployed::new(model, fc_activation, evaluator, images)?;
        let at = |kelvin: &f64| {
            let shift = kelvin * self.nm_per_kelvin;
            let drift = on_port(model, "resonance_shift_nm", self.layers, shift)?;
            deployed.percent(&chip.plus(&drift)?)
        };
        self.kelvin.iter().map(at).collect()
    }
}

/// Accuracy of one method at each temperature.
pub(super) struct Curve {
    pub(super) key: String,
    pub(super) label: String,
    /// In percent, by seed and temperature.
    by_seed: Vec<Vec<f64>>,
    pub(super) images: u64,
    pub(super) accuracy: Vec<Interval>,
}

impl Curve {
    pub(super) fn new(
        key: String,
        label: String,
        by_seed: Vec<Vec<f64>>,
        images: u64,
    ) -> Result<Self> {
        let temperatures = by_seed.first().map_or(0, Vec::len);
        let at = |k: usize| {
            over_seeds(&by_seed.iter().map(|points| points[k]).collect::<Vec<_>>(), images)
        };
        let accuracy = (0..temperatures).map(at).collect::<Result<_>>()?;
        Ok(Self { key, label, by_seed, images, accuracy })
    }

    pub(super) fn at(&self, kelvins: &[f64], kelvin: f64) -> Option<&Interval> {
        self.accuracy.get(kelvins.iter().position(|k| *k == kelvin)?)
    }

    /// Accuracy in percent of each seed at a temperature.
    pub(super) fn seeds_at(&self, kelvins: &[f64], kelvin: f64) -> Vec<f64> {
        let at = kelvins.iter().position(|k| *k == kelvin);
        self.by_seed.iter().filter_map(|points| points.get(at?).copied()).collect()
    }

    /// How much more accurate this method is than another at a temperature, seed by seed.
    pub(super) fn minus(&self, other: &Self, kelvins: &[f64], kelvin: f64) -> Result<Interval> {
        let (own, others) = (self.seeds_at(kelvins, kelvin), other.seeds_at(kelvins, kelvin));
        difference(&own, &others, self.images)
    }

    /// How much accuracy is lost from 0 K to a temperature, seed by seed.
    fn lost(&self, kelvins: &[f64], kelvin: f64) -> Result<Interval> {
        let (clean, now) = (self.seeds_at(kelvins, 0.0), self.seeds_at(kelvins, kelvin));
        difference(&clean, &now, self.images)
    }
}

pub(super) fn analyse(spec: &Drift, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let mut figures = Vec::new();
    let mut summary = Table::new(
        "Accuracy where the claim is judged, ours and the paper's",
        vec![
            Column::text("view"),
            Column::text("method"),
            Column::percent_interval("ours at 0 K", 1),
            Column::number("temperature", 1).unit("K"),
            Column::percent_interval("ours there", 1),
            Column::text("paper there"),
        ],
    )?;
    let mut details = Vec::new();
    let mut judged = Vec::new();
    let mut views = Vec::new();
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let sweep =
            Sweep { layers: &spec.layers, nm_per_kelvin: spec.nm_per_kelvin, kelvin: &spec.kelvin };
        let curves = curves(&sweep, plan, view, context)?;
        figures.push(show::figure(spec, view, &curves)?);
        for curve in &curves {
            let cell = |kelvin| {
                curve.at(&spec.kelvin, kelvin).map_or(Cell::Missing, |i| Cell::Interval(*i))
            };
            for kelvin in &spec.judged_at_kelvin {
                summary.push(vec![
                    Cell::Text(view.name.clone()),
                    Cell::Text(curve.label.clone()),
                    cell(0.0),
                    Cell::Number(*kelvin),
                    cell(*kelvin),
                    Cell::Text(show::papers_number(spec, view, &curve.key, *kelvin)),
                ])?;
            }
        }
        details.push(show::table_of(&spec.kelvin, view, &curves)?);
        for kelvin in &spec.judged_at_kelvin {
            judged.push(judge(spec, &plan.rivals, view, &curves, *kelvin)?);
        }
        views.push((view, curves));
    }
    let mut paragraphs = vec![
        format!(
            "The detunings of {} shift by {} nm for each kelvin, all rings alike. A network trained with hardware in the \
             loop (PAT) is deployed on that very chip, the others on the ideal one. To keep its accuracy a network may lose \
             at most {} points from 0 K. The claim holds where {} keeps for sure, its rivals lose for sure, and it is better \
             than each for sure; in part where that is so against {}; it does not hold where {} loses, {} keeps, or the \
             latter is better.",
            spec.layers.join(" and "),
            spec.nm_per_kelvin,
            spec.keeps_within,
            context.label(&spec.method),
            context.label(&spec.baseline),
            context.label(&spec.method),
            context.label(&spec.baseline),
        ),
        about_intervals(context.profile.seeds.len()).to_owned(),
    ];
    paragraphs.extend(sources(spec.paper.iter().map(|p| (&*p.label, &*p.source))));
    Ok(Findings {
        judged: Judged::of(judged),
        paragraphs,
        figures,
        tables: vec![summary, show::kept(spec, &views)?],
        details,
    })
}

/// The curve of every method in a view, and of its published weights where they are there.
pub(super) fn curves(
    sweep: &Sweep<'_>,
    plan: &Plan,
    view: &View,
    context: &Context<'_>,
) -> Result<Vec<Curve>> {
    let images = context.images(view)?;
    let count = images.len() as u64;
    let evaluator = context.evaluator(view, Normalisation::UNIT);
    let mut curves = Vec::new();
    for key in &plan.methods {
        let mut by_seed = Vec::new();
        for run in context.trained(key)? {
            by_seed.push(sweep.accuracies(
                (run.model.as_ref(), run.fc_activation),
                &run.chip,
                evaluator,
                &images,
            )?);
        }
        curves.push(Curve::new(key.clone(), context.label(key), by_seed, count)?);
        if let Some(path) =
            context.reference.map(|r| r.join("mrr").join(format!("{key}.safetensors")))
            && path.exists()
        {
            let model = published(&path)?;
            let points = sweep.accuracies(
                (&model, FcActivation::Relu),
                &Chip::ideal(),
                evaluator,
                &images,
            )?;
            let label = format!("{}, published weights", context.label(key));
            curves.push(Curve::new(format!("{key} published"), label, vec![points], count)?);
        }
    }
    Ok(curves)
}
