//! Spearman's rho and Kendall's tau-b.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::interval::check_finite;
use crate::{Error, Result};

/// How the agreement of two orders is measured: -1 for opposite orders, 1 for the same. Nothing but the orders
/// matters, so sharpnesses may be logarithms or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Coefficient {
    /// Spearman's rho (Spearman 1904): Pearson's correlation of the ranks; ties share the mean of their ranks.
    ///
    /// ```text
    /// rho = Σ (r − r̄)(s − s̄) / √(Σ (r − r̄)² Σ (s − s̄)²)
    /// ```
    Spearman,
    /// Kendall's tau-b (Kendall 1945): pairs in the same order less pairs in opposite orders, among those that
    /// are tied on neither side.
    ///
    /// ```text
    /// tau_b = (C − D) / √((n₀ − n_x)(n₀ − n_y)),  n₀ = n (n − 1) / 2,  n_x, n_y = pairs tied in x, in y
    /// ```
    KendallTauB,
}

impl fmt::Display for Coefficient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spearman => "Spearman's rho",
            Self::KendallTauB => "Kendall's tau-b",
        })
    }
}

/// With two points every correlation is -1 or 1.
const FEWEST: usize = 3;

impl Coefficient {
    /// The correlation of `x` and `y`, which belong together in pairs.
    ///
    /// ```
    /// use pnn_eval::correlation::Coefficient;
    /// let sharpness = [0.1, 3.0, 20.0, 500.0];
    /// let accuracy = [97.0, 91.0, 93.0, 40.0];
    /// assert_eq!(Coefficient::Spearman.of(&sharpness, &accuracy)?, -0.8);
    /// assert!((Coefficient::KendallTauB.of(&sharpness, &accuracy)? + 2.0 / 3.0).abs() < 1e-15);
    /// # Ok::<(), pnn_eval::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the lists differ in length, have fewer than three values or one that is not finite, or all values of
    /// one are equal: the correlation is undefined then ([`Error::UndefinedCorrelation`]).
    pub fn of(self, x: &[f64], y: &[f64]) -> Result<f64> {
        check(x, y)?;
        self.named("two lists", x, y)
    }

    /// The correlation of checked lists; an error says whose it is.
    pub(super) fn named(self, what: &str, x: &[f64], y: &[f64]) -> Result<f64> {
        if x.len() < FEWEST {
            let what = "a rank correlation (in each group, if there are groups)";
            return Err(Error::TooFew { what, got: x.len(), needed: FEWEST });
        }
        self.raw(x, y).ok_or_else(|| Error::UndefinedCorrelation {
            what: what.to_owned(),
            reason: if constant(x) { "all x are equal" } else { "all y are equal" },
        })
    }

    /// The correlation, if it is defined.
    pub(super) fn raw(self, x: &[f64], y: &[f64]) -> Option<f64> {
        let (found, norm) = match self {
            Self::Spearman => spearman(x, y),
            Self::KendallTauB => kendall(x, y),
        };
        // The sums are exact, but not the root.
        (norm > 0.0).then(|| (found / norm).clamp(-1.0, 1.0))
    }
}

/// Whether two lists belong together and can be ordered.
pub(super) fn check(x: &[f64], y: &[f64]) -> Result<()> {
    if x.len() != y.len() {
        let what = "the second list of a rank correlation".into();
        return Err(Error::Length { what, got: y.len(), expected: x.len() });
    }
    check_finite("the x of a rank correlation", x)?;
    check_finite("the y of a rank correlation", y)
}

