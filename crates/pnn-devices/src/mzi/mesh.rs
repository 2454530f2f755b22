//! Meshes of Mach-Zehnder interferometers as devices.

use std::f64::consts::{FRAC_PI_2, PI, TAU};
use std::sync::Arc;

use pnn_core::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, FieldOutput, Levels,
    Passivity, PhysicalLayer,
};
use pnn_core::ops::{self, Wiring};
use pnn_core::{DType, Error, Result, Seed, Tensor};
use rand::distr::Distribution;
use rand_distr::StandardUniform;

use super::cell::{Basis, Cells, SplitterError, State, row};
use super::field::Detection;
use super::heaters::PhaseHeaters;
use super::idle::Offsets;
use super::layout::Layout;
use super::neighbours::Neighbours;
use super::phase::{phasors, within};
use super::ports::{
    EXCESS_LOSS_DB, GAMMA_ERROR_RAD, GAMMA_ERROR_VOLT, LEFT_SPLITTER_ERROR, PHI_ERROR_RAD,
    PHI_ERROR_VOLT, RIGHT_SPLITTER_ERROR, THERMAL_CROSSTALK, THETA_ERROR_RAD, THETA_ERROR_VOLT,
    deviation_ports,
};

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
    pub(super) cells: Cells,
    neighbours: Arc<Neighbours>,
    /// Phases at the inputs that make up for those of idle ports, in rad.
    gamma_offsets: Vec<f64>,
    loss_db: f64,
    pub(super) detection: Detection,
    heaters: Option<PhaseHeaters>,
    controls: [Control; 3],
    ports: Vec<DeviationPort>,
}

impl MziMesh {
    /// An ideal mesh without loss, in the Bloch basis, whose outputs are normalised powers.
    ///
    /// # Errors
    /// If there are fewer than two ports.
    pub fn new(layout: Layout, ports: usize) -> Result<Self> {
        let columns = layout.columns(ports)?;
        let neighbours = Arc::new(Neighbours::of(&columns));
        let wiring = Arc::new(Wiring::new(ports, columns)?);
        let count = wiring.cells();
        let control = |name, size| {
            let (unit, bounds) = ("rad", Bounds::UNBOUNDED);
            Control { name, unit, bounds, shape: vec![size] }
        };
        Ok(Self {
            layout,
            cells: Cells {
                basis: Basis::Bloch,
                splitter: SplitterError::Ratio,
                offsets: vec![0.0; count],
            },
            neighbours,
            gamma_offsets: vec![0.0; ports],
            loss_db: 0.0,
            detection: Detection::NormalisedPower,
            controls: [control("theta", count), control("phi", count), control("gamma", ports)],
            heaters: None,
            ports: deviation_ports(&wiring, SplitterError::Ratio, false),
            wiring,
        })
    }

    /// The mesh of Xu et al. (2026): rectangular, and a port that has no interferometer in a column
    /// gets a phase of -90 degrees there.
    ///
    /// # Errors
    /// If there are fewer than two ports.
    pub fn published(ports: usize) -> Result<Self> {
        Ok(Self::new(Layout::Rectangular, ports)?.with_idle_phase(-FRAC_PI_2))
    }

    /// The mesh of neurophox 0.1.0a4 (Pai et al., Phys. Rev. Applied 11, 064044, 2019), whose phases are
    /// defined by a basis. There a pair without interferometer has one in the bar state, which
    /// in the Bloch basis turns both ports by -90 degrees; the odd one out among an odd number of
    /// ports is a plain waveguide. [`Self::gather`] takes its grids, [`Self::transfer`] is the transpose
    /// of its matrix.
    ///
    /// # Errors
    /// If there are fewer than two ports, or those of a butterfly are no power of two.
    pub fn neurophox(layout: Layout, ports: usize, basis: Basis) -> Result<Self> {
        if layout == Layout::Butterfly && !ports.is_power_of_two() {
            let what = "number of ports of a butterfly of neurophox".to_owned();
            let (value, allowed) = (ports as f64, "a power of two");
            return Err(Error::Range { what, value, allowed });
        }
        let mesh = Self::new(layout, ports)?.with_basis(basis);
        let bar = if basis == Basis::Bloch { -FRAC_PI_2 } else { 0.0 };
        Ok(mesh.with_idle_phases(|column, port| {
            let odd_one = if column % 2 == 0 { ports - 1 } else { 0 };
            if ports % 2 == 1 && port == odd_one { 0.0 } else { bar }
        }))
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
        self.ports = deviation_ports(&self.wiring, splitter, self.is_heated());
        self
    }

