//! Step histograms that share their bins.

use super::axis::Axis;
use super::canvas::{Point, draw};
use super::frame::{Below, Frame, Texts};
use super::legend::{Legend, Swatch};
use super::palette::Look;
use crate::{Error, Result, Svg};

/// A named histogram of a [`histogram_chart`].
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    name: String,
    heights: Vec<f64>,
}

impl Histogram {
    /// A histogram with the height of each bin: counts, fractions or densities.
    #[must_use]
    pub fn new(name: impl Into<String>, heights: impl IntoIterator<Item = f64>) -> Self {
        Self { name: name.into(), heights: heights.into_iter().collect() }
    }

    /// The fraction of `values` in each bin `edges[i] <= value < edges[i + 1]` (the last
    /// bin includes its upper edge). Values outside, and NaN, are in no bin but count in
    /// the whole, and the name then says how many they are.
    ///
    /// # Errors
    /// Without values.
    pub fn fractions(name: impl Into<String>, values: &[f64], edges: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::TooFew { what: "a histogram", got: 0, needed: 1 });
        }
        let mut counts = vec![0u64; edges.len().saturating_sub(1)];
        let mut outside = 0u64;
        for value in values {
            let above = edges.partition_point(|edge| edge <= value);
            let bin = if edges.last() == Some(value) {
                above.checked_sub(2)
            } else {
                above.checked_sub(1)
            };
            match bin.and_then(|bin| counts.get_mut(bin)) {
                Some(count) if !value.is_nan() => *count += 1,
                _ => outside += 1,
            }
        }
        let mut name = name.into();
        if outside > 0 {
            name = format!("{name} ({outside} outside)");
        }
        Ok(Self::new(name, counts.into_iter().map(|count| count as f64 / values.len() as f64)))
    }
}

/// The edges of so many equally wide bins between `low` and `high`.
#[must_use]
pub fn bin_edges(low: f64, high: f64, bins: usize) -> Vec<f64> {
    let share = |i: usize| i as f64 / bins.max(1) as f64;
    (0..=bins).map(|i| low * (1.0 - share(i)) + high * share(i)).collect()
}

/// A chart of step histograms over the same bins. The y axis starts at 0.
///
/// # Errors
/// Without histograms; with fewer than two edges, or edges that do not increase; with a
/// histogram that has not one finite height, not below 0, a bin.
pub fn histogram_chart(
    title: &str,
    x: &Axis,
    y: &Axis,
    edges: &[f64],
    histograms: &[Histogram],
) -> Result<Svg> {
    check(title, edges, histograms)?;
    let heights = histograms.iter().flat_map(|histogram| histogram.heights.iter().copied());
    let highest = heights.fold(0.0, f64::max);
    let x_scale = x.scale(title, "x", edges.iter().copied())?;
    let top = if highest > 0.0 { highest } else { 1.0 };
    let y_scale = y.clone().range(0.0, 1.06 * top).scale(title, "y", [])?;

    let looks: Vec<Look> = (0..histograms.len()).map(Look::of_series).collect();
    let entries = histograms
        .iter()
        .zip(&looks)
        .map(|(histogram, look)| (Swatch::Box(*look), histogram.name.clone()))
        .collect();
    let frame = Frame::new(
        Texts { title, x_label: x.label(), y_label: y.label() },
        Below::Ticks(x_scale),
        y_scale,
        |room_px| Legend::new(entries, false, room_px),
    );
    let names: Vec<&str> = histograms.iter().map(|histogram| histogram.name.as_str()).collect();
    let label =
        format!("Histogram: {title}. {} by {}, for {}.", y.label(), x.label(), names.join(", "));
    draw(title, &label, frame.size_px(), |canvas| {
        frame.draw(canvas)?;
        let x = frame.x();
        let outlines: Vec<Vec<Point>> = histograms
            .iter()
            .map(|histogram| {
                let foot = |edge: &f64| (x.px(*edge), frame.bottom);
                let steps =
                    histogram.heights.iter().zip(edges.windows(2)).flat_map(|(height, bin)| {
                        let y = frame.y.px(*height);
                        [(x.px(bin[0]), y), (x.px(bin[1]), y)]
                    });
                edges
                    .first()
                    .map(foot)
                    .into_iter()
                    .chain(steps)
                    .chain(edges.last().map(foot))
                    .collect()
            })
            .collect();
        for (outline, look) in outlines.iter().zip(&looks) {
            canvas.polygon(outline, look.color, 0.18)?;
        }
        for (outline, look) in outlines.iter().zip(&looks) {
            canvas.series_line(outline, *look, 1.8)?;
        }
        frame.draw_axes(canvas)
    })
}

fn check(title: &str, edges: &[f64], histograms: &[Histogram]) -> Result<()> {
    let empty =
        |what: &str| Err(Error::EmptyChart { chart: title.to_owned(), what: what.to_owned() });
    let wrong = |what: String, value, allowed| {
        Err(Error::ChartValue { chart: title.to_owned(), what, value, allowed })
    };
    if histograms.is_empty() {
        return empty("histogram");
    }
    if edges.len() < 2 {
        return empty("bin (at least two edges are needed)");
    }
    if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
        return wrong("a bin edge".into(), *edge, "a finite number");
    }
    if let Some(pair) = edges.windows(2).find(|pair| pair[0] >= pair[1]) {
        return wrong("a bin edge".into(), pair[1], "more than the edge before it");
    }
    for Histogram { name, heights } in histograms {
        if heights.len() != edges.len() - 1 {
            let what = format!("the histogram {name:?}");
            return Err(Error::Length { what, got: heights.len(), expected: edges.len() - 1 });
        }
        if let Some(height) = heights.iter().find(|height| !(0.0..f64::INFINITY).contains(*height))
        {
            return wrong(format!("a height of the histogram {name:?}"), *height, "[0, inf)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin_or_outside() {
        let edges = bin_edges(0.0, 1.0, 4);
        let values = [0.0, 0.25, 0.26, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY];
        let histogram = Histogram::fractions("h", &values, &edges).unwrap();
        assert_eq!(histogram.heights, [0.125, 0.25, 0.0, 0.125]);
        assert_eq!(histogram.name, "h (4 outside)");
        assert!(Histogram::fractions("h", &[], &edges).is_err());
    }
}
