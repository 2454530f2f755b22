//! Landscapes of functions that are known: what is drawn is what they are.

use pnn_core::curvature::Surface;
use pnn_core::{Bounds, ParamSet, Parameter, Tensor, Var};
use pnn_eval::Error;
use pnn_eval::landscape::{Direction, Line, Plane, interpolation, line, plane, positions};
use proptest::prelude::*;

fn parameters(values: &[f64]) -> (Var, ParamSet) {
    let var = Var::new(&Tensor::from_slice(values, values.len()).unwrap());
    let parameter = Parameter { name: "x".into(), var: var.clone(), bounds: Bounds::UNBOUNDED };
    (var, ParamSet::new([parameter]).unwrap())
}

/// `½ Σ c_i x_i² + Σ g_i x_i`, in two parts.
fn quadratic<'a>(at: &[f64], curvatures: &'a [f64], slopes: &'a [f64]) -> Surface<'a> {
    let (x, parameters) = parameters(at);
    let constant = |values: &[f64]| Tensor::from_slice(values, values.len()).unwrap();
    Surface::new(parameters, 2, move |batch| match batch {
        0 => (x.tensor().sqr()? * constant(curvatures))?.sum_all()? * 0.5,
        _ => (x.tensor() * constant(slopes))?.sum_all(),
    })
    .unwrap()
}

fn value(x: &[f64], curvatures: &[f64], slopes: &[f64]) -> f64 {
    x.iter().zip(curvatures.iter().zip(slopes)).map(|(x, (c, g))| 0.5 * c * x * x + g * x).sum()
}

fn unit(dim: usize, index: usize) -> Direction {
    Direction::new((0..dim).map(|i| f64::from(u8::from(i == index))).collect()).unwrap()
}

fn silent(_: usize, _: usize) {}

/// `-∞`, then an error, then NaN as x grows.
fn treacherous(at: &[f64]) -> Surface<'static> {
    let (x, parameters) = parameters(at);
    Surface::new(parameters, 1, move |_| {
        let largest = x.value().to_vec1::<f64>()?.into_iter().fold(f64::MIN, f64::max);
        if largest == 5.0 {
            return Err(pnn_core::Error::unknown("loss", "5", ["4", "6"]));
        }
        Ok(Tensor::from_scalar(match largest {
            x if x > 5.0 => f64::NAN,
            x if x > 3.0 => f64::NEG_INFINITY,
            x => x,
        }))
    })
    .unwrap()
}

#[test]
fn losses_that_are_not_finite_are_kept_and_counted() {
    let mut surface = treacherous(&[0.1, 0.0]);
    let found = line(&mut surface, &unit(2, 1), &[0.0, 4.0, 2.0, 6.0], &mut silent).unwrap();
    assert_eq!((found.losses[0], found.losses[2]), (0.1, 2.0));
    assert!(found.losses[1].is_nan() && found.losses[3].is_nan());
    assert_eq!((found.not_finite(), found.minimum()), (2, Some((0.0, 0.1))));
    assert!(found.barrier().is_nan());

    let json = serde_json::to_string(&found).unwrap();
    assert!(json.contains("null"), "{json}");
    let back: Line = serde_json::from_str(&json).unwrap();
    assert_eq!(back.not_finite(), 2);

    let both = [&unit(2, 0), &unit(2, 1)];
    let found = plane(&mut surface, both, &[1.0, 7.0], &[0.0, 2.0], &mut silent).unwrap();
    assert_eq!((found.not_finite(), found.minimum()), (2, Some((1.0, 0.0, 1.1))));
    let back: Plane = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
    assert_eq!(back.minimum(), found.minimum());
    let nowhere = line(&mut surface, &unit(2, 1), &[9.0], &mut silent).unwrap();
    assert_eq!(nowhere.minimum(), None);
}

#[test]
fn after_an_error_the_point_is_what_it_was() {
    let at = [0.1, 0.3];
    let mut surface = treacherous(&at);
    let bits = |surface: &Surface<'_>| surface.point().unwrap().map_bits();
    let before = bits(&surface);
    let mut done = 0;
    let path = [0.5, 1.0, 5.0 - 0.3, 2.0];
    let error = line(&mut surface, &unit(2, 1), &path, &mut |n, _| done = n).unwrap_err();
    assert!(matches!(error, Error::Core(_)), "{error}");
    assert_eq!((done, bits(&surface)), (2, before.clone()));
    let both = [&unit(2, 0), &unit(2, 1)];
    assert!(plane(&mut surface, both, &[4.9], &[0.0], &mut silent).is_err());
    assert!(interpolation(&mut surface, &at, &[5.0, 0.0], &[1.0], &mut silent).is_err());
    assert_eq!(bits(&surface), before);
}

trait Bits {
    fn map_bits(&self) -> Vec<u64>;
}

impl Bits for Vec<f64> {
    fn map_bits(&self) -> Vec<u64> {
        self.iter().map(|v| v.to_bits()).collect()
    }
}

