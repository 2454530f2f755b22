//! Every differentiable operator of `Tensor`, pooling and the fused batch norm against central
//! finite differences, all inputs varied.

use crate::common;

use common::{normal, uniform, values, var};
use pnn_core::ops::{self, ChannelStatistics, Tail};
use pnn_core::testing::{GradientCheck, check_gradients};
use pnn_core::{DType, Result, Tensor};

#[track_caller]
fn check(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::dims).collect();
    if let Err(error) = check_gradients(inputs, f, &GradientCheck::default()) {
        panic!("{shapes:?}: {error}");
    }
}

fn f64s(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape, DType::F64)
}

/// Values of either sign with magnitudes in [0.5, 1.5): divisors, and further than a step from 0.
fn away(seed: u64, shape: &[usize]) -> Tensor {
    let signed = values(&uniform(seed, shape, DType::F64)).into_iter().map(|u| {
        let u = 2.0 * u - 1.0;
        u + 0.5f64.copysign(u)
    });
    Tensor::from_vec(signed.collect(), shape).unwrap()
}

/// Positive values in [0.5, 1.5).
fn positive(seed: u64, shape: &[usize]) -> Tensor {
    away(seed, shape).abs().unwrap()
}

/// The same shapes, other ranks, sizes of 1 on either side and in the middle, scalars.
const PAIRS: [(&[usize], &[usize]); 13] = [
    (&[2, 3], &[2, 3]),
    (&[2, 3], &[3]),
    (&[3], &[2, 3]),
    (&[2, 1], &[1, 3]),
    (&[], &[2, 3]),
    (&[2, 3], &[]),
    (&[1], &[4]),
    (&[2, 1, 3], &[4, 1]),
    (&[1, 3, 1, 2], &[2, 1, 4, 1]),
    (&[2, 3, 1], &[1]),
    (&[1, 1], &[2, 2]),
    (&[5, 1], &[5, 7]),
    (&[], &[]),
];

#[test]
fn operators_with_broadcasting() {
    for (a, b) in PAIRS {
        let inputs = [f64s(1, a), away(2, b)];
        check(&inputs, |t| &t[0] + &t[1]);
        check(&inputs, |t| &t[0] - &t[1]);
        check(&inputs, |t| &t[0] * &t[1]);
        check(&inputs, |t| &t[0] / &t[1]);
        // Of one operand only: the other is a constant.
        check(&inputs[..1], |t| &t[0] / &inputs[1]);
        check(&inputs[1..], |t| &inputs[0] / &t[0]);
        check(&inputs[1..], |t| &inputs[0] - &t[0]);
    }
}

/// Borrowed or given away, the operands are the same, and the operands are in their order.
#[test]
fn all_forms_of_the_operators() {
    let (a, b) = (f64s(1, &[2, 3]), away(2, &[3]));
    macro_rules! forms {
        ($($op:tt)*) => {$(
            let want = values(&(&a $op &b).unwrap());
            assert_eq!(values(&(a.clone() $op &b).unwrap()), want);
            assert_eq!(values(&(&a $op b.clone()).unwrap()), want);
            assert_eq!(values(&(a.clone() $op b.clone()).unwrap()), want);
            let pairs = values(&a).into_iter().zip(values(&b).into_iter().cycle());
            assert_eq!(pairs.map(|(a, b)| a $op b).collect::<Vec<_>>(), want);
            let with = values(&(&a $op 0.25).unwrap());
            assert_eq!(values(&(a.clone() $op 0.25).unwrap()), with);
            assert_eq!(values(&a).into_iter().map(|a| a $op 0.25).collect::<Vec<_>>(), with);
        )*};
    }
    forms!(+ - * /);
}

#[test]
fn scalar_operands() {
    for shape in [&[2, 3][..], &[], &[1], &[3, 1, 2]] {
        let x = [f64s(1, shape)];
        check(&x, |t| &t[0] + 0.7);
        check(&x, |t| &t[0] - 0.7);
        check(&x, |t| &t[0] * -1.3);
        check(&x, |t| &t[0] / 1.7);
        check(&x, |t| -&t[0]);
        check(&x, |t| t[0].affine(-2.5, 0.75));
    }
}

