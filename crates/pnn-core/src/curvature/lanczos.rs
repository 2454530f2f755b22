//! Extreme eigenpairs by Lanczos' method.

use nalgebra::{DMatrix, SymmetricEigen};

use super::operator::{Operator, add_scaled, dot, norm, orthogonalise, random_unit, scale};
use crate::error::in_range;
use crate::{Error, Result, Seed};

/// Eigenvalues below this part of the largest are as good as zero: the root of the machine's precision.
const NOUGHT: f64 = 1.5e-8;

/// An eigenvalue with its eigenvector.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigenpair {
    /// The eigenvalue.
    pub value: f64,
    /// The eigenvector, of length 1.
    pub vector: Vec<f64>,
    /// `|A v - value v|`: an eigenvalue lies no further away than this (Parlett, The Symmetric Eigenvalue
    /// Problem, 1998, theorem 4.5.1). [`Lanczos`] has it from its recurrence, for products that are exact: where they are not
    /// (see [`Differences`](super::Differences)), their error comes on top.
    pub residual: f64,
}

/// What [`Lanczos`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Extremes {
    /// The largest eigenvalues, the largest first.
    pub largest: Vec<Eigenpair>,
    /// The smallest eigenvalues (the most negative), the smallest first.
    pub smallest: Vec<Eigenpair>,
    /// Products with the matrix.
    pub products: usize,
}

/// Lanczos' method with full reorthogonalisation (Golub and Van Loan, Matrix Computations, 2013, section
/// 10.3), from a random start. Eigenvalues that coincide are found once, unless as many pairs are asked for as the
/// matrix has rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lanczos {
    /// How many of the largest eigenvalues.
    pub largest: usize,
    /// How many of the smallest.
    pub smallest: usize,
    /// Largest residual of each pair, relative to its own eigenvalue's magnitude (ARPACK's criterion: Lehoucq, Sorensen
    /// and Yang, ARPACK Users' Guide, 1998, section 4.6), or to 1.5e-8 of the largest magnitude if that is more: what is
    /// smaller is as good as zero.
    pub tolerance: f64,
    /// Largest number of products; the matrix's rows if it has fewer.
    pub max_products: usize,
}

impl Lanczos {
    /// So many of the largest and of the smallest eigenvalues, each to a residual of 1e-3 of itself in at most 300
    /// products. The error of an isolated eigenvalue is about the residual squared. A negative
    /// smallest one that is larger than the error of the products is certain to be there (the matrix has one at least as small, by
    /// Cauchy's interlacing); a small one beside large ones takes many products.
    #[must_use]
    pub fn extremes(largest: usize, smallest: usize) -> Self {
        Self { largest, smallest, tolerance: 1e-3, max_products: 300 }
    }

    /// With another tolerance of the residual.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// With at most so many products.
    #[must_use]
    pub fn max_products(self, max_products: usize) -> Self {
        Self { max_products, ..self }
    }

    /// The extreme eigenpairs of a matrix.
    ///
    /// # Errors
    /// If none or more are asked for than the matrix has, the tolerance is not positive, a product fails, or
    /// the residuals are not small enough after the last product ([`Error::NotConverged`]).
    pub fn run(&self, matrix: &mut dyn Operator, seed: &Seed) -> Result<Extremes> {
        let dim = matrix.dim();
        let asked = self.largest + self.smallest;
        let inside = (1..=dim).contains(&asked);
        let what = format!("number of eigenvalues of a matrix of {dim} rows");
        in_range(&what, asked as f64, inside, "[1, rows of the matrix]")?;
        in_range("tolerance of Lanczos", self.tolerance, self.tolerance > 0.0, "(0, infinity)")?;
        let last = self.max_products.min(dim);
        let enough = last >= asked;
        let what = format!("max_products for {asked} eigenvalues");
        in_range(&what, last as f64, enough, "at least the number of eigenvalues")?;
        let mut process = Process::start(dim, seed);
        loop {
            process.step(matrix, seed)?;
            let products = process.products();
            // Solving the small problem becomes the dearer the larger it is.
            if products < asked || (products > 40 && !products.is_multiple_of(8) && products < last)
            {
                continue;
            }
            let ritz = process.ritz();
            let size = ritz.iter().map(|pair| pair.value.abs()).fold(0.0, f64::max);
            let wanted = || (0..self.smallest).chain(products - self.largest..products);
            let relative = |place: usize| {
                let Ritz { value, residual, .. } = &ritz[place];
                if *residual == 0.0 { 0.0 } else { residual / value.abs().max(NOUGHT * size) }
            };
            let residual = wanted().map(relative).fold(0.0, f64::max);
            // A whole space leaves rounding errors only.
            if residual <= self.tolerance || products == dim {
                let pair = |place: usize| process.eigenpair(&ritz[place]);
                return Ok(Extremes {
                    largest: (products - self.largest..products).rev().map(pair).collect(),
                    smallest: (0..self.smallest).map(pair).collect(),
                    products,
                });
            }
            if products == last {
                return Err(Error::NotConverged {
                    what: "Lanczos' method".into(),
                    iterations: products,
                    residual,
                    tolerance: self.tolerance,
                });
            }
        }
    }
}

