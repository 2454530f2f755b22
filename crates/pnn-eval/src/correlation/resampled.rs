//! Rank correlations over clustered units, with bootstrap intervals.

use pnn_core::Seed;
use rand::RngExt;

use super::coefficient::{Coefficient, check};
use crate::interval::{Interval, Method, check_level, check_resamples, mean, quantile};
use crate::{Error, Result};

/// A rank correlation of two measures over units, such as trained networks: one method, one seed, one checkpoint
/// each.
///
/// Without more said, all units are pooled and taken as independent. [`clustered`](Self::clustered) says which
/// units belong together; [`within`](Self::within) asks for the correlation inside groups.
///
/// ```
/// use pnn_core::Seed;
/// use pnn_eval::correlation::{Coefficient, RankCorrelation};
/// // Two methods with four seeds each: sharpness, and accuracy in percent under drift.
/// let method = ["BP", "BP", "BP", "BP", "SAT", "SAT", "SAT", "SAT"];
/// let sharpness = [90.0, 80.0, 95.0, 85.0, 12.0, 9.0, 10.0, 11.0];
/// let accuracy = [41.0, 50.0, 38.0, 44.0, 96.0, 95.0, 97.0, 96.5];
/// let pooled = RankCorrelation::new(Coefficient::Spearman, &sharpness, &accuracy)?;
/// assert!(pooled.estimate()? < -0.8);
/// let interval = pooled.interval(0.95, 2000, &Seed::new(0))?;
/// assert!(interval.high < -0.3);
/// // Within the two methods: -1 in one, 0.2 in the other.
/// assert!((pooled.within(&method)?.estimate()? + 0.4).abs() < 1e-12);
/// # Ok::<(), pnn_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RankCorrelation<'a> {
    coefficient: Coefficient,
    x: &'a [f64],
    y: &'a [f64],
    groups: Option<Parts>,
    clusters: Option<Parts>,
}

/// Which units have which label, in order of the first appearance.
type Parts = Vec<(String, Vec<usize>)>;

/// The largest share of resamples in which the statistic may be undefined.
const UNDEFINED: f64 = 0.05;

impl<'a> RankCorrelation<'a> {
    /// Of two measures of the same units.
    ///
    /// # Errors
    /// If the lists differ in length or have a value that is not finite.
    pub fn new(coefficient: Coefficient, x: &'a [f64], y: &'a [f64]) -> Result<Self> {
        check(x, y)?;
        Ok(Self { coefficient, x, y, groups: None, clusters: None })
    }

    /// The mean over groups (methods, say) of the correlation in each, each group counting alike: what is left of
    /// the correlation when groups are not compared with each other.
    ///
    /// # Errors
    /// If there are not as many labels as units.
    pub fn within<L: AsRef<str>>(self, groups: &[L]) -> Result<Self> {
        let groups = Some(self.parts("the list of groups", groups)?);
        Ok(Self { groups, ..self })
    }

    /// Units with one label are no independent samples (checkpoints of one training, seeds of one method), so
    /// [`interval`](Self::interval) resamples labels, and the units of a label stay together.
    ///
    /// # Errors
    /// If there are not as many labels as units.
    pub fn clustered<L: AsRef<str>>(self, clusters: &[L]) -> Result<Self> {
        let clusters = Some(self.parts("the list of clusters", clusters)?);
        Ok(Self { clusters, ..self })
    }

    fn parts<L: AsRef<str>>(&self, what: &str, labels: &[L]) -> Result<Parts> {
        if labels.len() != self.x.len() {
            let what = format!("{what} of a rank correlation");
            return Err(Error::Length { what, got: labels.len(), expected: self.x.len() });
        }
        let mut parts = Parts::new();
        for (unit, label) in labels.iter().enumerate() {
            let label = label.as_ref();
            match parts.iter_mut().find(|(name, _)| name == label) {
                Some((_, units)) => units.push(unit),
                None => parts.push((label.to_owned(), vec![unit])),
            }
        }
        Ok(parts)
    }

    /// The correlation of all units, or its mean over groups.
    ///
    /// # Errors
    /// With fewer than three units, or equal values throughout one side; of each group, if there are groups.
    pub fn estimate(&self) -> Result<f64> {
        match &self.groups {
            None => self.coefficient.named("all units", self.x, self.y),
            Some(groups) => {
                let of = |(name, units): &(String, Vec<usize>)| self.of_group(name, units);
                Ok(mean(&groups.iter().map(of).collect::<Result<Vec<_>>>()?))
            }
        }
    }

