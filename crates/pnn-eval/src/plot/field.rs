//! Heights over a grid: between its points, and where they are equal.

use std::collections::BTreeMap;

use super::axis::Scale;
use super::relief::MarkedPoint;

/// Heights from 0 (the least value) to 1 (the largest) over a grid; NaN where there is none.
///
/// Each cell of the grid is four triangles around its middle, whose height is the mean of the corners; on a triangle
/// heights are linear. So areas, lines and points of all pictures agree.
pub(super) struct Field {
    pub(super) xs: Vec<f64>,
    pub(super) ys: Vec<f64>,
    /// Row by row.
    pub(super) heights: Vec<f64>,
    /// From values to heights.
    pub(super) scale: Scale,
    /// Values of equal-value lines, with their labels.
    pub(super) levels: Vec<(f64, String)>,
    pub(super) points: Vec<MarkedPoint>,
}

/// Heights that differ by less are equal: what interpolation leaves of equal corners.
pub(super) const ROUNDING: f64 = 1e-12;

/// A line of equal height, in the units of the axes.
pub(super) type Isoline = Vec<(f64, f64)>;

impl Field {
    pub(super) fn columns(&self) -> usize {
        self.xs.len()
    }

    pub(super) fn rows(&self) -> usize {
        self.ys.len()
    }

    pub(super) fn height(&self, column: usize, row: usize) -> f64 {
        self.heights[row * self.columns() + column]
    }

    pub(super) fn not_finite(&self) -> usize {
        self.heights.iter().filter(|height| height.is_nan()).count()
    }

    /// The heights of a cell's corners, around it; `None` if one has none.
    pub(super) fn corners(&self, column: usize, row: usize) -> Option<[f64; 4]> {
        let around =
            [(0, 0), (1, 0), (1, 1), (0, 1)].map(|(x, y)| self.height(column + x, row + y));
        around.iter().all(|height| !height.is_nan()).then_some(around)
    }

    /// The heights of the levels, rising.
    pub(super) fn level_heights(&self) -> Vec<f64> {
        self.levels.iter().map(|(value, _)| self.scale.px(*value)).collect()
    }

    /// The height at a place in the grid; NaN in cells without one.
    pub(super) fn sample(&self, x: f64, y: f64) -> f64 {
        let cell = |list: &[f64], at: f64| {
            let index = list.partition_point(|v| *v <= at).clamp(1, list.len() - 1) - 1;
            (index, (at - list[index]) / (list[index + 1] - list[index]))
        };
        let ((column, u), (row, v)) = (cell(&self.xs, x), cell(&self.ys, y));
        let Some([a, b, c, d]) = self.corners(column, row) else {
            return f64::NAN;
        };
        // Turned until the place is in the triangle at the foot of the cell.
        let (u, v, a, b, c, d) = match (v <= u, v <= 1.0 - u) {
            (true, true) => (u, v, a, b, c, d),
            (true, false) => (v, 1.0 - u, b, c, d, a),
            (false, false) => (1.0 - u, 1.0 - v, c, d, a, b),
            (false, true) => (1.0 - v, u, d, a, b, c),
        };
        a * (1.0 - u - v) + b * (u - v) + 0.5 * (a + b + c + d) * v
    }

    /// The lines on which the height is `level`; closed ones end where they begin.
    pub(super) fn isolines(&self, level: f64) -> Vec<Isoline> {
        // What crosses an edge of a triangle is a node; each node has one or two neighbours.
        let mut nodes: BTreeMap<Edge, (Vec<Edge>, (f64, f64))> = BTreeMap::new();
        for row in 0..self.rows() - 1 {
            for column in 0..self.columns() - 1 {
                for triangle in self.triangles(column, row) {
                    if let Some((one, other)) = crossing(&triangle, level) {
                        nodes.entry(one.0).or_insert((Vec::new(), one.1)).0.push(other.0);
                        nodes.entry(other.0).or_insert((Vec::new(), other.1)).0.push(one.0);
                    }
                }
            }
        }
        let mut lines = Vec::new();
        // Lines that end at the border first; what is left are rings.
        for ends_only in [true, false] {
            let starts: Vec<Edge> = nodes
                .iter()
                .filter(|(_, (next, _))| !ends_only || next.len() == 1)
                .map(|(edge, _)| *edge)
                .collect();
            for start in starts {
                let line = walk(&mut nodes, start);
                if line.len() > 1 {
                    lines.push(line);
                }
            }
        }
        lines
    }

    fn triangles(&self, column: usize, row: usize) -> Vec<[Vertex; 3]> {
        let Some(heights) = self.corners(column, row) else {
            return Vec::new();
        };
        let number = |column: usize, row: usize| row * self.columns() + column;
        let corner = |i: usize| {
            let (x, y) = [(0, 0), (1, 0), (1, 1), (0, 1)][i];
            let (column, row) = (column + x, row + y);
            Vertex {
                number: number(column, row),
                at: (self.xs[column], self.ys[row]),
                height: heights[i],
            }
        };
        let mean = |list: &[f64], i: usize| 0.5 * list[i] + 0.5 * list[i + 1];
        let middle = Vertex {
            // Behind all corners.
            number: self.heights.len() + number(column, row),
            at: (mean(&self.xs, column), mean(&self.ys, row)),
            height: 0.25 * heights.iter().sum::<f64>(),
        };
        (0..4).map(|i| [corner(i), corner((i + 1) % 4), middle]).collect()
    }
}

