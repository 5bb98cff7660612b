//! Convolution in two dimensions, with groups and an activation that a pass may fuse. ONNX Conv-11.
//!
//! Inputs: x [N, C, H, W], weights [O, C/group, kh, kw], and optionally a bias [O]. Output: [N, O, H', W'].

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::window::{Window, push_window};
use super::{Activation, Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::{DType, Shape, TensorType};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Vertical, horizontal.
    pub strides: [usize; 2],
    /// Top, left, bottom, right; filled with zeros.
    pub pads: [usize; 4],
    /// Vertical, horizontal.
    pub dilations: [usize; 2],
    /// Groups of channels: each output channel reads the input channels of its group alone.
    pub group: usize,
    /// Applied to the sum and bias.
    pub activation: Option<Activation>,
}

impl Default for Conv {
    /// Stride 1, no padding, no dilation, one group, no activation.
    fn default() -> Self {
        Self { strides: [1, 1], pads: [0; 4], dilations: [1, 1], group: 1, activation: None }
    }
}

impl Conv {
    fn windows(&self, image: [usize; 2], kernel: [usize; 2]) -> [Window; 2] {
        Window::pair(image, kernel, self.strides, self.pads, self.dilations)
    }
}

impl Operator for Conv {
    const NAME: &'static str = "conv";

    fn arity(&self) -> RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        let (batch, [channels, height, width]) = check::image(inputs[0])?;
        let weights = inputs[1];
        check::float("the weights tensor", weights)?;
        if weights.shape.rank() != 4 {
            return Err(OpError::Type(format!("the weights must be [O,I,kh,kw] but are {weights}")));
        }
        let size = |axis| check::known("the weights tensor", weights, axis);
        let (outputs, depth, kernel) = (size(0)?, size(1)?, [size(2)?, size(3)?]);
        let group = self.group;
        if group == 0 {
            return Err(OpError::Attribute("attribute `group` must be at least 1".to_owned()));
        }
        if channels % group != 0 || outputs % group != 0 {
            return Err(OpError::Type(format!(
                "{group} groups do not divide {channels} input channels and {outputs} output channels"
            )));
        }
        if depth != channels / group {
            return Err(OpError::Type(format!(
                "the weights {weights} read {depth} channels, but x {} has {} in each of {group} group(s)",
                inputs[0],
                channels / group
            )));
        }
        if let Some(bias) = inputs.get(2) {
            check::vector("the bias", bias, outputs)?;
        }
        if let Some(activation) = self.activation {
            activation.check()?;
        }
        let [vertical, horizontal] = self.windows([height, width], kernel);
        let shape = [batch, outputs.into(), vertical.outputs(false)?.into(), horizontal.outputs(false)?.into()];
        Ok(smallvec![TensorType::new(DType::F32, Shape::new(&shape))])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [batch, outputs, mut out_height, mut out_width] = check::sizes4(&sizes)?;
        let [_, channels, mut height, mut width] = check::sizes4(inputs[0].sizes())?;
        let [_, depth, kernel_height, kernel_width] = check::sizes4(inputs[1].sizes())?;
        let (x, weights) = (inputs[0].as_f32()?, inputs[1].as_f32()?);
        let bias = inputs.get(2).map(|bias| bias.as_f32()).transpose()?;
        if [kernel_height, kernel_width] == [1, 1] && self.strides == [1, 1] && self.pads == [0; 4] {
            // A pixel is then a function of the same pixel, so the image is as well one long row.
            (height, width) = (1, height * width);
            (out_height, out_width) = (1, out_height * out_width);
        }
        let [vertical, horizontal] = self.windows([height, width], [kernel_height, kernel_width]);
        let plane = height * width;
        let mut result = check::room(check::count(&sizes)?)?;
        let mut row = vec![0.0f64; out_width];
        for n in 0..batch {
            for output in 0..outputs {
                let first_channel = n * channels + output / (outputs / self.group) * depth;
                let start = bias.as_ref().map_or(0.0, |bias| f64::from(bias[output]));
                for out_y in 0..out_height {
                    row.fill(start);
                    for channel in 0..depth {
                        let image = &x[(first_channel + channel) * plane..][..plane];
                        let filter = &weights[(output * depth + channel) * kernel_height * kernel_width..];
                        for tap_y in vertical.taps(out_y) {
                            let line = &image[vertical.position(out_y, tap_y) * width..][..width];
                            let taps = &filter[tap_y * kernel_width..][..kernel_width];
                            accumulate(&mut row, line, taps, &horizontal);
                        }
                    }
                    result.extend(row.iter().map(|sum| match self.activation {
                        Some(activation) => check::round(activation.apply(*sum)),
                        None => check::round(*sum),
                    }));
                }
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        let mut list = Attributes::new();
        push_window(&mut list, self.strides, self.pads, self.dilations);
        if self.group != 1 {
            list.push(("group".to_owned(), Attribute::size(self.group)));
        }
        if let Some(activation) = self.activation {
            list.push(("activation".to_owned(), Attribute::Word(activation.to_string())));
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            strides: attributes.size_array("strides", Some([1, 1]))?,
            pads: attributes.size_array("pads", Some([0; 4]))?,
            dilations: attributes.size_array("dilations", Some([1, 1]))?,
            group: attributes.size("group", Some(1))?,
            activation: attributes.activation()?,
        })
    }
}

/// Adds to each sum of an output row what one line of the image and the filter's taps over it contribute.
fn accumulate(sums: &mut [f64], line: &[f32], taps: &[f32], horizontal: &Window) {
    for (tap, weight) in taps.iter().enumerate() {
        let weight = f64::from(*weight);
        let range = horizontal.outputs_of(tap, sums.len());
        if range.is_empty() {
            continue;
        }
        let line = &line[horizontal.position(range.start, tap)..];
        let sums = &mut sums[range];
        // The split lets the compiler see unit stride, by far the most frequent.
        if horizontal.stride == 1 {
            sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += weight * f64::from(*x));
        } else {
            let line = line.iter().step_by(horizontal.stride);
            sums.iter_mut().zip(line).for_each(|(sum, x)| *sum += weight * f64::from(*x));
        }
    }
}
