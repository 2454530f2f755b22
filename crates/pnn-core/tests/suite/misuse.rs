//! Wrong input of any kind is an error that names it, never a panic.

use crate::common;

use std::sync::Arc;

use common::{normal, tensor, zeros};
use num_complex::Complex;
use pnn_core::layers::BatchNorm;
use pnn_core::ops::{self, ChannelStatistics, ConvGeometry, Sampling, TransferFunction};
use pnn_core::testing::strategies::shape;
use pnn_core::{Bounds, DType, Error, Mode, Tensor, loss};
use proptest::prelude::*;

fn labels(values: &[u32]) -> Tensor {
    Tensor::new(values).unwrap()
}

fn is_shape_error<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Shape { .. }))
}

#[test]
fn fields_have_two_parts() {
    for shape in [&[3, 4][..], &[3, 1, 4], &[2, 3, 4], &[2], &[1, 2, 3, 4]] {
        assert!(is_shape_error(ops::power(&zeros(shape))), "{shape:?}");
        assert!(is_shape_error(ops::normalised_power(&zeros(shape))), "{shape:?}");
    }
    for shape in [[0, 2, 4], [3, 2, 0]] {
        assert_eq!(ops::normalised_power(&zeros(&shape)).unwrap().dims(), [shape[0], shape[2]]);
    }
}

#[test]
fn pictures_are_pairs_that_fit_their_transfer_function() {
    let function = |height, width, count| {
        let factors = vec![Complex::new(1.0, 0.0); height * width * count];
        Arc::new(TransferFunction::new(height, width, &factors).unwrap())
    };
    for shape in [&[2, 3][..], &[3, 4, 4], &[2, 0, 4], &[2, 4, 0], &[]] {
        assert!(is_shape_error(ops::fft2(&zeros(shape))), "{shape:?}");
        assert!(is_shape_error(ops::ifft2(&zeros(shape))), "{shape:?}");
        assert!(is_shape_error(ops::transfer(&zeros(shape), &function(4, 4, 1))), "{shape:?}");
        assert!(is_shape_error(ops::phase_shift(&zeros(shape), &zeros(&[4, 4]))), "{shape:?}");
        let product = ops::complex_product(&zeros(shape), &zeros(&[2, 4, 4]));
        assert!(is_shape_error(product), "{shape:?}");
    }
    for shape in [[2, 5, 4], [2, 4, 5]] {
        let error = ops::transfer(&zeros(&shape), &function(4, 4, 1)).unwrap_err().to_string();
        assert!(error.contains("(..., 2, <= 4, <= 4)"), "{error}");
    }
    for shape in [&[2, 4, 4][..], &[2, 2, 4, 4], &[3, 1, 2, 4, 4]] {
        assert!(is_shape_error(ops::transfer(&zeros(shape), &function(4, 4, 3))), "{shape:?}");
    }
    assert_eq!(ops::transfer(&zeros(&[0, 2, 4, 4]), &function(4, 4, 1)).unwrap().dims()[0], 0);
    for angle in [&[4][..], &[4, 3], &[2, 4, 4], &[3, 4, 4]] {
        assert!(
            is_shape_error(ops::phase_shift(&zeros(&[5, 2, 4, 4]), &zeros(angle))),
            "{angle:?}"
        );
    }
    for (height, width, factors) in
        [(0, 4, vec![]), (2, 2, vec![0.0; 3]), (1, 1, vec![]), (1, 1, vec![f64::NAN])]
    {
        let factors: Vec<_> = factors.into_iter().map(|re| Complex::new(re, 0.0)).collect();
        assert!(TransferFunction::new(height, width, &factors).is_err(), "{height} {width}");
    }
}

