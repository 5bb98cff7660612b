//! Clip: `min(max(x, min), max)`, elementwise. ONNX Clip-13. A NaN stays a NaN; where `min > max`, everything else
//! becomes `max`.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

use super::{Activation, Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// The lower bound; −∞ where open.
    pub min: f32,
    /// The upper bound; +∞ where open.
    pub max: f32,
}

impl Clip {
    /// The activation of the same bounds.
    #[must_use]
    pub const fn activation(&self) -> Activation {
        Activation::Clip { min: self.min, max: self.max }
    }
}

impl Operator for Clip {
    const NAME: &'static str = "clip";

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
        let mut list = Attributes::new();
        if self.min != f32::NEG_INFINITY {
            list.push(("min".to_owned(), Attribute::Float(self.min)));
        }
        if self.max != f32::INFINITY {
            list.push(("max".to_owned(), Attribute::Float(self.max)));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            min: attributes.float("min", Some(f32::NEG_INFINITY))?,
            max: attributes.float("max", Some(f32::INFINITY))?,
        })
    }
}
