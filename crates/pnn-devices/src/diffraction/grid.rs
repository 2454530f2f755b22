//! The pixels at which a field is sampled.

use crate::{Error, Result};

/// Square pixels in rows and columns, about the optical axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Distance of neighbouring pixels in m.
    pub pitch_m: f64,
}

impl Grid {
    /// A grid of `height` x `width` pixels that are `pitch_m` apart.
    ///
    /// # Errors
    /// If it has no pixels or the pitch is not positive and finite.
    pub fn new(height: usize, width: usize, pitch_m: f64) -> Result<Self> {
        for (what, value) in [("height of the grid", height), ("width of the grid", width)] {
            if value == 0 {
                return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
            }
        }
        positive("pixel pitch in m", pitch_m)?;
        Ok(Self { height, width, pitch_m })
    }

    /// The position in m of a row or column of `count`: 0 is that of number `count / 2`, where a
    /// Fourier transform has its centre.
    #[must_use]
    pub fn position_m(&self, number: usize, count: usize) -> f64 {
        (number as f64 - (count / 2) as f64) * self.pitch_m
    }

    /// `f(y, x)` of every pixel, row by row, with positions in m.
    pub fn map(&self, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut values = Vec::with_capacity(self.height * self.width);
        for row in 0..self.height {
            let y = self.position_m(row, self.height);
            values.extend((0..self.width).map(|c| f(y, self.position_m(c, self.width))));
        }
        values
    }
}

/// Checks that a length or the like is positive and finite.
pub(super) fn positive(what: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(Error::Range { what, value, allowed: "(0, infinity)" })
    }
}
