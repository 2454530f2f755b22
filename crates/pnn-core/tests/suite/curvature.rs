//! Curvature against closed forms and against a dense eigensolver.

use nalgebra::{DMatrix, SymmetricEigen};
use pnn_core::curvature::{
    Hessian, Lanczos, Neighbourhood, Operator, Power, Scaling, Surface, frobenius_norm,
    hutch_plus_plus, hutchinson, rise_in_ball, rise_under_noise, spectral_density,
};
use pnn_core::loss::cross_entropy;
use pnn_core::ops::{linear, relu};
use pnn_core::{Bounds, DType, Error, ParamSet, Parameter, Seed, Tensor, Var};
use proptest::prelude::*;
use rand_distr::StandardNormal;

/// A matrix that is stored.
struct Dense(DMatrix<f64>);

impl Operator for Dense {
    fn dim(&self) -> usize {
        self.0.nrows()
    }

    fn apply(&mut self, vector: &[f64]) -> pnn_core::Result<Vec<f64>> {
        let product = &self.0 * nalgebra::DVector::from_column_slice(vector);
        Ok(product.iter().copied().collect())
    }
}

fn normal(seed: u64, dims: &[usize]) -> Tensor {
    Seed::new(seed).tensor(StandardNormal, dims, DType::F64).unwrap()
}

fn named(vars: &[(&str, &Var)]) -> ParamSet {
    let parameter = |(name, var): &(&str, &Var)| Parameter {
        name: (*name).to_owned(),
        var: (*var).clone(),
        bounds: Bounds::UNBOUNDED,
    };
    ParamSet::new(vars.iter().map(parameter)).unwrap()
}

/// All columns of a Hessian.
fn columns(surface: &mut Surface<'_>) -> DMatrix<f64> {
    let mut hessian = Hessian::new(surface).unwrap();
    let dim = hessian.dim();
    let mut dense = DMatrix::zeros(dim, dim);
    for column in 0..dim {
        // Not of length 1, which must not matter.
        let unit: Vec<f64> = (0..dim).map(|row| if row == column { 3.0 } else { 0.0 }).collect();
        for (row, value) in hessian.apply(&unit).unwrap().into_iter().enumerate() {
            dense[(row, column)] = value / 3.0;
        }
    }
    dense
}

fn assert_near(got: &DMatrix<f64>, want: &DMatrix<f64>, allowed: f64) {
    let (worst, size) = ((got - want).amax(), want.amax());
    assert!(worst <= allowed * size, "off by {worst:e} of {size:e}\n{got}\n{want}");
}

/// Rounding of a gradient of order one over the step of 1e-7, with room for sums.
const ALLOWED: f64 = 1e-7;

#[test]
fn least_squares_have_the_hessian_two_over_n_x_t_x() {
    let (samples, width) = (30, 5);
    let (x, t) = (normal(1, &[samples, width]), normal(2, &[samples, 1]));
    let w = Var::new(&normal(3, &[1, width]));
    let parameters = named(&[("w", &w)]);
    // Three batches of different sizes.
    let bounds = [0, 7, 19, 30];
    let mut surface = Surface::new(parameters, 3, |batch| {
        let (first, count) = (bounds[batch], bounds[batch + 1] - bounds[batch]);
        let y = linear(&x.narrow(0, first, count)?, &w.tensor())?;
        (y - t.narrow(0, first, count)?)?.sqr()?.sum_all()? * (1.0 / samples as f64)
    })
    .unwrap();
    let rows = DMatrix::from_row_slice(samples, width, x.elements::<f64>().unwrap());
    let want = rows.transpose() * &rows * (2.0 / samples as f64);
    assert_near(&columns(&mut surface), &want, ALLOWED);
}

#[test]
fn logistic_regression_has_its_closed_form() {
    let (samples, width) = (25, 4);
    let x = normal(4, &[samples, width]);
    let w = Var::new(&normal(5, &[1, width]));
    let parameters = named(&[("w", &w)]);
    // Logits of w x and 0: the loss is -ln s(w x).
    let (beside, labels) = (Tensor::new([[1.0], [0.0]]).unwrap(), vec![0u32; samples]);
    let labels = Tensor::from_vec(labels, samples).unwrap();
    let mut surface = Surface::new(parameters, 1, |_| {
        cross_entropy(&linear(&linear(&x, &w.tensor())?, &beside)?, &labels)
    })
    .unwrap();
    let rows = DMatrix::from_row_slice(samples, width, x.elements::<f64>().unwrap());
    let weights = DMatrix::from_row_slice(width, 1, w.value().elements::<f64>().unwrap());
    let s = (&rows * weights).map(|z| 1.0 / (1.0 + (-z).exp()));
    let slopes = DMatrix::from_diagonal(&s.column(0).map(|s| s * (1.0 - s) / samples as f64));
    let want = rows.transpose() * slopes * &rows;
    assert_near(&columns(&mut surface), &want, ALLOWED);
}

