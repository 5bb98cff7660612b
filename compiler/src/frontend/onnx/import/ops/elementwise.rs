//! Add, Sub, Mul, Div, Sum, activations, Cast, Identity.

use incept_ir::ops::{
    Add, Cast, Clip, Div, HardSigmoid, HardSwish, Identity, LeakyRelu, Mul, Op, Relu, Sigmoid, Sub, Unsqueeze,
};
use incept_ir::types::DType;

use super::super::context::{Imported, NodeContext, axis, wrong};
use super::super::error::NodeError;
use super::super::table::refuse;
use super::super::tensor;
use super::shape_math;

/// Add, opset 7 to 14: numpy broadcasting.
pub(in super::super) fn add(context: &mut NodeContext<'_>) -> Imported {
    binary(context, Add.into())
}

/// Sub, opset 7 to 14: numpy broadcasting.
pub(in super::super) fn sub(context: &mut NodeContext<'_>) -> Imported {
    binary(context, Sub.into())
}

/// Div, opset 7 to 14: numpy broadcasting.
pub(in super::super) fn div(context: &mut NodeContext<'_>) -> Imported {
    binary(context, Div.into())
}

/// Mul, opset 7 to 14: numpy broadcasting.
pub(in super::super) fn mul(context: &mut NodeContext<'_>) -> Imported {
    binary(context, Mul.into())
}

/// Add of opset 6.
pub(in super::super) fn add_along_axis(context: &mut NodeContext<'_>) -> Imported {
    along_axis(context, Add.into())
}

/// Mul of opset 6.
pub(in super::super) fn mul_along_axis(context: &mut NodeContext<'_>) -> Imported {
    along_axis(context, Mul.into())
}

/// Sub of opset 6.
pub(in super::super) fn sub_along_axis(context: &mut NodeContext<'_>) -> Imported {
    along_axis(context, Sub.into())
}

/// Div of opset 6.
pub(in super::super) fn div_along_axis(context: &mut NodeContext<'_>) -> Imported {
    along_axis(context, Div.into())
}

/// Before opset 7 broadcasting had to be asked for, and aligned the second operand's axes with the first's from `axis` on
/// (by default with the last ones).
fn along_axis(context: &mut NodeContext<'_>, op: Op) -> Imported {
    context.takes(2, 2)?;
    let (a, b) = (context.input(0)?, context.input(1)?);
    let broadcast = context.attributes.flag("broadcast")?;
    let given = context.attributes.int("axis")?;
    let (rank, own) = (context.rank(a), context.rank(b));
    if !broadcast {
        if context.ty(a).shape != context.ty(b).shape {
            let problem = format!("have the types {} and {}, but `broadcast` is not set", context.ty(a), context.ty(b));
            return Err(wrong("operands", problem));
        }
        return context.emit(op, &[a, b]);
    }
    let first = match given {
        Some(first) => axis(first, rank)?,
        None => rank.saturating_sub(own),
    };
    let problem = || wrong("axis", format!("is {first}, but the operands have {rank} and {own} dimensions"));
    let behind = rank.checked_sub(first + own).ok_or_else(problem)?;
    if behind == 0 {
        return context.emit(op, &[a, b]);
    }
    let name = format!("{}_aligned", context.name);
    let b = context.emit_as(Unsqueeze { axes: (own..own + behind).collect() }, &name, &[b])?;
    context.emit(op, &[a, b])
}

fn binary(context: &mut NodeContext<'_>, op: Op) -> Imported {
    context.takes(2, 2)?;
    let inputs = [context.input(0)?, context.input(1)?];
    context.emit(op, &inputs)
}

