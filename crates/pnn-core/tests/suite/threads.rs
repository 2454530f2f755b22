//! The same bits with 1, 2 and 4 threads, for every kernel, forward and backward, in f32.

use crate::common;

use std::sync::Arc;

use common::{assert_same_bits, normal, var};
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ConvGeometry, Tail};
use pnn_core::optim::{Adam, Descent, Evaluation, Optimizer, Sam, SharpnessAware};
use pnn_core::{DType, Mode, ParamSet, Result, Tensor, Var, loss};

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
    // In registers: broken blocks of rows, and more than one depth.
    let inputs = [f32s(5, &[131, 304]), f32s(6, &[96, 304])];
    check("linear, whole vectors", &inputs, |t| ops::linear(&t[0], &t[1]));
}

/// Batches of several groups, tasks and blocks of outputs.
#[test]
fn cascades() {
    // Three strips of columns and two chips.
    let columns = (0..6).map(|c| (c % 2..69).step_by(2).map(|p| (p, p + 1)).collect()).collect();
    let wiring = Arc::new(ops::Wiring::new(70, columns).unwrap());
    for dtype in [DType::F32, DType::F64] {
        let cells = normal(1, &[2, wiring.cells(), 2, 2, 2], dtype);
        let inputs = [cells, normal(2, &[2, 70, 2], dtype)];
        check("cascade", &inputs, |t| ops::cascade(&wiring, &t[0], &t[1]));
    }
}

#[test]
fn detection() {
    let field = [f32s(1, &[300, 2, 67])];
    check("power", &field, |t| ops::power(&t[0]));
    check("normalised_power", &field, |t| ops::normalised_power(&t[0]));
}

#[test]
fn fields_and_their_spectra() {
    let field = f32s(1, &[7, 2, 40, 30]);
    let factors = vec![num_complex::Complex::new(0.6, -0.8); 64 * 32];
    let function = Arc::new(ops::TransferFunction::new(64, 32, &factors).unwrap());
    check("fft2", std::slice::from_ref(&field), |t| ops::fft2(&t[0]));
    check("ifft2", std::slice::from_ref(&field), |t| ops::ifft2(&t[0]));
    check("transfer", std::slice::from_ref(&field), |t| ops::transfer(&t[0], &function));
    let inputs = [field, f32s(2, &[40, 30]), f32s(3, &[2, 40, 30])];
    check("phase_shift", &inputs[..2], |t| ops::phase_shift(&t[0], &t[1]));
    let inputs = [inputs[0].clone(), inputs[2].clone()];
    check("complex_product", &inputs, |t| ops::complex_product(&t[0], &t[1]));
}

#[test]
fn pictures_that_are_moved() {
    let linear = Tensor::new([[0.9, 0.3], [-0.3, 0.9]]).unwrap();
    let inputs = [f32s(1, &[7, 40, 30]), linear, Tensor::new([0.3, -2.6]).unwrap()];
    check("resample", &inputs, |t| ops::resample(&t[0], &t[1], &t[2], ops::Sampling::Bilinear));
    check("nearest", &inputs[..1], |t| {
        ops::resample(&t[0], &inputs[1], &inputs[2], ops::Sampling::Nearest)
    });
    let all = 0..40 * 30;
    let read = all.clone().rev().collect::<Vec<u32>>();
    let shown = all.map(Some).collect();
    let packing = ops::Packing::new([7, 40, 30], 7 * 40 * 30, shown, &read).unwrap();
    let packing = std::sync::Arc::new(packing);
    check("packed", &inputs, |t| {
        ops::resample_packed(&t[0], &packing, &t[1], &t[2], ops::Sampling::Bilinear)
    });
}

#[test]
fn convolutions() {
    for (batch, channels, outputs, side, kernel, stride, padding) in [
        (67, 6, 16, 14, 5, 1, 0),
        (130, 3, 8, 9, 3, 1, 1),
        (19, 16, 33, 17, 3, 1, 1),
        (33, 32, 24, 8, 1, 1, 0),
        // With unfolding.
        (67, 3, 6, 14, 5, 2, 2),
        (35, 4, 7, 11, 3, 3, 1),
        (35, 4, 7, 11, 2, 1, 2),
    ] {
        let geometry = ConvGeometry { stride, padding };
        let inputs = [
            f32s(1, &[batch, channels, side, side]),
            f32s(2, &[outputs, channels, kernel, kernel]),
        ];
        let name = format!("{batch} images, {channels} to {outputs}, stride {stride}");
        check(&name, &inputs, |t| ops::conv2d(&t[0], &t[1], geometry));
    }
}

#[test]
fn transposed_and_interleaved_convolutions() {
    for (batch, groups, channels, outputs, side, stride) in
        [(96 * 9, 2, 8, 12, 4, 1), (35, 1, 3, 5, 4, 2)]
    {
        let geometry = ConvGeometry { stride, padding: 1 };
        let lanes = ops::lanes(batch);
        let x = f32s(1, &[batch / lanes, groups * channels, side, side, lanes]);
        let there = f32s(2, &[groups * outputs, channels, 3, 3]);
        let back = f32s(2, &[groups * channels, outputs, 3, 3]);
        check(&format!("interleaved, {batch}"), &[x.clone(), there], |t| {
            ops::conv2d_interleaved(&t[0], &t[1], geometry, groups)
        });
        check(&format!("transposed, {batch}"), &[x, back], |t| {
            ops::conv_transpose2d_interleaved(&t[0], &t[1], geometry, stride - 1, groups)
        });
    }
}

