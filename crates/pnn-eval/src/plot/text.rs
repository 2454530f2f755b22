//! How wide text is, and how numbers are written on an axis.

/// The size of tick labels and legend entries.
pub(super) const SMALL_PX: f64 = 12.0;
/// The size of axis labels.
pub(super) const LABEL_PX: f64 = 13.0;
/// The size of the title.
pub(super) const TITLE_PX: f64 = 15.0;

/// About how wide a reader's sans-serif font sets the text. The widths are those of
/// `DejaVu` Sans, which is wider than Arial, Helvetica and Segoe UI: room is never short.
pub(super) fn width_px(text: &str, size_px: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | 'I' => 0.33,
            't' | 'f' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.41,
            '⁰'..='⁹' | '¹' | '²' | '³' | '⁻' => 0.42,
            'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.97,
            '−' | '+' | '=' | '×' | '<' | '>' | '±' => 0.84,
            'A'..='Z' => 0.72,
            c if c.is_ascii() => 0.62,
            // Greek, accented Latin; ideographs are square.
            c if (c as u32) < 0x2000 => 0.68,
            _ => 1.0,
        })
        .sum();
    em * size_px
}

/// The text, shortened with an ellipsis to fit.
pub(super) fn fitted(text: &str, size_px: f64, room_px: f64) -> String {
    if width_px(text, size_px) <= room_px {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        let shown = format!("{}…", short.trim_end());
        if width_px(&shown, size_px) <= room_px {
            return shown;
        }
    }
    "…".into()
}

/// The text in at most `lines` lines of this width, broken at spaces.
pub(super) fn wrapped(text: &str, size_px: f64, room_px: f64, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match out.last_mut() {
            Some(line) if out_of_lines(line, word, size_px, room_px) => {
                out.push(word.to_owned());
            }
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => out.push(word.to_owned()),
        }
    }
    if out.len() > lines {
        let rest = out.split_off(lines - 1).join(" ");
        out.push(rest);
    }
    out.iter().map(|line| fitted(line, size_px, room_px)).collect()
}

fn out_of_lines(line: &str, word: &str, size_px: f64, room_px: f64) -> bool {
    width_px(&format!("{line} {word}"), size_px) > room_px
}

/// A tick's value, with as many decimals as its step needs; very large and very small
/// ones as 2×10⁵.
pub(super) fn tick_label(value: f64, step: f64, largest: f64) -> String {
    let exponent_of_step = step.abs().log10().floor();
    let text = if largest >= 1e5 || exponent_of_step < -4.0 {
        power_of_ten(value, step)
    } else {
        let mut decimals = (-exponent_of_step).max(0.0) as usize;
        // 0.25 needs one more than 0.2.
        if ((step * 10f64.powi(decimals as i32)).fract()).abs() > 1e-6 {
            decimals += 1;
        }
        format!("{value:.decimals$}")
    };
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero { text.replace('-', "") } else { text.replace('-', "−") }
}

fn power_of_ten(value: f64, step: f64) -> String {
    if value.abs() < 1e-9 * step.abs() {
        return "0".into();
    }
    let exponent = value.abs().log10().floor() as i32;
    let digits = (f64::from(exponent) - step.abs().log10().floor()).max(0.0) as usize;
    // Dividing keeps extreme exponents representable, multiplying would not.
    let mantissa = format!("{:.digits$}", value / 10f64.powi(exponent));
    let trimmed = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        &mantissa
    };
    match trimmed {
        "1" => format!("10{}", superscript(exponent)),
        "-1" => format!("-10{}", superscript(exponent)),
        _ => format!("{trimmed}×10{}", superscript(exponent)),
    }
}

/// The label of a tick of a logarithmic axis.
pub(super) fn log_tick_label(value: f64) -> String {
    if (1e-4..1e5).contains(&value) {
        // Rounds away what 10^x leaves: 0.30000000000000004.
        format!("{value:.9}").trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        let exponent = value.log10().floor();
        power_of_ten(value, 10f64.powf(exponent)).replace('-', "−")
    }
}

fn superscript(exponent: i32) -> String {
    exponent
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => char::from_u32(0x2070 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_have_the_decimals_of_their_step() {
        for (value, step, largest, label) in [
            (0.1 + 0.2, 0.1, 1.0, "0.3"),
            (-0.25, 0.25, 1.0, "−0.25"),
            (-0.0, 0.2, 1.0, "0.0"),
            (50.0, 50.0, 100.0, "50"),
            (200_000.0, 50_000.0, 250_000.0, "2×10⁵"),
            (250_000.0, 50_000.0, 250_000.0, "2.5×10⁵"),
            (1e-6, 1e-6, 3e-6, "10⁻⁶"),
            (0.0, 1e-6, 3e-6, "0"),
        ] {
            assert_eq!(tick_label(value, step, largest), label);
        }
        assert_eq!(log_tick_label(0.1f64.powi(3)), "0.001");
        assert_eq!(log_tick_label(2e-7), "2×10⁻⁷");
        assert_eq!(log_tick_label(1e6), "10⁶");
    }

    #[test]
    fn text_is_broken_and_shortened_to_fit() {
        let lines = wrapped("sharpness aware training in situ on a chip", 12.0, 80.0, 3);
        assert!(lines.len() == 3 && lines[2].ends_with('…'), "{lines:?}");
        assert!(lines.iter().all(|line| width_px(line, 12.0) <= 80.0));
        assert_eq!(fitted("short", 12.0, 80.0), "short");
        assert_eq!(fitted("any", 12.0, 0.0), "…");
        assert!(wrapped("", 12.0, 80.0, 3).is_empty());
    }
}
