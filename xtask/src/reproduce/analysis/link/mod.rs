//! Which measure of sharpness goes with robustness: rank correlations over networks of many methods, seeds and checkpoints.

mod correlate;
mod measures;

use pnn_core::{Chip, DType, store};
use pnn_eval::plot::{Axis, Heatmap, LineSeries, heatmap, line_chart};
use pnn_eval::{Cell, Column, Svg, Table, Verdict};
use serde::{Deserialize, Serialize};

use super::conditions::accuracies;
use super::judged::{Case, Judged};
use super::{Context, Findings};
use crate::error::{Error, Result};
use crate::reproduce::config::{Link, Method, Plan, System, View};
use crate::reproduce::training::{Job, fingerprint};
use correlate::{Correlation, correlate};

/// The measure that the claim is about.
const CLAIMED: &str = "lambda_max";

/// What was found of one network; kept in a file, for it takes a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    method: String,
    /// How long it was trained.
    #[serde(skip)]
    epochs: usize,
    /// The chip that it sits on by the digest of its errors, nothing if it has none: deviations come on top of that chip's own.
    chip: String,
    /// Measures of sharpness, in the order of their names; none where an eigenvalue did not converge.
    measures: Vec<Option<f64>>,
    /// The largest error of a Hessian product of a batch, relative to it.
    largest_error: f64,
    /// Accuracy in percent on its own chip, and the mean under each condition.
    clean: f64,
    under: Vec<f64>,
}

/// A method as it is, and as it was on the way: a training that stops after so many epochs has the bits that the whole one had then.
pub(crate) fn checkpoints(
    key: &str,
    method: &Method,
    epochs: &[usize],
) -> Result<Vec<(String, Method)>> {
    let shorter = epochs.iter().filter(|epochs| **epochs < method.recipe.epochs).map(|epochs| {
        let shorter = method.with_setting("epochs", *epochs as f64).map_err(Error::Usage)?;
        Ok((format!("{key}-epochs{epochs}"), shorter))
    });
    std::iter::once(Ok((key.to_owned(), method.clone()))).chain(shorter).collect()
}

/// A name that is the same for chips with the same errors; none for the ideal chip.
fn name_of(chip: &Chip) -> Result<String> {
    let mut errors = String::new();
    for (layer, deviations) in chip.iter() {
        for (port, values) in deviations.iter() {
            let values = values.to_dtype(DType::F64)?;
            errors += &format!("{layer} {port} {:?}\n", values.elements::<f64>()?);
        }
    }
    Ok(if errors.is_empty() { errors } else { fingerprint(&errors) })
}

/// Whether a measure predicts robustness, in words.
fn predicts(correlation: &Correlation) -> &'static str {
    match correlation.verdict() {
        Verdict::Holds => "yes",
        Verdict::DoesNotHold => "the sharper the better",
        Verdict::NotTested => "undefined",
        _ => "undecided",
    }
}

impl Network {
    /// The mean accuracy over all conditions.
    fn robust(&self) -> f64 {
        self.under.iter().sum::<f64>() / self.under.len() as f64
    }

    /// What of its accuracy it keeps, in points; below 0 as a rule.
    fn kept(&self) -> f64 {
        self.robust() - self.clean
    }
}

