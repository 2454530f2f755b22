//! The weights of rings in a row that all wavelengths of a waveguide pass.

use std::sync::Arc;

use pnn_core::multiversion;
use pnn_core::ops::Real;
use pnn_core::tensor::{Buffer, Element};
use pnn_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::super::ring::Line;
use super::super::{Detection, Ring};

/// Rows of rings, one behind the other on a bus with one wavelength for each, and a waveguide or a detector that collects what
/// they drop.
///
/// Light of wavelength `j` meets ring `i` at a detuning `x_i + (j - i) spacing`. What passes the rings from `i` on and
/// what these drop add up as `S_i = T_ij S_(i+1) + d D_ij`; with `d = -1` and `S_n = 1` the weight `S_0` is
/// that of balanced detection. Dropped light is collected once: that it passes other rings on its way, and interferes there, is
/// left out (an error of the order of `T D` of two rings for one wavelength).
///
/// A ring whose line is `width` times as wide, and as deep as before, has `T` and `D` of the detuning over `width`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    line: Line,
    /// Turns of the phase for each nm.
    turns_per_nm: f64,
    spacing_nm: f64,
    /// Rings of a row.
    pub(super) rings: usize,
    /// Rows of an output, and rings of the last of them.
    rows_per_output: usize,
    last: usize,
    /// `d` and `S_n`.
    dropped: f64,
    passed: f64,
}

/// Rows that a task takes.
const BLOCK: usize = 64;

impl Rows {
    pub(super) fn new(
        ring: &Ring,
        detection: Detection,
        spacing_nm: f64,
        rings: usize,
        inputs: usize,
    ) -> Self {
        let (dropped, passed) = match detection {
            Detection::Balanced => (-1.0, 1.0),
            Detection::Through => (0.0, 1.0),
            Detection::Drop => (1.0, 0.0),
        };
        Self {
            line: ring.line(),
            turns_per_nm: 1.0 / ring.free_spectral_range_nm(),
            spacing_nm,
            rings,
            rows_per_output: inputs.div_ceil(rings),
            last: inputs - (inputs.div_ceil(rings) - 1) * rings,
            dropped,
            passed,
        }
    }

    /// Rings of a row.
    pub(super) fn used(&self, row: usize) -> usize {
        if (row + 1).is_multiple_of(self.rows_per_output) { self.last } else { self.rings }
    }

    /// Weights (rows, rings) of rings at detunings in nm (rows, rings), with lines so many times as wide as the model's (the
    /// same shape; none if all are 1); 0 for the rings that the last row of an output lacks.
    pub(super) fn weights(self, detunings: &Tensor, widths: Option<&Tensor>) -> Result<Tensor> {
        match detunings.dtype() {
            DType::F32 => self.weights_of::<f32>(detunings, widths),
            _ => self.weights_of::<f64>(detunings, widths),
        }
    }

    fn weights_of<T: Real + Element>(
        self,
        detunings: &Tensor,
        widths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = detunings.elements::<T>()?;
        let wide = widths.map(Tensor::elements::<T>).transpose()?;
        let mut y = Buffer::<T>::zeros(x.len());
        let block = BLOCK * self.rings;
        y.par_chunks_mut(block).zip(x.par_chunks(block)).enumerate().for_each(|(b, (y, x))| {
            let met = Met::of(&self, x, part(wide, b * block, x.len()));
            for (row, y) in y.chunks_exact_mut(self.rings).enumerate() {
                let used = self.used(b * BLOCK + row);
                for (j, y) in y[..used].iter_mut().enumerate() {
                    *y = met.rest(&self, row, j, used, |_, _| ());
                }
            }
        });
        let input = Arc::new(detunings.detach());
        let lines = widths.map(|widths| Arc::new(widths.detach()));
        let y = Tensor::from_buffer(y, detunings.shape().clone())?;
        let inputs: Vec<&Tensor> = std::iter::once(detunings).chain(widths).collect();
        Ok(y.with_gradient(&inputs, move |gradient| match &lines {
            None => Ok(vec![Some(self.back::<T>(&input, &gradient)?)]),
            Some(lines) => {
                let [x, widths] = self.back_with_widths::<T>(&input, lines, &gradient)?;
                Ok(vec![Some(x), Some(widths)])
            }
        }))
    }

