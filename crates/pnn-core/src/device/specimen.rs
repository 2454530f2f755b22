//! Settings of a device, and what sets one specimen apart from its model.

use std::collections::BTreeMap;

use super::{Control, DeviationPort, PortShape};
use crate::{Error, Result, Tensor};

/// Settings of one device, by control name.
#[derive(Debug, Clone, Default)]
pub struct Controls(BTreeMap<String, Tensor>);

impl Controls {
    /// The settings of a device with one control.
    #[must_use]
    pub fn one(name: &str, value: Tensor) -> Self {
        Self([(name.to_owned(), value)].into())
    }

    /// The settings of a control.
    ///
    /// # Errors
    /// If there is no control of that name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.0
            .get(name)
            .ok_or_else(|| Error::unknown("control", name, self.0.keys().map(String::as_str)))
    }

    /// The settings of a control, if they have its shape.
    ///
    /// # Errors
    /// If they are missing or have another shape.
    pub fn of(&self, control: &Control) -> Result<&Tensor> {
        let setting = self.get(control.name)?;
        if setting.dims() == control.shape.as_slice() {
            Ok(setting)
        } else {
            Err(Error::shape(control.name, setting, format!("{:?}", control.shape)))
        }
    }

    /// Names and settings, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The same settings without their gradient history.
    #[must_use]
    pub fn detach(&self) -> Self {
        self.0.iter().map(|(name, value)| (name.clone(), value.detach())).collect()
    }
}

impl FromIterator<(String, Tensor)> for Controls {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// Deviations of one device, by port name. A port that is absent is zero.
#[derive(Debug, Clone, Default)]
pub struct Deviations(BTreeMap<String, Tensor>);

impl Deviations {
    /// The ideal device.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Sets the deviation of a port, replacing what was there.
    #[must_use]
    pub fn with(mut self, port: impl Into<String>, value: Tensor) -> Self {
        self.0.insert(port.into(), value);
        self
    }

    /// Adds a deviation to what a port has already.
    ///
    /// # Errors
    /// If the two do not broadcast.
    pub fn add(&mut self, port: &str, value: &Tensor) -> Result<()> {
        let sum = match self.0.get(port) {
            Some(old) => (old + value)?,
            None => value.clone(),
        };
        self.0.insert(port.to_owned(), sum);
        Ok(())
    }

    /// The deviation at a port, if there is one.
    #[must_use]
    pub fn get(&self, port: &str) -> Option<&Tensor> {
        self.0.get(port)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether a port departs from zero; a deviation that is being differentiated counts.
    ///
    /// # Errors
    /// If the deviation cannot be read.
    pub fn is_active(&self, port: &str) -> Result<bool> {
        let Some(value) = self.0.get(port) else {
            return Ok(false);
        };
        if value.is_tracked() {
            return Ok(true);
        }
        let magnitude = value.abs()?.sum_all()?.to_dtype(crate::DType::F64)?.to_scalar::<f64>()?;
        // Not `> 0`: a NaN deviation must show, not vanish.
        Ok(magnitude != 0.0)
    }

    /// `value + deviation at port`, and `value` itself, bit for bit, where that is zero.
    ///
    /// # Errors
    /// If the deviation does not broadcast to `value`.
    pub fn shift(&self, port: &str, value: &Tensor) -> Result<Tensor> {
        if !self.is_active(port)? {
            return Ok(value.clone());
        }
        let deviation = self.0[port].to_dtype(value.dtype())?;
        let shifted = (value + &deviation)?;
        if shifted.dims() == value.dims() {
            Ok(shifted)
        } else {
            Err(Error::shape(port, &deviation, format!("broadcasts to {:?}", value.dims())))
        }
    }

    /// Checks every port and shape against what a device offers.
    ///
    /// # Errors
    /// If a port is unknown or its shape does not broadcast to the port's.
    pub fn check(&self, ports: &[DeviationPort]) -> Result<()> {
        for (name, value) in &self.0 {
            let Some(port) = ports.iter().find(|p| p.name == name) else {
                return Err(Error::unknown("deviation port", name, ports.iter().map(|p| p.name)));
            };
            let dims = port.shape.dims();
            let own = match port.shape {
                PortShape::Output(_) if value.rank() == dims.len() + 1 => &value.dims()[1..],
                _ => value.dims(),
            };
            let fits = own.len() <= dims.len()
                && own.iter().rev().zip(dims.iter().rev()).all(|(a, b)| a == b || *a == 1);
            if !fits {
                return Err(Error::shape(name, value, format!("broadcasts to {dims:?}")));
            }
        }
        Ok(())
    }
}

/// One set of deviations for all physical layers of a model: one specimen, in one state.
/// The default has none: it is the ideal chip.
#[derive(Debug, Clone, Default)]
pub struct Chip(BTreeMap<String, Deviations>);

impl Chip {
    /// The chip that equals its model.
    #[must_use]
    pub fn ideal() -> Self {
        Self::default()
    }

    /// The deviations of a layer.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&Deviations> {
        self.0.get(name)
    }

    /// The deviations of a layer, to be changed.
    pub fn layer_mut(&mut self, name: &str) -> &mut Deviations {
        self.0.entry(name.to_owned()).or_default()
    }

    /// Names of the layers that have deviations, and these.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Deviations)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// This chip with the deviations of another added: a fabricated chip and then its drift.
    ///
    /// # Errors
    /// If two deviations of one port do not broadcast.
    pub fn plus(&self, other: &Self) -> Result<Self> {
        let mut sum = self.clone();
        for (layer, deviations) in &other.0 {
            for (port, value) in deviations.iter() {
                sum.layer_mut(layer).add(port, value)?;
            }
        }
        Ok(sum)
    }
}
