//! A self-contained HTML page: one file, no network, no scripts, light and dark.
//!
//! All text is escaped. Paragraphs, verdicts, captions and provenance values may hold
//! `` `code` ``, `*emphasis*`, `**strong**` and `[links](https://example.org)`.

mod html;
mod inline;
mod section;

use std::path::Path;

use crate::Result;

pub use section::{Section, Verdict};

/// The builder of a report.
///
/// ```
/// use pnn_eval::{Report, Section, Verdict};
/// let html = Report::new("Drift of a microring network")
///     .summary("SAT holds where *BP* collapses.")
///     .provenance("command", "`cargo xtask reproduce`")
///     .provenance("seed", "0")
///     .section(
///         Section::new("Accuracy against drift")
///             .verdict(Verdict::Holds, "SAT stays above 95 % at +1 K.")
///             .details("Configuration", "seed = 0"),
///     )
///     .to_html();
/// assert!(html.starts_with("<!DOCTYPE html>"));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Report {
    title: String,
    summary: Vec<String>,
    provenance: Vec<(String, String)>,
    sections: Vec<Section>,
}

impl Report {
    /// A report without content.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a paragraph to the box at the top.
    pub fn summary(mut self, text: impl Into<String>) -> Self {
        self.summary.push(text.into());
        self
    }

    /// Adds a line on where the numbers come from: command, commit, seed, machine, data.
    pub fn provenance(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.provenance.push((key.into(), value.into()));
        self
    }

    /// Adds a section. From two sections on the page has a table of contents.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The page.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes the page, [atomically](pnn_core::store::write_atomic).
    ///
    /// # Errors
    /// Names the file when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(pnn_core::store::write_atomic(path.as_ref(), self.to_html().as_bytes())?)
    }
}
