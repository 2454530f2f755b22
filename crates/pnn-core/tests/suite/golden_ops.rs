//! Kernels and losses against PyTorch's values and gradients, in f64 and f32.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{Golden, assert_close, assert_same_bits, eps, largest, sum_tolerance, values, var};
use num_complex::Complex;
use pnn_core::layers::{
    BatchNorm, ComplexConv2d, ComplexConvSizes, ComplexConvTranspose2d, Learning, Paths,
};
use pnn_core::ops::{
    self, ChannelStatistics, ConvGeometry, Packing, Sampling, Tail, TransferFunction, Wiring,
};
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
fn transposed_and_interleaved_convolutions() {
    let golden = Golden::load("transpose");
    for case in golden.listed() {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let geometry = ConvGeometry { stride: number("stride"), padding: number("padding") };
        let (groups, output_padding) = (number("groups"), number("output_padding"));
        for (kind, dtype) in ["transposed", "conv"].iter().flat_map(|k| DTYPES.map(|d| (k, d))) {
            let name = format!("{kind}/{}", case["name"].as_str().unwrap());
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, w, g) = (get("x"), get("w"), get("g"));
            let batch = x.dim(0).unwrap();
            // Every way to put samples side by side.
            for lanes in (1..=batch).filter(|lanes| batch.is_multiple_of(*lanes)) {
                let (y, d) = backward(&[&x, &w], &g, |t| {
                    let x = ops::interleave(&t[0], lanes)?;
                    let y = if *kind == "conv" {
                        ops::conv2d_interleaved(&x, &t[1], geometry, groups)?
                    } else {
                        let padding = output_padding;
                        ops::conv_transpose2d_interleaved(&x, &t[1], geometry, padding, groups)?
                    };
                    ops::deinterleave(&y)
                });
                let close = |part: &str, got: &Tensor, tolerance: f64| {
                    let want = golden.get(&format!("{name}/{part}"), DType::F64);
                    let what = format!("{name} {part} {dtype:?} {lanes} lanes");
                    assert_close(&what, got, &want, 0.0, tolerance);
                };
                let terms = w.elem_count() / groups;
                close("y", &y, sum_tolerance(terms, &x, &w, dtype));
                close("dx", &d[0], sum_tolerance(terms, &w, &g, dtype));
                close("dw", &d[1], sum_tolerance(g.elem_count(), &x, &g, dtype));
                if groups == 1 && *kind == "transposed" {
                    let (plain, e) = backward(&[&x, &w], &g, |t| {
                        ops::conv_transpose2d(&t[0], &t[1], geometry, output_padding)
                    });
                    if lanes == ops::lanes(batch) {
                        assert_same_bits(&name, &plain, &y);
                        assert_same_bits(&name, &e[0], &d[0]);
                        assert_same_bits(&name, &e[1], &d[1]);
                    }
                }
            }
        }
    }
}

#[test]
fn cascades() {
    let golden = Golden::load("cascade");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let ports = case["ports"].as_u64().unwrap() as usize;
        let columns: Vec<Vec<(usize, usize)>> =
            serde_json::from_value(case["columns"].clone()).unwrap();
        let depth = columns.len() + 1;
        let wiring = Arc::new(Wiring::new(ports, columns).unwrap());
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (cells, diagonal, g) = (get("cells"), get("diagonal"), get("g"));
            let (y, d) =
                backward(&[&cells, &diagonal], &g, |t| ops::cascade(&wiring, &t[0], &t[1]));
            let close = |part: &str, got: &Tensor| {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                // Every column multiplies by numbers of about 1 and adds two of them.
                let tolerance = 8.0 * (depth * ports) as f64 * eps(dtype) * largest(&want).max(1.0);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            };
            close("y", &y);
            close("dcells", &d[0]);
            close("ddiagonal", &d[1]);
        }
    }
}

