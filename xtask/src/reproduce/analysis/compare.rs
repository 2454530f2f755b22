//! Accuracies of seeds and chips with their intervals, and differences of methods on the same ones.

use pnn_eval::interval::{paired_differences, student_t, wilson};
use pnn_eval::{Interval, Verdict};

use crate::error::Result;

const LEVEL: f64 = 0.95;

/// What an interval is made over, from the accuracies in percent of each seed's chips: the means
/// of the seeds, or with one seed its chips.
pub(super) fn samples(seeds: &[Vec<f64>]) -> Vec<f64> {
    match seeds {
        [one] => one.clone(),
        _ => seeds.iter().map(|chips| chips.iter().sum::<f64>() / chips.len() as f64).collect(),
    }
}

/// The accuracy (a fraction) of a method from that of each seed in percent, by Student's t; with one
/// value the interval is Wilson's over its images, and says nothing about other seeds.
pub(super) fn over_seeds(percent: &[f64], images: u64) -> Result<Interval> {
    if let [one] = percent {
        return wilson_of(*one, images);
    }
    let mut interval = student_t(percent, LEVEL)?.scaled(0.01);
    // An accuracy is no less than 0 and no more than 1, whatever Student's t says.
    interval.low = interval.low.max(0.0);
    interval.high = interval.high.min(1.0);
    Ok(interval)
}

/// How much more accurate (a fraction) one method is than another on the same seeds or chips: by
/// Student's t of the paired differences. With one value each it is Newcombe's interval over the
/// images (Stat. Med. 17, 873, 1998, method 10), which says nothing about other seeds.
pub(super) fn difference(a: &[f64], b: &[f64], images: u64) -> Result<Interval> {
    let ([one], [other]) = (a, b) else {
        return Ok(paired_differences(a, b, LEVEL)?.scaled(0.01));
    };
    let (a, b) = (wilson_of(*one, images)?, wilson_of(*other, images)?);
    let estimate = a.estimate - b.estimate;
    let low = estimate - (a.estimate - a.low).hypot(b.high - b.estimate);
    let high = estimate + (a.high - a.estimate).hypot(b.estimate - b.low);
    Ok(Interval { estimate, low, high, ..a })
}

fn wilson_of(percent: f64, images: u64) -> Result<Interval> {
    let correct = (percent / 100.0 * images as f64).round() as u64;
    Ok(wilson(correct, images, LEVEL)?)
}

/// An accuracy in words.
pub(super) fn percent(interval: &Interval) -> String {
    let Interval { estimate, low, high, .. } = interval.scaled(100.0);
    format!("{estimate:.1} % [{low:.1}, {high:.1}]")
}

/// A difference of accuracies in words.
pub(super) fn points(interval: &Interval) -> String {
    let Interval { estimate, low, high, .. } = interval.scaled(100.0);
    format!("{estimate:+.1} points [{low:+.1}, {high:+.1}]")
}

/// One verdict from several, with what was said for each.
pub(super) fn combine(judged: Vec<(Verdict, String)>) -> (Verdict, String) {
    let all = |verdict| judged.iter().all(|(v, _)| *v == verdict);
    let verdict = if judged.is_empty() || all(Verdict::NotTested) {
        Verdict::NotTested
    } else if all(Verdict::Holds) {
        Verdict::Holds
    } else if all(Verdict::DoesNotHold) {
        Verdict::DoesNotHold
    } else {
        Verdict::HoldsInPart
    };
    let words: Vec<String> =
        judged.into_iter().map(|(v, words)| format!("{words} (**{}**)", v.words())).collect();
    (verdict, format!("{}.", words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_combine() {
        use Verdict::{DoesNotHold, Holds, HoldsInPart, NotTested};
        let of = |verdicts: &[Verdict]| {
            combine(verdicts.iter().map(|v| (*v, String::new())).collect()).0
        };
        assert_eq!(of(&[Holds, Holds]), Holds);
        assert_eq!(of(&[Holds, DoesNotHold]), HoldsInPart);
        assert_eq!(of(&[DoesNotHold, DoesNotHold]), DoesNotHold);
        assert_eq!(of(&[]), NotTested);
    }

    /// Newcombe (1998), table II, case (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
    #[test]
    fn one_seed_gives_newcombes_interval() {
        let (a, b) = (wilson(56, 70, 0.95).unwrap(), wilson(48, 80, 0.95).unwrap());
        let low = 0.2 - (a.estimate - a.low).hypot(b.high - b.estimate);
        let high = 0.2 + (a.high - a.estimate).hypot(b.estimate - b.low);
        assert!((low - 0.0524).abs() < 5e-5 && (high - 0.3339).abs() < 5e-5, "{low} {high}");
        let got = difference(&[80.0], &[60.0], 1000).unwrap();
        assert!((got.estimate - 0.2).abs() < 1e-12 && got.low < 0.2 && got.high > 0.2);
        assert!(got.low > 0.15 && got.high < 0.25, "{got}");
    }

    #[test]
    fn seeds_are_paired_and_chips_are_where_there_is_one_seed() {
        let (a, b) = ([90.0, 50.0, 70.0], [89.0, 48.9, 69.2]);
        let gain = difference(&a, &b, 1000).unwrap();
        assert!(gain.low > 0.0 && (gain.estimate - 0.0096667).abs() < 1e-6, "{gain}");
        assert!(over_seeds(&a, 1000).unwrap().low < over_seeds(&b, 1000).unwrap().high);
        assert!(difference(&a, &b[..2], 1000).is_err());
        assert_eq!(samples(&[vec![1.0, 2.0, 6.0]]), [1.0, 2.0, 6.0]);
        assert_eq!(samples(&[vec![1.0, 2.0, 6.0], vec![4.0]]), [3.0, 4.0]);
    }
}
