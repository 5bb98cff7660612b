//! Folds a BatchNorm into the convolution before it: weights times `scale / sqrt(var + epsilon)`, and a bias.
//!
//! Legal only where the BatchNorm alone reads the convolution, and all its parameters are constants. The new weights are
//! new constants, so another convolution that shares the old ones keeps them. Changes rounding: the factors are computed
//! in `f64` and each weight is rounded once.

use incept_ir::graph::{GraphError, NewValue};
use incept_ir::ids::NodeId;
use incept_ir::ops::{BatchNorm, Conv, Op};
use incept_ir::tensor::{Tensor, TensorError};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass =
    Pass { name: "fold_batch_norm", description: "fold a BatchNorm into the convolution before it", rule: fold };

fn fold(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let Op::BatchNorm(norm) = &node.op else { return Ok(()) };
    let inputs = graph.node_inputs(id);
    let [x, parameters @ ..] = inputs.as_slice() else { return Ok(()) };
    let (conv_id, conv_node) = graph.producer(*x)?;
    let Op::Conv(conv) = &conv_node.op else {
        let reason = format!("its input is made by {}, not by a convolution", graph.label(conv_id));
        rewriter.refuse(&[id], reason);
        return Ok(());
    };
    let conv_inputs = graph.node_inputs(conv_id);
    let tensors: Option<Vec<&Tensor>> =
        conv_inputs[1..].iter().chain(parameters).map(|value| graph.constant(*value)).collect();
    let reason = match &tensors {
        _ if graph.is_output(*x) => Some("the convolution's result is a graph output"),
        _ if graph.only_use(*x).is_none() => Some("something else reads the convolution's result"),
        _ if conv.residual || !conv.ranges.is_empty() => Some("the convolution adds a residual or has several outputs"),
        _ if conv.activation.is_some() => Some("the convolution applies an activation first"),
        None => Some("a weight or a parameter is not a constant"),
        Some(_) => None,
    };
    let (None, Some(tensors)) = (reason, tensors) else {
        rewriter.refuse(&[conv_id, id], reason.unwrap_or("a weight or a parameter is not a constant"));
        return Ok(());
    };
    let has_bias = conv_inputs.len() > 2;
    let folded = fold_tensors(norm, &tensors, has_bias).map_err(|source| GraphError::Op {
        node: node.name.to_string(),
        op: node.op.name(),
        source: Box::new(source.into()),
    })?;
    let Some((weights, bias)) = folded else {
        rewriter.refuse(&[conv_id, id], "a folded weight or bias would not be a finite number");
        return Ok(());
    };
    let name_of = |value| graph.producer(value).map(|(_, node)| node.name.clone());
    let weight_name = name_of(conv_inputs[1])?;
    let bias_name = name_of(if has_bias { conv_inputs[2] } else { parameters[1] })?;
    let provenance = rewriter.provenance(&[conv_id, id]);
    let mut patch = rewriter.patch("its scale and shift became the convolution's weights and bias");
    let weights = patch.constant(&weight_name, weights, provenance.clone());
    let bias = patch.constant(&bias_name, bias, provenance.clone());
    let conv: Conv = conv.clone();
    let new = patch.node(conv, &conv_node.name, vec![NewValue::Old(conv_inputs[0]), weights, bias], provenance);
    patch.replace(graph.output(id, 0)?, new);
    rewriter.apply(patch, &[conv_id, id])
}

/// The new weights and bias; `None` where one is not finite, for an infinite weight makes a NaN of a zero. `tensors` are
/// the convolution's weights, its bias if it has one, then scale, bias, mean and variance of the BatchNorm, each of one
/// value an output channel.
#[allow(clippy::cast_possible_truncation, reason = "the one rounding of each folded value")]
fn fold_tensors(
    norm: &BatchNorm,
    tensors: &[&Tensor],
    has_bias: bool,
) -> Result<Option<(Tensor, Tensor)>, TensorError> {
    // Read as bytes: in a file they need not be aligned, and a copy of all weights would cost as much as the folding.
    let weights = tensors[0].bytes().as_chunks::<4>().0;
    let old_bias = if has_bias { Some(tensors[1].to_f64()) } else { None };
    let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|which| tensors[1 + usize::from(has_bias) + which].to_f64());
    let channels = scale.len();
    let per_channel = weights.len().checked_div(channels).unwrap_or(0);
    let mut new_weights: Vec<f32> = Vec::with_capacity(weights.len());
    let mut new_bias: Vec<f32> = Vec::with_capacity(channels);
    for channel in 0..channels {
        let factor = scale[channel] / (variance[channel] + f64::from(norm.epsilon)).sqrt();
        let row = &weights[channel * per_channel..(channel + 1) * per_channel];
        new_weights.extend(row.iter().map(|weight| (f64::from(f32::from_le_bytes(*weight)) * factor) as f32));
        let bias = old_bias.as_ref().map_or(0.0, |bias| bias[channel]);
        new_bias.push(((bias - mean[channel]) * factor + shift[channel]) as f32);
        // The row is still in the cache.
        let written = &new_weights[channel * per_channel..];
        if written.iter().chain(&new_bias[channel..]).any(|value| !value.is_finite()) {
            return Ok(None);
        }
    }
    Ok(Some((Tensor::from_f32(tensors[0].sizes(), new_weights)?, Tensor::from_f32(&[channels], new_bias)?)))
}
