//! Values over a plane: what contour plots and surfaces show.

use super::axis::{Axis, Scale};
use super::field::Field;
use super::palette::Look;
use super::text::tick_label;
use crate::landscape::Plane;
use crate::{Error, Result};

/// Values over a grid, for [`contour`](super::contour) and [`surface`](super::surface).
#[derive(Debug, Clone, PartialEq)]
pub struct Relief {
    pub(super) title: String,
    xs: Vec<f64>,
    ys: Vec<f64>,
    rows: Vec<Vec<f64>>,
    pub(super) value: Axis,
    pub(super) x_label: String,
    pub(super) y_label: String,
    marks: Vec<(String, f64, f64)>,
    levels: Option<Vec<f64>>,
    ceiling: Option<f64>,
}

impl Relief {
    /// Values in rows, a row for each of `ys` and in it a value for each of `xs`; both rise. The axis of the values says
    /// what they are, in which unit, and whether colours, levels and heights follow their logarithm (for
    /// positive values) or themselves.
    #[must_use]
    pub fn new(
        title: impl Into<String>,
        (xs, ys): (Vec<f64>, Vec<f64>),
        rows: Vec<Vec<f64>>,
        value: Axis,
    ) -> Self {
        let (x_label, y_label) = ("first direction".into(), "second direction".into());
        let title = title.into();
        Self {
            title,
            xs,
            ys,
            rows,
            value,
            x_label,
            y_label,
            marks: vec![],
            levels: None,
            ceiling: None,
        }
    }

    /// The losses of a plane.
    #[must_use]
    pub fn of(title: impl Into<String>, plane: &Plane, value: Axis) -> Self {
        let rows = plane.rows().map(<[f64]>::to_vec).collect();
        Self::new(title, (plane.xs.clone(), plane.ys.clone()), rows, value)
    }

    /// Names the axes, which are otherwise the first and the second direction.
    #[must_use]
    pub fn axes(self, x: impl Into<String>, y: impl Into<String>) -> Self {
        Self { x_label: x.into(), y_label: y.into(), ..self }
    }

    /// Marks a point, such as where training ended.
    #[must_use]
    pub fn mark(mut self, name: impl Into<String>, x: f64, y: f64) -> Self {
        self.marks.push((name.into(), x, y));
        self
    }

    /// Draws the lines of a contour plot at these values instead of about ten round ones.
    #[must_use]
    pub fn levels(self, levels: impl IntoIterator<Item = f64>) -> Self {
        Self { levels: Some(levels.into_iter().collect()), ..self }
    }

    /// Draws values above this one as this one, and says so: far from a solution a loss may rise so high that nothing else
    /// is seen.
    #[must_use]
    pub fn ceiling(self, ceiling: f64) -> Self {
        Self { ceiling: Some(ceiling), ..self }
    }

    /// What the colours mean.
    pub(super) fn value_label(&self) -> String {
        match self.ceiling {
            Some(ceiling) => format!("{}, cut off at {ceiling}", self.value.label()),
            None => self.value.label().to_owned(),
        }
    }

    /// What a screen reader says of it.
    pub(super) fn spoken(&self, kind: &str, field: &Field) -> String {
        let ends = |list: &[f64]| format!("from {} to {}", list[0], list[list.len() - 1]);
        let points: Vec<&str> = field.points.iter().map(|point| point.text.as_str()).collect();
        format!(
            "{kind}: {}. {} over {} {} and {} {}. {}.",
            self.title,
            self.value_label(),
            self.x_label,
            ends(&field.xs),
            self.y_label,
            ends(&field.ys),
            points.join("; ")
        )
    }

    /// The grid, checked.
    pub(super) fn field(&self) -> Result<Field> {
        self.check()?;
        let value = |value: &f64| match self.ceiling {
            _ if !value.is_finite() => f64::NAN,
            Some(ceiling) => value.min(ceiling),
            None => *value,
        };
        let values: Vec<f64> = self.rows.iter().flatten().map(value).collect();
        let scale = self.value.tight_scale(&self.title, "relief", values.iter().copied())?;
        let scale = scale.on(0.0, 1.0);
        let heights = values.iter().map(|v| if v.is_nan() { *v } else { scale.px(*v) }).collect();
        let levels = self.field_levels(&scale)?;
        let points = self.points()?;
        Ok(Field { xs: self.xs.clone(), ys: self.ys.clone(), heights, scale, levels, points })
    }

