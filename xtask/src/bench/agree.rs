//! Whether both sides compute the same: nothing is timed before they do.

use std::collections::BTreeMap;

use pnn_core::{DType, Tensor};

use crate::error::Result;

/// The first loss, before any step, may differ by this share: both sides sum in f32 (rounding 6e-8),
/// in another order, and PyTorch's batch-norm in channels-last order sums without pairing (1e-5).
const FIRST_LOSS_TOLERANCE: f64 = 1e-4;
/// The losses after steps: Adam makes a full step out of a gradient that is nothing but rounding,
/// so the sides drift apart. Meanwhile the loss falls by half.
const LOSS_TOLERANCE: f64 = 5e-2;
/// The difference of two gradients of a parameter may have a share of that gradient's 2-norm (see
/// [`Network::gradient_tolerance`](super::workload::Network)) plus this share of the 2-norm over all
/// parameters: a bias before batch-norm has a true
/// gradient of zero, and what is left is the rounding of sums of up to 500,000 terms.
const GRADIENT_FLOOR: f64 = 1e-4;
/// Images a chip whose two largest outputs are so close that rounding decides, per 10,000.
const CORRECT_TOLERANCE: f64 = 2.0;

/// How exact an eigenvalue must be when it is timed.
const LAMBDA_TOLERANCE: f64 = 0.01;

/// Numbers that must agree.
pub(super) enum Numbers {
    /// Losses of the first steps, and the gradients of the first one by parameter.
    Steps { losses: Vec<f64>, gradients: BTreeMap<String, Vec<f64>> },
    /// Correct answers of each chip.
    Correct(Vec<f64>),
    /// The largest eigenvalue of a Hessian: of ours, as exactly as a comparison needs it and as it is timed; of the
    /// peer's as it is timed.
    LambdaMax { exact: f64, timed: f64 },
}

impl Numbers {
    pub(super) fn steps(losses: Vec<f64>, gradients: BTreeMap<String, Tensor>) -> Result<Self> {
        let values = |tensor: Tensor| -> pnn_core::Result<Vec<f64>> {
            tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
        };
        let gradients = gradients
            .into_iter()
            .map(|(name, tensor)| Ok((name, values(tensor)?)))
            .collect::<pnn_core::Result<_>>()?;
        Ok(Self::Steps { losses, gradients })
    }
}

/// How close the sides are, in words, or where they differ.
pub(super) fn agree(
    ours: &Numbers,
    peer: &Numbers,
    gradient_tolerance: f64,
) -> std::result::Result<String, String> {
    match (ours, peer) {
        (
            Numbers::Steps { losses, gradients },
            Numbers::Steps { losses: peer_losses, gradients: peer_gradients },
        ) => {
            let loss = agree_losses(losses, peer_losses)?;
            let gradient = agree_gradients(gradients, peer_gradients, gradient_tolerance)?;
            Ok(format!("losses to {loss:.0e}, gradients to {gradient:.0e} of their norm"))
        }
        (Numbers::Correct(ours), Numbers::Correct(peer)) => agree_correct(ours, peer),
        (Numbers::LambdaMax { exact, timed }, Numbers::LambdaMax { timed: peer, .. }) => {
            agree_lambda(*exact, *timed, *peer)
        }
        _ => Err("the sides give different kinds of numbers".into()),
    }
}

