//! Runs compiled modules.
//!
//! | module | what lives there | depends on |
//! |---|---|---|
//! | [`arena`] | one aligned block of memory | nothing |
//! | [`bind`] | from a plan's views to addresses, with every bound checked | `arena`, `incept_ir` |
//! | [`cpus`] | how many threads are worth having | nothing |
//! | [`schedule`] | the work of a run, cut for a number of threads | nothing |
//! | [`pool`] | the threads that execute a schedule | `schedule` |
//! | [`tasks`] | from steps to what threads take | `bind`, `schedule` |
//! | [`call`](mod@call) | the call of a kernel, with denormals off | `incept_ir::abi` |
//! | [`session`] | the memory, and the calls of the kernels | all of the above |
//! | [`profile`] | when each call ran on which thread | nothing |
//! | [`map`] | model files as bytes, mapped where that works | nothing |
//!
//! This crate never sees the compiler: the two meet at [`incept_ir::abi`]. All unsafe code of execution is here, in
//! `arena`, `call`, `pool`, `session` and `map`.
//!
//! Who vouches for what: the *compiler* vouches that a kernel touches only what the views of its step and its packed
//! weights cover (the contract of [`incept_ir::abi::KernelFn`]), and the plan that the steps of a region do not touch what
//! one of them writes; *this crate* checks, for every module that it is given, that those views lie within memory of the
//! right size, and that the caller's slices have it.
#![warn(missing_docs)]

pub mod arena;
pub mod bind;
pub mod call;
pub mod cpus;
pub mod map;
pub mod pool;
pub mod profile;
pub mod schedule;
pub mod session;
pub mod tasks;

pub use arena::Arena;
pub use cpus::available_cores;
pub use map::{FileBytes, map_file};
pub use profile::{Profile, Record};
pub use session::{Session, SessionError, SessionOptions};
