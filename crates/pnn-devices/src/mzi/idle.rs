//! What ports do in columns in which they have no interferometer.

use std::f64::consts::TAU;

use pnn_core::ops::Wiring;

/// Phases in rad that a mesh has besides its controls.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    /// On the upper output of each interferometer.
    pub(super) phi: Vec<f64>,
    /// On each input.
    pub(super) gamma: Vec<f64>,
}

impl Offsets {
    /// What equals a phase `idle(column, port)` of light that meets no interferometer there: phases on
    /// the outputs of an interferometer are a `phi`, and a phase on both, which both inputs may have
    /// as well.
    pub(super) fn of(wiring: &Wiring, idle: impl Fn(usize, usize) -> f64) -> Self {
        let mut after = vec![0.0; wiring.ports()];
        let mut phi = Vec::with_capacity(wiring.cells());
        for (column, pairs) in wiring.columns().iter().enumerate().rev() {
            let mut before: Vec<_> =
                (0..).zip(&after).map(|(p, a)| turn(a + idle(column, p))).collect();
            for (upper, lower) in pairs.iter().rev() {
                phi.push(turn(after[*upper] - after[*lower]));
                (before[*upper], before[*lower]) = (after[*lower], after[*lower]);
            }
            after = before;
        }
        phi.reverse();
        Self { phi, gamma: after }
    }
}

/// The same phase within half a turn.
fn turn(phase: f64) -> f64 {
    phase - TAU * (phase / TAU).round()
}
