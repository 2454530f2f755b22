//! The gradient graph: what is computed and what is not, what a backward pass leaves alone, and
//! what a step in place may not touch.

use crate::common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{assert_same_bits, normal, tensor, values, var};
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ConvGeometry, Tail};
use pnn_core::tensor::{GradStore, without_gradients};
use pnn_core::{DType, Mode, Tensor, Var, loss};

fn f64s(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape, DType::F64)
}

/// The same values; counts how often a gradient is asked of it.
fn counted(x: &Tensor, calls: &Arc<AtomicUsize>) -> Tensor {
    let (calls, y) = (calls.clone(), Tensor::from_slice(x.elements::<f64>().unwrap(), x.shape()));
    y.unwrap().with_gradient(&[x], move |gradient| {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(vec![Some(gradient)])
    })
}

fn gradient(store: &GradStore, variable: &Var) -> Tensor {
    store.get(&variable.tensor()).unwrap().clone()
}

#[test]
fn a_gradient_is_asked_for_once_and_only_where_a_variable_is() {
    let (x, w) = (var(&f64s(1, &[3, 4])), f64s(2, &[2, 4]));
    let (tracked, constant) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let inner = counted(&x.tensor(), &tracked);
    let weight = counted(&w, &constant);
    assert!(inner.is_tracked() && !weight.is_tracked());
    // Three consumers: their gradients are added before they go on.
    let y = ops::linear(&inner, &weight).unwrap();
    let y = (y.sum(1).unwrap() + (inner.sqr().unwrap() + &inner).unwrap().sum(1).unwrap()).unwrap();
    // A branch without a variable is not walked, a detached one neither.
    let side = counted(&counted(&inner.detach(), &constant).sqr().unwrap(), &constant);
    let y = (y * side.sum(1).unwrap()).unwrap();
    // What the result does not depend on is not walked.
    let _unused = counted(&inner, &constant).sqr().unwrap();
    y.backward().unwrap();
    assert_eq!(tracked.load(Ordering::Relaxed), 1);
    assert_eq!(constant.load(Ordering::Relaxed), 0);
    y.backward().unwrap();
    assert_eq!(tracked.load(Ordering::Relaxed), 2);
}

/// Operators with two operands of which one is a constant: nothing is stored for it, and the
/// other's gradient is the same as when both are tracked.
#[test]
fn constants_get_no_gradient() {
    let geometry = ConvGeometry { stride: 1, padding: 1 };
    let wiring = vec![vec![(0, 1), (2, 3)], vec![(1, 2)]];
    let wiring = Arc::new(ops::Wiring::new(4, wiring).unwrap());
    type F = Box<dyn Fn(&Tensor, &Tensor) -> pnn_core::Result<Tensor>>;
    let cases: Vec<(&str, Tensor, Tensor, F)> = vec![
        (
            "conv2d",
            f64s(1, &[2, 3, 5, 4]),
            f64s(2, &[2, 3, 3, 3]),
            Box::new(move |x, w| ops::conv2d(x, w, geometry)),
        ),
        (
            "conv2d in f32",
            normal(1, &[2, 3, 5, 4], DType::F32),
            normal(2, &[2, 3, 3, 3], DType::F32),
            Box::new(move |x, w| ops::conv2d(x, w, geometry)),
        ),
        ("linear", f64s(1, &[3, 4]), f64s(2, &[2, 4]), Box::new(ops::linear)),
        ("add_bias", f64s(1, &[3, 4]), f64s(2, &[4]), Box::new(|x, b| ops::add_bias(x, b))),
        ("sum", f64s(1, &[3, 4]), f64s(2, &[4]), Box::new(|a, b| a + b)),
        ("quotient", f64s(1, &[3, 4]), f64s(2, &[4]), Box::new(|a, b| a / b)),
        ("cat", f64s(1, &[3, 4]), f64s(2, &[1, 4]), Box::new(|a, b| Tensor::cat(&[a, b], 0))),
        ("matmul", f64s(1, &[3, 4]), f64s(2, &[4, 2]), Box::new(|a, b| a.matmul(b))),
        (
            "cascade",
            f64s(1, &[3, 3, 2, 2, 2]),
            f64s(2, &[3, 4, 2]),
            Box::new(move |cells, diagonal| ops::cascade(&wiring, cells, diagonal)),
        ),
    ];
    for (name, a, b, f) in cases {
        // Neither is tracked: nothing is recorded.
        assert!(!f(&a, &b).unwrap().is_tracked(), "{name}");
        let (va, vb) = (var(&a), var(&b));
        let both = f(&va.tensor(), &vb.tensor()).unwrap().backward().unwrap();
        let first = f(&va.tensor(), &b).unwrap().backward().unwrap();
        let second = f(&a, &vb.tensor()).unwrap().backward().unwrap();
        for (store, tracked, constant) in [(first, &va, &vb), (second, &vb, &va)] {
            assert_same_bits(name, &gradient(&store, tracked), &gradient(&both, tracked));
            assert!(store.get(&constant.tensor()).is_none(), "{name}");
        }
    }
}

