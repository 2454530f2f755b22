//! From which distance to which each way to compute propagation holds.

use std::f64::consts::PI;

use super::{FreeSpace, Grid, Method};

/// Pixels of way within which the impulse response is narrower than its samples can show, evanescent waves and all.
const NEAR_PIXELS: f64 = 2.0;
/// Frequencies that the band limit must leave at the shorter side.
const FEWEST_FREQUENCIES: f64 = 64.0;

impl FreeSpace {
    /// The distances in m, from and to, between which a method gives what light does on this grid; of
    /// [`Method::Automatic`] those of the method that it takes, [`Self::method`]. Outside, [`Self::warnings`] says so. With
    /// `N` pixels of pitch `p` at a side and `M` with padding, `M p = S`:
    ///
    /// ```text
    /// angular spectrum       0 to S/2 sqrt((2 p / lambda)^2 - 1)                 shorter side
    ///   with a band limit    0 to S/2 sqrt((S / 32 lambda)^2 - 1), if farther    shorter side
    /// Fresnel                cbrt(pi r^4 / (4 lambda)) to S p / lambda           shorter side, diagonal r
    /// direct integration     N p sqrt((2 p / lambda)^2 - 1) to infinity          longer side
    /// ```
    ///
    /// - Angular spectrum: the phase of `H` turns by less than pi from one frequency to the next, up to the highest of
    ///   its axis (Matsushima and Shimobaba, Opt. Express 17, 19662, 2009). Farther, light wraps around or, with the
    ///   band limit, frequencies are left out. While 64 are kept, the field behind an aperture of many pixels is right to
    ///   about three parts in a hundred, that behind a single pixel to a seventh.
    /// - Fresnel: from where the largest error of the paraxial phase, `pi r^4 / (4 lambda z^3)` from corner to corner, is a radian
    ///   (Goodman, Introduction to Fourier Optics, 4.2: much less is always enough, this not always needed), to where the
    ///   phase of the transfer function is sampled (Voelz and Roggemann, Appl. Opt. 48, 6132, 2009). Where the first is more than
    ///   the second there is no such distance on this grid.
    /// - Direct: the phase of the impulse response turns by less than pi from pixel to pixel, up to the farthest, `N p`
    ///   away.
    ///
    /// Whatever the formulas say, the angular spectrum holds up to two pixels and direct integration from there: nearer, the
    /// peak of the impulse response is narrower than a pixel, and energy grows without limit. Of pixels of less than
    /// half a wavelength the formulas say 0, as waves along the plane are never sampled well; at two pixels, and on a grid
    /// of at least 32, both methods are then right to five parts in a hundred. Of several wavelengths the strictest counts.
    #[must_use]
    pub fn range_m(&self, method: Method) -> (f64, f64) {
        let Grid { height, width, pitch_m } = self.grid;
        let shorter = height.min(width) as f64 * if self.padded { 2.0 } else { 1.0 } * pitch_m;
        let longer = height.max(width) as f64 * pitch_m;
        let (shortest, longest) = self.extremes_m();
        // Up to where waves as steep as these stay within `side`.
        let reach = |side: f64, ratio: f64| side * (ratio * ratio - 1.0).max(0.0).sqrt();
        let near = NEAR_PIXELS * pitch_m;
        match method {
            Method::Automatic => self.range_m(self.method()),
            Method::AngularSpectrum => {
                let sampled = reach(0.5 * shorter, 2.0 * pitch_m / longest).max(near);
                let kept = reach(0.5 * shorter, 2.0 * shorter / (FEWEST_FREQUENCIES * longest));
                (0.0, if self.band_limited { sampled.max(kept) } else { sampled })
            }
            Method::Fresnel => {
                let diagonal = (height as f64).hypot(width as f64) * pitch_m;
                let paraxial = (PI * diagonal.powi(4) / (4.0 * shortest)).cbrt();
                (paraxial, shorter * pitch_m / longest)
            }
            Method::Direct => (reach(longer, 2.0 * pitch_m / shortest).max(near), f64::INFINITY),
        }
    }

    /// What makes the computed field differ from light, in sentences that name the value and the limit; none
    /// if nothing does.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let (z, method) = (self.distance_m, self.method());
        let (from, to) = self.range_m(method);
        let mut warnings = Vec::new();
        let mut warn = |what: String| warnings.push(format!("free space of {z} m{what}"));
        if !self.padded {
            warn(" is not padded: light that leaves at one side comes back at the other".into());
        }
        if z < from && method == Method::Fresnel {
            warn(format!(
                ": the paraxial phase of Fresnel propagation is right to a radian from {from:.3e} m on"
            ));
        } else if z < from {
            warn(format!(": direct integration is sampled well enough from {from:.3e} m on"));
        }
        if z > to {
            warn(match method {
                Method::Fresnel => format!(
                    ": the transfer function of Fresnel propagation is sampled well enough up to {to:.3e} m"
                ),
                _ if self.band_limited => format!(
                    ": the band limit leaves the angular spectrum enough of its frequencies, \
                     {FEWEST_FREQUENCIES} at the shorter side, up to {to:.3e} m"
                ),
                _ => format!(
                    ": without a band limit the angular spectrum is sampled well enough up to {to:.3e} m"
                ),
            });
        }
        warnings
    }

    /// The shortest and the longest wavelength in m.
    fn extremes_m(&self) -> (f64, f64) {
        let wavelengths = self.wavelengths_m.iter().copied();
        (wavelengths.clone().fold(f64::INFINITY, f64::min), wavelengths.fold(0.0, f64::max))
    }
}
