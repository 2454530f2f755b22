//! Values over a plane, as a surface seen from above and in front.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::WIDTH_PX;
use super::canvas::{Canvas, Point, TextLook, draw_over, path_element};
use super::color_bar::ColorBar;
use super::contour::legend;
use super::field::Field;
use super::frame::draw_title;
use super::palette::{AXIS, GRID, NO_VALUE, WHITE, mix, sequential};
use super::relief::Relief;
use super::text::{LABEL_PX, SMALL_PX, fitted, width_px};
use crate::{Result, Svg};

/// Values over a plane as a surface: a parallel projection, seen from the front right and from above. A cell of the
/// grid is a facet in the colour of its mean value (as in a [`contour`](super::contour) plot), darker where it is
/// turned from the light; what lies behind is hidden. Cells with a value that is not finite are holes, hatched on
/// the floor. The minimum and what is marked are shown also where they are behind the surface, hollow, and the legend
/// says so.
///
/// The file grows by about 100 bytes a cell: 40 by 40 are plenty.
///
/// ```
/// use pnn_eval::landscape::positions;
/// use pnn_eval::plot::{Axis, Relief, surface};
/// let at = positions(-1.0, 1.0, 21);
/// let rows = at.iter().map(|y| at.iter().map(|x| x * x + 3.0 * y * y).collect()).collect();
/// let relief = Relief::new("A bowl", (at.clone(), at), rows, Axis::linear("loss").unit("nats"));
/// let svg = surface(&relief.axes("first eigenvector", "second eigenvector"))?;
/// assert!(svg.as_str().starts_with("<svg"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// As [`contour`](super::contour).
pub fn surface(relief: &Relief) -> Result<Svg> {
    let mut field = relief.field()?;
    let value_label = relief.value_label();
    let bar = bar(&field, &value_label);
    let view = View::new(relief, bar.width_px());
    let markers: Vec<Option<Marker>> = {
        let scene = Scene { field: &field, view: &view };
        field.points.iter().map(|point| scene.marker(point.x, point.y)).collect()
    };
    for (point, marker) in field.points.iter_mut().zip(&markers) {
        match marker {
            Some(Marker { hidden: true, .. }) => {
                point.look.filled = false;
                point.text += " (behind the surface)";
            }
            None => point.text += " (not shown: no value)",
            Some(_) => {}
        }
    }
    let size_x = view.right + bar.width_px();
    let legend = legend(&field, size_x - 36.0);
    let legend_top = view.bottom + 58.0;
    let size = (size_x, legend_top + legend.height_px() + 10.0);
    let scene = Scene { field: &field, view: &view };
    let label = relief.spoken("Surface", &field);
    let drawn = scene.walls() + &scene.facets();
    draw_over(&drawn, &relief.title, &label, size, |canvas| {
        draw_title(canvas, &relief.title, 24.0, size.0 - 12.0)?;
        scene.draw_axes(canvas, relief, size_x)?;
        for (point, marker) in field.points.iter().zip(&markers) {
            if let Some(Marker { at, .. }) = marker {
                canvas.marker(*at, point.look, 5.0)?;
            }
        }
        // It ends above the right corner of the floor, so that the axis there has room for its label.
        let corner = view.px([1.0, 1.0, 0.0]).1;
        bar.draw(canvas, view.right, (view.top + 20.0, corner - 24.0), sequential)?;
        legend.draw(canvas, 24.0, legend_top)
    })
}

fn bar<'a>(field: &Field, label: &'a str) -> ColorBar<'a> {
    let ticks = field.scale.ticks(6).into_iter().map(|(value, text)| (field.scale.px(value), text));
    ColorBar {
        edges: (0..=64).map(|i| f64::from(i) / 64.0).collect(),
        ticks: ticks.collect(),
        label,
    }
}

/// Where the viewer stands: degrees around the vertical from the x axis, and above the floor.
const AZIMUTH: f64 = -58.0;
const ELEVATION: f64 = 32.0;
/// Height of the box, in sides of its floor.
const HEIGHT: f64 = 0.62;

/// From the unit box to pixels.
struct View {
    top: f64,
    bottom: f64,
    right: f64,
    scale: f64,
    origin: Point,
}

impl View {
    fn new(relief: &Relief, beside: f64) -> Self {
        let top = if relief.title.is_empty() { 14.0 } else { 44.0 };
        let (left, right) = (66.0, WIDTH_PX - beside);
        let corners = || (0..8).map(|i| [i & 1, i >> 1 & 1, i >> 2].map(f64::from));
        let flat = |pick: fn(Point) -> f64| {
            corners()
                .map(|corner| pick(flatten(corner)))
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                    (low.min(v), high.max(v))
                })
        };
        let ((x0, x1), (y0, y1)) = (flat(|p| p.0), flat(|p| p.1));
        let scale = (right - left) / (x1 - x0);
        let origin = (left - scale * x0, top - scale * y0);
        Self { top, bottom: top + scale * (y1 - y0), right, scale, origin }
    }

    /// Where a point of the box, each coordinate between 0 and 1, is seen.
    fn px(&self, at: [f64; 3]) -> Point {
        let (x, y) = flatten(at);
        (self.origin.0 + self.scale * x, self.origin.1 + self.scale * y)
    }
}

