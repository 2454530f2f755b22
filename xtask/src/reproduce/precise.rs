//! Trained networks in double precision: what curvature and landscapes are measured on.

use std::collections::{BTreeMap, BTreeSet};

use pnn_core::curvature::Surface;
use pnn_core::model::{Physical, load_model_state, model_state};
use pnn_core::{Chip, DType, Model, Seed, Tensor};
use pnn_data::Dataset;
use pnn_eval::{DeviationAxis, Evaluator, LossSurface, Reduction};
use pnn_train::{RawRecipe, Recipe, Trained as Device};

use super::config::Method;
use super::training::Trained;
use crate::error::Result;
use crate::networks::{self, PASS, as_detunings};

/// A trained network in f64. Rings are set by their detunings, whatever they were trained in: curvature is per unit
/// of what it is taken in, and detunings in nm are what all methods have.
pub(crate) struct Precise {
    model: Box<dyn Model>,
    recipe: Recipe,
}

impl Precise {
    pub(super) fn of(method: &Method, trained: &Trained) -> Result<Self> {
        Self::from_state(&method.recipe, model_state(trained.model.as_ref()))
    }

    /// From the recipe and the tensors of a network that was kept.
    pub(crate) fn from_state(recipe: &Recipe, mut state: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut raw = RawRecipe::from(recipe.clone());
        if raw.train == Device::Weights {
            raw.train = Device::Detunings;
            as_detunings(&mut state)?;
        }
        let recipe = Recipe::try_from(raw)?;
        let model = recipe.model(&Seed::new(0), DType::F64)?;
        load_model_state(model.as_ref(), &state)?;
        Ok(Self { model, recipe })
    }

    pub(crate) fn model(&self) -> &dyn Model {
        self.model.as_ref()
    }

    /// Its physical layers that have a deviation port.
    ///
    /// # Errors
    /// If none has; it lists what there is.
    pub(crate) fn layers_with(&self, port: &str) -> Result<Vec<String>> {
        let layers = self.model.physical_layers();
        let names = |layer: &Physical| -> Vec<&str> {
            layer.device().ports().iter().map(|port| port.name).collect()
        };
        let having = layers.iter().filter(|layer| names(layer).contains(&port));
        let having: Vec<_> = having.map(|layer| layer.name().to_owned()).collect();
        if having.is_empty() {
            let known: BTreeSet<_> = layers.iter().flat_map(|layer| names(layer)).collect();
            return Err(pnn_core::Error::unknown("deviation port", port, known).into());
        }
        Ok(having)
    }

    fn how<'a>(&self, evaluator: Evaluator<'a>) -> LossSurface<'a> {
        let sums = self.recipe.train == Device::Masks;
        let reduction = if sums { Reduction::Sum } else { Reduction::Mean };
        LossSurface { evaluator, loss: self.recipe.loss(), reduction, batch: PASS }
    }

    /// The loss as a function of all that is trained.
    pub(crate) fn surface<'b>(
        &'b self,
        evaluator: Evaluator<'_>,
        chip: &'b Chip,
        images: &'b Dataset,
    ) -> Result<Surface<'b>> {
        Ok(self.how(evaluator).of_parameters(self.model.as_ref(), chip, images)?)
    }

    /// The loss as a function of deviations.
    pub(crate) fn deviation_surface<'b>(
        &'b self,
        evaluator: Evaluator<'_>,
        chip: &'b Chip,
        images: &'b Dataset,
        axes: &[DeviationAxis],
    ) -> Result<Surface<'b>> {
        Ok(self.how(evaluator).of_deviations(self.model.as_ref(), chip, images, axes)?)
    }
}

/// `lambda_max` of a trained network on a chip.
pub(super) fn lambda_max(
    method: &Method,
    trained: &Trained,
    evaluator: Evaluator<'_>,
    chip: &Chip,
    images: &Dataset,
) -> Result<f64> {
    let precise = Precise::of(method, trained)?;
    networks::lambda_max(&mut precise.surface(evaluator, chip, images)?)
}
