//! The experiments that a command asks for.

use super::config::Catalogue;
use super::share::Chosen;
use super::{Args, PLANNED};
use crate::error::{Error, Result};

/// The experiments asked for, with their plan in the profile.
pub(super) fn chosen(catalogue: &Catalogue, args: &Args) -> Result<Chosen> {
    for id in &args.only {
        if let Some((_, what)) = PLANNED.iter().find(|(planned, _)| planned == id) {
            return Err(Error::Usage(format!("{id} ({what}) is planned and not there yet")));
        }
        if !catalogue.experiments.contains_key(id) {
            let known: Vec<_> = catalogue.experiments.keys().map(String::as_str).collect();
            return Err(Error::Usage(format!(
                "no experiment {id:?}; there is {}",
                known.join(", ")
            )));
        }
    }
    let mut chosen = Vec::new();
    for (id, experiment) in &catalogue.experiments {
        let asked = args.only.is_empty() || args.only.contains(id);
        let Some(plan) = experiment.profiles.get(&args.profile).filter(|_| asked) else {
            if asked && !args.only.is_empty() {
                return Err(Error::Usage(format!("{id} has no profile {:?}", args.profile)));
            }
            continue;
        };
        let mut plan = plan.clone();
        if !args.methods.is_empty() {
            let named = !args.only.is_empty();
            for method in args.methods.iter().filter(|_| named) {
                if !plan.methods.contains(method) {
                    let known = plan.methods.join(", ");
                    return Err(Error::Usage(format!(
                        "{id} has no method {method:?} in this profile; there is {known}"
                    )));
                }
            }
            plan.methods.retain(|m| args.methods.contains(m));
            if plan.methods.is_empty() {
                continue;
            }
        }
        chosen.push((id.clone(), experiment.clone(), plan));
    }
    if chosen.is_empty() {
        return Err(Error::Usage(format!(
            "no experiment has a profile {:?} and the methods asked for",
            args.profile
        )));
    }
    Ok(chosen)
}
