//! Loss and accuracy in each epoch (Fig. 2e).

use pnn_eval::plot::{Axis, line_chart};
use pnn_eval::{Cell, Column, Interval, Table, Verdict};
use pnn_train::EpochRecord;

use super::compare::{about_intervals, difference, over_seeds, percent, points};
use super::history::{curve, loss, metric, seconds};
use super::judged::Judged;
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Curves, Plan};

pub(super) fn analyse(spec: &Curves, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
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
        let paper = spec.paper.iter().find(|p| &p.method == key);
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            values.iter().enumerate().map(|(e, v)| ((e + 1) as f64, *v)).collect()
        };
        losses.extend(curve(&label, &runs, &loss, paper.map(|paper| points(&paper.loss))));
        let of_paper = paper.map(|paper| points(&paper.accuracy));
        accuracies.extend(curve(&label, &runs, &metric("accuracy_batch"), of_paper));
        let last = |value: &dyn Fn(&EpochRecord) -> f64| -> Vec<f64> {
            runs.iter().filter_map(|run| run.history.last().map(value)).collect()
        };
        let of_seeds = last(&metric("accuracy_running"));
        let running = over_seeds(&of_seeds, images)?;
        let batch = over_seeds(&last(&metric("accuracy_batch")), images)?;
        let counts =
            runs.iter().filter_map(|run| run.history.last().map(|r| r.counts)).collect::<Vec<_>>();
        table.push(vec![
            Cell::Text(label.clone()),
            Cell::Number(runs.iter().map(|run| run.history.len()).max().unwrap_or(0) as f64),
            Cell::Number(last(&loss).iter().sum::<f64>() / runs.len() as f64),
            Cell::Interval(running),
            Cell::Interval(batch),
            paper
                .and_then(|p| p.accuracy.last())
                .map_or(Cell::Missing, |a| Cell::Number(a / 100.0)),
            Cell::Number(counts.first().map_or(f64::NAN, |c| c.forward as f64)),
            Cell::Number(counts.first().map_or(f64::NAN, |c| c.backward as f64)),
            Cell::Number(seconds(&runs)),
        ])?;
        finals.insert(key.clone(), (running, of_seeds));
    }
    let epoch = Axis::linear("epoch");
    let figures = vec![
        (
            line_chart("Training loss", &epoch, &Axis::linear("cross-entropy"), &losses)?,
            "Mean of the steps' losses in each epoch.".into(),
        ),
        (
            line_chart(
                "Clean test accuracy",
                &epoch,
                &Axis::linear("accuracy").unit("%"),
                &accuracies,
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
    let mut paragraphs = vec![about_intervals(context.profile.seeds.len()).to_owned()];
    paragraphs.extend(spec.paper_source.as_ref().map(|s| format!("Paper's curves: {s}.")));
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
