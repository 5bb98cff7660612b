//! Removes nodes that do nothing at inference, and lets convolutions and pools take the padding before them.
//!
//! Does nothing: Dropout, Identity; a Reshape, Flatten, Squeeze, Unsqueeze or Cast to the type that its input has; a
//! Transpose that keeps the order; a Pad by nothing; a Concat of one. A zero Pad of rows and columns joins the pads of a
//! convolution that reads it, a Pad with −∞ those of a max-pool; another border value would change the result and stays.

use incept_ir::graph::{GraphError, NewValue};
use incept_ir::ids::NodeId;
use incept_ir::ops::{Op, Pad};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "canonicalize",
    description: "remove what does nothing at inference; let convolutions and pools take the padding before them",
    rule: rewrite,
};

fn rewrite(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let inputs = graph.node_inputs(id);
    let [input, ..] = inputs.as_slice() else { return Ok(()) };
    let keeps_type = || Ok::<_, GraphError>(graph.ty(*input)? == graph.ty(graph.output(id, 0)?)?);
    let idle = match &node.op {
        Op::Dropout(_) | Op::Identity(_) => true,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Cast(_) => keeps_type()?,
        Op::Transpose(transpose) => transpose.perm.iter().copied().eq(0..transpose.perm.len()),
        Op::Pad(pad) => pad.pads.iter().all(|ends| *ends == [0, 0]),
        Op::Concat(_) => inputs.len() == 1,
        Op::Conv(_) | Op::MaxPool(_) => return take_padding(rewriter, id),
        _ => false,
    };
    if idle {
        let mut patch = rewriter.patch(format!("{} does nothing at inference", node.op.name()));
        patch.replace(graph.output(id, 0)?, *input);
        rewriter.apply(patch, &[id])?;
    }
    Ok(())
}

/// Moves the Pad before a convolution or a max-pool into its pads.
fn take_padding(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let mut inputs: Vec<NewValue> = graph.node_inputs(id).into_iter().map(NewValue::Old).collect();
    let Some(NewValue::Old(padded)) = inputs.first().copied() else { return Ok(()) };
    let (pad_id, pad_node) = graph.producer(padded)?;
    let Op::Pad(pad) = &pad_node.op else { return Ok(()) };
    let (mut op, neutral) = (node.op.clone(), if matches!(node.op, Op::Conv(_)) { 0.0 } else { f32::NEG_INFINITY });
    let pads = match &mut op {
        Op::Conv(conv) => &mut conv.pads,
        Op::MaxPool(max_pool) if !max_pool.pool.ceil_mode => &mut max_pool.pool.pads,
        _ => {
            rewriter.refuse(&[pad_id, id], "with ceil_mode, padding of its own changes where the last window starts");
            return Ok(());
        }
    };
    let sum = if pad.value == neutral { joined(pads, pad) } else { None };
    let Some(sum) = sum else {
        let reason = format!("only rows and columns filled with {neutral} are the same as padding of its own");
        rewriter.refuse(&[pad_id, id], reason);
        return Ok(());
    };
    *pads = sum;
    // A pool of its own may not have windows that lie in the padding alone; the op itself says so.
    let source = graph.node_inputs(pad_id).first().copied().ok_or(GraphError::NoNode(pad_id))?;
    inputs[0] = source.into();
    let types: Result<Vec<_>, _> =
        std::iter::once(source).chain(graph.node_inputs(id).into_iter().skip(1)).map(|value| graph.ty(value)).collect();
    if let Err(reason) = op.infer(&types?) {
        let reason = format!("with the padding it would be refused: {reason}");
        rewriter.refuse(&[pad_id, id], reason);
        return Ok(());
    }
    let provenance = rewriter.provenance(&[pad_id, id]);
    let mut patch = rewriter.patch(format!("pads by {sum:?} itself"));
    let new = patch.node(op, &node.name, inputs, provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &[pad_id, id])
}

/// The pads of an op with those of a Pad before it; `None` where the Pad reaches beyond rows and columns.
fn joined(pads: &[usize; 4], pad: &Pad) -> Option<[usize; 4]> {
    let [[0, 0], [0, 0], [top, bottom], [left, right]] = pad.pads.as_slice() else { return None };
    let [t, l, b, r] = *pads;
    Some([t.checked_add(*top)?, l.checked_add(*left)?, b.checked_add(*bottom)?, r.checked_add(*right)?])
}
