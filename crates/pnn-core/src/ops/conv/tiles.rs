//! Transforms of tiles for Winograd's convolution: vectors of channels, added and subtracted.

use std::ops::Range;

use pulp::Simd;

/// Inputs along one side of a tile, of which two outputs are made.
pub(super) const TILE: usize = 4;

/// Tiles of images that lie one after the other, by rows of tiles.
#[derive(Clone)]
pub(super) struct Tiles {
    /// Rows of tiles in an image.
    pub(super) rows: usize,
    /// Tiles in a row.
    pub(super) columns: usize,
    /// Rows that are worked on, counted through all images.
    pub(super) range: Range<usize>,
}

impl Tiles {
    pub(super) fn count(&self) -> usize {
        self.range.len() * self.columns
    }

    /// Images that the range reaches into, from the first of all.
    fn images(&self) -> usize {
        self.range.end.div_ceil(self.rows)
    }

    /// Image and row in the image of every row of the range.
    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let rows = self.rows;
        self.range.clone().map(move |row| (row / rows, row % rows))
    }
}

/// `B^T d B` of every tile `d` of padded images of (2 rows + 2, 2 columns + 2, depth).
pub(super) struct Forward<'a> {
    pub(super) tiles: Tiles,
    /// Channels of a pixel, a multiple of 16.
    pub(super) depth: usize,
    pub(super) from: &'a [f32],
    /// As (place in the tile, tile, channel).
    pub(super) to: &'a mut [f32],
    /// From one place in the tile to the next in `to`.
    pub(super) distance: usize,
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, depth, from, to, distance } = self;
        let stride = (2 * tiles.columns + 2) * depth;
        let image = (2 * tiles.rows + 2) * stride;
        assert!(depth.is_multiple_of(16) && from.len() >= tiles.images() * image, "no such images");
        let end = (TILE * TILE - 1) * distance + tiles.count() * depth;
        assert!(to.len() >= end, "transformed tiles out of bounds");
        let (sub, add) = (|a, b| simd.sub_f32s(a, b), |a, b| simd.add_f32s(a, b));
        for (line, (i, row)) in tiles.each().enumerate() {
            for channel in (0..depth).step_by(S::F32_LANES) {
                let start = i * image + 2 * row * stride + channel;
                // SAFETY: a tile lies in rows `2 row` to `2 row + 3` and columns up to
                // `2 columns + 1` of image `i`, and a vector of channels inside `depth`, a multiple
                // of 16 and so of the lanes; both slices were checked above. The vectors of pulp
                // are plain arrays of f32, read and written without any alignment.
                unsafe {
                    // One column of `B^T d`.
                    let column = |x: usize| {
                        let d: [S::f32s; TILE] = std::array::from_fn(|y| {
                            let place = from.as_ptr().add(start + y * stride + x * depth);
                            place.cast::<S::f32s>().read_unaligned()
                        });
                        [sub(d[0], d[2]), add(d[1], d[2]), sub(d[2], d[1]), sub(d[1], d[3])]
                    };
                    let mut left = [column(0), column(1)];
                    for tile in 0..tiles.columns {
                        let right = [column(2 * tile + 2), column(2 * tile + 3)];
                        let at = (line * tiles.columns + tile) * depth + channel;
                        for y in 0..TILE {
                            let t = [left[0][y], left[1][y], right[0][y], right[1][y]];
                            let line = [
                                sub(t[0], t[2]),
                                add(t[1], t[2]),
                                sub(t[2], t[1]),
                                sub(t[1], t[3]),
                            ];
                            for (x, value) in line.into_iter().enumerate() {
                                let place = to.as_mut_ptr().add((TILE * y + x) * distance + at);
                                place.cast::<S::f32s>().write_unaligned(value);
                            }
                        }
                        left = right;
                    }
                }
            }
        }
    }
}

/// `A^T m A` of every transformed tile `m`: images of (2 rows, 2 columns, depth).
pub(super) struct Inverse<'a> {
    pub(super) tiles: Tiles,
    /// Channels of a pixel, a multiple of 16.
    pub(super) depth: usize,
    /// As (place in the tile, tile, channel).
    pub(super) from: &'a [f32],
    /// From one place in the tile to the next in `from`.
    pub(super) distance: usize,
    pub(super) to: &'a mut [f32],
}