    fn of_group(&self, name: &str, units: &[usize]) -> Result<f64> {
        let [x, y] = [self.x, self.y].map(|v| units.iter().map(|i| v[*i]).collect::<Vec<_>>());
        self.coefficient.named(&format!("group {name:?}"), &x, &y)
    }

    /// The estimate with its percentile bootstrap interval (Efron 1979): quantiles of the correlation of units drawn
    /// with replacement, interpolated linearly, and widened where the estimate would lie outside.
    ///
    /// What is drawn are units or, if there are any, clusters. With groups they are drawn inside each group;
    /// clusters that hold whole groups (groups by method, clusters by method) bring all their groups. Resamples
    /// in which the correlation is undefined (one unit drawn again and again) are left out.
    ///
    /// Percentiles rather than `BCa`: the latter needs the statistic without each unit, which small groups do
    /// not have, and has no limits when a correlation is -1 or 1. With fewer than about ten units or clusters every
    /// bootstrap interval is too short, and a correlation of -1 or 1 gets an interval without width.
    ///
    /// # Errors
    /// As [`Self::estimate`]; with fewer than two clusters to draw from, clusters that neither lie in groups nor hold
    /// groups, too few resamples (10 / (1 − level), and at least 100), a level outside (0, 1), or if the
    /// correlation is undefined in more than 5 % of the resamples.
    pub fn interval(&self, level: f64, resamples: usize, seed: &Seed) -> Result<Interval> {
        check_level(level)?;
        check_resamples(resamples, level)?;
        let estimate = self.estimate()?;
        let plan = self.plan()?;
        let mut rng = seed.rng();
        let replicates = (0..resamples).filter_map(|_| self.replicate(&plan, &mut rng)).collect();
        percentile_interval(estimate, replicates, resamples, level)
    }

    /// This correlation less that of another measure `x` of the same units with the same `y`: which of two measures orders
    /// them better. Both are taken over the very same resamples, which are drawn as for [`interval`](Self::interval).
    ///
    /// ```
    /// use pnn_core::Seed;
    /// use pnn_eval::correlation::{Coefficient, RankCorrelation};
    /// let accuracy = [97.0, 95.0, 90.0, 80.0, 60.0, 30.0, 20.0, 10.0];
    /// let (rise, loss) = ([1.0, 2.0, 3.0, 5.0, 4.0, 6.0, 7.0, 8.0], [3.0, 1.0, 2.0, 4.0, 3.0, 1.0, 2.0, 3.0]);
    /// let of_rise = RankCorrelation::new(Coefficient::Spearman, &rise, &accuracy)?;
    /// let ahead = of_rise.difference(&loss, 0.95, 2000, &Seed::new(0))?;
    /// assert!(ahead.high < 0.0);
    /// # Ok::<(), pnn_eval::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`interval`](Self::interval), of either; and as [`new`](Self::new) of the other measure.
    pub fn difference(
        &self,
        x: &'a [f64],
        level: f64,
        resamples: usize,
        seed: &Seed,
    ) -> Result<Interval> {
        check_level(level)?;
        check_resamples(resamples, level)?;
        check(x, self.y)?;
        let other = Self { x, ..self.clone() };
        let estimate = self.estimate()? - other.estimate()?;
        let plans = (self.plan()?, other.plan()?);
        // A stream of its own for each resample: a correlation that is undefined draws no further.
        let replicate = |number: usize| {
            let drawn = seed.index(number as u64);
            let own = self.replicate(&plans.0, &mut drawn.rng())?;
            Some(own - other.replicate(&plans.1, &mut drawn.rng())?)
        };
        let replicates = (0..resamples).filter_map(replicate).collect();
        percentile_interval(estimate, replicates, resamples, level)
    }

