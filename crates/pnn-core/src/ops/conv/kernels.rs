//! The inner loops of the direct convolution, in registers: a correlation of long lines.
//!
//! Both kernels work on lines (channels) in which the rows of all images of a group follow one
//! another with zeros between them (see `direct`), so that a tap of the filter is an offset.

use pulp::Simd;

/// A filter bank over lines: taps (row, column) lie `row * stride + column` further on.
#[derive(Clone, Copy)]
pub(super) struct Taps {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: usize,
}

impl Taps {
    /// The offset of the last tap.
    pub(super) fn reach(&self) -> usize {
        (self.rows - 1) * self.stride + self.columns - 1
    }
}

/// The places of a line that are computed: runs of equal length and distance.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    pub(super) count: usize,
    pub(super) length: usize,
    pub(super) distance: usize,
}

impl Runs {
    /// The first places of steps that cover every run.
    #[inline(always)]
    fn starts(self, step: usize) -> impl Iterator<Item = usize> {
        let runs = (0..self.count).map(move |run| run * self.distance);
        runs.flat_map(move |start| (start..start + self.length).step_by(step))
    }

    /// Where the last run ends.
    fn end(&self) -> usize {
        self.count.saturating_sub(1) * self.distance + self.length
    }
}

/// Lines of equal length, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) values: &'a [f32],
    pub(super) count: usize,
    pub(super) length: usize,
}

impl Lines<'_> {
    fn check(&self) {
        assert!(self.values.len() >= self.count * self.length, "lines out of bounds");
    }
}

/// How many outputs [`Correlate`] computes together, given how many there are and the lanes of a
/// vector: as many accumulators as there are registers, with little waste.
pub(super) fn output_block(outputs: usize, lanes: usize) -> usize {
    let choices: &[usize] = if lanes >= 16 { &[8, 6, 4] } else { &[4, 3] };
    let waste = |block: usize| outputs.div_ceil(block) * block;
    choices.iter().copied().min_by_key(|b| waste(*b)).unwrap_or(4)
}

/// `y[o][q] = sum over channels c and taps t of w[o][c][t] x[c][q + t]` for the places `q` of runs.
///
/// `weights` lie as (block of outputs, channel, tap, output in the block), filled up with zeros.
pub(super) struct Correlate<'a> {
    pub(super) x: Lines<'a>,
    pub(super) weights: &'a [f32],
    pub(super) taps: Taps,
    /// Outputs, a multiple of `block`.
    pub(super) outputs: usize,
    pub(super) block: usize,
    pub(super) y: &'a mut [f32],
    /// Distance of two outputs in `y`; at least the end of the runs and [`SLACK`].
    pub(super) y_length: usize,
    pub(super) runs: Runs,
}

/// What lines are longer than what is asked of them, so that whole vectors can be read and written.
pub(super) const SLACK: usize = 96;

impl pulp::WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.x.check();
        let per_output = self.x.count * self.taps.rows * self.taps.columns;
        assert!(self.weights.len() >= self.outputs * per_output, "weights out of bounds");
        assert!(self.y_length >= self.runs.end() + SLACK, "no slack in the result");
        assert!(
            self.x.length >= self.runs.end() + SLACK + self.taps.reach(),
            "no slack in the lines"
        );
        assert!(self.y.len() >= self.outputs * self.y_length, "result out of bounds");
        assert!(self.outputs.is_multiple_of(self.block), "outputs in whole blocks");
        match (S::F32_LANES >= 16, self.block) {
            (true, 8) => self.tiles::<S, 3, 8>(simd),
            (true, 6) => self.tiles::<S, 4, 6>(simd),
            (_, 4) if S::F32_LANES >= 16 => self.tiles::<S, 6, 4>(simd),
            (_, 4) => self.tiles::<S, 3, 4>(simd),
            (_, 3) => self.tiles::<S, 4, 3>(simd),
            (_, block) => unreachable!("no kernel for blocks of {block}"),
        }
    }
}

