//! The interval of a mean over two crossed samples, such as seeds and chips.

use super::{Interval, Method, check_finite, check_level, mean, student_t};
use crate::{Error, Result};

/// The interval of the mean over all rows and columns that could have been: `rows` are trainings,
/// say, and each has been tried on the same chips. It says how much other trainings on other chips
/// would differ; an interval of the rows' means says it for these very chips only.
///
/// ```text
/// m ± √(h_r² + h_c²)      h_r, h_c = half widths of Student's t intervals of the rows' and of the columns' means
/// ```
///
/// In a two-way layout with random effects of rows, columns and both together the variance of the mean is
/// the sum of those of the rows' mean and of the columns' mean less that of the residual, which is left in.
/// Each part keeps the t of its own degrees of freedom. Satterthwaite's common degrees of freedom would make
/// the interval of three rows too short (a test shows how often this one covers the truth). If all columns
/// are alike, it is [`student_t`]'s of the rows.
///
/// # Errors
/// Fewer than two rows or columns, rows of different lengths, values that are not finite or so large
/// that their variance overflows, or a level outside (0, 1).
pub fn crossed(rows: &[Vec<f64>], level: f64) -> Result<Interval> {
    check_level(level)?;
    let columns = rows.first().map_or(0, Vec::len);
    let fewest = rows.len().min(columns);
    if fewest < 2 {
        let what = "an interval over rows and columns (the fewer of the two)";
        return Err(Error::TooFew { what, got: fewest, needed: 2 });
    }
    if let Some(row) = rows.iter().find(|row| row.len() != columns) {
        let what = "a row of a crossed layout".into();
        return Err(Error::Length { what, got: row.len(), expected: columns });
    }
    rows.iter().try_for_each(|row| check_finite("the value", row))?;
    let of_rows: Vec<f64> = rows.iter().map(|row| mean(row)).collect();
    let of_columns: Vec<f64> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64)
        .collect();
    let (row, column) = (student_t(&of_rows, level)?, student_t(&of_columns, level)?);
    let estimate = row.estimate;
    let half_width = 0.5 * row.width().hypot(column.width());
    let (low, high) = (estimate - half_width, estimate + half_width);
    Ok(Interval { estimate, low, high, level, method: Method::Crossed })
}

#[cfg(test)]
mod tests {
    use pnn_core::Seed;
    use rand::RngExt;

    use super::super::golden::{assert_close, cases, number, numbers};
    use super::super::normal_quantile;
    use super::*;

    #[test]
    fn equals_scipy() {
        for case in cases("crossed") {
            let columns = case["columns"].as_u64().unwrap() as usize;
            let values = numbers(&case, "values");
            let rows: Vec<Vec<f64>> = values.chunks(columns).map(<[f64]>::to_vec).collect();
            let got = crossed(&rows, number(&case, "level")).unwrap();
            assert_close(got.low, number(&case, "low"), 1e-9, &case.to_string());
            assert_close(got.high, number(&case, "high"), 1e-9, &case.to_string());
        }
    }

    #[test]
    fn columns_that_agree_leave_the_interval_of_the_rows() {
        let rows = [vec![97.0; 4], vec![95.0; 4], vec![96.5; 4]];
        let (got, want) =
            (crossed(&rows, 0.95).unwrap(), student_t(&[97.0, 95.0, 96.5], 0.95).unwrap());
        assert!((got.low - want.low).abs() < 1e-9 && (got.high - want.high).abs() < 1e-9);
        let one = crossed(&[vec![1.0; 2], vec![1.0; 2]], 0.95).unwrap();
        assert_eq!((one.low, one.high), (1.0, 1.0));
    }

    #[test]
    fn impossible_input_is_refused() {
        let refused = |rows: &[Vec<f64>]| crossed(rows, 0.95).unwrap_err();
        assert!(matches!(refused(&[vec![1.0, 2.0]]), Error::TooFew { got: 1, .. }));
        assert!(matches!(refused(&[vec![1.0], vec![2.0]]), Error::TooFew { got: 1, .. }));
        let ragged = [vec![1.0, 2.0], vec![1.0]];
        assert!(matches!(refused(&ragged), Error::Length { got: 1, expected: 2, .. }));
        let nan = [vec![1.0, f64::NAN], vec![1.0, 2.0]];
        assert!(matches!(refused(&nan), Error::NotFinite { .. }));
    }

    /// Of 400 layouts of 3 trainings and 20 chips: as often as it says, whichever varies more. An
    /// interval of the rows' means alone misses the truth far oftener where chips vary.
    #[test]
    fn covers_the_truth_as_often_as_it_says() {
        for (of_row, of_column, of_both) in [(1.0, 1.0, 0.5), (0.1, 2.0, 0.5), (1.0, 0.1, 0.1)] {
            let mut hits = [0, 0];
            for layout in 0..400 {
                let mut rng = Seed::new(7).child("crossed").index(layout).rng();
                let mut draw = |scale: f64| scale * normal_quantile(rng.random());
                let columns: Vec<f64> = (0..20).map(|_| draw(of_column)).collect();
                let rows: Vec<Vec<f64>> = (0..3)
                    .map(|_| {
                        let row = draw(of_row);
                        columns.iter().map(|column| row + column + draw(of_both)).collect()
                    })
                    .collect();
                let means: Vec<f64> = rows.iter().map(|row| mean(row)).collect();
                let intervals = [crossed(&rows, 0.95), student_t(&means, 0.95)];
                for (hits, interval) in hits.iter_mut().zip(intervals) {
                    *hits += usize::from(interval.unwrap().contains(0.0));
                }
            }
            // Binomial standard error 4.4 of 380.
            assert!(hits[0] >= 368, "{hits:?} of 400 with {of_row}, {of_column}, {of_both}");
            assert!(of_column < 2.0 || hits[1] < 300, "{hits:?}");
        }
    }
}
