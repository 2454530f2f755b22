//! Convolution of stride 1 without unfolding.
//!
//! The images of a group are copied into lines, one for each channel: rows follow one another with
//! as many zeros between them as the padding, and images with as many rows of zeros. What lies left
//! of a row is then what lies right of the row before, and a convolution is a correlation of lines
//! in which each tap of the filter is a constant offset. Sums that belong to no output (they wrap
//! around a row's end) are computed and not copied back: less than a third at worst.

use rayon::prelude::*;

use super::kernels::{CopyRows, Correlate, Lines, Products, Runs, SLACK, Taps, output_block};
use super::scratch::{CACHE_LINE, Scratch};
use super::{Gradients, Sizes, by_tasks};
use crate::tensor::Buffer;

/// Values in the lines of a group, about: what a core's second cache holds with ease.
const GROUP: usize = 1 << 16;

/// Whether the lines of this module can hold the convolution, and do so without too many places
/// that belong to no output.
pub(super) fn fits(s: Sizes) -> bool {
    // Without padding the rows behind an image's outputs are left out (see `Pass::runs`).
    let rows = if s.padding == 0 { s.out_height } else { s.height + s.padding };
    s.stride == 1
        && s.padding < s.kernel_height.min(s.kernel_width)
        && 10 * s.pixels() >= 7 * rows * (s.width + s.padding)
}

/// A batch of images of some channels, to be convolved with padding.
#[derive(Clone, Copy)]
struct Images {
    channels: usize,
    height: usize,
    width: usize,
    /// Rows of zeros between images.
    pad_rows: usize,
    /// Zeros between rows.
    pad_columns: usize,
}

impl Images {
    fn stride(&self) -> usize {
        self.width + self.pad_columns
    }

    /// Places of one image in a line.
    fn span(&self) -> usize {
        (self.height + self.pad_rows) * self.stride()
    }

    /// Zeros before the first image: those that taps reach, and some more, so that the image
    /// begins at a cache line.
    fn lead(&self) -> usize {
        self.reached().next_multiple_of(CACHE_LINE)
    }

    /// How far before an output's place its first tap lies.
    fn reached(&self) -> usize {
        self.pad_rows * self.stride() + self.pad_columns
    }

    fn values(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn line(&self, images: usize, taps: Taps) -> usize {
        (self.lead() + images * self.span() + taps.reach() + SLACK).next_multiple_of(CACHE_LINE)
    }

    /// Copies images into lines of a length, each image `span` after the one before and each row
    /// `stride` after the one before, beginning at `lead`.
    fn spread(
        &self,
        images: &[f32],
        lines: &mut [f32],
        length: usize,
        (lead, stride, span): Steps,
    ) {
        lines.fill(0.0);
        pulp::Arch::new().dispatch(Spread {
            from: self,
            images,
            lines,
            length,
            lead,
            stride,
            span,
        });
    }

    fn steps(&self) -> Steps {
        (self.lead(), self.stride(), self.span())
    }
}

/// See [`Images::spread`].
struct Spread<'a> {
    from: &'a Images,
    images: &'a [f32],
    lines: &'a mut [f32],
    length: usize,
    lead: usize,
    stride: usize,
    span: usize,
}

impl pulp::WithSimd for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Images { height, width, .. } = *self.from;
        for (i, image) in self.images.chunks_exact(self.from.values()).enumerate() {
            for (c, plane) in image.chunks_exact(height * width).enumerate() {
                let to = &mut self.lines[c * self.length + self.lead + i * self.span..];
                let (from_stride, to_stride) = (width, self.stride);
                CopyRows { from: plane, from_stride, to, to_stride, rows: height, width }.run(simd);
            }
        }
    }
}

/// See [`Pass::run`].
struct Gather<'a> {
    pass: &'a Pass,
    lines: &'a [f32],
    length: usize,
    images: &'a mut [f32],
}

impl pulp::WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Pass { outputs, out_height, out_width, .. } = *self.pass;
        let (from_stride, span) = (self.pass.from.stride(), self.pass.from.span());
        let plane = out_height * out_width;
        for (i, image) in self.images.chunks_exact_mut(outputs * plane).enumerate() {
            for (o, plane) in image.chunks_exact_mut(plane).enumerate() {
                let from = &self.lines[o * self.length + i * span..];
                let (rows, width) = (out_height, out_width);
                CopyRows { from, from_stride, to: plane, to_stride: width, rows, width }.run(simd);
            }
        }
    }
}

