//! The passes, one file each; [`crate::pipeline`] lists them in the order in which they run.
//!
//! None changes the mathematics beyond reassociation; one that changes rounding says so in its file.

mod affine;
pub mod canonicalize;
pub mod common_subexpressions;
pub mod dead_code;
pub mod fold_batch_norm;
pub mod fold_constants;
pub mod fold_input_normalisation;
pub mod fuse_activation;
pub mod fuse_residual_add;
pub mod merge_sibling_convs;
