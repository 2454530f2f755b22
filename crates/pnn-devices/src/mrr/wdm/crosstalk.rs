//! How the heater of a ring warms the others.

use nalgebra::DMatrix;

use crate::{Error, Result};

/// The part of the heat of one heater that reaches the rings beside it on its waveguide: the shift of ring `i` is
/// `sum_j M[i, j] heat_j`, with ones on the diagonal of `M`.
#[derive(Debug, Clone, PartialEq)]
pub struct ThermalCrosstalk {
    rings: usize,
    /// Row by row, zeros on the diagonal.
    known: Vec<f64>,
    /// How much less each further neighbour gets.
    decay: f64,
}

impl ThermalCrosstalk {
    /// Heaters that warm nothing but their ring.
    #[must_use]
    pub fn none(rings: usize) -> Self {
        Self { rings, known: vec![0.0; rings * rings], decay: 0.0 }
    }

    /// By distance: the rings next to a heater get the part `nearest` of its heat, those beyond each `decay` times as
    /// much as the one before.
    ///
    /// # Errors
    /// If `nearest` or `decay` lies outside [0, 1).
    pub fn by_distance(rings: usize, nearest: f64, decay: f64) -> Result<Self> {
        for (what, value) in [
            ("heat that the nearest ring gets", nearest),
            ("decay of heat from ring to ring", decay),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::Range { what, value, allowed: "[0, 1)" });
            }
        }
        let profile = Self { rings, known: Vec::new(), decay }.profile();
        Ok(Self { rings, known: profile.iter().map(|part| nearest * part).collect(), decay })
    }

    /// From a matrix that was measured or simulated (rings, rings), row by row: what ring `i` gets of heater `j`, over what ring `j` gets
    /// of it. What a chip has beyond it (the deviation `thermal_crosstalk`) goes to nearest neighbours only.
    ///
    /// # Errors
    /// If the matrix is not square, its diagonal not 1, or an entry lies outside [0, 1].
    pub fn from_matrix(rings: usize, matrix: &[f64]) -> Result<Self> {
        if rings == 0 || matrix.len() != rings * rings {
            let (what, value) = ("entries of a crosstalk matrix", matrix.len() as f64);
            return Err(Error::Range { what, value, allowed: "rings times rings" });
        }
        let mut known = matrix.to_vec();
        for ring in 0..rings {
            let own = &mut known[ring * (rings + 1)];
            if *own != 1.0 {
                let what = "what a ring gets of its own heater, over itself";
                return Err(Error::Range { what, value: *own, allowed: "1" });
            }
            *own = 0.0;
        }
        if let Some(value) = known.iter().find(|part| !(0.0..=1.0).contains(*part)) {
            let what = "heat that a ring gets of another's heater";
            return Err(Error::Range { what, value: *value, allowed: "[0, 1]" });
        }
        Ok(Self { rings, known, decay: 0.0 })
    }

    /// Number of rings on a waveguide.
    #[must_use]
    pub fn rings(&self) -> usize {
        self.rings
    }

    /// Whether heaters are known to warm other rings.
    pub(super) fn is_none(&self) -> bool {
        self.known.iter().all(|part| *part == 0.0)
    }

    /// `decay^(distance - 1)` for each pair of rings, 0 on the diagonal: how a crosstalk of 1 to the nearest neighbour is
    /// spread.
    pub(super) fn profile(&self) -> Vec<f64> {
        let part = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 0.0,
            distance => self.decay.powi(distance as i32 - 1),
        };
        (0..self.rings * self.rings).map(|k| part(k / self.rings, k % self.rings)).collect()
    }

    /// The whole matrix, with what is known, row by row.
    pub(super) fn matrix(&self) -> DMatrix<f64> {
        DMatrix::from_row_slice(self.rings, self.rings, &self.known)
            + DMatrix::identity(self.rings, self.rings)
    }
}