pub(super) fn analyse(spec: &Link, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let view = plan.views.first().ok_or_else(|| Error::Usage("the plan has no view".into()))?;
    let (mut figures, mut tables, mut details) = (Vec::new(), Vec::new(), Vec::new());
    let mut cases = Vec::new();
    for system in &spec.systems {
        let networks = networks(spec, system, plan, view, context)?;
        let methods = networks.iter().map(|n| &n.method).collect::<std::collections::BTreeSet<_>>();
        if methods.len() < 3 {
            let words = format!("{} methods were run, at least 3 are needed", methods.len());
            let place = system.name.clone();
            cases.push(Case { place, verdict: Verdict::NotTested, words });
            continue;
        }
        let names = measures::names(system);
        let found = correlate(&names, system, &networks)?;
        cases.push(judge(system, &found));
        figures.push(picture(system, &names, &found)?);
        figures.push(scatter(system, &names, &networks, context)?);
        tables.push(table(system, &found)?);
        details.push(values(system, &names, &networks, context)?);
    }
    let paragraphs = vec![
        format!(
            "Sharpness is measured on the first {} training images with running statistics, on the chip that the network is deployed on; \
             rings are taken in their detunings. Accuracies are of {}. The relative measures are in units of each parameter's own \
             size. The rise in a ball is the largest that {} gradient steps found, the rise under noise the mean over {} pairs. \
             Rise, slope and curvature in a deviation are of the loss in what the device does wrong, in steps as expected: the rise is the mean \
             over both signs, or over {} pairs of random ones, and half the curvature is what it would be if the loss were a parabola.",
            spec.images, view.name, spec.ascent_steps, spec.noise_pairs, spec.noise_pairs
        ),
        "A cell is Spearman's rank correlation of a measure with accuracy over all networks of the system: -1 where the \
         flatter network is always the more accurate one. Networks are of all seeds, and as they were on the way where a system has \
         checkpoints; intervals are of a bootstrap that draws methods with all of theirs. \
         A measure predicts robustness if its whole interval is below 0; with few methods such an interval is rather too short, and none \
         is widened for the number of measures that were tried. Networks that sit on chips with errors of their own, on top of which the \
         deviations come, are compared with those on the same chip only: a cell is the mean over chips that hold at least three methods, \
         and other networks are left out of it. *Less that of lambda_max* is how much better (below 0) or worse a measure orders the same networks than lambda_max does, over \
         the same resamples. *Kept* is the mean over all conditions less the accuracy without deviation. \
         The rise under a deviation that is also a condition is nearly the question itself: it shows what could be reached. \
         *Within methods* is the mean of the correlations of the networks of each method that has three or more: what is left if methods are not \
         compared. \
         The training loss, which is no sharpness at all, is there to be beaten. The claim holds in a system if the whole \
         interval of lambda_max with the mean accuracy over all conditions is below 0."
            .to_owned(),
    ];
    Ok(Findings { judged: Judged::of(cases), paragraphs, figures, tables, details })
}

/// Every network of a system that was run: taken over from a file, or measured.
fn networks(
    spec: &Link,
    system: &System,
    plan: &Plan,
    view: &View,
    context: &Context<'_>,
) -> Result<Vec<Network>> {
    let training = context.data.train.range(0, spec.images)?;
    let images = context.images(view)?;
    let chips = plan.chips.unwrap_or(1) as u64;
    // What was measured of a network does not depend on which others there are.
    let alone = System { checkpoints: Vec::new(), ..system.clone() };
    let settings = (spec.images, spec.trace_products, spec.ascent_steps, spec.noise_pairs);
    let names = measures::names(system);
    let settings = serde_json::to_string(&(settings, alone, view, chips, names))
        .map_err(|e| Error::Usage(e.to_string()))?;
    let file = format!("sharpness-{}.json", fingerprint(&settings));
    let measure = |of: &str, job: &Job| -> Result<Network> {
        let run = context.network(&job.key, job.seed)?;
        let epochs = job.method.recipe.epochs;
        let path = job.folder(context.out, context.data)?.join(&file);
        if context.resume
            && let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(network) = serde_json::from_str(&text)
        {
            return Ok(Network { epochs, ..network });
        }
        eprintln!("  {}: {}, seed {}", system.name, job.key, job.seed);
        let (measures, largest_error) =
            measures::measure(spec, system, &job.method, run, &training)?;
        let (clean, under) = accuracies(run, view, &images, &system.conditions, chips, context)?;
        let mean = |chips: &Vec<f64>| chips.iter().sum::<f64>() / chips.len() as f64;
        let under = under.iter().map(mean).collect();
        let (method, chip) = (of.to_owned(), name_of(&run.chip)?);
        let network = Network { method, epochs, chip, measures, largest_error, clean, under };
        let text = serde_json::to_string(&network).map_err(|e| Error::Usage(e.to_string()))?;
        store::write_atomic(&path, text.as_bytes())?;
        Ok(network)
    };
    let mut networks = Vec::new();
    for key in plan.methods.iter().filter(|key| system.methods.contains(key)) {
        let stages = checkpoints(key, &context.profile.methods[key], &system.checkpoints)?;
        for (stage, method) in stages {
            for seed in context.profile.seeds_of(key) {
                let job = Job { key: stage.clone(), method: method.clone(), seed: *seed };
                networks.push(measure(key, &job)?);
            }
        }
    }
    Ok(networks)
}

