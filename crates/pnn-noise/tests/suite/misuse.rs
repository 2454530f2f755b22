//! What a user gets wrong is an error that names it.

use crate::common;

use common::{RESONANCE, everything, linear, one, place};
use pnn_core::layers::{Digital, Product};
use pnn_core::{
    Bounds, ControlSpec, Controls, DType, DeviationPort, Deviations, Drive, Levels, Physical,
    PhysicalLayer, Result, Seed, Tensor,
};
use pnn_noise::{Noise, NoiseModel, Source};

fn digital(name: &str) -> Physical {
    place(name, Digital::new(Product::Linear { inputs: 3, outputs: 2 }, Bounds::UNBOUNDED))
}

#[test]
fn unknown_layers_are_named() {
    let (a, b) = (linear("fc1", 3, 2), linear("fc2", 3, 2));
    let model = NoiseModel::on(Source::Weight { std: 0.1 }, &["fc1", "fc3"]).unwrap();
    let error = model.draw(&[&a, &b], 1, &Seed::new(1)).unwrap_err().to_string();
    assert_eq!(error, "no physical layer named \"fc3\"; there is fc1, fc2");
    let error = model.draw(&[], 1, &Seed::new(1)).unwrap_err().to_string();
    assert_eq!(error, "no physical layer named \"fc1\"; there is none");
}

#[test]
fn layers_without_the_port_are_named() {
    let layers = [linear("fc1", 3, 2), digital("fc2")];
    let layers: Vec<&Physical> = layers.iter().collect();
    for noise in everything() {
        let (name, needs) = match noise.source {
            Source::Fabrication { .. } => ("fabrication", "port \"resonance_shift_nm\""),
            Source::Width { .. } => ("width", "port \"width_error\""),
            Source::Drift { .. } => ("drift", "port \"resonance_shift_nm\""),
            Source::RandomDrift { .. } => ("random_drift", "port \"resonance_shift_nm\""),
            Source::Weight { .. } => ("weight", "port \"weight_error\""),
            Source::Readout { .. } => ("readout", "port \"readout_error\""),
            Source::Shot { .. } => ("shot", "port \"shot_noise\""),
            Source::Phase { .. } => ("phase", "port \"theta_error_rad\""),
            Source::Splitter { .. } => ("splitter", "port \"left_splitter_error\""),
            Source::Crosstalk { .. } => ("crosstalk", "port \"thermal_crosstalk\""),
            Source::Quantisation { .. } => ("quantisation", "programmed setting"),
            Source::Misalignment { .. } => ("misalignment rotation", "port \"rotation_deg\""),
        };
        let error = one(noise.source).draw(&layers, 1, &Seed::new(1)).unwrap_err().to_string();
        let want = format!("layer \"fc2\" has no {needs}, which {name} noise acts on");
        assert_eq!(error, want);
    }
}

#[test]
fn no_noise_needs_nothing() {
    let chip = NoiseModel::default().draw(&[&digital("fc")], 0, &Seed::new(1)).unwrap();
    assert_eq!(chip.iter().count(), 0);
}

#[test]
fn readout_noise_of_no_shot_is_an_error() {
    let layer = linear("fc1", 3, 2);
    let error = one(Source::Readout { std: 0.1 }).draw(&[&layer], 0, &Seed::new(1)).unwrap_err();
    assert_eq!(error.to_string(), "shots is 0, allowed is [1, infinity)");
    // Nothing else asks for shots.
    assert!(one(Source::Weight { std: 0.1 }).draw(&[&layer], 0, &Seed::new(1)).is_ok());
}

#[test]
fn a_layer_has_one_converter() {
    let layer = linear("fc1", 3, 2);
    let noise = |bits| Noise { source: Source::Quantisation { bits }, layers: None };
    let model = NoiseModel::new(vec![noise(8), noise(4)]).unwrap();
    let error = model.draw(&[&layer], 1, &Seed::new(1)).unwrap_err().to_string();
    let want = "two sources of quantisation noise act on layer \"fc1\", which has one converter";
    assert_eq!(error, want);
}

/// A device whose drive has no range.
struct Unlimited(Digital);

impl PhysicalLayer for Unlimited {
    fn controls(&self) -> &ControlSpec {
        self.0.controls()
    }
    fn ports(&self) -> &[DeviationPort] {
        self.0.ports()
    }
    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        self.0.init(seed, dtype)
    }
    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        self.0.forward(x, controls, deviations)
    }
    fn drives(&self, controls: &Controls) -> Result<Vec<Drive>> {
        let setting = controls.get("weight")?.clone();
        Ok(vec![Drive { setting, range: Bounds::UNBOUNDED, levels: Levels::Even, port: RESONANCE }])
    }
}

#[test]
fn a_converter_without_a_range_is_an_error() {
    let device = Digital::new(Product::Linear { inputs: 3, outputs: 2 }, Bounds::UNBOUNDED);
    let layer = place("fc", Unlimited(device));
    let model = one(Source::Quantisation { bits: 8 });
    let error = model.draw(&[&layer], 1, &Seed::new(1)).unwrap_err().to_string();
    let want = "layer \"fc\" has no bounded converter range, which quantisation noise acts on";
    assert_eq!(error, want);
}

#[test]
fn impossible_settings_are_errors() {
    let refuse = |source: Source, what: &str, value: f64, allowed: &str| {
        let want = format!("{what} is {value}, allowed is {allowed}");
        assert_eq!(NoiseModel::all_layers(source.clone()).unwrap_err().to_string(), want);
        assert_eq!(NoiseModel::on(source, &["fc1"]).unwrap_err().to_string(), want);
    };
    let (positive, finite) = ("[0, infinity)", "(-infinity, infinity)");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-9] {
        refuse(Source::Fabrication { std_nm: bad }, "fabrication std_nm", bad, positive);
        refuse(Source::Weight { std: bad }, "weight noise std", bad, positive);
        refuse(Source::Readout { std: bad }, "readout noise std", bad, positive);
        let drift = Source::RandomDrift { max_kelvin: bad, nm_per_kelvin: 0.08 };
        refuse(drift, "random_drift max_kelvin", bad, positive);
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        refuse(Source::Drift { kelvin: bad, nm_per_kelvin: 0.08 }, "drift kelvin", bad, finite);
        refuse(
            Source::Drift { kelvin: 1.0, nm_per_kelvin: bad },
            "drift nm_per_kelvin",
            bad,
            finite,
        );
        let drift = Source::RandomDrift { max_kelvin: 1.0, nm_per_kelvin: bad };
        refuse(drift, "random_drift nm_per_kelvin", bad, finite);
    }
    for bits in [0, 25, u32::MAX] {
        refuse(Source::Quantisation { bits }, "quantisation bits", f64::from(bits), "[1, 24]");
    }
    for bits in [1, 24] {
        assert!(Source::Quantisation { bits }.check().is_ok());
    }
    let error = NoiseModel::on(Source::Weight { std: 0.1 }, &[]).unwrap_err().to_string();
    assert!(error.starts_with("the list of layers of a noise source is empty"), "{error}");
}
