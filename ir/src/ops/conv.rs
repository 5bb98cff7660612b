//! Convolution in two dimensions, with groups, and with a residual and activations that passes may fuse. ONNX Conv-11.
//!
//! Inputs: x [N, C, H, W], weights [O, C/group, kh, kw], optionally a bias [O], and last the residual [N, O, H', W'] where
//! there is one. Outputs: [N, O, H', W'], or that cut into successive ranges of channels, each with an activation of its
//! own. The sum of products, bias and residual is rounded once, after the activation.
//!
//! In dumps, `outputs=[64,96,16]` are the channels of the ranges; `activation` is that of all of them, `activation1` that of
//! the second.

use std::ops::RangeInclusive;

use smallvec::SmallVec;

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
    /// Whether the last input is added, before the activation.
    pub residual: bool,
    /// Applied last; `None` where there are ranges.
    pub activation: Option<Activation>,
    /// Successive ranges of output channels, each an output of its own; none: one output holds all channels.
    pub ranges: Vec<ConvRange>,
}

/// A range of a convolution's output channels that is an output of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvRange {
    /// How many channels.
    pub channels: usize,
    /// Applied to them last.
    pub activation: Option<Activation>,
}

impl Default for Conv {
    /// Stride 1, no padding, no dilation, one group, one output, no residual, no activation.
    fn default() -> Self {
        Self {
            strides: [1, 1],
            pads: [0; 4],
            dilations: [1, 1],
            group: 1,
            residual: false,
            activation: None,
            ranges: Vec::new(),
        }
    }
}

impl Conv {
    pub(super) fn windows(&self, image: [usize; 2], kernel: [usize; 2]) -> [Window; 2] {
        Window::pair(image, kernel, self.strides, self.pads, self.dilations)
    }

    /// Whether a convolution with this many inputs has a bias, which is then input 2.
    #[must_use]
    pub fn has_bias(&self, inputs: usize) -> bool {
        inputs > 2 + usize::from(self.residual)
    }

    /// The activation of each output.
    #[must_use]
    pub fn activations(&self) -> Vec<Option<Activation>> {
        match self.ranges.as_slice() {
            [] => vec![self.activation],
            ranges => ranges.iter().map(|range| range.activation).collect(),
        }
    }

    /// The channels of each output of a convolution with this many.
    fn channels(&self, outputs: usize) -> Vec<usize> {
        match self.ranges.as_slice() {
            [] => vec![outputs],
            ranges => ranges.iter().map(|range| range.channels).collect(),
        }
    }

    /// Checks that the ranges are what all output channels are cut into.
    fn check_ranges(&self, outputs: usize) -> Result<(), OpError> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        if self.activation.is_some() {
            return Err(OpError::Attribute("each range of outputs has an activation of its own".to_owned()));
        }
        if self.residual {
            return Err(OpError::Attribute("a residual is not added to several outputs".to_owned()));
        }
        let sum = self.ranges.iter().try_fold(0usize, |sum, range| sum.checked_add(range.channels));
        if sum != Some(outputs) {
            let channels = self.channels(outputs);
            return Err(OpError::Type(format!("the outputs' channels {channels:?} do not add up to {outputs}")));
        }
        Ok(())
    }
}

impl Operator for Conv {
    const NAME: &'static str = "conv";

