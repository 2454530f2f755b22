//! A fused batch norm gives what the separate operators give: values, statistics and gradients,
//! to the last bit (zeros of either sign are one value).

use crate::common;

use common::{normal, values, var};
use pnn_core::ops::{self, ChannelStatistics, Tail};
use pnn_core::testing::strategies::{seed, shape, whole_numbers};
use pnn_core::{DType, Result, Seed, Tensor, Var};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    None,
    Relu,
    AddRelu,
    ReluMaxPool2,
}

fn fused(t: &[Tensor], given: Option<&ChannelStatistics>, kind: Kind) -> Result<Tensor> {
    let tail = match kind {
        Kind::None => Tail::None,
        Kind::Relu => Tail::Relu,
        Kind::AddRelu => Tail::AddRelu(t[3].clone()),
        Kind::ReluMaxPool2 => Tail::ReluMaxPool2,
    };
    let (y, statistics) = ops::batch_norm_fused(&t[0], &t[1], &t[2], 1e-5, given, &tail)?;
    match given {
        Some(given) => assert_eq!(&statistics, given),
        None => {
            let (_, want) = ops::batch_norm(&t[0], &t[1], &t[2], 1e-5)?;
            let bits = |s: &ChannelStatistics| {
                s.mean.iter().chain(&s.variance).map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!((bits(&statistics), statistics.count), (bits(&want), want.count));
        }
    }
    Ok(y)
}

fn separate(t: &[Tensor], given: Option<&ChannelStatistics>, kind: Kind) -> Result<Tensor> {
    let y = match given {
        Some(given) => ops::batch_norm_with(&t[0], &t[1], &t[2], 1e-5, given)?,
        None => ops::batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0,
    };
    match kind {
        Kind::None => Ok(y),
        Kind::Relu => ops::relu(&y),
        Kind::AddRelu => ops::relu(&(y + &t[3])?),
        Kind::ReluMaxPool2 => ops::max_pool2d(&ops::relu(&y)?, 2, 2),
    }
}

/// The same numbers; NaN where there is NaN.
#[track_caller]
fn assert_equal(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!((got.dims(), got.dtype()), (want.dims(), want.dtype()), "{what}");
    for (i, (got, want)) in values(got).into_iter().zip(values(want)).enumerate() {
        assert!(got == want || (got.is_nan() && want.is_nan()), "{what} {i}: {got} {want}");
    }
}

#[track_caller]
fn compare(inputs: &[Tensor], given: Option<&ChannelStatistics>, kind: Kind) {
    let inputs = if kind == Kind::AddRelu { inputs } else { &inputs[..3] };
    type Norm = fn(&[Tensor], Option<&ChannelStatistics>, Kind) -> Result<Tensor>;
    let run = |f: Norm| {
        let vars: Vec<Var> = inputs.iter().map(var).collect();
        let nodes: Vec<Tensor> = vars.iter().map(Var::tensor).collect();
        let y = f(&nodes, given, kind).unwrap();
        let g = normal(99, y.dims(), y.dtype());
        let store = (&y * &g).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = vars.iter().map(|v| store.get(&v.tensor()).unwrap().clone());
        [y.detach()].into_iter().chain(gradients).collect::<Vec<_>>()
    };
    let names = ["y", "dx", "dgamma", "dbeta", "dresidual"];
    for (name, (got, want)) in names.iter().zip(run(fused).iter().zip(&run(separate))) {
        let what = format!("{name} of {:?} {kind:?}, given: {}", inputs[0].dims(), given.is_some());
        assert_equal(&what, got, want);
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::None), Just(Kind::Relu), Just(Kind::AddRelu), Just(Kind::ReluMaxPool2)]
}

fn given(channels: usize) -> ChannelStatistics {
    // A mean that is a value of the inputs: the norm takes it to `beta`.
    ChannelStatistics { mean: vec![1.0; channels], variance: vec![0.6; channels], count: 0 }
}

/// Weights and biases of either sign, some of them 0.
fn channel_values(seed: &Seed, name: &str, channels: usize, dtype: DType) -> Tensor {
    let x = seed.child(name).tensor(rand_distr::StandardNormal, &[channels], DType::F64).unwrap();
    let x = values(&x).into_iter().map(|v| if v.abs() < 0.4 { 0.0 } else { v });
    Tensor::from_vec(x.collect(), channels).unwrap().to_dtype(dtype).unwrap()
}

