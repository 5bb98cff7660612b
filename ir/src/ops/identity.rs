//! Identity: its input. ONNX Identity-16. Any element type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity;

impl Operator for Identity {
    const NAME: &'static str = "identity";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        Ok(smallvec![inputs[0].clone()])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].clone()])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
