//! Every kernel, layer and loss against central finite differences, all inputs varied.

use crate::common;

use std::sync::Arc;

use common::{assert_close, normal, tensor, uniform, values};
use num_complex::Complex;
use pnn_core::layers::{BatchNorm, ComplexBatchNorm, Learning};
use pnn_core::ops::{self, ConvGeometry, Packing, Sampling, TransferFunction, Wiring};
use pnn_core::testing::{GradientCheck, GradientError, check_gradients, check_same_bits};
use pnn_core::{DType, Mode, Result, Tensor, loss};

#[track_caller]
fn check(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_gradients(inputs, f, &GradientCheck::default()).unwrap();
}

fn f64s(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape, DType::F64)
}

/// Values of either sign that are all at least 0.1 apart, so that no step meets a kink or a tie.
fn distinct(seed: u64, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let order = common::values(&uniform(seed, &[n], DType::F64));
    let mut index: Vec<usize> = (0..n).collect();
    index.sort_by(|a, b| order[*a].total_cmp(&order[*b]));
    let spread: Vec<f64> =
        index.iter().map(|i| 0.1 * (*i as f64 - (n / 2) as f64) + 0.05).collect();
    Tensor::from_vec(spread, shape).unwrap()
}

#[test]
fn convolutions() {
    for (x, w, stride, padding) in [
        ([1, 1, 1, 1], [1, 1, 1, 1], 1, 0),
        ([2, 3, 5, 4], [2, 3, 3, 3], 1, 1),
        ([2, 2, 7, 5], [3, 2, 3, 2], 2, 0),
        ([3, 1, 6, 7], [2, 1, 5, 5], 3, 2),
        ([1, 2, 2, 3], [2, 2, 3, 3], 2, 3),
        ([10, 1, 3, 3], [1, 1, 2, 2], 1, 0),
    ] {
        let geometry = ConvGeometry { stride, padding };
        check(&[f64s(1, &x), f64s(2, &w)], |t| ops::conv2d(&t[0], &t[1], geometry));
    }
}

#[test]
fn transposed_and_interleaved_convolutions() {
    for (blocks, groups, channels, outputs, side, kernel, stride, padding, output_padding, lanes) in [
        (1, 1, 1, 1, 1, 1, 1, 0, 0, 1),
        (2, 1, 2, 3, 2, 3, 2, 1, 1, 3),
        (1, 2, 2, 1, 3, 2, 1, 1, 0, 2),
        (3, 1, 1, 2, 2, 3, 3, 0, 2, 1),
    ] {
        let geometry = ConvGeometry { stride, padding };
        let weight = f64s(2, &[groups * channels, outputs, kernel, kernel]);
        let x = f64s(1, &[blocks, groups * channels, side, side, lanes]);
        check(&[x, weight.clone()], |t| {
            ops::conv_transpose2d_interleaved(&t[0], &t[1], geometry, output_padding, groups)
        });
        if groups == 1 {
            check(&[f64s(1, &[blocks, channels, side, side]), weight.clone()], |t| {
                ops::conv_transpose2d(&t[0], &t[1], geometry, output_padding)
            });
        }
        let x = f64s(1, &[blocks, groups * outputs, side + 2, side + 1, lanes]);
        check(&[x, weight], |t| ops::conv2d_interleaved(&t[0], &t[1], geometry, groups));
    }
    check(&[f64s(1, &[6, 2, 3])], |t| ops::interleave(&t[0], 3));
    check(&[f64s(1, &[2, 2, 3])], |t| ops::deinterleave(&t[0]));
}

#[test]
fn cascades() {
    for (chips, ports, columns) in [
        (1, 2, vec![vec![(0, 1)]]),
        (2, 4, vec![vec![(0, 1), (3, 2)], vec![(2, 1)], vec![(0, 3)]]),
        (1, 34, vec![vec![(0, 33)], vec![(31, 32), (0, 1)]]),
    ] {
        let wiring = Arc::new(Wiring::new(ports, columns).unwrap());
        let cells = f64s(1, &[chips, wiring.cells(), 2, 2, 2]);
        check(&[cells, f64s(2, &[chips, ports, 2])], |t| ops::cascade(&wiring, &t[0], &t[1]));
    }
}

