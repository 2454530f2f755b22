//! The conformance suite passes a correct device and names what is wrong with each broken one.

use std::f64::consts::TAU;
use std::sync::atomic::{AtomicU32, Ordering};

use pnn_core::device::{ControlSpec, PortShape};
use pnn_core::layers::{Digital, Product};
use pnn_core::ops::{self, ConvGeometry};
use pnn_core::testing::{Check, conformance};
use pnn_core::{
    Bounds, Control, Controls, DType, DeviationPort, Deviations, Error, Passivity, PhysicalLayer,
    Result, Seed, Tensor,
};

const INPUTS: usize = 3;
const OUTPUTS: usize = 2;

/// What is wrong with a [`Modulators`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Nothing,
    InitOutsideBounds,
    InitOfWrongShape,
    InitNotSeeded,
    InitWithExtraControl,
    InitPanics,
    TwoPortsOfOneName,
    NoUnit,
    BatchLost,
    InfiniteOutput,
    WrongDtype,
    Drifting,
    DependsOnThreads,
    BackwardDependsOnThreads,
    LossOfPrecision,
    BatchCoupled,
    NonZeroAtZero,
    NonZeroAtMinusZero,
    DeadReadout,
    DeadPhaseError,
    SharedDeviationIgnored,
    UnknownPortAccepted,
    WrongDeviationAccepted,
    WrongDeviationPanics,
    MissingControlPanics,
    WrongControlAccepted,
    WrongInputPanics,
    NanPanics,
    NanVanishes,
    NanDeviationVanishes,
    InfiniteAtLowerBound,
    InfiniteAtUpperBound,
    NoGradientOfInput,
    NoGradientOfControl,
    NoGradientOfDeviation,
    HalfGradient,
    WrongGradientOfOneElement,
    WrongGradientOffInitial,
    Gain,
    GainOffInitial,
}
use Defect as D;

/// `y_k = sum_i cos(phase_ki + phase_error_ki) x_i + readout_error_k`.
struct Modulators {
    defect: Defect,
    controls: [Control; 1],
    ports: Vec<DeviationPort>,
    calls: AtomicU32,
}

impl Modulators {
    fn new(defect: Defect) -> Self {
        let shape = vec![OUTPUTS, INPUTS];
        let bounds = Bounds::new(0.0, TAU).unwrap();
        let unit = if defect == D::NoUnit { "" } else { "rad" };
        let readout = if defect == D::TwoPortsOfOneName { "phase_error" } else { "readout_error" };
        Self {
            defect,
            ports: vec![
                DeviationPort {
                    name: "phase_error",
                    unit: "rad",
                    shape: PortShape::Fixed(shape.clone()),
                },
                DeviationPort { name: readout, unit: "1", shape: PortShape::Output(vec![OUTPUTS]) },
            ],
            controls: [Control { name: "phase", unit, bounds, shape }],
            calls: AtomicU32::new(0),
        }
    }

    fn phase(&self, controls: &Controls) -> Result<Tensor> {
        let phase = controls.get("phase");
        if self.defect == D::MissingControlPanics {
            return Ok(phase.unwrap().clone());
        }
        let phase = phase?.clone();
        if phase.dims() != self.controls[0].shape {
            return match self.defect {
                D::WrongControlAccepted => {
                    Ok(Tensor::zeros(self.controls[0].shape.as_slice(), phase.dtype())?)
                }
                _ => Err(Error::shape("phase", &phase, format!("{:?}", self.controls[0].shape))),
            };
        }
        Ok(phase)
    }

    fn check(&self, deviations: &Deviations) -> Result<()> {
        match (self.defect, deviations.check(&self.ports)) {
            (D::UnknownPortAccepted, Err(Error::Unknown { .. })) => Ok(()),
            (D::WrongDeviationPanics, Err(e @ Error::Shape { .. })) => panic!("{e}"),
            (_, result) => result,
        }
    }

