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
//!
//! The points decide how much rounding errors grow. Integers give the simplest matrices, but with 0, ±1, ±2 the error of
//! F(4, 3) is more than twice as large as with 0, ±5/8, ±3/2, at the same number of operations (measured on random data in
//! f32; that points should be spread around 1 in magnitude, not integers, is known from Barabasz et al., *Error Analysis and
//! Improving the Accuracy of Winograd Convolution for Deep Neural Networks*, 2018). All points are dyadic fractions, so that
//! `Aᵀ` and `Bᵀ` are exact in f32.

use super::rational::Rational;

/// A matrix of fractions, by rows.
pub type Matrix = Vec<Vec<Rational>>;

/// Most inputs of a transform, along one axis.
pub const MOST_INPUTS: usize = 12;

/// This many finite points, as numerator and denominator. Opposite points are neighbours: they share their even and odd
/// parts.
fn points(count: usize) -> Option<&'static [(i128, i128)]> {
    const FOUR: [(i128, i128); 4] = [(1, 2), (-1, 2), (3, 2), (-3, 2)];
    const FIVE: [(i128, i128); 5] = [(0, 1), (5, 8), (-5, 8), (3, 2), (-3, 2)];
    /// Others take the first ones of these.
    const MANY: [(i128, i128); MOST_INPUTS - 1] =
        [(0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2), (3, 2), (-3, 2), (4, 1), (-4, 1)];
    match count {
        4 => Some(&FOUR),
        5 => Some(&FIVE),
        _ => MANY.get(..count),
    }
}

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
    /// What is to be added to the n products so that each of the m outputs grows by 1: a bias is added there.
    pub ones: Vec<Rational>,
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
            return Some(Self { m, r, output: one(), weights: one(), input: one(), ones: unit(1, 0) });
        }
        let n = m.checked_add(r)?.checked_sub(1)?;
        if m < 2 || r < 2 || n > MOST_INPUTS {
            return None;
        }
        let points: Vec<Rational> =
            points(n - 1)?.iter().map(|&(num, den)| Rational::new(num, den)).collect::<Option<_>>()?;
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
        // An input of ones under a window of a single 1. With the 1 at the second tap, points 0 and (for three taps or more)
        // infinity have no part in it.
        let sum = |row: &Vec<Rational>| row.iter().try_fold(Rational::ZERO, |sum, value| sum.add(*value));
        let ones =
            input.iter().zip(&weights).map(|(input, weights)| sum(input)?.mul(weights[1])).collect::<Option<_>>()?;
        Some(Self { m, r, output, weights, input, ones })
    }

    /// Inputs, and products: `m + r - 1`.
    #[must_use]
    pub fn n(&self) -> usize {
        self.input.len()
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
            assert_eq!(apply(&t.output, &t.ones), vec![Rational::ONE; m], "F({m},{r})");
        }
    }

    #[test]
    fn the_matrices_of_f23_are_the_known_ones() {
        let t = Transform::new(2, 3).unwrap();
        let ints = |row: &[i128]| row.iter().map(|&value| Rational::int(value)).collect::<Vec<_>>();
        assert_eq!(t.input, [ints(&[-1, 0, 1, 0]), ints(&[0, 1, 1, 0]), ints(&[0, -1, 1, 0]), ints(&[0, -1, 0, 1])]);
        assert_eq!(t.output, [ints(&[1, 1, 1, 0]), ints(&[0, 1, -1, 1])]);
        assert_eq!(t.weights[1], vec![Rational::new(1, 2).unwrap(); 3]);
        assert_eq!(t.ones, ints(&[0, 1, 0, 0]));
    }

    #[test]
    fn the_transforms_of_data_are_exact_in_f32() {
        for (m, r) in [(2, 3), (3, 3), (4, 3), (2, 5), (3, 4), (2, 2), (5, 3), (6, 3)] {
            let t = Transform::new(m, r).unwrap();
            for factor in t.input.iter().chain(&t.output).flatten().map(|factor| factor.to_f64()) {
                assert_eq!(f64::from(factor as f32), factor, "F({m},{r})");
            }
        }
    }

    #[test]
    fn sizes_without_points_are_refused() {
        for (m, r) in [(0, 3), (1, 3), (3, 1), (2, 0), (MOST_INPUTS, 2), (usize::MAX, 3)] {
            assert_eq!(Transform::new(m, r), None);
        }
        assert!(Transform::new(MOST_INPUTS - 1, 2).is_some());
    }
}
