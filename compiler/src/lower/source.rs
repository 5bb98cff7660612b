//! What a value is once everything that does nothing at run time is looked through.
//!
//! Identity, Dropout and a Cast to the same type are other names of their input; nodes over constants are constants. So a
//! graph compiles whether or not the passes that remove them ran.

use incept_ir::graph::{Graph, GraphError};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::Op;
use incept_ir::tensor::Tensor;
use incept_ir::types::DType;
use rustc_hash::{FxHashMap, FxHashSet};

/// The needed nodes, other names, and constants of a graph.
#[derive(Debug, Default)]
pub(super) struct Sources {
    names: FxHashMap<ValueId, ValueId>,
    constants: FxHashMap<ValueId, Tensor>,
    /// What constants were before they were widened: `f16` weights stay `f16` in the plan.
    narrow: FxHashMap<ValueId, Tensor>,
}

impl Sources {
    /// Looks through a graph whose needed nodes are `order`. The second result names nodes over constants that refuse
    /// them, and why.
    pub fn new(graph: &Graph, order: &[NodeId]) -> Result<(Self, Vec<(NodeId, String)>), GraphError> {
        let (mut sources, mut refused) = (Self::default(), Vec::new());
        for id in order {
            let node = graph.node(*id)?;
            let inputs: Vec<ValueId> = graph.node_inputs(*id).into_iter().map(|value| sources.of(value)).collect();
            if let Op::Constant(constant) = &node.op {
                if let Some(output) = node.outputs.first() {
                    sources.constants.insert(*output, constant.tensor.clone());
                }
                continue;
            }
            let passes_on = match (&node.op, inputs.first()) {
                (Op::Identity(_) | Op::Dropout(_), Some(_)) => true,
                (Op::Cast(cast), Some(input)) => graph.ty(*input)?.dtype == cast.to,
                _ => false,
            };
            if let (true, Some(input), Some(output)) = (passes_on, inputs.first(), node.outputs.first()) {
                sources.names.insert(*output, *input);
                continue;
            }
            let tensors: Option<Vec<&Tensor>> = inputs.iter().map(|input| sources.constants.get(input)).collect();
            let Some(tensors) = tensors.filter(|tensors| !tensors.is_empty()) else { continue };
            let narrow = match (&node.op, tensors.as_slice()) {
                (Op::Cast(cast), [tensor]) if cast.to == DType::F32 && tensor.dtype() == DType::F16 => {
                    Some((*tensor).clone())
                }
                _ => None,
            };
            match node.op.evaluate(&tensors) {
                Ok(results) => {
                    for (output, tensor) in node.outputs.iter().zip(results) {
                        sources.constants.insert(*output, tensor);
                        if let Some(narrow) = &narrow {
                            sources.narrow.insert(*output, narrow.clone());
                        }
                    }
                }
                Err(error) => refused.push((*id, error.to_string())),
            }
        }
        Ok((sources, refused))
    }

    /// The value that this one is another name of, or itself.
    pub fn of(&self, value: ValueId) -> ValueId {
        // Names are resolved as they are added, so one step is enough.
        self.names.get(&value).copied().unwrap_or(value)
    }

    /// The tensor of a constant.
    pub fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.constants.get(&self.of(value))
    }

    /// The tensor of a constant as a step's weights: `f16` where it was.
    pub fn weights(&self, value: ValueId) -> Option<&Tensor> {
        self.narrow.get(&self.of(value)).or_else(|| self.constant(value))
    }
}

/// The nodes that the outputs need, in topological order.
pub(super) fn needed(graph: &Graph) -> Result<Vec<NodeId>, GraphError> {
    let mut wanted: FxHashSet<NodeId> = FxHashSet::default();
    for output in graph.outputs() {
        wanted.insert(graph.value(output.value)?.producer);
    }
    let mut order = graph.order()?;
    for id in order.iter().rev() {
        if wanted.contains(id) {
            for input in graph.node_inputs(*id) {
                wanted.insert(graph.value(input)?.producer);
            }
        }
    }
    order.retain(|id| wanted.contains(id));
    Ok(order)
}
