//! What a converter of so many bits can set.

use crate::Bounds;

/// Which values of its range a converter of `bits` bits can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Levels {
    /// `2^bits` that divide the range evenly, both ends included.
    #[default]
    Even,
    /// `2^bits` that divide the range evenly, whose ends are the same, as a phase of no turn and of one are: `k / 2^bits` of it.
    Periodic,
    /// A magnitude of `bits` bits and a sign that costs none, as of weights whose positive and negative parts have exposures of their
    /// own: `k / (2^bits - 1)` of the range's upper end, which is the lower one's negative, for `k` from `1 - 2^bits` to `2^bits - 1`.
    Signed,
}

impl Levels {
    /// The level nearest to a value, which is at an end for values beyond it; periodic levels go on beyond the ends. NaN if the value is
    /// NaN or the range is unbounded (of signed levels only its upper end counts). `bits` is at least 1.
    ///
    /// ```
    /// use pnn_core::Bounds;
    /// use pnn_core::device::Levels;
    ///
    /// let range = Bounds::new(-1.0, 1.0)?;
    /// assert_eq!(Levels::Even.round(0.2, range, 1), 1.0); // of -1 and 1
    /// assert_eq!(Levels::Even.round(-7.0, range, 8), -1.0);
    /// assert_eq!(Levels::Signed.round(0.2, range, 1), 0.0); // of -1, 0 and 1
    /// let turn = Bounds::new(0.0, 1.0)?;
    /// assert_eq!(Levels::Periodic.round(0.4, turn, 1), 0.5); // of 0 and 0.5
    /// assert_eq!(Levels::Periodic.round(0.9, turn, 1), 1.0);
    /// # Ok::<(), pnn_core::Error>(())
    /// ```
    #[must_use]
    pub fn round(self, value: f64, range: Bounds, bits: u32) -> f64 {
        let (Bounds { low, high }, number) = (range, self.number(value, range, bits));
        let steps = self.steps(bits);
        match self {
            // A weighted mean of the ends gives these exactly, and both halves of the range alike.
            Self::Even => (1.0 - number / steps) * low + number / steps * high,
            Self::Periodic => low + number / steps * (high - low),
            Self::Signed => number / steps * high,
        }
    }

    /// The code of that level: from 0 to `2^bits - 1`, of signed levels from `1 - 2^bits` to `2^bits - 1`; 0 for NaN.
    #[must_use]
    pub fn code(self, value: f64, range: Bounds, bits: u32) -> i32 {
        let number = self.number(value, range, bits);
        let whole =
            if self == Self::Periodic { number.rem_euclid(self.steps(bits)) } else { number };
        whole as i32
    }

    fn steps(self, bits: u32) -> f64 {
        let levels = f64::from(bits).exp2();
        if self == Self::Periodic { levels } else { levels - 1.0 }
    }

    fn number(self, value: f64, Bounds { low, high }: Bounds, bits: u32) -> f64 {
        let steps = self.steps(bits);
        match self {
            Self::Even => ((value - low) / ((high - low) / steps)).round().clamp(0.0, steps),
            Self::Periodic => ((value - low) / (high - low) * steps).round(),
            Self::Signed => (value / high * steps).round().clamp(-steps, steps),
        }
    }
}
