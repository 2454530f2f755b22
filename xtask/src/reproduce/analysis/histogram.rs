//! Where the rings end up: histogram of the currents `4 - x` (Fig. 2f), and how strongly the
//! weights answer to a shift.

use pnn_core::model::Model;
use pnn_core::{DType, Tensor};
use pnn_devices::mrr::{Lorentzian, TransferFunction};
use pnn_eval::plot::{Axis, Histogram as Steps, bin_edges, histogram_chart};
use pnn_eval::{Cell, Column, Table, Verdict};

use super::{Context, Findings};
use crate::error::Result;
use crate::reproduce::config::{Histogram, Plan};

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
            Column::number("mean |dw/dx|", 2).unit("1/nm"),
            Column::percent("of the steepest", 1),
            Column::percent("rings on the steeper half of the slope", 1),
            Column::percent("rings outside the histogram", 2),
        ],
    )?;
    let mut mean_slopes = std::collections::BTreeMap::new();
    for key in &plan.methods {
        let mut detunings = Vec::new();
        for run in context.trained(key)? {
            detunings.extend(detunings_of(&run.model)?);
        }
        let currents: Vec<f64> = detunings.iter().map(|x| 4.0 - x).collect();
        let slopes: Vec<f64> = detunings.iter().map(|x| ring.slope(*x).abs()).collect();
        let share = |f: &dyn Fn(usize) -> bool| {
            (0..currents.len()).filter(|i| f(*i)).count() as f64 / currents.len() as f64
        };
        let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
        mean_slopes.insert(key.clone(), mean);
        table.push(vec![
            Cell::Text(context.label(key)),
            Cell::Number(currents.len() as f64),
            Cell::Number(mean),
            Cell::Number(mean / steepest),
            Cell::Number(share(&|i| slopes[i] > steepest / 2.0)),
            Cell::Number(share(&|i| !(low..=high).contains(&currents[i]))),
        ])?;
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
    let (verdict, words) = match (mean_slopes.get(&spec.method), mean_slopes.get(&spec.baseline)) {
        (Some(method), Some(baseline)) => {
            let verdict = if method < baseline { Verdict::Holds } else { Verdict::DoesNotHold };
            let words = format!(
                "The mean |dw/dx| is {method:.2} per nm after {} and {baseline:.2} after {} ({:+.0} %).",
                context.label(&spec.method),
                context.label(&spec.baseline),
                100.0 * (method / baseline - 1.0),
            );
            (verdict, words)
        }
        _ => (Verdict::NotTested, "One of the two methods to compare was left out.".into()),
    };
    Ok(Findings {
        verdict,
        words,
        paragraphs: Vec::new(),
        figures,
        tables: vec![table],
        details: Vec::new(),
    })
}

/// The detunings in nm of all rings of a network, whatever it was trained by.
fn detunings_of(model: &dyn Model) -> Result<Vec<f64>> {
    let mut detunings = Vec::new();
    for layer in model.physical_layers() {
        let drive = layer.device().drive(&layer.controls().detach())?;
        if let Some(drive) = drive {
            let read = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            detunings.extend(read(&drive.setting).map_err(pnn_core::Error::from)?);
        }
    }
    Ok(detunings)
}
