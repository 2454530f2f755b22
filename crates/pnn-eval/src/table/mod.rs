//! Tables with typed columns, written as Markdown, CSV, JSON or (in a report) HTML.
//!
//! Numbers keep their full precision in CSV and JSON; the decimals of a column are for
//! readers. A percent column takes fractions and shows, and writes, per cent (to 15
//! digits).

mod csv;
mod json;
mod markdown;

use crate::{Error, Interval, Result};

/// One cell of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// Words. They fit into every column, in place of a number too ("not reported").
    Text(String),
    /// A number, in the column's unit; in a percent column, a fraction.
    Number(f64),
    /// A number with its interval, in the column's unit; in a percent column, fractions.
    Interval(Interval),
    /// Nothing is known.
    Missing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<Interval> for Cell {
    fn from(interval: Interval) -> Self {
        Self::Interval(interval)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// What a column holds and how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Interval,
}

/// A column of a [`Table`]: a name, a unit, and what its cells are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    name: String,
    unit: Option<String>,
    kind: Kind,
    percent: bool,
    scientific: bool,
    decimals: usize,
}

impl Column {
    fn new(name: impl Into<String>, kind: Kind, decimals: usize) -> Self {
        // More decimals than an f64 has would only be zeros.
        let decimals = decimals.min(17);
        Self { name: name.into(), unit: None, kind, percent: false, scientific: false, decimals }
    }

    /// A column of words.
    #[must_use]
    pub fn text(name: impl Into<String>) -> Self {
        Self::new(name, Kind::Text, 0)
    }

    /// A column of numbers, shown with so many decimals.
    #[must_use]
    pub fn number(name: impl Into<String>, decimals: usize) -> Self {
        Self::new(name, Kind::Number, decimals)
    }

    /// A column of numbers with intervals (or without, such as a paper's value); CSV
    /// gives it three columns.
    #[must_use]
    pub fn interval(name: impl Into<String>, decimals: usize) -> Self {
        Self::new(name, Kind::Interval, decimals)
    }

    /// A column of fractions shown in per cent.
    #[must_use]
    pub fn percent(name: impl Into<String>, decimals: usize) -> Self {
        Self { percent: true, ..Self::number(name, decimals).unit("%") }
    }

    /// A column of fractions with intervals, shown in per cent.
    #[must_use]
    pub fn percent_interval(name: impl Into<String>, decimals: usize) -> Self {
        Self { percent: true, ..Self::interval(name, decimals).unit("%") }
    }

    /// Sets the unit, shown in the header in parentheses.
    #[must_use]
    pub fn unit(self, unit: impl Into<String>) -> Self {
        Self { unit: Some(unit.into()), ..self }
    }

    /// Shows the numbers as 1.2e-3.
    #[must_use]
    pub fn scientific(self) -> Self {
        Self { scientific: true, ..self }
    }

    /// `name (unit)`, or the name alone.
    #[must_use]
    pub fn header(&self) -> String {
        self.header_of("")
    }

    fn header_of(&self, part: &str) -> String {
        match &self.unit {
            Some(unit) => format!("{}{part} ({unit})", self.name),
            None => format!("{}{part}", self.name),
        }
    }

    /// The headers that the column has in CSV.
    fn csv_headers(&self) -> Vec<String> {
        let parts: &[&str] =
            if self.kind == Kind::Interval { &["", " low", " high"] } else { &[""] };
        parts.iter().map(|part| self.header_of(part)).collect()
    }

    pub(crate) fn is_numeric(&self) -> bool {
        self.kind != Kind::Text
    }

    fn accepts(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Text(_) | Cell::Missing => true,
            Cell::Number(_) => self.kind != Kind::Text,
            Cell::Interval(_) => self.kind == Kind::Interval,
        }
    }

    /// The value in the column's unit.
    fn value(&self, value: f64) -> f64 {
        if !self.percent {
            return value;
        }
        // 0.969 * 100 is 96.89999999999999: 15 digits are what survives the product.
        let percent = 100.0 * value;
        format!("{percent:.14e}").parse().unwrap_or(percent)
    }

    fn format(&self, value: f64) -> String {
        let (value, decimals) = (self.value(value), self.decimals);
        let text = if self.scientific {
            format!("{value:.decimals$e}")
        } else {
            format!("{value:.decimals$}")
        };
        // A rounded -0.00 has no sign to tell.
        match text.strip_prefix('-') {
            Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_owned(),
            _ => text,
        }
    }

    /// The cell as a reader sees it, without any escaping.
    pub(crate) fn display(&self, cell: &Cell) -> String {
        match cell {
            Cell::Text(text) => text.clone(),
            Cell::Number(value) => self.format(*value),
            Cell::Interval(Interval { estimate, low, high, .. }) => {
                format!(
                    "{} [{}, {}]",
                    self.format(*estimate),
                    self.format(*low),
                    self.format(*high)
                )
            }
            Cell::Missing => "–".into(),
        }
    }
}

/// A table with a caption, typed columns and rows.
///
/// ```
/// use pnn_eval::{Cell, Column, Table, interval::wilson};
/// let mut table = Table::new("Accuracy after the drift", vec![
///     Column::text("method"),
///     Column::number("drift", 1).unit("K"),
///     Column::percent_interval("accuracy", 1),
/// ])?;
/// table.push(vec!["BP".into(), 1.0.into(), wilson(512, 1000, 0.95)?.into()])?;
/// table.push(vec!["paper".into(), 1.0.into(), Cell::Missing])?;
/// assert_eq!(table.to_markdown(), "\
/// | method | drift (K) |      accuracy (%) |
/// |:-------|----------:|------------------:|
/// | BP     |       1.0 | 51.2 [48.1, 54.3] |
/// | paper  |       1.0 |                 – |
/// ");
/// # Ok::<(), pnn_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    highlighted: Option<usize>,
}

