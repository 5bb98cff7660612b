//! Dropout, which at inference passes its input on. ONNX Dropout-13 without the mask. Any element type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// What share of elements training drops; nothing here depends on it.
    pub ratio: f32,
}

impl Operator for Dropout {
    const NAME: &'static str = "dropout";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        check::finite("ratio", self.ratio)?;
        Ok(smallvec![inputs[0].clone()])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].clone()])
    }

    fn attributes(&self) -> Attributes {
        vec![("ratio".to_owned(), Attribute::Float(self.ratio))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { ratio: attributes.float("ratio", Some(0.5))? })
    }
}
