//! Depthwise convolution: each output channel sees its own input channel only, so a tile works on vectors of channels.
//!
//! Everything around the tile (panels, tasks, clipping, edge variants, packing, post-ops) is [`super::conv_direct`]'s,
//! which picks this tile by itself; what differs lives here: when it applies, and one tap of the tile.

use super::conv_direct::ConvSpec;
use crate::codegen::vector::{Addr, Asm, V};

/// Vectors of channels in a panel; one more would only shorten the row of pixels that a weight is used for.
pub(super) const VECTORS: usize = 2;

/// Whether a convolution is depthwise with one filter a channel and its input channels are neighbours in memory.
#[must_use]
pub fn applies(spec: &ConvSpec) -> bool {
    let channels = spec.input.channels;
    spec.groups == channels && channels > 1 && spec.out_channels() == channels && spec.input.channel_stride == 1
}

/// One tap: `sums[pixel] += weights * input[pixel]` for the pixels that are inside; the last vector has `last_lanes`.
pub(super) fn tap(
    a: &mut dyn Asm,
    sums: &[(usize, &[V])],
    weights: &[V],
    (input, pixel_step): (Addr, i64),
    last_lanes: usize,
) {
    let vector = 4 * a.lanes() as i64;
    for (pixel, sums) in sums {
        for (v, (sum, weights)) in sums.iter().zip(weights).enumerate() {
            let from = input.offset(*pixel as i64 * pixel_step + v as i64 * vector);
            if v + 1 == sums.len() && last_lanes < a.lanes() {
                let x = a.vec();
                a.load_first(x, from, last_lanes);
                a.fma(*sum, x, *weights);
                a.free(x);
            } else {
                a.fma_mem(*sum, *weights, from);
            }
        }
    }
}
