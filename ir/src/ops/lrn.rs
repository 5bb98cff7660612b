//! Local response normalisation across channels: `x / (bias + alpha / size · Σ x²) ^ beta`. ONNX LRN-13.
//!
//! The sum at channel c is over the channels from `c − ⌊(size − 1)/2⌋` to `c + ⌈(size − 1)/2⌉`, as far as there are such.
//!
//! Input: [N, C, H, W]. Output: as the input.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Lrn {
    /// Channels of a window.
    pub size: usize,
    /// Factor of the sum of squares, before the division by `size`.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added to the scaled sum.
    pub bias: f32,
}

impl Operator for Lrn {
    const NAME: &'static str = "lrn";

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        check::image(inputs[0])?;
        if self.size == 0 {
            return Err(OpError::Attribute("attribute `size` must be at least 1".to_owned()));
        }
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta), ("bias", self.bias)] {
            check::finite(name, value)?;
        }
        Ok(smallvec![inputs[0].clone()])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let [batch, channels, height, width] = check::sizes4(&sizes)?;
        let plane = height * width;
        let x = inputs[0].as_f32()?;
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let scale = f64::from(self.alpha) / check::real(self.size);
        let mut result = check::room(x.len())?;
        for n in 0..batch {
            let image = &x[n * channels * plane..][..channels * plane];
            for channel in 0..channels {
                let window = channel.saturating_sub(before)..channel.saturating_add(after).saturating_add(1).min(channels);
                for pixel in 0..plane {
                    let at = |channel: usize| f64::from(image[channel * plane + pixel]);
                    let squares: f64 = window.clone().map(|channel| at(channel) * at(channel)).sum();
                    let norm = (f64::from(self.bias) + scale * squares).powf(f64::from(self.beta));
                    result.push(check::round(at(channel) / norm));
                }
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("size".to_owned(), Attribute::size(self.size)),
            ("alpha".to_owned(), Attribute::Float(self.alpha)),
            ("beta".to_owned(), Attribute::Float(self.beta)),
            ("bias".to_owned(), Attribute::Float(self.bias)),
        ]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            size: attributes.size("size", None)?,
            alpha: attributes.float("alpha", Some(1e-4))?,
            beta: attributes.float("beta", Some(0.75))?,
            bias: attributes.float("bias", Some(1.0))?,
        })
    }
}
