//! Ways through the space of parameters.

use pnn_core::{ParamSet, Seed};
use rand_distr::{Distribution, StandardNormal};

use crate::interval::check_finite;
use crate::{Error, Result};

/// A direction, one number for each value of [`Surface::point`](pnn_core::curvature::Surface::point), in its
/// order. Its length is the length of a step of 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction(Vec<f64>);

/// What a filter-normalised direction does with parameters of one dimension: biases, weights of batch norm, phases of
/// meshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// They stay as they are: `ignore = 'biasbn'` of the authors' program, and what their figures show.
    Held,
    /// The direction is their own value, so that a step of 1 doubles them: what the authors' program does without
    /// `biasbn`.
    Scaled,
    /// Each is one filter, drawn and scaled to the length of its values: for devices whose settings are lists,
    /// such as the phases of a mesh. Not in the authors' program.
    OneFilter,
}

impl Direction {
    /// A chosen direction, such as an eigenvector of the Hessian.
    ///
    /// # Errors
    /// If a value is not finite or all are 0.
    pub fn new(values: Vec<f64>) -> Result<Self> {
        Self::checked(values, "as given", "at least one value other than 0 is needed")
    }

    /// A random direction of length 1, all of which are as likely (normal values, normalised), in a space of `dim`
    /// values.
    ///
    /// ```
    /// use pnn_core::Seed;
    /// use pnn_eval::landscape::Direction;
    /// let direction = Direction::random(1000, &Seed::new(0).child("direction"))?;
    /// assert!((direction.length() - 1.0).abs() < 1e-14);
    /// # Ok::<(), pnn_eval::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `dim` is 0.
    pub fn random(dim: usize, seed: &Seed) -> Result<Self> {
        let mut values = normal(dim, seed);
        let length = length(&values);
        values.iter_mut().for_each(|value| *value /= length);
        Self::checked(values, "at random", "a space without dimensions has none")
    }

    /// A random filter-normalised direction at the present values of the parameters (Li et al., Visualizing the Loss
    /// Landscape of Neural Nets, `NeurIPS` 2018, section 4):
    ///
    /// ```text
    /// d_ij ← d_ij |θ_ij| / |d_ij|        filter j of parameter i, d drawn from a normal law
    /// ```
    ///
    /// A filter is what has one index in the first dimension of a parameter, as in the authors' program
    /// (`net_plotter.py`): a row of weights (outputs, inputs), an output channel of a convolution. A step of 1 changes
    /// every filter by its own length. `vectors` says what happens to parameters of one dimension. The program
    /// divides by `|d| + 1e-10`, here it is `|d|`. A parameter's part depends on `seed` and its name only.
    ///
    /// # What it means for devices
    /// The normalisation undoes a freedom of networks of `ReLU` and batch norm, whose filters may be scaled without a change of
    /// the output. Physical settings have no such freedom:
    /// - Detunings of rings (outputs, inputs), in nm: a filter is all rings of an output. Its length says how far
    ///   these are from resonance, and a ring that is far off, where nothing depends on it, makes steps large.
    /// - Phases of a mesh are a list, which [`Vectors::Held`] leaves out altogether; with [`Vectors::OneFilter`]
    ///   all phases of a kind are one filter, whose length depends on how turns are counted (0 or 2π).
    /// - Masks (masks, rows, columns): a filter is a mask.
    ///
    /// To compare solutions of one device, a [`random`](Self::random) direction in units of its settings or, better, of
    /// expected deviations ([`LossSurface::of_deviations`](crate::LossSurface::of_deviations)) says more.
    ///
    /// # Errors
    /// If the direction is zero: all parameters are 0 (such as displacements), or all are lists and
    /// these are held; if a parameter is not finite.
    pub fn filter_normalised(parameters: &ParamSet, vectors: Vectors, seed: &Seed) -> Result<Self> {
        check_finite("the parameter value", &parameters.to_flat()?)?;
        let mut values = Vec::new();
        for parameter in parameters.iter() {
            let tensor = parameter.var.value().to_dtype(pnn_core::DType::F64)?;
            let own = tensor.elements::<f64>()?;
            let drawn = normal(own.len(), &seed.child(&parameter.name));
            let filters = match (tensor.dims(), vectors) {
                ([filters, _, ..], _) => *filters,
                (_, Vectors::OneFilter) => 1,
                (_, Vectors::Scaled) => {
                    values.extend_from_slice(own);
                    continue;
                }
                (_, Vectors::Held) => {
                    values.resize(values.len() + own.len(), 0.0);
                    continue;
                }
            };
            let size = (own.len() / filters.max(1)).max(1);
            for (own, drawn) in own.chunks(size).zip(drawn.chunks(size)) {
                let scale = length(own) / length(drawn);
                values.extend(drawn.iter().map(|value| scale * value));
            }
        }
        let reason = "all parameters are 0, or lists that are held";
        Self::checked(values, "normalised by filters", reason)
    }

