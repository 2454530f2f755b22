//! The inner loops: products of a few rows of weights with runs of lanes, in registers.

use pulp::Simd;

use super::super::super::real::Real;
use super::super::super::simd::{lane_sum, multiversion};
use super::{Direction, Plan};

/// Lanes that are summed side by side in weight gradients, whatever the processor's vectors.
const SUMS: usize = 16;

/// Values of images and outputs that are worked on together in weight gradients: what a core's
/// second cache holds.
const GROUP: usize = 1 << 17;

impl Plan {
    /// Calls `f(output place, image place, tap)` for every tap that lies inside the image.
    fn for_each_tap(&self, mut f: impl FnMut(usize, usize, usize)) {
        let s = self.sizes;
        for ky in 0..s.kernel_height {
            for kx in 0..s.kernel_width {
                for oy in 0..s.out_height {
                    for ox in 0..s.out_width {
                        let y = (oy * s.stride + ky).checked_sub(s.padding);
                        let x = (ox * s.stride + kx).checked_sub(s.padding);
                        if let (Some(y), Some(x)) = (y, x)
                            && y < s.height
                            && x < s.width
                        {
                            let tap = ky * s.kernel_width + kx;
                            f(oy * s.out_width + ox, y * s.width + x, tap);
                        }
                    }
                }
            }
        }
    }
}

/// The weights of one direction, packed: for each group and block of rows (channels of the target)
/// as (tap, channel of the source, row of the block).
pub(super) struct Rows<T> {
    packed: Vec<T>,
    /// First row, number of rows and first weight of each block of a group.
    blocks: Vec<(usize, usize, usize)>,
    rows: usize,
    depth: usize,
}

impl<T: Real> Rows<T> {
    pub(super) fn new(plan: Plan, direction: Direction, weight: &[T]) -> Self {
        let s = plan.sizes;
        let taps = s.kernel_height * s.kernel_width;
        let (rows, depth) = match direction {
            Direction::Forth => (s.outputs, s.channels),
            Direction::Back => (s.channels, s.outputs),
        };
        let mut blocks = Vec::new();
        let mut row = 0;
        while row < rows {
            let size = match rows - row {
                8.. if wide() => 8,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            blocks.push((row, size, row * taps * depth));
            row += size;
        }
        let mut packed = Vec::with_capacity(weight.len());
        for group in weight.chunks_exact(s.outputs * s.channels * taps) {
            for &(first, size, _) in &blocks {
                for tap in 0..taps {
                    for from in 0..depth {
                        packed.extend((first..first + size).map(|row| {
                            let (o, c) = match direction {
                                Direction::Forth => (row, from),
                                Direction::Back => (from, row),
                            };
                            group[(o * s.channels + c) * taps + tap]
                        }));
                    }
                }
            }
        }
        Self { packed, blocks, rows, depth }
    }
}

/// Whether there are registers enough for blocks of eight rows.
fn wide() -> bool {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes) == 16
}

/// For every place of the target, which places of the source reach it, by which taps.
pub(super) struct Targets {
    plan: Plan,
    reach: Vec<Vec<(usize, usize)>>,
    source_places: usize,
}

impl Targets {
    pub(super) fn new(plan: Plan, direction: Direction) -> Self {
        let (image, out) = (plan.sizes.height * plan.sizes.width, plan.sizes.pixels());
        let (places, source_places) = match direction {
            Direction::Forth => (out, image),
            Direction::Back => (image, out),
        };
        let mut reach = vec![Vec::new(); places];
        plan.for_each_tap(|output, image, tap| match direction {
            Direction::Forth => reach[output].push((image, tap)),
            Direction::Back => reach[image].push((output, tap)),
        });
        Self { plan, reach, source_places }
    }

