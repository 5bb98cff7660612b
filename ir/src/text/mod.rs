//! The one textual form of a graph, printed and parsed; and the forms that are only printed, [`dot`], [`svg`] and
//! [`json`].
//!
//! ```text
//! graph "tiny" stage imported {
//!   input %0 "x": f32[N,1,2,2]
//!   constant %1 "scale": f32[1] = [0.5]
//!   %2 "double" = mul(%0, %1) : f32[N,1,2,2]
//!   %3 "act" = relu(%2) : f32[N,1,2,2] from "double", "act"
//!   output "y" = %3
//! }
//! ```
//!
//! - Statements stand in an order in which they can run; a value is defined before it is read. `//` starts a comment.
//! - `{strides=[2,2]}` holds attributes; those with default values may be missing.
//! - The type after `:` and the names after `from` (the source nodes, where they are not just the node's own name;
//!   `from nothing` where there are none) are optional for the parser, which checks a type that is given.
//! - A constant's value is `[0.5, -1.0]` (row-major, as many as the type has elements), `splat(1)`, `seeded(7)` (small
//!   seeded values of either sign), `positive(7)` (seeded, between ½ and 1½), or `elided(hash)`, which dumps print to stay
//!   short and the parser refuses. The hash is the xxh3 of the tensor's bytes.
//! - Floats are printed so that they parse back to the same bits, NaNs included.
//!
//! Parsing a full print gives the graph back: the same ops, names, types, constants, provenance, inputs, outputs and
//! stage, with ids renumbered in the order of the text. A graph that no patch has touched keeps its ids.
//!
//! Depends on `graph` and `ops`. Invariants: nothing here recurses; what a text makes the parser allocate is bounded by
//! the limits of [`parse`], whatever it claims.

pub mod dot;
pub mod json;
mod lex;
mod literal;
mod parse;
mod print;
pub mod svg;
#[cfg(test)]
mod tests;

pub use parse::{MAX_CONSTANT_ELEMENTS, MAX_TEXT_BYTES, ParseError, parse};
pub use print::{Constants, PrintOptions, attribute_text, print};
