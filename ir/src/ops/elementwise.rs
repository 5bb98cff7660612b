//! What elementwise ops share: type checks, mapping and broadcasting.

use super::OpError;
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// Checks that an input holds `f32`, the one type that activations have.
///
/// # Errors
/// Where it holds something else.
pub fn float_input(ty: &TensorType) -> Result<(), OpError> {
    if ty.dtype == DType::F32 {
        return Ok(());
    }
    Err(OpError::Type(format!("computes on f32, but its input is {ty}")))
}

/// Applies a function to every element, in `f64`, rounding once.
///
/// # Errors
/// Where the tensor is not `f32`.
#[allow(clippy::cast_possible_truncation, reason = "the one rounding of the reference")]
pub fn map(tensor: &Tensor, function: impl Fn(f64) -> f64) -> Result<Tensor, OpError> {
    let values = tensor.as_f32()?.iter().map(|value| function(f64::from(*value)) as f32).collect();
    Ok(Tensor::from_f32(tensor.sizes(), values)?)
}
