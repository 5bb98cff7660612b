//! The loop nest around the tiles, in CLIF: tasks to panels and blocks, rows clipped at the top and bottom, tiles of a row.

use cranelift_codegen::ir::Value;

use super::PixelStrides;
use super::plan::{Plan, Segment};
use super::tile::{ARGS, Tile};
use crate::codegen::CodegenError;
use crate::codegen::kernels::Emitted;
use crate::codegen::link::{Linker, TileId};
use crate::codegen::nest::Nest;

/// The tiles of one segment: for each run, the inner panels' and the last panel's (which may have a partial vector).
struct SegmentTiles {
    inner: Vec<TileId>,
    last: Vec<TileId>,
}

fn bytes(elements: usize) -> i64 {
    elements as i64 * 4
}

/// Emits tiles and the kernel.
pub(super) fn emit(linker: &mut Linker, plan: &Plan) -> Result<Emitted, CodegenError> {
    let name = plan.name();
    let mut tiles = Vec::new();
    for segment in &plan.segments {
        let full = plan.lanes;
        let mut make = |lanes: usize| -> Result<Vec<TileId>, CodegenError> {
            segment.runs.iter().map(|run| tile(linker, plan, segment, &run.pattern, lanes)).collect()
        };
        let last = make(segment.last_lanes)?;
        let inner = if segment.count > 1 && segment.last_lanes != full { make(full)? } else { last.clone() };
        tiles.push(SegmentTiles { inner, last });
    }
    let kernel =
        linker.kernel(&name, |nest| Driver { plan, tiles: &tiles, operands: Operands::default() }.emit(nest))?;
    Ok(Emitted { kernel, tasks: plan.tasks(), scratch_bytes: 0, name })
}

fn tile(
    linker: &mut Linker,
    plan: &Plan,
    segment: &Segment,
    pattern: &crate::codegen::kernels::window::Pattern,
    last_lanes: usize,
) -> Result<TileId, CodegenError> {
    let spec = &plan.spec;
    let output = &spec.outputs[segment.output];
    let tile = Tile {
        pattern: pattern.clone(),
        vectors: segment.vectors,
        last_lanes,
        channels: plan.depth,
        depthwise: plan.depthwise,
        channel_step: bytes(spec.input.channel_stride),
        pixel_step: bytes(spec.input.strides.w * spec.strides[1]),
        tap_step: bytes(spec.input.strides.w * spec.dilations[1]),
        row_step: bytes(spec.input.strides.h * spec.dilations[0]),
        out_step: bytes(output.strides.w),
        residual_step: bytes(output.residual.map_or(0, |strides| strides.w)),
        prefetch: plan.prefetch(segment),
        post: output.post.clone(),
    };
    let name = format!("conv_tile[{}x{}]", pattern.len(), segment.vectors * plan.lanes);
    linker.tile(&name, ARGS, &|a| tile.emit(a))
}

#[derive(Default)]
struct Operands {
    outputs: Vec<Value>,
    residuals: Vec<Option<Value>>,
}

struct Driver<'a> {
    plan: &'a Plan,
    tiles: &'a [SegmentTiles],
    operands: Operands,
}

/// Where a task works.
#[derive(Clone, Copy)]
struct Task {
    image: Value,
    group: Value,
    panel: Value,
    /// First and one past the last row, or tile of the only row.
    begin: Value,
    end: Value,
    input: Value,
    weights: Value,
}

/// The pointers of one row of one panel.
#[derive(Clone, Copy)]
struct Row {
    input: Value,
    weights: Value,
    taps: Value,
    bias: Value,
    out: Value,
    residual: Value,
    begin: Value,
    end: Value,
}

