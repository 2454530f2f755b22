//! The score interval of a proportion.

use super::{Interval, Method, check_level, normal_quantile};
use crate::{Error, Result};

/// The Wilson score interval of the proportion `successes / trials`.
///
/// ```text
/// p = successes / trials        z = normal quantile of (1 + level) / 2
/// low, high = (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n)
/// ```
///
/// Wilson, J. Am. Stat. Assoc. 22 (1927) 209. Unlike p ± z √(p(1 − p)/n) it stays inside
/// [0, 1] and does not collapse to a point at 100 % accuracy.
///
/// ```
/// let accuracy = pnn_eval::interval::wilson(9850, 10_000, 0.95)?;
/// assert_eq!(accuracy.scaled(100.0).to_string(), "98.5 [98.2, 98.7]");
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// No trials, more successes than trials, or a level outside (0, 1).
pub fn wilson(successes: u64, trials: u64, level: f64) -> Result<Interval> {
    check_level(level)?;
    if trials == 0 || successes > trials {
        return Err(Error::Proportion { successes, trials });
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z = normal_quantile(0.5 * (1.0 + level));
    let shrink = 1.0 / (1.0 + z * z / n);
    let center = shrink * (p + 0.5 * z * z / n);
    let half_width = shrink * z * (p * (1.0 - p) / n + 0.25 * (z / n).powi(2)).sqrt();
    // At p = 0 and p = 1 one end is the estimate itself; rounding must not move it.
    let low = if successes == 0 { 0.0 } else { (center - half_width).clamp(0.0, p) };
    let high = if successes == trials { 1.0 } else { (center + half_width).clamp(p, 1.0) };
    Ok(Interval { estimate: p, low, high, level, method: Method::Wilson })
}

#[cfg(test)]
mod tests {
    use super::super::golden::{assert_close, cases, number};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equals_statsmodels() {
        for case in cases("wilson") {
            let [successes, trials] =
                ["successes", "trials"].map(|key| case[key].as_u64().unwrap());
            let got = wilson(successes, trials, number(&case, "level")).unwrap();
            // Both sides carry a normal quantile good to a few ulp.
            assert_close(got.low, number(&case, "low"), 1e-14, &case.to_string());
            assert_close(got.high, number(&case, "high"), 1e-14, &case.to_string());
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(matches!(wilson(0, 0, 0.95), Err(Error::Proportion { .. })));
        assert!(matches!(wilson(2, 1, 0.95), Err(Error::Proportion { successes: 2, trials: 1 })));
        for level in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(wilson(1, 2, level), Err(Error::Level { .. })), "{level}");
        }
    }

    proptest! {
        #[test]
        fn contains_the_estimate_and_stays_a_proportion(
            trials in 1u64..1_000_000, share in 0.0..=1.0f64, level in 0.01..0.999f64,
        ) {
            let successes = (share * trials as f64) as u64;
            let interval = wilson(successes, trials, level).unwrap();
            prop_assert!(interval.contains(interval.estimate));
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
            prop_assert!(interval.width() > 0.0);
        }

        #[test]
        fn shrinks_with_the_number_of_trials(
            trials in 1u64..100_000, share in 0.0..=1.0f64, level in 0.01..0.999f64,
        ) {
            let successes = (share * trials as f64) as u64;
            let few = wilson(successes, trials, level).unwrap();
            let many = wilson(4 * successes, 4 * trials, level).unwrap();
            prop_assert!(many.width() < few.width());
        }

        #[test]
        fn is_symmetric_in_success_and_failure(trials in 1u64..100_000, share in 0.0..=1.0f64) {
            let successes = (share * trials as f64) as u64;
            let hit = wilson(successes, trials, 0.95).unwrap();
            let miss = wilson(trials - successes, trials, 0.95).unwrap();
            prop_assert!((hit.low - (1.0 - miss.high)).abs() < 1e-12);
        }
    }
}
