//! The images that both sides work on.

use std::path::PathBuf;

use pnn_core::{DType, Seed, Tensor};
use pnn_data::{Batches, Dataset, ImageShape, Mnist, Normalisation};

use super::workload::{Network, Task, Workload};
use crate::error::Result;

/// Sizes of MNIST.
const TRAINING_IMAGES: usize = 60_000;
const TEST_IMAGES: usize = 10_000;

/// Images with labels.
pub(super) struct Inputs {
    /// What the workload runs on.
    pub(super) images: Dataset,
    /// What a network is trained on before, if it must be trained.
    pub(super) train: Dataset,
}

/// The images of a workload; `data` holds full MNIST, for workloads that need so many images.
pub(super) fn prepare(workload: &Workload, data: Option<&PathBuf>) -> Result<Inputs> {
    let batch = workload.recipe.batch_size;
    let (images, train) = match (workload.task, workload.network, data) {
        (Task::Step, Network::Lenet5 | Network::FreeSpace | Network::D2nn, _) => {
            (digits(batch)?, digits(0)?)
        }
        (Task::Step, Network::Resnet18 { .. }, _) => (noise(batch)?, digits(0)?),
        // Their light is no image.
        (Task::Step, Network::Mesh { .. }, _) => (digits(0)?, digits(0)?),
        (Task::Epoch, _, Some(folder)) => (Mnist::load(folder)?.train, digits(0)?),
        (Task::Epoch, _, None) => (digits(TRAINING_IMAGES)?, digits(0)?),
        (Task::Chips { .. } | Task::LambdaMax { .. }, _, Some(folder)) => {
            let mnist = Mnist::load(folder)?;
            (mnist.test, mnist.train)
        }
        (Task::Chips { .. } | Task::LambdaMax { .. }, _, None) => {
            (digits(TEST_IMAGES)?, digits(pnn_data::digits().len())?)
        }
    };
    Ok(Inputs { images, train })
}

/// Embedded digits of all classes in an order that is always the same; over and over, if more are
/// asked for than there are.
fn digits(images: usize) -> Result<Dataset> {
    let all = pnn_data::digits();
    let order = Batches::new(all.len(), all.len(), Some(&Seed::new(0).child("bench")))?;
    let indices: Vec<usize> = order.get(0).iter().copied().cycle().take(images).collect();
    Ok(all.subset(&indices)?)
}

/// Images of CIFAR's shape whose pixels are noise (`SplitMix64`, Steele et al., OOPSLA 2014).
fn noise(images: usize) -> Result<Dataset> {
    let shape = ImageShape { channels: 3, rows: 32, columns: 32 };
    let pixel = |i: usize| {
        let z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 56) as u8
    };
    let pixels = (0..images * shape.values()).map(pixel).collect();
    let labels = (0..images).map(|i| (i % 10) as u8).collect();
    Ok(Dataset::new("noise", "pseudo-random pixels", shape, 10, pixels, labels)?)
}

impl Inputs {
    /// The first images as both sides see them, (images, channels, rows, columns) in f32, and
    /// their labels in u32.
    pub(super) fn tensors(&self, images: usize) -> Result<(Tensor, Tensor)> {
        let indices: Vec<usize> = (0..images.min(self.images.len())).collect();
        let pixels = self.images.images_tensor(&indices, &Normalisation::UNIT, DType::F32)?;
        Ok((pixels, self.images.labels_tensor(&indices)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_as_many_as_asked_for_and_always_the_same() {
        let (few, many) = (digits(64).unwrap(), digits(5_100).unwrap());
        assert_eq!((few.len(), many.len()), (64, 5_100));
        assert_eq!(many.range(5_000, 64).unwrap(), few);
        assert!(few.class_counts().iter().all(|count| *count > 0));
        let noise = noise(20).unwrap();
        assert_eq!(noise.class_counts(), [2; 10]);
        let mean = noise.image(7).iter().map(|p| f64::from(*p)).sum::<f64>() / 3072.0;
        assert!((mean - 127.5).abs() < 8.0, "{mean}");
    }
}
