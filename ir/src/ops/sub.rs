//! The elementwise difference of two tensors, broadcast as numpy does. ONNX Sub-14.
//!
//! Both inputs are `f32`, or both `i64` (exporters compute shapes with it; it wraps on overflow, as runtimes do).

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Sub;

impl Operator for Sub {
    const NAME: &'static str = "sub";

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        Ok(smallvec![elementwise::arithmetic_type(inputs[0], inputs[1])?])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![elementwise::arithmetic(inputs[0], inputs[1], |a, b| a - b, i64::wrapping_sub)?])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
