//! A range of a tensor along one axis. ONNX Slice-13 with a step of 1 along an axis; Gather and Split become it too.
//!
//! Input: a tensor of any element type, whose size along the axis is known. Output: as the input, but for the axis.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The axis that is cut.
    pub axis: usize,
    /// The first element that is kept.
    pub start: usize,
    /// How many are kept.
    pub length: usize,
}

impl Operator for Slice {
    const NAME: &'static str = "slice";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let ty = inputs[0];
        check::axis(self.axis, ty.shape.rank())?;
        let size = check::known("its input", ty, self.axis)?;
        if self.start.checked_add(self.length).is_none_or(|end| end > size) {
            let (start, length) = (self.start, self.length);
            let problem = format!("{length} elements from {start} on are not all within {ty} on axis {}", self.axis);
            return Err(OpError::Attribute(problem));
        }
        let mut dims = ty.shape.dims().to_vec();
        dims[self.axis] = self.length.into();
        Ok(smallvec![TensorType::new(ty.dtype, Shape::new(&dims))])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let (x, dtype) = (inputs[0], inputs[0].dtype());
        let (outer, inner) = x.sizes().split_at(self.axis);
        let (outer, row) = (check::count(outer)?, check::count(&inner[1..])?.saturating_mul(dtype.bytes()));
        let mut bytes = check::room(check::count(&sizes)?.saturating_mul(dtype.bytes()))?;
        for block in 0..outer {
            let first = (block * inner[0] + self.start) * row;
            bytes.extend_from_slice(&x.bytes()[first..][..self.length * row]);
        }
        Ok(smallvec![Tensor::from_bytes(dtype, &sizes, bytes.into())?])
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("axis".to_owned(), Attribute::size(self.axis)),
            ("start".to_owned(), Attribute::size(self.start)),
            ("length".to_owned(), Attribute::size(self.length)),
        ]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            axis: attributes.size("axis", None)?,
            start: attributes.size("start", Some(0))?,
            length: attributes.size("length", None)?,
        })
    }
}