/// The numbers of its two vertices, the smaller first.
type Edge = (usize, usize);

/// An edge that a level crosses, and where.
type Crossing = (Edge, (f64, f64));

#[derive(Clone, Copy)]
struct Vertex {
    number: usize,
    at: (f64, f64),
    height: f64,
}

/// Where a level enters and leaves a triangle.
fn crossing(triangle: &[Vertex; 3], level: f64) -> Option<(Crossing, Crossing)> {
    let mut found = (0..3).filter_map(|i| {
        let (a, b) = (triangle[i], triangle[(i + 1) % 3]);
        // The same order for both triangles of an edge, so that the place has the same bits.
        let (a, b) = if a.number < b.number { (a, b) } else { (b, a) };
        let below = |vertex: Vertex| vertex.height + ROUNDING < level;
        if below(a) == below(b) {
            return None;
        }
        let share = ((level - a.height) / (b.height - a.height)).clamp(0.0, 1.0);
        let between = |a: f64, b: f64| a + share * (b - a);
        Some(((a.number, b.number), (between(a.at.0, b.at.0), between(a.at.1, b.at.1))))
    });
    Some((found.next()?, found.next()?))
}

/// The line from a node on, taking its nodes away.
fn walk(nodes: &mut BTreeMap<Edge, (Vec<Edge>, (f64, f64))>, start: Edge) -> Isoline {
    let mut line = Isoline::new();
    let mut next = Some(start);
    let mut closed = false;
    while let Some((neighbours, at)) = next.and_then(|edge| nodes.remove(&edge)) {
        line.push(at);
        closed = line.len() > 2 && neighbours.contains(&start);
        next = neighbours.into_iter().find(|edge| nodes.contains_key(edge));
    }
    if closed && let Some(first) = line.first().copied() {
        line.push(first);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::axis::Axis;
    use super::super::relief::Relief;
    use super::*;
    use proptest::prelude::*;

    fn field(size: usize, f: impl Fn(f64, f64) -> f64) -> Field {
        let at: Vec<f64> = (0..size).map(|i| i as f64 / (size - 1) as f64 * 2.0 - 1.0).collect();
        let rows = at.iter().map(|y| at.iter().map(|x| f(*x, *y)).collect()).collect();
        Relief::new("t", (at.clone(), at), rows, Axis::linear("z")).field().unwrap()
    }

    #[test]
    fn a_ring_is_closed_and_round() {
        let bowl = field(41, |x, y| x * x + y * y);
        let lines = bowl.isolines(bowl.scale.px(0.5));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].first(), lines[0].last());
        // Linear interpolation over a cell of h = 0.05 is off by h²/8 f'' at most, in all directions h²/2.
        assert!(lines[0].iter().all(|(x, y)| (x * x + y * y - 0.5).abs() < 0.00125));
    }

    #[test]
    fn a_plane_has_one_straight_line_from_border_to_border() {
        let slope = field(5, |x, _| x);
        let lines = slope.isolines(slope.scale.px(0.3));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].iter().all(|(x, _)| (x - 0.3).abs() < 1e-12));
        assert_eq!((lines[0][0].1.abs(), lines[0].last().unwrap().1.abs()), (1.0, 1.0));
    }

    #[test]
    fn a_saddle_is_not_ambiguous() {
        let saddle = field(2, |x, y| x * y);
        assert_eq!(saddle.isolines(0.75).len(), 2);
        assert_eq!(saddle.isolines(0.25).len(), 2);
        assert_eq!(saddle.sample(0.0, 0.0), 0.5);
    }

    #[test]
    fn lines_end_where_there_are_no_values() {
        let hole = field(5, |x, y| if x == 0.0 && y == 0.0 { f64::NAN } else { x });
        assert_eq!(hole.isolines(hole.scale.px(0.25)).len(), 2);
        assert!(hole.sample(0.1, 0.1).is_nan());
        assert_eq!(hole.not_finite(), 1);
    }

    proptest! {
        #[test]
        fn every_line_has_its_level(
            heights in proptest::collection::vec(0.0..1.0f64, 16), level in 0.05..0.95f64,
        ) {
            let rows = heights.chunks(4).map(<[f64]>::to_vec).collect();
            let at = vec![0.0, 1.0, 3.0, 4.0];
            let axis = Axis::linear("z").range(0.0, 1.0);
            let field = Relief::new("t", (at.clone(), at), rows, axis).field().unwrap();
            for line in field.isolines(level) {
                for (x, y) in &line {
                    prop_assert!((field.sample(*x, *y) - level).abs() < 1e-9);
                }
                // Either a ring, or from border to border.
                let on_border = |(x, y): &(f64, f64)| [0.0, 4.0].iter().any(|e| x == e || y == e);
                let ends = (line.first().unwrap(), line.last().unwrap());
                prop_assert!(ends.0 == ends.1 || (on_border(ends.0) && on_border(ends.1)));
            }
        }
    }
}
