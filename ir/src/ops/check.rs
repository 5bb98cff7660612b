//! Checks and small helpers that the ops' inference and evaluation share.

use super::{OpError, Operator};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, MAX_RANK, TensorType};

/// Checks that a type is one that the program can hold: the rank, the number of elements, the batch held at most once.
pub fn representable(ty: &TensorType) -> Result<(), OpError> {
    if ty.shape.rank() > MAX_RANK {
        return Err(OpError::Type(format!("{ty} has more than {MAX_RANK} dimensions")));
    }
    if ty.shape.dims().iter().filter(|dim| matches!(dim, Dim::Batch(_))).count() > 1 {
        return Err(OpError::Type(format!("{ty} depends on the batch size in more than one dimension")));
    }
    match ty.shape.elements() {
        Some(_) => Ok(()),
        None => Err(OpError::Overflow(format!("{ty} has too many elements"))),
    }
}

/// Checks that an attribute is a finite number.
pub fn finite(name: &str, value: f32) -> Result<(), OpError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(OpError::Attribute(format!("attribute `{name}` must be a finite number, not {value}")))
}

/// Checks that `axis` is one of `rank` axes.
pub fn axis(axis: usize, rank: usize) -> Result<(), OpError> {
    if axis < rank {
        return Ok(());
    }
    Err(OpError::Attribute(format!("axis {axis} is out of range for {rank} dimensions")))
}

/// Checks that axes ascend without repetition and are all below `rank`.
pub fn axes(axes: &[usize], rank: usize) -> Result<(), OpError> {
    if let Some(pair) = axes.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(OpError::Attribute(format!("axes must ascend, but {} is followed by {}", pair[0], pair[1])));
    }
    axes.last().map_or(Ok(()), |last| axis(*last, rank))
}

/// Checks that an input holds `f32`.
pub fn float(what: &str, ty: &TensorType) -> Result<(), OpError> {
    if ty.dtype == DType::F32 {
        return Ok(());
    }
    Err(OpError::Type(format!("computes on f32, but {what} is {ty}")))
}

/// The size of a dimension that may not depend on the batch.
pub fn known(what: &str, ty: &TensorType, axis: usize) -> Result<usize, OpError> {
    match ty.shape.dims().get(axis) {
        Some(Dim::Fixed(size)) => Ok(*size),
        Some(Dim::Batch(_)) => {
            Err(OpError::Type(format!("dimension {axis} of {what}, {ty}, may not depend on the batch size")))
        }
        None => Err(OpError::Type(format!("{what} is {ty}, which has no dimension {axis}"))),
    }
}

/// The batch dimension and the known C, H, W of an `f32` image [N, C, H, W].
pub fn image(ty: &TensorType) -> Result<(Dim, [usize; 3]), OpError> {
    float("its input", ty)?;
    if ty.shape.rank() != 4 {
        return Err(OpError::Type(format!("takes an image [N,C,H,W], but its input is {ty}")));
    }
    let size = |axis| known("its input", ty, axis);
    Ok((ty.shape[0], [size(1)?, size(2)?, size(3)?]))
}

/// Checks that an input is an `f32` vector of this length.
pub fn vector(what: &str, ty: &TensorType, length: usize) -> Result<(), OpError> {
    if ty.dtype == DType::F32 && ty.shape.dims() == [Dim::Fixed(length)] {
        return Ok(());
    }
    Err(OpError::Type(format!("{what} must be f32[{length}] but is {ty}")))
}

/// The product of dimensions: `Fixed`, or `Batch` where one is symbolic.
pub fn product(dims: &[Dim]) -> Result<Dim, OpError> {
    let overflow = || OpError::Overflow(format!("the product of {dims:?}"));
    dims.iter().try_fold(Dim::Fixed(1), |product, dim| match (product, *dim) {
        (Dim::Fixed(a), Dim::Fixed(b)) => a.checked_mul(b).map(Dim::Fixed).ok_or_else(overflow),
        (Dim::Fixed(a), Dim::Batch(b)) | (Dim::Batch(a), Dim::Fixed(b)) => {
            batch_multiple(a.checked_mul(b).ok_or_else(overflow)?)
        }
        (Dim::Batch(_), Dim::Batch(_)) => {
            Err(OpError::Type("the batch size would be multiplied with itself".to_owned()))
        }
    })
}

/// `factor` times the batch. Nothing times the batch is the known size 0.
fn batch_multiple(factor: usize) -> Result<Dim, OpError> {
    Ok(if factor == 0 { Dim::Fixed(0) } else { Dim::Batch(factor) })
}

/// The sizes of an op's only output for these inputs, as its own inference gives them.
pub fn output_sizes(op: &impl Operator, inputs: &[&Tensor]) -> Result<Vec<usize>, OpError> {
    let types: Vec<TensorType> = inputs.iter().map(|tensor| tensor.ty()).collect();
    let outputs = op.infer(&types.iter().collect::<Vec<_>>())?;
    match outputs.first().and_then(|ty| ty.shape.sizes()) {
        Some(sizes) => Ok(sizes),
        None => Err(OpError::Type("evaluation needs known sizes".to_owned())),
    }
}

/// The four sizes of an image or a filter.
pub fn sizes4(sizes: &[usize]) -> Result<[usize; 4], OpError> {
    sizes.try_into().map_err(|_| OpError::Type(format!("needs four dimensions but has {sizes:?}")))
}

/// An empty vector with room for `length` values, or an error where memory does not suffice.
pub fn room<T>(length: usize) -> Result<Vec<T>, OpError> {
    let mut values = Vec::new();
    let failed = |_| OpError::Overflow(format!("there is no memory for {length} elements"));
    values.try_reserve_exact(length).map_err(failed)?;
    Ok(values)
}

/// The number of elements of known sizes.
pub fn count(sizes: &[usize]) -> Result<usize, OpError> {
    let product = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    product.ok_or_else(|| OpError::Overflow(format!("the number of elements of {sizes:?}")))
}

/// The one rounding of the reference: from the accumulator's `f64` to the stored `f32`.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is the purpose")]
pub fn round(value: f64) -> f32 {
    value as f32
}

/// A number of elements as a divisor. Exact below 2⁵³, which [`crate::types::MAX_ELEMENTS`] ensures.
#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub fn real(count: usize) -> f64 {
    count as f64
}
