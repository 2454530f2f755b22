//! The bias-corrected and accelerated (`BCa`) bootstrap of any statistic.

use pnn_core::Seed;
use rand::RngExt;

use super::{Interval, Method, check_finite, check_level, mean, normal_cdf, normal_quantile};
use crate::{Error, Result};

/// The `BCa` bootstrap interval of `statistic(values)` for independent values.
///
/// ```text
/// ends  = quantiles of the resampled statistics at Φ(z0 + (z0 + z)/(1 − a (z0 + z))),
///         z = normal quantiles of (1 ∓ level) / 2
/// z0    = Φ⁻¹(fraction of resamples below the estimate, ties counted half)
/// a     = Σ d³ / (6 (Σ d²)^3/2),  d = mean of the leave-one-out statistics − each of them
/// ```
///
/// Efron, J. Am. Stat. Assoc. 82 (1987) 171, eqs. 2.3 and 6.6. Quantiles are interpolated
/// linearly between order statistics and rounded outwards where the estimate would fall
/// outside by less than one of these steps. The result depends on the seed alone.
///
/// With fewer than about ten values every bootstrap interval is too short; prefer
/// [`student_t`](super::student_t) for the mean of a few seeds.
///
/// # Errors
/// Fewer than two values; fewer resamples than leave five beyond each end
/// (10 / (1 − level), and at least 100); a value or statistic that is not finite; a level
/// outside (0, 1); a statistic so biased under resampling that the interval is undefined
/// (the maximum of a sample, say).
pub fn bootstrap(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    level: f64,
    resamples: usize,
    seed: &Seed,
) -> Result<Interval> {
    check_level(level)?;
    if values.len() < 2 {
        return Err(Error::TooFew { what: "a bootstrap interval", got: values.len(), needed: 2 });
    }
    check_resamples(resamples, level)?;
    check_finite("the value", values)?;
    let estimate = statistic(values);
    check_finite("the statistic of the sample", &[estimate])?;

    let mut rng = seed.rng();
    let mut resample = vec![0.0; values.len()];
    let mut replicates = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        // u64 rather than usize, so that 32-bit machines draw the same stream.
        resample.fill_with(|| values[rng.random_range(0..values.len() as u64) as usize]);
        replicates.push(statistic(&resample));
    }
    check_finite("the statistic of the resample", &replicates)?;
    bca(estimate, &mut replicates, &jackknife(values, statistic)?, level)
}

/// Whether at least five resamples lie beyond each end, and there are 100.
pub(crate) fn check_resamples(resamples: usize, level: f64) -> Result<()> {
    // 1 − 0.9 is a little less than 0.1, which must not ask for a resample more.
    let needed = (10.0 / (1.0 - level) - 1e-6).ceil().max(100.0) as usize;
    if resamples >= needed {
        return Ok(());
    }
    let what = "a bootstrap interval at this level (resamples)";
    Err(Error::TooFew { what, got: resamples, needed })
}

/// The statistic of the sample without its first, second, ... value.
fn jackknife(values: &[f64], statistic: impl Fn(&[f64]) -> f64) -> Result<Vec<f64>> {
    let mut rest = values[1..].to_vec();
    let mut left_out = Vec::with_capacity(values.len());
    for i in 0..values.len() {
        left_out.push(statistic(&rest));
        if i < rest.len() {
            rest[i] = values[i];
        }
    }
    check_finite("the statistic without the value", &left_out)?;
    Ok(left_out)
}

fn bca(estimate: f64, replicates: &mut [f64], left_out: &[f64], level: f64) -> Result<Interval> {
    replicates.sort_by(f64::total_cmp);
    let below = replicates.partition_point(|x| *x < estimate);
    let up_to = replicates.partition_point(|x| *x <= estimate);
    let below = (below + up_to) as f64 / (2 * replicates.len()) as f64;
    let bias = normal_quantile(below);

    let center = mean(left_out);
    let moment = |power| left_out.iter().map(|x| (center - x).powi(power)).sum::<f64>();
    let square = moment(2);
    let acceleration = if square > 0.0 { moment(3) / (6.0 * square.powf(1.5)) } else { 0.0 };

    let z = normal_quantile(0.5 * (1.0 + level));
    let usable =
        bias.abs() < z && acceleration * (bias + z) < 1.0 && acceleration * (bias - z) < 1.0;
    if !usable {
        return Err(Error::BootstrapBias { below, bias, acceleration, level });
    }
    let end = |z: f64| {
        let shifted = bias + z;
        quantile(replicates, normal_cdf(bias + shifted / (1.0 - acceleration * shifted)))
    };
    Ok(Interval {
        estimate,
        low: end(-z).min(estimate),
        high: end(z).max(estimate),
        level,
        method: Method::BootstrapBca,
    })
}

/// The linearly interpolated quantile of a sorted sample (Hyndman and Fan 1996, type 7).
pub(crate) fn quantile(sorted: &[f64], p: f64) -> f64 {
    let position = p * (sorted.len() - 1) as f64;
    let index = (position as usize).min(sorted.len() - 1);
    let next = (index + 1).min(sorted.len() - 1);
    let share = position - index as f64;
    // In this form equal neighbours give themselves, to the bit.
    sorted[index] + share * (sorted[next] - sorted[index])
}

