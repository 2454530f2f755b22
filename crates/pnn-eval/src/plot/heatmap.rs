//! Matrices as colours.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::WIDTH_PX;
use super::axis::{Axis, Scale};
use super::canvas::{Canvas, TextLook, draw};
use super::color_bar::ColorBar;
use super::frame::draw_title;
use super::palette::{AXIS, diverging, sequential, text_on};
use super::text::{LABEL_PX, SMALL_PX, fitted, width_px};
use crate::{ConfusionMatrix, Error, Result, Svg};

/// What a [`heatmap`] shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    title: String,
    values: Vec<Vec<f64>>,
    value_label: String,
    decimals: usize,
    texts: Option<Vec<Vec<String>>>,
    x: (String, Vec<String>),
    y: (String, Vec<String>),
}

impl Heatmap {
    /// A matrix of values, the first row on top. `value_label` names the colour bar, with
    /// the unit; `decimals` are those of the numbers in the cells.
    #[must_use]
    pub fn new(
        title: impl Into<String>,
        values: Vec<Vec<f64>>,
        value_label: impl Into<String>,
        decimals: usize,
    ) -> Self {
        let numbers = |count: usize| (0..count).map(|i| i.to_string()).collect();
        let x = (String::new(), numbers(values.first().map_or(0, Vec::len)));
        let y = (String::new(), numbers(values.len()));
        let decimals = decimals.min(17);
        Self {
            title: title.into(),
            values,
            value_label: value_label.into(),
            decimals,
            texts: None,
            x,
            y,
        }
    }

