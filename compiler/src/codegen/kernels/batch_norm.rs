//! Batch normalisation by itself, where no convolution could take it: `x · scale + shift` for each channel.
//!
//! Operands of a kernel: the output, the input, the scales, the shifts; the last two are packed, one for each channel.

use super::Emitted;
use super::elementwise::{self, ElementwiseSpec, Function};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;

const KERNEL: &str = "batch_norm";

/// A batch normalisation, axis 1 being the channels.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormSpec {
    /// Sizes; rank 2 at least.
    pub sizes: Vec<usize>,
    /// Strides of the output.
    pub out: Vec<usize>,
    /// Strides of the input.
    pub input: Vec<usize>,
}

/// What packing reads, one value for each channel.
#[derive(Debug, Clone, Copy)]
pub struct Statistics<'a> {
    /// The scale.
    pub scale: &'a [f32],
    /// The bias.
    pub bias: &'a [f32],
    /// The mean.
    pub mean: &'a [f32],
    /// The variance.
    pub variance: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Emits a batch normalisation.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`elementwise::emit`].
pub fn emit(linker: &mut Linker, spec: &BatchNormSpec) -> Result<Emitted, CodegenError> {
    let mut channels = vec![0; spec.sizes.len()];
    match channels.get_mut(1) {
        Some(stride) => *stride = 1,
        None => return Err(CodegenError::BadSpec { kernel: KERNEL, reason: "there is no channel axis".to_owned() }),
    }
    let emitted = elementwise::emit(
        linker,
        &ElementwiseSpec {
            function: Function::ScaleShift,
            post: Vec::new(),
            sizes: spec.sizes.clone(),
            out: spec.out.clone(),
            inputs: vec![spec.input.clone(), channels.clone(), channels],
        },
    )?;
    Ok(Emitted { name: format!("{KERNEL}/{}", emitted.name), ..emitted })
}

/// The scales and shifts, computed in f64: `scale / √(variance + epsilon)` and `bias − mean · scale / √(variance + epsilon)`.
///
/// # Errors
/// [`CodegenError::BadSpec`] where the lengths differ.
pub fn pack(statistics: &Statistics<'_>, scales: &mut [f32], shifts: &mut [f32]) -> Result<(), CodegenError> {
    let s = statistics;
    let lengths = [s.scale.len(), s.bias.len(), s.mean.len(), s.variance.len(), shifts.len()];
    if lengths.iter().any(|len| *len != scales.len()) {
        return Err(CodegenError::BadSpec { kernel: KERNEL, reason: "constants have another length".to_owned() });
    }
    for (channel, (scale, shift)) in scales.iter_mut().zip(shifts).enumerate() {
        let factor = f64::from(s.scale[channel]) / (f64::from(s.variance[channel]) + f64::from(s.epsilon)).sqrt();
        *scale = factor as f32;
        *shift = (f64::from(s.bias[channel]) - f64::from(s.mean[channel]) * factor) as f32;
    }
    Ok(())
}
