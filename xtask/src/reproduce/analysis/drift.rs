//! Accuracy against ambient temperature (Figs. 2h and 2j).

use pnn_core::Chip;
use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{BatchNormMode, Cell, Column, Interval, Table, Verdict};
use pnn_train::LeNet5;

use super::{Context, Findings, against_temperature, over_seeds, percent};
use crate::error::Result;
use crate::reproduce::config::{Drift, PaperDrift, Plan, View};
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
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let curves = curves(spec, plan, view, context)?;
        figures.push(figure(spec, view, &curves)?);
        for curve in &curves {
            let cell =
                |kelvin| curve.at(spec, kelvin).map_or(Cell::Missing, |i| Cell::Interval(*i));
            for kelvin in &spec.judged_at_kelvin {
                summary.push(vec![
                    Cell::Text(view.name.clone()),
                    Cell::Text(curve.label.clone()),
                    cell(0.0),
                    Cell::Number(*kelvin),
                    cell(*kelvin),
                    Cell::Text(papers_number(spec, view, &curve.key, *kelvin)),
                ])?;
            }
        }
        details.push(table_of(spec, view, &curves)?);
        for kelvin in &spec.judged_at_kelvin {
            judged.push(judge(spec, &plan.rivals, view, &curves, *kelvin));
        }
    }
    let (verdict, words) = combine(judged);
    let mut sources: Vec<_> =
        spec.paper.iter().map(|p| format!("{}: {}", p.label, p.source)).collect();
    sources.dedup();
    let mut paragraphs = vec![format!(
        "The detunings of {} shift by {} nm for each kelvin, all rings alike. A network trained \
         with hardware in the loop (PAT) is deployed on that very chip, the others on the ideal one. One seed gives Wilson's \
         interval over its images, which says nothing about other seeds; more give Student's t over seeds. The claim \
         holds where SAT loses at most {} points from 0 K, its rivals lose more, and its interval lies above \
         theirs; in part where that interval lies above the baseline's at least.",
        spec.layers.join(" and "),
        spec.nm_per_kelvin,
        spec.keeps_within
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
    for paper in spec.paper.iter().filter(|paper| comparable(paper, view)) {
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

/// Whether a number of the paper can stand beside a view: simulated ones used batch statistics.
fn comparable(paper: &PaperDrift, view: &View) -> bool {
    paper.measured || matches!(view.batch_norm, BatchNormMode::Batch(_))
}

/// The paper's numbers for a method at a temperature, in words.
fn papers_number(spec: &Drift, view: &View, key: &str, kelvin: f64) -> String {
    let mut numbers = Vec::new();
    for paper in spec.paper.iter().filter(|p| p.method == key && comparable(p, view)) {
        if let Some(at) = paper.kelvin.iter().position(|k| *k == kelvin) {
            let how = if paper.measured { "measured" } else { "simulated, 100 images" };
            numbers.push(format!("{} % ({how})", paper.accuracy[at]));
        }
    }
    if numbers.is_empty() { "not reported".into() } else { numbers.join(", ") }
}

/// Whether the claim holds in one view at one temperature: the method keeps its accuracy, all
/// rivals lose theirs, and the method's interval lies above theirs. It holds in part if the method's
/// interval lies above the baseline's at least.
fn judge(
    spec: &Drift,
    rivals: &[String],
    view: &View,
    curves: &[Curve],
    kelvin: f64,
) -> (Verdict, String) {
    let find = |key: &str| {
        let curve = curves.iter().find(|c| c.key == key)?;
        Some((curve.label.as_str(), *curve.at(spec, 0.0)?, *curve.at(spec, kelvin)?))
    };
    let (Some(method), Some(baseline)) = (find(&spec.method), find(&spec.baseline)) else {
        return (Verdict::NotTested, format!("{}: a method to compare was left out", view.name));
    };
    let keeps = |(_, clean, now): &(&str, Interval, Interval)| {
        100.0 * (clean.estimate - now.estimate) <= spec.keeps_within
    };
    let below = |rival: &Interval| rival.high < method.2.low;
    let tested: Vec<_> = rivals.iter().filter_map(|key| find(key)).collect();
    let missing: Vec<_> =
        rivals.iter().filter(|key| find(key).is_none()).map(String::as_str).collect();
    let verdict = if !below(&baseline.2) {
        Verdict::DoesNotHold
    } else if keeps(&method)
        && missing.is_empty()
        && tested.iter().all(|rival| below(&rival.2) && !keeps(rival))
    {
        Verdict::Holds
    } else {
        Verdict::HoldsInPart
    };
    let has = |(label, clean, now): &(&str, Interval, Interval)| {
        format!("{label} has {} of {:.1} % at 0 K", percent(now), 100.0 * clean.estimate)
    };
    let mut words = format!("{}, {kelvin} K: {}, {}", view.name, has(&method), has(&baseline));
    let best = tested.iter().max_by(|a, b| a.2.estimate.total_cmp(&b.2.estimate));
    if let Some(best) = best.filter(|best| best.0 != baseline.0) {
        words.push_str(&format!(", the best of the other rivals: {}", has(best)));
    }
    if !missing.is_empty() {
        words.push_str(&format!("; not tested: {}", missing.join(", ")));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Drift {
        Drift {
            method: "sat".into(),
            baseline: "bp".into(),
            layers: vec!["fc2".into()],
            nm_per_kelvin: 0.08,
            kelvin: vec![0.0, -2.0],
            judged_at_kelvin: vec![-2.0],
            keeps_within: 10.0,
            paper: Vec::new(),
        }
    }

    fn curve(key: &str, correct: [u64; 2]) -> Curve {
        let accuracy = correct.map(|c| pnn_eval::interval::wilson(c, 1000, 0.95).unwrap()).to_vec();
        Curve { key: key.into(), label: key.to_uppercase(), accuracy }
    }

    fn verdict(curves: &[Curve]) -> (Verdict, String) {
        let view = View { name: "view".into(), batch_norm: BatchNormMode::Running, images: None };
        judge(&spec(), &["bp".to_owned(), "nat".to_owned()], &view, curves, -2.0)
    }

    #[test]
    fn the_claim_holds_only_if_sat_keeps_and_all_rivals_lose() {
        let bp = || curve("bp", [990, 100]);
        let nat = || curve("nat", [980, 500]);
        let sat = || curve("sat", [985, 950]);
        assert_eq!(verdict(&[bp(), nat(), sat()]).0, Verdict::Holds);
        // SAT loses more than ten points, or a rival keeps, or a rival was not tested.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 600])]).0, Verdict::HoldsInPart);
        assert_eq!(verdict(&[bp(), curve("nat", [900, 850]), sat()]).0, Verdict::HoldsInPart);
        let (partly, words) = verdict(&[bp(), sat()]);
        assert_eq!(partly, Verdict::HoldsInPart);
        assert!(words.contains("not tested: nat"), "{words}");
        // SAT is not better than the baseline.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 110])]).0, Verdict::DoesNotHold);
        assert_eq!(verdict(&[nat(), sat()]).0, Verdict::NotTested);
    }

    #[test]
    fn verdicts_over_views_combine() {
        use Verdict::{DoesNotHold, Holds, HoldsInPart, NotTested};
        let of = |verdicts: &[Verdict]| {
            combine(verdicts.iter().map(|v| (*v, String::new())).collect()).0
        };
        assert_eq!(of(&[Holds, Holds]), Holds);
        assert_eq!(of(&[Holds, DoesNotHold]), HoldsInPart);
        assert_eq!(of(&[DoesNotHold, DoesNotHold]), DoesNotHold);
        assert_eq!(of(&[]), NotTested);
    }
}
