//! Convolution with 3x3 filters and stride 1 by Winograd's minimal filtering, F(2x2, 3x3): 16
//! multiplications for four outputs instead of 36 (Lavin and Gray, CVPR 2016).
//!
//! For a tile `d` of 4x4 inputs and a filter `g`, the 2x2 outputs are
//! `A^T [(G g G^T) . (B^T d B)] A`. Summed over channels, the elementwise product is one matrix
//! product (tiles, channels) x (channels, outputs) for each of the 16 places of a tile. The
//! gradient of the inputs is the same with the filters turned, and that of a filter is
//! `G^T [(B^T d B) . (A dy A^T)] G`: again 16 products, over tiles.
//!
//! Images are worked on with their channels side by side, so that transforms are vectors of
//! channels, whatever the size of an image.

use rayon::prelude::*;

use super::super::product::{COLUMNS, Multiply, ROWS};
use super::channels_last::{BLOCK, ChannelsLast, depth};
use super::scratch::Scratch;
use super::tiles::{Forward, Gradient, Inverse, TILE, Tiles};
use super::{Gradients, Sizes, by_tasks};
use crate::ops::simd::multiversion;
use crate::tensor::Buffer;

/// Places of a tile in the transformed domain.
const PLACES: usize = TILE * TILE;

/// Transformed values of inputs and outputs that are worked on together, about: what a core's
/// second cache holds.
const PANEL: usize = 1 << 17;

/// Whether the convolution can be done here, and with three quarters of the multiplications at
/// most, though channels are filled up to whole blocks and images to whole tiles.
pub(super) fn fits(s: Sizes) -> bool {
    let tiles = s.out_height.div_ceil(2) * s.out_width.div_ceil(2);
    let filtered = PLACES * tiles * depth(s.channels) * depth(s.outputs);
    (s.kernel_height, s.kernel_width, s.stride) == (3, 3, 1)
        && s.padding <= 2
        && 4 * filtered <= 3 * 9 * s.pixels() * s.channels * s.outputs
}

/// One direction of a convolution: from images to images.
struct Pass {
    channels: usize,
    height: usize,
    width: usize,
    padding: usize,
    outputs: usize,
    out_height: usize,
    out_width: usize,
}

impl Pass {
    fn forward(s: Sizes) -> Self {
        Self {
            channels: s.channels,
            height: s.height,
            width: s.width,
            padding: s.padding,
            outputs: s.outputs,
            out_height: s.out_height,
            out_width: s.out_width,
        }
    }

    /// From the output's gradient to the input's.
    fn backward(s: Sizes) -> Self {
        Self {
            channels: s.outputs,
            height: s.out_height,
            width: s.out_width,
            padding: 2 - s.padding,
            outputs: s.channels,
            out_height: s.height,
            out_width: s.width,
        }
    }

    /// Rows and columns of tiles, of 2x2 outputs each.
    fn tiles(&self) -> (usize, usize) {
        (self.out_height.div_ceil(2), self.out_width.div_ceil(2))
    }

    /// The inputs of an image with the padding, which all tiles of the image reach.
    fn padded(&self) -> (ChannelsLast, usize) {
        let (rows, columns) = self.tiles();
        let stride = 2 * columns + 2;
        let first = self.padding * stride + self.padding;
        let image = ChannelsLast { channels: self.channels, width: self.width, first, stride };
        (image, (2 * rows + 2) * stride * image.depth())
    }

    /// The outputs of an image, filled up to whole tiles.
    fn filled(&self) -> (ChannelsLast, usize) {
        let (rows, columns) = self.tiles();
        let (width, stride) = (self.out_width, 2 * columns);
        let image = ChannelsLast { channels: self.outputs, width, first: 0, stride };
        (image, 2 * rows * stride * image.depth())
    }

    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn out_image(&self) -> usize {
        self.outputs * self.out_height * self.out_width
    }

