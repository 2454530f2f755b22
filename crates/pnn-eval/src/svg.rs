//! A picture as text.

use std::fmt;
use std::path::Path;

use crate::{Error, Result};

/// One `<svg>` element, ready to stand in an HTML page or in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// Takes over an SVG element from elsewhere. Its content is trusted: a report
    /// includes it as it is, scripts and all.
    ///
    /// # Errors
    /// If the text does not start with `<svg` and end with `</svg>`.
    pub fn from_trusted(text: impl Into<String>) -> Result<Self> {
        let text: String = text.into();
        let trimmed = text.trim();
        if trimmed.starts_with("<svg") && trimmed.ends_with("</svg>") {
            Ok(Self(trimmed.to_owned()))
        } else {
            Err(Error::NotSvg { start: text.chars().take(40).collect() })
        }
    }

    /// The element's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes an `.svg` file, [atomically](pnn_core::store::write_atomic).
    ///
    /// # Errors
    /// Names the file when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(pnn_core::store::write_atomic(path.as_ref(), self.0.as_bytes())?)
    }
}

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Svg> for String {
    fn from(svg: Svg) -> Self {
        svg.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_svg_element_is_taken() {
        assert_eq!(Svg::from_trusted(" <svg></svg>\n").unwrap().as_str(), "<svg></svg>");
        assert!(matches!(Svg::from_trusted("<p>"), Err(Error::NotSvg { .. })));
    }
}
