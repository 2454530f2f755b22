//! The transfer matrix of a cascade of 2x2 complex matrices, each acting on two ports: what an
//! interferometer mesh of any layout does.

use std::sync::Arc;

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::simd::multiversion;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Columns of the matrix that one task computes; fixed, so that the order of sums never depends on
/// the number of threads.
const WIDTH: usize = 32;

/// Which two ports each matrix of a cascade acts on, column by column as light meets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    ports: usize,
    columns: Vec<Vec<(usize, usize)>>,
}

impl Wiring {
    /// Columns of pairs (first port, second port).
    ///
    /// # Errors
    /// If there are no ports, a port does not exist, or two matrices of a column share one.
    pub fn new(ports: usize, columns: Vec<Vec<(usize, usize)>>) -> Result<Self> {
        let range = |what: String, value: usize, allowed| {
            Err(Error::Range { what, value: value as f64, allowed })
        };
        if ports == 0 {
            return range("number of ports".into(), ports, "[1, infinity)");
        }
        for (number, column) in columns.iter().enumerate() {
            let mut taken = vec![false; ports];
            for port in column.iter().flat_map(|(first, second)| [*first, *second]) {
                match taken.get_mut(port) {
                    None => {
                        let what = format!("port in column {number} of {ports} ports");
                        return range(what, port, "below the number of ports");
                    }
                    Some(true) => {
                        let what = format!("port in column {number}");
                        return range(what, port, "in one matrix of a column only");
                    }
                    Some(free) => *free = true,
                }
            }
        }
        Ok(Self { ports, columns })
    }

    /// Ports at either side.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.ports
    }

    /// The columns, in the order in which light meets them.
    #[must_use]
    pub fn columns(&self) -> &[Vec<(usize, usize)>] {
        &self.columns
    }

    /// Matrices in all columns.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.columns.iter().map(Vec::len).sum()
    }
}

/// `U = C_n ... C_2 C_1 D` for each chip: `D` is diagonal, and `C_k` replaces the rows `a` and `b` of
/// each of its pairs by `M (row a, row b)`.
///
/// # Shapes
/// `cells` (chips, cells, 2, 2, 2): row, column, and real and imaginary part of each `M`, column by
/// column of the wiring. `diagonal` (chips, ports, 2). Result (chips, 2, ports, ports): the real
/// and the imaginary part of `U`, from input (last) to output.
///
/// # Errors
/// If the shapes or types do not match.
pub fn cascade(wiring: &Arc<Wiring>, cells: &Tensor, diagonal: &Tensor) -> Result<Tensor> {
    let (ports, count) = (wiring.ports, wiring.cells());
    let chips = cells.dims().first().copied().unwrap_or(0);
    if cells.dims() != [chips, count, 2, 2, 2] {
        return Err(Error::shape("cells", cells, format!("(chips, {count}, 2, 2, 2)")));
    }
    if diagonal.dims() != [chips, ports, 2] || diagonal.dtype() != cells.dtype() {
        let want = format!("({chips}, {ports}, 2) of {:?}, the cells' type", cells.dtype());
        return Err(Error::shape("diagonal", diagonal, want));
    }
    dispatch!(cells.dtype(), T => {
        let (u, history) = forward::<T>(
            wiring,
            (cells.elements::<T>()?, diagonal.elements::<T>()?),
            chips,
            cells.is_tracked(),
        );
        let u = Tensor::from_buffer(u, [chips, 2, ports, ports])?;
        let (wiring, inputs) = (Arc::clone(wiring), [cells.clone(), diagonal.clone()]);
        Ok(u.with_gradient(&[cells, diagonal], move |gradient| {
            let [cells, diagonal] = &inputs;
            let (dcells, ddiagonal) = backward::<T>(
                &wiring,
                cells.elements::<T>()?,
                &history,
                gradient.elements::<T>()?,
                cells.is_tracked(),
            );
            let dcells = dcells.map(|dcells| Tensor::from_buffer(dcells, cells.shape()));
            let ddiagonal = Tensor::from_buffer(ddiagonal, diagonal.shape())?;
            Ok(vec![dcells.transpose()?, diagonal.is_tracked().then_some(ddiagonal)])
        }))
    })
}

/// A strip of columns of a chip's matrix: rows of `WIDTH` real parts and as many imaginary ones.
struct Strip {
    chip: usize,
    first: usize,
    width: usize,
}

fn strips(ports: usize, chips: usize) -> Vec<Strip> {
    let of = |chip| {
        (0..ports).step_by(WIDTH).map(move |first| {
            let width = WIDTH.min(ports - first);
            Strip { chip, first, width }
        })
    };
    (0..chips).flat_map(of).collect()
}

/// Values of a strip.
fn size(ports: usize) -> usize {
    ports * 2 * WIDTH
}

