//! What trainings recorded epoch by epoch.

use pnn_eval::plot::LineSeries;
use pnn_train::EpochRecord;

use crate::reproduce::training::Trained;

/// The mean training loss of an epoch.
pub(super) fn loss(record: &EpochRecord) -> f64 {
    record.train_loss
}

/// A metric of an epoch, NaN where it was not taken.
pub(super) fn metric(name: &'static str) -> impl Fn(&EpochRecord) -> f64 {
    move |record| record.metrics.get(name).copied().unwrap_or(f64::NAN)
}

/// A value in each epoch that all trainings have, mean over the trainings; with the paper's (epoch,
/// value), if it has any.
pub(super) fn curve(
    label: &str,
    runs: &[&Trained],
    value: &dyn Fn(&EpochRecord) -> f64,
    paper: Option<Vec<(f64, f64)>>,
) -> Vec<LineSeries> {
    let epochs = runs.iter().map(|run| run.history.len()).min().unwrap_or(0);
    let mean = |epoch: usize| {
        runs.iter().map(|run| value(&run.history[epoch])).sum::<f64>() / runs.len() as f64
    };
    let ours = (0..epochs).map(|epoch| ((epoch + 1) as f64, mean(epoch)));
    let mut lines = vec![LineSeries::new(label, ours)];
    lines.extend(
        paper.map(|points| LineSeries::new(format!("{label}, paper"), points).reference_of(label)),
    );
    lines
}

/// Time of a training without validation, mean over the trainings, in seconds.
pub(super) fn seconds(runs: &[&Trained]) -> f64 {
    runs.iter().flat_map(|run| run.history.iter().map(|record| record.seconds)).sum::<f64>()
        / runs.len() as f64
}
