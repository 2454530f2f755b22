//! GSAM: sharpness-aware minimisation that also minimises the surrogate gap.

use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::optim::sam::{EPS, Metric, check_rho, climb};
use crate::optim::{Ascent, combine};
use crate::params::{Gradients, ParamSet};
use crate::{Result, Tensor};

/// Settings of [`Gsam`]; the defaults are those of the authors' training of vision transformers
/// (`configs/proj/gsam/vit_i1k_gsam_no_aug.py` of `google-research/big_vision`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GsamSettings {
    /// Radius of the ascent at the largest learning rate, in the units of the parameters; 0.6 if absent.
    pub rho: f64,
    /// Radius where the learning rate is 0, at most `rho`: between the two it follows the rate. With
    /// `rho` it is constant; if absent it is a sixth of `rho`, the authors' 0.1 of 0.6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho_min: Option<f64>,
    /// How much of the orthogonal part of the base gradient is taken away; 0.6 if absent, and 0 is SAM.
    pub alpha: f64,
    /// Ascends as ASAM does, with `eta` 0.
    pub adaptive: bool,
}

impl Default for GsamSettings {
    fn default() -> Self {
        Self { rho: 0.6, rho_min: None, alpha: 0.6, adaptive: false }
    }
}

/// Surrogate gap guided SAM (Zhuang et al., ICLR 2022, Algorithm 1; `gsam/gsam.py` of
/// `juntang-zhuang/GSAM`). With the gradient `g` at the base point and `s` at that of SAM's ascent,
///
/// ```text
/// c = g.s / (|g| |s| + 1e-12)
/// g_orthogonal = g - c |g| s / (|s| + 1e-12)
/// descent      = s - alpha g_orthogonal
/// ```
///
/// which lowers the loss at the ascent point and, where that does not change, raises the loss at the
/// base point: the gap between them closes. Two evaluations a step. The radius follows the learning rate,
/// `rho_min + (rho - rho_min) rate / largest_rate`: Algorithm 1 with a smallest rate of 0.
#[derive(Debug, Clone, Copy)]
pub struct Gsam {
    settings: GsamSettings,
    smallest: f64,
    largest_rate: f64,
    rho: f64,
}

impl Gsam {
    /// The method, around a rule whose largest learning rate is `largest_rate`; if that is 0, the
    /// radius is `rho`.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(settings: GsamSettings, largest_rate: f64) -> Result<Self> {
        let rho = check_rho(settings.rho)?;
        let unbounded = |value: f64| (0.0..f64::INFINITY).contains(&value);
        in_range("alpha", settings.alpha, unbounded(settings.alpha), "[0, infinity)")?;
        in_range("largest rate", largest_rate, unbounded(largest_rate), "[0, infinity)")?;
        let smallest = settings.rho_min.unwrap_or(rho / 6.0);
        in_range("rho_min", smallest, (0.0..=rho).contains(&smallest), "[0, rho]")?;
        Ok(Self { settings, smallest, largest_rate, rho })
    }
}

impl Ascent for Gsam {
    fn displacement(
        &self,
        params: &ParamSet,
        gradients: &Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        climb(params, gradients, Metric::adaptive_if(self.settings.adaptive), self.rho)
    }

    fn ascends(&self) -> bool {
        self.settings.rho > 0.0
    }

    fn at_rate(&mut self, rate: f64) {
        if self.largest_rate > 0.0 {
            let share = (rate / self.largest_rate).clamp(0.0, 1.0);
            self.rho = self.smallest + (self.settings.rho - self.smallest) * share;
        }
    }

    fn descent(&mut self, base: &Gradients, ascent: Option<Gradients>) -> Result<Gradients> {
        let Some(sharp) = ascent else { return Ok(base.clone()) };
        let (g, s) = (base.global_norm()?, sharp.global_norm()?);
        let cosine = base.dot(&sharp)? / (s * g + EPS);
        let orthogonal = combine(&base.0, -cosine * g / (s + EPS), &sharp.0)?;
        Ok(Gradients(combine(&sharp.0, -self.settings.alpha, &orthogonal)?))
    }
}