#[test]
fn detection() {
    for shape in [[1, 2, 1], [3, 2, 4], [2, 2, 37]] {
        check(&[f64s(1, &shape)], |t| ops::power(&t[0]));
        check(&[f64s(2, &shape)], |t| ops::normalised_power(&t[0]));
    }
    // Light that is weaker than what powers are divided by, and none at all.
    let dark = (f64s(3, &[2, 2, 5]) * 1e-9).unwrap();
    let scaled = |t: &[Tensor]| ops::normalised_power(&(&t[0] * 1e-9)?)? * 1e6;
    check(&[f64s(3, &[2, 2, 5])], scaled);
    let powers = ops::power(&dark).unwrap();
    let want = values(&powers).into_iter().map(|p| p / 1e-12).collect();
    let want = Tensor::from_vec(want, [2, 5]).unwrap();
    assert_close("dark", &ops::normalised_power(&dark).unwrap(), &want, 1e-12, 0.0);
    let mut one_nan = values(&f64s(3, &[1, 2, 5]));
    one_nan[4] = f64::NAN;
    let one_nan = Tensor::from_vec(one_nan, [1, 2, 5]).unwrap();
    assert!(values(&ops::normalised_power(&one_nan).unwrap()).iter().all(|p| p.is_nan()));
    let zeros = f64s(3, &[2, 2, 5]).zeros_like().unwrap();
    assert_eq!(values(&ops::normalised_power(&zeros).unwrap()), [0.0; 10]);
}

#[test]
fn fields_and_their_spectra() {
    let factors = |height: usize, width: usize, count: usize| {
        let parts = values(&f64s(7, &[2 * height * width * count]));
        let factors: Vec<_> = parts.chunks(2).map(|p| Complex::new(p[0], p[1])).collect();
        Arc::new(TransferFunction::new(height, width, &factors).unwrap())
    };
    for (shape, size, count) in [
        (&[2, 1, 1][..], (1, 1), 1),
        (&[2, 2, 3, 4], (3, 4), 1),
        (&[2, 2, 3, 2], (5, 6), 1),
        (&[2, 3, 2, 2, 3], (4, 3), 3),
    ] {
        let field = f64s(1, shape);
        check(std::slice::from_ref(&field), |t| ops::fft2(&t[0]));
        check(std::slice::from_ref(&field), |t| ops::ifft2(&t[0]));
        let function = factors(size.0, size.1, count);
        check(std::slice::from_ref(&field), |t| ops::transfer(&t[0], &function));
        // Factors and angles for each picture, and shared by all.
        for first in [shape.len() - 3, 0] {
            check(&[field.clone(), f64s(2, &shape[first..])], |t| {
                ops::complex_product(&t[0], &t[1])
            });
            let mut angle = shape[first..].to_vec();
            angle.remove(angle.len() - 3);
            check(&[field.clone(), f64s(3, &angle)], |t| ops::phase_shift(&t[0], &t[1]));
        }
    }
    let field = f64s(1, &[3, 4, 2]);
    check(&[field, f64s(2, &[3, 4])], |t| {
        ops::fft2(&ops::phase_shift(&t[0].transpose(0, 2)?, &t[1].t()?)?)
    });
}

