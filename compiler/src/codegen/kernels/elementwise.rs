//! Elementwise kernels: one output, up to three inputs of its sizes, any rank, any strides, stride 0 repeating an element.
//!
//! Fill, copy, activation, the four operations, scale-and-shift (batch normalisation) are all one loop nest: the
//! axes collapse to as few as the strides allow, a tile walks rows of the innermost one. It is vectorised where every
//! operand is contiguous or constant along that axis, and takes one element at a time otherwise.
//!
//! Operands of a kernel: the output, then the inputs.

use cranelift_codegen::ir::Value;

use super::Emitted;
use super::axes::{Axis, Cut, Rows, collapse};
use super::lanes::{Cursor, Pieces, Run, walk};
use crate::codegen::CodegenError;
use crate::codegen::epilogue::{PostOp, Result as PostResult, apply};
use crate::codegen::link::{Linker, TileId};
use crate::codegen::nest::Nest;
use crate::codegen::vector::{Asm, Count, P, V, repeat, splat};

const KERNEL: &str = "elementwise";
/// Registers of a row that one pass of the inner loop takes.
const UNROLL: usize = 4;
/// A longer innermost axis is cut, so that tasks have something to share.
const ROW_ELEMENTS: usize = 16384;

/// What is computed for each element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    /// A constant; no inputs.
    Fill(f32),
    /// The input.
    Copy,
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
    /// x · scale + shift, rounded once
    ScaleShift,
}

impl Function {
    fn inputs(self) -> usize {
        match self {
            Self::Fill(_) => 0,
            Self::Copy => 1,
            Self::Add | Self::Sub | Self::Mul | Self::Div => 2,
            Self::ScaleShift => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fill(_) => "fill",
            Self::Copy => "copy",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::ScaleShift => "scale_shift",
        }
    }

    /// Emits the function of `x` (and `y`, `z`), leaving the result in the register that it returns.
    fn emit(self, a: &mut dyn Asm, x: &[V]) -> V {
        match (self, x) {
            (Self::Add, [x, y]) => a.add(*x, *x, *y),
            (Self::Sub, [x, y]) => a.sub(*x, *x, *y),
            (Self::Mul, [x, y]) => a.mul(*x, *x, *y),
            (Self::Div, [x, y]) => a.div(*x, *x, *y),
            (Self::ScaleShift, [x, scale, shift]) => {
                a.fma(*shift, *x, *scale);
                return *shift;
            }
            _ => {}
        }
        x[0]
    }
}

/// An elementwise kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementwiseSpec {
    /// The function.
    pub function: Function,
    /// Applied to the result in order; [`PostOp::Add`] is not allowed.
    pub post: Vec<PostOp>,
    /// Sizes of the space.
    pub sizes: Vec<usize>,
    /// Strides of the output; none is 0 where the size is above 1.
    pub out: Vec<usize>,
    /// Strides of each input.
    pub inputs: Vec<Vec<usize>>,
}

/// A box of the space with a tile for its rows.
struct Part {
    /// Where its first element is, for each operand, in bytes.
    offsets: Vec<i64>,
    rows: Rows,
    run: Run,
    inner: Axis,
    cut: Cut,
}

/// The parts of a space: one, or two where a long innermost axis does not divide evenly.
fn parts(spec: &ElementwiseSpec) -> Result<Vec<Part>, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    if spec.inputs.len() != spec.function.inputs() {
        return Err(bad("the function takes another number of inputs"));
    }
    if spec.post.contains(&PostOp::Add) {
        return Err(bad("it has no residual operand"));
    }
    let operands: Vec<&[usize]> =
        std::iter::once(spec.out.as_slice()).chain(spec.inputs.iter().map(Vec::as_slice)).collect();
    let mut axes = collapse(KERNEL, &spec.sizes, &operands)?;
    let count = operands.len();
    let inner = axes.pop().unwrap_or_else(|| Axis::unit(count));
    let contiguous =
        inner.strides.iter().enumerate().all(|(operand, stride)| *stride == 1 || (operand > 0 && *stride == 0));
    // A single element is a vector of one lane wherever it lies.
    let vector = contiguous || inner.size == 1;
    let part = |first: usize, len: usize, axes: Vec<Axis>| {
        let rows = Rows::new(axes, count);
        let cut = rows.cut(len, usize::MAX);
        let offsets = (0..count).map(|operand| first as i64 * inner.bytes(operand)).collect();
        Part { offsets, rows, run: Run { len, vector }, inner: Axis { size: len, ..inner.clone() }, cut }
    };
    if inner.size <= ROW_ELEMENTS {
        return Ok(vec![part(0, inner.size, axes)]);
    }
    let (whole, left) = (inner.size / ROW_ELEMENTS, inner.size % ROW_ELEMENTS);
    let mut parts = Vec::new();
    if left > 0 {
        parts.push(part(whole * ROW_ELEMENTS, left, axes.clone()));
    }
    let strides = inner.strides.iter().map(|stride| stride * ROW_ELEMENTS).collect();
    axes.push(Axis { size: whole, strides });
    parts.insert(0, part(0, ROW_ELEMENTS, axes));
    Ok(parts)
}

/// A part with its tile.
pub(super) struct Emitter {
    part: Part,
    tile: TileId,
}

impl Emitter {
    /// Emits the tile of a part.
    fn new(linker: &mut Linker, spec: &ElementwiseSpec, part: Part) -> Result<Self, CodegenError> {
        let args = 2 + spec.inputs.len();
        let tile = linker.tile(spec.function.name(), args, &|a| row_tile(a, spec, &part))?;
        Ok(Self { part, tile })
    }

