//! Drawing in pixels with fractions, on plotters' SVG back end.
//!
//! That back end has whole coordinates; so the drawing is ten times as large inside, and
//! the view box brings it back.

use base64::Engine as _;
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, DashedPathElement, PathElement, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::palette::{AXIS, Look, Marker, NO_VALUE, TEXT, WHITE};
use crate::{Error, Result, Svg};

const SCALE: f64 = 10.0;

/// A point in pixels from the upper left corner.
pub(super) type Point = (f64, f64);

pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    chart: &'a str,
}

/// Where text stands and how it looks.
#[derive(Clone, Copy)]
pub(super) struct TextLook {
    pub(super) size_px: f64,
    pub(super) color: RGBColor,
    pub(super) bold: bool,
    pub(super) anchor: HPos,
    pub(super) upwards: bool,
}

impl TextLook {
    pub(super) fn new(size_px: f64, anchor: HPos) -> Self {
        Self { size_px, color: TEXT, bold: false, anchor, upwards: false }
    }
}

/// Draws a chart of this size; `label` is what a screen reader says.
pub(super) fn draw(
    chart: &str,
    label: &str,
    size_px: (f64, f64),
    content: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<Svg> {
    draw_over("", chart, label, size_px, content)
}

/// An image of pixels, as an element that [`draw_over`] takes.
pub(super) fn image_element(png: &[u8], (x, y): Point, (width, height): (f64, f64)) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    let [x, y, width, height] = [x, y, width, height].map(|v| (v * SCALE).round());
    format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" preserveAspectRatio=\"none\" \
         style=\"image-rendering:pixelated\" href=\"data:image/png;base64,{data}\"/>\n"
    )
}

/// A polygon (or a line, without a fill) as a short element that [`draw_over`] takes: for pictures of thousands
/// of them.
pub(super) fn path_element(
    points: &[Point],
    fill: Option<RGBColor>,
    (stroke, stroke_px): (RGBColor, f64),
) -> String {
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02x}{g:02x}{b:02x}");
    let mut path = String::new();
    let mut last = (0, 0);
    for (number, point) in points.iter().copied().map(inner).enumerate() {
        // Steps from point to point take fewer digits than places.
        let command = if number == 0 { "M" } else { "l" };
        path += &format!("{command}{} {}", point.0 - last.0, point.1 - last.1);
        last = point;
    }
    let (fill, close) = fill.map_or(("none".to_owned(), ""), |color| (hex(color), "z"));
    let (stroke, width) = (hex(stroke), (stroke_px * SCALE).round());
    format!(
        "<path d=\"{path}{close}\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{width}\"/>\n"
    )
}

/// As [`draw`], over elements of [`image_element`] and [`path_element`].
pub(super) fn draw_over(
    images: &str,
    chart: &str,
    label: &str,
    (width_px, height_px): (f64, f64),
    content: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<Svg> {
    let mut text = String::new();
    let (width, height) = (width_px.ceil() as u32, height_px.ceil() as u32);
    {
        let backend =
            SVGBackend::with_string(&mut text, (width * SCALE as u32, height * SCALE as u32));
        let canvas = Canvas { area: backend.into_drawing_area(), chart };
        canvas.rect((0.0, 0.0), (f64::from(width), f64::from(height)), WHITE)?;
        content(&canvas)?;
        canvas.area.present().map_err(|error| canvas.failure(error))?;
    }
    // plotters' opening tag has the inner size only, and no label.
    let body = text.split_once('>').map_or("", |(_, body)| body);
    // The background comes first.
    let (background, body) = body.split_once("/>").unwrap_or(("", body));
    let body = format!("{background}/>{images}{body}");
    let label = label
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    Svg::from_trusted(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" stroke-linejoin=\"round\">{body}",
        width * SCALE as u32,
        height * SCALE as u32,
        label.replace(|c: char| c.is_control(), " "),
    ))
}

