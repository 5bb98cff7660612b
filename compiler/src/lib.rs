//! .

pub mod codegen;
pub mod frontend;
pub mod pass;
pub mod passes;
pub mod pipeline;