/// `mean_n (diag(p_n) - p_n p_n^T) (x) x_n x_n^T` (Böhning, Ann. Inst. Stat. Math. 44, 197, 1992).
#[test]
fn softmax_regression_is_a_kronecker_product() {
    let (samples, width, classes) = (20, 3, 4);
    let x = normal(6, &[samples, width]);
    let w = Var::new(&normal(7, &[classes, width]));
    let labels: Vec<u32> = (0..samples as u32).map(|n| n % classes as u32).collect();
    let labels = Tensor::from_vec(labels, samples).unwrap();
    let parameters = named(&[("w", &w)]);
    let mut surface =
        Surface::new(parameters, 1, |_| cross_entropy(&linear(&x, &w.tensor())?, &labels)).unwrap();
    let rows = DMatrix::from_row_slice(samples, width, x.elements::<f64>().unwrap());
    let weights = DMatrix::from_row_slice(classes, width, w.value().elements::<f64>().unwrap());
    let mut want = DMatrix::zeros(classes * width, classes * width);
    for sample in 0..samples {
        let x = rows.row(sample).transpose();
        let z = (&weights * &x).map(f64::exp);
        let p = &z / z.sum();
        let covariance = DMatrix::from_diagonal(&p) - &p * p.transpose();
        want += covariance.kronecker(&(&x * x.transpose())) / samples as f64;
    }
    assert_near(&columns(&mut surface), &want, ALLOWED);
}

/// Relu has no second derivative at its kink, and none anywhere else: what the differences find must be that
/// of the smooth pieces, however close the kinks are.
#[test]
fn kinks_are_not_taken_for_curvature() {
    // Kinks at -3e-8, 2e-9, 5e-8 beside the point, each with a slope of 1 above it; H = 2.
    let kinks = Tensor::new([-3e-8, 2e-9, 5e-8]).unwrap();
    let x = Var::new(&Tensor::new([0.0]).unwrap());
    let parameters = named(&[("x", &x)]);
    let mut surface = Surface::new(parameters, 1, |_| {
        let x = x.tensor();
        x.sqr()?.sum_all()? + relu(&(x.broadcast_as(3)? - &kinks)?)?.sum_all()?
    })
    .unwrap();
    let mut hessian = Hessian::new(&mut surface).unwrap();
    let found = hessian.apply(&[1.0]).unwrap()[0];
    assert!((found - 2.0).abs() < 1e-4, "{found}");
    let made = hessian.differences();
    assert_eq!((made.shortened, made.unresolved, made.products), (1, 0, 1));
    assert!(made.gradients > 3 && made.largest_error < 1e-5, "{made:?}");
    // Exactly at a kink there is no Hessian, and that is said.
    let y = Var::new(&Tensor::new([0.0]).unwrap());
    let parameters = named(&[("y", &y)]);
    let mut surface = Surface::new(parameters, 1, |_| relu(&y.tensor())?.sum_all()).unwrap();
    let mut hessian = Hessian::new(&mut surface).unwrap();
    hessian.apply(&[1.0]).unwrap();
    assert_eq!(hessian.differences().unresolved, 1);
}