/// Whether `lambda_max` goes with the mean accuracy over all conditions, and which measure does so best.
fn judge(system: &System, found: &[Correlation]) -> Case {
    let place = system.name.clone();
    let strength = |c: &&Correlation| c.robust.as_ref().map(|r| r.estimate);
    let defined = || found.iter().filter(|c| c.robust.is_some());
    let best = defined()
        .min_by(|a, b| strength(a).partial_cmp(&strength(b)).unwrap_or(std::cmp::Ordering::Equal));
    let words = |c: &Correlation| match &c.robust {
        Some(r) => format!("{} {:+.2} [{:+.2}, {:+.2}]", c.measure, r.estimate, r.low, r.high),
        None => format!("{}: undefined", c.measure),
    };
    let claimed = found.iter().find(|c| c.measure == CLAIMED);
    let verdict = claimed.map_or(Verdict::NotTested, Correlation::verdict);
    let all = [claimed, best].into_iter().flatten().map(words).collect::<Vec<_>>();
    let words = match &all[..] {
        [claimed, best] if claimed != best => format!("{claimed}; the best measure: {best}"),
        [claimed, ..] => format!("{claimed}; no measure is better"),
        [] => "no measure is defined".to_owned(),
    };
    Case { place, verdict, words }
}

fn table(system: &System, found: &[Correlation]) -> Result<Table> {
    let mut columns = vec![
        Column::text("measure"),
        Column::text("predicts robustness"),
        Column::interval("mean of all conditions", 2),
        Column::interval("less that of lambda_max", 2),
        Column::interval("within methods", 2),
        Column::number("Kendall's tau-b", 2),
        Column::number("kept", 2),
        Column::number("no deviation", 2),
    ];
    columns.extend(system.conditions.iter().map(|c| Column::number(&c.label, 2)));
    let caption = format!("{}: rank correlation of sharpness with accuracy", system.name);
    let mut table = Table::new(caption, columns)?;
    let number = |value: &Option<f64>| value.map_or(Cell::Missing, Cell::Number);
    let interval = |value: &Option<_>| value.map_or(Cell::Missing, Cell::Interval);
    for correlation in found {
        let mut line = vec![
            Cell::Text(correlation.measure.clone()),
            Cell::from(predicts(correlation)),
            interval(&correlation.robust),
            interval(&correlation.ahead),
            interval(&correlation.within),
            number(&correlation.kendall),
            number(&correlation.kept),
            number(&correlation.clean),
        ];
        line.extend(correlation.under.iter().map(number));
        table.push(line)?;
    }
    Ok(table)
}

fn picture(system: &System, names: &[String], found: &[Correlation]) -> Result<(Svg, String)> {
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let row = |c: &Correlation| {
        let robust = or_nan(c.robust.map(|r| r.estimate));
        let under = c.under.iter().map(|under| or_nan(*under));
        [robust, or_nan(c.kept), or_nan(c.clean)].into_iter().chain(under).collect()
    };
    let columns = ["all conditions", "kept", "no deviation"];
    let columns = columns.map(str::to_owned).into_iter();
    let columns = columns.chain(system.conditions.iter().map(|c| c.label.clone()));
    let map = Heatmap::new(
        format!("{}: sharpness and accuracy", system.name),
        found.iter().map(row).collect(),
        "Spearman's rank correlation",
        2,
    )
    .columns("accuracy under", columns)
    .rows("measure", names.iter().cloned());
    let caption = "Rank correlation over all networks: -1 (vermillion) where flat networks are the accurate ones, 0 where the \
                   measure says nothing, 1 (blue) where sharp ones are."
        .to_owned();
    Ok((heatmap(&map)?, caption))
}

/// Accuracy over `lambda_max`: a point for each network, a marker for each method.
fn scatter(
    system: &System,
    names: &[String],
    networks: &[Network],
    context: &Context<'_>,
) -> Result<(Svg, String)> {
    let place = names.iter().position(|name| name == CLAIMED).unwrap_or_default();
    let mut series = Vec::new();
    for method in &system.methods {
        let own = networks.iter().filter(|network| network.method == *method);
        let points: Vec<_> = own.filter_map(|n| Some((n.measures[place]?, n.robust()))).collect();
        let shown: Vec<_> = points.into_iter().filter(|(x, _)| *x > 0.0).collect();
        if !shown.is_empty() {
            series.push(LineSeries::new(context.label(method), shown).scattered());
        }
    }
    let svg = line_chart(
        &format!("{}: robustness over {CLAIMED}", system.name),
        &Axis::logarithmic(CLAIMED),
        &Axis::linear("mean accuracy under all conditions").unit("%"),
        &series,
    )?;
    Ok((svg, "A point for each trained network.".to_owned()))
}

