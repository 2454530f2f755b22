//! Loss and accuracy in each epoch (Fig. 2e).

use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Table, Verdict};

use super::compare::{about_intervals, difference, over_seeds, percent, points};
use super::judged::Judged;
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Curves, Plan};

pub(super) fn analyse(spec: &Curves, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let mut loss = Vec::new();
    let mut accuracy = Vec::new();
    let mut table = Table::new(
        "After the last epoch, clean test accuracy (no drift)",
        vec![
            Column::text("method"),
            Column::number("epochs", 0),
            Column::number("training loss", 4),
            Column::percent_interval("accuracy, running statistics", 2),
            Column::percent_interval("accuracy, batch statistics", 2),
            Column::percent("paper (batch statistics)", 2),
            Column::number("forward passes", 0),
            Column::number("backward passes", 0),
            Column::number("seconds", 0),
        ],
    )?;
    let images = context.data.test.len() as u64;
    let mut finals = std::collections::BTreeMap::new();
    for key in &plan.methods {
        let label = context.label(key);
        let runs = context.trained(key)?;
        let mean = |epoch: usize, value: &dyn Fn(&pnn_train::EpochRecord) -> f64| {
            runs.iter().map(|run| value(&run.history[epoch])).sum::<f64>() / runs.len() as f64
        };
        let epochs = runs.iter().map(|run| run.history.len()).min().unwrap_or(0);
        let metric = |name: &'static str| {
            move |record: &pnn_train::EpochRecord| {
                record.metrics.get(name).copied().unwrap_or(f64::NAN)
            }
        };
        let curve = |value: &dyn Fn(&pnn_train::EpochRecord) -> f64| -> Vec<(f64, f64)> {
            (0..epochs).map(|e| ((e + 1) as f64, mean(e, value))).collect()
        };
        loss.push(LineSeries::new(&label, curve(&|record| record.train_loss)));
        accuracy.push(LineSeries::new(&label, curve(&metric("accuracy_batch"))));
        let last = |name: &'static str| -> Vec<f64> {
            runs.iter().filter_map(|run| run.history.last().map(metric(name))).collect()
        };
        let of_seeds = last("accuracy_running");
        let running = over_seeds(&of_seeds, images)?;
        let batch = over_seeds(&last("accuracy_batch"), images)?;
        let counts =
            runs.iter().filter_map(|run| run.history.last().map(|r| r.counts)).collect::<Vec<_>>();
        let seconds: f64 =
            runs.iter().flat_map(|run| run.history.iter().map(|r| r.seconds)).sum::<f64>()
                / runs.len() as f64;
        let paper = spec.paper.iter().find(|p| &p.method == key);
        table.push(vec![
            Cell::Text(label.clone()),
            Cell::Number(epochs as f64),
            Cell::Number(epochs.checked_sub(1).map_or(f64::NAN, |e| mean(e, &|r| r.train_loss))),
            Cell::Interval(running),
            Cell::Interval(batch),
            paper
                .and_then(|p| p.accuracy.last())
                .map_or(Cell::Missing, |a| Cell::Number(a / 100.0)),
            Cell::Number(counts.first().map_or(f64::NAN, |c| c.forward as f64)),
            Cell::Number(counts.first().map_or(f64::NAN, |c| c.backward as f64)),
            Cell::Number(seconds),
        ])?;
        if let Some(paper) = paper {
            let points = |values: &[f64]| -> Vec<(f64, f64)> {
                values.iter().enumerate().map(|(e, v)| ((e + 1) as f64, *v)).collect()
            };
            let name = format!("{label}, paper");
            loss.push(LineSeries::new(&name, points(&paper.loss)).reference_of(&label));
            accuracy.push(LineSeries::new(&name, points(&paper.accuracy)).reference_of(&label));
        }
        finals.insert(key.clone(), (running, of_seeds));
    }
    let epoch = Axis::linear("epoch");
    let figures = vec![
        (
            line_chart("Training loss", &epoch, &Axis::linear("cross-entropy"), &loss)?,
            "Mean of the steps' losses in each epoch.".into(),
        ),
        (
            line_chart(
                "Clean test accuracy",
                &epoch,
                &Axis::linear("accuracy").unit("%"),
                &accuracy,
            )?,
            "No drift, batch statistics, as the paper's.".into(),
        ),
    ];
    let (Some(method), Some(baseline)) = (finals.get(&spec.method), finals.get(&spec.baseline))
    else {
        return Ok(Findings {
            judged: Judged::once(
                Verdict::NotTested,
                "One of the two methods to compare was left out.",
            ),
            paragraphs: Vec::new(),
            figures,
            tables: vec![table],
            details: Vec::new(),
        });
    };
    let lost = difference(&baseline.1, &method.1, images)?;
    let verdict = judge(&lost, spec.tolerance);
    let words = format!(
        "{} ends at {}, {} at {} clean (running statistics), a loss of {}; up to {} count as none.",
        context.label(&spec.method),
        percent(&method.0),
        context.label(&spec.baseline),
        percent(&baseline.0),
        points(&lost),
        spec.tolerance,
    );
    let sources: Vec<_> = spec.paper.iter().map(|p| p.source.as_str()).collect();
    let mut paragraphs = vec![about_intervals(context.profile.seeds.len()).to_owned()];
    paragraphs.extend(sources.first().map(|s| format!("Paper's curves: {s}.")));
    let judged = Judged::once(verdict, words);
    Ok(Findings { judged, paragraphs, figures, tables: vec![table], details: Vec::new() })
}

/// The whole interval of what is lost must lie within the tolerance; if it lies beyond it, the
/// claim does not hold, else it is undecided.
fn judge(lost: &Interval, tolerance: f64) -> Verdict {
    if 100.0 * lost.high <= tolerance {
        Verdict::Holds
    } else if 100.0 * lost.low > tolerance {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_no_loss_needs_the_whole_interval() {
        let lost = |percents: &[f64], of: &[f64]| difference(of, percents, 10_000).unwrap();
        let bp = [98.8, 98.7, 98.9];
        assert_eq!(judge(&lost(&[98.7, 98.6, 98.9], &bp), 0.5), Verdict::Holds);
        assert_eq!(judge(&lost(&[98.8, 97.0, 98.9], &bp), 0.5), Verdict::Undecided);
        assert_eq!(judge(&lost(&[96.8, 96.6, 96.9], &bp), 0.5), Verdict::DoesNotHold);
    }
}
