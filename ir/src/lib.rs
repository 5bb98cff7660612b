//! What `incept` is made of, as data: the graph, the plan, and the contract with emitted code.
//!
//! | module | what lives there | depends on |
//! |---|---|---|
//! | [`types`], [`ids`], [`tensor`] | element types, shapes, identifiers, constants | nothing |
//! | [`ops`] | the operators: inference, reference evaluation | `types`, `tensor` |
//! | [`graph`] | the graph, patches, the verifier | `ops` |
//! | [`interp`] | the reference interpreter | `graph` |
//! | [`text`] | the textual form, printed and parsed; DOT and JSON | `graph` |
//! | [`describe`], [`models`] | models from short descriptions; the built-in ones | `graph` |
//! | [`plan`] | buffers, views, steps; the plan's verifier | `types` |
//! | [`abi`] | what emitted code and the runtime agree on | `plan` |
//!
//! No Cranelift, no threads, no unsafe code.
#![forbid(unsafe_code)]

pub mod abi;
mod aligned;
pub mod describe;
pub mod graph;
pub mod ids;
pub mod interp;
pub mod models;
pub mod ops;
pub mod plan;
pub mod tensor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod types;

pub use text::{dot, json};
