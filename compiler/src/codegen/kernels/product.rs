//! The register tile that [`super::gemm`] and [`super::matmul`] share: a few rows of `a` times a few registers of columns
//! of `b`, summed over all of K in order.
//!
//! Arguments: a, b, output, and the bias where there is one.

use cranelift_codegen::ir::Value;

use super::axes::BYTES;
use crate::codegen::CodegenError;
use crate::codegen::epilogue::{self, PostOp, Result as PostResult, apply};
use crate::codegen::link::TileId;
use crate::codegen::nest::Nest;
use crate::codegen::target::Target;
use crate::codegen::vector::{Addr, Asm, Count, P, V, repeat};

/// Steps of K that one pass of the loop takes.
const UNROLL: usize = 4;

/// The tile's shape and the strides around it, in elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Columns that a register takes: all its lanes, or one where columns of `b` are not neighbours.
    pub width: usize,
    /// The length of the sum.
    pub depth: usize,
    /// From one row of `a` to the next, and from one step of K to the next.
    pub a: [usize; 2],
    /// From one step of K to the next in `b`, and from one column to the next.
    pub b: [usize; 2],
    /// Whether whole registers may be read from `b` beyond the last column.
    pub b_padded: bool,
    /// From one row of the output to the next, and from one column to the next.
    pub out: [usize; 2],
    /// Whether the sums start at a bias, padded to whole registers.
    pub bias: bool,
    /// Applied to the sums.
    pub post: Vec<PostOp>,
}

/// How many rows and registers of columns a tile takes at most, for `rows` rows in all.
#[must_use]
pub fn shape(target: &Target, rows: usize) -> (usize, usize) {
    let registers = target.registers();
    if rows == 1 {
        // As many sums as hide the latency of a multiply-add, and panels that are enough tasks.
        return (1, if registers >= 32 { 4 } else { 8 });
    }
    let (most, columns) = match registers {
        32.. if target.lanes() > 4 => (6, 4),
        32.. => (6, 2),
        _ if target.lanes() > 4 => (6, 2),
        _ => (4, 2),
    };
    // Blocks of nearly the same size.
    (rows.div_ceil(rows.div_ceil(most).max(1)).max(1), columns)
}

impl Tile {
    fn pieces(&self) -> Vec<usize> {
        let (whole, tail) = (self.columns / self.width, self.columns % self.width);
        let mut pieces = vec![self.width; whole];
        pieces.extend((tail > 0).then_some(tail));
        pieces
    }

    /// The arguments that the tile takes.
    #[must_use]
    pub fn args(&self) -> usize {
        3 + usize::from(self.bias)
    }

    /// Emits the tile.
    pub fn emit(&self, asm: &mut dyn Asm) {
        let (a, b, out) = (asm.arg(0), asm.arg(1), asm.arg(2));
        let pieces = self.pieces();
        let sums: Vec<Vec<V>> = (0..self.rows).map(|_| pieces.iter().map(|_| asm.vec()).collect()).collect();
        for row in &sums {
            for (piece, &sum) in row.iter().enumerate() {
                if self.bias {
                    let bias = asm.arg(3);
                    asm.load(sum, Addr::at(bias, (piece * self.width) as i64 * BYTES));
                } else {
                    asm.zero(sum);
                }
            }
        }
        let column: Vec<V> = if self.rows == 1 { Vec::new() } else { pieces.iter().map(|_| asm.vec()).collect() };
        let (a_step, b_step) = (self.a[1] as i64 * BYTES, self.b[0] as i64 * BYTES);
        repeat(asm, Count::Times((self.depth / UNROLL) as u64), |asm| {
            for k in 0..UNROLL as i64 {
                self.step(asm, Addr::at(a, k * a_step), Addr::at(b, k * b_step), &pieces, &sums, &column);
            }
            asm.add_imm(a, UNROLL as i64 * a_step);
            asm.add_imm(b, UNROLL as i64 * b_step);
        });
        for k in 0..(self.depth % UNROLL) as i64 {
            self.step(asm, Addr::at(a, k * a_step), Addr::at(b, k * b_step), &pieces, &sums, &column);
        }
        for register in column {
            asm.free(register);
        }
        if self.out[1] == 1 {
            let mut results = Vec::new();
            let mut places = Vec::new();
            for (row, sums) in sums.iter().enumerate() {
                for (piece, (&register, &lanes)) in sums.iter().zip(&pieces).enumerate() {
                    results.push(PostResult { register, residual: None, lanes });
                    places.push(Addr::at(out, (row * self.out[0] + piece * self.width) as i64 * BYTES));
                }
            }
            return epilogue::store(asm, &self.post, &results, &places);
        }
        for (row, sums) in sums.iter().enumerate() {
            let results: Vec<PostResult> = sums
                .iter()
                .zip(&pieces)
                .map(|(&register, &lanes)| PostResult { register, residual: None, lanes })
                .collect();
            apply(asm, &self.post, &results);
            self.store(asm, out, row, &pieces, sums);
        }
    }

