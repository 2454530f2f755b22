//! Which class was taken for which.

use serde::{Deserialize, Serialize};

use crate::interval::{Interval, wilson};
use crate::{Error, Result};

/// Counts of (true class, predicted class), shape `(classes, classes)`.
///
/// ```
/// use pnn_eval::ConfusionMatrix;
/// let mut confusion = ConfusionMatrix::new(2);
/// for (truth, predicted) in [(0, 0), (0, 1), (1, 1), (1, 1)] {
///     confusion.add(truth, predicted)?;
/// }
/// assert_eq!(confusion.accuracy(0.95)?.estimate, 0.75);
/// assert_eq!(confusion.recall(0), Some(0.5));
/// assert_eq!(confusion.precision(0), Some(1.0));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Rows", into = "Rows")]
pub struct ConfusionMatrix {
    classes: usize,
    /// Row-major: the row is the true class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// An empty matrix.
    #[must_use]
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts one example.
    ///
    /// # Errors
    /// If either class does not exist.
    pub fn add(&mut self, truth: usize, predicted: usize) -> Result<()> {
        let classes = self.classes;
        if let Some(class) = [truth, predicted].into_iter().find(|class| *class >= classes) {
            return Err(Error::Class { class, classes });
        }
        self.counts[truth * classes + predicted] += 1;
        Ok(())
    }

    /// Adds the counts of another matrix, such as the next batch's or chip's.
    ///
    /// # Errors
    /// If the other has another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if other.classes != self.classes {
            return Err(Error::Length {
                what: "the confusion matrix to merge".into(),
                got: other.classes,
                expected: self.classes,
            });
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        Ok(())
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often `truth` was taken for `predicted`; 0 for classes that do not exist.
    #[must_use]
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        if truth < self.classes && predicted < self.classes {
            self.counts[truth * self.classes + predicted]
        } else {
            0
        }
    }

    /// The number of examples counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of examples classified correctly.
    #[must_use]
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Correct over total, as a fraction with its Wilson interval.
    ///
    /// # Errors
    /// If nothing was counted or the level lies outside (0, 1).
    pub fn accuracy(&self, level: f64) -> Result<Interval> {
        wilson(self.correct(), self.total(), level)
    }

    /// Of the examples of `class`, the fraction recognised; `None` without examples.
    #[must_use]
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(
            self.count(class, class),
            (0..self.classes).map(|other| self.count(class, other)).sum(),
        )
    }

    /// Of the examples taken for `class`, the fraction that are; `None` without any.
    #[must_use]
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(
            self.count(class, class),
            (0..self.classes).map(|other| self.count(other, class)).sum(),
        )
    }

    /// The counts, one row a true class.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<u64>> {
        (0..self.classes)
            .map(|truth| self.counts[truth * self.classes..][..self.classes].to_vec())
            .collect()
    }

    /// Each row divided by its sum, so that the diagonal is the recall; rows without
    /// examples are NaN.
    #[must_use]
    pub fn row_fractions(&self) -> Vec<Vec<f64>> {
        self.rows()
            .into_iter()
            .map(|row| {
                let total = row.iter().sum();
                row.into_iter().map(|count| ratio(count, total).unwrap_or(f64::NAN)).collect()
            })
            .collect()
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The serialised form: a list of rows.
#[derive(Clone, Serialize, Deserialize)]
struct Rows(Vec<Vec<u64>>);

impl From<ConfusionMatrix> for Rows {
    fn from(matrix: ConfusionMatrix) -> Self {
        Self(matrix.rows())
    }
}

impl TryFrom<Rows> for ConfusionMatrix {
    type Error = Error;

    fn try_from(Rows(rows): Rows) -> Result<Self> {
        let classes = rows.len();
        if let Some(row) = rows.iter().find(|row| row.len() != classes) {
            let what = "a row of the confusion matrix".into();
            return Err(Error::Length { what, got: row.len(), expected: classes });
        }
        Ok(Self { classes, counts: rows.concat() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ConfusionMatrix {
        let mut confusion = ConfusionMatrix::new(3);
        for (truth, predicted) in [(0, 0), (0, 0), (0, 2), (1, 1)] {
            confusion.add(truth, predicted).unwrap();
        }
        confusion
    }

    #[test]
    fn counts_and_ratios() {
        let confusion = example();
        assert_eq!((confusion.correct(), confusion.total()), (3, 4));
        assert_eq!(confusion.recall(0), Some(2.0 / 3.0));
        assert_eq!(confusion.recall(2), None);
        assert_eq!(confusion.precision(2), Some(0.0));
        assert_eq!(confusion.recall(3), None);
        assert_eq!(confusion.count(0, 3), 0);
        assert_eq!(confusion.rows()[0], [2, 0, 1]);
        assert!(confusion.row_fractions()[2].iter().all(|x| x.is_nan()));
    }

    #[test]
    fn merging_adds_counts() {
        let mut twice = example();
        twice.merge(&example()).unwrap();
        assert_eq!(twice.total(), 8);
        assert!(matches!(twice.merge(&ConfusionMatrix::new(2)), Err(Error::Length { .. })));
    }

    #[test]
    fn classes_that_do_not_exist_are_refused_and_leave_no_trace() {
        let mut confusion = example();
        assert!(matches!(confusion.add(0, 3), Err(Error::Class { class: 3, classes: 3 })));
        assert_eq!(confusion, example());
        assert!(ConfusionMatrix::new(2).accuracy(0.95).is_err());
        assert!(ConfusionMatrix::new(0).accuracy(0.95).is_err());
    }

    #[test]
    fn json_round_trip_refuses_ragged_rows() {
        let json = serde_json::to_string(&example()).unwrap();
        assert_eq!(json, "[[2,0,1],[0,1,0],[0,0,0]]");
        assert_eq!(serde_json::from_str::<ConfusionMatrix>(&json).unwrap(), example());
        assert!(serde_json::from_str::<ConfusionMatrix>("[[1,2],[3]]").is_err());
    }
}