#[test]
fn detection() {
    let golden = Golden::load("detect");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let normalised = case["normalised"].as_bool().unwrap();
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (field, g) = (get("field"), get("g"));
            let (y, d) = backward(&[&field], &g, |t| {
                if normalised { ops::normalised_power(&t[0]) } else { ops::power(&t[0]) }
            });
            for (part, got) in [("y", &y), ("dfield", &d[0])] {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                let tolerance = 32.0 * eps(dtype) * largest(&want).max(1.0);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            }
        }
    }
}

#[test]
fn fields_and_their_spectra() {
    let golden = Golden::load("fourier");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let factors = golden.get(&format!("{name}/factors"), DType::F64);
        let function = transfer_function(number("height"), number("width"), &factors);
        type Field = fn(&[Tensor], &Arc<TransferFunction>) -> Result<Tensor>;
        let operators: [(&str, &[&str], Field); 5] = [
            ("fft2", &["x"], |t, _| ops::fft2(&t[0])),
            ("ifft2", &["x"], |t, _| ops::ifft2(&t[0])),
            ("transfer", &["x"], |t, function| ops::transfer(&t[0], function)),
            ("phase", &["x", "a"], |t, _| ops::phase_shift(&t[0], &t[1])),
            ("product", &["x", "b"], |t, _| ops::complex_product(&t[0], &t[1])),
        ];
        for ((kind, names, f), dtype) in operators.iter().flat_map(|o| DTYPES.map(|d| (o, d))) {
            let get = |part: &str| golden.get(&format!("{name}/{kind}/{part}"), dtype);
            let inputs: Vec<Tensor> = names.iter().map(|part| get(part)).collect();
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            let (y, d) = backward(&inputs, &get("g"), |t| f(t, &function));
            let parts = names.iter().map(|part| format!("d{part}"));
            for (part, got) in ["y".to_owned()].into_iter().chain(parts).zip([y].iter().chain(&d)) {
                let want = golden.get(&format!("{name}/{kind}/{part}"), DType::F64);
                // A transform errs by the root mean square of its values times the logarithm of
                // their number (Higham, Accuracy and Stability, 2002, section 24.1).
                let tolerance = 16.0 * eps(dtype) * largest(&want).max(1.0);
                assert_close(
                    &format!("{name} {kind} {part} {dtype:?}"),
                    got,
                    &want,
                    0.0,
                    tolerance,
                );
            }
        }
    }
}

#[test]
fn pictures_that_are_moved() {
    let golden = Golden::load("motion");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        for (mode, dtype) in ["nearest", "bilinear"].iter().flat_map(|m| DTYPES.map(|d| (m, d))) {
            let get = |part: &str, dtype| golden.get(&format!("{name}/{mode}/{part}"), dtype);
            // The motion is in double precision whatever the pictures are in.
            let (linear, shift) = (get("linear", DType::F64), get("shift", DType::F64));
            let bilinear = *mode == "bilinear";
            let sampling = if bilinear { Sampling::Bilinear } else { Sampling::Nearest };
            let f = |t: &[Tensor]| ops::resample(&t[0], &linear, &shift, sampling);
            // Where every pixel shows a value of its own, and it is read there.
            let x = get("x", dtype);
            let &[.., height, width] = x.dims() else { panic!("{name}: no pictures") };
            let all = 0..(height * width) as u32;
            let shown = all.clone().map(Some).collect();
            let (count, read) = (x.elem_count(), all.collect::<Vec<_>>());
            let planes = [count / (height * width), height, width];
            let packing = Packing::new(planes, count, shown, &read).unwrap();
            let packing = Arc::new(packing);
            let packed = ops::resample_packed(&x, &packing, &linear, &shift, sampling).unwrap();
            assert_same_bits(name, &packed, &f(&[x]).unwrap());
            let (y, mut d) = backward(&[&get("x", dtype)], &get("g", dtype), f);
            let mut parts = vec!["dx"];
            // On pixels themselves PyTorch's derivative in the motion is one of several.
            if bilinear && dtype == DType::F64 && !case["kinks"].as_bool().unwrap() {
                let inputs = [get("x", dtype), linear.clone(), shift.clone()];
                let inputs: Vec<&Tensor> = inputs.iter().collect();
                let g = get("g", dtype);
                d = backward(&inputs, &g, |t| ops::resample(&t[0], &t[1], &t[2], sampling)).1;
                parts.extend(["dlinear", "dshift"]);
            }
            for (part, got) in ["y"].iter().chain(&parts).zip([y].iter().chain(&d)) {
                let want = get(part, DType::F64);
                // Sums over all pixels, of places as far as the picture is wide.
                let tolerance = 64.0 * eps(dtype) * largest(&want).max(1.0);
                assert_close(
                    &format!("{name} {mode} {part} {dtype:?}"),
                    got,
                    &want,
                    0.0,
                    tolerance,
                );
            }
        }
    }
}

