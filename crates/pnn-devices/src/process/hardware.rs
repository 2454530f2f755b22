//! An instrument behind a process.

use pnn_core::device::{Bounds, Controls, Hardware, PhysicalLayer, PortShape};
use pnn_core::{DType, Tensor};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::child::Process;
use super::config::ProcessConfig;
use super::frame::Kind;
use super::message::Message;
use crate::{Error, Result};

/// What the instrument says of one control.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    unit: String,
    /// None if there is no limit.
    low: Option<f64>,
    high: Option<f64>,
    shape: Vec<usize>,
}

/// A control of the device.
#[derive(Debug, Clone)]
struct Setting {
    name: &'static str,
    unit: &'static str,
    /// Those of the device alone.
    own: Bounds,
    /// Those of both, the device and the instrument that runs now.
    agreed: Bounds,
    shape: Vec<usize>,
}

/// Hardware behind a child process. At the start the process says what can be set on it, with units and bounds, which must be
/// the controls of the device that it stands for; what it then gets never leaves the bounds of either. A process that was started
/// again may have other bounds than the one before: what it gets lies within its own.
///
/// A program that starts others (`sh -c`, `conda run`) is ended with all of them where the system has groups of processes (unix),
/// elsewhere alone. It is not in the group of this process: a Ctrl-C in the terminal does not reach it, the end of its input does.
///
/// A measurement is a function of its settings, its inputs and nothing else: a process that fails, hangs or sends what cannot be is
/// killed, started again and asked again. With each measurement goes a number made of these (`shot`), so that a simulated
/// instrument draws the same noise when it is asked again, and training that was killed goes on to the same bits.
pub struct ProcessHardware {
    layer: String,
    config: ProcessConfig,
    settings: Vec<Setting>,
    /// What is read for one sample, if the device says so; 1 stands for any number of positions.
    outputs: Option<Vec<usize>>,
    process: Option<Process>,
    instrument: String,
    asked: u64,
}

impl ProcessHardware {
    /// Starts the process for the layer called `layer`, a `device`.
    ///
    /// # Errors
    /// If a limit is out of range, the process cannot be started or does not say what it is, or its controls are not those of
    /// the device.
    pub fn new(
        layer: impl Into<String>,
        device: &dyn PhysicalLayer,
        config: ProcessConfig,
    ) -> Result<Self> {
        config.check()?;
        let setting = |control: &pnn_core::Control| Setting {
            name: control.name,
            unit: control.unit,
            own: control.bounds,
            agreed: control.bounds,
            shape: control.shape.clone(),
        };
        let outputs = device.ports().iter().find_map(|port| match &port.shape {
            PortShape::Output(dims) => Some(dims.clone()),
            PortShape::Fixed(_) => None,
        });
        let mut hardware = Self {
            layer: layer.into(),
            config,
            settings: device.controls().iter().map(setting).collect(),
            outputs,
            process: None,
            instrument: String::new(),
            asked: 0,
        };
        hardware.start().map_err(|reason| hardware.failed(reason))?;
        Ok(hardware)
    }

    /// What the instrument calls itself.
    #[must_use]
    pub fn instrument(&self) -> &str {
        &self.instrument
    }

    /// The bounds within which a control is set, in its unit: those of the device and of the instrument that runs together.
    #[must_use]
    pub fn bounds(&self, control: &str) -> Option<Bounds> {
        self.settings.iter().find(|s| s.name == control).map(|s| s.agreed)
    }

