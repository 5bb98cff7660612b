//! Maximum and average over windows, vectorised over channels.
//!
//! Two tiles: one for a run of pixels whose windows lie wholly inside, taps unrolled; one for a pixel at an edge, which
//! gets the number of taps inside and, for averages, the divisors of its row and column. The loops around them clip the
//! windows at run time. A task is a few output rows.
//!
//! The maximum is NaN where a tap is NaN. Operands of a kernel: the output, the input, then for averages with edges the
//! packed divisors.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use incept_ir::ops::Pool;

use super::Emitted;
use super::axes::{BYTES, extent};
use super::lanes::{Cursor, Run, registers, release, walk};
use crate::codegen::CodegenError;
use crate::codegen::link::{Linker, TileId};
use crate::codegen::nest::Nest;
use crate::codegen::vector::{Addr, Asm, Count, P, V, repeat, splat};

const KERNEL: &str = "pool";
/// Registers of channels in a block.
const BLOCK: usize = 4;
/// Windows of up to this many taps are unrolled whole, longer rows of taps are looped over.
const UNROLLED_TAPS: usize = 16;
/// Output elements that a task should have at least.
const TASK_ELEMENTS: usize = 4096;

/// Maximum or average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// The largest element inside, −∞ where there is none.
    Max,
    /// The mean of the elements inside.
    Average {
        /// Whether padding (but not what lies beyond it) counts in the divisor.
        count_include_pad: bool,
    },
}

/// A pooling.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// What is computed.
    pub reduction: Reduction,
    /// The windows; `ceil_mode` is ignored, the output sizes say it.
    pub window: Pool,
    /// N, C, H, W of the input.
    pub in_sizes: [usize; 4],
    /// Strides of the input.
    pub input: [usize; 4],
    /// H and W of the output.
    pub out_sizes: [usize; 2],
    /// Strides of the output.
    pub out: [usize; 4],
}

/// One axis of the windows.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
    pad_after: usize,
    dilation: usize,
}

impl Axis {
    /// Outputs whose windows lie wholly inside: from the first to one past the last.
    fn interior(&self) -> (usize, usize) {
        let reach = (self.kernel - 1) * self.dilation;
        let first = self.pad.div_ceil(self.stride).min(self.output);
        let end = match (self.input + self.pad).checked_sub(reach + 1) {
            Some(last) => (last / self.stride + 1).min(self.output),
            None => 0,
        };
        if end <= first { (0, 0) } else { (first, end) }
    }

    /// What the divisor of an average counts along this axis.
    fn divisor(&self, output: usize, include_pad: bool) -> usize {
        let (low, high) =
            if include_pad { (0, self.input + self.pad + self.pad_after) } else { (self.pad, self.pad + self.input) };
        (0..self.kernel).filter(|tap| (low..high).contains(&(output * self.stride + tap * self.dilation))).count()
    }
}

impl PoolSpec {
    fn axis(&self, index: usize) -> Axis {
        let w = &self.window;
        Axis {
            input: self.in_sizes[2 + index],
            output: self.out_sizes[index],
            kernel: w.kernel[index],
            stride: w.strides[index],
            pad: w.pads[index],
            pad_after: w.pads[2 + index],
            dilation: w.dilations[index],
        }
    }

    fn validate(&self) -> Result<(), CodegenError> {
        let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
        let [batch, channels, height, width] = self.in_sizes;
        let w = &self.window;
        if w.kernel.iter().chain(&w.strides).chain(&w.dilations).any(|value| *value == 0) {
            return Err(bad("a kernel, stride or dilation is zero"));
        }
        let [out_height, out_width] = self.out_sizes;
        extent(KERNEL, &[batch, channels, out_height, out_width], &self.out)?;
        extent(KERNEL, &[batch, channels, height, width], &self.input)?;
        for index in 0..2 {
            let axis = self.axis(index);
            // No position that a window reaches may overflow, however far outside it lies.
            let reach = extent(
                KERNEL,
                &[axis.output, axis.kernel, 2, 2, 2],
                &[axis.stride, axis.dilation, axis.pad, axis.pad_after, axis.input],
            )?;
            let step = self.input[2 + index];
            extent(KERNEL, &[2], &[reach.checked_mul(step).ok_or_else(|| bad("it is too large"))?])?;
        }
        Ok(())
    }

    /// Whether some window is not wholly inside.
    fn has_edges(&self) -> bool {
        (0..2).any(|index| self.axis(index).interior() != (0, self.out_sizes[index]))
    }

    fn include_pad(&self) -> Option<bool> {
        match self.reduction {
            Reduction::Max => None,
            Reduction::Average { count_include_pad } => Some(count_include_pad),
        }
    }
}

