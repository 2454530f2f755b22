//! F-SAM: sharpness-aware minimisation that ascends along the noise of the batch.

use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::optim::rule::{load, save};
use crate::optim::sam::{Metric, check_rho, climb};
use crate::optim::{Ascent, RuleState, combine};
use crate::params::{Gradients, ParamSet};
use crate::{Result, Tensor};

/// Settings of [`FriendlySam`]; the defaults are those of the authors' class. Their `run.sh` sets `lambda` to
/// 0.95 (in one version to 0.6) and `rho` to 0.2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FriendlySamSettings {
    /// Radius of the ascent, in the units of the parameters; 0.05 if absent.
    pub rho: f64,
    /// How much of the average gradient is taken away; 1 if absent, and 0 is SAM.
    pub sigma: f64,
    /// Share of the old average in the new one, in [0, 1); 0.9 if absent.
    pub lambda: f64,
    /// Ascends as ASAM does, with `eta` 0.
    pub adaptive: bool,
}

impl Default for FriendlySamSettings {
    fn default() -> Self {
        Self { rho: 0.05, sigma: 1.0, lambda: 0.9, adaptive: false }
    }
}

/// Friendly SAM (Li et al., CVPR 2024; `FriendlySAM` in `utils.py` of `nblt/F-SAM`). With the average
/// `m` of the gradients of the steps before, SAM's ascent is taken along what the batch adds to it:
///
/// ```text
/// d = g - sigma m
/// e = rho d / (|d| + 1e-12)
/// m = lambda m + (1 - lambda) g,  after d
/// ```
///
/// In the first step there is no `m`: `d` is `g`, and `m` becomes `g`. The descent is along the gradient
/// at the ascent point: two evaluations a step. In the paper (Eq. 9) the average holds the present
/// gradient already when it is subtracted; with `sigma` 1 that only shortens `d`, which is normalised
/// anyway. Code and paper thus agree there, and this follows the code everywhere.
#[derive(Debug, Clone)]
pub struct FriendlySam {
    settings: FriendlySamSettings,
    average: Vec<Option<Tensor>>,
}

impl FriendlySam {
    /// The method.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(settings: FriendlySamSettings) -> Result<Self> {
        let FriendlySamSettings { rho, sigma, lambda, .. } = settings;
        check_rho(rho)?;
        in_range("sigma", sigma, (0.0..f64::INFINITY).contains(&sigma), "[0, infinity)")?;
        in_range("lambda", lambda, (0.0..1.0).contains(&lambda), "[0, 1)")?;
        Ok(Self { settings, average: Vec::new() })
    }
}

impl Ascent for FriendlySam {
    fn displacement(
        &self,
        params: &ParamSet,
        gradients: &Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        let noise = Gradients(combine(&gradients.0, -self.settings.sigma, &self.average)?);
        climb(params, &noise, Metric::adaptive_if(self.settings.adaptive), self.settings.rho)
    }

    fn ascends(&self) -> bool {
        self.settings.rho > 0.0
    }

    fn descent(&mut self, base: &Gradients, ascent: Option<Gradients>) -> Result<Gradients> {
        let lambda = self.settings.lambda;
        self.average.resize(base.0.len(), None);
        for (average, g) in self.average.iter_mut().zip(&base.0) {
            let Some(g) = g else { continue };
            *average = Some(match average.take() {
                Some(average) => ((average * lambda)? + (g * (1.0 - lambda))?)?,
                None => g.clone(),
            });
        }
        Ok(ascent.unwrap_or_else(|| base.clone()))
    }

    fn state(&self) -> Result<RuleState> {
        Ok(save("average", &self.average))
    }

    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        self.average = load("average", state);
        Ok(())
    }
}
