//! The field at the outputs of a mesh, and its detectors.

use pnn_core::device::{Controls, Deviations, FieldOutput};
use pnn_core::{DType, Error, Result, Tensor, ops};

use super::mesh::MziMesh;

/// What is read at the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detection {
    /// Powers `|E_k|^2`: (batch, ports).
    Power,
    /// Powers divided by their 2-norm over the ports: (batch, ports).
    #[default]
    NormalisedPower,
    /// The fields themselves, by coherent detection: (batch, 2, ports), real and imaginary part.
    Coherent,
}

impl FieldOutput for MziMesh {
    fn field_ports(&self) -> usize {
        self.wiring().ports()
    }

    fn field(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let ports = self.wiring().ports();
        let u = self.transfer(controls, &[deviations])?.reshape([2 * ports, ports])?;
        let field = match *x.dims() {
            [_, inputs] if inputs == ports => ops::linear(x, &u)?,
            [batch, 2, inputs] if inputs == ports => {
                let (re, im) = (u.narrow(0, 0, ports)?, u.narrow(0, ports, ports)?);
                let of_re = Tensor::cat(&[&re, &im], 0)?;
                let of_im = Tensor::cat(&[&im.affine(-1.0, 0.0)?, &re], 0)?;
                let whole = Tensor::cat(&[&of_re, &of_im], 1)?;
                ops::linear(&x.reshape([batch, 2 * ports])?, &whole)?
            }
            _ => {
                let want = format!("(batch, {ports}) or (batch, 2, {ports})");
                return Err(Error::shape("input of a mesh", x, want));
            }
        };
        field.reshape([x.dim(0)?, 2, ports])
    }

    fn detect(&self, field: &Tensor) -> Result<Tensor> {
        match self.detection {
            Detection::Power => ops::power(field),
            Detection::NormalisedPower => ops::normalised_power(field),
            Detection::Coherent => Ok(field.clone()),
        }
    }

    fn fuse(&self, field: &Tensor, measured: &Tensor) -> Result<Tensor> {
        let ports = self.wiring().ports();
        let &[batch, 2, modes] = field.dims() else {
            return Err(Error::shape("field", field, format!("(batch, 2, {ports})")));
        };
        let want = match self.detection {
            Detection::Coherent => vec![batch, 2, ports],
            Detection::Power | Detection::NormalisedPower => vec![batch, ports],
        };
        if modes != ports || measured.dims() != want {
            return Err(Error::shape("measured output of a mesh", measured, format!("{want:?}")));
        }
        if self.detection == Detection::Coherent {
            return Ok(measured.detach());
        }
        let values = field.to_dtype(DType::F64)?;
        let powers = measured.to_dtype(DType::F64)?;
        let mut fused = values.elements::<f64>()?.to_vec();
        let samples = fused.chunks_exact_mut(2 * ports);
        for (field, powers) in samples.zip(powers.elements::<f64>()?.chunks_exact(ports)) {
            // Noise may take a reading below zero.
            let scale = match self.detection {
                Detection::NormalisedPower => {
                    let read: f64 = powers.iter().map(|p| p.max(0.0)).sum();
                    let light: f64 = field.iter().map(|v| v * v).sum();
                    if read > 0.0 { light / read } else { 0.0 }
                }
                Detection::Power | Detection::Coherent => 1.0,
            };
            let (re, im) = field.split_at_mut(ports);
            for ((re, im), power) in re.iter_mut().zip(im).zip(powers) {
                let (amplitude, modulus) = ((power.max(0.0) * scale).sqrt(), re.hypot(*im));
                let (cos, sin) =
                    if modulus > 0.0 { (*re / modulus, *im / modulus) } else { (1.0, 0.0) };
                (*re, *im) = (amplitude * cos, amplitude * sin);
            }
        }
        Tensor::from_vec(fused, field.shape())?.to_dtype(field.dtype())
    }
}
