//! The choice of tiles, panels and tasks for one convolution: a small cost model, no code.

use super::{ConvSpec, PixelStrides};
use crate::codegen::CodegenError;
use crate::codegen::epilogue;
use crate::codegen::kernels::window::{Run, runs};
use crate::codegen::kernels::{Estimate, depthwise};
use crate::codegen::target::{Level, Target};

/// Widest panel, in vectors.
const MOST_VECTORS: usize = 6;

/// Neighbouring panels of equal width that write to one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Vectors of output channels in a panel.
    pub vectors: usize,
    /// Panels.
    pub count: usize,
    /// The first of them, counted within the group.
    pub first: usize,
    /// The output that they write.
    pub output: usize,
    /// The first output channel, counted within the output and the group.
    pub channel: usize,
    /// Lanes of the last vector of the last panel that exist; the others are full.
    pub last_lanes: usize,
    /// Where the first panel's weights start, in floats from the start of the group's.
    pub weights: usize,
    /// Floats of one panel: bias, then weights.
    pub panel_floats: usize,
    /// The tiles of a row.
    pub runs: Vec<Run>,
}

/// What is emitted for one convolution.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The convolution, with rows joined where they are contiguous.
    pub spec: ConvSpec,
    /// Whether each output channel sees its own input channel only; the groups are then joined into one.
    pub depthwise: bool,
    /// Input channels that an output channel sees.
    pub depth: usize,
    /// Multiply-adds in all.
    pub macs: u64,
    /// Lanes of a vector.
    pub lanes: usize,
    /// Segments of one group; all groups have the same.
    pub segments: Vec<Segment>,
    /// Panels of a group.
    pub panels: usize,
    /// Floats of the packed weights of a group.
    pub group_floats: usize,
    /// Output rows of a task, or (for a single row) tiles of a task.
    pub block: usize,
    /// Blocks of a panel.
    pub blocks: usize,
    /// Whether blocks are tiles of the only row instead of rows.
    pub by_tile: bool,
    /// Whether neighbouring tasks share a panel (else they share a block).
    pub panels_outside: bool,
}

impl Plan {
    /// Plans a convolution for a target.
    pub fn new(spec: &ConvSpec, target: &Target) -> Result<Self, CodegenError> {
        spec.validate()?;
        let (depthwise, group_channels, macs) = (depthwise::applies(spec), spec.group_channels(), spec.macs());
        let mut spec = flatten(spec);
        if depthwise {
            spec.groups = 1;
        }
        let lanes = target.lanes();
        let axis = spec.horizontal();
        let [rows, taps] = spec.kernel;
        let overflow = || CodegenError::BadSpec { kernel: "conv_direct", reason: "too many weights".to_owned() };
        let depth = rows.checked_mul(taps).and_then(|taps| taps.checked_mul(group_channels)).ok_or_else(overflow)?;
        let (mut segments, mut panels, mut floats) = (Vec::new(), 0usize, 0usize);
        for (output, part) in spec.outputs.iter().enumerate() {
            let channels = part.channels / spec.groups;
            let mut channel = 0;
            let total = channels.div_ceil(lanes);
            let parts = if depthwise { halves(total) } else { split(target, spec.out_width, depth, total) };
            for Panels { vectors, count } in parts {
                let panel_floats = vectors
                    .checked_mul(lanes)
                    .and_then(|width| depth.checked_add(1)?.checked_mul(width))
                    .ok_or_else(overflow)?;
                let left = channels - channel;
                let covered = count * vectors * lanes;
                let last_lanes = lanes - covered.saturating_sub(left);
                segments.push(Segment {
                    vectors,
                    count,
                    first: panels,
                    output,
                    channel,
                    last_lanes,
                    weights: floats,
                    panel_floats,
                    runs: runs(&axis, pixels(target, vectors)),
                });
                panels += count;
                channel += covered.min(left);
                floats =
                    count.checked_mul(panel_floats).and_then(|more| floats.checked_add(more)).ok_or_else(overflow)?;
            }
        }
        floats.checked_mul(spec.groups).and_then(|all| all.checked_mul(4)).ok_or_else(overflow)?;
        let mut plan = Self {
            by_tile: spec.out_height == 1,
            spec,
            depthwise,
            depth: group_channels,
            macs,
            lanes,
            segments,
            panels,
            group_floats: floats,
            block: 1,
            blocks: 1,
            panels_outside: true,
        };
        plan.cut(target);
        Ok(plan)
    }