    fn arity(&self) -> RangeInclusive<usize> {
        if self.residual { 3..=4 } else { 2..=3 }
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
        if self.has_bias(inputs.len()) {
            check::vector("the bias", inputs[2], outputs)?;
        }
        self.activations().into_iter().flatten().try_for_each(Activation::check)?;
        self.check_ranges(outputs)?;
        let [vertical, horizontal] = self.windows([height, width], kernel);
        let (height, width) = (vertical.outputs(false)?, horizontal.outputs(false)?);
        let output = |channels: usize| {
            TensorType::new(DType::F32, Shape::new(&[batch, channels.into(), height.into(), width.into()]))
        };
        if let (true, Some(residual)) = (self.residual, inputs.last()) {
            let wanted = output(outputs);
            if **residual != wanted {
                return Err(OpError::Type(format!("the residual must be {wanted} but is {residual}")));
            }
        }
        Ok(self.channels(outputs).into_iter().map(output).collect())
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [batch, _, mut out_height, mut out_width] = check::sizes4(&sizes)?;
        let outputs = inputs[1].sizes()[0];
        let image = [out_height, out_width];
        let [_, channels, mut height, mut width] = check::sizes4(inputs[0].sizes())?;
        let [_, depth, kernel_height, kernel_width] = check::sizes4(inputs[1].sizes())?;
        let (x, weights) = (inputs[0].as_f32()?, inputs[1].as_f32()?);
        let bias = if self.has_bias(inputs.len()) { Some(inputs[2].as_f32()?) } else { None };
        let residual = match inputs.last() {
            Some(residual) if self.residual => Some(residual.as_f32()?),
            _ => None,
        };
        if [kernel_height, kernel_width] == [1, 1] && self.strides == [1, 1] && self.pads == [0; 4] {
            // A pixel is then a function of the same pixel, so the image is as well one long row.
            (height, width) = (1, height * width);
            (out_height, out_width) = (1, out_height * out_width);
        }
        let [vertical, horizontal] = self.windows([height, width], [kernel_height, kernel_width]);
        let plane = height * width;
        let mut results: Vec<(usize, Option<Activation>, Vec<f32>)> = Vec::new();
        for (channels, activation) in self.channels(outputs).into_iter().zip(self.activations()) {
            results.push((channels, activation, check::room(check::count(&[batch, channels, image[0], image[1]])?)?));
        }
        let mut row = vec![0.0f64; out_width];
        for n in 0..batch {
            let ends = results.iter().enumerate().flat_map(|(index, (channels, ..))| vec![index; *channels]);
            for (output, index) in ends.collect::<Vec<usize>>().into_iter().enumerate() {
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
                    if let Some(residual) = &residual {
                        let first = ((n * outputs + output) * out_height + out_y) * out_width;
                        row.iter_mut().zip(&residual[first..]).for_each(|(sum, x)| *sum += f64::from(*x));
                    }
                    let (_, activation, result) = &mut results[index];
                    result.extend(row.iter().map(|sum| match activation {
                        Some(activation) => check::round(activation.apply(*sum)),
                        None => check::round(*sum),
                    }));
                }
            }
        }
        let mut tensors = SmallVec::new();
        for (channels, _, result) in results {
            tensors.push(Tensor::from_f32(&[batch, channels, image[0], image[1]], result)?);
        }
        Ok(tensors)
    }

    fn attributes(&self) -> Attributes {
        let mut list = Attributes::new();
        push_window(&mut list, self.strides, self.pads, self.dilations);
        if self.group != 1 {
            list.push(("group".to_owned(), Attribute::size(self.group)));
        }
        if self.residual {
            list.push(("residual".to_owned(), Attribute::flag(true)));
        }
        if !self.ranges.is_empty() {
            list.push(("outputs".to_owned(), Attribute::sizes(&self.channels(0))));
        }
        let activations = self.activations();
        let common = self.ranges.is_empty() || activations.iter().all(|activation| *activation == activations[0]);
        for (index, activation) in activations.into_iter().enumerate().take(if common { 1 } else { usize::MAX }) {
            if let Some(activation) = activation {
                let name = if common { "activation".to_owned() } else { format!("activation{index}") };
                list.push((name, Attribute::Word(activation.to_string())));
            }
        }
        list
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        let mut conv = Self {
            strides: attributes.size_array("strides", Some([1, 1]))?,
            pads: attributes.size_array("pads", Some([0; 4]))?,
            dilations: attributes.size_array("dilations", Some([1, 1]))?,
            group: attributes.size("group", Some(1))?,
            residual: attributes.flag("residual")?,
            activation: attributes.activation("activation")?,
            ranges: Vec::new(),
        };
        let Some(channels) = attributes.sizes("outputs")? else { return Ok(conv) };
        if channels.is_empty() {
            return Err(OpError::Attribute("attribute `outputs` must name the channels of at least one".to_owned()));
        }
        let common = conv.activation.take();
        for (index, channels) in channels.into_iter().enumerate() {
            let own = attributes.activation(&format!("activation{index}"))?;
            conv.ranges.push(ConvRange { channels, activation: own.or(common) });
        }
        Ok(conv)
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
