//! The choice of register tiles, blocks and tasks for one convolution; no code.

use std::sync::Arc;

use super::fold::{self, Fold};
use super::grid::Grid;
use super::grids::Grids;
use super::program::Op;
use super::{Cost, WinogradSpec, bad, supports};
use crate::codegen::CodegenError;
use crate::codegen::kernels::conv_direct::{ConvSpec, plan as direct};
use crate::codegen::kernels::{Estimate, LINE};
use crate::codegen::target::{Level, Target};

/// Widest panel, in vectors.
const MOST_VECTORS: usize = 6;
/// Bytes that arrive in a cycle from the second-level cache beside a full load of multiply-adds.
const FROM_L2: f64 = 10.0;
/// Multiply-adds that are worth a task.
const LEAST_TASK: u64 = 400_000;
/// Tasks that are enough, if there is work for them.
const TASKS: usize = 4;

/// Neighbouring panels of equal width that write to one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Vectors of output channels in a panel.
    pub vectors: usize,
    /// Panels.
    pub count: usize,
    /// The first of them.
    pub first: usize,
    /// The output that they write.
    pub output: usize,
    /// The first output channel, counted within the output.
    pub channel: usize,
    /// Lanes of the last vector of the last panel that exist; the others are full.
    pub last_lanes: usize,
    /// Where the first panel starts, in floats of the packed weights.
    pub weights: usize,
    /// Floats of one panel: for each position what the bias adds, then the transformed weights.
    pub panel_floats: usize,
}

/// Where things lie in a thread's scratch memory, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scratch {
    /// Pointers to the pixels of an input tile.
    pub inputs: usize,
    /// Pointers to the pixels of an output tile.
    pub outputs: usize,
    /// Pointers to their residuals.
    pub residuals: usize,
    /// Zeros: a pixel's input channels, and a panel's channels.
    pub zeros: usize,
    /// A panel's channels that nobody reads.
    pub dump: usize,
    /// The folded rows of the input.
    pub folded: usize,
    /// Spilled registers.
    pub spill: usize,
    /// The transformed input, `[position][tile][channel]`.
    pub v: usize,
    /// The products, `[position][tile][channel of the panel]`.
    pub products: usize,
    /// All of it.
    pub size: usize,
}

/// What is emitted for one convolution.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The convolution, of stride 1.
    pub conv: ConvSpec,
    /// What it was folded from, if it had another stride.
    pub fold: Option<Fold>,
    /// Output pixels of a tile, vertical and horizontal.
    pub m: [usize; 2],
    /// Input pixels of a tile.
    pub n: [usize; 2],
    /// Positions: products of a tile for each pair of channels.
    pub positions: usize,
    /// The transforms.
    pub grids: Arc<Grids>,
    /// Lanes of a vector.
    pub lanes: usize,
    /// Tiles of an image.
    pub tiles: [usize; 2],
    /// Tiles of all images.
    pub all_tiles: usize,
    /// Tiles of a register tile; the first `larger` ones have one more.
    pub rows: usize,
    pub larger: usize,
    /// Register tiles, and how many make a block.
    pub row_tiles: usize,
    pub block: usize,
    pub blocks: usize,
    pub segments: Vec<Segment>,
    pub panels: usize,
    /// Panels of a task, and tasks of a block.
    pub chunk: usize,
    pub chunks: usize,
    /// Floats of the packed weights.
    pub floats: usize,
    /// Floats from one tile to the next in the transformed input, from one position to the next there and in the products.
    pub tile_stride: usize,
    pub v_stride: usize,
    pub product_stride: usize,
    /// Whether weights are fetched ahead.
    pub fetch: bool,
    pub scratch: Scratch,
}