/// An eigenvalue of the small matrix, with its vector there.
pub(super) struct Ritz {
    pub(super) value: f64,
    pub(super) coordinates: Vec<f64>,
    pub(super) residual: f64,
}

/// The orthonormal vectors and the tridiagonal matrix of Lanczos' process.
pub(super) struct Process {
    units: Vec<Vec<f64>>,
    next: Option<Vec<f64>>,
    diagonal: Vec<f64>,
    /// Between a vector and the next; the last one leads out of the space so far.
    beside: Vec<f64>,
}

impl Process {
    pub(super) fn start(dim: usize, seed: &Seed) -> Self {
        let next = random_unit(dim, seed, &[]);
        Self { units: Vec::new(), next, diagonal: Vec::new(), beside: Vec::new() }
    }

    pub(super) fn products(&self) -> usize {
        self.diagonal.len()
    }

    /// Enlarges the space by one dimension, if there is one more.
    pub(super) fn step(&mut self, matrix: &mut dyn Operator, seed: &Seed) -> Result<()> {
        let Some(unit) = self.next.take() else { return Ok(()) };
        let mut product = matrix.apply(&unit)?;
        if !norm(&product).is_finite() {
            let (what, layer) = ("a product with the matrix".into(), "the operator".into());
            return Err(Error::NotFinite { what, value: f64::NAN, layer });
        }
        self.diagonal.push(dot(&product, &unit));
        let own = self.diagonal[self.diagonal.len() - 1];
        add_scaled(&mut product, -own, &unit);
        if let (Some(before), Some(beside)) = (self.units.last(), self.beside.last()) {
            add_scaled(&mut product, -beside, before);
        }
        self.units.push(unit);
        orthogonalise(&mut product, &self.units);
        let length = norm(&product);
        let entries = self.diagonal.iter().chain(&self.beside);
        let size = entries.map(|entry| entry.abs()).fold(0.0, f64::max);
        if length > 1e-14 * size * (product.len() as f64).sqrt() {
            scale(&mut product, 1.0 / length);
            self.beside.push(length);
            self.next = Some(product);
        } else {
            // The space is invariant: what is left of the matrix is found from another start.
            self.beside.push(0.0);
            let seed = seed.child("another start").index(self.units.len() as u64);
            self.next = random_unit(product.len(), &seed, &self.units);
        }
        Ok(())
    }

    /// Whether the space so far is one that the matrix does not lead out of.
    pub(super) fn is_invariant(&self) -> bool {
        self.beside.last() == Some(&0.0)
    }

    /// Eigenvalues of the tridiagonal matrix, the smallest first.
    pub(super) fn ritz(&self) -> Vec<Ritz> {
        let count = self.products();
        let small = DMatrix::from_fn(count, count, |row, column| match row.abs_diff(column) {
            0 => self.diagonal[row],
            1 => self.beside[row.min(column)],
            _ => 0.0,
        });
        let solved = SymmetricEigen::new(small);
        let out = self.beside.last().copied().unwrap_or(0.0);
        let mut ritz: Vec<_> = (0..count)
            .map(|column| {
                let coordinates: Vec<f64> =
                    solved.eigenvectors.column(column).iter().copied().collect();
                let residual = (out * coordinates[count - 1]).abs();
                Ritz { value: solved.eigenvalues[column], coordinates, residual }
            })
            .collect();
        ritz.sort_by(|a, b| a.value.total_cmp(&b.value));
        ritz
    }

    fn eigenpair(&self, ritz: &Ritz) -> Eigenpair {
        let mut vector = vec![0.0; self.units[0].len()];
        for (unit, along) in self.units.iter().zip(&ritz.coordinates) {
            add_scaled(&mut vector, *along, unit);
        }
        Eigenpair { value: ritz.value, vector, residual: ritz.residual }
    }
}
