//! Removes nodes that do nothing at inference, and lets convolutions and pools take the padding before them.
//!
//! Does nothing: Dropout, Identity; a Reshape, Flatten, Squeeze, Unsqueeze or Cast to the type that its input has; a
//! Transpose that keeps the order; a Pad by nothing; a Concat of one; a Slice of everything; two changes of shape (Reshape,
//! Flatten, Squeeze, Unsqueeze) in a row that end at the type they began with. Two Transposes in a row become one.
//!
//! A Pad of rows and columns joins the pads of what reads it where the result is exactly the same: of zeros those of a
//! convolution and of an average pool whose own padding, if any, counts as zeros; of −∞ those of a max-pool; of zeros
//! those of a max-pool that sees no negative number. Any other border would change the result and stays, as does one that
//! would move the windows of a pool with `ceil_mode`.

use incept_ir::graph::{Graph, GraphError, NewValue};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{Activation, Op, Pad, Transpose};

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
        Op::Slice(_) | Op::Cast(_) => keeps_type()?,
        op if reshapes(op) && keeps_type()? => true,
        op if reshapes(op) => return undo_reshape(rewriter, id),
        Op::Transpose(transpose) if transpose.perm.iter().copied().eq(0..transpose.perm.len()) => true,
        Op::Transpose(_) => return join_transposes(rewriter, id),
        Op::Pad(pad) => pad.pads.iter().all(|ends| *ends == [0, 0]),
        Op::Concat(_) => inputs.len() == 1,
        Op::Conv(_) | Op::MaxPool(_) | Op::AvgPool(_) => return take_padding(rewriter, id),
        _ => false,
    };
    if idle {
        let mut patch = rewriter.patch(format!("{} does nothing at inference", node.op.name()));
        patch.replace(graph.output(id, 0)?, *input);
        rewriter.apply(patch, &[id])?;
    }
    Ok(())
}

/// Whether an op changes nothing but the shape.
fn reshapes(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
}

/// Removes a change of shape that undoes the one before it.
fn undo_reshape(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let Some(middle) = graph.node_inputs(id).first().copied() else { return Ok(()) };
    let (before, node) = graph.producer(middle)?;
    let Some(source) = graph.node_inputs(before).first().copied() else { return Ok(()) };
    let output = graph.output(id, 0)?;
    if !reshapes(&node.op) || graph.ty(source)? != graph.ty(output)? {
        return Ok(());
    }
    let mut patch = rewriter.patch(format!("{} undoes what \"{}\" does", graph.node(id)?.op.name(), node.name));
    patch.replace(output, source);
    rewriter.apply(patch, &[before, id])
}

/// Makes one Transpose of two in a row.
fn join_transposes(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let Some(middle) = graph.node_inputs(id).first().copied() else { return Ok(()) };
    let (before, first) = graph.producer(middle)?;
    let (Op::Transpose(second), Op::Transpose(first)) = (&node.op, &first.op) else { return Ok(()) };
    let perm: Option<Vec<usize>> = second.perm.iter().map(|axis| first.perm.get(*axis).copied()).collect();
    let (Some(perm), Some(source)) = (perm, graph.node_inputs(before).first().copied()) else { return Ok(()) };
    let provenance = rewriter.provenance(&[before, id]);
    let mut patch = rewriter.patch("one transpose does what two did");
    let new = patch.node(Transpose { perm }, &node.name, vec![source.into()], provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &[before, id])
}

/// Moves the Pad before a convolution or a pool into its pads.
fn take_padding(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let mut inputs: Vec<NewValue> = graph.node_inputs(id).into_iter().map(NewValue::Old).collect();
    let Some(NewValue::Old(padded)) = inputs.first().copied() else { return Ok(()) };
    let (pad_id, pad_node) = graph.producer(padded)?;
    let Op::Pad(pad) = &pad_node.op else { return Ok(()) };
    let source = graph.node_inputs(pad_id).first().copied().ok_or(GraphError::NoNode(pad_id))?;
    let mut op = node.op.clone();
    let (pads, exact, wanted) = match &mut op {
        Op::Conv(conv) => (&mut conv.pads, pad.value == 0.0, "zeros"),
        Op::MaxPool(max_pool) => {
            let unseen = pad.value == f32::NEG_INFINITY || pad.value == 0.0 && is_never_negative(graph, source)?;
            (&mut max_pool.pool.pads, unseen, "−∞ (or zeros where nothing is negative)")
        }
        Op::AvgPool(avg_pool) => {
            let counted = avg_pool.count_include_pad || avg_pool.pool.pads == [0; 4];
            avg_pool.count_include_pad = true;
            (&mut avg_pool.pool.pads, pad.value == 0.0 && counted, "zeros, with own padding that counts as zeros,")
        }
        _ => return Ok(()),
    };
    let sum = if exact { joined(pads, pad) } else { None };
    let Some(sum) = sum else {
        let reason = format!("only rows and columns of {wanted} are the same as padding of its own");
        rewriter.refuse(&[pad_id, id], reason);
        return Ok(());
    };
    *pads = sum;
    inputs[0] = source.into();
    let types: Result<Vec<_>, _> =
        std::iter::once(source).chain(graph.node_inputs(id).into_iter().skip(1)).map(|value| graph.ty(value)).collect();
    // A pool may not have windows that lie in its own padding alone, and with `ceil_mode` its own padding may take away
    // the last window.
    let reason = match op.infer(&types?) {
        Err(reason) => Some(format!("with the padding it would be refused: {reason}")),
        Ok(found) if found.first() != Some(graph.ty(graph.output(id, 0)?)?) => {
            Some("with ceil_mode, padding of its own would change where the last window starts".to_owned())
        }
        Ok(_) => None,
    };
    if let Some(reason) = reason {
        rewriter.refuse(&[pad_id, id], reason);
        return Ok(());
    }
    let provenance = rewriter.provenance(&[pad_id, id]);
    let mut patch = rewriter.patch(format!("pads by {sum:?} itself"));
    let new = patch.node(op, &node.name, inputs, provenance);
    for (index, output) in node.outputs.iter().enumerate() {
        patch.replace(*output, new.output(index));
    }
    rewriter.apply(patch, &[pad_id, id])
}

/// Whether a value holds no negative number, as what a Relu makes does not.
fn is_never_negative(graph: &Graph, value: ValueId) -> Result<bool, GraphError> {
    let activation = match &graph.producer(value)?.1.op {
        Op::Relu(_) => Some(Activation::Relu),
        Op::Clip(clip) => Some(clip.activation()),
        Op::Sigmoid(op) => Some(op.activation()),
        Op::HardSigmoid(op) => Some(op.activation()),
        Op::Conv(conv) => conv.activation,
        Op::Gemm(gemm) => gemm.activation,
        _ => None,
    };
    Ok(match activation {
        Some(Activation::Relu) => true,
        Some(Activation::Sigmoid | Activation::HardSigmoid { .. }) => true,
        Some(Activation::Clip { min, max }) => min >= 0.0 && max >= 0.0,
        _ => false,
    })
}

/// The pads of an op with those of a Pad before it; `None` where the Pad reaches beyond rows and columns.
fn joined(pads: &[usize; 4], pad: &Pad) -> Option<[usize; 4]> {
    let [[0, 0], [0, 0], [top, bottom], [left, right]] = pad.pads.as_slice() else { return None };
    let [t, l, b, r] = *pads;
    Some([t.checked_add(*top)?, l.checked_add(*left)?, b.checked_add(*bottom)?, r.checked_add(*right)?])
}
