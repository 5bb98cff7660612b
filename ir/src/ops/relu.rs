//! Relu: `max(x, 0)`, elementwise. ONNX Relu-14.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Relu;

impl Operator for Relu {
    const NAME: &'static str = "relu";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        elementwise::activated_type(inputs[0], &Activation::Relu)
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        elementwise::activated(inputs[0], &Activation::Relu)
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
