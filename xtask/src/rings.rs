//! What measured rings are: fits of their tuning curves, and how chips of them spread.

use std::path::PathBuf;

use pnn_devices::mrr::measured::{Axis, Curve, Estimate, ResonanceFit, Tuning};
use pnn_eval::plot::{Axis as PlotAxis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Report, Section, Svg, Table};
use pnn_train::RingChip;

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
    let words = format!(
        "Resonances spread by {:.2} half-widths of a resonance (standard deviation over {} rings): {:.3} nm for rings of the default geometry, whose \
         half-width is {half_width:.3} nm. `reproduce --only deployed-ring` takes the same half-widths of its own rings, which are coupled more strongly. \
         Widths spread by {:.0} % of their mean.",
        spread.half_widths,
        rings.fits.len(),
        spread.half_widths * half_width,
        100.0 * spread.widths
    );
    println!("{words}");
    let section = Section::new("Fits")
        .paragraph(words)
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