    fn back<T: Real + Element>(&self, detunings: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (x, g) = (detunings.elements::<T>()?, gradient.elements::<T>()?);
        let mut found = Buffer::<T>::zeros(x.len());
        let block = BLOCK * self.rings;
        let parts = found.par_chunks_mut(block).zip(x.par_chunks(block));
        parts.zip(g.par_chunks(block)).enumerate().for_each(|(b, ((found, x), g))| {
            self.slopes(b, (x, None, g), |at, _, steep| found[at] += steep);
        });
        Tensor::from_buffer(found, detunings.shape().clone())
    }

    /// Gradients in the detunings and in the widths: with `u = (x_i + (j - i) spacing) / width_i`, `du/dx = 1 / width` and
    /// `du/dwidth = -u / width`.
    fn back_with_widths<T: Real + Element>(
        &self,
        detunings: &Tensor,
        widths: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Tensor; 2]> {
        let (x, g) = (detunings.elements::<T>()?, gradient.elements::<T>()?);
        let wide = widths.elements::<T>()?;
        let [mut by_x, mut by_width] = [(); 2].map(|()| Buffer::<T>::zeros(x.len()));
        let block = BLOCK * self.rings;
        let found = by_x.par_chunks_mut(block).zip(by_width.par_chunks_mut(block));
        let given = x.par_chunks(block).zip(wide.par_chunks(block)).zip(g.par_chunks(block));
        found.zip(given).enumerate().for_each(|(b, ((by_x, by_width), ((x, wide), g)))| {
            self.slopes(b, (x, Some(wide), g), |at, apart, steep| {
                by_x[at] += steep / wide[at];
                by_width[at] -= steep / wide[at] * (x[at] + apart) / wide[at];
            });
        });
        let shape = detunings.shape();
        Ok([
            Tensor::from_buffer(by_x, shape.clone())?,
            Tensor::from_buffer(by_width, shape.clone())?,
        ])
    }

    /// Calls `each(at, apart, g_j dw_j/du_ij)` for ring `at` and every wavelength, which is so many nm apart from its own, in the block
    /// of detunings, widths and gradients with this number.
    fn slopes<T: Real>(
        &self,
        block: usize,
        (x, wide, g): (&[T], Option<&[T]>, &[T]),
        mut each: impl FnMut(usize, T, T),
    ) {
        let met = Met::of(self, x, wide);
        for (row, g) in g.chunks_exact(self.rings).enumerate() {
            let used = self.used(block * BLOCK + row);
            met.slopes(self, row, used, |i, j, slope| {
                each(row * self.rings + i, self.apart(i, j), g[j] * slope);
            });
        }
    }

    /// How much farther from ring `i` wavelength `j` is than the ring's own, in nm.
    fn apart<T: Real>(&self, i: usize, j: usize) -> T {
        T::of((j as f64 - i as f64) * self.spacing_nm)
    }

    /// Weights of one row, and `dw_j/dx_i` as entry `[j * used + i]`, with lines of these widths.
    pub(super) fn row(&self, detunings: &[f64], widths: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let used = detunings.len();
        let (mut x, mut wide) = (detunings.to_vec(), widths.to_vec());
        x.resize(self.rings, 0.0);
        wide.resize(self.rings, 1.0);
        let met = Met::of(self, &x, Some(&wide));
        let weights = (0..used).map(|j| met.rest(self, 0, j, used, |_, _| ())).collect();
        let mut slopes = vec![0.0; used * used];
        met.slopes(self, 0, used, |i, j, slope| slopes[j * used + i] = slope / wide[i]);
        (weights, slopes)
    }
}

/// So many widths from the first one on, if there are any.
fn part<T>(widths: Option<&[T]>, first: usize, count: usize) -> Option<&[T]> {
    widths.map(|all| &all[first..first + count])
}

/// What each wavelength meets at each ring: entry `[(row * rings + i) * rings + j]` of ring `i` and wavelength `j`.
struct Met<T> {
    rings: usize,
    through: Vec<T>,
    drop: Vec<T>,
    through_slope: Vec<T>,
    drop_slope: Vec<T>,
}

