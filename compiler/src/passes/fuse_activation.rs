//! Lets a convolution or a Gemm apply the activation that follows it, on its accumulators.
//!
//! Legal only where the activation alone reads the result; how many read the activation does not matter. Bounds in a row
//! (Relu, Clip) become one where they are in order. `x · sigmoid(x)` and `x · hard_sigmoid(x)`, as exporters write Silu and
//! HardSwish, count as one activation where only these two nodes read `x`, and only the product reads the sigmoid.
//!
//! Changes no rounding, but for such products: their sigmoid is no longer rounded before the multiplication.

use incept_ir::graph::{Graph, GraphError, NewValue};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{Activation, Op};
use smallvec::{SmallVec, smallvec};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "fuse_activation",
    description: "let a convolution or Gemm apply the activation that follows it",
    rule: fuse,
};

/// Nodes that are one activation of `x`: all its readers.
struct Found {
    activation: Activation,
    x: ValueId,
    nodes: SmallVec<[NodeId; 2]>,
}

fn fuse(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let Some(Found { activation, x, nodes }) = find(graph, id)? else { return Ok(()) };
    let (producer_id, producer) = graph.producer(x)?;
    let mut op = producer.op.clone();
    let slot = match &mut op {
        Op::Conv(conv) if !conv.ranges.is_empty() => Err("the convolution has several outputs".to_owned()),
        Op::Conv(conv) => Ok(&mut conv.activation),
        Op::Gemm(gemm) => Ok(&mut gemm.activation),
        Op::Input(_) => Err("its input is a graph input".to_owned()),
        _ => Err(format!("its input is made by {}, which applies no activation", graph.label(producer_id))),
    };
    let concerned: SmallVec<[NodeId; 3]> = match &slot {
        Ok(_) => std::iter::once(producer_id).chain(nodes.iter().copied()).collect(),
        Err(_) => nodes.iter().copied().collect(),
    };
    let fused = slot.and_then(|slot| {
        let fused = match *slot {
            _ if graph.is_output(x) => Err("the result before the activation is a graph output"),
            _ if graph.uses(x).iter().any(|found| !nodes.contains(&found.node)) => {
                Err("something else reads the result before the activation")
            }
            Some(first) => composed(first, activation),
            None => Ok(activation),
        };
        let fused = fused.map_err(str::to_owned)?;
        *slot = Some(fused);
        Ok(fused)
    });
    let fused = match fused {
        Ok(fused) => fused,
        Err(reason) => {
            rewriter.refuse(&concerned, reason);
            return Ok(());
        }
    };
    let provenance = rewriter.provenance(&concerned);
    let inputs = graph.node_inputs(producer_id).into_iter().map(NewValue::Old).collect();
    let mut patch = rewriter.patch(format!("{} applies {fused}", producer.op.name()));
    let new = patch.node(op, &producer.name, inputs, provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &concerned)
}

/// The activation that ends with a node.
fn find(graph: &Graph, id: NodeId) -> Result<Option<Found>, GraphError> {
    let inputs = graph.node_inputs(id);
    if let (Some(activation), [x]) = (of(&graph.node(id)?.op), inputs.as_slice()) {
        // The gate of a product that is an activation: looked at there.
        let product = graph.only_use(graph.output(id, 0)?).map(|found| found.node);
        let gates = matches!(activation, Activation::Sigmoid | Activation::HardSigmoid { .. })
            && product.is_some_and(|id| {
                matches!(graph.node(id).map(|node| &node.op), Ok(Op::Mul(_))) && graph.node_inputs(id).contains(x)
            });
        return Ok((!gates).then(|| Found { activation, x: *x, nodes: smallvec![id] }));
    }
    let (Op::Mul(_), [a, b]) = (&graph.node(id)?.op, inputs.as_slice()) else { return Ok(None) };
    for (x, gate) in [(*a, *b), (*b, *a)] {
        let (gate_id, gate_node) = graph.producer(gate)?;
        let activation = match of(&gate_node.op) {
            Some(Activation::Sigmoid) => Activation::Silu,
            Some(Activation::HardSigmoid { alpha, beta: 0.5 }) if alpha == 1.0 / 6.0 => Activation::HardSwish,
            _ => continue,
        };
        if graph.node_inputs(gate_id).as_slice() == [x] && graph.only_use(gate).is_some() {
            return Ok(Some(Found { activation, x, nodes: smallvec![gate_id, id] }));
        }
    }
    Ok(None)
}

/// The activation that an op is.
fn of(op: &Op) -> Option<Activation> {
    match op {
        Op::Relu(_) => Some(Activation::Relu),
        Op::Clip(clip) => Some(clip.activation()),
        Op::LeakyRelu(op) => Some(op.activation()),
        Op::Sigmoid(op) => Some(op.activation()),
        Op::HardSigmoid(op) => Some(op.activation()),
        Op::HardSwish(op) => Some(op.activation()),
        _ => None,
    }
}

/// The one activation that does the same as two, `first` before `second`, or why there is none.
fn composed(first: Activation, second: Activation) -> Result<Activation, &'static str> {
    let bounds = |activation| match activation {
        Activation::Relu => Some((0.0, f32::INFINITY)),
        Activation::Clip { min, max } => Some((min, max)),
        _ => None,
    };
    let (Some((low, high)), Some((min, max))) = (bounds(first), bounds(second)) else {
        return Err("the node before it applies an activation already");
    };
    if !(low <= high && min <= max) {
        return Err("the node before it applies an activation already, and the bounds of one are out of order");
    }
    let (low, high) = (low.clamp(min, max), high.clamp(min, max));
    let relu = (low, high) == (0.0, f32::INFINITY);
    Ok(if relu { Activation::Relu } else { Activation::Clip { min: low, max: high } })
}
