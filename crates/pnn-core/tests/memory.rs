//! Memory does not grow from step to step, and gradients that nobody needs take none.
#![allow(clippy::unwrap_used)] // a test panics where it fails

#[path = "suite/common/mod.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use common::{normal, params, uniform, var};
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ConvGeometry, Tail};
use pnn_core::optim::{Adam, Asam, Descent, Evaluation, Optimizer, Sam, SharpnessAware};
use pnn_core::{DType, Mode, ParamSet, Result, Seed, Tensor, loss};

/// The system's allocator, with a count of the bytes in use and of those ever asked for.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static ASKED: AtomicIsize = AtomicIsize::new(0);

fn count(more: usize, less: usize) {
    LIVE.fetch_add(more as isize - less as isize, Ordering::Relaxed);
    ASKED.fetch_add(more as isize, Ordering::Relaxed);
}

// SAFETY: every call is handed on unchanged to the system's allocator, whose contract is the same;
// counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, and `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`, and `place` came from `System`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// The bytes that `f` asks for.
fn asked(f: impl FnOnce()) -> isize {
    let before = ASKED.load(Ordering::Relaxed);
    f();
    ASKED.load(Ordering::Relaxed) - before
}

const BATCH: usize = 32;

fn parameters() -> ParamSet {
    let named = [
        ("conv", &[6, 1, 5, 5][..]),
        ("bias", &[6]),
        ("strided", &[16, 6, 3, 3]),
        ("dense", &[10, 256]),
        ("last", &[10]),
    ];
    params(named.map(|(name, shape)| (name, normal(1, shape, DType::F32))))
}

/// A fresh batch, as a data set gives it: in memory that no earlier step gave back.
fn batch(seed: &Seed) -> (Tensor, Tensor) {
    let pixels = seed.tensor(rand_distr::StandardUniform, &[BATCH, 1, 16, 16], DType::F32).unwrap();
    let pixels = pixels.elements::<f32>().unwrap().to_vec();
    let labels: Vec<u32> = (0..BATCH as u32).map(|i| i * 7 % 10).collect();
    (
        Tensor::from_vec(pixels, (BATCH, 1, 16, 16)).unwrap(),
        Tensor::from_vec(labels, BATCH).unwrap(),
    )
}

/// Convolutions with and without stride, norms, pools, products, and the operators whose results
/// are collected instead of written (parts, joins, other types).
fn evaluate(params: &ParamSet, norms: &[BatchNorm; 2], x: &Tensor) -> Result<Tensor> {
    let get = |name: &str| Ok::<_, pnn_core::Error>(params.get(name)?.var.tensor());
    let mode = Mode::Train { update_statistics: true };
    let y = ops::conv2d(x, &get("conv")?, ConvGeometry { stride: 1, padding: 2 })?;
    let y = ops::add_bias(y, &get("bias")?)?;
    let y = norms[0].forward_with(&y, mode, &Tail::ReluMaxPool2)?;
    let y = ops::conv2d(&y, &get("strided")?, ConvGeometry { stride: 2, padding: 1 })?;
    let residual = y.tanh()?;
    let y = norms[1].forward_with(&y, mode, &Tail::AddRelu(residual))?;
    let halves = [y.narrow(1, 0, 8)?, y.narrow(1, 8, 8)?];
    let y =
        Tensor::cat(&[&halves[1], &halves[0]], 1)?.to_dtype(DType::F64)?.to_dtype(DType::F32)?;
    let y = (&y + y.transpose(2, 3)?)?.flatten_from(1)?;
    ops::add_bias(ops::linear(&y, &get("dense")?)?, &get("last")?)
}

fn steps_take_no_memory(name: &str, optimizer: &mut dyn Optimizer) {
    let params = parameters();
    let norms = [6, 16].map(|channels| BatchNorm::new("norm", channels, DType::F32).unwrap());
    let seed = Seed::new(1);
    let mut step = |i: usize| {
        let (x, labels) = batch(&seed.index(i as u64));
        let mut objective = |_| {
            let loss = loss::cross_entropy(&evaluate(&params, &norms, &x)?, &labels)?;
            let gradients = params.gradients(&loss.backward()?);
            Ok(Evaluation { loss: loss.to_scalar::<f32>()?.into(), gradients })
        };
        optimizer.step(&params, &mut objective).unwrap().loss
    };
    (0..5).for_each(|i| assert!(step(i).is_finite()));
    let before = live();
    for i in 5..25 {
        step(i);
        assert_eq!(live(), before, "{name}: bytes in use after step {i} and before");
    }
}

/// With a constant operand, a backward pass does not ask for the memory of its gradient.
fn constants_take_no_memory() {
    // Large against all else in the backward pass; sizes that no other tensor has, so that none
    // comes from the pool.
    let check =
        |name: &str, large: &Tensor, small: &Tensor, f: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let bytes = (large.elem_count() * 4) as isize;
            let (tracked, variable) = (var(large), var(small));
            let y = f(large, &variable.tensor());
            let without = asked(|| drop(y.backward().unwrap()));
            let y = f(&tracked.tensor(), &variable.tensor());
            let with = asked(|| drop(y.backward().unwrap()));
            assert!(without < bytes, "{name}: {without} bytes for a gradient nobody asked for");
            assert!(with >= bytes, "{name}: {with}");
            // Nothing tracked: no pass at all.
            let y = f(large, small);
            let none = asked(|| drop(y.backward().unwrap()));
            assert!(none < bytes / 4, "{name}: {none}");
        };
    let f32s = |shape: &[usize]| uniform(1, shape, DType::F32);
    check("linear, x", &f32s(&[37, 4099]), &f32s(&[3, 4099]), &|x, w| ops::linear(x, w).unwrap());
    check("linear, w", &f32s(&[3001, 43]), &f32s(&[2, 43]), &|w, x| ops::linear(x, w).unwrap());
    let wide = ConvGeometry { stride: 3, padding: 0 };
    check("im2col, x", &f32s(&[31, 3, 41, 43]), &f32s(&[1, 3, 2, 2]), &|x, w| {
        ops::conv2d(x, w, wide).unwrap()
    });
    let direct = ConvGeometry { stride: 1, padding: 0 };
    // In lines of a group, which the forward pass has made already.
    check("direct, x", &f32s(&[53, 7, 29, 31]), &f32s(&[1, 7, 3, 3]), &|x, w| {
        ops::conv2d(x, w, direct).unwrap()
    });
}

/// One test, on one thread of kernels: what other tests and threads allocate would count too.
#[test]
fn memory() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        steps_take_no_memory("adam", &mut Descent(Adam::new(1e-3).unwrap()));
        let sam = Sam::new(0.05).unwrap();
        steps_take_no_memory("sam", &mut SharpnessAware::new(Adam::new(1e-3).unwrap(), sam));
        let asam = Asam::new(0.5).unwrap();
        steps_take_no_memory("asam", &mut SharpnessAware::new(Adam::new(1e-3).unwrap(), asam));
        constants_take_no_memory();
    });
}