/// The parallel projection; y grows downwards.
fn flatten([x, y, z]: [f64; 3]) -> Point {
    let ((sin_a, cos_a), (sin_e, cos_e)) =
        (AZIMUTH.to_radians().sin_cos(), ELEVATION.to_radians().sin_cos());
    (y * cos_a - x * sin_a, (x * cos_a + y * sin_a) * sin_e - HEIGHT * z * cos_e)
}

struct Marker {
    at: Point,
    hidden: bool,
}

struct Scene<'a> {
    field: &'a Field,
    view: &'a View,
}

/// A coordinate of the floor between 0 and 1.
fn share(list: &[f64], value: f64) -> f64 {
    (value - list[0]) / (list[list.len() - 1] - list[0])
}

impl Scene<'_> {
    fn ticks(list: &[f64]) -> Vec<(f64, String)> {
        let scale = super::axis::Scale::exactly(list[0], list[list.len() - 1]);
        scale.ticks(5).into_iter().map(|(value, label)| (share(list, value), label)).collect()
    }

    fn z_ticks(&self) -> Vec<(f64, String)> {
        let scale = &self.field.scale;
        scale.ticks(5).into_iter().map(|(value, label)| (scale.px(value), label)).collect()
    }

    /// The floor and the two walls behind, with their grids, and what has no value on the floor.
    fn walls(&self) -> String {
        let (xs, ys) = (Self::ticks(&self.field.xs), Self::ticks(&self.field.ys));
        let line = |a: [f64; 3], b: [f64; 3], color| {
            path_element(&[self.view.px(a), self.view.px(b)], None, (color, 1.0))
        };
        let mut drawn = String::new();
        for (x, _) in &xs {
            drawn += &line([*x, 0.0, 0.0], [*x, 1.0, 0.0], GRID);
            drawn += &line([*x, 1.0, 0.0], [*x, 1.0, 1.0], GRID);
        }
        for (y, _) in &ys {
            drawn += &line([0.0, *y, 0.0], [1.0, *y, 0.0], GRID);
            drawn += &line([0.0, *y, 0.0], [0.0, *y, 1.0], GRID);
        }
        for (z, _) in self.z_ticks() {
            drawn += &line([0.0, 0.0, z], [0.0, 1.0, z], GRID);
            drawn += &line([0.0, 1.0, z], [1.0, 1.0, z], GRID);
        }
        for [a, b] in [
            [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
            [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]],
            [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
        ] {
            drawn += &line(a, b, AXIS);
        }
        for (column, row) in self.cells() {
            if self.field.corners(column, row).is_none() {
                drawn += &self.hatched(column, row);
            }
        }
        drawn
    }

    /// A cell on the floor, with a diagonal.
    fn hatched(&self, column: usize, row: usize) -> String {
        let corner = |x: f64, y: f64| {
            let place = |list: &[f64], i: usize, part: f64| {
                share(list, list[i]) * (1.0 - part) + share(list, list[i + 1]) * part
            };
            self.view.px([place(&self.field.xs, column, x), place(&self.field.ys, row, y), 0.0])
        };
        let around = [corner(0.0, 0.0), corner(1.0, 0.0), corner(1.0, 1.0), corner(0.0, 1.0)];
        let diagonal = [corner(0.0, 0.0), corner(1.0, 1.0)];
        path_element(&around, Some(NO_VALUE), (NO_VALUE, 0.5))
            + &path_element(&diagonal, None, (AXIS, 0.6))
    }

    /// Cells from the farthest to the nearest: what a cell hides comes before it. So it is along every line of
    /// sight, since these run towards larger x and smaller y.
    fn cells(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (columns, rows) = (self.field.columns() - 1, self.field.rows() - 1);
        (0..columns).flat_map(move |column| (0..rows).rev().map(move |row| (column, row)))
    }

    /// The corners of a cell in the box, around it.
    fn facet(&self, column: usize, row: usize) -> Option<[[f64; 3]; 4]> {
        let heights = self.field.corners(column, row)?;
        let [x0, x1] = [0, 1].map(|i| share(&self.field.xs, self.field.xs[column + i]));
        let [y0, y1] = [0, 1].map(|i| share(&self.field.ys, self.field.ys[row + i]));
        let [a, b, c, d] = heights;
        Some([[x0, y0, a], [x1, y0, b], [x1, y1, c], [x0, y1, d]])
    }

    fn facets(&self) -> String {
        let cells = (self.field.columns() - 1).max(self.field.rows() - 1);
        let stroke_px = if cells > 60 { 0.3 } else { 0.5 };
        let mut drawn = String::new();
        for (column, row) in self.cells() {
            let Some(corners) = self.facet(column, row) else {
                continue;
            };
            let color = shaded(&corners);
            let around = corners.map(|corner| self.view.px(corner));
            drawn += &path_element(&around, Some(color), (mix(color, SHADE, 0.35), stroke_px));
        }
        drawn
    }

    /// Where a point is seen, and whether something stands before it. `None` over a hole.
    fn marker(&self, x: f64, y: f64) -> Option<Marker> {
        let height = self.field.sample(x, y);
        let (x, y) = (share(&self.field.xs, x), share(&self.field.ys, y));
        if height.is_nan() {
            return None;
        }
        let at = self.view.px([x, y, height]);
        let hidden = self.cells().any(|(column, row)| {
            self.facet(column, row).is_some_and(|corners| {
                let apart = corners.iter().all(|c| c[0] < x) || corners.iter().all(|c| c[1] > y);
                // A cell that the point lies on does not hide it.
                let own = (corners[0][0]..=corners[2][0]).contains(&x)
                    && (corners[0][1]..=corners[2][1]).contains(&y);
                !apart && !own && inside(&corners.map(|corner| self.view.px(corner)), at)
            })
        });
        Some(Marker { at, hidden })
    }

    fn draw_axes(&self, canvas: &Canvas<'_>, relief: &Relief, width: f64) -> Result<()> {
        let (view, small) = (self.view, |anchor| TextLook::new(SMALL_PX, anchor));
        let tick = |at: [f64; 3], by: Point| {
            let (x, y) = view.px(at);
            canvas.line([(x, y), (x + by.0, y + by.1)], AXIS, 1.0)?;
            Ok::<_, crate::Error>((x, y))
        };
        for (x, label) in Self::ticks(&self.field.xs) {
            let at = tick([x, 0.0, 0.0], (-2.5, 4.0))?;
            canvas.text(&label, (at.0 - 5.0, at.1 + 12.0), small(HPos::Right))?;
        }
        for (y, label) in Self::ticks(&self.field.ys) {
            let at = tick([1.0, y, 0.0], (3.5, 3.0))?;
            canvas.text(&label, (at.0 + 7.0, at.1 + 9.0), small(HPos::Left))?;
        }
        let mut widest: f64 = 0.0;
        for (z, label) in self.z_ticks() {
            let at = tick([0.0, 0.0, z], (-4.0, 0.0))?;
            widest = widest.max(width_px(&label, SMALL_PX));
            canvas.text(&label, (at.0 - 8.0, at.1), small(HPos::Right))?;
        }
        let label = TextLook::new(LABEL_PX, HPos::Center);
        // Below the front edge, as far to the right as its ticks allow.
        let (x, y) = view.px([0.5, 0.0, 0.0]);
        let end = x + 42.0;
        let text = fitted(&relief.x_label, LABEL_PX, end - 24.0);
        let x = (x - 30.0).min(end - 0.5 * width_px(&text, LABEL_PX));
        canvas.text(&text, (x, y + 46.0), label)?;
        let (x, y) = view.px([1.0, 0.3, 0.0]);
        let text = fitted(&relief.y_label, LABEL_PX, width - x - 42.0);
        canvas.text(&text, (x + 30.0, y + 46.0), TextLook { anchor: HPos::Left, ..label })?;
        let (x, y) = view.px([0.0, 0.0, 0.5]);
        let upwards = TextLook { upwards: true, ..label };
        let text = fitted(relief.value.label(), LABEL_PX, view.bottom - view.top);
        canvas.text(&text, ((x - 8.0 - widest - 14.0).max(10.0), y), upwards)
    }
}

