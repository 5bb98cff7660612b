//! Comparing results: how far outputs are from a reference, at which layer they depart, and which rewrite made them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`difference`] | how far values are apart, and how far they may be |
//! | [`layers`] | every layer of the optimised graph, compiled and interpreted |
//! | [`bisect`](mod@bisect) | the first rewrite after which results depart |
//!
//! Depends on [`crate::model`], [`crate::compile`] and the reference interpreter. Reads no files.

pub mod bisect;
pub mod difference;
pub mod layers;

use std::borrow::Cow;

pub use bisect::{Culprit, bisect};
pub use difference::{Difference, Tolerance};
use incept_ir::graph::Graph;
use incept_ir::interp;
use incept_ir::tensor::Tensor;
pub use layers::{Layer, layers};

use crate::compile::CompileOptions;
use crate::error::Error;
use crate::model::Model;

/// Compiles a model and runs it on these inputs: its outputs, in its order.
///
/// # Errors
/// As [`Model::compile`]; where an input is not `f32` or its size is wrong.
pub fn run_compiled(model: &Model, options: &CompileOptions, inputs: &[Tensor]) -> Result<Vec<Vec<f32>>, Error> {
    let mut session = model.compile(options)?.session()?;
    // What no step of this run wrote must not pass for a result.
    session.poison_arena();
    let values = floats(inputs)?;
    let slices: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
    session.run(&slices)?;
    Ok((0..session.outputs().len()).map(|index| session.output(index).to_vec()).collect())
}

fn floats(inputs: &[Tensor]) -> Result<Vec<Cow<'_, [f32]>>, Error> {
    let mut floats = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        floats.push(input.as_f32().map_err(|source| Error::Input { index, source: Box::new(source) })?);
    }
    Ok(floats)
}

/// The outputs of a graph by the reference interpreter.
///
/// # Errors
/// Where a node refuses its inputs.
pub fn run_interpreted(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
    let failed = |source| Error::Interp { model: graph.name().to_string(), source: Box::new(source) };
    interp::run(graph, inputs).map_err(failed)
}