    /// Emits one task of the part, or the whole part where `task` is none.
    pub(super) fn emit(&self, nest: &mut Nest<'_>, task: Option<Value>, bases: &[Value]) -> Result<(), CodegenError> {
        let mut pointers = Vec::with_capacity(bases.len());
        for (base, offset) in bases.iter().zip(&self.part.offsets) {
            pointers.push(nest.offset(*base, *offset));
        }
        let (cut, task) = match task {
            Some(task) => (self.part.cut, task),
            None => (self.part.rows.whole(), nest.int(0)),
        };
        self.part.rows.emit(nest, cut, task, &pointers, &|nest, pointers, rows| {
            let mut args = pointers.to_vec();
            args.push(rows);
            nest.call(self.tile, &args);
            Ok(())
        })
    }
}

/// The tile: arguments are the operands' pointers, then the count of rows.
fn row_tile(a: &mut dyn Asm, spec: &ElementwiseSpec, part: &Part) {
    let operands = 1 + spec.inputs.len();
    let pointers: Vec<P> = (0..operands).map(|operand| a.arg(operand)).collect();
    let rows = a.arg(operands);
    let inner = &part.inner.strides;
    let run = part.run;
    let width = run.width(a.lanes());
    let filler = match spec.function {
        Function::Fill(value) => {
            let v = a.vec();
            splat(a, v, value);
            Some(v)
        }
        _ => None,
    };
    repeat(a, Count::Reg(rows), |a| {
        // Inputs that are constant along the row are loaded once for it.
        let constants: Vec<Option<V>> = (1..operands)
            .map(|operand| {
                (inner[operand] == 0).then(|| {
                    let v = a.vec();
                    a.broadcast(v, Cursor { pointer: pointers[operand], stride: 0 }.at(0, width));
                    v
                })
            })
            .collect();
        let cursor = |operand: usize| Cursor { pointer: pointers[operand], stride: inner[operand] };
        let cursors: Vec<Cursor> = (0..operands).map(cursor).collect();
        walk(a, run, UNROLL, &cursors, |a, pieces: &Pieces| {
            for (piece, &lanes) in pieces.iter().enumerate() {
                if let Some(filler) = filler {
                    a.store_first(cursors[0].at(piece, width), filler, lanes);
                    continue;
                }
                let mut x = Vec::with_capacity(operands - 1);
                for operand in 1..operands {
                    let v = a.vec();
                    match constants[operand - 1] {
                        Some(constant) => a.copy(v, constant),
                        None => a.load_first(v, cursors[operand].at(piece, width), lanes),
                    }
                    x.push(v);
                }
                let register = spec.function.emit(a, &x);
                apply(a, &spec.post, &[PostResult { register, residual: None, lanes }]);
                a.store_first(cursors[0].at(piece, width), register, lanes);
                for v in x {
                    a.free(v);
                }
            }
        });
        for constant in constants.into_iter().flatten() {
            a.free(constant);
        }
        for (operand, &pointer) in pointers.iter().enumerate() {
            a.add_imm(pointer, part.rows.rows.bytes(operand));
        }
    });
}

/// Emits the tiles of all parts of a space.
pub(super) fn emitters(linker: &mut Linker, spec: &ElementwiseSpec) -> Result<Vec<Emitter>, CodegenError> {
    let mut emitters = Vec::new();
    for part in parts(spec)? {
        emitters.push(Emitter::new(linker, spec, part)?);
    }
    Ok(emitters)
}

/// How many tasks the parts have in all.
pub(super) fn tasks(emitters: &[Emitter]) -> usize {
    emitters.iter().map(|emitter| emitter.part.cut.tasks).fold(0, usize::saturating_add)
}

/// Emits the tasks of all parts that the caller asked for, the tasks of the first part having number `first` and on;
/// returns the number after the last.
pub(super) fn run(
    nest: &mut Nest<'_>,
    emitters: &[Emitter],
    bases: &[Value],
    first: usize,
) -> Result<usize, CodegenError> {
    let (begin, end) = (nest.task_begin(), nest.task_end());
    let mut next = first;
    for emitter in emitters.iter().filter(|emitter| emitter.part.cut.tasks > 0) {
        let start = next;
        next = start.saturating_add(emitter.part.cut.tasks);
        let (low, high) = (nest.int(start as i64), nest.int(next as i64));
        let (from, to) = (nest.max(begin, low), nest.min(end, high));
        nest.for_range(from, to, 1, |nest, task| {
            let task = nest.offset(task, -(start as i64));
            emitter.emit(nest, Some(task), bases)
        })?;
    }
    Ok(next)
}

/// Whether the parts are vectorised.
pub(super) fn vectorised(emitters: &[Emitter]) -> bool {
    emitters.iter().all(|emitter| emitter.part.run.vector)
}

/// Emits an elementwise kernel.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &ElementwiseSpec) -> Result<Emitted, CodegenError> {
    let emitters = emitters(linker, spec)?;
    let name = format!("{}{}", spec.function.name(), if vectorised(&emitters) { "" } else { "/scalar" });
    let kernel = linker.kernel(&name, |nest| {
        let bases: Vec<Value> = (0..=spec.inputs.len()).map(|operand| nest.operand(operand)).collect();
        run(nest, &emitters, &bases, 0)?;
        Ok(())
    })?;
    Ok(Emitted { kernel, tasks: tasks(&emitters) as u64, scratch_bytes: 0, name })
}