    /// Rows of tiles that are worked on together.
    fn panel(&self) -> usize {
        let depths = depth(self.channels) + depth(self.outputs);
        (PANEL / (PLACES * depths * self.tiles().1)).max(1)
    }

    /// Images that are worked on together: those of a panel.
    fn group(&self) -> usize {
        (self.panel() / self.tiles().0).max(1)
    }

    /// Copies images into zeros, one after the other.
    fn spread(&self, images: &[f32], padded: &mut [f32]) {
        let (image, length) = self.padded();
        let row = image.stride * image.depth();
        let inside = self.padding * image.depth()..(self.padding + self.width) * image.depth();
        for (planes, to) in images.chunks_exact(self.image()).zip(padded.chunks_exact_mut(length)) {
            for (y, row) in to.chunks_exact_mut(row).enumerate() {
                if (self.padding..self.padding + self.height).contains(&y) {
                    row[..inside.start].fill(0.0);
                    row[inside.end..].fill(0.0);
                } else {
                    row.fill(0.0);
                }
            }
            image.spread(planes, to);
        }
    }

    /// The transformed filters, each matrix (channels, outputs) as [`Multiply`] wants it, from
    /// those as (outputs, channels, 3, 3), or (channels, outputs, 3, 3) turned by half a turn.
    fn filters(&self, w: &[f32], turned: bool) -> Vec<f32> {
        let size = self.filter();
        let mut filters = vec![0.0; PLACES * size];
        for first in (0..self.outputs).step_by(BLOCK) {
            for channel in 0..self.channels {
                let mut g = [[0.0; BLOCK]; 9];
                for (lane, output) in (first..self.outputs.min(first + BLOCK)).enumerate() {
                    let from = if turned {
                        channel * self.outputs + output
                    } else {
                        output * self.channels + channel
                    };
                    for (tap, g) in g.iter_mut().enumerate() {
                        g[lane] = w[from * 9 + if turned { 8 - tap } else { tap }];
                    }
                }
                let mut u = [[0.0; BLOCK]; PLACES];
                transformed_filters(&g, &mut u);
                let block = first / COLUMNS * depth(self.channels) + channel;
                let place = block * COLUMNS + first % COLUMNS;
                for (i, u) in u.iter().enumerate() {
                    filters[i * size + place..][..BLOCK].copy_from_slice(u);
                }
            }
        }
        filters
    }

    /// From one of the matrices of filters to the next.
    fn filter(&self) -> usize {
        distance(depth(self.channels) * self.outputs.next_multiple_of(COLUMNS))
    }

    /// Transforms some tiles of spread images, each place of a tile `distance` after the one before.
    fn transform(&self, tiles: &Tiles, padded: &[f32], to: &mut [f32], distance: usize) {
        let (tiles, depth) = (tiles.clone(), depth(self.channels));
        pulp::Arch::new().dispatch(Forward { tiles, depth, from: padded, to, distance });
    }

    /// Convolves the spread images of a group.
    fn run(&self, padded: &[f32], filters: &[f32], work: &mut Domain, images: &mut [f32]) {
        let (rows, columns) = self.tiles();
        let (filled, length) = self.filled();
        let (c, o) = (depth(self.channels), depth(self.outputs));
        let count = images.len() / self.out_image();
        let y = work.y.get(count * length);
        let panel = self.panel().min(count * rows);
        // Tiles are filled up to whole blocks of rows; what fills them up is not used.
        let tiles = (panel * columns).next_multiple_of(ROWS);
        let (v_distance, m_distance) = (distance(tiles * c), distance(tiles * o));
        let v = work.v.get(PLACES * v_distance);
        let m = work.m.get(PLACES * m_distance);
        for first in (0..count * rows).step_by(panel) {
            let last = (first + panel).min(count * rows);
            let grid = Tiles { rows, columns, range: first..last };
            self.transform(&grid, padded, v, v_distance);
            for place in 0..PLACES {
                pulp::Arch::new().dispatch(Multiply {
                    rows: grid.count().next_multiple_of(ROWS),
                    columns: o,
                    depth: c,
                    a: &v[place * v_distance..][..tiles * c],
                    a_steps: (c, 1),
                    b: &filters[place * self.filter()..][..self.filter()],
                    b_steps: (c * COLUMNS, COLUMNS),
                    c: &mut m[place * m_distance..][..tiles * o],
                    accumulate: false,
                });
            }
            pulp::Arch::new().dispatch(Inverse {
                tiles: grid,
                depth: o,
                from: m,
                distance: m_distance,
                to: y,
            });
        }
        let images = images.chunks_exact_mut(self.out_image());
        y.chunks_exact(length).zip(images).for_each(|(y, planes)| filled.collect(y, planes));
    }
}

