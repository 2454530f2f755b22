//! Gradients and energy.

use super::{Check, Outcome, Subject};
use crate::device::{Controls, Deviations, Passivity};
use crate::testing::gradient::check_gradients;
use crate::testing::tolerance::values;
use crate::{DType, Tensor};

/// Fraction of a control's range, at each side, in which no gradient is checked: there a finite
/// difference could step over the bound.
const MARGIN: f64 = 0.02;

pub(super) fn gradients(subject: &Subject<'_>) -> Outcome {
    let check = Check::Gradient;
    let all = subject.all_deviations(check)?;
    at(subject, "initial settings, ideal", &subject.controls, &Deviations::none())?;
    at(subject, "initial settings, all ports", &subject.controls, &all)?;
    let drawn = subject.drawn(check, 0, MARGIN)?;
    at(subject, "random settings, all ports", &drawn, &all)
}

fn at(subject: &Subject<'_>, doing: &str, controls: &Controls, deviations: &Deviations) -> Outcome {
    let check = Check::Gradient;
    let mut names = vec!["the batch".to_owned()];
    let mut inputs = vec![subject.input.clone()];
    for (name, value) in controls.iter() {
        names.push(format!("control {name}"));
        inputs.push(value.clone());
    }
    for (name, value) in deviations.iter() {
        names.push(format!("deviation {name}"));
        inputs.push(value.clone());
    }
    let forward = |t: &[Tensor]| {
        let (x, rest) = (&t[0], &t[1..]);
        let (of_controls, of_deviations) = rest.split_at(controls.iter().count());
        let controls =
            controls.iter().zip(of_controls).map(|((name, _), v)| (name.to_owned(), v.clone()));
        let given = deviations.iter().zip(of_deviations);
        let deviations =
            given.fold(Deviations::none(), |all, ((name, _), v)| all.with(name, v.clone()));
        subject.device.forward(x, &controls.collect(), &deviations)
    };
    let gradient = &subject.options.gradient;
    let result = check.no_panic(doing, || check_gradients(&inputs, forward, gradient))?;
    let inputs: Vec<String> = names.iter().enumerate().map(|(i, n)| format!("{i}: {n}")).collect();
    check.ok(result, &format!("{doing} (input {})", inputs.join(", ")))
}

/// Sums of n terms are off by at most n eps of the sum of magnitudes, and so is each of the
/// layers that light passes: 1e-9 covers 4e6 roundings in a row.
const ROUNDING: f64 = 1e-9;

pub(super) fn passivity(subject: &Subject<'_>) -> Outcome {
    let check = Check::Passivity;
    let claim = subject.device.passivity();
    if claim == Passivity::None {
        return Ok(());
    }
    for draw in 0..=subject.options.draws {
        let (doing, controls) = match draw {
            0 => ("initial settings".to_owned(), subject.controls.clone()),
            _ => (format!("random settings {draw}"), subject.drawn(check, draw, 0.0)?),
        };
        let seed = subject.seed.child("light").index(draw as u64);
        let normal = rand_distr::StandardNormal;
        let x = check.ok(seed.tensor(normal, subject.input.dims(), DType::F64), &doing)?;
        // Powers are not negative.
        let x = if claim == Passivity::Incoherent { check.ok(x.abs(), &doing)? } else { x };
        let y = subject.run(check, &doing, &x, &controls, &Deviations::none())?;
        let (x, y) = (check.ok(values(&x), &doing)?, check.ok(values(&y), &doing)?);
        let batch = subject.input.dims()[0];
        let samples = x.chunks(x.len() / batch).zip(y.chunks(y.len() / batch));
        for (sample, (x, y)) in samples.enumerate() {
            let energy = |field: &[f64]| field.iter().map(|v| v * v).sum::<f64>();
            let (law, out, limit) = match claim {
                Passivity::Coherent => ("sum |y|^2 <= sum |x|^2", energy(y), energy(x)),
                _ => {
                    let strongest = y.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                    ("|y_k| <= sum |x_i|", strongest, x.iter().map(|v| v.abs()).sum())
                }
            };
            // Not `>`: NaN must fail.
            let within = out <= limit * (1.0 + ROUNDING);
            if !within {
                return check.failed(format_args!(
                    "{doing}, sample {sample}: {law} is claimed, but {out:e} > {limit:e}"
                ));
            }
        }
    }
    Ok(())
}
