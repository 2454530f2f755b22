//! `LookSAM`: sharpness-aware minimisation that ascends in some steps and remembers in the others.

use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::optim::rule::{load, save};
use crate::optim::sam::{EPS, Metric, check_rho, climb};
use crate::optim::{Ascent, RuleState, combine};
use crate::params::{Gradients, ParamSet, global_norm};
use crate::{DType, Error, Result, Tensor};

/// Settings of [`LookSam`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LookSamSettings {
    /// Radius of the ascent, in the units of the parameters; SAM's 0.05 if absent.
    pub rho: f64,
    /// Ascends in every so many steps, from the first on; 5 if absent.
    pub k: u32,
    /// How much of the remembered direction the other steps take, relative to their gradient; 0.7 if
    /// absent.
    pub alpha: f64,
}

impl Default for LookSamSettings {
    fn default() -> Self {
        Self { rho: 0.05, k: 5, alpha: 0.7 }
    }
}

/// `LookSAM` (Liu et al., CVPR 2022, Algorithm 1). With the gradient `g` at the base point and `s` at
/// that of SAM's ascent, a step in `k` descends along `s` and keeps its part orthogonal to `g`,
///
/// ```text
/// v = s - (g.s / (|g|^2 + 1e-12)) g
/// ```
///
/// and the `k - 1` steps after it evaluate once and descend along
///
/// ```text
/// g + alpha |g| v / (|v| + 1e-12)
/// ```
///
/// so that `k` steps cost `k + 1` evaluations. The authors published no code, so this follows the
/// paper: norms and products are over all parameters together, as in the `optimizer/looksam.py` of
/// `MarlonBecker/MSAM`. The two 1e-12, of which that code has the first, keep zeros from becoming NaN.
#[derive(Debug, Clone)]
pub struct LookSam {
    settings: LookSamSettings,
    /// Steps since the last ascent, below `k`: 0 is a step that ascends.
    since: u32,
    orthogonal: Vec<Option<Tensor>>,
}

impl LookSam {
    /// The method.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(settings: LookSamSettings) -> Result<Self> {
        let LookSamSettings { rho, k, alpha } = settings;
        check_rho(rho)?;
        in_range("k", f64::from(k), k > 0, "[1, infinity)")?;
        in_range("alpha", alpha, (0.0..f64::INFINITY).contains(&alpha), "[0, infinity)")?;
        Ok(Self { settings, since: 0, orthogonal: Vec::new() })
    }
}

impl Ascent for LookSam {
    fn displacement(
        &self,
        params: &ParamSet,
        gradients: &Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        climb(
            params,
            gradients,
            Metric::Plain,
            if self.ascends() { self.settings.rho } else { 0.0 },
        )
    }

    fn ascends(&self) -> bool {
        self.settings.rho > 0.0 && self.since == 0
    }

    fn descent(&mut self, base: &Gradients, ascent: Option<Gradients>) -> Result<Gradients> {
        let g = base.global_norm()?;
        let direction = if let Some(sharp) = ascent {
            let parallel = base.dot(&sharp)? / (g * g + EPS);
            self.orthogonal = combine(&sharp.0, -parallel, &base.0)?;
            sharp
        } else {
            let factor = self.settings.alpha * g / (global_norm(&self.orthogonal)? + EPS);
            Gradients(combine(&base.0, factor, &self.orthogonal)?)
        };
        self.since = (self.since + 1) % self.settings.k;
        Ok(direction)
    }

    fn state(&self) -> Result<RuleState> {
        let mut state = save("orthogonal", &self.orthogonal);
        state.insert("since".into(), Tensor::from_vec(vec![self.since], 1)?);
        Ok(state)
    }

    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        let since = state.get("since").ok_or_else(|| {
            Error::unknown("LookSAM state", "since", state.keys().map(String::as_str))
        })?;
        let since: Vec<u32> = since.to_dtype(DType::U32)?.to_vec1()?;
        self.since = since.first().map_or(0, |since| since % self.settings.k);
        self.orthogonal = load("orthogonal", state);
        Ok(())
    }
}