#[test]
fn nothing_is_recorded_without_a_variable() {
    let x = f64s(1, &[2, 3, 4, 4]);
    let channels = f64s(2, &[3]);
    let norm = |tail| ops::batch_norm_fused(&x, &channels, &channels, 1e-5, None, &tail).unwrap().0;
    let logits = f64s(3, &[2, 3]);
    let labels = Tensor::new([0u32, 2]).unwrap();
    for y in [
        norm(Tail::None),
        norm(Tail::ReluMaxPool2),
        norm(Tail::AddRelu(x.clone())),
        ops::max_pool2d(&x, 2, 2).unwrap(),
        ops::avg_pool2d(&x, 2, 2).unwrap(),
        ops::relu(&x).unwrap(),
        ops::sigmoid(&x).unwrap(),
        ops::straight_through(&x, &x).unwrap(),
        loss::cross_entropy(&logits, &labels).unwrap(),
        loss::mean_squared_error(&logits, &logits).unwrap(),
        x.narrow(0, 1, 1).unwrap(),
        x.sum_all().unwrap(),
    ] {
        assert!(!y.is_tracked(), "{y:?}");
        assert!(y.backward().unwrap().get(&x).is_none());
    }
    // One tracked operand is enough, whichever it is.
    let tracked = var(&x).tensor();
    let (x, c) = (x.clone(), channels.clone());
    for (x, r) in [(&x, &tracked), (&tracked, &x)] {
        let tail = Tail::AddRelu(r.clone());
        assert!(ops::batch_norm_fused(x, &c, &c, 1e-5, None, &tail).unwrap().0.is_tracked());
    }
}

#[test]
fn nothing_is_recorded_where_it_is_not_wanted() {
    let x = var(&f64s(1, &[2, 3]));
    let tracked = || x.tensor().sqr().unwrap().is_tracked();
    assert!(!without_gradients(|| without_gradients(tracked) || tracked()));
    assert!(tracked());
    // After a panic too, and on other threads all the while.
    let caught = std::panic::catch_unwind(|| without_gradients(|| panic!("expected")));
    assert!(caught.is_err() && tracked());
    assert!(without_gradients(|| std::thread::scope(|s| s.spawn(tracked).join().unwrap())));
    // A variable that is given away is not written to.
    let before = values(&x.value());
    let bias = f64s(2, &[3]);
    without_gradients(|| ops::add_bias(x.tensor(), &bias)).unwrap();
    assert_eq!(values(&x.value()), before);
}

/// A small network with everything that trains.
fn network(parameters: &[Var; 5], x: &Tensor) -> Tensor {
    let [w, bias, gamma, beta, dense] = parameters.each_ref().map(Var::tensor);
    let y = ops::conv2d(x, &w, ConvGeometry { stride: 1, padding: 1 }).unwrap();
    let y = ops::add_bias(y, &bias).unwrap();
    let r = y.clone();
    let norm = |y: &Tensor, tail| ops::batch_norm_fused(y, &gamma, &beta, 1e-5, None, &tail);
    let y = norm(&y, Tail::AddRelu(r)).unwrap().0;
    let y = norm(&y, Tail::ReluMaxPool2).unwrap().0;
    let y = ops::linear(&y.flatten_from(1).unwrap(), &dense).unwrap();
    loss::cross_entropy(&y, &Tensor::new([1u32, 0, 2]).unwrap()).unwrap()
}

