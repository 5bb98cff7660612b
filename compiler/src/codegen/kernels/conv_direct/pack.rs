//! The layout of packed weights: for each group, for each panel: the bias of its channels, then `[kh][kw][c][channel]`,
//! channels padded with zeros to whole vectors. Read front to back by a tile.

use super::ConvSpec;
use super::plan::Plan;
use crate::codegen::CodegenError;
use crate::codegen::kernels::LINE;
use crate::codegen::target::Target;

/// How many floats [`pack`] writes.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn packed_len(spec: &ConvSpec, target: &Target) -> Result<usize, CodegenError> {
    let plan = Plan::new(spec, target)?;
    Ok(plan.group_floats * plan.spec.groups)
}

/// Packs weights `[O, I/groups, kh, kw]` and the bias `[O]` (zeros if there is none) for the kernel that
/// [`super::emit`] makes of the same spec and target.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec, or if a slice's length does not fit it.
pub fn pack(
    spec: &ConvSpec,
    target: &Target,
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), CodegenError> {
    let plan = Plan::new(spec, target)?;
    let bad = |reason: String| CodegenError::BadSpec { kernel: "conv_direct", reason };
    let [rows, taps] = spec.kernel;
    let (channels, depth, groups) = (spec.out_channels(), plan.depth, plan.spec.groups);
    let filter = depth * rows * taps;
    let needed = (channels * filter, channels, plan.group_floats * groups);
    let given = (weights.len(), bias.map_or(channels, <[f32]>::len), out.len());
    if needed != given {
        return Err(bad(format!("lengths of weights, bias and packed weights are {given:?}, not {needed:?}")));
    }
    let per_group = channels / groups;
    let first_channel: Vec<usize> =
        spec.outputs.iter().scan(0, |next, output| Some(std::mem::replace(next, *next + output.channels))).collect();
    let area = rows * taps;
    // For lanes beyond the last channel.
    let nothing = vec![0.0f32; filter];
    let mut rows: Vec<&[f32]> = Vec::new();
    for (group, out) in out.chunks_exact_mut(plan.group_floats).enumerate() {
        for segment in &plan.segments {
            let width = segment.vectors * plan.lanes;
            let base = group * per_group + first_channel[segment.output] + segment.channel;
            let end = first_channel[segment.output] + spec.outputs[segment.output].channels;
            let end = if groups == 1 { end } else { (group + 1) * per_group };
            for panel in 0..segment.count {
                let start = segment.weights + panel * segment.panel_floats;
                let out = &mut out[start..start + segment.panel_floats];
                let (biases, products) = out.split_at_mut(width);
                rows.clear();
                for (lane, value) in biases.iter_mut().enumerate() {
                    let channel = base + panel * width + lane;
                    let exists = channel < end;
                    *value = if exists { bias.map_or(0.0, |bias| bias[channel]) } else { 0.0 };
                    rows.push(if exists { &weights[channel * filter..][..filter] } else { &nothing[..] });
                }
                // The source runs over [c][kh][kw], positions over [kh][kw][c]. A few of each channel's are read at once: the
                // channels are far apart, often at distances that share a set of the cache.
                for first in (0..filter).step_by(LINE) {
                    let sources = first..filter.min(first + LINE);
                    let mut positions = [0; LINE];
                    for (position, source) in positions.iter_mut().zip(sources.clone()) {
                        *position = (source % area * depth + source / area) * width;
                    }
                    for (lane, row) in rows.iter().enumerate() {
                        for (value, position) in row[sources.clone()].iter().zip(&positions) {
                            products[position + lane] = *value;
                        }
                    }
                }
            }
        }
    }
    Ok(())
}
