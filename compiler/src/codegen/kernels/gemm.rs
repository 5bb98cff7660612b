//! The product of an activation and a constant matrix, the classifier above all: `post(a · B + c)`.
//!
//! B is packed in panels, one for each tile's columns, `[panel][k][column]`, columns padded with zeros to whole
//! registers; then c, padded likewise. One row of `a` makes this a matrix-vector product that reads B once, front to
//! back. A task is a panel times a block of rows.
//!
//! Operands of a kernel: the output, `a`, the packed constants.

use super::axes::{BYTES, extent};
use super::product::{Panel, Place, Tile, fits, shape};
use super::{Emitted, LINE};
use crate::codegen::CodegenError;
use crate::codegen::epilogue::PostOp;
use crate::codegen::link::Linker;
use crate::codegen::target::Target;

const KERNEL: &str = "gemm";
/// Rows of a task, about.
const TASK_ROWS: usize = 64;

/// A product with a constant matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct GemmSpec {
    /// M, K, N.
    pub sizes: [usize; 3],
    /// Strides of `a` along M and K.
    pub a: [usize; 2],
    /// Strides of the output along M and N.
    pub out: [usize; 2],
    /// Whether the constant is stored [N, K].
    pub trans_b: bool,
    /// Applied to the sums; [`PostOp::Add`] is not allowed.
    pub post: Vec<PostOp>,
}

/// Factors that packing applies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Of the product.
    pub alpha: f32,
    /// Of the addend.
    pub beta: f32,
}

/// Rows of a tile and floats of a panel's row.
fn panel(spec: &GemmSpec, target: &Target) -> (usize, usize) {
    let (rows, registers) = shape(target, spec.sizes[0]);
    (rows, registers * target.lanes())
}

fn padded_columns(spec: &GemmSpec, target: &Target) -> usize {
    spec.sizes[2].div_ceil(target.lanes()) * target.lanes()
}

fn validate(spec: &GemmSpec) -> Result<(), CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    let [m, k, n] = spec.sizes;
    extent(KERNEL, &[m, k], &spec.a)?;
    extent(KERNEL, &[m, n], &spec.out)?;
    // A panel is at most some hundred columns wider than the matrix.
    extent(KERNEL, &[k, n.saturating_add(1024)], &[n.saturating_add(1024), 1])?;
    if spec.post.contains(&PostOp::Add) {
        return Err(bad("it has no residual operand"));
    }
    if n > 1 && spec.out[1] != 1 && spec.post.iter().any(PostOp::is_transcendental) {
        return Err(bad("the columns of the output are not neighbours"));
    }
    Ok(())
}

/// How many floats [`pack`] writes.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn packed_len(spec: &GemmSpec, target: &Target) -> Result<usize, CodegenError> {
    validate(spec)?;
    Ok(padded_columns(spec, target) * (spec.sizes[1] + 1))
}

