//! Accuracy against how panels are misaligned, along one deviation or over a grid of two (Fig. 5e and the
//! supplement).

use pnn_core::model::{load_model_state, model_state};
use pnn_core::ops::Sampling;
use pnn_core::{Chip, DType, Model, Seed};
use pnn_eval::plot::{Axis, Heatmap, LineSeries, heatmap, line_chart};
use pnn_eval::{Cell, Column, Evaluator, Interval, Svg, Table, Verdict, on_port};
use pnn_train::{RawRecipe, Recipe};

use super::compare::{difference, over_seeds, percent, points, sources};
use super::judged::{Case, Judged, contest};
use super::{Context, Figures, Findings, optics};
use crate::error::Result;
use crate::reproduce::config::{Contest, Keeps, Misalignment, Plan, SweptAxis, View};

/// Accuracies of a method.
struct Row {
    key: String,
    label: String,
    /// In percent, by place and seed.
    accuracy: Vec<Vec<f64>>,
}

impl Row {
    /// Over seeds, at a place.
    fn at(&self, place: usize, images: u64) -> Result<Interval> {
        over_seeds(&self.accuracy[place], images)
    }

    /// The mean over all places, by seed.
    fn averaged(&self) -> Vec<f64> {
        let places = self.accuracy.len() as f64;
        let seeds = self.accuracy.first().map_or(0, Vec::len);
        let mean = |seed| self.accuracy.iter().map(|place| place[seed]).sum::<f64>() / places;
        (0..seeds).map(mean).collect()
    }

    /// The least mean over seeds of all places.
    fn worst(&self, images: u64) -> Result<Interval> {
        let mean = |place: &usize| self.accuracy[*place].iter().sum::<f64>();
        let worst = (0..self.accuracy.len()).min_by(|a, b| mean(a).total_cmp(&mean(b)));
        self.at(worst.unwrap_or(0), images)
    }
}

pub(super) fn analyse(spec: &Misalignment, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let places = places(&spec.axes);
    let (mut figures, mut tables, mut details) = (Vec::new(), Vec::new(), Vec::new());
    let (mut judged, mut asked) = (Vec::new(), Vec::new());
    for view in &plan.views {
        let images = context.images(view)?;
        let count = images.len() as u64;
        let mut rows = Vec::new();
        for key in &plan.methods {
            eprintln!("  {}: {}", view.name, context.label(key));
            let mut accuracy = vec![Vec::new(); places.len()];
            for run in context.trained(key)? {
                let evaluator = context.evaluator(view, run.normalisation);
                let chips = chips(spec, run.model.as_ref(), &places)?;
                for (accuracy, chip) in accuracy.iter_mut().zip(&chips) {
                    let chip = run.chip.plus(chip)?;
                    accuracy.push(evaluated(run.model.as_ref(), &chip, evaluator, &images)?);
                }
            }
            rows.push(Row { key: key.clone(), label: context.label(key), accuracy });
        }
        figures.extend(show(spec, view, &rows, count)?);
        tables.push(summary(spec, view, &rows, &places, count)?);
        details.push(whole(spec, view, &rows, &places, count)?);
        tables.push(seen(spec, view, plan, &rows, context)?);
        let here = Here { spec, view, rows: &rows, places: &places, images: count, context };
        judged.extend(here.kept()?);
        for pair in spec.contests.iter().filter(|contest| context.runs(contest)) {
            judged.extend(here.contests(pair)?);
        }
        for pair in spec.asked.iter().filter(|contest| context.runs(contest)) {
            asked.extend(here.contests(pair)?);
        }
    }
    let (pictures, warnings) = optics::show(spec, plan, context)?;
    figures.extend(pictures);
    let ports: Vec<_> = spec
        .axes
        .iter()
        .map(|axis| format!("{} of {}", axis.name(), axis.layers.join(" and ")))
        .collect();
    let mut paragraphs = vec![
        format!("Swept: {}. 0 is the calibrated setting.", ports.join("; ")),
        context.about_intervals(&plan.methods),
    ];
    paragraphs.extend(spec.notes.iter().cloned());
    paragraphs.extend(warnings);
    let asked = Judged::of(asked);
    if let Some(table) = asked.table()? {
        paragraphs.push(format!("Beside the claim: {}", asked.headline));
        tables.push(table);
    }
    let papers = spec.paper.iter().filter(|paper| plan.methods.contains(&paper.method));
    paragraphs.extend(sources(papers.map(|paper| (&*paper.label, &*paper.source))));
    Ok(Findings { judged: Judged::of(judged), paragraphs, figures, tables, details })
}