/// Estimated cycles of one register tile. Every one reads its panel's weights of a position, which come from the second-level
/// cache where they are too many for the first: few tiles with wide panels wait for them.
fn product(target: &Target, rows: usize, vectors: usize, depth: usize) -> f64 {
    let bytes = (4 * target.lanes() * vectors * depth) as f64;
    let streamed = if bytes > target.l1_bytes() as f64 / 2.0 { bytes / FROM_L2 } else { 0.0 };
    direct::cost(target, rows, vectors, depth).max(streamed)
}

/// A multiple of cache lines whose distance does not put many rows into one set of a cache.
fn spread(floats: usize) -> usize {
    let lines = floats.div_ceil(LINE);
    LINE * if lines.is_multiple_of(8) { lines + 1 } else { lines }
}

impl Plan {
    /// Plans a convolution for a target.
    pub fn new(spec: &WinogradSpec, target: &Target) -> Result<Self, CodegenError> {
        supports(&spec.conv)?;
        let large = || bad("the convolution is too large");
        let m = spec.conv.kernel.map(|taps| if taps == 1 { 1 } else { spec.m });
        if m.contains(&0) {
            return Err(bad(format!("there is no transform of {} outputs", spec.m)));
        }
        let (conv, fold) = if spec.conv.strides == [1, 1] {
            (spec.conv.clone(), None)
        } else {
            let (conv, fold) = fold::fold(&spec.conv, m).ok_or_else(large)?;
            (conv, Some(fold))
        };
        let grids = Grids::of(m, conv.kernel)?;
        let n = grids.n;
        let tiles = [conv.out_height.div_ceil(m[0]), conv.out_width.div_ceil(m[1])];
        let all_tiles = conv.batch.checked_mul(tiles[0]).and_then(|t| t.checked_mul(tiles[1])).ok_or_else(large)?;
        let tile_stride = spread(conv.input.channels);
        let mut plan = Self {
            conv,
            fold,
            m,
            n,
            positions: n[0] * n[1],
            grids,
            lanes: target.lanes(),
            tiles,
            all_tiles,
            rows: 1,
            larger: 0,
            row_tiles: all_tiles,
            block: 1,
            blocks: 1,
            segments: Vec::new(),
            panels: 0,
            chunk: 1,
            chunks: 1,
            floats: 0,
            tile_stride,
            v_stride: 0,
            product_stride: 0,
            fetch: false,
            scratch: Scratch::default(),
        };
        plan.cut_channels(target)?;
        plan.cut_tiles(target);
        plan.lay_out().ok_or_else(large)?;
        Ok(plan)
    }

    /// Chooses the register tiles: how many tiles, and for each output the panels' widths.
    fn cut_channels(&mut self, target: &Target) -> Result<(), CodegenError> {
        let depth = self.conv.input.channels;
        let totals: Vec<usize> = self.conv.outputs.iter().map(|output| output.channels.div_ceil(self.lanes)).collect();
        let mut best: Option<(f64, usize, Vec<Vec<direct::Panels>>)> = None;
        for most in 1..=direct::pixels(target, 1) {
            let count = self.all_tiles.div_ceil(most);
            let (rows, larger) = (self.all_tiles / count, self.all_tiles % count);
            let widest = rows + usize::from(larger > 0);
            let costs: Vec<f64> = (1..=MOST_VECTORS.min(target.registers() / 3))
                .take_while(|&vectors| vectors == 1 || direct::pixels(target, vectors) >= widest)
                .map(|vectors| {
                    let time = |rows: usize| product(target, rows, vectors, depth);
                    larger as f64 * time(rows + 1) + (count - larger) as f64 * time(rows)
                })
                .collect();
            let (times, panels): (Vec<f64>, Vec<_>) = totals.iter().map(|&total| direct::panels(&costs, total)).unzip();
            let time = times.iter().sum();
            if best.as_ref().is_none_or(|(known, ..)| time < *known) {
                best = Some((time, most, panels));
            }
        }
        let (_, most, panels) = best.ok_or(CodegenError::Internal("no register tile"))?;
        self.row_tiles = self.all_tiles.div_ceil(most);
        (self.rows, self.larger) = (self.all_tiles / self.row_tiles, self.all_tiles % self.row_tiles);
        for (output, panels) in panels.into_iter().enumerate() {
            let channels = self.conv.outputs[output].channels;
            let mut channel = 0;
            for direct::Panels { vectors, count } in panels {
                let width = vectors * self.lanes;
                let large = || bad("too many weights");
                let panel_floats = self
                    .positions
                    .checked_mul(depth + 1)
                    .and_then(|steps| steps.checked_mul(width))
                    .ok_or_else(large)?;
                let (covered, left) = (count * width, channels - channel);
                self.segments.push(Segment {
                    vectors,
                    count,
                    first: self.panels,
                    output,
                    channel,
                    last_lanes: self.lanes - covered.saturating_sub(left),
                    weights: self.floats,
                    panel_floats,
                });
                self.panels += count;
                channel += covered.min(left);
                let more = count.checked_mul(panel_floats).and_then(|more| self.floats.checked_add(more));
                self.floats = more.filter(|floats| *floats < 1 << 44).ok_or_else(large)?;
            }
        }
        Ok(())
    }

