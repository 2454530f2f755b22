//! Rank correlations of measures with accuracies.

use std::collections::BTreeSet;

use pnn_core::Seed;
use pnn_eval::correlation::{Coefficient, RankCorrelation};
use pnn_eval::{Interval, Verdict};

use super::{CLAIMED, Network};
use crate::error::Result;
use crate::reproduce::config::System;

/// Resamples of an interval.
const RESAMPLES: usize = 2000;

/// How a measure goes with accuracy; none where ranks are undefined (all values alike).
pub(super) struct Correlation {
    pub(super) measure: String,
    /// How many methods are compared.
    pub(super) methods: usize,
    /// With the mean accuracy over all conditions.
    pub(super) robust: Option<Interval>,
    /// The same less that of the measure that the claim is about, over the networks for which both are known.
    pub(super) ahead: Option<Interval>,
    /// With the mean accuracy, within methods.
    pub(super) within: Option<Interval>,
    pub(super) kendall: Option<f64>,
    /// With what of the accuracy is kept.
    pub(super) kept: Option<f64>,
    /// With the accuracy without deviations.
    pub(super) clean: Option<f64>,
    /// With the accuracy under each condition.
    pub(super) under: Vec<Option<f64>>,
}

impl Correlation {
    /// Whether the flatter network is the more robust one, by the whole interval. An order without exception has an interval
    /// without width; of four methods chance makes one of the two in 2 / 4! of all cases, so that it is undecided.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.robust {
            None => Verdict::NotTested,
            Some(r) if r.low == r.high && self.methods < 5 => Verdict::Undecided,
            Some(r) if r.high < 0.0 => Verdict::Holds,
            Some(r) if r.low >= 0.0 => Verdict::DoesNotHold,
            Some(_) => Verdict::Undecided,
        }
    }
}