fn parameters() -> [Var; 5] {
    let shapes = [&[4, 2, 3, 3][..], &[4], &[4], &[4], &[3, 24]];
    let mut seed = 0;
    shapes.map(|shape| {
        seed += 1;
        var(&normal(seed, shape, DType::F32))
    })
}

#[test]
fn a_second_backward_pass_gives_the_same() {
    let parameters = parameters();
    let loss = network(&parameters, &normal(9, &[3, 2, 7, 5], DType::F32));
    let (first, second) = (loss.backward().unwrap(), loss.backward().unwrap());
    for parameter in &parameters {
        assert_same_bits("gradient", &gradient(&first, parameter), &gradient(&second, parameter));
    }
    // And so after one more forward pass, of other values, with the same variables.
    let values: Vec<Tensor> = parameters.iter().map(Var::value).collect();
    for parameter in &parameters {
        parameter.update::<f32>(|v| v.iter_mut().for_each(|v| *v *= 0.5)).unwrap();
    }
    network(&parameters, &normal(8, &[3, 2, 7, 5], DType::F32)).backward().unwrap();
    let third = loss.backward().unwrap();
    for (parameter, value) in parameters.iter().zip(values) {
        assert_same_bits("gradient", &gradient(&first, parameter), &gradient(&third, parameter));
        assert!(common::largest(&(parameter.value() - value).unwrap()) > 0.0);
    }
}

/// Long chains are walked and dropped without recursion.
#[test]
fn a_chain_of_two_hundred_thousand_operators() {
    let run = || {
        let x = var(&tensor(&[1.0, -2.0]));
        let length = 200_000;
        let mut y = x.tensor();
        for _ in 0..length / 4 {
            // A map, which keeps its input for the way back; a sum of two; a view; a join.
            y = y.affine(1.0, 1e-9).unwrap();
            y = (&y + 1e-9).unwrap().reshape((2, 1)).unwrap();
            y = (&y - &x.tensor().detach().reshape((2, 1)).unwrap()).unwrap();
            y = y.flatten_all().unwrap();
        }
        let store = y.backward().unwrap();
        assert_eq!(values(store.get(&x.tensor()).unwrap()), [1.0, 1.0]);
        drop(y);
        // And one that branches at every step.
        let mut y = x.tensor();
        for _ in 0..length / 2 {
            y = ((&y * 0.5).unwrap() + (&y * 0.5).unwrap()).unwrap();
        }
        let store = y.backward().unwrap();
        assert_eq!(values(store.get(&x.tensor()).unwrap()), [1.0, 1.0]);
        drop((y, store));
    };
    // On a stack that no recursion of this depth fits.
    std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap();
}

/// A bias added to what somebody else holds too: neither changes the other.
mod biases_in_place {
    use super::*;

    /// A freshly computed tensor of a few elements and of so many that its memory is pooled.
    fn fresh(x: &Var) -> Tensor {
        (x.tensor() * 3.0).unwrap()
    }

    fn cases() -> [(Var, Var); 2] {
        [&[2, 3, 2, 2][..], &[40, 3, 8, 4]].map(|shape| (var(&f64s(1, shape)), var(&f64s(2, &[3]))))
    }

    /// What `add_bias` gives when it must copy.
    fn expected(x: &Var, bias: &Var) -> Tensor {
        let y = fresh(x);
        let copied = ops::add_bias(&y, &bias.tensor()).unwrap();
        drop(y);
        copied
    }

    #[track_caller]
    fn check(what: &str, got: &Tensor, x: &Var, bias: &Var) {
        assert_same_bits(what, &got.detach(), &expected(x, bias).detach());
        for _ in 0..2 {
            let store = got.sqr().unwrap().backward().unwrap();
            let want = expected(x, bias).sqr().unwrap().backward().unwrap();
            for v in [x, bias] {
                assert_same_bits(what, &gradient(&store, v), &gradient(&want, v));
            }
        }
    }

