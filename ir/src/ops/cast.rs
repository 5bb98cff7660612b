//! Another element type for the same values. ONNX Cast-13; see [`Tensor::cast`] for how values convert.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes};
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    /// The output's element type.
    pub to: DType,
}

impl Operator for Cast {
    const NAME: &'static str = "cast";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        Ok(smallvec![TensorType::new(self.to, inputs[0].shape.clone())])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        Ok(smallvec![inputs[0].cast(self.to)?])
    }

    fn attributes(&self) -> Attributes {
        vec![("to".to_owned(), Attribute::Word(self.to.name().to_owned()))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        let name = attributes.word("to")?.unwrap_or_default();
        match DType::parse(&name) {
            Some(to) => Ok(Self { to }),
            None => Err(OpError::Attribute(format!("attribute `to` must be an element type, not `{name}`"))),
        }
    }
}
