//! Deviations: zero ones, dead ports, broadcasting, wrong ones.

use super::{Check, Outcome, Subject, cast, cast_controls, cast_deviations};
use crate::device::{Deviations, PortShape};
use crate::testing::tolerance::{check_close, check_same_bits, values};
use crate::{DType, Tensor};

pub(super) fn check(subject: &Subject<'_>) -> Outcome {
    zero(subject)?;
    dead(subject)?;
    broadcast(subject)?;
    wrong(subject)
}

fn full(check: Check, value: f64, shape: &[usize]) -> Outcome<Tensor> {
    check.ok(Tensor::full(value, shape), "deviation")
}

/// A shape of one element that broadcasts to that of the port.
fn shared(shape: &PortShape) -> Vec<usize> {
    match shape {
        PortShape::Fixed(_) => vec![],
        PortShape::Output(dims) => vec![1; dims.len() + 1],
    }
}

fn zero(subject: &Subject<'_>) -> Outcome {
    let check = Check::ZeroDeviation;
    for dtype in [DType::F32, DType::F64] {
        let x = cast(check, subject.input, dtype)?;
        let controls = cast_controls(check, &subject.controls, dtype)?;
        let run = |doing: &str, deviations: &Deviations| {
            let deviations = cast_deviations(check, deviations, dtype)?;
            subject.run(check, doing, &x, &controls, &deviations)
        };
        let ideal = run("ideal device", &Deviations::none())?;
        let mut all = Deviations::none();
        for port in subject.device.ports() {
            for zero in [0.0, -0.0] {
                for shape in [subject.full(&port.shape), shared(&port.shape)] {
                    let doing = format!("{} = {zero:?} of {shape:?} in {dtype:?}", port.name);
                    let value = full(check, zero, &shape)?;
                    let y = run(&doing, &Deviations::none().with(port.name, value))?;
                    check.ok(check_same_bits(&y, &ideal), &doing)?;
                }
            }
            all = all.with(port.name, full(check, 0.0, &subject.full(&port.shape))?);
        }
        check.ok(check_same_bits(&run("all zero", &all)?, &ideal), "all ports zero")?;
    }
    Ok(())
}

fn dead(subject: &Subject<'_>) -> Outcome {
    let check = Check::DeadPort;
    let ideal = check.ok(values(&subject.ideal(check)?), "ideal device")?;
    for port in subject.device.ports() {
        let value = subject.deviation(check, port.name, &port.shape)?;
        let deviations = Deviations::none().with(port.name, value);
        let y = subject.run(check, port.name, subject.input, &subject.controls, &deviations)?;
        if check.ok(values(&y), port.name)? == ideal {
            let scale = subject.options.deviation;
            let (name, unit) = (port.name, port.unit);
            return check.failed(format_args!(
                "port {name} does not change the output, at deviations of {scale} {unit}"
            ));
        }
    }
    Ok(())
}

fn broadcast(subject: &Subject<'_>) -> Outcome {
    let check = Check::Broadcast;
    for port in subject.device.ports() {
        let run = |shape: &[usize]| {
            let value = full(check, subject.options.deviation, shape)?;
            let doing = format!("{} of {shape:?}", port.name);
            let deviations = Deviations::none().with(port.name, value);
            subject.run(check, &doing, subject.input, &subject.controls, &deviations)
        };
        let want = run(&subject.full(&port.shape))?;
        let largest =
            check.ok(values(&want), port.name)?.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        // The same numbers enter, so only the order of sums may differ: see the check of batches.
        let close = check_close(&run(&shared(&port.shape))?, &want, 0.0, 1e-10 * largest);
        check.ok(close, &format!("{}: one value for all entries", port.name))?;
    }
    Ok(())
}

fn wrong(subject: &Subject<'_>) -> Outcome {
    let check = Check::WrongDeviation;
    let refuse = |doing: &str, port: &str, value: Tensor| {
        let deviations = Deviations::none().with(port, value);
        match subject.attempt(check, doing, subject.input, &subject.controls, &deviations)? {
            Err(_) => Ok(()),
            Ok(_) => check.failed(format_args!("{doing} is accepted")),
        }
    };
    let unknown = "a port that no device has";
    refuse("an unknown port", unknown, full(check, 0.0, &[1])?)?;
    for port in subject.device.ports() {
        let dims = port.shape.dims();
        let own = subject.full(&port.shape);
        let mut shapes: Vec<Vec<usize>> = vec![[&[2, 3], dims].concat()];
        for i in 0..own.len() {
            let mut longer = own.clone();
            longer[i] += 1;
            shapes.push(longer);
        }
        for shape in shapes {
            for value in [0.0, subject.options.deviation] {
                // A batch of zeros of another length does no harm and cannot be told from a
                // deviation for another batch before it meets one.
                if value == 0.0 && matches!(port.shape, PortShape::Output(_)) {
                    continue;
                }
                let doing = format!("{} = {value} of {shape:?} (full: {own:?})", port.name);
                refuse(&doing, port.name, full(check, value, &shape)?)?;
            }
        }
    }
    Ok(())
}
