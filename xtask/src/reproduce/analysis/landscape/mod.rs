//! How sharp the minima of several methods are: eigenvalues of the Hessian, spectra, and pictures of the loss
//! around them (Fig. 2g).

mod judge;
mod pictures;

use pnn_core::Seed;
use pnn_core::curvature::{Differences, Extremes, Hessian, Lanczos, hutch_plus_plus};
use pnn_eval::{Cell, Column, Interval, Method, Table};

use super::judged::Judged;
use super::{Context, Findings};
use crate::error::Result;
use crate::networks::lambda_max;
use crate::reproduce::config::{ImageRange, Landscape, Plan, View};
use crate::reproduce::precise::Precise;

/// Images of the single batches whose eigenvalues are compared.
const BATCH: usize = 100;
/// Largest residual of an eigenvalue, relative to it.
const TOLERANCE: f64 = 1e-2;
/// Hessian products for eigenvalues, after which the smallest is given up.
const PRODUCTS: usize = 120;
/// Hessian products for a trace.
const TRACE_PRODUCTS: usize = 30;

/// What was found of one network.
struct Curvature {
    largest: f64,
    /// None where it did not converge.
    smallest: Option<f64>,
    trace: f64,
    differences: Differences,
    /// In percent: a network that has learned nothing is flat too.
    accuracy: f64,
}

/// What was found of a method in a view, by seed.
struct Row {
    key: String,
    seeds: Vec<Curvature>,
}

impl Row {
    fn values(&self, pick: impl Fn(&Curvature) -> f64) -> Vec<f64> {
        self.seeds.iter().map(pick).collect()
    }
}

pub(super) fn analyse(spec: &Landscape, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let (mut tables, mut details, mut cases) = (Vec::new(), Vec::new(), Vec::new());
    let mut pairs = Vec::new();
    for (number, view) in plan.views.iter().enumerate() {
        let mut rows = Vec::new();
        for key in &plan.methods {
            eprintln!("  {}: {}", view.name, context.label(key));
            let (row, first) = row(key, view, context)?;
            // Pictures are of the last view's images.
            if number + 1 == plan.views.len() {
                pairs.push((key.clone(), first));
            }
            rows.push(row);
        }
        tables.push(table(spec, view, &rows, context)?);
        details.push(by_seed(view, &rows, context)?);
        details.push(exactness(view, &rows, context)?);
        cases.extend(judge::cases(spec, plan, view, &rows, context)?);
    }
    let batches = spec.batches.min(context.data.test.len() / BATCH);
    if batches > 1 {
        tables.push(of_batches(batches, plan, context)?);
    }
    let Some(view) = plan.views.last() else { return Ok(findings(Judged::of(cases), tables)) };
    let figures = pictures::all(spec, view, &pairs, context)?;
    let paragraphs = vec![
        "lambda_max is the largest eigenvalue of the Hessian of the mean cross-entropy in everything that is trained; rings are taken \
         in their detunings (nm), whatever they were trained in. Eigenvalues are found by Lanczos' method to a residual of 1 % of each (a dash: the \
         smallest did not converge in 120 products), from central differences of gradients in f64; the trace by Hutch++."
            .to_owned(),
        "Intervals of curvatures are Student's t over the logarithms of the seeds' values, whose centre is the geometric mean, or over the \
         values themselves where one is not positive."
            .to_owned(),
    ];
    let paper = spec.paper_source.iter().map(|source| format!("Paper's numbers: {source}."));
    let paragraphs = paragraphs.into_iter().chain(paper).collect();
    Ok(Findings { judged: Judged::of(cases), paragraphs, figures, tables, details })
}

fn findings(judged: Judged, tables: Vec<Table>) -> Findings {
    let (paragraphs, figures, details) = (Vec::new(), Vec::new(), Vec::new());
    Findings { judged, paragraphs, figures, tables, details }
}