#[test]
fn functions_of_one_element() {
    let shape = [3, 7];
    for x in [away(1, &shape), away(2, &[]), (away(3, &shape) * 5.0).unwrap()] {
        let x = [x];
        check(&x, |t| t[0].sqr());
        check(&x, |t| t[0].exp());
        check(&x, |t| t[0].sin());
        check(&x, |t| t[0].cos());
        check(&x, |t| t[0].tanh());
        check(&x, |t| t[0].abs());
        check(&x, |t| t[0].clamp(-0.9, 1.1));
        check(&x, |t| ops::relu(&t[0]));
    }
    let x = [positive(4, &shape)];
    check(&x, |t| t[0].sqrt());
    check(&x, |t| t[0].log());
}

/// At a kink there is no difference quotient: the derivatives are those of PyTorch.
#[test]
fn derivatives_at_kinks() {
    let derivative = |at: f64, f: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let x = var(&Tensor::from_scalar(at));
        let store = f(&x.tensor()).unwrap().backward().unwrap();
        store.get(&x.tensor()).unwrap().to_scalar::<f64>().unwrap()
    };
    for zero in [0.0, -0.0] {
        assert_eq!(derivative(zero, &Tensor::abs), 0.0);
        assert_eq!(derivative(zero, &|x| ops::relu(x)), 0.0);
    }
    assert_eq!(derivative(0.0, &Tensor::sqrt), f64::INFINITY);
    for (at, want) in [(-1.0, 1.0), (1.0, 1.0), (-1.0 - 1e-15, 0.0), (1.0 + 1e-15, 0.0)] {
        assert_eq!(derivative(at, &|x| x.clamp(-1.0, 1.0)), want, "{at}");
    }
}

#[test]
fn what_is_not_finite_is_found_wherever_it_stands() {
    for dtype in [DType::F32, DType::F64] {
        // The sum of these overflows f32, but each is finite.
        let finite = vec![3e38; 9];
        let tensor = |x: Vec<f64>| Tensor::from_vec(x, 9).unwrap().to_dtype(dtype).unwrap();
        assert!(tensor(finite.clone()).all_finite().unwrap());
        for (place, bad) in [(0, f64::NAN), (4, f64::INFINITY), (8, f64::NEG_INFINITY)] {
            let mut with = finite.clone();
            with[place] = bad;
            assert!(!tensor(with).all_finite().unwrap(), "{bad} at {place}");
        }
    }
}

#[test]
fn reductions_and_products() {
    for shape in [&[2, 5, 3][..], &[7], &[1, 4], &[3, 1], &[]] {
        let x = [f64s(1, shape)];
        check(&x, |t| t[0].sum_all());
        check(&x, |t| t[0].mean_all());
        for dim in 0..shape.len() {
            check(&x, |t| t[0].sum(dim));
            check(&x, |t| t[0].mean(dim));
        }
    }
    for (m, k, n) in [(1, 1, 1), (3, 5, 2), (34, 7, 3)] {
        let inputs = [f64s(1, &[m, k]), f64s(2, &[k, n])];
        check(&inputs, |t| t[0].matmul(&t[1]));
        check(&inputs[..1], |t| t[0].matmul(&inputs[1]));
        check(&inputs[1..], |t| inputs[0].matmul(&t[0]));
    }
}