/// Moved so that no pixel falls on another or on an edge, where bilinear sampling has kinks.
#[test]
fn pictures_that_are_moved() {
    for (shape, angle, scale, shift) in [
        (&[1, 1][..], 0.3, 1.0, [0.21, -0.13]),
        (&[2, 5, 4], 0.2, 1.1, [0.37, -1.71]),
        (&[2, 3, 6, 7], -1.3, 0.8, [-0.43, 0.19]),
    ] {
        let (sin, cos) = f64::sin_cos(angle);
        let linear = tensor(&[cos, sin, -sin, cos + 0.1]).reshape([2, 2]).unwrap();
        let linear = (linear / scale).unwrap();
        let inputs = [f64s(1, shape), linear, tensor(&shift)];
        check(&inputs, |t| ops::resample(&t[0], &t[1], &t[2], Sampling::Bilinear));
        check(&inputs[..1], |t| ops::resample(&t[0], &inputs[1], &inputs[2], Sampling::Nearest));
        let still = [&inputs[1], &inputs[2]].map(|t| t.clone());
        check(&still, |t| ops::resample(&inputs[0], &t[0], &t[1], Sampling::Bilinear));
        // On the pixels themselves, where both sides have a slope of their own: that of central differences.
        let identity = tensor(&[1.0, 0.0, 0.0, 1.0]).reshape([2, 2]).unwrap();
        for shift in [[0.0, 0.0], [1.0, -1.0]] {
            let motion = [identity.clone(), tensor(&shift)];
            check(&motion, |t| ops::resample(&inputs[0], &t[0], &t[1], Sampling::Bilinear));
        }
    }
}

/// Values in three pictures of 4 x 5: some twice, some nowhere, some read where another one stands, and the last picture
/// lacks two.
#[test]
fn values_in_pictures_that_are_moved() {
    let (count, each, values_of_all) = (3, 5, 13);
    let mut shown = vec![None; 20];
    for (pixel, value) in [(0, 3), (1, 3), (6, 0), (7, 1), (8, 2), (12, 4), (18, 2)] {
        shown[pixel] = Some(value);
    }
    let read = [6, 7, 7, 1, 13];
    let shown: Arc<[Option<u32>]> = shown.into();
    let pictures = [count, 4, 5];
    let packing = Packing::new(pictures, values_of_all, Arc::clone(&shown), &read).unwrap();
    let packing = Arc::new(packing);
    // The same as lists through all pictures.
    let value = |picture: usize, value: u32| {
        Some((picture * each) as u32 + value).filter(|value| *value < values_of_all as u32)
    };
    let all_shown: Arc<[Option<u32>]> = (0..count)
        .flat_map(|picture| shown.iter().map(move |shown| shown.and_then(|v| value(picture, v))))
        .collect();
    let all_read: Arc<[Option<u32>]> = (0..values_of_all)
        .map(|value| Some((value / each * 20) as u32 + read[value % each]))
        .collect();
    let linear = tensor(&[0.9, 0.25, -0.3, 1.1]).reshape([2, 2]).unwrap();
    let inputs = [f64s(1, &[values_of_all]), linear, tensor(&[0.3, -0.4])];
    for sampling in [Sampling::Nearest, Sampling::Bilinear] {
        let slow = |t: &[Tensor]| {
            let pictures = ops::take(&t[0], &all_shown, pictures)?;
            let moved = ops::resample(&pictures, &t[1], &t[2], sampling)?;
            ops::take(&moved, &all_read, [values_of_all])
        };
        let fast = |t: &[Tensor]| ops::resample_packed(&t[0], &packing, &t[1], &t[2], sampling);
        check_same_bits(&fast(&inputs).unwrap(), &slow(&inputs).unwrap()).unwrap();
        let read = values(&fast(&inputs).unwrap());
        assert!(
            read[..each].iter().any(|v| *v != 0.0) && read[2 * each..].iter().any(|v| *v != 0.0)
        );
        let differentiated = if sampling == Sampling::Bilinear { 3 } else { 1 };
        check(&inputs[..differentiated], |t| {
            fast(&[
                t[0].clone(),
                t.get(1).unwrap_or(&inputs[1]).clone(),
                t.get(2).unwrap_or(&inputs[2]).clone(),
            ])
        });
    }
    check_same_bits(
        &packing.show(&inputs[0]).unwrap(),
        &ops::take(&inputs[0], &all_shown, pictures).unwrap(),
    )
    .unwrap();
    let error = |values: usize, shown: &Arc<[Option<u32>]>, read: &[u32]| {
        Packing::new(pictures, values, Arc::clone(shown), read).unwrap_err().to_string()
    };
    assert!(error(9, &shown, &[6; 4]).contains("value that a pixel shows is 4"));
    assert!(error(13, &shown, &[20; 5]).contains("pixel of a value is 20"));
    assert!(error(13, &[None; 3].into(), &read).contains("number of pixels of a packing is 3"));
    assert!(error(10, &shown, &read).contains("number of values of a packing is 10"));
    assert!(error(16, &shown, &read).contains("number of values of a packing is 16"));
    let few =
        ops::resample_packed(&f64s(1, &[7]), &packing, &inputs[1], &inputs[2], Sampling::Nearest);
    assert!(few.unwrap_err().to_string().contains("13 values, those of the packing"));
}

