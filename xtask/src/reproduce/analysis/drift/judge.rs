//! Whether the paper's claim holds.

use pnn_eval::{Interval, Verdict};

use super::{Curve, percent, points};
use crate::error::Result;
use crate::reproduce::config::{Drift, View};

/// Whether the claim holds in one view at one temperature: the method keeps its accuracy, all
/// rivals lose theirs, and the method is better than each by a difference whose interval lies above
/// 0. It holds in part if it is better than the baseline at least.
pub(super) fn judge(
    spec: &Drift,
    rivals: &[String],
    view: &View,
    curves: &[Curve],
    kelvin: f64,
) -> Result<(Verdict, String)> {
    let find = |key: &str| {
        let curve = curves.iter().find(|c| c.key == key)?;
        Some((curve, *curve.at(&spec.kelvin, 0.0)?, *curve.at(&spec.kelvin, kelvin)?))
    };
    let (Some(method), Some(baseline)) = (find(&spec.method), find(&spec.baseline)) else {
        let words = format!("{}: a method to compare was left out", view.name);
        return Ok((Verdict::NotTested, words));
    };
    let keeps = |(_, clean, now): &(&Curve, Interval, Interval)| {
        100.0 * (clean.estimate - now.estimate) <= spec.keeps_within
    };
    let gain = |rival: &Curve| method.0.minus(rival, &spec.kelvin, kelvin);
    let over_baseline = gain(baseline.0)?;
    let tested: Vec<_> = rivals.iter().filter_map(|key| find(key)).collect();
    let missing: Vec<_> =
        rivals.iter().filter(|key| find(key).is_none()).map(String::as_str).collect();
    let mut beaten = true;
    for rival in &tested {
        beaten &= gain(rival.0)?.low > 0.0 && !keeps(rival);
    }
    let verdict = if over_baseline.low <= 0.0 {
        Verdict::DoesNotHold
    } else if keeps(&method) && missing.is_empty() && beaten {
        Verdict::Holds
    } else {
        Verdict::HoldsInPart
    };
    let has = |(curve, clean, now): &(&Curve, Interval, Interval)| {
        let label = &curve.label;
        format!("{label} has {} of {:.1} % at 0 K", percent(now), 100.0 * clean.estimate)
    };
    let mut words = format!(
        "{}, {kelvin} K: {}, {}, {} apart",
        view.name,
        has(&method),
        has(&baseline),
        points(&over_baseline)
    );
    let best = tested.iter().max_by(|a, b| a.2.estimate.total_cmp(&b.2.estimate));
    if let Some(best) = best.filter(|best| best.0.key != baseline.0.key) {
        words.push_str(&format!(", the best of the other rivals: {}", has(best)));
    }
    if !missing.is_empty() {
        words.push_str(&format!("; not tested: {}", missing.join(", ")));
    }
    Ok((verdict, words))
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
        judge(&spec(), &["bp".to_owned(), "nat".to_owned()], &view, curves, -2.0).unwrap()
    }

    #[test]
    fn the_claim_holds_only_if_sat_keeps_and_all_rivals_lose() {
        let bp = || curve("bp", [990, 100]);
        let nat = || curve("nat", [980, 500]);
        let sat = || curve("sat", [985, 950]);
        assert_eq!(verdict(&[bp(), nat(), sat()]).0, Verdict::Holds);
        // SAT loses more than ten points, or a rival keeps, or a rival was not tested.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 600])]).0, Verdict::HoldsInPart);
        assert_eq!(verdict(&[bp(), curve("nat", [900, 850]), sat()]).0, Verdict::HoldsInPart);
        let (partly, words) = verdict(&[bp(), sat()]);
        assert_eq!(partly, Verdict::HoldsInPart);
        assert!(words.contains("not tested: nat"), "{words}");
        // SAT is not better than the baseline.
        assert_eq!(verdict(&[bp(), nat(), curve("sat", [985, 110])]).0, Verdict::DoesNotHold);
        assert_eq!(verdict(&[nat(), sat()]).0, Verdict::NotTested);
    }

    #[test]
    fn seeds_that_vary_alike_are_told_apart_by_their_differences() {
        let of = |key: &str, drifted: [f64; 3]| {
            let by_seed = drifted.iter().map(|d| vec![99.0, *d]).collect();
            Curve::new(key.into(), key.into(), by_seed, 1000).unwrap()
        };
        let (bp, sat) = (of("bp", [50.0, 70.0, 85.0]), of("sat", [60.0, 79.0, 95.5]));
        // The intervals of the two overlap widely; only their pairs decide.
        assert!(sat.accuracy[1].low < bp.accuracy[1].high);
        let nat = of("nat", [50.0, 50.0, 50.0]);
        assert_eq!(verdict(&[bp, nat, sat]).0, Verdict::HoldsInPart);
    }
}
