//! One optimizer step on the parameters of LeNet-5, with gradients that cost nothing. Elements are
//! parameters; bytes are the state read once and written once.

use criterion::{Criterion, criterion_group, criterion_main};
use pnn_benches::{F32, Work, count, or_stop, variable};
use pnn_core::device::Bounds;
use pnn_core::optim::{Adam, Asam, Descent, Evaluation, Optimizer, Sam, Sgd, SharpnessAware};
use pnn_core::params::Gradients;
use pnn_core::{ParamSet, Parameter, Result};

const SHAPES: [(&str, &[usize]); 10] = [
    ("conv1.weight", &[6, 1, 5, 5]),
    ("conv1.bias", &[6]),
    ("conv2.weight", &[16, 6, 5, 5]),
    ("conv2.bias", &[16]),
    ("fc1.weight", &[120, 400]),
    ("fc1.bias", &[120]),
    ("fc2.weight", &[84, 120]),
    ("fc2.bias", &[84]),
    ("fc3.weight", &[10, 84]),
    ("fc3.bias", &[10]),
];

fn parameters() -> Result<(ParamSet, Gradients)> {
    let parameter = |(name, shape): &(&str, &[usize])| -> Result<Parameter> {
        let var = variable(name, shape)?;
        Ok(Parameter { name: (*name).to_owned(), var, bounds: Bounds::UNBOUNDED })
    };
    let params = ParamSet::new(SHAPES.iter().map(parameter).collect::<Result<Vec<_>>>()?)?;
    // Copies: the parameters move, their gradients do not.
    let gradients = Gradients(params.snapshot()?.into_iter().map(Some).collect());
    Ok((params, gradients))
}

struct Case {
    id: &'static str,
    /// Numbers that a step reads and writes for each parameter.
    numbers: u64,
    optimizer: Box<dyn Optimizer>,
}

/// Updates read value, gradient and moments, and write value and moments. Around them SAM reads
/// and writes the value twice more and reads the first gradient twice (its norm, its direction);
/// ASAM's norm reads the value too.
fn cases() -> Result<Vec<Case>> {
    let sgd = || Sgd::new(1e-6, 0.5);
    let adam = || Adam::new(1e-6);
    let case = |id, numbers, optimizer| Case { id, numbers, optimizer };
    Ok(vec![
        case("sgd", 5, Box::new(Descent(sgd()?))),
        case("adam", 7, Box::new(Descent(adam()?))),
        case("sam-sgd", 5 + 6, Box::new(SharpnessAware::new(sgd()?, Sam::new(1e-6)?))),
        case("asam-adam", 7 + 7, Box::new(SharpnessAware::new(adam()?, Asam::new(1e-6)?))),
    ])
}

fn steps(criterion: &mut Criterion) {
    let (params, gradients) = or_stop("parameters", parameters());
    let elements = SHAPES.iter().map(|(_, shape)| count(shape)).sum();
    let mut group = criterion.benchmark_group("optimizer");
    for Case { id, numbers, mut optimizer } in or_stop("optimizers", cases()) {
        group.throughput(Work { elements, bytes: F32 * numbers * elements }.into());
        group.bench_function(id, |b| {
            b.iter(|| {
                let mut objective = |_| Ok(Evaluation { loss: 0.0, gradients: gradients.clone() });
                or_stop(id, optimizer.step(&params, &mut objective))
            });
        });
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