#[test]
fn other_shapes() {
    let x = [f64s(1, &[2, 5, 3])];
    for (one, other) in [(0, 1), (0, 2), (1, 2), (2, 0), (1, 1)] {
        check(&x, |t| t[0].transpose(one, other));
    }
    check(&[f64s(2, &[3, 5])], |t| t[0].t());
    for (dim, start, length) in
        [(0, 0, 1), (0, 1, 1), (0, 0, 2), (1, 2, 3), (1, 4, 1), (2, 0, 2), (2, 1, 1), (1, 5, 0)]
    {
        check(&x, |t| t[0].narrow(dim, start, length));
        // Of a view: what is narrowed does not begin where its memory does.
        check(&x, |t| t[0].narrow(0, 1, 1)?.narrow(dim, 0, length.min(1)));
        check(&x, |t| t[0].reshape((10, 3))?.narrow(0, 3, 6)?.narrow(0, 2, 3)?.sqr());
    }
    check(&x, |t| t[0].reshape((3, 10)));
    check(&x, |t| t[0].reshape([1, 5, 1, 6]));
    check(&x, |t| t[0].flatten_all());
    check(&x, |t| t[0].flatten_from(1));
    check(&x, |t| t[0].flatten_from(0));
    // Operators on views: of the values and of the gradient.
    check(&x, |t| t[0].narrow(0, 1, 1)?.reshape((3, 5))?.t()?.sqr()?.narrow(0, 2, 2)?.sum(1));
    for (from, to) in [(&[3][..], &[2, 3][..]), (&[3, 1], &[4, 3, 2]), (&[], &[2, 2]), (&[2], &[2])]
    {
        check(&[f64s(3, from)], |t| t[0].broadcast_as(to));
    }
}

#[test]
fn joins() {
    for dim in 0..3 {
        let mut other = [2, 5, 3];
        other[dim] = 4;
        let inputs = [f64s(1, &[2, 5, 3]), f64s(2, &other)];
        check(&inputs, |t| Tensor::cat(&[&t[0], &t[1]], dim));
        // One of them twice, and one that is not tracked.
        check(&inputs, |t| Tensor::cat(&[&t[0], &t[1], &t[0]], dim)?.sqr());
        check(&inputs[..1], |t| Tensor::cat(&[&inputs[1], &t[0]], dim));
        check(&inputs, |t| Tensor::cat(&[&t[0], &t[1]], dim)?.narrow(dim, 1, 4));
    }
    check(&[f64s(1, &[2, 3]), f64s(2, &[2, 3])], |t| Tensor::stack(&[&t[0], &t[1], &t[0]]));
    check(&[f64s(1, &[]), f64s(2, &[])], |t| Tensor::stack(&[&t[0], &t[1]]));
}

/// f64 through f32 and back. The values and the step are multiples of 1/128, so that f32 holds
/// them exactly and the difference quotient of a linear function is exact.
#[test]
fn through_single_precision() {
    let x = (f64s(1, &[3, 4]) * 8.0).unwrap();
    let x = values(&x).into_iter().map(|v| (v.round() / 64.0).clamp(-1.0, 1.0)).collect();
    let x = Tensor::from_vec(x, (3, 4)).unwrap();
    let check = GradientCheck { step: 1.0 / 128.0, ..GradientCheck::default() };
    let through =
        |t: &[Tensor]| (t[0].to_dtype(DType::F32)? * 2.0)?.to_dtype(DType::F64)? * f64s(2, &[4]);
    check_gradients(std::slice::from_ref(&x), through, &check).unwrap();

    let node = var(&x);
    let y = node.tensor().to_dtype(DType::F32).unwrap();
    assert!(y.is_tracked());
    let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = store.get(&node.tensor()).unwrap();
    assert_eq!(gradient.dtype(), DType::F64);
    assert_eq!(values(gradient), values(&(x * 2.0).unwrap()));
    // Whole numbers have no gradient.
    assert!(!node.tensor().to_dtype(DType::U32).unwrap().is_tracked());
}

#[test]
fn a_tensor_used_several_times() {
    let x = [away(1, &[2, 3]), away(2, &[3])];
    check(&x, |t| &t[0] + &t[0]);
    check(&x, |t| &t[0] * &t[0]);
    check(&x, |t| (&t[0] / &t[0])? - t[0].sqr()?);
    check(&x, |t| {
        // An inner node with four consumers of different kinds, one of which is a view.
        let y = (&t[0] * &t[1])?;
        let first = y.narrow(0, 0, 1)?;
        let sum = (y.sqr()? + y.sin()?)?;
        let joined = Tensor::cat(&[&sum, &first, &y], 0)?;
        joined * &t[1]
    });
    check(&x, |t| {
        let mut y = t[0].clone();
        for _ in 0..5 {
            y = (&y + (&y * &t[1])?.tanh()?)?;
        }
        Ok(y)
    });
}

