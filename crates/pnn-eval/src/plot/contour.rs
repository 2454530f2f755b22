//! Values over a plane, as bands of colour with lines between them.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::WIDTH_PX;
use super::axis::Scale;
use super::canvas::{Canvas, Point, TextLook, draw_over, image_element};
use super::color_bar::ColorBar;
use super::field::{Field, ROUNDING};
use super::frame::{draw_title, draw_x_label, draw_x_ticks, draw_y_label};
use super::legend::{Legend, Swatch};
use super::palette::{AXIS, NO_VALUE, TEXT, WHITE, sequential, text_on};
use super::pictures::png;
use super::relief::Relief;
use super::text::{LABEL_PX, SMALL_PX, width_px};
use crate::{Result, Svg};

/// Values over a plane as bands of colour, from nearly white (low) to deep blue, with labelled lines of equal value
/// between them, the minimum (of the values given), what is marked, and a colour bar. Where a value is not finite, the cells
/// around it are hatched. Between the given points values are interpolated linearly, on a logarithmic
/// axis their logarithms.
///
/// ```
/// use pnn_eval::landscape::positions;
/// use pnn_eval::plot::{Axis, Relief, contour};
/// let at = positions(-1.0, 1.0, 21);
/// let rows = at.iter().map(|y| at.iter().map(|x| 0.01 + x * x + 3.0 * y * y).collect()).collect();
/// let relief = Relief::new("A valley", (at.clone(), at), rows, Axis::logarithmic("loss").unit("nats"));
/// let svg = contour(&relief.mark("trained", 0.1, 0.0))?;
/// assert!(svg.as_str().contains("minimum 0.0100 at (0.00, 0.00)"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// With fewer than two positions on an axis, positions that do not rise, rows of another number or length; without a finite
/// value; with a value that the axis cannot show, a mark outside, or a ceiling or level that is not finite (or not
/// positive on a logarithmic axis).
pub fn contour(relief: &Relief) -> Result<Svg> {
    let field = relief.field()?;
    let value_label = relief.value_label();
    let bar = bar(&field, &value_label);
    let layout = Layout::new(relief, &field, bar.width_px());
    let image = png(&relief.title, layout.pixels(), layout.colors(&field))?;
    let image = image_element(&image, (layout.left, layout.top), layout.inner_size());
    let label = relief.spoken("Contour plot", &field);
    draw_over(&image, &relief.title, &label, layout.size, |canvas| {
        draw_title(canvas, &relief.title, layout.left.min(24.0), layout.size.0 - 12.0)?;
        layout.draw_lines(canvas, &field)?;
        layout.draw_axes(canvas, relief)?;
        for point in &field.points {
            canvas.marker((layout.x.px(point.x), layout.y.px(point.y)), point.look, 5.0)?;
        }
        bar.draw(canvas, layout.right, (layout.top, layout.bottom), band_color(&field))?;
        layout.legend.draw(canvas, layout.left, layout.legend_top())
    })
}

/// The bar of a field's bands.
fn bar<'a>(field: &Field, label: &'a str) -> ColorBar<'a> {
    let heights = field.level_heights();
    let edges = [&[0.0], heights.as_slice(), &[1.0]].concat();
    let texts = field.levels.iter().map(|(_, text)| text.clone());
    ColorBar { edges, ticks: heights.iter().copied().zip(texts).collect(), label }
}

/// The colour at a height: that of the middle of its band.
fn band_color(field: &Field) -> impl Fn(f64) -> RGBColor {
    let levels = field.level_heights();
    move |height| {
        let band = levels.partition_point(|level| *level <= height + ROUNDING);
        let low = if band == 0 { 0.0 } else { levels[band - 1] };
        let high = levels.get(band).copied().unwrap_or(1.0);
        sequential(0.5 * (low + high))
    }
}