/// From (..., 2, height, width).
fn transfer_function(height: usize, width: usize, factors: &Tensor) -> Arc<TransferFunction> {
    let values = values(factors);
    let pairs = values.chunks_exact(2 * height * width);
    let factors: Vec<Complex<f64>> = pairs
        .flat_map(|pair| {
            let (re, im) = pair.split_at(height * width);
            re.iter().zip(im).map(|(re, im)| Complex::new(*re, *im)).collect::<Vec<_>>()
        })
        .collect();
    Arc::new(TransferFunction::new(height, width, &factors).unwrap())
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

#[test]
fn complex_convolutions() {
    let golden = Golden::load("complex");
    for case in golden.listed().iter().filter(|case| case["kind"] != "norm") {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let sizes = ComplexConvSizes {
            networks: number("networks"),
            channels: number("channels"),
            outputs: number("outputs"),
            kernel: 3,
            geometry: ConvGeometry { stride: 2, padding: 1 },
        };
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, g) = (var(&get("x")), get("g"));
            let seed = pnn_core::Seed::new(0);
            type Forward = Box<dyn Fn(&Tensor, Learning) -> Result<Tensor>>;
            let (parameters, forward): (Vec<_>, Forward) = match case["kind"].as_str().unwrap() {
                "transposed" => {
                    let layer =
                        ComplexConvTranspose2d::new("c", sizes, 1, true, &seed, dtype).unwrap();
                    (layer.parameters().collect(), Box::new(move |x, l| layer.forward(x, l)))
                }
                kind => {
                    let paths = match kind {
                        "parallel" => Paths::Parallel,
                        "split" => Paths::Split,
                        _ => Paths::Sum,
                    };
                    let layer = ComplexConv2d::new("c", sizes, paths, true, &seed, dtype).unwrap();
                    (layer.parameters().collect(), Box::new(move |x, l| layer.forward(x, l)))
                }
            };
            for p in &parameters {
                p.var.set(&get(p.name.strip_prefix("c.").unwrap())).unwrap();
            }
            let run = |learning| {
                let y = forward(&ops::interleave(&x.tensor(), 3)?, learning)?;
                let y = ops::deinterleave(&y)?;
                Ok::<_, pnn_core::Error>((y.clone(), (y * &g)?.sum_all()?.backward()?))
            };
            let (y, store) = run(Learning::On).unwrap();
            let tolerance = 200.0 * eps(dtype) * largest(&get("y")).max(largest(&get("dx")));
            let close = |part: &str, got: &Tensor| {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            };
            close("y", &y);
            close("dx", store.get(&x.tensor()).unwrap());
            for p in &parameters {
                let part = format!("d{}", p.name.strip_prefix("c.").unwrap());
                close(&part, store.get(&p.var.tensor()).unwrap());
            }
            // Frozen: the same values, and no gradient of the parameters.
            let (frozen, store) = run(Learning::Frozen).unwrap();
            assert_same_bits(name, &frozen, &y);
            assert!(parameters.iter().all(|p| store.get(&p.var.tensor()).is_none()));
        }
    }
}

