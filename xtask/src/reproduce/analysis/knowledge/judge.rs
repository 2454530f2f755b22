//! Whether the sharpness-aware rows, which know nothing, beat those that know nothing either and
//! those that know something else, and how far they stay below those that knew.

use pnn_eval::{Cell, Column, Interval, Table, Verdict};

use super::{Deployment, Row};
use crate::error::Result;
use crate::reproduce::analysis::compare::{chips_difference, points};
use crate::reproduce::analysis::judged::Case;
use crate::reproduce::config::{Knowledge, View};

/// One sharpness-aware row against the others under one deployment.
pub(super) struct Contrast {
    method: String,
    kind: String,
    deployment: String,
    /// Minus the row that knows nothing, if it was not left out.
    baseline: Option<(String, Interval)>,
    /// Minus each row that trained on another kind, the best of these last.
    others: Vec<(String, Interval)>,
    /// Minus the row that trained on this kind.
    knower: Option<Interval>,
}

pub(super) fn contrasts(
    spec: &Knowledge,
    rows: &[Row],
    deployments: &[Deployment<'_>],
    images: u64,
) -> Result<Vec<Contrast>> {
    let mut contrasts = Vec::new();
    for method in rows.iter().filter(|row| spec.sharp.contains(&row.key)) {
        for (number, deployment) in deployments.iter().enumerate() {
            let Some(kind) = deployment.kind else { continue };
            let minus =
                |row: &Row| chips_difference(&method.cells[number], &row.cells[number], images);
            let knowers =
                rows.iter().filter(|r| !r.sharp).filter_map(|r| Some((r, r.knows.as_deref()?)));
            let (same, other): (Vec<_>, Vec<_>) = knowers.partition(|(_, knows)| *knows == kind);
            let mut others = Vec::new();
            for (row, _) in other {
                others.push((row.label.clone(), minus(row)?));
            }
            // The best of the others is the one that least is gained over.
            others.sort_by(|a, b| b.1.estimate.total_cmp(&a.1.estimate));
            let baseline = rows.iter().find(|row| row.rival);
            contrasts.push(Contrast {
                method: method.label.clone(),
                kind: kind.to_owned(),
                deployment: deployment.label.to_owned(),
                baseline: match baseline {
                    Some(row) => Some((row.label.clone(), minus(row)?)),
                    None => None,
                },
                others,
                knower: same.first().map(|(row, _)| minus(row)).transpose()?,
            });
        }
    }
    Ok(contrasts)
}

pub(super) fn table(view: &View, contrasts: &[Contrast]) -> Result<Table> {
    let mut table = Table::new(
        format!(
            "Points of accuracy that knowing nothing but an ascent gains: {} ({})",
            view.name, view.batch_norm
        ),
        vec![
            Column::text("method"),
            Column::text("what the chip does"),
            Column::interval("over the one that knows nothing", 1).unit("points"),
            Column::interval("over the best that trained on another perturbation", 1)
                .unit("points"),
            Column::text("the best other"),
            Column::interval("over the one that trained on this", 1).unit("points"),
        ],
    )?;
    let cell = |interval: Option<&Interval>| Cell::from(interval.map(|i| i.scaled(100.0)));
    for contrast in contrasts {
        let best = contrast.others.last();
        table.push(vec![
            Cell::from(contrast.method.as_str()),
            Cell::from(contrast.deployment.as_str()),
            cell(contrast.baseline.as_ref().map(|(_, gain)| gain)),
            cell(best.map(|(_, gain)| gain)),
            best.map_or(Cell::Missing, |(label, _)| Cell::from(label.as_str())),
            cell(contrast.knower.as_ref()),
        ])?;
    }
    Ok(table)
}

/// How many differences lie above 0 and below it for sure.
#[derive(Default, Clone, Copy)]
struct Count {
    better: usize,
    worse: usize,
    all: usize,
}

impl Count {
    fn of<'a>(gains: impl Iterator<Item = &'a Interval>) -> Self {
        gains.fold(Self::default(), |count, gain| Self {
            better: count.better + usize::from(gain.low > 0.0),
            worse: count.worse + usize::from(gain.high < 0.0),
            all: count.all + 1,
        })
    }

    fn words(self) -> String {
        format!("better in {} of {} cells, worse in {}", self.better, self.all, self.worse)
    }
}

/// A verdict for each sharpness-aware row in a view.
pub(super) fn verdicts(view: &View, contrasts: &[Contrast]) -> Vec<Case> {
    let mut methods: Vec<&str> = contrasts.iter().map(|c| c.method.as_str()).collect();
    methods.dedup();
    let of = |method: &&str| {
        let own: Vec<_> = contrasts.iter().filter(|c| c.method == *method).collect();
        let (verdict, words) = verdict(&own);
        Case { place: format!("{}, {method}", view.name), verdict, words }
    };
    methods.iter().map(of).collect()
}