/// Any shape; for pooling four dimensions and at least 2 x 2 pixels.
fn shape_for(kind: Kind) -> BoxedStrategy<Vec<usize>> {
    if kind == Kind::ReluMaxPool2 {
        (1..=3usize, 1..=4usize, 2..=9usize, 2..=9usize)
            .prop_map(|s| vec![s.0, s.1, s.2, s.3])
            .boxed()
    } else {
        shape(2..=5, 1..=5).boxed()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Few values: ties within windows, constant channels and windows, zeros after the norm.
    #[test]
    fn equals_the_separate_operators(
        (kind, x, r) in (kind(), prop_oneof![Just(DType::F32), Just(DType::F64)], 1..5i32)
            .prop_flat_map(|(kind, dtype, most)| (Just((kind, dtype, most)), shape_for(kind)))
            .prop_flat_map(|((kind, dtype, most), shape)| {
                let x = whole_numbers(&shape, 0..most, dtype);
                (Just(kind), x, whole_numbers(&shape, -1..2, dtype))
            }),
        of_batch in any::<bool>(),
        noise in any::<bool>(),
        hole in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
        seed in seed(),
    ) {
        let (channels, dtype) = (x.dim(1).unwrap(), x.dtype());
        prop_assume!(!of_batch || x.elem_count() / channels > 1);
        let mut xs = values(&x);
        if noise {
            let more = seed.child("x").tensor(rand_distr::StandardNormal, x.dims(), DType::F64);
            xs.iter_mut().zip(values(&more.unwrap())).for_each(|(x, more)| *x += more);
        }
        if let Some(hole) = hole {
            let at = hole.index(xs.len());
            xs[at] = f64::NAN;
        }
        let x = Tensor::from_vec(xs, x.shape()).unwrap().to_dtype(dtype).unwrap();
        let gamma = channel_values(&seed, "gamma", channels, dtype);
        let beta = channel_values(&seed, "beta", channels, dtype);
        let given = (!of_batch).then(|| given(channels));
        compare(&[x, gamma, beta, r], given.as_ref(), kind);
    }
}

/// Batches of several blocks and tasks, odd and even sizes, whole vectors and rests.
#[test]
fn in_several_blocks() {
    for shape in
        [&[70, 6, 15, 31][..], &[300, 37, 3, 3], &[37, 5, 16, 32], &[2100, 33], &[70, 3, 700]]
    {
        for dtype in [DType::F32, DType::F64] {
            let channels = [shape[1]];
            let inputs = [
                normal(1, shape, dtype),
                normal(2, &channels, dtype),
                normal(3, &channels, dtype),
                normal(4, shape, dtype),
            ];
            for given in [None, Some(&given(shape[1]))] {
                for kind in [Kind::None, Kind::Relu, Kind::AddRelu] {
                    compare(&inputs, given, kind);
                }
                if shape.len() == 4 {
                    compare(&inputs, given, Kind::ReluMaxPool2);
                }
            }
        }
    }
}

/// A tail that does not fit is an error.
#[test]
fn tails_that_do_not_fit() {
    let channels = normal(1, &[2], DType::F64);
    let norm = |x: &[usize], tail: Tail| {
        let x = normal(2, x, DType::F64);
        ops::batch_norm_fused(&x, &channels, &channels, 1e-5, None, &tail)
    };
    for x in [&[3, 2][..], &[3, 2, 4], &[3, 2, 1, 4], &[3, 2, 4, 1], &[3, 2, 2, 2, 2]] {
        assert!(norm(x, Tail::ReluMaxPool2).is_err(), "{x:?}");
    }
    for r in [&[3, 2, 4][..], &[2], &[1, 2, 4, 4], &[3, 2, 4, 5]] {
        assert!(norm(&[3, 2, 4, 4], Tail::AddRelu(normal(3, r, DType::F64))).is_err(), "{r:?}");
    }
    let narrow = normal(3, &[3, 2, 4, 4], DType::F32);
    assert!(norm(&[3, 2, 4, 4], Tail::AddRelu(narrow)).is_err());
}