/// From one place of a tile to the next for matrices of a size: not a power of two, which would
/// put all places into the same lines of the cache.
fn distance(size: usize) -> usize {
    size + 5 * BLOCK
}

multiversion! {
    /// `G g G^T` of some filters, row by row.
    fn transformed_filters[](g: &[[f32; BLOCK]; 9], u: &mut [[f32; BLOCK]; PLACES]) {
        let line = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
        for lane in 0..BLOCK {
            let g: [f32; 9] = std::array::from_fn(|t| g[t][lane]);
            let columns: [[f32; 4]; 3] = std::array::from_fn(|j| line(g[j], g[3 + j], g[6 + j]));
            for y in 0..TILE {
                let line = line(columns[0][y], columns[1][y], columns[2][y]);
                for x in 0..TILE {
                    u[TILE * y + x][lane] = line[x];
                }
            }
        }
    }

    /// `G^T u G` of some filters, row by row.
    fn filter_gradients[](u: &[[f32; BLOCK]; PLACES], g: &mut [[f32; BLOCK]; 9]) {
        let line = |a: f32, b: f32, c: f32, d: f32| {
            [a + 0.5 * (b + c), 0.5 * (b - c), d + 0.5 * (b + c)]
        };
        for lane in 0..BLOCK {
            let u: [f32; PLACES] = std::array::from_fn(|i| u[i][lane]);
            let columns: [[f32; 3]; 4] =
                std::array::from_fn(|j| line(u[j], u[4 + j], u[8 + j], u[12 + j]));
            for y in 0..3 {
                let line = line(columns[0][y], columns[1][y], columns[2][y], columns[3][y]);
                for x in 0..3 {
                    g[3 * y + x][lane] = line[x];
                }
            }
        }
    }
}

/// Memory of the transformed domain.
#[derive(Default)]
struct Domain {
    v: Scratch,
    m: Scratch,
    y: Scratch,
}

/// Memory of one thread.
#[derive(Default)]
struct Workspace {
    x: Scratch,
    g: Scratch,
    dw: Scratch,
    domain: Domain,
}

thread_local! {
    static WORKSPACE: std::cell::RefCell<Workspace> = std::cell::RefCell::default();
}

pub(super) fn forward(s: Sizes, x: &[f32], w: &[f32]) -> Buffer<f32> {
    let pass = Pass::forward(s);
    let filters = pass.filters(w, false);
    let group = pass.group();
    let mut y = Buffer::scratch(s.batch * pass.out_image());
    let groups = y.par_chunks_mut(group * pass.out_image()).zip(x.par_chunks(group * pass.image()));
    groups.for_each(|(y, x)| {
        WORKSPACE.with_borrow_mut(|work| {
            let padded = work.x.get(x.len() / pass.image() * pass.padded().1);
            pass.spread(x, padded);
            pass.run(padded, &filters, &mut work.domain, y);
        });
    });
    y
}

