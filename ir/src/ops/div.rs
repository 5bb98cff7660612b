//! The elementwise quotient of two tensors, broadcast as numpy does. ONNX Div-14.
//!
//! Both inputs are `f32`, or both `i64` (exporters compute shapes with it; it truncates towards zero, and gives 0 for a division by
//! zero, where runtimes differ).

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes, elementwise};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Div;

impl Operator for Div {
    const NAME: &'static str = "div";

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        Ok(smallvec![elementwise::arithmetic_type(inputs[0], inputs[1])?])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![elementwise::arithmetic(inputs[0], inputs[1], |a, b| a / b, divided)?])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}

/// The quotient of integers.
fn divided(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.wrapping_div(b) }
}