    /// The phases with their errors.
    fn shifted(&self, phase: &Tensor, deviations: &Deviations) -> Result<Tensor> {
        let Some(error) = deviations.get("phase_error") else {
            return Ok(phase.clone());
        };
        let zero = !deviations.is_active("phase_error")?;
        let sign = |x: &Tensor| -> Result<bool> {
            let values: Vec<f64> = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
            Ok(values.iter().any(|v| v.is_sign_negative()))
        };
        match self.defect {
            D::DeadPhaseError => Ok(phase.clone()),
            D::NonZeroAtZero if zero && error.rank() == 0 => Ok((phase + 1e-6)?),
            D::NonZeroAtMinusZero if zero && sign(error)? => Ok((phase + 1e-6)?),
            D::SharedDeviationIgnored if error.rank() == 0 => Ok(phase.clone()),
            D::NanDeviationVanishes
                if !error.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?.is_finite() =>
            {
                Ok(phase.clone())
            }
            D::NoGradientOfDeviation => {
                Deviations::none().with("phase_error", error.detach()).shift("phase_error", phase)
            }
            _ => deviations.shift("phase_error", phase),
        }
    }
}

/// A tensor with the value of `x` and `factor` times its gradient.
/// The largest element.
fn largest(x: &Tensor) -> Result<f64> {
    let values = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(values.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

fn scale_gradient(x: &Tensor, factor: f64) -> Result<Tensor> {
    let passing = (x * factor)?;
    &passing + (x - &passing)?.detach()
}

impl PhysicalLayer for Modulators {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let seed = if self.defect == D::InitNotSeeded { seed.index(calls.into()) } else { *seed };
        let mut shape = vec![OUTPUTS, INPUTS];
        let mut high = 3.0;
        match self.defect {
            D::InitPanics => panic!("no settings"),
            D::InitOfWrongShape => shape.reverse(),
            D::InitOutsideBounds => high = 30.0,
            _ => {}
        }
        let uniform = rand_distr::Uniform::new(0.1, high).unwrap();
        let phase = seed.child("phase").tensor(uniform, &shape, dtype)?;
        let mut controls = vec![("phase".to_owned(), phase.clone())];
        if self.defect == D::InitWithExtraControl {
            controls.push(("extra".to_owned(), phase));
        }
        Ok(controls.into_iter().collect())
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        self.check(deviations)?;
        if self.defect == D::WrongInputPanics {
            assert_eq!(x.dims()[1], INPUTS);
        }
        if x.rank() != 2 || x.dtype() == DType::U32 {
            return Err(Error::shape("light", x, format!("(batch, {INPUTS})")));
        }
        let nan = || -> Result<bool> {
            Ok(x.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?.is_nan())
        };
        if self.defect == D::NanPanics {
            assert!(!nan()?, "NaN");
        }
        let initial = self.phase(controls)?;
        let mut phase = self.shifted(&initial, deviations)?;
        let mut x = x.clone();
        match self.defect {
            D::NoGradientOfControl => phase = phase.detach(),
            D::NoGradientOfInput => x = x.detach(),
            D::HalfGradient => phase = scale_gradient(&phase, 0.5)?,
            D::WrongGradientOfOneElement => {
                let row = phase.narrow(0, 1, 1)?;
                let (a, b) = (row.narrow(1, 0, 2)?, row.narrow(1, 2, 1)?.detach());
                phase = Tensor::cat(&[&phase.narrow(0, 0, 1)?, &Tensor::cat(&[&a, &b], 1)?], 0)?;
            }
            // Right where training starts, wrong elsewhere.
            D::WrongGradientOffInitial => {
                let largest = largest(&initial)?;
                if largest > 3.0 + 1e-4 {
                    phase = phase.detach();
                }
            }
            D::BackwardDependsOnThreads => {
                let factor = 1.0 + 1e-3 * rayon::current_thread_index().map_or(0.0, |_| 1.0);
                phase = scale_gradient(&phase, factor)?;
            }
            D::NanVanishes if nan()? => x = x.zeros_like()?,
            D::BatchCoupled => x = (&x - x.mean(0)?)?,
            _ => {}
        }
        let mut y = ops::linear(&x, &phase.cos()?)?;
        if self.defect == D::WrongDeviationAccepted {
            // Takes the first rows of whatever it is given.
            if let Some(error) = deviations.get("readout_error") {
                let rows = error.dim(0)?.min(y.dim(0)?);
                let error = error.narrow(0, 0, rows)?.to_dtype(y.dtype())?;
                y = (y + &error)?;
            }
        } else if self.defect != D::DeadReadout {
            y = deviations.shift("readout_error", &y)?;
        }
        let at = |bound: f64| -> Result<bool> {
            let phase = initial.to_dtype(DType::F64)?;
            Ok(largest(&(phase - bound)?.abs()?)? == 0.0)
        };
        Ok(match self.defect {
            D::BatchLost => y.t()?,
            D::InfiniteOutput => (y * f64::INFINITY)?,
            D::WrongDtype => y.to_dtype(DType::F32)?,
            D::Drifting => (y + f64::from(calls) * 1e-3)?,
            D::DependsOnThreads => (y + rayon::current_num_threads() as f64 * 1e-3)?,
            D::LossOfPrecision => ((y + 1e5)? - 1e5)?,
            D::InfiniteAtLowerBound if at(0.0)? => (y / 0.0)?,
            D::InfiniteAtUpperBound if at(TAU)? => (y / 0.0)?,
            D::Gain => (y * 10.0)?,
            D::GainOffInitial => {
                let largest = largest(&initial)?;
                if largest > 3.0 { (y * 10.0)? } else { y }
            }
            _ => y,
        })
    }

    fn passivity(&self) -> Passivity {
        Passivity::Incoherent
    }
}

fn light() -> Tensor {
    Seed::new(5).tensor(rand_distr::StandardUniform, &[4, INPUTS], DType::F64).unwrap()
}

#[track_caller]
fn rejects(defect: Defect, check: Check) {
    let error = conformance(&Modulators::new(defect), &light(), &Seed::new(2)).unwrap_err();
    assert_eq!(error.check, check, "{defect:?}: {error}");
}

#[test]
fn a_correct_device_passes() {
    for seed in 0..5 {
        conformance(&Modulators::new(D::Nothing), &light(), &Seed::new(seed)).unwrap();
    }
}

#[test]
fn digital_layers_pass() {
    let linear = Digital::new(Product::Linear { inputs: 3, outputs: 2 }, Bounds::UNBOUNDED);
    conformance(&linear, &light(), &Seed::new(1)).unwrap();
    let geometry = ConvGeometry { stride: 2, padding: 1 };
    let product = Product::Conv2d { channels: 2, outputs: 3, kernel: 3, geometry };
    let conv = Digital::new(product, Bounds::new(-1.0, 1.0).unwrap());
    let x = Seed::new(4).tensor(rand_distr::StandardNormal, &[2, 2, 5, 4], DType::F64).unwrap();
    conformance(&conv, &x, &Seed::new(1)).unwrap();
}

#[test]
fn an_unsuitable_input_is_an_error() {
    let device = Modulators::new(D::Nothing);
    let single = light().narrow(0, 0, 1).unwrap();
    let narrow = light().to_dtype(DType::F32).unwrap();
    for input in [single, narrow, light().flatten_all().unwrap()] {
        let error = conformance(&device, &input, &Seed::new(1)).unwrap_err();
        assert_eq!(error.check, Check::Output);
    }
}

#[test]
fn wrong_settings_are_found() {
    rejects(D::InitOutsideBounds, Check::Settings);
    rejects(D::InitOfWrongShape, Check::Settings);
    rejects(D::InitNotSeeded, Check::Settings);
    rejects(D::InitWithExtraControl, Check::Settings);
    rejects(D::InitPanics, Check::Settings);
    rejects(D::TwoPortsOfOneName, Check::Settings);
    rejects(D::NoUnit, Check::Settings);
}

#[test]
fn wrong_outputs_are_found() {
    rejects(D::BatchLost, Check::Output);
    rejects(D::InfiniteOutput, Check::Output);
    rejects(D::WrongDtype, Check::Output);
}

#[test]
fn randomness_is_found() {
    rejects(D::Drifting, Check::Determinism);
    rejects(D::DependsOnThreads, Check::Determinism);
    rejects(D::BackwardDependsOnThreads, Check::Determinism);
}

#[test]
fn loss_of_precision_and_coupled_batches_are_found() {
    rejects(D::LossOfPrecision, Check::Precision);
    rejects(D::BatchCoupled, Check::Batch);
}

#[test]
fn wrong_deviations_are_found() {
    rejects(D::NonZeroAtZero, Check::ZeroDeviation);
    rejects(D::NonZeroAtMinusZero, Check::ZeroDeviation);
    rejects(D::DeadReadout, Check::DeadPort);
    rejects(D::DeadPhaseError, Check::DeadPort);
    rejects(D::SharedDeviationIgnored, Check::Broadcast);
    rejects(D::UnknownPortAccepted, Check::WrongDeviation);
    rejects(D::WrongDeviationAccepted, Check::WrongDeviation);
    rejects(D::WrongDeviationPanics, Check::WrongDeviation);
}

#[test]
fn careless_input_handling_is_found() {
    rejects(D::MissingControlPanics, Check::WrongInput);
    rejects(D::WrongControlAccepted, Check::WrongInput);
    rejects(D::WrongInputPanics, Check::WrongInput);
    rejects(D::NanPanics, Check::NotANumber);
    rejects(D::NanVanishes, Check::NotANumber);
    rejects(D::NanDeviationVanishes, Check::NotANumber);
    rejects(D::InfiniteAtLowerBound, Check::Bounds);
    rejects(D::InfiniteAtUpperBound, Check::Bounds);
}

#[test]
fn wrong_gradients_are_found() {
    rejects(D::NoGradientOfInput, Check::Gradient);
    rejects(D::NoGradientOfControl, Check::Gradient);
    rejects(D::NoGradientOfDeviation, Check::Gradient);
    rejects(D::HalfGradient, Check::Gradient);
    rejects(D::WrongGradientOfOneElement, Check::Gradient);
    rejects(D::WrongGradientOffInitial, Check::Gradient);
}

#[test]
fn gain_is_found() {
    rejects(D::Gain, Check::Passivity);
    rejects(D::GainOffInitial, Check::Passivity);
}

/// A lossless rotation of two fields, times `gain`.
struct Rotation {
    gain: f64,
    controls: [Control; 1],
}

impl Rotation {
    fn new(gain: f64) -> Self {
        let bounds = Bounds::UNBOUNDED;
        Self { gain, controls: [Control { name: "angle", unit: "rad", bounds, shape: vec![1] }] }
    }
}

impl PhysicalLayer for Rotation {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &[]
    }

    fn init(&self, _: &Seed, dtype: DType) -> Result<Controls> {
        let angle = Tensor::new([0.3])?.to_dtype(dtype)?;
        Ok(Controls::one("angle", angle))
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(self.ports())?;
        let angle = controls.get("angle")?;
        if angle.dims() != [1] {
            return Err(Error::shape("angle", angle, "(1)"));
        }
        let (c, s) = (angle.cos()?, angle.sin()?);
        let matrix = Tensor::cat(&[&c, &s, &(-&s)?, &c], 0)?.reshape((2, 2))?;
        ops::linear(x, &matrix)? * self.gain
    }

    fn passivity(&self) -> Passivity {
        Passivity::Coherent
    }
}

#[test]
fn the_energy_of_fields_is_checked() {
    let x = Seed::new(6).tensor(rand_distr::StandardNormal, &[3, 2], DType::F64).unwrap();
    conformance(&Rotation::new(1.0), &x, &Seed::new(1)).unwrap();
    conformance(&Rotation::new(0.9), &x, &Seed::new(1)).unwrap();
    let error = conformance(&Rotation::new(1.0 + 1e-6), &x, &Seed::new(1)).unwrap_err();
    assert_eq!(error.check, Check::Passivity, "{error}");
}
