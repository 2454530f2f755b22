//! Accuracy against ambient temperature (Figs. 2h and 2j).

use pnn_core::Chip;
use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Table, Verdict};
use pnn_train::LeNet5;

use super::{Context, Findings, against_temperature, over_seeds, percent};
use crate::error::Result;
use crate::reproduce::config::{Drift, Plan, View};
use crate::reproduce::training::published;

/// Accuracy of one method at each temperature.
struct Curve {
    key: String,
    label: String,
    accuracy: Vec<Interval>,
}

impl Curve {
    fn at(&self, spec: &Drift, kelvin: f64) -> Option<&Interval> {
        self.accuracy.get(spec.kelvin.iter().position(|k| *k == kelvin)?)
    }
}

pub(super) fn analyse(spec: &Drift, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let mut figures = Vec::new();
    let mut summary = Table::new(
        format!("Accuracy at {} K (and at 0 K), ours and the paper's", spec.judged_at_kelvin),
        vec![
            Column::text("view"),
            Column::text("method"),
            Column::percent_interval("ours at 0 K", 1),
            Column::percent_interval(format!("ours at {} K", spec.judged_at_kelvin), 1),
            Column::text(format!("paper at {} K", spec.judged_at_kelvin)),
        ],
    )?;
    let mut details = Vec::new();
    let mut judged = Vec::new();
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let curves = curves(spec, plan, view, context)?;
        figures.push(figure(spec, view, &curves)?);
        for curve in &curves {
            let cell =
                |kelvin| curve.at(spec, kelvin).map_or(Cell::Missing, |i| Cell::Interval(*i));
            summary.push(vec![
                Cell::Text(view.name.clone()),
                Cell::Text(curve.label.clone()),
                cell(0.0),
                cell(spec.judged_at_kelvin),
                Cell::Text(papers_number(spec, &curve.key)),
            ])?;
        }
        details.push(table_of(spec, view, &curves)?);
        judged.push(judge(spec, view, &curves));
    }
    let (verdict, words) = combine(judged);
    let words = format!("At {} K. {words}", spec.judged_at_kelvin);
    let mut sources: Vec<_> =
        spec.paper.iter().map(|p| format!("{}: {}", p.label, p.source)).collect();
    sources.dedup();
    let mut paragraphs = vec![format!(
        "The detunings of {} shift by {} nm for each kelvin, all rings alike. A network trained \
         with hardware in the loop (PAT) is deployed on that very chip, the others on the ideal one. One seed gives Wilson's \
         interval over its images, which says nothing about other seeds; more give Student's t over seeds.",
        spec.layers.join(" and "),
        spec.nm_per_kelvin
    )];
    if !sources.is_empty() {
        paragraphs.push(format!("Paper's numbers. {}.", sources.join("; ")));
    }
    Ok(Findings { verdict, words, paragraphs, figures, tables: vec![summary], details })
}

fn curves(spec: &Drift, plan: &Plan, view: &View, context: &Context<'_>) -> Result<Vec<Curve>> {
    let images = context.images(view)?;
    let evaluator = context.evaluator(view);
    let mut curves = Vec::new();
    let accuracies = |model: &LeNet5, chip: &Chip| {
        let drift = (spec.layers.as_slice(), spec.nm_per_kelvin);
        against_temperature(model, chip, &evaluator, &images, &spec.kelvin, drift)
    };
    for key in &plan.methods {
        let mut by_seed = Vec::new();
        for run in context.trained(key)? {
            by_seed.push(accuracies(&run.model, &run.chip)?);
        }
        let at = |k: usize| {
            let percents: Vec<f64> = by_seed.iter().map(|points| points[k].mean).collect();
            over_seeds(&percents, images.len() as u64)
        };
        let accuracy = (0..spec.kelvin.len()).map(at).collect::<Result<_>>()?;
        curves.push(Curve { key: key.clone(), label: context.label(key), accuracy });
        if let Some(path) =
            context.reference.map(|r| r.join("mrr").join(format!("{key}.safetensors")))
            && path.exists()
        {
            let points = accuracies(&published(&path)?, &Chip::ideal())?;
            let accuracy = points
                .iter()
                .map(|point| over_seeds(&[point.mean], point.images))
                .collect::<Result<_>>()?;
            let label = format!("{}, published weights", context.label(key));
            curves.push(Curve { key: format!("{key} published"), label, accuracy });
        }
    }
    Ok(curves)
}