/// The curvature of a method's networks, and the eigenpairs of the first.
fn row(key: &str, view: &View, context: &Context<'_>) -> Result<(Row, Option<Extremes>)> {
    let images = context.images(view)?;
    let (mut row, mut first) = (Row { key: key.to_owned(), seeds: Vec::new() }, None);
    for run in context.trained(key)? {
        let precise = Precise::of(&context.profile.methods[key], run)?;
        let evaluator = context.evaluator(view, run.normalisation);
        let mut surface = precise.surface(evaluator, &run.chip, &images)?;
        let mut hessian = Hessian::new(&mut surface)?;
        let seed = Seed::new(0);
        let lanczos = Lanczos::extremes(2, 1).tolerance(TOLERANCE).max_products(PRODUCTS);
        // The smallest eigenvalue may be too small beside the largest to be found.
        let found = match lanczos.run(&mut hessian, &seed.child("lanczos")) {
            Err(pnn_core::Error::NotConverged { .. }) => {
                let largest = Lanczos::extremes(2, 0).tolerance(TOLERANCE);
                largest.run(&mut hessian, &seed.child("lanczos"))?
            }
            found => found?,
        };
        let trace = hutch_plus_plus(&mut hessian, TRACE_PRODUCTS, &seed.child("trace"))?.value;
        let smallest = found.smallest.first().map(|pair| pair.value);
        let (largest, differences) = (found.largest[0].value, hessian.differences());
        let accuracy = evaluator.evaluate(run.model.as_ref(), &run.chip, &images)?.percent();
        row.seeds.push(Curvature { largest, smallest, trace, differences, accuracy });
        first.get_or_insert(found);
    }
    Ok((row, first))
}

/// The geometric mean over seeds; without an interval for a single one.
pub(super) fn over_seeds(values: &[f64]) -> Result<Interval> {
    let logarithms: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    if let [one] = values {
        let (estimate, level, method) = (*one, 0.95, Method::StudentT);
        return Ok(Interval { estimate, low: *one, high: *one, level, method });
    }
    let interval = pnn_eval::interval::student_t(&logarithms, 0.95)?;
    let Interval { estimate, low, high, .. } = interval;
    Ok(Interval { estimate: estimate.exp(), low: low.exp(), high: high.exp(), ..interval })
}

/// Curvatures of several seeds as a cell: their geometric mean with its interval or, where one is not positive, the
/// arithmetic mean with its.
pub(in crate::reproduce::analysis) fn curvature(values: &[f64]) -> Result<Cell> {
    Ok(match values {
        [one] => Cell::Number(*one),
        _ if values.iter().all(|value| *value > 0.0) => Cell::Interval(over_seeds(values)?),
        _ => Cell::Interval(pnn_eval::interval::student_t(values, 0.95)?),
    })
}

fn table(spec: &Landscape, view: &View, rows: &[Row], context: &Context<'_>) -> Result<Table> {
    let images = context.images(view)?.len();
    let mut table = Table::new(
        format!("{} ({}), {images} images", view.name, view.batch_norm),
        vec![
            Column::text("method"),
            Column::text("accuracy by seed (%)"),
            Column::interval("lambda_max", 2),
            Column::interval("smallest eigenvalue", 3),
            Column::interval("trace", 1),
            Column::number("paper's lambda_max", 1),
        ],
    )?;
    for row in rows {
        let paper = spec.paper.iter().find(|paper| paper.method == row.key);
        let smallest: Option<Vec<f64>> = row.seeds.iter().map(|c| c.smallest).collect();
        let accuracies = row.values(|c| c.accuracy).into_iter().map(|a| format!("{a:.1}"));
        table.push(vec![
            Cell::Text(context.label(&row.key)),
            Cell::Text(accuracies.collect::<Vec<_>>().join(", ")),
            curvature(&row.values(|c| c.largest))?,
            smallest.map_or(Ok(Cell::Missing), |values| curvature(&values))?,
            curvature(&row.values(|c| c.trace))?,
            paper.map_or(Cell::Missing, |paper| Cell::Number(paper.lambda_max)),
        ])?;
    }
    Ok(table)
}