    #[test]
    fn it_is_in_place_where_nothing_else_holds_it() {
        for (x, bias) in cases() {
            let y = fresh(&x);
            let place = y.elements::<f64>().unwrap().as_ptr();
            let y = ops::add_bias(y, &bias.tensor()).unwrap();
            assert_eq!(y.elements::<f64>().unwrap().as_ptr(), place);
            check("in place", &y, &x, &bias);
            // Again, on the result: a chain of steps in place.
            let twice = ops::add_bias(y, &bias.tensor()).unwrap();
            assert_eq!(twice.elements::<f64>().unwrap().as_ptr(), place);
            let store = twice.backward().unwrap();
            assert!(values(&gradient(&store, &x)).iter().all(|g| *g == 3.0));
            let count = 2.0 * twice.elem_count() as f64 / 3.0;
            assert_eq!(values(&gradient(&store, &bias)), [count; 3]);
        }
    }

    #[test]
    fn what_others_hold_stays() {
        for (x, bias) in cases() {
            let plain = values(&fresh(&x));
            type Keep = fn(&Tensor) -> Tensor;
            let held: [(&str, Keep); 5] = [
                ("a clone", Tensor::clone),
                ("a view of all", |y| y.narrow(0, 0, y.dim(0).unwrap()).unwrap()),
                ("a view of the first", |y| y.narrow(0, 0, 1).unwrap()),
                ("another shape", |y| y.flatten_all().unwrap()),
                ("detached", Tensor::detach),
            ];
            for (what, hold) in held {
                let y = fresh(&x);
                let kept = hold(&y);
                let y = ops::add_bias(y, &bias.tensor()).unwrap();
                assert_eq!(values(&kept), plain[..kept.elem_count()], "{what}");
                check(what, &y, &x, &bias);
                assert_eq!(values(&kept), plain[..kept.elem_count()], "{what}");
            }
        }
    }

    #[test]
    fn a_view_that_is_given_away() {
        for (x, bias) in cases() {
            let (plain, whole) = (values(&fresh(&x)), fresh(&x));
            let batch = whole.dim(0).unwrap();
            let part = |y: &Tensor| y.narrow(0, 1, batch - 1).unwrap();
            let want = ops::add_bias(part(&whole), &bias.tensor()).unwrap();
            assert_eq!(values(&whole), plain);
            // Of a tensor that is still held, of one that is held by the graph alone.
            for held in [true, false] {
                let source = fresh(&x);
                let view = part(&source);
                let kept = held.then(|| source.clone());
                drop(source);
                let y = ops::add_bias(view, &bias.tensor()).unwrap();
                assert_same_bits("values", &y.detach(), &want.detach());
                if let Some(kept) = kept {
                    assert_eq!(values(&kept), plain);
                }
                for _ in 0..2 {
                    let store = y.sqr().unwrap().backward().unwrap();
                    let wanted = want.sqr().unwrap().backward().unwrap();
                    for v in [&x, &bias] {
                        assert_same_bits("gradient", &gradient(&store, v), &gradient(&wanted, v));
                    }
                }
            }
        }
    }

    #[test]
    fn variables_stay() {
        for (x, bias) in cases() {
            let before = values(&x.value());
            ops::add_bias(x.tensor(), &bias.tensor()).unwrap();
            ops::add_bias(x.value(), &bias.tensor()).unwrap();
            ops::add_bias(x.tensor().detach(), &bias.tensor()).unwrap();
            ops::add_bias(x.tensor().reshape(x.dims()).unwrap(), &bias.tensor()).unwrap();
            assert_eq!(values(&x.value()), before);
            // A variable that is gone but for the tensor of it.
            let last = var(&x.value());
            let node = last.tensor();
            drop(last);
            let y = ops::add_bias(node, &bias.tensor()).unwrap();
            assert!(y.is_tracked());
            assert_eq!(values(&x.value()), before);
        }
    }

