//! `x · min(max(x / 6 + 1/2, 0), 1)`, elementwise. ONNX HardSwish-14.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct HardSwish;

impl HardSwish {
    /// The activation of the same function.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        Activation::HardSwish
    }
}

impl Operator for HardSwish {
    const NAME: &'static str = "hard_swish";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        elementwise::activated_type(inputs[0], &self.activation())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        elementwise::activated(inputs[0], &self.activation())
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