    /// Labels the columns, which are numbered from 0 otherwise.
    #[must_use]
    pub fn columns<T: Into<String>>(
        self,
        label: impl Into<String>,
        names: impl IntoIterator<Item = T>,
    ) -> Self {
        Self { x: (label.into(), names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Labels the rows, which are numbered from 0 otherwise.
    #[must_use]
    pub fn rows<T: Into<String>>(
        self,
        label: impl Into<String>,
        names: impl IntoIterator<Item = T>,
    ) -> Self {
        Self { y: (label.into(), names.into_iter().map(Into::into).collect()), ..self }
    }

    /// Writes these texts into the cells instead of the values.
    #[must_use]
    pub fn texts(self, texts: Vec<Vec<String>>) -> Self {
        Self { texts: Some(texts), ..self }
    }
}

/// A matrix as a grid of coloured cells with their values, and a colour bar.
///
/// Values of one sign run from white to blue; values of both signs from vermillion over
/// white (0) to blue. Cells that are not finite are hatched. Values are left out where
/// the cells are too small for them.
///
/// # Errors
/// Without cells or without a finite value; with rows, labels or texts of unequal number.
///
/// ```
/// use pnn_eval::plot::{Heatmap, heatmap};
/// let grid = vec![vec![0.1, -0.2], vec![0.4, 0.0]];
/// let svg = heatmap(&Heatmap::new("Resonance shift", grid, "shift (nm)", 1)
///     .columns("ring in bank", ["1", "2"])
///     .rows("bank", ["A", "B"]))?;
/// assert!(svg.as_str().contains("−0.2"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
pub fn heatmap(map: &Heatmap) -> Result<Svg> {
    let ramp = check(map)?;
    let layout = Layout::new(map, &ramp);
    let label = format!(
        "Heat map: {}. {} by {} (columns) and {} (rows).",
        map.title, map.value_label, map.x.0, map.y.0
    );
    draw(&map.title, &label, (layout.width, layout.height), |canvas| {
        draw_title(canvas, &map.title, layout.title_left(), layout.width - 12.0)?;
        draw_cells(canvas, map, &ramp, &layout)?;
        draw_labels(canvas, map, &layout)?;
        let color = |share: f64| ramp.color(ramp.low * (1.0 - share) + ramp.high * share);
        let (left, ends) = (layout.right, (layout.top, layout.bottom.max(layout.top + 110.0)));
        ramp.bar(&map.value_label).draw(canvas, left, ends, color)
    })
}

/// A confusion matrix: the colour is the fraction of the true class, the number is the
/// count. Classes are named by `names`, or numbered where it is empty.
///
/// # Errors
/// As [`heatmap`].
pub fn confusion_heatmap(title: &str, matrix: &ConfusionMatrix, names: &[String]) -> Result<Svg> {
    let numbers: Vec<String> = (0..matrix.classes()).map(|class| class.to_string()).collect();
    let names = if names.is_empty() { &numbers } else { names };
    let counts = matrix
        .rows()
        .iter()
        .map(|row| {
            row.iter()
                .map(|count| if *count == 0 { String::new() } else { count.to_string() })
                .collect()
        })
        .collect();
    heatmap(
        &Heatmap::new(title, matrix.row_fractions(), "fraction of the true class", 2)
            .columns("predicted class", names.iter().cloned())
            .rows("true class", names.iter().cloned())
            .texts(counts),
    )
}

/// The colours of a range of values.
struct Ramp {
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Ramp {
    fn new(title: &str, values: &[Vec<f64>]) -> Result<Self> {
        let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
        let (least, most) =
            finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        // Validates the size of the values; the ramp itself has no margins.
        Axis::linear("").scale(title, "cell", finite())?;
        let (mut low, mut high) = if least < 0.0 && most > 0.0 {
            let reach = most.max(-least);
            (-reach, reach)
        } else if least >= 0.0 && most > 0.0 && least < 0.5 * most {
            (0.0, most)
        } else {
            (least, most)
        };
        if low >= high {
            (low, high) = if low > 0.0 {
                (0.0, low)
            } else if low < 0.0 {
                (low, 0.0)
            } else {
                (0.0, 1.0)
            };
        }
        Ok(Self { low, high, ticks: Scale::exactly(low, high).ticks(5) })
    }

    fn color(&self, value: f64) -> RGBColor {
        let share = (value - self.low) / (self.high - self.low);
        if self.low < 0.0 && self.high > 0.0 {
            diverging(2.0 * share - 1.0)
        } else {
            sequential(share)
        }
    }

    /// The bar beside the map, in steps too small to be seen.
    fn bar<'a>(&self, label: &'a str) -> ColorBar<'a> {
        let share = |value: f64| (value - self.low) / (self.high - self.low);
        ColorBar {
            edges: (0..=64).map(|i| f64::from(i) / 64.0).collect(),
            ticks: self.ticks.iter().map(|(value, text)| (share(*value), text.clone())).collect(),
            label,
        }
    }
}

fn check(map: &Heatmap) -> Result<Ramp> {
    let (rows, columns) = (map.values.len(), map.values.first().map_or(0, Vec::len));
    if rows == 0 || columns == 0 {
        return Err(Error::EmptyChart { chart: map.title.clone(), what: "cell".into() });
    }
    let wrong = |what: &str, got, expected| {
        Err(Error::Length {
            what: format!("{what} of the heat map {:?}", map.title),
            got,
            expected,
        })
    };
    if let Some(row) = map.values.iter().find(|row| row.len() != columns) {
        return wrong("a row", row.len(), columns);
    }
    if map.x.1.len() != columns {
        return wrong("the list of column names", map.x.1.len(), columns);
    }
    if map.y.1.len() != rows {
        return wrong("the list of row names", map.y.1.len(), rows);
    }
    if let Some(texts) = &map.texts {
        if texts.len() != rows {
            return wrong("the list of text rows", texts.len(), rows);
        }
        if let Some(row) = texts.iter().find(|row| row.len() != columns) {
            return wrong("a row of texts", row.len(), columns);
        }
    }
    Ramp::new(&map.title, &map.values)
}

/// How the names of columns are written.
#[derive(Clone, Copy)]
enum ColumnNames {
    /// Below their columns, every so many of them.
    Across(usize),
    /// Turned: few long ones.
    Upwards,
}

impl ColumnNames {
    fn of(map: &Heatmap, cell: f64) -> Self {
        match every(widest(&map.x.1) + 6.0, cell) {
            Some(step) if map.x.1.len() > 12 || step == 1 => Self::Across(step),
            _ => Self::Upwards,
        }
    }

    /// What they take below the map.
    fn height_px(self, map: &Heatmap) -> f64 {
        match self {
            Self::Across(_) => 24.0,
            Self::Upwards => widest(&map.x.1).min(NAME_PX) + 12.0,
        }
    }
}

/// Pixels of the widest of some names.
fn widest(names: &[String]) -> f64 {
    names.iter().map(|name| width_px(name, SMALL_PX)).fold(0.0, f64::max)
}

/// Every second, fifth or tenth name where there is no room for all.
fn every(room: f64, cell: f64) -> Option<usize> {
    [1, 2, 5, 10, 20, 50].into_iter().find(|n| *n as f64 * cell >= room)
}

struct Layout {
    names: ColumnNames,
    cell: f64,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    width: f64,
    height: f64,
}

/// The widest that a name is shown.
const NAME_PX: f64 = 190.0;

impl Layout {
    fn new(map: &Heatmap, ramp: &Ramp) -> Self {
        let (rows, columns) = (map.values.len() as f64, map.x.1.len() as f64);
        let widest_name = widest(&map.y.1).min(NAME_PX);
        let left = 12.0 + if map.y.0.is_empty() { 0.0 } else { LABEL_PX + 8.0 } + widest_name + 8.0;
        let beside = ramp.bar(&map.value_label).width_px();
        let cell = ((WIDTH_PX - left - beside) / columns).min(480.0 / rows).clamp(1.0, 56.0);
        let top = if map.title.is_empty() { 14.0 } else { 44.0 };
        let (right, bottom) = (left + cell * columns, top + cell * rows);
        let names = ColumnNames::of(map, cell);
        let below = names.height_px(map) + if map.x.0.is_empty() { 0.0 } else { 24.0 };
        // A colour bar next to few rows still has room for its label.
        let height = (bottom + below).max(top + 120.0);
        Self { names, cell, left, top, right, bottom, width: right + beside, height: height + 8.0 }
    }

    fn title_left(&self) -> f64 {
        self.left.min(24.0)
    }

    fn center(&self, row: usize, column: usize) -> (f64, f64) {
        (self.left + (column as f64 + 0.5) * self.cell, self.top + (row as f64 + 0.5) * self.cell)
    }
}

fn draw_cells(canvas: &Canvas<'_>, map: &Heatmap, ramp: &Ramp, layout: &Layout) -> Result<()> {
    // A hairline of white between cells that are large enough to spare it; small ones
    // overlap a little, so that no seams show.
    let gap = if layout.cell >= 12.0 { 0.5 } else { -0.3 };
    let texts: Vec<Vec<String>> = map.texts.clone().unwrap_or_else(|| {
        let decimals = map.decimals;
        map.values
            .iter()
            .map(|row| {
                row.iter().map(|value| format!("{value:.decimals$}").replace('-', "−")).collect()
            })
            .collect()
    });
    let widest = texts.iter().flatten().map(|text| width_px(text, 1.0)).fold(0.1, f64::max);
    let size_px = ((layout.cell - 4.0) / widest).min(SMALL_PX).min(0.6 * layout.cell);
    for (row, values) in map.values.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            let (x, y) = layout.center(row, column);
            let half = 0.5 * layout.cell - gap;
            let (upper_left, lower_right) = (
                (x - half, y - half),
                ((x + half).min(layout.right), (y + half).min(layout.bottom)),
            );
            if !value.is_finite() {
                canvas.hatch(upper_left, lower_right, (0.25 * layout.cell).max(2.0))?;
                continue;
            }
            let color = ramp.color(*value);
            canvas.rect(upper_left, lower_right, color)?;
            if size_px >= 7.5 {
                let look =
                    TextLook { color: text_on(color), ..TextLook::new(size_px, HPos::Center) };
                canvas.text(&texts[row][column], (x, y), look)?;
            }
        }
    }
    canvas.frame((layout.left, layout.top), (layout.right, layout.bottom), AXIS, 1.0)
}

