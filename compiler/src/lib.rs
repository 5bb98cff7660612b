//! .

pub mod codegen;
