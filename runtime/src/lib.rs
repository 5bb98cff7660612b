//! Runs compiled modules.
//!
//! | module | what lives there | depends on |
//! |---|---|---|
//! | [`arena`] | one aligned block of memory | nothing |
//! | [`bind`] | from a plan's views to addresses, with every bound checked | `arena`, `incept_ir` |
//! | [`session`] | the memory and the loop that calls the kernels | `bind` |
//! | [`map`] | model files as bytes, mapped where that works | nothing |
//!
//! This crate never sees the compiler: the two meet at [`incept_ir::abi`]. All unsafe code of execution is here, in
//! `arena`, `session` and `map`.
//!
//! Who vouches for what: the *compiler* vouches that a kernel touches only what the views of its step and its packed
//! weights cover (the contract of [`incept_ir::abi::KernelFn`]); *this crate* checks, for every module that it is given,
//! that those views lie within memory of the right size, and that the caller's slices have it.
#![warn(missing_docs)]

pub mod arena;
pub mod bind;
pub mod map;
pub mod session;

pub use arena::Arena;
pub use map::map_file;
pub use session::{Session, SessionError};