impl Correlate<'_> {
    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const B: usize>(self, simd: S) {
        let per_block = self.x.count * self.taps.rows * self.taps.columns * B;
        for q in self.runs.starts(V * S::F32_LANES) {
            for block in 0..self.outputs / B {
                let weights = &self.weights[block * per_block..][..per_block];
                let y = &mut self.y[block * B * self.y_length + q..];
                tile::<S, V, B>(simd, self.x, q, weights, self.taps, y, self.y_length);
            }
        }
    }
}

/// `V` vectors of `B` outputs, from place `q` on.
#[inline(always)]
fn tile<S: Simd, const V: usize, const B: usize>(
    simd: S,
    x: Lines<'_>,
    q: usize,
    weights: &[f32],
    taps: Taps,
    y: &mut [f32],
    y_length: usize,
) {
    let mut sums = [[simd.splat_f32s(0.0); V]; B];
    let mut weights = weights.as_ptr();
    for c in 0..x.count {
        for row in 0..taps.rows {
            // SAFETY: `with_simd` asserted that lines are `SLACK` longer than the last place plus
            // the reach of the taps, and a tile is no longer than `SLACK`: V vectors
            // from every tap on lie inside line `c`, and lines inside `values`. Of the weights,
            // `count * rows * columns * B` are read, which is their length. The vector types of
            // pulp are plain arrays of f32, read without any alignment.
            unsafe {
                let mut place = x.values.as_ptr().add(c * x.length + q + row * taps.stride);
                for _ in 0..taps.columns {
                    let mut line = [simd.splat_f32s(0.0); V];
                    for (v, line) in line.iter_mut().enumerate() {
                        *line = place.add(v * S::F32_LANES).cast::<S::f32s>().read_unaligned();
                    }
                    for (b, sums) in sums.iter_mut().enumerate() {
                        let w = simd.splat_f32s(*weights.add(b));
                        for (sum, line) in sums.iter_mut().zip(line) {
                            *sum = simd.mul_add_f32s(w, line, *sum);
                        }
                    }
                    weights = weights.add(B);
                    place = place.add(1);
                }
            }
        }
    }
    for (b, sums) in sums.iter().enumerate() {
        let y = &mut y[b * y_length..][..V * S::F32_LANES];
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: the slice has room for V vectors.
            unsafe {
                y.as_mut_ptr().add(v * S::F32_LANES).cast::<S::f32s>().write_unaligned(*sum);
            }
        }
    }
}

/// `dw[o][c][t] += sum over the places q of runs of g[o][q] x[c][q + t]`, with `dw` as (output, channel, tap).
pub(super) struct Products<'a> {
    pub(super) x: Lines<'a>,
    /// Zero between rows, and for a vector's length behind each run.
    pub(super) g: Lines<'a>,
    pub(super) taps: Taps,
    pub(super) runs: Runs,
    pub(super) dw: &'a mut [f32],
}

impl pulp::WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.x.check();
        self.g.check();
        let taps = self.taps.rows * self.taps.columns;
        assert!(self.dw.len() >= self.g.count * self.x.count * taps, "result out of bounds");
        assert!(self.g.length >= self.runs.end() + SLACK, "no slack in the gradient");
        assert!(
            self.x.length >= self.runs.end() + SLACK + self.taps.reach(),
            "no slack in the lines"
        );
        let mut output = 0;
        while output < self.g.count {
            let left = self.g.count - output;
            let wide = S::F32_LANES >= 16;
            let done = match (self.taps.columns, wide) {
                (3, true) if left >= 8 => self.block::<S, 8, 3>(simd, output),
                (3, true) if left >= 6 => self.block::<S, 6, 3>(simd, output),
                (3, _) if left >= 4 => self.block::<S, 4, 3>(simd, output),
                (3, _) if left >= 2 => self.block::<S, 2, 3>(simd, output),
                (5, true) if left >= 5 && left != 6 => self.block::<S, 5, 5>(simd, output),
                (5, true) if left >= 3 => self.block::<S, 3, 5>(simd, output),
                (5, _) if left >= 2 => self.block::<S, 2, 5>(simd, output),
                (5, _) => self.block::<S, 1, 5>(simd, output),
                (3, _) => self.block::<S, 1, 3>(simd, output),
                (2, _) if left >= 4 => self.block::<S, 4, 2>(simd, output),
                (_, _) if left >= 8 => self.block::<S, 8, 1>(simd, output),
                (_, _) => self.block::<S, 1, 1>(simd, output),
            };
            output += done;
        }
    }
}

