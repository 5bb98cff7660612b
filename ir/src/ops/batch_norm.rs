//! Batch normalisation at inference: `(x − mean) / √(var + epsilon) · scale + bias` for each channel. ONNX
//! BatchNormalization-15 with `training_mode` 0.
//!
//! Inputs: x [N, C, …], then scale, bias, mean and var [C]. Output: as x.

use std::ops::RangeInclusive;

use smallvec::{SmallVec, smallvec};

use super::{Attribute, AttributeReader, Attributes, OpError, Operator, OutputTypes, check};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Operator for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn arity(&self) -> RangeInclusive<usize> {
        5..=5
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
        check::float("its input", inputs[0])?;
        check::finite("epsilon", self.epsilon)?;
        let channels = check::known("its input", inputs[0], 1)?;
        for (what, ty) in ["scale", "bias", "mean", "var"].into_iter().zip(&inputs[1..]) {
            check::vector(what, ty, channels)?;
        }
        Ok(smallvec![inputs[0].clone()])
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
        let sizes = check::output_sizes(self, inputs)?;
        let (x, scale, bias) = (inputs[0].as_f32()?, inputs[1].as_f32()?, inputs[2].as_f32()?);
        let (mean, var) = (inputs[3].as_f32()?, inputs[4].as_f32()?);
        let (channels, plane) = (sizes[1], check::count(&sizes[2..])?);
        let mut result = check::room(x.len())?;
        for image in 0..sizes[0] {
            for channel in 0..channels {
                let [scale, bias, mean, var] =
                    [&scale, &bias, &mean, &var].map(|values| f64::from(values[channel]));
                let deviation = (var + f64::from(self.epsilon)).sqrt();
                let normalised = |x: &f32| check::round((f64::from(*x) - mean) / deviation * scale + bias);
                result.extend(x[(image * channels + channel) * plane..][..plane].iter().map(normalised));
            }
        }
        Ok(smallvec![Tensor::from_f32(&sizes, result)?])
    }

    fn attributes(&self) -> Attributes {
        vec![("epsilon".to_owned(), Attribute::Float(self.epsilon))]
    }

    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self { epsilon: attributes.float("epsilon", Some(1e-5))? })
    }
}
