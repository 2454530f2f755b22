//! Lines with bands.

use super::axis::{Axis, Scale, finite_ends};
use super::canvas::{Canvas, Point, draw};
use super::frame::{Below, Frame, Texts};
use super::legend::{Legend, Swatch};
use super::palette::Look;
use crate::{Error, Interval, Result, Svg};

/// A named line of a [`line_chart`].
#[derive(Debug, Clone, PartialEq)]
pub struct LineSeries {
    name: String,
    points: Vec<(f64, f64)>,
    band: Option<Vec<(f64, f64)>>,
    reference: Option<Reference>,
    joined: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Reference {
    ToNothing,
    To(String),
}

impl LineSeries {
    /// A line through these (x, y), in this order.
    #[must_use]
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points: points.into_iter().collect(),
            band: None,
            reference: None,
            joined: true,
        }
    }

    /// A line through estimates, with their intervals as its band.
    #[must_use]
    pub fn from_intervals(
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, Interval)>,
    ) -> Self {
        let (points, band): (Vec<_>, Vec<_>) = points
            .into_iter()
            .map(|(x, interval)| ((x, interval.estimate), (interval.low, interval.high)))
            .unzip();
        Self::new(name, points).band(band)
    }

    /// Shades (low, high) around each point; a lone point gets an error bar.
    #[must_use]
    pub fn band(self, band: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { band: Some(band.into_iter().collect()), ..self }
    }

    /// Shows the points alone, each with its marker: a scatter plot.
    #[must_use]
    pub fn scattered(self) -> Self {
        Self { joined: false, ..self }
    }

    /// Marks the line as a reference ("paper, measured"): black, dashed, hollow markers.
    #[must_use]
    pub fn reference(self) -> Self {
        Self { reference: Some(Reference::ToNothing), ..self }
    }

    /// Marks the line as the reference of another one, whose colour and marker it takes:
    /// dashed, hollow markers.
    #[must_use]
    pub fn reference_of(self, name: impl Into<String>) -> Self {
        Self { reference: Some(Reference::To(name.into())), ..self }
    }
}

/// A chart of lines: `y` over `x`, both with units in their labels, each line with an
/// optional band and a marker of its own.
///
/// ```
/// use pnn_eval::plot::{Axis, LineSeries, line_chart};
/// let svg = line_chart(
///     "Accuracy against drift",
///     &Axis::linear("temperature drift").unit("K"),
///     &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
///     &[
///         LineSeries::new("BP", [(0.0, 98.5), (0.5, 71.0), (1.0, 32.0)])
///             .band([(98.2, 98.7), (64.0, 77.0), (25.0, 40.0)]),
///         LineSeries::new("BP, paper", [(0.0, 98.6), (1.0, 30.0)]).reference_of("BP"),
///     ],
/// )?;
/// assert!(svg.as_str().starts_with("<svg"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// Without series; with a series that has no finite point, a band of another length, or
/// refers to a name that is not there; with a value that an axis cannot show.
pub fn line_chart(title: &str, x: &Axis, y: &Axis, series: &[LineSeries]) -> Result<Svg> {
    check(title, series)?;
    let xs = series.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let ys = series.iter().flat_map(|line| {
        line.points.iter().map(|point| point.1).chain(finite_ends(line.band.iter().flatten()))
    });
    let (x_scale, y_scale) = (x.scale(title, "x", xs)?, y.scale(title, "y", ys)?);

    let looks = looks(title, series)?;
    let entries = series
        .iter()
        .zip(&looks)
        .map(|(line, look)| {
            let swatch = if line.joined { Swatch::Line } else { Swatch::Marker };
            (swatch(*look), line.name.clone())
        })
        .collect();
    let has_gaps = series.iter().any(|line| line.points.iter().any(|(_, y)| !y.is_finite()));
    let frame = Frame::new(
        Texts { title, x_label: x.label(), y_label: y.label() },
        Below::Ticks(x_scale),
        y_scale,
        |room_px| Legend::new(entries, has_gaps, room_px),
    );
    let names: Vec<&str> = series.iter().map(|line| line.name.as_str()).collect();
    let label = format!(
        "Line chart: {title}. {} over {}. Lines: {}.",
        y.label(),
        x.label(),
        names.join(", ")
    );
    draw(title, &label, frame.size_px(), |canvas| {
        frame.draw(canvas)?;
        let plot = Plot { canvas, x: frame.x(), y: frame.y, bottom: frame.bottom };
        for (line, look) in series.iter().zip(&looks) {
            plot.band(line, *look)?;
        }
        frame.draw_axes(canvas)?;
        for (number, (line, look)) in series.iter().zip(&looks).enumerate() {
            plot.line(line, *look, number as f64 / series.len() as f64)?;
        }
        Ok(())
    })
}