#[test]
fn detached_and_straight_through() {
    let (x, w) = (var(&away(1, &[2, 3])), away(2, &[2, 3]));
    // d(x * constant) where the constant has the value of x^2.
    let y = (&x.tensor() * x.tensor().sqr().unwrap().detach()).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    let square = values(&x.value().sqr().unwrap());
    assert_eq!(values(store.get(&x.tensor()).unwrap()), square);
    assert!(!x.tensor().detach().is_tracked() && x.tensor().is_tracked());
    let store = x.tensor().detach().sum_all().unwrap().backward().unwrap();
    assert!(store.get(&x.tensor()).is_none());

    // Values of the measurement, gradients of the model, into the model's inputs and weights.
    let weight = var(&w);
    let model = |x: &Tensor, w: &Tensor| ops::linear(&x.sin().unwrap(), w).unwrap();
    let gradients = |y: Tensor| {
        let store = (y * f64s(5, &[2, 2])).unwrap().sum_all().unwrap().backward().unwrap();
        [&x, &weight].map(|v| values(store.get(&v.tensor()).unwrap()))
    };
    let measured = f64s(3, &[2, 2]);
    let y = ops::straight_through(&model(&x.tensor(), &weight.tensor()), &measured).unwrap();
    assert_eq!(values(&y), values(&measured));
    assert_eq!(gradients(y), gradients(model(&x.tensor(), &weight.tensor())));
    // A measurement that was computed from a variable gets no gradient.
    let measured = var(&measured);
    let y = model(&x.tensor(), &weight.tensor());
    let y = ops::straight_through(&y, &measured.tensor()).unwrap();
    assert!(y.backward().unwrap().get(&measured.tensor()).is_none());
}

#[test]
fn average_pooling() {
    for (shape, size, stride) in [
        ([2, 2, 4, 6], 2, 2),
        ([1, 2, 7, 5], 3, 2),
        ([2, 1, 5, 5], 2, 3),
        ([1, 3, 4, 5], 3, 1),
        ([2, 2, 3, 2], 1, 2),
        ([1, 1, 5, 4], 4, 1),
    ] {
        check(&[f64s(1, &shape)], |t| ops::avg_pool2d(&t[0], size, stride));
    }
}

/// Of `x`, weight, bias and, where there is one, the other branch.
#[test]
fn fused_batch_norms() {
    let norm = |t: &[Tensor], given: Option<&ChannelStatistics>, tail: &Tail| {
        Ok(ops::batch_norm_fused(&t[0], &t[1], &t[2], 1e-5, given, tail)?.0)
    };
    for shape in [&[3, 2, 5, 7][..], &[2, 3, 4, 2], &[2, 2, 3, 3], &[5, 3], &[2, 3, 5]] {
        let channels = shape[1];
        let statistics = ChannelStatistics {
            mean: (0..channels).map(|c| 0.3 - 0.2 * c as f64).collect(),
            variance: (0..channels).map(|c| 0.7 + 0.4 * c as f64).collect(),
            count: 0,
        };
        let inputs =
            [f64s(11, shape), away(12, &[channels]), f64s(13, &[channels]), f64s(14, shape)];
        for given in [None, Some(&statistics)] {
            check(&inputs[..3], |t| norm(t, given, &Tail::None));
            check(&inputs[..3], |t| norm(t, given, &Tail::Relu));
            check(&inputs, |t| norm(t, given, &Tail::AddRelu(t[3].clone())));
            // Only the residual is tracked, all but it, and both branches from one tensor.
            check(&inputs[3..], |t| norm(&inputs, given, &Tail::AddRelu(t[0].clone())));
            check(&inputs[..3], |t| norm(t, given, &Tail::AddRelu(inputs[3].clone())));
            check(&inputs[..3], |t| norm(t, given, &Tail::AddRelu(t[0].sin()?)));
            if shape.len() == 4 {
                check(&inputs[..3], |t| norm(t, given, &Tail::ReluMaxPool2));
            }
        }
    }
}
