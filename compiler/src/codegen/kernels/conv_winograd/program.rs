//! A matrix times a vector as a straight-line program with common parts shared.
//!
//! The matrices of [`super::transform`] have structure: opposite points give two rows (of `Bᵀ` and `G`) or two columns
//! (of `Aᵀ`) that differ in the signs of every other entry. A pair of rows becomes `even ± odd`, a pair of columns is
//! added and subtracted once for all rows. Equal operations are emitted once.

use rustc_hash::FxHashMap;

use super::rational::Rational;
use super::transform::Matrix;

/// A value: an input (below [`Program::inputs`]), or the result of operation `value - inputs`.
pub type Value = usize;

/// One operation. Factors are neither 0, 1 nor -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `a + b`
    Add(Value, Value),
    /// `a - b`
    Sub(Value, Value),
    /// `factor * x`
    Scale(Rational, Value),
    /// `acc + factor * x`
    MulAdd(Value, Rational, Value),
}

impl Op {
    /// The values that it reads.
    #[must_use]
    pub fn reads(&self) -> [Option<Value>; 2] {
        match *self {
            Self::Add(a, b) | Self::Sub(a, b) | Self::MulAdd(a, _, b) => [Some(a), Some(b)],
            Self::Scale(_, x) => [Some(x), None],
        }
    }

    /// The same operation with its values renamed.
    #[must_use]
    pub fn renamed(self, name: impl Fn(Value) -> Value) -> Self {
        match self {
            Self::Add(a, b) => Self::Add(name(a), name(b)),
            Self::Sub(a, b) => Self::Sub(name(a), name(b)),
            Self::Scale(factor, x) => Self::Scale(factor, name(x)),
            Self::MulAdd(acc, factor, x) => Self::MulAdd(name(acc), factor, name(x)),
        }
    }
}

/// A straight-line program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// How many inputs.
    pub inputs: usize,
    /// The operations, each defining the next value.
    pub ops: Vec<Op>,
    /// The results.
    pub outputs: Vec<Value>,
}

/// A linear combination: values with factors other than 0, in ascending order.
type Terms = Vec<(Value, Rational)>;

struct Builder {
    inputs: usize,
    ops: Vec<Op>,
    known: FxHashMap<Op, Value>,
}

impl Builder {
    fn op(&mut self, op: Op) -> Value {
        let next = self.inputs + self.ops.len();
        let value = *self.known.entry(op).or_insert(next);
        if value == next {
            self.ops.push(op);
        }
        value
    }

    /// `acc + factor * x`.
    fn add_times(&mut self, acc: Value, factor: Rational, x: Value) -> Value {
        if factor == Rational::ONE {
            self.op(Op::Add(acc, x))
        } else if factor.neg() == Rational::ONE {
            self.op(Op::Sub(acc, x))
        } else {
            self.op(Op::MulAdd(acc, factor, x))
        }
    }

    fn times(&mut self, factor: Rational, x: Value) -> Value {
        if factor == Rational::ONE { x } else { self.op(Op::Scale(factor, x)) }
    }

    /// A combination as `scale * value`. The term that it starts from costs nothing: one of factor 1 if there is any, so
    /// that the scale is 1, else one that gives most other terms a factor of ±1.
    fn combine(&mut self, terms: &Terms) -> Option<(Rational, Value)> {
        let mut best: Option<(usize, usize)> = None;
        for (index, &(_, factor)) in terms.iter().enumerate() {
            let units = terms.iter().filter(|(_, other)| other.abs() == factor.abs()).count();
            let rank = units + if factor == Rational::ONE { terms.len() } else { 0 };
            if best.is_none_or(|(_, known)| rank >= known) {
                best = Some((index, rank));
            }
        }
        let (pivot, _) = best?;
        let (mut value, scale) = terms[pivot];
        for (index, &(x, factor)) in terms.iter().enumerate() {
            if index != pivot {
                value = self.add_times(value, factor.div(scale)?, x);
            }
        }
        Some((scale, value))
    }

    fn whole(&mut self, terms: &Terms) -> Option<Value> {
        let (scale, value) = self.combine(terms)?;
        Some(self.times(scale, value))
    }
}

/// Replaces pairs of columns that differ in signs only by their sum and difference, where that saves operations.
fn pair_columns(matrix: &Matrix, columns: usize, builder: &mut Builder) -> Vec<Terms> {
    let mut rows: Vec<Terms> = vec![Terms::new(); matrix.len()];
    let mut taken = vec![false; columns];
    for j in 0..columns {
        if std::mem::replace(&mut taken[j], true) {
            continue;
        }
        let partner = (j + 1..columns).filter(|&l| !taken[l]).find(|&l| {
            let alike = matrix.iter().all(|row| row[j].abs() == row[l].abs());
            let count =
                |same: bool| matrix.iter().filter(|row| !row[j].is_zero() && (row[j] == row[l]) == same).count();
            let (sums, differences) = (count(true), count(false));
            alike && sums + differences > usize::from(sums > 0) + usize::from(differences > 0)
        });
        let Some(l) = partner else {
            for (row, terms) in matrix.iter().zip(&mut rows) {
                if !row[j].is_zero() {
                    terms.push((j, row[j]));
                }
            }
            continue;
        };
        taken[l] = true;
        for (row, terms) in matrix.iter().zip(&mut rows).filter(|(row, _)| !row[j].is_zero()) {
            let value = builder.op(if row[j] == row[l] { Op::Add(j, l) } else { Op::Sub(j, l) });
            terms.push((value, row[j]));
        }
    }
    rows
}