#[test]
fn motions_are_finite_and_of_the_plane() {
    let still = Tensor::new([[1.0, 0.0], [0.0, 1.0]]).unwrap();
    let run = |x: &[usize], linear: &Tensor, shift: &[f64]| {
        ops::resample(&zeros(x), linear, &tensor(shift), Sampling::Bilinear)
    };
    assert_eq!(run(&[3, 0, 4], &still, &[0.0, 0.0]).unwrap().dims(), [3, 0, 4]);
    assert!(is_shape_error(run(&[4], &still, &[0.0, 0.0])));
    assert!(is_shape_error(run(&[4, 4], &tensor(&[1.0, 1.0]), &[0.0, 0.0])));
    assert!(is_shape_error(run(&[4, 4], &still, &[0.0])));
    for bad in [f64::NAN, f64::INFINITY] {
        let error = run(&[4, 4], &still, &[0.0, bad]).unwrap_err().to_string();
        assert!(error.contains("part of a motion") && error.contains("finite"), "{error}");
    }
    // Without a motion the very bits, the sign of zero too.
    let x = tensor(&[-0.0, 1.0, 2.0, f64::MIN_POSITIVE]).reshape([2, 2]).unwrap();
    for sampling in [Sampling::Nearest, Sampling::Bilinear] {
        let y = ops::resample(&x, &still, &tensor(&[0.0, 0.0]), sampling).unwrap();
        common::assert_same_bits("still", &y, &x);
    }
}

#[test]
fn places_lie_in_the_tensor() {
    let take =
        |places: &[Option<u32>], shape: usize| ops::take(&zeros(&[2, 2]), &places.into(), shape);
    assert_eq!(take(&[], 0).unwrap().elem_count(), 0);
    assert!(take(&[Some(3), None], 3).is_err());
    let error = take(&[None, Some(4)], 2).unwrap_err().to_string();
    assert!(error.contains("place among 4 values is 4"), "{error}");
}

#[test]
fn cascades() {
    let wiring = |ports, columns: &[&[(usize, usize)]]| {
        let columns = columns.iter().map(|column| column.to_vec()).collect();
        ops::Wiring::new(ports, columns)
    };
    assert!(wiring(0, &[]).unwrap_err().to_string().contains("number of ports is 0"));
    let twice = wiring(4, &[&[(0, 1), (1, 2)]]).unwrap_err().to_string();
    assert!(twice.contains("column 0 is 1") && twice.contains("one matrix"), "{twice}");
    assert!(wiring(4, &[&[], &[(2, 2)]]).is_err());
    let beyond = wiring(4, &[&[(0, 4)]]).unwrap_err().to_string();
    assert!(beyond.contains("of 4 ports is 4"), "{beyond}");
    let wiring = std::sync::Arc::new(wiring(4, &[&[(0, 1), (3, 2)], &[(2, 1)]]).unwrap());
    let run = |cells: &[usize], diagonal: &[usize]| {
        ops::cascade(&wiring, &zeros(cells), &zeros(diagonal))
    };
    assert_eq!(run(&[5, 3, 2, 2, 2], &[5, 4, 2]).unwrap().dims(), [5, 2, 4, 4]);
    assert_eq!(run(&[0, 3, 2, 2, 2], &[0, 4, 2]).unwrap().dims(), [0, 2, 4, 4]);
    for (cells, diagonal) in [
        (&[1, 2, 2, 2, 2][..], &[1, 4, 2][..]),
        (&[1, 3, 2, 2], &[1, 4, 2]),
        (&[2, 3, 2, 2, 2], &[1, 4, 2]),
        (&[1, 3, 2, 2, 2], &[1, 3, 2]),
        (&[], &[]),
    ] {
        assert!(is_shape_error(run(cells, diagonal)), "{cells:?} {diagonal:?}");
    }
}

