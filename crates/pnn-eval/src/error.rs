//! The errors of this crate.

/// What can go wrong in pnn-eval.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A confidence level is not a probability strictly between 0 and 1.
    #[error("the confidence level is {level}, allowed is (0, 1)")]
    Level {
        /// The level asked for.
        level: f64,
    },

    /// A proportion of nothing, or of fewer trials than successes.
    #[error(
        "{successes} successes in {trials} trials: at least one trial and at most as many successes are needed"
    )]
    Proportion {
        /// The successes counted.
        successes: u64,
        /// The trials counted.
        trials: u64,
    },

    /// A sample is too small for what is asked of it.
    #[error("{what} needs at least {needed} values, got {got}")]
    TooFew {
        /// What was to be computed.
        what: &'static str,
        /// The size of the sample.
        got: usize,
        /// The smallest size allowed.
        needed: usize,
    },

    /// A value or a result is infinite or not a number.
    #[error("{what} at index {index} is {value}, a finite number is needed")]
    NotFinite {
        /// What was looked at.
        what: &'static str,
        /// Where it was found.
        index: usize,
        /// The value found.
        value: f64,
    },

    /// Two lists that belong together differ in length.
    #[error("{what} has {got} entries where {expected} are needed")]
    Length {
        /// The list that does not fit.
        what: String,
        /// Its length.
        got: usize,
        /// The length that fits.
        expected: usize,
    },

    /// The statistic is so biased under resampling that the `BCa` interval is undefined
    /// or would not contain the estimate.
    #[error(
        "BCa bootstrap at level {level}: {:.1} % of the resamples lie below the estimate (bias z0 = {bias}, acceleration {acceleration}), \
         too far from the middle for an interval",
        100.0 * below
    )]
    BootstrapBias {
        /// The fraction of replicates below the estimate, ties counted half.
        below: f64,
        /// The bias correction, the normal quantile of `below`.
        bias: f64,
        /// The acceleration, from the jackknife.
        acceleration: f64,
        /// The level asked for.
        level: f64,
    },

    /// All values of one side are equal: a correlation is undefined then, not 0.
    #[error("the rank correlation of {what} is undefined: {reason}")]
    UndefinedCorrelation {
        /// Whose correlation.
        what: String,
        /// Why there is none.
        reason: &'static str,
    },

    /// So many resamples have no statistic that an interval of the others would mislead.
    #[error(
        "the statistic is undefined in {undefined} of {resamples} resamples, allowed are {limit}: too few or too equal units"
    )]
    UndefinedResamples {
        /// Resamples without a statistic.
        undefined: usize,
        /// All resamples.
        resamples: usize,
        /// How many may have none.
        limit: usize,
    },

    /// A cluster lies in some groups in part, so there is no one way to resample.
    #[error(
        "cluster {cluster:?} lies in several groups and some of these in several clusters: clusters within groups or groups within clusters are needed"
    )]
    CrossedClusters {
        /// The first such cluster.
        cluster: String,
    },

    /// A direction that leads nowhere.
    #[error("the direction {what} is zero: {reason}")]
    ZeroDirection {
        /// Which direction.
        what: &'static str,
        /// Why it is zero, or what to do.
        reason: &'static str,
    },

    /// A class number that the confusion matrix does not have.
    #[error("class {class} does not exist, there are {classes} classes (0 to {})", classes.saturating_sub(1))]
    Class {
        /// The class asked for.
        class: usize,
        /// The number of classes.
        classes: usize,
    },

    /// A table's column is missing, doubled or nameless.
    #[error("column {name:?}: {reason}")]
    Column {
        /// The column's header.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A cell whose kind its column does not hold.
    #[error("column {column:?} holds {expected}, got {got}")]
    Cell {
        /// The column's header.
        column: String,
        /// What the column holds.
        expected: &'static str,
        /// What it was given.
        got: &'static str,
    },

    /// A chart has nothing to show.
    #[error("the chart {chart:?} has no {what}")]
    EmptyChart {
        /// The chart's title.
        chart: String,
        /// What is missing.
        what: String,
    },

    /// A value cannot be placed on a chart's axis.
    #[error("the chart {chart:?}: {what} is {value}, allowed is {allowed}")]
    ChartValue {
        /// The chart's title.
        chart: String,
        /// Which value.
        what: String,
        /// The value.
        value: f64,
        /// What would be allowed.
        allowed: &'static str,
    },

    /// The drawing library failed.
    #[error("drawing the chart {chart:?}: {reason}")]
    Drawing {
        /// The chart's title.
        chart: String,
        /// The library's words.
        reason: String,
    },

    /// A text that should be one SVG element is not.
    #[error("not an SVG element: it starts with {start:?}")]
    NotSvg {
        /// The first characters of the text.
        start: String,
    },

    /// A model or device failed, or a file could not be written.
    #[error(transparent)]
    Core(#[from] pnn_core::Error),

    /// A data set could not give a batch.
    #[error(transparent)]
    Data(#[from] pnn_data::Error),

    /// A value could not be turned into JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