/// What is judged in a view.
struct Here<'a> {
    spec: &'a Misalignment,
    view: &'a View,
    rows: &'a [Row],
    places: &'a [Vec<f64>],
    images: u64,
    context: &'a Context<'a>,
}

impl Here<'_> {
    /// The accuracies in percent of a method at a place, by seed.
    fn at(&self, key: &str, place: &[f64]) -> Option<Vec<f64>> {
        let number = self.places.iter().position(|known| known == place)?;
        let row = self.rows.iter().find(|row| row.key == key)?;
        Some(row.accuracy[number].clone())
    }

    /// Whether the method of the claim keeps its accuracy where it is judged.
    fn kept(&self) -> Result<Vec<Case>> {
        let Some(Keeps { method, within }) = &self.spec.keeps else { return Ok(Vec::new()) };
        if !self.context.profile.methods.contains_key(method) {
            return Ok(Vec::new());
        }
        let aligned = vec![0.0; self.spec.axes.len()];
        let case = |at: &Vec<f64>| {
            let label = self.context.label(method);
            let place = format!("{label} keeps, {}, {}", words(self.spec, at), self.view.name);
            let (Some(clean), Some(there)) = (self.at(method, &aligned), self.at(method, at))
            else {
                let words = "it was not run, or a training of it diverged".to_owned();
                return Ok(Case { place, verdict: Verdict::NotTested, words });
            };
            let lost = difference(&clean, &there, self.images)?;
            let verdict = if 100.0 * lost.high <= *within {
                Verdict::Holds
            } else if 100.0 * lost.low > *within {
                Verdict::DoesNotHold
            } else {
                Verdict::Undecided
            };
            let now = percent(&over_seeds(&there, self.images)?);
            let words = format!("{now}, lost {}; up to {within} are allowed", points(&lost));
            Ok(Case { place, verdict, words })
        };
        self.spec.judged_at.iter().map(case).collect()
    }

    /// One method against another where they are judged, and on the mean of the sweep.
    fn contests(&self, pair: &Contest) -> Result<Vec<Case>> {
        let labels = [&pair.better, &pair.worse].map(|key| self.context.label(key));
        let case = |place: String, of: &dyn Fn(&str) -> Option<Vec<f64>>| {
            let side = |key: &str| Some(of(key)?.into_iter().map(|v| vec![v]).collect::<Vec<_>>());
            let (better, worse) = (side(&pair.better), side(&pair.worse));
            let place = format!("{place}, {}", self.view.name);
            let sides = ((&*labels[0], better.as_deref()), (&*labels[1], worse.as_deref()));
            contest(sides.0, sides.1, &place, self.images)
        };
        let mut cases = Vec::new();
        for at in &self.spec.judged_at {
            cases.push(case(words(self.spec, at), &|key| self.at(key, at))?);
        }
        let averaged = |key: &str| Some(self.rows.iter().find(|row| row.key == key)?.averaged());
        cases.push(case("mean of the sweep".into(), &averaged)?);
        Ok(cases)
    }
}

