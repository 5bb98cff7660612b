//! The average over windows. ONNX AveragePool-19.
//!
//! The sum is over the elements under the window. The divisor is their number, or with `count_include_pad` the number of
//! taps on the input or its padding; what rounding the output size up put beyond the padding is never counted.
//!
//! Input: [N, C, H, W]. Output: [N, C, H', W'].

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, Pool, check};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool {
    /// The windows.
    pub pool: Pool,
    /// Whether padding counts as zeros.
    pub count_include_pad: bool,
}

impl Operator for AvgPool {
    const NAME: &'static str = "avg_pool";

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
                let taps_y = vertical.taps(out_y);
                for out_x in 0..out_width {
                    let taps_x = horizontal.taps(out_x);
                    let mut sum = 0.0f64;
                    for tap_y in taps_y.clone() {
                        let line = &image[vertical.position(out_y, tap_y) * width..][..width];
                        sum += taps_x.clone().map(|tap| f64::from(line[horizontal.position(out_x, tap)])).sum::<f64>();
                    }
                    let count = if self.count_include_pad {
                        vertical.counted(out_y) * horizontal.counted(out_x)
                    } else {
                        taps_y.len() * taps_x.len()
                    };
                    result.push(check::round(sum / check::real(count)));
                }
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = self.pool.attributes();
        if self.count_include_pad {
            list.push(("count_include_pad".to_owned(), Attribute::flag(true)));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { pool: Pool::parse(attributes)?, count_include_pad: attributes.flag("count_include_pad")? })
    }
}
