//! A product of small matrices in registers.

use pulp::Simd;

/// Rows of the first matrix that are multiplied together; their number is a multiple of it.
pub(super) const ROWS: usize = 8;

/// Columns of the second matrix are a multiple of this.
pub(super) const NARROW: usize = 16;

/// Columns of the second matrix that are multiplied together where there are as many.
pub(super) const COLUMNS: usize = 32;

/// `c (rows, columns) = a (rows, depth) b (depth, columns)`, plus the old `c` if `accumulate`. Each
/// sum runs over the depth in order, with fused multiply-adds: the same bits on any processor.
pub(super) struct Multiply<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
    /// Element (r, k) at `r * a_steps.0 + k * a_steps.1`.
    pub(super) a: &'a [f32],
    pub(super) a_steps: (usize, usize),
    /// Element (k, n) at `n / COLUMNS * b_steps.0 + k * b_steps.1 + n % COLUMNS`.
    pub(super) b: &'a [f32],
    pub(super) b_steps: (usize, usize),
    /// Row-major.
    pub(super) c: &'a mut [f32],
    pub(super) accumulate: bool,
}

impl pulp::WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        assert!(self.rows.is_multiple_of(ROWS) && self.columns.is_multiple_of(NARROW));
        assert!(self.c.len() >= self.rows * self.columns, "result out of bounds");
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        if let Some(k) = self.depth.checked_sub(1) {
            let last = (self.rows - 1) * self.a_steps.0 + k * self.a_steps.1;
            assert!(last < self.a.len(), "first matrix out of bounds");
            // The last vector of a block is the last vector of its narrow half, or lies before it.
            let last_block = (self.columns - 1) / COLUMNS;
            let width = self.columns - last_block * COLUMNS;
            let last = last_block * self.b_steps.0 + k * self.b_steps.1 + width;
            assert!(last <= self.b.len(), "second matrix out of bounds");
            let full = last_block.saturating_sub(1) * self.b_steps.0 + k * self.b_steps.1 + COLUMNS;
            assert!(last_block == 0 || full <= self.b.len(), "second matrix out of bounds");
        }
        let mut column = 0;
        while column < self.columns {
            let wide = self.columns - column >= COLUMNS;
            match (S::F32_LANES, wide) {
                (16, true) => self.strip::<S, 8, 2>(simd, column),
                (16, false) => self.strip::<S, 8, 1>(simd, column),
                (8, _) => self.strip::<S, 4, 2>(simd, column),
                (4, _) => self.strip::<S, 4, 4>(simd, column),
                (1, _) => self.strip::<S, 1, 16>(simd, column),
                (lanes, _) => unreachable!("no kernel for vectors of {lanes}"),
            }
            column += if wide && S::F32_LANES == 16 { COLUMNS } else { NARROW };
        }
    }
}

impl Multiply<'_> {
    /// `N` vectors of columns from `column` on, `R` rows at a time.
    #[inline(always)]
    fn strip<S: Simd, const R: usize, const N: usize>(&mut self, simd: S, column: usize) {
        let b_start = column / COLUMNS * self.b_steps.0 + column % COLUMNS;
        for row in (0..self.rows).step_by(R) {
            let mut sums = [[simd.splat_f32s(0.0); N]; R];
            // SAFETY: `with_simd` asserted that the last elements of the rows, columns and depths
            // lie inside the three slices. `R` divides `ROWS`, so `row + R` is at most the number of
            // rows; a strip ends at a multiple of NARROW or COLUMNS columns that is at most
            // `columns`. The vector types of pulp are plain arrays of f32, read and written
            // without any alignment.
            unsafe {
                let c = self.c.as_mut_ptr().add(row * self.columns + column);
                if self.accumulate {
                    for (r, sums) in sums.iter_mut().enumerate() {
                        for (n, sum) in sums.iter_mut().enumerate() {
                            let c = c.add(r * self.columns + n * S::F32_LANES);
                            *sum = c.cast::<S::f32s>().read_unaligned();
                        }
                    }
                }
                let mut a = self.a.as_ptr().wrapping_add(row * self.a_steps.0);
                let mut b = self.b.as_ptr().wrapping_add(b_start);
                for _ in 0..self.depth {
                    let mut line = [simd.splat_f32s(0.0); N];
                    for (n, line) in line.iter_mut().enumerate() {
                        *line = b.add(n * S::F32_LANES).cast::<S::f32s>().read_unaligned();
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let a = simd.splat_f32s(*a.add(r * self.a_steps.0));
                        for (sum, line) in sums.iter_mut().zip(line) {
                            *sum = simd.mul_add_f32s(a, line, *sum);
                        }
                    }
                    a = a.wrapping_add(self.a_steps.1);
                    b = b.wrapping_add(self.b_steps.1);
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (n, sum) in sums.iter().enumerate() {
                        let c = c.add(r * self.columns + n * S::F32_LANES);
                        c.cast::<S::f32s>().write_unaligned(*sum);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the processor's widest vectors, on AVX2 and without vectors.
    #[test]
    fn equals_the_sum_in_order() {
        for (rows, columns, depth) in [(8, 16, 1), (16, 48, 5), (8, 64, 33), (24, 32, 0)] {
            let value = |i: usize| ((i * 37 + 11) % 101) as f32 * 0.13 - 6.0;
            for transposed in [false, true] {
                let a: Vec<f32> = (0..rows * depth).map(value).collect();
                let b: Vec<f32> = (0..depth * columns).map(|i| value(i + 7)).collect();
                let a_steps = if transposed { (1, rows) } else { (depth, 1) };
                let mut c: Vec<f32> = (0..rows * columns).map(|i| value(i + 3)).collect();
                let mut want = c.clone();
                for (i, want) in want.iter_mut().enumerate() {
                    for k in 0..depth {
                        let a = a[i / columns * a_steps.0 + k * a_steps.1];
                        *want = a.mul_add(b[k * columns + i % columns], *want);
                    }
                }
                let start = c.clone();
                let mut check = |run: &dyn Fn(Multiply<'_>)| {
                    c.copy_from_slice(&start);
                    run(Multiply {
                        rows,
                        columns,
                        depth,
                        a: &a,
                        a_steps,
                        b: &b,
                        b_steps: (COLUMNS, columns),
                        c: &mut c,
                        accumulate: true,
                    });
                    assert_eq!(c, want, "{rows} {columns} {depth} {transposed}");
                };
                check(&|product| pulp::Arch::new().dispatch(product));
                check(&|product| pulp::Simd::vectorize(pulp::Scalar, product));
                #[cfg(target_arch = "x86_64")]
                if let Some(simd) = pulp::x86::V3::try_new() {
                    check(&|product| pulp::Simd::vectorize(simd, product));
                }
            }
        }
    }
}
