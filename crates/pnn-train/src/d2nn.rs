//! The nonlinear diffractive network of Xu et al., Nat. Commun. 17, 1766 (2026).

use std::sync::Arc;

use pnn_core::loss::one_hot_distance;
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::Sampling;
use pnn_core::{DType, ParamSet, Result, Seed, Tensor, Var};
use pnn_devices::diffraction::Diffractive;

use crate::task::Loss;

/// Images of 28 x 28 pixels in [0, 1], enlarged to 64 x 64 and set into the middle of 128 x 128, as intensities of the light
/// that enters [`Diffractive::published`]. The layer is called optics.
///
/// # Shapes
/// Input (batch, 1, 28, 28), output (batch, 10): shares of the detected power.
pub struct D2nn {
    optics: Physical,
    /// (64, 28), in the type of the model: bilinear, with pixels' centres half a pixel from their edges.
    enlarge: Tensor,
    parameters: ParamSet,
}

const SIDE: usize = 28;
const LARGE: usize = 64;

impl D2nn {
    /// What the network is trained with: the squared distance of the detected shares from 0.1 at the right
    /// detector and none at the others, summed over detectors and images (Xu et al., 2026). Shares add up to 1, so that it is never less
    /// than 0.081 for an image: 0.19 at the right detector and 0.09 at the others. Even shares have 0.09.
    pub const LOSS: Loss = |shares, labels| one_hot_distance(shares, labels, 0.1);

    /// The name of the physical layer.
    pub const OPTICS: &str = "optics";

    /// A network whose masks are seen by `sampling` when they are misaligned, initialised from `seed`.
    ///
    /// # Errors
    /// If it cannot be initialised.
    pub fn new(sampling: Sampling, seed: &Seed, dtype: DType) -> Result<Self> {
        let device = Arc::new(Diffractive::published()?.with_sampling(sampling));
        let optics = Physical::new(Self::OPTICS, device, None, seed, dtype)?;
        let mut weights = vec![0.0; LARGE * SIDE];
        for row in 0..LARGE {
            let place = (row as f64 + 0.5) * SIDE as f64 / LARGE as f64 - 0.5;
            let (first, part) = (place.floor(), place - place.floor());
            for (pixel, weight) in [(first, 1.0 - part), (first + 1.0, part)] {
                let pixel = pixel.clamp(0.0, (SIDE - 1) as f64) as usize;
                weights[row * SIDE + pixel] += weight;
            }
        }
        let enlarge = Tensor::from_vec(weights, [LARGE, SIDE])?.to_dtype(dtype)?;
        let parameters = ParamSet::new(optics.parameters())?;
        Ok(Self { optics, enlarge, parameters })
    }

    /// The amplitudes of the light that enters for a batch of images: (batch, 1, 28, 28) to (batch, 128, 128).
    ///
    /// # Errors
    /// If the images have another shape.
    pub fn light(&self, images: &Tensor) -> Result<Tensor> {
        let batch = images.dim(0)?;
        let rows = images.reshape([batch * SIDE, SIDE])?.matmul(&self.enlarge.t()?)?;
        let columns = rows.reshape([batch, SIDE, LARGE])?.transpose(1, 2)?;
        let large = columns.reshape([batch * LARGE, SIDE])?.matmul(&self.enlarge.t()?)?;
        // Rows of the one product are columns of the other.
        let large = large.reshape([batch, LARGE, LARGE])?.transpose(1, 2)?.sqrt()?;
        let dark = |rows, columns| Tensor::zeros([batch, rows, columns], images.dtype());
        let (side, edge) = (dark(LARGE, LARGE / 2)?, dark(LARGE / 2, 2 * LARGE)?);
        let middle = Tensor::cat(&[&side, &large, &side], 2)?;
        Tensor::cat(&[&edge, &middle, &edge], 1)
    }
}

impl Model for D2nn {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.optics.forward(&self.light(x)?, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.optics]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The light of an image, as intensities (128, 128), row by row.
    fn intensities(image: &[f64]) -> Vec<f64> {
        let model = D2nn::new(Sampling::Nearest, &Seed::new(1), DType::F64).unwrap();
        let image = Tensor::from_slice(image, [1, 1, SIDE, SIDE]).unwrap();
        let light = model.light(&image).unwrap();
        assert_eq!(light.dims(), [1, 2 * LARGE, 2 * LARGE]);
        light.sqr().unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn an_image_is_enlarged_in_the_middle_of_the_dark() {
        // One pixel, off the diagonal: its light lies around its centre, enlarged, row for row and column for column.
        let (row, column) = (6, 19);
        let mut image = vec![0.0; SIDE * SIDE];
        image[row * SIDE + column] = 0.8;
        let light = intensities(&image);
        let total: f64 = light.iter().sum();
        let scale = LARGE as f64 / SIDE as f64;
        assert!((total / (0.8 * scale * scale) - 1.0).abs() < 0.05, "{total}");
        let mean = |of: fn(usize) -> usize| {
            light.iter().enumerate().map(|(k, i)| of(k) as f64 * i).sum::<f64>() / total
        };
        let place = |pixel: usize| (pixel as f64 + 0.5) * scale - 0.5 + (LARGE / 2) as f64;
        let side = 2 * LARGE;
        assert_eq!(side, 128);
        assert!((mean(|k| k / 128) - place(row)).abs() < 0.1);
        assert!((mean(|k| k % 128) - place(column)).abs() < 0.1);
        // An even image is even up to its edge, and dark beyond.
        for (k, intensity) in intensities(&[0.49; SIDE * SIDE]).iter().enumerate() {
            let inside = |at: usize| (LARGE / 2..side - LARGE / 2).contains(&at);
            let want = if inside(k / side) && inside(k % side) { 0.49 } else { 0.0 };
            assert!((intensity - want).abs() < 1e-14, "{k}: {intensity}");
        }
    }
}
