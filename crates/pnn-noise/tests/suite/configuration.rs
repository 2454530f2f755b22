//! Models in configuration files.

use crate::common;

use common::everything;
use pnn_noise::{Noise, NoiseModel, Source};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    noise: NoiseModel,
}

fn parse(text: &str) -> Result<Vec<Noise>, String> {
    let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
    Ok(config.noise.sources().to_vec())
}

#[test]
fn every_source_is_read() {
    let text = r#"
        [[noise]]
        source.fabrication = { std_nm = 0.02 }
        [[noise]]
        source.drift = { kelvin = -1.5, nm_per_kelvin = 0.08 }
        [[noise]]
        source.random_drift = { max_kelvin = 2, nm_per_kelvin = 0.06 }
        [[noise]]
        source.weight = { std = 0.1 }
        [[noise]]
        source.readout = { std = 0.3 }
        [[noise]]
        source.quantisation = { bits = 6 }
    "#;
    assert_eq!(parse(text).unwrap(), everything());
    assert_eq!(parse("noise = []").unwrap(), []);
    let listed = parse("noise = [{ source = { drift = { kelvin = 1 } }, layers = [\"fc2\"] }]");
    let source = Source::Drift { kelvin: 1.0, nm_per_kelvin: 0.08 };
    assert_eq!(listed.unwrap(), [Noise { source, layers: Some(vec!["fc2".into()]) }]);
}

#[test]
fn what_is_written_is_read_again() {
    let mut noise = everything();
    noise[3].layers = Some(vec!["fc1".into(), "fc2".into()]);
    let config = Config { noise: NoiseModel::new(noise).unwrap() };
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    assert!(!text.contains("fabrication.layers"), "{text}");
}

#[test]
fn wrong_keys_types_and_values_are_errors_that_name_them() {
    for (entry, expected) in [
        // Keys.
        (
            "source.fabrication = { std = 0.1 }",
            "unexpected keys in table: std, available keys: std_nm",
        ),
        ("source.fabrication = { std_nm = 0.1, mean = 0 }", "unexpected keys in table: mean"),
        ("source.fabrication = {}", "missing field `std_nm`"),
        ("source.fabriation = { std_nm = 0.1 }", "unknown variant `fabriation`"),
        ("source.weight = { std = 0.1 }\nlayer = [\"fc1\"]", "unknown field `layer`"),
        ("layers = [\"fc1\"]", "missing field `source`"),
        ("source = \"fabrication\"", "fabrication"),
        // Types.
        ("source.fabrication = { std_nm = \"0.1\" }", "invalid type: string"),
        ("source.quantisation = { bits = 8.0 }", "invalid type: floating point"),
        ("source.quantisation = { bits = -1 }", "invalid value: integer `-1`"),
        ("source.weight = { std = 0.1 }\nlayers = \"fc1\"", "invalid type: string"),
        // Values.
        (
            "source.fabrication = { std_nm = -0.1 }",
            "fabrication std_nm is -0.1, allowed is [0, infinity)",
        ),
        ("source.weight = { std = nan }", "weight noise std is NaN, allowed is [0, infinity)"),
        ("source.readout = { std = inf }", "readout noise std is inf, allowed is [0, infinity)"),
        (
            "source.drift = { kelvin = nan }",
            "drift kelvin is NaN, allowed is (-infinity, infinity)",
        ),
        ("source.random_drift = { max_kelvin = -2 }", "random_drift max_kelvin is -2, allowed"),
        ("source.quantisation = { bits = 25 }", "quantisation bits is 25, allowed is [1, 24]"),
        ("source.weight = { std = 0.1 }\nlayers = []", "list of layers of a noise source is empty"),
    ] {
        let text = format!("[[noise]]\nsource.drift = {{ kelvin = 1 }}\n\n[[noise]]\n{entry}\n");
        let error = parse(&text).unwrap_err();
        assert!(error.contains(expected), "{entry}: {error}");
        let line = error.split("line ").nth(1).and_then(|rest| rest.split(',').next());
        let line: usize = line.unwrap_or_else(|| panic!("no line: {error}")).parse().unwrap();
        assert!((4..=6).contains(&line), "{entry} is in line 5: {error}");
    }
}
