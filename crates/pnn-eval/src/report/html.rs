//! A report as HTML.

use std::fmt::Write;

use super::Report;
use super::inline::{escape, markup};
use super::section::{Part, Section};
use crate::{Cell, Table};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n</header>\n<main>\n"
    );
    summary(&mut out, report);
    provenance(&mut out, report);
    contents(&mut out, report);
    for (number, content) in report.sections.iter().enumerate() {
        section(&mut out, number + 1, content);
    }
    out + "</main>\n</body>\n</html>\n"
}

/// Appends formatted text; writing to a `String` cannot fail.
macro_rules! push {
    ($out:expr, $($arguments:tt)*) => { let _ = write!($out, $($arguments)*); };
}

fn summary(out: &mut String, report: &Report) {
    if report.summary.is_empty() {
        return;
    }
    push!(out, "<section class=\"summary\" aria-label=\"Summary\">\n");
    for text in &report.summary {
        push!(out, "<p>{}</p>\n", markup(text));
    }
    push!(out, "</section>\n");
}

fn provenance(out: &mut String, report: &Report) {
    if report.provenance.is_empty() {
        return;
    }
    push!(out, "<section class=\"provenance\" aria-label=\"Provenance\">\n<dl>\n");
    for (key, value) in &report.provenance {
        push!(out, "<div><dt>{}</dt><dd>{}</dd></div>\n", escape(key), markup(value));
    }
    push!(out, "</dl>\n</section>\n");
}

fn contents(out: &mut String, report: &Report) {
    if report.sections.len() < 2 {
        return;
    }
    push!(out, "<nav aria-label=\"Contents\">\n<ol>\n");
    for (number, section) in report.sections.iter().enumerate() {
        let verdicts: String = section
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Verdict(verdict, _) => Some(format!(
                    " <span class=\"badge {}\">{}</span>",
                    verdict.css_class(),
                    verdict.words()
                )),
                _ => None,
            })
            .collect();
        push!(
            out,
            "<li><a href=\"#section-{}\">{}</a>{verdicts}</li>\n",
            number + 1,
            escape(&section.heading)
        );
    }
    push!(out, "</ol>\n</nav>\n");
}

fn section(out: &mut String, number: usize, section: &Section) {
    push!(out, "<section id=\"section-{number}\">\n<h2>{}</h2>\n", escape(&section.heading));
    for part in &section.parts {
        match part {
            Part::Subheading(text) => {
                push!(out, "<h3>{}</h3>\n", escape(text));
            }
            Part::Paragraph(text) => {
                push!(out, "<p>{}</p>\n", markup(text));
            }
            Part::Bullets(items) => {
                let items: String =
                    items.iter().map(|item| format!("<li>{}</li>\n", markup(item))).collect();
                push!(out, "<ul>\n{items}</ul>\n");
            }
            Part::Table(content) => table(out, content),
            Part::Figure { svg, caption } => {
                push!(
                    out,
                    "<figure>\n<div class=\"picture\">{svg}</div>\n<figcaption>{}</figcaption>\n</figure>\n",
                    markup(caption)
                );
            }
            Part::Verdict(verdict, words) => {
                push!(
                    out,
                    "<p class=\"verdict {0}\"><span class=\"badge {0}\">{1}</span> <span>{2}</span></p>\n",
                    verdict.css_class(),
                    verdict.words(),
                    markup(words)
                );
            }
            Part::Details { summary, text } => {
                // A newline right after <pre> is dropped by the parser; this one is.
                push!(
                    out,
                    "<details>\n<summary>{}</summary>\n<pre>\n{}</pre>\n</details>\n",
                    markup(summary),
                    escape(text)
                );
            }
            Part::TableDetails { summary, table: content } => {
                push!(out, "<details>\n<summary>{}</summary>\n", markup(summary));
                table(out, content);
                push!(out, "</details>\n");
            }
        }
    }
    push!(out, "</section>\n");
}

