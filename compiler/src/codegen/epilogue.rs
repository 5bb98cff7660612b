//! Post-ops: what happens to a tile's results before they are stored. Emitted once for all kernels.

use super::kernels::math;
use super::vector::{Addr, Asm, V, splat};

/// Vector registers that [`apply`] needs beside the results, unless an operation is transcendental.
pub const REGISTERS: usize = 2;

/// Vector registers that [`apply`] needs beside the results for these operations.
#[must_use]
pub fn registers(ops: &[PostOp]) -> usize {
    // One, those of `math::exp`, and the temporary that its selection takes on some levels.
    if ops.iter().any(|op| op.is_transcendental()) { 6 } else { REGISTERS }
}

/// One operation on the results, in the order of a kernel's list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PostOp {
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `min(max(x, min), max)`; NaN stays NaN.
    Clip {
        /// The lower bound.
        min: f32,
        /// The upper bound.
        max: f32,
    },
    /// `x < 0 ? alpha * x : x`; NaN stays NaN.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`; NaN stays NaN.
    Sigmoid,
    /// `min(max(alpha * x + beta, 0), 1)`; NaN stays NaN.
    HardSigmoid {
        /// The slope between the bounds.
        alpha: f32,
        /// The value at zero.
        beta: f32,
    },
    /// `x * min(max(x / 6 + 1/2, 0), 1)`; NaN stays NaN.
    HardSwish,
    /// `x / (1 + exp(-x))`; NaN stays NaN.
    Silu,
    /// Adds the element of the residual operand at the same position.
    Add,
}

impl PostOp {
    /// Whether it takes an exponential.
    #[must_use]
    pub fn is_transcendental(&self) -> bool {
        matches!(self, Self::Sigmoid | Self::Silu)
    }
}

#[cfg(test)]
impl PostOp {
    /// The obvious value, for tests; `addend` is the residual's.
    pub fn reference(self, x: f32, addend: f32) -> f32 {
        let clip = |x: f32, min: f32, max: f32| {
            let x = if x < min { min } else { x };
            if x > max { max } else { x }
        };
        let sigmoid = |x: f32| 1.0 / (1.0 + (-f64::from(x)).exp());
        match self {
            Self::Relu => clip(x, 0.0, f32::INFINITY),
            Self::Clip { min, max } => clip(x, min, max),
            Self::LeakyRelu { alpha } if x < 0.0 => alpha * x,
            Self::LeakyRelu { .. } => x,
            Self::Sigmoid => sigmoid(x) as f32,
            Self::HardSigmoid { alpha, beta } => clip(alpha * x + beta, 0.0, 1.0),
            Self::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
            Self::Silu => (f64::from(x) * sigmoid(x)) as f32,
            Self::Add => x + addend,
        }
    }
}

/// One vector of results with the address of its residual operand (if there is one) and how many lanes exist.
#[derive(Debug, Clone, Copy)]
pub struct Result {
    /// The register.
    pub register: V,
    /// Where the residual lies.
    pub residual: Option<Addr>,
    /// Lanes that exist in memory.
    pub lanes: usize,
}

/// Applies the post-ops to all results and stores each at its place in `to`, where it lies in neighbouring elements. The
/// results' registers are free afterwards: where the operations take more registers than [`REGISTERS`], the results go to
/// memory first and come back one by one.
pub fn store(a: &mut dyn Asm, ops: &[PostOp], results: &[Result], to: &[Addr]) {
    let direct = ops.iter().position(PostOp::is_transcendental).unwrap_or(ops.len());
    let (first, then) = ops.split_at(direct);
    apply(a, first, results);
    for (result, to) in results.iter().zip(to) {
        a.store_first(*to, result.register, result.lanes);
    }
    for result in results {
        a.free(result.register);
    }
    if then.is_empty() {
        return;
    }
    let register = a.vec();
    for (result, to) in results.iter().zip(to) {
        a.load_first(register, *to, result.lanes);
        apply(a, then, &[Result { register, ..*result }]);
        a.store_first(*to, register, result.lanes);
    }
    a.free(register);
}

/// `t = min(max(t, 0), 1)`; overwrites `s`.
fn clip_to_one(a: &mut dyn Asm, s: V, t: V) {
    a.zero(s);
    a.max(t, s, t);
    splat(a, s, 1.0);
    a.min(t, s, t);
}

/// Applies the post-ops to all results, taking at most [`registers`] registers at a time.
pub fn apply(a: &mut dyn Asm, ops: &[PostOp], results: &[Result]) {
    for op in ops {
        if op.is_transcendental() {
            for x in results {
                transcendental(a, *op, x.register);
            }
            continue;
        }
        let (s, t) = (a.vec(), a.vec());
        match *op {
            PostOp::Relu => {
                a.zero(s);
                for x in results {
                    a.max(x.register, s, x.register);
                }
            }
            PostOp::Clip { min, max } => {
                splat(a, s, min);
                splat(a, t, max);
                for x in results {
                    a.max(x.register, s, x.register);
                    a.min(x.register, t, x.register);
                }
            }
            PostOp::LeakyRelu { alpha } => {
                for x in results {
                    a.zero(s);
                    a.min(t, s, x.register);
                    a.max(x.register, s, x.register);
                    splat(a, s, alpha);
                    a.fma(x.register, s, t);
                }
            }
            PostOp::HardSigmoid { alpha, beta } => {
                for x in results {
                    splat(a, s, alpha);
                    splat(a, t, beta);
                    a.fma(t, x.register, s);
                    clip_to_one(a, s, t);
                    a.copy(x.register, t);
                }
            }
            PostOp::HardSwish => {
                for x in results {
                    splat(a, s, 1.0 / 6.0);
                    splat(a, t, 0.5);
                    a.fma(t, x.register, s);
                    clip_to_one(a, s, t);
                    a.mul(x.register, x.register, t);
                }
            }
            PostOp::Sigmoid | PostOp::Silu => {}
            PostOp::Add => {
                for x in results {
                    if let Some(from) = x.residual {
                        a.load_first(s, from, x.lanes);
                        a.add(x.register, x.register, s);
                    }
                }
            }
        }
        a.free(s);
        a.free(t);
    }
}

/// Sigmoid or Silu of one register; takes one register, and those of [`math::exp`].
fn transcendental(a: &mut dyn Asm, op: PostOp, x: V) {
    let s = a.vec();
    a.zero(s);
    a.sub(s, s, x);
    math::exp(a, s);
    let one = a.vec();
    splat(a, one, 1.0);
    a.add(s, s, one);
    a.div(x, if op == PostOp::Silu { x } else { one }, s);
    a.free(one);
    a.free(s);
}