/// How many floats of packed divisors the kernel reads; none where no average has an edge.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn packed_len(spec: &PoolSpec) -> Result<usize, CodegenError> {
    spec.validate()?;
    Ok(if spec.include_pad().is_some() && spec.has_edges() { spec.out_sizes.iter().sum() } else { 0 })
}

/// Packs the divisors: one for each output row, then one for each output column.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec, or where `out` has not [`packed_len`] floats.
pub fn pack(spec: &PoolSpec, out: &mut [f32]) -> Result<(), CodegenError> {
    if packed_len(spec)? != out.len() {
        return Err(CodegenError::BadSpec { kernel: KERNEL, reason: "the divisors have another length".to_owned() });
    }
    let (rows, columns) = out.split_at_mut(spec.out_sizes[0].min(out.len()));
    for (index, list) in [rows, columns].into_iter().enumerate() {
        let axis = spec.axis(index);
        for (output, value) in list.iter_mut().enumerate() {
            *value = axis.divisor(output, spec.include_pad() == Some(true)) as f32;
        }
    }
    Ok(())
}

/// What both tiles share.
struct Tiles<'a> {
    spec: &'a PoolSpec,
    run: Run,
}

impl Tiles<'_> {
    /// Byte steps of a tap down and to the right.
    fn tap_steps(&self) -> (i64, i64) {
        let [_, _, row, pixel] = self.spec.input;
        let [down, right] = self.spec.window.dilations;
        ((row * down) as i64 * BYTES, (pixel * right) as i64 * BYTES)
    }

    fn cursors(&self, input: P, out: P) -> [Cursor; 2] {
        [Cursor { pointer: input, stride: self.spec.input[1] }, Cursor { pointer: out, stride: self.spec.out[1] }]
    }

    /// Takes one tap, at `offset` bytes from the cursor, into the accumulators.
    fn tap(&self, a: &mut dyn Asm, source: Cursor, offset: i64, pieces: &[usize], sums: &[V], first: bool) {
        let width = self.run.width(a.lanes());
        if first {
            for (piece, (&lanes, &sum)) in pieces.iter().zip(sums).enumerate() {
                a.load_first(sum, source.at(piece, width).offset(offset), lanes);
            }
            return;
        }
        let (x, y) = (a.vec(), a.vec());
        for (piece, (&lanes, &sum)) in pieces.iter().zip(sums).enumerate() {
            a.load_first(x, source.at(piece, width).offset(offset), lanes);
            match self.spec.reduction {
                // Each maximum gives its second operand where one is NaN: together they keep a NaN of either.
                Reduction::Max => {
                    a.max(y, sum, x);
                    a.max(sum, x, sum);
                    a.or(sum, sum, y);
                }
                Reduction::Average { .. } => a.add(sum, sum, x),
            }
        }
        a.free(x);
        a.free(y);
    }

    /// The tile of a run of pixels inside: arguments are the output, the input, the count of pixels.
    fn inside(&self, a: &mut dyn Asm) {
        let (out, input, pixels) = (a.arg(0), a.arg(1), a.arg(2));
        let width = self.run.width(a.lanes());
        let [rows, columns] = self.spec.window.kernel;
        let (down, right) = self.tap_steps();
        let whole = rows * columns <= UNROLLED_TAPS;
        repeat(a, Count::Reg(pixels), |a| {
            let cursors = self.cursors(input, out);
            let [source, target] = cursors;
            walk(a, self.run, BLOCK, &cursors, |a, pieces| {
                let sums = registers(a, pieces);
                if whole {
                    for tap in 0..rows * columns {
                        let offset = (tap / columns) as i64 * down + (tap % columns) as i64 * right;
                        self.tap(a, source, offset, pieces, &sums, tap == 0);
                    }
                } else {
                    self.clear(a, &sums);
                    self.looped_taps(a, source, Count::Times(rows as u64), Count::Times(columns as u64), pieces, &sums);
                }
                if self.spec.include_pad().is_some() {
                    let divisor = a.vec();
                    splat(a, divisor, (rows * columns) as f32);
                    for &sum in &sums {
                        a.div(sum, sum, divisor);
                    }
                    a.free(divisor);
                }
                for (piece, (&lanes, &sum)) in pieces.iter().zip(&sums).enumerate() {
                    a.store_first(target.at(piece, width), sum, lanes);
                }
                release(a, &sums);
            });
            a.add_imm(input, (self.spec.window.strides[1] * self.spec.input[3]) as i64 * BYTES);
            a.add_imm(out, self.spec.out[3] as i64 * BYTES);
        });
    }

    /// The tile of a pixel at an edge: arguments are the output, the first tap inside, the counts of rows and columns of
    /// taps inside, and for averages the addresses of the row's and the column's divisor.
    fn edge(&self, a: &mut dyn Asm) {
        let (out, input, rows, columns) = (a.arg(0), a.arg(1), a.arg(2), a.arg(3));
        let width = self.run.width(a.lanes());
        let cursors = self.cursors(input, out);
        let [source, target] = cursors;
        let divisor = self.spec.include_pad().map(|_| {
            let (divisor, other) = (a.vec(), a.vec());
            let (row, column) = (a.arg(4), a.arg(5));
            a.broadcast(divisor, Addr::new(row));
            a.broadcast(other, Addr::new(column));
            a.mul(divisor, divisor, other);
            a.free(other);
            divisor
        });
        walk(a, self.run, BLOCK, &cursors, |a, pieces| {
            let sums = registers(a, pieces);
            self.clear(a, &sums);
            self.looped_taps(a, source, Count::Reg(rows), Count::Reg(columns), pieces, &sums);
            for (piece, (&lanes, &sum)) in pieces.iter().zip(&sums).enumerate() {
                if let Some(divisor) = divisor {
                    a.div(sum, sum, divisor);
                }
                a.store_first(target.at(piece, width), sum, lanes);
            }
            release(a, &sums);
        });
    }

    fn clear(&self, a: &mut dyn Asm, sums: &[V]) {
        for &sum in sums {
            match self.spec.reduction {
                Reduction::Max => splat(a, sum, f32::NEG_INFINITY),
                Reduction::Average { .. } => a.zero(sum),
            }
        }
    }

    /// All taps, in loops.
    fn looped_taps(&self, a: &mut dyn Asm, source: Cursor, rows: Count, columns: Count, pieces: &[usize], sums: &[V]) {
        let (down, right) = self.tap_steps();
        let (line, tap) = (a.int(), a.int());
        a.mov(line, source.pointer);
        let counted = |a: &mut dyn Asm, count: Count| match count {
            Count::Times(_) => (count, None),
            // Loops count their register down, and this one runs again for the next block.
            Count::Reg(register) => {
                let copy = a.int();
                a.mov(copy, register);
                (Count::Reg(copy), Some(copy))
            }
        };
        let (rows, spare) = counted(a, rows);
        repeat(a, rows, |a| {
            a.mov(tap, line);
            let (columns, spare) = counted(a, columns);
            repeat(a, columns, |a| {
                self.tap(a, Cursor { pointer: tap, ..source }, 0, pieces, sums, false);
                a.add_imm(tap, right);
            });
            if let Some(spare) = spare {
                a.free_int(spare);
            }
            a.add_imm(line, down);
        });
        for register in [Some(line), Some(tap), spare].into_iter().flatten() {
            a.free_int(register);
        }
    }
}