#[test]
fn convolutions() {
    let conv = |x: &[usize], w: &[usize], stride, padding| {
        ops::conv2d(&zeros(x), &zeros(w), ConvGeometry { stride, padding })
    };
    let w = [2, 3, 3, 3];
    assert!(conv(&[1, 3, 3, 3], &w, 1, 0).is_ok());
    for (x, w, stride, padding) in [
        (&[1, 2, 5, 5][..], &w[..], 1, 0),    // channels
        (&[3, 5, 5], &w, 1, 0),               // no batch
        (&[1, 3, 5, 5], &[2, 3, 3], 1, 0),    // rank of the kernel
        (&[1, 3, 2, 5], &w, 1, 0),            // kernel too high
        (&[1, 3, 5, 2], &w, 1, 0),            // kernel too wide
        (&[1, 3, 5, 5], &w, 0, 0),            // stride
        (&[1, 3, 5, 5], &[2, 3, 0, 3], 1, 0), // kernel of no rows
        (&[1, 3, 5, 5], &[2, 3, 3, 0], 1, 0),
        (&[1, 3, 5, 5], &[0, 3, 3, 3], 1, 0), // no outputs
        (&[1, 0, 5, 5], &[2, 0, 3, 3], 1, 0), // no channels
        (&[1, 3, 0, 5], &w, 1, 2),            // no rows, but padding
        (&[1, 3, 5, 0], &w, 1, 2),
        (&[1, 3, 5, 5], &w, 1, usize::MAX),
        (&[1, 3, 5, 5], &w, 1, usize::MAX / 2),
    ] {
        assert!(is_shape_error(conv(x, w, stride, padding)), "{x:?} {w:?} {stride} {padding}");
    }
    assert_eq!(conv(&[0, 3, 5, 5], &w, 1, 1).unwrap().dims(), [0, 2, 5, 5]);
}

#[test]
fn transposed_and_interleaved_convolutions() {
    let transposed = |x: &[usize], w: &[usize], stride, padding, output_padding| {
        let geometry = ConvGeometry { stride, padding };
        ops::conv_transpose2d(&zeros(x), &zeros(w), geometry, output_padding)
    };
    let w = [3, 2, 3, 3];
    assert_eq!(transposed(&[1, 3, 2, 2], &w, 2, 1, 1).unwrap().dims(), [1, 2, 4, 4]);
    assert_eq!(transposed(&[0, 3, 2, 2], &w, 2, 1, 1).unwrap().dims(), [0, 2, 4, 4]);
    for (x, w, stride, padding, output_padding) in [
        (&[1, 2, 2, 2][..], &w[..], 1, 0, 0), // channels
        (&[3, 2, 2], &w, 1, 0, 0),            // no batch
        (&[1, 3, 2, 2], &[3, 2, 3], 1, 0, 0), // rank of the kernel
        (&[1, 3, 2, 2], &w, 0, 0, 0),         // stride
        (&[1, 3, 2, 2], &w, 2, 0, 2),         // output padding
        (&[1, 3, 1, 2], &w, 1, 2, 0),         // nothing left
        (&[1, 3, 0, 2], &w, 1, 0, 0),         // no rows
        (&[1, 3, 2, 2], &[3, 0, 3, 3], 1, 0, 0),
        (&[1, 3, 2, 2], &w, 1, usize::MAX, 0),
        (&[1, 3, 2, 2], &w, usize::MAX, 0, 1),
    ] {
        let result = transposed(x, w, stride, padding, output_padding);
        assert!(is_shape_error(result), "{x:?} {w:?} {stride} {padding} {output_padding}");
    }
    let grouped = |x: &[usize], w: &[usize], groups| {
        ops::conv2d_interleaved(&zeros(x), &zeros(w), ConvGeometry::default(), groups)
    };
    let w = [4, 3, 3, 3];
    assert_eq!(grouped(&[2, 6, 3, 4, 5], &w, 2).unwrap().dims(), [2, 4, 1, 2, 5]);
    for (x, groups) in [
        (&[2, 6, 3, 4, 5][..], 1),
        (&[2, 6, 3, 4, 5], 3),
        (&[2, 0, 3, 4, 5], 0),
        (&[2, 6, 2, 4, 5], 2),
        (&[2, 6, 3, 4], 2),
        (&[2, 6, 3, 4, 0], 2),
    ] {
        assert!(is_shape_error(grouped(x, &w, groups)), "{x:?} {groups}");
    }
    assert!(is_shape_error(ops::interleave(&zeros(&[6, 2]), 4)));
    assert!(is_shape_error(ops::interleave(&zeros(&[6, 2]), 0)));
    assert!(is_shape_error(ops::deinterleave(&zeros(&[6]))));
    assert_eq!([6000, 64, 16, 35, 5003, 0].map(ops::lanes), [48, 32, 16, 35, 1, 48]);
}