impl Table {
    /// An empty table.
    ///
    /// # Errors
    /// Without columns, with a column without a name, or with two columns that would
    /// have the same header in any of the formats.
    pub fn new(caption: impl Into<String>, columns: Vec<Column>) -> Result<Self> {
        let mut seen = std::collections::HashSet::new();
        if columns.is_empty() {
            return Err(Error::Column { name: String::new(), reason: "a table needs a column" });
        }
        for column in &columns {
            let fail = |reason| Err(Error::Column { name: column.header(), reason });
            if column.name.trim().is_empty() {
                return fail("it has no name");
            }
            if column.csv_headers().into_iter().any(|header| !seen.insert(header)) {
                return fail("another column has the same header");
            }
        }
        Ok(Self { caption: caption.into(), columns, rows: Vec::new(), highlighted: None })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If it has not one cell a column, or a number stands in a text column, or an
    /// interval outside an interval column.
    pub fn push(&mut self, row: Vec<Cell>) -> Result<()> {
        if row.len() != self.columns.len() {
            return Err(Error::Length {
                what: format!("row {} of the table {:?}", self.rows.len(), self.caption),
                got: row.len(),
                expected: self.columns.len(),
            });
        }
        for (column, cell) in self.columns.iter().zip(&row) {
            if !column.accepts(cell) {
                return Err(Error::Cell {
                    column: column.header(),
                    expected: if column.kind == Kind::Text { "text" } else { "single numbers" },
                    got: if matches!(cell, Cell::Interval(_)) { "an interval" } else { "a number" },
                });
            }
        }
        self.rows.push(row);
        Ok(())
    }

    /// Marks the column that a report sets off from the others.
    ///
    /// # Errors
    /// If no column has this name.
    pub fn highlight(mut self, name: &str) -> Result<Self> {
        self.highlighted = self.columns.iter().position(|column| column.name == name);
        match self.highlighted {
            Some(_) => Ok(self),
            None => {
                Err(Error::Column { name: name.into(), reason: "the table has no such column" })
            }
        }
    }

    /// The caption.
    #[must_use]
    pub fn caption(&self) -> &str {
        &self.caption
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The rows, each with one cell a column.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    pub(crate) fn highlighted(&self) -> Option<usize> {
        self.highlighted
    }

    /// A GitHub-flavoured Markdown table, aligned in plain text too, without the caption.
    /// Characters with a meaning in Markdown are escaped.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::write(self)
    }

    /// CSV as of RFC 4180 (comma, CRLF, quotes doubled), with a header line. Numbers have
    /// full precision; an interval column becomes `name`, `name low` and `name high`;
    /// missing cells are empty; non-finite numbers read `NaN`, `inf`, `-inf`.
    #[must_use]
    pub fn to_csv(&self) -> String {
        csv::write(self)
    }

    /// JSON: an array with an object a row, keyed by header. Numbers have full precision;
    /// an interval is an object as [`Interval`] serialises; missing cells and non-finite
    /// numbers are `null`.
    ///
    /// # Errors
    /// Only if `serde_json` fails to write a string.
    pub fn to_json(&self) -> Result<String> {
        json::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    pub(super) fn example() -> Table {
        let interval = Interval {
            estimate: 0.973,
            low: 0.969,
            high: 0.976,
            level: 0.95,
            method: Method::Wilson,
        };
        let mut table = Table::new(
            "Accuracy",
            vec![
                Column::text("method"),
                Column::number("drift", 1).unit("K"),
                Column::percent_interval("accuracy", 1),
                Column::number("loss", 1).scientific(),
            ],
        )
        .unwrap();
        table
            .push(vec!["SAT, \"in situ\"".into(), 0.5.into(), interval.into(), 0.00123.into()])
            .unwrap();
        table.push(vec!["a|b\nc".into(), (-0.01).into(), 0.5.into(), f64::NAN.into()]).unwrap();
        table
            .push(vec!["paper".into(), Cell::Missing, "not reported".into(), Cell::Missing])
            .unwrap();
        table
    }

    #[test]
    fn columns_must_be_told_apart_in_every_format() {
        let fails = |columns| matches!(Table::new("t", columns), Err(Error::Column { .. }));
        assert!(fails(vec![]));
        assert!(fails(vec![Column::text(" ")]));
        assert!(fails(vec![Column::text("a"), Column::number("a", 1)]));
        assert!(fails(vec![Column::interval("a", 1), Column::number("a low", 1)]));
        assert!(!fails(vec![Column::number("a", 1).unit("K"), Column::number("a", 1).unit("nm")]));
    }

    #[test]
    fn rows_must_fit_the_columns() {
        let mut table = example();
        assert!(matches!(table.push(vec![]), Err(Error::Length { got: 0, expected: 4, .. })));
        let row = vec![1.0.into(), Cell::Missing, Cell::Missing, Cell::Missing];
        assert!(matches!(table.push(row), Err(Error::Cell { .. })));
        let interval = table.rows[0][2].clone();
        let row = vec!["x".into(), interval, Cell::Missing, Cell::Missing];
        assert!(matches!(table.push(row), Err(Error::Cell { got: "an interval", .. })));
        assert_eq!(table.rows().len(), 3);
    }

    #[test]
    fn highlighting_needs_the_column() {
        assert_eq!(example().highlight("accuracy").unwrap().highlighted(), Some(2));
        assert!(example().highlight("speed").is_err());
    }
}
