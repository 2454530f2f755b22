//! Tables as Markdown.

use super::Table;

pub(super) fn write(table: &Table) -> String {
    let columns = table.columns();
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|column| escape(&column.header())).collect()];
    for row in table.rows() {
        lines.push(
            columns
                .iter()
                .zip(row)
                .map(|(column, cell)| match cell {
                    // Only words can hold markup; `[` is left alone so that intervals,
                    // which our own code writes, stay readable in plain text.
                    super::Cell::Text(text) => escape(text),
                    _ => column.display(cell),
                })
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        for ((text, width), column) in line.iter().zip(&widths).zip(columns) {
            let padding = " ".repeat(width - text.chars().count());
            out += &if column.is_numeric() {
                format!("| {padding}{text} ")
            } else {
                format!("| {text}{padding} ")
            };
        }
        out += "|\n";
        if number == 0 {
            for (width, column) in widths.iter().zip(columns) {
                let dashes = "-".repeat(width + 1);
                out += &if column.is_numeric() {
                    format!("|{dashes}:")
                } else {
                    format!("|:{dashes}")
                };
            }
            out += "|\n";
        }
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out += "&lt;",
            '&' => out += "&amp;",
            '|' | '\\' | '`' | '*' | '_' | '[' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn golden() {
        assert_eq!(
            super::super::tests::example().to_markdown(),
            "\
| method         | drift (K) |      accuracy (%) |   loss |
|:---------------|----------:|------------------:|-------:|
| SAT, \"in situ\" |       0.5 | 97.3 [96.9, 97.6] | 1.2e-3 |
| a\\|b c         |       0.0 |              50.0 |    NaN |
| paper          |         – |      not reported |      – |
"
        );
    }

    #[test]
    fn markup_in_words_is_escaped() {
        assert_eq!(super::escape("a_b|`*<x>&\\\r\n["), "a\\_b\\|\\`\\*&lt;x>&amp;\\\\  \\[");
    }
}