fn verdict(own: &[&Contrast]) -> (Verdict, String) {
    let baselines = || own.iter().filter_map(|c| c.baseline.as_ref());
    let over_baseline = Count::of(baselines().map(|(_, gain)| gain));
    let baseline = baselines().next().map_or("a baseline", |(label, _)| label.as_str());
    let over_others = Count::of(own.iter().flat_map(|c| c.others.iter().map(|(_, gain)| gain)));
    let knower: Vec<&Interval> = own.iter().filter_map(|c| c.knower.as_ref()).collect();
    let under_knower = Count::of(knower.iter().copied());
    let mean = knower.iter().map(|i| i.estimate).sum::<f64>() / knower.len() as f64;
    let mut words = format!("against {baseline} {}", over_baseline.words());
    if over_others.all > 0 {
        words += &format!("; against training on another perturbation {}", over_others.words());
    }
    if let Some(least) = knower.iter().min_by(|a, b| a.estimate.total_cmp(&b.estimate)) {
        words += &format!(
            "; against training on this very one {}, {:+.1} points on average, at worst {}",
            under_knower.words(),
            100.0 * mean,
            points(least)
        );
    }
    let verdict = if over_baseline.all == 0 || over_others.all == 0 {
        Verdict::NotTested
    } else if over_baseline.better <= over_baseline.worse {
        Verdict::DoesNotHold
    } else if over_baseline.worse + over_others.worse == 0 && better_at_every_kind(own) {
        Verdict::Holds
    } else {
        Verdict::HoldsInPart
    };
    (verdict, words)
}

/// Whether under every kind there is a strength at which the row is better than the baseline, and for
/// each of the others one at which it is better than that.
fn better_at_every_kind(own: &[&Contrast]) -> bool {
    let better = |gain: &Interval| gain.low > 0.0;
    own.iter().all(|contrast| {
        let same: Vec<_> = own.iter().filter(|c| c.kind == contrast.kind).collect();
        let over_other = |label: &String| {
            same.iter().flat_map(|c| &c.others).any(|(l, gain)| l == label && better(gain))
        };
        same.iter().filter_map(|c| c.baseline.as_ref()).any(|(_, gain)| better(gain))
            && contrast.others.iter().all(|(label, _)| over_other(label))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows BP, one that knows drift, one that knows weight noise, SAM; one column for each kind; three
    /// seeds that vary alike, one chip.
    fn verdict_of(drift: [f64; 4], weight: [f64; 4]) -> (Verdict, String) {
        let row = |key: &str, knows: Option<&str>, i: usize| Row {
            key: key.into(),
            label: key.to_uppercase(),
            knows: knows.map(str::to_owned),
            rival: key == "bp",
            sharp: key == "sam",
            cells: [drift[i], weight[i]]
                .map(|percent| (0..3).map(|s| vec![percent + 0.3 * f64::from(s)]).collect())
                .to_vec(),
        };
        let rows = [
            row("bp", None, 0),
            row("nat-drift", Some("drift"), 1),
            row("nat-weight", Some("weight"), 2),
            row("sam", None, 3),
        ];
        let knows = [("nat-drift", "drift"), ("nat-weight", "weight")];
        let spec = Knowledge {
            sharp: vec!["sam".into()],
            knows: knows.map(|(m, k)| (m.to_owned(), k.to_owned())).into(),
            kinds: Vec::new(),
        };
        let deployment = |kind| Deployment {
            kind: Some(kind),
            label: kind,
            noise: pnn_noise::NoiseModel::default(),
            chips: 1,
        };
        let deployments = [deployment("drift"), deployment("weight")];
        let contrasts = contrasts(&spec, &rows, &deployments, 1000).unwrap();
        assert_eq!(contrasts.len(), 2);
        let view = View {
            name: "view".into(),
            batch_norm: pnn_eval::BatchNormMode::Running,
            images: None,
        };
        let case = verdicts(&view, &contrasts).remove(0);
        (case.verdict, case.words)
    }

    #[test]
    fn the_claim_needs_the_baseline_and_every_other_knowledge_to_be_beaten_everywhere() {
        // BP, knows drift, knows weight noise, SAM.
        let (verdict, words) = verdict_of([40.0, 90.0, 50.0, 60.0], [40.0, 50.0, 90.0, 60.0]);
        assert_eq!(verdict, Verdict::Holds, "{words}");
        assert!(words.contains("against BP better in 2 of 2 cells, worse in 0"), "{words}");
        assert!(words.contains("-30.0 points on average"), "{words}");
        // Knowledge of weight noise helps more against drift than SAM does.
        let (verdict, words) = verdict_of([40.0, 90.0, 70.0, 60.0], [40.0, 50.0, 90.0, 60.0]);
        assert_eq!(verdict, Verdict::HoldsInPart, "{words}");
        assert!(
            words.contains("another perturbation better in 1 of 2 cells, worse in 1"),
            "{words}"
        );
        // Better than BP once and worse once.
        let (verdict, _) = verdict_of([40.0, 90.0, 50.0, 60.0], [70.0, 50.0, 90.0, 60.0]);
        assert_eq!(verdict, Verdict::DoesNotHold);
        // No better than BP under one kind.
        let (verdict, _) = verdict_of([40.0, 90.0, 50.0, 60.0], [60.0, 50.0, 90.0, 60.0]);
        assert_eq!(verdict, Verdict::HoldsInPart);
    }
}
