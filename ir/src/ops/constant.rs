//! A constant: a weight or a value folded at compile time.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// A value known at compile time.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// The value.
    pub tensor: Tensor,
}

impl Operator for Constant {
    const NAME: &'static str = "constant";

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        Ok(smallvec![self.tensor.ty()])
    }

    fn evaluate(&self, _inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![self.tensor.clone()])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Err(OpError::Attribute("a constant is written as `constant %0 \"name\": type = …`".into()))
    }
}
