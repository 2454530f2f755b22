//! Measured curves from CSV.

use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use crate::{Error, Result};

/// What a curve is a function of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The current through a heater, in mA.
    Milliamp,
    /// The voltage across it, in V.
    Volt,
    /// Its power, in mW.
    Milliwatt,
    /// The wavelength, in nm.
    Nanometre,
}

impl Axis {
    const ALL: [(&'static str, Self); 4] = [
        ("mA", Self::Milliamp),
        ("V", Self::Volt),
        ("mW", Self::Milliwatt),
        ("nm", Self::Nanometre),
    ];

    /// Its unit, as in the head of its column.
    #[must_use]
    pub fn unit(self) -> &'static str {
        Self::ALL.iter().find(|(_, axis)| *axis == self).map_or("", |(unit, _)| unit)
    }

    /// From the head of a column, such as `Current (mA)`.
    fn of(head: &str) -> Option<Self> {
        let unit = head.rsplit_once('(')?.1.strip_suffix(')')?.trim();
        Self::ALL.iter().find(|(name, _)| *name == unit).map(|(_, axis)| *axis)
    }
}

/// One measured ring: values (a weight, a transmission) over what was varied.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name: the entry of the column `Label`, or the head of its column.
    pub label: String,
    /// What the first number of a point is.
    pub axis: Axis,
    /// Points, the first numbers rising.
    pub points: Vec<(f64, f64)>,
}

/// Reads the curves of a CSV file.
///
/// # Schema
/// A line of heads, then a line for each sample. The first column is what was varied, its unit in parentheses: `(mA)`, `(V)`, `(mW)`
/// or `(nm)`. With a column `Label` there is one more, of values, and each label is a curve; without one, every further
/// column is a curve called by its head. What was varied rises within a curve.
///
/// ```text
/// Current (mA),Weight,Label        Wavelength (nm),Start,End
/// 0.00,1.005,ring 0                1537.02,0.911,0.895
/// 0.41,0.978,ring 0                1537.07,0.909,0.898
/// 0.00,0.990,ring 1
/// ```
///
/// # Errors
/// If the file cannot be read, a head or a unit is missing, or an entry is no finite number or does not rise: the error names file,
/// line, column and value.
pub fn read_curves(path: &Path) -> Result<Vec<Curve>> {
    let table = |line: u64, column: &str, value: &str, reason: &str| Error::Table {
        path: path.to_owned(),
        line,
        column: column.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    };
    let broken = |error: ::csv::Error| {
        let line = error.position().map_or(1, ::csv::Position::line);
        let reason = match error.kind() {
            ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} entries, the line of heads has {expected_len}")
            }
            _ => error.to_string(),
        };
        table(line, "all", "the line", &reason)
    };
    let file = std::fs::File::open(path)
        .map_err(|source| pnn_core::Error::Io { path: path.to_owned(), source })?;
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let heads = reader.headers().map_err(broken)?.clone();
    let (Some(first), true) = (heads.get(0), heads.len() > 1) else {
        let reason = "is a line of heads with fewer than two columns";
        return Err(table(1, "all", &heads.iter().collect::<Vec<_>>().join(","), reason));
    };
    let Some(axis) = Axis::of(first) else {
        let reason = "is no head with a unit: (mA), (V), (mW) or (nm) is needed";
        return Err(table(1, first, first, reason));
    };
    let label = heads.iter().position(|head| head.eq_ignore_ascii_case("label"));
    if label == Some(0) || (label.is_some() && heads.len() != 3) {
        let reason = "needs two more columns: what was varied, and values";
        return Err(table(1, "Label", &heads.iter().collect::<Vec<_>>().join(","), reason));
    }
    let twice = |place: &usize| heads.iter().take(*place).any(|head| head == &heads[*place]);
    if let Some(place) = (1..heads.len()).find(twice) {
        let head = &heads[place];
        return Err(table(1, head, head, "is the name of two columns: curves are told by it"));
    }
    let mut curves: Vec<Curve> = Vec::new();
    for record in reader.records() {
        let record: StringRecord = record.map_err(broken)?;
        let line = record.position().map_or(0, ::csv::Position::line);
        let number = |column: usize| -> Result<f64> {
            let (head, text) = (&heads[column], &record[column]);
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(table(line, head, text, "is no finite number")),
            }
        };
        let at = number(0)?;
        for column in (1..heads.len()).filter(|column| Some(*column) != label) {
            let name = label.map_or(&heads[column], |label| &record[label]);
            let value = number(column)?;
            let place = curves.iter().position(|curve| curve.label == name);
            let place = place.unwrap_or_else(|| {
                curves.push(Curve { label: name.to_owned(), axis, points: Vec::new() });
                curves.len() - 1
            });
            let points = &mut curves[place].points;
            if let Some((before, _)) = points.last().filter(|(before, _)| at <= *before) {
                let reason = format!(
                    "does not rise: {before} came before it in curve {name:?} (turn a downward sweep round)"
                );
                return Err(table(line, first, &record[0], &reason));
            }
            points.push((at, value));
        }
    }
    if curves.is_empty() {
        return Err(table(2, first, "", "is missing: there is no sample"));
    }
    Ok(curves)
}
