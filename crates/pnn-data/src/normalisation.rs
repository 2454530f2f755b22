//! From pixels to numbers.

use crate::{Error, Result};

/// From a `u8` pixel to a number: `x = (pixel / 255 - mean) / std`, the same for all channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    mean: f64,
    std: f64,
}

impl Normalisation {
    /// `x` in `[0, 1]`.
    pub const UNIT: Self = Self { mean: 0.0, std: 1.0 };

    /// The mean and standard deviation of MNIST's training set, as commonly rounded.
    pub const MNIST: Self = Self { mean: 0.1307, std: 0.3081 };

    /// Mean and standard deviation of `pixel / 255`.
    ///
    /// # Errors
    /// If `mean` is not finite, or `std` is not finite and above 0.
    pub fn new(mean: f64, std: f64) -> Result<Self> {
        let range = |what: &str, value, allowed| {
            let what = what.to_owned();
            Err(Error::Range { what, value, allowed })
        };
        if !mean.is_finite() {
            return range("the mean of the normalisation", mean, "(-inf, inf)");
        }
        if !(std > 0.0 && std.is_finite()) {
            return range("the standard deviation of the normalisation", std, "(0, inf)");
        }
        Ok(Self { mean, std })
    }

    /// The mean of `pixel / 255` that becomes 0.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of `pixel / 255` that becomes 1.
    #[must_use]
    pub fn std(&self) -> f64 {
        self.std
    }

    /// The number for one pixel.
    #[must_use]
    pub fn apply(&self, pixel: u8) -> f64 {
        (f64::from(pixel) / 255.0 - self.mean) / self.std
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalisation_is_checked() {
        for (mean, std) in [
            (f64::NAN, 1.0),
            (f64::INFINITY, 1.0),
            (0.0, f64::NAN),
            (0.0, 0.0),
            (0.0, -1.0),
            (0.0, f64::INFINITY),
        ] {
            assert!(Normalisation::new(mean, std).is_err(), "{mean} {std}");
        }
        assert_eq!(Normalisation::new(0.1307, 0.3081).unwrap(), Normalisation::MNIST);
        assert_eq!(Normalisation::UNIT.apply(255), 1.0);
    }
}
