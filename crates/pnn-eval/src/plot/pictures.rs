//! Pictures of pixels side by side.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::WIDTH_PX;
use super::canvas::{TextLook, draw_over, image_element};
use super::frame::draw_title;
use super::palette::{AXIS, TEXT, mix};
use super::text::{SMALL_PX, fitted, tick_label};
use crate::{Error, Result, Svg};

/// What the colours of a [`Picture`] stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colours {
    /// From 0 (black) over purple and orange to the largest value (pale yellow).
    Intensity,
    /// Vermillion below 0, white at 0, blue above; alike on both sides.
    Signed,
    /// One period of a phase from 0 to this value, whose ends have one colour.
    Cyclic(f64),
}

/// Pixels, row by row from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    title: String,
    unit: String,
    size: (usize, usize),
    values: Vec<f64>,
    colours: Colours,
    marks: Vec<[usize; 4]>,
    largest: Option<f64>,
}

impl Picture {
    /// A picture of `size` (height, width), of values in `unit`.
    #[must_use]
    pub fn new(
        title: impl Into<String>,
        unit: impl Into<String>,
        size: (usize, usize),
        values: Vec<f64>,
        colours: Colours,
    ) -> Self {
        let (title, unit) = (title.into(), unit.into());
        Self { title, unit, size, values, colours, marks: Vec::new(), largest: None }
    }

    /// Rectangles drawn on it: first row, first column, rows, columns.
    #[must_use]
    pub fn marks(self, marks: impl IntoIterator<Item = [usize; 4]>) -> Self {
        Self { marks: marks.into_iter().collect(), ..self }
    }

    /// The value of the last colour, such as that of another picture; larger ones have it too.
    #[must_use]
    pub fn largest(self, largest: f64) -> Self {
        Self { largest: Some(largest), ..self }
    }

    /// The value of the last colour.
    fn scale(&self) -> f64 {
        let finite = self.values.iter().filter(|v| v.is_finite());
        let largest = match self.colours {
            Colours::Cyclic(period) => period,
            Colours::Intensity => finite.copied().fold(0.0, f64::max),
            Colours::Signed => finite.map(|v| v.abs()).fold(0.0, f64::max),
        };
        let largest = self.largest.unwrap_or(largest);
        if largest > 0.0 { largest } else { 1.0 }
    }
}

/// Pictures side by side, each with its scale of colours, every pixel as it is. Pixels that are not finite are
/// green, which no scale has.
///
/// # Errors
/// Without a picture; if one has no pixels or not as many values as pixels, or a mark lies beyond it.
///
/// ```
/// use pnn_eval::plot::{Colours, Picture, pictures};
/// let ramp = (0..16).map(f64::from).collect();
/// let svg = pictures("A ramp", &[Picture::new("ramp", "1", (4, 4), ramp, Colours::Intensity)])?;
/// assert!(svg.as_str().contains("data:image/png"));
/// # Ok::<(), pnn_eval::Error>(())
/// ```
pub fn pictures(title: &str, pictures: &[Picture]) -> Result<Svg> {
    let empty = |what: &str| Error::EmptyChart { chart: title.to_owned(), what: what.to_owned() };
    if pictures.is_empty() {
        return Err(empty("picture"));
    }
    for picture in pictures {
        let (height, width) = picture.size;
        if height * width == 0 {
            return Err(empty("pixel"));
        }
        let wrong = |what, got, expected| {
            Err(Error::Length { what: format!("{what} of {:?}", picture.title), got, expected })
        };
        if picture.values.len() != height * width {
            return wrong("the list of pixels", picture.values.len(), height * width);
        }
        for [top, left, rows, columns] in &picture.marks {
            if top + rows > height {
                return wrong("the last row of a mark", top + rows, height);
            }
            if left + columns > width {
                return wrong("the last column of a mark", left + columns, width);
            }
        }
    }
    let wide = pictures.iter().any(|p| p.size.1 > 3 * p.size.0 / 2);
    let columns = pictures.len().min(if wide { 2 } else { 4 });
    let cell = (WIDTH_PX - 12.0) / columns as f64;
    let shown_width = cell - 12.0;
    let shown_height =
        |p: &Picture| (shown_width * p.size.0 as f64 / p.size.1 as f64).min(1.4 * shown_width);
    let tallest = pictures.iter().map(shown_height).fold(0.0, f64::max);
    let (above, below) = (22.0, 38.0);
    let rows = pictures.len().div_ceil(columns);
    let top = 44.0;
    let place = |number: usize| {
        let (row, column) = ((number / columns) as f64, (number % columns) as f64);
        (12.0 + column * cell, top + above + row * (above + tallest + below))
    };
    let height = top + rows as f64 * (above + tallest + below) + 4.0;
    let mut images = String::new();
    for (number, picture) in pictures.iter().enumerate() {
        let (left, top) = place(number);
        let size = (shown_width, shown_height(picture));
        let scale = picture.scale();
        let pixels = picture.values.iter().map(|v| color(picture.colours, *v, scale));
        images += &image_element(&png(title, picture.size, pixels)?, (left, top), size);
        let legend = legend(picture.colours, scale);
        let legend = legend.iter().map(|v| color(picture.colours, *v, scale));
        let at = (left, top + size.1 + 6.0);
        images += &image_element(&png(title, (1, LEGEND), legend)?, at, (shown_width, 8.0));
    }
    let names: Vec<&str> = pictures.iter().map(|p| p.title.as_str()).collect();
    let label = format!("Pictures: {title}. {}.", names.join("; "));
    draw_over(&images, title, &label, (WIDTH_PX, height), |canvas| {
        draw_title(canvas, title, 12.0, WIDTH_PX - 12.0)?;
        for (number, picture) in pictures.iter().enumerate() {
            let (left, top) = place(number);
            let (right, bottom) = (left + shown_width, top + shown_height(picture));
            let name = fitted(&picture.title, SMALL_PX, shown_width);
            canvas.text(&name, (left, top - 11.0), TextLook::new(SMALL_PX, HPos::Left))?;
            let (rows, columns) = (picture.size.0 as f64, picture.size.1 as f64);
            let at = |row: usize, column: usize| {
                (
                    left + column as f64 / columns * (right - left),
                    top + row as f64 / rows * (bottom - top),
                )
            };
            for [row, column, high, wide] in &picture.marks {
                let corner = at(row + high, column + wide);
                canvas.frame(at(*row, *column), corner, RGBColor(230, 230, 230), 1.0)?;
            }
            canvas.frame((left, top), (right, bottom), AXIS, 1.0)?;
            let (least, scale) = (legend(picture.colours, picture.scale())[0], picture.scale());
            let number = |value: f64| tick_label(value, scale / 10.0, scale);
            let small = TextLook { color: TEXT, ..TextLook::new(SMALL_PX - 1.0, HPos::Left) };
            let under = bottom + 24.0;
            canvas.text(&number(least), (left, under), small)?;
            let last = format!("{} {}", number(scale), picture.unit);
            canvas.text(&last, (right, under), TextLook { anchor: HPos::Right, ..small })?;
        }
        Ok(())
    })
}

