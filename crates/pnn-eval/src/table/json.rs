//! Tables as JSON.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::{Cell, Column, Table};
use crate::{Interval, Result};

pub(super) fn write(table: &Table) -> Result<String> {
    Ok(serde_json::to_string_pretty(&Rows(table))?)
}

struct Rows<'a>(&'a Table);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.0.rows();
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for row in rows {
            list.serialize_element(&Row(self.0.columns(), row))?;
        }
        list.end()
    }
}

/// A row keeps the order of its columns, which a `serde_json::Map` would not.
struct Row<'a>(&'a [Column], &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.1.len()))?;
        for (column, cell) in self.0.iter().zip(self.1) {
            object.serialize_key(&column.header())?;
            match cell {
                Cell::Text(text) => object.serialize_value(text)?,
                // serde_json writes non-finite numbers as null.
                Cell::Number(value) => object.serialize_value(&column.value(*value))?,
                Cell::Interval(interval) => {
                    object.serialize_value(&Interval {
                        estimate: column.value(interval.estimate),
                        low: column.value(interval.low),
                        high: column.value(interval.high),
                        ..*interval
                    })?;
                }
                Cell::Missing => object.serialize_value(&())?,
            }
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Column, Interval, Table};
    use proptest::prelude::*;

    #[test]
    fn values_survive() {
        let json = super::super::tests::example().to_json().unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["method"], "SAT, \"in situ\"");
        let interval: Interval = serde_json::from_value(rows[0]["accuracy (%)"].clone()).unwrap();
        assert_eq!(interval.estimate, 97.3);
        assert!(rows[1]["loss"].is_null() && rows[2]["loss"].is_null());
        assert!(json.find("\"method\"") < json.find("\"drift (K)\""));
    }

    proptest! {
        #[test]
        fn is_always_valid(text: String, name in "\\PC{1,8}[a-z]", value: f64) {
            let mut table =
                Table::new("t", vec![Column::text(&name), Column::number("value", 0).unit("nm")]).unwrap();
            table.push(vec![text.as_str().into(), value.into()]).unwrap();
            let rows: Vec<serde_json::Value> = serde_json::from_str(&table.to_json().unwrap()).unwrap();
            prop_assert_eq!(rows[0][&name].as_str().unwrap(), text);
            // From the text, because serde_json's default reader may be off in the last places.
            let json = table.to_json().unwrap();
            let written = json.split_once("\"value (nm)\": ").unwrap().1.split('\n').next().unwrap();
            match written.parse::<f64>() {
                Ok(back) => prop_assert_eq!(back, value),
                Err(_) => prop_assert!(written == "null" && !value.is_finite()),
            }
        }
    }
}