    /// Computes one block of the target.
    pub(super) fn fill<T: Real>(&self, rows: &Rows<T>, source: &[T], target: &mut [T]) {
        let group = |g: usize, source_rows: usize, places: usize| {
            let length = source_rows * places * self.plan.lanes;
            g * length..(g + 1) * length
        };
        let weights = rows.packed.len() / self.plan.groups;
        for g in 0..self.plan.groups {
            let source = &source[group(g, rows.depth, self.source_places)];
            let target = &mut target[group(g, rows.rows, self.reach.len())];
            let packed = &rows.packed[g * weights..(g + 1) * weights];
            for &(row, size, first) in &rows.blocks {
                let length = self.reach.len() * self.plan.lanes;
                let target = &mut target[row * length..(row + size) * length];
                let weights = &packed[first..];
                let from = match (T::as_f32(source), T::as_f32(weights), T::as_f32_mut(target)) {
                    (Some(source), Some(weights), Some(target)) => {
                        let (to, depth) = (self, rows.depth);
                        let strip = Strip { to, size, depth, weights, source, target };
                        pulp::Arch::new().dispatch(strip)
                    }
                    _ => 0,
                };
                if from < self.plan.lanes {
                    self.plain(size, rows.depth, weights, source, target, from);
                }
            }
        }
    }

    /// The lanes from `from` on, one row after the other.
    fn plain<T: Real>(
        &self,
        size: usize,
        depth: usize,
        weights: &[T],
        source: &[T],
        target: &mut [T],
        from: usize,
    ) {
        let lanes = self.plan.lanes;
        let places = target.chunks_exact_mut(lanes).enumerate();
        for (at, target) in places {
            let (row, place) = (at / self.reach.len(), at % self.reach.len());
            let target = &mut target[from..];
            target.fill(T::zero());
            for &(from_place, tap) in &self.reach[place] {
                for channel in 0..depth {
                    let start = (channel * self.source_places + from_place) * lanes;
                    let weight = weights[(tap * depth + channel) * size + row];
                    add_multiple(target, weight, &source[start + from..start + lanes]);
                }
            }
        }
    }
}

multiversion! {
    fn add_multiple[T: Real](y: &mut [T], factor: T, x: &[T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = factor.mul_add(*x, *y);
        }
    }
}

/// Some rows of one group of one block, in all lanes that fill vectors; gives how many those are.
struct Strip<'a> {
    to: &'a Targets,
    size: usize,
    depth: usize,
    weights: &'a [f32],
    source: &'a [f32],
    target: &'a mut [f32],
}

impl pulp::WithSimd for Strip<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> usize {
        let vectors = self.to.plan.lanes / S::F32_LANES;
        let mut vector = 0;
        while vector < vectors {
            let lane = vector * S::F32_LANES;
            let count = (vectors - vector).min(3);
            match (self.size, count) {
                (8, 3) => self.rows::<S, 8, 3>(simd, lane),
                (8, 2) => self.rows::<S, 8, 2>(simd, lane),
                (8, _) => self.rows::<S, 8, 1>(simd, lane),
                (4, 3) => self.rows::<S, 4, 3>(simd, lane),
                (4, 2) => self.rows::<S, 4, 2>(simd, lane),
                (4, _) => self.rows::<S, 4, 1>(simd, lane),
                (2, 3) => self.rows::<S, 2, 3>(simd, lane),
                (2, 2) => self.rows::<S, 2, 2>(simd, lane),
                (2, _) => self.rows::<S, 2, 1>(simd, lane),
                (_, 3) => self.rows::<S, 1, 3>(simd, lane),
                (_, 2) => self.rows::<S, 1, 2>(simd, lane),
                (_, _) => self.rows::<S, 1, 1>(simd, lane),
            }
            vector += count;
        }
        vectors * S::F32_LANES
    }
}

