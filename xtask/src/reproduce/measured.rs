//! Rings that a lab measured: what chips of such rings are drawn from.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_devices::mrr::measured::{Axis, Curve, ResonanceFit, Spread, Tuning, read_curves, spread};

use pnn_noise::{NoiseModel, Source};
use pnn_train::{RawRecipe, Recipe, StrategyRecipe, Trained};

use super::config::{Method, TunedOn};
use crate::error::{Error, Result};

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
            let std_nm = self.half_widths() * method.recipe.ring_chip.half_width_nm()?;
            if let TunedOn::Noise(noise) = &method.tuned_on {
                method.tuned_on = TunedOn::Noise(with_spread(noise, std_nm)?);
            }
            let StrategyRecipe::Nat { noise } = &method.recipe.strategy else { continue };
            let strategy = StrategyRecipe::Nat { noise: with_spread(noise, std_nm)? };
            let raw = RawRecipe { strategy, ..method.recipe.clone().into() };
            method.recipe = Recipe::try_from(raw)?;
        }
        Ok(())
    }

    /// The standard deviation of the resonances in half-widths of one.
    pub(crate) fn half_widths(&self) -> f64 {
        self.spread.resonance_shift_nm(1.0)
    }
}

/// The noise with another spread of resonances.
fn with_spread(noise: &NoiseModel, spread_nm: f64) -> Result<NoiseModel> {
    let mut sources = noise.sources().to_vec();
    for noise in &mut sources {
        if let Source::Fabrication { std_nm } = &mut noise.source {
            *std_nm = spread_nm;
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
        assert!((rings.half_widths() - 2f64.sqrt()).abs() < 1e-3, "{}", rings.half_widths());
        assert_eq!((rings.fits.len(), rings.name.as_str()), (2, "2 rings of rings.csv"));
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let mut methods = catalogue.profiles["controlled"].methods.clone();
        rings.teach(&mut methods).unwrap();
        let chip = methods["heaters-nat"].recipe.ring_chip;
        let std_nm = rings.half_widths() * chip.half_width_nm().unwrap();
        let spreads = |noise: &NoiseModel| -> Vec<f64> {
            let of = |noise: &pnn_noise::Noise| match noise.source {
                Source::Fabrication { std_nm } => Some(std_nm),
                _ => None,
            };
            noise.sources().iter().filter_map(of).collect()
        };
        for key in ["heaters-nat", "heaters-bp"] {
            let TunedOn::Noise(noise) = &methods[key].tuned_on else { panic!("{key}") };
            assert_eq!(spreads(noise), [std_nm], "{key}");
        }
        let StrategyRecipe::Nat { noise } = &methods["heaters-nat"].recipe.strategy else {
            panic!("no NAT")
        };
        assert_eq!(spreads(noise), [std_nm]);
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