/// What the same networks have where a panel between pixels is seen otherwise than in their training.
fn seen(
    spec: &Misalignment,
    view: &View,
    plan: &Plan,
    rows: &[Row],
    context: &Context<'_>,
) -> Result<Table> {
    let images = context.images(view)?;
    let count = images.len() as u64;
    let aligned = vec![0.0; spec.axes.len()];
    let at: Vec<Vec<f64>> = std::iter::once(aligned).chain(spec.judged_at.clone()).collect();
    let all = places(&spec.axes);
    let mut columns = vec![Column::text("method"), Column::text("seen by")];
    columns.extend(at.iter().map(|at| Column::percent_interval(words(spec, at), 2)));
    let caption = format!(
        "{}: as in training and otherwise. Nearest neighbours and their bilinear means differ where panels are misaligned; a set-up is neither",
        view.name
    );
    let mut table = Table::new(caption, columns)?;
    for (key, row) in plan.methods.iter().zip(rows) {
        let recipe = &context.profile.methods[key].recipe;
        let other = match recipe.sampling {
            Sampling::Nearest => Sampling::Bilinear,
            Sampling::Bilinear => Sampling::Nearest,
        };
        let raw = RawRecipe { sampling: other, ..recipe.clone().into() };
        let otherwise = Recipe::try_from(raw)?;
        let mut accuracy = vec![Vec::new(); at.len()];
        for run in context.trained(key)? {
            let model = otherwise.model(&Seed::new(0), DType::F32)?;
            load_model_state(model.as_ref(), &model_state(run.model.as_ref()))?;
            let evaluator = context.evaluator(view, run.normalisation);
            for (accuracy, chip) in accuracy.iter_mut().zip(chips(spec, model.as_ref(), &at)?) {
                let chip = run.chip.plus(&chip)?;
                accuracy.push(evaluated(model.as_ref(), &chip, evaluator, &images)?);
            }
        }
        let own = at.iter().map(|at| match all.iter().position(|known| known == at) {
            Some(place) => row.at(place, count).map(Cell::Interval),
            None => Ok(Cell::Missing),
        });
        let name = |sampling| match sampling {
            Sampling::Nearest => "nearest neighbours",
            Sampling::Bilinear => "bilinear means",
        };
        let mut line = vec![
            Cell::Text(row.label.clone()),
            Cell::Text(format!("{} (training)", name(recipe.sampling))),
        ];
        line.extend(own.collect::<Result<Vec<_>>>()?);
        table.push(line)?;
        let mut line = vec![Cell::Text(row.label.clone()), Cell::from(name(other))];
        for accuracy in &accuracy {
            line.push(Cell::Interval(over_seeds(accuracy, count)?));
        }
        table.push(line)?;
    }
    Ok(table)
}

/// Every combination of the values of the axes, the last the fastest.
fn places(axes: &[SweptAxis]) -> Vec<Vec<f64>> {
    axes.iter().fold(vec![vec![]], |places, axis| {
        let with = |place: &Vec<f64>| -> Vec<Vec<f64>> {
            axis.values.iter().map(|value| [&place[..], &[*value]].concat()).collect()
        };
        places.iter().flat_map(with).collect()
    })
}

fn chips(spec: &Misalignment, model: &dyn Model, places: &[Vec<f64>]) -> Result<Vec<Chip>> {
    let at = |place: &Vec<f64>| {
        spec.axes.iter().zip(place).try_fold(Chip::ideal(), |chip, (axis, value)| {
            Ok(chip.plus(&on_port(model, &axis.port, &axis.layers, *value)?)?)
        })
    };
    places.iter().map(at).collect()
}

fn evaluated(
    model: &dyn Model,
    chip: &Chip,
    evaluator: Evaluator<'_>,
    images: &pnn_data::Dataset,
) -> Result<f64> {
    Ok(evaluator.evaluate(model, chip, images)?.percent())
}

/// A place in words.
pub(super) fn words(spec: &Misalignment, place: &[f64]) -> String {
    let each = spec.axes.iter().zip(place);
    let each: Vec<_> =
        each.map(|(axis, value)| format!("{} {value} {}", axis.label, axis.unit)).collect();
    each.iter().map(|words| words.trim_end()).collect::<Vec<_>>().join(", ")
}

