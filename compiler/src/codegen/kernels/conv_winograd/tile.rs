//! The register tiles: matrix products, and the transforms of one tile for all its channels.

use super::grid::{Ends, Grid};
use crate::codegen::epilogue::{self, PostOp};
use crate::codegen::target::{Level, Target};
use crate::codegen::vector::{Addr, Asm, Count, V, repeat};

/// Multiply-adds that a loop body is unrolled to.
const UNROLLED: usize = 256;

/// A few tiles × a few vectors of output channels, summed over all input channels. Distances are in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// Tiles.
    pub rows: usize,
    /// Vectors of output channels.
    pub vectors: usize,
    /// Input channels.
    pub depth: usize,
    /// From one tile's input to the next one's.
    pub row_step: i64,
    /// Among how many register tiles the fetching of the next weights is divided; 0: nothing is fetched.
    pub sharers: usize,
}

impl Product {
    /// Arguments: input, weights, products, what the sums start at, weights to fetch.
    pub const ARGS: usize = 5;

    /// Steps of one pass of the loop.
    fn unroll(&self) -> usize {
        (UNROLLED / (self.rows * self.vectors)).clamp(1, self.depth.clamp(1, 16))
    }

    /// Bytes that one pass of `steps` steps fetches.
    fn share(&self, lanes: usize, steps: usize) -> usize {
        (steps * self.vectors * lanes * 4).div_ceil(self.sharers.max(1)).next_multiple_of(64)
    }

    /// Bytes that a register tile fetches.
    pub fn fetched(&self, lanes: usize) -> i64 {
        (self.share(lanes, self.unroll()) * (self.depth / self.unroll())) as i64
    }

    /// Emits the tile.
    pub fn emit(&self, a: &mut dyn Asm) {
        let (input, weights, products, start, ahead) = (a.arg(0), a.arg(1), a.arg(2), a.arg(3), a.arg(4));
        let vector = 4 * a.lanes() as i64;
        let width = vector * self.vectors as i64;
        let sums: Vec<Vec<V>> = (0..self.rows).map(|_| (0..self.vectors).map(|_| a.vec()).collect()).collect();
        for (v, sum) in sums[0].iter().enumerate() {
            a.load(*sum, Addr::at(start, v as i64 * vector));
        }
        for row in &sums[1..] {
            for (sum, first) in row.iter().zip(&sums[0]) {
                a.copy(*sum, *first);
            }
        }
        let factors: Vec<V> = (0..self.vectors).map(|_| a.vec()).collect();
        let step = |a: &mut dyn Asm, c: i64| {
            for (v, factor) in factors.iter().enumerate() {
                a.load(*factor, Addr::at(weights, c * width + v as i64 * vector));
            }
            for (row, sums) in sums.iter().enumerate() {
                let from = Addr::at(input, row as i64 * self.row_step + 4 * c);
                if let ([sum], [factor]) = (&sums[..], &factors[..]) {
                    a.fma_broadcast(*sum, from, *factor);
                    continue;
                }
                let x = a.vec();
                a.broadcast(x, from);
                for (sum, factor) in sums.iter().zip(&factors) {
                    a.fma(*sum, x, *factor);
                }
                a.free(x);
            }
        };
        let unroll = self.unroll();
        let pass = |a: &mut dyn Asm, steps: usize| {
            let share = if self.sharers > 0 { self.share(a.lanes(), steps) } else { 0 };
            let lines = share / 64;
            for c in 0..steps {
                for line in lines * c / steps..lines * (c + 1) / steps {
                    a.prefetch(Addr::at(ahead, 64 * line as i64));
                }
                step(a, c as i64);
            }
            a.add_imm(input, 4 * steps as i64);
            a.add_imm(weights, steps as i64 * width);
            a.add_imm(ahead, share as i64);
        };
        repeat(a, Count::Times((self.depth / unroll) as u64), |a| pass(a, unroll));
        if !self.depth.is_multiple_of(unroll) {
            pass(a, self.depth % unroll);
        }
        for (row, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                a.store(Addr::at(products, row as i64 * width + v as i64 * vector), *sum);
            }
        }
    }
}

/// Registers that a transform may use.
fn registers(target: &Target, reserved: usize) -> usize {
    // Cranelift's allocator needs some slack not to spill.
    let slack = if target.level() == Level::V128 { 2 } else { 0 };
    target.registers().saturating_sub(reserved + slack)
}

/// The input transform of one tile. Distances are in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputTile<'a> {
    pub grid: &'a Grid,
    /// Input pixels, vertical and horizontal.
    pub n: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// From one row and pixel of the input to the next; unused where pixels come from a table.
    pub steps: [i64; 2],
    /// From one position of the result to the next.
    pub position_step: i64,
    /// Whether the first argument is a table of pointers to the pixels.
    pub table: bool,
}

