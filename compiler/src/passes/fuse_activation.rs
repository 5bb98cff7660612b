//! Lets a convolution or a Gemm apply the Relu or Clip that follows it, on its accumulators.
//!
//! Legal only where the activation alone reads the result; how many read the activation does not matter. Several
//! activations in a row become one where their bounds are in order. Changes no rounding.

use incept_ir::graph::{GraphError, NewValue};
use incept_ir::ids::NodeId;
use incept_ir::ops::{Activation, Op};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "fuse_activation",
    description: "let a convolution or Gemm apply the Relu or Clip that follows it",
    rule: fuse,
};

fn fuse(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let activation = match &node.op {
        Op::Relu(_) => Activation::Relu,
        Op::Clip(clip) => Activation::Clip { min: clip.min, max: clip.max },
        _ => return Ok(()),
    };
    let inputs = graph.node_inputs(id);
    let [x] = inputs.as_slice() else { return Ok(()) };
    let (producer_id, producer) = graph.producer(*x)?;
    let mut op = producer.op.clone();
    let slot = match &mut op {
        Op::Conv(conv) if !conv.ranges.is_empty() => {
            rewriter.refuse(&[producer_id, id], "the convolution has several outputs");
            return Ok(());
        }
        Op::Conv(conv) => &mut conv.activation,
        Op::Gemm(gemm) => &mut gemm.activation,
        Op::Input(_) => {
            rewriter.refuse(&[id], "its input is a graph input");
            return Ok(());
        }
        _ => {
            let reason = format!("its input is made by {}, which applies no activation", graph.label(producer_id));
            rewriter.refuse(&[id], reason);
            return Ok(());
        }
    };
    let fused = match *slot {
        _ if graph.is_output(*x) => Err("the result before the activation is a graph output"),
        _ if graph.only_use(*x).is_none() => Err("something else reads the result before the activation"),
        Some(first) => composed(first, activation)
            .ok_or("the node before it applies an activation already, and the bounds of one are out of order"),
        None => Ok(activation),
    };
    let fused = match fused {
        Ok(fused) => fused,
        Err(reason) => {
            rewriter.refuse(&[producer_id, id], reason);
            return Ok(());
        }
    };
    *slot = Some(fused);
    let provenance = rewriter.provenance(&[producer_id, id]);
    let inputs = graph.node_inputs(producer_id).into_iter().map(NewValue::Old).collect();
    let mut patch = rewriter.patch(format!("{} applies {fused}", producer.op.name()));
    let new = patch.node(op, &producer.name, inputs, provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &[producer_id, id])
}

/// The one activation that does the same as two, `first` before `second`.
fn composed(first: Activation, second: Activation) -> Option<Activation> {
    let bounds = |activation| match activation {
        Activation::Relu => (0.0, f32::INFINITY),
        Activation::Clip { min, max } => (min, max),
    };
    let ((low, high), (min, max)) = (bounds(first), bounds(second));
    if !(low <= high && min <= max) {
        return None;
    }
    let (low, high) = (low.clamp(min, max), high.clamp(min, max));
    Some(if (low, high) == (0.0, f32::INFINITY) { Activation::Relu } else { Activation::Clip { min: low, max: high } })
}
