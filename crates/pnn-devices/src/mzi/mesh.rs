//! Meshes of Mach-Zehnder interferometers as devices.

use std::f64::consts::{FRAC_PI_2, PI, TAU};
use std::sync::Arc;

use pnn_core::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, FieldOutput,
    Passivity, PhysicalLayer, PortShape,
};
use pnn_core::ops::{self, Wiring};
use pnn_core::{DType, Error, Result, Seed, Tensor};
use rand::distr::Distribution;
use rand_distr::StandardUniform;

use super::cell::{Basis, Cells, SplitterError, State, row};
use super::field::Detection;
use super::layout::Layout;
use super::neighbours::Neighbours;

/// Deviation port: error of the internal phases in rad (interferometers).
pub const THETA_ERROR_RAD: &str = "theta_error_rad";
/// Deviation port: error of the external phases in rad (interferometers).
pub const PHI_ERROR_RAD: &str = "phi_error_rad";
/// Deviation port: error of the input phases in rad (ports).
pub const GAMMA_ERROR_RAD: &str = "gamma_error_rad";
/// Deviation port: error of the splitter that light meets first ([`SplitterError`]).
pub const LEFT_SPLITTER_ERROR: &str = "left_splitter_error";
/// Deviation port: error of the second splitter ([`SplitterError`]).
pub const RIGHT_SPLITTER_ERROR: &str = "right_splitter_error";
/// Deviation port: insertion loss in dB beyond the mesh's own (interferometers).
pub const EXCESS_LOSS_DB: &str = "excess_loss_db";
/// Deviation port: the part of a heater's phase that each of its neighbours in the column gets.
pub const THERMAL_CROSSTALK: &str = "thermal_crosstalk";

/// A mesh of interferometers: `E = C_n ... C_2 C_1 diag(exp(i gamma)) x`, read by detectors.
///
/// Column `C_k` couples pairs of ports by `M = diag(exp(i phi), 1) B(right) diag(exp(i theta/2), exp(-i
/// theta/2)) B(left)` (in the single-mode basis `diag(exp(i theta), 1)` in the middle), with splitters
/// `B(e) = [[sqrt(1+e), i sqrt(1-e)], [i sqrt(1-e), sqrt(1+e)]] / sqrt 2` (Clements et al., Optica 3,
/// 1460, 2016; Pai et al., Phys. Rev. Applied 11, 064044, 2019). Controls are `theta`, `phi` (one for
/// each interferometer, column by column) and `gamma` (one for each port), in rad, unbounded since
/// phases have no end.
///
/// # Shapes
/// Input (batch, ports) of real amplitudes, or (batch, 2, ports) of real and imaginary parts.
/// Output by [`Detection`].
///
/// # Errors
/// `forward` fails if shapes do not match, a phase is not finite, a splitter error leaves its range
/// or a loss is negative.
#[derive(Debug, Clone)]
pub struct MziMesh {
    layout: Layout,
    wiring: Arc<Wiring>,
    cells: Cells,
    neighbours: Arc<Neighbours>,
    /// Columns in which a port has no interferometer, and the phase that it gets there.
    idle_columns: usize,
    idle_phase: f64,
    loss_db: f64,
    pub(super) detection: Detection,
    controls: [Control; 3],
    ports: [DeviationPort; 7],
}

