//! Settings for the lab: what was trained, with units, bounds and the codes of converters, in files that other programs
//! read, and back to the same bits. Feature `export`.
//!
//! ```
//! use pnn_core::export::{Converter, Settings};
//! fn to_the_lab(trained: &dyn pnn_core::Model) -> pnn_core::Result<()> {
//!     // controls.csv, controls.json, controls.safetensors and a .npy file for each control; codes of 12 bits over
//!     // each control's own range (`over` gives the converter's).
//!     let converter = Converter { bits: 12, over: None };
//!     Settings::of(trained, Some(converter))?.write("chip-7".as_ref())?;
//!     let again = Settings::read("chip-7/controls.csv".as_ref())?;
//!     again.apply(trained)
//! }
//! ```

mod csv;
mod json;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::{Bounds, Levels};
use crate::model::{Model, Physical};
use crate::{DType, Error, Result, Tensor, npy, store};

/// The settings of all devices of a model.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is trained, layer by layer.
    pub controls: Vec<Setting>,
    /// What the electronics program, [`drives`](crate::device::PhysicalLayer::drives): often the controls themselves.
    pub drives: Vec<Setting>,
    /// The converters that set them, if codes are wanted.
    pub converter: Option<Converter>,
}

/// What turns codes into settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Converter {
    /// Its resolution, 1 to 24.
    pub bits: u32,
    /// What its first and last code set, in the unit of the settings. Without it, each setting's own bounds.
    pub over: Option<Bounds>,
}

/// The values of one control, or of what electronics program.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Name of the layer.
    pub layer: String,
    /// Name of the control; of a drive, that of the deviation port at which an error of it enters.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What it may be.
    pub bounds: Bounds,
    /// Which values between its bounds a converter can set.
    pub levels: Levels,
    /// Its values.
    pub values: Tensor,
}

impl Setting {
    /// The code of each value, row by row, as [`Levels::code`] has it. None without a range.
    ///
    /// # Errors
    /// If the values cannot be read.
    pub fn codes(&self, converter: &Converter) -> Result<Option<Vec<i32>>> {
        let range = converter.over.unwrap_or(self.bounds);
        if !(range.low.is_finite() && range.high.is_finite()) {
            return Ok(None);
        }
        let wide = self.values.to_dtype(DType::F64)?;
        let code = |value: &f64| self.levels.code(*value, range, converter.bits);
        Ok(Some(wide.elements::<f64>()?.iter().map(code).collect()))
    }

    /// Refuses what is no number, or lies beyond what `who` can do.
    fn check(&self, who: &str, Bounds { low, high }: Bounds) -> Result<()> {
        let unit = if self.unit == "1" { String::new() } else { format!(" {}", self.unit) };
        let wide = self.values.to_dtype(DType::F64)?;
        let beyond = |value: &&f64| !(value.is_finite() && (low..=high).contains(*value));
        match wide.elements::<f64>()?.iter().find(beyond) {
            Some(value) => Err(Error::Unsupported {
                device: format!("{who} of {}, from {low} to {high}{unit},", self.key()),
                capability: format!("a setting of {value}"),
            }),
            None => Ok(()),
        }
    }

    /// `layer.name`.
    fn key(&self) -> String {
        format!("{}.{}", self.layer, self.name)
    }
}