#[test]
fn complex_batch_norms() {
    let golden = Golden::load("complex");
    for case in golden.listed().iter().filter(|case| case["kind"] == "norm") {
        let name = case["name"].as_str().unwrap();
        let (relu, given) = (case["relu"].as_bool().unwrap(), case["given"].as_bool().unwrap());
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, weight, bias, g) = (get("x"), get("weight"), get("bias"), get("g"));
            let rows = |part: &str| golden.get(&format!("{name}/{part}"), DType::F64);
            let mean: Vec<_> = values(&rows("mean")).as_chunks::<2>().0.to_vec();
            let covariance: Vec<_> = values(&rows("covariance")).as_chunks::<3>().0.to_vec();
            // Whitening amplifies rounding by the condition of the covariance.
            let condition = |c: &[f64; 3]| (c[0] + c[1]).powi(2) / (c[0] * c[1] - c[2] * c[2]);
            let statistics = ops::ComplexStatistics { mean, covariance, count: 0 };
            let given = given.then_some(&statistics);
            let norm =
                |t: &[Tensor]| ops::complex_batch_norm(&t[0], &t[1], &t[2], 1e-5, given, relu);
            let own = norm(&[x.clone(), weight.clone(), bias.clone()]).unwrap().1;
            let worst = own.covariance.iter().map(condition).fold(1.0, f64::max);
            let (y, d) = backward(&[&x, &weight, &bias], &g, |t| Ok(norm(t)?.0));
            for (part, got) in [("y", &y), ("dx", &d[0]), ("dweight", &d[1]), ("dbias", &d[2])] {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                let tolerance = 64.0 * worst * eps(dtype) * (1.0 + largest(&want));
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            }
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
        for case in golden.cases("one-hot/") {
            let z = var(&golden.get(&format!("{case}/z"), dtype));
            let labels = golden.raw(&format!("{case}/labels")).unwrap();
            let y = loss::one_hot_distance(&z.tensor(), labels, 0.1).unwrap();
            let dz = y.backward().unwrap();
            let want = |part: &str| golden.get(&format!("{case}/{part}"), DType::F64);
            // As a mean, and once more for the sum.
            let count = z.tensor().elem_count() as f64;
            assert_close(&case, &y, &want("y"), (count + 6.0) * eps(dtype), 0.0);
            let absolute = 6.0 * eps(dtype) * largest(&z.tensor());
            assert_close(&case, dz.get(&z.tensor()).unwrap(), &want("dz"), 0.0, absolute);
        }
        for case in golden.cases("kl/") {
            let [z, reference] =
                ["z", "reference"].map(|p| golden.get(&format!("{case}/{p}"), dtype));
            let temperature = values(golden.raw(&format!("{case}/temperature")).unwrap())[0];
            let node = var(&z);
            let y = loss::kl_divergence(&node.tensor(), &reference, temperature).unwrap();
            let store = y.backward().unwrap();
            let want = |part: &str| golden.get(&format!("{case}/{part}"), DType::F64);
            // Logarithms of size z / temperature, differences of them and exponentials are off by a few
            // eps of that size, in f64; then the factors temperature^2 and temperature.
            let size = 1.0 + largest(&z).max(largest(&reference)) / temperature;
            let absolute = 8.0 * f64::EPSILON * size * temperature.powi(2).max(1.0);
            assert_close(&case, &y, &want("y"), eps(dtype), absolute);
            let dz = store.get(&node.tensor()).unwrap();
            assert_close(&case, dz, &want("dz"), eps(dtype), absolute);
        }
    }
}

#[test]
fn average_pooling() {
    let golden = Golden::load("average");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let (x, g) = (get("x"), get("g"));
            let f = |t: &[Tensor]| ops::avg_pool2d(&t[0], number("size"), number("stride"));
            let (y, d) = backward(&[&x], &g, f);
            // A mean of size^2 values; an element is in at most size^2 windows.
            let tolerance =
                |t: &Tensor| 2.0 * (number("size").pow(2) as f64 + 2.0) * eps(dtype) * largest(t);
            let want = |part: &str| golden.get(&format!("{name}/{part}"), DType::F64);
            assert_close(&format!("{name} y {dtype:?}"), &y, &want("y"), 0.0, tolerance(&x));
            assert_close(&format!("{name} dx {dtype:?}"), &d[0], &want("dx"), 0.0, tolerance(&g));
        }
    }
}

