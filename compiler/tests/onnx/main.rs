//! The ONNX importer: numeric cases made with other engines, graphs it makes, messages it gives, and bytes it must survive.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod builder;
mod cases;
mod damage;
mod export;
mod graphs;
mod refusals;
mod tensors;
