//! Axes: labels, ranges, scales and ticks.

use super::text::{log_tick_label, tick_label};
use crate::{Error, Result};

/// A chart's axis: a label with a unit, a scale, and optionally a range that it covers
/// at least.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    label: String,
    logarithmic: bool,
    range: Option<(f64, f64)>,
}

impl Axis {
    /// An axis with a linear scale.
    #[must_use]
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), logarithmic: false, range: None }
    }

    /// An axis with a logarithmic scale (to the base 10), for positive values.
    #[must_use]
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Self { logarithmic: true, ..Self::linear(label) }
    }

    /// Adds the unit to the label, in parentheses.
    #[must_use]
    pub fn unit(self, unit: impl AsRef<str>) -> Self {
        Self { label: format!("{} ({})", self.label, unit.as_ref()), ..self }
    }

    /// Covers at least `low..=high`. Data beyond widen the axis: nothing is cut off.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// The label with its unit.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// Whether 0 can be the foot of a bar here.
    pub(super) fn shows_zero(&self) -> bool {
        !self.logarithmic && self.range.is_none_or(|(low, high)| low <= 0.0 && high >= 0.0)
    }

    /// The scale for these data; values that are not finite are passed over.
    pub(super) fn scale(
        &self,
        chart: &str,
        which: &str,
        data: impl IntoIterator<Item = f64>,
    ) -> Result<Scale> {
        let (data, range) = self.ends(chart, which, data)?;
        let (low, high) = padded(data.0, data.1, range);
        Ok(Scale { logarithmic: self.logarithmic, low, high, low_px: 0.0, high_px: 1.0 })
    }

    /// As [`Self::scale`], without a margin around the data (unless they are all alike).
    pub(super) fn tight_scale(
        &self,
        chart: &str,
        which: &str,
        data: impl IntoIterator<Item = f64>,
    ) -> Result<Scale> {
        let (data, range) = self.ends(chart, which, data)?;
        let (low, high) = range.map_or(data, |(from, to)| (from.min(data.0), to.max(data.1)));
        let same = high - low <= 1e-9 * low.abs().max(high.abs());
        let (low, high) = if same { padded(low, high, None) } else { (low, high) };
        Ok(Scale { logarithmic: self.logarithmic, low, high, low_px: 0.0, high_px: 1.0 })
    }

    /// The ends of the data, and of the range that is asked for; logarithms on a logarithmic axis.
    fn ends(
        &self,
        chart: &str,
        which: &str,
        data: impl IntoIterator<Item = f64>,
    ) -> Result<(Ends, Option<Ends>)> {
        let fail = |what: &str, value, allowed| {
            Err(Error::ChartValue {
                chart: chart.to_owned(),
                what: format!("{which} {what}"),
                value,
                allowed,
            })
        };
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in data.into_iter().filter(|value| value.is_finite()) {
            if self.logarithmic && value <= 0.0 {
                return fail("value", value, "a positive number on a logarithmic axis");
            }
            // Beyond this, differences and their multiples would overflow.
            if value.abs() > 1e300 {
                return fail("value", value, "-1e300 to 1e300");
            }
            (low, high) = (low.min(value), high.max(value));
        }
        let is_usable = |from: f64, to: f64| {
            from < to && from.abs().max(to.abs()) <= 1e300 && (from > 0.0 || !self.logarithmic)
        };
        if let Some((from, to)) = self.range
            && !is_usable(from, to)
        {
            let value = if from < to && from <= 0.0 { from } else { to };
            return fail(
                "axis range",
                value,
                "low < high, finite, and positive on a logarithmic axis",
            );
        }
        if low > high && self.range.is_none() {
            return Err(Error::EmptyChart {
                chart: chart.to_owned(),
                what: format!("finite {which} value"),
            });
        }
        let inward = |value: f64| {
            if self.logarithmic { value.log10() } else { value }
        };
        let range = self.range.map(|(from, to)| (inward(from), inward(to)));
        Ok(((inward(low), inward(high)), range))
    }
}

/// The least and the largest.
type Ends = (f64, f64);