#[test]
fn values_put_in_new_places() {
    let places: Arc<[Option<u32>]> = [Some(5), None, Some(0), Some(5), Some(2), None].into();
    check(&[f64s(1, &[2, 3])], |t| ops::take(&t[0], &places, [3, 2]));
    let x = tensor(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = ops::take(&x, &places, [3, 2]).unwrap();
    assert_eq!(values(&y), [6.0, 0.0, 1.0, 6.0, 3.0, 0.0]);
}

#[test]
fn convolution_of_a_view() {
    // Inputs that are not contiguous, and gradients of one input only.
    let (x, w) = (f64s(1, &[2, 4, 3, 2]), f64s(2, &[2, 2, 2, 2]));
    let geometry = ConvGeometry::default();
    check(&[x.clone(), w.clone()], |t| {
        let x = t[0].transpose(1, 3)?;
        ops::conv2d(&x, &t[1].transpose(2, 3)?, geometry)
    });
    check(&[x.transpose(1, 3).unwrap()], |t| ops::conv2d(&t[0], &w, geometry));
    check(&[w], |t| ops::conv2d(&x.transpose(1, 3)?, &t[0], geometry));
}

#[test]
fn max_pooling() {
    for (shape, size, stride) in
        [([2, 2, 4, 6], 2, 2), ([1, 2, 7, 5], 3, 2), ([2, 1, 5, 5], 2, 3), ([1, 1, 4, 4], 3, 1)]
    {
        check(&[distinct(3, &shape)], |t| ops::max_pool2d(&t[0], size, stride));
    }
}

#[test]
fn products_and_biases() {
    for (batch, inputs, outputs) in [(1, 1, 1), (3, 4, 2), (35, 3, 5), (2, 9, 33)] {
        let inputs = [f64s(1, &[batch, inputs]), f64s(2, &[outputs, inputs])];
        check(&inputs, |t| ops::linear(&t[0], &t[1]));
    }
    for shape in [&[4, 3][..], &[2, 3, 2], &[2, 3, 4, 2]] {
        check(&[f64s(1, shape), f64s(2, &[3])], |t| ops::add_bias(&t[0], &t[1]));
    }
}

#[test]
fn batch_norms() {
    let eps = 1e-5;
    for shape in [&[5, 3][..], &[2, 3, 4], &[3, 2, 3, 4]] {
        let channels = [shape[1]];
        let inputs = [f64s(1, shape), f64s(2, &channels), f64s(3, &channels)];
        check(&inputs, |t| Ok(ops::batch_norm(&t[0], &t[1], &t[2], eps)?.0));
        let statistics = ops::ChannelStatistics {
            mean: vec![0.3; shape[1]],
            variance: vec![0.7; shape[1]],
            count: 0,
        };
        check(&inputs, |t| ops::batch_norm_with(&t[0], &t[1], &t[2], eps, &statistics));
    }
    // The layer, in each mode, with running statistics that have moved.
    let layer = BatchNorm::new("norm", 3, DType::F64).unwrap();
    for seed in 0..3 {
        layer.forward(&f64s(seed, &[4, 3]), Mode::Train { update_statistics: true }).unwrap();
    }
    for mode in [Mode::Train { update_statistics: false }, Mode::Eval] {
        check(&[f64s(9, &[4, 3])], |t| layer.forward(&t[0], mode));
    }
}

#[test]
fn complex_batch_norms() {
    for (shape, networks, channels) in
        [(&[5, 2][..], 1, 1), (&[3, 8, 2], 2, 2), (&[2, 6, 1, 2, 3], 1, 3), (&[2, 2, 21], 1, 1)]
    {
        let weight = (f64s(2, &[networks, 3, channels]) + 0.5).unwrap();
        let inputs = [f64s(1, shape), weight, f64s(3, &[networks, 2, channels])];
        let pairs = networks * channels;
        let given = ops::ComplexStatistics {
            mean: vec![[0.3, -0.2]; pairs],
            covariance: vec![[0.7, 1.2, 0.4]; pairs],
            count: 0,
        };
        for given in [None, Some(&given)] {
            for relu in [false, true] {
                check(&inputs, |t| {
                    Ok(ops::complex_batch_norm(&t[0], &t[1], &t[2], 1e-5, given, relu)?.0)
                });
            }
        }
    }
    // The layer, in each mode, with running statistics that have moved.
    let layer = ComplexBatchNorm::new("norm", 1, 2, DType::F64).unwrap();
    for seed in 0..3 {
        let mode = Mode::Train { update_statistics: true };
        layer.forward(&f64s(seed, &[4, 4, 3]), mode, true, Learning::On).unwrap();
    }
    for mode in [Mode::Train { update_statistics: false }, Mode::Eval] {
        check(&[f64s(9, &[4, 4, 3])], |t| layer.forward(&t[0], mode, false, Learning::Frozen));
    }
}

/// Running statistics become those of the batches, and whitened values have unit covariance.
#[test]
fn complex_statistics() {
    let layer = ComplexBatchNorm::new("norm", 2, 3, DType::F64).unwrap();
    let x = f64s(1, &[50, 12, 4]);
    let y = layer.forward(&x, Mode::Calibrate { seen: 0 }, false, Learning::On).unwrap();
    let weight = Tensor::cat(
        &[&Tensor::ones([2, 2, 3], DType::F64).unwrap(), &common::zeros(&[2, 1, 3])],
        1,
    );
    let (weight, bias) = (weight.unwrap(), common::zeros(&[2, 2, 3]));
    let (_, white) = ops::complex_batch_norm(&y, &weight, &bias, 0.0, None, false).unwrap();
    for (mean, [rr, ii, ri]) in white.mean.iter().zip(&white.covariance) {
        assert!(mean.iter().all(|m| m.abs() < 1e-12));
        // The weight is sqrt 2 on its diagonal; eps takes 1e-5 of the variance.
        assert!((rr - 2.0).abs() < 1e-4 && (ii - 2.0).abs() < 1e-4 && ri.abs() < 1e-4);
    }
    let again = layer.forward(&x, Mode::Eval, false, Learning::On).unwrap();
    // Running covariances are unbiased.
    assert_close("eval", &again, &y, 0.01, 0.01);
}

#[test]
fn activations() {
    check(&[distinct(1, &[3, 7])], |t| ops::relu(&t[0]));
    check(&[tensor(&[-700.0, -40.0, -1.0, 0.0, 1e-9, 2.0, 36.0, 700.0])], |t| ops::sigmoid(&t[0]));
}

#[test]
fn losses() {
    let labels = Tensor::new([2u32, 0, 4]).unwrap();
    for scale in [1.0, 30.0] {
        let logits = (f64s(1, &[3, 5]) * scale).unwrap();
        check(&[logits], |t| loss::cross_entropy(&t[0], &labels));
    }
    let target = f64s(2, &[3, 4]);
    check(&[f64s(1, &[3, 4])], |t| loss::mean_squared_error(&t[0], &target));
    for temperature in [0.7, 5.0] {
        check(&[f64s(3, &[3, 4])], |t| loss::kl_divergence(&t[0], &target, temperature));
    }
}

/// A product of losses has an incoming gradient other than 1.
#[test]
fn losses_in_a_formula() {
    let labels = Tensor::new([1u32, 0]).unwrap();
    let target = f64s(2, &[2, 3]);
    check(&[f64s(1, &[2, 3])], |t| {
        let a = loss::cross_entropy(&t[0], &labels)?;
        a * loss::mean_squared_error(&t[0], &target)?
    });
}

#[test]
fn a_small_network() {
    let labels = Tensor::new([1u32, 0, 2]).unwrap();
    let inputs = [
        f64s(1, &[3, 2, 6, 5]),
        f64s(2, &[3, 2, 3, 3]),
        f64s(3, &[3]),
        f64s(4, &[3]),
        f64s(5, &[3]),
        f64s(6, &[3, 18]),
    ];
    check(&inputs, |t| {
        let y = ops::conv2d(&t[0], &t[1], ConvGeometry { stride: 1, padding: 1 })?;
        let y = ops::batch_norm(&ops::add_bias(&y, &t[2])?, &t[3], &t[4], 1e-5)?.0;
        let y = ops::max_pool2d(&ops::sigmoid(&y)?, 2, 2)?;
        let logits = ops::linear(&y.flatten_from(1)?, &t[5])?;
        loss::cross_entropy(&logits, &labels)
    });
}

#[test]
fn straight_through_has_the_gradient_of_the_model() {
    // The finite difference sees the measured values, which do not move.
    let measured = f64s(2, &[2, 3]);
    let error = check_gradients(
        &[f64s(1, &[2, 3])],
        |t| ops::straight_through(&t[0].sqr()?, &measured),
        &GradientCheck::default(),
    );
    let Err(GradientError::Element { backward, difference, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(difference == 0.0 && backward != 0.0);
}

mod the_check_itself {
    use super::*;

    #[test]
    fn names_the_element() {
        // x0^2 + 3 x1 with the gradient of one element of the second input missing.
        let f = |t: &[Tensor]| -> Result<Tensor> {
            let row = t[1].narrow(0, 1, 1)?;
            let broken = Tensor::cat(&[&row.narrow(1, 0, 1)?, &row.narrow(1, 1, 1)?.detach()], 1)?;
            let whole = Tensor::cat(&[&t[1].narrow(0, 0, 1)?, &broken], 0)?;
            t[0].sqr()? + (whole * 3.0)?
        };
        let inputs = [f64s(1, &[2, 2]), f64s(2, &[2, 2])];
        let error = check_gradients(&inputs, f, &GradientCheck::default()).unwrap_err();
        let GradientError::Element { input, index, backward, difference, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((*input, index.as_slice(), *backward), (1, &[1, 1][..], 0.0));
        assert!((difference.abs() - 3.0).abs() < 3.0, "{error}");
        let text = error.to_string();
        assert!(text.contains("input 1, element [1, 1]"), "{text}");
    }

    #[test]
    fn sees_an_error_of_one_in_ten_thousand() {
        let slightly = |t: &[Tensor]| -> Result<Tensor> {
            let passing = (&t[0] * 1.0001)?;
            let x = (&passing + (&t[0] - &passing)?.detach())?;
            x.sqr()
        };
        let inputs = [f64s(1, &[3])];
        assert!(check_gradients(&inputs, slightly, &GradientCheck::default()).is_err());
    }

    #[test]
    fn refuses_nan_and_other_dtypes() {
        let nan = |t: &[Tensor]| -> Result<Tensor> { &t[0] * f64::NAN };
        assert!(check_gradients(&[f64s(1, &[2])], nan, &GradientCheck::default()).is_err());
        let narrow = normal(1, &[2], DType::F32);
        let same = |t: &[Tensor]| Ok(t[0].clone());
        assert!(check_gradients(&[narrow], same, &GradientCheck::default()).is_err());
        // A function that fails hands its error on.
        let fails = |t: &[Tensor]| ops::linear(&t[0], &t[0]);
        let error = check_gradients(&[f64s(1, &[2])], fails, &GradientCheck::default());
        assert!(matches!(error, Err(GradientError::Function(_))));
    }
}
