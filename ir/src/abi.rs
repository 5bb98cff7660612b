//! The contract between emitted code and the runtime.
//!
//! Lives here so that `compiler` and `runtime` meet without seeing each other. Data and signatures only: nothing in this
//! module calls a kernel.
//!
//! Invariants:
//! 1. A kernel reads and writes only through `KernelArgs::operands` and `KernelArgs::scratch`.
//! 2. Running the tasks `0..tasks` of a step in any partition and order gives bit-identical results.
//! 3. Addresses are not baked into code: two steps of equal shape may share one entry point.

use std::any::Any;
use std::sync::Arc;

pub use crate::aligned::AlignedBytes;
use crate::plan::{Plan, ViewId};

/// The arguments of one kernel call, laid out for C.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct KernelArgs {
    /// One pointer for each entry of [`KernelEntry::operands`], in that order.
    pub operands: *const *mut u8,
    /// Scratch memory of [`KernelEntry::scratch_bytes`] bytes, 64-byte aligned, private to the calling thread.
    pub scratch: *mut u8,
    /// First task to run.
    pub task_begin: u64,
    /// One past the last task to run; at most [`KernelEntry::tasks`].
    pub task_end: u64,
}

/// An emitted kernel.
///
/// # Safety
/// `args` is valid for reads; every operand pointer is valid for the extent of the view or constant that it stands for,
/// with the alignment that the plan states; no two threads run the same task at once.
pub type KernelFn = unsafe extern "C" fn(args: *const KernelArgs);

/// What one operand pointer of a kernel points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// The first element of a view of the plan.
    View(ViewId),
    /// A byte offset into [`CompiledModule::packed`].
    Packed(usize),
}

/// The emitted code of one plan step.
#[derive(Debug, Clone)]
pub struct KernelEntry {
    /// The function to call.
    pub function: KernelFn,
    /// The pointers that it takes, in order.
    pub operands: Vec<Operand>,
    /// How many tasks the step is cut into; does not depend on the thread count.
    pub tasks: u64,
    /// Scratch memory that each calling thread provides.
    pub scratch_bytes: usize,
    /// The algorithm and tile, in the kernel name grammar: for people, logs and profiles.
    pub name: String,
}

/// Whatever keeps the emitted code mapped; dropping the last clone of the module frees it.
pub trait CodeOwner: Any + Send + Sync {}

/// A plan with code for the CPU at hand.
#[derive(Clone)]
pub struct CompiledModule {
    /// The verified plan. Constants that are packed and no operands may have lost their bytes.
    pub plan: Arc<Plan>,
    /// One entry for each step of the plan, in the same order.
    pub entries: Vec<KernelEntry>,
    /// Packed weights, shared by all sessions.
    pub packed: Arc<AlignedBytes>,
    /// Keeps the code alive as long as any session may call it.
    pub owner: Arc<dyn CodeOwner>,
}