/// The common and the opposite terms of two rows, if they differ in signs only and in some sign but not in all.
fn halves(a: &Terms, b: &Terms) -> Option<(Terms, Terms)> {
    let alike = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.abs() == b.1.abs());
    let part = |same: bool| a.iter().zip(b).filter(|(a, b)| (a.1 == b.1) == same).map(|(a, _)| *a).collect::<Terms>();
    let (even, odd) = (part(true), part(false));
    (alike && !even.is_empty() && !odd.is_empty()).then_some((even, odd))
}

impl Program {
    /// A program for `matrix * x`; `None` if the matrix is ragged, has a row of zeros, or a fraction overflows.
    #[must_use]
    pub fn new(matrix: &Matrix) -> Option<Self> {
        let inputs = matrix.first()?.len();
        if matrix.iter().any(|row| row.len() != inputs) {
            return None;
        }
        let mut builder = Builder { inputs, ops: Vec::new(), known: FxHashMap::default() };
        let rows = pair_columns(matrix, inputs, &mut builder);
        let mut outputs: Vec<Option<Value>> = vec![None; rows.len()];
        for i in 0..rows.len() {
            if outputs[i].is_some() {
                continue;
            }
            let partner = (i + 1..rows.len())
                .filter(|&k| outputs[k].is_none())
                .find_map(|k| halves(&rows[i], &rows[k]).map(|parts| (k, parts)));
            let Some((k, (even, odd))) = partner else {
                outputs[i] = Some(builder.whole(&rows[i])?);
                continue;
            };
            let even = builder.whole(&even)?;
            let (scale, odd) = builder.combine(&odd)?;
            outputs[i] = Some(builder.add_times(even, scale, odd));
            outputs[k] = Some(builder.add_times(even, scale.neg(), odd));
        }
        Some(Self { inputs, ops: builder.ops, outputs: outputs.into_iter().collect::<Option<_>>()? })
    }

    /// Additions and multiplications, a fused multiply-add as one operation.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the program only hands its inputs on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::super::transform::Transform;
    use super::*;

    fn run(program: &Program, inputs: &[Rational]) -> Vec<Rational> {
        let mut values = inputs.to_vec();
        for op in &program.ops {
            let value = match *op {
                Op::Add(a, b) => values[a].add(values[b]),
                Op::Sub(a, b) => values[a].sub(values[b]),
                Op::Scale(factor, x) => factor.mul(values[x]),
                Op::MulAdd(acc, factor, x) => values[acc].add(factor.mul(values[x]).unwrap()),
            };
            values.push(value.unwrap());
        }
        program.outputs.iter().map(|&output| values[output]).collect()
    }

    /// A program is linear, so unit vectors prove that it is its matrix.
    fn check(matrix: &Matrix) -> usize {
        let program = Program::new(matrix).unwrap();
        for column in 0..program.inputs {
            let unit: Vec<Rational> =
                (0..program.inputs).map(|index| if index == column { Rational::ONE } else { Rational::ZERO }).collect();
            let want: Vec<Rational> = matrix.iter().map(|row| row[column]).collect();
            assert_eq!(run(&program, &unit), want, "{program:?}");
        }
        for op in &program.ops {
            if let Op::Scale(factor, _) | Op::MulAdd(_, factor, _) = op {
                assert!(!factor.is_zero() && *factor != Rational::ONE, "{program:?}");
            }
        }
        program.len()
    }

    /// Operations of `Bᵀ`, `G` and `Aᵀ`; beside them the terms beyond the first in the rows, which is what plain sums take
    /// (and more where no factor of a row is 1).
    #[test]
    fn programs_are_their_matrices_and_short() {
        let plain = |matrix: &Matrix| -> usize {
            matrix.iter().map(|row| row.iter().filter(|factor| !factor.is_zero()).count().saturating_sub(1)).sum()
        };
        let mut text = String::new();
        for (m, r) in [(1, 1), (2, 3), (4, 3), (6, 3), (2, 5), (4, 5), (2, 7), (4, 7)] {
            let t = Transform::new(m, r).unwrap();
            let counts = [&t.input, &t.weights, &t.output].map(|matrix| (check(matrix), plain(matrix)));
            text += &format!("F({m},{r}): {counts:?}\n");
        }
        insta::assert_snapshot!(text, @"
        F(1,1): [(0, 0), (0, 0), (0, 0)]
        F(2,3): [(4, 4), (5, 4), (4, 4)]
        F(4,3): [(12, 16), (9, 8), (12, 14)]
        F(6,3): [(24, 36), (13, 12), (20, 32)]
        F(2,5): [(12, 16), (13, 16), (8, 8)]
        F(4,5): [(24, 36), (19, 24), (16, 22)]
        F(2,7): [(24, 36), (25, 36), (12, 12)]
        F(4,7): [(40, 64), (33, 48), (22, 30)]
        ");
    }

    #[test]
    fn matrices_without_structure_work_too() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Rational::new(i128::from((state >> 60) as i64 - 8), 1 + i128::from(state >> 62)).unwrap()
        };
        for (rows, columns) in [(1, 1), (1, 5), (4, 1), (3, 3), (5, 4), (7, 6)] {
            for _ in 0..20 {
                let mut matrix: Matrix = (0..rows).map(|_| (0..columns).map(|_| next()).collect()).collect();
                for row in &mut matrix {
                    // No row of zeros.
                    row[0] = if row[0].is_zero() { Rational::ONE } else { row[0] };
                }
                check(&matrix);
            }
        }
    }

    #[test]
    fn broken_matrices_are_refused() {
        assert_eq!(Program::new(&vec![]), None);
        assert_eq!(Program::new(&vec![vec![Rational::ONE], vec![]]), None);
        assert_eq!(Program::new(&vec![vec![Rational::ZERO]]), None);
    }
}
