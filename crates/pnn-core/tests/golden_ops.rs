//! Kernels and losses against PyTorch's values and gradients, in f64 and f32.
#![allow(clippy::unwrap_used)] // a test panics where it fails

mod common;

use common::{Golden, assert_close, assert_same_bits, eps, largest, sum_tolerance, values, var};
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ConvGeometry};
use pnn_core::{DType, Mode, Result, Tensor, Var, loss};

const DTYPES: [DType; 2] = [DType::F64, DType::F32];

/// The output and the gradients of the inputs, for the gradient `g` of the case at the output.
fn backward(
    inputs: &[&Tensor],
    g: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|t| var(t)).collect();
    let nodes: Vec<Tensor> = vars.iter().map(|v| v.tensor()).collect();
    let y = f(&nodes).unwrap();
    let store = (&y * g).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = |v: &Var| store.get(&v.tensor()).unwrap().clone();
    (y.detach(), vars.iter().map(gradient).collect())
}

#[test]
fn convolutions() {
    let golden = Golden::load("conv");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let geometry = ConvGeometry { stride: number("stride"), padding: number("padding") };
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, w, g) = (get("x"), get("w"), get("g"));
            let (y, d) = backward(&[&x, &w], &g, |t| ops::conv2d(&t[0], &t[1], geometry));
            let (taps, outputs) = (w.elem_count() / w.dim(0).unwrap(), w.dim(0).unwrap());
            let kernel = w.dim(2).unwrap() * w.dim(3).unwrap();
            let pixels = g.elem_count() / outputs;
            let close = |part: &str, got: &Tensor, tolerance: f64| {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            };
            close("y", &y, sum_tolerance(taps, &x, &w, dtype));
            close("dx", &d[0], sum_tolerance(outputs * kernel, &w, &g, dtype));
            close("dw", &d[1], sum_tolerance(pixels, &x, &g, dtype));
        }
    }
}

#[test]
fn max_pooling() {
    let golden = Golden::load("pool");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, g) = (get("x"), get("g"));
            let f = |t: &[Tensor]| ops::max_pool2d(&t[0], number("size"), number("stride"));
            let (y, d) = backward(&[&x], &g, f);
            assert_same_bits(&format!("{name} y"), &y, &get("y"));
            // An element is the maximum of at most size^2 windows.
            let tolerance = (number("size").pow(2) as f64) * eps(dtype) * largest(&g);
            assert_close(&format!("{name} dx"), &d[0], &get("dx"), 0.0, tolerance);
        }
    }
}

/// How rounding is amplified: by the size of `x` against its deviation (`x - mean` cancels), and
/// then by how far out the outermost value lies.
struct NormTolerance {
    forward: f64,
    dx: f64,
    dweight: f64,
}

fn norm_tolerance(
    x: &Tensor,
    weight: &Tensor,
    g: &Tensor,
    dtype: DType,
    deviation: f64,
) -> NormTolerance {
    let n = (x.elem_count() / x.dim(1).unwrap()) as f64;
    let eps = eps(dtype) * 8.0 * (1.0 + largest(x) / deviation);
    // |x - mean| / deviation is below sqrt(n).
    let forward = eps * n.sqrt() * (1.0 + largest(weight));
    let dx = eps * n * largest(weight) * largest(g) / deviation;
    NormTolerance { forward, dx, dweight: eps * n * n.sqrt() * largest(g) }
}

#[test]
fn batch_norm() {
    let golden = Golden::load("norm");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let channels = get("mean1").elem_count();
            let layer = BatchNorm::new("norm", channels, dtype).unwrap();
            for p in layer.parameters() {
                let part = format!("train/{}", p.name.strip_prefix("norm.").unwrap());
                p.var.set(&get(&part)).unwrap();
            }
            let near = |part: &str, got: &Tensor, tolerance: f64| {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            };
            for (phase, mode) in
                [("train", Mode::Train { update_statistics: true }), ("eval", Mode::Eval)]
            {
                let [x, weight, bias, g] =
                    ["x", "weight", "bias", "g"].map(|p| get(&format!("{phase}/{p}")));
                // The smallest deviation that anything is divided by.
                let variance = if phase == "train" {
                    let rows = x.transpose(0, 1).unwrap().flatten_from(1).unwrap();
                    let rows = rows.to_dtype(DType::F64).unwrap();
                    let n = rows.dim(1).unwrap() as f64;
                    (common::variance(&rows.t().unwrap()) * ((n - 1.0) / n)).unwrap()
                } else {
                    golden.get(&format!("{name}/variance2"), DType::F64)
                };
                let deviation =
                    values(&variance).iter().fold(f64::INFINITY, |m, v| m.min(*v)).sqrt();
                let deviation = deviation.max(1e-5f64.sqrt());
                let tolerance = norm_tolerance(&x, &weight, &g, dtype, deviation);
                let node = var(&x);
                let y = layer.forward(&node.tensor(), mode).unwrap();
                let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
                near(&format!("{phase}/y"), &y, tolerance.forward);
                near(&format!("{phase}/dx"), store.get(&node.tensor()).unwrap(), tolerance.dx);
                for (p, tolerance) in layer.parameters().zip([
                    tolerance.dweight,
                    sum_tolerance(x.elem_count() / channels, &g, &bias.ones_like().unwrap(), dtype),
                ]) {
                    let part = format!("{phase}/d{}", p.name.strip_prefix("norm.").unwrap());
                    near(&part, store.get(&p.var.tensor()).unwrap(), tolerance);
                }
                if phase == "train" {
                    let running = |part: &str, var: &Var| {
                        let scale = largest(&var.tensor()).max(largest(&x));
                        let spread =
                            largest(&(&x.to_dtype(DType::F64).unwrap() - largest(&x)).unwrap());
                        let scale =
                            if part.starts_with("mean") { scale } else { spread * spread + 1.0 };
                        near(part, &var.tensor(), 8.0 * eps(dtype) * scale);
                    };
                    let buffers = layer.buffers();
                    running("mean1", &buffers[0].1);
                    running("variance1", &buffers[1].1);
                    let second = get("second");
                    layer.forward(&second, mode).unwrap();
                    running("mean2", &buffers[0].1);
                    running("variance2", &buffers[1].1);
                }
            }
        }
    }
}

