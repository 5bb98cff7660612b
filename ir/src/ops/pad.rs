//! A border of one value. ONNX Pad-13 with mode `constant`, constant pads and none negative.
//!
//! Input: `f32` of any rank. A dimension that depends on the batch cannot be padded.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check, walk};
use crate::tensor::Tensor;
use crate::types::{DType, Dim, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Pad {
    /// For each axis, how much is added at its begin and at its end.
    pub pads: Vec<[usize; 2]>,
    /// What it is filled with; any number or NaN.
    pub value: f32,
}

impl Operator for Pad {
    const NAME: &'static str = "pad";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let input = inputs[0];
        check::float("its input", input)?;
        if self.pads.len() != input.shape.rank() {
            return Err(OpError::Attribute(format!("has pads for {} axes, but its input is {input}", self.pads.len())));
        }
        let padded = |(dim, [begin, end]): (&Dim, &[usize; 2])| match dim {
            dim if [*begin, *end] == [0, 0] => Ok(*dim),
            Dim::Fixed(size) => {
                let sum = begin.checked_add(*end).and_then(|pads| pads.checked_add(*size));
                sum.map(Dim::Fixed).ok_or_else(|| OpError::Overflow(format!("{begin} + {size} + {end}")))
            }
            Dim::Batch(_) => Err(OpError::Type(format!("cannot pad {input} where it depends on the batch size"))),
        };
        let shape: Result<Shape, OpError> = input.shape.dims().iter().zip(&self.pads).map(padded).collect();
        Ok(smallvec![TensorType::new(DType::F32, shape?)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let count = check::count(&sizes)?;
        let mut result = check::room(count)?;
        result.resize(count, self.value);
        let strides = walk::strides(&sizes);
        let first: usize = self.pads.iter().zip(&strides).map(|([begin, _], stride)| begin * stride).sum();
        let places = walk::offsets(inputs[0].sizes(), &strides)?;
        for (place, value) in places.into_iter().zip(inputs[0].as_f32()?.iter()) {
            result[first + place] = *value;
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = vec![("pads".to_owned(), Attribute::sizes(self.pads.as_flattened()))];
        // By bits: -0 is another value than 0.
        if self.value.to_bits() != 0 {
            list.push(("value".to_owned(), Attribute::Float(self.value)));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        let pads = attributes.sizes("pads")?.unwrap_or_default();
        let (pairs, []) = pads.as_chunks::<2>() else {
            return Err(OpError::Attribute("attribute `pads` must hold a begin and an end for each axis".to_owned()));
        };
        Ok(Self { pads: pairs.to_vec(), value: attributes.float("value", Some(0.0))? })
    }
}
