//! The knowledge matrix: what training knew against what the deployed chip does.
//! Who knows a perturbation can train on it, so methods are compared at equal knowledge, and each is
//! tested on perturbations that its training never saw.

mod judge;

use pnn_core::{Chip, Seed};
use pnn_eval::plot::{Heatmap, heatmap};
use pnn_eval::{Cell, Column, Svg, Table};
use pnn_noise::NoiseModel;

use super::compare::{about_intervals, means, over_chips};
use super::judged::Judged;
use super::{Context, Findings};
use crate::error::{Error, Result};
use crate::reproduce::config::{Knowledge, Plan, View};
use crate::reproduce::front::Deployed;

/// What the deployed chip does.
struct Deployment<'a> {
    /// The kind of perturbation; none on the ideal chip.
    kind: Option<&'a str>,
    label: &'a str,
    noise: NoiseModel,
    chips: u64,
}

/// A method, and what it reaches.
struct Row {
    key: String,
    label: String,
    /// The kind of perturbation that it trained on.
    knows: Option<String>,
    /// Whether the others are compared with it.
    rival: bool,
    /// Whether it takes an ascent.
    sharp: bool,
    /// Accuracy in percent for each deployment, by seed and chip.
    cells: Vec<Vec<Vec<f64>>>,
}

pub(super) fn analyse(spec: &Knowledge, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let chips = plan.chips.ok_or_else(|| Error::Usage("the plan says no chips".into()))?;
    let deployments = deployments(spec, chips as u64);
    let (mut figures, mut tables, mut details) = (Vec::new(), Vec::new(), Vec::new());
    let mut judged = Vec::new();
    for view in &plan.views {
        eprintln!("  {}", view.name);
        let images = context.images(view)?.len() as u64;
        let rows = rows(spec, plan, view, context, &deployments)?;
        let letters: Vec<_> = rows
            .iter()
            .zip('A'..)
            .map(|(row, letter)| format!("{letter}: {}", row.label))
            .collect();
        let caption = format!(
            "Mean accuracy in % over chips and seeds. Columns, what training knew: {}. Batch-norm uses {}.",
            letters.join(", "),
            view.batch_norm
        );
        figures.push((picture(view, &rows, &deployments)?, caption));
        let contrasts = judge::contrasts(spec, &rows, &deployments, images)?;
        tables.push(judge::table(view, &contrasts)?);
        details.push(table(view, &rows, &deployments, images)?);
        judged.extend(judge::verdicts(view, &contrasts));
    }
    let seeds = context.profile.seeds.len();
    let paragraphs = vec![
        format!(
            "Each cell is the accuracy over all images of the view and {seeds} seed{}; where a perturbation is random, over \
             {chips} chips too, the same for every row, seed and batch-norm mode. The claim holds for a method if against \
             the one that knows nothing and against every row that trained, without an ascent, on another perturbation it \
             is better at one strength of each kind at least and worse at none; it does not hold if against the former it \
             is better in no more cells than it is worse. Intervals are not corrected for the number of cells.",
            if seeds == 1 { "" } else { "s" }
        ),
        about_intervals(seeds).to_owned(),
    ];
    let judged = Judged::of(judged);
    Ok(Findings { judged, paragraphs, figures, tables, details })
}

fn deployments<'a>(spec: &'a Knowledge, chips: u64) -> Vec<Deployment<'a>> {
    let clean = Deployment { kind: None, label: "clean", noise: NoiseModel::default(), chips: 1 };
    let mut all = vec![clean];
    for kind in &spec.kinds {
        all.extend(kind.strengths.iter().map(|strength| Deployment {
            kind: Some(&kind.name),
            label: &strength.label,
            noise: strength.noise.clone(),
            chips: if strength.is_random() { chips } else { 1 },
        }));
    }
    all
}

fn rows(
    spec: &Knowledge,
    plan: &Plan,
    view: &View,
    context: &Context<'_>,
    deployments: &[Deployment<'_>],
) -> Result<Vec<Row>> {
    let images = context.images(view)?;
    let seed = Seed::new(0).child("knowledge");
    let mut rows = Vec::new();
    for key in &plan.methods {
        let mut cells = vec![Vec::new(); deployments.len()];
        for run in context.trained(key)? {
            let layers = run.model.physical_layers();
            let deployed = Deployed::new(
                run.model.as_ref(),
                run.fc_activation,
                context.evaluator(view, run.normalisation),
                &images,
            )?;
            for (cell, deployment) in cells.iter_mut().zip(deployments) {
                let on = |chip: u64| -> Result<f64> {
                    let drawn: Chip = deployment.noise.draw(&layers, 1, &seed.index(chip))?;
                    deployed.percent(&run.chip.plus(&drawn)?)
                };
                cell.push((0..deployment.chips).map(on).collect::<Result<Vec<_>>>()?);
            }
        }
        let sharp = context.profile.methods[key].recipe.sharpness.is_some();
        let knows = spec.knows.get(key).cloned();
        let rival = plan.rivals.contains(key);
        rows.push(Row { key: key.clone(), label: context.label(key), knows, rival, sharp, cells });
    }
    Ok(rows)
}

fn picture(view: &View, rows: &[Row], deployments: &[Deployment<'_>]) -> Result<Svg> {
    let mean = |cell: &Vec<Vec<f64>>| means(cell).iter().sum::<f64>() / cell.len() as f64;
    let of = |number: usize| rows.iter().map(|row| mean(&row.cells[number])).collect();
    Ok(heatmap(
        &Heatmap::new(&view.name, (0..deployments.len()).map(of).collect(), "accuracy (%)", 0)
            .columns("what training knew", ('A'..).take(rows.len()))
            .rows("what the chip does", deployments.iter().map(|d| d.label)),
    )?)
}

/// All cells with their intervals, a row for each deployment.
fn table(view: &View, rows: &[Row], deployments: &[Deployment<'_>], images: u64) -> Result<Table> {
    let mut columns = vec![Column::text("what the chip does"), Column::number("chips", 0)];
    columns.extend(rows.iter().map(|row| Column::percent_interval(&row.label, 2)));
    let title = format!("All cells: {} ({}), {images} images", view.name, view.batch_norm);
    let mut table = Table::new(title, columns)?;
    for (number, deployment) in deployments.iter().enumerate() {
        let mut line = vec![Cell::from(deployment.label), Cell::Number(deployment.chips as f64)];
        for row in rows {
            line.push(over_chips(&row.cells[number], images)?.into());
        }
        table.push(line)?;
    }
    Ok(table)
}
