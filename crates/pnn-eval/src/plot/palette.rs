//! Colours, markers and dashes.
//!
//! Okabe and Ito, "Color Universal Design" (2008). Their yellow is left out (too faint on
//! white) and black is kept for references.

use plotters::style::RGBColor;

pub(super) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(super) const BLACK: RGBColor = RGBColor(0, 0, 0);
pub(super) const TEXT: RGBColor = RGBColor(40, 44, 48);
pub(super) const AXIS: RGBColor = RGBColor(110, 116, 122);
/// Below the hatching of what has no value.
pub(super) const NO_VALUE: RGBColor = RGBColor(238, 240, 242);
pub(super) const GRID: RGBColor = RGBColor(232, 235, 238);

const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The shape drawn at a data point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    InvertedTriangle,
    Pentagon,
    Hexagon,
}

const MARKERS: [Marker; 7] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::InvertedTriangle,
    Marker::Pentagon,
    Marker::Hexagon,
];

impl Marker {
    /// The corners around (0, 0) for a marker of this radius; none for a circle.
    pub(super) fn corners(self, radius: f64) -> Vec<(f64, f64)> {
        let (sides, turn, scale) = match self {
            Self::Circle => return Vec::new(),
            Self::Square => (4, 0.125, 1.28),
            Self::Diamond => (4, 0.0, 1.4),
            Self::Triangle => (3, 0.25, 1.5),
            Self::InvertedTriangle => (3, -0.25, 1.5),
            Self::Pentagon => (5, 0.25, 1.2),
            Self::Hexagon => (6, 0.0, 1.15),
        };
        (0..sides)
            .map(|side| {
                let angle = std::f64::consts::TAU * (f64::from(side) / f64::from(sides) + turn);
                (scale * radius * angle.cos(), -scale * radius * angle.sin())
            })
            .collect()
    }
}

/// How a series looks. 6 colours and 7 markers pair up to 42 different looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub(super) color: RGBColor,
    pub(super) marker: Marker,
    /// Dash and gap, for references and for colours that come round again.
    pub(super) dash_px: Option<(f64, f64)>,
    /// Whether markers and bars are filled.
    pub(super) filled: bool,
}

impl Look {
    pub(super) fn of_series(index: usize) -> Self {
        Self {
            color: COLORS[index % COLORS.len()],
            marker: MARKERS[index % MARKERS.len()],
            dash_px: match (index / COLORS.len()) % 3 {
                0 => None,
                1 => Some((9.0, 3.0)),
                _ => Some((3.0, 3.0)),
            },
            filled: true,
        }
    }

    /// A reference for the series with this look.
    pub(super) fn referenced(self) -> Self {
        Self { dash_px: Some((5.0, 4.0)), filled: false, ..self }
    }

    /// The least value of a picture: what stands out from the blue ramp.
    pub(super) const MINIMUM: Self =
        Self { color: COLORS[1], marker: Marker::Diamond, dash_px: None, filled: true };

    /// The reference with this number that belongs to no series.
    pub(super) fn of_reference(index: usize) -> Self {
        Self { color: BLACK, ..Self::of_series(index) }.referenced()
    }
}

/// A colour of a ramp, at 0 to 1 between `from` and `to`.
pub(super) fn mix(from: RGBColor, to: RGBColor, share: f64) -> RGBColor {
    let channel = |a: u8, b: u8| {
        (f64::from(a) + share.clamp(0.0, 1.0) * (f64::from(b) - f64::from(a))).round() as u8
    };
    RGBColor(channel(from.0, to.0), channel(from.1, to.1), channel(from.2, to.2))
}

/// The ramp of values of one sign, from nearly white (0) over blue to deep blue (1): two legs, so that the
/// middle is a clear colour and not a grey one.
pub(super) fn sequential(share: f64) -> RGBColor {
    two_legs(RGBColor(245, 249, 253), RGBColor(86, 160, 214), RGBColor(0, 72, 129), share)
}

/// The ramp of values of both signs, from deep vermillion (-1) over white (0) to deep blue (1).
pub(super) fn diverging(share: f64) -> RGBColor {
    if share > 0.0 {
        two_legs(WHITE, RGBColor(86, 160, 214), RGBColor(0, 72, 129), share)
    } else {
        two_legs(WHITE, RGBColor(242, 160, 99), RGBColor(176, 67, 0), -share)
    }
}

fn two_legs(pale: RGBColor, clear: RGBColor, deep: RGBColor, share: f64) -> RGBColor {
    if share < 0.5 { mix(pale, clear, 2.0 * share) } else { mix(clear, deep, 2.0 * share - 1.0) }
}

/// Black or white, whichever is read better on this colour (relative luminance of WCAG).
pub(super) fn text_on(background: RGBColor) -> RGBColor {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let luminance = 0.2126 * linear(background.0)
        + 0.7152 * linear(background.1)
        + 0.0722 * linear(background.2);
    // Where the contrast with TEXT equals that with white.
    if luminance > 0.23 { TEXT } else { WHITE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_42_series_look_different() {
        for a in 0..42 {
            for b in 0..a {
                let (x, y) = (Look::of_series(a), Look::of_series(b));
                assert!(x.color != y.color || x.marker != y.marker, "{a} and {b}");
            }
        }
    }
}