/// The range with a margin around the data, save where the wanted range covers them.
fn padded(low: f64, high: f64, wanted: Option<(f64, f64)>) -> (f64, f64) {
    let (from, to) = wanted.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
    let (outer_low, outer_high) = (low.min(from), high.max(to));
    let span = outer_high - outer_low;
    // One value, or several that differ by rounding only: room to both sides.
    let largest = outer_low.abs().max(outer_high.abs());
    let margin = if span <= 1e-9 * largest || span == 0.0 {
        if largest > 0.0 { 0.1 * largest } else { 1.0 }
    } else {
        0.04 * span
    };
    (if low < from { low - margin } else { from }, if high > to { high + margin } else { to })
}

/// The ends of the intervals that can be drawn: those of which both are finite.
pub(super) fn finite_ends<'a>(
    intervals: impl Iterator<Item = &'a (f64, f64)> + Clone,
) -> impl Iterator<Item = f64> + Clone {
    intervals
        .filter(|(low, high)| low.is_finite() && high.is_finite())
        .flat_map(|(low, high)| [*low, *high])
}

/// A range of values on a range of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    logarithmic: bool,
    /// The ends, as logarithms on a logarithmic axis.
    low: f64,
    high: f64,
    low_px: f64,
    high_px: f64,
}

impl Scale {
    /// A linear scale with exactly these ends.
    pub(super) fn exactly(low: f64, high: f64) -> Self {
        Self { logarithmic: false, low, high, low_px: 0.0, high_px: 1.0 }
    }

    pub(super) fn on(self, low_px: f64, high_px: f64) -> Self {
        Self { low_px, high_px, ..self }
    }

    pub(super) fn px(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        self.low_px + (value - self.low) / (self.high - self.low) * (self.high_px - self.low_px)
    }

    /// Values and labels of about so many ticks.
    pub(super) fn ticks(&self, about: usize) -> Vec<(f64, String)> {
        if self.logarithmic { self.logarithmic_ticks(about) } else { self.linear_ticks(about) }
    }

    /// Round values within the ends for about ten lines of equal value, with their labels.
    pub(super) fn levels(&self) -> Vec<(f64, String)> {
        let margin = 1e-6 * (self.high - self.low);
        let inside = |value: f64| {
            let value = if self.logarithmic { value.log10() } else { value };
            self.low + margin < value && value < self.high - margin
        };
        let within = |ticks: Vec<(f64, String)>| -> Vec<(f64, String)> {
            ticks.into_iter().filter(|(value, _)| inside(*value)).collect()
        };
        if !self.logarithmic {
            return within(self.linear_ticks(LEVELS));
        }
        let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
        let digits: [&[f64]; 5] = [
            &[1.0],
            &[1.0, 3.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        ];
        let of = |digits: &[f64]| {
            let values = (first..=last)
                .flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
            within(values.map(|value| (value, log_tick_label(value))).collect())
        };
        match digits.into_iter().map(of).find(|levels| levels.len() >= 7) {
            // Beyond twenty decades every second one, and so on.
            Some(levels) => {
                let every = levels.len().div_ceil(20);
                levels.into_iter().step_by(every).collect()
            }
            None => {
                let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
                within(Self::exactly(low, high).linear_ticks(LEVELS))
            }
        }
    }

    fn linear_ticks(&self, about: usize) -> Vec<(f64, String)> {
        // A large step may fall beside the range; one label alone does not tell a scale.
        let about = about.max(1);
        (about..about + 6)
            .map(|about| self.ticks_at_round_steps(about))
            .find(|ticks| ticks.len() >= 2)
            .unwrap_or_default()
    }

    fn ticks_at_round_steps(&self, about: usize) -> Vec<(f64, String)> {
        let step = round_step((self.high - self.low) / about as f64);
        let tolerance = 1e-6 * step;
        let first = ((self.low - tolerance) / step).ceil();
        let largest = self.low.abs().max(self.high.abs());
        // The count bounds the loop whatever rounding does.
        (0..=3 * about)
            .map(|i| (first + i as f64) * step)
            .take_while(|value| *value <= self.high + tolerance)
            .map(|value| (value, tick_label(value, step, largest)))
            .collect()
    }

    fn logarithmic_ticks(&self, about: usize) -> Vec<(f64, String)> {
        let decades = self.high - self.low;
        let digits: &[f64] = match decades {
            d if d > 3.5 => &[1.0],
            d if d > 1.2 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        let every = (decades / about.max(1) as f64).ceil().max(1.0) as i32;
        let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
        let ticks: Vec<(f64, String)> = (first..=last)
            .filter(|decade| decade % every == 0)
            .flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)))
            .filter(|value| (self.low - 1e-9..=self.high + 1e-9).contains(&value.log10()))
            .map(|value| (value, log_tick_label(value)))
            .collect();
        if ticks.len() >= 2 {
            return ticks;
        }
        // Less than a decade, between two of them: linear ticks, where they are.
        let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
        Self::exactly(low, high).linear_ticks(about)
    }
}