/// Batch norm with what follows it. In f32 too: no value lies so near a kink or a tie, and is not
/// exactly there, that rounding takes it across.
#[test]
fn fused_batch_norms() {
    let golden = Golden::load("fused");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let given = case["given"].as_bool().unwrap();
        for dtype in DTYPES {
            let get = |part: &str| golden.get(&format!("{name}/{part}"), dtype);
            let statistics = ChannelStatistics {
                mean: values(&golden.get(&format!("{name}/mean"), DType::F64)),
                variance: values(&golden.get(&format!("{name}/variance"), DType::F64)),
                count: 0,
            };
            let tail = case["tail"].as_str().unwrap();
            let mut parts = vec!["x", "weight", "bias"];
            parts.extend((tail == "add-relu").then_some("r"));
            let inputs: Vec<Tensor> = parts.iter().map(|part| get(part)).collect();
            let g = get("g");
            let f = |t: &[Tensor]| {
                let tail = match tail {
                    "none" => Tail::None,
                    "relu" => Tail::Relu,
                    "add-relu" => Tail::AddRelu(t[3].clone()),
                    "relu-pool" => Tail::ReluMaxPool2,
                    other => panic!("{other}"),
                };
                let given = given.then_some(&statistics);
                Ok(ops::batch_norm_fused(&t[0], &t[1], &t[2], 1e-5, given, &tail)?.0)
            };
            let (y, d) = backward(&inputs.iter().collect::<Vec<_>>(), &g, f);
            let x = &inputs[0];
            let deviation = if given {
                statistics.variance.iter().fold(f64::INFINITY, |m, v| m.min(*v)).sqrt()
            } else {
                let rows = x.to_dtype(DType::F64).unwrap().transpose(0, 1).unwrap();
                let rows = rows.flatten_from(1).unwrap();
                let n = rows.dim(1).unwrap() as f64;
                let variance = (common::variance(&rows.t().unwrap()) * ((n - 1.0) / n)).unwrap();
                values(&variance).iter().fold(f64::INFINITY, |m, v| m.min(*v)).sqrt()
            };
            let tolerance = norm_tolerance(x, &inputs[1], &g, dtype, deviation.max(1e-5f64.sqrt()));
            let n = (x.elem_count() / x.dim(1).unwrap()) as f64;
            let allowed = [
                tolerance.dx,
                tolerance.dweight,
                2.0 * (n + 1.0) * eps(dtype) * largest(&g),
                eps(dtype) * largest(&g),
            ];
            let close = |part: &str, got: &Tensor, tolerance: f64| {
                let want = golden.get(&format!("{name}/{part}"), DType::F64);
                assert_close(&format!("{name} {part} {dtype:?}"), got, &want, 0.0, tolerance);
            };
            let residual = inputs.get(3).map_or(0.0, largest);
            close("y", &y, tolerance.forward + eps(dtype) * (residual + largest(&inputs[2])));
            for ((part, got), allowed) in parts.iter().zip(&d).zip(allowed) {
                close(&format!("d{part}"), got, allowed);
            }
        }
    }
}

