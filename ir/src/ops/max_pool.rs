//! The maximum over windows. ONNX MaxPool-12 with one output. Padding is never the maximum; a NaN in the window is, as
//! in PyTorch.
//!
//! Input: [N, C, H, W]. Output: [N, C, H', W'].

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{AttributeReader, Attributes, OpError, Operator, OutputTypes, Pool, check};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool {
    /// The windows.
    pub pool: Pool,
}

impl Operator for MaxPool {
    const NAME: &'static str = "max_pool";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let (batch, [channels, height, width]) = check::image(inputs[0])?;
        let [height, width] = self.pool.output_sizes([height, width])?;
        let shape = Shape::new(&[batch, channels.into(), height.into(), width.into()]);
        Ok(smallvec![TensorType::new(DType::F32, shape)])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [batch, channels, out_height, out_width] = check::sizes4(&sizes)?;
        let [.., height, width] = check::sizes4(inputs[0].sizes())?;
        let x = inputs[0].as_f32()?;
        let [vertical, horizontal] = self.pool.windows([height, width]);
        let mut result = check::room(check::count(&sizes)?)?;
        for plane in 0..batch * channels {
            let image = &x[plane * height * width..][..height * width];
            for out_y in 0..out_height {
                for out_x in 0..out_width {
                    let mut largest = f32::NEG_INFINITY;
                    for tap_y in vertical.taps(out_y) {
                        let line = &image[vertical.position(out_y, tap_y) * width..][..width];
                        for tap_x in horizontal.taps(out_x) {
                            let value = line[horizontal.position(out_x, tap_x)];
                            // Once a NaN, always a NaN: no comparison with one holds.
                            if value > largest || value.is_nan() {
                                largest = value;
                            }
                        }
                    }
                    result.push(largest);
                }
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        self.pool.attributes()
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { pool: Pool::parse(attributes)? })
    }
}
