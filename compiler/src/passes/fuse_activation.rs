//! Lets a convolution or a Gemm apply the Relu or Clip that follows it, on its accumulators.
//!
//! Legal only where the activation alone reads the result; how many read the activation does not matter. Changes no
//! rounding.

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
        Op::Conv(conv) => &mut conv.activation,
        Op::Gemm(gemm) => &mut gemm.activation,
        _ => {
            let reason = format!("its input is made by {}, which applies no activation", graph.label(producer_id));
            rewriter.refuse(&[id], reason);
            return Ok(());
        }
    };
    let reason = match slot {
        _ if graph.is_output(*x) => Some("the result before the activation is a graph output"),
        _ if graph.only_use(*x).is_none() => Some("something else reads the result before the activation"),
        Some(_) => Some("the node before it applies an activation already"),
        None => None,
    };
    if let Some(reason) = reason {
        rewriter.refuse(&[producer_id, id], reason);
        return Ok(());
    }
    *slot = Some(activation);
    let provenance = rewriter.provenance(&[producer_id, id]);
    let inputs = graph.node_inputs(producer_id).into_iter().map(NewValue::Old).collect();
    let mut patch = rewriter.patch(format!("{} applies {activation}", producer.op.name()));
    let new = patch.node(op, &producer.name, inputs, provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &[producer_id, id])
}
