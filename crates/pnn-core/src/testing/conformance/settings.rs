//! Specs, initial settings and settings at the bounds.

use std::collections::BTreeSet;

use super::{Check, Outcome, Subject, is_finite};
use crate::device::{Bounds, Controls, Deviations, PhysicalLayer};
use crate::testing::tolerance::{check_same_bits, values};
use crate::{DType, Seed, Tensor};

/// The initial settings in f64, after every check on them and on the specs.
pub(super) fn initial(device: &dyn PhysicalLayer, seed: &Seed) -> Outcome<Controls> {
    let check = Check::Settings;
    let controls = device.controls().iter().map(|c| ("control", c.name, c.unit));
    let ports = device.ports().iter().map(|p| ("port", p.name, p.unit));
    let mut names = BTreeSet::new();
    for (kind, name, unit) in controls.chain(ports) {
        if name.is_empty() || unit.is_empty() {
            let reason = format!("{kind} {name:?} needs a name and a unit (`1` for none)");
            return check.failed(reason);
        }
        if !names.insert((kind, name)) {
            return check.failed(format_args!("two {kind}s named {name:?}"));
        }
    }
    for dtype in [DType::F32, DType::F64] {
        let draw = || {
            let doing = format!("init in {dtype:?}");
            check.ok(check.no_panic(&doing, || device.init(seed, dtype))?, &doing)
        };
        let (controls, again) = (draw()?, draw()?);
        if controls.iter().count() != device.controls().len() {
            let given: Vec<&str> = controls.iter().map(|(name, _)| name).collect();
            let spec: Vec<&str> = device.controls().iter().map(|c| c.name).collect();
            return check.failed(format_args!("init gives {given:?}, the spec has {spec:?}"));
        }
        for control in device.controls() {
            let name = control.name;
            if Bounds::new(control.bounds.low, control.bounds.high).is_err() {
                return check.failed(format_args!("{name}: bounds {:?}", control.bounds));
            }
            let value = check.ok(controls.get(name), "init")?;
            if value.dims() != control.shape || value.dtype() != dtype {
                let (dims, got) = (value.dims(), value.dtype());
                let want = &control.shape;
                return check.failed(format_args!(
                    "init gives {name} as {dims:?} of {got:?}, not {want:?} of {dtype:?}"
                ));
            }
            let same = check_same_bits(check.ok(again.get(name), "init")?, value);
            check.ok(same, &format!("init of {name} twice with one seed"))?;
            let elements = check.ok(values(value), name)?;
            // In f32 a setting at a bound is at the bound rounded to f32.
            let round = |b: f64| {
                if dtype == DType::F32 { f64::from(b as f32) } else { b }
            };
            let (low, high) = (round(control.bounds.low), round(control.bounds.high));
            let outside = elements.iter().find(|v| !v.is_finite() || !(low..=high).contains(*v));
            if let Some(outside) = outside {
                let bounds = control.bounds;
                return check
                    .failed(format_args!("init gives {name} = {outside}, bounds {bounds:?}"));
            }
        }
        if dtype == DType::F64 {
            return Ok(controls);
        }
    }
    check.failed("no settings")
}

/// Controls at each of their finite bounds give finite output.
pub(super) fn bounds(subject: &Subject<'_>) -> Outcome {
    let check = Check::Bounds;
    for (side, low) in [("lower", true), ("upper", false)] {
        let mut controls = Vec::new();
        for control in subject.device.controls() {
            let bound = if low { control.bounds.low } else { control.bounds.high };
            let value = if bound.is_finite() {
                let shape = control.shape.as_slice();
                check.ok(Tensor::full(bound, shape), control.name)?
            } else {
                check.ok(subject.controls.get(control.name), control.name)?.clone()
            };
            controls.push((control.name.to_owned(), value));
        }
        let controls = controls.into_iter().collect();
        let doing = format!("controls at the {side} bound");
        let y = subject.run(check, &doing, subject.input, &controls, &Deviations::none())?;
        if !is_finite(check, &y)? {
            return check.failed(format_args!("{doing}: output is not finite"));
        }
    }
    Ok(())
}
