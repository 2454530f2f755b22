//! What can be seen on the way of the light: fields, masks, and where the computed light differs from light.

use pnn_core::{Controls, Deviations, Tensor};

use super::grid::positive;
use super::{Diffractive, Element, Grid};
use crate::{Error, Result};

/// Planes that [`Diffractive::along_axis`] computes at most.
const MOST_PLANES: f64 = 1e5;

impl Diffractive {
    /// The field after each element, the first being that which enters.
    ///
    /// # Shapes
    /// `x` (batch, height, width); each result (batch, 2, height, width), with several wavelengths (batch, wavelengths, 2,
    /// height, width).
    ///
    /// # Errors
    /// If input, controls or deviations do not fit.
    pub fn fields(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        let shown = self.shown(controls, deviations)?;
        let mut fields = vec![self.enter(x)?];
        for stage in &self.stages {
            let next =
                stage.pass(&fields[fields.len() - 1], &shown, self.grid, &self.wavelengths_m)?;
            fields.push(next);
        }
        Ok(fields)
    }

    /// What makes the computed light differ from light, in sentences that name the value and the limit; none
    /// if nothing does.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let side = self.grid.height.max(self.grid.width) as f64;
        let mut warnings = Vec::new();
        for element in &self.elements {
            match element {
                Element::Space(space) => warnings.extend(space.warnings()),
                Element::Lens { focal_length_m } => {
                    let shortest = self.wavelengths_m.iter().copied().fold(f64::INFINITY, f64::min);
                    let limit = side * self.grid.pitch_m.powi(2) / shortest;
                    if focal_length_m.abs() < limit {
                        warnings.push(format!(
                            "a lens of {focal_length_m} m: at its edge the phase turns by more than pi from pixel to \
                             pixel, allowed are focal lengths from {limit:.3e} m on"
                        ));
                    }
                }
                Element::Mask
                | Element::AmplitudeMask
                | Element::Absorber { .. }
                | Element::SaturableFilm { .. }
                | Element::Amplitude(_) => {}
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        warnings
    }

    /// Intensities on the way of one picture: those of the middle row, before the first element and then about
    /// every `step_m`; and the distances in m from there.
    ///
    /// # Shapes
    /// `x` (1, height, width), result (distances, width); intensities of several wavelengths add up.
    ///
    /// # Errors
    /// As [`Self::fields`], and if the step is not positive and finite, or there would be more than 100,000 planes.
    pub fn along_axis(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
        step_m: f64,
    ) -> Result<(Vec<f64>, Tensor)> {
        positive("step along the axis in m", step_m)?;
        let Grid { height, width, .. } = self.grid;
        if x.dims() != [1, height, width] {
            return Err(
                pnn_core::Error::shape("light", x, format!("(1, {height}, {width})")).into()
            );
        }
        let lengths = self.elements.iter().map(|element| match element {
            Element::Space(space) => space.distance_m(),
            _ => 0.0,
        });
        let planes = lengths.sum::<f64>() / step_m;
        if planes > MOST_PLANES {
            let what = "planes along the axis (length over step)";
            return Err(Error::Range { what, value: planes, allowed: "at most 100,000" });
        }
        let middle = |field: &Tensor| -> pnn_core::Result<Tensor> {
            let planes = field.elem_count() / (height * width);
            let rows = field.reshape([planes, height, width])?.narrow(1, height / 2, 1)?;
            rows.sqr()?.sum(0)
        };
        let fields = self.fields(x, controls, deviations)?;
        let (mut distances, mut rows) = (vec![0.0], vec![middle(&fields[0])?]);
        let mut start = 0.0;
        for (element, field) in self.elements.iter().zip(&fields) {
            let Element::Space(space) = element else { continue };
            let steps = (space.distance_m() / step_m).round().max(1.0) as usize;
            for step in 1..=steps {
                let distance = space.distance_m() * step as f64 / steps as f64;
                rows.push(middle(&space.clone().with_distance_m(distance)?.propagate(field)?)?);
                distances.push(start + distance);
            }
            start += space.distance_m();
        }
        Ok((distances, Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0)?))
    }

    /// The phases of the phase masks in turns, as light meets them.
    ///
    /// # Shapes
    /// Each (height, width).
    ///
    /// # Errors
    /// If controls or deviations do not fit, or a phase is not finite.
    pub fn masks(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        Ok(self.shown(controls, deviations)?.phases)
    }

    /// The transmissions of the amplitude masks, as light meets them.
    ///
    /// # Shapes
    /// Each (height, width).
    ///
    /// # Errors
    /// As [`Self::masks`].
    pub fn amplitude_masks(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Vec<Tensor>> {
        Ok(self.shown(controls, deviations)?.transmissions)
    }
}
