//! The reference interpreter: evaluates a graph node by node, slowly and obviously. It is the oracle of every test.
//!
//! Each op accumulates in `f64` and rounds once ([`crate::ops`]); what is here is the order, the lifetimes and the checks.
//! Depends on `graph` and `ops`.
//!
//! Invariants:
//! 1. A node runs after those that it reads, in [`Graph::order`]; [`run`] skips nodes that no output needs.
//! 2. [`run`] drops a tensor once its last reader ran.
//! 3. Every result has the type that the graph declares, at the batch size that the inputs have.

use std::collections::HashMap;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::graph::{Graph, GraphError};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Op, OpError};
use crate::tensor::Tensor;
use crate::types::{Dim, Shape, TensorType};

/// Why a graph could not be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InterpError {
    /// The graph itself is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The number of inputs is wrong.
    #[error("the graph has {wanted} inputs but {given} are given")]
    InputCount {
        /// How many the graph has.
        wanted: usize,
        /// How many there are.
        given: usize,
    },
    /// An input is not of the declared type.
    #[error("input `{name}` must be {wanted} but is {given}")]
    InputType {
        /// The input's name.
        name: String,
        /// The declared type.
        wanted: Box<TensorType>,
        /// What it is.
        given: Box<TensorType>,
    },
    /// Two inputs have different batch sizes.
    #[error("input `{name}` has a batch of {given}, but the inputs before it have {wanted}")]
    Batch {
        /// The input's name.
        name: String,
        /// The batch so far.
        wanted: usize,
        /// The batch of this input.
        given: usize,
    },
    /// An op could not be evaluated.
    #[error("{node}: {source}")]
    Op {
        /// The node, with its name and op.
        node: String,
        /// Why.
        source: Box<OpError>,
    },
    /// A result is not of the type that the graph declares.
    #[error("{node}: its result {value} is {found}, but the graph declares {declared}")]
    ResultType {
        /// The node, with its name and op.
        node: String,
        /// Which of its values.
        value: ValueId,
        /// The declared type.
        declared: Box<TensorType>,
        /// What it is.
        found: Box<TensorType>,
    },
    /// A tensor that must be there is not: a defect of the interpreter or of the graph's order.
    #[error("internal error: {value} is needed by {reader} but was never made or dropped too early")]
    Missing {
        /// The tensor.
        value: ValueId,
        /// Who needs it.
        reader: String,
    },
}

/// Evaluates a graph: its outputs, in the graph's order.
///
/// `inputs` are in the graph's order, row-major, of the declared types. A symbolic batch is taken from their sizes, and is
/// the same for all.
///
/// # Errors
/// Where the inputs do not fit, or a node cannot be evaluated; names the node and its op.
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, InterpError> {
    let batch = check_inputs(graph, inputs)?;
    let order = needed(graph)?;
    let mut readers: FxHashMap<ValueId, usize> = FxHashMap::default();
    for value in order.iter().flat_map(|id| graph.node_inputs(*id)).chain(graph.outputs().iter().map(|out| out.value)) {
        *readers.entry(value).or_default() += 1;
    }
    let mut tensors = HashMap::new();
    for id in order {
        evaluate(graph, id, inputs, batch, &mut tensors)?;
        for value in graph.node_inputs(id) {
            if let Some(left) = readers.get_mut(&value) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    tensors.remove(&value);
                }
            }
        }
        for value in graph.node(id)?.outputs.iter().filter(|value| !readers.contains_key(value)) {
            tensors.remove(value);
        }
    }
    let output = |value: ValueId| tensors.get(&value).cloned().ok_or_else(|| missing(value, "the caller"));
    graph.outputs().iter().map(|out| output(out.value)).collect()
}

/// Evaluates every node of a graph, needed or not: the tensor of every value, inputs and constants included.
///
/// # Errors
/// As [`run`].
pub fn run_all(graph: &Graph, inputs: &[Tensor]) -> Result<HashMap<ValueId, Tensor>, InterpError> {
    let batch = check_inputs(graph, inputs)?;
    let mut tensors = HashMap::new();
    for id in graph.order()? {
        evaluate(graph, id, inputs, batch, &mut tensors)?;
    }
    Ok(tensors)
}