impl Strip<'_> {
    /// `R` rows and `N` vectors of lanes at every place. Each sum runs over taps and channels in
    /// order with fused multiply-adds: the same bits whatever the vectors.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const N: usize>(&mut self, simd: S, lane: usize) {
        let (lanes, places) = (self.to.plan.lanes, self.to.reach.len());
        let step = self.to.source_places * lanes;
        for (place, reach) in self.to.reach.iter().enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); N]; R];
            for &(from, tap) in reach {
                let weights = &self.weights[tap * self.depth * R..][..self.depth * R];
                let mut start = from * lanes + lane;
                for weights in weights.as_chunks::<R>().0 {
                    let (x, _) = S::as_simd_f32s(&self.source[start..start + N * S::F32_LANES]);
                    let Some(x) = x.first_chunk::<N>() else { continue };
                    for (sums, weight) in sums.iter_mut().zip(weights) {
                        let weight = simd.splat_f32s(*weight);
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = simd.mul_add_f32s(weight, *x, *sum);
                        }
                    }
                    start += step;
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let start = (r * places + place) * lanes + lane;
                let target = &mut self.target[start..start + N * S::F32_LANES];
                let (target, _) = S::as_mut_simd_f32s(target);
                target.iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum);
            }
        }
    }
}

/// For every tap, the places of outputs and images that it connects.
pub(super) struct Pairs {
    plan: Plan,
    by_tap: Vec<Vec<(usize, usize)>>,
}

impl Pairs {
    pub(super) fn new(plan: Plan) -> Self {
        let mut by_tap = vec![Vec::new(); plan.sizes.kernel_height * plan.sizes.kernel_width];
        plan.for_each_tap(|output, image, tap| by_tap[tap].push((output, image)));
        Self { plan, by_tap }
    }

    /// Adds the weight's gradient of some blocks to `dw`.
    pub(super) fn add_products<T: Real>(&self, images: &[T], outputs: &[T], dw: &mut [T]) {
        let (s, lanes) = (self.plan.sizes, self.plan.lanes);
        let image = self.plan.groups * s.image() * lanes;
        let out = self.plan.groups * s.outputs * s.pixels() * lanes;
        let count = (GROUP * self.plan.groups / (image + out)).max(1);
        for (images, outputs) in images.chunks(count * image).zip(outputs.chunks(count * out)) {
            let weights = dw.len() / self.plan.groups;
            for (g, dw) in dw.chunks_exact_mut(weights).enumerate() {
                let from = match (T::as_f32(images), T::as_f32(outputs), T::as_f32_mut(dw)) {
                    (Some(images), Some(outputs), Some(dw)) => {
                        let pairs = self;
                        let sums = Products { pairs, images, outputs, g, dw, image, out };
                        pulp::Arch::new().dispatch(sums)
                    }
                    _ => 0,
                };
                if from < lanes {
                    self.plain((images, image), (outputs, out), g, dw, from);
                }
            }
        }
    }

    /// The lanes from `from` on.
    fn plain<T: Real>(
        &self,
        (images, image): (&[T], usize),
        (outputs, out): (&[T], usize),
        g: usize,
        dw: &mut [T],
        from: usize,
    ) {
        let (s, lanes) = (self.plan.sizes, self.plan.lanes);
        let taps = self.by_tap.len();
        for (i, dw) in dw.iter_mut().enumerate() {
            let (o, c, tap) = (i / taps / s.channels, i / taps % s.channels, i % taps);
            let mut sum = 0.0;
            for (image, out) in images.chunks_exact(image).zip(outputs.chunks_exact(out)) {
                for (p, q) in &self.by_tap[tap] {
                    let a = ((g * s.outputs + o) * s.pixels() + p) * lanes;
                    let b = ((g * s.channels + c) * s.height * s.width + q) * lanes;
                    let (a, b) = (&out[a + from..a + lanes], &image[b + from..b + lanes]);
                    sum += lane_sum(a, b, |a, b| a * b);
                }
            }
            *dw += T::of(sum);
        }
    }
}

/// The weight's gradient of one group in all lanes that fill [`SUMS`]; gives how many those are.
struct Products<'a> {
    pairs: &'a Pairs,
    images: &'a [f32],
    outputs: &'a [f32],
    g: usize,
    dw: &'a mut [f32],
    /// Values of all groups of one block.
    image: usize,
    out: usize,
}

