//! Settings as JSON.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Converter, Setting, Settings};
use crate::device::{Bounds, Levels};
use crate::{DType, Error, Result, Tensor};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Of the controls.
    sha256: String,
    converter: Option<Converter>,
    controls: Vec<Entry>,
    drives: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    layer: String,
    name: String,
    unit: String,
    /// None if there is no limit.
    low: Option<f64>,
    high: Option<f64>,
    /// `f32` or `f64`; values are written as what f64 has of them, which is exact.
    dtype: String,
    shape: Vec<usize>,
    /// Row by row.
    values: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<i32>>,
}

impl Entry {
    fn of(setting: &Setting, converter: Option<&Converter>) -> Result<Self> {
        let Bounds { low, high } = setting.bounds;
        let limit = |value: f64| Some(value).filter(|value| value.is_finite());
        Ok(Self {
            layer: setting.layer.clone(),
            name: setting.name.clone(),
            unit: setting.unit.clone(),
            low: limit(low),
            high: limit(high),
            dtype: type_name(setting.values.dtype()).to_owned(),
            shape: setting.values.dims().to_vec(),
            values: setting.values.to_dtype(DType::F64)?.elements::<f64>()?.to_vec(),
            codes: converter.map(|converter| setting.codes(converter)).transpose()?.flatten(),
        })
    }

    fn setting(self) -> Result<Setting> {
        let bounds = Bounds {
            low: self.low.unwrap_or(f64::NEG_INFINITY),
            high: self.high.unwrap_or(f64::INFINITY),
        };
        let values = Tensor::from_vec(self.values, self.shape)?.to_dtype(type_of(&self.dtype)?)?;
        let Self { layer, name, unit, .. } = self;
        Ok(Setting { layer, name, unit, bounds, levels: Levels::Even, values })
    }
}

pub(super) fn type_name(dtype: DType) -> &'static str {
    if dtype == DType::F32 { "f32" } else { "f64" }
}

pub(super) fn type_of(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "f64" => Ok(DType::F64),
        other => Err(Error::unknown("type of numbers", other, ["f32", "f64"])),
    }
}

pub(super) fn written(settings: &Settings) -> Result<String> {
    let entries = |of: &[Setting]| -> Result<Vec<Entry>> {
        of.iter().map(|setting| Entry::of(setting, settings.converter.as_ref())).collect()
    };
    let file = File {
        sha256: settings.checksum()?,
        converter: settings.converter,
        controls: entries(&settings.controls)?,
        drives: entries(&settings.drives)?,
    };
    serde_json::to_string(&file)
        .map_err(|e| Error::Format { path: "controls.json".into(), reason: e.to_string() })
}

pub(super) fn read(path: &Path) -> Result<(Settings, String)> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let file: File = serde_json::from_str(&text)
        .map_err(|e| Error::Format { path: path.to_owned(), reason: e.to_string() })?;
    let controls = file.controls.into_iter().map(Entry::setting).collect::<Result<_>>()?;
    Ok((Settings { controls, drives: Vec::new(), converter: file.converter }, file.sha256))
}
