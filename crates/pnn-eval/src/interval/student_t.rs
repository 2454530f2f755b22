//! Student's t interval of a mean, and of the mean of paired differences.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Interval, Method, check_finite, check_level, mean};
use crate::{Error, Result};

/// Student's t interval of the mean of independent, roughly normal `values`, such as
/// the accuracies of several training seeds.
///
/// ```text
/// low, high = m ± t s/√n      s² = Σ (x − m)² / (n − 1)
/// t = quantile of Student's t with n − 1 degrees of freedom at (1 + level) / 2
/// ```
///
/// Student, Biometrika 6 (1908) 1.
///
/// # Errors
/// Fewer than two values, a value that is not finite, values so large that their
/// variance overflows, or a level outside (0, 1).
pub fn student_t(values: &[f64], level: f64) -> Result<Interval> {
    check_level(level)?;
    if values.len() < 2 {
        return Err(Error::TooFew { what: "a Student t interval", got: values.len(), needed: 2 });
    }
    check_finite("the value", values)?;
    let n = values.len() as f64;
    let estimate = mean(values);
    let variance = values.iter().map(|x| (x - estimate).powi(2)).sum::<f64>() / (n - 1.0);
    let half_width = t_quantile(n - 1.0, 0.5 * (1.0 + level)) * (variance / n).sqrt();
    let (low, high) = (estimate - half_width, estimate + half_width);
    check_finite("the end of the interval", &[low, high])?;
    Ok(Interval { estimate, low, high, level, method: Method::StudentT })
}

/// Student's t interval of the mean of `a[i] − b[i]`, for two methods that ran on the
/// same seeds, chips or images.
///
/// Pairing removes what both share: with 3 to 5 seeds it often decides a comparison that
/// two separate intervals leave open.
///
/// ```
/// use pnn_eval::interval::paired_differences;
/// let (sat, bp) = ([97.1, 95.2, 96.4], [96.0, 94.3, 95.2]);
/// let gain = paired_differences(&sat, &bp, 0.95)?;
/// assert!(gain.low > 0.0);
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// As [`student_t`], or when `a` and `b` differ in length.
pub fn paired_differences(a: &[f64], b: &[f64], level: f64) -> Result<Interval> {
    if a.len() != b.len() {
        return Err(Error::Length {
            what: "the second of two paired samples".into(),
            got: b.len(),
            expected: a.len(),
        });
    }
    check_finite("the value of the first sample", a)?;
    check_finite("the value of the second sample", b)?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    Ok(Interval { method: Method::PairedT, ..student_t(&differences, level)? })
}

fn t_quantile(freedom: f64, p: f64) -> f64 {
    // The parameters are finite and positive, so the constructor cannot fail; NaN would
    // be caught by the caller's check of the ends.
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(p))
}

#[cfg(test)]
mod tests {
    use super::super::golden::{assert_close, cases, number, numbers};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equals_scipy() {
        for case in cases("student_t") {
            let got = student_t(&numbers(&case, "values"), number(&case, "level")).unwrap();
            assert_close(got.low, number(&case, "low"), 1e-10, &case.to_string());
            assert_close(got.high, number(&case, "high"), 1e-10, &case.to_string());
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        assert!(matches!(student_t(&[1.0], 0.95), Err(Error::TooFew { got: 1, .. })));
        assert!(matches!(
            student_t(&[1.0, f64::NAN], 0.95),
            Err(Error::NotFinite { index: 1, .. })
        ));
        assert!(matches!(student_t(&[1e308, -1e308], 0.95), Err(Error::NotFinite { .. })));
        assert!(matches!(student_t(&[1.0, 2.0], 1.0), Err(Error::Level { .. })));
        assert!(matches!(
            paired_differences(&[1.0, 2.0], &[1.0], 0.95),
            Err(Error::Length { got: 1, expected: 2, .. })
        ));
    }

    #[test]
    fn pairing_removes_what_both_share() {
        let base: Vec<f64> = (0..6).map(|i| f64::from(i * i)).collect();
        let better: Vec<f64> = base.iter().map(|x| x + 0.5).collect();
        let gain = paired_differences(&better, &base, 0.95).unwrap();
        assert_eq!((gain.estimate, gain.width(), gain.method), (0.5, 0.0, Method::PairedT));
    }

    proptest! {
        #[test]
        fn contains_the_mean_and_moves_with_the_data(
            values in proptest::collection::vec(-1e3..1e3f64, 2..30),
            shift in -1e3..1e3f64,
            level in 0.01..0.999f64,
        ) {
            let interval = student_t(&values, level).unwrap();
            prop_assert!(interval.contains(interval.estimate));
            let moved: Vec<f64> = values.iter().map(|x| x + shift).collect();
            let moved = student_t(&moved, level).unwrap();
            prop_assert!((moved.low - interval.low - shift).abs() < 1e-9 * (1.0 + interval.width()));
        }

        #[test]
        fn shrinks_when_the_sample_is_repeated(
            values in proptest::collection::vec(-1e3..1e3f64, 2..30), level in 0.01..0.999f64,
        ) {
            let once = student_t(&values, level).unwrap();
            let four_times = student_t(&values.repeat(4), level).unwrap();
            prop_assert!(four_times.width() <= once.width());
        }
    }
}
