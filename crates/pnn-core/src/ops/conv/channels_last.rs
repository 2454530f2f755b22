//! Between images channel by channel and images whose pixels hold their channels side by side.

/// The channels of a pixel are filled up with zeros to a multiple of this.
pub(super) const BLOCK: usize = 16;

/// Channels, filled up.
pub(super) fn depth(channels: usize) -> usize {
    channels.next_multiple_of(BLOCK)
}

/// An image whose pixels hold their channels side by side, among other pixels.
#[derive(Clone, Copy)]
pub(super) struct ChannelsLast {
    pub(super) channels: usize,
    pub(super) width: usize,
    /// The place of the first pixel, in pixels.
    pub(super) first: usize,
    /// From one row of pixels to the next, in pixels.
    pub(super) stride: usize,
}

impl ChannelsLast {
    /// Values of one pixel.
    pub(super) fn depth(&self) -> usize {
        depth(self.channels)
    }

    /// Copies an image (channels, pixels) to where its pixels belong.
    pub(super) fn spread(&self, planes: &[f32], to: &mut [f32]) {
        let pixels = self.check(planes.len(), to.len());
        #[cfg(target_arch = "x86_64")]
        if crate::ops::simd::has_avx512() {
            // SAFETY: the processor has the features, and the sizes were just checked.
            return unsafe { avx512::spread(*self, planes, pixels, to) };
        }
        self.spread_plain(planes, pixels, to);
    }

    /// The inverse of [`Self::spread`].
    pub(super) fn collect(&self, from: &[f32], planes: &mut [f32]) {
        let pixels = self.check(planes.len(), from.len());
        #[cfg(target_arch = "x86_64")]
        if crate::ops::simd::has_avx512() {
            // SAFETY: the processor has the features, and the sizes were just checked.
            return unsafe { avx512::collect(*self, from, pixels, planes) };
        }
        self.collect_plain(from, pixels, planes);
    }

    /// Pixels of planes with so many values together, if all have a place.
    fn check(&self, planes: usize, values: usize) -> usize {
        let pixels = planes / self.channels;
        assert!(planes == pixels * self.channels && self.width <= self.stride, "no such image");
        let places = pixels.checked_sub(1).map_or(0, |last| self.place(last) + self.depth());
        assert!(values >= places, "an image of {places} values does not fit into {values}");
        pixels
    }

    /// Where the channels of a pixel begin.
    fn place(&self, pixel: usize) -> usize {
        (self.first + pixel / self.width * self.stride + pixel % self.width) * self.depth()
    }

    fn spread_plain(&self, planes: &[f32], pixels: usize, to: &mut [f32]) {
        for pixel in 0..pixels {
            let to = &mut to[self.place(pixel)..][..self.depth()];
            let values = planes[pixel..].iter().step_by(pixels).copied();
            let values = values.chain(std::iter::repeat(0.0));
            to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
    }

    fn collect_plain(&self, from: &[f32], pixels: usize, planes: &mut [f32]) {
        for pixel in 0..pixels {
            let from = &from[self.place(pixel)..];
            let values = planes[pixel..].iter_mut().step_by(pixels);
            values.zip(from).for_each(|(value, from)| *value = *from);
        }
    }
}

/// Blocks of 16 channels and 16 pixels, transposed in registers.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_permutex2var_ps, _mm512_set_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::{BLOCK, ChannelsLast};