impl Products<'_> {
    /// The gradients of `B` outputs from `output` on, `K` columns of taps together.
    #[inline(always)]
    fn block<S: Simd, const B: usize, const K: usize>(&mut self, simd: S, output: usize) -> usize {
        let Taps { rows, columns, stride } = self.taps;
        for c in 0..self.x.count {
            for row in 0..rows {
                for column in (0..columns).step_by(K) {
                    let sums = self.tile::<S, B, K>(simd, output, c, row * stride + column);
                    for (b, sums) in sums.iter().enumerate() {
                        let first = ((output + b) * self.x.count + c) * rows * columns;
                        let dw = &mut self.dw[first + row * columns + column..];
                        for (dw, sum) in dw.iter_mut().zip(sums) {
                            *dw += sum;
                        }
                    }
                }
            }
        }
        B
    }

    #[inline(always)]
    fn tile<S: Simd, const B: usize, const K: usize>(
        &self,
        simd: S,
        output: usize,
        c: usize,
        offset: usize,
    ) -> [[f32; K]; B] {
        let mut sums = [[simd.splat_f32s(0.0); K]; B];
        for run in 0..self.runs.count {
            let start = run * self.runs.distance;
            let mut q = start;
            while q < start + self.runs.length {
                // SAFETY: `with_simd` asserted that the lines are `SLACK` longer than the last place
                // (plus the reach of the taps for `x`), a vector is no longer than `SLACK`, K columns
                // from `offset` on are taps, and `output + B` is at most the number of lines of `g`.
                unsafe {
                    let mut line = [simd.splat_f32s(0.0); K];
                    let place = self.x.values.as_ptr().add(c * self.x.length + q + offset);
                    for (k, line) in line.iter_mut().enumerate() {
                        *line = place.add(k).cast::<S::f32s>().read_unaligned();
                    }
                    let place = self.g.values.as_ptr().add(output * self.g.length + q);
                    for (b, sums) in sums.iter_mut().enumerate() {
                        let g = place.add(b * self.g.length).cast::<S::f32s>().read_unaligned();
                        for (sum, line) in sums.iter_mut().zip(line) {
                            *sum = simd.mul_add_f32s(g, line, *sum);
                        }
                    }
                }
                q += S::F32_LANES;
            }
        }
        let mut totals = [[0.0; K]; B];
        for (totals, sums) in totals.iter_mut().zip(sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = simd.reduce_sum_f32s(sum);
            }
        }
        totals
    }
}

/// Copies `rows` rows of `width` values from one place to another. Rows are short: a call of the
/// system's copy for each costs more than the copy.
pub(super) struct CopyRows<'a> {
    pub(super) from: &'a [f32],
    pub(super) from_stride: usize,
    pub(super) to: &'a mut [f32],
    pub(super) to_stride: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl CopyRows<'_> {
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S) {
        let Self { from, from_stride, to, to_stride, rows, width } = self;
        for row in 0..rows {
            let from = &from[row * from_stride..][..width];
            let to = &mut to[row * to_stride..][..width];
            let (from, from_rest) = S::as_simd_f32s(from);
            let (to, to_rest) = S::as_mut_simd_f32s(to);
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
            if !from_rest.is_empty() {
                simd.partial_store_f32s(to_rest, simd.partial_load_f32s(from_rest));
            }
        }
    }
}
