//! What a recipe is checked for when it is read.

use pnn_core::layers::Product;
use pnn_core::ops::Sampling;
use pnn_core::optim::Schedule;
use pnn_noise::{Noise, NoiseModel, Source};

use super::{RawRecipe, Recipe, SharpnessRecipe, StrategyRecipe, Trained, TrajectoryRecipe};
use crate::lenet::FcActivation;
use crate::wdm_factory::RingChip;
use crate::{Error, Result};

impl TryFrom<RawRecipe> for Recipe {
    type Error = Error;

    fn try_from(raw: RawRecipe) -> Result<Self> {
        let epochs = raw.epochs as f64;
        range("epochs", epochs, (1.0..=1e4).contains(&epochs), "[1, 10000]")?;
        let batch = raw.batch_size as f64;
        range("batch_size", batch, (2.0..=6e4).contains(&batch), "[2, 60000]")?;
        if let Some(images) = raw.images {
            range("images", images as f64, images >= 2, "[2, those of the data set]")?;
        }
        match &raw.strategy {
            StrategyRecipe::Pruning { coefficient, .. } => {
                let inside = (0.0..f64::INFINITY).contains(coefficient);
                range("pruning coefficient", *coefficient, inside, "[0, infinity)")?;
            }
            StrategyRecipe::Nat { noise } => {
                NoiseModel::new(noise.sources().to_vec())?;
            }
            StrategyRecipe::Pat { hardware: None } | StrategyRecipe::Dat { hardware: None, .. } => {
            }
            StrategyRecipe::Pat { hardware: Some(hardware) }
            | StrategyRecipe::Dat { hardware: Some(hardware), .. } => {
                NoiseModel::new(hardware.sources().to_vec())?;
                // A twin keeps its deviations: it can neither round settings that training moves
                // nor draw a new readout error for each shot.
                let fleeting = |noise: &&Noise| {
                    is_of_a_shot(noise) || matches!(noise.source, Source::Quantisation { .. })
                };
                let count = hardware.sources().iter().filter(fleeting).count();
                let allowed =
                    "0: its chip stays as it is, so that only errors that do may be in it";
                let what = "number of quantisation, readout and shot sources in the hardware of pat and dat";
                range(what, count as f64, count == 0, allowed)?;
            }
            StrategyRecipe::DeviationAscent(settings) => settings.check()?,
            StrategyRecipe::Bp => {}
        }
        let mesh = raw.train == Trained::Phases;
        check_sharpness(&raw)?;
        if let StrategyRecipe::Pruning { coefficient, .. } = &raw.strategy {
            let allowed = "only for rings: other weights have no slope to prune by";
            range("pruning coefficient", *coefficient, raw.train.is_rings(), allowed)?;
        }
        if raw.sampling != Sampling::default() {
            let allowed = "nearest (0): only modulators and masks are sampled";
            range("sampling", 1.0, raw.train.is_pictures(), allowed)?;
        }
        if raw.ring_chip != RingChip::default() && raw.train != Trained::Heaters {
            let allowed = "none (0): only train = \"heaters\" has one";
            range("number of ring_chips", 1.0, false, allowed)?;
        }
        if raw.train == Trained::Heaters {
            raw.ring_chip.bank(Product::Linear { inputs: 4, outputs: 1 })?;
        }
        if raw.fc_activation != FcActivation::default() {
            let allowed = "relu (0): only networks of rings can do without";
            range("fc_activation", 1.0, raw.train.is_rings(), allowed)?;
        }
        if let Some(limit) = raw.weight_limit {
            range("weight_limit", limit, limit > 0.0 && limit.is_finite(), "(0, infinity)")?;
            range("weight_limit", limit, mesh, "only for train = \"phases\"")?;
        }
        if let Some(bits) = raw.display_bits {
            let bits = f64::from(bits);
            range("display_bits", bits, (1.0..=24.0).contains(&bits), "[1, 24]")?;
            let allowed = "only for train = \"modulators\"";
            range("display_bits", bits, raw.train == Trained::Modulators, allowed)?;
        }
        if let StrategyRecipe::Dat { settings, .. } = &raw.strategy {
            settings.check()?;
            let inside = settings.warm_up <= raw.epochs;
            let allowed = "[0, epochs of the recipe]";
            range("warm_up of dat", settings.warm_up as f64, inside, allowed)?;
        }
        match raw.schedule {
            Schedule::Constant => {}
            Schedule::Step { every, factor } => {
                range("schedule every", every as f64, every > 0, "[1, infinity)")?;
                range("schedule factor", factor, factor > 0.0 && factor <= 1.0, "(0, 1]")?;
            }
            Schedule::Cosine { epochs } => {
                let inside = epochs >= raw.epochs;
                range(
                    "schedule epochs",
                    epochs as f64,
                    inside,
                    "[epochs of the recipe, infinity)",
                )?;
            }
        }
        let recipe = Self { raw };
        recipe.optimizer()?;
        Ok(recipe)
    }
}

fn range(what: &'static str, value: f64, inside: bool, allowed: &'static str) -> Result<()> {
    if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
}

/// Which sharpness-aware methods fit which strategies and networks.
fn check_sharpness(raw: &RawRecipe) -> Result<()> {
    if let Some(SharpnessRecipe::Esam(settings)) = raw.sharpness {
        let climbs = matches!(raw.strategy, StrategyRecipe::DeviationAscent(_));
        let allowed =
            "another method: deviation_ascent cannot tell samples apart, by which esam selects";
        range("rho of esam", settings.rho, !climbs, allowed)?;
        if let StrategyRecipe::Nat { noise } = &raw.strategy {
            let count = noise.sources().iter().filter(|noise| is_of_a_shot(noise)).count();
            let allowed =
                "0: esam evaluates some images of a batch again, whose noise would be another";
            let what = "number of readout and shot sources of nat under esam";
            range(what, count as f64, count == 0, allowed)?;
        }
    }
    let start = match raw.trajectory {
        None => return Ok(()),
        Some(TrajectoryRecipe::Saf(settings)) => {
            settings.check()?;
            settings.start
        }
        Some(TrajectoryRecipe::Mesa(settings)) => {
            settings.check()?;
            settings.start
        }
    };
    let allowed = "[0, epochs of the recipe - 2]: the term is added in the epochs after it";
    range("start of the trajectory", start as f64, start + 2 <= raw.epochs, allowed)?;
    let allowed = "only for networks with logits, not for the detected shares of masks";
    range("start of the trajectory", start as f64, raw.train != Trained::Masks, allowed)
}

/// Whether noise is drawn for each image of a batch.
fn is_of_a_shot(noise: &Noise) -> bool {
    matches!(noise.source, Source::Readout { .. } | Source::Shot { .. })
}