#[test]
fn pools_and_products() {
    for (x, size, stride) in [
        (&[1, 1, 3, 3][..], 4, 1),
        (&[1, 1, 3, 3], 0, 1),
        (&[1, 1, 3, 3], 2, 0),
        (&[1, 3, 3], 2, 2),
        (&[1, 0, 3, 3], 2, 2),
        (&[1, 1, 0, 3], 1, 1),
    ] {
        assert!(is_shape_error(ops::max_pool2d(&zeros(x), size, stride)), "{x:?} {size} {stride}");
    }
    assert_eq!(ops::max_pool2d(&zeros(&[0, 1, 4, 4]), 2, 2).unwrap().dims(), [0, 1, 2, 2]);
    for (x, w) in [
        (&[2, 3][..], &[4, 2][..]),
        (&[3], &[4, 3]),
        (&[2, 3], &[3]),
        (&[2, 3], &[0, 3]),
        (&[2, 0], &[4, 0]),
    ] {
        assert!(is_shape_error(ops::linear(&zeros(x), &zeros(w))), "{x:?} {w:?}");
    }
    assert_eq!(ops::linear(&zeros(&[0, 3]), &zeros(&[4, 3])).unwrap().dims(), [0, 4]);
    for (x, b) in [(&[2, 3][..], &[2][..]), (&[3], &[3]), (&[2, 3], &[1, 3]), (&[], &[1])] {
        assert!(is_shape_error(ops::add_bias(zeros(x), &zeros(b))), "{x:?} {b:?}");
    }
}

#[test]
fn batch_norms() {
    let norm = |x: &[usize], c: usize| {
        let channels = zeros(&[c]);
        let given = ChannelStatistics { mean: vec![0.0; c], variance: vec![1.0; c], count: 0 };
        let with = ops::batch_norm_with(&zeros(x), &channels, &channels, 1e-5, &given);
        (ops::batch_norm(&zeros(x), &channels, &channels, 1e-5), with)
    };
    for (x, c) in [(&[2, 3][..], 2), (&[3], 3), (&[], 1), (&[2, 0], 0), (&[2, 3, 0], 3)] {
        let (of_batch, with) = norm(x, c);
        assert!(is_shape_error(of_batch), "{x:?}");
        assert!(is_shape_error(with), "{x:?}");
    }
    // Statistics of nothing, or of one value, are errors; given ones are not.
    for x in [[0, 3], [1, 3]] {
        let (of_batch, with) = norm(&x, 3);
        assert!(is_shape_error(of_batch), "{x:?}");
        assert_eq!(with.unwrap().dims(), x);
    }
    let channels = zeros(&[3]);
    let short = ChannelStatistics { mean: vec![0.0; 2], variance: vec![1.0; 3], count: 0 };
    let x = zeros(&[2, 3]);
    assert!(ops::batch_norm_with(&x, &channels, &channels, 1e-5, &short).is_err());
    let layer = BatchNorm::new("norm", 3, DType::F64).unwrap();
    for mode in [Mode::Train { update_statistics: true }, Mode::Calibrate { seen: 0 }] {
        assert!(layer.forward(&zeros(&[1, 3]), mode).is_err());
        assert!(layer.forward(&zeros(&[0, 3]), mode).is_err());
        assert!(layer.forward(&zeros(&[4, 2]), mode).is_err());
    }
    // A layer of another dtype.
    assert!(layer.forward(&normal(1, &[4, 3], DType::F32), Mode::Eval).is_err());
}