    /// What is drawn.
    fn plan(&self) -> Result<Plan> {
        let single = || (0..self.x.len()).map(|unit| (unit.to_string(), vec![unit])).collect();
        let clusters: Parts = self.clusters.clone().unwrap_or_else(single);
        let enough = |what, got| match got {
            0 | 1 => Err(Error::TooFew { what, got, needed: 2 }),
            _ => Ok(()),
        };
        enough("a bootstrap interval (units or clusters)", clusters.len())?;
        let Some(groups) = &self.groups else {
            let drawn = clusters.into_iter().map(|(_, units)| units).collect();
            return Ok(Plan::Units(vec![drawn]));
        };
        let inside = |part: &[usize], whole: &[usize]| part.iter().all(|i| whole.contains(i));
        let holder =
            |units: &[usize], of: &Parts| of.iter().position(|(_, whole)| inside(units, whole));
        let homes: Option<Vec<usize>> =
            groups.iter().map(|(_, units)| holder(units, &clusters)).collect();
        if let Some(homes) = homes {
            let mut drawn = vec![Vec::new(); clusters.len()];
            for ((name, units), home) in groups.iter().zip(homes) {
                drawn[home].push(self.of_group(name, units)?);
            }
            return Ok(Plan::Groups(drawn));
        }
        let mut strata = vec![Vec::new(); groups.len()];
        for (cluster, units) in clusters {
            let Some(home) = holder(&units, groups) else {
                return Err(Error::CrossedClusters { cluster });
            };
            strata[home].push(units);
        }
        for stratum in &strata {
            enough(
                "a bootstrap interval within groups (units or clusters of a group)",
                stratum.len(),
            )?;
        }
        Ok(Plan::Units(strata))
    }

    fn replicate(&self, plan: &Plan, rng: &mut impl RngExt) -> Option<f64> {
        let mut found = Vec::new();
        match plan {
            Plan::Units(strata) => {
                for stratum in strata {
                    let (mut x, mut y) = (Vec::new(), Vec::new());
                    for _ in 0..stratum.len() {
                        for unit in drawn(stratum, rng) {
                            x.push(self.x[*unit]);
                            y.push(self.y[*unit]);
                        }
                    }
                    found.push(self.coefficient.raw(&x, &y)?);
                }
            }
            Plan::Groups(clusters) => {
                for _ in 0..clusters.len() {
                    found.extend(drawn(clusters, rng));
                }
            }
        }
        Some(mean(&found))
    }
}

/// What a resample consists of.
enum Plan {
    /// In each stratum, clusters of units.
    Units(Vec<Vec<Vec<usize>>>),
    /// Clusters of groups, each of which has its correlation.
    Groups(Vec<Vec<f64>>),
}

fn drawn<'b, T>(parts: &'b [T], rng: &mut impl RngExt) -> &'b T {
    // u64 rather than usize, so that 32-bit machines draw the same stream.
    &parts[rng.random_range(0..parts.len() as u64) as usize]
}

/// The interval of what could be computed of so many resamples.
fn percentile_interval(
    estimate: f64,
    mut replicates: Vec<f64>,
    resamples: usize,
    level: f64,
) -> Result<Interval> {
    let (undefined, limit) =
        (resamples - replicates.len(), (UNDEFINED * resamples as f64) as usize);
    if undefined > limit {
        return Err(Error::UndefinedResamples { undefined, resamples, limit });
    }
    replicates.sort_by(f64::total_cmp);
    let (low, high) = percentiles(&replicates, level);
    let (low, high) = (low.min(estimate), high.max(estimate));
    Ok(Interval { estimate, low, high, level, method: Method::BootstrapPercentile })
}

/// The middle `level` of sorted replicates.
fn percentiles(sorted: &[f64], level: f64) -> (f64, f64) {
    (quantile(sorted, 0.5 * (1.0 - level)), quantile(sorted, 0.5 * (1.0 + level)))
}

#[cfg(test)]
mod tests {
    use super::super::golden::{cases, number, numbers};
    use super::*;
    use proptest::prelude::*;
    use rand_distr::StandardNormal;

    const RHO: Coefficient = Coefficient::Spearman;

