//! New axes of size 1. ONNX Unsqueeze-13 with constant axes. Any element type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsqueeze {
    /// Where the output has its new axes, ascending.
    pub axes: Vec<usize>,
}

impl Operator for Unsqueeze {
    const NAME: &'static str = "unsqueeze";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let rank = inputs[0].shape.rank() + self.axes.len();
        check::axes(&self.axes, rank)?;
        let mut dims = inputs[0].shape.dims().to_vec();
        for axis in &self.axes {
            // The axes ascend and the last is below the final rank, so each lies within what is there so far.
            dims.insert(*axis, Dim::Fixed(1));
        }
        Ok(smallvec![TensorType::new(inputs[0].dtype, Shape::new(&dims))])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].reshaped(&check::output_sizes(self, inputs)?)?])
    }

    fn attributes(&self) -> Attributes {
        vec![("axes".to_owned(), Attribute::sizes(&self.axes))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        match attributes.sizes("axes")? {
            Some(axes) => Ok(Self { axes }),
            None => Err(OpError::Attribute("attribute `axes` must be a list of integers".to_owned())),
        }
    }
}
