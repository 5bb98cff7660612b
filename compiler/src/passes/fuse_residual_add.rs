//! Lets a convolution add what an Add after it would, on its accumulators: the shortcut of a residual block.
//!
//! Legal only where the Add alone reads the convolution's result, both operands have the type of the sum (nothing
//! broadcasts), and the convolution applies no activation before. Where both operands are such convolutions, the one that
//! comes later takes the other's result. The other operand cannot depend on the convolution, whose only reader is the Add.
//!
//! Changes rounding: the convolution's result is no longer rounded before the addition.

use incept_ir::graph::{Graph, GraphError, NewValue};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::Op;

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "fuse_residual_add",
    description: "let a convolution add the shortcut of a residual block",
    rule: fuse,
};

fn fuse(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let Op::Add(_) = &graph.node(id)?.op else { return Ok(()) };
    let inputs = graph.node_inputs(id);
    let [a, b] = *inputs.as_slice() else { return Ok(()) };
    let output = graph.output(id, 0)?;
    let mut refusals = Vec::new();
    let mut best: Option<(NodeId, ValueId)> = None;
    for (sum, addend) in [(a, b), (b, a)] {
        let (producer, node) = graph.producer(sum)?;
        if !matches!(node.op, Op::Conv(_)) {
            continue;
        }
        match refusal(graph, (sum, addend, output), &node.op)? {
            None if best.is_none_or(|(other, _)| other < producer) => best = Some((producer, addend)),
            None => {}
            Some(reason) => refusals.push((producer, reason)),
        }
    }
    let Some((conv_id, addend)) = best else {
        for (producer, reason) in refusals {
            rewriter.refuse(&[producer, id], reason);
        }
        return Ok(());
    };
    let conv_node = graph.node(conv_id)?;
    let Op::Conv(conv) = &conv_node.op else { return Ok(()) };
    let mut conv = conv.clone();
    conv.residual = true;
    let provenance = rewriter.provenance(&[conv_id, id]);
    let inputs = graph.node_inputs(conv_id).into_iter().chain([addend]).map(NewValue::Old).collect();
    let mut patch = rewriter.patch("the convolution adds its other operand");
    let new = patch.node(conv, &conv_node.name, inputs, provenance);
    patch.replace(output, new);
    rewriter.apply(patch, &[conv_id, id])
}

/// Why a convolution that makes `sum` cannot add `addend`; `None` where it can.
fn refusal(
    graph: &Graph,
    (sum, addend, output): (ValueId, ValueId, ValueId),
    op: &Op,
) -> Result<Option<&'static str>, GraphError> {
    let Op::Conv(conv) = op else { return Ok(None) };
    Ok(match () {
        () if graph.ty(sum)? != graph.ty(output)? || graph.ty(addend)? != graph.ty(output)? => {
            Some("an operand is broadcast")
        }
        () if graph.is_output(sum) => Some("the convolution's result is a graph output"),
        () if graph.only_use(sum).is_none() => Some("something else reads the convolution's result"),
        () if conv.activation.is_some() => Some("the convolution applies an activation first"),
        () if conv.residual => Some("the convolution adds a residual already"),
        () if !conv.ranges.is_empty() => Some("the convolution has several outputs"),
        () => None,
    })
}