/// Sum, opset 6 to 13: a chain of additions, from the left.
pub(in super::super) fn sum(context: &mut NodeContext<'_>) -> Imported {
    let inputs = context.all_inputs()?;
    let mut total = inputs[0];
    if inputs.len() == 1 {
        return context.emit(Identity, &[total]);
    }
    for (index, input) in inputs.iter().enumerate().skip(1) {
        let last = index + 1 == inputs.len();
        let name = if last { context.name.to_owned() } else { format!("{}_sum{index}", context.name) };
        total = context.emit_as(Add, &name, &[total, *input])?;
    }
    Ok(total)
}

fn unary(context: &mut NodeContext<'_>, op: Op) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    context.emit(op, &[x])
}

/// Relu, opset 6 to 14.
pub(in super::super) fn relu(context: &mut NodeContext<'_>) -> Imported {
    unary(context, Relu.into())
}

/// LeakyRelu, opset 6 to 16.
pub(in super::super) fn leaky_relu(context: &mut NodeContext<'_>) -> Imported {
    let alpha = context.attributes.float("alpha")?.unwrap_or(0.01);
    unary(context, LeakyRelu { alpha }.into())
}

/// Sigmoid, opset 6 to 13.
pub(in super::super) fn sigmoid(context: &mut NodeContext<'_>) -> Imported {
    unary(context, Sigmoid.into())
}

/// HardSigmoid, opset 6 to 22.
pub(in super::super) fn hard_sigmoid(context: &mut NodeContext<'_>) -> Imported {
    let alpha = context.attributes.float("alpha")?.unwrap_or(0.2);
    let beta = context.attributes.float("beta")?.unwrap_or(0.5);
    unary(context, HardSigmoid { alpha, beta }.into())
}

/// HardSwish, opset 14 to 22.
pub(in super::super) fn hard_swish(context: &mut NodeContext<'_>) -> Imported {
    unary(context, HardSwish.into())
}

/// Clip, opset 6 to 10: the bounds are attributes.
pub(in super::super) fn clip_by_attributes(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let min = context.attributes.float("min")?;
    let max = context.attributes.float("max")?;
    clip(context, min, max)
}

/// Clip, opset 11 to 13: the bounds are inputs that must be known.
pub(in super::super) fn clip_by_inputs(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 3)?;
    #[allow(clippy::cast_possible_truncation, reason = "the bounds of f32 values are f32")]
    let min = context.scalar(1, "lower bound")?.map(|bound| bound as f32);
    #[allow(clippy::cast_possible_truncation, reason = "the bounds of f32 values are f32")]
    let max = context.scalar(2, "upper bound")?.map(|bound| bound as f32);
    clip(context, min, max)
}

fn clip(context: &mut NodeContext<'_>, min: Option<f32>, max: Option<f32>) -> Imported {
    let (min, max) = (min.unwrap_or(f32::NEG_INFINITY), max.unwrap_or(f32::INFINITY));
    if min.is_nan() || max.is_nan() {
        return Err(wrong("bounds", "must be numbers, but one is NaN"));
    }
    let x = context.input(0)?;
    // Where the bounds cross, ONNX gives the upper one everywhere.
    context.emit(Clip { min: min.min(max), max }, &[x])
}

/// Identity, opset 1 to 25.
pub(in super::super) fn identity(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    if context.has_batch_counts() {
        return shape_math::keep(context);
    }
    let x = context.input(0)?;
    context.emit(Identity, &[x])
}

/// Cast, opset 6 to 25, among the element types that tensors have. `saturate` and `round_mode` are about 8-bit floats.
pub(in super::super) fn cast(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    context.attributes.int("saturate")?;
    context.attributes.string("round_mode")?;
    let number = context.required_int("to")?;
    let number = i32::try_from(number).unwrap_or(0);
    let to = tensor::dtype(number).map_err(|problem| NodeError::Tensor { name: "to".into(), problem })?;
    if context.has_batch_counts() {
        return match to {
            DType::I64 => shape_math::keep(context),
            other => Err(refuse(format!("a batch size as {other}"), "keep shapes in i64")),
        };
    }
    let x = context.input(0)?;
    context.emit(Cast { to }, &[x])
}