fn constant(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

fn spearman(x: &[f64], y: &[f64]) -> (f64, f64) {
    let (r, s) = (centred_ranks(x), centred_ranks(y));
    let product = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    (product(&r, &s), (product(&r, &r) * product(&s, &s)).sqrt())
}

/// Twice the rank less its mean: whole numbers, ties sharing the mean of their ranks, so that sums are exact.
fn centred_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Finite values have an order; 0 and -0 are tied.
    let compare =
        |a: &usize, b: &usize| values[*a].partial_cmp(&values[*b]).unwrap_or(Ordering::Equal);
    order.sort_unstable_by(compare);
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for tied in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let twice = (2 * before + tied.len()) as f64 - values.len() as f64;
        tied.iter().for_each(|i| ranks[*i] = twice);
        before += tied.len();
    }
    ranks
}

/// All pairs one by one: a few hundred points are many here.
fn kendall(x: &[f64], y: &[f64]) -> (f64, f64) {
    // -1, 0 or 1.
    let sign = |values: &[f64], i: usize, j: usize| {
        i64::from(values[i] > values[j]) - i64::from(values[i] < values[j])
    };
    let (mut agreeing, mut apart_in_x, mut apart_in_y) = (0, 0, 0);
    for i in 0..x.len() {
        for j in 0..i {
            let (a, b) = (sign(x, i, j), sign(y, i, j));
            agreeing += a * b;
            apart_in_x += a.abs();
            apart_in_y += b.abs();
        }
    }
    (agreeing as f64, (apart_in_x as f64 * apart_in_y as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::golden::{cases, number, numbers};
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Coefficient; 2] = [Coefficient::Spearman, Coefficient::KendallTauB];

    /// Sums are exact on both sides; what is left are a few roundings.
    #[test]
    fn equals_scipy() {
        for case in cases("pooled") {
            let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
            for (coefficient, name) in BOTH.into_iter().zip(["spearman", "kendall"]) {
                let got = coefficient.of(&x, &y).unwrap();
                assert!((got - number(&case, name)).abs() < 1e-14, "{name}: {got}");
            }
        }
    }

    #[test]
    fn impossible_input_is_refused() {
        for coefficient in BOTH {
            let refused = |x: &[f64], y: &[f64]| coefficient.of(x, y).unwrap_err();
            assert!(matches!(refused(&[1.0, 2.0], &[1.0, 2.0]), Error::TooFew { got: 2, .. }));
            assert!(matches!(refused(&[1.0; 3], &[1.0; 2]), Error::Length { got: 2, .. }));
            let nan = refused(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]);
            assert!(matches!(nan, Error::NotFinite { index: 1, .. }));
            let constant = refused(&[1.0, 2.0, 3.0], &[0.0, -0.0, 0.0]).to_string();
            assert!(constant.contains("undefined: all y are equal"), "{constant}");
            assert!(refused(&[2.0; 3], &[1.0, 2.0, 3.0]).to_string().contains("all x are equal"));
        }
    }

    /// Few different values, so that there are ties.
    fn pairs() -> impl Strategy<Value = Vec<(f64, f64)>> {
        proptest::collection::vec((-4i32..4, -4i32..4), 3..20)
            .prop_map(|pairs| pairs.into_iter().map(|(x, y)| (x.into(), y.into())).collect())
    }

    proptest! {
        #[test]
        fn only_the_order_matters(pairs in pairs()) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let rising: Vec<f64> = x.iter().map(|x| x.exp() - 7.0).collect();
            let falling: Vec<f64> = x.iter().map(|x| -x.powi(3)).collect();
            for coefficient in BOTH {
                if let Ok(r) = coefficient.of(&x, &y) {
                    prop_assert!((-1.0..=1.0).contains(&r));
                    prop_assert_eq!(coefficient.of(&rising, &y).unwrap(), r);
                    prop_assert_eq!(coefficient.of(&falling, &y).unwrap(), -r);
                    prop_assert_eq!(coefficient.of(&y, &x).unwrap(), r);
                }
            }
        }

        #[test]
        fn a_list_agrees_with_itself(x in proptest::collection::vec(-1e3..1e3f64, 3..40)) {
            for coefficient in BOTH {
                prop_assert_eq!(coefficient.of(&x, &x).unwrap(), 1.0);
            }
        }
    }
}
