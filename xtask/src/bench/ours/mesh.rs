//! Forward and backward passes of an interferometer mesh.

use std::collections::BTreeMap;
use std::time::Instant;

use pnn_core::loss::mean_squared_error;
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor, Var};
use pnn_devices::mzi::{Basis, Layout, MziMesh};
use rand_distr::{StandardNormal, StandardUniform};

use super::Side;
use crate::bench::agree::Numbers;
use crate::error::{Error, Result};

/// At most so many passes come before the clock starts in each round.
const WARM_UP: usize = 3;

/// A mesh, light, and the normalised powers that it should give.
pub(super) struct Passes {
    mesh: MziMesh,
    settings: Vec<(String, Var)>,
    light: Var,
    wanted: Tensor,
}

impl Passes {
    pub(super) fn new(ports: usize, batch: usize) -> Result<Self> {
        let seed = Seed::new(0).child("bench");
        let mesh = MziMesh::neurophox(Layout::Rectangular, ports, Basis::Bloch)?;
        let controls = mesh.init(&seed.child("controls"), DType::F32)?;
        let settings = controls.iter().map(|(name, value)| (name.to_owned(), Var::new(value)));
        let shape = [batch, ports];
        let light = seed.child("light").tensor(StandardNormal, &shape, DType::F32)?;
        let wanted = seed.child("wanted").tensor(StandardUniform, &shape, DType::F32)?;
        Ok(Self { settings: settings.collect(), mesh, light: Var::new(&light), wanted })
    }

    /// The loss, and its gradients in the settings and the light if asked for.
    fn pass(&self, keep: bool) -> Result<(f64, BTreeMap<String, Tensor>)> {
        let mut tracked: Vec<_> =
            self.settings.iter().map(|(name, var)| (name.clone(), var.tensor())).collect();
        let (controls, light): (Controls, _) =
            (tracked.iter().cloned().collect(), self.light.tensor());
        let powers = self.mesh.forward(&light, &controls, &Deviations::none())?;
        let loss = mean_squared_error(&powers, &self.wanted)?;
        let gradients = loss.backward()?;
        let mut found = BTreeMap::new();
        if keep {
            tracked.push(("light".to_owned(), light));
            for (name, tensor) in tracked {
                let gradient = gradients
                    .get(&tensor)
                    .ok_or_else(|| Error::Usage(format!("there is no gradient of {name}")))?;
                found.insert(name.clone(), self.grid(&name, gradient)?);
            }
        }
        Ok((f64::from(loss.to_scalar::<f32>()?), found))
    }

    /// The peer keeps one value for each interferometer in a grid.
    fn grid(&self, name: &str, values: &Tensor) -> Result<Tensor> {
        Ok(match name {
            "theta" | "phi" => self.mesh.scatter(values)?,
            _ => values.clone(),
        })
    }
}

impl Side for Passes {
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::from([
            ("initial/light".to_owned(), self.light.value()),
            ("wanted".to_owned(), self.wanted.clone()),
        ]);
        for (name, var) in &self.settings {
            tensors.insert(format!("initial/{name}"), self.grid(name, &var.value())?);
        }
        Ok(tensors)
    }

    fn check(&mut self) -> Result<Numbers> {
        let (loss, gradients) = self.pass(true)?;
        Numbers::steps(vec![loss], gradients)
    }

    fn round(&mut self, n: usize) -> Result<f64> {
        for _ in 0..n.min(WARM_UP) {
            self.pass(false)?;
        }
        let started = Instant::now();
        for _ in 0..n {
            self.pass(false)?;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}