/// The matrices of all chips; and every strip before each column, if `kept`.
///
/// Memory is asked for and given back by the calling thread, whose pool has it for the next step.
fn forward<T: Real>(
    wiring: &Wiring,
    (cells, diagonal): (&[T], &[T]),
    chips: usize,
    kept: bool,
) -> (Buffer<T>, Buffer<T>) {
    let (ports, count) = (wiring.ports, wiring.cells());
    let strips = strips(ports, chips);
    let before = if kept { wiring.columns.len() * size(ports) } else { 0 };
    let mut history = Buffer::scratch(strips.len() * before);
    let mut all = Buffer::zeros(strips.len() * size(ports));
    strips
        .par_iter()
        .zip(all.par_chunks_mut(size(ports)))
        .zip(parts(&mut history, before, strips.len()))
        .for_each(|((strip, values), history)| {
            let cells = &cells[strip.chip * count * 8..][..count * 8];
            let diagonal = &diagonal[strip.chip * ports * 2..][..ports * 2];
            for (lane, port) in (strip.first..strip.first + strip.width).enumerate() {
                values[port * 2 * WIDTH + lane] = diagonal[2 * port];
                values[port * 2 * WIDTH + WIDTH + lane] = diagonal[2 * port + 1];
            }
            through(wiring, cells, values, history);
        });
    let mut u = Buffer::scratch(chips * 2 * ports * ports);
    for (strip, values) in strips.iter().zip(all.chunks_exact(size(ports))) {
        for (row, values) in values.chunks_exact(2 * WIDTH).enumerate() {
            for part in 0..2 {
                let place = ((strip.chip * 2 + part) * ports + row) * ports + strip.first;
                u[place..place + strip.width]
                    .copy_from_slice(&values[part * WIDTH..][..strip.width]);
            }
        }
    }
    (u, history)
}

/// Parts of equal length, which may be none.
fn parts<T>(values: &mut [T], length: usize, count: usize) -> Vec<&mut [T]> {
    let mut rest = values;
    (0..count)
        .map(|_| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            part
        })
        .collect()
}

/// Gradients of cells, if wanted, and diagonal.
fn backward<T: Real>(
    wiring: &Wiring,
    cells: &[T],
    history: &[T],
    gradient: &[T],
    want_cells: bool,
) -> (Option<Buffer<T>>, Buffer<T>) {
    let (ports, count) = (wiring.ports, wiring.cells());
    let chips = gradient.len() / (2 * ports * ports);
    let strips = strips(ports, chips);
    let before = history.len() / strips.len().max(1);
    let mut all = Buffer::zeros(strips.len() * size(ports));
    let of_cells = if want_cells { count * 8 } else { 0 };
    let mut dparts = Buffer::<T>::zeros(strips.len() * of_cells);
    strips
        .par_iter()
        .enumerate()
        .zip(all.par_chunks_mut(size(ports)))
        .zip(parts(&mut dparts, of_cells, strips.len()))
        .for_each(|(((number, strip), values), dcells)| {
            let cells = &cells[strip.chip * count * 8..][..count * 8];
            for (row, values) in values.chunks_exact_mut(2 * WIDTH).enumerate() {
                for part in 0..2 {
                    let place = ((strip.chip * 2 + part) * ports + row) * ports + strip.first;
                    values[part * WIDTH..][..strip.width]
                        .copy_from_slice(&gradient[place..place + strip.width]);
                }
            }
            back(wiring, cells, &history[number * before..][..before], values, dcells);
        });
    let mut dcells = want_cells.then(|| Buffer::zeros(chips * count * 8));
    let mut ddiagonal = Buffer::zeros(chips * ports * 2);
    for (number, strip) in strips.iter().enumerate() {
        if let Some(dcells) = &mut dcells {
            let sum = &mut dcells[strip.chip * count * 8..][..count * 8];
            let part = &dparts[number * of_cells..][..of_cells];
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += *part);
        }
        let values = &all[number * size(ports)..][..size(ports)];
        for (lane, port) in (strip.first..strip.first + strip.width).enumerate() {
            for part in 0..2 {
                ddiagonal[(strip.chip * ports + port) * 2 + part] =
                    values[port * 2 * WIDTH + part * WIDTH + lane];
            }
        }
    }
    (dcells, ddiagonal)
}

/// The rows of two ports in a strip.
#[inline(always)]
fn pair<T>(values: &mut [T], (a, b): (usize, usize)) -> [&mut [T]; 2] {
    let row = 2 * WIDTH;
    let (low, high) = values.split_at_mut(a.max(b) * row);
    let (low, high) = (&mut low[a.min(b) * row..][..row], &mut high[..row]);
    if a < b { [low, high] } else { [high, low] }
}