    #[test]
    fn within_groups_equals_scipys_mean() {
        for case in cases("within") {
            let (x, y) = (numbers(&case, "x"), numbers(&case, "y"));
            let groups: Vec<&str> =
                case["groups"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect();
            for (coefficient, name) in [(RHO, "spearman"), (Coefficient::KendallTauB, "kendall")] {
                let all = RankCorrelation::new(coefficient, &x, &y).unwrap();
                // Confounded: together they rise.
                assert!(all.estimate().unwrap() > 0.0);
                let got = all.within(&groups).unwrap().estimate().unwrap();
                assert!((got - number(&case, name)).abs() < 1e-14, "{name}: {got}");
            }
        }
    }

    #[test]
    fn percentiles_equal_numpys() {
        for case in cases("percentile") {
            let mut replicates = numbers(&case, "replicates");
            replicates.sort_by(f64::total_cmp);
            let (low, high) = percentiles(&replicates, number(&case, "level"));
            assert!((low - number(&case, "low")).abs() < 1e-14);
            assert!((high - number(&case, "high")).abs() < 1e-14);
        }
    }

    fn noisy(size: usize, slope: f64, seed: &Seed) -> (Vec<f64>, Vec<f64>) {
        let draw = |name| {
            let drawn = seed.child(name).tensor(StandardNormal, &[size], pnn_core::DType::F64);
            drawn.unwrap().to_vec1::<f64>().unwrap()
        };
        let (x, noise) = (draw("x"), draw("noise"));
        let y = x.iter().zip(noise).map(|(x, noise)| slope * x + noise).collect();
        (x, y)
    }

    /// Value stability: a change of these bits changes published intervals.
    #[test]
    fn the_stream_is_pinned() {
        let x = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let y = [2.0, 1.0, 5.0, 3.0, 8.0, 6.0];
        let all = RankCorrelation::new(RHO, &x, &y).unwrap();
        let interval = |c: &RankCorrelation<'_>| {
            let found = c.interval(0.9, 500, &Seed::new(0).child("test")).unwrap();
            (found.low, found.high)
        };
        assert_eq!(interval(&all), PINNED);
        let pairs = all.clone().clustered(&["a", "a", "b", "b", "c", "c"]).unwrap();
        assert_eq!(interval(&pairs), PINNED_CLUSTERED);
    }

    const PINNED: (f64, f64) = (0.45454545454545453, 1.0);
    const PINNED_CLUSTERED: (f64, f64) = (-1.0, 0.8285714285714286);

    /// 30 independent pairs from a normal law; the true rho is 6/π asin(r/2). The percentile interval's own
    /// shortfall is a few percent, the binomial standard error 1.7 %.
    #[test]
    fn covers_the_truth_about_as_often_as_it_says() {
        let r: f64 = 1.0 / 2f64.sqrt();
        let truth = 6.0 / std::f64::consts::PI * (0.5 * r).asin();
        let root = Seed::new(5);
        let hits = (0..300u64).filter(|i| {
            let (x, y) = noisy(30, 1.0, &root.index(*i));
            let all = RankCorrelation::new(RHO, &x, &y).unwrap();
            all.interval(0.9, 400, &root.index(*i).child("boot")).unwrap().contains(truth)
        });
        let hits = hits.count();
        assert!((245..=290).contains(&hits), "{hits} of 300");
    }

    /// Each of 6 trainings seen five times over: units that are no news must not make the interval shorter.
    #[test]
    fn clusters_count_once() {
        let (x, y) = noisy(6, 0.5, &Seed::new(2));
        let repeated = |v: &[f64]| v.iter().flat_map(|v| [*v; 5]).collect::<Vec<_>>();
        let (many_x, many_y) = (repeated(&x), repeated(&y));
        let labels: Vec<String> = (0..30).map(|i| (i / 5).to_string()).collect();
        let width = |c: RankCorrelation<'_>| c.interval(0.9, 500, &Seed::new(1)).unwrap().width();
        let few = width(RankCorrelation::new(RHO, &x, &y).unwrap());
        let naive = RankCorrelation::new(RHO, &many_x, &many_y).unwrap();
        let clustered = width(naive.clone().clustered(&labels).unwrap());
        assert_eq!(clustered, few);
        assert!(width(naive) < 0.7 * few);
    }

