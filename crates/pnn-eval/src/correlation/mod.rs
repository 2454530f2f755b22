//! Rank correlation: does a measure, such as a sharpness, order trained networks as their accuracy on real
//! devices does?
//!
//! | Question | Function |
//! |---|---|
//! | Do two lists rise and fall together? | [`Coefficient::of`] |
//! | How sure is that, given so few methods and seeds? | [`RankCorrelation::interval`] |
//! | Does it hold within a method, or between methods only? | [`RankCorrelation::within`] |
//!
//! Over several training methods together a correlation may be confounded: a method that changes both
//! sharpness and robustness ties the two without one causing the other. So look within methods too. Neither
//! is a proof: within a method, seeds may differ in a third thing that moves both.

mod coefficient;
mod resampled;

pub use coefficient::Coefficient;
pub use resampled::RankCorrelation;

/// Golden values of `tests/golden/correlations.py`.
#[cfg(test)]
mod golden {
    pub(super) use crate::interval::golden::{number, numbers};

    pub(super) fn cases(section: &str) -> Vec<serde_json::Value> {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/correlations.json")).unwrap();
        all[section].as_array().unwrap().clone()
    }
}