/// Where images lie in lines: lead, stride of rows, span of images.
type Steps = (usize, usize, usize);

/// One direction of a convolution: from images to images, with filters.
struct Pass {
    from: Images,
    taps: Taps,
    outputs: usize,
    out_height: usize,
    out_width: usize,
    block: usize,
}

impl Pass {
    /// From the input to the output.
    fn forward(s: Sizes) -> Self {
        let from = Images {
            channels: s.channels,
            height: s.height,
            width: s.width,
            pad_rows: s.padding,
            pad_columns: s.padding,
        };
        Self::new(s, from, s.outputs, (s.out_height, s.out_width))
    }

    /// The weights of [`Self::forward`].
    fn weights_forward(&self, w: &[f32]) -> Vec<f32> {
        let taps = self.taps.rows * self.taps.columns;
        self.packed(|o, c, t| w[(o * self.from.channels + c) * taps + t])
    }

    /// From the output's gradient to the input's.
    fn backward(s: Sizes) -> Self {
        let from = Images {
            channels: s.outputs,
            height: s.out_height,
            width: s.out_width,
            pad_rows: s.kernel_height - 1 - s.padding,
            pad_columns: s.kernel_width - 1 - s.padding,
        };
        Self::new(s, from, s.channels, (s.height, s.width))
    }

    /// The weights of [`Self::backward`]: the filters turned by half a turn, from outputs to
    /// channels.
    fn weights_backward(&self, w: &[f32]) -> Vec<f32> {
        let taps = self.taps.rows * self.taps.columns;
        self.packed(|c, o, t| w[(o * self.outputs + c) * taps + taps - 1 - t])
    }

    fn new(
        s: Sizes,
        from: Images,
        outputs: usize,
        (out_height, out_width): (usize, usize),
    ) -> Self {
        let taps = Taps { rows: s.kernel_height, columns: s.kernel_width, stride: from.stride() };
        let block = output_block(outputs, lanes());
        Self { from, taps, outputs, out_height, out_width, block }
    }

    /// Weights in the order of [`Correlate`], from `weight(output, channel, tap)`.
    fn packed(&self, weight: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
        let (block, channels) = (self.block, self.from.channels);
        let count = self.taps.rows * self.taps.columns;
        let mut packed = vec![0.0; self.outputs.div_ceil(block) * block * channels * count];
        for (first, packed) in packed.chunks_exact_mut(channels * count * block).enumerate() {
            for c in 0..channels {
                for t in 0..count {
                    let place = &mut packed[(c * count + t) * block..][..block];
                    for (o, place) in (first * block..self.outputs).zip(place) {
                        *place = weight(o, c, t);
                    }
                }
            }
        }
        packed
    }

    /// The places of outputs in lines of some images: image by image, if that leaves out much of
    /// what belongs to no output.
    fn runs(&self, images: usize) -> Runs {
        let (distance, length) = (self.from.span(), self.out_height * self.from.stride());
        if length.next_multiple_of(48) <= distance {
            Runs { count: images, length, distance }
        } else {
            Runs { count: 1, length: images * distance, distance }
        }
    }

    /// Memory for lines of a length, and for what is read beyond the last one when they are read
    /// from their lead on.
    fn lines(&self, length: usize) -> usize {
        self.from.channels * length + self.from.lead()
    }

    /// Images that are worked on together.
    fn group(&self) -> usize {
        (GROUP / (self.from.channels.max(self.outputs) * self.from.span())).clamp(1, 64)
    }

    /// Correlates lines with packed weights and copies what belongs to outputs into `images`.
    fn run(
        &self,
        (lines, length): (&[f32], usize),
        weights: &[f32],
        scratch: &mut Scratch,
        images: &mut [f32],
    ) {
        let lines = &lines[self.from.lead() - self.from.reached()..];
        let out = self.outputs * self.out_height * self.out_width;
        let count = images.len() / out;
        let outputs = self.outputs.div_ceil(self.block) * self.block;
        let y_length = (count * self.from.span() + SLACK).next_multiple_of(CACHE_LINE);
        let scratch = scratch.get(outputs * y_length);
        pulp::Arch::new().dispatch(Correlate {
            x: Lines { values: lines, count: self.from.channels, length },
            weights,
            taps: self.taps,
            outputs,
            block: self.block,
            y: scratch,
            y_length,
            runs: self.runs(count),
        });
        pulp::Arch::new().dispatch(Gather { pass: self, lines: scratch, length: y_length, images });
    }
}

