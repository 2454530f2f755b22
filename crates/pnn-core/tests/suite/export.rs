//! Settings go to the lab and come back to the same bits, in every format; what was changed on the way is noticed.

use std::path::Path;
use std::sync::Arc;

use pnn_core::export::{Converter, Setting, Settings};
use pnn_core::layers::{Digital, Product};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::{Bounds, DType, Levels, ParamSet, Result, Seed, Tensor, Var, npy, store};

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
            let converter = Converter { bits: 8, over: None };
            let settings = Settings::of(&network, Some(converter)).unwrap();
            settings.write(folder.path()).unwrap();
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
    let three = Converter { bits: 3, over: None };
    let settings = Settings::of(&network, Some(three)).unwrap();
    let set = Setting { values, ..settings.controls[0].clone() };
    // Steps of 2/7; 0 lies between codes 3 and 4 and is rounded up, what is beyond is at the end.
    assert_eq!(set.codes(&three).unwrap(), Some(vec![0, 7, 4, 5, 0, 7]));
    // Steps of 1 over the converter's own range.
    let wide = Converter { over: Some(Bounds { low: -3.0, high: 4.0 }), ..three };
    assert_eq!(set.codes(&wide).unwrap(), Some(vec![2, 4, 3, 4, 1, 6]));
    // Both ends of a turn are one code, and so are whole turns more: steps of 2/8.
    let turn = Setting { levels: Levels::Periodic, ..set };
    assert_eq!(turn.codes(&three).unwrap(), Some(vec![0, 0, 4, 6, 4, 0]));
    // Seven steps to either side of 0.
    let signed = Setting { levels: Levels::Signed, ..turn };
    assert_eq!(signed.codes(&three).unwrap(), Some(vec![-7, 7, 0, 4, -7, 7]));
    let free = Network::new(1, DType::F64, &["fc"], Bounds::UNBOUNDED);
    let settings = Settings::of(&free, Some(three)).unwrap();
    assert_eq!(settings.controls[0].codes(&three).unwrap(), None);
    for bits in [0, 25] {
        let converter = Converter { bits, over: None };
        let error = Settings::of(&network, Some(converter)).unwrap_err().to_string();
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

#[test]
fn what_no_lab_can_set_is_refused() {
    let network = Network::new(1, DType::F64, &["fc"], UNIT);
    let set = |value: f64| {
        let values = Tensor::full(value, [2, 3]).unwrap();
        network.parameters.get("fc.weight").unwrap().var.set(&values).unwrap();
    };
    let error = |over: Option<Bounds>| {
        let converter = Converter { bits: 8, over };
        Settings::of(&network, Some(converter)).unwrap_err().to_string()
    };
    set(f64::NAN);
    let device = "the device of fc.weight, from -1 to 1, does not support a setting of";
    assert_eq!(error(None), format!("{device} NaN"));
    set(1.5);
    assert_eq!(error(None), format!("{device} 1.5"));
    set(0.5);
    let narrow = error(Some(Bounds { low: 0.0, high: 0.25 }));
    let converter = "the converter of fc.weight, from 0 to 0.25, does not support a setting of 0.5";
    assert_eq!(narrow, converter);
    for none in [Bounds::UNBOUNDED, Bounds { low: 1.0, high: 1.0 }] {
        let none = error(Some(none));
        assert!(none.starts_with("range of a converter is") && none.ends_with("(0, infinity)"));
    }
    // A file may say so, too.
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::of(&network, None).unwrap();
    settings.controls[0].values = Tensor::full(-7.0, [2, 3]).unwrap();
    settings.write(folder.path()).unwrap();
    let read = Settings::read(&folder.path().join("controls.csv")).unwrap_err().to_string();
    assert_eq!(read, format!("{device} -7"));
}

#[test]
fn a_folder_says_what_is_of_one_set() {
    let network = Network::new(1, DType::F32, &["fc"], UNIT);
    let folder = tempfile::tempdir().unwrap();
    let converter = Converter { bits: 12, over: None };
    let settings = Settings::of(&network, Some(converter)).unwrap();
    settings.write(folder.path()).unwrap();
    let sums = std::fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
    let names: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(names, ["controls.csv", "controls.json", "controls.safetensors", "fc.weight.npy"]);
    let (tensors, metadata) = store::load(&folder.path().join("controls.safetensors")).unwrap();
    assert_eq!(metadata["converter"], r#"{"bits":12,"over":null}"#);
    let codes = tensors["fc.weight.code"].to_dtype(DType::F64).unwrap();
    let codes: Vec<i32> =
        codes.elements::<f64>().unwrap().iter().map(|code| *code as i32).collect();
    assert_eq!(Some(codes), settings.controls[0].codes(&converter).unwrap());
}

/// The f32 nearest to 0.1 and -0.1 lie beyond them.
#[test]
fn bounds_that_f32_lacks_are_kept() {
    let bounds = Bounds { low: -0.1, high: 0.1 };
    assert!(f64::from(0.1f32) > 0.1);
    let network = Network::new(1, DType::F32, &["fc"], bounds);
    let values = Tensor::new([[-9.0f32, 9.0, 0.0], [0.05, -0.1, 0.1]]).unwrap();
    network.parameters.get("fc.weight").unwrap().var.set(&values).unwrap();
    network.parameters.clamp_to_bounds().unwrap();
    Settings::of(&network, None).unwrap();
}
