//! Densities of eigenvalues.

use pnn_core::curvature::Density;

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Point, draw};
use super::frame::{Below, Frame, Texts};
use super::legend::{Legend, Swatch};
use super::palette::{AXIS, Look};
use crate::landscape::positions;
use crate::{Error, Result, Svg};

/// Places at which a density is drawn.
const SPREAD_POINTS: usize = 400;

/// The spectral density of a matrix, such as the Hessian of a loss: one curve of a [`spectrum`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpectralDensity {
    name: String,
    points: Vec<(f64, f64)>,
    eigenvalues: Vec<f64>,
}

impl SpectralDensity {
    /// The density at eigenvalues that rise: (eigenvalue, density).
    #[must_use]
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), eigenvalues: Vec::new() }
    }

    /// A density of which each eigenvalue is spread by a normal law of standard deviation `width`, from the smallest to the largest of them and
    /// five widths further.
    #[must_use]
    pub fn spread(name: impl Into<String>, density: &Density, width: f64) -> Self {
        let ends = density.masses.first().zip(density.masses.last());
        let at = ends.map(|((low, _), (high, _))| {
            positions(low - 5.0 * width, high + 5.0 * width, SPREAD_POINTS)
        });
        Self::new(name, at.into_iter().flatten().map(|x| (x, density.at(x, width))))
    }

    /// Marks single eigenvalues, such as the extreme ones, at the foot of the plot.
    #[must_use]
    pub fn eigenvalues(self, eigenvalues: impl IntoIterator<Item = f64>) -> Self {
        Self { eigenvalues: eigenvalues.into_iter().collect(), ..self }
    }
}

/// Spectral densities over the eigenvalue, on a logarithmic axis: a few large eigenvalues have a share of one in the
/// number of parameters, beside the many near 0. Densities below `floor` (0 among them) are not drawn. A line marks the
/// eigenvalue 0, left of which the loss curves downwards.
///
/// ```
/// use pnn_eval::plot::{SpectralDensity, spectrum};
/// let bulk = (-20..=100).map(|i| 0.1 * f64::from(i)).map(|x: f64| (x, (-x * x).exp()));
/// let svg = spectrum(
///     "Hessian of the loss",
///     ("eigenvalue (nats)", "density (1/nats)"),
///     &[SpectralDensity::new("BP", bulk).eigenvalues([7.5, 9.1])],
///     1e-6,
/// )?;
/// assert!(svg.as_str().contains("eigenvalue"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
///
/// # Errors
/// Without a curve, or with one that has no finite point above the floor, whose eigenvalues do not rise, or that has a negative
/// density; if the floor is not a positive number.
pub fn spectrum(
    title: &str,
    (x_label, y_label): (&str, &str),
    curves: &[SpectralDensity],
    floor: f64,
) -> Result<Svg> {
    check(title, curves, floor)?;
    let looks: Vec<Look> = (0..curves.len()).map(Look::of_series).collect();
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let xs = points().map(|point| point.0);
    let xs = xs.chain(curves.iter().flat_map(|curve| curve.eigenvalues.iter().copied()));
    let x = Axis::linear(x_label).scale(title, "eigenvalue", xs.chain([0.0]))?;
    let largest = points().map(|point| point.1).filter(|y| y.is_finite()).fold(floor, f64::max);
    // A little above the largest, and to the floor exactly.
    let y = Axis::logarithmic(y_label).range(floor, 1.6 * largest);
    let y = y.scale(title, "density", [floor])?;
    let has_gaps = points().any(|(_, y)| !y.is_finite());
    let mut entries: Vec<(Swatch, String)> = curves
        .iter()
        .zip(&looks)
        .map(|(curve, look)| (Swatch::Line(*look), curve.name.clone()))
        .collect();
    if curves.iter().any(|curve| !curve.eigenvalues.is_empty()) {
        entries.push((Swatch::Stem, "single eigenvalue".into()));
    }
    let frame = Frame::new(Texts { title, x_label, y_label }, Below::Ticks(x), y, |room_px| {
        Legend::new(entries, has_gaps, room_px)
    });
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    let label = format!(
        "Spectral density: {title}. {y_label} over {x_label}. Curves: {}.",
        names.join(", ")
    );
    draw(title, &label, frame.size_px(), |canvas| {
        frame.draw(canvas)?;
        let plot = Plot { canvas, x: frame.x(), y: frame.y, bottom: frame.bottom, floor };
        let zero = plot.x.px(0.0);
        canvas.line([(zero, frame.top), (zero, frame.bottom)], AXIS, 1.0)?;
        for (curve, look) in curves.iter().zip(&looks) {
            plot.area(curve, *look)?;
        }
        frame.draw_axes(canvas)?;
        for (number, (curve, look)) in curves.iter().zip(&looks).enumerate() {
            plot.curve(curve, *look, number as f64 / curves.len() as f64)?;
        }
        Ok(())
    })
}

