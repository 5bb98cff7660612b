//! The loop nest around the register tiles, in CLIF: tasks to blocks and panels, tiles to pixels.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::fold::Folding;
use super::plan::{Plan, Segment};
use super::tile::{InputTile, OutputTile, Product};
use crate::codegen::CodegenError;
use crate::codegen::kernels::Emitted;
use crate::codegen::kernels::conv_direct::PixelStrides;
use crate::codegen::link::{Linker, TileId};
use crate::codegen::nest::Nest;
use crate::codegen::vector::{Addr, Asm, Count, repeat};

/// How far ahead weights are fetched where a single register tile reads them.
const AHEAD: i64 = 8192;

fn bytes(elements: usize) -> i64 {
    elements as i64 * 4
}

/// A transform for tiles inside the image, and one for those at its edges.
#[derive(Clone, Copy)]
struct Pair {
    inside: TileId,
    edge: TileId,
}

/// The tiles of a segment.
struct SegmentTiles {
    /// Products of `rows + 1` and of `rows` tiles.
    larger: TileId,
    smaller: TileId,
    /// How far apart the register tiles of a block fetch.
    fetched: i64,
    /// Output transforms of full panels and of the last one.
    full: Pair,
    last: Pair,
}

struct Tiles {
    clear: TileId,
    input: Pair,
    segments: Vec<SegmentTiles>,
}

/// Emits tiles and the kernel.
pub(super) fn emit(linker: &mut Linker, plan: &Plan) -> Result<Emitted, CodegenError> {
    let name = plan.name();
    let tiles = Tiles {
        clear: clear(linker, plan)?,
        // A folded image has its padding in it.
        input: Pair { inside: input(linker, plan, false)?, edge: input(linker, plan, plan.fold.is_none())? },
        segments: plan.segments.iter().map(|segment| segment_tiles(linker, plan, segment)).collect::<Result<_, _>>()?,
    };
    let kernel = linker.kernel(&name, |nest| Driver::new(nest, plan, &tiles).emit(nest))?;
    Ok(Emitted { kernel, tasks: plan.tasks(), scratch_bytes: plan.scratch.size, name })
}

/// Fills the zeros of the scratch memory.
fn clear(linker: &mut Linker, plan: &Plan) -> Result<TileId, CodegenError> {
    let vectors = (plan.scratch.dump - plan.scratch.zeros) / (4 * plan.lanes);
    linker.tile("zeros", 1, &|a| {
        let (to, zero) = (a.arg(0), a.vec());
        let vector = 4 * a.lanes() as i64;
        a.zero(zero);
        repeat(a, Count::Times(vectors as u64), |a| {
            a.store(Addr::new(to), zero);
            a.add_imm(to, vector);
        });
    })
}

fn steps(strides: &PixelStrides) -> [i64; 2] {
    [bytes(strides.h), bytes(strides.w)]
}

fn input(linker: &mut Linker, plan: &Plan, table: bool) -> Result<TileId, CodegenError> {
    let tile = InputTile {
        grid: &plan.grids.input,
        n: plan.n,
        channels: plan.conv.input.channels,
        steps: steps(&plan.conv.input.strides),
        position_step: bytes(plan.v_stride),
        table,
    };
    let target = linker.target().clone();
    linker.tile("winograd_input", InputTile::ARGS, &|a| tile.emit(a, &target))
}

fn output(
    linker: &mut Linker,
    plan: &Plan,
    segment: &Segment,
    last_lanes: usize,
    table: bool,
) -> Result<TileId, CodegenError> {
    let output = &plan.conv.outputs[segment.output];
    let tile = OutputTile {
        grid: &plan.grids.output,
        n: plan.n,
        m: plan.m,
        position_step: bytes(plan.product_stride),
        steps: steps(&output.strides),
        residual_steps: output.residual.as_ref().map_or([0, 0], steps),
        table,
        last_lanes,
        post: &output.post,
    };
    let target = linker.target().clone();
    linker.tile("winograd_output", OutputTile::ARGS, &|a| tile.emit(a, &target))
}

