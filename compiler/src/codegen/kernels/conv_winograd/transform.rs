//! The matrices of minimal filtering: Cook–Toom at small points and at infinity, in exact arithmetic.
//!
//! `F(m, r)` computes `m` neighbouring outputs of a correlation with `r` taps from `n = m + r - 1` inputs `d`, with `n`
//! products: `Aᵀ [(G g) ⊙ (Bᵀ d)]`. With finite points `a_k` (k < n - 1):
//! - `Aᵀ[i][k] = a_k^i`; the last column (infinity) is 1 in the last row only;
//! - `G[k][j] = a_k^j / Π_{l≠k} (a_k - a_l)`; the last row is 1 in the last column only;
//! - `Bᵀ[k]` holds the coefficients of `Π_{l≠k} (x - a_l)`, the last row those of `Π_l (x - a_l)`.
//!
//! All divisions are in `G`, which meets weights only, once. `Bᵀ` is monic, so that the data keep their scale.
//! `F(1, 1)` is the identity: an axis with a single tap.

use super::rational::Rational;

/// A matrix of fractions, by rows.
pub type Matrix = Vec<Vec<Rational>>;

/// The finite points in the order that they are used, as numerator and denominator. Opposite points are neighbours: they
/// share their even and odd parts. Small powers of two keep both the operation count and the error low.
const POINTS: [(i128, i128); 11] =
    [(0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2), (3, 2), (-3, 2), (2, 3), (-2, 3)];

/// Most inputs of a transform, along one axis.
pub const MOST_INPUTS: usize = POINTS.len() + 1;

/// The three matrices of `F(m, r)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transform {
    /// Outputs.
    pub m: usize,
    /// Taps.
    pub r: usize,
    /// `Aᵀ`: m rows, n columns.
    pub output: Matrix,
    /// `G`: n rows, r columns.
    pub weights: Matrix,
    /// `Bᵀ`: n rows, n columns.
    pub input: Matrix,
}

/// `left * (x - root)`, coefficients from x^0 up.
fn times_linear(left: &[Rational], root: Rational) -> Option<Vec<Rational>> {
    let mut product = vec![Rational::ZERO; left.len() + 1];
    for (power, &coefficient) in left.iter().enumerate() {
        product[power + 1] = product[power + 1].add(coefficient)?;
        product[power] = product[power].sub(coefficient.mul(root)?)?;
    }
    Some(product)
}

fn unit(len: usize, at: usize) -> Vec<Rational> {
    (0..len).map(|index| if index == at { Rational::ONE } else { Rational::ZERO }).collect()
}

impl Transform {
    /// `F(m, r)`, for `m, r >= 2` and `m + r - 1 <=` [`MOST_INPUTS`], or `F(1, 1)`; `None` for other sizes.
    #[must_use]
    pub fn new(m: usize, r: usize) -> Option<Self> {
        if (m, r) == (1, 1) {
            let one = || vec![unit(1, 0)];
            return Some(Self { m, r, output: one(), weights: one(), input: one() });
        }
        let n = m.checked_add(r)?.checked_sub(1)?;
        if m < 2 || r < 2 || n > MOST_INPUTS {
            return None;
        }
        let points: Vec<Rational> =
            POINTS[..n - 1].iter().map(|&(num, den)| Rational::new(num, den)).collect::<Option<_>>()?;
        let powers = |point: Rational, count: usize| -> Option<Vec<Rational>> {
            let mut row = vec![Rational::ONE];
            while row.len() < count {
                row.push(row[row.len() - 1].mul(point)?);
            }
            Some(row)
        };
        let (mut weights, mut input) = (Matrix::new(), Matrix::new());
        let mut output = vec![vec![Rational::ZERO; n]; m];
        for (k, &point) in points.iter().enumerate() {
            let others = || points.iter().enumerate().filter(move |(l, _)| *l != k).map(|(_, other)| *other);
            let scale = others().try_fold(Rational::ONE, |product, other| product.mul(point.sub(other)?))?;
            weights.push(powers(point, r)?.into_iter().map(|power| power.div(scale)).collect::<Option<_>>()?);
            let mut row = others().try_fold(vec![Rational::ONE], |product, other| times_linear(&product, other))?;
            row.resize(n, Rational::ZERO);
            input.push(row);
            for (row, power) in output.iter_mut().zip(powers(point, m)?) {
                row[k] = power;
            }
        }
        weights.push(unit(r, r - 1));
        input.push(points.iter().try_fold(vec![Rational::ONE], |product, &point| times_linear(&product, point))?);
        output[m - 1][n - 1] = Rational::ONE;
        Some(Self { m, r, output, weights, input })
    }