pub(super) fn backward(
    s: Sizes,
    (x, w, g): (&[f32], &[f32], &[f32]),
    wanted: (bool, bool),
) -> Gradients<f32> {
    let (forth, back) = (Pass::forward(s), Pass::backward(s));
    let filters = if wanted.0 { back.filters(w, true) } else { Vec::new() };
    let (image, out) = (forth.image(), back.image());
    let group = forth.group().min(back.group());
    by_tasks(s, (x, g), wanted, |x, g, mut dx, dw| {
        WORKSPACE.with_borrow_mut(|work| {
            let products = work.dw.get(if dw.is_some() { PLACES * matrix(s) } else { 0 });
            products.fill(0.0);
            for (i, (x, g)) in x.chunks(group * image).zip(g.chunks(group * out)).enumerate() {
                let images = x.len() / image;
                let padded_g = work.g.get(images * back.padded().1);
                back.spread(g, padded_g);
                if dw.is_some() {
                    let padded_x = work.x.get(images * forth.padded().1);
                    forth.spread(x, padded_x);
                    let padded = (&*padded_x, &*padded_g);
                    weight_products((&forth, &back), padded, images, &mut work.domain, products);
                }
                if let Some(dx) = dx.as_deref_mut() {
                    let dx = &mut dx[i * group * image..][..x.len()];
                    back.run(padded_g, &filters, &mut work.domain, dx);
                }
            }
            if let Some(dw) = dw {
                weight_gradient(s, products, dw);
            }
        });
    })
}

/// From one of the matrices (channels, outputs) of which the weights' gradient is made to the next.
fn matrix(s: Sizes) -> usize {
    distance(depth(s.channels) * depth(s.outputs))
}

/// Adds the products of transformed inputs and transformed gradients, summed over the tiles of some
/// images, to `products`.
fn weight_products(
    (forth, back): (&Pass, &Pass),
    (padded_x, padded_g): (&[f32], &[f32]),
    images: usize,
    work: &mut Domain,
    products: &mut [f32],
) {
    let (rows, columns) = forth.tiles();
    let (c, o) = (depth(forth.channels), depth(forth.outputs));
    let panel = forth.panel().min(images * rows);
    let tiles = panel * columns;
    let (v_distance, m_distance) = (distance(tiles * c), distance(tiles * o));
    let v = work.v.get(PLACES * v_distance);
    let m = work.m.get(PLACES * m_distance);
    for first in (0..images * rows).step_by(panel) {
        let last = (first + panel).min(images * rows);
        let grid = Tiles { rows, columns, range: first..last };
        forth.transform(&grid, padded_x, v, v_distance);
        pulp::Arch::new().dispatch(Gradient {
            tiles: grid.clone(),
            depth: o,
            from: padded_g,
            image: back.padded().1,
            first: back.padded().0.first,
            stride: back.padded().0.stride,
            to: m,
            distance: m_distance,
        });
        for place in 0..PLACES {
            pulp::Arch::new().dispatch(Multiply {
                rows: c,
                columns: o,
                depth: grid.count(),
                a: &v[place * v_distance..][..tiles * c],
                a_steps: (1, c),
                b: &m[place * m_distance..][..tiles * o],
                b_steps: (COLUMNS, o),
                c: &mut products[place * distance(c * o)..][..c * o],
                accumulate: true,
            });
        }
    }
}

/// Adds the weights' gradient that the products amount to.
fn weight_gradient(s: Sizes, products: &[f32], dw: &mut [f32]) {
    for first in (0..s.outputs).step_by(BLOCK) {
        for channel in 0..s.channels {
            let place = channel * depth(s.outputs) + first;
            let mut u = [[0.0; BLOCK]; PLACES];
            for (i, u) in u.iter_mut().enumerate() {
                u.copy_from_slice(&products[i * matrix(s) + place..][..BLOCK]);
            }
            let mut g = [[0.0; BLOCK]; 9];
            filter_gradients(&u, &mut g);
            for (lane, output) in (first..s.outputs.min(first + BLOCK)).enumerate() {
                let dw = &mut dw[(output * s.channels + channel) * 9..][..9];
                dw.iter_mut().zip(&g).for_each(|(dw, g)| *dw += g[lane]);
            }
        }
    }
}