impl pulp::WithSimd for Inverse<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, depth, from, distance, to } = self;
        let stride = 2 * tiles.columns * depth;
        let image = 2 * tiles.rows * stride;
        assert!(depth.is_multiple_of(16) && to.len() >= tiles.images() * image, "no such images");
        let end = (TILE * TILE - 1) * distance + tiles.count() * depth;
        assert!(from.len() >= end, "transformed tiles out of bounds");
        // A^T of a column or a row.
        let short = |a, b, c, d| {
            let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
            [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
        };
        for (line, (i, row)) in tiles.each().enumerate() {
            for tile in 0..tiles.columns {
                for channel in (0..depth).step_by(S::F32_LANES) {
                    let at = (line * tiles.columns + tile) * depth + channel;
                    let start = i * image + 2 * row * stride + 2 * tile * depth + channel;
                    // SAFETY: as in `Forward`, with images of two rows and columns a tile.
                    unsafe {
                        let columns: [[S::f32s; 2]; TILE] = std::array::from_fn(|x| {
                            let m: [S::f32s; TILE] = std::array::from_fn(|y| {
                                let place = from.as_ptr().add((TILE * y + x) * distance + at);
                                place.cast::<S::f32s>().read_unaligned()
                            });
                            short(m[0], m[1], m[2], m[3])
                        });
                        for y in 0..2 {
                            let [a, b, c, d] = columns.map(|column| column[y]);
                            for (x, value) in short(a, b, c, d).into_iter().enumerate() {
                                let place = to.as_mut_ptr().add(start + y * stride + x * depth);
                                place.cast::<S::f32s>().write_unaligned(value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `A dy A^T` of every tile `dy` of 2x2 gradients of outputs.
pub(super) struct Gradient<'a> {
    pub(super) tiles: Tiles,
    /// Channels of a pixel, a multiple of 16.
    pub(super) depth: usize,
    pub(super) from: &'a [f32],
    /// Values of an image in `from`.
    pub(super) image: usize,
    /// The first gradient of an image and the distance of rows, in pixels.
    pub(super) first: usize,
    pub(super) stride: usize,
    /// As (place in the tile, tile, channel).
    pub(super) to: &'a mut [f32],
    /// From one place in the tile to the next in `to`.
    pub(super) distance: usize,
}

impl pulp::WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, depth, from, image, first, stride, to, distance } = self;
        let reach = first + (2 * tiles.rows - 1) * stride + 2 * tiles.columns;
        assert!(depth.is_multiple_of(16) && reach * depth <= image, "tiles beyond the image");
        assert!(from.len() >= tiles.images() * image, "no such images");
        let end = (TILE * TILE - 1) * distance + tiles.count() * depth;
        assert!(to.len() >= end, "transformed tiles out of bounds");
        // A of a column or a row.
        let long = |a, b| [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)];
        for (line, (i, row)) in tiles.each().enumerate() {
            for tile in 0..tiles.columns {
                for channel in (0..depth).step_by(S::F32_LANES) {
                    let at = (line * tiles.columns + tile) * depth + channel;
                    let pixel = first + 2 * row * stride + 2 * tile;
                    // SAFETY: a tile lies in rows `2 row` and `2 row + 1` and columns `2 tile` and
                    // `2 tile + 1` from `first` on, which `reach` bounds; the rest as in `Forward`.
                    unsafe {
                        let columns: [[S::f32s; TILE]; 2] = std::array::from_fn(|x| {
                            let [a, b] = std::array::from_fn(|y| {
                                let place = i * image + (pixel + y * stride + x) * depth + channel;
                                from.as_ptr().add(place).cast::<S::f32s>().read_unaligned()
                            });
                            long(a, b)
                        });
                        let [left, right] = columns;
                        for (y, (a, b)) in left.into_iter().zip(right).enumerate() {
                            let line = long(a, b);
                            for (x, value) in line.into_iter().enumerate() {
                                let place = to.as_mut_ptr().add((TILE * y + x) * distance + at);
                                place.cast::<S::f32s>().write_unaligned(value);
                            }
                        }
                    }
                }
            }
        }
    }
}
