//! What a user may get wrong: controls, inputs, NaN.

use super::{Check, Outcome, Subject, is_finite};
use crate::device::{Controls, Deviations};
use crate::{DType, Tensor};

pub(super) fn check(subject: &Subject<'_>) -> Outcome {
    controls(subject)?;
    inputs(subject)?;
    not_a_number(subject)
}

/// The controls with one of them replaced or left out.
fn replaced(controls: &Controls, name: &str, value: Option<Tensor>) -> Controls {
    let rest = controls.iter().filter(|(n, _)| *n != name).map(|(n, v)| (n.to_owned(), v.clone()));
    rest.chain(value.map(|v| (name.to_owned(), v))).collect()
}

fn controls(subject: &Subject<'_>) -> Outcome {
    let check = Check::WrongInput;
    for control in subject.device.controls() {
        let name = control.name;
        let refuse = |doing: &str, value: Option<Tensor>| {
            let controls = replaced(&subject.controls, name, value);
            let ideal = Deviations::none();
            match subject.attempt(check, doing, subject.input, &controls, &ideal)? {
                Err(_) => Ok(()),
                Ok(_) => check.failed(format_args!("{doing} is accepted")),
            }
        };
        refuse(&format!("no control {name}"), None)?;
        let mut shapes = vec![[&[2], control.shape.as_slice()].concat()];
        for i in 0..control.shape.len() {
            let mut longer = control.shape.clone();
            longer[i] += 1;
            shapes.push(longer);
        }
        for shape in shapes {
            let value = Tensor::zeros(shape.as_slice(), DType::F64);
            let doing = format!("control {name} of {shape:?}, not {:?},", control.shape);
            refuse(&doing, Some(check.ok(value, name)?))?;
        }
    }
    Ok(())
}

/// Inputs of other shapes may be refused or run, but nothing panics.
fn inputs(subject: &Subject<'_>) -> Outcome {
    let check = Check::WrongInput;
    let dims = subject.input.dims();
    let mut shapes = vec![vec![], vec![0], dims[1..].to_vec(), [dims, &[1]].concat()];
    for i in 0..dims.len() {
        for size in [0, dims[i] - 1, dims[i] + 1] {
            let mut shape = dims.to_vec();
            shape[i] = size;
            shapes.push(shape);
        }
    }
    for shape in shapes {
        for dtype in [DType::F32, DType::F64, DType::U32] {
            let doing = format!("input of {shape:?} of {dtype:?}");
            let x = check.ok(Tensor::zeros(shape.as_slice(), dtype), &doing)?;
            let _ = subject.attempt(check, &doing, &x, &subject.controls, &Deviations::none())?;
        }
    }
    Ok(())
}

fn not_a_number(subject: &Subject<'_>) -> Outcome {
    let check = Check::NotANumber;
    let nan = |shape: &[usize]| check.ok(Tensor::full(f64::NAN, shape), "NaN");
    let must_show =
        |doing: &str, x: &Tensor, controls: &Controls, deviations: &Deviations| match subject
            .attempt(check, doing, x, controls, deviations)?
        {
            Ok(y) if is_finite(check, &y)? => {
                check.failed(format_args!("{doing} gives an output that is finite"))
            }
            _ => Ok(()),
        };
    let (x, ideal) = (subject.input, Deviations::none());
    must_show("NaN as input", &nan(x.dims())?, &subject.controls, &ideal)?;
    for control in subject.device.controls() {
        let controls = replaced(&subject.controls, control.name, Some(nan(&control.shape)?));
        must_show(&format!("NaN as control {}", control.name), x, &controls, &ideal)?;
    }
    for port in subject.device.ports() {
        let deviations = Deviations::none().with(port.name, nan(&subject.full(&port.shape))?);
        let doing = format!("NaN as deviation {}", port.name);
        must_show(&doing, x, &subject.controls, &deviations)?;
    }
    Ok(())
}