impl MziMesh {
    /// An ideal mesh without loss, in the Bloch basis, whose outputs are normalised powers.
    ///
    /// # Errors
    /// If there are no ports.
    pub fn new(layout: Layout, ports: usize) -> Result<Self> {
        let columns = layout.columns(ports)?;
        let neighbours = Arc::new(Neighbours::of(&columns));
        let wiring = Arc::new(Wiring::new(ports, columns)?);
        let count = wiring.cells();
        let control = |name, size| {
            let (unit, bounds) = ("rad", Bounds::UNBOUNDED);
            Control { name, unit, bounds, shape: vec![size] }
        };
        let port = |name, unit, dims| DeviationPort { name, unit, shape: PortShape::Fixed(dims) };
        Ok(Self {
            layout,
            cells: Cells {
                basis: Basis::Bloch,
                splitter: SplitterError::Ratio,
                offsets: vec![0.0; count],
            },
            neighbours,
            idle_columns: wiring.columns().iter().filter(|pairs| 2 * pairs.len() < ports).count(),
            idle_phase: 0.0,
            loss_db: 0.0,
            detection: Detection::NormalisedPower,
            controls: [control("theta", count), control("phi", count), control("gamma", ports)],
            ports: [
                port(THETA_ERROR_RAD, "rad", vec![count]),
                port(PHI_ERROR_RAD, "rad", vec![count]),
                port(GAMMA_ERROR_RAD, "rad", vec![ports]),
                port(LEFT_SPLITTER_ERROR, "1", vec![count]),
                port(RIGHT_SPLITTER_ERROR, "1", vec![count]),
                port(EXCESS_LOSS_DB, "dB", vec![count]),
                port(THERMAL_CROSSTALK, "1", vec![]),
            ],
            wiring,
        })
    }

    /// The mesh of Xu et al. (2026): rectangular, and a port that has no interferometer in a column
    /// gets a phase of -90 degrees there.
    ///
    /// # Errors
    /// If there are no ports.
    pub fn published(ports: usize) -> Result<Self> {
        Ok(Self::new(Layout::Rectangular, ports)?.with_idle_phase(-FRAC_PI_2))
    }

    /// How the phases are defined.
    #[must_use]
    pub fn with_basis(mut self, basis: Basis) -> Self {
        self.cells.basis = basis;
        self
    }

    /// How splitter errors are expressed.
    #[must_use]
    pub fn with_splitter_error(mut self, splitter: SplitterError) -> Self {
        self.cells.splitter = splitter;
        let unit = match splitter {
            SplitterError::Ratio => "1",
            SplitterError::Angle => "rad",
        };
        (self.ports[3].unit, self.ports[4].unit) = (unit, unit);
        self
    }

    /// The phase in rad that light gets in a column in which its port has no interferometer.
    #[must_use]
    pub fn with_idle_phase(mut self, idle_phase: f64) -> Self {
        // Up to a phase of the whole, the interferometers of the column have the opposite one.
        self.idle_phase = idle_phase;
        let columns = self.wiring.columns().iter();
        let offsets = columns.flat_map(|pairs| {
            let idle = 2 * pairs.len() < self.wiring.ports();
            std::iter::repeat_n(if idle { -idle_phase } else { 0.0 }, pairs.len())
        });
        self.cells.offsets = offsets.collect();
        self
    }

    /// The insertion loss of each interferometer.
    ///
    /// # Errors
    /// If it is negative or not finite.
    pub fn with_loss_db(mut self, loss_db: f64) -> Result<Self> {
        if !(0.0..f64::INFINITY).contains(&loss_db) {
            let what = "insertion loss in dB".to_owned();
            return Err(Error::Range { what, value: loss_db, allowed: "[0, infinity)" });
        }
        self.loss_db = loss_db;
        Ok(self)
    }

    /// What is read at the outputs.
    #[must_use]
    pub fn with_detection(mut self, detection: Detection) -> Self {
        self.detection = detection;
        self
    }