pub(super) fn correlate(
    names: &[String],
    system: &System,
    networks: &[Network],
) -> Result<Vec<Correlation>> {
    // A network on a chip with errors is less accurate whatever its sharpness, so only those on one chip are compared, where
    // there are enough methods on it.
    let comparable = |network: &Network| {
        let same = networks.iter().filter(|other| other.chip == network.chip);
        same.map(|other| &other.method).collect::<BTreeSet<_>>().len() > 2
    };
    let claimed = names.iter().position(|name| name == CLAIMED);
    let ahead = |place: usize, seed: &Seed| -> Option<Interval> {
        let claimed = claimed.filter(|claimed| *claimed != place)?;
        let known = |n: &&Network| n.measures[place].is_some() && n.measures[claimed].is_some();
        let own: Vec<&Network> = networks.iter().filter(known).filter(|n| comparable(n)).collect();
        let measured = |place: usize| own.iter().filter_map(|n| n.measures[place]).collect();
        let (x, other): (Vec<f64>, Vec<f64>) = (measured(place), measured(claimed));
        let robust: Vec<f64> = own.iter().map(|n| n.robust()).collect();
        let chips: Vec<&str> = own.iter().map(|n| n.chip.as_str()).collect();
        let methods: Vec<&str> = own.iter().map(|n| n.method.as_str()).collect();
        let pooled = RankCorrelation::new(Coefficient::Spearman, &x, &robust).ok()?;
        let pooled = pooled.within(&chips).ok()?.clustered(&methods).ok()?;
        pooled.difference(&other, 0.95, RESAMPLES, seed).ok()
    };
    let of = |(place, measure): (usize, &String)| {
        // A measure that is no number says nothing of its network.
        let known = networks.iter().filter_map(|n| Some((n, n.measures[place]?)));
        let (own, x): (Vec<&Network>, Vec<f64>) = known.filter(|(n, _)| comparable(n)).unzip();
        let chips: Vec<&str> = own.iter().map(|n| n.chip.as_str()).collect();
        let with =
            |pick: &dyn Fn(&Network) -> f64| -> Vec<f64> { own.iter().map(|n| pick(n)).collect() };
        let estimate = |coefficient: Coefficient, y: &[f64]| {
            RankCorrelation::new(coefficient, &x, y).ok()?.within(&chips).ok()?.estimate().ok()
        };
        let methods: Vec<&str> = own.iter().map(|n| n.method.as_str()).collect();
        let robust = with(&Network::robust);
        let seed = Seed::new(0).child(measure);
        let pooled = || {
            RankCorrelation::new(Coefficient::Spearman, &x, &robust)
                .and_then(|pooled| pooled.within(&chips))
                .ok()
        };
        let interval = |of: RankCorrelation<'_>, methods: &[&str]| -> Option<Interval> {
            of.clustered(methods).ok()?.interval(0.95, RESAMPLES, &seed).ok()
        };
        // Of a method with fewer than three networks there is no correlation within.
        let several = |method: &str| methods.iter().filter(|other| **other == method).count() > 2;
        let some: Vec<usize> = (0..own.len()).filter(|i| several(methods[*i])).collect();
        let of = |values: &[f64]| -> Vec<f64> { some.iter().map(|i| values[*i]).collect() };
        let (some_x, some_robust) = (of(&x), of(&robust));
        let some_methods: Vec<&str> = some.iter().map(|i| methods[*i]).collect();
        let within = || {
            RankCorrelation::new(Coefficient::Spearman, &some_x, &some_robust)
                .and_then(|pooled| pooled.within(&some_methods))
                .ok()
        };
        let under = (0..system.conditions.len())
            .map(|place| estimate(Coefficient::Spearman, &with(&|n| n.under[place])));
        Correlation {
            measure: measure.clone(),
            methods: methods.iter().collect::<BTreeSet<_>>().len(),
            robust: pooled().and_then(|of| interval(of, &methods)),
            ahead: ahead(place, &seed),
            within: within().and_then(|of| interval(of, &some_methods)),
            kendall: estimate(Coefficient::KendallTauB, &robust),
            kept: estimate(Coefficient::Spearman, &with(&Network::kept)),
            clean: estimate(Coefficient::Spearman, &with(&|n| n.clean)),
            under: under.collect(),
        }
    };
    Ok(names.iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::*;
    use crate::reproduce::config::System;

    fn system() -> System {
        System {
            name: "rings".into(),
            methods: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
            checkpoints: Vec::new(),
            radius: 1.0,
            noise: 1.0,
            relative_radius: 1.0,
            relative_noise: 1.0,
            deviations: Vec::new(),
            conditions: Vec::new(),
        }
    }

    /// Three seeds of each method; accuracy falls with the first measure and ignores the second.
    fn networks() -> Vec<Network> {
        let noise = [0.3, -0.2, 0.1, -0.4, 0.25, -0.05, 0.15, -0.3];
        let of = |n: usize| {
            let (method, wiggle) = (system().methods[n / 3].clone(), noise[n % 8]);
            let sharpness = (n / 3) as f64 + 0.2 * wiggle;
            let accuracy = 99.0 - 5.0 * sharpness;
            let measures = [sharpness, noise[(5 * n + 3) % 8], 1.0].map(Some).to_vec();
            let under = vec![accuracy, accuracy - 10.0];
            Network {
                method,
                epochs: 20,
                chip: String::new(),
                measures,
                largest_error: 0.0,
                clean: 99.0,
                under,
            }
        };
        (0..18).map(of).collect()
    }

    #[test]
    fn a_measure_that_goes_with_accuracy_is_found_and_judged() {
        let names = [CLAIMED, "noise", "constant"].map(str::to_owned);
        let found = correlate(&names, &system(), &networks()).unwrap();
        let robust = found[0].robust.unwrap();
        assert!(robust.estimate < -0.99 && robust.high < -0.9, "{robust:?}");
        assert_eq!(found[0].kendall, Some(-1.0));
        assert!(found[1].robust.unwrap().contains(0.0));
        // It is certainly a better one than what ignores accuracy, which is that much worse.
        assert!(found[0].ahead.is_none() && found[1].ahead.unwrap().low > 0.0);
        // Ranks of what is the same everywhere are undefined, not 0.
        assert!(found[2].robust.is_none() && found[0].clean.is_none());
        let case = judge(&system(), &found);
        assert_eq!(case.verdict, Verdict::Holds);
        assert!(case.words.ends_with("no measure is better"), "{}", case.words);
        let names = ["sharp", CLAIMED, "constant"].map(str::to_owned);
        let case = judge(&system(), &correlate(&names, &system(), &networks()).unwrap());
        assert_ne!(case.verdict, Verdict::Holds);
        assert!(case.words.contains("the best measure: sharp -1.00"), "{}", case.words);
    }

    #[test]
    fn an_order_without_exception_of_four_methods_may_be_chance() {
        let names = [CLAIMED, "noise", "constant"].map(str::to_owned);
        let verdict = |methods: &str| {
            let some = networks().into_iter().filter(|n| methods.contains(&n.method));
            judge(&system(), &correlate(&names, &system(), &some.collect::<Vec<_>>()).unwrap())
                .verdict
        };
        assert_eq!((verdict("abcd"), verdict("abcde")), (Verdict::Undecided, Verdict::Holds));
    }

    /// Networks on a chip with errors are worse and flatter: over all of them flat would be bad.
    #[test]
    fn networks_on_different_chips_are_not_compared() {
        let names = [CLAIMED, "noise", "constant"].map(str::to_owned);
        let mut networks = networks();
        for network in networks.iter_mut().filter(|n| "def".contains(&n.method)) {
            network.chip = "fixed".into();
            network.measures[0] = network.measures[0].map(|sharpness| sharpness - 10.0);
        }
        let found = correlate(&names, &system(), &networks).unwrap();
        assert!(found[0].robust.unwrap().estimate < -0.99, "{:?}", found[0].robust);
        assert!(found[0].kept.unwrap() < -0.99 && found[0].kendall == Some(-1.0));
        // Two methods on a chip are too few to be compared.
        for network in networks.iter_mut().filter(|n| n.method == "d") {
            network.chip = "another".into();
            network.measures[0] = Some(-1000.0);
        }
        let found = correlate(&names, &system(), &networks).unwrap();
        assert!(found[0].robust.unwrap().estimate < -0.99, "{:?}", found[0].robust);
    }

    #[test]
    fn a_method_with_a_single_seed_leaves_the_others_their_correlation_within() {
        let names = [CLAIMED, "noise", "constant"].map(str::to_owned);
        let mut networks = networks();
        let whole = correlate(&names, &system(), &networks).unwrap();
        networks.push(Network { method: "g".into(), ..networks[0].clone() });
        let found = correlate(&names, &system(), &networks).unwrap();
        assert_eq!(found[0].within.unwrap().estimate, whole[0].within.unwrap().estimate);
        // One seed each: nothing is within.
        let single: Vec<Network> = networks.into_iter().step_by(3).collect();
        let found = correlate(&names, &system(), &single).unwrap();
        assert!(found[0].within.is_none() && found[0].robust.is_some());
    }

    #[test]
    fn a_measure_that_is_no_number_leaves_its_network_out() {
        let names = [CLAIMED, "noise", "constant"].map(str::to_owned);
        let mut networks = networks();
        networks[4].measures[0] = None;
        // As it is kept in a file.
        let text = serde_json::to_string(&networks[4]).unwrap();
        networks[4] = serde_json::from_str(&text).unwrap();
        assert_eq!(networks[4].measures[0], None);
        let found = correlate(&names, &system(), &networks).unwrap();
        assert!(found[0].robust.unwrap().estimate < -0.99);
    }
}