/// The taps inside of one output row or column, at run time: how many, and the input position of the first.
struct Clipped {
    count: Value,
    first: Value,
}

fn clip(nest: &mut Nest<'_>, axis: &Axis, output: Value) -> Clipped {
    let (zero, kernel) = (nest.int(0), nest.int(axis.kernel as i64));
    let start = nest.scale(output, axis.stride as i64);
    let start = nest.offset(start, -(axis.pad as i64));
    let rounded_up = |nest: &mut Nest<'_>, distance: Value| {
        let distance = nest.max(distance, zero);
        let distance = nest.offset(distance, axis.dilation as i64 - 1);
        nest.div_rem(distance, axis.dilation as u64).0
    };
    let missing = nest.scale(start, -1);
    let begin = rounded_up(nest, missing);
    let left = nest.scale(start, -1);
    let left = nest.offset(left, axis.input as i64);
    let end = rounded_up(nest, left);
    let end = nest.min(end, kernel);
    let count = nest.sub(end, begin);
    let count = nest.max(count, zero);
    let first = nest.step(start, begin, axis.dilation as i64);
    // Where there is no tap inside nothing is read, but the address stays one within reach.
    Clipped { count, first }
}

/// Emits a pooling.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &PoolSpec) -> Result<Emitted, CodegenError> {
    spec.validate()?;
    let [batch, channels, ..] = spec.in_sizes;
    let [out_height, out_width] = spec.out_sizes;
    let vector = channels == 1 || (spec.input[1] == 1 && spec.out[1] == 1);
    let tiles = Tiles { spec, run: Run { len: channels, vector } };
    let kind = match spec.reduction {
        Reduction::Max => "max_pool",
        Reduction::Average { .. } => "avg_pool",
    };
    let (vertical, horizontal) = (spec.axis(0), spec.axis(1));
    let (interior_rows, interior) = (vertical.interior(), horizontal.interior());
    let has_inside = interior_rows.0 < interior_rows.1 && interior.0 < interior.1;
    let divisors = spec.include_pad().is_some();
    let inside = has_inside.then(|| linker.tile(&format!("{kind}/inside"), 3, &|a| tiles.inside(a))).transpose()?;
    let edge = spec
        .has_edges()
        .then(|| linker.tile(&format!("{kind}/edge"), if divisors { 6 } else { 4 }, &|a| tiles.edge(a)));
    let edge = edge.transpose()?;
    let rows = batch * out_height;
    let per_task = (TASK_ELEMENTS / (out_width * channels).max(1)).clamp(1, rows.max(1));
    let tasks = if out_width * channels == 0 { 0 } else { rows.div_ceil(per_task) };
    let [height, width] = spec.window.kernel;
    let name = format!("{kind}/{height}x{width}{}", if vector { "" } else { "/scalar" });
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let (out, input) = (nest.operand(0), nest.operand(1));
        let table = if divisors && edge.is_some() { Some(nest.operand(2)) } else { None };
        let drive = Drive { spec, vertical, horizontal, inside, edge, table };
        nest.for_tasks(|nest, task| {
            let first = nest.scale(task, per_task as i64);
            let end = nest.offset(first, per_task as i64);
            let all = nest.int(rows as i64);
            let end = nest.min(end, all);
            nest.for_range(first, end, 1, |nest, row| drive.row(nest, row, input, out))
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}

/// The loops around the tiles.
struct Drive<'a> {
    spec: &'a PoolSpec,
    vertical: Axis,
    horizontal: Axis,
    inside: Option<TileId>,
    edge: Option<TileId>,
    table: Option<Value>,
}

