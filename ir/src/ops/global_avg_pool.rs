//! The average over a whole plane. ONNX GlobalAveragePool-1.
//!
//! Input: [N, C, H, W] with at least one pixel. Output: [N, C, 1, 1].

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalAvgPool;

impl Operator for GlobalAvgPool {
    const NAME: &'static str = "global_avg_pool";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let (batch, [channels, height, width]) = check::image(inputs[0])?;
        if height == 0 || width == 0 {
            return Err(OpError::Type(format!("there is no average over no pixels: its input is {}", inputs[0])));
        }
        let shape = Shape::new(&[batch, channels.into(), 1.into(), 1.into()]);
        Ok(smallvec![TensorType::new(DType::F32, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [.., height, width] = check::sizes4(inputs[0].sizes())?;
        let x = inputs[0].as_f32()?;
        let plane = height * width;
        let mut result = check::room(check::count(&sizes)?)?;
        result.extend(x.chunks_exact(plane.max(1)).map(|pixels| {
            check::round(pixels.iter().copied().map(f64::from).sum::<f64>() / check::real(plane))
        }));
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        Vec::new()
    }

    fn parse(_attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self)
    }
}
