//! Accuracies of seeds and chips with their intervals, and differences of methods on the same ones.
//!
//! All networks of a comparison see the same test images and chips. An interval over seeds says how much
//! other trainings would differ on these images, one over seeds and chips how much others would on others.

use pnn_eval::Interval;
use pnn_eval::interval::{crossed, paired_differences, student_t, wilson};

use crate::error::Result;

const LEVEL: f64 = 0.95;

/// The mean of each seed's chips.
pub(super) fn means(seeds: &[Vec<f64>]) -> Vec<f64> {
    seeds.iter().map(|chips| chips.iter().sum::<f64>() / chips.len() as f64).collect()
}

/// The accuracy (a fraction) of a method from that of each seed in percent: Student's t, but no
/// narrower than Wilson's interval of the mean over the images, which all seeds share. With one
/// seed it is the latter, and says nothing about other seeds.
pub(super) fn over_seeds(percent: &[f64], images: u64) -> Result<Interval> {
    let mean = percent.iter().sum::<f64>() / percent.len() as f64;
    let of_images = wilson_of(mean, images)?;
    if percent.len() == 1 {
        return Ok(of_images);
    }
    Ok(of_accuracy(widened(student_t(percent, LEVEL)?.scaled(0.01), of_images)))
}

/// An accuracy is no less than 0 and no more than 1, whatever Student's t says.
fn of_accuracy(interval: Interval) -> Interval {
    Interval { low: interval.low.max(0.0), high: interval.high.min(1.0), ..interval }
}

/// [`over_seeds`] and chips: other trainings on other chips. With one seed it is over its chips.
pub(super) fn over_chips(seeds: &[Vec<f64>], images: u64) -> Result<Interval> {
    match seeds {
        [one] => over_seeds(one, images),
        [several, ..] if several.len() > 1 => {
            let of_images =
                wilson_of(means(seeds).iter().sum::<f64>() / seeds.len() as f64, images)?;
            Ok(of_accuracy(widened(crossed(seeds, LEVEL)?.scaled(0.01), of_images)))
        }
        _ => over_seeds(&means(seeds), images),
    }
}

/// How much more accurate (a fraction) one method is than another on the same seeds: Student's t of
/// the paired differences. With one seed it is Newcombe's interval over the images, as if the two
/// had seen different ones: too wide, and it says nothing about other seeds.
pub(super) fn difference(a: &[f64], b: &[f64], images: u64) -> Result<Interval> {
    match (a, b) {
        ([one], [other]) => Ok(newcombe(wilson_of(*one, images)?, wilson_of(*other, images)?)),
        _ => Ok(paired_differences(a, b, LEVEL)?.scaled(0.01)),
    }
}

/// [`difference`] over seeds and chips, which both methods share. With one seed it is over its chips
/// or the images, whichever is wider.
pub(super) fn chips_difference(a: &[Vec<f64>], b: &[Vec<f64>], images: u64) -> Result<Interval> {
    let of_means = difference(&means(a), &means(b), images)?;
    match (a, b) {
        ([one], [other]) if one.len() > 1 => {
            let of_chips = paired_differences(one, other, LEVEL)?.scaled(0.01);
            Ok(widened(of_chips, of_means))
        }
        ([several, ..], _) if several.len() > 1 => {
            let apart =
                |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| a - b).collect();
            let apart: Vec<Vec<f64>> = a.iter().zip(b).map(apart).collect();
            Ok(crossed(&apart, LEVEL)?.scaled(0.01))
        }
        _ => Ok(of_means),
    }
}

/// Newcombe's interval of a difference of proportions (Stat. Med. 17, 873, 1998, method 10) from
/// Wilson's of each.
fn newcombe(a: Interval, b: Interval) -> Interval {
    let estimate = a.estimate - b.estimate;
    let low = estimate - (a.estimate - a.low).hypot(b.high - b.estimate);
    let high = estimate + (a.high - a.estimate).hypot(b.estimate - b.low);
    Interval { estimate, low, high, ..a }
}

fn widened(interval: Interval, by: Interval) -> Interval {
    Interval { low: interval.low.min(by.low), high: interval.high.max(by.high), ..interval }
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

/// Where the paper's numbers come from: each source once, with what is from there.
pub(super) fn sources<'a>(numbers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut by_source: Vec<(&str, Vec<&str>)> = Vec::new();
    for (label, source) in numbers {
        match by_source.iter_mut().find(|(known, _)| *known == source) {
            Some((_, labels)) => labels.push(label),
            None => by_source.push((source, vec![label])),
        }
    }
    let sources: Vec<String> = by_source
        .into_iter()
        .map(|(source, labels)| format!("{}: {source}", labels.join("; ")))
        .collect();
    (!sources.is_empty()).then(|| format!("Paper's numbers. {}.", sources.join(". ")))
}

