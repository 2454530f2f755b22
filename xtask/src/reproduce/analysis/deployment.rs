//! Methods on one fabricated chip, which some of them had in their loop (Fig. 4c).

use pnn_core::Chip;
use pnn_eval::plot::{Axis, line_chart};
use pnn_eval::{BatchNormMode, Cell, Column, Evaluator, Svg, Table};
use pnn_train::EpochRecord;

use super::compare::over_seeds;
use super::history::{curve, loss, metric, seconds};
use super::judged::{Case, Judged};
use super::landscape::curvature;
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Deployment, PaperDeployment, Plan, View};
use crate::reproduce::front::Deployed;
use crate::reproduce::precise;

/// Images that curvature is taken on.
const CURVED: usize = 1000;

pub(super) fn analyse(spec: &Deployment, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let (mut tables, mut details, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let rows = plan.methods.iter().map(|key| Row::of(key, view, context));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        tables.push(table(spec, view, &rows, context)?);
        details.push(by_seed(view, &rows, context)?);
        judged.extend(verdicts(spec, view, &rows, context)?);
    }
    tables.push(effort(spec, plan, context)?);
    let mut paragraphs = vec![
        format!(
            "The fixed chip is {}. Methods in situ had it in their loop; the others never saw it.",
            context.fixed.name
        ),
        context.about_intervals(&plan.methods),
        format!(
            "lambda_max is the largest eigenvalue of the Hessian of the cross-entropy of ten ports on the first {CURVED} images, the ideal chip and \
             running statistics (geometric mean over seeds); the paper's is of the cross-entropy of all 64 ports on 6,000 images."
        ),
    ];
    paragraphs
        .extend(spec.paper_source.as_ref().map(|source| format!("Paper's numbers: {source}.")));
    let figures = curves(spec, plan, context)?;
    Ok(Findings { judged: Judged::of(judged), paragraphs, figures, tables, details })
}

/// A method's accuracies in percent by seed.
struct Row {
    key: String,
    fixed: Vec<f64>,
    ideal: Vec<f64>,
    /// On the ideal chip, as the paper has it, with running statistics.
    lambda_max: Vec<f64>,
}

impl Row {
    fn of(key: &str, view: &View, context: &Context<'_>) -> Result<Self> {
        let images = context.images(view)?;
        let (fixed, ideal, lambda_max) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = Self { key: key.to_owned(), fixed, ideal, lambda_max };
        let curved = images.range(0, images.len().min(CURVED))?;
        for run in context.trained(key)? {
            let evaluator = context.evaluator(view, run.normalisation);
            let deployed =
                Deployed::new(run.model.as_ref(), run.fc_activation, evaluator, &images)?;
            row.fixed.push(deployed.percent(&context.fixed.chip)?);
            row.ideal.push(deployed.percent(&Chip::ideal())?);
            let evaluator = Evaluator { batch_norm: BatchNormMode::Running, ..evaluator };
            row.lambda_max.push(precise::lambda_max(
                &context.profile.methods[key],
                run,
                evaluator,
                &Chip::ideal(),
                &curved,
            )?);
        }
        Ok(row)
    }
}

fn paper<'a>(spec: &'a Deployment, key: &str) -> Option<&'a PaperDeployment> {
    spec.paper.iter().find(|paper| paper.method == key)
}

fn table(spec: &Deployment, view: &View, rows: &[Row], context: &Context<'_>) -> Result<Table> {
    let images = context.images(view)?.len() as u64;
    let mut table = Table::new(
        format!("{} ({}), {images} images", view.name, view.batch_norm),
        vec![
            Column::text("method"),
            Column::percent_interval("on the fixed chip", 2),
            Column::percent_interval("on the ideal chip", 2),
            Column::percent("paper, on its chip", 2),
            Column::interval("lambda_max (ideal chip)", 2),
            Column::number("paper's", 1),
        ],
    )?;
    for row in rows {
        let paper = paper(spec, &row.key);
        let paper_lambda = paper.and_then(|paper| paper.lambda_max);
        let paper = paper.and_then(|paper| paper.accuracy.last());
        table.push(vec![
            Cell::Text(context.label(&row.key)),
            Cell::Interval(over_seeds(&row.fixed, images)?),
            Cell::Interval(over_seeds(&row.ideal, images)?),
            paper.map_or(Cell::Missing, |percent| Cell::Number(percent / 100.0)),
            curvature(&row.lambda_max)?,
            paper_lambda.map_or(Cell::Missing, Cell::Number),
        ])?;
    }
    Ok(table)
}

