//! The singular value decomposition of a complex matrix.

use num_complex::Complex;
use pnn_core::{Error, Result};

/// Sweeps after which rotations must have made all columns orthogonal; a dozen are usual.
const SWEEPS: usize = 60;

/// Columns of a matrix.
pub(super) type Columns = Vec<Vec<Complex<f64>>>;

/// `A = U diag(values) V^H`: the columns of square unitary `U` and `V`, and values that fall.
pub(super) struct Singular {
    pub(super) u: Columns,
    pub(super) values: Vec<f64>,
    pub(super) v: Columns,
}

/// The singular values and vectors of a matrix of `rows` rows, by one-sided Jacobi rotations
/// (Hestenes, J. SIAM 6, 51, 1958; Demmel and Veselic, SIAM J. Matrix Anal. Appl. 13, 1204, 1992):
/// rotations of pairs of columns make them all orthogonal; what they make is `A V = U diag(values)`.
/// Values below the rounding of the largest are zero.
///
/// # Errors
/// If the rotations do not end.
pub(super) fn singular(a: &Columns, rows: usize) -> Result<Singular> {
    if rows < a.len() {
        let Singular { u, values, v } = singular(&adjoint(a, rows), a.len())?;
        return Ok(Singular { u: v, values, v: u });
    }
    let unit = |k: usize| unit(a.len(), k);
    // Each column of A above that of V.
    let mut columns: Columns =
        a.iter().enumerate().map(|(k, column)| [column.clone(), unit(k)].concat()).collect();
    let largest = a.iter().flatten().fold(0.0f64, |m, v| m.max(v.norm()));
    if largest > 0.0 {
        columns.iter_mut().for_each(|column| column[..rows].iter_mut().for_each(|v| *v /= largest));
    }
    orthogonalise(&mut columns, rows)?;
    let mut found: Vec<(f64, Vec<_>)> =
        columns.into_iter().map(|column| (norm_sqr(&column[..rows]).sqrt(), column)).collect();
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let least = found.first().map_or(0.0, |(value, _)| value * f64::EPSILON * rows as f64);
    let (mut u, mut values, mut v) = (Columns::new(), Vec::new(), Columns::new());
    for (value, mut column) in found {
        v.push(column.split_off(rows));
        if value > least {
            u.push(column.into_iter().map(|z| z / value).collect());
            values.push(value * largest);
        } else {
            values.push(0.0);
        }
    }
    complete(&mut u, rows);
    Ok(Singular { u, values, v })
}

fn orthogonalise(columns: &mut Columns, rows: usize) -> Result<()> {
    for _ in 0..SWEEPS {
        let mut done = true;
        for second in 1..columns.len() {
            let (before, after) = columns.split_at_mut(second);
            for one in before {
                done &= rotate(one, &mut after[0], rows);
            }
        }
        if done {
            return Ok(());
        }
    }
    let what = format!("Jacobi sweeps over a matrix of {rows} rows and {} columns", columns.len());
    Err(Error::Range {
        what,
        value: SWEEPS as f64,
        allowed: "enough to make its columns orthogonal",
    })
}

/// Makes the first `rows` elements of two columns orthogonal; whether they were.
fn rotate(one: &mut [Complex<f64>], other: &mut [Complex<f64>], rows: usize) -> bool {
    let (a, b) = (norm_sqr(&one[..rows]), norm_sqr(&other[..rows]));
    let along = dot(&one[..rows], &other[..rows]);
    let size = along.norm();
    // The largest element is 1: what is shorter than its rounding is no direction.
    if a.min(b) < f64::EPSILON.powi(2) || size <= f64::EPSILON * rows as f64 * (a * b).sqrt() {
        return true;
    }
    let zeta = (b - a) / (2.0 * size);
    let t = 1.0f64.copysign(zeta) / (zeta.abs() + zeta.hypot(1.0));
    let cos = 1.0 / t.hypot(1.0);
    let (sin, back) = (cos * t, along.conj() / size);
    for (x, y) in one.iter_mut().zip(other) {
        let turned = *y * back;
        (*x, *y) = (*x * cos - turned * sin, *x * sin + turned * cos);
    }
    false
}

/// Adds orthonormal columns until there are as many as rows: each from the unit vector that those
/// present hold least of, which leaves at least `1 / rows` of its square.
fn complete(columns: &mut Columns, rows: usize) {
    while columns.len() < rows {
        let held = |row: usize| columns.iter().map(|column| column[row].norm_sqr()).sum::<f64>();
        let least = (0..rows).min_by(|one, other| held(*one).total_cmp(&held(*other)));
        let mut new = unit(rows, least.unwrap_or(0));
        // Once more for what rounding left.
        for _ in 0..2 {
            for column in columns.iter() {
                let along = dot(column, &new);
                new.iter_mut().zip(column).for_each(|(new, v)| *new -= along * v);
            }
            let norm = norm_sqr(&new).sqrt();
            new.iter_mut().for_each(|new| *new /= norm);
        }
        columns.push(new);
    }
}

/// The columns of `A^H`.
pub(super) fn adjoint(a: &Columns, rows: usize) -> Columns {
    (0..rows).map(|row| a.iter().map(|column| column[row].conj()).collect()).collect()
}

fn unit(size: usize, place: usize) -> Vec<Complex<f64>> {
    (0..size).map(|k| if k == place { Complex::ONE } else { Complex::ZERO }).collect()
}

fn norm_sqr(a: &[Complex<f64>]) -> f64 {
    a.iter().map(|a| a.norm_sqr()).sum()
}

fn dot(a: &[Complex<f64>], b: &[Complex<f64>]) -> Complex<f64> {
    a.iter().zip(b).map(|(a, b)| a.conj() * b).sum()
}