/// Name of the files, without their ending.
const STEM: &str = "controls";
/// What the tensors of codes end in.
const CODE: &str = ".code";

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Settings {
    /// The present settings of a model, with the codes of converters if there are any.
    ///
    /// # Errors
    /// If a device cannot say what it programs, a control is no number or beyond its bounds, the bits lie outside [1, 24] or their range is none, or a setting
    /// beyond what the converter can set.
    pub fn of(model: &dyn Model, converter: Option<Converter>) -> Result<Self> {
        if let Some(Converter { bits, .. }) = converter.filter(|c| !(1..=24).contains(&c.bits)) {
            let (what, value) = ("bits of a converter".into(), f64::from(bits));
            return Err(Error::Range { what, value, allowed: "[1, 24]" });
        }
        if let Some(Bounds { low, high }) = converter.and_then(|converter| converter.over)
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            let (what, value) = ("range of a converter".into(), high - low);
            return Err(Error::Range { what, value, allowed: "(0, infinity)" });
        }
        let (controls, drives) = of_layers(model)?;
        for control in &controls {
            control.check("the device", control.bounds)?;
        }
        if let Some(range) = converter.and_then(|converter| converter.over) {
            let all = controls.iter().chain(&drives);
            for set in all.filter(|set| set.levels != Levels::Periodic) {
                set.check("the converter", range)?;
            }
        }
        Ok(Self { controls, drives, converter })
    }

    /// SHA-256 over names, units, bounds, shapes, types and values of the controls, in hexadecimal.
    ///
    /// # Errors
    /// If values cannot be read.
    pub fn checksum(&self) -> Result<String> {
        let mut hash = Sha256::new();
        // Files keep them in an order of their own.
        let mut sorted: Vec<&Setting> = self.controls.iter().collect();
        sorted.sort_by_key(|setting| setting.key());
        for setting in sorted {
            let Bounds { low, high } = setting.bounds;
            let (dims, dtype) = (setting.values.dims(), setting.values.dtype());
            let head = format!(
                "{}\n{}\n{low:?} {high:?}\n{dims:?} {dtype:?}\n",
                setting.key(),
                setting.unit
            );
            hash.update(head.as_bytes());
            match dtype {
                DType::F32 => {
                    setting
                        .values
                        .elements::<f32>()?
                        .iter()
                        .for_each(|v| hash.update(v.to_le_bytes()));
                }
                _ => {
                    let wide = setting.values.to_dtype(DType::F64)?;
                    wide.elements::<f64>()?.iter().for_each(|v| hash.update(v.to_le_bytes()));
                }
            }
        }
        Ok(hexadecimal(hash))
    }

    /// Writes `controls.csv`, `controls.json`, `controls.safetensors` and `LAYER.CONTROL.npy` into a folder, each
    /// whole or not at all, and last `SHA256SUMS`, which says that all of them are of one set (`sha256sum -c SHA256SUMS`).
    /// Units, bounds and codes are in the first three (codes in safetensors as tensors `LAYER.CONTROL.code`).
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let file = |ending: &str| folder.join(format!("{STEM}.{ending}"));
        store::write_atomic(&file("csv"), csv::written(self)?.as_bytes())?;
        store::write_atomic(&file("json"), json::written(self)?.as_bytes())?;
        let mut tensors: BTreeMap<String, Tensor> =
            self.controls.iter().map(|s| (s.key(), s.values.clone())).collect();
        for setting in &self.controls {
            let codes = self.converter.as_ref().map(|converter| setting.codes(converter));
            let Some(codes) = codes.transpose()?.flatten() else { continue };
            // Of 24 bits and a sign at most, which f32 has exactly.
            let codes: Vec<f32> = codes.into_iter().map(|code| code as f32).collect();
            let codes = Tensor::from_vec(codes, setting.values.shape().clone())?;
            tensors.insert(format!("{}{CODE}", setting.key()), codes);
        }
        store::save(&file("safetensors"), &tensors, &self.metadata()?)?;
        let mut names =
            ["csv", "json", "safetensors"].map(|ending| format!("{STEM}.{ending}")).to_vec();
        for setting in &self.controls {
            let name = format!("{}.npy", setting.key());
            npy::save(&folder.join(&name), &setting.values)?;
            names.push(name);
        }
        let mut sums = String::new();
        for name in names {
            let path = folder.join(&name);
            let content = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
            sums += &format!("{}  {name}\n", hexadecimal(Sha256::new().chain_update(content)));
        }
        store::write_atomic(&folder.join("SHA256SUMS"), sums.as_bytes())
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let mut metadata = BTreeMap::from([("sha256".to_owned(), self.checksum()?)]);
        if let Some(converter) = self.converter {
            let text = serde_json::to_string(&converter);
            let text =
                text.map_err(|e| Error::Format { path: STEM.into(), reason: e.to_string() })?;
            metadata.insert("converter".to_owned(), text);
        }
        for setting in &self.controls {
            let Bounds { low, high } = setting.bounds;
            let key = setting.key();
            metadata.insert(format!("{key}.layer"), setting.layer.clone());
            metadata.insert(format!("{key}.unit"), setting.unit.clone());
            metadata.insert(format!("{key}.low"), low.to_string());
            metadata.insert(format!("{key}.high"), high.to_string());
        }
        Ok(metadata)
    }

    /// Reads what [`write`](Self::write) wrote: a file that ends in `.csv`, `.json` or `.safetensors`. Drives and codes follow from the
    /// controls, and are not read.
    ///
    /// # Errors
    /// If the file is missing, malformed or of another kind, or its checksum is not that of its content.
    pub fn read(path: &Path) -> Result<Self> {
        let (settings, sum) = match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => csv::read(path)?,
            Some("json") => json::read(path)?,
            Some("safetensors") => from_tensors(path)?,
            other => {
                let reason = format!(
                    "ends in {:?}; .csv, .json and .safetensors can be read",
                    other.unwrap_or_default()
                );
                return Err(Error::Format { path: path.to_owned(), reason });
            }
        };
        let own = settings.checksum()?;
        if own == sum {
            for control in &settings.controls {
                control.check("the device", control.bounds)?;
            }
            return Ok(settings);
        }
        let reason = format!(
            "the checksum in it is {sum}, that of its settings {own}: it was changed or damaged"
        );
        Err(Error::Format { path: path.to_owned(), reason })
    }

    /// Sets the controls of a model.
    ///
    /// # Errors
    /// If the model lacks a control, has another one of which there are no settings, or a shape, a unit or bounds differ.
    pub fn apply(&self, model: &dyn Model) -> Result<()> {
        let (present, _) = of_layers(model)?;
        let known = || present.iter().map(Setting::key).collect::<Vec<_>>();
        for setting in &self.controls {
            let key = setting.key();
            let Some(own) = present.iter().find(|own| own.key() == key) else {
                let known = known();
                return Err(Error::unknown("control", &key, known.iter().map(String::as_str)));
            };
            if own.unit != setting.unit || own.bounds != setting.bounds {
                let words = |s: &Setting| {
                    format!("in {} between {} and {}", s.unit, s.bounds.low, s.bounds.high)
                };
                return Err(Error::Unsupported {
                    device: format!("{key}, which is {}", words(own)),
                    capability: format!("settings {}", words(setting)),
                });
            }
        }
        if let Some(missing) =
            present.iter().find(|own| !self.controls.iter().any(|s| s.key() == own.key()))
        {
            let given: Vec<String> = self.controls.iter().map(Setting::key).collect();
            let key = missing.key();
            return Err(Error::unknown("setting", &key, given.iter().map(String::as_str)));
        }
        let parameters = model.parameters();
        for setting in &self.controls {
            let var = &parameters.get(&setting.key())?.var;
            if var.dims() != setting.values.dims() {
                let want = format!("{:?}", var.dims());
                return Err(Error::shape(&setting.key(), &setting.values, want));
            }
            var.set(&setting.values.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }
}

/// Controls and drives of all layers.
fn of_layers(model: &dyn Model) -> Result<(Vec<Setting>, Vec<Setting>)> {
    let (mut controls, mut drives) = (Vec::new(), Vec::new());
    for layer in model.physical_layers() {
        let (own, programmed) = of_layer(layer)?;
        controls.extend(own);
        drives.extend(programmed);
    }
    Ok((controls, drives))
}

/// Controls and drives of a layer.
fn of_layer(layer: &Physical) -> Result<(Vec<Setting>, Vec<Setting>)> {
    let (device, set) = (layer.device(), layer.controls().detach());
    let setting = |name: &str, unit: &str, bounds, levels, values: &Tensor| Setting {
        layer: layer.name().to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        bounds,
        levels,
        values: values.detach(),
    };
    let controls = device.controls().iter().map(|control| {
        Ok(setting(
            control.name,
            control.unit,
            control.bounds,
            Levels::Even,
            set.get(control.name)?,
        ))
    });
    let controls = controls.collect::<Result<_>>()?;
    let drives = device.drives(&set)?.into_iter().map(|drive| {
        let port = device.ports().iter().find(|port| port.name == drive.port);
        let unit = port.map_or("1", |port| port.unit);
        setting(drive.port, unit, drive.range, drive.levels, &drive.setting)
    });
    Ok((controls, drives.collect()))
}

fn from_tensors(path: &Path) -> Result<(Settings, String)> {
    let format = |reason: String| Error::Format { path: path.to_owned(), reason };
    let (tensors, metadata) = store::load(path)?;
    let of = |key: String| {
        metadata.get(&key).ok_or_else(|| format(format!("its metadata have no {key:?}")))
    };
    let number = |key: String| -> Result<f64> {
        let text = of(key.clone())?;
        text.parse().map_err(|_| format(format!("{key:?} is {text:?}, which is no number")))
    };
    let mut controls = Vec::new();
    for (key, values) in tensors {
        if key.ends_with(CODE) && !metadata.contains_key(&format!("{key}.layer")) {
            continue;
        }
        let layer = of(format!("{key}.layer"))?.clone();
        let name = key.strip_prefix(&format!("{layer}.")).unwrap_or(&key).to_owned();
        let unit = of(format!("{key}.unit"))?.clone();
        let bounds =
            Bounds { low: number(format!("{key}.low"))?, high: number(format!("{key}.high"))? };
        controls.push(Setting { layer, name, unit, bounds, levels: Levels::Even, values });
    }
    let sum = of("sha256".into())?.clone();
    Ok((Settings { controls, drives: Vec::new(), converter: None }, sum))
}