fn by_seed(view: &View, rows: &[Row], context: &Context<'_>) -> Result<Table> {
    let seeds = &context.profile.seeds;
    let mut columns = vec![Column::text("method")];
    columns.extend(seeds.iter().map(|seed| Column::number(format!("seed {seed}"), 3)));
    let mut table = Table::new(format!("lambda_max by seed: {}", view.name), columns)?;
    for row in rows {
        let mut line = vec![Cell::Text(context.label(&row.key))];
        line.extend(row.values(|c| c.largest).into_iter().map(Cell::Number));
        line.resize(1 + seeds.len(), Cell::Missing);
        table.push(line)?;
    }
    Ok(table)
}

/// How exact the Hessian's products were.
fn exactness(view: &View, rows: &[Row], context: &Context<'_>) -> Result<Table> {
    let mut table = Table::new(
        format!(
            "Products of the Hessian by central differences, all seeds: {}. At a kink, a shorter step is tried for the batch; the error is relative to the \
             batch's product",
            view.name
        ),
        vec![
            Column::text("method"),
            Column::number("products", 0),
            Column::number("first step", 1).scientific(),
            Column::number("products of a batch with a shorter step", 0),
            Column::number("products of a batch at a kink at every step", 0),
            Column::number("largest error", 1).scientific(),
        ],
    )?;
    for row in rows {
        let sum = |pick: fn(&Differences) -> usize| {
            row.seeds.iter().map(|c| pick(&c.differences)).sum::<usize>() as f64
        };
        let most = |pick: fn(&Differences) -> f64| {
            row.values(|c| pick(&c.differences)).into_iter().fold(0.0, f64::max)
        };
        let numbers = [
            sum(|d| d.products),
            most(|d| d.step),
            sum(|d| d.shortened),
            sum(|d| d.unresolved),
            most(|d| d.largest_error),
        ];
        let mut line = vec![Cell::Text(context.label(&row.key))];
        line.extend(numbers.map(Cell::Number));
        table.push(line)?;
    }
    Ok(table)
}

/// How much the eigenvalue of a single batch says: those of several batches, one after the other.
fn of_batches(batches: usize, plan: &Plan, context: &Context<'_>) -> Result<Table> {
    let mut table = Table::new(
        format!(
            "lambda_max of single batches of {BATCH} test images, the first {batches} of them, first seed, running statistics"
        ),
        vec![
            Column::text("method"),
            Column::number("least", 2),
            Column::number("median", 2),
            Column::number("largest", 2),
            Column::number("largest over least", 1),
        ],
    )?;
    for key in &plan.methods {
        let Some(run) = context.trained(key)?.into_iter().next() else { continue };
        let precise = Precise::of(&context.profile.methods[key], run)?;
        let mut found = Vec::new();
        for batch in 0..batches {
            let (name, batch_norm) = (String::new(), pnn_eval::BatchNormMode::Running);
            let images = Some(ImageRange { first: batch * BATCH, count: BATCH });
            let view = View { name, batch_norm, images };
            let images = context.images(&view)?;
            let evaluator = context.evaluator(&view, run.normalisation);
            found.push(lambda_max(&mut precise.surface(evaluator, &run.chip, &images)?)?);
        }
        found.sort_by(f64::total_cmp);
        let (least, largest) = (found[0], found[found.len() - 1]);
        let median = 0.5 * (found[(found.len() - 1) / 2] + found[found.len() / 2]);
        let numbers = [least, median, largest, largest / least];
        let mut line = vec![Cell::Text(context.label(key))];
        line.extend(numbers.map(Cell::Number));
        table.push(line)?;
    }
    Ok(table)
}