    /// Floats of the widest panel.
    fn widest(&self) -> usize {
        self.segments.iter().map(|segment| segment.vectors * self.lanes).max().unwrap_or(self.lanes)
    }

    /// Tiles of the largest block.
    fn block_tiles(&self) -> usize {
        self.start(self.block.min(self.row_tiles))
    }

    /// The first tile of a register tile.
    pub fn start(&self, row_tile: usize) -> usize {
        row_tile * self.rows + row_tile.min(self.larger)
    }

    /// Chooses blocks of tiles and the tasks.
    fn cut_tiles(&mut self, target: &Target) {
        // Each block reads all weights; its transformed input is read by each panel, and should stay in the cache.
        let tile_bytes = (self.tile_stride + self.widest()).saturating_mul(self.positions).saturating_mul(4);
        let room = target.l2_bytes() / 4 * 3 / tile_bytes.max(1);
        let most = (room / (self.rows + usize::from(self.larger > 0))).max(1);
        let macs = self.cost().product_flops / 2;
        let wanted = (macs / LEAST_TASK).clamp(1, TASKS as u64) as usize;
        let mut blocks = self.row_tiles.div_ceil(most);
        if self.floats * 4 <= target.l2_bytes() / 4 {
            blocks = blocks.max(wanted.min(self.row_tiles));
        }
        self.block = self.row_tiles.div_ceil(blocks);
        // Folded rows are shared by whole rows of tiles.
        let in_row = self.tiles[1] / self.rows;
        if self.fold.is_some() && self.larger == 0 && self.tiles[1].is_multiple_of(self.rows) && self.block > in_row {
            self.block = self.block / in_row * in_row;
        }
        self.blocks = self.row_tiles.div_ceil(self.block);
        let chunks = wanted.div_ceil(self.blocks).min(self.panels).max(1);
        self.chunk = self.panels.div_ceil(chunks);
        self.chunks = self.panels.div_ceil(self.chunk);
        self.fetch = self.floats * 4 > target.l2_bytes() / 2 && target.level() != Level::V128;
    }