/// The operator of a case of the file `elementwise`; `note` holds its whole numbers.
fn operator(op: &str, note: &[usize], t: &[Tensor]) -> Result<Tensor> {
    let a = &t[0];
    match op {
        "add" => a + &t[1],
        "sub" => a - &t[1],
        "mul" => a * &t[1],
        "div" => a / &t[1],
        "sqr" => a.sqr(),
        "sqrt" => a.sqrt(),
        "exp" => a.exp(),
        "log" => a.log(),
        "sin" => a.sin(),
        "cos" => a.cos(),
        "tanh" => a.tanh(),
        "abs" => a.abs(),
        "neg" => -a,
        "clamp" => a.clamp(-1.0, 1.0),
        "affine" => a.affine(2.5, -0.75),
        "add_scalar" => a + 0.375,
        "sub_scalar" => a - 0.375,
        "mul_scalar" => a * -1.7,
        "div_scalar" => a / 3.0,
        "sum_all" => a.sum_all(),
        "mean_all" => a.mean_all(),
        "sum" => a.sum(note[0]),
        "mean" => a.mean(note[0]),
        "matmul" => a.matmul(&t[1]),
        "t" => a.t(),
        "transpose" => a.transpose(note[0], note[1]),
        "narrow" => a.narrow(note[0], note[1], note[2]),
        "cat" => Tensor::cat(&[a, &t[1], a], note[0]),
        "stack" => Tensor::stack(&[a, &t[1]]),
        "reshape" => a.reshape((5, 6)),
        "flatten_all" => a.flatten_all(),
        "flatten_from" => a.flatten_from(1),
        "broadcast_as" => a.broadcast_as((4, 3, 2)),
        "to_dtype" => {
            let narrow = a.to_dtype(DType::F32)?;
            assert_eq!(narrow.dtype(), DType::F32);
            narrow.to_dtype(a.dtype())
        }
        other => panic!("the file has an unknown operator: {other}"),
    }
}