impl Canvas<'_> {
    fn failure(&self, error: impl std::fmt::Display) -> Error {
        Error::Drawing { chart: self.chart.to_owned(), reason: error.to_string() }
    }

    pub(super) fn rect(
        &self,
        upper_left: Point,
        lower_right: Point,
        color: RGBColor,
    ) -> Result<()> {
        let corners = [inner(upper_left), inner(lower_right)];
        self.area
            .draw(&Rectangle::new(corners, color.filled()))
            .map_err(|error| self.failure(error))
    }

    /// The outline of a rectangle.
    pub(super) fn frame(
        &self,
        upper_left: Point,
        lower_right: Point,
        color: RGBColor,
        stroke_px: f64,
    ) -> Result<()> {
        let ((left, top), (right, bottom)) = (upper_left, lower_right);
        self.line(
            [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)],
            color,
            stroke_px,
        )
    }

    pub(super) fn line(
        &self,
        points: impl IntoIterator<Item = Point>,
        color: RGBColor,
        stroke_px: f64,
    ) -> Result<()> {
        let points: Vec<_> = points.into_iter().map(inner).collect();
        self.area
            .draw(&PathElement::new(points, stroke(color, stroke_px)))
            .map_err(|error| self.failure(error))
    }

    /// A line in the dashes and colour of a series.
    pub(super) fn series_line(&self, points: &[Point], look: Look, stroke_px: f64) -> Result<()> {
        let Some((dash, gap)) = look.dash_px else {
            return self.line(points.iter().copied(), look.color, stroke_px);
        };
        let points: Vec<_> = points.iter().copied().map(inner).collect();
        let [dash, gap] = [dash, gap].map(|px| (px * SCALE) as i32);
        let element = DashedPathElement::new(points, dash, gap, stroke(look.color, stroke_px));
        self.area.draw(&element).map_err(|error| self.failure(error))
    }

    pub(super) fn polygon(&self, points: &[Point], color: RGBColor, opacity: f64) -> Result<()> {
        let points: Vec<_> = points.iter().copied().map(inner).collect();
        self.area
            .draw(&Polygon::new(points, color.mix(opacity).filled()))
            .map_err(|error| self.failure(error))
    }

    /// A marker with a white rim (filled) or a white inside (hollow), so that it stands
    /// out from its line.
    pub(super) fn marker(&self, at: Point, look: Look, radius_px: f64) -> Result<()> {
        let (edge, inside) = if look.filled { (WHITE, look.color) } else { (look.color, WHITE) };
        self.shape(at, look.marker, radius_px + 0.7, edge)?;
        self.shape(at, look.marker, radius_px - if look.filled { 0.0 } else { 0.7 }, inside)
    }

    fn shape(&self, at: Point, marker: Marker, radius_px: f64, color: RGBColor) -> Result<()> {
        if marker == Marker::Circle {
            let circle = Circle::new(inner(at), (radius_px * SCALE) as i32, color.filled());
            return self.area.draw(&circle).map_err(|error| self.failure(error));
        }
        let corners: Vec<Point> =
            marker.corners(radius_px).iter().map(|(x, y)| (at.0 + x, at.1 + y)).collect();
        self.polygon(&corners, color, 1.0)
    }

    /// The × of a point that is not a finite number.
    pub(super) fn cross(&self, (x, y): Point, color: RGBColor) -> Result<()> {
        let r = 3.2;
        self.line([(x - r, y - r), (x + r, y + r)], color, 1.6)?;
        self.line([(x - r, y + r), (x + r, y - r)], color, 1.6)
    }

    /// A rectangle with diagonals a step apart: where there is no value.
    pub(super) fn hatch(
        &self,
        (left, top): Point,
        (right, bottom): Point,
        step_px: f64,
    ) -> Result<()> {
        self.rect((left, top), (right, bottom), NO_VALUE)?;
        let (width, height) = (right - left, bottom - top);
        // Diagonals are where x + y (from the upper left corner) is a multiple of the step.
        let mut at = step_px;
        while at < width + height {
            let (low, high) = ((at - height).max(0.0), at.min(width));
            let point = |x: f64| (left + x, top + at - x);
            self.line([point(low), point(high)], AXIS, 0.6)?;
            at += step_px;
        }
        Ok(())
    }

    /// A vertical error bar with caps.
    pub(super) fn error_bar(
        &self,
        x: f64,
        (y0, y1): (f64, f64),
        color: RGBColor,
        cap_px: f64,
    ) -> Result<()> {
        self.line([(x, y0), (x, y1)], color, 1.4)?;
        for y in [y0, y1] {
            self.line([(x - cap_px, y), (x + cap_px, y)], color, 1.4)?;
        }
        Ok(())
    }

    /// Text, centred vertically on the point.
    pub(super) fn text(&self, text: &str, (x, y): Point, look: TextLook) -> Result<()> {
        // The back end centres on half the height of an x; digits and capitals are
        // higher. (It draws upwards text turned, so down is to the right there.)
        let shift = 0.09 * look.size_px;
        let at = if look.upwards { (x + shift, y) } else { (x, y + shift) };
        // plotters takes a font's size from its line, 1.24 times the em.
        let mut font = ("sans-serif", look.size_px * SCALE * 1.24).into_font();
        if look.bold {
            font = font.style(FontStyle::Bold);
        }
        if look.upwards {
            font = font.transform(FontTransform::Rotate270);
        }
        let style =
            TextStyle::from(font).color(&look.color).pos(Pos::new(look.anchor, VPos::Center));
        // XML has no other control characters.
        let text = text.replace(|c: char| c.is_control(), " ");
        self.area.draw(&Text::new(text, inner(at), style)).map_err(|error| self.failure(error))
    }
}

fn inner((x, y): Point) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

fn stroke(color: RGBColor, stroke_px: f64) -> ShapeStyle {
    color.stroke_width((stroke_px * SCALE).round() as u32)
}
