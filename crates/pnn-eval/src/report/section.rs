//! The parts of a report.

use crate::{Svg, Table};

/// Whether a claim stands, after it was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It holds for some of the cases tested.
    HoldsInPart,
    /// It does not hold.
    DoesNotHold,
    /// The data do not tell.
    Undecided,
    /// It was not tested.
    NotTested,
}

impl Verdict {
    /// The words on the badge.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::HoldsInPart => "holds in part",
            Self::DoesNotHold => "does not hold",
            Self::Undecided => "undecided",
            Self::NotTested => "not tested",
        }
    }

    pub(super) fn css_class(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::HoldsInPart => "part",
            Self::DoesNotHold => "fails",
            Self::Undecided | Self::NotTested => "untested",
        }
    }
}

/// A section of a report: a heading and, in the order added, text, tables, figures,
/// verdicts and details.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Section {
    pub(super) heading: String,
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Subheading(String),
    Paragraph(String),
    Bullets(Vec<String>),
    Table(Table),
    Figure { svg: Svg, caption: String },
    Verdict(Verdict, String),
    Details { summary: String, text: String },
    TableDetails { summary: String, table: Table },
}

impl Section {
    /// A section without content.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), parts: Vec::new() }
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Adds a heading below the section's own.
    pub fn subheading(self, text: impl Into<String>) -> Self {
        self.with(Part::Subheading(text.into()))
    }

    /// Adds a paragraph.
    pub fn paragraph(self, text: impl Into<String>) -> Self {
        self.with(Part::Paragraph(text.into()))
    }

    /// Adds a bulleted list.
    pub fn bullets<T: Into<String>>(self, items: impl IntoIterator<Item = T>) -> Self {
        self.with(Part::Bullets(items.into_iter().map(Into::into).collect()))
    }

    /// Adds a table, numbers to the right, the highlighted column set off.
    pub fn table(self, table: Table) -> Self {
        self.with(Part::Table(table))
    }

    /// Adds a figure; the caption is also what a screen reader reads after the chart's
    /// own label.
    pub fn figure(self, svg: Svg, caption: impl Into<String>) -> Self {
        self.with(Part::Figure { svg, caption: caption.into() })
    }

    /// Adds a badge with a verdict on a claim, and the claim or the reason in words.
    pub fn verdict(self, verdict: Verdict, words: impl Into<String>) -> Self {
        self.with(Part::Verdict(verdict, words.into()))
    }

    /// Adds a collapsed block of preformatted text: a configuration, raw data, a log.
    pub fn details(self, summary: impl Into<String>, text: impl Into<String>) -> Self {
        self.with(Part::Details { summary: summary.into(), text: text.into() })
    }

    /// Adds a collapsed table.
    pub fn table_details(self, summary: impl Into<String>, table: Table) -> Self {
        self.with(Part::TableDetails { summary: summary.into(), table })
    }
}
