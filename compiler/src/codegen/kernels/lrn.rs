//! Local response normalisation across channels: `x / (bias + alpha / size · Σ x²) ^ beta`.
//!
//! A tile takes a few pixels: first the squares of their channels go to scratch, with zeros before and after, then each
//! register of channels adds up the squares around it. Exponents ½, ¾ and 1 are square roots; others go through
//! logarithm and exponential.
//!
//! Operands of a kernel: the output, then the input.

use cranelift_codegen::ir::Value;

use super::Emitted;
use super::axes::{Axis, BYTES, MAX_ELEMENTS, Rows, collapse, extent};
use super::lanes::{Cursor, Run, walk};
use super::math;
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;
use crate::codegen::vector::{Addr, Asm, Count, P, V, repeat, splat};

const KERNEL: &str = "lrn";
/// Pixels of a call: enough that squares are read well after they were written.
const PIXELS: usize = 16;
/// Registers that one pass of a loop over channels takes.
const UNROLL: usize = 2;
/// Windows up to this are unrolled.
const UNROLLED: usize = 16;

/// A normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct LrnSpec {
    /// Channels in a window.
    pub size: usize,
    /// Scale of the sum of squares, divided by `size`.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// Added to the scaled sum.
    pub bias: f32,
    /// N, C, H, W.
    pub sizes: [usize; 4],
    /// Strides of the output.
    pub out: [usize; 4],
    /// Strides of the input.
    pub input: [usize; 4],
}

/// The layout of one pixel's squares in scratch, in elements.
#[derive(Clone, Copy)]
struct Row {
    before: usize,
    channels: usize,
    len: usize,
}

/// Emits a normalisation.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &LrnSpec) -> Result<Emitted, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    let [batch, channels, height, width] = spec.sizes;
    extent(KERNEL, &spec.sizes, &spec.input)?;
    extent(KERNEL, &spec.sizes, &spec.out)?;
    if spec.size == 0 || spec.size >= MAX_ELEMENTS {
        return Err(bad("the window has no channels or too many"));
    }
    let without = |strides: &[usize; 4]| [strides[0], strides[2], strides[3]];
    let axes = collapse(KERNEL, &[batch, height, width], &[&without(&spec.out), &without(&spec.input)])?;
    let rows = Rows::new(axes, 2);
    let vector = channels == 1 || (spec.input[1] == 1 && spec.out[1] == 1);
    let run = Run { len: channels, vector };
    let lanes = linker.target().lanes();
    // What a window reaches beyond the channels is nothing but zeros.
    let size = spec.size.min(2 * channels.max(1) + 1);
    let (before, after) = (((spec.size - 1) / 2).min(size), (spec.size / 2).min(size));
    // Whole registers of squares are written and read, so that the last one reaches beyond the window.
    let row = Row { before, channels, len: before + channels + after + 2 * lanes };
    let cut = rows.cut(channels, PIXELS);
    let tasks = if channels == 0 { 0 } else { cut.tasks };
    let scratch_bytes = (PIXELS * row.len + lanes) * 4;
    let tile = linker.tile(KERNEL, 4, &|a| pixel_tile(a, spec, run, &rows.rows, row, before + after + 1))?;
    let name = format!("{KERNEL}{}", if vector { "" } else { "/scalar" });
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let bases: [Value; 2] = [nest.operand(0), nest.operand(1)];
        let scratch = nest.scratch();
        nest.for_tasks(|nest, task| {
            rows.emit(nest, cut, task, &bases, &|nest, pointers, count| {
                nest.call(tile, &[pointers[0], pointers[1], count, scratch]);
                Ok(())
            })
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes, name })
}

