//! Tensors one after the other along an axis. ONNX Concat-13.
//!
//! Inputs: one or more of equal element type (any), equal but for the axis. Along the axis all sizes are known, or all are
//! multiples of the batch.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    /// The axis along which the sizes add up.
    pub axis: usize,
}

impl Operator for Concat {
    const NAME: &'static str = "concat";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let first = inputs[0];
        check::axis(self.axis, first.shape.rank())?;
        let mut dims = first.shape.dims().to_vec();
        for ty in &inputs[1..] {
            let fits = ty.dtype == first.dtype
                && ty.shape.rank() == dims.len()
                && ty.shape.dims().iter().zip(&dims).enumerate().all(|(axis, (a, b))| axis == self.axis || a == b);
            if !fits {
                return Err(OpError::Type(format!(
                    "{first} and {ty} cannot be concatenated on axis {}: all else must be equal",
                    self.axis
                )));
            }
            let overflow = || OpError::Overflow(format!("the sizes on axis {} of {first}, {ty}…", self.axis));
            dims[self.axis] = match (dims[self.axis], ty.shape[self.axis]) {
                (Dim::Fixed(a), Dim::Fixed(b)) => Dim::Fixed(a.checked_add(b).ok_or_else(overflow)?),
                (Dim::Batch(a), Dim::Batch(b)) => Dim::Batch(a.checked_add(b).ok_or_else(overflow)?),
                (a, b) => {
                    return Err(OpError::Type(format!(
                        "on axis {}, {a} and {b} do not add up to a multiple of the batch size",
                        self.axis
                    )));
                }
            };
        }
        Ok(smallvec![TensorType::new(first.dtype, Shape::new(&dims))])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let dtype = inputs[0].dtype();
        let outer = check::count(&sizes[..self.axis])?;
        let mut bytes = check::room(check::count(&sizes)?.saturating_mul(dtype.bytes()))?;
        for block in 0..outer {
            for tensor in inputs {
                let length = tensor.bytes().len() / outer;
                bytes.extend_from_slice(&tensor.bytes()[block * length..][..length]);
            }
        }
        Ok(smallvec![Tensor::from_bytes(dtype, &sizes, bytes.into())?])
    }

    fn attributes(&self) -> Attributes {
        vec![("axis".to_owned(), Attribute::size(self.axis))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { axis: attributes.size("axis", None)? })
    }
}
