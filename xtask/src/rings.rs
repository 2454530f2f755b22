//! What measured rings are: fits of their tuning curves, and how chips of them spread.

use std::path::PathBuf;

use pnn_devices::mrr::measured::{Axis, Curve, Estimate, ResonanceFit, Tuning};
use pnn_devices::mrr::{Heater, Ring, RingGeometry};
use pnn_eval::plot::{Axis as PlotAxis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Report, Section, Svg, Table};
use pnn_train::RingChip;
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::error::{Error, Result};
use crate::reproduce::measured::MeasuredRings;
use crate::reproduce::provenance::commit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tuning curves: the first column is a current (mA), voltage (V) or power (mW), its unit in parentheses; then a column for
    /// each ring, or one of values and one called Label
    curves: PathBuf,
    /// Curves to leave out, by their labels, comma separated
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Half-width of the rings' resonance in nm, from a spectrum: with it and the curves the heater is known, and a chip of such rings is
    /// printed as a `ring_chip` for a profile
    #[arg(long, value_name = "NM")]
    half_width_nm: Option<f64>,
    /// Resistance of a heater in ohm
    #[arg(long, default_value_t = 375.0, requires = "half_width_nm")]
    resistance: f64,
    /// Folder for the report
    #[arg(long, default_value = "target/rings")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let rings = MeasuredRings::read_without(&args.curves, &args.without)?;
    let simple = rings.curves.iter().map(|curve| ResonanceFit::of(curve, Tuning::Linear));
    let simple = simple.collect::<pnn_devices::Result<Vec<_>>>()?;
    let table = table(&rings.fits, &simple)?;
    println!("{}", table.to_markdown());
    let half_width = RingChip::default().half_width_nm()?;
    let spread = rings.ring_spread();
    let within = deviation_within(rings.fits.len())?;
    let words = format!(
        "Resonances spread by {:.2} half-widths of a resonance (standard deviation over {} rings): {:.3} nm for rings of the default geometry, whose \
         half-width is {half_width:.3} nm. `reproduce --only deployed-ring` takes the same half-widths of its own rings, which are coupled more strongly. \
         Widths spread by {:.0} % of their mean. Of so few rings both are known to within a factor of {:.2} to {:.2} (95 %, normal errors).",
        spread.half_widths,
        rings.fits.len(),
        spread.half_widths * half_width,
        100.0 * spread.widths,
        within[0],
        within[1]
    );
    println!("{words}");
    let section = Section::new("Fits").paragraph(words);
    let section = match args.half_width_nm {
        None => section,
        Some(half_width_nm) => {
            let chip = ring_chip(&rings.fits, args.resistance, half_width_nm)?;
            println!("{chip}");
            section.details("A chip of such rings, for `ring_chip` of a method's recipe", chip)
        }
    };
    let section = section
        .paragraph(
            "A physical fit is `offset - depth / (1 + u^2)` with `u = q (1 + bend q) / (half-width dp/dx)`, `q` the heat beyond that of the centre: the \
             resonance moves with the heat, and the heater's resistance rises with it. A simple one has `u = (x - centre) / half-width`. Intervals are at 95 %, \
             from the residuals.",
        )
        .figure(picture(&rings.curves, &rings.fits)?, "Measured points, and the physical fit of each ring.")
        .table(table);
    let path = args.out.join("index.html");
    Report::new("Measured rings")
        .provenance("curves", args.curves.display().to_string())
        .provenance("commit", commit())
        .summary(format!("Fits of {}.", rings.name))
        .section(section)
        .write(&path)?;
    println!("report: {}", path.display());
    Ok(true)
}

/// By which factors the true standard deviation may differ from that of a sample, at 95 %: of normal values, by chi squared.
fn deviation_within(count: usize) -> Result<[f64; 2]> {
    let freedom = count as f64 - 1.0;
    let squared = ChiSquared::new(freedom).map_err(|e| Error::Usage(e.to_string()))?;
    Ok([0.975, 0.025].map(|level| (freedom / squared.inverse_cdf(level)).sqrt()))
}

/// Rings and heaters as those that were measured, in the mean, as a line of a recipe: evenly coupled rings of the default radius and
/// loss whose line is as wide, and the heater that the tuning curves then have.
fn ring_chip(fits: &[ResonanceFit], resistance_ohm: f64, half_width_nm: f64) -> Result<String> {
    let geometry = RingChip::default().bank.ring;
    let width = |coupling: f64| -> Result<f64> {
        let even = RingGeometry { coupling, drop_coupling: coupling, ..geometry };
        Ok(0.5 * Ring::new(even)?.full_width_nm())
    };
    let (mut low, mut high) = (1e-6, 0.9);
    if !(width(low)? < half_width_nm && half_width_nm < width(high)?) {
        let line = format!(
            "--half-width-nm is {half_width_nm}, allowed is from {:.4} (the loss of the default ring) to {:.4}",
            width(low)?,
            width(high)?
        );
        return Err(Error::Usage(line));
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if width(middle)? < half_width_nm { low = middle } else { high = middle }
    }
    let (mut efficiency, mut at) = (0.0, 0.0);
    for fit in fits {
        let Heater::Joule { nm_per_milliwatt, resonance_milliamp, .. } =
            fit.heater(resistance_ohm, half_width_nm)?
        else {
            return Err(Error::Usage(format!("{} has no heater", fit.label)));
        };
        efficiency += nm_per_milliwatt / fits.len() as f64;
        at += resonance_milliamp / fits.len() as f64;
    }
    Ok(format!(
        "ring_chip = {{ bank = {{ ring = {{ coupling = {low:.4}, drop_coupling = {low:.4} }}, resistance_ohm = {resistance_ohm}, \
         nm_per_milliwatt = {efficiency:.4}, resonance_milliamp = {at:.3} }} }}"
    ))
}

