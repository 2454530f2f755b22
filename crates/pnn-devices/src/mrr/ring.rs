//! A ring resonator beside one waveguide or between two.

use std::f64::consts::{PI, TAU};

use num_complex::Complex;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a ring is made of. The default is a silicon ring like those of Xu et al. (2026): a radius of 20 um
/// and a quality factor of about 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingGeometry {
    /// Radius of the ring's centre line in um.
    pub radius_um: f64,
    /// Group index of its waveguide.
    pub group_index: f64,
    /// Propagation loss in dB/cm, that of bends included.
    pub loss_db_per_cm: f64,
    /// Part of the power that crosses between ring and bus in one pass.
    pub coupling: f64,
    /// Part of the power that crosses between ring and drop waveguide; 0 for a ring without one (all-pass).
    pub drop_coupling: f64,
    /// Wavelength in nm near which it is used.
    pub wavelength_nm: f64,
}

impl Default for RingGeometry {
    fn default() -> Self {
        Self {
            radius_um: 20.0,
            group_index: 4.2,
            loss_db_per_cm: 3.0,
            coupling: 0.1,
            drop_coupling: 0.1,
            wavelength_nm: 1550.0,
        }
    }
}

/// A ring resonator: light that couples into it and goes round adds up with itself (Yariv, Electron. Lett. 36, 321, 2000;
/// Bogaerts et al., Laser Photonics Rev. 6, 47, 2012).
///
/// With couplers that keep the amplitudes `t1 = sqrt(1 - coupling)` and `t2 = sqrt(1 - drop_coupling)` in their waveguide, the
/// amplitude `a = 10^(-loss L / 20)` that is left after a round trip of length `L = 2 pi R`, and the phase `p` of one:
///
/// ```text
/// through   E = (t1 - t2 a e^(ip)) / (1 - r e^(ip))          |E|^2 = ((t1 - t2 a)^2 + u) / ((1 - r)^2 + u)
/// drop      E = -k1 k2 sqrt(a) e^(ip/2) / (1 - r e^(ip))     |E|^2 = k1^2 k2^2 a / ((1 - r)^2 + u)
/// with      r = t1 t2 a,   u = 4 r sin^2(p/2),   k^2 = 1 - t^2
/// ```
///
/// ```
/// use pnn_devices::mrr::{Ring, RingGeometry};
/// let ring = Ring::new(RingGeometry::default())?;
/// assert!((ring.free_spectral_range_nm() - 4.552).abs() < 1e-3);
/// assert!((ring.quality_factor() - 9_700.0).abs() < 100.0);
/// // Far from resonance light passes; on resonance most of it is dropped.
/// assert!(ring.through(std::f64::consts::PI) > 0.99);
/// assert!(ring.drop(0.0) > 0.9);
/// # Ok::<(), pnn_devices::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    geometry: RingGeometry,
    /// Amplitudes that stay in the waveguide at the couplers, and after a round trip.
    through_amplitude: [f64; 2],
    round_trip: f64,
}

