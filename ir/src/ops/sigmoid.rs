//! `1 / (1 + e⁻ˣ)`, elementwise. ONNX Sigmoid-13.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmoid;

impl Sigmoid {
    /// The activation of the same function.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        Activation::Sigmoid
    }
}

impl Operator for Sigmoid {
    const NAME: &'static str = "sigmoid";

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
