//! Every layer of the optimised graph, compiled and interpreted on the same inputs.
//!
//! The optimised graph is compiled with the value of every node as a further output. That keeps all of them, so nothing
//! runs in place and fewer concatenations are written where they lie; the kernels are the same. Each value is compared with
//! what the interpreter makes of the *optimised* graph, which shows errors of lowering and of kernels; and what that makes
//! is compared with the value of the *source* graph that it stands for, which shows errors of passes.

use std::collections::HashMap;

use incept_compiler::pipeline::PASSES;
use incept_ir::graph::{Graph, GraphError, Node, Output};
use incept_ir::ids::ValueId;
use incept_ir::interp;
use incept_ir::ops::Op;
use incept_ir::tensor::Tensor;
use incept_ir::types::DType;

use super::difference::Difference;
use super::floats;
use crate::compile::CompileOptions;
use crate::error::Error;
use crate::model::Model;

/// One layer: a node of the optimised graph.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its op.
    pub op: &'static str,
    /// The source nodes that it stands for.
    pub nodes: Vec<String>,
    /// The compiled value against the interpreter's for the optimised graph.
    pub compiled: Difference,
    /// The source node whose value this is, and the interpreter's value for the optimised graph against it; nothing where
    /// no single source node has it, as for merged convolutions.
    pub source: Option<(String, Difference)>,
}

/// Compares every layer, in an order in which they run. The inputs are of the model's types, of one batch size.
///
/// # Errors
/// As [`Model::compile`]; where the interpreter refuses the model.
pub fn layers(model: &Model, options: &CompileOptions, inputs: &[Tensor]) -> Result<Vec<Layer>, Error> {
    let graph_error = |source| Error::Graph { model: model.name().into(), source: Box::new(source) };
    let batch = options.batch.unwrap_or(1);
    let concrete = |graph: &Graph| if graph.is_symbolic() { graph.with_batch(batch) } else { Ok(graph.clone()) };
    let source = concrete(model.graph()?).map_err(graph_error)?;
    let optimized = concrete(&model.optimize(options, &mut |_, _| {})?.graph).map_err(graph_error)?;
    let run_all = |graph: &Graph| {
        interp::run_all(graph, inputs)
            .map_err(|source| Error::Interp { model: model.name().into(), source: Box::new(source) })
    };
    let (source_values, values) = (run_all(&source)?, run_all(&optimized)?);
    let probed = probed(&optimized).map_err(graph_error)?;
    let compiled = compiled(probed.graph, options, inputs)?;
    let by_name: HashMap<&str, &Node> = source.nodes().map(|(_, node)| (&*node.name, node)).collect();
    let mut layers = Vec::with_capacity(probed.values.len());
    for (value, result) in probed.values.iter().zip(&compiled) {
        let (_, node) = optimized.producer(*value).map_err(graph_error)?;
        let Some(interpreted) = values.get(value) else { continue };
        let stands_for = if node.outputs.len() == 1 { source_of(&source, &by_name, node, interpreted) } else { None };
        let from_source = stands_for.and_then(|(name, id)| {
            let interpreted = interpreted.as_f32().ok()?;
            Some((name, Difference::of(&interpreted, &source_values.get(&id)?.to_f64())))
        });
        layers.push(Layer {
            name: node.name.to_string(),
            op: node.op.name(),
            nodes: node.provenance.iter().map(ToString::to_string).collect(),
            compiled: Difference::of(result, &interpreted.to_f64()),
            source: from_source,
        });
    }
    Ok(layers)
}

/// A graph whose outputs are the values of all its layers.
struct Probed {
    graph: Graph,
    values: Vec<ValueId>,
}

fn probed(optimized: &Graph) -> Result<Probed, GraphError> {
    let mut values = Vec::new();
    for id in optimized.order()? {
        let node = optimized.node(id)?;
        if matches!(node.op, Op::Input(_) | Op::Constant(_)) {
            continue;
        }
        for value in &node.outputs {
            if optimized.ty(*value)?.dtype == DType::F32 && optimized.is_read(*value) {
                values.push(*value);
            }
        }
    }
    let output = |value: &ValueId| Output { name: value.to_string().into(), value: *value };
    let mut graph = optimized.clone();
    graph.set_outputs(values.iter().map(output).collect())?;
    Ok(Probed { graph, values })
}

/// The outputs of a graph that no pass may touch any more.
fn compiled(graph: Graph, options: &CompileOptions, inputs: &[Tensor]) -> Result<Vec<Vec<f32>>, Error> {
    let mut disabled = options.disabled.clone();
    disabled.extend(PASSES.iter().map(|pass| pass.name.to_owned()));
    disabled.sort_unstable();
    disabled.dedup();
    let options = CompileOptions { disabled, stop_after: None, batch: None, ..options.clone() };
    let compiled = Model::from_graph(graph).compile(&options)?;
    let mut session = compiled.session()?;
    session.poison_arena();
    let values = floats(inputs)?;
    let slices: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
    session.run(&slices)?;
    Ok((0..session.outputs().len()).map(|index| session.output(index).to_vec()).collect())
}

/// The last source node that a node stands for and whose only value has the same type.
fn source_of(source: &Graph, by_name: &HashMap<&str, &Node>, node: &Node, value: &Tensor) -> Option<(String, ValueId)> {
    node.provenance.iter().rev().find_map(|name| {
        let [only] = by_name.get(&**name)?.outputs.as_slice() else { return None };
        let ty = source.ty(*only).ok()?;
        (*ty == value.ty()).then(|| (name.to_string(), *only))
    })
}