impl<T: Real> Met<T> {
    fn of(rows: &Rows, detunings: &[T], widths: Option<&[T]>) -> Self {
        let rings = rows.rings;
        let mut turns = Vec::with_capacity(detunings.len() * rings);
        for (place, x) in detunings.iter().enumerate() {
            let i = place % rings;
            let per_nm = T::of(rows.turns_per_nm);
            let per_nm = widths.map_or(per_nm, |widths| per_nm / widths[place]);
            turns.extend((0..rings).map(|j| per_nm * (*x + rows.apart::<T>(i, j))));
        }
        let zeros = || vec![T::zero(); turns.len()];
        let mut met = Self {
            rings,
            through: zeros(),
            drop: zeros(),
            through_slope: zeros(),
            drop_slope: zeros(),
        };
        let Line { through, drop, floor, swing } = rows.line;
        let line = [through, drop, floor, swing].map(T::of);
        let Self { through, drop, through_slope, drop_slope, .. } = &mut met;
        lines(&turns, line, T::of(rows.turns_per_nm), through, drop, through_slope, drop_slope);
        met
    }

    fn at(&self, row: usize, i: usize, j: usize) -> usize {
        (row * self.rings + i) * self.rings + j
    }

    /// `S_0` of a wavelength; calls `each(i, S_(i + 1))` on the way.
    fn rest(
        &self,
        rows: &Rows,
        row: usize,
        j: usize,
        used: usize,
        mut each: impl FnMut(usize, T),
    ) -> T {
        let dropped = T::of(rows.dropped);
        (0..used).rev().fold(T::of(rows.passed), |rest, i| {
            each(i, rest);
            let at = self.at(row, i, j);
            self.through[at] * rest + dropped * self.drop[at]
        })
    }

    /// Calls `each(i, j, dw_j/dx_i)`: the light that reaches ring `i`, times what changes there.
    fn slopes(&self, rows: &Rows, row: usize, used: usize, mut each: impl FnMut(usize, usize, T)) {
        let dropped = T::of(rows.dropped);
        let mut rests = vec![T::zero(); used];
        for j in 0..used {
            self.rest(rows, row, j, used, |i, rest| rests[i] = rest);
            let mut reaching = T::one();
            for (i, rest) in rests.iter().enumerate() {
                let at = self.at(row, i, j);
                let slope = self.through_slope[at] * *rest + dropped * self.drop_slope[at];
                each(i, j, reaching * slope);
                reaching *= self.through[at];
            }
        }
    }
}

/// Sine and cosine of `pi turns`, for at most half a turn: their series to 1e-16 of one.
#[inline(always)]
fn half_turns<T: Real>(turns: T) -> (T, T) {
    let half = T::of(std::f64::consts::PI) * turns;
    let z = half * half;
    let (mut sine, mut cosine) = (T::one(), T::one());
    for k in [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        sine = T::one() - z * T::of(1.0 / (2.0 * k * (2.0 * k + 1.0))) * sine;
        cosine = T::one() - z * T::of(1.0 / (2.0 * k * (2.0 * k - 1.0))) * cosine;
    }
    (half * sine, cosine)
}

multiversion! {
    /// Powers that pass and that are dropped at so many turns of the phase, and their slopes in 1/nm.
    fn lines[T: Real](
        turns: &[T],
        line: [T; 4],
        turns_per_nm: T,
        through: &mut [T],
        drop: &mut [T],
        through_slope: &mut [T],
        drop_slope: &mut [T],
    ) {
        let [passing, dropping, floor, swing] = line;
        // du/dx = 4 r sin(p/2) cos(p/2) dp/dx, of which dp/dx is 2 pi turns_per_nm.
        let steep = swing * T::of(std::f64::consts::TAU) * turns_per_nm;
        let outputs = through.iter_mut().zip(drop).zip(through_slope.iter_mut().zip(drop_slope));
        for (turns, ((through, drop), (through_slope, drop_slope))) in turns.iter().zip(outputs) {
            let (sine, cosine) = half_turns(*turns - (*turns + T::of(0.5)).floor());
            let u = swing * sine * sine;
            let share = T::one() / (floor + u);
            let slope = steep * sine * cosine * share * share;
            *through = (passing + u) * share;
            *drop = dropping * share;
            *through_slope = (floor - passing) * slope;
            *drop_slope = -dropping * slope;
        }
    }
}
