//! Results as JSON and as a Markdown table.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::store::write_atomic;
use serde::Serialize;
use serde_json::{Map, Value};

use super::rounds::{Ratio, Timings, median};
use super::workload::Workload;
use crate::error::{Error, Result};

/// The whole run.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) machine: Map<String, Value>,
    threads: usize,
    pub(super) workloads: Vec<Row>,
    /// Why a workload was not timed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) not_run: BTreeMap<String, String>,
}

/// One workload.
#[derive(Serialize)]
pub(super) struct Row {
    id: String,
    /// Median over rounds of milliseconds an iteration.
    ours_ms: f64,
    /// The same of the rival: the fastest variant of the peer, or our own plain step.
    peer_ms: f64,
    /// `ours_ms / peer_ms`.
    ratio: f64,
    /// Median of the ratios of single rounds.
    ratio_of_rounds: f64,
    /// Interquartile range of the ratios of single rounds.
    spread: f64,
    ratio_min: f64,
    ratio_max: f64,
    peer_variant: String,
    /// Median of each variant.
    variants_ms: BTreeMap<String, f64>,
    rounds: usize,
    iterations: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strive_for: Option<f64>,
    /// Variants that could not run or disagree, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_run: Vec<(String, String)>,
}

impl Row {
    /// From the times of ours (first) and of each rival.
    pub(super) fn new(workload: &Workload, rivals: &[String], timings: &Timings) -> Result<Self> {
        let [ours, others @ ..] = timings.as_slice() else {
            return Err(Error::Usage(format!("{}: nothing was timed", workload.id)));
        };
        let medians = rivals.iter().zip(others).map(|(name, times)| (name, times, median(times)));
        let fastest = medians.clone().min_by(|a, b| a.2.total_cmp(&b.2));
        let Some((variant, times, peer_ms)) = fastest else {
            return Err(Error::Usage(format!("{}: no rival was timed", workload.id)));
        };
        let Ratio { ratio, of_rounds, spread, range } = Ratio::new(ours, times);
        Ok(Self {
            id: workload.id.to_owned(),
            ours_ms: median(ours),
            peer_ms,
            ratio,
            ratio_of_rounds: of_rounds,
            spread,
            ratio_min: range.0,
            ratio_max: range.1,
            peer_variant: variant.clone(),
            variants_ms: medians.map(|(name, _, ms)| (name.clone(), ms)).collect(),
            rounds: ours.len(),
            iterations: workload.iterations,
            target: workload.target.map(|t| t.at_most),
            strive_for: workload.target.map(|t| t.strive_for),
            not_run: Vec::new(),
        })
    }
}

impl Report {
    pub(super) fn new(machine: Map<String, Value>, threads: usize) -> Self {
        Self { machine, threads, workloads: Vec::new(), not_run: BTreeMap::new() }
    }

    /// Writes the JSON, and the table beside it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        if path.extension().is_some_and(|extension| extension == "md") {
            let path = path.display();
            return Err(Error::Usage(format!(
                "--json {path}: the table is written to that name; give one that ends in .json"
            )));
        }
        let json = serde_json::to_string_pretty(self).map_err(|e| Error::Usage(e.to_string()))?;
        write_atomic(path, json.as_bytes())?;
        Ok(write_atomic(&path.with_extension("md"), self.to_markdown().as_bytes())?)
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::from(
            "| workload | ours, ms | rival, ms | rival | ratio | of rounds | spread | min..max | at most | strive for |\n\
             |---|---:|---:|---|---:|---:|---:|---:|---:|---:|\n",
        );
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v}"));
        for row in &self.workloads {
            text.push_str(&format!(
                "| {} | {:.3} | {:.3} | {} | {} | {} | {} | {}..{} | {} | {} |\n",
                row.id,
                row.ours_ms,
                row.peer_ms,
                row.peer_variant,
                short(row.ratio),
                short(row.ratio_of_rounds),
                short(row.spread),
                short(row.ratio_min),
                short(row.ratio_max),
                optional(row.target),
                optional(row.strive_for),
            ));
        }
        text.push_str(&format!(
            "\nMedians over interleaved rounds of milliseconds an iteration, {} threads a side. The rival is the \
             peer's fastest variant or our own plain step; the ratio is that of the medians; beside it \
             are the median of the rounds' ratios, their interquartile range, and their extremes.\n\n",
            self.threads
        ));
        for (key, value) in &self.machine {
            text.push_str(&format!("- {key}: {value}\n"));
        }
        for row in &self.workloads {
            for (variant, reason) in &row.not_run {
                text.push_str(&format!("- {}: {variant} is left out: {reason}\n", row.id));
            }
        }
        for (id, reason) in &self.not_run {
            text.push_str(&format!("- {id} was not run: {reason}\n"));
        }
        text
    }
}

/// A ratio with two decimals, and a small one with two digits.
fn short(ratio: f64) -> String {
    let decimals = if (0.0001..0.01).contains(&ratio) {
        4
    } else if ratio < 0.1 {
        3
    } else {
        2
    };
    format!("{ratio:.decimals$}")
}

/// The workloads in lines.
pub(super) fn list(workloads: &[Workload]) -> String {
    let mut text = String::new();
    for workload in workloads {
        let target = workload.target.map_or(String::new(), |target| {
            format!(" (at most {}, strive for {})", target.at_most, target.strive_for)
        });
        text.push_str(&format!("{:24} {}{target}\n", workload.id, workload.what));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_compares_with_the_fastest_variant() {
        let mut all = super::super::workload::all().into_iter();
        let workload = all.find(|workload| workload.id == "lenet5-mrr-b64").unwrap();
        let rivals = ["eager".to_owned(), "compile".to_owned()];
        let timings = vec![vec![1.0, 2.0, 3.0], vec![5.0, 5.0, 5.0], vec![4.0, 4.0, 9.0]];
        let mut report = Report::new(Map::new(), 2);
        report.workloads.push(Row::new(&workload, &rivals, &timings).unwrap());
        report.not_run.insert("other".into(), "no compiler".into());
        let json = serde_json::to_value(&report).unwrap();
        let row = &json["workloads"][0];
        assert_eq!((row["ours_ms"].as_f64(), row["peer_ms"].as_f64()), (Some(2.0), Some(4.0)));
        assert_eq!((row["ratio"].as_f64(), row["target"].as_f64()), (Some(0.5), Some(0.8)));
        assert_eq!(row["peer_variant"], "compile");
        assert_eq!(json["threads"], 2);
        let table = report.to_markdown();
        assert!(
            table.contains("| lenet5-mrr-b64 | 2.000 | 4.000 | compile | 0.50 | 0.33 |"),
            "{table}"
        );
        assert!(table.contains("other was not run: no compiler"), "{table}");
        assert!(Row::new(&workload, &[], &Vec::new()).is_err());
    }
}