/// What colours turn to away from the light: a dark blue, since black would make grey of the pale ones.
const SHADE: RGBColor = RGBColor(0, 42, 92);

/// The direction of the light, of length 1.
const LIGHT: [f64; 3] = [-0.56, -0.33, 0.76];

/// The colour of a facet: that of its mean height, under light from the upper left.
fn shaded(corners: &[[f64; 3]; 4]) -> RGBColor {
    let height = 0.25 * corners.iter().map(|corner| corner[2]).sum::<f64>();
    let along = |a: usize, b: usize| [0, 1, 2].map(|i| corners[b][i] - corners[a][i]);
    let (p, q) = (along(0, 2), along(1, 3));
    let normal = [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
    let length = normal.iter().map(|n| n * n).sum::<f64>().sqrt();
    let lit = normal.iter().zip(LIGHT).map(|(n, l)| n * l).sum::<f64>() / length.max(1e-300);
    let color = sequential(height);
    if lit > 0.76 {
        mix(color, WHITE, 0.35 * (lit - 0.76))
    } else {
        mix(color, SHADE, 0.32 * (0.76 - lit))
    }
}

/// Whether a point lies in a polygon (rays that cross an odd number of sides).
fn inside(corners: &[Point], (x, y): Point) -> bool {
    let sides = corners.iter().zip(corners.iter().cycle().skip(1));
    let crossed = sides
        .filter(|(a, b)| (a.1 > y) != (b.1 > y) && x < a.0 + (y - a.1) / (b.1 - a.1) * (b.0 - a.0));
    crossed.count() % 2 == 1
}