multiversion! {
    /// Sends a strip through all columns; `history`, if it has room, gets it before each.
    fn through[T: Real](wiring: &Wiring, cells: &[T], values: &mut [T], history: &mut [T]) {
        let mut cells = cells.as_chunks::<8>().0.iter();
        let mut history = history.chunks_exact_mut(values.len());
        for column in &wiring.columns {
            if let Some(before) = history.next() {
                before.copy_from_slice(values);
            }
            for (ports, m) in column.iter().zip(&mut cells) {
                let [x, y] = pair(values, *ports);
                let ((xr, xi), (yr, yi)) = (x.split_at_mut(WIDTH), y.split_at_mut(WIDTH));
                for k in 0..WIDTH {
                    let (a, b, c, d) = (xr[k], xi[k], yr[k], yi[k]);
                    xr[k] = m[0] * a - m[1] * b + (m[2] * c - m[3] * d);
                    xi[k] = m[0] * b + m[1] * a + (m[2] * d + m[3] * c);
                    yr[k] = m[4] * a - m[5] * b + (m[6] * c - m[7] * d);
                    yi[k] = m[4] * b + m[5] * a + (m[6] * d + m[7] * c);
                }
            }
        }
    }

    /// Takes the gradient of a strip back through all columns, `G <- M^H G` at every cell; and before
    /// that sets the gradient of the cell, if `dcells` has room: `dM = G P^H` with `P` the rows
    /// before the cell, which `history` holds.
    fn back[T: Real](
        wiring: &Wiring,
        cells: &[T],
        history: &[T],
        values: &mut [T],
        dcells: &mut [T],
    ) {
        let mut cells = cells.as_chunks::<8>().0.iter().rev();
        let mut dcells = dcells.as_chunks_mut::<8>().0.iter_mut().rev();
        let mut history = history.chunks_exact(values.len()).rev();
        for column in wiring.columns.iter().rev() {
            let before = history.next().unwrap_or_default();
            for (ports, m) in column.iter().rev().zip(&mut cells) {
                let [x, y] = pair(values, *ports);
                if let Some(dm) = dcells.next() {
                    let rows = [&*x, &*y];
                    let p = [ports.0, ports.1].map(|port| &before[port * 2 * WIDTH..][..2 * WIDTH]);
                    for i in 0..2 {
                        for j in 0..2 {
                            let [re, im] = inner(rows[i], p[j]);
                            dm[(i * 2 + j) * 2] = re;
                            dm[(i * 2 + j) * 2 + 1] = im;
                        }
                    }
                }
                unmix(m, x, y);
            }
        }
    }
}

/// `(x, y) <- M^H (x, y)`.
#[inline(always)]
fn unmix<T: Real>(m: &[T; 8], x: &mut [T], y: &mut [T]) {
    let m = *m;
    if let ([xr, xi], [yr, yi]) = (x.as_chunks_mut::<WIDTH>().0, y.as_chunks_mut::<WIDTH>().0) {
        for k in 0..WIDTH {
            let (a, b, c, d) = (xr[k], xi[k], yr[k], yi[k]);
            xr[k] = m[0] * a + m[1] * b + (m[4] * c + m[5] * d);
            xi[k] = m[0] * b - m[1] * a + (m[4] * d - m[5] * c);
            yr[k] = m[2] * a + m[3] * b + (m[6] * c + m[7] * d);
            yi[k] = m[2] * b - m[3] * a + (m[6] * d - m[7] * c);
        }
    }
}

/// Real and imaginary part of `sum over k of g[k] conj(p[k])`, in lanes. Products and sums are loops of
/// their own: only so do compilers make vectors of the first.
#[inline(always)]
fn inner<T: Real>(g: &[T], p: &[T]) -> [T; 2] {
    const LANES: usize = WIDTH / 2;
    let mut lanes = [[T::zero(); LANES]; 2];
    let [re, im] = &mut lanes;
    if let ([gr, gi], [pr, pi]) = (g.as_chunks::<WIDTH>().0, p.as_chunks::<WIDTH>().0) {
        for k in 0..LANES {
            let l = k + LANES;
            re[k] = gr[k] * pr[k] + gi[k] * pi[k] + (gr[l] * pr[l] + gi[l] * pi[l]);
        }
        for k in 0..LANES {
            let l = k + LANES;
            im[k] = gi[k] * pr[k] - gr[k] * pi[k] + (gi[l] * pr[l] - gr[l] * pi[l]);
        }
    }
    lanes.map(|l| {
        let mut quarter = [T::zero(); LANES / 4];
        for k in 0..LANES / 4 {
            quarter[k] = (l[k] + l[k + 4]) + (l[k + 8] + l[k + 12]);
        }
        (quarter[0] + quarter[1]) + (quarter[2] + quarter[3])
    })
}
