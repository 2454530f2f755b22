//! The same bits with 1, 2 and 4 threads, for every kernel, forward and backward, in f32.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod common;

use common::{assert_same_bits, normal, var};
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ConvGeometry};
use pnn_core::{DType, Mode, Result, Tensor, Var, loss};

fn f32s(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape, DType::F32)
}

/// The output and all gradients in a pool of its own.
fn run(
    threads: usize,
    inputs: &[Tensor],
    f: &(dyn Fn(&[Tensor]) -> Result<Tensor> + Sync),
) -> Vec<Tensor> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let vars: Vec<Var> = inputs.iter().map(var).collect();
        let nodes: Vec<Tensor> = vars.iter().map(|v| v.tensor()).collect();
        let y = f(&nodes).unwrap();
        // The gradient at the output differs from element to element.
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = vars.iter().map(|v| store.get(&v.tensor()).unwrap().clone());
        [y.detach()].into_iter().chain(gradients).collect()
    })
}

fn check(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let want = run(1, inputs, &f);
    for threads in [2, 4] {
        for (i, (got, want)) in run(threads, inputs, &f).iter().zip(&want).enumerate() {
            let what = if i == 0 { "output".into() } else { format!("gradient {}", i - 1) };
            assert_same_bits(&format!("{name}, {threads} threads, {what}"), got, want);
        }
    }
}

#[test]
fn kernels() {
    let geometry = ConvGeometry { stride: 1, padding: 2 };
    let (x, w) = (f32s(1, &[67, 3, 14, 13]), f32s(2, &[6, 3, 5, 5]));
    check("conv2d", &[x.clone(), w], |t| ops::conv2d(&t[0], &t[1], geometry));
    check("max_pool2d", std::slice::from_ref(&x), |t| ops::max_pool2d(&t[0], 2, 2));
    let channels = [f32s(3, &[3]), f32s(4, &[3])];
    let inputs = [x.clone(), channels[0].clone(), channels[1].clone()];
    check("batch_norm", &inputs, |t| Ok(ops::batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0));
    let given = ops::ChannelStatistics { mean: vec![0.1; 3], variance: vec![2.0; 3], count: 0 };
    check("batch_norm_with", &inputs, |t| ops::batch_norm_with(&t[0], &t[1], &t[2], 1e-5, &given));
    check("add_bias", &inputs[..2], |t| ops::add_bias(&t[0], &t[1]));
    check("relu", std::slice::from_ref(&x), |t| ops::relu(&t[0]));
    check("sigmoid", std::slice::from_ref(&x), |t| ops::sigmoid(&t[0]));
    let measured = (&x * 2.0).unwrap();
    check("straight_through", &[x], |t| ops::straight_through(&t[0], &measured));
    let inputs = [f32s(5, &[131, 77]), f32s(6, &[93, 77])];
    check("linear", &inputs, |t| ops::linear(&t[0], &t[1]));
}

#[test]
fn losses() {
    let (z, target) = (f32s(1, &[259, 10]), f32s(2, &[259, 10]));
    let labels: Vec<u32> = (0..259).map(|i| i % 10).collect();
    let labels = Tensor::from_slice(&labels, labels.len()).unwrap();
    check("cross_entropy", std::slice::from_ref(&z), |t| loss::cross_entropy(&t[0], &labels));
    check("mean_squared_error", &[z], |t| loss::mean_squared_error(&t[0], &target));
}

#[test]
fn a_small_network_and_its_running_statistics() {
    let labels: Vec<u32> = (0..64).map(|i| i % 10).collect();
    let labels = Tensor::from_slice(&labels, labels.len()).unwrap();
    let inputs = [f32s(1, &[64, 1, 12, 12]), f32s(2, &[6, 1, 5, 5]), f32s(3, &[10, 216])];
    let statistics = std::sync::Mutex::new(Vec::new());
    check("network", &inputs, |t| {
        let y = ops::conv2d(&t[0], &t[1], ConvGeometry { stride: 1, padding: 2 })?;
        let norm = BatchNorm::new("norm", 6, DType::F32)?;
        let y = ops::relu(&norm.forward(&y, Mode::Train { update_statistics: true })?)?;
        let running: Vec<Tensor> = norm.buffers().iter().map(|(_, v)| v.value()).collect();
        statistics.lock().unwrap().push(running);
        let y = ops::max_pool2d(&y, 2, 2)?.flatten_from(1)?;
        loss::cross_entropy(&ops::linear(&y, &t[2])?, &labels)
    });
    let statistics = statistics.into_inner().unwrap();
    assert_eq!(statistics.len(), 3);
    for run in &statistics[1..] {
        for (got, want) in run.iter().zip(&statistics[0]) {
            assert_same_bits("running statistics", got, want);
        }
    }
}
