//! A safe, sequential front of the kernels of the `gemm` crate (without those for complex and half numbers, which would have to be compiled
//! as well). Parallelism is over fixed blocks in the callers,
//! so that results never depend on the number of threads.

use std::any::TypeId;
use std::borrow::Cow;

use gemm_common::Parallelism;

use super::real::Real;

/// A strided view of a matrix.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    pub(crate) fn row_major(values: &'a [T], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    pub(crate) fn rows_from(self, row: usize) -> Self {
        Self { values: &self.values[(row * self.row_stride).min(self.values.len())..], ..self }
    }

    /// The matrix itself where its numbers are `f32`.
    pub(crate) fn as_f32(self) -> Option<Matrix<'a, f32>> {
        let Self { values, row_stride, column_stride } = self;
        Some(Matrix { values: T::as_f32(values)?, row_stride, column_stride })
    }

    /// The values, and the steps from row to row and from column to column.
    pub(crate) fn strided(self) -> (&'a [T], (usize, usize)) {
        (self.values, (self.row_stride, self.column_stride))
    }

    /// The values in row-major order.
    pub(crate) fn in_rows(self, rows: usize, columns: usize) -> Cow<'a, [T]> {
        if self.column_stride == 1 && self.row_stride == columns {
            return Cow::Borrowed(self.values);
        }
        let mut lines = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let column = |column| self.values[row * self.row_stride + column * self.column_stride];
            lines.extend((0..columns).map(column));
        }
        Cow::Owned(lines)
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// `c (m, n, row-major) = a (m, k) b (k, n)`, plus the old `c` if `accumulate`.
pub(crate) fn gemm<T: Real>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    c: &mut [T],
    accumulate: bool,
) {
    assert!(a.covers(m, k) && b.covers(k, n) && c.len() >= m * n, "matrix out of bounds");
    let (columns, rows) = ((n as isize, 1), (1, n as isize));
    let strides =
        |matrix: Matrix<'_, T>| (matrix.column_stride as isize, matrix.row_stride as isize);
    let of = |matrix: Matrix<'_, T>| (matrix.values.as_ptr(), strides(matrix));
    let swap = |(values, (column, row))| (values, (row, column));
    // The kernels want columns: of a result whose rows follow each other they compute the transpose, `b^T a^T`.
    let (m, n, to, left, right) =
        if n > 1 { (n, m, columns, swap(of(b)), swap(of(a))) } else { (m, n, rows, of(a), of(b)) };
    macro_rules! run {
        ($kernel:path) => {
            $kernel()(
                m,
                n,
                k,
                c.as_mut_ptr().cast(),
                to.0,
                to.1,
                accumulate,
                left.0.cast(),
                left.1.0,
                left.1.1,
                right.0.cast(),
                right.1.0,
                right.1.1,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            )
        };
    }
    let number = TypeId::of::<T>();
    // SAFETY: the assertion above shows that every element that the strides reach lies inside the
    // slices; `c` is borrowed mutably, so it aliases neither `a` nor `b`; the three matrices share T, which is the type of the kernel.
    unsafe {
        if number == TypeId::of::<f32>() {
            run!(gemm_f32::gemm::f32::get_gemm_fn);
        } else {
            assert!(number == TypeId::of::<f64>(), "kernels are of f32 and f64");
            run!(gemm_f64::gemm::f64::get_gemm_fn);
        }
    }
}