fn by_seed(view: &View, rows: &[Row], context: &Context<'_>) -> Result<Table> {
    let seeds = &context.profile.seeds;
    let mut columns = vec![Column::text("method")];
    columns.extend(seeds.iter().map(|seed| Column::percent(format!("seed {seed}"), 2)));
    let mut table = Table::new(format!("On the fixed chip, by seed: {}", view.name), columns)?;
    for row in rows {
        let mut line = vec![Cell::Text(context.label(&row.key))];
        line.extend(row.fixed.iter().map(|percent| Cell::Number(percent / 100.0)));
        line.resize(1 + seeds.len(), Cell::Missing);
        table.push(line)?;
    }
    Ok(table)
}

/// Each contest is a case: is the one more accurate on the fixed chip than the other?
fn verdicts(
    spec: &Deployment,
    view: &View,
    rows: &[Row],
    context: &Context<'_>,
) -> Result<Vec<Case>> {
    let images = context.images(view)?.len() as u64;
    let accuracies = |key: &str| {
        let row = rows.iter().find(|row| row.key == key)?;
        Some(row.fixed.iter().map(|percent| vec![*percent]).collect::<Vec<_>>())
    };
    let contests = spec.contests.iter().filter(|contest| context.runs(contest));
    contests
        .map(|contest| {
            let (better, worse) = (&contest.better, &contest.worse);
            super::judged::contest(
                (&context.label(better), accuracies(better).as_deref()),
                (&context.label(worse), accuracies(worse).as_deref()),
                &view.name,
                images,
            )
        })
        .collect()
}

/// What the trainings took and where they ended.
fn effort(spec: &Deployment, plan: &Plan, context: &Context<'_>) -> Result<Table> {
    let mut table = Table::new(
        "What the trainings took, mean over seeds (passes of a batch through the network; seconds with validation left out)",
        vec![
            Column::text("method"),
            Column::number("epochs", 0),
            Column::number("last training loss", 4),
            Column::number("least of the seeds", 4),
            Column::number("largest", 4),
            Column::number("paper's", 4),
            Column::number("forward", 0),
            Column::number("backward", 0),
            Column::number("measured", 0),
            Column::number("seconds", 0),
            Column::number("paper's (RTX 3070 Ti)", 0),
        ],
    )?;
    for key in &plan.methods {
        let runs = context.trained(key)?;
        let last: Vec<&EpochRecord> = runs.iter().filter_map(|run| run.history.last()).collect();
        let losses: Vec<f64> = last.iter().map(|record| record.train_loss).collect();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let count = |of: &dyn Fn(&EpochRecord) -> u64| {
            Cell::Number(mean(last.iter().map(|record| of(record) as f64).collect()))
        };
        let paper = paper(spec, key);
        let of_paper = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        table.push(vec![
            Cell::Text(context.label(key)),
            Cell::Number(runs.iter().map(|run| run.history.len()).max().unwrap_or(0) as f64),
            Cell::Number(mean(losses.clone())),
            Cell::Number(losses.iter().copied().fold(f64::INFINITY, f64::min)),
            Cell::Number(losses.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            of_paper(paper.and_then(|paper| paper.loss.last().copied())),
            count(&|record| record.counts.forward),
            count(&|record| record.counts.backward),
            count(&|record| record.counts.measured),
            Cell::Number(seconds(&runs)),
            of_paper(paper.map(|paper| paper.seconds)),
        ])?;
    }
    Ok(table)
}

/// Loss and accuracy on the fixed chip in each epoch.
fn curves(spec: &Deployment, plan: &Plan, context: &Context<'_>) -> Result<Vec<(Svg, String)>> {
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    for key in &plan.methods {
        let (label, runs) = (context.label(key), context.trained(key)?);
        let paper = paper(spec, key);
        let points = |paper: &PaperDeployment, values: &[f64]| {
            paper.epochs.iter().map(|e| *e as f64).zip(values.iter().copied()).collect()
        };
        let of_paper = paper.map(|paper| points(paper, &paper.loss));
        losses.extend(curve(&label, &runs, &loss, of_paper));
        let of_paper = paper.map(|paper| points(paper, &paper.accuracy));
        accuracies.extend(curve(&label, &runs, &metric("fixed_chip_batch"), of_paper));
    }
    let epoch = Axis::linear("epoch");
    let entropy = Axis::linear("cross-entropy");
    let accuracy = Axis::linear("accuracy").unit("%");
    Ok(vec![
        (
            line_chart("Training loss", &epoch, &entropy, &losses)?,
            "Mean of the steps' losses in each epoch, over seeds. The outputs are powers of norm 1, so the loss is no less than ln(1 + 9/e) = 1.461.".into(),
        ),
        (
            line_chart("Test accuracy on the fixed chip", &epoch, &accuracy, &accuracies)?,
            "Mean over seeds, batch statistics, as the paper's.".into(),
        ),
    ])
}