/// Single-precision lanes of the processor's vectors.
fn lanes() -> usize {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
}

/// Memory of one thread.
#[derive(Default)]
struct Workspace {
    x: Scratch,
    g: Scratch,
    y: Scratch,
}

thread_local! {
    static WORKSPACE: std::cell::RefCell<Workspace> = std::cell::RefCell::default();
}

pub(super) fn forward(s: Sizes, x: &[f32], w: &[f32]) -> Buffer<f32> {
    let pass = Pass::forward(s);
    let weights = pass.weights_forward(w);
    let out = s.outputs * s.pixels();
    let group = pass.group();
    let mut y = Buffer::scratch(s.batch * out);
    let groups = y.par_chunks_mut(group * out).zip(x.par_chunks(group * s.image()));
    groups.for_each(|(y, x)| {
        WORKSPACE.with_borrow_mut(|work| {
            let length = pass.from.line(x.len() / s.image(), pass.taps);
            let lines = work.x.get(pass.lines(length));
            pass.from.spread(x, lines, length, pass.from.steps());
            pass.run((lines, length), &weights, &mut work.y, y);
        });
    });
    y
}

pub(super) fn backward(
    s: Sizes,
    (x, w, g): (&[f32], &[f32], &[f32]),
    wanted: (bool, bool),
) -> Gradients<f32> {
    let (back, forth) = (Pass::backward(s), Pass::forward(s));
    let weights = if wanted.0 { back.weights_backward(w) } else { Vec::new() };
    let (image, out) = (s.image(), s.outputs * s.pixels());
    let group = forth.group().min(back.group());
    by_tasks(s, (x, g), wanted, |x, g, mut dx, mut dw| {
        WORKSPACE.with_borrow_mut(|work| {
            for (i, (x, g)) in x.chunks(group * image).zip(g.chunks(group * out)).enumerate() {
                if let Some(dw) = dw.as_deref_mut() {
                    weight_gradient(&forth, &back, (x, g), work, dw);
                }
                if let Some(dx) = dx.as_deref_mut() {
                    let length = back.from.line(g.len() / out, back.taps);
                    let lines = work.g.get(back.lines(length));
                    if !(dw.is_some() && share_lines(&forth, &back)) {
                        back.from.spread(g, lines, length, back.from.steps());
                    }
                    let dx = &mut dx[i * group * image..][..x.len()];
                    back.run((lines, length), &weights, &mut work.y, dx);
                }
            }
        });
    })
}

/// Whether the gradient's lines for the weights' gradient serve for the input's too: the padding
/// keeps the size of images.
fn share_lines(forth: &Pass, back: &Pass) -> bool {
    forth.from.stride() == back.from.stride() && forth.from.span() == back.from.span()
}

/// Adds the weights' gradient of some images to `dw`.
fn weight_gradient(
    forth: &Pass,
    back: &Pass,
    (x, g): (&[f32], &[f32]),
    work: &mut Workspace,
    dw: &mut [f32],
) {
    let images = x.len() / forth.from.values();
    let (length, span) = (forth.from.line(images, forth.taps), forth.from.span());
    let lines = work.x.get(forth.lines(length));
    forth.from.spread(x, lines, length, forth.from.steps());
    // The gradient lies where the forward pass has its outputs.
    let g_length = if share_lines(forth, back) {
        back.from.line(images, back.taps)
    } else {
        (back.from.lead() + images * span + SLACK).next_multiple_of(CACHE_LINE)
    };
    let g_lines = work.g.get(back.lines(g_length));
    let lead = back.from.lead();
    back.from.spread(g, g_lines, g_length, (lead, forth.from.stride(), span));
    pulp::Arch::new().dispatch(Products {
        x: Lines {
            values: &lines[forth.from.lead() - forth.from.reached()..],
            count: forth.from.channels,
            length,
        },
        g: Lines { values: &g_lines[lead..], count: back.from.channels, length: g_length },
        taps: forth.taps,
        runs: forth.runs(images),
        dw,
    });
}
