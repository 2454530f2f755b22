//! The sharpness-aware family by name.

use pnn_core::optim::{
    Asam, Descent, Esam, EsamSettings, FriendlySam, FriendlySamSettings, Gsam, GsamSettings,
    LookSam, LookSamSettings, Msam, MsamSettings, Optimizer, Rule, Sam, SharpnessAware,
};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::trajectory::{MesaSettings, SafSettings};

/// The ascent of a sharpness-aware step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SharpnessRecipe {
    /// SAM.
    Sam {
        /// Radius: the 2-norm, over all parameters together, of how far the ascent goes, in the units
        /// of the parameters (detunings in nm, weights in 1); 0.05 if absent (Foret et al., 2021).
        #[serde(default = "sam_rho")]
        rho: f64,
    },
    /// Adaptive SAM.
    Asam {
        /// Radius in relative changes of the parameters (1); 0.5 if absent (Kwon et al., 2021).
        #[serde(default = "asam_rho")]
        rho: f64,
        /// Added to the parameters' size, in their units; 0 if absent, 0.01 in the code of its authors.
        #[serde(default)]
        eta: f64,
        /// Whether parameters called `bias` ascend in their own unit, as in the code of its authors.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        plain_biases: bool,
    },
    /// Surrogate gap guided SAM; its largest learning rate is that of the recipe's rule.
    Gsam(GsamSettings),
    /// SAM that ascends in every `k`-th step.
    #[serde(rename = "looksam")]
    LookSam(LookSamSettings),
    /// Friendly SAM.
    #[serde(rename = "fsam")]
    FriendlySam(FriendlySamSettings),
    /// Efficient SAM.
    Esam(EsamSettings),
    /// Momentum-SAM.
    Msam(MsamSettings),
}

fn sam_rho() -> f64 {
    0.05
}

fn asam_rho() -> f64 {
    0.5
}

impl SharpnessRecipe {
    /// Evaluations of the gradient over a whole batch that a step costs on average, 1 for a plain one;
    /// without the pass of ESAM that has no gradient.
    #[must_use]
    pub fn gradients_per_step(&self) -> f64 {
        match self {
            Self::Sam { .. } | Self::Asam { .. } | Self::Gsam(_) | Self::FriendlySam(_) => 2.0,
            Self::LookSam(settings) => 1.0 + 1.0 / f64::from(settings.k.max(1)),
            Self::Esam(settings) => 1.0 + settings.gamma,
            Self::Msam(_) => 1.0,
        }
    }
}

/// A loss with a memory, around any strategy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TrajectoryRecipe {
    /// Sharpness-aware training for free: stays near to the outputs of some epochs ago.
    Saf(SafSettings),
    /// Stays near to the outputs of averaged weights.
    Mesa(MesaSettings),
}

/// The optimizer with this rule.
pub(super) fn sharpen<R: Rule + 'static>(
    sharpness: Option<SharpnessRecipe>,
    rule: R,
) -> Result<Box<dyn Optimizer>> {
    let Some(sharpness) = sharpness else { return Ok(Box::new(Descent(rule))) };
    let rate = rule.learning_rate();
    Ok(match sharpness {
        SharpnessRecipe::Sam { rho } => Box::new(SharpnessAware::new(rule, Sam::new(rho)?)),
        SharpnessRecipe::Asam { rho, eta, plain_biases } => {
            let asam = Asam::new(rho)?.eta(eta)?;
            let is_bias: fn(&str) -> bool = |name| name.ends_with("bias");
            let asam = if plain_biases { asam.plain(is_bias) } else { asam };
            Box::new(SharpnessAware::new(rule, asam))
        }
        SharpnessRecipe::Gsam(settings) => {
            Box::new(SharpnessAware::new(rule, Gsam::new(settings, rate)?))
        }
        SharpnessRecipe::LookSam(settings) => {
            Box::new(SharpnessAware::new(rule, LookSam::new(settings)?))
        }
        SharpnessRecipe::FriendlySam(settings) => {
            Box::new(SharpnessAware::new(rule, FriendlySam::new(settings)?))
        }
        SharpnessRecipe::Esam(settings) => Box::new(Esam::new(rule, settings)?),
        SharpnessRecipe::Msam(settings) => Box::new(Msam::new(rule, settings)?),
    })
}
