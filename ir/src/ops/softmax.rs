//! Softmax: `exp(x) / Σ exp(x)`, along one axis (ONNX Softmax-13), or over all axes from one on together (before opset
//! 13). Computed on `x − max`, so it does not overflow.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Softmax {
    /// The axis along which the results add up to 1.
    pub axis: usize,
    /// Whether the results add up to 1 over `axis` and all later ones together.
    pub flatten: bool,
}

impl Operator for Softmax {
    const NAME: &'static str = "softmax";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        check::float("its input", inputs[0])?;
        check::axis(self.axis, inputs[0].shape.rank())?;
        Ok(smallvec![inputs[0].clone()])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let x = inputs[0].as_f32()?;
        // The elements that add up to 1 are `length` apart by `step`; there are `step` such rows in each outer block.
        let after = check::count(&sizes[self.axis + 1..])?;
        let (length, step) = if self.flatten { (sizes[self.axis] * after, 1) } else { (sizes[self.axis], after) };
        let mut result = check::room(x.len())?;
        result.resize(x.len(), 0.0f32);
        for block in 0..check::count(&sizes[..self.axis])? {
            for lane in 0..step {
                let at = |index: usize| block * length * step + index * step + lane;
                let largest = (0..length).map(|index| f64::from(x[at(index)])).fold(f64::NEG_INFINITY, f64::max);
                let exponential = |index: usize| (f64::from(x[at(index)]) - largest).exp();
                let sum: f64 = (0..length).map(exponential).sum();
                for index in 0..length {
                    result[at(index)] = check::round(exponential(index) / sum);
                }
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = vec![("axis".to_owned(), Attribute::size(self.axis))];
        if self.flatten {
            list.push(("flatten".to_owned(), Attribute::flag(true)));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { axis: attributes.size("axis", None)?, flatten: attributes.flag("flatten")? })
    }
}
