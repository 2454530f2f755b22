//! Shape, determinism, precision and batches.

use super::{Check, Outcome, Subject, cast, cast_controls, cast_deviations, is_finite};
use crate::device::{Controls, Deviations};
use crate::testing::tolerance::{check_close, check_same_bits, values};
use crate::{DType, Tensor, Var};

pub(super) fn check(subject: &Subject<'_>) -> Outcome {
    shape(subject)?;
    determinism(subject)?;
    weights_before(subject)?;
    precision(subject)?;
    rows(subject)
}

fn shape(subject: &Subject<'_>) -> Outcome {
    let check = Check::Output;
    let y = subject.ideal(check)?;
    let batch = subject.input.dims()[0];
    if y.dims().first() != Some(&batch) || y.elem_count() == 0 {
        let dims = y.dims();
        return check.failed(format_args!("shape {dims:?} for a batch of {batch}: it comes first"));
    }
    if y.dtype() != DType::F64 {
        return check.failed(format_args!("{:?} for an input of F64", y.dtype()));
    }
    if !is_finite(check, &y)? {
        return check.failed("the ideal device gives an output that is not finite");
    }
    for (what, present) in [
        ("weights", subject.device.weights(&subject.controls, &Deviations::none())),
        ("sensitivity", subject.device.sensitivity(&subject.controls)),
    ] {
        if let Some(tensor) = check.ok(present, what)?
            && !is_finite(check, &tensor)?
        {
            return check.failed(format_args!("{what} are not finite"));
        }
    }
    Ok(())
}

/// The output and all gradients of its sum of squares, in f32.
fn forward_and_backward(subject: &Subject<'_>) -> Outcome<Vec<Tensor>> {
    let (check, f32) = (Check::Determinism, DType::F32);
    let var = |tensor: &Tensor| -> Outcome<Var> {
        let tensor = cast(check, tensor, f32)?;
        Ok(Var::new(&tensor))
    };
    let mut vars = vec![var(subject.input)?];
    let mut controls = Vec::new();
    for (name, value) in subject.controls.iter() {
        let node = var(value)?;
        controls.push((name.to_owned(), node.tensor()));
        vars.push(node);
    }
    let controls: Controls = controls.into_iter().collect();
    let mut deviations = Deviations::none();
    for (name, value) in subject.all_deviations(check)?.iter() {
        let node = var(value)?;
        deviations = deviations.with(name, node.tensor());
        vars.push(node);
    }
    let y = subject.run(check, "all ports", &vars[0].tensor(), &controls, &deviations)?;
    let backward =
        check.no_panic("backward pass", || y.sqr().and_then(|y| y.sum_all()?.backward()))?;
    let store = check.ok(backward, "backward pass")?;
    let gradients = vars.iter().filter_map(|v| store.get(&v.tensor()).cloned());
    Ok([y.detach()].into_iter().chain(gradients).collect())
}

fn determinism(subject: &Subject<'_>) -> Outcome {
    let check = Check::Determinism;
    let first = forward_and_backward(subject)?;
    let compare = |again: Vec<Tensor>, doing: &str| -> Outcome {
        if again.len() != first.len() {
            return check.failed(format_args!("{doing}: another number of gradients"));
        }
        first
            .iter()
            .zip(&again)
            .try_for_each(|(want, got)| check.ok(check_same_bits(got, want), doing))
    };
    compare(forward_and_backward(subject)?, "second call")?;
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = check.ok(pool, "thread pool")?;
        let doing = format!("pool of {threads} threads");
        compare(pool.install(|| forward_and_backward(subject))?, &doing)?;
    }
    Ok(())
}

/// Weights that were computed before give the same bits.
fn weights_before(subject: &Subject<'_>) -> Outcome {
    let (check, all) = (Check::Determinism, subject.all_deviations(Check::Determinism)?);
    let (device, x) = (subject.device, subject.input);
    let Some(weights) = check.ok(device.weights(&subject.controls, &all), "weights")? else {
        return Ok(());
    };
    let doing = "forward_with its weights";
    let Some(y) = check.ok(device.forward_with(x, &weights, &all), doing)? else { return Ok(()) };
    let whole = subject.run(check, "all ports", x, &subject.controls, &all)?;
    check.ok(check_same_bits(&y, &whole), doing)
}

fn precision(subject: &Subject<'_>) -> Outcome {
    let (check, f32, f64) = (Check::Precision, DType::F32, DType::F64);
    let all = subject.all_deviations(check)?;
    for (doing, deviations) in [("ideal device", Deviations::none()), ("all ports", all)] {
        let x = cast(check, subject.input, f32)?;
        let controls = cast_controls(check, &subject.controls, f32)?;
        let narrow_deviations = cast_deviations(check, &deviations, f32)?;
        let narrow = subject.run(check, "f32", &x, &controls, &narrow_deviations)?;
        if narrow.dtype() != f32 {
            return check.failed(format_args!("{:?} for an input of F32", narrow.dtype()));
        }
        // The same numbers, computed in f64.
        let (x, controls) = (cast(check, &x, f64)?, cast_controls(check, &controls, f64)?);
        let wide = subject.run(check, "f64", &x, &controls, &deviations)?;
        let largest = largest(check, &wide)?;
        let close = check_close(&narrow, &wide, 0.0, subject.options.precision * largest);
        check.ok(close, &format!("f32 against f64, {doing}"))?;
    }
    Ok(())
}

fn largest(check: Check, tensor: &Tensor) -> Outcome<f64> {
    let values = check.ok(values(tensor), "reading the output")?;
    Ok(values.iter().fold(0.0, |m: f64, v| m.max(v.abs())))
}

/// Blocked products may sum one row in another order than a batch: at most n roundings of size
/// eps, so 1e-10 of the largest output holds for sums of up to 4e5 terms.
const ROUNDING: f64 = 1e-10;

fn rows(subject: &Subject<'_>) -> Outcome {
    let check = Check::Batch;
    let y = subject.ideal(check)?;
    let allowed = ROUNDING * largest(check, &y)?;
    for row in 0..subject.input.dims()[0] {
        let doing = format!("row {row} alone");
        let x = check.ok(subject.input.narrow(0, row, 1), &doing)?;
        let alone = subject.run(check, &doing, &x, &subject.controls, &Deviations::none())?;
        let in_batch = check.ok(y.narrow(0, row, 1), &doing)?;
        check.ok(check_close(&alone, &in_batch, 0.0, allowed), &doing)?;
    }
    Ok(())
}
