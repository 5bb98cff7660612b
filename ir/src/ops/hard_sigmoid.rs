//! `min(max(alpha · x + beta, 0), 1)`, elementwise. ONNX HardSigmoid-6. A NaN stays a NaN.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct HardSigmoid {
    /// The slope between the bounds.
    pub alpha: f32,
    /// The value at zero.
    pub beta: f32,
}

impl HardSigmoid {
    /// The activation of the same function.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        Activation::HardSigmoid { alpha: self.alpha, beta: self.beta }
    }
}

impl Operator for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";

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
            ("beta".to_owned(), Attribute::Float(self.beta)),
        ]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            alpha: attributes.float("alpha", Some(0.2))?,
            beta: attributes.float("beta", Some(0.5))?,
        })
    }
}