/// About how many steps a linear range of levels is cut into; 7 to 14 come of it.
const LEVELS: usize = 14;

/// The round number (1, 2 or 5 times a power of ten) nearest above.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let digit = raw / power;
    power
        * if digit <= 1.0 {
            1.0
        } else if digit <= 2.0 {
            2.0
        } else if digit <= 5.0 {
            5.0
        } else {
            10.0
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(scale: Scale, about: usize) -> Vec<String> {
        scale.ticks(about).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::exactly(0.0, 1.0), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::exactly(-0.12, 0.09), 5), ["−0.10", "−0.05", "0.00", "0.05"]);
        assert_eq!(labels(Scale::exactly(0.0, 60_000.0), 4), ["0", "20000", "40000", "60000"]);
        let log = |low, high| Axis::logarithmic("x").range(low, high).scale("c", "x", []).unwrap();
        assert_eq!(labels(log(1e-3, 10.0), 6), ["0.001", "0.01", "0.1", "1", "10"]);
        assert_eq!(labels(log(0.2, 2.0), 6), ["0.2", "0.5", "1", "2"]);
        assert_eq!(labels(log(0.21, 0.24), 4), ["0.21", "0.22", "0.23", "0.24"]);
    }

    #[test]
    fn levels_are_round_and_inside() {
        let tight = |axis: Axis, low, high| {
            let levels = axis.tight_scale("c", "z", [low, high]).unwrap().levels();
            levels.into_iter().map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(tight(Axis::linear("z"), 0.0, 1.0)[..2], ["0.1", "0.2"]);
        let five = ["0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1", "3"];
        assert_eq!(tight(Axis::logarithmic("z"), 3e-4, 5.0), five);
        assert_eq!(tight(Axis::logarithmic("z"), 1.0, 1.1)[0], "1.01");
        assert!((5..=20).contains(&tight(Axis::logarithmic("z"), 1e-120, 1e90).len()));
    }

    #[test]
    fn impossible_ranges_and_values_are_refused() {
        let scale =
            |axis: Axis, data: &[f64]| axis.scale("c", "y", data.iter().copied()).map(|_| ());
        assert!(matches!(scale(Axis::linear("y"), &[]), Err(Error::EmptyChart { .. })));
        assert!(matches!(scale(Axis::linear("y"), &[f64::NAN]), Err(Error::EmptyChart { .. })));
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            let result = scale(Axis::linear("y").range(low, high), &[1.0]);
            assert!(matches!(result, Err(Error::ChartValue { .. })), "{low} {high}");
        }
        assert!(scale(Axis::logarithmic("y"), &[0.0]).is_err());
        assert!(scale(Axis::logarithmic("y").range(0.0, 1.0), &[0.5]).is_err());
        assert!(scale(Axis::linear("y"), &[f64::MAX]).is_err());
    }

    proptest! {
        #[test]
        fn all_data_are_on_the_axis_and_ticks_are_few(
            data in proptest::collection::vec(
                prop_oneof![-1e3..1e3f64, -1e-6..1e-6f64, -1e299..1e299f64, Just(0.0), Just(1e15), Just(1e15 + 0.125)], 1..5),
            about in 1usize..12,
        ) {
            let scale = Axis::linear("x").scale("c", "x", data.iter().copied()).unwrap().on(0.0, 100.0);
            for value in data {
                prop_assert!((0.0..=100.0).contains(&scale.px(value)));
            }
            let ticks = scale.ticks(about);
            prop_assert!((2..=3 * about + 10).contains(&ticks.len()), "{ticks:?}");
            for (value, _) in ticks {
                prop_assert!((-0.01..=100.01).contains(&scale.px(value)));
            }
        }
    }
}