#[test]
fn complex_batch_norms() {
    let inputs = [f32s(1, &[37, 12, 5, 7]), f32s(2, &[2, 3, 3]), f32s(3, &[2, 2, 3])];
    check("complex_batch_norm", &inputs, |t| {
        Ok(ops::complex_batch_norm(&t[0], &t[1], &t[2], 1e-5, None, true)?.0)
    });
}

#[test]
fn fused_batch_norms_and_average_pools() {
    for shape in [&[70, 6, 15, 31][..], &[300, 37, 3, 3], &[2100, 33]] {
        let channels = [shape[1]];
        let inputs = [f32s(1, shape), f32s(2, &channels), f32s(3, &channels), f32s(4, shape)];
        let given = ops::ChannelStatistics {
            mean: vec![0.1; shape[1]],
            variance: vec![2.0; shape[1]],
            count: 0,
        };
        for given in [None, Some(&given)] {
            let fused = |t: &[Tensor], tail: &Tail| {
                Ok(ops::batch_norm_fused(&t[0], &t[1], &t[2], 1e-5, given, tail)?.0)
            };
            let what = format!("{shape:?}, given: {}", given.is_some());
            check(&format!("{what}, none"), &inputs[..3], |t| fused(t, &Tail::None));
            check(&format!("{what}, relu"), &inputs[..3], |t| fused(t, &Tail::Relu));
            let residual = |t: &[Tensor]| fused(t, &Tail::AddRelu(t[3].clone()));
            check(&format!("{what}, residual"), &inputs, residual);
            if shape.len() == 4 {
                check(&format!("{what}, pool"), &inputs[..3], |t| fused(t, &Tail::ReluMaxPool2));
                check(&format!("{what}, average"), &inputs[..1], |t| ops::avg_pool2d(&t[0], 3, 2));
            }
        }
    }
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

/// Parameters, running statistics and losses after some steps.
fn train(threads: usize, optimizer: &mut (dyn Optimizer + Send)) -> Vec<Tensor> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let shapes = [
            ("conv", &[6, 2, 5, 5][..]),
            ("bias", &[6]),
            ("next", &[16, 6, 3, 3]),
            ("dense", &[10, 256]),
        ];
        let tensors = shapes.map(|(name, shape)| (name, (f32s(1, shape) * 0.1).unwrap()));
        let params: ParamSet = common::params(tensors);
        let norms = [6, 16].map(|c| BatchNorm::new("norm", c, DType::F32).unwrap());
        let labels: Vec<u32> = (0..70).map(|i| i * 7 % 10).collect();
        let labels = Tensor::from_slice(&labels, labels.len()).unwrap();
        let mut losses = Vec::new();
        for step in 0..6 {
            let x = f32s(10 + step, &[70, 2, 16, 16]);
            let mut objective = |_| {
                let get = |name: &str| Ok::<_, pnn_core::Error>(params.get(name)?.var.tensor());
                let mode = Mode::Train { update_statistics: true };
                let geometry = ConvGeometry { stride: 1, padding: 2 };
                let y = ops::add_bias(ops::conv2d(&x, &get("conv")?, geometry)?, &get("bias")?)?;
                let y = norms[0].forward_with(&y, mode, &Tail::ReluMaxPool2)?;
                let geometry = ConvGeometry { stride: 2, padding: 1 };
                let y = ops::conv2d(&y, &get("next")?, geometry)?;
                let y = norms[1].forward_with(&y, mode, &Tail::AddRelu(y.tanh()?))?;
                let y = ops::linear(&y.flatten_from(1)?, &get("dense")?)?;
                let loss = loss::cross_entropy(&y, &labels)?;
                let gradients = params.gradients(&loss.backward()?);
                Ok(Evaluation { loss: loss.to_scalar::<f32>()?.into(), gradients })
            };
            losses.push(optimizer.step(&params, &mut objective).unwrap().loss);
        }
        let running = norms.iter().flat_map(BatchNorm::buffers).map(|(_, v)| v.value());
        let parameters = params.iter().map(|p| p.var.value());
        parameters.chain(running).chain([Tensor::new(losses.as_slice()).unwrap()]).collect()
    })
}

#[test]
fn training_steps() {
    type Make = fn() -> Box<dyn Optimizer + Send>;
    let makes: [(&str, Make); 2] = [
        ("adam", || Box::new(Descent(Adam::new(1e-2).unwrap()))),
        ("sam", || {
            Box::new(SharpnessAware::new(Adam::new(1e-2).unwrap(), Sam::new(0.05).unwrap()))
        }),
    ];
    for (name, make) in makes {
        let want = train(1, make().as_mut());
        for threads in [2, 4] {
            for (i, (got, want)) in train(threads, make().as_mut()).iter().zip(&want).enumerate() {
                assert_same_bits(&format!("{name}, {threads} threads, tensor {i}"), got, want);
            }
        }
    }
}
