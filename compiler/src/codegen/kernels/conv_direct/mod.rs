//! Direct convolution: an implicit GEMM with M = output pixels, N = output channels, K = taps × input channels.
//!
//! No im2col: a tile is a few neighbouring output pixels of a row times a few vectors of output channels, kept in
//! registers over all of K. Weights are packed in panels (one panel: the channels of one tile) so that they are read
//! front to back; inputs are read by scalar broadcasts, so their channel stride is arbitrary (the stem reads NCHW).
//!
//! Operands of a kernel: input, packed weights, the outputs in order, the residuals of the outputs that have one.
//!
//! Invariants:
//! 1. Every product of an output element is added by one task in one order: results do not depend on the partition.
//! 2. No byte outside the views that the spec describes is touched; padding is never read.

mod drive;
pub mod pack;
pub(super) mod plan;
mod tile;

#[cfg(test)]
pub(super) mod tests;

pub use pack::{pack, packed_len};

use super::window::Axis;
use super::{Emitted, Estimate};
use crate::codegen::CodegenError;
use crate::codegen::epilogue::PostOp;
use crate::codegen::link::Linker;
use crate::codegen::target::Target;

/// Where a tensor's elements lie: strides counted in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelStrides {
    /// From one image to the next.
    pub n: usize,
    /// From one row to the next.
    pub h: usize,
    /// From one pixel to the next.
    pub w: usize,
}

/// The input of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvInput {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Strides of images, rows and pixels.
    pub strides: PixelStrides,
    /// From one channel to the next: 1 for NHWC.
    pub channel_stride: usize,
}

/// A range of output channels with a destination of its own; channels are neighbours in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvOutput {
    /// How many channels.
    pub channels: usize,
    /// Strides of images, rows and pixels; a pixel stride above `channels` stores into a slice.
    pub strides: PixelStrides,
    /// Strides of the residual operand, if this output has one.
    pub residual: Option<PixelStrides>,
    /// What is applied to the results.
    pub post: Vec<PostOp>,
}

/// A convolution, independent of any graph.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvSpec {
    /// Images.
    pub batch: usize,
    /// The input.
    pub input: ConvInput,
    /// Output rows.
    pub out_height: usize,
    /// Output pixels in a row.
    pub out_width: usize,
    /// The outputs: successive ranges of output channels.
    pub outputs: Vec<ConvOutput>,
    /// Taps, vertical and horizontal.
    pub kernel: [usize; 2],
    /// Strides, vertical and horizontal.
    pub strides: [usize; 2],
    /// Dilations, vertical and horizontal.
    pub dilations: [usize; 2],
    /// Padding above and to the left. What lies below and to the right follows from the output size.
    pub pads: [usize; 2],
    /// Groups; several outputs need one group.
    pub groups: usize,
}

impl ConvSpec {
    /// All output channels.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.outputs.iter().fold(0usize, |sum, output| sum.saturating_add(output.channels))
    }

    /// Input channels of a group.
    #[must_use]
    pub fn group_channels(&self) -> usize {
        self.input.channels / self.groups.max(1)
    }

    /// Multiply-adds of the whole convolution, padding included; saturates.
    #[must_use]
    pub fn macs(&self) -> u64 {
        [
            self.batch,
            self.out_height,
            self.out_width,
            self.out_channels(),
            self.group_channels(),
            self.kernel[0],
            self.kernel[1],
        ]
        .into_iter()
        .fold(1u64, |product, factor| product.saturating_mul(factor as u64))
    }

    fn vertical(&self) -> Axis {
        self.axis(0, self.input.height, self.out_height)
    }

    fn horizontal(&self) -> Axis {
        self.axis(1, self.input.width, self.out_width)
    }

    fn axis(&self, index: usize, input: usize, output: usize) -> Axis {
        Axis {
            input,
            output,
            kernel: self.kernel[index],
            stride: self.strides[index],
            dilation: self.dilations[index],
            pad: self.pads[index],
        }
    }

    /// Checks that all sizes are positive and consistent and that no address computation can overflow.
    ///
    /// # Errors
    /// [`CodegenError::BadSpec`] with the reason.
    pub fn validate(&self) -> Result<(), CodegenError> {
        let bad = |reason: &str| CodegenError::BadSpec { kernel: "conv_direct", reason: reason.to_owned() };
        let i = &self.input;
        let positive = [self.batch, i.channels, i.height, i.width, self.out_height, self.out_width, self.groups];
        let positive = positive.into_iter().chain(self.kernel).chain(self.strides).chain(self.dilations);
        if positive.chain(self.outputs.iter().map(|output| output.channels)).any(|size| size == 0) {
            return Err(bad("a size is zero"));
        }
        if self.outputs.is_empty() || (self.groups > 1 && self.outputs.len() > 1) {
            return Err(bad("one output is needed, and groups allow no more than one"));
        }
        if !i.channels.is_multiple_of(self.groups) || !self.out_channels().is_multiple_of(self.groups) {
            return Err(bad("channels are not a multiple of the groups"));
        }
        // The extent of every tensor in bytes, and of the window's reach, stays far from the limits of 64-bit addresses.
        const LIMIT: usize = 1 << 46;
        let extent = |dims: &[(usize, usize)]| {
            dims.iter()
                .try_fold(4usize, |sum, (size, stride)| sum.checked_add(size.checked_mul(*stride)?.checked_mul(4)?))
                .filter(|bytes| *bytes < LIMIT)
                .ok_or_else(|| bad("a tensor is too large"))
        };
        let images = |s: &PixelStrides| [(self.batch, s.n), (self.out_height, s.h), (self.out_width, s.w)];
        let s = &i.strides;
        let reach = |index: usize, output: usize, size: usize| {
            let reach = output.checked_mul(self.strides[index]).and_then(|reach| {
                let window = self.kernel[index].checked_mul(self.dilations[index])?;
                reach.checked_add(window)?.checked_add(self.pads[index])?.checked_add(size)
            });
            reach.ok_or_else(|| bad("the window reaches too far"))
        };
        let (rows, pixels) = (reach(0, self.out_height, i.height)?, reach(1, self.out_width, i.width)?);
        extent(&[(self.batch, s.n), (rows, s.h), (pixels, s.w), (i.channels, i.channel_stride)])?;
        for output in &self.outputs {
            for strides in [Some(&output.strides), output.residual.as_ref()].into_iter().flatten() {
                extent(&images(strides))?;
            }
        }
        if self.outputs.iter().any(|output| output.post.contains(&PostOp::Add) && output.residual.is_none()) {
            return Err(bad("a residual is added that an output does not have"));
        }
        Ok(())
    }
}

/// Emits the kernel of a convolution; a depthwise one gets the tile of [`super::depthwise`]. Equal specs share one kernel.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &ConvSpec) -> Result<Emitted, CodegenError> {
    linker.shared(format!("{spec:?}"), |linker| {
        let plan = plan::Plan::new(spec, linker.target())?;
        drive::emit(linker, &plan)
    })
}

/// The estimated time.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn estimate(spec: &ConvSpec, target: &Target) -> Result<Estimate, CodegenError> {
    Ok(plan::Plan::new(spec, target)?.estimate(target))
}

/// The tiles that [`emit`] would choose, for people: `pixels x vectors` of each kind of panel.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn describe(spec: &ConvSpec, target: &Target) -> Result<String, CodegenError> {
    Ok(plan::Plan::new(spec, target)?.name())
}
