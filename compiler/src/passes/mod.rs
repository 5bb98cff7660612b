//! The passes, one file each; [`crate::pipeline`] lists them in the order in which they run.
//!
//! None changes the mathematics beyond reassociation; one that changes rounding says so in its file.

pub mod canonicalize;
pub mod dead_code;
pub mod fold_batch_norm;
pub mod fold_constants;
pub mod fuse_activation;
pub mod merge_sibling_convs;
