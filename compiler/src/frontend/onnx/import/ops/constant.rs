//! Constant, ConstantOfShape.

use incept_ir::tensor::{Tensor, byte_length};
use incept_ir::types::DType;

use super::super::context::{Imported, NodeContext, wrong};
use super::super::error::NodeError;
use super::super::table::refuse;

/// The most bytes that a model's ConstantOfShape nodes may make together: what one file could hold.
const MAX_MADE: usize = 1 << 31;

/// Constant, opset 1 to 25, in its numeric forms.
pub(in super::super) fn constant(context: &mut NodeContext<'_>) -> Imported {
    context.takes(0, 0)?;
    for name in ["value_string", "value_strings", "sparse_value"] {
        if context.attributes.has(name) {
            return Err(refuse(format!("a constant given as `{name}`"), "use a dense tensor of numbers"));
        }
    }
    let attributes = &mut context.attributes;
    let mut found = Vec::new();
    found.extend(attributes.tensor("value")?);
    found.extend(attributes.float("value_float")?.map(Tensor::scalar));
    if let Some(values) = attributes.floats("value_floats")? {
        found.push(tensor(Tensor::from_f32(&[values.len()], values.to_vec()))?);
    }
    if let Some(value) = attributes.int("value_int")? {
        found.push(tensor(Tensor::from_i64(&[], vec![value]))?);
    }
    if let Some(values) = attributes.ints("value_ints")? {
        found.push(tensor(Tensor::from_i64(&[values.len()], values.to_vec()))?);
    }
    match (found.pop(), found.is_empty()) {
        (Some(value), true) => Ok(context.draft.constant(context.name, value)),
        (None, _) => Err(NodeError::MissingAttribute { name: "value" }),
        (Some(_), false) => {
            Err(NodeError::Attribute { name: "value".into(), problem: "is given in more than one form".into() })
        }
    }
}

/// ConstantOfShape, opset 9 to 25.
pub(in super::super) fn constant_of_shape(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let sizes = context.ints(0, "shape")?.ok_or(NodeError::MissingInput { slot: 0 })?;
    let size = |one: i64| usize::try_from(one).map_err(|_| wrong("shape", format!("holds {one}, which is no size")));
    let sizes = sizes.into_iter().map(size).collect::<Result<Vec<usize>, _>>()?;
    let value = context.attributes.tensor("value")?.unwrap_or(Tensor::scalar(0.0));
    if value.elements() != 1 {
        let problem = format!("must be one number, but holds {}", value.elements());
        return Err(NodeError::Attribute { name: "value".into(), problem });
    }
    let length =
        byte_length(value.dtype(), &sizes).map_err(|error| wrong("shape", format!("is too large: {error}")))?;
    if !context.draft.account(length, MAX_MADE) {
        return Err(wrong("shape", format!("makes the model's constants larger than {MAX_MADE} bytes together")));
    }
    let filled = value.bytes().repeat(length / value.dtype().bytes());
    let made = tensor(Tensor::from_bytes(value.dtype(), &sizes, filled.into()))?;
    Ok(context.draft.constant(context.name, made))
}

fn tensor(made: Result<Tensor, incept_ir::tensor::TensorError>) -> Result<Tensor, NodeError> {
    made.map_err(|error| NodeError::Op(error.into()))
}

/// Whether a type counts and orders things: shapes and axes are made of these.
pub(super) fn is_integer(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32)
}
