//! The scale of colours beside a picture.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, TextLook};
use super::palette::AXIS;
use super::text::{LABEL_PX, SMALL_PX, fitted, width_px};
use crate::Result;

/// Which colour is which value. Places are shares from 0 (the foot) to 1 (the top).
pub(super) struct ColorBar<'a> {
    /// Where one colour ends and the next begins, from 0 to 1.
    pub(super) edges: Vec<f64>,
    /// Where values are written.
    pub(super) ticks: Vec<(f64, String)>,
    /// What the values are, with the unit.
    pub(super) label: &'a str,
}

const BAR_PX: f64 = 16.0;
const GAP_PX: f64 = 22.0;

impl ColorBar<'_> {
    /// How much room it takes to the right of a picture.
    pub(super) fn width_px(&self) -> f64 {
        let widest =
            self.ticks.iter().map(|(_, text)| width_px(text, SMALL_PX)).fold(0.0, f64::max);
        GAP_PX + BAR_PX + 8.0 + widest + 10.0 + LABEL_PX + 12.0
    }

    /// Draws it beside a picture that ends at `right`; `color` is the colour at a share.
    pub(super) fn draw(
        &self,
        canvas: &Canvas<'_>,
        right: f64,
        (top, bottom): (f64, f64),
        color: impl Fn(f64) -> RGBColor,
    ) -> Result<()> {
        let (from, to) = (right + GAP_PX, right + GAP_PX + BAR_PX);
        let y = |share: f64| bottom + (top - bottom) * share;
        // From the top, each down to the foot: no seam shows where a colour lies on its neighbour.
        for edge in self.edges.windows(2).rev() {
            let color = color(0.5 * (edge[0] + edge[1]));
            canvas.rect((from, y(edge[1])), (to, bottom), color)?;
        }
        canvas.frame((from, top), (to, bottom), AXIS, 1.0)?;
        let mut free_below = f64::INFINITY;
        for (share, label) in &self.ticks {
            let y = y(*share);
            canvas.line([(to, y), (to + 4.0, y)], AXIS, 1.0)?;
            // A label that would touch the one below it gives way.
            if y + 0.5 * SMALL_PX < free_below {
                canvas.text(label, (to + 8.0, y), TextLook::new(SMALL_PX, HPos::Left))?;
                free_below = y - 0.5 * SMALL_PX;
            }
        }
        let upwards = TextLook { upwards: true, ..TextLook::new(LABEL_PX, HPos::Center) };
        let label = fitted(self.label, LABEL_PX, bottom - top + 10.0);
        let x = right + self.width_px() - 10.0 - 0.5 * LABEL_PX;
        canvas.text(&label, (x, 0.5 * (top + bottom)), upwards)
    }
}