fn agree_losses(ours: &[f64], peer: &[f64]) -> std::result::Result<f64, String> {
    if ours.len() != peer.len() || ours.is_empty() {
        return Err(format!("we have {} losses, the peer {}", ours.len(), peer.len()));
    }
    let mut worst: f64 = 0.0;
    for (step, (ours, peer)) in ours.iter().zip(peer).enumerate() {
        let tolerance = if step == 0 { FIRST_LOSS_TOLERANCE } else { LOSS_TOLERANCE };
        let difference = (ours - peer).abs() / peer.abs();
        // In this form NaN disagrees.
        let within = difference <= tolerance;
        if !within {
            return Err(format!(
                "the loss of step {step} is {ours} and {peer}, allowed is {tolerance:e} of it"
            ));
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}

fn agree_gradients(
    ours: &BTreeMap<String, Vec<f64>>,
    peer: &BTreeMap<String, Vec<f64>>,
    tolerance: f64,
) -> std::result::Result<f64, String> {
    if !ours.keys().eq(peer.keys()) {
        let names = |side: &BTreeMap<String, _>| side.keys().cloned().collect::<Vec<_>>().join(" ");
        return Err(format!("parameters are {} and {}", names(ours), names(peer)));
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let total = norm(&mut peer.values().flatten().copied());
    let mut worst: f64 = 0.0;
    for ((name, ours), peer) in ours.iter().zip(peer.values()) {
        if ours.len() != peer.len() {
            let (ours, peer) = (ours.len(), peer.len());
            return Err(format!("the gradient of {name} has {ours} and {peer} elements"));
        }
        let difference = norm(&mut ours.iter().zip(peer).map(|(a, b)| a - b));
        let own = norm(&mut peer.iter().copied());
        let allowed = tolerance * own + GRADIENT_FLOOR * total;
        let within = difference <= allowed;
        if !within {
            return Err(format!(
                "the gradients of {name} (norm {own:.3e}) differ by {difference:.3e}, allowed is \
                 {allowed:.3e}"
            ));
        }
        if own > GRADIENT_FLOOR * total {
            worst = worst.max(difference / own);
        }
    }
    Ok(worst)
}

fn agree_correct(ours: &[f64], peer: &[f64]) -> std::result::Result<String, String> {
    if ours.len() != peer.len() || ours.is_empty() {
        return Err(format!("we have {} chips, the peer {}", ours.len(), peer.len()));
    }
    let pairs = || ours.iter().zip(peer).enumerate();
    let apart = |(_, (a, b)): &(usize, (&f64, &f64))| (*a - *b).abs();
    if let Some((chip, (own, other))) =
        pairs().find(|pair| apart(pair).is_nan() || apart(pair) > CORRECT_TOLERANCE)
    {
        return Err(format!(
            "disagrees with ours: on chip {chip} we have {own} correct answers, the peer {other}; they may \
             differ by {CORRECT_TOLERANCE}"
        ));
    }
    let worst = pairs().map(|pair| apart(&pair)).fold(0.0, f64::max);
    let low = ours.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ours.iter().copied().fold(0.0, f64::max);
    let chips = ours.len();
    Ok(format!("correct answers of {chips} chips, {low} to {high}, to {worst} images"))
}

/// Both sides' eigenvalues as they are timed must be the exact one, to 1 %.
fn agree_lambda(exact: f64, timed: f64, peer: f64) -> std::result::Result<String, String> {
    let off = |value: f64| (value - exact).abs() / exact.abs();
    for (side, value) in [("ours", timed), ("the peer's", peer)] {
        let within = off(value) <= LAMBDA_TOLERANCE;
        if !within {
            return Err(format!("lambda_max is {exact:.4}, {side} {value:.4}; 1 % is allowed"));
        }
    }
    let (ours, peer) = (off(timed), off(peer));
    Ok(format!("lambda_max {exact:.3}, ours to {ours:.0e}, the peer's to {peer:.0e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(losses: &[f64], gradient: &[f64]) -> Numbers {
        let gradients = [("a".to_owned(), gradient.to_vec()), ("b".to_owned(), vec![3.0, 4.0])];
        Numbers::Steps { losses: losses.to_vec(), gradients: gradients.into() }
    }

    #[test]
    fn rounding_agrees_and_anything_else_does_not() {
        let peer = steps(&[2.0, 1.0], &[0.1, 0.2]);
        assert!(agree(&steps(&[2.000_001, 1.0005], &[0.100_001, 0.2]), &peer, 1e-3).is_ok());
        let fails = |ours: &Numbers, says: &str| {
            let error = agree(ours, &peer, 1e-3).unwrap_err();
            assert!(error.contains(says), "{error}");
        };
        fails(&steps(&[2.0, 1.1], &[0.1, 0.2]), "step 1");
        fails(&steps(&[2.001, 1.0], &[0.1, 0.2]), "step 0");
        fails(&steps(&[f64::NAN, 1.0], &[0.1, 0.2]), "step 0");
        fails(&steps(&[2.0], &[0.1, 0.2]), "1 losses");
        fails(&steps(&[2.0, 1.0], &[0.1, 0.21]), "gradients of a");
        fails(&steps(&[2.0, 1.0], &[0.1, f64::NAN]), "gradients of a");
        fails(&steps(&[2.0, 1.0], &[0.1]), "1 and 2 elements");
        fails(&Numbers::Correct(vec![1.0]), "different kinds");
    }

    #[test]
    fn what_is_rounding_of_zero_may_differ() {
        let peer = steps(&[2.0], &[1e-9, -1e-9]);
        assert!(agree(&steps(&[2.0], &[-2e-9, 3e-9]), &peer, 1e-3).is_ok());
    }

    #[test]
    fn eigenvalues_agree_to_a_percent() {
        let of = |exact, timed| Numbers::LambdaMax { exact, timed };
        assert!(agree(&of(50.0, 49.6), &of(f64::NAN, 50.4), 1e-3).is_ok());
        for (ours, peer) in [(49.4, 50.0), (50.0, 50.6), (f64::NAN, 50.0), (50.0, f64::NAN)] {
            assert!(agree(&of(50.0, ours), &of(f64::NAN, peer), 1e-3).is_err(), "{ours} {peer}");
        }
    }

    #[test]
    fn correct_answers_agree_up_to_ties() {
        let of = |correct: &[f64]| Numbers::Correct(correct.to_vec());
        assert!(agree(&of(&[9000.0, 100.0]), &of(&[9000.0, 101.0]), 1e-3).is_ok());
        assert!(agree(&of(&[9000.0, 100.0]), &of(&[9000.0, 110.0]), 1e-3).is_err());
        assert!(agree(&of(&[9000.0, f64::NAN]), &of(&[9000.0, 110.0]), 1e-3).is_err());
        assert!(agree(&of(&[9000.0]), &of(&[9000.0, 110.0]), 1e-3).is_err());
    }
}