/// What the intervals of a report are, in a sentence or two.
pub(super) fn about_intervals(seeds: usize) -> &'static str {
    match seeds {
        1 => {
            "Intervals are at 95 %, over the test images (Wilson's; for a difference Newcombe's, as if the two had seen \
             different images) and, where there are several, chips. There is one seed: they say nothing about other \
             trainings."
        }
        _ => {
            "Intervals are at 95 %, Student's t over seeds and, where several chips are drawn, over both: how much other \
             trainings on other chips would differ on these very images. Where methods are compared they are of paired \
             differences. Those of accuracies are no narrower than Wilson's over the images."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newcombe (1998), table II, case (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339.
    #[test]
    fn one_seed_gives_newcombes_interval() {
        let (a, b) = (wilson(56, 70, 0.95).unwrap(), wilson(48, 80, 0.95).unwrap());
        let got = newcombe(a, b);
        assert!((got.estimate - 0.2).abs() < 1e-12, "{got}");
        assert!((got.low - 0.0524).abs() < 5e-5 && (got.high - 0.3339).abs() < 5e-5, "{got}");
        let (a, b) = (wilson(800, 1000, 0.95).unwrap(), wilson(600, 1000, 0.95).unwrap());
        assert_eq!(difference(&[80.0], &[60.0], 1000).unwrap(), newcombe(a, b));
    }

    #[test]
    fn seeds_are_paired() {
        let (a, b) = ([90.0, 50.0, 70.0], [89.0, 48.9, 69.2]);
        let gain = difference(&a, &b, 1000).unwrap();
        assert!(gain.low > 0.0 && (gain.estimate - 0.0096667).abs() < 1e-6, "{gain}");
        assert!(over_seeds(&a, 1000).unwrap().low < over_seeds(&b, 1000).unwrap().high);
        assert!(difference(&a, &b[..2], 1000).is_err());
    }

    #[test]
    fn seeds_that_agree_are_as_uncertain_as_their_images() {
        let three = over_seeds(&[100.0; 3], 100).unwrap();
        assert!((three.low - 0.9630).abs() < 1e-4 && three.high == 1.0, "{three}");
        // One network on four chips that agree: no better known than its images allow.
        let (a, b) = (vec![vec![98.0, 97.9, 98.1, 98.0]], vec![vec![98.3, 98.2, 98.4, 98.3]]);
        let over = chips_difference(&a, &b, 1000).unwrap();
        assert!((over.estimate + 0.003).abs() < 1e-9 && over.low < -0.01 && over.high > 0.005);
        assert!(over_chips(&a, 1000).unwrap().low < 0.975);
        let seeds = [vec![1.0, 2.0, 6.0], vec![4.0, 4.0, 4.0]];
        assert_eq!(means(&seeds), [3.0, 4.0]);
        assert_eq!(chips_difference(&seeds, &seeds, 1000).unwrap().estimate, 0.0);
    }

    /// Three trainings that agree on each of four chips, which differ.
    #[test]
    fn chips_that_differ_count_even_if_seeds_agree() {
        let (a, b) = (vec![vec![90.0, 70.0, 80.0, 88.0]; 3], vec![vec![85.0, 75.0, 76.0, 84.0]; 3]);
        let over = over_chips(&a, 100_000).unwrap();
        assert!(
            (over.estimate - 0.82).abs() < 1e-12 && over.low < 0.75 && over.high > 0.89,
            "{over}"
        );
        let apart = chips_difference(&a, &b, 100_000).unwrap();
        assert!((apart.estimate - 0.02).abs() < 1e-12 && apart.low < 0.0, "{apart}");
        // One chip for all: over the seeds.
        let single = |values: [f64; 3]| values.map(|v| vec![v]).to_vec();
        let (a, b) = (single([90.0, 91.0, 92.0]), single([80.0, 81.5, 81.8]));
        let want = difference(&means(&a), &means(&b), 1000).unwrap();
        assert_eq!(chips_difference(&a, &b, 1000).unwrap(), want);
    }
}