impl InputTile<'_> {
    /// Arguments: the first pixel (or the table), the result, the spill area.
    pub const ARGS: usize = 3;

    /// Emits the tile.
    pub fn emit(&self, a: &mut dyn Asm, target: &Target) {
        let (from, to, spill) = (a.arg(0), a.arg(1), a.arg(2));
        let (lanes, vector) = (a.lanes(), 4 * a.lanes() as i64);
        let channel = a.int();
        a.set(channel, 0);
        let some = |a: &mut dyn Asm, lanes: usize| {
            let load = |a: &mut dyn Asm, dst: V, [row, column]: [usize; 2]| {
                if !self.table {
                    let at = row as i64 * self.steps[0] + column as i64 * self.steps[1];
                    return a.load_first(dst, Addr::at(from, at), lanes);
                }
                let pixel = a.int();
                a.load_int(pixel, Addr::at(from, 8 * (row * self.n[1] + column) as i64));
                a.load_first(dst, Addr::new(pixel).index(channel, 1), lanes);
                a.free_int(pixel);
            };
            let store = |a: &mut dyn Asm, row: usize, values: &[V]| {
                for (column, value) in values.iter().enumerate() {
                    a.store(Addr::at(to, (row * self.n[1] + column) as i64 * self.position_step), *value);
                }
            };
            // A masked load of the narrower instruction sets takes no further register.
            self.grid.emit(a, &Ends { load: &load, store: &store, spill, registers: registers(target, 0) });
        };
        repeat(a, Count::Times((self.channels / lanes) as u64), |a| {
            some(a, lanes);
            a.add_imm(if self.table { channel } else { from }, vector);
            a.add_imm(to, vector);
        });
        if !self.channels.is_multiple_of(lanes) {
            some(a, self.channels % lanes);
        }
        a.free_int(channel);
    }
}

/// The output transform of one tile and one panel. Distances are in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputTile<'a> {
    pub grid: &'a Grid,
    /// Positions, vertical and horizontal.
    pub n: [usize; 2],
    /// Output pixels, vertical and horizontal.
    pub m: [usize; 2],
    /// From one position of the products to the next.
    pub position_step: i64,
    /// From one row and pixel of the output to the next, and the same of the residual.
    pub steps: [i64; 2],
    pub residual_steps: [i64; 2],
    /// Whether the output and the residual are given as tables of pointers to the pixels.
    pub table: bool,
    /// Lanes of a last vector that is not full; 0: there is none.
    pub last_lanes: usize,
    /// What is applied to the results.
    pub post: &'a [PostOp],
}

impl OutputTile<'_> {
    /// Arguments: the products, the first pixel (or the table), the residual's, the spill area, the number of full
    /// vectors.
    pub const ARGS: usize = 5;

    /// Emits the tile.
    pub fn emit(&self, a: &mut dyn Asm, target: &Target) {
        let (from, out, residual, spill, count) = (a.arg(0), a.arg(1), a.arg(2), a.arg(3), a.arg(4));
        let (lanes, vector) = (a.lanes(), 4 * a.lanes() as i64);
        let channel = a.int();
        a.set(channel, 0);
        let some = |a: &mut dyn Asm, lanes: usize| {
            let load = |a: &mut dyn Asm, dst: V, [row, column]: [usize; 2]| {
                a.load(dst, Addr::at(from, (row * self.n[1] + column) as i64 * self.position_step));
            };
            let store = |a: &mut dyn Asm, row: usize, values: &[V]| {
                let pointer = a.int();
                let adds = self.post.contains(&PostOp::Add);
                let result = |a: &mut dyn Asm, column: usize, register: V| {
                    let at = row as i64 * self.residual_steps[0] + column as i64 * self.residual_steps[1];
                    let residual = if !adds {
                        None
                    } else if self.table {
                        a.load_int(pointer, Addr::at(residual, 8 * (row * self.m[1] + column) as i64));
                        Some(Addr::new(pointer).index(channel, 1))
                    } else {
                        Some(Addr::at(residual, at))
                    };
                    epilogue::Result { register, residual, lanes }
                };
                if self.table && adds {
                    // The pointer is in a register for one result at a time.
                    for (column, value) in values.iter().enumerate() {
                        let result = result(a, column, *value);
                        epilogue::apply(a, self.post, &[result]);
                    }
                } else {
                    let results: Vec<epilogue::Result> =
                        values.iter().enumerate().map(|(column, value)| result(a, column, *value)).collect();
                    epilogue::apply(a, self.post, &results);
                }
                for (column, value) in values.iter().enumerate() {
                    let to = if self.table {
                        a.load_int(pointer, Addr::at(out, 8 * (row * self.m[1] + column) as i64));
                        Addr::new(pointer).index(channel, 1)
                    } else {
                        Addr::at(out, row as i64 * self.steps[0] + column as i64 * self.steps[1])
                    };
                    a.store_first(to, *value, lanes);
                }
                a.free_int(pointer);
            };
            // The post-ops, or a masked store, take registers of their own.
            let reserved = epilogue::registers(self.post);
            self.grid.emit(a, &Ends { load: &load, store: &store, spill, registers: registers(target, reserved) });
        };
        repeat(a, Count::Reg(count), |a| {
            some(a, lanes);
            a.add_imm(from, vector);
            if self.table {
                a.add_imm(channel, vector);
            } else {
                a.add_imm(out, vector);
                a.add_imm(residual, vector);
            }
        });
        if self.last_lanes > 0 {
            some(a, self.last_lanes);
        }
        a.free_int(channel);
    }
}
