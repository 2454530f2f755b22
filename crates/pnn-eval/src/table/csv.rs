//! Tables as CSV.

use super::{Cell, Column, Kind, Table};

pub(super) fn write(table: &Table) -> String {
    let mut out = String::new();
    line(&mut out, table.columns().iter().flat_map(Column::csv_headers));
    for row in table.rows() {
        line(
            &mut out,
            table.columns().iter().zip(row).flat_map(|(column, cell)| fields(column, cell)),
        );
    }
    out
}

fn fields(column: &Column, cell: &Cell) -> Vec<String> {
    let number = |value: f64| column.value(value).to_string();
    let mut fields = match cell {
        Cell::Text(text) => vec![text.clone()],
        Cell::Number(value) => vec![number(*value)],
        Cell::Interval(interval) => {
            [interval.estimate, interval.low, interval.high].map(number).to_vec()
        }
        Cell::Missing => vec![String::new()],
    };
    if column.kind == Kind::Interval {
        fields.resize(3, String::new());
    }
    fields
}

fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (i, field) in fields.enumerate() {
        if i > 0 {
            out.push(',');
        }
        let plain = !field.contains([',', '"', '\r', '\n']) && field.trim() == field;
        *out += &if plain { field } else { format!("\"{}\"", field.replace('"', "\"\"")) };
    }
    *out += "\r\n";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden() {
        assert_eq!(
            super::super::tests::example().to_csv(),
            "method,drift (K),accuracy (%),accuracy low (%),accuracy high (%),loss\r\n\
             \"SAT, \"\"in situ\"\"\",0.5,97.3,96.9,97.6,0.00123\r\n\
             \"a|b\nc\",-0.01,50,,,NaN\r\n\
             paper,,not reported,,,\r\n"
        );
    }

    /// A reader of RFC 4180, to read back what was written.
    fn read(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
        let (mut quoted, mut chars) = (false, text.chars().peekable());
        while let Some(c) = chars.next() {
            match (c, quoted) {
                ('"', true) if chars.peek() == Some(&'"') => field.extend(chars.next()),
                ('"', _) => quoted = !quoted,
                (',', false) => row.push(std::mem::take(&mut field)),
                ('\r', false) if chars.next_if_eq(&'\n').is_some() => {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                (other, _) => field.push(other),
            }
        }
        rows
    }

    proptest! {
        #[test]
        fn round_trip(texts in proptest::collection::vec("[a,\"\r\n \u{e9}]{0,8}", 1..6), value: f64) {
            let mut table =
                Table::new("t", vec![Column::text("text"), Column::number("value", 0)]).unwrap();
            for text in &texts {
                table.push(vec![text.as_str().into(), value.into()]).unwrap();
            }
            let rows = read(&table.to_csv());
            prop_assert_eq!(rows.len(), texts.len() + 1);
            for (row, text) in rows[1..].iter().zip(&texts) {
                prop_assert_eq!(&row[0], text);
                let back: f64 = row[1].parse().unwrap();
                prop_assert!(back == value || value.is_nan());
            }
        }
    }
}
