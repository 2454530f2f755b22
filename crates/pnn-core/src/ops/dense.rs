//! Products of dense matrices, split over fixed blocks of rows.

use std::borrow::Cow;

use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::product::{self, COLUMNS, Multiply};
use super::real::Real;
use crate::tensor::Buffer;

/// Rows of a result that one task computes; fixed, so that results never depend on the number of
/// threads.
const ROWS: usize = 32;

/// Multiplications below which a product stays on one thread: waking another costs more.
const SMALL: usize = 1 << 18;

/// Columns up to which products are summed in registers: more, and a strip of the second matrix
/// no longer stays in the nearest cache.
const WIDE: usize = 512;

/// Values of a second matrix up to which it is brought into row-major order first.
const TURNED: usize = 1 << 15;

/// Depth that is summed in registers at a time, for the same reason.
const DEPTH: usize = 128;

/// `a (m, k) b (k, n)`, row-major.
pub(super) fn product<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) -> Buffer<T> {
    let mut c = Buffer::scratch(m * n);
    let registers = InRegisters::of(n, k, a, b);
    let rows = |first: usize, c: &mut [T]| match (&registers, T::as_f32_mut(c)) {
        (Some(registers), Some(c)) => registers.rows(first, c),
        _ => gemm(c.len() / n, n, k, a.rows_from(first), b, c, false),
    };
    if m * n * k < SMALL {
        if !c.is_empty() {
            rows(0, &mut c);
        }
    } else {
        c.par_chunks_mut(ROWS * n).enumerate().for_each(|(block, c)| rows(block * ROWS, c));
    }
    c
}

/// A product of numbers in f32 whose result fills whole vectors, but is not wide.
struct InRegisters<'a> {
    n: usize,
    k: usize,
    a: Matrix<'a, f32>,
    /// Row-major.
    b: Cow<'a, [f32]>,
}

impl<'a> InRegisters<'a> {
    fn of<T: Real>(n: usize, k: usize, a: Matrix<'a, T>, b: Matrix<'a, T>) -> Option<Self> {
        if k == 0 || n > WIDE || !n.is_multiple_of(product::NARROW) {
            return None;
        }
        let b = b.as_f32()?;
        let turned = b.strided().1 != (n, 1);
        (!turned || k * n <= TURNED).then_some(())?;
        Some(Self { n, k, a: a.as_f32()?, b: b.in_rows(k, n) })
    }

    /// The rows of the result from `first` on.
    fn rows(&self, first: usize, c: &mut [f32]) {
        let count = c.len() / self.n;
        let whole = count / product::ROWS * product::ROWS;
        let (c, rest) = c.split_at_mut(whole * self.n);
        let (a, steps) = self.a.rows_from(first).strided();
        self.multiply(a, steps, c);
        if rest.is_empty() {
            return;
        }
        // What is left of the rows is filled up to as many as are multiplied together.
        let mut filled = vec![0.0; product::ROWS * self.k];
        for (r, line) in filled.chunks_exact_mut(self.k).take(count - whole).enumerate() {
            for (k, value) in line.iter_mut().enumerate() {
                *value = a[(whole + r) * steps.0 + k * steps.1];
            }
        }
        let mut last = vec![0.0; product::ROWS * self.n];
        self.multiply(&filled, (self.k, 1), &mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }

    fn multiply(&self, a: &[f32], a_steps: (usize, usize), c: &mut [f32]) {
        let rows = c.len() / self.n;
        if rows == 0 {
            return;
        }
        for first in (0..self.k).step_by(DEPTH) {
            pulp::Arch::new().dispatch(Multiply {
                rows,
                columns: self.n,
                depth: DEPTH.min(self.k - first),
                a: &a[first * a_steps.1..],
                a_steps,
                b: &self.b[first * self.n..],
                b_steps: (COLUMNS, self.n),
                c,
                accumulate: first > 0,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of whole and of broken blocks, in registers and not.
    #[test]
    fn equals_the_sum_in_double_precision() {
        let value = |i: usize| ((i * 37 + 11) % 101) as f32 * 0.13 - 6.0;
        // The last three: too wide, and too large to be turned first.
        let shapes = [
            (1, 16, 3),
            (9, 48, 130),
            (37, 64, 257),
            (130, 120, 65),
            (70, 64, 0),
            (3, 5, 7),
            (9, 528, 3),
            (33, 16, 2050),
            (2, 512, 80),
        ];
        for (m, n, k) in shapes {
            let (a, b): (Vec<_>, Vec<_>) =
                ((0..m * k).map(value).collect(), (0..k * n).map(|i| value(i + 7)).collect());
            for (a_turned, b_turned) in [(false, false), (true, false), (false, true)] {
                let of = |turned: bool, values, rows, columns| {
                    if turned {
                        Matrix::row_major(values, rows).transposed()
                    } else {
                        Matrix::row_major(values, columns)
                    }
                };
                let at = |turned: bool, v: &[f32], i, j, rows: usize, columns: usize| {
                    if turned { v[j * rows + i] } else { v[i * columns + j] }
                };
                let c = product(m, n, k, of(a_turned, &a, m, k), of(b_turned, &b, k, n));
                for (i, c) in c.iter().enumerate() {
                    let (mut want, mut size) = (0.0f64, 1.0);
                    for l in 0..k {
                        let x = f64::from(at(a_turned, &a, i / n, l, m, k));
                        let y = f64::from(at(b_turned, &b, l, i % n, k, n));
                        want += x * y;
                        size += (x * y).abs();
                    }
                    let off = (f64::from(*c) - want).abs() / size;
                    assert!(off < 1e-6, "({m}, {n}, {k}) {a_turned} {b_turned} at {i}: {off:e}");
                }
            }
        }
    }
}
