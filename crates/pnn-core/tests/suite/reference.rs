//! Kernels against naive loops that follow the formulas, over random odd shapes.

use crate::common;

use common::{assert_close, eps, largest, sum_tolerance, values, var};
use pnn_core::ops::{self, ChannelStatistics, ConvGeometry};
use pnn_core::testing::strategies::{
    ConvSizes, conv_sizes, direct_conv_sizes, seed, shape, tensor, tensor_of,
};
use pnn_core::{DType, Seed, Tensor, loss};
use proptest::prelude::*;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) }
}

fn build(values: Vec<f64>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape).unwrap()
}

/// `(output, dx, dw)` by the definition, in f64.
fn naive_conv(s: ConvSizes, x: &[f64], w: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let ConvGeometry { stride, padding } = s.geometry;
    let [_, _, rows, columns] = s.output();
    let mut y = vec![0.0; s.batch * s.outputs * rows * columns];
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    for b in 0..s.batch {
        for o in 0..s.outputs {
            for i in 0..rows {
                for j in 0..columns {
                    let at = ((b * s.outputs + o) * rows + i) * columns + j;
                    for c in 0..s.channels {
                        for k in 0..s.kernel_height {
                            for l in 0..s.kernel_width {
                                let (row, column) = (i * stride + k, j * stride + l);
                                if row < padding || column < padding {
                                    continue;
                                }
                                let (row, column) = (row - padding, column - padding);
                                if row >= s.height || column >= s.width {
                                    continue;
                                }
                                let xi = ((b * s.channels + c) * s.height + row) * s.width + column;
                                let wi = ((o * s.channels + c) * s.kernel_height + k)
                                    * s.kernel_width
                                    + l;
                                y[at] += w[wi] * x[xi];
                                dx[xi] += w[wi] * g[at];
                                dw[wi] += x[xi] * g[at];
                            }
                        }
                    }
                }
            }
        }
    }
    (y, dx, dw)
}

fn draw(seed: &Seed, name: &str, shape: &[usize], dtype: DType) -> Tensor {
    seed.child(name).tensor(rand_distr::StandardNormal, shape, dtype).unwrap()
}

/// Whole numbers of at most 3 in magnitude. Sums of fewer than 2^24 / 9 of their products are exact
/// in f32, in any order; so are those of Winograd's filtering (quarters, of at most 144 each) below
/// 2^24 / 4 / 144.
fn draw_whole(seed: &Seed, name: &str, shape: &[usize]) -> Tensor {
    let u = seed.child(name).tensor(rand_distr::StandardUniform, shape, DType::F64).unwrap();
    build(values(&u).into_iter().map(|u| (u * 7.0).floor() - 3.0).collect(), shape)
}

/// `(output, dx, dw)` for a gradient `g` at the output.
fn convolve(x: &Tensor, w: &Tensor, g: &Tensor, geometry: ConvGeometry) -> [Tensor; 3] {
    let (x, w) = (var(x), var(w));
    let y = ops::conv2d(&x.tensor(), &w.tensor(), geometry).unwrap();
    let mut store = (&y * g).unwrap().sum_all().unwrap().backward().unwrap();
    let mut gradient = |v: &pnn_core::Var| store.remove(&v.tensor()).unwrap();
    [y.detach(), gradient(&x), gradient(&w)]
}

/// The kernels in f32 against those in f64 (which are others), exactly.
fn compare_precisions(s: ConvSizes, seed: &Seed) {
    let [x, w, g] = [("x", s.input()), ("w", s.weight()), ("g", s.output())]
        .map(|(name, shape)| draw_whole(seed, name, &shape));
    let want = convolve(&x, &w, &g, s.geometry);
    let [x, w, g] = [x, w, g].map(|t| t.to_dtype(DType::F32).unwrap());
    let got = convolve(&x, &w, &g, s.geometry);
    for (name, (got, want)) in ["y", "dx", "dw"].iter().zip(got.iter().zip(&want)) {
        assert_eq!(got.dtype(), DType::F32);
        assert_close(&format!("{name} of {s:?}"), got, want, 0.0, 0.0);
    }
}