    /// Inputs, and products: `m + r - 1`.
    #[must_use]
    pub fn n(&self) -> usize {
        self.input.len()
    }

    /// The product that is added to every output with factor 1 (the one at point 1): adding a bias to it adds the bias
    /// to all outputs. `None` never happens for a transform made by [`Self::new`].
    #[must_use]
    pub fn ones(&self) -> Option<usize> {
        (0..self.n()).find(|&k| self.output.iter().all(|row| row[k] == Rational::ONE))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    fn apply(matrix: &Matrix, x: &[Rational]) -> Vec<Rational> {
        let dot = |row: &Vec<Rational>| {
            row.iter().zip(x).fold(Rational::ZERO, |sum, (a, b)| sum.add(a.mul(*b).unwrap()).unwrap())
        };
        matrix.iter().map(dot).collect()
    }

    /// The identity is bilinear, so unit vectors prove it for all data and weights.
    #[test]
    fn the_identity_holds_exactly() {
        let sizes = [(1, 1), (2, 3), (4, 3), (6, 3), (4, 5), (2, 5), (4, 7), (2, 7), (3, 3), (2, 2), (5, 4), (6, 7)];
        for (m, r) in sizes {
            let t = Transform::new(m, r).unwrap();
            assert_eq!(t.n(), m + r - 1);
            for tap in 0..r {
                for position in 0..t.n() {
                    let g = apply(&t.weights, &unit(r, tap));
                    let d = apply(&t.input, &unit(t.n(), position));
                    let products: Vec<Rational> = g.iter().zip(&d).map(|(g, d)| g.mul(*d).unwrap()).collect();
                    let outputs = apply(&t.output, &products);
                    for (i, output) in outputs.iter().enumerate() {
                        let want = if i + tap == position { Rational::ONE } else { Rational::ZERO };
                        assert_eq!(*output, want, "F({m},{r}) tap {tap} position {position} output {i}");
                    }
                }
            }
            let ones = t.ones().unwrap();
            assert!(t.output.iter().all(|row| row[ones] == Rational::ONE));
        }
    }

    #[test]
    fn the_matrices_of_f43_are_the_known_ones() {
        let t = Transform::new(4, 3).unwrap();
        let ints = |row: &[i128]| row.iter().map(|&value| Rational::int(value)).collect::<Vec<_>>();
        assert_eq!(t.input[0], ints(&[4, 0, -5, 0, 1, 0]));
        assert_eq!(t.input[1], ints(&[0, -4, -4, 1, 1, 0]));
        assert_eq!(t.input[5], ints(&[0, 4, 0, -5, 0, 1]));
        assert_eq!(t.output[3], ints(&[0, 1, -1, 8, -8, 1]));
        assert_eq!(t.weights[0][0], Rational::new(1, 4).unwrap());
        assert_eq!(t.weights[3][1], Rational::new(1, 12).unwrap());
    }

    #[test]
    fn sizes_without_points_are_refused() {
        for (m, r) in [(0, 3), (1, 3), (3, 1), (2, 0), (MOST_INPUTS, 2), (usize::MAX, 3)] {
            assert_eq!(Transform::new(m, r), None);
        }
        assert!(Transform::new(MOST_INPUTS - 1, 2).is_some());
    }
}