/// Curves along one axis, or a map of each method.
fn show(spec: &Misalignment, view: &View, rows: &[Row], images: u64) -> Result<Figures> {
    let [x, rest @ ..] = &spec.axes[..] else { return Ok(Vec::new()) };
    if let [y, ..] = rest {
        let map = |row: &Row| -> Result<(Svg, String)> {
            let mean = |place: &Vec<f64>| place.iter().sum::<f64>() / place.len() as f64;
            let lines = row.accuracy.chunks(y.values.len());
            let values = lines.map(|line| line.iter().map(mean).collect()).collect();
            let title = format!("{}: {}", row.label, view.name);
            let map = Heatmap::new(&title, values, "accuracy (%)", 1)
                .rows(x.name(), x.values.iter().map(f64::to_string))
                .columns(y.name(), y.values.iter().map(f64::to_string));
            Ok((heatmap(&map)?, format!("{}: mean accuracy over seeds.", row.label)))
        };
        return rows.iter().map(map).collect();
    }
    let mut lines = Vec::new();
    for row in rows {
        let points = x.values.iter().enumerate();
        let points = points.map(|(n, value)| Ok((*value, row.at(n, images)?.scaled(100.0))));
        lines.push(LineSeries::from_intervals(&row.label, points.collect::<Result<Vec<_>>>()?));
    }
    let mut dashed = "";
    for paper in &spec.paper {
        let Some(own) = rows.iter().find(|row| row.key == paper.method) else { continue };
        let points = paper.values.iter().copied().zip(paper.accuracy.iter().copied());
        lines.push(LineSeries::new(&paper.label, points).reference_of(&own.label));
        dashed = " Dashed: the paper's.";
    }
    let axis = Axis::linear(x.name());
    let y = Axis::linear("accuracy").unit("%").range(0.0, 100.0);
    let caption = format!("Accuracy against {}. Bands: 95 %.{dashed}", x.label);
    Ok(vec![(line_chart(&view.name, &axis, &y, &lines)?, caption)])
}

/// The methods without misalignment, where they are compared, and over the sweep.
fn summary(
    spec: &Misalignment,
    view: &View,
    rows: &[Row],
    places: &[Vec<f64>],
    images: u64,
) -> Result<Table> {
    let mut columns = vec![Column::text("method"), Column::percent_interval("aligned", 2)];
    columns.extend(spec.judged_at.iter().map(|at| Column::percent_interval(words(spec, at), 2)));
    columns.push(Column::percent_interval("mean of the sweep", 2));
    columns.push(Column::percent_interval("worst of the sweep", 2));
    let title = format!("Where methods are compared: {}, {images} images", view.name);
    let mut table = Table::new(title, columns)?;
    let aligned = vec![0.0; spec.axes.len()];
    for row in rows {
        let mut cells = vec![Cell::Text(row.label.clone())];
        for at in [&aligned].into_iter().chain(&spec.judged_at) {
            cells.push(match places.iter().position(|place| place == at) {
                Some(number) => Cell::Interval(row.at(number, images)?),
                None => Cell::Missing,
            });
        }
        cells.push(Cell::Interval(over_seeds(&row.averaged(), images)?));
        cells.push(Cell::Interval(row.worst(images)?));
        table.push(cells)?;
    }
    Ok(table)
}

/// Every place.
fn whole(
    spec: &Misalignment,
    view: &View,
    rows: &[Row],
    places: &[Vec<f64>],
    images: u64,
) -> Result<Table> {
    let axis = |axis: &SweptAxis| Column::number(axis.name(), 3);
    let mut columns: Vec<_> = spec.axes.iter().map(axis).collect();
    columns.extend(rows.iter().map(|row| Column::percent_interval(&row.label, 2)));
    let mut table = Table::new(format!("The whole sweep: {}", view.name), columns)?;
    for (number, place) in places.iter().enumerate() {
        let mut cells: Vec<_> = place.iter().map(|value| Cell::Number(*value)).collect();
        for row in rows {
            cells.push(Cell::Interval(row.at(number, images)?));
        }
        table.push(cells)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_every_combination_and_its_mean_and_worst_are_those_of_the_seeds() {
        let axis = |values: &[f64]| SweptAxis {
            label: "x".into(),
            unit: "1".into(),
            port: "p".into(),
            layers: vec!["fc1".into()],
            values: values.to_vec(),
        };
        let places = places(&[axis(&[-1.0, 0.0]), axis(&[0.0, 2.0, 3.0])]);
        assert_eq!(places.len(), 6);
        assert_eq!((&places[1][..], &places[3][..]), (&[-1.0, 2.0][..], &[0.0, 0.0][..]));
        let accuracy = vec![vec![90.0, 80.0], vec![60.0, 70.0], vec![30.0, 99.0]];
        let row = Row { key: "a".into(), label: "A".into(), accuracy };
        assert_eq!(row.averaged(), [60.0, 83.0]);
        assert!((row.worst(1000).unwrap().estimate - 0.645).abs() < 1e-12);
    }
}