    /// The number that the system knows the process by, if it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    fn failed(&self, reason: String) -> Error {
        Error::Instrument { layer: self.layer.clone(), reason }
    }

    /// With what the process said last, for the reader of an error.
    fn quoted(&self, reason: String) -> String {
        match self.process.as_ref().map(Process::said).filter(|said| !said.is_empty()) {
            Some(said) => format!("{reason}; it said:\n{said}"),
            None => reason,
        }
    }

    /// Starts the process and shakes hands, or says what went wrong.
    fn start(&mut self) -> Result<(), String> {
        // The old one first: an instrument has one master.
        self.process = None;
        self.process = Some(Process::start(&self.config)?);
        let hello = Message::default().with("layer", self.layer.clone());
        let described = self
            .ask(Kind::Hello, Kind::Described, hello, self.config.handshake_timeout_s)
            .and_then(|described| self.agree(&described));
        described.map_err(|reason| {
            let reason = self.quoted(reason);
            self.process = None;
            reason
        })
    }

    /// Whether the instrument is what the device is. Where it is not, nothing has changed.
    fn agree(&mut self, described: &Message) -> Result<(), String> {
        let instrument = described.word("instrument")?.to_owned();
        let controls: Vec<Described> = serde_json::from_str(described.word("controls")?)
            .map_err(|e| format!("described its controls in a way that cannot be read: {e}"))?;
        let known: Vec<&str> = controls.iter().map(|control| control.name.as_str()).collect();
        if let Some(more) =
            known.iter().find(|name| !self.settings.iter().any(|s| s.name == **name))
        {
            let own: Vec<&str> = self.settings.iter().map(|setting| setting.name).collect();
            return Err(format!("has a control {more:?}, but the device has {}", own.join(", ")));
        }
        let mut agreed = Vec::with_capacity(self.settings.len());
        for setting in &self.settings {
            let name = setting.name;
            let Some(other) = controls.iter().find(|control| control.name == name) else {
                return Err(format!("has no control {name:?}; it has {}", known.join(", ")));
            };
            if other.unit != setting.unit {
                return Err(format!(
                    "has control {name:?} in {}, but the device has it in {}",
                    other.unit, setting.unit
                ));
            }
            if other.shape != setting.shape {
                return Err(format!(
                    "has {:?} values of control {name:?}, but the device has {:?}",
                    other.shape, setting.shape
                ));
            }
            let low = setting.own.low.max(other.low.unwrap_or(f64::NEG_INFINITY));
            let high = setting.own.high.min(other.high.unwrap_or(f64::INFINITY));
            let Ok(bounds) = Bounds::new(low, high) else {
                let limit = |value: Option<f64>| value.map_or("no limit".into(), |v| v.to_string());
                return Err(format!(
                    "takes {name:?} from {} to {} {}, and the device from {} to {}: there is nothing that both take",
                    limit(other.low),
                    limit(other.high),
                    setting.unit,
                    setting.own.low,
                    setting.own.high
                ));
            };
            agreed.push(bounds);
        }
        self.instrument = instrument;
        for (setting, bounds) in self.settings.iter_mut().zip(agreed) {
            setting.agreed = bounds;
        }
        Ok(())
    }

    /// Asks and waits for an answer of the kind that is wanted, or says why there is none.
    fn ask(
        &mut self,
        kind: Kind,
        wanted: Kind,
        message: Message,
        timeout_s: f64,
    ) -> Result<Message, String> {
        self.asked += 1;
        let id = self.asked.to_string();
        let payload = message.with("id", id.clone()).encoded().map_err(|e| e.to_string())?;
        let process = self.process.as_mut().ok_or("is not running")?;
        let (got, payload) = process.ask(kind, payload, timeout_s)?;
        let answer = Message::decoded(&payload)?;
        let of = answer.word("id")?;
        if of != id {
            return Err(format!("answered question {of:?}, asked was {id:?}"));
        }
        match got {
            Kind::Failed => Err(format!("says: {}", answer.word("message")?)),
            got if got == wanted => Ok(answer),
            got => Err(format!("sent {got:?}, wanted was {wanted:?}")),
        }
    }

    /// The controls by name, of the right shape and finite.
    fn checked(&self, controls: &Controls) -> pnn_core::Result<Vec<Tensor>> {
        let checked = |setting: &Setting| {
            let value = controls.get(setting.name)?.detach();
            if value.dims() != setting.shape.as_slice() {
                let want = format!("{:?}", setting.shape);
                return Err(pnn_core::Error::shape(setting.name, &value, want));
            }
            if !value.all_finite()? {
                return Err(pnn_core::Error::NotFinite {
                    what: format!("a setting of control {}", setting.name),
                    value: f64::NAN,
                    layer: self.layer.clone(),
                });
            }
            Ok(value)
        };
        self.settings.iter().map(checked).collect()
    }

    /// The settings as they are sent: within the bounds that the instrument which runs has agreed to.
    fn bounded(&self, checked: &[Tensor]) -> pnn_core::Result<Vec<(String, Tensor)>> {
        let bounded = |(setting, value): (&Setting, &Tensor)| {
            let Bounds { low, high } = setting.agreed;
            let bounded = setting.agreed.is_bounded();
            let value = if bounded { value.clamp(low, high)? } else { value.clone() };
            Ok((format!("control.{}", setting.name), value))
        };
        self.settings.iter().zip(checked).map(bounded).collect()
    }

    /// Sees to it that a process runs, or says why none does.
    fn ready(&mut self) -> Result<(), String> {
        if self.process.is_some() { Ok(()) } else { self.start() }
    }

    /// What the instrument read, or what is wrong with it.
    fn read(
        &mut self,
        x: &Tensor,
        settings: &[(String, Tensor)],
        shot: &str,
    ) -> Result<Tensor, String> {
        let mut message = Message::default().with("shot", shot).with_tensor("x", x);
        for (name, value) in settings {
            message = message.with_tensor(name.clone(), value);
        }
        let answer =
            self.ask(Kind::Measure, Kind::Measured, message, self.config.measure_timeout_s)?;
        let Some(y) = answer.tensors.get("y") else {
            return Err("left out the tensor \"y\" in its answer".into());
        };
        self.fits(y.dims(), x.dims().first().copied().unwrap_or_default())?;
        if !y.all_finite().map_err(|e| e.to_string())? {
            return Err("sent readings that are not finite".into());
        }
        y.to_dtype(x.dtype()).map_err(|e| e.to_string())
    }

    /// Whether readings have the shape of what the device puts out, or what is wrong with it. The rest is the model's to check:
    /// where outputs have positions (convolutions) their number, and of devices that do not say what they put out all but the batch.
    fn fits(&self, found: &[usize], batch: usize) -> Result<(), String> {
        let outputs = self.outputs.as_deref();
        let fits = outputs.is_none_or(|outputs| {
            let place = |(place, (want, found)): (usize, (&usize, &usize))| {
                want == found || (place > 0 && *want == 1)
            };
            found.len() == outputs.len() + 1
                && outputs.iter().zip(&found[1..]).enumerate().all(place)
        });
        if found.len() >= 2 && found[0] == batch && fits {
            return Ok(());
        }
        let rest = outputs.map_or(vec!["...".to_owned()], |outputs| {
            let place = |(place, want): (usize, &usize)| match want {
                1 if place > 0 => "any".to_owned(),
                want => want.to_string(),
            };
            outputs.iter().enumerate().map(place).collect()
        });
        Err(format!(
            "({:?}) sent readings of shape {found:?}, expected is [{batch}, {}]: the batch, then the outputs of the device",
            self.instrument,
            rest.join(", ")
        ))
    }
}

