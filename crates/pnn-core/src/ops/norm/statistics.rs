//! Mean and variance of channels.

use rayon::prelude::*;

use super::super::real::Real;
use super::super::simd::{lane_sum, multiversion};
use super::Layout;

/// Mean and biased variance of each channel, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatistics {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Variance of each channel, divided by n (not n - 1).
    pub variance: Vec<f64>,
    /// Values per channel that these are statistics of.
    pub count: usize,
}

/// Mean and sum of squared distances from it of some of the values of a channel.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of a plane: a second pass about its mean, for the one-pass formula cancels where the mean is
    /// large.
    #[inline(always)]
    fn of<T: Real>(plane: &[T]) -> Self {
        let count = plane.len() as f64;
        let sum = lane_sum(plane, plane, |x, _| x);
        let center = T::of(sum / count);
        let first = lane_sum(plane, plane, |x, _| x - center);
        let second = lane_sum(plane, plane, |x, _| (x - center) * (x - center));
        // The sum of the distances corrects for the rounding of the center.
        let shift = first / count;
        let squares = second - first * shift;
        // Not `max`, which would make a zero of NaN.
        let squares = if squares < 0.0 { 0.0 } else { squares };
        Self { count, mean: center.f64() + shift, squares }
    }

    /// Of two sets together (Chan, Golub and `LeVeque`, 1979).
    fn join(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let d = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + d * (other.count / count),
            squares: self.squares + other.squares + d * d * (self.count * other.count / count),
        }
    }
}

/// The statistics of a batch.
pub(super) fn of_batch<T: Real>(x: &[T], layout: &Layout) -> ChannelStatistics {
    let block = layout.block() * layout.image();
    let partial: Vec<Vec<Moments>> =
        x.par_chunks(block).map(|images| of_images(images, layout)).collect();
    let mut total = vec![Moments::default(); layout.channels];
    for part in partial {
        total.iter_mut().zip(part).for_each(|(sum, part)| *sum = sum.join(part));
    }
    let n = layout.count() as f64;
    ChannelStatistics {
        mean: total.iter().map(|m| m.mean).collect(),
        variance: total.iter().map(|m| m.squares / n).collect(),
        count: layout.count(),
    }
}

multiversion! {
    fn of_images[T: Real](images: &[T], layout: &Layout) -> Vec<Moments> {
        let channels = layout.channels;
        if layout.spatial == 1 {
            return of_rows(images, channels);
        }
        let mut moments = vec![Moments::default(); channels];
        for (i, plane) in images.chunks_exact(layout.spatial).enumerate() {
            let c = i % channels;
            moments[c] = moments[c].join(Moments::of(plane));
        }
        moments
    }
}

/// Of the columns of a matrix.
#[inline(always)]
fn of_rows<T: Real>(rows: &[T], columns: usize) -> Vec<Moments> {
    let count = (rows.len() / columns) as f64;
    let mut sums = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.f64());
    }
    let mean: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
    let mut squares = vec![0.0; columns];
    for row in rows.chunks_exact(columns) {
        for ((square, x), mean) in squares.iter_mut().zip(row).zip(&mean) {
            *square += (x.f64() - mean) * (x.f64() - mean);
        }
    }
    mean.into_iter().zip(squares).map(|(mean, squares)| Moments { count, mean, squares }).collect()
}
