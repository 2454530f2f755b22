//! Rings that a lab measured: what chips of such rings are drawn from.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_devices::mrr::measured::{Axis, Curve, ResonanceFit, Spread, Tuning, read_curves, spread};

use pnn_noise::{NoiseModel, Source};
use pnn_train::{RawRecipe, Recipe, RingChip, StrategyRecipe, Trained};

use super::config::{Method, TunedOn};
use crate::error::{Error, Result};

/// How the rings of a chip differ.
#[derive(Debug, Clone)]
pub(crate) struct RingSpread {
    /// Standard deviation of the resonances in half-widths of one.
    pub(crate) half_widths: f64,
    /// Standard deviation of the widths over their mean.
    pub(crate) widths: f64,
    /// Where that is from.
    pub(crate) source: String,
}

impl RingSpread {
    /// Standard deviation of the resonances of a chip's rings in nm.
    pub(crate) fn nm(&self, chip: &RingChip) -> Result<f64> {
        Ok(self.half_widths * chip.half_width_nm()?)
    }
}

/// Measured rings, and how they differ.
#[derive(Debug, Clone)]
pub(crate) struct MeasuredRings {
    /// For reports: file and rings.
    pub(crate) name: String,
    pub(crate) curves: Vec<Curve>,
    pub(crate) fits: Vec<ResonanceFit>,
    spread: Spread,
}

impl MeasuredRings {
    /// Tuning curves of at least two rings over current, voltage or power.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::read_without(path, &[])
    }

    /// The same without curves of some labels.
    pub(crate) fn read_without(path: &Path, labels: &[String]) -> Result<Self> {
        let mut curves = read_curves(path)?;
        if let Some(label) = labels.iter().find(|l| !curves.iter().any(|c| c.label == **l)) {
            let known: Vec<_> = curves.iter().map(|curve| curve.label.as_str()).collect();
            let reason = format!("no curve is called {label:?}; there is {}", known.join(", "));
            return Err(Error::File { path: path.to_owned(), reason });
        }
        curves.retain(|curve| !labels.contains(&curve.label));
        if let Some(spectrum) = curves.iter().find(|curve| curve.axis == Axis::Nanometre) {
            let reason = format!(
                "curve {:?} is a spectrum (nm); how rings are tuned is measured over mA, V or mW",
                spectrum.label
            );
            return Err(Error::File { path: path.to_owned(), reason });
        }
        let fits = curves.iter().map(|curve| ResonanceFit::of(curve, Tuning::Joule));
        let fits = fits.collect::<pnn_devices::Result<Vec<_>>>()?;
        let spread = spread(&fits)?;
        let file = path.file_name().map_or_else(String::new, |name| name.display().to_string());
        Ok(Self { name: format!("{} rings of {file}", fits.len()), curves, fits, spread })
    }

    /// Lets methods of heated rings that train or are tuned on a spread take that of these.
    pub(crate) fn teach(&self, methods: &mut BTreeMap<String, Method>) -> Result<()> {
        for method in methods.values_mut().filter(|m| m.recipe.train == Trained::Heaters) {
            let spread = self.ring_spread();
            let std_nm = spread.nm(&method.recipe.ring_chip)?;
            let of_these = |noise: &NoiseModel| with_spread(noise, std_nm, spread.widths);
            if let TunedOn::Noise(noise) = &method.tuned_on {
                method.tuned_on = TunedOn::Noise(of_these(noise)?);
            }
            let StrategyRecipe::Nat { noise } = &method.recipe.strategy else { continue };
            let strategy = StrategyRecipe::Nat { noise: of_these(noise)? };
            let raw = RawRecipe { strategy, ..method.recipe.clone().into() };
            method.recipe = Recipe::try_from(raw)?;
        }
        Ok(())
    }

    /// How chips of such rings differ.
    pub(crate) fn ring_spread(&self) -> RingSpread {
        RingSpread {
            half_widths: self.spread.resonance_shift_nm(1.0),
            widths: self.spread.width,
            source: self.name.clone(),
        }
    }
}

/// The noise with another spread of resonances and of their widths.
fn with_spread(noise: &NoiseModel, spread_nm: f64, widths: f64) -> Result<NoiseModel> {
    let mut sources = noise.sources().to_vec();
    for noise in &mut sources {
        match &mut noise.source {
            Source::Fabrication { std_nm } => *std_nm = spread_nm,
            Source::Width { std } => *std = widths,
            _ => {}
        }
    }
    NoiseModel::new(sources).map_err(|e| Error::Usage(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::config::{Catalogue, default_folder};

    /// Resonances at 4 and 5 mA that are 0.5 mA wide to either side: a standard deviation of 1 / sqrt 2 mA.
    #[test]
    fn rings_that_differ_have_their_spread_in_half_widths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rings.csv");
        let line = |i: f64, at: f64| {
            let u = (i * i - at * at) / (0.5 * 2.0 * at);
            1.0 - 2.0 / (1.0 + u * u)
        };
        let rows = (0..=80).map(|k| 0.1 * f64::from(k));
        let rows: Vec<String> =
            rows.map(|i| format!("{i},{},{}", line(i, 4.0), line(i, 5.0))).collect();
        std::fs::write(&path, format!("Current (mA),a,b\n{}\n", rows.join("\n"))).unwrap();
        let rings = MeasuredRings::read(&path).unwrap();
        let spread = rings.ring_spread();
        assert!((spread.half_widths - 2f64.sqrt()).abs() < 1e-3, "{spread:?}");
        // Widths of 4 and 5 in heat, of which each is half a unit from the mean: 0.707 / 4.5.
        assert!((spread.widths - 0.5f64.sqrt() / 4.5).abs() < 1e-3, "{spread:?}");
        assert_eq!((rings.fits.len(), rings.name.as_str()), (2, "2 rings of rings.csv"));
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let mut methods = catalogue.profiles["controlled"].methods.clone();
        rings.teach(&mut methods).unwrap();
        let chip = methods["heaters-nat"].recipe.ring_chip;
        let want = [spread.nm(&chip).unwrap(), spread.widths];
        let spreads = |noise: &NoiseModel| -> Vec<f64> {
            let of = |noise: &pnn_noise::Noise| match noise.source {
                Source::Fabrication { std_nm } => Some(std_nm),
                Source::Width { std } => Some(std),
                _ => None,
            };
            noise.sources().iter().filter_map(of).collect()
        };
        for key in ["heaters-nat", "heaters-bp"] {
            let TunedOn::Noise(noise) = &methods[key].tuned_on else { panic!("{key}") };
            assert_eq!(spreads(noise), want, "{key}");
        }
        let StrategyRecipe::Nat { noise } = &methods["heaters-nat"].recipe.strategy else {
            panic!("no NAT")
        };
        assert_eq!(spreads(noise), want);
        // Rings that are no heaters keep theirs.
        let before = &catalogue.profiles["controlled"].methods["nat"];
        assert_eq!(methods["nat"].recipe, before.recipe);
        assert_eq!(methods["nat"].tuned_on, before.tuned_on);
        std::fs::write(&path, "Wavelength (nm),a\n1550,1\n1551,0.5\n1552,1\n").unwrap();
        let error = MeasuredRings::read(&path).unwrap_err().to_string();
        assert!(error.contains("\"a\" is a spectrum") && error.contains("rings.csv"), "{error}");
        let error = MeasuredRings::read(&folder.path().join("absent.csv")).unwrap_err().to_string();
        assert!(error.contains("absent.csv"), "{error}");
    }
}