#[test]
fn complex_batch_norms() {
    let norm = |x: &[usize], weight: &[usize], bias: &[usize], given: Option<usize>| {
        let given = given.map(|n| ops::ComplexStatistics {
            mean: vec![[0.0; 2]; n],
            covariance: vec![[1.0, 1.0, 0.0]; n],
            count: 0,
        });
        let (weight, bias) = (zeros(weight), zeros(bias));
        ops::complex_batch_norm(&zeros(x), &weight, &bias, 1e-5, given.as_ref(), false)
    };
    assert!(norm(&[2, 12, 3], &[2, 3, 3], &[2, 2, 3], None).is_ok());
    assert!(norm(&[0, 12, 3], &[2, 3, 3], &[2, 2, 3], Some(6)).is_ok());
    for (x, weight, bias, given) in [
        (&[2, 12][..], &[2, 3, 3][..], &[2, 2, 4][..], None),
        (&[2, 12], &[2, 2, 3], &[2, 2, 3], None),
        (&[2, 11], &[2, 3, 3], &[2, 2, 3], None),
        (&[12], &[2, 3, 3], &[2, 2, 3], None),
        (&[2, 0], &[0, 3, 3], &[0, 2, 3], None),
        (&[1, 12], &[2, 3, 3], &[2, 2, 3], None), // one value
        (&[2, 12, 0], &[2, 3, 3], &[2, 2, 3], None),
        (&[2, 12], &[2, 3, 3], &[2, 2, 3], Some(5)),
    ] {
        assert!(is_shape_error(norm(x, weight, bias, given)), "{x:?} {weight:?} {bias:?}");
    }
}

#[test]
fn losses() {
    let z = zeros(&[2, 3]);
    let error = loss::cross_entropy(&z, &labels(&[0, 3])).unwrap_err().to_string();
    assert!(error.contains("label") && error.contains('3'), "{error}");
    assert!(loss::cross_entropy(&z, &labels(&[0])).is_err());
    assert!(loss::cross_entropy(&z, &tensor(&[0.0, 1.0])).is_err());
    assert!(loss::cross_entropy(&zeros(&[0, 3]), &labels(&[])).is_err());
    assert!(loss::cross_entropy(&zeros(&[2, 0]), &labels(&[0, 0])).is_err());
    assert!(loss::cross_entropy(&zeros(&[3]), &labels(&[0, 0, 0])).is_err());
    assert!(loss::mean_squared_error(&z, &zeros(&[3, 2])).is_err());
    assert!(loss::mean_squared_error(&zeros(&[0]), &zeros(&[0])).is_err());
    assert!(loss::kl_divergence(&z, &zeros(&[3, 2]), 1.0).is_err());
    assert!(loss::kl_divergence(&z, &z.to_dtype(DType::F32).unwrap(), 1.0).is_err());
    assert!(loss::kl_divergence(&zeros(&[0, 3]), &zeros(&[0, 3]), 1.0).is_err());
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = loss::kl_divergence(&z, &z, bad).unwrap_err().to_string();
        assert!(error.contains("temperature") && error.contains("(0, infinity)"), "{error}");
    }
    // NaN and infinity show.
    for bad in [f64::NAN, f64::INFINITY] {
        let z = tensor(&[bad, 0.0]).reshape((1, 2)).unwrap();
        let value: f64 = loss::cross_entropy(&z, &labels(&[1])).unwrap().to_scalar().unwrap();
        assert!(!value.is_finite(), "{bad}: {value}");
        let value: f64 =
            loss::mean_squared_error(&z, &zeros(&[1, 2])).unwrap().to_scalar().unwrap();
        assert!(!value.is_finite());
        let value: f64 =
            loss::kl_divergence(&z, &zeros(&[1, 2]), 2.0).unwrap().to_scalar().unwrap();
        assert!(!value.is_finite());
    }
}

#[test]
fn nan_passes_through_the_kernels() {
    let x = Tensor::full(f64::NAN, (2, 2, 4, 4)).unwrap();
    let w = normal(1, &[2, 2, 3, 3], DType::F64);
    let channels = normal(2, &[2], DType::F64);
    for y in [
        ops::relu(&x),
        ops::sigmoid(&x),
        ops::max_pool2d(&x, 2, 2),
        ops::conv2d(&x, &w, ConvGeometry::default()),
        ops::add_bias(&x, &channels),
        ops::batch_norm(&x, &channels, &channels, 1e-5).map(|(y, _)| y),
        ops::linear(&x.flatten_from(1).unwrap(), &normal(3, &[2, 32], DType::F64)),
    ] {
        assert!(common::values(&y.unwrap()).iter().all(|v| v.is_nan()));
    }
    // One NaN in a window wins over every number, wherever it is.
    for place in 0..4 {
        let mut window = [1.0, 5.0, -3.0, 2.0];
        window[place] = f64::NAN;
        let x = tensor(&window).reshape((1, 1, 2, 2)).unwrap();
        assert!(common::values(&ops::max_pool2d(&x, 2, 2).unwrap())[0].is_nan(), "{place}");
    }
}

