//! BatchNormalization, LRN, Softmax, Dropout.

use incept_ir::ops::{BatchNorm, Dropout, Lrn, Softmax};

use super::super::attributes::size;
use super::super::context::{Imported, NodeContext, axis};
use super::super::error::NodeError;
use super::super::table::refuse;

const INFERENCE: &str = "export the model for inference (model.eval() in torch)";

/// Whether a node of opset 6 is meant for training: that version says so by leaving `is_test` out.
fn not_a_test(context: &mut NodeContext<'_>) -> Result<bool, NodeError> {
    Ok(context.opset < 7 && !context.attributes.flag("is_test")?)
}

/// BatchNormalization, opset 6 to 15, as at inference: with the given statistics.
pub(in super::super) fn batch_norm(context: &mut NodeContext<'_>) -> Imported {
    context.takes(5, 5)?;
    // Only training uses it.
    context.attributes.float("momentum")?;
    if not_a_test(context)? || context.attributes.flag("training_mode")? {
        return Err(refuse("batch normalisation in training mode", INFERENCE));
    }
    if context.opset < 9 && context.attributes.int("spatial")? == Some(0) {
        return Err(refuse("batch normalisation per position (spatial = 0)", "normalise per channel"));
    }
    let epsilon = context.attributes.float("epsilon")?.unwrap_or(1e-5);
    let inputs = context.all_inputs()?;
    context.emit(BatchNorm { epsilon }, &inputs)
}

/// LRN, opset 1 to 13.
pub(in super::super) fn lrn(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let length = context.required_int("size")?;
    let op = Lrn {
        size: size("size", length)?,
        alpha: context.attributes.float("alpha")?.unwrap_or(1e-4),
        beta: context.attributes.float("beta")?.unwrap_or(0.75),
        bias: context.attributes.float("bias")?.unwrap_or(1.0),
    };
    let x = context.input(0)?;
    context.emit(op, &[x])
}

/// Softmax, opset 1 to 12: over `axis` and all later axes together.
pub(in super::super) fn softmax_flattened(context: &mut NodeContext<'_>) -> Imported {
    softmax_over(context, 1, true)
}

/// Softmax, opset 13: over one axis.
pub(in super::super) fn softmax(context: &mut NodeContext<'_>) -> Imported {
    softmax_over(context, -1, false)
}

fn softmax_over(context: &mut NodeContext<'_>, default: i64, flatten: bool) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    let along = context.attributes.int("axis")?.unwrap_or(default);
    let along = axis(along, context.rank(x))?;
    context.emit(Softmax { axis: along, flatten }, &[x])
}

/// Dropout, opset 6 to 11.
pub(in super::super) fn dropout_by_attribute(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    if not_a_test(context)? {
        return Err(refuse("dropout in training mode", INFERENCE));
    }
    let ratio = context.attributes.float("ratio")?;
    dropout(context, ratio)
}

/// Dropout, opset 12 to 22: `ratio` and `training_mode` are inputs.
pub(in super::super) fn dropout_by_inputs(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 3)?;
    context.attributes.int("seed")?;
    if context.scalar(2, "training mode")?.is_some_and(|mode| mode != 0.0) {
        return Err(refuse("dropout in training mode", INFERENCE));
    }
    #[allow(clippy::cast_possible_truncation, reason = "a probability; nothing computes with it")]
    let ratio = context.scalar(1, "ratio")?.map(|ratio| ratio as f32);
    dropout(context, ratio)
}

fn dropout(context: &mut NodeContext<'_>, ratio: Option<f32>) -> Imported {
    let ratio = ratio.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&ratio) {
        return Err(NodeError::Value { role: "ratio".into(), problem: format!("is {ratio}, which is no probability") });
    }
    let x = context.input(0)?;
    context.emit(Dropout { ratio }, &[x])
}