/// The tile: arguments are the output, the input, the count of pixels and the scratch memory.
fn pixel_tile(a: &mut dyn Asm, spec: &LrnSpec, run: Run, pixels: &Axis, row: Row, window: usize) {
    let (out, input, count, scratch) = (a.arg(0), a.arg(1), a.arg(2), a.arg(3));
    let width = run.width(a.lanes());
    let row_bytes = row.len as i64 * BYTES;
    let (left, square, source) = (a.int(), a.int(), a.int());
    a.mov(left, count);
    a.mov(square, scratch);
    a.mov(source, input);
    let x = a.vec();
    repeat(a, Count::Reg(left), |a| {
        zero_ends(a, square, row, x);
        a.add_imm(square, row.before as i64 * BYTES);
        let from = Cursor { pointer: source, stride: spec.input[1] };
        let to = Cursor { pointer: square, stride: 1 };
        walk(a, run, UNROLL, &[from, to], |a, pieces| {
            for (piece, &lanes) in pieces.iter().enumerate() {
                a.load_first(x, from.at(piece, width), lanes);
                a.mul(x, x, x);
                // Lanes beyond the last channel are zeros, and there is room for them.
                let stored = if width == 1 { 1 } else { a.lanes() };
                a.store_first(to.at(piece, width), x, stored);
            }
        });
        a.add_imm(square, row_bytes - row.before as i64 * BYTES);
        a.add_imm(source, pixels.bytes(1));
    });
    a.free(x);
    a.free_int(left);
    a.free_int(source);
    a.mov(square, scratch);
    let norm = Norm::new(a, spec);
    repeat(a, Count::Reg(count), |a| {
        let from = Cursor { pointer: input, stride: spec.input[1] };
        let to = Cursor { pointer: out, stride: spec.out[1] };
        let squares = Cursor { pointer: square, stride: 1 };
        walk(a, run, UNROLL, &[from, to, squares], |a, pieces| {
            for (piece, &lanes) in pieces.iter().enumerate() {
                let (sum, x) = (a.vec(), a.vec());
                add_window(a, squares, piece, width, window, sum, x);
                a.load_first(x, from.at(piece, width), lanes);
                norm.apply(a, x, sum);
                a.store_first(to.at(piece, width), x, lanes);
                a.free(sum);
                a.free(x);
            }
        });
        a.add_imm(square, row_bytes);
        a.add_imm(input, pixels.bytes(1));
        a.add_imm(out, pixels.bytes(0));
    });
}

/// Zeros before and after the channels of one pixel, in whole registers: what they cover beyond is written later.
fn zero_ends(a: &mut dyn Asm, square: P, row: Row, zero: V) {
    a.zero(zero);
    let lanes = a.lanes();
    for (from, to) in [(0, row.before), (row.before + row.channels, row.len)] {
        let vectors = (to - from).div_ceil(lanes);
        let (at, step) = (Addr::at(square, from as i64 * BYTES), lanes as i64 * BYTES);
        if vectors <= 4 {
            for index in 0..vectors {
                a.store(at.offset(index as i64 * step), zero);
            }
            continue;
        }
        repeat(a, Count::Times(vectors as u64), |a| {
            a.store(at, zero);
            a.add_imm(square, step);
        });
        a.add_imm(square, -(vectors as i64 * step));
    }
}

/// `sum = Σ squares`, `window` of them from the register's position on.
fn add_window(a: &mut dyn Asm, squares: Cursor, piece: usize, width: usize, window: usize, sum: V, x: V) {
    let at = squares.at(piece, width);
    if window <= UNROLLED {
        a.load(sum, at);
        for tap in 1..window {
            a.load(x, at.offset(tap as i64 * BYTES));
            a.add(sum, sum, x);
        }
        return;
    }
    let tap = a.int();
    a.mov(tap, squares.pointer);
    a.zero(sum);
    repeat(a, Count::Times(window as u64), |a| {
        a.load(x, Cursor { pointer: tap, stride: 1 }.at(piece, width));
        a.add(sum, sum, x);
        a.add_imm(tap, BYTES);
    });
    a.free_int(tap);
}

/// The division by the power.
struct Norm {
    beta: f32,
    scale: V,
    bias: V,
}

impl Norm {
    fn new(a: &mut dyn Asm, spec: &LrnSpec) -> Self {
        let (scale, bias) = (a.vec(), a.vec());
        splat(a, scale, (f64::from(spec.alpha) / spec.size as f64) as f32);
        splat(a, bias, spec.bias);
        Self { beta: spec.beta, scale, bias }
    }

    /// `x = x / (bias + scale · sum) ^ beta`.
    fn apply(&self, a: &mut dyn Asm, x: V, sum: V) {
        let t = a.vec();
        a.copy(t, self.bias);
        a.fma(t, sum, self.scale);
        if self.beta == 0.75 {
            a.sqrt(t, t);
            a.sqrt(sum, t);
            a.mul(t, t, sum);
            a.div(x, x, t);
        } else if self.beta == 0.5 {
            a.sqrt(t, t);
            a.div(x, x, t);
        } else if self.beta == 1.0 {
            a.div(x, x, t);
        } else {
            math::log(a, t);
            splat(a, sum, -self.beta);
            a.mul(t, t, sum);
            math::exp(a, t);
            a.mul(x, x, t);
        }
        a.free(t);
    }
}
