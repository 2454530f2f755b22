//! The rectangle that the data are drawn in, and what stands around it.

use plotters::style::text_anchor::HPos;

use super::WIDTH_PX;
use super::axis::Scale;
use super::canvas::{Canvas, TextLook};
use super::legend::Legend;
use super::palette::{AXIS, BLACK, GRID};
use super::text::{LABEL_PX, SMALL_PX, TITLE_PX, fitted, width_px, wrapped};
use crate::Result;

const PLOT_HEIGHT_PX: f64 = 300.0;

/// The texts around a plot.
pub(super) struct Texts<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
}

/// What stands below the plot.
pub(super) enum Below<'a> {
    Ticks(Scale),
    /// Names of equally wide groups.
    Groups(&'a [String]),
}

/// The layout of a chart with two axes.
pub(super) struct Frame<'a> {
    texts: Texts<'a>,
    below: Below<'a>,
    y_ticks: Vec<(f64, String)>,
    group_lines: Vec<Vec<String>>,
    legend: Legend,
    pub(super) y: Scale,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        texts: Texts<'a>,
        below: Below<'a>,
        y: Scale,
        legend: impl FnOnce(f64) -> Legend,
    ) -> Self {
        let y_ticks = y.ticks(6);
        let widest = y_ticks.iter().map(|(_, label)| width_px(label, SMALL_PX)).fold(0.0, f64::max);
        let left = 12.0 + LABEL_PX + 10.0 + widest + 9.0;
        let right = WIDTH_PX - 22.0;
        let top = if texts.title.is_empty() { 14.0 } else { 44.0 };
        let bottom = top + PLOT_HEIGHT_PX;
        let group_lines = match &below {
            Below::Ticks(_) => Vec::new(),
            Below::Groups(names) => {
                let room = (right - left) / names.len().max(1) as f64 - 8.0;
                names.iter().map(|name| wrapped(name, SMALL_PX, room, 3)).collect()
            }
        };
        Self {
            texts,
            below,
            y_ticks,
            group_lines,
            legend: legend(right - left),
            y: y.on(bottom, top),
            left,
            right,
            top,
            bottom,
        }
    }

    /// The x scale on this frame's pixels (unit steps for groups).
    pub(super) fn x(&self) -> Scale {
        match &self.below {
            Below::Ticks(scale) => *scale,
            Below::Groups(names) => Scale::exactly(0.0, names.len() as f64),
        }
        .on(self.left, self.right)
    }

    fn label_top(&self) -> f64 {
        let lines = self.group_lines.iter().map(Vec::len).max().unwrap_or(1).max(1);
        self.bottom + 14.0 + lines as f64 * 15.0
    }

    fn legend_top(&self) -> f64 {
        self.label_top() + if self.texts.x_label.is_empty() { 0.0 } else { 22.0 }
    }

    pub(super) fn size_px(&self) -> (f64, f64) {
        (WIDTH_PX, self.legend_top() + self.legend.height_px() + 10.0)
    }

    /// Title, grid, ticks, labels and legend.
    pub(super) fn draw(&self, canvas: &Canvas<'_>) -> Result<()> {
        draw_title(canvas, self.texts.title, self.left, self.right)?;
        for (value, label) in &self.y_ticks {
            let y = self.y.px(*value);
            canvas.line([(self.left, y), (self.right, y)], GRID, 1.0)?;
            canvas.text(label, (self.left - 8.0, y), TextLook::new(SMALL_PX, HPos::Right))?;
        }
        self.draw_below(canvas)?;
        let (x_ends, y_ends) = ((self.left, self.right), (self.top, self.bottom));
        draw_x_label(canvas, self.texts.x_label, x_ends, self.label_top() + 6.0)?;
        draw_y_label(canvas, self.texts.y_label, y_ends)?;
        self.legend.draw(canvas, self.left, self.legend_top())
    }

    fn draw_below(&self, canvas: &Canvas<'_>) -> Result<()> {
        let x = self.x();
        match &self.below {
            Below::Ticks(_) => {
                for (value, _) in x.ticks(8) {
                    let at = x.px(value);
                    canvas.line([(at, self.top), (at, self.bottom)], GRID, 1.0)?;
                }
                draw_x_ticks(canvas, &x, self.bottom)
            }
            Below::Groups(_) => {
                for (group, lines) in self.group_lines.iter().enumerate() {
                    for (number, line) in lines.iter().enumerate() {
                        let at =
                            (x.px(group as f64 + 0.5), self.bottom + 15.0 + 15.0 * number as f64);
                        canvas.text(line, at, TextLook::new(SMALL_PX, HPos::Center))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The axes, drawn over the data.
    pub(super) fn draw_axes(&self, canvas: &Canvas<'_>) -> Result<()> {
        canvas.line(
            [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)],
            AXIS,
            1.2,
        )
    }
}

/// Ticks below a plot, with their values.
pub(super) fn draw_x_ticks(canvas: &Canvas<'_>, x: &Scale, bottom: f64) -> Result<()> {
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in x.ticks(8) {
        let at = x.px(value);
        canvas.line([(at, bottom), (at, bottom + 4.0)], AXIS, 1.0)?;
        // A label that would touch the one before it gives way.
        let half = 0.5 * width_px(&label, SMALL_PX);
        if at - half > free_from {
            let look = TextLook::new(SMALL_PX, HPos::Center);
            canvas.text(&label, (at, bottom + 15.0), look)?;
            free_from = at + half + 4.0;
        }
    }
    Ok(())
}

/// The label of the axis below.
pub(super) fn draw_x_label(
    canvas: &Canvas<'_>,
    label: &str,
    (left, right): (f64, f64),
    y: f64,
) -> Result<()> {
    let look = TextLook::new(LABEL_PX, HPos::Center);
    canvas.text(&fitted(label, LABEL_PX, right - left), (0.5 * (left + right), y), look)
}

/// The label of the axis to the left, at the left edge of the chart.
pub(super) fn draw_y_label(
    canvas: &Canvas<'_>,
    label: &str,
    (top, bottom): (f64, f64),
) -> Result<()> {
    let upwards = TextLook { upwards: true, ..TextLook::new(LABEL_PX, HPos::Center) };
    let label = fitted(label, LABEL_PX, bottom - top + 20.0);
    canvas.text(&label, (12.0 + 0.5 * LABEL_PX, 0.5 * (top + bottom)), upwards)
}

/// The title, in bold, flush with the plot.
pub(super) fn draw_title(canvas: &Canvas<'_>, title: &str, left: f64, right: f64) -> Result<()> {
    let look = TextLook { bold: true, color: BLACK, ..TextLook::new(TITLE_PX, HPos::Left) };
    // Bold is about a tenth wider.
    canvas.text(&fitted(title, 1.1 * TITLE_PX, right - left), (left, 22.0), look)
}