#[test]
fn operators_of_tensors() {
    let golden = Golden::load("elementwise");
    for case in golden.listed() {
        let name = case["name"].as_str().unwrap();
        let op = case["op"].as_str().unwrap();
        let parts: Vec<&str> =
            case["inputs"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
        let note = case.get("note").map_or("", |note| note.as_str().unwrap());
        let note: Vec<usize> = note.split_whitespace().map(|n| n.parse().unwrap()).collect();
        for dtype in DTYPES {
            let want = |part: &str| golden.get(&format!("{name}/{part}"), DType::F64);
            let inputs: Vec<Tensor> =
                parts.iter().map(|part| golden.get(&format!("{name}/{part}"), dtype)).collect();
            let g = golden.get(&format!("{name}/g"), dtype);
            let (y, d) =
                backward(&inputs.iter().collect::<Vec<_>>(), &g, |t| operator(op, &note, t));
            let eps = eps(dtype);
            let close = |part: &str, got: &Tensor, absolute: f64| {
                let what = format!("{name} {part} {dtype:?}");
                assert_close(&what, got, &want(part), 4.0 * eps, absolute);
            };
            // A value takes a few roundings of its own size; one that cancels (a sum, a product of
            // matrices, a derivative such as 1 - tanh^2), a few for each term of the terms' size.
            // Terms are at most products of the inputs (the divisors are at least 0.5).
            let scale = inputs.iter().map(|t| 1.0 + largest(t)).product::<f64>();
            let terms = inputs[0].elem_count().max(y.elem_count()) as f64;
            let sums = matches!(op, "sum" | "mean" | "sum_all" | "mean_all" | "matmul");
            let terms_of_y = if sums { terms } else { 1.0 };
            close("y", &y, 4.0 * terms_of_y * eps * scale);
            for (part, got) in parts.iter().zip(&d) {
                let absolute = 4.0 * (terms + 1.0) * eps * scale * largest(&g);
                close(&format!("d{part}"), got, absolute);
            }
            let moves = ["t", "transpose", "narrow", "stack", "reshape", "broadcast_as"];
            if moves.contains(&op) || op.starts_with("flatten") || op == "cat" {
                assert_same_bits(name, &y, &golden.get(&format!("{name}/y"), dtype));
            }
        }
    }
}

/// Every public operator with the golden file that covers it.
const COVERED: [(&str, &[&str]); 12] = [
    (
        "elementwise",
        &[
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Neg",
            "affine",
            "clamp",
            "sqr",
            "sqrt",
            "exp",
            "log",
            "sin",
            "cos",
            "tanh",
            "abs",
            "sum_all",
            "mean_all",
            "sum",
            "mean",
            "matmul",
            "reshape",
            "flatten_all",
            "flatten_from",
            "narrow",
            "t",
            "transpose",
            "cat",
            "stack",
            "broadcast_as",
            "to_dtype",
        ],
    ),
    ("average", &["avg_pool2d"]),
    ("cascade", &["cascade"]),
    ("detect", &["power", "normalised_power"]),
    ("fourier", &["fft2", "ifft2", "transfer", "phase_shift", "complex_product"]),
    ("motion", &["resample", "resample_packed"]),
    ("pool", &["max_pool2d"]),
    ("conv", &["conv2d"]),
    ("complex", &["complex_batch_norm"]),
    (
        "transpose",
        &[
            "conv_transpose2d",
            "conv_transpose2d_interleaved",
            "conv2d_interleaved",
            "interleave",
            "deinterleave",
        ],
    ),
    ("dense", &["linear", "add_bias", "relu", "sigmoid"]),
    ("loss", &["cross_entropy", "mean_squared_error", "one_hot_distance", "kl_divergence"]),
];

/// Batch norms have two files, one for the layer and one for what is fused with it.
const NORMS: [&str; 3] = ["batch_norm", "batch_norm_with", "batch_norm_fused"];

/// Operators without numbers of their own: any function, one that hands a gradient on, and copies.
const WITHOUT: [&str; 4] = ["map", "straight_through", "take", "show"];

/// The public functions in a source file that give a tensor, the operators it implements, and
/// those that its macros name (`name => Kind;`).
fn operators_in(source: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    // Test modules and what is not public begin otherwise.
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut found = BTreeSet::new();
    for (i, line) in lines.iter().enumerate() {
        if let Some(rest) = line.strip_prefix("pub fn ") {
            // The rest of the head may stand on the lines that follow.
            let head: String = lines[i..].iter().take(8).copied().collect();
            let head = head.split('{').next().unwrap_or_default();
            if head.contains("Result<Self>") || head.contains("Tensor>") || head.contains("(Tensor")
            {
                found.insert(word(rest));
            }
        } else if let Some(rest) = line.strip_prefix("operator!(") {
            found.insert(word(rest));
        } else if line.starts_with("impl Neg for") {
            found.insert("Neg".into());
        } else if let Some((name, _)) = line.split_once(" => ").filter(|(_, kind)| {
            kind.ends_with(';') && kind.trim_end_matches(';').chars().all(char::is_alphanumeric)
        }) {
            found.insert(word(name));
        }
    }
    // `new` makes what an operator is given, not a tensor.
    found.retain(|name| !name.is_empty() && name != "new");
    found
}

/// No operator is without golden vectors: a new one fails here until it has some.
#[test]
fn every_operator_is_covered() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources: Vec<_> = ["arithmetic", "reduce", "shaping"]
        .iter()
        .map(|name| root.join(format!("tensor/{name}.rs")))
        .chain([root.join("loss.rs")])
        .collect();
    let mut folders = vec![root.join("ops")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push(path);
            }
        }
    }
    let found: BTreeSet<String> =
        sources.iter().flat_map(|p| operators_in(&std::fs::read_to_string(p).unwrap())).collect();
    let in_table = COVERED.iter().flat_map(|(_, names)| names.iter());
    let table: BTreeSet<String> =
        in_table.chain(&NORMS).chain(&WITHOUT).map(|name| (*name).to_owned()).collect();
    let missing: Vec<_> = found.difference(&table).collect();
    assert!(missing.is_empty(), "operators without golden vectors: {missing:?}");
    let gone: Vec<_> = table.difference(&found).collect();
    assert!(gone.is_empty(), "operators in the table that do not exist: {gone:?}");

    // What the table says, the files hold.
    let mut cases: BTreeMap<String, usize> = BTreeMap::new();
    for case in Golden::load("elementwise").listed() {
        *cases.entry(case["op"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for name in COVERED[0].1 {
        assert!(cases.contains_key(&name.to_lowercase()), "no golden vectors of {name}");
    }
    for file in COVERED[1..].iter().map(|(file, _)| *file).chain(["norm", "fused"]) {
        Golden::load(file);
    }
}