    /// Chooses the tasks: neither too small to be worth handing out, nor too few to share.
    fn cut(&mut self, target: &Target) {
        const LEAST: u64 = 400_000;
        const MOST: u64 = 4_000_000;
        let spec = &self.spec;
        let units = if self.by_tile { self.most_tiles() } else { spec.out_height };
        let panels = self.panels.saturating_mul(spec.groups).saturating_mul(spec.batch).max(1) as u64;
        let unit = (self.macs / panels / units.max(1) as u64).max(1);
        let wanted = (self.macs / 32).clamp(LEAST, MOST);
        let block = (wanted / unit).clamp(1, units.max(1) as u64) as usize;
        // Blocks of nearly the same size.
        self.blocks = units.div_ceil(block).max(1);
        self.block = units.div_ceil(self.blocks).max(1);
        self.blocks = units.div_ceil(self.block).max(1);
        // Either the weights pass by for every block of pixels, or the input for every panel: the smaller traffic wins,
        // and what stays in the second-level cache costs nothing.
        let image = spec.input.height.saturating_mul(spec.input.width).saturating_mul(spec.group_channels() * 4);
        let weights = self.group_floats.saturating_mul(4);
        let room = target.l2_bytes() / 2;
        let traffic = |bytes: usize, times: usize| if bytes <= room { bytes } else { bytes.saturating_mul(times) };
        self.panels_outside = traffic(image, self.panels) <= traffic(weights, self.blocks);
    }

    fn most_tiles(&self) -> usize {
        self.segments.iter().map(Segment::tiles).max().unwrap_or(1)
    }

    /// Tasks in all.
    pub fn tasks(&self) -> u64 {
        [self.spec.batch, self.spec.groups, self.panels, self.blocks]
            .into_iter()
            .fold(1u64, |product, factor| product.saturating_mul(factor as u64))
    }

    /// How many bytes ahead a tile fetches the weights of a segment. Panels that only a few tiles use are read mostly
    /// from memory or a far cache, where the hardware's own prefetching falls behind; it costs others a percent.
    pub fn prefetch(&self, segment: &Segment) -> i64 {
        const FEW: usize = 20;
        const AHEAD: i64 = 8192;
        let few = self.spec.out_height.saturating_mul(segment.tiles()) <= FEW;
        if few && segment.panel_floats * 4 > 2 * AHEAD as usize { AHEAD } else { 0 }
    }

    /// The estimated time.
    pub fn estimate(&self, target: &Target) -> Estimate {
        let taps = self.spec.kernel[0] * self.spec.kernel[1];
        let rows = [self.spec.batch, self.spec.groups, self.spec.out_height];
        let rows = rows.into_iter().map(|count| count as f64).product::<f64>();
        let panel = |segment: &Segment| -> f64 {
            let tile = |run: &Run| {
                run.count as f64 * cost(target, run.pattern.len(), segment.vectors, taps.saturating_mul(self.depth))
            };
            segment.count as f64 * segment.runs.iter().map(tile).sum::<f64>()
        };
        let cycles = rows * self.segments.iter().map(panel).sum::<f64>();
        let passes = if self.panels_outside { 1 } else { self.blocks.saturating_mul(self.spec.batch) };
        let floats = self.group_floats.saturating_mul(self.spec.groups).saturating_mul(passes);
        Estimate { cycles, weight_bytes: (floats as u64).saturating_mul(4) }
    }