fn draw_labels(canvas: &Canvas<'_>, map: &Heatmap, layout: &Layout) -> Result<()> {
    let step = match layout.names {
        ColumnNames::Across(step) => step,
        ColumnNames::Upwards => 1,
    };
    for (column, name) in map.x.1.iter().enumerate().step_by(step) {
        let x = layout.center(0, column).0;
        let (text, y, look) = match layout.names {
            ColumnNames::Across(_) => {
                (name.clone(), layout.bottom + 13.0, TextLook::new(SMALL_PX, HPos::Center))
            }
            ColumnNames::Upwards => {
                let look = TextLook { upwards: true, ..TextLook::new(SMALL_PX, HPos::Right) };
                (fitted(name, SMALL_PX, NAME_PX), layout.bottom + 7.0, look)
            }
        };
        canvas.text(&text, (x, y), look)?;
    }
    let step = every(SMALL_PX + 2.0, layout.cell).unwrap_or(100);
    for (row, name) in map.y.1.iter().enumerate().step_by(step) {
        let at = (layout.left - 7.0, layout.center(row, 0).1);
        canvas.text(&fitted(name, SMALL_PX, NAME_PX), at, TextLook::new(SMALL_PX, HPos::Right))?;
    }
    let middle = (0.5 * (layout.left + layout.right), 0.5 * (layout.top + layout.bottom));
    let x_label = fitted(&map.x.0, LABEL_PX, layout.width - 40.0);
    canvas.text(
        &x_label,
        (middle.0, layout.bottom + layout.names.height_px(map) + 12.0),
        TextLook::new(LABEL_PX, HPos::Center),
    )?;
    let upwards = TextLook { upwards: true, ..TextLook::new(LABEL_PX, HPos::Center) };
    let y_label = fitted(&map.y.0, LABEL_PX, layout.bottom - layout.top + 20.0);
    canvas.text(&y_label, (12.0 + 0.5 * LABEL_PX, middle.1), upwards)
}
