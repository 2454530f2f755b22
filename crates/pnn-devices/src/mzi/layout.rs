//! Where the interferometers of a mesh sit.

use pnn_core::{Error, Result};

/// The arrangement of the interferometers of a mesh of any number of ports, even or odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Clements et al. (Optica 3, 1460, 2016): `N` columns, the pairs of neighbours in turn from
    /// port 0 and from port 1; universal.
    Rectangular,
    /// Reck et al. (Phys. Rev. Lett. 73, 58, 1994): a pyramid of `2 N - 3` columns; universal.
    Triangular,
    /// Pairs at distance 1, 2, 4, ...: `ceil(log2 N)` columns, as in a fast Fourier transform.
    /// Not universal. Where `N` is no power of two, pairs that reach beyond it are left out.
    Butterfly,
}

impl Layout {
    /// The columns of pairs of ports, in the order in which light meets them.
    ///
    /// # Errors
    /// If there are fewer than two ports.
    pub fn columns(self, ports: usize) -> Result<Vec<Vec<(usize, usize)>>> {
        if ports < 2 {
            let (what, value) = ("number of ports of the mesh".to_owned(), ports as f64);
            return Err(Error::Range { what, value, allowed: "[2, infinity)" });
        }
        let from = |first: usize, last: usize| {
            (first..last).step_by(2).map(|port| (port, port + 1)).collect::<Vec<_>>()
        };
        Ok(match self {
            Self::Rectangular => (0..ports).map(|column| from(column % 2, ports - 1)).collect(),
            Self::Triangular => (0..2 * ports - 3)
                .map(|column| from(column % 2, 1 + column.min(2 * ports - 4 - column)))
                .collect(),
            Self::Butterfly => (0..usize::BITS - (ports - 1).leading_zeros())
                .map(|column| {
                    let distance = 1 << column;
                    let first = (0..ports).filter(|port| port & distance == 0);
                    let pairs = first.map(|port| (port, port + distance));
                    pairs.filter(|(_, second)| *second < ports).collect()
                })
                .collect(),
        })
    }

    /// For each interferometer the exponent `a` with which its phases are drawn so that the mesh
    /// is Haar-random: the power that it sends across is distributed as `u^(1/a)`, `u` uniform
    /// (Russell et al., New J. Phys. 19, 033007, 2017; for rectangles as in the published code of
    /// Xu et al., 2026). A butterfly cannot be; each of its interferometers is by itself.
    pub(super) fn exponents(self, ports: usize) -> Result<Vec<f64>> {
        let mut exponents = Vec::new();
        for (column, pairs) in self.columns(ports)?.iter().enumerate() {
            exponents.extend(pairs.iter().map(|(top, _)| match self {
                Self::Rectangular => rectangular_exponent(ports, column, *top),
                // Row by row of the matrix, each is a uniform vector split once for each port.
                Self::Triangular => top + 1,
                Self::Butterfly => 1,
            } as f64));
        }
        Ok(exponents)
    }
}

/// The place of an interferometer along its diagonal of length `d`, counted from either end.
fn rectangular_exponent(ports: usize, column: usize, top: usize) -> usize {
    let (d, place) = if column > top {
        (ports - (column - top), top)
    } else {
        (ports - 1 - (top - column), column)
    };
    if d <= 1 {
        return 1;
    }
    // 1, 3, .., d, d - 1, .., 4, 2 for odd d and 2, 4, .., d, d - 1, .., 3, 1 for even d.
    let rising = (2 - d % 2..=d).step_by(2);
    let falling = (1..d).rev().filter(|a| a % 2 != d % 2);
    rising.chain(falling).nth(place).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_interferometers() {
        for ports in 2..=65 {
            let cells = |layout: Layout| layout.columns(ports).unwrap().concat().len();
            assert_eq!(cells(Layout::Rectangular), ports * (ports - 1) / 2);
            assert_eq!(cells(Layout::Triangular), ports * (ports - 1) / 2);
            let columns = Layout::Butterfly.columns(ports).unwrap();
            assert_eq!(columns.len(), (ports as f64).log2().ceil() as usize);
            if ports.is_power_of_two() {
                assert_eq!(columns.concat().len(), ports / 2 * columns.len());
            }
        }
        let want = [vec![(0, 1)], vec![(1, 2)], vec![(0, 1), (2, 3)], vec![(1, 2)], vec![(0, 1)]];
        assert_eq!(Layout::Triangular.columns(4).unwrap(), want);
        let want = [vec![(0, 1), (2, 3)], vec![(0, 2), (1, 3)], vec![(0, 4)]];
        assert_eq!(Layout::Butterfly.columns(5).unwrap(), want);
        let error = Layout::Butterfly.columns(0).unwrap_err().to_string();
        assert!(error.contains("number of ports of the mesh is 0"), "{error}");
    }

    #[test]
    fn exponents_of_rectangles() {
        // Diagonals of 5 and 4 interferometers.
        let odd: Vec<_> = (0..5).map(|i| rectangular_exponent(6, i, i)).collect();
        assert_eq!(odd, [1, 3, 5, 4, 2]);
        let even: Vec<_> = (0..4).map(|i| rectangular_exponent(6, i + 2, i)).collect();
        assert_eq!(even, [2, 4, 3, 1]);
    }
}
