//! `x` where it is not negative, else `alpha · x`, elementwise. ONNX LeakyRelu-16. A NaN stays a NaN.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakyRelu {
    /// The slope below zero.
    pub alpha: f32,
}

impl LeakyRelu {
    /// The activation of the same function.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        Activation::LeakyRelu { alpha: self.alpha }
    }
}

impl Operator for LeakyRelu {
    const NAME: &'static str = "leaky_relu";

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
        vec![
            ("alpha".to_owned(), Attribute::Float(self.alpha)),
        ]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            alpha: attributes.float("alpha", Some(0.01))?,
        })
    }
}
