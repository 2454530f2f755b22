//! Sources of deviations together, and chips drawn from them.

use pnn_core::model::Physical;
use pnn_core::{Chip, Seed};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result, Source};

/// A source and the layers that it acts on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// The cause.
    #[serde(deserialize_with = "checked_source")]
    pub source: Source,
    /// Names of the layers; all physical layers if absent.
    #[serde(default, deserialize_with = "some_layers", skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
}

impl Noise {
    /// Checks the source, and that the list of layers is not empty.
    ///
    /// # Errors
    /// If a setting is out of range or NaN, or no layer is listed.
    pub fn check(&self) -> Result<()> {
        self.source.check()?;
        check_layers(self.layers.as_deref())
    }

    fn acts_on(&self, layer: &Physical) -> bool {
        self.layers.as_ref().is_none_or(|names| names.iter().any(|name| name == layer.name()))
    }
}

fn check_layers(layers: Option<&[String]>) -> Result<()> {
    if layers.is_some_and(<[String]>::is_empty) { Err(Error::NoLayers) } else { Ok(()) }
}

// The checks are made field by field, so that a configuration's error points at the field.

fn checked_source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
    let source = Source::deserialize(deserializer)?;
    source.check().map_err(serde::de::Error::custom)?;
    Ok(source)
}

fn some_layers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let layers = Option::<Vec<String>>::deserialize(deserializer)?;
    check_layers(layers.as_deref()).map_err(serde::de::Error::custom)?;
    Ok(layers)
}

/// Several causes together: the statistics of a production line and its surroundings.
///
/// ```
/// use pnn_noise::{Noise, NoiseModel, Source};
/// let line = NoiseModel::new(vec![
///     Noise { source: Source::Fabrication { std_nm: 0.02 }, layers: None },
///     Noise {
///         source: Source::Drift { kelvin: -1.0, nm_per_kelvin: 0.08 },
///         layers: Some(vec!["fc2".into(), "fc3".into()]),
///     },
/// ])?;
/// # Ok::<(), pnn_noise::Error>(())
/// ```
///
/// It is a list in a configuration file, checked as it is read:
///
/// ```toml
/// [[noise]]
/// source.drift = { kelvin = -1.0 }
/// layers = ["fc2", "fc3"]
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)] // each `Noise` is checked as it is read
pub struct NoiseModel(Vec<Noise>);

impl NoiseModel {
    /// A model of checked sources. Several sources of one kind on one layer are independent and
    /// add up, except [`Source::RandomDrift`], whose temperature is that of the whole chip.
    ///
    /// # Errors
    /// If a setting is out of range, or a source has an empty list of layers.
    pub fn new(noise: Vec<Noise>) -> Result<Self> {
        noise.iter().try_for_each(Noise::check)?;
        Ok(Self(noise))
    }

    /// One source on all layers.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn all_layers(source: Source) -> Result<Self> {
        Self::new(vec![Noise { source, layers: None }])
    }

    /// One source on some layers.
    ///
    /// # Errors
    /// If a setting is out of range or `layers` is empty.
    pub fn on(source: Source, layers: &[&str]) -> Result<Self> {
        let layers = Some(layers.iter().map(|l| (*l).to_owned()).collect());
        Self::new(vec![Noise { source, layers }])
    }

    /// The sources.
    #[must_use]
    pub fn sources(&self) -> &[Noise] {
        &self.0
    }

    /// Draws one chip. The deviations of a layer depend on the seed, the layer's name and shape,
    /// and the sources that act on it ([`Source::Quantisation`]: on the layer's settings too), and
    /// on nothing else: not on the order of layers or of sources of different kinds, nor on what
    /// else there is. `shots` is the number of shots for which readout noise is drawn (1 gives
    /// each output one fixed offset).
    ///
    /// # Errors
    /// If a source names a layer that is not there, or acts on a port that a layer does not have,
    /// or `shots` is 0 where readout noise is to be drawn, or two sources round the settings of one
    /// layer.
    pub fn draw(&self, layers: &[&Physical], shots: usize, seed: &Seed) -> Result<Chip> {
        let mut chip = Chip::ideal();
        // Deviations add up, and a sum of floats depends on its order. The sort is stable.
        let mut sources: Vec<&Noise> = self.0.iter().collect();
        sources.sort_by_key(|noise| noise.source.name());
        for (i, noise) in sources.iter().enumerate() {
            for name in noise.layers.iter().flatten() {
                if !layers.iter().any(|layer| layer.name() == name) {
                    let known: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Err(Error::UnknownLayer { name: name.clone(), known });
                }
            }
            for layer in layers.iter().filter(|layer| noise.acts_on(layer)) {
                let of_this_kind = |other: &&&Noise| {
                    other.source.name() == noise.source.name() && other.acts_on(layer)
                };
                let earlier = sources[..i].iter().filter(of_this_kind).count();
                noise.source.add_to(&mut chip, layer, shots, seed, earlier)?;
            }
        }
        Ok(chip)
    }
}
