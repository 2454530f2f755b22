//! What the tests share: golden files, tolerances, small tensors.
#![allow(dead_code)] // each test crate uses its own part

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::ops::Real;
use pnn_core::params::{Gradients, ParamSet, Parameter};
use pnn_core::testing::{check_close, check_same_bits};
use pnn_core::{Bounds, DType, Seed, Tensor, Var, store};

/// A golden file.
pub(crate) struct Golden {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Golden {
    pub(crate) fn load(name: &str) -> Self {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"));
        let (tensors, metadata) = store::load(&file).unwrap();
        assert!(metadata.contains_key("torch"), "{name}: {metadata:?}");
        Self { tensors, metadata }
    }

    /// The tensor of a case, in `dtype`.
    pub(crate) fn get(&self, name: &str, dtype: DType) -> Tensor {
        let tensor = self.tensors.get(name).unwrap_or_else(|| panic!("no {name}"));
        tensor.to_dtype(dtype).unwrap()
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The names of the cases under a prefix: what stands before the last `/`.
    pub(crate) fn cases(&self, prefix: &str) -> Vec<String> {
        let mut cases: Vec<String> = self
            .tensors
            .keys()
            .filter(|k| k.starts_with(prefix))
            .filter_map(|k| Some(k.rsplit_once('/')?.0.to_owned()))
            .collect();
        cases.dedup();
        assert!(!cases.is_empty(), "no cases under {prefix:?}");
        cases
    }

    /// The list of cases that the script wrote into the metadata.
    pub(crate) fn listed(&self) -> Vec<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_str(&self.metadata["cases"]).unwrap()
    }
}

/// Distance of 1 to the next number.
pub(crate) fn eps(dtype: DType) -> f64 {
    if dtype == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON }
}

pub(crate) fn largest(tensor: &Tensor) -> f64 {
    values(tensor).iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// How far two sums of `terms` products `a b` may differ when each is taken in its own order:
/// rounding errors add up like a random walk of at most `terms` steps whose partial sums are
/// themselves of size `sqrt(terms) |a| |b|`, so `terms eps |a| |b|` for each of the two. (The
/// rigorous bound, `terms^2 eps |a| |b|`, is never met.) `terms + 1` covers a single product.
pub(crate) fn sum_tolerance(terms: usize, a: &Tensor, b: &Tensor, dtype: DType) -> f64 {
    2.0 * (terms + 1) as f64 * eps(dtype) * largest(a) * largest(b)
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn typed<T: Real>(tensor: &Tensor) -> Vec<T> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
pub(crate) fn assert_close(what: &str, got: &Tensor, want: &Tensor, relative: f64, absolute: f64) {
    if let Err(e) = check_close(got, want, relative, absolute) {
        panic!("{what}: {e}");
    }
}

#[track_caller]
pub(crate) fn assert_same_bits(what: &str, got: &Tensor, want: &Tensor) {
    if let Err(e) = check_same_bits(got, want) {
        panic!("{what}: {e}");
    }
}

pub(crate) fn normal(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    Seed::new(seed).tensor(rand_distr::StandardNormal, shape, dtype).unwrap()
}

pub(crate) fn uniform(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    Seed::new(seed).tensor(rand_distr::StandardUniform, shape, dtype).unwrap()
}

pub(crate) fn tensor(values: &[f64]) -> Tensor {
    Tensor::new(values).unwrap()
}

pub(crate) fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F64).unwrap()
}

pub(crate) fn var(tensor: &Tensor) -> Var {
    Var::new(tensor)
}

/// Parameters without bounds, by name.
pub(crate) fn params<'a>(named: impl IntoIterator<Item = (&'a str, Tensor)>) -> ParamSet {
    let parameter = |(name, value): (&str, Tensor)| Parameter {
        name: name.to_owned(),
        var: var(&value),
        bounds: Bounds::UNBOUNDED,
    };
    ParamSet::new(named.into_iter().map(parameter)).unwrap()
}

/// The gradients of the parameters of a scalar.
pub(crate) fn gradients(params: &ParamSet, loss: &Tensor) -> Gradients {
    params.gradients(&loss.backward().unwrap())
}

/// The unbiased variance of each column of a matrix.
pub(crate) fn variance(rows: &Tensor) -> Tensor {
    let n = rows.dim(0).unwrap() as f64;
    let distance = (rows - rows.mean(0).unwrap()).unwrap();
    (distance.sqr().unwrap().sum(0).unwrap() * (1.0 / (n - 1.0))).unwrap()
}
