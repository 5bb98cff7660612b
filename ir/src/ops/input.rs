//! A graph input: a value that the caller gives.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// A graph input of this type.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The declared type; its batch may be symbolic.
    pub ty: TensorType,
}

impl Operator for Input {
    const NAME: &'static str = "input";

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        if self.ty.shape.elements().is_none() {
            return Err(OpError::Overflow(format!("{}", self.ty)));
        }
        Ok(smallvec![self.ty.clone()])
    }

    fn evaluate(&self, _inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Err(OpError::Type("an input has no value of its own; the caller gives it".into()))
    }

    fn attributes(&self) -> Attributes {
        vec![("type".into(), Attribute::Word(self.ty.to_string()))]
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Err(OpError::Attribute("an input is written as `input %0 \"name\": type`".into()))
    }
}
