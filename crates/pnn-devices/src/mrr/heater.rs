//! From heater current to detuning.

use pnn_core::ops::{Elementwise, Real};

use crate::{Error, Result};

/// How the current through a ring's heater, in mA, sets its detuning, in nm. More current moves
/// the resonance to the red, which lowers the detuning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heater {
    /// `x = 4 - I`: the convention of the figures of Xu et al. (2026), 1 nm/mA.
    Convention,
    /// Joule heating: `x = eta R (I_0^2 - I^2) / 1000`, with the efficiency `eta` in nm/mW, the
    /// resistance `R` in ohm, and the current `I_0` in mA at which the ring is on resonance.
    Joule {
        /// Heater resistance in ohm.
        resistance_ohm: f64,
        /// Shift of the resonance for each mW of heat, in nm.
        nm_per_milliwatt: f64,
        /// Current in mA that puts the ring on resonance.
        resonance_milliamp: f64,
    },
}

impl Heater {
    /// The heater of the chip of Xu et al.: 375 ohm, 0.53 nm/mW, on resonance at 4 mA, where it
    /// moves 1.6 nm/mA.
    pub const PUBLISHED: Self =
        Self::Joule { resistance_ohm: 375.0, nm_per_milliwatt: 0.53, resonance_milliamp: 4.0 };

    /// Largest current in mA that a setting may have: twice the current at resonance.
    #[must_use]
    pub fn max_milliamp(&self) -> f64 {
        match self {
            Self::Convention => 8.0,
            Self::Joule { resonance_milliamp, .. } => 2.0 * resonance_milliamp,
        }
    }

    /// Checks that the constants are positive and finite.
    ///
    /// # Errors
    /// If one is not.
    pub fn check(&self) -> Result<()> {
        let Self::Joule { resistance_ohm, nm_per_milliwatt, resonance_milliamp } = *self else {
            return Ok(());
        };
        for (what, value) in [
            ("heater resistance in ohm", resistance_ohm),
            ("heater efficiency in nm/mW", nm_per_milliwatt),
            ("current at resonance in mA", resonance_milliamp),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Range { what, value, allowed: "(0, infinity)" });
            }
        }
        Ok(())
    }

    /// The detuning in nm at a current in mA.
    #[inline]
    #[must_use]
    pub fn detuning_nm<T: Real>(&self, milliamp: T) -> T {
        match *self {
            Self::Convention => T::of(4.0) - milliamp,
            Self::Joule { resonance_milliamp, .. } => {
                let at_resonance = T::of(resonance_milliamp);
                self.nm_per_square_milliamp::<T>()
                    * (at_resonance * at_resonance - milliamp * milliamp)
            }
        }
    }

    /// The current in mA that gives a detuning in nm; NaN where none does (a detuning beyond that
    /// of no current).
    #[inline]
    #[must_use]
    pub fn milliamp<T: Real>(&self, detuning_nm: T) -> T {
        match *self {
            Self::Convention => T::of(4.0) - detuning_nm,
            Self::Joule { resonance_milliamp, .. } => {
                let at_resonance = T::of(resonance_milliamp);
                (at_resonance * at_resonance - detuning_nm / self.nm_per_square_milliamp::<T>())
                    .sqrt()
            }
        }
    }

    /// The current in mA, from none to [`Self::max_milliamp`], whose detuning comes closest to one
    /// in nm.
    pub(super) fn nearest_milliamp(&self, detuning_nm: f64) -> f64 {
        // Not left to `milliamp`, whose square root has no value beyond this.
        if detuning_nm >= self.detuning_nm(0.0) {
            return 0.0;
        }
        let milliamp = self.milliamp(detuning_nm);
        // Not `f64::min`, which would hide NaN.
        if milliamp > self.max_milliamp() { self.max_milliamp() } else { milliamp }
    }

    /// `eta R / 1000`: mA^2 ohm is 1e-3 mW.
    fn nm_per_square_milliamp<T: Real>(&self) -> T {
        match *self {
            Self::Convention => T::one(),
            Self::Joule { resistance_ohm, nm_per_milliwatt, .. } => {
                T::of(nm_per_milliwatt * resistance_ohm * 1e-3)
            }
        }
    }
}

impl Elementwise for Heater {
    #[inline]
    fn value<T: Real>(&self, milliamp: T) -> T {
        self.detuning_nm(milliamp)
    }
    #[inline]
    fn derivative<T: Real>(&self, milliamp: T) -> T {
        match self {
            Self::Convention => -T::one(),
            Self::Joule { .. } => -T::of(2.0) * self.nm_per_square_milliamp::<T>() * milliamp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_heater_moves_1_6_nm_per_milliamp_at_4() {
        let slope = Heater::PUBLISHED.derivative(4.0f64);
        assert!((slope + 1.59).abs() < 1e-12, "{slope}");
        let x = Heater::PUBLISHED.detuning_nm(3.0f64);
        assert!((Heater::PUBLISHED.milliamp(x) - 3.0).abs() < 1e-12);
        assert_eq!(Heater::Convention.detuning_nm(2.5f64), 1.5);
        assert!(Heater::PUBLISHED.check().is_ok());
        let broken = Heater::Joule {
            resistance_ohm: f64::NAN,
            nm_per_milliwatt: 1.0,
            resonance_milliamp: 1.0,
        };
        assert!(broken.check().unwrap_err().to_string().contains("resistance"));
    }
}