fn figure(spec: &Drift, view: &View, curves: &[Curve]) -> Result<(pnn_eval::Svg, String)> {
    let mut order: Vec<usize> = (0..spec.kelvin.len()).collect();
    order.sort_by(|a, b| spec.kelvin[*a].total_cmp(&spec.kelvin[*b]));
    let mut series = Vec::new();
    for curve in curves {
        let points = order.iter().map(|i| (spec.kelvin[*i], curve.accuracy[*i].scaled(100.0)));
        let line = LineSeries::from_intervals(&curve.label, points);
        series.push(match curve.key.strip_suffix(" published") {
            Some(key) => {
                let own = curves.iter().find(|c| c.key == key).map_or("", |c| c.label.as_str());
                line.reference_of(own)
            }
            None => line,
        });
    }
    for paper in &spec.paper {
        let Some(own) = curves.iter().find(|c| c.key == paper.method) else { continue };
        let mut points: Vec<_> =
            paper.kelvin.iter().copied().zip(paper.accuracy.iter().copied()).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(LineSeries::new(&paper.label, points).reference_of(&own.label));
    }
    let svg = line_chart(
        &view.name,
        &Axis::linear("temperature change").unit("K"),
        &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
        &series,
    )?;
    Ok((
        svg,
        format!(
            "Accuracy against temperature; batch-norm uses {}. Bands: 95 %. Dashed: the paper's.",
            view.batch_norm
        ),
    ))
}

fn table_of(spec: &Drift, view: &View, curves: &[Curve]) -> Result<Table> {
    let mut columns = vec![Column::number("temperature", 2).unit("K")];
    columns.extend(curves.iter().map(|c| Column::percent_interval(&c.label, 2)));
    let mut table =
        Table::new(format!("All temperatures: {} ({})", view.name, view.batch_norm), columns)?;
    for (k, kelvin) in spec.kelvin.iter().enumerate() {
        let mut row = vec![Cell::Number(*kelvin)];
        row.extend(curves.iter().map(|c| Cell::Interval(c.accuracy[k])));
        table.push(row)?;
    }
    Ok(table)
}

/// The paper's numbers for a method at the temperature where the claim is judged, in words.
fn papers_number(spec: &Drift, key: &str) -> String {
    let numbers: Vec<String> = spec
        .paper
        .iter()
        .filter(|p| p.method == key)
        .filter_map(|p| {
            let at = p.kelvin.iter().position(|k| *k == spec.judged_at_kelvin)?;
            let how = p.label.rsplit('(').next().map_or("", |s| s.trim_end_matches(')'));
            Some(format!("{} % ({how})", p.accuracy[at]))
        })
        .collect();
    if numbers.is_empty() { "not reported".into() } else { numbers.join(", ") }
}

/// Whether the claim holds in one view: the method's interval lies above those of all others.
fn judge(spec: &Drift, view: &View, curves: &[Curve]) -> (Verdict, String) {
    let own: Vec<&Curve> = curves.iter().filter(|c| !c.key.ends_with(" published")).collect();
    let find = |key: &str| own.iter().find(|c| c.key == key);
    let (Some(method), Some(baseline)) = (find(&spec.method), find(&spec.baseline)) else {
        return (Verdict::NotTested, format!("{}: a method to compare was left out", view.name));
    };
    let at = |curve: &Curve| curve.at(spec, spec.judged_at_kelvin).copied();
    let (Some(kept), Some(lost)) = (at(method), at(baseline)) else {
        return (Verdict::NotTested, format!("{}: not measured", view.name));
    };
    let rivals: Vec<(&str, Interval)> = own
        .iter()
        .filter(|c| c.key != spec.method)
        .filter_map(|c| Some((c.label.as_str(), at(c)?)))
        .collect();
    let above = |other: &Interval| kept.low > other.high;
    let verdict = if rivals.iter().all(|(_, other)| above(other)) {
        Verdict::Holds
    } else if above(&lost) {
        Verdict::HoldsInPart
    } else {
        Verdict::DoesNotHold
    };
    let best = rivals.iter().max_by(|a, b| a.1.estimate.total_cmp(&b.1.estimate));
    let rival = match best {
        Some((label, interval)) if *label != baseline.label => {
            format!(", the best of the others, {label}, {}", percent(interval))
        }
        _ => String::new(),
    };
    let words = format!(
        "{}: {} keeps {}, {} {}{rival}",
        view.name,
        method.label,
        percent(&kept),
        baseline.label,
        percent(&lost),
    );
    (verdict, words)
}

fn combine(judged: Vec<(Verdict, String)>) -> (Verdict, String) {
    let all = |verdict| judged.iter().all(|(v, _)| *v == verdict);
    let verdict = if judged.is_empty() || all(Verdict::NotTested) {
        Verdict::NotTested
    } else if all(Verdict::Holds) {
        Verdict::Holds
    } else if all(Verdict::DoesNotHold) {
        Verdict::DoesNotHold
    } else {
        Verdict::HoldsInPart
    };
    let words: Vec<String> =
        judged.into_iter().map(|(v, words)| format!("{words} (**{}**)", v.words())).collect();
    (verdict, format!("{}.", words.join("; ")))
}