#[cfg(test)]
mod tests {
    use super::super::golden::{assert_close, cases, number, numbers};
    use super::*;
    use proptest::prelude::*;

    fn median(values: &[f64]) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        quantile(&sorted, 0.5)
    }

    fn maximum(values: &[f64]) -> f64 {
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn equals_scipy_on_the_same_replicates() {
        for case in cases("bca") {
            let statistic = if case["statistic"] == "mean" { mean } else { median };
            let values = numbers(&case, "values");
            let left_out = jackknife(&values, statistic).unwrap();
            let mut replicates = numbers(&case, "replicates");
            let got = bca(statistic(&values), &mut replicates, &left_out, number(&case, "level"))
                .unwrap();
            // The normal distribution function is good to 1e-11 (tested in the parent
            // module); a quantile stretches that by 998 times the distance of two
            // neighbouring replicates, which is below 0.3 in these cases.
            assert_close(got.low, number(&case, "low"), 3e-9, "low");
            assert_close(got.high, number(&case, "high"), 3e-9, "high");
        }
    }

    /// Value stability: a change of these bits changes published intervals.
    #[test]
    fn the_stream_is_pinned() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let interval = bootstrap(&values, mean, 0.9, 500, &Seed::new(0).child("test")).unwrap();
        assert_eq!((interval.low, interval.high), PINNED);
        let again = bootstrap(&values, mean, 0.9, 500, &Seed::new(0).child("test")).unwrap();
        assert_eq!(interval, again);
    }

    const PINNED: (f64, f64) = (5.275013882761644, 22.166666666666668);

    #[test]
    fn impossible_input_is_refused() {
        let seed = Seed::new(1);
        let refuse = |values: &[f64], statistic: fn(&[f64]) -> f64, level, resamples| {
            bootstrap(values, statistic, level, resamples, &seed).unwrap_err()
        };
        assert!(matches!(refuse(&[1.0], mean, 0.9, 500), Error::TooFew { got: 1, needed: 2, .. }));
        assert!(matches!(
            refuse(&[1.0, 2.0], mean, 0.99, 999),
            Error::TooFew { got: 999, needed: 1000, .. }
        ));
        assert!(matches!(refuse(&[1.0, f64::NAN], mean, 0.9, 500), Error::NotFinite { .. }));
        assert!(matches!(refuse(&[1.0, 2.0], |_| f64::NAN, 0.9, 500), Error::NotFinite { .. }));
        assert!(matches!(refuse(&[1.0, 2.0], mean, 2.0, 500), Error::Level { .. }));
    }

    /// The resampled maximum is the maximum itself in 63 % of the draws and never more: no
    /// interval around it is honest.
    #[test]
    fn a_statistic_that_cannot_be_bootstrapped_is_refused() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        let error = bootstrap(&values, maximum, 0.3, 1000, &Seed::new(3)).unwrap_err();
        assert!(matches!(error, Error::BootstrapBias { below, .. } if below > 0.6), "{error}");
    }

    /// Over many samples from an exponential law the interval covers the mean about as
    /// often as it says (binomial standard error 1.7 %, `BCa`'s own shortfall about 4 %).
    #[test]
    fn covers_the_truth_about_as_often_as_it_says() {
        let root = Seed::new(5);
        let hits = (0..300u64)
            .filter(|&i| {
                let mut rng = root.child("sample").index(i).rng();
                let sample: Vec<f64> = (0..30).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
                bootstrap(&sample, mean, 0.9, 400, &root.child("boot").index(i))
                    .unwrap()
                    .contains(1.0)
            })
            .count();
        assert!((240..=290).contains(&hits), "{hits} of 300");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn contains_the_estimate(
            values in proptest::collection::vec(-1e3..1e3f64, 2..30),
            level in 0.5..0.95f64,
            root in 0u64..1000,
        ) {
            if let Ok(interval) = bootstrap(&values, mean, level, 200, &Seed::new(root)) {
                prop_assert!(interval.contains(interval.estimate));
                prop_assert!(interval.low >= -1e3 && interval.high <= 1e3);
            }
        }

        #[test]
        fn a_sample_without_spread_has_no_width(value in -1e3..1e3f64, n in 2usize..20) {
            let interval = bootstrap(&vec![value; n], median, 0.9, 100, &Seed::new(0)).unwrap();
            prop_assert_eq!(interval.width(), 0.0);
        }

        #[test]
        fn shrinks_with_the_sample(
            values in proptest::collection::vec(-1e3..1e3f64, 8..20), root in 0u64..1000,
        ) {
            let few = bootstrap(&values, mean, 0.9, 400, &Seed::new(root)).unwrap();
            let many = bootstrap(&values.repeat(16), mean, 0.9, 400, &Seed::new(root)).unwrap();
            prop_assert!(many.width() < few.width());
        }
    }
}
