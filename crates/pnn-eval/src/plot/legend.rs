//! The legend: a grid of entries below the plot.

use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, TextLook};
use super::palette::{AXIS, Look};
use super::text::{SMALL_PX, fitted, width_px};
use crate::Result;

/// What stands before an entry's words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Swatch {
    Line(Look),
    Marker(Look),
    Box(Look),
    Cross,
    Hatch,
    Stem,
}

pub(super) struct Legend {
    entries: Vec<(Swatch, String)>,
    columns: usize,
    column_px: f64,
    swatch_px: f64,
}

/// How wide a piece of line is, and any other swatch.
const LINE_PX: f64 = 30.0;
const BOX_PX: f64 = 18.0;
const GAP_PX: f64 = 18.0;
const ROW_PX: f64 = 20.0;

impl Legend {
    /// Lays the entries out in as many columns of one width as there is room for. A
    /// legend of one entry would repeat the axis label, unless something is marked.
    pub(super) fn new(mut entries: Vec<(Swatch, String)>, has_gaps: bool, room_px: f64) -> Self {
        if has_gaps {
            entries.push((Swatch::Cross, "not a finite number".into()));
        }
        if entries.len() == 1 && entries[0].1.is_empty() {
            entries.clear();
        }
        let has_lines = entries.iter().any(|(swatch, _)| matches!(swatch, Swatch::Line(_)));
        let swatch_px = if has_lines { LINE_PX } else { BOX_PX };
        let entry_px = |text: &str| swatch_px + 8.0 + width_px(text, SMALL_PX) + GAP_PX;
        let widest = entries.iter().map(|(_, text)| entry_px(text)).fold(1.0, f64::max);
        let columns = ((room_px + GAP_PX) / widest).floor().clamp(1.0, entries.len().max(1) as f64);
        // Rows of the same length look better than a full one and a remainder.
        let rows = (entries.len() as f64 / columns).ceil().max(1.0);
        let columns = (entries.len() as f64 / rows).ceil().max(1.0);
        Self { entries, columns: columns as usize, column_px: widest.min(room_px), swatch_px }
    }

    pub(super) fn height_px(&self) -> f64 {
        if self.entries.is_empty() {
            0.0
        } else {
            self.entries.len().div_ceil(self.columns) as f64 * ROW_PX + 8.0
        }
    }

    pub(super) fn draw(&self, canvas: &Canvas<'_>, left: f64, top: f64) -> Result<()> {
        for (index, (swatch, text)) in self.entries.iter().enumerate() {
            let x = left + (index % self.columns) as f64 * self.column_px;
            let y = top + 8.0 + ((index / self.columns) as f64 + 0.5) * ROW_PX;
            let center = (x + 0.5 * self.swatch_px, y);
            match swatch {
                Swatch::Line(look) => {
                    canvas.series_line(&[(x, y), (x + LINE_PX, y)], *look, 2.0)?;
                    canvas.marker(center, *look, 3.6)?;
                }
                Swatch::Marker(look) => canvas.marker(center, *look, 4.2)?,
                Swatch::Box(look) => {
                    let (upper_left, lower_right) = ((x, y - 5.5), (x + BOX_PX, y + 5.5));
                    if look.filled {
                        canvas.rect(upper_left, lower_right, look.color)?;
                    } else {
                        canvas.frame(upper_left, lower_right, look.color, 1.6)?;
                    }
                }
                Swatch::Cross => canvas.cross(center, AXIS)?,
                Swatch::Stem => {
                    canvas.line([(center.0, y + 7.0), (center.0, y - 4.0)], AXIS, 1.6)?;
                    canvas.rect((center.0 - 3.0, y - 7.0), (center.0 + 3.0, y - 1.0), AXIS)?;
                }
                Swatch::Hatch => canvas.hatch((x, y - 5.5), (x + BOX_PX, y + 5.5), 4.5)?,
            }
            let text_px = self.swatch_px + 8.0;
            let text = fitted(text, SMALL_PX, self.column_px - text_px);
            canvas.text(&text, (x + text_px, y), TextLook::new(SMALL_PX, HPos::Left))?;
        }
        Ok(())
    }
}
