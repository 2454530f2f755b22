//! Settings go to the lab and come back to the same bits, in every format; what was changed on the way is noticed.

use std::path::Path;
use std::sync::Arc;

use pnn_core::export::{Setting, Settings};
use pnn_core::layers::{Digital, Product};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::{Bounds, DType, Levels, ParamSet, Result, Seed, Tensor, Var, npy};

struct Network {
    layers: Vec<Physical>,
    parameters: ParamSet,
}

impl Network {
    fn new(seed: u64, dtype: DType, names: &[&str], bounds: Bounds) -> Self {
        let layer = |name: &&str| {
            let device = Digital::new(Product::Linear { inputs: 3, outputs: 2 }, bounds);
            Physical::new(*name, Arc::new(device), None, &Seed::new(seed), dtype).unwrap()
        };
        let layers: Vec<Physical> = names.iter().map(layer).collect();
        let parameters = ParamSet::new(layers.iter().flat_map(Physical::parameters)).unwrap();
        Self { layers, parameters }
    }

    fn bits(&self) -> Vec<u64> {
        let of = |p: &pnn_core::Parameter| {
            let value = p.var.value().to_dtype(DType::F64).unwrap();
            value.elements::<f64>().unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        self.parameters.iter().flat_map(of).collect()
    }
}

impl Model for Network {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.layers[0].forward(x, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}

const UNIT: Bounds = Bounds { low: -1.0, high: 1.0 };
const FILES: [&str; 3] = ["controls.csv", "controls.json", "controls.safetensors"];

#[test]
fn what_is_exported_is_imported_to_the_same_bits() {
    for dtype in [DType::F32, DType::F64] {
        for bounds in [UNIT, Bounds::UNBOUNDED] {
            // Not in the order of their names.
            let names = ["second", "first.part", "fc"];
            let network = Network::new(1, dtype, &names, bounds);
            let folder = tempfile::tempdir().unwrap();
            Settings::of(&network, Some(8)).unwrap().write(folder.path()).unwrap();
            for file in FILES {
                let other = Network::new(2, dtype, &names, bounds);
                assert_ne!(other.bits(), network.bits());
                let read = Settings::read(&folder.path().join(file)).unwrap();
                assert_eq!(read.controls[0].unit, "1");
                read.apply(&other).unwrap();
                assert_eq!(other.bits(), network.bits(), "{file} {dtype:?}");
            }
            let array = npy::load(&folder.path().join("fc.weight.npy")).unwrap();
            assert_eq!((array.dims(), array.dtype()), (&[2, 3][..], dtype));
        }
    }
}

#[test]
fn codes_are_those_of_a_converter_over_the_range() {
    let network = Network::new(1, DType::F64, &["fc"], UNIT);
    let values = Tensor::new([[-1.0, 1.0, 0.0], [0.5, -2.0, 3.0]]).unwrap();
    network.parameters.get("fc.weight").unwrap().var.set(&values).unwrap();
    let settings = Settings::of(&network, Some(3)).unwrap();
    // Steps of 2/7; 0 lies between codes 3 and 4 and is rounded up, what is beyond is at the end.
    assert_eq!(settings.controls[0].codes(3).unwrap(), Some(vec![0, 7, 4, 5, 0, 7]));
    // Both ends of a turn are one code, and so are whole turns more: steps of 2/8.
    let turn = Setting { levels: Levels::Periodic, ..settings.controls[0].clone() };
    assert_eq!(turn.codes(3).unwrap(), Some(vec![0, 0, 4, 6, 4, 0]));
    // Seven steps to either side of 0.
    let signed = Setting { levels: Levels::Signed, ..turn };
    assert_eq!(signed.codes(3).unwrap(), Some(vec![-7, 7, 0, 4, -7, 7]));
    let free = Network::new(1, DType::F64, &["fc"], Bounds::UNBOUNDED);
    let settings = Settings::of(&free, Some(3)).unwrap();
    assert_eq!(settings.controls[0].codes(3).unwrap(), None);
    for bits in [0, 25] {
        let error = Settings::of(&network, Some(bits)).unwrap_err().to_string();
        assert_eq!(error, format!("bits of a converter is {bits}, allowed is [1, 24]"));
    }
}

#[test]
fn what_was_changed_or_does_not_fit_is_named() {
    let network = Network::new(1, DType::F32, &["a", "b"], UNIT);
    let folder = tempfile::tempdir().unwrap();
    Settings::of(&network, None).unwrap().write(folder.path()).unwrap();
    let path = |file: &str| folder.path().join(file);
    let error = |path: &Path| Settings::read(path).unwrap_err().to_string();
    // One digit of one value.
    for file in ["controls.csv", "controls.json"] {
        let text = std::fs::read_to_string(path(file)).unwrap();
        let value = network.parameters.get("a.weight").unwrap().var.value();
        let value = f64::from(value.elements::<f32>().unwrap()[0]).to_string();
        let other = text.replacen(&value, "0.123", 1);
        let broken = path("changed.csv").with_extension(&file[9..]);
        std::fs::write(&broken, other).unwrap();
        let error = error(&broken);
        assert!(error.contains("changed") && error.contains("checksum in it is"), "{error}");
    }
    let csv = std::fs::read_to_string(path("controls.csv")).unwrap();
    let broken = |text: &str| {
        std::fs::write(path("broken.csv"), text).unwrap();
        error(&path("broken.csv"))
    };
    assert!(broken("kind,layer\n").contains("its first line is not"));
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        broken(&[lines[0], "kind,layer"].join("\n")).contains("its columns are not kind, layer")
    );
    let line = lines[2].replacen("control", "contrl", 1);
    let text = [lines[0], lines[1], &line].join("\n");
    assert!(broken(&text).contains("line 3, column \"kind\": \"contrl\" cannot be used"));
    let text = [lines[0], lines[1], lines[2], lines[4]].join("\n");
    assert!(broken(&text).contains("line 4, column \"index\": \"2\" cannot be used"));
    assert!(error(&path("controls.toml")).contains("ends in \"toml\"; .csv, .json"));
    assert!(error(&path("absent.json")).contains("absent.json"));

    let settings = Settings::read(&path("controls.json")).unwrap();
    let apply = |names: &[&str], bounds| {
        settings.apply(&Network::new(2, DType::F32, names, bounds)).unwrap_err().to_string()
    };
    assert!(apply(&["a"], UNIT).contains("no control named \"b.weight\"; there is a.weight"));
    assert!(apply(&["a", "b", "c"], UNIT).contains("no setting named \"c.weight\""));
    let other = Bounds { low: 0.0, high: 1.0 };
    let error = apply(&["a", "b"], other);
    assert!(error.contains("a.weight, which is in 1 between 0 and 1 does not support"), "{error}");
}