impl pulp::WithSimd for Products<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> usize {
        let s = self.pairs.plan.sizes;
        let filled = self.pairs.plan.lanes / SUMS * SUMS;
        if filled == 0 {
            return 0;
        }
        let side = |side: usize| s.outputs.is_multiple_of(side) && s.channels.is_multiple_of(side);
        match S::F32_LANES {
            16 if side(4) => self.tiles::<S, 4, 1>(simd, filled),
            16 if side(2) => self.tiles::<S, 2, 1>(simd, filled),
            16 => self.tiles::<S, 1, 1>(simd, filled),
            8 if side(2) => self.tiles::<S, 2, 2>(simd, filled),
            8 => self.tiles::<S, 1, 2>(simd, filled),
            4 if side(2) => self.tiles::<S, 2, 4>(simd, filled),
            4 => self.tiles::<S, 1, 4>(simd, filled),
            1 => self.tiles::<S, 1, 16>(simd, filled),
            lanes => unreachable!("no kernel for vectors of {lanes}"),
        }
        filled
    }
}

impl Products<'_> {
    /// Tiles of `R` outputs and `R` channels, each sum in `N` vectors that are [`SUMS`] lanes.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const N: usize>(&mut self, simd: S, filled: usize) {
        let (s, lanes) = (self.pairs.plan.sizes, self.pairs.plan.lanes);
        let (pixels, places, taps) = (s.pixels(), s.height * s.width, self.pairs.by_tap.len());
        for o in (0..s.outputs).step_by(R) {
            for c in (0..s.channels).step_by(R) {
                let a = (self.g * s.outputs + o) * pixels * lanes;
                let b = (self.g * s.channels + c) * places * lanes;
                for (tap, pairs) in self.pairs.by_tap.iter().enumerate() {
                    let mut sums = [[[simd.splat_f32s(0.0); N]; R]; R];
                    let blocks = self.images.chunks_exact(self.image);
                    for (image, out) in blocks.zip(self.outputs.chunks_exact(self.out)) {
                        for (p, q) in pairs {
                            for lane in (0..filled).step_by(SUMS) {
                                let (p, q) = (a + p * lanes + lane, b + q * lanes + lane);
                                let g = vectors::<S, R, N>(simd, out, p, pixels * lanes);
                                let x = vectors::<S, R, N>(simd, image, q, places * lanes);
                                for (sums, g) in sums.iter_mut().zip(&g) {
                                    for (sums, x) in sums.iter_mut().zip(&x) {
                                        for n in 0..N {
                                            sums[n] = simd.mul_add_f32s(g[n], x[n], sums[n]);
                                        }
                                    }
                                }
                            }
                        }
                    }
                    for (i, sums) in sums.iter().enumerate() {
                        for (j, sums) in sums.iter().enumerate() {
                            let at = ((o + i) * s.channels + c + j) * taps + tap;
                            self.dw[at] += total::<S, N>(sums);
                        }
                    }
                }
            }
        }
    }
}

/// `R` times `N` vectors, a distance apart.
#[inline(always)]
fn vectors<S: Simd, const R: usize, const N: usize>(
    simd: S,
    values: &[f32],
    start: usize,
    distance: usize,
) -> [[S::f32s; N]; R] {
    let mut found = [[simd.splat_f32s(0.0); N]; R];
    for (r, found) in found.iter_mut().enumerate() {
        let start = start + r * distance;
        let (x, _) = S::as_simd_f32s(&values[start..start + SUMS]);
        found.iter_mut().zip(x).for_each(|(found, x)| *found = *x);
    }
    found
}

/// The sum of all lanes, in order.
#[inline(always)]
fn total<S: Simd, const N: usize>(sums: &[S::f32s; N]) -> f32 {
    let mut lanes = [0f32; SUMS];
    let (vectors, _) = S::as_mut_simd_f32s(&mut lanes);
    vectors.iter_mut().zip(sums).for_each(|(lane, sum)| *lane = *sum);
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() as f32
}