fn segment_tiles(linker: &mut Linker, plan: &Plan, segment: &Segment) -> Result<SegmentTiles, CodegenError> {
    let product = |rows: usize| Product {
        rows,
        vectors: segment.vectors,
        depth: plan.conv.input.channels,
        row_step: bytes(plan.tile_stride),
        sharers: if plan.fetch { plan.block } else { 0 },
    };
    let mut make = |rows: usize| {
        let product = product(rows);
        let name = format!("winograd_product[{rows}x{}]", segment.vectors * plan.lanes);
        linker.tile(&name, Product::ARGS, &|a: &mut dyn Asm| product.emit(a))
    };
    let smaller = make(plan.rows)?;
    let larger = if plan.larger > 0 { make(plan.rows + 1)? } else { smaller };
    let mut pair = |lanes: usize| -> Result<Pair, CodegenError> {
        Ok(Pair {
            inside: output(linker, plan, segment, lanes, false)?,
            edge: output(linker, plan, segment, lanes, true)?,
        })
    };
    let full = pair(0)?;
    let last = if segment.last_lanes < plan.lanes { pair(segment.last_lanes)? } else { full };
    Ok(SegmentTiles { larger, smaller, fetched: product(plan.rows).fetched(plan.lanes), full, last })
}

struct Driver<'a> {
    plan: &'a Plan,
    tiles: &'a Tiles,
    input: Value,
    weights: Value,
    outputs: Vec<Value>,
    residuals: Vec<Option<Value>>,
    scratch: Value,
}

/// The tiles of a block, and the register tiles that they make.
#[derive(Clone, Copy)]
struct Block {
    begin: Value,
    end: Value,
    first: Value,
    last: Value,
}

/// The image of a tile, and its first output row and pixel.
struct Place {
    image: Value,
    y: Value,
    x: Value,
}

