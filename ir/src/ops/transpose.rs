//! The axes in another order. ONNX Transpose-13. Any element type.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check, walk};
use crate::tensor::Tensor;
use crate::types::{Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Transpose {
    /// For each axis of the output, the axis of the input that it is.
    pub perm: Vec<usize>,
}

impl Operator for Transpose {
    const NAME: &'static str = "transpose";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let input = inputs[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..input.shape.rank()) {
            return Err(OpError::Attribute(format!("perm {:?} does not order the axes of {input}", self.perm)));
        }
        let shape: Shape = self.perm.iter().map(|axis| input.shape[*axis]).collect();
        Ok(smallvec![TensorType::new(input.dtype, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let own = walk::strides(inputs[0].sizes());
        let strides: Vec<usize> = self.perm.iter().map(|axis| own[*axis]).collect();
        let (source, width) = (inputs[0].bytes(), inputs[0].dtype().bytes());
        let mut bytes = check::room(source.len())?;
        for offset in walk::offsets(&sizes, &strides)? {
            bytes.extend_from_slice(&source[offset * width..][..width]);
        }
        Ok(smallvec![Tensor::from_bytes(inputs[0].dtype(), &sizes, bytes.into())?])
    }

    fn attributes(&self) -> Attributes {
        vec![("perm".to_owned(), Attribute::sizes(&self.perm))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        match attributes.sizes("perm")? {
            Some(perm) => Ok(Self { perm }),
            None => Err(OpError::Attribute("attribute `perm` must be a list of integers".to_owned())),
        }
    }
}
