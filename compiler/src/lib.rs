//! .

pub mod codegen;
pub mod frontend;
pub mod lower;
pub mod pass;
pub mod passes;
pub mod pipeline;
