//! ONNX: the file format's types, the importer and the exporter.
//!
//! | module | what lives there |
//! |---|---|
//! | [`proto`] | the protobuf types, generated (see `compiler/tools/onnx_proto`) |
//! | `import` | [`import`]: bytes to graph; one table of operators |
//! | `export` | [`export`]: graph to bytes |
//!
//! Bytes fields are [`bytes::Bytes`]: decoding a file copies no weight.

mod export;
mod import;
#[rustfmt::skip]
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; ONNX documents its own format")]
pub mod proto;

pub use export::{BASE_OPSET, ExportError, export};
pub use import::{
    ImportError, MAX_OPSET, MIN_OPSET, NodeError, TensorProblem, UnsupportedOp, import, operators, read_tensor,
};
