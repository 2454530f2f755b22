//! Whether curvatures have the magnitude that is claimed, and one method's are lower than another's.

use pnn_eval::interval::student_t;
use pnn_eval::{Interval, Verdict};

use super::super::Context;
use super::super::judged::Case;
use super::{Row, over_seeds};
use crate::error::Result;
use crate::reproduce::config::{Contest, Landscape, Magnitude, Plan, View};

pub(super) fn cases(
    spec: &Landscape,
    plan: &Plan,
    view: &View,
    rows: &[Row],
    context: &Context<'_>,
) -> Result<Vec<Case>> {
    let values =
        |key: &str| rows.iter().find(|row| row.key == key).map(|r| r.values(|c| c.largest));
    let mut cases = Vec::new();
    // What the plan has; of these, one may have diverged.
    let runs = |key: &String| plan.methods.contains(key);
    for magnitude in spec.magnitudes.iter().filter(|magnitude| runs(&magnitude.method)) {
        let name = context.label(&magnitude.method);
        cases.push(of_magnitude(magnitude, &name, view, values(&magnitude.method).as_deref())?);
    }
    for contest in spec.contests.iter().filter(|c| runs(&c.better) && runs(&c.worse)) {
        let Contest { better, worse } = contest;
        let names = (context.label(better), context.label(worse));
        let (flat, sharp) = (values(better), values(worse));
        cases.push(flatter(&names, view, flat.as_deref(), sharp.as_deref())?);
    }
    Ok(cases)
}

/// The claim that `lambda_max` lies in a range.
fn of_magnitude(
    magnitude: &Magnitude,
    name: &str,
    view: &View,
    values: Option<&[f64]>,
) -> Result<Case> {
    let [low, high] = magnitude.range;
    let place = format!("lambda_max of {name} between {low} and {high}, {}", view.name);
    let Some(values) = values else { return Ok(left_out(place)) };
    let found = over_seeds(values)?;
    let verdict = if values.len() == 1 {
        // A single seed says nothing of others.
        Verdict::NotTested
    } else if found.low >= low && found.high <= high {
        Verdict::Holds
    } else if found.high < low || found.low > high {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    };
    Ok(Case { place, verdict, words: words(&found) })
}

/// The claim that one method's `lambda_max` is below the other's, by the ratio of each seed's.
fn flatter(
    (flat, sharp): &(String, String),
    view: &View,
    of_flat: Option<&[f64]>,
    of_sharp: Option<&[f64]>,
) -> Result<Case> {
    let place = format!("{flat} flatter than {sharp}, {}", view.name);
    let (Some(of_flat), Some(of_sharp)) = (of_flat, of_sharp) else { return Ok(left_out(place)) };
    let logarithms: Vec<f64> =
        of_flat.iter().zip(of_sharp).map(|(flat, sharp)| (sharp / flat).ln()).collect();
    let (verdict, ratio) = if let [one] = logarithms[..] {
        // A single seed says nothing of others.
        (Verdict::NotTested, format!("{:.1} times (one seed)", one.exp()))
    } else {
        let found = student_t(&logarithms, 0.95)?;
        let verdict = if found.low > 0.0 {
            Verdict::Holds
        } else if found.high <= 0.0 {
            Verdict::DoesNotHold
        } else {
            Verdict::Undecided
        };
        let Interval { estimate, low, high, .. } = found;
        let [estimate, low, high] = [estimate, low, high].map(f64::exp);
        (verdict, format!("{estimate:.1} times [{low:.1}, {high:.1}]"))
    };
    let words = format!(
        "{} against {}: the latter is {ratio} the former",
        words(&over_seeds(of_flat)?),
        words(&over_seeds(of_sharp)?)
    );
    Ok(Case { place, verdict, words })
}

fn left_out(place: String) -> Case {
    Case { place, verdict: Verdict::NotTested, words: "the method was left out".into() }
}

fn words(found: &Interval) -> String {
    let Interval { estimate, low, high, .. } = found;
    format!("{estimate:.2} [{low:.2}, {high:.2}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let batch_norm = pnn_eval::BatchNormMode::Running;
        View { name: "view".into(), batch_norm, images: None }
    }

    #[test]
    fn a_magnitude_is_judged_by_the_whole_interval() {
        let verdict = |values: Option<&[f64]>| {
            let magnitude = Magnitude { method: "bp".into(), range: [100.0, 1000.0] };
            of_magnitude(&magnitude, "BP", &view(), values).unwrap().verdict
        };
        assert_eq!(verdict(Some(&[300.0, 310.0, 290.0])), Verdict::Holds);
        assert_eq!(verdict(Some(&[30.0, 31.0, 29.0])), Verdict::DoesNotHold);
        assert_eq!(verdict(Some(&[3000.0, 3100.0, 2900.0])), Verdict::DoesNotHold);
        assert_eq!(verdict(Some(&[100.0, 120.0, 90.0])), Verdict::Undecided);
        assert_eq!(verdict(None), Verdict::NotTested);
        assert_eq!(verdict(Some(&[300.0])), Verdict::NotTested);
    }

    #[test]
    fn what_is_flatter_is_judged_by_ratios_of_seeds() {
        let names = ("SAT".to_owned(), "BP".to_owned());
        let case = |flat: &[f64], sharp: &[f64]| {
            flatter(&names, &view(), Some(flat), Some(sharp)).unwrap()
        };
        // Seeds differ by tenfold, and the ratio is always near 5.
        let clear = case(&[1.0, 10.0, 0.1], &[5.1, 50.0, 0.49]);
        assert_eq!(clear.verdict, Verdict::Holds);
        assert!(clear.words.contains("5.0 times"), "{}", clear.words);
        assert_eq!(case(&[5.1, 50.0, 0.49], &[1.0, 10.0, 0.1]).verdict, Verdict::DoesNotHold);
        assert_eq!(case(&[1.0, 1.0, 1.0], &[0.5, 2.0, 1.1]).verdict, Verdict::Undecided);
        assert_eq!(case(&[1.0], &[9.0]).verdict, Verdict::NotTested);
    }
}
