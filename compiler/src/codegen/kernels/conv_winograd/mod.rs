//! Winograd convolution: `F(m, r)` along each axis with more than one tap, for stride 1, and for stride 2 by parts.
//!
//! An output tile of `m × m` pixels comes from `n × n` input pixels, `n = m + r - 1`, by `n²` products for each pair of
//! channels instead of `m² r²`. The products of many tiles are `n²` matrix products, which take nearly all the time:
//! 1. the input transform of a *block* of tiles, vectorised over channels, into scratch memory `[n²][tile][channel]`;
//! 2. for each panel of output channels: `n²` products with the panel's transformed weights, into `[n²][tile][channel]`;
//! 3. the panel's output transform with the post-ops, stored where it belongs.
//!
//! Weights are packed by panels, transformed, and read front to back once for each block; blocks are as large as the
//! second-level cache allows. Padding and partial tiles cost no copy of the image: tiles at an edge take their pixels
//! through a table of pointers in which pixels outside point at zeros, and store through one in which they point at a
//! place that nobody reads.
//!
//! Operands of a kernel: input, packed weights, the outputs in order, the residuals of the outputs that have one.
//!
//! A convolution of stride 2 on few channels is [folded](fold) into one of stride 1 first.
//!
//! Rooms: [`rational`], [`transform`] (the matrices), [`program`] (their straight-line programs), [`grid`] (both axes on
//! registers), and the kernel: its plan, register tiles, driver and packing.
//!
//! Invariants:
//! 1. Every product of an output element is added by one task in one order: results do not depend on the partition.
//! 2. No byte outside the views that the spec describes is touched; padding is never read.

mod drive;
mod fold;
pub mod grid;
mod grids;
pub mod pack;
mod plan;
pub mod program;
pub mod rational;
mod tile;
pub mod transform;

#[cfg(test)]
mod tests;

pub use pack::{pack, packed_len};

use super::conv_direct::ConvSpec;
use super::{Emitted, Estimate};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;
use crate::codegen::target::Target;

/// Most taps along an axis.
const MOST_TAPS: usize = 7;

/// A convolution with the size of its output tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct WinogradSpec {
    /// The convolution.
    pub conv: ConvSpec,
    /// Output pixels of a tile along each axis with more than one tap (along the others: 1). 2 or more.
    pub m: usize,
}

/// The work of a convolution by this algorithm, in floating-point operations on whole vectors and tiles (padding of
/// channels to vectors is not counted, padding of pixels to tiles is).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Additions and multiplications of the input transform.
    pub input_flops: u64,
    /// Of the matrix products.
    pub product_flops: u64,
    /// Of the output transform.
    pub output_flops: u64,
    /// Bytes of transformed weights, each read once for each block of tiles.
    pub weight_bytes: u64,
    /// Blocks of tiles.
    pub blocks: u64,
}

fn bad(reason: impl Into<String>) -> CodegenError {
    CodegenError::BadSpec { kernel: "conv_winograd", reason: reason.into() }
}

/// Whether a convolution can take this algorithm at all (with some `m`).
///
/// # Errors
/// [`CodegenError::BadSpec`] with the reason: an inconsistent spec, dilations, groups, strides other than 1 (or 2 along
/// both axes on a few channels and a window of at least 3 × 3 taps), a window of a single tap or one of more than seven
/// along an axis, or input channels that are not neighbours in memory (for stride 1).
pub fn supports(conv: &ConvSpec) -> Result<(), CodegenError> {
    conv.validate()?;
    if conv.dilations != [1, 1] {
        return Err(bad("dilations must be 1"));
    }
    let folds = conv.strides == [fold::STRIDE; 2];
    if conv.strides != [1, 1] && !folds {
        return Err(bad("strides must be 1, or 2 along both axes"));
    }
    if folds && (conv.input.channels > fold::MOST_CHANNELS || conv.kernel.iter().any(|&taps| taps < 3)) {
        return Err(bad("strides of 2 need few input channels and a window of at least 3 x 3 taps"));
    }
    if conv.groups != 1 {
        return Err(bad("groups are not supported"));
    }
    if conv.kernel == [1, 1] || conv.kernel.iter().any(|&taps| taps > MOST_TAPS) {
        return Err(bad(format!("a window of {} x {} taps", conv.kernel[0], conv.kernel[1])));
    }
    if !folds && conv.input.channel_stride != 1 && conv.input.channels > 1 {
        return Err(bad(format!(
            "input channels must be neighbours, but their stride is {}",
            conv.input.channel_stride
        )));
    }
    Ok(())
}

/// Emits the kernel. Equal specs share one.
///
/// # Errors
/// [`CodegenError::BadSpec`] as for [`supports`], or if there is no transform of this `m`; otherwise those of
/// [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &WinogradSpec) -> Result<Emitted, CodegenError> {
    linker.shared(format!("{spec:?}"), |linker| {
        let plan = plan::Plan::new(spec, linker.target())?;
        drive::emit(linker, &plan)
    })
}

/// The transform and the register tiles that [`emit`] would choose, for people.
///
/// # Errors
/// As [`emit`].
pub fn describe(spec: &WinogradSpec, target: &Target) -> Result<String, CodegenError> {
    Ok(plan::Plan::new(spec, target)?.name())
}

/// The estimated time.
///
/// # Errors
/// As [`emit`].
pub fn estimate(spec: &WinogradSpec, target: &Target) -> Result<Estimate, CodegenError> {
    Ok(plan::Plan::new(spec, target)?.estimate(target))
}

/// The work of the three parts.
///
/// # Errors
/// As [`emit`].
pub fn cost(spec: &WinogradSpec, target: &Target) -> Result<Cost, CodegenError> {
    Ok(plan::Plan::new(spec, target)?.cost())
}