fn symmetric(seed: u64, dim: usize) -> DMatrix<f64> {
    let entries = normal(seed, &[dim, dim]);
    let any = DMatrix::from_row_slice(dim, dim, entries.elements::<f64>().unwrap());
    (&any + any.transpose()) * 0.5
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn full_order_lanczos_is_a_dense_eigensolver(seed in 0u64..1000, dim in 1usize..24) {
        let matrix = symmetric(seed, dim);
        let found = Lanczos::extremes(dim, 0).run(&mut Dense(matrix.clone()), &Seed::new(seed)).unwrap();
        let mut want: Vec<f64> = SymmetricEigen::new(matrix.clone()).eigenvalues.iter().copied().collect();
        want.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(found.products, dim);
        for (pair, want) in found.largest.iter().zip(want) {
            prop_assert!((pair.value - want).abs() < 1e-12 * dim as f64, "{} {}", pair.value, want);
            let vector = nalgebra::DVector::from_column_slice(&pair.vector);
            let residual = (&matrix * &vector - pair.value * &vector).norm();
            prop_assert!(residual < 1e-11, "{residual}");
            prop_assert!((vector.norm() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn extremes_have_the_right_sign(seed in 0u64..1000) {
        let matrix = symmetric(seed, 60);
        let mut want: Vec<f64> = SymmetricEigen::new(matrix.clone()).eigenvalues.iter().copied().collect();
        want.sort_by(f64::total_cmp);
        let found =
            Lanczos::extremes(3, 2).tolerance(1e-8).run(&mut Dense(matrix), &Seed::new(seed)).unwrap();
        let largest: Vec<f64> = found.largest.iter().map(|pair| pair.value).collect();
        let smallest: Vec<f64> = found.smallest.iter().map(|pair| pair.value).collect();
        for (got, want) in largest.iter().zip(want.iter().rev()) {
            prop_assert!((got - want).abs() < 1e-10);
        }
        for (got, want) in smallest.iter().zip(&want) {
            prop_assert!((got - want).abs() < 1e-10);
        }
        prop_assert!(smallest[0] < 0.0 && largest[0] > 0.0);
    }

    /// One large eigenvalue, many small ones of both signs: the spectrum of a network's Hessian.
    #[test]
    fn a_small_negative_eigenvalue_is_found_beside_a_large_one(
        seed in 0u64..1000,
        smallest in -0.9f64..-0.3,
    ) {
        let mut values: Vec<f64> = (0..60).map(|n| 0.2 * (f64::from(n) / 60.0).powi(2)).collect();
        values.extend([1000.0, smallest]);
        let matrix = DMatrix::from_diagonal(&nalgebra::DVector::from_vec(values));
        let found = Lanczos::extremes(1, 1).run(&mut Dense(matrix), &Seed::new(seed)).unwrap();
        prop_assert!((found.smallest[0].value - smallest).abs() < 1e-3, "{:?}", found.smallest[0].value);
        prop_assert!(found.smallest[0].residual <= 1e-3 * smallest.abs());
        prop_assert!((found.largest[0].value - 1000.0).abs() < 1e-3);
    }

    #[test]
    fn densities_add_up_to_one_and_have_the_mean_of_the_matrix(seed in 0u64..1000, dim in 2usize..20) {
        let matrix = symmetric(seed, dim);
        // As many steps as rows make the quadrature exact for its start.
        let density = spectral_density(&mut Dense(matrix.clone()), 4, dim, &Seed::new(seed)).unwrap();
        let mass: f64 = density.masses.iter().map(|(_, mass)| mass).sum();
        prop_assert!((mass - 1.0).abs() < 1e-12, "{mass}");
        // Over many starts the mean is the matrix's.
        let many = spectral_density(&mut Dense(matrix.clone()), 400, dim, &Seed::new(seed)).unwrap();
        let frobenius = matrix.norm();
        let spread = frobenius / dim as f64;
        prop_assert!((many.mean() - matrix.trace() / dim as f64).abs() < 0.4 * spread, "{}", many.mean());
        let width = 0.3;
        let integral: f64 = (-2000..2000).map(|n| density.at(f64::from(n) * 0.01, width) * 0.01).sum();
        prop_assert!((integral - 1.0).abs() < 1e-9, "{integral}");
        let extremes = SymmetricEigen::new(matrix).eigenvalues;
        prop_assert!(density.below(extremes.min() - 1e-9) == 0.0);
        prop_assert!((density.below(extremes.max() + 1e-9) - 1.0).abs() < 1e-12);
    }
}

/// The spectral density of a diagonal matrix, by quantiles over many starts.
#[test]
fn a_density_is_that_of_the_eigenvalues() {
    let dim = 400;
    let values: Vec<f64> = (0..dim).map(|n| if n < 300 { 0.0 } else { 1.0 + n as f64 }).collect();
    let matrix = DMatrix::from_diagonal(&nalgebra::DVector::from_column_slice(&values));
    let mean = values.iter().sum::<f64>() / dim as f64;
    let density = spectral_density(&mut Dense(matrix), 60, 12, &Seed::new(1)).unwrap();
    assert!((density.below(150.0) - 0.75).abs() < 0.02, "{}", density.below(150.0));
    assert!((density.below(351.0) - 0.875).abs() < 0.03, "{}", density.below(351.0));
    assert!((density.mean() / mean - 1.0).abs() < 0.05, "{} {mean}", density.mean());
}

#[test]
fn an_invariant_space_does_not_end_the_search() {
    // One eigenvalue 40 times: a single start finds it once.
    let matrix = DMatrix::<f64>::identity(40, 40) * 2.5;
    let found = Lanczos::extremes(40, 0).run(&mut Dense(matrix), &Seed::new(0)).unwrap();
    assert!(found.largest.iter().all(|pair| (pair.value - 2.5).abs() < 1e-12));
    let zero =
        Lanczos::extremes(1, 1).run(&mut Dense(DMatrix::zeros(6, 6)), &Seed::new(0)).unwrap();
    assert_eq!((zero.largest[0].value, zero.smallest[0].value), (0.0, 0.0));
}

#[test]
fn traces_are_unbiased_and_hutch_plus_plus_is_sharper() {
    // Few large eigenvalues and many small ones, as a Hessian has.
    let dim = 120;
    let basis = SymmetricEigen::new(symmetric(5, dim)).eigenvectors;
    let value = |n: usize| if n < 5 { 100.0 / (n + 1) as f64 } else { -0.02 * (n % 7) as f64 };
    let diagonal = DMatrix::from_fn(dim, dim, |r, c| if r == c { value(r) } else { 0.0 });
    let matrix = &basis * diagonal * basis.transpose();
    let trace = matrix.trace();
    let plain = hutchinson(&mut Dense(matrix.clone()), 600, &Seed::new(0)).unwrap();
    assert!((plain.value - trace).abs() < 4.0 * plain.standard_error, "{plain:?} {trace}");
    assert!(plain.standard_error < 0.1 * trace);
    let sharp = hutch_plus_plus(&mut Dense(matrix.clone()), 60, &Seed::new(0)).unwrap();
    assert!((sharp.value - trace).abs() < 4.0 * sharp.standard_error + 1e-9, "{sharp:?} {trace}");
    let same_cost = hutchinson(&mut Dense(matrix), 60, &Seed::new(0)).unwrap();
    assert!(sharp.standard_error < 0.1 * same_cost.standard_error, "{sharp:?} {same_cost:?}");
    // All of a small matrix: exact.
    let small = symmetric(9, 4);
    let all = hutch_plus_plus(&mut Dense(small.clone()), 60, &Seed::new(0)).unwrap();
    assert!((all.value - small.trace()).abs() < 1e-12 && all.standard_error == 0.0);
}

/// `|A z|^2` of a diagonal matrix is the same for all signs.
#[test]
fn a_frobenius_norm_is_blind_to_signs() {
    let values = [3.0, -4.0, 12.0];
    let mut diagonal =
        Dense(DMatrix::from_diagonal(&nalgebra::DVector::from_column_slice(&values)));
    let found = frobenius_norm(&mut diagonal, 2, &Seed::new(0)).unwrap();
    assert!((found.value - 13.0).abs() < 1e-12 && found.standard_error < 1e-12, "{found:?}");
    let matrix = symmetric(3, 40);
    let found = frobenius_norm(&mut Dense(matrix.clone()), 200, &Seed::new(1)).unwrap();
    assert!((found.value - matrix.norm()).abs() < 4.0 * found.standard_error, "{found:?}");
    assert!(found.standard_error < 0.05 * found.value);
    assert!(frobenius_norm(&mut Dense(matrix), 0, &Seed::new(1)).is_err());
}

/// SAM's step of the whole radius lands on the plateau of a saturated loss, from which there is no way; small steps and the
/// sharpest direction find the ridge before it.
#[test]
fn a_plateau_does_not_end_a_climb() {
    let x = Var::new(&Tensor::new([1e-3, 1e-6]).unwrap());
    let parameters = named(&[("x", &x)]);
    // x0^2 up to 0.1 and flat beyond; in x1 a parabola three times as high that is not cut off.
    let slopes = Tensor::new([100.0, 0.0]).unwrap();
    let others = Tensor::new([0.0, 3.0]).unwrap();
    let mut surface = Surface::new(parameters, 1, move |_| {
        let squares = x.tensor().sqr()?;
        let cut = (&squares * &slopes)?.sum_all()?.clamp(0.0, 1.0)?;
        cut + (&squares * &others)?.sum_all()?
    })
    .unwrap();
    let ball = Neighbourhood { size: 1.0, scaling: Scaling::Plain };
    let found = rise_in_ball(&mut surface, ball, 5, &[&[0.0, 1.0]]).unwrap();
    assert!(found.value > 3.0 - 1e-3, "{found:?}");
    let wrong = rise_in_ball(&mut surface, ball, 5, &[&[0.0]]).unwrap_err().to_string();
    assert!(wrong.contains("direction"), "{wrong}");
    assert!(rise_in_ball(&mut surface, ball, 5, &[&[0.0, 0.0]]).is_err());
}

#[test]
fn a_gradient_that_is_no_number_is_not_taken_for_exact() {
    // The root has no slope below 0, which a step from 1e-9 crosses.
    let x = Var::new(&Tensor::new([1e-9]).unwrap());
    let parameters = named(&[("x", &x)]);
    let mut surface = Surface::new(parameters, 1, move |_| x.tensor().sqrt()?.sum_all()).unwrap();
    let mut hessian = Hessian::new(&mut surface).unwrap().with_step(1e-7).unwrap();
    let error = hessian.apply(&[1.0]).unwrap_err().to_string();
    assert!(error.contains("the gradient of batch 0"), "{error}");
}

#[test]
fn impossible_settings_of_power_iteration_and_density_are_named() {
    let mut matrix = Dense(symmetric(3, 4));
    let of = |tolerance, max_products| Power { tolerance, max_products };
    for power in [of(f64::NAN, 10), of(0.0, 10), of(0.1, 0)] {
        assert!(matches!(power.run(&mut matrix, &Seed::new(0)), Err(Error::Range { .. })));
    }
    let empty = spectral_density(&mut Dense(DMatrix::zeros(0, 0)), 1, 1, &Seed::new(0));
    assert!(empty.unwrap_err().to_string().contains("rows of a spectral density"));
}

#[test]
fn power_iteration_finds_the_largest_magnitude() {
    let matrix = DMatrix::from_diagonal(&nalgebra::DVector::from_column_slice(&[1.0, -9.0, 4.0]));
    let power = Power { tolerance: 1e-10, max_products: 200 };
    let (pair, products) = power.run(&mut Dense(matrix.clone()), &Seed::new(0)).unwrap();
    assert!((pair.value + 9.0).abs() < 1e-8 && pair.residual < 1e-3, "{pair:?}");
    assert!(products > 3 && products < 200);
    let short = Power { tolerance: 1e-10, max_products: 3 }.run(&mut Dense(matrix), &Seed::new(0));
    let message = short.unwrap_err().to_string();
    assert!(
        message.starts_with("power iteration") && message.contains("in 3 iterations"),
        "{message}"
    );
}

#[test]
fn what_does_not_converge_says_how_far_it_is() {
    let mut matrix = Dense(symmetric(3, 200));
    let tight = Lanczos::extremes(4, 4).tolerance(1e-10).max_products(10);
    let error = tight.run(&mut matrix, &Seed::new(0)).unwrap_err();
    let Error::NotConverged { iterations: 10, residual, tolerance, .. } = error else {
        panic!("{error}")
    };
    assert!(tolerance == 1e-10 && residual > 1e-4 && residual < 1.0, "{residual}");
}

/// Of `x^T A x / 2` all measures are known.
#[test]
fn rises_of_a_quadratic_are_known() {
    let matrix = symmetric(11, 6);
    let matrix = &matrix * matrix.transpose();
    let a = Tensor::from_slice(matrix.as_slice(), [6, 6]).unwrap();
    let x = Var::new(&Tensor::zeros([1, 6], DType::F64).unwrap());
    let parameters = named(&[("x", &x)]);
    let value = x.clone();
    let mut surface = Surface::new(parameters, 1, move |_| {
        let x = value.tensor();
        (linear(&x, &a)? * &x)?.sum_all()? * 0.5
    })
    .unwrap();
    let trace = matrix.trace();
    let noise = Neighbourhood { size: 0.1, scaling: Scaling::Plain };
    let mean = rise_under_noise(&mut surface, noise, 4000, &Seed::new(0)).unwrap();
    let want = 0.5 * 0.01 * trace;
    assert!((mean.value - want).abs() < 4.0 * mean.standard_error, "{mean:?} {want}");
    assert!(mean.standard_error < 0.03 * want);
    // At the minimum the gradient vanishes, and the ascent stays; beside it, it finds the steepest way.
    assert_eq!(rise_in_ball(&mut surface, noise, 5, &[]).unwrap().value, 0.0);
    // The sharpest direction leads away from there.
    let eigen = SymmetricEigen::new(matrix.clone());
    let sharpest: Vec<f64> =
        eigen.eigenvectors.column(eigen.eigenvalues.imax()).iter().map(|v| -3.0 * v).collect();
    let rise = rise_in_ball(&mut surface, noise, 1, &[&sharpest]).unwrap();
    assert!((rise.value / (0.5 * 0.01 * eigen.eigenvalues.max()) - 1.0).abs() < 1e-9, "{rise:?}");
    x.set(&Tensor::full(1e-3, [1, 6]).unwrap()).unwrap();
    let largest = SymmetricEigen::new(matrix.clone()).eigenvalues.max();
    let rise = rise_in_ball(&mut surface, noise, 60, &[]).unwrap();
    let bound = 0.5 * 0.01 * largest;
    assert!(rise.value > 0.98 * bound && rise.value < 1.2 * bound, "{} {bound}", rise.value);
    let length = rise.displacement.iter().map(|e| e * e).sum::<f64>().sqrt();
    assert!((length - 0.1).abs() < 1e-12);
    // In units of the parameters' sizes the ball is a thousand times smaller.
    let adaptive = Neighbourhood { scaling: Scaling::Adaptive, ..noise };
    let rise = rise_in_ball(&mut surface, adaptive, 3, &[]).unwrap();
    let length = rise.displacement.iter().map(|e| e * e).sum::<f64>().sqrt();
    assert!((length - 1e-4).abs() < 1e-12, "{length}");
    let mean = rise_under_noise(&mut surface, adaptive, 2000, &Seed::new(1)).unwrap();
    assert!((mean.value - want * 1e-6).abs() < 4.0 * mean.standard_error, "{mean:?}");
    // What was measured left nothing behind.
    assert_eq!(surface.point().unwrap(), [1e-3; 6]);
}

#[test]
fn misuse_is_named() {
    let single = Var::new(&Tensor::new([1.0f32]).unwrap());
    let error = Surface::new(named(&[("w", &single)]), 1, |_| single.tensor().sum_all());
    let message = error.err().unwrap().to_string();
    assert!(message.contains("w in F32") && message.contains("DType::F64"), "{message}");
    let x = Var::new(&Tensor::new([1.0, 2.0]).unwrap());
    let none = Surface::new(named(&[("x", &x)]), 0, |_| x.tensor().sum_all()).err().unwrap();
    assert!(none.to_string().contains("number of batches"), "{none}");
    let mut surface =
        Surface::new(named(&[("x", &x)]), 1, |_| x.tensor().sqr()?.sum_all()).unwrap();
    let error = surface.loss_at(&[1.0]).unwrap_err().to_string();
    assert!(error.contains("[1]") && error.contains("(2)"), "{error}");
    let mut hessian = Hessian::new(&mut surface).unwrap();
    assert!(hessian.apply(&[1.0; 3]).unwrap_err().to_string().contains("[3]"));
    assert!(hessian.apply(&[f64::NAN, 0.0]).unwrap_err().to_string().contains("NaN"));
    assert_eq!(hessian.apply(&[0.0; 2]).unwrap(), [0.0; 2]);
    for (largest, smallest) in [(0, 0), (2, 1)] {
        let error =
            Lanczos::extremes(largest, smallest).run(&mut hessian, &Seed::new(0)).unwrap_err();
        assert!(error.to_string().contains("number of eigenvalues"), "{error}");
    }
    let error = Lanczos::extremes(1, 0).tolerance(f64::NAN).run(&mut hessian, &Seed::new(0));
    assert!(error.unwrap_err().to_string().contains("tolerance of Lanczos is NaN"));
    assert!(hutch_plus_plus(&mut hessian, 2, &Seed::new(0)).is_err());
    assert!(hutchinson(&mut hessian, 0, &Seed::new(0)).is_err());
    assert!(spectral_density(&mut hessian, 1, 0, &Seed::new(0)).is_err());
    assert!(Hessian::new(&mut surface).unwrap().with_step(f64::NAN).is_err());
    let ball = Neighbourhood { size: f64::NAN, scaling: Scaling::Plain };
    assert!(rise_in_ball(&mut surface, ball, 1, &[]).is_err());
    assert!(rise_under_noise(&mut surface, ball, 1, &Seed::new(0)).is_err());
    // A loss that is not finite is no curvature.
    let y = Var::new(&Tensor::new([0.0]).unwrap());
    let mut surface =
        Surface::new(named(&[("y", &y)]), 1, |_| y.tensor().sqrt()?.sum_all()).unwrap();
    let error = Hessian::new(&mut surface).err().unwrap();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}
