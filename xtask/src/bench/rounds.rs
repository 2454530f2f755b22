//! Interleaved rounds, and what they say.

use super::workload::Workload;
use crate::error::Result;

/// Milliseconds an iteration of each side in each round; side 0 is ours.
pub(super) type Timings = Vec<Vec<f64>>;

/// Runs ours and every rival in turn, round by round, so that whatever disturbs the machine
/// disturbs all sides alike. `time(side)` gives the seconds of a side's round.
pub(super) fn interleave(
    workload: &Workload,
    rivals: &[String],
    rounds: usize,
    time: &mut dyn FnMut(usize) -> Result<f64>,
) -> Result<Timings> {
    let mut timings = vec![Vec::with_capacity(rounds); rivals.len() + 1];
    for round in 1..=rounds {
        let mut line = format!("{}: round {round} of {rounds}, ms:", workload.id);
        for (side, timings) in timings.iter_mut().enumerate() {
            let milliseconds = 1e3 * time(side)? / workload.iterations as f64;
            timings.push(milliseconds);
            let name = side.checked_sub(1).map_or("ours", |rival| rivals[rival].as_str());
            line.push_str(&format!(" {name} {milliseconds:.3}"));
        }
        eprintln!("{line}");
    }
    Ok(timings)
}

/// A ratio with its spread over rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ratio {
    /// Ratio of the medians.
    pub(super) ratio: f64,
    /// Median of the ratios of each round.
    pub(super) of_rounds: f64,
    /// Distance of their quartiles.
    pub(super) spread: f64,
    /// Smallest and largest ratio of a round.
    pub(super) range: (f64, f64),
}

impl Ratio {
    /// Of times of the same rounds.
    pub(super) fn new(ours: &[f64], rival: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(rival).map(|(a, b)| a / b).collect();
        Self {
            ratio: median(ours) / median(rival),
            of_rounds: median(&ratios),
            spread: quantile(&ratios, 0.75) - quantile(&ratios, 0.25),
            range: (quantile(&ratios, 0.0), quantile(&ratios, 1.0)),
        }
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Linear between the sorted values; NaN if there are none.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = q * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    sorted[low] + (position - position.floor()) * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|q| quantile(&values, q)), [1.0, 1.75, 2.5, 4.0]);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_of_rounds() {
        let ratio = Ratio::new(&[1.0, 2.0, 9.0], &[2.0, 8.0, 9.0]);
        assert_eq!((ratio.ratio, ratio.of_rounds), (0.25, 0.5));
        assert_eq!((ratio.spread, ratio.range), (0.375, (0.25, 1.0)));
    }

    #[test]
    fn sides_take_turns() {
        let workload = super::super::workload::all().remove(0);
        let mut order = Vec::new();
        let rivals = ["a".to_owned(), "b".to_owned()];
        let timings = interleave(&workload, &rivals, 2, &mut |side| {
            order.push(side);
            Ok(workload.iterations as f64 * 1e-3)
        });
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
        assert_eq!(timings.unwrap(), vec![vec![1.0; 2]; 3]);
    }
}