#[test]
fn impossible_input_is_refused() {
    let mut surface = quadratic(&[1.0, 2.0], &[1.0, 1.0], &[0.0, 0.0]);
    let (short, good) = (unit(1, 0), unit(2, 0));
    let mut along = |d: &Direction, at: &[f64]| line(&mut surface, d, at, &mut silent);
    assert!(matches!(along(&short, &[0.0]), Err(Error::Length { got: 1, expected: 2, .. })));
    assert!(matches!(along(&good, &[]), Err(Error::TooFew { .. })));
    assert!(matches!(along(&good, &[0.0, f64::NAN]), Err(Error::NotFinite { index: 1, .. })));
    let mut over = |d, xs: &[f64], ys: &[f64]| plane(&mut surface, d, xs, ys, &mut silent);
    assert!(matches!(over([&good, &short], &[0.0], &[0.0]), Err(Error::Length { .. })));
    assert!(matches!(over([&good, &good], &[0.0], &[]), Err(Error::TooFew { .. })));
    assert!(matches!(over([&good, &good], &[f64::INFINITY], &[0.0]), Err(Error::NotFinite { .. })));
    let mut between =
        |from: &[f64], to: &[f64]| interpolation(&mut surface, from, to, &[0.5], &mut silent);
    assert!(matches!(between(&[1.0, 2.0], &[1.0]), Err(Error::Length { .. })));
    assert!(matches!(between(&[1.0, f64::NAN], &[1.0, 2.0]), Err(Error::NotFinite { .. })));
}

#[test]
fn progress_counts_every_loss() {
    let mut surface = quadratic(&[1.0, 2.0], &[1.0, 1.0], &[0.0, 0.0]);
    let mut seen = Vec::new();
    let both = [&unit(2, 0), &unit(2, 1)];
    plane(&mut surface, both, &[0.0, 1.0], &[0.0, 1.0], &mut |n, of| seen.push((n, of))).unwrap();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn positions_meet_the_ends_and_the_middle() {
    for (low, high, count) in [(-0.3, 0.3, 41), (-1e-3, 1e-3, 7), (0.1, 0.7, 2)] {
        let all = positions(low, high, count);
        assert_eq!((all.len(), all[0], all[count - 1]), (count, low, high));
        assert!(count % 2 == 0 || all[count / 2] == 0.0, "{all:?}");
        assert!(all.is_sorted());
    }
    assert!(positions(0.0, 1.0, 0).is_empty());
    assert_eq!(positions(-2.0, 2.0, 1), [0.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_line_through_a_quadratic_is_the_quadratic(
        values in proptest::collection::vec((-3.0..3.0f64, -9.0..9.0f64, -2.0..2.0f64, -1.0..1.0f64), 1..6),
        at in -4.0..4.0f64,
    ) {
        let of = |f: fn(&(f64, f64, f64, f64)) -> f64| values.iter().map(f).collect::<Vec<_>>();
        let (x, c, g, d) = (of(|v| v.0), of(|v| v.1), of(|v| v.2), of(|v| v.3));
        let Ok(direction) = Direction::new(d.clone()) else { return Ok(()) };
        let mut surface = quadratic(&x, &c, &g);
        let found = line(&mut surface, &direction, &[at, 0.0], &mut silent).unwrap();
        let moved: Vec<f64> = x.iter().zip(&d).map(|(x, d)| x + at * d).collect();
        prop_assert!((found.losses[0] - value(&moved, &c, &g)).abs() < 1e-11);
        prop_assert!((found.losses[1] - value(&x, &c, &g)).abs() < 1e-11);
        prop_assert_eq!(surface.point().unwrap(), x);
    }

    /// Along eigenvectors the plane is `L(x) + s·a + t·b + ½ (λ_a s² + λ_b t²)`: the Hessian is diagonal.
    #[test]
    fn a_plane_along_eigenvectors_shows_the_eigenvalues(
        x in proptest::array::uniform3(-3.0..3.0f64), c in proptest::array::uniform3(-9.0..9.0f64),
        (s, t) in (0.1..2.0f64, 0.1..2.0f64), (a, b) in prop_oneof![Just((0, 1)), Just((2, 0)), Just((1, 2))],
    ) {
        let mut surface = quadratic(&x, &c, &[0.0; 3]);
        let both = [&unit(3, a), &unit(3, b)];
        let found = plane(&mut surface, both, &[-s, 0.0, s], &[-t, 0.0, t], &mut silent).unwrap();
        let row = |y: usize| found.rows().nth(y).unwrap();
        let curvature_a = (row(1)[0] - 2.0 * row(1)[1] + row(1)[2]) / (s * s);
        let curvature_b = (row(0)[1] - 2.0 * row(1)[1] + row(2)[1]) / (t * t);
        let mixed = row(2)[2] - row(2)[0] - row(0)[2] + row(0)[0];
        prop_assert!((curvature_a - c[a]).abs() < 1e-9 && (curvature_b - c[b]).abs() < 1e-9);
        prop_assert!(mixed.abs() < 1e-11 && found.cosine == 0.0);
    }

    #[test]
    fn an_interpolation_meets_both_solutions_to_the_bit(
        pairs in proptest::collection::vec((-3.0..3.0f64, -3.0..3.0f64), 1..6),
    ) {
        let (from, to): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let (c, g) = (vec![1.5; from.len()], vec![0.25; from.len()]);
        let mut surface = quadratic(&vec![9.0; from.len()], &c, &g);
        let found = interpolation(&mut surface, &from, &to, &[0.0, 0.5, 1.0], &mut silent).unwrap();
        prop_assert_eq!(found.losses[0].to_bits(), surface.loss_at(&from).unwrap().to_bits());
        prop_assert_eq!(found.losses[2].to_bits(), surface.loss_at(&to).unwrap().to_bits());
        // A convex function has no barrier.
        prop_assert!(found.barrier() < 1e-12);
    }
}
