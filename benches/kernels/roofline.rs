//! What the processor can do at best: multiply-adds in registers, and reading memory. The roofs
//! that `cargo xtask bench --kernels` holds the kernels against (Williams, Waterman and Patterson,
//! 2009). One thread; elements are floating-point operations.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pulp::{Simd, WithSimd};

/// Vectors that are multiplied and added side by side: enough to hide the latency.
const CHAINS: usize = 16;
const STEPS: usize = 10_000;

struct MultiplyAdd;

impl WithSimd for MultiplyAdd {
    type Output = (f32, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, usize) {
        let factor = simd.splat_f32s(std::hint::black_box(0.999));
        let mut sums = [simd.splat_f32s(1.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, factor);
            }
        }
        let mut total = simd.splat_f32s(0.0);
        for sum in sums {
            total = simd.add_f32s(total, sum);
        }
        (simd.reduce_sum_f32s(total), 2 * CHAINS * STEPS * S::F32_LANES)
    }
}

struct Sum<'a>(&'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (vectors, _) = S::as_simd_f32s(self.0);
        let mut sums = [simd.splat_f32s(0.0); CHAINS];
        for block in vectors.chunks_exact(CHAINS) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum = simd.add_f32s(*sum, *x);
            }
        }
        let mut total = simd.splat_f32s(0.0);
        for sum in sums {
            total = simd.add_f32s(total, sum);
        }
        simd.reduce_sum_f32s(total)
    }
}

fn roofs(criterion: &mut Criterion) {
    let arch = pulp::Arch::new();
    let mut group = criterion.benchmark_group("roof");
    let (_, operations) = arch.dispatch(MultiplyAdd);
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function("multiply-add", |b| b.iter(|| arch.dispatch(MultiplyAdd)));
    // 256 MiB: no cache holds them.
    let values = vec![1.0f32; 1 << 26];
    group.throughput(Throughput::Bytes(4 * values.len() as u64));
    group.bench_function("read", |b| b.iter(|| arch.dispatch(Sum(&values))));
}

criterion_group!(benches, roofs);
criterion_main!(benches);