impl<'a> Driver<'a> {
    fn new(nest: &mut Nest<'_>, plan: &'a Plan, tiles: &'a Tiles) -> Self {
        let (input, weights, scratch) = (nest.operand(0), nest.operand(1), nest.scratch());
        let mut next = 2;
        let mut operand = |nest: &mut Nest<'_>| {
            next += 1;
            nest.operand(next - 1)
        };
        let outputs = plan.conv.outputs.iter().map(|_| operand(nest)).collect();
        let residuals = plan.conv.outputs.iter().map(|output| output.residual.map(|_| operand(nest))).collect();
        Self { plan, tiles, input, weights, outputs, residuals, scratch }
    }

    fn emit(&self, nest: &mut Nest<'_>) -> Result<(), CodegenError> {
        let plan = self.plan;
        let zeros = self.at(nest, plan.scratch.zeros);
        nest.call(self.tiles.clear, &[zeros]);
        let first_task = nest.task_begin();
        nest.for_tasks(|nest, task| {
            let (block, chunk) = nest.div_rem(task, plan.chunks as u64);
            let first = nest.scale(block, plan.block as i64);
            let last = nest.offset(first, plan.block as i64);
            let all = nest.int(plan.row_tiles as i64);
            let last = nest.min(last, all);
            let block = Block { begin: self.start(nest, first), end: self.start(nest, last), first, last };
            // The tasks of one block follow each other, so that those of one call share the transformed input.
            let again = nest.builder().ins().icmp(IntCC::Equal, task, first_task);
            let new = nest.builder().ins().icmp_imm_s(IntCC::Equal, chunk, 0);
            let needed = nest.builder().ins().bor(again, new);
            nest.branch(needed, |nest| self.inputs(nest, block), |_| Ok(()))?;
            let begin = nest.scale(chunk, plan.chunk as i64);
            let end = nest.offset(begin, plan.chunk as i64);
            for (segment, tiles) in plan.segments.iter().zip(&self.tiles.segments) {
                let (first, last) = (nest.int(segment.first as i64), nest.int((segment.first + segment.count) as i64));
                let (begin, end) = (nest.max(begin, first), nest.min(end, last));
                nest.for_range(begin, end, 1, |nest, panel| {
                    let panel = nest.offset(panel, -(segment.first as i64));
                    self.products(nest, segment, tiles, block, panel)?;
                    self.results(nest, segment, tiles, block, panel)
                })?;
            }
            Ok(())
        })
    }

    /// An address in the scratch memory.
    fn at(&self, nest: &mut Nest<'_>, offset: usize) -> Value {
        nest.offset(self.scratch, offset as i64)
    }

    /// The first tile of a register tile.
    fn start(&self, nest: &mut Nest<'_>, row_tile: Value) -> Value {
        let larger = nest.int(self.plan.larger as i64);
        let more = nest.min(row_tile, larger);
        nest.step(more, row_tile, self.plan.rows as i64)
    }

    fn place(&self, nest: &mut Nest<'_>, tile: Value) -> Place {
        let plan = self.plan;
        let (rest, x) = nest.div_rem(tile, plan.tiles[1] as u64);
        let (image, y) = nest.div_rem(rest, plan.tiles[0] as u64);
        Place { image, y: nest.scale(y, plan.m[0] as i64), x: nest.scale(x, plan.m[1] as i64) }
    }

    /// For each of `count` positions from `first` on, whether it lies in `0..size`.
    fn inside(nest: &mut Nest<'_>, first: Value, count: usize, size: usize) -> Vec<Value> {
        (0..count)
            .map(|index| {
                let position = nest.offset(first, index as i64);
                nest.builder().ins().icmp_imm_u(IntCC::UnsignedLessThan, position, size as i64)
            })
            .collect()
    }

    /// Fills a table with pointers to the pixels at `base`, or to `elsewhere` for those outside.
    fn table(
        nest: &mut Nest<'_>,
        table: Value,
        (base, [row_step, step]): (Value, [i64; 2]),
        (rows, columns): (&[Value], &[Value]),
        elsewhere: Value,
    ) {
        for (y, row) in rows.iter().enumerate() {
            for (x, column) in columns.iter().enumerate() {
                let pixel = nest.offset(base, y as i64 * row_step + x as i64 * step);
                let b = nest.builder();
                let both = b.ins().band(*row, *column);
                let pixel = b.ins().select(both, pixel, elsewhere);
                b.ins().store(MemFlagsData::trusted(), pixel, table, 8 * (y * columns.len() + x) as i32);
            }
        }
    }

    /// Whether all of some positions are inside.
    fn all(nest: &mut Nest<'_>, rows: &[Value], columns: &[Value]) -> Value {
        let mut ends = [rows.first(), rows.last(), columns.first(), columns.last()].into_iter().flatten();
        let first = match ends.next() {
            Some(first) => *first,
            None => nest.builder().ins().iconst(I64, 0),
        };
        ends.fold(first, |all, end| nest.builder().ins().band(all, *end))
    }

    /// The input transforms of a block.
    fn inputs(&self, nest: &mut Nest<'_>, block: Block) -> Result<(), CodegenError> {
        let (plan, conv) = (self.plan, &self.plan.conv);
        let steps = steps(&conv.input.strides);
        let (table, v) = (self.at(nest, plan.scratch.inputs), self.at(nest, plan.scratch.v));
        let (spill, zeros) = (self.at(nest, plan.scratch.spill), self.at(nest, plan.scratch.zeros));
        if let Some(fold) = &plan.fold {
            let folded = self.at(nest, plan.scratch.folded);
            let folding = Folding { plan, fold, input: self.input, folded, zeros };
            let (first, _) = nest.div_rem(block.begin, plan.tiles[1] as u64);
            let last = nest.offset(block.end, plan.tiles[1] as i64 - 1);
            let (end, _) = nest.div_rem(last, plan.tiles[1] as u64);
            folding.emit(nest, first, end)?;
            return nest.for_range(block.begin, block.end, 1, |nest, tile| {
                let local = nest.sub(tile, block.begin);
                let to = nest.step(v, local, bytes(plan.tile_stride));
                let (row, column) = nest.div_rem(tile, plan.tiles[1] as u64);
                let row = nest.sub(row, first);
                let from = nest.step(folded, row, bytes(fold.pitch * conv.input.strides.h));
                let from = nest.step(from, column, bytes(plan.m[1] * conv.input.strides.w));
                nest.call(self.tiles.input.inside, &[from, to, spill]);
                Ok(())
            });
        }
        nest.for_range(block.begin, block.end, 1, |nest, tile| {
            let local = nest.sub(tile, block.begin);
            let to = nest.step(v, local, bytes(plan.tile_stride));
            let place = self.place(nest, tile);
            let (y, x) = (nest.offset(place.y, -(conv.pads[0] as i64)), nest.offset(place.x, -(conv.pads[1] as i64)));
            let base = nest.step(self.input, place.image, bytes(conv.input.strides.n));
            let base = nest.step(base, y, steps[0]);
            let base = nest.step(base, x, steps[1]);
            let rows = Self::inside(nest, y, plan.n[0], conv.input.height);
            let columns = Self::inside(nest, x, plan.n[1], conv.input.width);
            let all = Self::all(nest, &rows, &columns);
            nest.branch(
                all,
                |nest| {
                    nest.call(self.tiles.input.inside, &[base, to, spill]);
                    Ok(())
                },
                |nest| {
                    Self::table(nest, table, (base, steps), (&rows, &columns), zeros);
                    nest.call(self.tiles.input.edge, &[table, to, spill]);
                    Ok(())
                },
            )
        })
    }

    /// All products of a block and a panel.
    fn products(
        &self,
        nest: &mut Nest<'_>,
        segment: &Segment,
        tiles: &SegmentTiles,
        block: Block,
        panel: Value,
    ) -> Result<(), CodegenError> {
        let plan = self.plan;
        let width = segment.vectors * plan.lanes;
        let packed = nest.offset(self.weights, bytes(segment.weights));
        let packed = nest.step(packed, panel, bytes(segment.panel_floats));
        let (v, products) = (self.at(nest, plan.scratch.v), self.at(nest, plan.scratch.products));
        let per_position = bytes((1 + plan.conv.input.channels) * width);
        let (none, all) = (nest.int(0), nest.int(plan.positions as i64));
        nest.for_range(none, all, 1, |nest, position| {
            let start = nest.step(packed, position, per_position);
            let weights = nest.offset(start, bytes(width));
            let v = nest.step(v, position, bytes(plan.v_stride));
            let products = nest.step(products, position, bytes(plan.product_stride));
            let ahead = nest.offset(weights, if plan.block == 1 { AHEAD } else { per_position });
            let larger = nest.int(plan.larger as i64);
            let (middle, from) = (nest.min(block.last, larger), nest.max(block.first, larger));
            let ranges = [(block.first, middle, tiles.larger), (from, block.last, tiles.smaller)];
            for (begin, end, tile) in ranges.into_iter().skip(usize::from(plan.larger == 0)) {
                nest.for_range(begin, end, 1, |nest, row_tile| {
                    let first = self.start(nest, row_tile);
                    let local = nest.sub(first, block.begin);
                    let v = nest.step(v, local, bytes(plan.tile_stride));
                    let products = nest.step(products, local, bytes(width));
                    let index = nest.sub(row_tile, block.first);
                    let ahead = nest.step(ahead, index, tiles.fetched);
                    nest.call(tile, &[v, weights, products, start, ahead]);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// The output transforms of a block and a panel.
    fn results(
        &self,
        nest: &mut Nest<'_>,
        segment: &Segment,
        tiles: &SegmentTiles,
        block: Block,
        panel: Value,
    ) -> Result<(), CodegenError> {
        let plan = self.plan;
        let each = |nest: &mut Nest<'_>, pair: Pair, vectors: usize| {
            let count = nest.int(vectors as i64);
            nest.for_range(block.begin, block.end, 1, |nest, tile| {
                let local = nest.sub(tile, block.begin);
                self.result(nest, segment, pair, (tile, local, panel, count))
            })
        };
        if segment.last_lanes == plan.lanes {
            return each(nest, tiles.full, segment.vectors);
        }
        let inner = nest.less(panel, segment.count as i64 - 1);
        nest.branch(
            inner,
            |nest| each(nest, tiles.full, segment.vectors),
            |nest| each(nest, tiles.last, segment.vectors - 1),
        )
    }

    /// The output transform of one tile.
    fn result(
        &self,
        nest: &mut Nest<'_>,
        segment: &Segment,
        pair: Pair,
        (tile, local, panel, count): (Value, Value, Value, Value),
    ) -> Result<(), CodegenError> {
        let (plan, conv) = (self.plan, &self.plan.conv);
        let output = &conv.outputs[segment.output];
        let width = segment.vectors * plan.lanes;
        let products = self.at(nest, plan.scratch.products);
        let products = nest.step(products, local, bytes(width));
        let place = self.place(nest, tile);
        let locate = |nest: &mut Nest<'_>, base: Value, strides: &PixelStrides| {
            let base = nest.offset(base, bytes(segment.channel));
            let base = nest.step(base, panel, bytes(width));
            let base = nest.step(base, place.image, bytes(strides.n));
            let base = nest.step(base, place.y, bytes(strides.h));
            nest.step(base, place.x, bytes(strides.w))
        };
        let out = locate(nest, self.outputs[segment.output], &output.strides);
        let residual = match (self.residuals[segment.output], &output.residual) {
            (Some(base), Some(strides)) => Some((locate(nest, base, strides), strides)),
            _ => None,
        };
        let spill = self.at(nest, plan.scratch.spill);
        let rows = Self::inside(nest, place.y, plan.m[0], conv.out_height);
        let columns = Self::inside(nest, place.x, plan.m[1], conv.out_width);
        let all = Self::all(nest, &rows, &columns);
        nest.branch(
            all,
            |nest| {
                let residual = residual.map_or(out, |(base, _)| base);
                nest.call(pair.inside, &[products, out, residual, spill, count]);
                Ok(())
            },
            |nest| {
                let (table, dump) = (self.at(nest, plan.scratch.outputs), self.at(nest, plan.scratch.dump));
                Self::table(nest, table, (out, steps(&output.strides)), (&rows, &columns), dump);
                let residuals = self.at(nest, plan.scratch.residuals);
                if let Some((base, strides)) = residual {
                    Self::table(nest, residuals, (base, steps(strides)), (&rows, &columns), dump);
                }
                nest.call(pair.edge, &[products, table, residuals, spill, count]);
                Ok(())
            },
        )
    }
}