    /// The tiles of each kind of panel: `pixels x vectors`.
    pub fn name(&self) -> String {
        let mut kinds: Vec<String> = Vec::new();
        for segment in &self.segments {
            let widest = segment.runs.iter().map(|run| run.pattern.len()).max().unwrap_or(0);
            let kind = format!("{widest}x{}", segment.vectors * self.lanes);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let family = if self.depthwise { "depthwise" } else { "conv_direct" };
        format!("{family}[{}]", kinds.join("+"))
    }
}

impl Segment {
    /// Tiles of a row.
    pub fn tiles(&self) -> usize {
        self.runs.last().map_or(0, |run| run.first + run.count)
    }
}

/// Joins the rows (and images) of a pointwise convolution into one where they are contiguous.
fn flatten(spec: &ConvSpec) -> ConvSpec {
    let mut flat = spec.clone();
    let pointwise = spec.kernel == [1, 1]
        && spec.strides == [1, 1]
        && spec.pads == [0, 0]
        && (spec.out_height, spec.out_width) == (spec.input.height, spec.input.width);
    if !pointwise {
        return flat;
    }
    let tensors = |spec: &ConvSpec| -> Vec<PixelStrides> {
        let outputs = spec.outputs.iter().flat_map(|output| [Some(output.strides), output.residual]);
        std::iter::once(Some(spec.input.strides)).chain(outputs).flatten().collect()
    };
    let (height, width) = (spec.out_height, spec.out_width);
    if height > 1 && tensors(spec).iter().all(|s| s.h == s.w * width) {
        (flat.input.height, flat.input.width) = (1, height * width);
        (flat.out_height, flat.out_width) = (1, height * width);
    }
    let width = flat.out_width;
    if flat.batch > 1 && flat.out_height == 1 && tensors(&flat).iter().all(|s| s.n == s.w * width) {
        let width = width * flat.batch;
        (flat.input.width, flat.out_width, flat.batch) = (width, width, 1);
    }
    flat
}

/// Most pixels of a tile with so many vectors of channels.
pub(in crate::codegen::kernels) fn pixels(target: &Target, vectors: usize) -> usize {
    // One register takes the broadcast; register renaming makes a second pointless. A single vector of channels takes
    // its broadcasts from memory where that is one instruction.
    let working = if vectors == 1 && target.level() == Level::Avx512 { 1 } else { vectors + 1 };
    // Cranelift's allocator needs some slack not to spill.
    let slack = if target.level() == Level::V128 { 2 } else { 0 };
    let taken = working.max(epilogue::REGISTERS) + slack;
    (target.registers().saturating_sub(taken) / vectors).max(1)
}

/// Estimated cycles of one tile.
pub(in crate::codegen::kernels) fn cost(target: &Target, pixels: usize, vectors: usize, depth: usize) -> f64 {
    let (p, v) = (pixels as f64, vectors as f64);
    let multiplies = p * v / 2.0;
    let loads = (p + v) / 2.0;
    let issue = match target.level() {
        // The broadcast is copied for every use but one.
        Level::V128 => (p * v + p + v + p * (v - 1.0)) / 5.0,
        Level::Avx2 => (p * v + p + v) / 5.0,
        Level::Avx512 => (p * v + p + v) / 6.0,
    };
    let latency = 4.0;
    let step = multiplies.max(loads).max(issue).max(latency);
    // Starting and ending a tile: bias, stores, the call.
    depth as f64 * step + 25.0 + 1.5 * p * v
}

/// So many panels of the same width.
pub(in crate::codegen::kernels) struct Panels {
    /// The width of each, in vectors of channels.
    pub vectors: usize,
    pub count: usize,
}

/// Cuts the channels of a depthwise convolution into panels, as [`split`] does.
fn halves(total: usize) -> Vec<Panels> {
    let parts = [(depthwise::VECTORS, total / depthwise::VECTORS), (total % depthwise::VECTORS, 1)];
    let parts = parts.into_iter().filter(|(vectors, count)| *vectors > 0 && *count > 0);
    parts.map(|(vectors, count)| Panels { vectors, count }).collect()
}

/// Cuts `total` vectors of channels into panels of the least estimated time, widest first.
fn split(target: &Target, width: usize, depth: usize, total: usize) -> Vec<Panels> {
    let row = |vectors: usize| {
        let tiles = width.div_ceil(pixels(target, vectors)).max(1);
        let (small, larger) = (width / tiles, width % tiles);
        larger as f64 * cost(target, small + 1, vectors, depth)
            + (tiles - larger) as f64 * if small > 0 { cost(target, small, vectors, depth) } else { 0.0 }
    };
    let costs: Vec<f64> = (1..=MOST_VECTORS.min(target.registers() / 3)).map(row).collect();
    panels(&costs, total).1
}

/// Cuts `total` vectors of channels into panels of the least time, where `costs[vectors - 1]` is that of a panel: the time,
/// and the panels, widest first.
pub(in crate::codegen::kernels) fn panels(costs: &[f64], total: usize) -> (f64, Vec<Panels>) {
    // The best panels for each number of vectors, by the width of the last one taken.
    let mut best = vec![(0.0f64, 0usize)];
    for vectors in 1..=total {
        let mut choice = (f64::INFINITY, 1);
        for (index, cost) in costs.iter().enumerate().take(vectors) {
            let time = best[vectors - index - 1].0 + cost;
            if time < choice.0 {
                choice = (time, index + 1);
            }
        }
        best.push(choice);
    }
    let mut counts = vec![0usize; costs.len().max(1) + 1];
    let mut left = total;
    while left > 0 {
        counts[best[left].1] += 1;
        left -= best[left].1;
    }
    let widths = counts.into_iter().enumerate().rev().filter(|(_, count)| *count > 0);
    (best[total].0, widths.map(|(vectors, count)| Panels { vectors, count }).collect())
}
