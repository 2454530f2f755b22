//! Bars side by side with error bars.

use super::axis::{Axis, finite_ends};
use super::canvas::{Canvas, draw};
use super::frame::{Below, Frame, Texts};
use super::legend::{Legend, Swatch};
use super::palette::{AXIS, Look, TEXT};
use crate::{Error, Interval, Result, Svg};

/// A named set of bars of a [`bar_chart`], one a group.
#[derive(Debug, Clone, PartialEq)]
pub struct BarSeries {
    name: String,
    values: Vec<f64>,
    ends: Option<Vec<(f64, f64)>>,
    reference: bool,
}

impl BarSeries {
    /// Bars of these heights.
    #[must_use]
    pub fn new(name: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        Self {
            name: name.into(),
            values: values.into_iter().collect(),
            ends: None,
            reference: false,
        }
    }

    /// Bars with their intervals.
    #[must_use]
    pub fn from_intervals(
        name: impl Into<String>,
        values: impl IntoIterator<Item = Interval>,
    ) -> Self {
        let intervals: Vec<Interval> = values.into_iter().collect();
        Self::new(name, intervals.iter().map(|interval| interval.estimate))
            .error_bars(intervals.iter().map(|interval| (interval.low, interval.high)))
    }

    /// Error bars from low to high; none where an end is not finite.
    #[must_use]
    pub fn error_bars(self, ends: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { ends: Some(ends.into_iter().collect()), ..self }
    }

    /// Marks the bars as a reference ("paper, measured"): hollow, black.
    #[must_use]
    pub fn reference(self) -> Self {
        Self { reference: true, ..self }
    }
}

/// A chart of groups of bars: one group a name, in it one bar a series.
///
/// Bars start at 0. When the axis was given a range without 0, or is logarithmic, markers
/// replace the bars, because a bar that starts elsewhere misleads.
///
/// # Errors
/// Without groups or series; with a series that has not one value a group or no finite
/// one; with a value that the axis cannot show.
pub fn bar_chart(title: &str, y: &Axis, groups: &[String], series: &[BarSeries]) -> Result<Svg> {
    check(title, groups, series)?;
    let bars = y.shows_zero();
    let values = series
        .iter()
        .flat_map(|set| set.values.iter().copied().chain(finite_ends(set.ends.iter().flatten())));
    let axis = if bars { standing_on_zero(y, values.clone()) } else { y.clone() };
    let y_scale = axis.scale(title, "y", values)?;

    let looks = looks(series);
    let swatch = |look| {
        if bars { Swatch::Box(look) } else { Swatch::Marker(look) }
    };
    let entries =
        series.iter().zip(&looks).map(|(set, look)| (swatch(*look), set.name.clone())).collect();
    let has_gaps = series.iter().any(|set| set.values.iter().any(|value| !value.is_finite()));
    let frame = Frame::new(
        Texts { title, x_label: "", y_label: y.label() },
        Below::Groups(groups),
        y_scale,
        |room_px| Legend::new(entries, has_gaps, room_px),
    );
    let names: Vec<&str> = series.iter().map(|set| set.name.as_str()).collect();
    let label = format!(
        "Bar chart: {title}. {} of {}, for {}.",
        y.label(),
        groups.join(", "),
        names.join(", ")
    );
    draw(title, &label, frame.size_px(), |canvas| {
        frame.draw(canvas)?;
        let x = frame.x();
        // In a group's width: all bars together, and one of them.
        let slot = (0.72 / series.len() as f64).min(0.3);
        let width = (x.px(slot) - x.px(0.0)) * 0.88;
        for (number, (set, look)) in series.iter().zip(&looks).enumerate() {
            let offset = slot * (number as f64 - 0.5 * (series.len() - 1) as f64);
            for (group, value) in set.values.iter().enumerate() {
                let center = x.px(group as f64 + 0.5 + offset);
                let ends = set.ends.as_ref().map(|ends| ends[group]);
                let bar = Bar { center, width, value: *value, ends, look: *look, solid: bars };
                bar.draw(canvas, &frame)?;
            }
        }
        if bars {
            let zero = frame.y.px(0.0);
            canvas.line([(frame.left, zero), (frame.right, zero)], AXIS, 1.2)?;
        }
        frame.draw_axes(canvas)
    })
}

/// The axis from 0 to the data, without a margin on the far side of 0, unless it was
/// given a range.
fn standing_on_zero(axis: &Axis, values: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    if axis.has_range() || low >= high {
        return axis.clone();
    }
    let margin = 0.04 * (high - low);
    axis.clone().range(
        if low < 0.0 { low - margin } else { 0.0 },
        if high > 0.0 { high + margin } else { 0.0 },
    )
}

/// One bar, or the marker in its place.
struct Bar {
    center: f64,
    width: f64,
    value: f64,
    ends: Option<(f64, f64)>,
    look: Look,
    solid: bool,
}

impl Bar {
    fn draw(&self, canvas: &Canvas<'_>, frame: &Frame<'_>) -> Result<()> {
        let Self { center, width, look, .. } = *self;
        if !self.value.is_finite() {
            return canvas.cross((center, frame.bottom - 8.0), look.color);
        }
        let height = frame.y.px(self.value);
        if self.solid {
            let (zero, half) = (frame.y.px(0.0), 0.5 * width);
            let (upper_left, lower_right) =
                ((center - half, height.min(zero)), (center + half, height.max(zero)));
            if look.filled {
                canvas.rect(upper_left, lower_right, look.color)?;
            } else {
                canvas.frame(upper_left, lower_right, look.color, 1.6)?;
            }
        }
        if let Some((low, high)) =
            self.ends.filter(|(low, high)| low.is_finite() && high.is_finite())
        {
            let color = if self.solid { TEXT } else { look.color };
            let cap_px = (0.25 * width).clamp(1.5, 5.0);
            canvas.error_bar(center, (frame.y.px(low), frame.y.px(high)), color, cap_px)?;
        }
        if self.solid { Ok(()) } else { canvas.marker((center, height), look, 4.2) }
    }
}

fn looks(series: &[BarSeries]) -> Vec<Look> {
    let (mut own, mut references) = (0, 0);
    series
        .iter()
        .map(|set| {
            let (count, look): (&mut usize, fn(usize) -> Look) = if set.reference {
                (&mut references, Look::of_reference)
            } else {
                (&mut own, Look::of_series)
            };
            *count += 1;
            look(*count - 1)
        })
        .collect()
}

fn check(title: &str, groups: &[String], series: &[BarSeries]) -> Result<()> {
    let empty = |what: String| Err(Error::EmptyChart { chart: title.to_owned(), what });
    if groups.is_empty() {
        return empty("group".into());
    }
    if series.is_empty() {
        return empty("series".into());
    }
    for BarSeries { name, values, ends, .. } in series {
        let lengths = [("values", Some(values.len())), ("error bars", ends.as_ref().map(Vec::len))];
        for (kind, length) in lengths {
            if let Some(got) = length.filter(|length| *length != groups.len()) {
                let what = format!("the list of {kind} of the series {name:?}");
                return Err(Error::Length { what, got, expected: groups.len() });
            }
        }
        if !values.iter().any(|value| value.is_finite()) {
            return empty(format!("finite value in the series {name:?}"));
        }
    }
    Ok(())
}
