//! Which trainings the experiments need, and which of them one machine of several does.

use std::collections::{BTreeMap, BTreeSet};

use super::analysis;
use super::config::{Analysis, Experiment, Method, Plan, Profile};
use super::data::Data;
use super::training::Job;
use super::tuning;
use crate::error::Result;

/// Experiments by name, with their plan in the profile.
pub(super) type Chosen = Vec<(String, Experiment, Plan)>;

/// Part `index` of `of` of the trainings, from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if index >= 1 && index <= of => Ok(Self { index, of }),
            _ => Err(format!("{text:?} is not I/N with 1 <= I <= N, such as 1/4")),
        }
    }
}

pub(super) fn wanted_methods(experiments: &Chosen) -> Vec<String> {
    let keys = experiments.iter().flat_map(|(_, _, plan)| plan.methods.iter().cloned());
    keys.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Every training that the experiments need of a method and a seed, once.
pub(super) fn jobs(
    experiments: &Chosen,
    key: &str,
    method: &Method,
    seed: u64,
) -> Result<Vec<Job>> {
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for (_, experiment, plan) in experiments {
        if !plan.methods.iter().any(|m| m == key) {
            continue;
        }
        let variants = match &experiment.analysis {
            Analysis::Sensitivity(spec) => analysis::variants(key, method, &spec.rho)?,
            Analysis::Link(spec) => analysis::checkpoints(key, method, spec.checkpoints(key))?,
            _ => vec![(key.to_owned(), method.clone())],
        };
        for (key, method) in variants {
            jobs.insert(key.clone(), Job { key, method, seed });
        }
    }
    Ok(jobs.into_values().collect())
}

/// The methods and seeds of a shard. A tuned method stays whole, so that one shard tunes it; the
/// largest pieces are dealt first, each to the shard with the least work.
pub(super) fn of_shard(
    experiments: &Chosen,
    profile: &Profile,
    data: &Data,
    shard: Shard,
) -> Result<Vec<(String, u64)>> {
    let mut pieces: Vec<(u64, Vec<(String, u64)>)> = Vec::new();
    for key in wanted_methods(experiments) {
        let method = &profile.methods[&key];
        let cost = |jobs: Vec<Job>| jobs.iter().map(|job| job.cost(data)).sum::<u64>();
        let mut whole = (cost(tuning::jobs(&key, method)?), Vec::new());
        for seed in profile.seeds_of(&key) {
            let training = cost(jobs(experiments, &key, method, *seed)?);
            if method.tune.is_empty() {
                pieces.push((training, vec![(key.clone(), *seed)]));
            } else {
                whole.0 += training;
                whole.1.push((key.clone(), *seed));
            }
        }
        if !whole.1.is_empty() {
            pieces.push(whole);
        }
    }
    // The sort is stable: every shard deals alike.
    pieces.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    let mut shards = vec![(0, Vec::new()); shard.of];
    for (cost, piece) in pieces {
        if let Some(least) = shards.iter_mut().min_by_key(|(load, _)| *load) {
            least.0 += cost;
            least.1.extend(piece);
        }
    }
    Ok(shards.swap_remove(shard.index - 1).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::config::{Catalogue, default_folder};

    #[test]
    fn shards_do_every_training_once_and_keep_tuned_methods_whole() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let (data, _) = Data::load(catalogue.profiles["quick"].data, None).unwrap();
        for name in ["quick", "controlled", "paper"] {
            let mut profile = catalogue.profiles[name].clone();
            profile.seeds = vec![0, 1, 2];
            let experiments: Chosen = catalogue
                .experiments
                .iter()
                .filter_map(|(id, e)| Some((id.clone(), e.clone(), e.profiles.get(name)?.clone())))
                .collect();
            let wanted = wanted_methods(&experiments);
            for of in [1, 2, 5, 40] {
                let mut seen = BTreeMap::new();
                for index in 1..=of {
                    let share =
                        of_shard(&experiments, &profile, &data, Shard { index, of }).unwrap();
                    for piece in share {
                        assert_eq!(seen.insert(piece.clone(), index), None, "{piece:?} twice");
                    }
                }
                let all: usize = wanted.iter().map(|key| profile.seeds_of(key).len()).sum();
                assert_eq!(seen.len(), all);
                for key in wanted.iter().filter(|key| !profile.methods[*key].tune.is_empty()) {
                    let seeds = profile.seeds_of(key).iter();
                    let shards: BTreeSet<_> = seeds.map(|s| seen[&(key.clone(), *s)]).collect();
                    assert_eq!(shards.len(), 1, "{key} is tuned in more than one shard");
                }
                let used: BTreeSet<_> = seen.values().collect();
                assert!(used.len() >= of.min(wanted.len()), "{name}: a shard of {of} is idle");
            }
        }
    }

    #[test]
    fn a_shard_is_a_part_of_a_whole() {
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0"] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("I/N"), "{wrong}");
        }
        assert!(matches!("2/4".parse(), Ok(Shard { index: 2, of: 4 })));
    }
}