    /// The transpose of a block. Each round moves every index bit of (row, lane) one place up, the
    /// highest to the lowest place; after four rounds rows and lanes have changed places.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transposed(mut block: [__m512; BLOCK]) -> [__m512; BLOCK] {
        let low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
        let high = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
        for _ in 0..4 {
            let mut next = block;
            for i in 0..BLOCK / 2 {
                let (a, b) = (block[i], block[i + BLOCK / 2]);
                next[2 * i] = _mm512_permutex2var_ps(a, low, b);
                next[2 * i + 1] = _mm512_permutex2var_ps(a, high, b);
            }
            block = next;
        }
        block
    }

    /// Ones for the first lanes.
    fn mask(lanes: usize) -> __mmask16 {
        ((1_u32 << lanes.min(BLOCK)) - 1) as __mmask16
    }

    /// Calls `f(first channel, channels, first pixel, pixels, places)` for every block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn blocks(
        image: ChannelsLast,
        pixels: usize,
        mut f: impl FnMut(usize, usize, usize, usize, &[usize; BLOCK]),
    ) {
        let (mut column, mut row) = (0, image.first);
        for pixel in (0..pixels).step_by(BLOCK) {
            let count = BLOCK.min(pixels - pixel);
            let mut places = [0; BLOCK];
            for place in &mut places[..count] {
                *place = (row + column) * image.depth();
                column += 1;
                if column == image.width {
                    (column, row) = (0, row + image.stride);
                }
            }
            for channel in (0..image.channels).step_by(BLOCK) {
                f(channel, BLOCK.min(image.channels - channel), pixel, count, &places);
            }
        }
    }

    /// # Safety
    /// `to` holds the image.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn spread(
        image: ChannelsLast,
        planes: &[f32],
        pixels: usize,
        to: &mut [f32],
    ) {
        blocks(image, pixels, |channel, channels, pixel, count, places| {
            let mut block = [_mm512_setzero_ps(); BLOCK];
            for (i, row) in block.iter_mut().enumerate() {
                if i < channels {
                    // SAFETY: `channel + i` is a channel and `count` of its pixels are read.
                    *row = unsafe {
                        let plane = planes.as_ptr().add((channel + i) * pixels + pixel);
                        _mm512_maskz_loadu_ps(mask(count), plane)
                    };
                }
            }
            for (i, row) in transposed(block).iter().enumerate() {
                if i < count {
                    // SAFETY: the caller has room for `depth` values at the place of every pixel.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(places[i] + channel), *row) };
                }
            }
        });
    }

    /// # Safety
    /// `from` holds the image.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn collect(
        image: ChannelsLast,
        from: &[f32],
        pixels: usize,
        planes: &mut [f32],
    ) {
        blocks(image, pixels, |channel, channels, pixel, count, places| {
            let mut block = [_mm512_setzero_ps(); BLOCK];
            for (i, row) in block.iter_mut().enumerate() {
                if i < count {
                    // SAFETY: the caller has `depth` values at the place of every pixel.
                    *row = unsafe { _mm512_loadu_ps(from.as_ptr().add(places[i] + channel)) };
                }
            }
            for (i, row) in transposed(block).iter().enumerate() {
                if i < channels {
                    // SAFETY: `channel + i` is a channel and `count` of its pixels are written.
                    unsafe {
                        let plane = planes.as_mut_ptr().add((channel + i) * pixels + pixel);
                        _mm512_mask_storeu_ps(plane, mask(count), *row);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the processor chooses against the plain loops, there and back.
    #[test]
    fn there_and_back() {
        for (channels, width, height) in
            [(1, 1, 1), (16, 16, 2), (3, 5, 7), (33, 4, 4), (20, 31, 3)]
        {
            let image = ChannelsLast { channels, width, first: 3, stride: width + 2 };
            let pixels = width * height;
            let planes: Vec<f32> = (1..=channels * pixels).map(|i| i as f32).collect();
            let size = (3 + (width + 2) * height) * image.depth();
            let (mut spread, mut plain) = (vec![-1.0; size], vec![-1.0; size]);
            image.spread(&planes, &mut spread);
            image.spread_plain(&planes, pixels, &mut plain);
            assert_eq!(spread, plain);
            let place = image.place(pixels - 1);
            assert_eq!(spread[place + channels - 1], (channels * pixels) as f32);
            let (mut back, mut plain) = (vec![0.0; planes.len()], vec![0.0; planes.len()]);
            image.collect(&spread, &mut back);
            image.collect_plain(&spread, pixels, &mut plain);
            assert_eq!(back, planes);
            assert_eq!(plain, planes);
        }
    }
}
