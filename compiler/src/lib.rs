//! .

pub mod codegen;
pub mod pass;
pub mod passes;
pub mod pipeline;
