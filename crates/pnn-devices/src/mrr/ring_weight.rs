//! The weight that a physical ring gives.

use std::f64::consts::TAU;

use pnn_core::ops::Real;
use serde::{Deserialize, Serialize};

use super::{Ring, TransferFunction};
use crate::{Error, Result};

/// What is read of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detection {
    /// The power at the through port less that at the drop port: weights of both signs.
    #[default]
    Balanced,
    /// The power at the through port alone.
    Through,
    /// The power at the drop port alone.
    Drop,
}

/// A [`Ring`] as a transfer function: one wavelength, one ring. With `u = 4 r sin^2(pi x / FSR)` of the detuning
/// `x`, the weight is `(n + k u) / ((1 - r)^2 + u)`; in the limit of high finesse that of balanced detection is the
/// [`Lorentzian`](super::Lorentzian) of half the full width, with a depth that loss and uneven couplers leave.
///
/// ```
/// use pnn_devices::mrr::{Detection, MrrLinear, Parametrisation, Ring, RingGeometry, RingWeight};
/// let ring = RingWeight::new(Ring::new(RingGeometry::default())?, Detection::Balanced)?;
/// let bank = MrrLinear::with(8, 4, ring, Parametrisation::Detuning)?;
/// # Ok::<(), pnn_devices::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingWeight {
    ring: Ring,
    /// `n`, `k`, `(1 - r)^2`, `4 r`.
    numerator: f64,
    slope: f64,
    floor: f64,
    swing: f64,
}

impl RingWeight {
    /// The weight of a ring under a detection.
    ///
    /// # Errors
    /// If the drop port of a ring is to be read that has none.
    pub fn new(ring: Ring, detection: Detection) -> Result<Self> {
        let line = ring.line();
        if detection != Detection::Through && line.drop == 0.0 {
            let what = "coupling to the drop waveguide, whose light is to be detected";
            return Err(Error::Range { what, value: 0.0, allowed: "(0, 1)" });
        }
        let (numerator, slope) = match detection {
            Detection::Balanced => (line.through - line.drop, 1.0),
            Detection::Through => (line.through, 1.0),
            Detection::Drop => (line.drop, 0.0),
        };
        Ok(Self { ring, numerator, slope, floor: line.floor, swing: line.swing })
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Phase in rad for each nm.
    fn turn(&self) -> f64 {
        TAU / self.ring.free_spectral_range_nm()
    }

    /// `dw/du` and `floor + u`.
    fn steepness<T: Real>(&self, u: T) -> (T, T) {
        let below = T::of(self.floor) + u;
        (T::of(self.slope * self.floor - self.numerator) / (below * below), below)
    }
}

impl TransferFunction for RingWeight {
    #[inline]
    fn weight<T: Real>(&self, x: T) -> T {
        let sine = (T::of(0.5 * self.turn()) * x).sin();
        let u = T::of(self.swing) * sine * sine;
        (T::of(self.numerator) + T::of(self.slope) * u) / (T::of(self.floor) + u)
    }

    #[inline]
    fn slope<T: Real>(&self, x: T) -> T {
        let half = T::of(0.5 * self.turn()) * x;
        let (sine, cosine) = half.sin_cos();
        let (by_u, _) = self.steepness(T::of(self.swing) * sine * sine);
        by_u * T::of(self.swing * self.turn()) * sine * cosine
    }

    #[inline]
    fn curvature<T: Real>(&self, x: T) -> T {
        let phase = T::of(self.turn()) * x;
        let half = phase / T::of(2.0);
        let u = T::of(self.swing) * half.sin() * half.sin();
        let (by_u, below) = self.steepness(u);
        let (sine, cosine) = phase.sin_cos();
        let turn = T::of(0.5 * self.swing * self.turn());
        // u' = turn sin(phase), u'' = turn TAU/FSR cos(phase), d2w/du2 = -2 (dw/du) / (floor + u).
        let rise = turn * sine;
        by_u * (turn * T::of(self.turn()) * cosine - T::of(2.0) * rise * rise / below)
    }

    /// Between resonance and half a free spectral range.
    #[inline]
    fn detuning<T: Real>(&self, weight: T) -> T {
        let u = (T::of(self.numerator) - weight * T::of(self.floor)) / (weight - T::of(self.slope));
        T::of(2.0 / self.turn()) * (u / T::of(self.swing)).sqrt().asin()
    }

    /// From resonance to half a free spectral range, less a two-thousandth at either end, where the slope vanishes.
    fn weight_range(&self) -> (f64, f64) {
        let on = self.numerator / self.floor;
        let off = (self.numerator + self.slope * self.swing) / (self.floor + self.swing);
        let (low, high) = (on.min(off), on.max(off));
        let margin = 5e-4 * (high - low);
        (low + margin, high - margin)
    }
}