/// The entries below a picture of a field.
pub(super) fn legend(field: &Field, room_px: f64) -> Legend {
    let mut entries: Vec<_> =
        field.points.iter().map(|p| (Swatch::Marker(p.look), p.text.clone())).collect();
    let (missing, all) = (field.not_finite(), field.heights.len());
    if missing > 0 {
        entries.push((Swatch::Hatch, format!("not finite: {missing} of {all} values")));
    }
    Legend::new(entries, false, room_px)
}

struct Layout {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    size: (f64, f64),
    x: Scale,
    y: Scale,
    y_ticks: Vec<(f64, String)>,
    legend: Legend,
}

/// Pixels of the picture of the bands for each pixel of the chart.
const FINE: f64 = 2.0;
const HIGHEST_PX: f64 = 440.0;

impl Layout {
    fn new(relief: &Relief, field: &Field, beside: f64) -> Self {
        let ends = |list: &[f64]| (list[0], list[list.len() - 1]);
        let ((x0, x1), (y0, y1)) = (ends(&field.xs), ends(&field.ys));
        let (x, y) = (Scale::exactly(x0, x1), Scale::exactly(y0, y1));
        let y_ticks = y.ticks(7);
        let widest = y_ticks.iter().map(|(_, label)| width_px(label, SMALL_PX)).fold(0.0, f64::max);
        let left = 12.0 + LABEL_PX + 10.0 + widest + 9.0;
        let room = WIDTH_PX - left - beside;
        let top = if relief.title.is_empty() { 14.0 } else { 44.0 };
        // The same scale both ways, where that is not too narrow or too flat.
        let ratio = (y1 - y0) / (x1 - x0);
        let (width, height) = if (0.4..=2.5).contains(&ratio) {
            let width = room.min(HIGHEST_PX / ratio);
            (width, width * ratio)
        } else {
            (room, HIGHEST_PX)
        };
        let (width, height) = (width.round(), height.round());
        let (right, bottom) = (left + width, top + height);
        let legend = legend(field, right + beside - left - 12.0);
        let mut layout = Self {
            left,
            right,
            top,
            bottom,
            size: (right + beside, 0.0),
            x: x.on(left, right),
            y: y.on(bottom, top),
            y_ticks,
            legend,
        };
        layout.size.1 = layout.legend_top() + layout.legend.height_px() + 10.0;
        layout
    }

    fn legend_top(&self) -> f64 {
        self.bottom + 48.0
    }

    fn inner_size(&self) -> (f64, f64) {
        (self.right - self.left, self.bottom - self.top)
    }

    /// (height, width) of the picture of the bands.
    fn pixels(&self) -> (usize, usize) {
        let (width, height) = self.inner_size();
        ((FINE * height) as usize, (FINE * width) as usize)
    }