/// What was measured, method by method: means over seeds.
fn values(
    system: &System,
    names: &[String],
    networks: &[Network],
    context: &Context<'_>,
) -> Result<Table> {
    let mut columns = vec![Column::text("method")];
    columns.extend(names.iter().map(|name| Column::number(name, 2).scientific()));
    columns.push(Column::number("largest error of a product", 1).scientific());
    columns.push(Column::text("on a chip of its own"));
    columns.push(Column::percent("accuracy without deviation", 2));
    let labels = system.conditions.iter().map(|c| Column::percent(&c.label, 2));
    columns.extend(labels);
    let caption = format!("{}: what was measured, means over seeds", system.name);
    let mut table = Table::new(caption, columns)?;
    for alike in networks.chunk_by(|a, b| (&a.method, a.epochs) == (&b.method, b.epochs)) {
        let first = &alike[0];
        let whole = context.profile.methods.get(&first.method).map(|method| method.recipe.epochs);
        let label = match whole {
            Some(whole) if whole != first.epochs => {
                format!("{}, {} of {whole} epochs", context.label(&first.method), first.epochs)
            }
            _ => context.label(&first.method),
        };
        let mean = |pick: &dyn Fn(&Network) -> f64| {
            Cell::Number(alike.iter().map(pick).sum::<f64>() / alike.len() as f64)
        };
        let mut line = vec![Cell::Text(label)];
        for place in 0..names.len() {
            let known: Vec<f64> = alike.iter().filter_map(|n| n.measures[place]).collect();
            line.push(match known.len() {
                0 => Cell::Missing,
                count => Cell::Number(known.iter().sum::<f64>() / count as f64),
            });
        }
        let worst = alike.iter().map(|n| n.largest_error).fold(0.0, f64::max);
        line.push(Cell::Number(worst));
        line.push(Cell::from(if first.chip.is_empty() { "" } else { "yes" }));
        line.push(mean(&|n| n.clean / 100.0));
        line.extend((0..system.conditions.len()).map(|place| mean(&|n| n.under[place] / 100.0)));
        table.push(line)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::config::{Catalogue, DataChoice, default_folder};
    use crate::reproduce::data::Data;
    use crate::reproduce::kept::Kept;
    use crate::reproduce::training::{Training, run_all};

    #[test]
    fn a_chip_is_called_after_its_errors() {
        let chip = |error: f64| {
            let mut chip = Chip::ideal();
            let values = pnn_core::Tensor::new([error, 0.0]).unwrap();
            chip.layer_mut("fc2").add("resonance_shift_nm", &values).unwrap();
            name_of(&chip).unwrap()
        };
        assert_eq!(name_of(&Chip::ideal()).unwrap(), "");
        assert!(chip(0.1) == chip(0.1) && chip(0.1) != chip(0.2));
    }

    #[test]
    fn a_checkpoint_is_what_a_longer_training_was_on_its_way() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let (data, _) = Data::load(DataChoice::Digits, None).unwrap();
        let mut method = catalogue.profiles["quick"].methods["sat"].clone();
        let mut recipe = serde_json::to_value(&method.recipe).unwrap();
        (recipe["epochs"], recipe["images"]) = (2.into(), 128.into());
        method.recipe = serde_json::from_value(recipe).unwrap();
        let stages = checkpoints("sat", &method, &[1, 2, 3]).unwrap();
        let keys = stages.iter().map(|(key, method)| (&key[..], method.recipe.epochs));
        assert_eq!(keys.collect::<Vec<_>>(), [("sat", 2), ("sat-epochs1", 1)]);
        let jobs: Vec<_> =
            stages.into_iter().map(|(key, method)| Job { key, method, seed: 3 }).collect();
        let out = tempfile::tempdir().unwrap();
        let runs = run_all(&jobs, &data, out.path(), false, &Kept::default(), "training");
        let loss = |key: &str| match &runs[&(key.to_owned(), 3)] {
            Training::Done(run) => run.history[0].train_loss.to_bits(),
            _ => panic!("{key} was not trained"),
        };
        assert_eq!(loss("sat"), loss("sat-epochs1"));
    }
}