    /// Lays out the scratch memory; `None` if it is too large.
    fn lay_out(&mut self) -> Option<()> {
        let tiles = self.block_tiles();
        self.v_stride = spread(tiles.checked_mul(self.tile_stride)?);
        self.product_stride = spread(tiles.checked_mul(self.widest())?);
        let mut size = 0usize;
        let mut place = |bytes: usize| -> Option<usize> {
            let at = size;
            size = size.checked_add(bytes)?.checked_next_multiple_of(64).filter(|size| *size < 1 << 40)?;
            Some(at)
        };
        let pixels = self.m[0] * self.m[1];
        let vector = 4 * self.lanes;
        let mut scratch = Scratch {
            inputs: place(8 * self.positions)?,
            outputs: place(8 * pixels)?,
            residuals: place(8 * pixels)?,
            zeros: place(4 * self.tile_stride.max(self.widest()))?,
            dump: place(4 * self.widest())?,
            folded: match &self.fold {
                // A block may begin and end within a row of tiles.
                Some(fold) => place(fold.bytes(self, (tiles / self.tiles[1] + 2).min(self.all_tiles))?)?,
                None => 0,
            },
            spill: place(vector * self.grids.input.spills().max(self.grids.output.spills()))?,
            v: place(self.positions.checked_mul(self.v_stride)?.checked_mul(4)?)?,
            products: place(self.positions.checked_mul(self.product_stride)?.checked_mul(4)?)?,
            size: 0,
        };
        scratch.size = size;
        self.scratch = scratch;
        Some(())
    }

    /// Tasks in all.
    pub fn tasks(&self) -> u64 {
        (self.blocks as u64).saturating_mul(self.chunks as u64)
    }

    /// See [`super::cost`].
    pub fn cost(&self) -> Cost {
        let flops =
            |grid: &Grid| grid.ops().iter().map(|op| if matches!(op, Op::MulAdd(..)) { 2u64 } else { 1 }).sum::<u64>();
        let product = |factors: &[usize]| factors.iter().fold(1u64, |all, &factor| all.saturating_mul(factor as u64));
        let (channels, outputs) = (self.conv.input.channels, self.conv.out_channels());
        Cost {
            input_flops: product(&[self.all_tiles, channels]).saturating_mul(flops(&self.grids.input)),
            product_flops: product(&[2, self.positions, self.all_tiles, channels, outputs]),
            output_flops: product(&[self.all_tiles, outputs]).saturating_mul(flops(&self.grids.output)),
            weight_bytes: product(&[4, self.floats]),
            blocks: self.blocks as u64,
        }
    }

    /// The estimated time.
    pub fn estimate(&self, target: &Target) -> Estimate {
        let depth = self.conv.input.channels;
        let panel = |segment: &Segment| {
            let time = |rows: usize| product(target, rows, segment.vectors, depth);
            let smaller = (self.row_tiles - self.larger) as f64 * time(self.rows);
            let larger = if self.larger > 0 { self.larger as f64 * time(self.rows + 1) } else { 0.0 };
            segment.count as f64 * (smaller + larger)
        };
        let products = self.positions as f64 * self.segments.iter().map(panel).sum::<f64>();
        // Two operations a cycle at best; registers that are too few, loads and stores take as much again.
        let transform = |grid: &Grid, ends: usize| (grid.len() + ends) as f64;
        let pixels = self.m[0] * self.m[1];
        let vectors = |channels: usize| (self.all_tiles as f64) * channels.div_ceil(self.lanes) as f64;
        let outputs: usize = self.conv.outputs.iter().map(|output| output.channels.next_multiple_of(self.lanes)).sum();
        let transforms = vectors(depth) * transform(&self.grids.input, 2 * self.positions)
            + vectors(outputs) * transform(&self.grids.output, self.positions + pixels);
        let weight_bytes = (self.floats as u64).saturating_mul(4).saturating_mul(self.blocks as u64);
        Estimate { cycles: products + transforms, weight_bytes }
    }

    /// The transform, then the register tiles of each kind of panel: `tiles x channels`.
    pub fn name(&self) -> String {
        let ([m0, m1], [r0, r1]) = (self.m, self.conv.kernel);
        let by_parts = if self.fold.is_some() { " by parts" } else { "" };
        let rows = self.rows + usize::from(self.larger > 0);
        let mut kinds: Vec<String> = Vec::new();
        for segment in &self.segments {
            let kind = format!("{rows}x{}", segment.vectors * self.lanes);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        format!("conv_winograd[F({m0}x{m1},{r0}x{r1}){by_parts} {}]", kinds.join("+"))
    }
}
