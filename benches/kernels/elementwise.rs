//! Kernels that memory bounds: batch-norm, max pooling, the rectifier, cross-entropy, and the
//! transfer of a bank of microrings. Elements are the numbers of the input.

use criterion::{Criterion, criterion_group, criterion_main};
use pnn_benches::{F32, Work, bench, count, or_stop, variable};
use pnn_core::loss::cross_entropy;
use pnn_core::ops::Tail;
use pnn_core::{Deviations, PhysicalLayer, Tensor, ops};
use pnn_devices::mrr::MrrLinear;

/// (id, (batch, channels, height, width))
const PLANES: [(&str, [usize; 4]); 2] =
    [("lenet-conv1-b64", [64, 6, 28, 28]), ("resnet-w16-stage1-b128", [128, 16, 32, 32])];

/// Forward reads `input` numbers and writes `output`; backward reads the `kept` ones and the
/// output's gradient, and writes the input's.
fn work(input: u64, output: u64, kept: u64) -> (Work, Work) {
    let forward = Work { elements: input, bytes: F32 * (input + output) };
    let bytes = forward.bytes + F32 * (kept + output + input);
    (forward, Work { elements: input, bytes })
}

fn batch_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_norm");
    for (id, shape) in PLANES {
        let channels = [shape[1]];
        let operands = [
            or_stop(id, variable("input", &shape)),
            or_stop(id, variable("gamma", &channels)),
            or_stop(id, variable("beta", &channels)),
        ];
        let n = count(&shape);
        bench(&mut group, id, &operands, work(n, n, n), |t| {
            ops::batch_norm(&t[0], &t[1], &t[2], 1e-5).map(|(y, _)| y)
        });
        // What LeNet-5 runs: batch-norm, rectifier and pooling in one.
        let fused = format!("{id}-relu-pool");
        bench(&mut group, &fused, &operands, work(n, n / 4, n), |t| {
            let tail = Tail::ReluMaxPool2;
            ops::batch_norm_fused(&t[0], &t[1], &t[2], 1e-5, None, &tail).map(|(y, _)| y)
        });
    }
}

fn max_pool2d(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("max_pool2d");
    for (id, shape) in PLANES {
        let n = count(&shape);
        let operands = [or_stop(id, variable("input", &shape))];
        // Backward needs to know of each output where its maximum was.
        bench(&mut group, id, &operands, work(n, n / 4, n / 4), |t| ops::max_pool2d(&t[0], 2, 2));
    }
}

fn relu(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relu");
    for (id, shape) in PLANES {
        let n = count(&shape);
        let operands = [or_stop(id, variable("input", &shape))];
        bench(&mut group, id, &operands, work(n, n, n), |t| ops::relu(&t[0]));
    }
}

fn loss(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross_entropy");
    for (id, batch) in [("b64", 64), ("b600", 600)] {
        let logits = [batch, 10];
        let operands = [or_stop(id, variable("logits", &logits))];
        let labels: Vec<u32> = (0..batch as u32).map(|i| i % 10).collect();
        let labels = Tensor::from_vec(labels, batch);
        let labels = or_stop(id, labels);
        let n = count(&logits);
        bench(&mut group, id, &operands, work(n, 1, n), |t| cross_entropy(&t[0], &labels));
    }
}

/// The Lorentzian of each ring: a detuning becomes a weight.
fn lorentzian(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lorentzian");
    for (id, inputs, outputs) in [("lenet-fc1", 400, 120), ("1024x1024", 1024, 1024)] {
        let bank = MrrLinear::new(inputs, outputs);
        let operands = [or_stop(id, variable("detuning", &[outputs, inputs]))];
        let n = count(&[outputs, inputs]);
        bench(&mut group, id, &operands, work(n, n, n), |t| {
            let controls = [("detuning".to_owned(), t[0].clone())].into_iter().collect();
            let weights = bank.weights(&controls, &Deviations::none())?;
            Ok(weights.unwrap_or_else(|| t[0].clone()))
        });
    }
}

criterion_group!(benches, batch_norm, max_pool2d, relu, loss, lorentzian);
criterion_main!(benches);
