//! Post-ops: what happens to a tile's results before they are stored. Emitted once for all kernels.

use super::vector::{Addr, Asm, V, splat};

/// Vector registers that [`apply`] needs beside the results.
pub const REGISTERS: usize = 2;

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
    /// Adds the element of the residual operand at the same position.
    Add,
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

/// Applies the post-ops to all results, taking at most [`REGISTERS`] registers at a time.
pub fn apply(a: &mut dyn Asm, ops: &[PostOp], results: &[Result]) {
    for op in ops {
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