#[test]
fn other_dtypes() {
    let x = Tensor::zeros((2, 3), DType::U32).unwrap();
    assert!(ops::relu(&x).is_err());
    assert!(ops::linear(&x, &x).is_err());
    // Of two dtypes.
    let narrow = normal(1, &[2, 3], DType::F32);
    assert!(ops::linear(&narrow, &zeros(&[4, 3])).is_err());
    assert!(ops::add_bias(&narrow, &zeros(&[3])).is_err());
    assert!(ops::straight_through(&narrow, &zeros(&[2, 3])).is_err());
    assert!(ops::straight_through(&narrow, &narrow.t().unwrap()).is_err());
}

#[test]
fn bounds() {
    for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::NAN)] {
        assert!(matches!(Bounds::new(low, high), Err(Error::Range { .. })), "{low} {high}");
    }
    let bounds = Bounds::new(-1.0, 1.0).unwrap();
    assert!(bounds.contains(1.0) && !bounds.contains(1.1) && !bounds.contains(f64::NAN));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Any two shapes, sizes of 0 included, give a result or an error.
    #[test]
    fn no_shape_panics(
        a in shape(0..=4, 0..=3),
        b in shape(0..=4, 0..=3),
        stride in 0..3usize,
        padding in 0..3usize,
        size in 0..4usize,
    ) {
        let (x, w) = (zeros(&a), zeros(&b));
        let _ = ops::conv2d(&x, &w, ConvGeometry { stride, padding });
        let _ = ops::conv_transpose2d(&x, &w, ConvGeometry { stride, padding }, size);
        let _ = ops::max_pool2d(&x, size, stride);
        let _ = ops::linear(&x, &w);
        let _ = ops::add_bias(&x, &w);
        let _ = ops::relu(&x);
        let _ = ops::batch_norm(&x, &w, &w, 1e-5);
        let given = ChannelStatistics { mean: vec![0.0; size], variance: vec![1.0; size], count: 0 };
        let _ = ops::batch_norm_with(&x, &w, &w, 1e-5, &given);
        let _ = ops::straight_through(&x, &w);
        let _ = loss::mean_squared_error(&x, &w);
        let _ = loss::cross_entropy(&x, &w.to_dtype(DType::U32).unwrap());
    }

    /// And so do their backward passes.
    #[test]
    fn no_backward_pass_panics(
        (batch, channels, height, width) in (0..3usize, 0..3usize, 0..4usize, 0..4usize),
        (outputs, rows, columns) in (0..3usize, 0..4usize, 0..4usize),
        stride in 0..3usize,
        padding in 0..3usize,
    ) {
        let x = common::var(&zeros(&[batch, channels, height, width]));
        let w = common::var(&zeros(&[outputs, channels, rows, columns]));
        let geometry = ConvGeometry { stride, padding };
        let mut results = vec![
            ops::conv2d(&x.tensor(), &w.tensor(), geometry),
            ops::conv_transpose2d(&x.tensor(), &w.tensor(), geometry, 0),
            ops::max_pool2d(&x.tensor(), rows, stride),
            ops::relu(&x.tensor()),
        ];
        let channels = common::var(&zeros(&[channels]));
        let channels = channels.tensor();
        results.push(ops::add_bias(x.tensor(), &channels));
        results.push(ops::batch_norm(&x.tensor(), &channels, &channels, 1e-5).map(|(y, _)| y));
        for y in results.into_iter().flatten() {
            let _ = y.sum_all().unwrap().backward();
        }
    }
}