/// The sizes of LeNet-5, of `ResNet`'s blocks, and others in which groups, blocks of outputs and
/// vectors are whole or leave a rest.
#[test]
fn convolutions_of_networks() {
    for (batch, channels, outputs, side, kernel, padding) in [
        (65, 1, 6, 28, 5, 2),
        (67, 6, 16, 14, 5, 0),
        (9, 16, 33, 17, 3, 1),
        (131, 8, 8, 9, 3, 1),
        (5, 16, 16, 70, 3, 1),
        (131, 3, 8, 9, 3, 1),
        (3, 64, 24, 8, 3, 1),
        (70, 2, 5, 12, 1, 0),
        (35, 4, 7, 11, 2, 1),
        (33, 3, 13, 10, 4, 3),
    ] {
        let sizes = ConvSizes {
            batch,
            channels,
            outputs,
            height: side,
            width: side,
            kernel_height: kernel,
            kernel_width: kernel,
            geometry: ConvGeometry { stride: 1, padding },
        };
        compare_precisions(sizes, &Seed::new(1));
    }
}

/// Channels that fill blocks nearly, so that filtering them is less work.
fn filled() -> impl Strategy<Value = usize> {
    prop_oneof![15..=16usize, 30..=32usize, 45..=48usize]
}

fn dtype() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::F64)]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn convolutions(s in conv_sizes(9), seed in seed(), dtype in dtype()) {
        let (x, w) = (draw(&seed, "x", &s.input(), dtype), draw(&seed, "w", &s.weight(), dtype));
        let g = draw(&seed, "g", &s.output(), dtype);
        let (vx, vw) = (var(&x), var(&w));
        let y = ops::conv2d(&vx.tensor(), &vw.tensor(), s.geometry).unwrap();
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        let (want, dx, dw) = naive_conv(s, &values(&x), &values(&w), &values(&g));
        let taps = s.channels * s.kernel_height * s.kernel_width;
        let kernel = s.outputs * s.kernel_height * s.kernel_width;
        let pixels = g.elem_count() / s.outputs;
        assert_close("y", &y, &build(want, &s.output()), 0.0, sum_tolerance(taps, &x, &w, dtype));
        let (got, tolerance) = (store.get(&vx.tensor()).unwrap(), sum_tolerance(kernel, &w, &g, dtype));
        assert_close("dx", got, &build(dx, &s.input()), 0.0, tolerance);
        let (got, tolerance) = (store.get(&vw.tensor()).unwrap(), sum_tolerance(pixels, &x, &g, dtype));
        assert_close("dw", got, &build(dw, &s.weight()), 0.0, tolerance);
    }

    /// Without unfolding: several groups, tasks and blocks of outputs.
    #[test]
    fn direct_convolutions(s in direct_conv_sizes(70, 20), seed in seed()) {
        compare_precisions(s, &seed);
    }

    /// By Winograd's filtering: several blocks of channels, tiles that are not whole.
    #[test]
    fn filtered_convolutions(
        (batch, channels, outputs) in (1..=40usize, filled(), filled()),
        (height, width, padding) in (1..=11usize, 1..=11usize, 0..=2usize),
        seed in seed(),
    ) {
        let least = 3 - 2 * padding.min(1);
        let sizes = ConvSizes {
            batch,
            channels,
            outputs,
            height: height.max(least),
            width: width.max(least),
            kernel_height: 3,
            kernel_width: 3,
            geometry: ConvGeometry { stride: 1, padding },
        };
        compare_precisions(sizes, &seed);
    }

    /// Small ones, where all is edge.
    #[test]
    fn small_direct_convolutions(s in direct_conv_sizes(3, 5), seed in seed()) {
        compare_precisions(s, &seed);
    }

    #[test]
    fn average_pools(
        (shape, size) in shape(4..=4, 1..=8).prop_flat_map(|s| {
            let most = s[2].min(s[3]);
            (Just(s), 1..=most)
        }),
        stride in 1..=4usize,
        seed in seed(),
        dtype in dtype(),
    ) {
        let x = draw(&seed, "x", &shape, dtype);
        let (rows, columns) = ((shape[2] - size) / stride + 1, (shape[3] - size) / stride + 1);
        let out = [shape[0], shape[1], rows, columns];
        let g = draw(&seed, "g", &out, dtype);
        let (xs, gs) = (values(&x), values(&g));
        let (mut want, mut dx) = (vec![], vec![0.0; xs.len()]);
        let share = 1.0 / (size * size) as f64;
        for plane in 0..shape[0] * shape[1] {
            for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                let mut sum = 0.0;
                for t in 0..size * size {
                    let (row, column) = (i * stride + t / size, j * stride + t % size);
                    let at = (plane * shape[2] + row) * shape[3] + column;
                    sum += xs[at] * share;
                    dx[at] += gs[want.len()] * share;
                }
                want.push(sum);
            }
        }
        let node = var(&x);
        let y = ops::avg_pool2d(&node.tensor(), size, stride).unwrap();
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        // The mean of size^2 values; an element is in at most size^2 windows.
        let tolerance = |t: &Tensor| 2.0 * ((size * size + 2) as f64) * eps(dtype) * largest(t);
        assert_close("y", &y, &build(want, &out), 0.0, tolerance(&x));
        let got = store.get(&node.tensor()).unwrap();
        assert_close("dx", got, &build(dx, &shape), 0.0, tolerance(&g));
    }

    #[test]
    fn max_pools(
        (shape, size) in shape(4..=4, 1..=8).prop_flat_map(|s| {
            let most = s[2].min(s[3]);
            (Just(s), 1..=most)
        }),
        stride in 1..=4usize,
        levels in 2..6u32, // few levels: many ties
        seed in seed(),
        dtype in dtype(),
    ) {
        let u = seed.tensor(rand_distr::StandardUniform, &shape, DType::F64).unwrap();
        let x = common::values(&u).into_iter().map(|u| (u * f64::from(levels)).floor() - 2.0);
        let x = Tensor::from_vec(x.collect::<Vec<f64>>(), shape.clone()).unwrap();
        let (rows, columns) = ((shape[2] - size) / stride + 1, (shape[3] - size) / stride + 1);
        let out = [shape[0], shape[1], rows, columns];
        let g = draw(&seed, "g", &out, dtype);
        let (xs, gs) = (values(&x), values(&g));
        let (mut want, mut dx) = (vec![], vec![0.0; xs.len()]);
        for plane in 0..shape[0] * shape[1] {
            for i in 0..rows {
                for j in 0..columns {
                    let window = (0..size * size).map(|t| {
                        let (row, column) = (i * stride + t / size, j * stride + t % size);
                        (plane * shape[2] + row) * shape[3] + column
                    });
                    // The first of the largest.
                    let best = window.reduce(|a, b| if xs[b] > xs[a] { b } else { a }).unwrap();
                    dx[best] += gs[want.len()];
                    want.push(xs[best]);
                }
            }
        }
        let node = var(&x.to_dtype(dtype).unwrap());
        let y = ops::max_pool2d(&node.tensor(), size, stride).unwrap();
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        assert_close("y", &y, &build(want, &out), 0.0, 0.0);
        let tolerance = (size * size) as f64 * eps(dtype) * largest(&g);
        assert_close("dx", store.get(&node.tensor()).unwrap(), &build(dx, &shape), 0.0, tolerance);
    }

    #[test]
    fn linears((b, n, m) in (1..70usize, 1..20usize, 1..40usize), seed in seed(), dtype in dtype()) {
        let (x, w) = (draw(&seed, "x", &[b, n], dtype), draw(&seed, "w", &[m, n], dtype));
        let g = draw(&seed, "g", &[b, m], dtype);
        let (vx, vw) = (var(&x), var(&w));
        let y = ops::linear(&vx.tensor(), &vw.tensor()).unwrap();
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        let (xs, ws, gs) = (values(&x), values(&w), values(&g));
        let (mut want, mut dx, mut dw) = (vec![0.0; b * m], vec![0.0; b * n], vec![0.0; m * n]);
        for i in 0..b {
            for k in 0..m {
                for j in 0..n {
                    want[i * m + k] += xs[i * n + j] * ws[k * n + j];
                    dx[i * n + j] += gs[i * m + k] * ws[k * n + j];
                    dw[k * n + j] += gs[i * m + k] * xs[i * n + j];
                }
            }
        }
        assert_close("y", &y, &build(want, &[b, m]), 0.0, sum_tolerance(n, &x, &w, dtype));
        let (got, tolerance) = (store.get(&vx.tensor()).unwrap(), sum_tolerance(m, &g, &w, dtype));
        assert_close("dx", got, &build(dx, &[b, n]), 0.0, tolerance);
        let (got, tolerance) = (store.get(&vw.tensor()).unwrap(), sum_tolerance(b, &g, &x, dtype));
        assert_close("dw", got, &build(dw, &[m, n]), 0.0, tolerance);
    }

    #[test]
    fn batch_norms(
        shape in shape(2..=5, 1..=5),
        offset in -3.0..3.0f64,
        seed in seed(),
    ) {
        let channels = shape[1];
        let n = shape.iter().product::<usize>() / channels;
        prop_assume!(n > 1);
        let x = (draw(&seed, "x", &shape, DType::F64) + offset).unwrap();
        let gamma = draw(&seed, "gamma", &[channels], DType::F64);
        let beta = draw(&seed, "beta", &[channels], DType::F64);
        let (y, statistics) = ops::batch_norm(&x, &gamma, &beta, 1e-5).unwrap();
        let spatial: usize = shape[2..].iter().product();
        let (xs, gammas, betas) = (values(&x), values(&gamma), values(&beta));
        let channel = |i: usize| i / spatial % channels;
        let of = |c: usize| (0..xs.len()).filter(move |i| channel(*i) == c);
        let mean: Vec<f64> =
            (0..channels).map(|c| of(c).map(|i| xs[i]).sum::<f64>() / n as f64).collect();
        let variance: Vec<f64> = (0..channels)
            .map(|c| of(c).map(|i| (xs[i] - mean[c]).powi(2)).sum::<f64>() / n as f64)
            .collect();
        prop_assert_eq!(statistics.count, n);
        // n terms below 8 each, and their squares.
        let rounding = n as f64 * f64::EPSILON * 64.0;
        for c in 0..channels {
            prop_assert!((statistics.mean[c] - mean[c]).abs() <= rounding);
            prop_assert!((statistics.variance[c] - variance[c]).abs() <= rounding);
        }
        let normalise = |mean: &[f64], variance: &[f64]| {
            let want = xs.iter().enumerate().map(|(i, x)| {
                let c = channel(i);
                (x - mean[c]) / (variance[c] + 1e-5).sqrt() * gammas[c] + betas[c]
            });
            build(want.collect(), &shape)
        };
        // Divided by a deviation of at least sqrt(1e-5), and by its cube where the variance is off.
        let narrowest = variance.iter().fold(f64::INFINITY, |m, v| m.min(*v)) + 1e-5;
        let tolerance = rounding * largest(&gamma).max(1.0) * (8.0 / narrowest.powf(1.5)).max(8.0);
        assert_close("y", &y, &normalise(&mean, &variance), 0.0, tolerance);

        let given = ChannelStatistics { mean: vec![0.5; channels], variance: vec![2.0; channels], count: 0 };
        let y = ops::batch_norm_with(&x, &gamma, &beta, 1e-5, &given).unwrap();
        let want = normalise(&given.mean, &given.variance);
        assert_close("y", &y, &want, 8.0 * f64::EPSILON, 64.0 * f64::EPSILON);
    }

    #[test]
    fn cross_entropies(
        logits in tensor_of(shape(2..=2, 1..=12), -50.0..50.0, DType::F64),
        seed in seed(),
    ) {
        let (batch, classes) = logits.dims2().unwrap();
        let u = seed.tensor(rand_distr::StandardUniform, &[batch], DType::F64).unwrap();
        let labels: Vec<u32> = values(&u).iter().map(|u| (u * classes as f64) as u32).collect();
        let z = values(&logits);
        // The plain formula does not overflow below 700.
        let terms = z.chunks(classes).zip(&labels).map(|(row, label)| {
            -(row[*label as usize].exp() / row.iter().map(|z| z.exp()).sum::<f64>()).ln()
        });
        let want = terms.sum::<f64>() / batch as f64;
        let labels = Tensor::from_vec(labels, batch).unwrap();
        let got: f64 = loss::cross_entropy(&logits, &labels).unwrap().to_scalar().unwrap();
        // Roundings of exponents up to 50, in either program.
        prop_assert!((got - want).abs() <= 400.0 * f64::EPSILON, "{} {}", got, want);
    }

    #[test]
    fn mean_squared_errors(
        (a, b) in shape(1..=4, 1..=5).prop_flat_map(|s| {
            (tensor(&s, -3.0..3.0, DType::F64), tensor(&s, -3.0..3.0, DType::F64))
        }),
    ) {
        let squares: Vec<f64> =
            values(&a).iter().zip(&values(&b)).map(|(a, b)| (a - b).powi(2)).collect();
        let want = squares.iter().sum::<f64>() / squares.len() as f64;
        let got: f64 = loss::mean_squared_error(&a, &b).unwrap().to_scalar().unwrap();
        prop_assert!((got - want).abs() <= (squares.len() + 4) as f64 * f64::EPSILON * want);
    }

    #[test]
    fn biases(x in tensor_of(shape(2..=4, 1..=5), -3.0..3.0, DType::F64), seed in seed()) {
        let channels = x.dim(1).unwrap();
        let bias = draw(&seed, "bias", &[channels], DType::F64);
        let (xs, bs) = (values(&x), values(&bias));
        let spatial: usize = x.dims()[2..].iter().product();
        let want = (0..xs.len()).map(|i| xs[i] + bs[i / spatial % channels]).collect();
        let y = ops::add_bias(&x, &bias).unwrap();
        assert_close("y", &y, &build(want, x.dims()), 0.0, 0.0);
    }
}