    /// Where its interferometers sit.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Which ports they couple, column by column.
    #[must_use]
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// How its phases are defined.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.cells.basis
    }

    /// How its splitter errors are expressed.
    #[must_use]
    pub fn splitter_error(&self) -> SplitterError {
        self.cells.splitter
    }

    /// The matrix of the mesh on each of several chips, built side by side.
    ///
    /// # Shapes
    /// Result (chips, 2, ports, ports): real and imaginary parts, from input (last) to output.
    ///
    /// # Errors
    /// If controls or deviations do not fit or leave their range.
    pub fn transfer(&self, controls: &Controls, chips: &[&Deviations]) -> Result<Tensor> {
        let [theta, phi, gamma] = self.settings(controls)?;
        let dtype = theta.dtype();
        let (count, ports) = (self.wiring.cells(), self.wiring.ports());
        let shared = [
            row(theta, count)?,
            row(phi, count)?,
            row(gamma, ports)?,
            row(&Tensor::new(self.loss_db)?, count)?,
            row(&Tensor::new(0.0)?, count)?,
        ];
        let states: Vec<_> =
            chips.iter().map(|chip| self.state(&shared, chip)).collect::<Result<_>>()?;
        let joined = |part: fn(&(State, Tensor)) -> &Tensor| {
            let parts: Vec<_> = states.iter().map(part).collect();
            if let [one] = parts[..] { Ok(one.clone()) } else { Tensor::cat(&parts, 0) }
        };
        let state = State {
            theta: joined(|(state, _)| &state.theta)?,
            phi: joined(|(state, _)| &state.phi)?,
            left: joined(|(state, _)| &state.left)?,
            right: joined(|(state, _)| &state.right)?,
            loss_db: joined(|(state, _)| &state.loss_db)?,
        };
        let matrices = self.cells.matrices(&state)?.to_dtype(dtype)?;
        let inputs = phasors(&joined(|(_, gamma)| gamma)?)?.to_dtype(dtype)?;
        ops::cascade(&self.wiring, &matrices, &inputs)
    }

    /// The controls, if they have the right shapes.
    fn settings<'a>(&self, controls: &'a Controls) -> Result<[&'a Tensor; 3]> {
        let mut found = Vec::with_capacity(3);
        for Control { name, shape, .. } in &self.controls {
            let setting = controls.get(name)?;
            if setting.dims() != shape.as_slice() {
                return Err(Error::shape(name, setting, format!("{shape:?}")));
            }
            found.push(setting);
        }
        Ok([found[0], found[1], found[2]])
    }

    /// The interferometers and input phases of one chip, from those of the ideal one: theta, phi,
    /// gamma, loss and splitter error, (1, interferometers or ports) each.
    fn state(&self, ideal: &[Tensor; 5], chip: &Deviations) -> Result<(State, Tensor)> {
        chip.check(&self.ports)?;
        let [theta, phi, gamma, loss_db, even] = ideal;
        let heated = |phase: &Tensor| -> Result<Tensor> {
            if !chip.is_active(THERMAL_CROSSTALK)? {
                return Ok(phase.clone());
            }
            let leaking = self.neighbours.sum(phase)?;
            match chip.get(THERMAL_CROSSTALK) {
                Some(part) => phase + (leaking * part.to_dtype(DType::F64)?)?,
                None => Ok(phase.clone()),
            }
        };
        let any = (f64::NEG_INFINITY, f64::INFINITY, "finite");
        let split = match self.cells.splitter {
            SplitterError::Ratio => (-1.0, 1.0, "(-1, 1)"),
            SplitterError::Angle => (-FRAC_PI_2, FRAC_PI_2, "(-pi/2, pi/2)"),
        };
        let one = |what: &str, value: Tensor, range| within(what, value, range);
        let state = State {
            theta: one("theta", chip.shift(THETA_ERROR_RAD, &heated(theta)?)?, any)?,
            phi: one("phi", chip.shift(PHI_ERROR_RAD, &heated(phi)?)?, any)?,
            left: one(LEFT_SPLITTER_ERROR, chip.shift(LEFT_SPLITTER_ERROR, even)?, split)?,
            right: one(RIGHT_SPLITTER_ERROR, chip.shift(RIGHT_SPLITTER_ERROR, even)?, split)?,
            loss_db: one(
                "insertion loss in dB",
                chip.shift(EXCESS_LOSS_DB, loss_db)?,
                (-f64::MIN_POSITIVE, f64::INFINITY, "[0, infinity)"),
            )?,
        };
        let whole = self.idle_columns as f64 * self.idle_phase;
        let gamma = chip.shift(GAMMA_ERROR_RAD, gamma)?.affine(1.0, whole)?;
        Ok((state, one("gamma", gamma, any)?))
    }
}

