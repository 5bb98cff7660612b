//! Softmax along one axis, any rank: `exp(x − max) / Σ exp(x − max)`.
//!
//! Where the axis itself is contiguous a tile takes rows of it, with reductions across lanes; otherwise it walks along
//! the axis for a register of neighbours at a time. NaN and +∞ in a row make the whole row NaN.
//!
//! Operands of a kernel: the output, then the input.

use cranelift_codegen::ir::Value;

use super::Emitted;
use super::axes::{Axis, BYTES, Rows, collapse};
use super::lanes::{Cursor, Run, registers, release, walk};
use super::math;
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;
use crate::codegen::vector::{Addr, Asm, Count, P, repeat, splat};

const KERNEL: &str = "softmax";
/// Registers that one pass along a contiguous axis takes.
const UNROLL: usize = 2;
/// A longer run of neighbours is cut into rows of this many registers.
const RUN: usize = 16;

/// A softmax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftmaxSpec {
    /// The axis that sums to 1.
    pub axis: usize,
    /// Sizes.
    pub sizes: Vec<usize>,
    /// Strides of the output.
    pub out: Vec<usize>,
    /// Strides of the input.
    pub input: Vec<usize>,
}

/// Emits a softmax.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &SoftmaxSpec) -> Result<Emitted, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    if spec.axis >= spec.sizes.len() {
        return Err(bad("there is no such axis"));
    }
    collapse(KERNEL, &spec.sizes, &[&spec.out, &spec.input])?;
    let strides = [spec.out[spec.axis], spec.input[spec.axis]];
    let along = Along { len: spec.sizes[spec.axis], strides };
    let without = |list: &[usize]| {
        let mut list = list.to_vec();
        list.remove(spec.axis);
        list
    };
    let mut axes = collapse(KERNEL, &without(&spec.sizes), &[&without(&spec.out), &without(&spec.input)])?;
    let lanes = linker.target().lanes();
    let (rows, row_elements, kind, tile) = if strides == [1, 1] || along.len == 1 {
        let rows = Rows::new(axes, 2);
        let tile = linker.tile("softmax/along", 3, &|a| along_tile(a, along, &rows.rows))?;
        (rows, along.len, "along", tile)
    } else {
        let inner = axes.pop().unwrap_or_else(|| Axis::unit(2));
        let vector = inner.size == 1 || inner.strides.iter().all(|stride| *stride == 1);
        let most = RUN * if vector { lanes } else { 1 };
        // Pieces of nearly the same size that divide the run, where it is long.
        let pieces = inner.size.div_ceil(most).max(1);
        let pieces = (pieces..=2 * pieces).find(|pieces| inner.size % pieces == 0).unwrap_or(1);
        let len = inner.size / pieces;
        if pieces > 1 {
            axes.push(Axis { size: pieces, strides: inner.strides.iter().map(|stride| stride * len).collect() });
        }
        let run = Run { len, vector };
        let rows = Rows::new(axes, 2);
        let tile = linker.tile("softmax/across", 3, &|a| across_tile(a, along, run, &inner, &rows.rows))?;
        let kind = if vector { "across" } else { "scalar" };
        (rows, along.len.saturating_mul(len), kind, tile)
    };
    let cut = rows.cut(row_elements, usize::MAX);
    let tasks = if row_elements == 0 { 0 } else { cut.tasks };
    let name = format!("{KERNEL}/{kind}");
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let bases: [Value; 2] = [nest.operand(0), nest.operand(1)];
        nest.for_tasks(|nest, task| {
            rows.emit(nest, cut, task, &bases, &|nest, pointers, count| {
                nest.call(tile, &[pointers[0], pointers[1], count]);
                Ok(())
            })
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}

/// The axis that sums to 1.
#[derive(Clone, Copy)]
struct Along {
    len: usize,
    /// Of the output and the input.
    strides: [usize; 2],
}

/// The tile of rows along a contiguous axis: arguments are the output, the input, the count of rows.
fn along_tile(a: &mut dyn Asm, along: Along, rows: &Axis) {
    let (out, input, count) = (a.arg(0), a.arg(1), a.arg(2));
    let lanes = a.lanes();
    let run = Run { len: along.len, vector: true };
    let whole = Run { len: along.len / lanes * lanes, vector: true };
    let (to, from) = (Cursor { pointer: out, stride: 1 }, Cursor { pointer: input, stride: 1 });
    repeat(a, Count::Reg(count), |a| {
        let (most, x) = (a.vec(), a.vec());
        splat(a, most, f32::NEG_INFINITY);
        walk(a, whole, 4 * UNROLL, &[from], |a, pieces| {
            for piece in 0..pieces.len() {
                a.load(x, from.at(piece, lanes));
                a.max(most, x, most);
            }
        });
        if whole.len > 0 {
            a.reduce_max(most, most);
        }
        // Lanes that do not exist would count as zeros: the last elements join one by one.
        for element in whole.len..along.len {
            a.broadcast(x, Addr::at(input, element as i64 * BYTES));
            a.max(most, x, most);
        }
        let sum = a.vec();
        a.zero(sum);
        walk(a, run, UNROLL, &[to, from], |a, pieces| {
            for (piece, &used) in pieces.iter().enumerate() {
                a.load_first(x, from.at(piece, lanes), used);
                a.sub(x, x, most);
                math::exp(a, x);
                a.store_first(to.at(piece, lanes), x, used);
                if used < lanes {
                    // What was computed in lanes that do not exist must not be summed.
                    a.load_first(x, to.at(piece, lanes), used);
                }
                a.add(sum, sum, x);
            }
        });
        a.reduce_add(sum, sum);
        walk(a, run, 2 * UNROLL, &[to], |a, pieces| {
            for (piece, &used) in pieces.iter().enumerate() {
                a.load_first(x, to.at(piece, lanes), used);
                a.div(x, x, sum);
                a.store_first(to.at(piece, lanes), x, used);
            }
        });
        for register in [most, x, sum] {
            a.free(register);
        }
        a.add_imm(out, rows.bytes(0));
        a.add_imm(input, rows.bytes(1));
    });
}

/// The tile of neighbours, each with its own sum: arguments are the output, the input, the count of rows of neighbours.
fn across_tile(a: &mut dyn Asm, along: Along, run: Run, inner: &Axis, rows: &Axis) {
    let (out, input, count) = (a.arg(0), a.arg(1), a.arg(2));
    let width = run.width(a.lanes());
    let cursors =
        [Cursor { pointer: out, stride: inner.strides[0] }, Cursor { pointer: input, stride: inner.strides[1] }];
    let [to, from] = cursors;
    repeat(a, Count::Reg(count), |a| {
        walk(a, run, UNROLL, &cursors, |a, pieces| {
            let (most, sums) = (registers(a, pieces), registers(a, pieces));
            let x = a.vec();
            for (&most, &sum) in most.iter().zip(&sums) {
                splat(a, most, f32::NEG_INFINITY);
                a.zero(sum);
            }
            along.each(a, &[(input, 1)], |a, pointers| {
                for (piece, &lanes) in pieces.iter().enumerate() {
                    a.load_first(x, Cursor { pointer: pointers[0], ..from }.at(piece, width), lanes);
                    a.max(most[piece], x, most[piece]);
                }
            });
            along.each(a, &[(out, 0), (input, 1)], |a, pointers| {
                for (piece, &lanes) in pieces.iter().enumerate() {
                    a.load_first(x, Cursor { pointer: pointers[1], ..from }.at(piece, width), lanes);
                    a.sub(x, x, most[piece]);
                    math::exp(a, x);
                    a.add(sums[piece], sums[piece], x);
                    a.store_first(Cursor { pointer: pointers[0], ..to }.at(piece, width), x, lanes);
                }
            });
            along.each(a, &[(out, 0)], |a, pointers| {
                for (piece, &lanes) in pieces.iter().enumerate() {
                    let at = Cursor { pointer: pointers[0], ..to }.at(piece, width);
                    a.load_first(x, at, lanes);
                    a.div(x, x, sums[piece]);
                    a.store_first(at, x, lanes);
                }
            });
            a.free(x);
            release(a, &most);
            release(a, &sums);
        });
        a.add_imm(out, rows.bytes(0));
        a.add_imm(input, rows.bytes(1));
    });
}

impl Along {
    /// Emits a loop along the axis with copies of the given pointers (and which operand each belongs to).
    fn each(self, a: &mut dyn Asm, pointers: &[(P, usize)], body: impl FnOnce(&mut dyn Asm, &[P])) {
        let copies: Vec<P> = pointers
            .iter()
            .map(|&(pointer, _)| {
                let copy = a.int();
                a.mov(copy, pointer);
                copy
            })
            .collect();
        repeat(a, Count::Times(self.len as u64), |a| {
            body(a, &copies);
            for (&copy, &(_, operand)) in copies.iter().zip(pointers) {
                a.add_imm(copy, self.strides[operand] as i64 * BYTES);
            }
        });
        for copy in copies {
            a.free_int(copy);
        }
    }
}