    /// One step of K.
    fn step(&self, asm: &mut dyn Asm, a: Addr, b: Addr, pieces: &[usize], sums: &[Vec<V>], column: &[V]) {
        let piece_bytes = (self.width * self.b[1]) as i64 * BYTES;
        let whole = |asm: &dyn Asm, lanes: usize| self.b_padded || lanes == asm.lanes();
        if let [row] = sums {
            let x = asm.vec();
            asm.broadcast(x, a);
            for (piece, (&lanes, &sum)) in pieces.iter().zip(row).enumerate() {
                let at = b.offset(piece as i64 * piece_bytes);
                if whole(asm, lanes) {
                    asm.fma_mem(sum, x, at);
                } else {
                    let y = asm.vec();
                    asm.load_first(y, at, lanes);
                    asm.fma(sum, y, x);
                    asm.free(y);
                }
            }
            asm.free(x);
            return;
        }
        for (piece, (&lanes, &y)) in pieces.iter().zip(column).enumerate() {
            let at = b.offset(piece as i64 * piece_bytes);
            let lanes = if whole(asm, lanes) { asm.lanes() } else { lanes };
            asm.load_first(y, at, lanes);
        }
        let x = asm.vec();
        for (row, sums) in sums.iter().enumerate() {
            asm.broadcast(x, a.offset((row * self.a[0]) as i64 * BYTES));
            for (&sum, &y) in sums.iter().zip(column) {
                asm.fma(sum, x, y);
            }
        }
        asm.free(x);
    }

    fn store(&self, asm: &mut dyn Asm, out: P, row: usize, pieces: &[usize], sums: &[V]) {
        for (piece, (&lanes, &sum)) in pieces.iter().zip(sums).enumerate() {
            let at = |column: usize| Addr::at(out, (row * self.out[0] + column * self.out[1]) as i64 * BYTES);
            let first = piece * self.width;
            if self.out[1] == 1 || lanes == 1 {
                asm.store_first(at(first), sum, lanes);
                continue;
            }
            for lane in 0..lanes {
                asm.store_lane(at(first + lane), sum, lane);
            }
        }
    }
}

/// Whether a tile of this shape leaves registers for its operands and its post-ops.
#[must_use]
pub fn fits(target: &Target, rows: usize, registers: usize) -> bool {
    // A column of `b` and an element of `a`; a single row multiplies from memory and holds a masked register at most.
    let operands = if rows == 1 { 2 } else { registers + 1 };
    rows * registers + operands.max(epilogue::REGISTERS) <= target.registers()
}

/// The tiles of one panel of columns: of full height, and of the rows that are left.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// For all rows but the last few; none where there are fewer.
    pub full: Option<TileId>,
    /// For the rows that are left; none where there are none.
    pub last: Option<TileId>,
}

/// One task: a block of rows of one panel.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// All rows of the product.
    pub m: usize,
    /// Rows of a tile of full height.
    pub step: usize,
    /// The task's first row, a multiple of `step`.
    pub first: Value,
    /// One past its last row, a multiple of `step` or beyond `m`.
    pub end: Value,
    /// Where `a` starts.
    pub a: Value,
    /// Where the panel of `b` starts.
    pub b: Value,
    /// Where the panel's output starts.
    pub out: Value,
    /// Where the panel's bias is.
    pub bias: Option<Value>,
    /// From one row to the next, of `a` and of the output.
    pub strides: (usize, usize),
}

impl Place {
    /// Calls the tiles of full height, then that of the rows that are left.
    ///
    /// # Errors
    /// None of its own.
    pub fn rows(&self, nest: &mut Nest<'_>, panel: &Panel) -> Result<(), CodegenError> {
        let (whole, all) = (nest.int((self.m - self.m % self.step) as i64), nest.int(self.m as i64));
        let full_end = nest.min(self.end, whole);
        // The rows that are left are in the last block, and begin where the full tiles end.
        let (last_start, last_end) = (nest.max(self.first, whole), nest.min(self.end, all));
        for (tile, from, to) in [(panel.full, self.first, full_end), (panel.last, last_start, last_end)] {
            let Some(tile) = tile else { continue };
            nest.for_range(from, to, self.step as i64, |nest, row| {
                let a = nest.step(self.a, row, self.strides.0 as i64 * BYTES);
                let out = nest.step(self.out, row, self.strides.1 as i64 * BYTES);
                let args: Vec<Value> = [a, self.b, out].into_iter().chain(self.bias).collect();
                nest.call(tile, &args);
                Ok(())
            })?;
        }
        Ok(())
    }
}