/// Packs B and the addend (zeros if there is none), with their factors applied in f64.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec, or if a slice's length does not fit it.
pub fn pack(
    spec: &GemmSpec,
    target: &Target,
    factors: Factors,
    b: &[f32],
    c: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), CodegenError> {
    let [_, k, n] = spec.sizes;
    let lengths = (b.len(), c.map_or(n, <[f32]>::len), out.len());
    let needed = (k * n, n, packed_len(spec, target)?);
    if lengths != needed {
        let reason = format!("lengths of B, c and the packed constants are {lengths:?}, not {needed:?}");
        return Err(CodegenError::BadSpec { kernel: KERNEL, reason });
    }
    let scaled = |x: f32, factor: f32| if factor == 1.0 { x } else { (f64::from(x) * f64::from(factor)) as f32 };
    let (wide, columns) = (panel(spec, target).1, padded_columns(spec, target));
    let (panels, bias) = out.split_at_mut(columns * k);
    let mut rest = panels;
    for first in (0..columns).step_by(wide) {
        let width = wide.min(columns - first);
        let (panel, next) = rest.split_at_mut(width * k);
        rest = next;
        let exist = width.min(n - first);
        // A few rows at once: of a transposed matrix they are neighbours, while columns are far apart, often at a distance
        // that shares a set of the cache.
        for (block, rows) in panel.chunks_mut(LINE * width).enumerate() {
            let (begin, count) = (block * LINE, rows.len() / width);
            for column in 0..exist {
                for step in 0..count {
                    let (row, column_of_b) = (begin + step, first + column);
                    let index = if spec.trans_b { column_of_b * k + row } else { row * n + column_of_b };
                    rows[step * width + column] = scaled(b[index], factors.alpha);
                }
            }
            rows.chunks_exact_mut(width).for_each(|row| row[exist..].fill(0.0));
        }
    }
    for (column, value) in bias.iter_mut().enumerate() {
        *value = c.and_then(|c| c.get(column)).map_or(0.0, |c| scaled(*c, factors.beta));
    }
    Ok(())
}

/// Emits the product.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &GemmSpec) -> Result<Emitted, CodegenError> {
    validate(spec)?;
    let target = linker.target().clone();
    let lanes = target.lanes();
    let [m, k, n] = spec.sizes;
    let (rows, wide) = panel(spec, &target);
    if !fits(&target, rows, wide / lanes) {
        return Err(CodegenError::Internal("a product tile that does not fit the registers"));
    }
    let (panels, left) = (n / wide, n % wide);
    let mut tile = |rows: usize, columns: usize| {
        if rows == 0 || columns == 0 {
            return Ok(None);
        }
        let tile = Tile {
            rows,
            columns,
            width: lanes,
            depth: k,
            a: spec.a,
            b: [columns.div_ceil(lanes) * lanes, 1],
            b_padded: true,
            out: spec.out,
            bias: true,
            post: spec.post.clone(),
        };
        linker.tile(&format!("{KERNEL}/{rows}x{columns}"), tile.args(), &|a| tile.emit(a)).map(Some)
    };
    let last_rows = m % rows;
    let wide_columns = if panels > 0 { wide } else { 0 };
    let whole =
        Panel { full: tile(if m >= rows { rows } else { 0 }, wide_columns)?, last: tile(last_rows, wide_columns)? };
    let narrow = Panel { full: tile(if m >= rows { rows } else { 0 }, left)?, last: tile(last_rows, left)? };
    let block_rows = rows * TASK_ROWS.div_ceil(rows);
    let blocks = m.div_ceil(block_rows);
    let all_panels = n.div_ceil(wide);
    let tasks = blocks * all_panels;
    let bias_offset = (padded_columns(spec, &target) * k) as i64 * BYTES;
    let name = format!("{KERNEL}/{rows}x{wide}");
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let (out, a, packed) = (nest.operand(0), nest.operand(1), nest.operand(2));
        nest.for_tasks(|nest, task| {
            let (panel, block) = nest.div_rem(task, blocks as u64);
            let b = nest.step(packed, panel, (wide * k) as i64 * BYTES);
            let bias = nest.offset(packed, bias_offset);
            let bias = nest.step(bias, panel, wide as i64 * BYTES);
            let out = nest.step(out, panel, (wide * spec.out[1]) as i64 * BYTES);
            let first = nest.scale(block, block_rows as i64);
            let end = nest.offset(first, block_rows as i64);
            let strides = (spec.a[0], spec.out[0]);
            let place = Place { m, step: rows, first, end, a, b, out, bias: Some(bias), strides };
            if left == 0 {
                return place.rows(nest, &whole);
            }
            if panels == 0 {
                return place.rows(nest, &narrow);
            }
            let more = nest.less(panel, panels as i64);
            nest.branch(more, |nest| place.rows(nest, &whole), |nest| place.rows(nest, &narrow))
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}
