//! Networks evaluated on many chips: where a chip leaves all but the last layers of rings or a mesh alone,
//! what comes before these is run once.

use pnn_core::layers::BatchNorm;
use pnn_core::model::{Model, Pass, Physical, load_model_state, model_state};
use pnn_core::ops::Tail;
use pnn_core::{Chip, ParamSet, Tensor, Var};
use pnn_data::Dataset;
use pnn_eval::{BatchNormMode, Evaluation, Evaluator, Features};
use pnn_train::{FcActivation, MziLeNet5};

use crate::error::Result;

/// A network with the images that it is evaluated on.
pub(super) struct Deployed<'a> {
    model: &'a dyn Model,
    evaluator: Evaluator<'a>,
    images: &'a Dataset,
    rest: Option<(Features, Rest)>,
}

impl<'a> Deployed<'a> {
    /// `fc_activation` is what follows the hidden layers of a network of rings.
    pub(super) fn new(
        model: &'a dyn Model,
        fc_activation: FcActivation,
        evaluator: Evaluator<'a>,
        images: &'a Dataset,
    ) -> Result<Self> {
        let of = |rest: Rest| -> Result<_> {
            let first = rest.layers[0].name();
            Ok((evaluator.features(model, &Chip::ideal(), first, images)?, rest))
        };
        // Biases are trimmed by what the whole network gives.
        let rest = match evaluator.batch_norm {
            BatchNormMode::Trimmed(_) => None,
            _ => Rest::of(model, fc_activation)?.map(of).transpose()?,
        };
        Ok(Self { model, evaluator, images, rest })
    }

    /// Accuracy in percent on a chip.
    pub(super) fn percent(&self, chip: &Chip) -> Result<f64> {
        Ok(self.evaluate(chip)?.percent())
    }

    fn evaluate(&self, chip: &Chip) -> Result<Evaluation> {
        if let Some((features, rest)) = &self.rest
            && chip.iter().all(|(layer, _)| rest.layers.iter().any(|l| l.name() == layer))
        {
            return Ok(features.evaluate(rest, chip)?);
        }
        Ok(self.evaluator.evaluate(self.model, chip, self.images)?)
    }
}

/// The end of a network, with the very parameters of the network: fc2, batch-norm, rectifier and
/// fc3 of rings, or the mesh with its ten detectors.
struct Rest {
    layers: Vec<Physical>,
    norm: Option<BatchNorm>,
    tail: Tail,
    parameters: ParamSet,
}

impl Rest {
    /// None of a network that is not of rings or a mesh.
    fn of(model: &dyn Model, fc_activation: FcActivation) -> Result<Option<Self>> {
        let known = model.physical_layers();
        let layer = |name: &str| known.iter().find(|l| l.name() == name).map(|l| (*l).clone());
        let (layers, norm) = match (layer(MziLeNet5::MESH), layer("fc2"), layer("fc3")) {
            (Some(mesh), ..) => (vec![mesh], None),
            (None, Some(second), Some(third)) => {
                let scale = &model.parameters().get("norm4.weight")?.var;
                let norm = BatchNorm::new("norm4", scale.dims().iter().product(), scale.dtype())?;
                (vec![second, third], Some(norm))
            }
            _ => return Ok(None),
        };
        let physical = layers.iter().flat_map(Physical::parameters);
        let of_norm = norm.iter().flat_map(BatchNorm::parameters);
        let parameters = ParamSet::new(physical.chain(of_norm))?;
        let tail = match fc_activation {
            FcActivation::Relu => Tail::Relu,
            FcActivation::None => Tail::None,
        };
        let rest = Self { layers, norm, tail, parameters };
        load_model_state(&rest, &model_state(model))?;
        Ok(Some(rest))
    }
}

impl Model for Rest {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
        let x = self.layers[0].forward(x, pass)?;
        match (&self.norm, self.layers.get(1)) {
            (Some(norm), Some(last)) => {
                last.forward(&norm.forward_with(&x, pass.mode, &self.tail)?, pass)
            }
            _ => MziLeNet5::logits(&x),
        }
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.norm.iter().flat_map(BatchNorm::buffers).collect()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use pnn_core::{DType, Seed};
    use pnn_data::Normalisation;
    use pnn_noise::{NoiseModel, Source};
    use pnn_train::{LeNet5, MrrFactory, Trained};

    use super::*;

    #[test]
    fn what_is_run_once_changes_no_image_in_any_batch_norm_mode() {
        for activation in [FcActivation::Relu, FcActivation::None] {
            of_rings(activation);
        }
    }

    fn of_rings(activation: FcActivation) {
        let factory = MrrFactory(Trained::Detunings);
        let model = LeNet5::new(&factory, activation, &Seed::new(3), DType::F32).unwrap();
        let all = pnn_data::digits();
        let (images, calibration) = (all.range(0, 230).unwrap(), all.range(1000, 250).unwrap());
        let spread = Source::Fabrication { std_nm: 0.1 };
        let last = NoiseModel::on(spread.clone(), &["fc2", "fc3"]).unwrap();
        let first = NoiseModel::on(spread, &["conv1"]).unwrap();
        let seed = Seed::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for batch_norm in [
            BatchNormMode::Running,
            BatchNormMode::Batch(100),
            BatchNormMode::Recalibrated(150),
            BatchNormMode::Trimmed(150),
        ] {
            let evaluator = Evaluator {
                batch_norm,
                normalisation: Normalisation::UNIT,
                calibration: Some(&calibration),
            };
            let before = pnn_core::model::model_state(&model);
            let deployed = Deployed::new(&model, activation, evaluator, &images).unwrap();
            for noise in [NoiseModel::default(), last.clone(), first.clone()] {
                let chip = noise.draw(&model.physical_layers(), 1, &seed).unwrap();
                let want = evaluator.evaluate(&model, &chip, &images).unwrap();
                assert_eq!(deployed.evaluate(&chip).unwrap(), want, "{batch_norm}");
                seen.insert(want.confusion.rows());
            }
            for (name, value) in pnn_core::model::model_state(&model) {
                let read = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(read(&value), read(&before[&name]), "{name}");
            }
        }
        assert!(seen.len() >= 6, "the chips and modes must differ, or nothing was tested");
    }

    #[test]
    fn before_a_mesh_the_electronics_run_once_and_change_no_image() {
        let bounds = pnn_core::Bounds::UNBOUNDED;
        let model = MziLeNet5::published(bounds, &Seed::new(3), DType::F32).unwrap();
        let images = pnn_data::digits().range(0, 230).unwrap();
        let errors = NoiseModel::all_layers(Source::Phase { std_rad: 0.3 }).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for batch_norm in [BatchNormMode::Running, BatchNormMode::Batch(100)] {
            let normalisation = Normalisation::MNIST;
            let evaluator = Evaluator { batch_norm, normalisation, calibration: None };
            let relu = FcActivation::Relu;
            let deployed = Deployed::new(&model, relu, evaluator, &images).unwrap();
            for noise in [NoiseModel::default(), errors.clone()] {
                let chip = noise.draw(&model.physical_layers(), 1, &Seed::new(7)).unwrap();
                let want = evaluator.evaluate(&model, &chip, &images).unwrap();
                assert_eq!(deployed.evaluate(&chip).unwrap(), want, "{batch_norm}");
                seen.insert(want.confusion.rows());
            }
        }
        assert!(seen.len() >= 3, "the chips and modes must differ, or nothing was tested");
    }
}
