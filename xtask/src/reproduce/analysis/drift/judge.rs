//! Whether the claim of a figure holds in one case.

use pnn_eval::{Interval, Verdict};

use super::{Case, Curve, percent, points};
use crate::error::Result;
use crate::reproduce::config::{Drift, View};

/// One method at the temperature where it is judged.
struct Tested<'a> {
    curve: &'a Curve,
    now: Interval,
    lost: Interval,
}

impl Tested<'_> {
    /// Whether it keeps its accuracy: yes, no, or the interval does not tell.
    fn keeps(&self, within: f64) -> Option<bool> {
        let lost = self.lost.scaled(100.0);
        if lost.high <= within {
            Some(true)
        } else if lost.low > within {
            Some(false)
        } else {
            None
        }
    }

    fn words(&self) -> String {
        format!("{} has {}, lost {}", self.curve.label, percent(&self.now), points(&self.lost))
    }
}

/// Whether the claim holds in one view at one temperature: the method keeps its accuracy, all
/// rivals lose theirs, and the method is better than each, all by whole intervals. It holds in part
/// if that is so against the baseline.
pub(super) fn judge(
    spec: &Drift,
    rivals: &[String],
    view: &View,
    curves: &[Curve],
    kelvin: f64,
) -> Result<Case> {
    let find = |key: &str| -> Result<Option<Tested<'_>>> {
        let Some(curve) = curves.iter().find(|c| c.key == key) else { return Ok(None) };
        let Some(now) = curve.at(&spec.kelvin, kelvin).copied() else { return Ok(None) };
        Ok(Some(Tested { curve, now, lost: curve.lost(&spec.kelvin, kelvin)? }))
    };
    let place = format!("{}, {kelvin} K", view.name);
    let (Some(method), Some(baseline)) = (find(&spec.method)?, find(&spec.baseline)?) else {
        let words = "a method to compare was left out".to_owned();
        return Ok(Case { place, verdict: Verdict::NotTested, words });
    };
    let gain = |rival: &Tested<'_>| method.curve.minus(rival.curve, &spec.kelvin, kelvin);
    let beats = |rival: &Tested<'_>| -> Result<bool> {
        Ok(gain(rival)?.low > 0.0 && rival.keeps(spec.keeps_within) == Some(false))
    };
    let (mut all_beaten, mut missing, mut best) = (true, Vec::new(), None::<Tested<'_>>);
    for key in rivals {
        let Some(rival) = find(key)? else {
            missing.push(key.as_str());
            continue;
        };
        all_beaten &= beats(&rival)?;
        if best.as_ref().is_none_or(|b| b.now.estimate < rival.now.estimate) {
            best = Some(rival);
        }
    }
    let over_baseline = gain(&baseline)?;
    let (keeps, theirs) = (method.keeps(spec.keeps_within), baseline.keeps(spec.keeps_within));
    let verdict = if keeps == Some(false) || theirs == Some(true) || over_baseline.high < 0.0 {
        Verdict::DoesNotHold
    } else if keeps != Some(true) || !beats(&baseline)? {
        Verdict::Undecided
    } else if missing.is_empty() && all_beaten {
        Verdict::Holds
    } else {
        Verdict::HoldsInPart
    };
    let mut words =
        format!("{}; {}; {} apart", method.words(), baseline.words(), points(&over_baseline));
    if let Some(best) = best.filter(|best| best.curve.key != baseline.curve.key) {
        words.push_str(&format!("; the best of the other rivals: {}", best.words()));
    }
    if !missing.is_empty() {
        words.push_str(&format!("; not tested: {}", missing.join(", ")));
    }
    Ok(Case { place, verdict, words })
}

#[cfg(test)]
mod tests {
    use pnn_eval::BatchNormMode;

    use super::*;

    fn spec() -> Drift {
        Drift {
            method: "sat".into(),
            baseline: "bp".into(),
            layers: vec!["fc2".into()],
            nm_per_kelvin: 0.08,
            kelvin: vec![0.0, -2.0],
            judged_at_kelvin: vec![-2.0],
            keeps_within: 10.0,
            paper: Vec::new(),
        }
    }

    fn curve(key: &str, correct: [u64; 2]) -> Curve {
        let by_seed = vec![correct.map(|c| c as f64 / 10.0).to_vec()];
        Curve::new(key.into(), key.to_uppercase(), by_seed, 1000).unwrap()
    }

    fn verdict(curves: &[Curve]) -> (Verdict, String) {
        let view = View { name: "view".into(), batch_norm: BatchNormMode::Running, images: None };
        let rivals = ["bp".to_owned(), "nat".to_owned()];
        let case = judge(&spec(), &rivals, &view, curves, -2.0).unwrap();
        (case.verdict, case.words)
    }

    #[test]
    fn the_claim_holds_only_if_sat_keeps_and_all_rivals_lose() {
        let bp = || curve("bp", [990, 100]);
        let nat = || curve("nat", [980, 500]);
        let sat = || curve("sat", [985, 950]);
        assert_eq!(verdict(&[bp(), nat(), sat()]).0, Verdict::Holds);
        // SAT loses more than ten points, however much better it is.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 600])]).0, Verdict::DoesNotHold);
        // A rival keeps, or was not tested.
        assert_eq!(verdict(&[bp(), curve("nat", [900, 850]), sat()]).0, Verdict::HoldsInPart);
        let (partly, words) = verdict(&[bp(), sat()]);
        assert_eq!(partly, Verdict::HoldsInPart);
        assert!(words.contains("not tested: nat"), "{words}");
        // The baseline keeps too.
        assert_eq!(verdict(&[curve("bp", [990, 940]), nat(), sat()]).0, Verdict::DoesNotHold);
        // Ten points are neither kept nor lost for sure.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 885])]).0, Verdict::Undecided);
        assert_eq!(verdict(&[nat(), sat()]).0, Verdict::NotTested);
    }

    #[test]
    fn seeds_that_vary_alike_are_told_apart_by_their_differences() {
        let of = |key: &str, clean: [f64; 3], drifted: [f64; 3]| {
            let by_seed = clean.iter().zip(drifted).map(|(c, d)| vec![*c, d]).collect();
            Curve::new(key.into(), key.into(), by_seed, 1000).unwrap()
        };
        let clean = [60.0, 80.0, 98.0];
        let bp = of("bp", clean, [48.0, 67.0, 86.0]);
        let sat = of("sat", clean, [58.0, 77.0, 95.5]);
        let nat = of("nat", clean, [20.0, 41.0, 58.0]);
        // The intervals of the two overlap widely; only their pairs decide.
        assert!(sat.accuracy[1].low < bp.accuracy[1].high);
        assert_eq!(verdict(&[bp, nat, sat]).0, Verdict::Holds);
    }
}