/// Evaluates one node and adds its results to `tensors`.
fn evaluate(
    graph: &Graph,
    id: NodeId,
    inputs: &[Tensor],
    batch: Option<usize>,
    tensors: &mut HashMap<ValueId, Tensor>,
) -> Result<(), InterpError> {
    let node = graph.node(id)?;
    let results = if let Op::Input(_) = node.op {
        let given = graph.inputs().iter().position(|input| *input == id).and_then(|index| inputs.get(index));
        let unlisted = || InterpError::Op {
            node: graph.label(id),
            source: Box::new(OpError::Type("is not in the graph's list of inputs".to_owned())),
        };
        SmallVec::from_iter([given.cloned().ok_or_else(unlisted)?])
    } else {
        let values = graph.node_inputs(id);
        let read = |value: &ValueId| tensors.get(value).ok_or_else(|| missing(*value, &graph.label(id)));
        let operands: SmallVec<[&Tensor; 4]> = values.iter().map(read).collect::<Result<_, _>>()?;
        let failed = |source| InterpError::Op { node: graph.label(id), source: Box::new(source) };
        node.op.evaluate(&operands).map_err(failed)?
    };
    let mut results = results.into_iter();
    for value in &node.outputs {
        let Some(result) = results.next() else { return Err(missing(*value, &graph.label(id))) };
        let declared = graph.ty(*value)?;
        if concrete(&declared.shape, batch).as_ref() != Some(&result.ty().shape) || declared.dtype != result.dtype() {
            return Err(InterpError::ResultType {
                node: graph.label(id),
                value: *value,
                declared: Box::new(declared.clone()),
                found: Box::new(result.ty()),
            });
        }
        tensors.insert(*value, result);
    }
    Ok(())
}

fn missing(value: ValueId, reader: &str) -> InterpError {
    InterpError::Missing { value, reader: reader.to_owned() }
}

fn concrete(shape: &Shape, batch: Option<usize>) -> Option<Shape> {
    match batch {
        Some(batch) => shape.with_batch(batch),
        None => Some(shape.clone()),
    }
}

/// The nodes that the outputs need, in order.
fn needed(graph: &Graph) -> Result<Vec<NodeId>, InterpError> {
    let mut values: FxHashSet<ValueId> = graph.outputs().iter().map(|out| out.value).collect();
    let mut order = graph.order()?;
    order.reverse();
    let mut kept = Vec::with_capacity(order.len());
    for id in order {
        if graph.node(id)?.outputs.iter().any(|value| values.contains(value)) {
            values.extend(graph.node_inputs(id));
            kept.push(id);
        }
    }
    kept.reverse();
    Ok(kept)
}

/// Checks the inputs against their declared types; the batch size, where a declared type depends on it.
fn check_inputs(graph: &Graph, inputs: &[Tensor]) -> Result<Option<usize>, InterpError> {
    if inputs.len() != graph.inputs().len() {
        return Err(InterpError::InputCount { wanted: graph.inputs().len(), given: inputs.len() });
    }
    let mut batch = None;
    for (id, given) in graph.inputs().iter().zip(inputs) {
        let node = graph.node(*id)?;
        let Op::Input(input) = &node.op else { continue };
        let refused = || InterpError::InputType {
            name: node.name.to_string(),
            wanted: Box::new(input.ty.clone()),
            given: Box::new(given.ty()),
        };
        let own = batch_of(&input.ty, given).ok_or_else(refused)?;
        match (batch, own) {
            (Some(wanted), Some(given)) if wanted != given => {
                return Err(InterpError::Batch { name: node.name.to_string(), wanted, given });
            }
            (None, own) => batch = own,
            _ => {}
        }
    }
    Ok(batch)
}

/// The batch size at which a tensor is of a declared type, `Some(None)` where the type has none; `None` where it is not of
/// that type.
fn batch_of(declared: &TensorType, given: &Tensor) -> Option<Option<usize>> {
    let mut batch = None;
    for (dim, size) in declared.shape.dims().iter().zip(given.sizes()) {
        if let Dim::Batch(factor) = dim {
            batch = Some(size.checked_div(*factor)?);
        }
    }
    let fits = batch != Some(0)
        && declared.dtype == given.dtype()
        && concrete(&declared.shape, batch).as_ref() == Some(&given.ty().shape);
    fits.then_some(batch)
}

#[cfg(test)]
mod tests;