    #[test]
    fn whole_groups_and_parts_of_groups_can_be_drawn_but_not_crossed_ones() {
        let (x, y) = noisy(12, 1.0, &Seed::new(3));
        let label = |f: fn(usize) -> usize| (0..12).map(|i| f(i).to_string()).collect::<Vec<_>>();
        let all = RankCorrelation::new(RHO, &x, &y).unwrap().within(&label(|i| i / 4)).unwrap();
        let seed = Seed::new(0);
        let interval = |c: &RankCorrelation<'_>| c.interval(0.8, 500, &seed);
        assert!(interval(&all).is_ok());
        // Three correlations drawn: the ends cannot lie beyond the groups' own.
        let whole = interval(&all.clone().clustered(&label(|i| i / 4)).unwrap()).unwrap();
        let own: Vec<f64> =
            (0..3).map(|g| RHO.of(&x[4 * g..][..4], &y[4 * g..][..4]).unwrap()).collect();
        assert!(own.iter().any(|r| *r < whole.low + 1e-12));
        assert!(own.iter().any(|r| *r > whole.high - 1e-12));
        let halves = all.clone().clustered(&label(|i| i / 2)).unwrap();
        assert!(halves.plan().is_ok());
        let crossed = interval(&all.clone().clustered(&label(|i| i % 4)).unwrap()).unwrap_err();
        assert!(matches!(crossed, Error::CrossedClusters { .. }), "{crossed}");
        let one = interval(&all.clone().clustered(&label(|_| 0)).unwrap()).unwrap_err();
        assert!(matches!(one, Error::TooFew { got: 1, needed: 2, .. }), "{one}");
    }

    #[test]
    fn a_difference_is_of_two_measures_over_the_same_resamples() {
        let (x, y) = noisy(12, 2.0, &Seed::new(7));
        let (other, _) = noisy(12, 1.0, &Seed::new(8));
        let labels: Vec<String> = (0..12).map(|i| (i / 2).to_string()).collect();
        let of = |x| RankCorrelation::new(RHO, x, &y).unwrap().clustered(&labels).unwrap();
        let seed = Seed::new(0);
        let difference = |a, b| of(a).difference(b, 0.95, 500, &seed).unwrap();
        let found = difference(&x, &other);
        let apart = of(&x).estimate().unwrap() - of(&other).estimate().unwrap();
        assert_eq!(found.estimate, apart);
        let turned = difference(&other, &x);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(found.low, -turned.high) && close(found.high, -turned.low), "{found:?}");
        // What moves both alike cancels out: a measure is no better than any other that has its order.
        let cubed: Vec<f64> = x.iter().map(|x| x.powi(3)).collect();
        let same = difference(&x, &cubed);
        assert_eq!((same.low, same.high), (0.0, 0.0));
        assert!(of(&x).difference(&other[1..], 0.95, 500, &seed).is_err());
    }

    #[test]
    fn impossible_input_is_refused() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 2.0]);
        let all = RankCorrelation::new(RHO, &x, &y).unwrap();
        let seed = Seed::new(0);
        assert!(matches!(all.interval(1.0, 500, &seed), Err(Error::Level { .. })));
        assert!(matches!(all.interval(0.99, 999, &seed), Err(Error::TooFew { needed: 1000, .. })));
        // All four y are equal in 32 % of the resamples.
        let error = all.interval(0.9, 500, &seed).unwrap_err();
        assert!(matches!(error, Error::UndefinedResamples { undefined: 100..220, .. }), "{error}");
        assert!(matches!(all.clone().within(&["a"]), Err(Error::Length { got: 1, .. })));
        let two = all.clone().within(&["a", "a", "b", "b"]).unwrap();
        assert!(matches!(two.estimate(), Err(Error::TooFew { got: 2, .. })));
        let tied = all.within(&["a", "b", "b", "b"]).unwrap().estimate().unwrap_err();
        assert!(matches!(tied, Error::TooFew { .. }), "{tied}");
        let (x, y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 2.0, 2.0, 2.0]);
        let all = RankCorrelation::new(RHO, &x, &y).unwrap();
        let tied = all.within(&["a", "a", "a", "b", "b", "b"]).unwrap().estimate().unwrap_err();
        assert!(tied.to_string().contains("group \"b\" is undefined: all y"), "{tied}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_interval_holds_its_estimate_and_is_a_correlation(
            pairs in proptest::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 6..20), root in 0u64..1000,
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            for coefficient in [RHO, Coefficient::KendallTauB] {
                let all = RankCorrelation::new(coefficient, &x, &y).unwrap();
                let found = all.interval(0.9, 200, &Seed::new(root)).unwrap();
                prop_assert!(found.contains(found.estimate));
                prop_assert!(found.low >= -1.0 && found.high <= 1.0);
                prop_assert_eq!(found, all.interval(0.9, 200, &Seed::new(root)).unwrap());
            }
        }
    }
}