    /// The phase in rad that light gets in a column in which its port has no interferometer.
    #[must_use]
    pub fn with_idle_phase(self, idle_phase: f64) -> Self {
        self.with_idle_phases(|_, _| idle_phase)
    }

    /// The phase in rad that light gets in (column, port), where that has no interferometer.
    fn with_idle_phases(mut self, idle: impl Fn(usize, usize) -> f64) -> Self {
        let Offsets { phi, gamma } = Offsets::of(&self.wiring, idle);
        (self.cells.offsets, self.gamma_offsets) = (phi, gamma);
        self
    }

    /// The insertion loss of each interferometer in dB of power.
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

    /// Trains the voltages of heaters instead of phases: the controls are then `theta_volt`,
    /// `phi_volt` and `gamma_volt` in V, and errors of them have ports of their own. At 0 V a phase
    /// does not answer to its voltage, and training leaves it there.
    ///
    /// # Errors
    /// If the heaters do not reach a whole turn.
    pub fn with_heaters(mut self, heaters: PhaseHeaters) -> Result<Self> {
        heaters.check()?;
        let bounds = Bounds { low: 0.0, high: heaters.max_volt };
        for (control, name) in
            self.controls.iter_mut().zip(["theta_volt", "phi_volt", "gamma_volt"])
        {
            (control.name, control.unit, control.bounds) = (name, "V", bounds);
        }
        self.ports = deviation_ports(&self.wiring, self.cells.splitter, true);
        self.heaters = Some(heaters);
        Ok(self)
    }

    /// What is read at the outputs.
    #[must_use]
    pub fn with_detection(mut self, detection: Detection) -> Self {
        self.detection = detection;
        self
    }

