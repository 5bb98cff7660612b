//! Batched matrix products of two activations: the last two axes multiply, those before them are equal or repeat.
//!
//! Vectorised over N where the columns of `b` are neighbours, one column at a time otherwise. A task is one matrix's
//! block of columns and rows.
//!
//! Operands of a kernel: the output, `a`, `b`.

use cranelift_codegen::ir::Value;

use super::Emitted;
use super::axes::{Axis, BYTES, Rows, collapse, extent};
use super::product::{Panel, Place, Tile, fits, shape};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;

const KERNEL: &str = "matmul";
/// Rows of a task, about.
const TASK_ROWS: usize = 64;

/// A batched product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatMulSpec {
    /// Sizes of the axes before the matrices.
    pub batch: Vec<usize>,
    /// M, K, N.
    pub sizes: [usize; 3],
    /// Strides of `a`: the batch's, then along M and K.
    pub a: Vec<usize>,
    /// Strides of `b`: the batch's, then along K and N.
    pub b: Vec<usize>,
    /// Strides of the output: the batch's, then along M and N.
    pub out: Vec<usize>,
}

/// What cuts one axis: full steps and what is left.
#[derive(Clone, Copy)]
struct Split {
    step: usize,
    whole: usize,
    left: usize,
}

impl Split {
    fn new(size: usize, step: usize) -> Self {
        Self { step, whole: size / step, left: size % step }
    }
}

/// Emits the product.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &MatMulSpec) -> Result<Emitted, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    let [m, k, n] = spec.sizes;
    let rank = spec.batch.len();
    if [&spec.a, &spec.b, &spec.out].iter().any(|strides| strides.len() != rank + 2) {
        return Err(bad("an operand has another rank"));
    }
    let matrix = |strides: &[usize]| [strides[rank], strides[rank + 1]];
    let (a, b, out) = (matrix(&spec.a), matrix(&spec.b), matrix(&spec.out));
    for (tail, strides) in [([m, k], &spec.a), ([k, n], &spec.b), ([m, n], &spec.out)] {
        let sizes: Vec<usize> = spec.batch.iter().copied().chain(tail).collect();
        extent(KERNEL, &sizes, strides)?;
    }
    let axes = collapse(KERNEL, &spec.batch, &[&spec.out[..rank], &spec.a[..rank], &spec.b[..rank]])?;
    let matrices: usize = axes.iter().map(|axis| axis.size).product();
    let target = linker.target().clone();
    let width = if b[1] == 1 { target.lanes() } else { 1 };
    let (rows, registers) = shape(&target, m);
    if !fits(&target, rows, registers) {
        return Err(CodegenError::Internal("a product tile that does not fit the registers"));
    }
    let (columns, rows) = (Split::new(n, registers * width), Split::new(m, rows));
    let mut tile = |rows: usize, columns: usize| {
        let tile = Tile { rows, columns, width, depth: k, a, b, b_padded: false, out, bias: false, post: Vec::new() };
        linker.tile(&format!("{KERNEL}/{rows}x{columns}"), tile.args(), &|a| tile.emit(a))
    };
    let mut column = |size: usize, exists: bool| -> Result<Option<Panel>, CodegenError> {
        if !exists {
            return Ok(None);
        }
        let full = (rows.whole > 0).then(|| tile(rows.step, size)).transpose()?;
        let last = (rows.left > 0).then(|| tile(rows.left, size)).transpose()?;
        Ok(Some(Panel { full, last }))
    };
    let whole = column(columns.step, columns.whole > 0)?;
    let narrow = column(columns.left, columns.left > 0)?;
    let block_rows = rows.step * TASK_ROWS.div_ceil(rows.step);
    let blocks = m.div_ceil(block_rows);
    let panels = n.div_ceil(columns.step);
    let tasks = matrices * panels * blocks;
    // One "row" a call of the walk over matrices.
    let space = Rows { outer: axes, rows: Axis::unit(3) };
    let name = format!("{KERNEL}/{}x{}{}", rows.step, columns.step, if width == 1 { "/scalar" } else { "" });
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let bases: [Value; 3] = [nest.operand(0), nest.operand(1), nest.operand(2)];
        let cut = super::axes::Cut { group: 1, blocks: 1, block_rows: 1, tasks: matrices };
        nest.for_tasks(|nest, task| {
            let (rest, block) = nest.div_rem(task, blocks as u64);
            let (matrix, panel) = nest.div_rem(rest, panels as u64);
            let first = nest.scale(block, block_rows as i64);
            let end = nest.offset(first, block_rows as i64);
            space.emit(nest, cut, matrix, &bases, &|nest, pointers, _| {
                let panel_out = nest.step(pointers[0], panel, (columns.step * out[1]) as i64 * BYTES);
                let panel_b = nest.step(pointers[2], panel, (columns.step * b[1]) as i64 * BYTES);
                let place = Place {
                    m,
                    step: rows.step,
                    first,
                    end,
                    a: pointers[1],
                    b: panel_b,
                    out: panel_out,
                    bias: None,
                    strides: (a[0], out[0]),
                };
                match (&whole, &narrow) {
                    (Some(whole), Some(narrow)) => {
                        let more = nest.less(panel, columns.whole as i64);
                        nest.branch(more, |nest| place.rows(nest, whole), |nest| place.rows(nest, narrow))
                    }
                    (Some(only), None) | (None, Some(only)) => place.rows(nest, only),
                    (None, None) => Err(CodegenError::Internal("a product without columns has tasks")),
                }
            })
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}