impl Ring {
    /// A ring of this geometry.
    ///
    /// # Errors
    /// If a length, index or wavelength is not positive and finite, the loss is negative, the coupling to the bus lies outside
    /// (0, 1) or that to the drop waveguide outside [0, 1).
    pub fn new(geometry: RingGeometry) -> Result<Self> {
        let RingGeometry { radius_um, group_index, loss_db_per_cm, .. } = geometry;
        for (what, value) in [
            ("radius in um", radius_um),
            ("group index", group_index),
            ("wavelength in nm", geometry.wavelength_nm),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Range { what, value, allowed: "(0, infinity)" });
            }
        }
        if !(0.0..f64::INFINITY).contains(&loss_db_per_cm) {
            let (what, value) = ("loss in dB/cm", loss_db_per_cm);
            return Err(Error::Range { what, value, allowed: "[0, infinity)" });
        }
        if !(geometry.coupling > 0.0 && geometry.coupling < 1.0) {
            let (what, value) = ("coupling of ring and bus", geometry.coupling);
            return Err(Error::Range { what, value, allowed: "(0, 1)" });
        }
        if !(0.0..1.0).contains(&geometry.drop_coupling) {
            let (what, value) = ("coupling of ring and drop waveguide", geometry.drop_coupling);
            return Err(Error::Range { what, value, allowed: "[0, 1)" });
        }
        let length_cm = TAU * radius_um * 1e-4;
        let keeps = |coupling: f64| (1.0 - coupling).sqrt();
        Ok(Self {
            geometry,
            through_amplitude: [keeps(geometry.coupling), keeps(geometry.drop_coupling)],
            round_trip: 10f64.powf(-loss_db_per_cm * length_cm / 20.0),
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn geometry(&self) -> RingGeometry {
        self.geometry
    }

    /// The amplitude `a` that is left after a round trip, couplers apart.
    #[must_use]
    pub fn round_trip_amplitude(&self) -> f64 {
        self.round_trip
    }

    /// The amplitude `r = t1 t2 a` that is left after a round trip past the couplers.
    #[must_use]
    pub fn loop_amplitude(&self) -> f64 {
        let [bus, drop] = self.through_amplitude;
        bus * drop * self.round_trip
    }

    /// Length of the round trip in nm of vacuum: the group index times the circumference.
    fn optical_length_nm(&self) -> f64 {
        self.geometry.group_index * TAU * self.geometry.radius_um * 1e3
    }

    /// The distance of neighbouring resonances in nm, `lambda^2 / (n_g L)`: to first order, as resonances are equally spaced
    /// in frequency, not in wavelength.
    #[must_use]
    pub fn free_spectral_range_nm(&self) -> f64 {
        self.geometry.wavelength_nm.powi(2) / self.optical_length_nm()
    }

    /// The phase of a round trip, in rad, at a distance of `detuning_nm` between laser and resonance:
    /// `2 pi detuning / FSR`. To first order in detuning over wavelength.
    #[must_use]
    pub fn phase(&self, detuning_nm: f64) -> f64 {
        TAU * detuning_nm / self.free_spectral_range_nm()
    }

    /// The phase of a round trip at a wavelength, in rad, for a resonance at another, both in nm: `2 pi n_g L (1 / resonance - 1 /
    /// wavelength)`, for a group index that does not change between the two.
    #[must_use]
    pub fn phase_at(&self, wavelength_nm: f64, resonance_nm: f64) -> f64 {
        TAU * self.optical_length_nm() * (1.0 / resonance_nm - 1.0 / wavelength_nm)
    }

    /// The full width at half maximum of the dropped power (of the dip, for a ring without drop waveguide) in nm:
    /// `FSR (2/pi) asin((1 - r) / (2 sqrt r))`.
    #[must_use]
    pub fn full_width_nm(&self) -> f64 {
        let r = self.loop_amplitude();
        // Lossy rings with strong couplers have no point at half maximum: the whole range is their line.
        let sine = (0.5 * (1.0 - r) / r.sqrt()).min(1.0);
        self.free_spectral_range_nm() * 2.0 / PI * sine.asin()
    }

    /// Free spectral range over full width: about `pi sqrt(r) / (1 - r)`.
    #[must_use]
    pub fn finesse(&self) -> f64 {
        self.free_spectral_range_nm() / self.full_width_nm()
    }

    /// The loaded quality factor: wavelength over full width.
    #[must_use]
    pub fn quality_factor(&self) -> f64 {
        self.geometry.wavelength_nm / self.full_width_nm()
    }

    /// The coupling to the bus at which no light passes on resonance: what enters in a round trip is what is lost in one, `t1 = t2 a`.
    #[must_use]
    pub fn critical_coupling(&self) -> f64 {
        1.0 - (self.through_amplitude[1] * self.round_trip).powi(2)
    }

    /// The field at the through port, for one of 1 at the input, at a phase of the round trip in rad.
    #[must_use]
    pub fn through_field(&self, phase: f64) -> Complex<f64> {
        let [bus, drop] = self.through_amplitude;
        let turn = Complex::cis(phase);
        (bus - drop * self.round_trip * turn) / (1.0 - self.loop_amplitude() * turn)
    }

    /// The field at the drop port, for one of 1 at the input, at a phase of the round trip in rad; the drop port half
    /// way round.
    #[must_use]
    pub fn drop_field(&self, phase: f64) -> Complex<f64> {
        let RingGeometry { coupling, drop_coupling, .. } = self.geometry;
        let crossed = (coupling * drop_coupling * self.round_trip).sqrt();
        -crossed * Complex::cis(0.5 * phase) / (1.0 - self.loop_amplitude() * Complex::cis(phase))
    }

    /// The power at the through port, for one of 1 at the input.
    #[must_use]
    pub fn through(&self, phase: f64) -> f64 {
        let line = self.line();
        line.share(line.through, 1.0, phase)
    }

    /// The power at the drop port, for one of 1 at the input.
    #[must_use]
    pub fn drop(&self, phase: f64) -> f64 {
        let line = self.line();
        line.share(line.drop, 0.0, phase)
    }

    /// The constants of its line.
    pub(super) fn line(&self) -> Line {
        let RingGeometry { coupling, drop_coupling, .. } = self.geometry;
        let [bus, drop] = self.through_amplitude;
        let r = self.loop_amplitude();
        Line {
            through: (bus - drop * self.round_trip).powi(2),
            drop: coupling * drop_coupling * self.round_trip,
            floor: (1.0 - r).powi(2),
            swing: 4.0 * r,
        }
    }
}

/// Powers as functions of `u = swing sin^2(phase / 2)`: `(through + u) / (floor + u)` and `drop / (floor + u)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) through: f64,
    pub(super) drop: f64,
    pub(super) floor: f64,
    pub(super) swing: f64,
}

impl Line {
    fn share(&self, numerator: f64, slope: f64, phase: f64) -> f64 {
        let u = self.swing * (0.5 * phase).sin().powi(2);
        (numerator + slope * u) / (self.floor + u)
    }
}