/// The values, if all lie between two limits, which are out.
fn within(
    what: &str,
    values: Tensor,
    (low, high, allowed): (f64, f64, &'static str),
) -> Result<Tensor> {
    let outside = |v: &f64| !(low < *v && *v < high);
    if let Some(place) = values.elements::<f64>()?.iter().position(outside) {
        let value = values.elements::<f64>()?[place];
        return Err(Error::Range { what: format!("{what} (number {place})"), value, allowed });
    }
    Ok(values)
}

/// `exp(i gamma)`: (chips, ports) to (chips, ports, 2).
fn phasors(gamma: &Tensor) -> Result<Tensor> {
    let shape = [gamma.dim(0)?, gamma.dim(1)?, 2];
    let values = gamma.elements::<f64>()?.iter().flat_map(|phase| [phase.cos(), phase.sin()]);
    let phasors = Tensor::from_vec(values.collect::<Vec<_>>(), shape)?;
    let (saved, of) = (phasors.clone(), gamma.shape().clone());
    Ok(phasors.with_gradient(&[gamma], move |gradient| {
        let pairs = gradient.elements::<f64>()?.as_chunks::<2>().0.iter();
        let pairs = pairs.zip(saved.elements::<f64>()?.as_chunks::<2>().0);
        let found = pairs.map(|([gre, gim], [cos, sin])| gim * cos - gre * sin).collect();
        Ok(vec![Some(Tensor::from_vec(found, of.clone())?)])
    }))
}

impl PhysicalLayer for MziMesh {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// A Haar-random matrix (rectangular and triangular; in a butterfly each interferometer is
    /// random by itself): phi and gamma uniform, theta by the power that crosses.
    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let exponents = self.layout.exponents(self.wiring.ports())?;
        let mut rng = seed.child("theta").rng();
        let theta = exponents.iter().map(|a| {
            let u: f64 = StandardUniform.sample(&mut rng);
            PI - 2.0 * u.powf(0.5 / a).asin()
        });
        let theta = Tensor::from_vec(theta.collect::<Vec<_>>(), exponents.len())?;
        let uniform = |name: &str, size: usize| -> Result<Tensor> {
            (seed.child(name).tensor(StandardUniform, &[size], DType::F64)? * TAU)?.to_dtype(dtype)
        };
        Ok([
            ("theta".to_owned(), theta.to_dtype(dtype)?),
            ("phi".to_owned(), uniform("phi", exponents.len())?),
            ("gamma".to_owned(), uniform("gamma", self.wiring.ports())?),
        ]
        .into_iter()
        .collect())
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        self.detect(&self.field(x, controls, deviations)?)
    }

    fn field_output(&self) -> Option<&dyn FieldOutput> {
        Some(self)
    }

    /// Converters set each phase within a turn.
    fn drives(&self, controls: &Controls) -> Result<Vec<Drive>> {
        let ports = [THETA_ERROR_RAD, PHI_ERROR_RAD, GAMMA_ERROR_RAD];
        let drive = |(setting, port): (&Tensor, &'static str)| {
            let values = setting.to_dtype(DType::F64)?;
            let turn = values.elements::<f64>()?.iter().map(|v| v.rem_euclid(TAU)).collect();
            let setting = Tensor::from_vec(turn, setting.shape())?;
            Ok(Drive { setting, range: Bounds { low: 0.0, high: TAU }, port })
        };
        self.settings(controls)?.into_iter().zip(ports).map(drive).collect()
    }

    fn passivity(&self) -> Passivity {
        match self.detection {
            Detection::Coherent => Passivity::Coherent,
            Detection::Power | Detection::NormalisedPower => Passivity::None,
        }
    }
}