    fn check(&self) -> Result<()> {
        let positions =
            [("the x positions of a relief", &self.xs), ("the y positions of a relief", &self.ys)];
        for (what, list) in positions {
            if list.len() < 2 {
                return Err(Error::TooFew { what, got: list.len(), needed: 2 });
            }
            if let Some(value) = list.iter().copied().find(|v| !(-1e300..=1e300).contains(v)) {
                return Err(self.refused(what, value, "-1e300 to 1e300"));
            }
            if let Some(pair) = list.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(self.refused(what, pair[1], "above the one before"));
            }
        }
        let wrong = |what: &str, got, expected| {
            let what = format!("{what} of the relief {:?}", self.title);
            Err(Error::Length { what, got, expected })
        };
        if self.rows.len() != self.ys.len() {
            return wrong("the list of rows", self.rows.len(), self.ys.len());
        }
        if let Some(row) = self.rows.iter().find(|row| row.len() != self.xs.len()) {
            return wrong("a row", row.len(), self.xs.len());
        }
        match self.ceiling.filter(|ceiling| !ceiling.is_finite()) {
            Some(ceiling) => Err(self.refused("the ceiling", ceiling, "finite numbers")),
            None => Ok(()),
        }
    }

    fn refused(&self, what: &str, value: f64, allowed: &'static str) -> Error {
        Error::ChartValue { chart: self.title.clone(), what: what.to_owned(), value, allowed }
    }

    /// The levels that lie between the least and the largest value.
    fn field_levels(&self, scale: &Scale) -> Result<Vec<(f64, String)>> {
        let Some(levels) = &self.levels else {
            return Ok(scale.levels());
        };
        let mut levels = levels.clone();
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        if let Some(level) = levels.iter().find(|level| !scale.px(**level).is_finite()) {
            let allowed = "finite numbers, positive on a logarithmic axis";
            return Err(self.refused("a level", *level, allowed));
        }
        levels.retain(|level| (0.0..=1.0).contains(&scale.px(*level)));
        // As they were written, if that is short.
        let label = |level: f64| match level.to_string() {
            text if text.len() <= 6 => text.replace('-', "−"),
            _ => three_digits(level),
        };
        Ok(levels.into_iter().map(|level| (level, label(level))).collect())
    }

    /// The minimum and what is marked.
    fn points(&self) -> Result<Vec<MarkedPoint>> {
        let place = |value: f64, list: &[f64]| {
            let range = list[list.len() - 1] - list[0];
            tick_label(value, 10f64.powf((0.01 * range).log10().floor()), range)
        };
        let all =
            self.rows.iter().zip(&self.ys).flat_map(|(row, y)| {
                row.iter().zip(&self.xs).map(move |(value, x)| (*x, *y, *value))
            });
        let finite = all.filter(|(.., value)| value.is_finite());
        let least = finite.reduce(|best, one| if one.2 < best.2 { one } else { best });
        let mut points = Vec::new();
        if let Some((x, y, value)) = least {
            let at = format!("({}, {})", place(x, &self.xs), place(y, &self.ys));
            let text = format!("minimum {} at {at}", three_digits(value));
            points.push(MarkedPoint { look: Look::MINIMUM, text, x, y });
        }
        for (number, (name, x, y)) in self.marks.iter().enumerate() {
            for (what, value, list) in [("x", *x, &self.xs), ("y", *y, &self.ys)] {
                if !(list[0]..=list[list.len() - 1]).contains(&value) {
                    let what = format!("the {what} of the mark {name:?}");
                    return Err(self.refused(&what, value, "inside the relief"));
                }
            }
            let (look, text) = (Look::of_reference(number), name.clone());
            points.push(MarkedPoint { look, text, x: *x, y: *y });
        }
        Ok(points)
    }
}

/// A point that is marked on a relief.
pub(super) struct MarkedPoint {
    pub(super) look: Look,
    pub(super) text: String,
    pub(super) x: f64,
    pub(super) y: f64,
}

fn three_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    tick_label(value, 10f64.powf(value.abs().log10().floor() - 2.0), value.abs())
}