impl Hardware for ProcessHardware {
    fn measure(&mut self, x: &Tensor, controls: &Controls) -> pnn_core::Result<Tensor> {
        let controls = self.checked(controls)?;
        let mut tries = 0;
        loop {
            let tried = match self.ready() {
                Ok(()) => {
                    // Of each try, as a new process may have other bounds.
                    let settings = self.bounded(&controls)?;
                    let shot = shot(x, &settings)?;
                    self.read(x, &settings, &shot)
                }
                Err(reason) => Err(reason),
            };
            match tried {
                Ok(y) => return Ok(y),
                Err(reason) => {
                    let reason = self.quoted(reason);
                    // What it may still send belongs to a question that is over.
                    self.process = None;
                    if tries == self.config.retries {
                        let times = if tries == 0 {
                            String::new()
                        } else {
                            format!(" (tried {} times)", tries + 1)
                        };
                        return Err(self.failed(format!("{reason}{times}")).into());
                    }
                    tries += 1;
                }
            }
        }
    }
}

/// A number made of inputs and settings, in hexadecimal: the same for the same question.
fn shot(x: &Tensor, settings: &[(String, Tensor)]) -> pnn_core::Result<String> {
    let mut hash = Sha256::new();
    let inputs = std::iter::once(x).chain(settings.iter().map(|(_, value)| value));
    for tensor in inputs {
        hash.update(format!("{:?}", tensor.dims()));
        let wide = tensor.to_dtype(DType::F64)?;
        wide.elements::<f64>()?.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}