fn interval(estimate: &Estimate) -> Cell {
    Cell::Interval(Interval {
        estimate: estimate.value,
        low: estimate.value - estimate.margin,
        high: estimate.value + estimate.margin,
        level: 0.95,
        method: pnn_eval::Method::StudentT,
    })
}

fn table(fits: &[ResonanceFit], simple: &[ResonanceFit]) -> Result<Table> {
    let unit = fits.first().map_or("", |fit| fit.axis.unit());
    let mut table = Table::new(
        "Resonances",
        vec![
            Column::text("ring"),
            Column::interval(format!("centre ({unit})"), 3),
            Column::interval(format!("half-width ({unit})"), 3),
            Column::interval("depth", 3),
            Column::number("residual", 4),
            Column::interval(format!("centre, simple fit ({unit})"), 3),
            Column::interval(format!("half-width, simple fit ({unit})"), 3),
            Column::number("its residual", 4),
        ],
    )?;
    for (fit, simple) in fits.iter().zip(simple) {
        table.push(vec![
            Cell::Text(fit.label.clone()),
            interval(&fit.centre),
            interval(&fit.half_width),
            interval(&fit.depth),
            Cell::Number(fit.residual_rms),
            interval(&simple.centre),
            interval(&simple.half_width),
            Cell::Number(simple.residual_rms),
        ])?;
    }
    Ok(table)
}

/// Points of the lines that are drawn, and measured points that are shown.
const FINE: usize = 200;
const SHOWN: usize = 40;

fn picture(curves: &[Curve], fits: &[ResonanceFit]) -> Result<Svg> {
    let mut series = Vec::new();
    for (curve, fit) in curves.iter().zip(fits) {
        let (first, last) = match (curve.points.first(), curve.points.last()) {
            (Some(first), Some(last)) => (first.0, last.0),
            _ => return Err(Error::Usage(format!("curve {:?} has no points", curve.label))),
        };
        let at = |k: usize| first + (last - first) * k as f64 / FINE as f64;
        // All would hide each other, and the line.
        let points = curve.points.iter().copied().step_by(curve.points.len().div_ceil(SHOWN));
        series.push(LineSeries::new(&curve.label, points).scattered());
        let line = (0..=FINE).map(|k| (at(k), fit.at(at(k))));
        let line = LineSeries::new(format!("{}, fit", curve.label), line);
        series.push(line.reference_of(&curve.label));
    }
    let what = match curves.first().map(|curve| curve.axis) {
        Some(Axis::Volt) => "heater voltage",
        Some(Axis::Milliwatt) => "heater power",
        _ => "heater current",
    };
    let x = PlotAxis::linear(what).unit(fits.first().map_or("", |fit| fit.axis.unit()));
    Ok(line_chart("Tuning curves", &x, &PlotAxis::linear("weight"), &series)?)
}

#[cfg(test)]
mod tests {
    use pnn_devices::mrr::measured::Curve;

    use super::*;

    /// A ring 0.15 nm wide to either side whose heater moves it by 0.5 nm/mW at 400 ohm, on resonance at 4 mA: 1.6 nm/mA there.
    #[test]
    fn a_measured_ring_becomes_a_chip() {
        let half_width = 0.15 / 1.6;
        let line = |k: i32| {
            let current = 0.01 * f64::from(k);
            let u = (current * current - 16.0) / (8.0 * half_width);
            (current, 1.0 - 1.9 / (1.0 + u * u))
        };
        let points = (300..500).map(line).collect();
        let curve = Curve { label: "a".into(), axis: Axis::Milliamp, points };
        let fit = ResonanceFit::of(&curve, Tuning::Joule).unwrap();
        let text = ring_chip(std::slice::from_ref(&fit), 400.0, 0.15).unwrap();
        assert!(text.contains("nm_per_milliwatt = 0.5000, resonance_milliamp = 4.000"), "{text}");
        #[derive(serde::Deserialize)]
        struct Line {
            ring_chip: RingChip,
        }
        let read: Line = toml::from_str(&text).unwrap();
        let width = read.ring_chip.half_width_nm().unwrap();
        assert!((width - 0.15).abs() < 2e-4, "{width}");
        let error = ring_chip(&[fit], 400.0, 1e-9).unwrap_err().to_string();
        assert!(error.contains("--half-width-nm is 0.000000001, allowed is from"), "{error}");
    }

    /// Of four values: 3 degrees of freedom, chi squared from 0.216 to 9.348.
    #[test]
    fn a_deviation_of_few_values_is_hardly_known() {
        let [low, high] = deviation_within(4).unwrap();
        assert!((low - 0.5665).abs() < 1e-3 && (high - 3.7288).abs() < 1e-2, "{low} {high}");
    }
}
