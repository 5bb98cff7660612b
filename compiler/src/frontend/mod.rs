//! Front ends: what turns a file of some format into an [`incept_ir::graph::Graph`].
//!
//! Depends on `ir` only. A front end resolves everything that its format leaves open (padding modes, constant inputs,
//! versions of operators), so that the graph's attributes are static and every value is typed.

pub mod onnx;
