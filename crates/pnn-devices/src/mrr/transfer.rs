//! The transfer function of a ring: the weight that it gives as a function of its detuning.

use pnn_core::Bounds;
use pnn_core::ops::{Elementwise, Real};

use crate::{Error, Result};

/// The weight of one add-drop ring with balanced detection (through minus drop port) as a function
/// of the detuning of its resonance from the laser line, in nm. A physical ring model or a measured
/// curve drops in by implementing this.
///
/// Weights lie in [-1, 1], for a ring does not amplify: [`MrrBank`](super::MrrBank) promises it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the transfer function of a ring",
    note = "implement `TransferFunction`: weight, slope, curvature, detuning and weight_range"
)]
pub trait TransferFunction: Clone + Send + Sync + 'static {
    /// The weight at a detuning of `x` nm.
    fn weight<T: Real>(&self, x: T) -> T;
    /// `dw/dx` in 1/nm, the true derivative.
    fn slope<T: Real>(&self, x: T) -> T;
    /// `d2w/dx2` in 1/nm^2 (the gradient of a penalty on the slope needs it).
    fn curvature<T: Real>(&self, x: T) -> T;
    /// The detuning in nm, on the branch that training uses, that gives a weight; NaN for one that no
    /// detuning gives.
    fn detuning<T: Real>(&self, weight: T) -> T;
    /// The smallest and largest weight that training may ask for: the bounds of a bank that is set
    /// by its weights. Both lie in [-1, 1], and [`Self::detuning`] is finite from one to the other.
    fn weight_range(&self) -> (f64, f64);
    /// The detunings in nm between which the line is known, such as those at which it was measured: settings are kept within. None
    /// if it is known everywhere.
    fn detuning_range(&self) -> Option<Bounds> {
        None
    }
}

/// The Lorentzian line of a ring with half-width `g` (half the full width at half maximum):
/// `w(x) = 1 - 2 / (1 + (x/g)^2)`, so -1 on resonance and towards 1 far from it (Xu et al., Nat.
/// Commun. 17, 1766, 2026, Methods; Tait et al., Sci. Rep. 7, 7430, 2017).
///
/// ```
/// use pnn_devices::mrr::{Lorentzian, TransferFunction};
/// let ring = Lorentzian::default();
/// assert_eq!(ring.weight(0.0), -1.0);
/// assert_eq!(ring.weight(ring.half_width_nm()), 0.0);
/// assert!((ring.detuning(0.5) - 0.15 * 3f64.sqrt()).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lorentzian {
    half_width_nm: f64,
}

impl Default for Lorentzian {
    /// The ring of Xu et al.: a half-width of 0.15 nm.
    fn default() -> Self {
        Self { half_width_nm: 0.15 }
    }
}

impl Lorentzian {
    /// A line with a half-width in nm.
    ///
    /// # Errors
    /// If the half-width is not positive and finite.
    pub fn new(half_width_nm: f64) -> Result<Self> {
        if half_width_nm > 0.0 && half_width_nm.is_finite() {
            Ok(Self { half_width_nm })
        } else {
            let what = "half-width in nm";
            Err(Error::Range { what, value: half_width_nm, allowed: "(0, infinity)" })
        }
    }

    /// The half-width `g` in nm.
    #[must_use]
    pub fn half_width_nm(&self) -> f64 {
        self.half_width_nm
    }
}

impl TransferFunction for Lorentzian {
    #[inline]
    fn weight<T: Real>(&self, x: T) -> T {
        let u = x / T::of(self.half_width_nm);
        T::one() - T::of(2.0) / (T::one() + u * u)
    }

    /// `4 u / (g (1 + u^2)^2)` with `u = x/g`. (The published code has half of this.)
    #[inline]
    fn slope<T: Real>(&self, x: T) -> T {
        let g = T::of(self.half_width_nm);
        let u = x / g;
        let d = T::one() / (T::one() + u * u);
        T::of(4.0) * u * d * d / g
    }

    /// `4 (1 - 3 u^2) / (g^2 (1 + u^2)^3)`.
    #[inline]
    fn curvature<T: Real>(&self, x: T) -> T {
        let g = T::of(self.half_width_nm);
        let u2 = (x / g) * (x / g);
        let d = T::one() / (T::one() + u2);
        T::of(4.0) * (T::one() - T::of(3.0) * u2) * d * d * d / (g * g)
    }

    /// `g sqrt((1 + w)/(1 - w))`, the branch of positive detunings.
    #[inline]
    fn detuning<T: Real>(&self, weight: T) -> T {
        let ratio = (T::one() + weight) / (T::one() - weight);
        T::of(self.half_width_nm) * ratio.sqrt()
    }

    /// +-0.999, the clamp of the published training. The upper end is 45 half-widths away.
    fn weight_range(&self) -> (f64, f64) {
        (-0.999, 0.999)
    }
}

/// Detuning to weight, as an elementwise map with its true derivative.
#[derive(Debug, Clone)]
pub(super) struct Weight<F>(pub(super) F);

impl<F: TransferFunction> Elementwise for Weight<F> {
    #[inline]
    fn value<T: Real>(&self, x: T) -> T {
        self.0.weight(x)
    }
    #[inline]
    fn derivative<T: Real>(&self, x: T) -> T {
        self.0.slope(x)
    }
}

/// Detuning to slope, as an elementwise map with its true derivative.
#[derive(Debug, Clone)]
pub(super) struct Slope<F>(pub(super) F);

impl<F: TransferFunction> Elementwise for Slope<F> {
    #[inline]
    fn value<T: Real>(&self, x: T) -> T {
        self.0.slope(x)
    }
    #[inline]
    fn derivative<T: Real>(&self, x: T) -> T {
        self.0.curvature(x)
    }
}

/// Weight to detuning, as an elementwise map; by the inverse function theorem its derivative is
/// `1 / slope`.
#[derive(Debug, Clone)]
pub(super) struct Inverse<F>(pub(super) F);

impl<F: TransferFunction> Elementwise for Inverse<F> {
    #[inline]
    fn value<T: Real>(&self, weight: T) -> T {
        self.0.detuning(weight)
    }
    #[inline]
    fn derivative<T: Real>(&self, weight: T) -> T {
        T::one() / self.0.slope(self.0.detuning(weight))
    }
}
