//! Where the rings end up: histogram of the currents `4 - x` (Fig. 2f), and how strongly the
//! weights answer to a shift.

use pnn_core::model::Model;
use pnn_core::{DType, Tensor};
use pnn_devices::mrr::{Lorentzian, TransferFunction};
use pnn_eval::plot::{Axis, Histogram as Steps, bin_edges, histogram_chart};
use pnn_eval::{Cell, Column, Table, Verdict};

use super::judged::Judged;
use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Histogram, Plan};
use pnn_eval::interval::{paired_differences, student_t};

pub(super) fn analyse(spec: &Histogram, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let [low, high] = spec.range_milliamp;
    let bins = ((high - low) / spec.bin_milliamp).round() as usize;
    let edges = bin_edges(low, high, bins);
    let ring = Lorentzian::default();
    // The slope is largest at x = g / sqrt 3.
    let steepest = ring.slope(ring.half_width_nm() / 3f64.sqrt());
    let mut histograms = Vec::new();
    let mut table = Table::new(
        "Sensitivity |dw/dx| over the rings of all layers and seeds",
        vec![
            Column::text("method"),
            Column::number("rings", 0),
            Column::interval("mean |dw/dx|", 2).unit("1/nm"),
            Column::percent("of the steepest", 1),
            Column::percent("rings on the steeper half of the slope", 1),
            Column::percent("rings outside the histogram", 2),
        ],
    )?;
    let mut mean_slopes = std::collections::BTreeMap::new();
    for key in &plan.methods {
        let mut detunings = Vec::new();
        let mut of_seeds = Vec::new();
        for run in context.trained(key)? {
            let of_run = detunings_of(run.model.as_ref())?;
            let slopes = of_run.iter().map(|x| ring.slope(*x).abs());
            of_seeds.push(slopes.sum::<f64>() / of_run.len() as f64);
            detunings.extend(of_run);
        }
        let currents: Vec<f64> = detunings.iter().map(|x| 4.0 - x).collect();
        let slopes: Vec<f64> = detunings.iter().map(|x| ring.slope(*x).abs()).collect();
        let share = |f: &dyn Fn(usize) -> bool| {
            (0..currents.len()).filter(|i| f(*i)).count() as f64 / currents.len() as f64
        };
        let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
        table.push(vec![
            Cell::Text(context.label(key)),
            Cell::Number(currents.len() as f64),
            if of_seeds.len() > 1 { student_t(&of_seeds, 0.95)?.into() } else { mean.into() },
            Cell::Number(mean / steepest),
            Cell::Number(share(&|i| slopes[i] > steepest / 2.0)),
            Cell::Number(share(&|i| !(low..=high).contains(&currents[i]))),
        ])?;
        mean_slopes.insert(key.clone(), of_seeds);
        histograms.push(Steps::fractions(context.label(key), &currents, &edges)?);
    }
    let figures = vec![(
        histogram_chart(
            "Currents of all rings",
            &Axis::linear("current 4 - x").unit("mA"),
            &Axis::linear("share of rings"),
            &edges,
            &histograms,
        )?,
        format!(
            "Bins of {} mA; resonance is at 4 mA, the steepest slope at {:.3} mA.",
            spec.bin_milliamp,
            4.0 - ring.half_width_nm() / 3f64.sqrt()
        ),
    )];
    let judged = match (mean_slopes.get(&spec.method), mean_slopes.get(&spec.baseline)) {
        (Some(method), Some(baseline)) => {
            let (verdict, less) = judge(method, baseline)?;
            let mean = |slopes: &[f64]| slopes.iter().sum::<f64>() / slopes.len() as f64;
            let words = format!(
                "The mean |dw/dx| is {:.2} per nm after {} and {:.2} after {}: {less}.",
                mean(method),
                context.label(&spec.method),
                mean(baseline),
                context.label(&spec.baseline),
            );
            Judged::once(verdict, words)
        }
        _ => Judged::once(Verdict::NotTested, "One of the two methods to compare was left out."),
    };
    Ok(Findings {
        judged,
        paragraphs: Vec::new(),
        figures,
        tables: vec![table],
        details: Vec::new(),
    })
}

/// Whether the mean slope of each seed is smaller than the baseline's, in a paired comparison over
/// seeds; one seed has no spread and decides nothing.
fn judge(method: &[f64], baseline: &[f64]) -> Result<(Verdict, String)> {
    if let ([method], [baseline]) = (method, baseline) {
        let words = format!("{:+.2} on one seed, no interval", method - baseline);
        return Ok((Verdict::Undecided, words));
    }
    let less = paired_differences(method, baseline, 0.95)?;
    let verdict = if less.high < 0.0 {
        Verdict::Holds
    } else if less.low > 0.0 {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    };
    Ok((verdict, format!("{less:.2} apart, paired over {} seeds", method.len())))
}

/// The detunings in nm of all rings of a network, whatever it was trained by.
fn detunings_of(model: &dyn Model) -> Result<Vec<f64>> {
    let mut detunings = Vec::new();
    for layer in model.physical_layers() {
        for drive in layer.device().drives(&layer.controls().detach())? {
            let read = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            detunings.extend(read(&drive.setting)?);
        }
    }
    Ok(detunings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_slopes_must_show_in_every_pair() {
        let bp = [6.5, 6.7, 6.6];
        assert_eq!(judge(&[3.7, 3.8, 3.6], &bp).unwrap().0, Verdict::Holds);
        assert_eq!(judge(&[3.7, 3.8, 9.6], &bp).unwrap().0, Verdict::Undecided);
        assert_eq!(judge(&[7.7, 7.8, 7.6], &bp).unwrap().0, Verdict::DoesNotHold);
        let (verdict, words) = judge(&[3.7], &[6.5]).unwrap();
        assert!(verdict == Verdict::Undecided && words.contains("no interval"), "{words}");
    }
}