impl Driver<'_> {
    fn emit(mut self, nest: &mut Nest<'_>) -> Result<(), CodegenError> {
        let (plan, spec) = (self.plan, &self.plan.spec);
        let (input, weights) = (nest.operand(0), nest.operand(1));
        let mut next = 2;
        for _ in &spec.outputs {
            self.operands.outputs.push(nest.operand(next));
            next += 1;
        }
        for output in &spec.outputs {
            self.operands.residuals.push(output.residual.map(|_| {
                let pointer = nest.operand(next);
                next += 1;
                pointer
            }));
        }
        nest.for_tasks(|nest, task| {
            let (inner, outer) =
                if plan.panels_outside { (plan.blocks, plan.panels) } else { (plan.panels, plan.blocks) };
            let (rest, low) = nest.div_rem(task, inner as u64);
            let (rest, high) = nest.div_rem(rest, outer as u64);
            let (image, group) = nest.div_rem(rest, spec.groups as u64);
            let (block, panel) = if plan.panels_outside { (low, high) } else { (high, low) };
            let begin = nest.scale(block, plan.block as i64);
            let end = nest.offset(begin, plan.block as i64);
            let input = nest.step(input, image, bytes(spec.input.strides.n));
            let input = nest.step(input, group, bytes(plan.depth * spec.input.channel_stride));
            let weights = nest.step(weights, group, bytes(plan.group_floats));
            let segments = self.plan.segments.len();
            self.search(nest, 0, segments, Task { image, group, panel, begin, end, input, weights })
        })
    }

    /// Finds the segment of the task's panel among `low..high`, by halving.
    fn search(&self, nest: &mut Nest<'_>, low: usize, high: usize, task: Task) -> Result<(), CodegenError> {
        if high - low == 1 {
            return self.segment(nest, low, task);
        }
        let middle = low + (high - low) / 2;
        let first = self.plan.segments[middle].first;
        let before = nest.less(task.panel, first as i64);
        nest.branch(before, |nest| self.search(nest, low, middle, task), |nest| self.search(nest, middle, high, task))
    }

    fn segment(&self, nest: &mut Nest<'_>, index: usize, task: Task) -> Result<(), CodegenError> {
        let (plan, segment, tiles) = (self.plan, &self.plan.segments[index], &self.tiles[index]);
        let panel = nest.offset(task.panel, -(segment.first as i64));
        let mut task = task;
        if plan.depthwise {
            let input = nest.offset(task.input, bytes(segment.channel));
            task.input = nest.step(input, panel, bytes(segment.vectors * plan.lanes));
        }
        let bias = nest.offset(task.weights, bytes(segment.weights));
        let bias = nest.step(bias, panel, bytes(segment.panel_floats));
        let output = &plan.spec.outputs[segment.output];
        let per_group = output.channels / plan.spec.groups;
        let locate = |nest: &mut Nest<'_>, base: Value, strides: &PixelStrides| {
            let base = nest.step(base, task.image, bytes(strides.n));
            let base = nest.step(base, task.group, bytes(per_group));
            let base = nest.offset(base, bytes(segment.channel));
            nest.step(base, panel, bytes(segment.vectors * plan.lanes))
        };
        let out = locate(nest, self.operands.outputs[segment.output], &output.strides);
        let residual = match (self.operands.residuals[segment.output], &output.residual) {
            (Some(base), Some(strides)) => locate(nest, base, strides),
            _ => nest.int(0),
        };
        let rows = |nest: &mut Nest<'_>, tiles: &[TileId]| self.rows(nest, segment, tiles, task, bias, out, residual);
        if tiles.inner == tiles.last {
            return rows(nest, &tiles.last);
        }
        let inside = nest.less(panel, segment.count as i64 - 1);
        nest.branch(inside, |nest| rows(nest, &tiles.inner), |nest| rows(nest, &tiles.last))
    }

    #[expect(clippy::too_many_arguments, reason = "the pointers of a panel, all of them needed")]
    fn rows(
        &self,
        nest: &mut Nest<'_>,
        segment: &Segment,
        tiles: &[TileId],
        task: Task,
        bias: Value,
        out: Value,
        residual: Value,
    ) -> Result<(), CodegenError> {
        let (plan, spec) = (self.plan, &self.plan.spec);
        let weights = nest.offset(bias, bytes(segment.vectors * plan.lanes));
        if plan.by_tile {
            let row = nest.int(0);
            let (input, weights, taps) = self.clip(nest, segment, task.input, weights, row);
            let row = Row { input, weights, taps, bias, out, residual, begin: task.begin, end: task.end };
            return self.row(nest, segment, tiles, row);
        }
        let last = nest.int(spec.out_height as i64);
        let end = nest.min(task.end, last);
        let output = &spec.outputs[segment.output];
        nest.for_range(task.begin, end, 1, |nest, y| {
            let (input, weights, taps) = self.clip(nest, segment, task.input, weights, y);
            let out = nest.step(out, y, bytes(output.strides.h));
            let residual = match &output.residual {
                Some(strides) => nest.step(residual, y, bytes(strides.h)),
                None => residual,
            };
            let (begin, end) = (nest.int(0), nest.int(segment.tiles() as i64));
            self.row(nest, segment, tiles, Row { input, weights, taps, bias, out, residual, begin, end })
        })
    }

    /// The pointers to the first row of taps inside the input for output row `y`, and how many rows are inside.
    fn clip(
        &self,
        nest: &mut Nest<'_>,
        segment: &Segment,
        input: Value,
        weights: Value,
        y: Value,
    ) -> (Value, Value, Value) {
        let spec = &self.plan.spec;
        let axis = spec.vertical();
        let pitch = bytes(spec.input.strides.h);
        let top = nest.scale(y, axis.stride as i64);
        let top = nest.offset(top, -(axis.pad as i64));
        if axis.all_inside() {
            let taps = nest.int(axis.kernel as i64);
            return (nest.step(input, top, pitch), weights, taps);
        }
        let (zero, all, height) = (nest.int(0), nest.int(axis.kernel as i64), nest.int(axis.input as i64));
        let up = |nest: &mut Nest<'_>, distance: Value| {
            let distance = nest.max(distance, zero);
            let distance = nest.offset(distance, axis.dilation as i64 - 1);
            let (taps, _) = nest.div_rem(distance, axis.dilation as u64);
            nest.min(taps, all)
        };
        let above = nest.sub(zero, top);
        let first = up(nest, above);
        let below = nest.sub(height, top);
        let end = up(nest, below);
        let taps = nest.sub(end, first);
        let taps = nest.max(taps, zero);
        let top = nest.step(top, first, axis.dilation as i64);
        let row = spec.kernel[1] * self.plan.depth * segment.vectors * self.plan.lanes;
        (nest.step(input, top, pitch), nest.step(weights, first, bytes(row)), taps)
    }

    /// The tiles `begin..end` of one row.
    fn row(&self, nest: &mut Nest<'_>, segment: &Segment, tiles: &[TileId], row: Row) -> Result<(), CodegenError> {
        let spec = &self.plan.spec;
        let output = &spec.outputs[segment.output];
        let in_pixel = bytes(spec.input.strides.w);
        for (run, tile) in segment.runs.iter().zip(tiles) {
            let (first, end) = (nest.int(run.first as i64), nest.int((run.first + run.count) as i64));
            let (begin, end) = (nest.max(row.begin, first), nest.min(row.end, end));
            let call = |nest: &mut Nest<'_>, pixel: Value| {
                let column = nest.scale(pixel, spec.strides[1] as i64);
                let column = nest.offset(column, -(spec.pads[1] as i64));
                let input = nest.step(row.input, column, in_pixel);
                let out = nest.step(row.out, pixel, bytes(output.strides.w));
                let residual = match &output.residual {
                    Some(strides) => nest.step(row.residual, pixel, bytes(strides.w)),
                    None => row.residual,
                };
                nest.call(*tile, &[input, row.weights, out, row.taps, row.bias, residual]);
            };
            if run.count == 1 && !self.plan.by_tile {
                let pixel = nest.int(run.start as i64);
                call(nest, pixel);
                continue;
            }
            nest.for_range(begin, end, 1, |nest, index| {
                let pixel = nest.offset(index, -(run.first as i64));
                let pixel = nest.scale(pixel, run.pattern.len() as i64);
                let pixel = nest.offset(pixel, run.start as i64);
                call(nest, pixel);
                Ok(())
            })?;
        }
        Ok(())
    }
}
