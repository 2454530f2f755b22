#![doc = include_str!("../README.md")]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Throughput};
use pnn_core::{DType, Result, Seed, Tensor, Var};
use rand_distr::StandardUniform;

/// Bytes of one number.
pub const F32: u64 = 4;

/// A trainable tensor of numbers in [0, 1) that depend on its name alone. The first one starts the
/// threads: one, or as many as `RAYON_NUM_THREADS` says.
///
/// # Errors
/// If memory cannot be allocated.
pub fn variable(name: &str, shape: &[usize]) -> Result<Var> {
    static THREADS: std::sync::Once = std::sync::Once::new();
    let count = usize::from(std::env::var_os("RAYON_NUM_THREADS").is_none());
    THREADS.call_once(|| or_stop("threads", pnn_core::use_threads(count)));
    let seed = Seed::new(0).child("benches").child(name);
    Ok(Var::new(&seed.tensor(StandardUniform, shape, DType::F32)?))
}

/// What one call does.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Floating-point operations, or parameters.
    pub elements: u64,
    /// Bytes of operands and results.
    pub bytes: u64,
}

impl From<Work> for Throughput {
    fn from(Work { elements, bytes }: Work) -> Self {
        Self::ElementsAndBytes { elements, bytes }
    }
}

/// Times `forward(operands)` once without gradients (`ID/forward`) and once with those of all
/// operands (`ID/train`, whose loss is the sum of the result).
///
/// # Panics
/// If the kernel fails: there is nothing to time then.
pub fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    operands: &[Var],
    (forward_work, train_work): (Work, Work),
    forward: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let plain: Vec<Tensor> = operands.iter().map(|var| var.tensor().detach()).collect();
    group.throughput(forward_work.into());
    group.bench_function(format!("{id}/forward"), |b| b.iter(|| or_stop(id, forward(&plain))));
    let tracked: Vec<Tensor> = operands.iter().map(|var| var.tensor()).collect();
    let train = || forward(&tracked)?.sum_all()?.backward();
    group.throughput(train_work.into());
    group.bench_function(format!("{id}/train"), |b| b.iter(|| or_stop(id, train())));
}

/// The value of a kernel that did not fail.
///
/// # Panics
/// If it did.
pub fn or_stop<T>(id: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{id}: {error}"),
    }
}

/// Numbers in a tensor of this shape.
#[must_use]
pub fn count(shape: &[usize]) -> u64 {
    shape.iter().product::<usize>() as u64
}