fn table(out: &mut String, table: &Table) {
    let class = |index: usize, numeric: bool| {
        let classes: Vec<&str> =
            [("number", numeric), ("highlight", table.highlighted() == Some(index))]
                .into_iter()
                .filter_map(|(name, applies)| applies.then_some(name))
                .collect();
        if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) }
    };
    // Focusable, so that a wide table can be scrolled with the keyboard.
    push!(
        out,
        "<div class=\"table\" tabindex=\"0\">\n<table>\n<caption>{}</caption>\n<thead>\n<tr>",
        markup(table.caption())
    );
    for (index, column) in table.columns().iter().enumerate() {
        push!(
            out,
            "<th scope=\"col\"{}>{}</th>",
            class(index, column.is_numeric()),
            escape(&column.header())
        );
    }
    push!(out, "</tr>\n</thead>\n<tbody>\n");
    for row in table.rows() {
        push!(out, "<tr>");
        for (index, (column, cell)) in table.columns().iter().zip(row).enumerate() {
            let text = escape(&column.display(cell));
            // The interval is set back behind its estimate.
            let text = match (cell, text.split_once(' ')) {
                (Cell::Interval(_), Some((estimate, ends))) => {
                    format!("{estimate} <span class=\"ends\">{ends}</span>")
                }
                _ => text,
            };
            let class = class(index, column.is_numeric());
            // A leading column of words names the rows.
            if index == 0 && !column.is_numeric() {
                push!(out, "<th scope=\"row\"{class}>{text}</th>");
            } else {
                push!(out, "<td{class}>{text}</td>");
            }
        }
        push!(out, "</tr>\n");
    }
    push!(out, "</tbody>\n</table>\n</div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, Svg, Verdict};
    use proptest::prelude::*;

    fn full_report(text: &str) -> String {
        let mut content =
            Table::new(text, vec![Column::text(format!("x{text}")), Column::number("n", 1)])
                .unwrap();
        content.push(vec![text.into(), 1.0.into()]).unwrap();
        content.push(vec![text.into(), text.into()]).unwrap();
        let section = Section::new(text)
            .subheading(text)
            .paragraph(text)
            .bullets([text])
            .table(content.clone().highlight("n").unwrap())
            .figure(Svg::from_trusted("<svg></svg>").unwrap(), text)
            .verdict(Verdict::HoldsInPart, text)
            .details(text, text)
            .table_details(text, content);
        Report::new(text)
            .summary(text)
            .provenance(text, text)
            .section(section.clone())
            .section(section)
            .to_html()
    }

    /// Opened and closed tags in order, without attributes.
    fn tags(html: &str) -> Vec<String> {
        let body = html.split_once("</style>").unwrap().1;
        body.split('<')
            .skip(1)
            .map(|tag| tag.split([' ', '>']).next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_tag_is_closed_in_order() {
        // Those opened before </style>, where `tags` begins.
        let mut open = vec!["html".to_owned(), "head".to_owned()];
        let html = full_report("text");
        for tag in tags(&html) {
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
                None => open.push(tag),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn needs_nothing_from_elsewhere() {
        let html = full_report("text");
        for forbidden in ["<script", "<link", "http", "url(", "@import", "src="] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn tables_are_accessible() {
        let html = full_report("text");
        for wanted in [
            "<caption>text</caption>",
            "<th scope=\"col\">xtext</th>",
            "<th scope=\"col\" class=\"number highlight\">n</th>",
            "<th scope=\"row\">text</th>",
            "<td class=\"number highlight\">1.0</td>",
            "<a href=\"#section-2\">text</a>",
        ] {
            assert!(html.contains(wanted), "{wanted} is missing in {html}");
        }
    }

    #[test]
    fn a_written_report_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        Report::new("a & b").write(&path).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("<h1>a &amp; b</h1>"));
        let error = Report::new("t").write(path.join("below-a-file.html")).unwrap_err();
        assert!(error.to_string().contains("below-a-file.html"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the text (save our own markup characters), the tags are the same.
        #[test]
        fn text_cannot_break_out(text in "[^`*\\[]{0,30}", hostile in "[a<>/\"'&=! -]{0,30}") {
            let expected = tags(&full_report("text"));
            prop_assert_eq!(&tags(&full_report(&text)), &expected);
            prop_assert_eq!(&tags(&full_report(&hostile)), &expected);
        }
    }
}