    fn colors<'a>(&self, field: &'a Field) -> impl Iterator<Item = RGBColor> + use<'a> {
        let ((high, wide), color) = (self.pixels(), band_color(field));
        let at = |list: &[f64], share: f64| {
            let (first, last) = (list[0], list[list.len() - 1]);
            first + share * (last - first)
        };
        (0..high * wide).map(move |pixel| {
            let (row, column) = (pixel / wide, pixel % wide);
            let x = at(&field.xs, (column as f64 + 0.5) / wide as f64);
            let y = at(&field.ys, 1.0 - (row as f64 + 0.5) / high as f64);
            let height = field.sample(x, y);
            if !height.is_nan() {
                color(height)
            } else if (row + column) % 14 < 2 {
                AXIS
            } else {
                NO_VALUE
            }
        })
    }

    fn draw_lines(&self, canvas: &Canvas<'_>, field: &Field) -> Result<()> {
        let mut labels = Labels { taken: Vec::new(), layout: self };
        for point in &field.points {
            let at = (self.x.px(point.x), self.y.px(point.y));
            labels.taken.push((at.0 - 8.0, at.1 - 8.0, at.0 + 8.0, at.1 + 8.0));
        }
        let mut texts = Vec::new();
        for ((_, text), height) in field.levels.iter().zip(field.level_heights()) {
            // Dark lines do not show between dark bands.
            let color = if text_on(sequential(height)) == WHITE { WHITE } else { TEXT };
            let mut lines: Vec<Vec<Point>> = field
                .isolines(height)
                .into_iter()
                .map(|line| line.iter().map(|(x, y)| (self.x.px(*x), self.y.px(*y))).collect())
                .collect();
            for line in &lines {
                canvas.line(line.iter().copied(), color, 0.7)?;
            }
            lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
            for line in lines.iter().take(2) {
                if let Some(at) = labels.place(line, text) {
                    texts.push((text, at));
                }
            }
        }
        for (text, at) in texts {
            let (half, high) =
                (0.5 * width_px(text, LABEL_SMALL_PX) + 2.0, 0.5 * LABEL_SMALL_PX + 1.5);
            let (l, t, r, b) = (at.0 - half, at.1 - high, at.0 + half, at.1 + high);
            canvas.polygon(&[(l, t), (r, t), (r, b), (l, b)], WHITE, 0.85)?;
            canvas.text(text, at, TextLook::new(LABEL_SMALL_PX, HPos::Center))?;
        }
        Ok(())
    }

    fn draw_axes(&self, canvas: &Canvas<'_>, relief: &Relief) -> Result<()> {
        let (left, right, top, bottom) = (self.left, self.right, self.top, self.bottom);
        canvas.frame((left, top), (right, bottom), AXIS, 1.0)?;
        draw_x_ticks(canvas, &self.x, bottom)?;
        for (value, label) in &self.y_ticks {
            let y = self.y.px(*value);
            canvas.line([(left - 4.0, y), (left, y)], AXIS, 1.0)?;
            canvas.text(label, (left - 8.0, y), TextLook::new(SMALL_PX, HPos::Right))?;
        }
        draw_x_label(canvas, &relief.x_label, (left, right), bottom + 35.0)?;
        draw_y_label(canvas, &relief.y_label, (top, bottom))
    }
}

const LABEL_SMALL_PX: f64 = 10.5;

/// Where numbers stand on lines.
struct Labels<'a> {
    /// Left, top, right and bottom of what must not be covered.
    taken: Vec<(f64, f64, f64, f64)>,
    layout: &'a Layout,
}

impl Labels<'_> {
    /// A place on a line where its number covers nothing else: as level as can be, so that the line runs
    /// into the number.
    fn place(&mut self, line: &[Point], text: &str) -> Option<Point> {
        let half = (0.5 * width_px(text, LABEL_SMALL_PX) + 4.0, 0.5 * LABEL_SMALL_PX + 3.0);
        let length: f64 = line.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum();
        // A number would hide a short line.
        if length < 6.0 * half.0 {
            return None;
        }
        let reach = (line.len() / 12).clamp(1, 6);
        let slope = |i: usize| {
            let (a, b) = (line[i.saturating_sub(reach)], line[(i + reach).min(line.len() - 1)]);
            let (dx, dy) = ((b.0 - a.0).abs(), (b.1 - a.1).abs());
            dy / (dx + dy).max(1e-9)
        };
        let free = |(x, y): Point| {
            let (l, t, r, b) = (x - half.0, y - half.1, x + half.0, y + half.1);
            let inside = l > self.layout.left
                && r < self.layout.right
                && t > self.layout.top
                && b < self.layout.bottom;
            let apart = |o: &(f64, f64, f64, f64)| r < o.0 || l > o.2 || b < o.1 || t > o.3;
            inside && self.taken.iter().all(apart)
        };
        let best = (0..line.len())
            .filter(|i| free(line[*i]))
            .min_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
        let (x, y) = line[best];
        self.taken.push((x - half.0, y - half.1, x + half.0, y + half.1));
        Some((x, y))
    }
}
