//! Drops axes of size 1. ONNX Squeeze-13 with constant axes. Any element type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Squeeze {
    /// Which axes of the input are dropped, ascending. Each must be 1 whatever the batch.
    pub axes: Vec<usize>,
}

impl Operator for Squeeze {
    const NAME: &'static str = "squeeze";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let input = inputs[0];
        check::axes(&self.axes, input.shape.rank())?;
        if let Some(axis) = self.axes.iter().find(|axis| input.shape[**axis] != Dim::Fixed(1)) {
            return Err(OpError::Type(format!("axis {axis} of {input} is not 1 and cannot be dropped")));
        }
        let kept = input.shape.dims().iter().enumerate().filter(|(axis, _)| !self.axes.contains(axis));
        let shape: Shape = kept.map(|(_, dim)| *dim).collect();
        Ok(smallvec![TensorType::new(input.dtype, shape)])
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