#[test]
fn linear_layers_and_biases() {
    let golden = Golden::load("dense");
    for dtype in DTYPES {
        for case in golden.cases("linear/") {
            let get = |part: &str| golden.get(&format!("{case}/{part}"), dtype);
            let (x, w, g) = (get("x"), get("w"), get("g"));
            let (y, d) = backward(&[&x, &w], &g, |t| ops::linear(&t[0], &t[1]));
            let want = |part: &str| golden.get(&format!("{case}/{part}"), DType::F64);
            let (outputs, inputs) = w.dims2().unwrap();
            let tolerance = sum_tolerance(inputs, &x, &w, dtype);
            assert_close(&format!("{case} y"), &y, &want("y"), 0.0, tolerance);
            let tolerance = sum_tolerance(outputs, &w, &g, dtype);
            assert_close(&format!("{case} dx"), &d[0], &want("dx"), 0.0, tolerance);
            let tolerance = sum_tolerance(x.dim(0).unwrap(), &x, &g, dtype);
            assert_close(&format!("{case} dw"), &d[1], &want("dw"), 0.0, tolerance);
        }
        for case in golden.cases("bias/") {
            let get = |part: &str| golden.get(&format!("{case}/{part}"), dtype);
            let (x, b, g) = (get("x"), get("b"), get("g"));
            let (y, d) = backward(&[&x, &b], &g, |t| ops::add_bias(&t[0], &t[1]));
            // One rounding; in f32 the stored sum is rounded once more.
            assert_close(&format!("{case} y"), &y, &get("y"), 2.0 * eps(dtype), 0.0);
            assert_same_bits(&format!("{case} dx"), &d[0], &get("dx"));
            let terms = x.elem_count() / b.elem_count();
            let one = b.ones_like().unwrap();
            let tolerance = sum_tolerance(terms, &g, &one, dtype);
            assert_close(&format!("{case} db"), &d[1], &get("db"), 0.0, tolerance);
        }
    }
}

#[test]
fn activations() {
    let golden = Golden::load("dense");
    for dtype in DTYPES {
        let get = |name: &str| golden.get(name, dtype);
        let (y, d) = backward(&[&get("relu/x")], &get("relu/g"), |t| ops::relu(&t[0]));
        // Zeros of either sign are one value here: PyTorch turns -0 into 0.
        assert_close("relu y", &y, &get("relu/y"), 0.0, 0.0);
        assert_close("relu dx", &d[0], &get("relu/dx"), 0.0, 0.0);

        let (y, d) = backward(&[&get("sigmoid/x")], &get("sigmoid/g"), |t| ops::sigmoid(&t[0]));
        let want = |part: &str| golden.get(&format!("sigmoid/{part}"), DType::F64);
        // exp, a sum and a quotient: a few roundings, relative to the value for negative x too.
        // Below the smallest normal number only absolute accuracy is left.
        let tiny =
            if dtype == DType::F32 { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE };
        assert_close("sigmoid y", &y, &want("y"), 8.0 * eps(dtype), tiny);
        // PyTorch's derivative y (1 - y) has only absolute accuracy where y is near 1.
        let absolute = 8.0 * f64::EPSILON * largest(&want("g"));
        let close = (8.0 * eps(dtype), absolute.max(4.0 * tiny));
        assert_close("sigmoid dx", &d[0], &want("dx"), close.0, close.1);
    }
}

#[test]
fn losses() {
    let golden = Golden::load("loss");
    for dtype in DTYPES {
        for case in golden.cases("cross-entropy/") {
            let z = var(&golden.get(&format!("{case}/z"), dtype));
            let labels = golden.raw(&format!("{case}/labels")).unwrap();
            let y = loss::cross_entropy(&z.tensor(), labels).unwrap();
            let dz = y.backward().unwrap();
            let want = |part: &str| golden.get(&format!("{case}/{part}"), DType::F64);
            // Ours computes in f64 and rounds once. There, differences of logits of size z and
            // exponentials of such differences are off by a few eps z.
            let absolute = 4.0 * f64::EPSILON * (1.0 + largest(&z.tensor()));
            assert_close(&case, &y, &want("y"), eps(dtype), absolute);
            let dz = dz.get(&z.tensor()).unwrap();
            assert_close(&case, dz, &want("dz"), eps(dtype), absolute);
        }
        for case in golden.cases("mse/") {
            let [z, target] = ["z", "target"].map(|p| golden.get(&format!("{case}/{p}"), dtype));
            let node = var(&z);
            let y = loss::mean_squared_error(&node.tensor(), &target).unwrap();
            let store = y.backward().unwrap();
            let want = |part: &str| golden.get(&format!("{case}/{part}"), DType::F64);
            // A sum of n squares, each with 3 roundings, divided by n.
            let relative = (z.elem_count() as f64 + 4.0) * eps(dtype);
            assert_close(&case, &y, &want("y"), relative, 0.0);
            // The difference may cancel.
            let absolute = 4.0 * eps(dtype) * largest(&z).max(largest(&target));
            let dz = store.get(&node.tensor()).unwrap();
            assert_close(&case, dz, &want("dz"), 0.0, absolute);
        }
    }
}
