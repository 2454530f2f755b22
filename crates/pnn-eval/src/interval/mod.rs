//! Confidence intervals: proportions, means over seeds, and any other statistic.
//!
//! | Question | Function |
//! |---|---|
//! | Accuracy of one model on `n` test images | [`wilson`] |
//! | Mean over independent seeds or chips | [`student_t`] |
//! | Mean over seeds and chips, each seed on the same chips | [`crossed`] |
//! | Difference of two methods on the same seeds or chips | [`paired_differences`] |
//! | Median, yield, quantile, anything else over seeds | [`bootstrap`] |
//! | Rank correlation of two measures | [`RankCorrelation`](crate::correlation::RankCorrelation) |
//!
//! A Wilson interval speaks of the test set alone: it does not contain the spread over
//! training seeds or over chips.

mod bootstrap;
mod crossed;
mod student_t;
mod wilson;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use bootstrap::bootstrap;
pub(crate) use bootstrap::{check_resamples, quantile};
pub use crossed::crossed;
pub use student_t::{paired_differences, student_t};
pub use wilson::wilson;

use crate::{Error, Result};

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// The score interval of a proportion (Wilson 1927).
    Wilson,
    /// Student's t interval of a mean.
    StudentT,
    /// Student's t interval of the mean of paired differences.
    PairedT,
    /// Student's t interval of a mean over two crossed samples.
    Crossed,
    /// The bias-corrected and accelerated bootstrap (Efron 1987).
    BootstrapBca,
    /// The quantiles of the resampled statistics (Efron 1979).
    BootstrapPercentile,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wilson => "Wilson",
            Self::StudentT => "Student t",
            Self::PairedT => "paired Student t",
            Self::Crossed => "crossed Student t",
            Self::BootstrapBca => "BCa bootstrap",
            Self::BootstrapPercentile => "percentile bootstrap",
        })
    }
}

/// An estimate with its confidence interval, in the unit of the data.
///
/// Displayed as `estimate [low, high]`, with the decimals asked for (`{:.1}`) or else as
/// many as show the first significant digit of the half width.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The point estimate.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The confidence level, such as 0.95.
    pub level: f64,
    /// How the interval was made.
    pub method: Method,
}

impl Interval {
    /// The interval in another unit: estimate and ends times `factor`, such as 100 for
    /// per cent. The ends swap where the factor is negative.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let (a, b) = (self.low * factor, self.high * factor);
        Self { estimate: self.estimate * factor, low: a.min(b), high: a.max(b), ..*self }
    }

    /// Whether `value` lies in the interval, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// `high - low`.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half_width = 0.5 * self.width();
        let decimals = f.precision().unwrap_or(if half_width > 0.0 {
            (-half_width.log10().floor()).clamp(0.0, 17.0) as usize
        } else {
            1
        });
        write!(
            f,
            "{:.decimals$} [{:.decimals$}, {:.decimals$}]",
            self.estimate, self.low, self.high
        )
    }
}

pub(crate) fn check_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 { Ok(()) } else { Err(Error::Level { level }) }
}

pub(crate) fn check_finite(what: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

/// The standard normal quantile function.
fn normal_quantile(p: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(p)
}

/// The standard normal distribution function.
fn normal_cdf(z: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().cdf(z)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Interval =
        Interval { estimate: 97.31, low: 96.88, high: 97.62, level: 0.95, method: Method::Wilson };

    #[test]
    fn display_shows_the_digits_that_mean_something() {
        assert_eq!(INTERVAL.to_string(), "97.3 [96.9, 97.6]");
        assert_eq!(format!("{INTERVAL:.2}"), "97.31 [96.88, 97.62]");
        assert_eq!(INTERVAL.scaled(100.0).to_string(), "9731 [9688, 9762]");
        let certain = Interval { estimate: 1.0, low: 1.0, high: 1.0, ..INTERVAL };
        assert_eq!(certain.to_string(), "1.0 [1.0, 1.0]");
    }

    #[test]
    fn scaling_by_a_negative_factor_keeps_the_order() {
        let mirrored = INTERVAL.scaled(-1.0);
        assert!(mirrored.low < mirrored.estimate && mirrored.estimate < mirrored.high);
    }

    /// Against scipy.stats.norm.cdf; the tolerance of the bootstrap's golden test rests
    /// on it.
    #[test]
    fn the_normal_distribution_function_is_good_to_1e_11() {
        for (z, want) in [
            (-1.96, 0.024997895148220435),
            (-1.2, 0.11506967022170822),
            (-0.5, 0.3085375387259869),
            (0.3, 0.6179114221889526),
            (1.7, 0.955434537241457),
        ] {
            assert!((normal_cdf(z) - want).abs() < 1e-11, "{z}");
            assert!((normal_quantile(want) - z).abs() < 1e-10, "{z}");
        }
    }

    #[test]
    fn json_round_trip() {
        let json = serde_json::to_string(&INTERVAL).unwrap();
        assert!(json.contains("\"method\":\"wilson\""), "{json}");
        assert_eq!(serde_json::from_str::<Interval>(&json).unwrap(), INTERVAL);
    }
}

/// Golden values of `tests/golden/intervals.py`.
#[cfg(test)]
pub(crate) mod golden {
    pub(super) fn cases(section: &str) -> Vec<serde_json::Value> {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/intervals.json")).unwrap();
        all[section].as_array().unwrap().clone()
    }

    pub(crate) fn number(case: &serde_json::Value, key: &str) -> f64 {
        case[key].as_f64().unwrap()
    }

    pub(crate) fn numbers(case: &serde_json::Value, key: &str) -> Vec<f64> {
        case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Agreement to `tolerance` of the larger of 1 and the value.
    pub(super) fn assert_close(got: f64, want: f64, tolerance: f64, case: &str) {
        let error = (got - want).abs() / want.abs().max(1.0);
        assert!(error <= tolerance, "{case}: {got} differs from {want} by {error:e}");
    }
}