impl Drive<'_> {
    /// One output row of one image.
    fn row(&self, nest: &mut Nest<'_>, row: Value, input: Value, out: Value) -> Result<(), CodegenError> {
        let spec = self.spec;
        let (image, y) = nest.div_rem(row, spec.out_sizes[0] as u64);
        let input = nest.step(input, image, spec.input[0] as i64 * BYTES);
        let out = nest.step(out, image, spec.out[0] as i64 * BYTES);
        let out = nest.step(out, y, spec.out[2] as i64 * BYTES);
        let taps = clip(nest, &self.vertical, y);
        let line = nest.step(input, taps.first, spec.input[2] as i64 * BYTES);
        let (first, end) = self.horizontal.interior();
        let width = nest.int(spec.out_sizes[1] as i64);
        let (Some(tile), pixels) = (self.inside, end - first) else {
            let zero = nest.int(0);
            return self.edges(nest, y, zero, width, line, out, &taps);
        };
        let inside = |nest: &mut Nest<'_>| {
            let column = (first * spec.window.strides[1]) as i64 - spec.window.pads[1] as i64;
            let source = nest.offset(line, column * spec.input[3] as i64 * BYTES);
            let target = nest.offset(out, (first * spec.out[3]) as i64 * BYTES);
            let count = nest.int(pixels as i64);
            nest.call(tile, &[target, source, count]);
            Ok(())
        };
        if self.edge.is_none() {
            return inside(nest);
        }
        // A row that is clipped itself has edge pixels only.
        let kernel = nest.int(spec.window.kernel[0] as i64);
        let full = nest.builder().ins().icmp(IntCC::Equal, taps.count, kernel);
        let (from, to) = (nest.int(first as i64), nest.int(end as i64));
        let left = nest.builder().ins().select(full, from, width);
        let right = nest.builder().ins().select(full, to, width);
        let zero = nest.int(0);
        self.edges(nest, y, zero, left, line, out, &taps)?;
        nest.branch(full, inside, |_| Ok(()))?;
        self.edges(nest, y, right, width, line, out, &taps)
    }

    /// The pixels `from..to` of a row, one by one.
    #[allow(clippy::too_many_arguments, reason = "a row's state, unpacked for one caller")]
    fn edges(
        &self,
        nest: &mut Nest<'_>,
        y: Value,
        from: Value,
        to: Value,
        line: Value,
        out: Value,
        rows: &Clipped,
    ) -> Result<(), CodegenError> {
        let Some(tile) = self.edge else { return Ok(()) };
        let spec = self.spec;
        nest.for_range(from, to, 1, |nest, x| {
            let columns = clip(nest, &self.horizontal, x);
            let source = nest.step(line, columns.first, spec.input[3] as i64 * BYTES);
            let target = nest.step(out, x, spec.out[3] as i64 * BYTES);
            let mut args = vec![target, source, rows.count, columns.count];
            if let Some(table) = self.table {
                args.push(nest.step(table, y, BYTES));
                let columns = nest.offset(table, spec.out_sizes[0] as i64 * BYTES);
                args.push(nest.step(columns, x, BYTES));
            }
            nest.call(tile, &args);
            Ok(())
        })
    }
}
