//! Code generation: machine code for kernels, specialised to each layer's shape.
//!
//! Rooms: [`target`] (which instructions the CPU has), [`vector`] (the small vector assembler that inner tiles are
//! written against), [`choose`] (the algorithm of a convolution), [`link`] (the owner of all emitted code), [`nest`] (loop nests in CLIF around the tiles),
//! [`kernels`] (what is emitted, by family), `steps` (a plan's steps as kernel specs), `weights` (packed weights), `module`
//! ([`link()`]: a plan as a compiled module), [`probe`] (modules that measure the machine).
//!
//! Depends on Cranelift, iced-x86 and [`incept_ir::abi`]; never on the graph or on a front end: kernels are described by
//! plain specs so that they can be tested and timed alone.
//!
//! Invariants:
//! 1. No function here panics on any spec: what cannot be emitted is a [`CodegenError`].
//! 2. Code for an instruction set is emitted only from a [`target::Target`], which exists only where the CPU has it.
//! 3. Pages are never writable and executable at once.

pub mod choose;
pub mod epilogue;
mod jobs;
pub mod kernels;
pub mod link;
mod module;
pub mod nest;
pub mod probe;
mod steps;
pub mod target;
pub mod vector;
mod weights;

#[cfg(test)]
mod tests;

pub use module::{LinkOptions, Linked, Listing, StepLine, link, link_made, link_with};

use std::sync::{Mutex, MutexGuard, PoisonError};

use thiserror::Error;

/// What a mutex guards. A thread that panicked leaves nothing half done that others could see.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why code could not be emitted.
#[derive(Debug, Error)]
pub enum CodegenError {
    /// A tile asked for more vector or integer registers than the instruction set has.
    #[error("out of {kind} registers: {available} are available at this instruction set")]
    OutOfRegisters {
        /// `vector` or `integer`.
        kind: &'static str,
        /// How many there are.
        available: usize,
    },
    /// The assembler was used against its contract (a bug in a kernel, not in a model).
    #[error("the vector assembler was misused: {0}")]
    Misuse(&'static str),
    /// The instruction set that was asked for is not available on this CPU.
    #[error("this CPU cannot run `{asked}` code (it lacks {missing}); use `auto` or `v128`")]
    Unsupported {
        /// The level that was asked for.
        asked: &'static str,
        /// The missing CPU features.
        missing: String,
    },
    /// A target name that is none of `auto`, `avx512`, `avx2`, `v128`.
    #[error("unknown target `{0}`: expected auto, avx512, avx2 or v128")]
    UnknownTarget(String),
    /// Cranelift has no back end for this machine.
    #[error("no code generator for this machine: {0}")]
    Host(String),
    /// A kernel's specification is inconsistent or out of range.
    #[error("kernel `{kernel}` cannot be emitted: {reason}")]
    BadSpec {
        /// The kernel family.
        kernel: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The instruction encoder refused an instruction.
    #[error("encoding failed: {0}")]
    Encode(#[from] iced_x86::IcedError),
    /// Cranelift failed to compile a function.
    #[error("compiling `{name}` failed: {reason}")]
    Compile {
        /// The function.
        name: String,
        /// Cranelift's message.
        reason: String,
    },
    /// The linker refused a function or ran out of memory.
    #[error("linking failed: {0}")]
    Link(String),
    /// A step of a plan could not be compiled.
    #[error("step {step} ({kind} `{name}`): {source}")]
    Step {
        /// The step.
        step: incept_ir::ids::StepId,
        /// Its kind.
        kind: &'static str,
        /// The name of its node.
        name: String,
        /// Why.
        source: Box<Self>,
    },
    /// A constant of a plan cannot be packed.
    #[error("constant `{name}`: {reason}")]
    Constant {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A state that the code above should have made impossible.
    #[error("internal error in code generation: {0}")]
    Internal(&'static str),
}

impl From<cranelift_module::ModuleError> for CodegenError {
    fn from(error: cranelift_module::ModuleError) -> Self {
        Self::Link(error.to_string())
    }
}
