//! A matrix of the same elements: the axes before `axis` together, and the rest together. ONNX Flatten-13. Any element
//! type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Flatten {
    /// The first axis that becomes a column; up to the rank.
    pub axis: usize,
}

impl Operator for Flatten {
    const NAME: &'static str = "flatten";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let dims = inputs[0].shape.dims();
        let Some((rows, columns)) = dims.split_at_checked(self.axis) else {
            return Err(OpError::Attribute(format!("axis {} is out of range for {}", self.axis, inputs[0])));
        };
        let shape = Shape::new(&[check::product(rows)?, check::product(columns)?]);
        Ok(smallvec![TensorType::new(inputs[0].dtype, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].reshaped(&check::output_sizes(self, inputs)?)?])
    }

    fn attributes(&self) -> Attributes {
        vec![("axis".to_owned(), Attribute::size(self.axis))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { axis: attributes.size("axis", Some(1))? })
    }
}
