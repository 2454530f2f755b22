//! What a gap between two methods is due to: a ladder of methods, each step of which changes one
//! thing, swept over temperature in every batch-norm mode.

use pnn_eval::interval::paired_differences;
use pnn_eval::plot::{Axis, BarSeries, LineSeries, bar_chart, line_chart};
use pnn_eval::{Cell, Column, Interval, Svg, Table, Verdict};

use super::compare::{about_intervals, difference, points};
use super::drift::{Curve, Sweep, curves, table_of};
use super::judged::{Case, Judged};
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Gap, Plan, Rung, View};

pub(super) fn analyse(spec: &Gap, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let sweep =
        Sweep { layers: &spec.layers, nm_per_kelvin: spec.nm_per_kelvin, kelvin: &spec.kelvin };
    let mut views = Vec::new();
    for view in &plan.views {
        eprintln!("  {}", view.name);
        views.push((view, curves(&sweep, plan, view, context)?));
    }
    let (mut figures, mut details, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    for (view, curves) in &views {
        let caption = format!("Accuracy; batch-norm uses {}. Bands: 95 %.", view.batch_norm);
        figures.push((lines(spec, view, curves)?, caption));
        let caption = "What each step adds, seed by seed. Bars: 95 %. Steps from BP to SAT add up along a path.";
        figures.push((bars(spec, view, curves)?, caption.to_owned()));
        details.push(table_of(&spec.kelvin, view, curves)?);
        for kelvin in &spec.judged_at_kelvin {
            judged.push(judge(spec, view, curves, *kelvin)?);
        }
    }
    let paragraphs = vec![
        format!(
            "The detunings of {} shift by {} nm for each kelvin, all rings alike. Every step changes one thing; what a \
             thing adds depends on what is there already, so several paths are shown. The claim holds where the step \
             \"{}\" adds more than half of the gap and the interval of what it adds lies above 0; in part where that lies \
             above 0; it does not hold where the step adds less than half for sure.",
            spec.layers.join(" and "),
            spec.nm_per_kelvin,
            spec.judged.what,
        ),
        about_intervals(context.profile.seeds.len()).to_owned(),
    ];
    let tables = vec![steps(spec, &views)?, modes(spec, &views)?];
    let judged = Judged::of(judged);
    Ok(Findings { judged, paragraphs, figures, tables, details })
}

/// The gap, the step that is judged and the others.
fn rungs(spec: &Gap) -> impl Iterator<Item = &Rung> {
    [&spec.whole, &spec.judged].into_iter().chain(&spec.rungs)
}

/// What a step adds at a temperature; none if one of its methods was left out.
fn added(spec: &Gap, curves: &[Curve], rung: &Rung, kelvin: f64) -> Result<Option<Interval>> {
    let find = |key: &String| curves.iter().find(|c| &c.key == key);
    match (find(&rung.to), find(&rung.from)) {
        (Some(to), Some(from)) => Ok(Some(to.minus(from, &spec.kelvin, kelvin)?)),
        _ => Ok(None),
    }
}

fn steps(spec: &Gap, views: &[(&View, Vec<Curve>)]) -> Result<Table> {
    let mut table = Table::new(
        "What each step adds",
        vec![
            Column::text("view"),
            Column::number("temperature", 1).unit("K"),
            Column::text("what differs"),
            Column::text("from"),
            Column::text("to"),
            Column::interval("added", 1).unit("points"),
            Column::percent("of the gap", 0),
        ],
    )?;
    for (view, curves) in views {
        for kelvin in &spec.judged_at_kelvin {
            let whole = added(spec, curves, &spec.whole, *kelvin)?;
            for rung in rungs(spec) {
                let Some(added) = added(spec, curves, rung, *kelvin)? else { continue };
                // A share of a gap that may be none says nothing.
                let share = whole.filter(|w| w.low > 0.0).map(|w| added.estimate / w.estimate);
                table.push(vec![
                    Cell::from(view.name.as_str()),
                    Cell::Number(*kelvin),
                    Cell::from(rung.what.as_str()),
                    Cell::from(label_of(curves, &rung.from)),
                    Cell::from(label_of(curves, &rung.to)),
                    Cell::Interval(added.scaled(100.0)),
                    Cell::from(share),
                ])?;
            }
        }
    }
    Ok(table)
}

/// How much more accurate each method looks in the first view than in the others, and how much
/// larger the gap is there.
fn modes(spec: &Gap, views: &[(&View, Vec<Curve>)]) -> Result<Table> {
    let mut table = Table::new(
        "What the batch-norm mode adds",
        vec![
            Column::text("mode"),
            Column::text("over mode"),
            Column::text("method"),
            Column::number("temperature", 1).unit("K"),
            Column::interval("added", 1).unit("points"),
        ],
    )?;
    let Some(((first, theirs), others)) = views.split_first() else { return Ok(table) };
    for (view, own) in others {
        for kelvin in &spec.judged_at_kelvin {
            let mut push = |what: String, added: Interval| {
                table.push(vec![
                    Cell::from(first.batch_norm.to_string()),
                    Cell::from(view.batch_norm.to_string()),
                    Cell::from(what),
                    Cell::Number(*kelvin),
                    Cell::Interval(added.scaled(100.0)),
                ])
            };
            let at = |curve: &Curve| curve.seeds_at(&spec.kelvin, *kelvin);
            for (a, b) in theirs.iter().zip(own) {
                push(a.label.clone(), difference(&at(a), &at(b), a.images)?)?;
            }
            let gap = |curves: &[Curve]| -> Option<Vec<f64>> {
                let find = |key: &String| curves.iter().find(|c| &c.key == key);
                let (to, from) = (at(find(&spec.whole.to)?), at(find(&spec.whole.from)?));
                Some(to.iter().zip(&from).map(|(to, from)| to - from).collect())
            };
            // One seed has no spread of gaps.
            if let (Some(a), Some(b)) = (gap(theirs), gap(own))
                && a.len() > 1
            {
                push(spec.whole.what.clone(), paired_differences(&a, &b, 0.95)?.scaled(0.01))?;
            }
        }
    }
    Ok(table)
}

fn lines(spec: &Gap, view: &View, curves: &[Curve]) -> Result<Svg> {
    let mut order: Vec<usize> = (0..spec.kelvin.len()).collect();
    order.sort_by(|a, b| spec.kelvin[*a].total_cmp(&spec.kelvin[*b]));
    let line = |curve: &Curve| {
        let points = order.iter().map(|i| (spec.kelvin[*i], curve.accuracy[*i].scaled(100.0)));
        LineSeries::from_intervals(&curve.label, points)
    };
    let lines: Vec<_> = curves.iter().map(line).collect();
    Ok(line_chart(
        &view.name,
        &Axis::linear("temperature change").unit("K"),
        &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
        &lines,
    )?)
}

fn label_of<'a>(curves: &'a [Curve], key: &'a str) -> &'a str {
    curves.iter().find(|c| c.key == key).map_or(key, |c| c.label.as_str())
}

fn bars(spec: &Gap, view: &View, curves: &[Curve]) -> Result<Svg> {
    let mut series = Vec::new();
    for rung in rungs(spec) {
        let mut values = Vec::new();
        for kelvin in &spec.judged_at_kelvin {
            values.extend(added(spec, curves, rung, *kelvin)?.map(|i| i.scaled(100.0)));
        }
        if values.len() == spec.judged_at_kelvin.len() {
            let name = format!(
                "{}: {} to {}",
                rung.what,
                label_of(curves, &rung.from),
                label_of(curves, &rung.to)
            );
            series.push(BarSeries::from_intervals(name, values));
        }
    }
    let groups: Vec<String> = spec.judged_at_kelvin.iter().map(|k| format!("{k} K")).collect();
    let axis = Axis::linear("accuracy added").unit("points");
    Ok(bar_chart(&view.name, &axis, &groups, &series)?)
}

/// Whether the judged step adds more than half of the gap, for sure more than nothing.
fn judge(spec: &Gap, view: &View, curves: &[Curve], kelvin: f64) -> Result<Case> {
    let whole = added(spec, curves, &spec.whole, kelvin)?;
    let part = added(spec, curves, &spec.judged, kelvin)?;
    let place = format!("{}, {kelvin} K", view.name);
    let (Some(whole), Some(part)) = (whole, part) else {
        let words = "a method was left out".to_owned();
        return Ok(Case { place, verdict: Verdict::NotTested, words });
    };
    if whole.low <= 0.0 {
        let words = format!("there is no gap for sure, {}", points(&whole));
        return Ok(Case { place, verdict: Verdict::NotTested, words });
    }
    let half = 0.5 * whole.estimate;
    let verdict = if part.low > 0.0 && part.estimate > half {
        Verdict::Holds
    } else if part.low > 0.0 {
        Verdict::HoldsInPart
    } else if part.high < half {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    };
    let share = 100.0 * part.estimate / whole.estimate;
    let (whole, part) = (points(&whole), points(&part));
    let what = &spec.judged.what;
    let words = format!("the gap is {whole}, {what} adds {part}, {share:.0} % of it");
    Ok(Case { place, verdict, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(drifted: [[f64; 3]; 3]) -> (Verdict, String) {
        let rung = |from: &str, to: &str, what: &str| Rung {
            from: from.into(),
            to: to.into(),
            what: what.into(),
        };
        let spec = Gap {
            layers: vec!["fc2".into()],
            nm_per_kelvin: 0.08,
            kelvin: vec![0.0, -2.0],
            judged_at_kelvin: vec![-2.0],
            whole: rung("bp", "sat", "all"),
            judged: rung("adam", "sat", "the ascent"),
            rungs: vec![rung("bp", "adam", "the optimizer")],
        };
        let of = |key: &str, drifted: [f64; 3]| {
            let by_seed = drifted.iter().map(|d| vec![98.0, *d]).collect();
            Curve::new(key.into(), key.into(), by_seed, 1000).unwrap()
        };
        let [bp, adam, sat] = drifted;
        let curves = [of("bp", bp), of("adam", adam), of("sat", sat)];
        let view = View {
            name: "view".into(),
            batch_norm: pnn_eval::BatchNormMode::Running,
            images: None,
        };
        let two =
            [(&view, curves.into()), (&view, vec![of("bp", bp), of("adam", adam), of("sat", bp)])];
        assert_eq!(modes(&spec, &two).unwrap().to_csv().lines().count(), 5);
        assert_eq!(steps(&spec, &two).unwrap().to_csv().lines().count(), 7);
        let case = judge(&spec, &view, &two[0].1, -2.0).unwrap();
        (case.verdict, case.words)
    }

    #[test]
    fn the_ascent_must_add_more_than_half_of_the_gap() {
        let (bp, sat) = ([10.0, 12.0, 11.0], [80.0, 83.0, 81.0]);
        let (holds, words) = verdict([bp, [20.0, 22.0, 21.0], sat]);
        assert_eq!(holds, Verdict::Holds);
        assert!(words.contains("86 % of it"), "{words}");
        assert_eq!(verdict([bp, [70.0, 72.0, 71.0], sat]).0, Verdict::HoldsInPart);
        assert_eq!(verdict([bp, [80.0, 81.0, 84.0], sat]).0, Verdict::DoesNotHold);
        assert_eq!(verdict([bp, [20.0, 81.0, 84.0], sat]).0, Verdict::Undecided);
        assert_eq!(verdict([bp, [20.0, 22.0, 21.0], bp]).0, Verdict::NotTested);
    }
}
