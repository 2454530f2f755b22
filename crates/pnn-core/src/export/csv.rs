//! Settings as CSV: a line for each value.

use std::path::Path;

use ::csv::{ReaderBuilder, WriterBuilder};

use super::json::{type_name, type_of};
use super::{Setting, Settings};
use crate::device::{Bounds, Levels};
use crate::{DType, Error, Result, Tensor};

const HEADS: [&str; 11] =
    ["kind", "layer", "name", "shape", "type", "index", "value", "unit", "low", "high", "code"];
const CONTROL: &str = "control";
const DRIVE: &str = "drive";
/// In front of the checksum, in the first line.
const SUM: &str = "# sha256 of the controls: ";

/// The checksum in a line of comment, then a table. Shapes are as `120x400`, indices count row by row, and numbers are written as what f64 has of
/// them, which is exact.
pub(super) fn written(settings: &Settings) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::Format {
        path: "controls.csv".into(),
        reason: e.to_string(),
    };
    let mut table = WriterBuilder::new().from_writer(Vec::new());
    table.write_record(HEADS).map_err(|e| failed(&e))?;
    let kinds = [(CONTROL, &settings.controls), (DRIVE, &settings.drives)];
    for (kind, setting) in kinds.iter().flat_map(|(kind, all)| all.iter().map(move |s| (kind, s))) {
        let Bounds { low, high } = setting.bounds;
        let shape: Vec<String> = setting.values.dims().iter().map(usize::to_string).collect();
        let codes = settings.converter.as_ref().map(|converter| setting.codes(converter));
        let codes = codes.transpose()?.flatten();
        let wide = setting.values.to_dtype(DType::F64)?;
        for (index, value) in wide.elements::<f64>()?.iter().enumerate() {
            let code = codes.as_ref().map_or(String::new(), |codes| codes[index].to_string());
            let record = [
                (*kind).to_owned(),
                setting.layer.clone(),
                setting.name.clone(),
                shape.join("x"),
                type_name(setting.values.dtype()).to_owned(),
                index.to_string(),
                value.to_string(),
                setting.unit.clone(),
                low.to_string(),
                high.to_string(),
                code,
            ];
            table.write_record(record).map_err(|e| failed(&e))?;
        }
    }
    let table = table.into_inner().map_err(|e| failed(&e))?;
    let table = String::from_utf8(table).map_err(|e| failed(&e))?;
    Ok(format!("{SUM}{}\n{table}", settings.checksum()?))
}

pub(super) fn read(path: &Path) -> Result<(Settings, String)> {
    let format = |reason: String| Error::Format { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let Some((sum, table)) = text.strip_prefix(SUM).and_then(|rest| rest.split_once('\n')) else {
        return Err(format(format!("its first line is not \"{SUM}\" and a checksum")));
    };
    let mut reader = ReaderBuilder::new().from_reader(table.as_bytes());
    let heads = reader.headers().map_err(|e| format(e.to_string()))?;
    if heads != HEADS.as_slice() {
        return Err(format(format!("its columns are not {}", HEADS.join(", "))));
    }
    let mut controls: Vec<(Setting, Vec<f64>, Vec<usize>)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| format(e.to_string()))?;
        // The line of the checksum came before.
        let line = record.position().map_or(0, |position| position.line() + 1);
        let wrong = |column: usize| {
            let (head, value) = (HEADS[column], &record[column]);
            format(format!("line {line}, column {head:?}: {value:?} cannot be used"))
        };
        match &record[0] {
            CONTROL => {}
            DRIVE => continue,
            _ => return Err(wrong(0)),
        }
        let number = |column: usize| record[column].parse::<f64>().map_err(|_| wrong(column));
        let known =
            controls.last().is_some_and(|(s, ..)| s.layer == record[1] && s.name == record[2]);
        if !known {
            let shape = record[3].split('x').filter(|size| !size.is_empty());
            let shape: Option<Vec<usize>> = shape.map(|size| size.parse().ok()).collect();
            let shape = shape.ok_or_else(|| wrong(3))?;
            let setting = Setting {
                layer: record[1].to_owned(),
                name: record[2].to_owned(),
                unit: record[7].to_owned(),
                bounds: Bounds { low: number(8)?, high: number(9)? },
                levels: Levels::Even,
                // Its type; the values come line by line.
                values: Tensor::zeros(0, type_of(&record[4]).map_err(|_| wrong(4))?)?,
            };
            controls.push((setting, Vec::new(), shape));
        }
        let Some((_, values, _)) = controls.last_mut() else { continue };
        if record[5].parse() != Ok(values.len()) {
            return Err(wrong(5));
        }
        values.push(number(6)?);
    }
    let setting = |(setting, values, shape): (Setting, Vec<f64>, Vec<usize>)| -> Result<Setting> {
        let values = Tensor::from_vec(values, shape)?.to_dtype(setting.values.dtype())?;
        Ok(Setting { values, ..setting })
    };
    let controls = controls.into_iter().map(setting).collect::<Result<_>>()?;
    Ok((Settings { controls, drives: Vec::new(), converter: None }, sum.trim().to_owned()))
}