/// Pixels of a scale of colours.
const LEGEND: usize = 128;

/// The values of a scale from one end to the other.
fn legend(colours: Colours, scale: f64) -> Vec<f64> {
    let low = if colours == Colours::Signed { -scale } else { 0.0 };
    (0..LEGEND).map(|k| low + (scale - low) * k as f64 / (LEGEND - 1) as f64).collect()
}

/// Between these at equal distances.
fn between(stops: &[(u8, u8, u8)], share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let first = (place as usize).min(stops.len() - 2);
    let [a, b] = [stops[first], stops[first + 1]].map(|(r, g, b)| RGBColor(r, g, b));
    mix(a, b, place - first as f64)
}

fn color(colours: Colours, value: f64, scale: f64) -> RGBColor {
    if !value.is_finite() {
        return RGBColor(0, 158, 115);
    }
    match colours {
        Colours::Intensity => {
            let stops = [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)];
            between(&stops, value / scale)
        }
        Colours::Signed => {
            let stops =
                [(176, 67, 0), (242, 160, 99), (255, 255, 255), (86, 160, 214), (0, 72, 129)];
            between(&stops, 0.5 + 0.5 * value / scale)
        }
        Colours::Cyclic(period) => {
            let stops =
                [(226, 217, 226), (98, 118, 186), (48, 20, 55), (178, 82, 80), (226, 217, 226)];
            let turn = value / period;
            // The last colour is the first.
            between(&stops, turn - turn.floor())
        }
    }
}

/// An image file of pixels.
pub(super) fn png(
    chart: &str,
    (height, width): (usize, usize),
    pixels: impl Iterator<Item = RGBColor>,
) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::Drawing {
        chart: chart.to_owned(),
        reason: error.to_string(),
    };
    let data: Vec<u8> = pixels.flat_map(|RGBColor(r, g, b)| [r, g, b]).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&data).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_run_from_end_to_end_and_phases_around() {
        let of = |colours, value| color(colours, value, 2.0);
        assert_eq!(of(Colours::Intensity, 0.0), RGBColor(0, 0, 4));
        assert_eq!(of(Colours::Intensity, 2.0), of(Colours::Intensity, 9.0));
        assert_eq!(of(Colours::Signed, 0.0), RGBColor(255, 255, 255));
        assert_ne!(of(Colours::Signed, -1.0), of(Colours::Signed, 1.0));
        let phase = Colours::Cyclic(1.0);
        assert_eq!(of(phase, 0.25), of(phase, -0.75));
        assert_eq!(of(phase, 0.0), of(phase, 1.0));
        assert_eq!(of(phase, f64::NAN), RGBColor(0, 158, 115));
    }

    #[test]
    fn a_png_holds_the_pixels() {
        let colors = [RGBColor(1, 2, 3), RGBColor(4, 5, 6), RGBColor(7, 8, 9), RGBColor(9, 9, 9)];
        let file = png("x", (2, 2), colors.into_iter()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut data).unwrap();
        assert_eq!(data, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |p: &[Picture]| pictures("P", p).unwrap_err().to_string();
        let picture =
            |size, count| Picture::new("mask", "1", size, vec![0.0; count], Colours::Intensity);
        assert!(error(&[]).contains("picture"));
        assert!(error(&[picture((0, 3), 0)]).contains("pixel"));
        assert!(error(&[picture((2, 3), 5)]).contains("the list of pixels of \"mask\""));
        let marked = picture((2, 3), 6).marks([[1, 1, 1, 3]]);
        let error = error(&[marked]);
        assert!(error.contains("the last column of a mark of \"mask\""), "{error}");
        assert!(error.contains('4') && error.contains('3'), "{error}");
        // Nothing but zeros has a scale too.
        assert!(pictures("P", &[picture((2, 3), 6)]).is_ok());
    }
}
