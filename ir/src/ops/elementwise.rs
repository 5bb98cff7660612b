//! What elementwise ops share: type checks, mapping and numpy's broadcasting.

use smallvec::{SmallVec, smallvec};

use super::{Activation, OpError, OutputTypes, check, walk};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, Shape, TensorType};

/// Checks that an input holds `f32`, the one type that activations have.
///
/// # Errors
/// Where it holds something else.
pub fn float_input(ty: &TensorType) -> Result<(), OpError> {
    check::float("its input", ty)
}

/// The type of an op of one input that is an activation: the input's.
///
/// # Errors
/// Where the input does not hold `f32`, or a parameter of the activation makes no sense.
pub fn activated_type(ty: &TensorType, activation: &Activation) -> Result<OutputTypes, OpError> {
    float_input(ty)?;
    activation.check()?;
    Ok(smallvec![ty.clone()])
}

/// Computes an op of one input that is an activation.
///
/// # Errors
/// Where the tensor is not `f32`.
pub fn activated(x: &Tensor, activation: &Activation) -> Result<SmallVec<[Tensor; 1]>, OpError> {
    Ok(smallvec![map(x, |x| activation.apply(x))?])
}

/// Applies a function to every element, in `f64`, rounding once.
///
/// # Errors
/// Where the tensor is not `f32`.
pub fn map(tensor: &Tensor, function: impl Fn(f64) -> f64) -> Result<Tensor, OpError> {
    let values = tensor.as_f32()?;
    let mut result = check::room(values.len())?;
    result.extend(values.iter().map(|value| check::round(function(f64::from(*value)))));
    Ok(Tensor::from_f32(tensor.sizes(), result)?)
}

/// The dimensions of two operands broadcast against each other as numpy does: aligned at the last axis, and along each
/// axis equal or one of them 1. A symbolic batch fits itself and 1, for every batch size.
///
/// # Errors
/// Where two dimensions do not fit.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, OpError> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[Dim], axis: usize| match (axis + dims.len()).checked_sub(rank) {
        Some(own) => dims[own],
        None => Dim::Fixed(1),
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (a, b) if a == b => Ok(a),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Ok(other),
            _ => {
                let (a, b) = (Shape::new(a), Shape::new(b));
                Err(OpError::Type(format!("{a} and {b} do not broadcast: they differ on axis {axis} of the result")))
            }
        })
        .collect()
}

/// The type of an arithmetic op of two operands. Both are `f32`, or both `i64` (exporters compute shapes with it).
///
/// # Errors
/// Where the element types differ or are others, or the shapes do not broadcast.
pub fn arithmetic_type(a: &TensorType, b: &TensorType) -> Result<TensorType, OpError> {
    if a.dtype != b.dtype {
        return Err(OpError::Type(format!("its inputs differ in element type: {a} and {b}")));
    }
    if !matches!(a.dtype, DType::F32 | DType::I64) {
        return Err(OpError::Type(format!("computes on f32 or i64, but its input is {a}")));
    }
    Ok(TensorType::new(a.dtype, broadcast(a.shape.dims(), b.shape.dims())?))
}

/// Computes an arithmetic op: `f32` in `f64` with one rounding, `i64` in itself.
///
/// # Errors
/// Where the tensors do not hold one of these two types or do not broadcast.
pub fn arithmetic(
    a: &Tensor,
    b: &Tensor,
    float: impl Fn(f64, f64) -> f64,
    integer: impl Fn(i64, i64) -> i64,
) -> Result<Tensor, OpError> {
    let ty = arithmetic_type(&a.ty(), &b.ty())?;
    let Some(sizes) = ty.shape.sizes() else {
        return Err(OpError::Type("evaluation needs known sizes".to_owned()));
    };
    let (left, right) = (positions(a, &sizes)?, positions(b, &sizes)?);
    let pairs = left.iter().zip(right.iter()).map(|(left, right)| (*left, *right));
    if ty.dtype == DType::I64 {
        let (a, b) = (a.to_i64()?, b.to_i64()?);
        let mut result = check::room(left.len())?;
        result.extend(pairs.map(|(left, right)| integer(a[left], b[right])));
        return Ok(Tensor::from_i64(&sizes, result)?);
    }
    let (a, b) = (a.as_f32()?, b.as_f32()?);
    let mut result = check::room(left.len())?;
    result.extend(pairs.map(|(left, right)| check::round(float(f64::from(a[left]), f64::from(b[right])))));
    Ok(Tensor::from_f32(&sizes, result)?)
}

/// For each element of the result, which element of the tensor it reads.
fn positions(tensor: &Tensor, sizes: &[usize]) -> Result<Vec<usize>, OpError> {
    walk::offsets(sizes, &walk::broadcast_strides(tensor.sizes(), sizes))
}