    /// From one solution to another; a step of 1 leads all the way.
    ///
    /// # Errors
    /// If they differ in length, have a value that is not finite, or are the same.
    pub fn between(from: &[f64], to: &[f64]) -> Result<Self> {
        if from.len() != to.len() {
            let what = "the solution that a direction leads to".into();
            return Err(Error::Length { what, got: to.len(), expected: from.len() });
        }
        let values = from.iter().zip(to).map(|(from, to)| to - from).collect();
        Self::checked(values, "between two solutions", "they are the same")
    }

    /// What is left of this direction without its part along another (Gram and Schmidt), so that distances in the
    /// plane of both are true. Directions drawn at random in many dimensions are nearly orthogonal as they are.
    ///
    /// # Errors
    /// If the two differ in length or are parallel to rounding (what is left is below 1e-10 of this one).
    pub fn orthogonal_to(&self, other: &Self) -> Result<Self> {
        self.check_dim(other.0.len(), "another direction")?;
        let mut rest = self.0.clone();
        // Once leaves a part of the size of the rounding of what was taken away; twice is enough.
        for _ in 0..2 {
            let along = dot(&rest, &other.0) / dot(&other.0, &other.0);
            rest.iter_mut().zip(&other.0).for_each(|(rest, other)| *rest -= along * other);
        }
        let left = length(&rest);
        if left.is_nan() || left < 1e-10 * self.length() {
            let (what, reason) = ("orthogonal to another", "the two are parallel");
            return Err(Error::ZeroDirection { what, reason });
        }
        Self::new(rest)
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The 2-norm: how far a step of 1 leads.
    #[must_use]
    pub fn length(&self) -> f64 {
        length(&self.0)
    }

    /// This direction times a factor: `1 / length()` for one of length 1.
    ///
    /// # Errors
    /// If the factor is 0 or not finite, or the result overflows.
    pub fn scaled(&self, factor: f64) -> Result<Self> {
        Self::new(self.0.iter().map(|value| factor * value).collect())
    }

    /// The cosine of the angle to another direction.
    ///
    /// # Errors
    /// If the two differ in length.
    pub fn cosine(&self, other: &Self) -> Result<f64> {
        self.check_dim(other.0.len(), "another direction")?;
        Ok((dot(&self.0, &other.0) / self.length() / other.length()).clamp(-1.0, 1.0))
    }

    fn checked(values: Vec<f64>, what: &'static str, reason: &'static str) -> Result<Self> {
        check_finite("the value of a direction", &values)?;
        if values.iter().all(|value| *value == 0.0) {
            return Err(Error::ZeroDirection { what, reason });
        }
        Ok(Self(values))
    }

    /// Whether it has as many values as something that it is used with.
    pub(super) fn check_dim(&self, expected: usize, with: &str) -> Result<()> {
        if self.0.len() == expected {
            return Ok(());
        }
        let what = format!("a direction beside {with}");
        Err(Error::Length { what, got: self.0.len(), expected })
    }
}

fn normal(count: usize, seed: &Seed) -> Vec<f64> {
    let mut rng = seed.rng();
    (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn length(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnn_core::{Bounds, DType, Parameter, Tensor, Var};
    use proptest::prelude::*;

    fn parameter(name: &str, shape: &[usize], seed: &Seed) -> Parameter {
        let value = seed.child(name).tensor(StandardNormal, shape, DType::F64).unwrap();
        Parameter { name: name.into(), var: Var::new(&value), bounds: Bounds::UNBOUNDED }
    }

    fn network(seed: &Seed) -> ParamSet {
        let of = |name, shape: &[usize]| parameter(name, shape, seed);
        let all = [of("a.bias", &[3]), of("a.weight", &[3, 2, 2]), of("b.weight", &[2, 5])];
        ParamSet::new(all).unwrap()
    }

    /// Value stability: a change of these bits changes published landscapes.
    #[test]
    fn the_streams_are_pinned() {
        let seed = Seed::new(0).child("direction");
        let random = Direction::random(3, &seed).unwrap();
        assert_eq!(random.values(), PINNED);
        let network = network(&Seed::new(4));
        let of = |v| Direction::filter_normalised(&network, v, &seed).unwrap();
        assert_eq!(of(Vectors::Held).values()[3], PINNED_FILTER);
        // What one parameter gets does not depend on the others.
        assert_eq!(of(Vectors::Held).values()[3..], of(Vectors::OneFilter).values()[3..]);
    }

    const PINNED: [f64; 3] = [-0.009241323090669858, -0.7752803209219833, -0.6315496987083759];
    const PINNED_FILTER: f64 = -0.5972714888971421;

    #[test]
    fn vectors_are_held_scaled_or_one_filter() {
        let network = network(&Seed::new(4));
        let bias = &network.to_flat().unwrap()[..3];
        let of = |v| Direction::filter_normalised(&network, v, &Seed::new(1)).unwrap();
        assert_eq!(of(Vectors::Held).values()[..3], [0.0; 3]);
        assert_eq!(&of(Vectors::Scaled).values()[..3], bias);
        let one = of(Vectors::OneFilter);
        assert!((length(&one.values()[..3]) - length(bias)).abs() < 1e-14);
        assert_ne!(&one.values()[..3], bias);
    }

    #[test]
    fn directions_that_lead_nowhere_are_refused() {
        let zero = |found: Result<Direction>| {
            let error = found.unwrap_err();
            assert!(matches!(error, Error::ZeroDirection { .. }), "{error}");
        };
        zero(Direction::new(vec![0.0, -0.0]));
        zero(Direction::new(vec![]));
        zero(Direction::random(0, &Seed::new(0)));
        zero(Direction::between(&[1.0, 2.0], &[1.0, 2.0]));
        let d = Direction::new(vec![1.0, 2.0]).unwrap();
        zero(Direction::new(vec![-3.0, -6.0]).unwrap().orthogonal_to(&d));
        zero(d.scaled(0.0));
        let phases = ParamSet::new([parameter("mesh.theta", &[6], &Seed::new(0))]).unwrap();
        zero(Direction::filter_normalised(&phases, Vectors::Held, &Seed::new(0)));
        phases.set_flat(&[0.0; 6]).unwrap();
        zero(Direction::filter_normalised(&phases, Vectors::OneFilter, &Seed::new(0)));
        assert!(matches!(Direction::new(vec![f64::NAN]), Err(Error::NotFinite { .. })));
        assert!(matches!(Direction::between(&[1.0], &[1.0, 2.0]), Err(Error::Length { .. })));
        assert!(d.cosine(&Direction::new(vec![1.0]).unwrap()).is_err());
        let bad = ParamSet::new([parameter("w", &[2, 2], &Seed::new(0))]).unwrap();
        bad.iter()
            .next()
            .unwrap()
            .var
            .set(&Tensor::new([[1.0, f64::NAN], [0.0, 1.0]]).unwrap())
            .unwrap();
        let error = Direction::filter_normalised(&bad, Vectors::Held, &Seed::new(0)).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 1, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn every_filter_has_the_length_of_its_weights(root in 0u64..10_000) {
            let network = network(&Seed::new(root));
            let d = Direction::filter_normalised(&network, Vectors::Held, &Seed::new(root + 1)).unwrap();
            let weights = network.to_flat().unwrap();
            for (start, size) in [(3, 4), (7, 4), (11, 4), (15, 5), (20, 5)] {
                let [own, drawn] = [&weights, d.values()].map(|v| length(&v[start..start + size]));
                prop_assert!((own - drawn).abs() < 1e-13 * own);
            }
            prop_assert_eq!(d.values().len(), 25);
        }

        #[test]
        fn what_is_left_is_orthogonal(
            pairs in proptest::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 2..30),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (Ok(a), Ok(b)) = (Direction::new(a), Direction::new(b)) else { return Ok(()) };
            if let Ok(rest) = b.orthogonal_to(&a) {
                prop_assert!(rest.cosine(&a).unwrap().abs() < 1e-14);
                prop_assert!(rest.length() <= b.length() * (1.0 + 1e-15));
            }
        }
    }
}