fn check(title: &str, series: &[LineSeries]) -> Result<()> {
    let empty = |what: String| Err(Error::EmptyChart { chart: title.to_owned(), what });
    if series.is_empty() {
        return empty("series".into());
    }
    for line in series {
        if !line.points.iter().any(|(x, y)| x.is_finite() && y.is_finite()) {
            return empty(format!("finite point in the series {:?}", line.name));
        }
        if let Some(band) = &line.band
            && band.len() != line.points.len()
        {
            return Err(Error::Length {
                what: format!("the band of the series {:?}", line.name),
                got: band.len(),
                expected: line.points.len(),
            });
        }
    }
    Ok(())
}

fn looks(title: &str, series: &[LineSeries]) -> Result<Vec<Look>> {
    let own: Vec<&LineSeries> = series.iter().filter(|line| line.reference.is_none()).collect();
    let position =
        |list: &[&LineSeries], name: &str| list.iter().position(|line| line.name == name);
    let mut references = 0;
    let mut originals = 0;
    series
        .iter()
        .map(|line| match &line.reference {
            None => {
                originals += 1;
                let look = Look::of_series(originals - 1);
                // Points have no dashes to tell a colour that comes round again: they are hollow then.
                let again = look.dash_px.is_some();
                Ok(Look { filled: line.joined || !again, ..look })
            }
            Some(Reference::ToNothing) => {
                references += 1;
                Ok(Look::of_reference(references - 1))
            }
            Some(Reference::To(name)) => match position(&own, name) {
                Some(index) => Ok(Look::of_series(index).referenced()),
                None => Err(Error::EmptyChart {
                    chart: title.to_owned(),
                    what: format!("series named {name:?} for {:?} to refer to", line.name),
                }),
            },
        })
        .collect()
}

struct Plot<'a, 'b> {
    canvas: &'a Canvas<'b>,
    x: Scale,
    y: Scale,
    bottom: f64,
}

/// As many markers as a line has at most; with more points, only some are marked.
const MARKERS: usize = 24;

impl Plot<'_, '_> {
    fn px(&self, (x, y): (f64, f64)) -> Point {
        (self.x.px(x), self.y.px(y))
    }

    fn band(&self, line: &LineSeries, look: Look) -> Result<()> {
        let Some(band) = &line.band else {
            return Ok(());
        };
        let ends: Vec<Option<(f64, f64, f64)>> = line
            .points
            .iter()
            .zip(band)
            .map(|((x, _), (low, high))| {
                [*x, *low, *high].iter().all(|v| v.is_finite()).then_some((*x, *low, *high))
            })
            .collect();
        for run in runs(&ends) {
            if let [(x, low, high)] = run[..] {
                let ends = (self.y.px(low), self.y.px(high));
                self.canvas.error_bar(self.x.px(x), ends, look.color, 4.0)?;
                continue;
            }
            let lower = run.iter().map(|(x, low, _)| self.px((*x, *low)));
            let upper = run.iter().rev().map(|(x, _, high)| self.px((*x, *high)));
            self.canvas.polygon(&lower.chain(upper).collect::<Vec<_>>(), look.color, 0.16)?;
        }
        Ok(())
    }

    /// `phase` in 0..1 spreads the markers of dense lines, so that lines that coincide
    /// can be told apart.
    fn line(&self, line: &LineSeries, look: Look, phase: f64) -> Result<()> {
        let points: Vec<Option<Point>> = line
            .points
            .iter()
            .map(|(x, y)| (x.is_finite() && y.is_finite()).then(|| self.px((*x, *y))))
            .collect();
        for run in runs(&points).iter().filter(|_| line.joined) {
            self.canvas.series_line(run, look, if look.filled { 2.0 } else { 1.6 })?;
        }
        let every = if line.joined { points.len().div_ceil(MARKERS) } else { 1 };
        let every = if every > 1 { points.len().div_ceil(MARKERS / 2) } else { 1 };
        let first = (phase * every as f64) as usize;
        for (index, point) in points.iter().enumerate() {
            match (point, line.points[index].0) {
                (Some(point), _) if index % every == first || line.points.len() == 1 => {
                    self.canvas.marker(*point, look, 3.6)?;
                }
                (None, x) if x.is_finite() => {
                    self.canvas.cross((self.x.px(x), self.bottom - 8.0), look.color)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The stretches without a gap.
fn runs<T: Copy>(values: &[Option<T>]) -> Vec<Vec<T>> {
    values
        .split(Option::is_none)
        .filter(|run| !run.is_empty())
        .map(|run| run.iter().copied().flatten().collect())
        .collect()
}