    /// Values that the way back of another operator needs.
    #[test]
    fn what_the_graph_saved_stays() {
        for (x, bias) in cases() {
            let channels = f64s(5, &[3]);
            type Use<'a> = Box<dyn Fn(&Tensor) -> Tensor + 'a>;
            let uses: [(&str, Use<'_>); 4] = [
                ("square", Box::new(|y| y.sqr().unwrap())),
                ("product", Box::new(|y| (y * y).unwrap())),
                ("pooling", Box::new(|y| ops::max_pool2d(y, 2, 2).unwrap())),
                ("norm", Box::new(|y| ops::batch_norm(y, &channels, &channels, 1e-5).unwrap().0)),
            ];
            for (what, of) in uses {
                let separate = of(&fresh(&x)).sqr().unwrap().backward().unwrap();
                let y = fresh(&x);
                let side = of(&y).sqr().unwrap();
                let y = ops::add_bias(y, &bias.tensor()).unwrap();
                for _ in 0..2 {
                    let store = side.backward().unwrap();
                    assert_same_bits(what, &gradient(&store, &x), &gradient(&separate, &x));
                }
                check(what, &y, &x, &bias);
            }
        }
    }

    /// A result that its own way back needs: where the rectifier of a residual block was open.
    #[test]
    fn a_result_that_its_own_gradient_needs_stays() {
        for (x, bias) in cases() {
            // The bias closes every rectifier that was open, and opens those that were closed.
            let large = Tensor::new([1e3, -1e3, 1e3]).unwrap();
            let residual = (x.value().sin().unwrap() * 3.0).unwrap();
            let block = || {
                let (gamma, beta) = (f64s(6, &[3]), bias.tensor());
                let tail = Tail::AddRelu(residual.clone());
                ops::batch_norm_fused(&x.tensor(), &gamma, &beta, 1e-5, None, &tail).unwrap().0
            };
            let g = f64s(7, &x.dims());
            let want = (block() * &g).unwrap().backward().unwrap();
            let y = (ops::add_bias(block(), &large).unwrap() * &g).unwrap();
            for _ in 0..2 {
                let store = y.backward().unwrap();
                for v in [&x, &bias] {
                    assert_same_bits("gradient", &gradient(&store, v), &gradient(&want, v));
                }
            }
        }
    }
}

/// The running statistics are no part of the graph, and a forward pass that moves them does not
/// change gradients of an earlier one.
#[test]
fn running_statistics_and_gradients() {
    let layer = BatchNorm::new("norm", 3, DType::F64).unwrap();
    let x = var(&f64s(1, &[6, 3]));
    let y = layer.forward(&x.tensor(), Mode::Eval).unwrap().sqr().unwrap();
    let before = gradient(&y.backward().unwrap(), &x);
    layer.forward(&f64s(2, &[6, 3]), Mode::Train { update_statistics: true }).unwrap();
    assert_same_bits("gradient", &gradient(&y.backward().unwrap(), &x), &before);
    for (_, buffer) in layer.buffers() {
        assert!(y.backward().unwrap().get(&buffer.tensor()).is_none());
    }
}

/// An empty batch: gradients of weights are zeros, whatever lies in recycled memory.
#[test]
fn empty_batches() {
    let weight = var(&f64s(1, &[64, 64]));
    drop(Tensor::full(7.0, (64, 64)).unwrap());
    let y = ops::linear(&Tensor::zeros((0, 64), DType::F64).unwrap(), &weight.tensor()).unwrap();
    drop(Tensor::full(7.0, (64, 64)).unwrap());
    let store = y.backward().unwrap();
    assert!(values(&gradient(&store, &weight)).iter().all(|g| *g == 0.0));
    let weight = var(&normal(1, &[32, 8, 3, 3], DType::F32));
    let x = Tensor::zeros((0, 8, 5, 5), DType::F32).unwrap();
    drop(Tensor::full(7f32, (32, 8, 3, 3)).unwrap());
    let y = ops::conv2d(&x, &weight.tensor(), ConvGeometry::default()).unwrap();
    let store = y.backward().unwrap();
    assert!(values(&gradient(&store, &weight)).iter().all(|g| *g == 0.0));
}

/// A gradient of another shape is an error that says so.
#[test]
fn a_wrong_gradient_is_an_error() {
    let x = var(&f64s(1, &[2, 3]));
    let y = f64s(2, &[2, 3]).with_gradient(&[&x.tensor()], |g| Ok(vec![Some(g.t()?)]));
    let error = y.backward().unwrap_err().to_string();
    assert!(error.contains("gradient") && error.contains("[2, 3]"), "{error}");
}