struct Plot<'a, 'b> {
    canvas: &'a Canvas<'b>,
    x: Scale,
    y: Scale,
    bottom: f64,
    floor: f64,
}

/// Pixels between two markers of a curve.
const MARKER_PX: f64 = 54.0;

impl Plot<'_, '_> {
    /// The stretches of a curve above the floor, each from where it leaves the floor to where it comes back.
    fn runs(&self, curve: &SpectralDensity) -> Vec<Vec<Point>> {
        // Where the line from a point above the floor to one below meets it, in logarithms; at once for 0.
        let foot = |above: (f64, f64), below: (f64, f64)| {
            let share = (above.1 / self.floor).ln() / (above.1 / below.1).ln();
            (self.x.px(above.0 + share * (below.0 - above.0)), self.bottom)
        };
        let (mut runs, mut run): (Vec<Vec<Point>>, Vec<Point>) = (Vec::new(), Vec::new());
        let mut before: Option<(f64, f64)> = None;
        for point in curve.points.iter().copied() {
            let known = before.filter(|(_, density)| density.is_finite());
            if point.1.is_finite() && point.1 > self.floor {
                if let (true, Some(last)) = (run.is_empty(), known) {
                    run.push(foot(point, last));
                }
                run.push((self.x.px(point.0), self.y.px(point.1)));
            } else if !run.is_empty() {
                if let (true, Some(last)) = (point.1.is_finite(), known) {
                    run.push(foot(last, point));
                }
                runs.push(std::mem::take(&mut run));
            }
            before = Some(point);
        }
        runs.push(run);
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn area(&self, curve: &SpectralDensity, look: Look) -> Result<()> {
        for run in self.runs(curve) {
            let feet = [(run[run.len() - 1].0, self.bottom), (run[0].0, self.bottom)];
            self.canvas.polygon(&[run.as_slice(), &feet].concat(), look.color, 0.12)?;
        }
        Ok(())
    }

    /// `phase` in 0..1 keeps the markers of different curves apart.
    fn curve(&self, curve: &SpectralDensity, look: Look, phase: f64) -> Result<()> {
        let runs = self.runs(curve);
        let mut marked = Vec::new();
        for run in &runs {
            self.canvas.series_line(run, look, 2.0)?;
            let slot = |point: &Point| (point.0 / MARKER_PX - phase).floor();
            let next = run.windows(2).filter(|pair| slot(&pair[0]) != slot(&pair[1]));
            marked.extend(next.map(|pair| pair[1]).filter(|point| point.1 < self.bottom));
        }
        // The peak too, so that no curve is without a marker.
        marked.extend(runs.into_iter().flatten().reduce(|a, b| if b.1 < a.1 { b } else { a }));
        for point in marked {
            self.canvas.marker(point, look, 3.6)?;
        }
        for (x, _) in curve.points.iter().filter(|(_, density)| !density.is_finite()) {
            self.canvas.cross((self.x.px(*x), self.bottom - 8.0), look.color)?;
        }
        for x in curve.eigenvalues.iter().map(|eigenvalue| self.x.px(*eigenvalue)) {
            let top = self.bottom - 18.0;
            self.canvas.line([(x, self.bottom), (x, top)], look.color, 1.6)?;
            self.canvas.rect((x - 3.0, top - 3.0), (x + 3.0, top + 3.0), look.color)?;
        }
        Ok(())
    }
}

fn check(title: &str, curves: &[SpectralDensity], floor: f64) -> Result<()> {
    let empty = |what: String| Err(Error::EmptyChart { chart: title.to_owned(), what });
    let refused = |what: String, value, allowed| {
        Err(Error::ChartValue { chart: title.to_owned(), what, value, allowed })
    };
    if !(floor > 0.0 && floor < 1e300) {
        return refused("the floor of the densities".into(), floor, "(0, 1e300)");
    }
    if curves.is_empty() {
        return empty("curve".into());
    }
    for SpectralDensity { name, points, eigenvalues } in curves {
        if !points.iter().any(|(_, y)| y.is_finite() && *y > floor) {
            return empty(format!("density above the floor in the curve {name:?}"));
        }
        if let Some((_, y)) = points.iter().find(|(_, y)| *y < 0.0) {
            return refused(format!("a density of the curve {name:?}"), *y, "[0, infinity)");
        }
        if let Some(x) =
            points.iter().map(|p| p.0).chain(eigenvalues.iter().copied()).find(|x| !x.is_finite())
        {
            return refused(format!("an eigenvalue of the curve {name:?}"), x, "finite numbers");
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            let what = format!("an eigenvalue of the curve {name:?}");
            return refused(what, pair[1].0, "above the one before");
        }
    }
    Ok(())
}
