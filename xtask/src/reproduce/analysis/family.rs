//! What members of a family of methods reach, and what they cost.

use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Table};

use super::compare::{chips_difference, means, over_chips};
use super::conditions::accuracies;
use super::history::seconds;
use super::judged::{Judged, keeps};
use super::{Context, Figures, Findings};
use crate::error::Result;
use crate::reproduce::config::{Family, Plan, View};

/// A method's accuracies in percent, by seed and chip.
struct Row {
    key: String,
    clean: Vec<f64>,
    /// Under each condition.
    under: Vec<Vec<Vec<f64>>>,
}

impl Row {
    /// The mean over all conditions of each seed.
    fn robust(&self) -> Vec<Vec<f64>> {
        let of = |seed: usize| {
            let each = self.under.iter().map(|seeds| means(&seeds[seed..=seed])[0]);
            vec![each.sum::<f64>() / self.under.len() as f64]
        };
        (0..self.clean.len()).map(of).collect()
    }
}

/// What a method takes, mean over seeds.
struct Cost {
    forward: f64,
    backward: f64,
    seconds: f64,
}

pub(super) fn analyse(spec: &Family, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let (mut tables, mut figures, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    let base = cost(&spec.baseline, context)?;
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let rows = plan.methods.iter().map(|key| row(key, spec, plan, view, context));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let images = context.images(view)?.len() as u64;
        tables.push(table(spec, view, &rows, images, context)?);
        figures.extend(picture(view, &rows, &base, context)?);
        let of = |key: &str| rows.iter().find(|row| row.key == key).map(Row::robust);
        let rival = of(&spec.rival);
        for key in spec.cheaper.iter().filter(|key| plan.methods.contains(key)) {
            judged.push(keeps(
                (&context.label(key), of(key).as_deref()),
                (&context.label(&spec.rival), rival.as_deref()),
                spec.margin,
                &view.name,
                images,
            )?);
        }
        tables.push(differences(spec, view, &rows, images, context)?);
    }
    tables.push(costs(spec, plan, &base, context)?);
    let margin = format!(
        "A method keeps the robustness of {} if the whole interval of its difference in the mean accuracy over all conditions is above \
         -{} points, and does not if all of it is below.",
        context.label(&spec.rival),
        spec.margin
    );
    let paragraphs = vec![margin, context.about_intervals(&plan.methods)];
    Ok(Findings { judged: Judged::of(judged), paragraphs, figures, tables, details: Vec::new() })
}

fn row(key: &str, spec: &Family, plan: &Plan, view: &View, context: &Context<'_>) -> Result<Row> {
    let images = context.images(view)?;
    let chips = plan.chips.unwrap_or(1) as u64;
    let under = vec![Vec::new(); spec.conditions.len()];
    let mut row = Row { key: key.to_owned(), clean: Vec::new(), under };
    for run in context.trained(key)? {
        let (clean, under) = accuracies(run, view, &images, &spec.conditions, chips, context)?;
        row.clean.push(clean);
        row.under.iter_mut().zip(under).for_each(|(seeds, chips)| seeds.push(chips));
    }
    Ok(row)
}

fn table(
    spec: &Family,
    view: &View,
    rows: &[Row],
    images: u64,
    context: &Context<'_>,
) -> Result<Table> {
    let mut columns = vec![
        Column::text("method"),
        Column::percent_interval("no deviation", 2),
        Column::percent_interval("mean of all conditions", 2),
    ];
    columns.extend(spec.conditions.iter().map(|c| Column::percent_interval(&c.label, 2)));
    let caption = format!("{} ({}), {images} images", view.name, view.batch_norm);
    let mut table = Table::new(caption, columns)?;
    for row in rows {
        let clean: Vec<Vec<f64>> = row.clean.iter().map(|clean| vec![*clean]).collect();
        let mut line = vec![
            Cell::Text(context.label(&row.key)),
            Cell::Interval(over_chips(&clean, images)?),
            Cell::Interval(over_chips(&row.robust(), images)?),
        ];
        for seeds in &row.under {
            line.push(Cell::Interval(over_chips(seeds, images)?));
        }
        table.push(line)?;
    }
    Ok(table)
}

/// How far each method is above the baseline and the rival, seed by seed.
fn differences(
    spec: &Family,
    view: &View,
    rows: &[Row],
    images: u64,
    context: &Context<'_>,
) -> Result<Table> {
    let others = [&spec.baseline, &spec.rival];
    let mut columns = vec![Column::text("method")];
    for other in others {
        columns.push(Column::interval(format!("above {}", context.label(other)), 2).unit("points"));
    }
    let caption = format!("Differences in the mean of all conditions: {}", view.name);
    let mut table = Table::new(caption, columns)?;
    for row in rows {
        let mut line = vec![Cell::Text(context.label(&row.key))];
        for other in others {
            let other = rows.iter().find(|one| one.key == *other && one.key != row.key);
            let Some(other) = other else {
                line.push(Cell::Missing);
                continue;
            };
            let (own, other) = (row.robust(), other.robust());
            let seeds = own.len().min(other.len());
            let apart = chips_difference(&own[..seeds], &other[..seeds], images)?;
            line.push(Cell::Interval(apart.scaled(100.0)));
        }
        table.push(line)?;
    }
    Ok(table)
}

fn cost(key: &str, context: &Context<'_>) -> Result<Cost> {
    let runs = context.trained(key)?;
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let last = || runs.iter().filter_map(|run| run.history.last());
    Ok(Cost {
        forward: mean(last().map(|record| record.counts.forward as f64).collect()),
        backward: mean(last().map(|record| record.counts.backward as f64).collect()),
        seconds: seconds(&runs),
    })
}

fn costs(spec: &Family, plan: &Plan, base: &Cost, context: &Context<'_>) -> Result<Table> {
    let baseline = context.label(&spec.baseline);
    let mut table = Table::new(
        format!(
            "What the trainings took, mean over seeds, in those of {baseline} (passes of a batch, or of a part of it, \
             through the network; seconds with validation left out, on a machine that had other work)"
        ),
        vec![
            Column::text("method"),
            Column::number("forward passes", 2),
            Column::number("backward passes", 2),
            Column::number("time", 2),
            Column::number("seconds", 0),
        ],
    )?;
    for key in &plan.methods {
        let Cost { forward, backward, seconds } = cost(key, context)?;
        let shares = [forward / base.forward, backward / base.backward, seconds / base.seconds];
        let mut line = vec![Cell::Text(context.label(key))];
        line.extend(shares.into_iter().chain([seconds]).map(Cell::Number));
        table.push(line)?;
    }
    Ok(table)
}

/// Accuracy over cost: what is to the upper left is the better buy.
fn picture(view: &View, rows: &[Row], base: &Cost, context: &Context<'_>) -> Result<Figures> {
    let mut series = Vec::new();
    for row in rows {
        let own = cost(&row.key, context)?;
        let passes = (own.forward + own.backward) / (base.forward + base.backward);
        let mean = means(&[means(&row.robust())])[0];
        series.push(LineSeries::new(context.label(&row.key), [(passes, mean)]).scattered());
    }
    let svg = line_chart(
        &format!("Robustness and its price: {}", view.name),
        &Axis::linear("forward and backward passes, in those of the baseline"),
        &Axis::linear("mean accuracy under all conditions").unit("%"),
        &series,
    )?;
    Ok(vec![(svg, "A point for each method, mean over seeds and chips. A pass over a part of a batch (ESAM's) counts whole.".to_owned())])
}
