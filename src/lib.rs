//! A compiler for convolutional networks on the CPU.
//!
//! A [`Model`] is loaded from an ONNX file, a description, a saved plan or by a built-in name; [`Model::compile`]
//! optimises its graph, plans every byte of memory and emits code for this CPU; a [`Session`] runs it.
//!
//! ```
//! use incept::{CompileOptions, Model};
//!
//! let model = Model::load("tiny-inception")?;
//! let compiled = model.compile(&CompileOptions::default())?;
//! let mut session = compiled.session()?;
//!
//! let input = vec![0.5; session.inputs()[0].elements];
//! session.run(&[&input])?;
//! assert_eq!(session.output(0).len(), session.outputs()[0].elements);
//! # Ok::<(), incept::Error>(())
//! ```
//!
//! | module | what lives there | depends on |
//! |---|---|---|
//! | [`model`] | where models come from | `compiler` (front ends), `ir`, `runtime` (mapped files) |
//! | [`compile`](mod@compile) | the stages from graph to code | `model`, `compiler`, `runtime` |
//! | [`tune`](mod@tune) | measuring the algorithms of a plan's convolutions | `compiler`, `runtime` |
//! | [`compare`] | how far results are from a reference, at which layer, by which rewrite | `compile`, `ir` |
//! | [`measure`] | comparing times honestly, profiles, this machine's peaks | `compile` |
//! | [`inputs`] | inputs where nobody gives any | `ir` |
//! | [`preprocess`] | from a photograph to an input | nothing |
//! | [`report`] | what the compiler made of a model, for people | `ir`, the reports of `compiler` |
//! | [`error`] | the one error of all that | the errors of the crates |
//!
//! The crates below are there for whoever needs a stage alone: [`ir`], [`compiler`], [`runtime`].
#![forbid(unsafe_code)]

pub mod compare;
pub mod compile;
pub mod edit;
pub mod error;
pub mod inputs;
pub mod measure;
pub mod model;
pub mod names;
pub mod preprocess;
pub mod report;
pub mod tune;

pub use compile::{CompileOptions, Compiled, Planned};
pub use error::Error;
pub use incept_compiler as compiler;
pub use incept_ir as ir;
pub use incept_runtime as runtime;
pub use incept_runtime::{Session, SessionOptions};
pub use model::{LoadOptions, Model};