    /// Whether it is set by the voltages of heaters.
    #[must_use]
    pub fn is_heated(&self) -> bool {
        self.heaters.is_some()
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
        let count = self.wiring.cells();
        let shared = [
            row(theta)?,
            row(phi)?,
            row(gamma)?,
            Tensor::full(self.loss_db, [1, count])?,
            Tensor::full(0.0, [1, count])?,
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

    /// What a chip adds to the controls, its splitter errors and its loss, checked: (1,
    /// interferometers) each, and the phases that its inputs have besides gamma: (1, ports).
    pub(super) fn errors(&self, chip: &Deviations) -> Result<(State, Tensor)> {
        let (count, ports) = (self.wiring.cells(), self.wiring.ports());
        let zero = Tensor::zeros([1, count], DType::F64)?;
        let none = [&zero, &zero, &Tensor::zeros([1, ports], DType::F64)?, &zero, &zero];
        self.state(&none.map(Clone::clone), chip)
    }

    /// The controls that make these phases.
    pub(super) fn controls_of(&self, phases: [Tensor; 3], dtype: DType) -> Result<Controls> {
        let setting = |(control, phase): (&Control, Tensor)| {
            let setting = match self.heaters {
                Some(heaters) => heaters.volts(control.name, phase)?,
                None => phase,
            };
            Ok((control.name.to_owned(), setting.to_dtype(dtype)?))
        };
        self.controls.iter().zip(phases).map(setting).collect()
    }

    /// The controls, if they have the right shapes.
    fn settings<'a>(&self, controls: &'a Controls) -> Result<[&'a Tensor; 3]> {
        let [theta, phi, gamma] = &self.controls;
        Ok([controls.of(theta)?, controls.of(phi)?, controls.of(gamma)?])
    }

    /// What heaters make of phases: those within a turn, unless they are set by voltage.
    fn warmth(&self, phase: &Tensor) -> Result<Tensor> {
        if self.heaters.is_some() {
            return Ok(phase.clone());
        }
        let turns = phase.elements::<f64>()?.iter().map(|v| -TAU * (v / TAU).floor()).collect();
        phase + Tensor::from_vec(turns, phase.shape())?
    }

    /// The interferometers and input phases of one chip, from those of the ideal one: theta, phi,
    /// gamma, loss and splitter error, (1, interferometers or ports) each.
    fn state(&self, ideal: &[Tensor; 5], chip: &Deviations) -> Result<(State, Tensor)> {
        chip.check(&self.ports)?;
        let [theta, phi, gamma, loss_db, even] = ideal;
        let heated = |phase: &Tensor| -> Result<Tensor> {
            match chip.get(THERMAL_CROSSTALK) {
                Some(part) if chip.is_active(THERMAL_CROSSTALK)? => {
                    let leaking = self.neighbours.sum(&self.warmth(phase)?)?;
                    phase + (leaking * part.to_dtype(DType::F64)?)?
                }
                _ => Ok(phase.clone()),
            }
        };
        let any = (f64::NEG_INFINITY, f64::INFINITY, "finite");
        let split = match self.cells.splitter {
            SplitterError::Ratio => (-1.0, 1.0, "(-1, 1)"),
            SplitterError::Angle => (-FRAC_PI_2, FRAC_PI_2, "(-pi/2, pi/2)"),
        };
        let phase = |setting: &Tensor, port: &str| match self.heaters {
            Some(heaters) => heaters.phases(&chip.shift(port, setting)?),
            None => Ok(setting.clone()),
        };
        let (theta, phi) = (phase(theta, THETA_ERROR_VOLT)?, phase(phi, PHI_ERROR_VOLT)?);
        let gamma = phase(gamma, GAMMA_ERROR_VOLT)?;
        let state = State {
            theta: within("theta", chip.shift(THETA_ERROR_RAD, &heated(&theta)?)?, any)?,
            phi: within("phi", chip.shift(PHI_ERROR_RAD, &heated(&phi)?)?, any)?,
            left: within(LEFT_SPLITTER_ERROR, chip.shift(LEFT_SPLITTER_ERROR, even)?, split)?,
            right: within(RIGHT_SPLITTER_ERROR, chip.shift(RIGHT_SPLITTER_ERROR, even)?, split)?,
            loss_db: within(
                "insertion loss in dB",
                chip.shift(EXCESS_LOSS_DB, loss_db)?,
                (-f64::MIN_POSITIVE, f64::INFINITY, "[0, infinity)"),
            )?,
        };
        let offsets = Tensor::from_slice(&self.gamma_offsets, (1, self.gamma_offsets.len()))?;
        let gamma = (chip.shift(GAMMA_ERROR_RAD, &gamma)? + offsets)?;
        Ok((state, within("gamma", gamma, any)?))
    }
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
            seed.child(name).tensor(StandardUniform, &[size], DType::F64)? * TAU
        };
        let phi = uniform("phi", exponents.len())?;
        let gamma = uniform("gamma", self.wiring.ports())?;
        self.controls_of([theta, phi, gamma], dtype)
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        self.detect(&self.field(x, controls, deviations)?)
    }

    fn field_output(&self) -> Option<&dyn FieldOutput> {
        Some(self)
    }

    /// Converters set each phase within a turn, or each voltage up to the largest. A turn of theta
    /// changes the sign of an interferometer in the Bloch basis: it is taken for granted that the
    /// phases after it are set accordingly, which the model leaves where they are.
    fn drives(&self, controls: &Controls) -> Result<Vec<Drive>> {
        if self.heaters.is_some() {
            let ports = [THETA_ERROR_VOLT, PHI_ERROR_VOLT, GAMMA_ERROR_VOLT];
            let settings = self.settings(controls)?.into_iter().zip(ports).zip(&self.controls);
            return Ok(settings
                .map(|((setting, port), control)| Drive {
                    setting: setting.clone(),
                    range: control.bounds,
                    levels: Levels::Even,
                    port,
                })
                .collect());
        }
        let ports = [THETA_ERROR_RAD, PHI_ERROR_RAD, GAMMA_ERROR_RAD];
        let drive = |(setting, port): (&Tensor, &'static str)| {
            let values = setting.to_dtype(DType::F64)?;
            let turn = values.elements::<f64>()?.iter().map(|v| v.rem_euclid(TAU)).collect();
            let setting = Tensor::from_vec(turn, setting.shape())?;
            let range = Bounds { low: 0.0, high: TAU };
            Ok(Drive { setting, range, levels: Levels::Even, port })
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
