//! Iteration spaces: the axes that several operands share, collapsed, cut into tasks and walked in rows.
//!
//! Depends on [`crate::codegen::nest`] only. Sizes and strides count elements of four bytes.
//!
//! Invariants:
//! 1. Collapsing keeps the set of (operand offsets) and never reorders what one operand needs in order: elements are
//!    independent of each other.
//! 2. The cut into tasks depends on sizes alone.

use cranelift_codegen::ir::Value;
use smallvec::SmallVec;

use crate::codegen::CodegenError;
use crate::codegen::nest::Nest;

/// Bytes of an element.
pub const BYTES: i64 = 4;
/// Elements that a task should at least touch, where there are that many.
const TASK_ELEMENTS: usize = 16384;
/// No offset within an operand may reach this many elements, so that byte offsets fit 64 bits with room to spare.
pub const MAX_ELEMENTS: usize = 1 << 40;

/// One axis of an iteration space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// How many steps.
    pub size: usize,
    /// The step of each operand, in elements.
    pub strides: SmallVec<[usize; 4]>,
}

impl Axis {
    /// One step that goes nowhere.
    #[must_use]
    pub fn unit(operands: usize) -> Self {
        Self { size: 1, strides: SmallVec::from_elem(0, operands) }
    }

    /// The byte stride of one operand.
    #[must_use]
    pub fn bytes(&self, operand: usize) -> i64 {
        self.strides[operand] as i64 * BYTES
    }
}

/// The axes of a space that the operands share, outermost first: axes of size 1 dropped, ordered by the stride of the
/// first operand (the one that is written), neighbours merged where every operand allows it.
///
/// # Errors
/// [`CodegenError::BadSpec`] where an operand's rank differs, the first operand would be written twice at one place, or
/// offsets are beyond [`MAX_ELEMENTS`].
pub fn collapse(kernel: &'static str, sizes: &[usize], operands: &[&[usize]]) -> Result<Vec<Axis>, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel, reason: reason.to_owned() };
    for strides in operands {
        if strides.len() != sizes.len() {
            return Err(bad("an operand has another rank than the sizes"));
        }
        extent(kernel, sizes, strides)?;
    }
    let mut axes: Vec<Axis> = sizes
        .iter()
        .enumerate()
        .filter(|(_, size)| **size != 1)
        .map(|(axis, &size)| Axis { size, strides: operands.iter().map(|strides| strides[axis]).collect() })
        .collect();
    if axes.iter().any(|axis| axis.size > 1 && axis.strides.first() == Some(&0)) {
        return Err(bad("the output repeats an element"));
    }
    axes.sort_by(|a, b| b.strides.first().cmp(&a.strides.first()));
    let mut merged: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        match merged.last_mut() {
            Some(outer)
                if outer.strides.iter().zip(&axis.strides).all(|(outer, inner)| *outer == inner * axis.size) =>
            {
                outer.size *= axis.size;
                outer.strides = axis.strides;
            }
            _ => merged.push(axis),
        }
    }
    Ok(merged)
}

/// One past the highest offset of an operand.
///
/// # Errors
/// [`CodegenError::BadSpec`] beyond [`MAX_ELEMENTS`], also for the number of elements.
pub fn extent(kernel: &'static str, sizes: &[usize], strides: &[usize]) -> Result<usize, CodegenError> {
    let last = sizes
        .iter()
        .zip(strides)
        .try_fold(0usize, |last, (&size, &stride)| last.checked_add(size.saturating_sub(1).checked_mul(stride)?));
    let count = sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    match (last, count) {
        (Some(last), Some(count)) if last < MAX_ELEMENTS && count < MAX_ELEMENTS => Ok(last + 1),
        _ => Err(CodegenError::BadSpec { kernel, reason: "it is too large".to_owned() }),
    }
}

/// Calls a tile with the operands' pointers and a count of rows.
pub type CallRows<'a> = &'a dyn Fn(&mut Nest<'_>, &[Value], Value) -> Result<(), CodegenError>;

/// How a space is cut into tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Positions of the outer axes that a task takes; more than one only where a task takes all rows of each.
    pub group: usize,
    /// Blocks that the rows of one position are cut into.
    pub blocks: usize,
    /// Rows of a block; the last may have fewer.
    pub block_rows: usize,
    /// Tasks in all.
    pub tasks: usize,
}

/// A space walked in rows: a tile gets a pointer for each operand and a count of rows.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The axes outside the rows, outermost first.
    pub outer: Vec<Axis>,
    /// The axis that the tile walks.
    pub rows: Axis,
}

impl Rows {
    /// The innermost axis becomes the rows.
    #[must_use]
    pub fn new(mut axes: Vec<Axis>, operands: usize) -> Self {
        let rows = axes.pop().unwrap_or_else(|| Axis::unit(operands));
        Self { outer: axes, rows }
    }

    fn positions(&self) -> usize {
        self.outer.iter().map(|axis| axis.size).product()
    }

    /// The cut for rows of `row_elements` elements, no call taking more than `max_rows` of them.
    #[must_use]
    pub fn cut(&self, row_elements: usize, max_rows: usize) -> Cut {
        let (positions, rows, row) = (self.positions(), self.rows.size, row_elements.max(1));
        if positions == 0 || rows == 0 {
            return Cut { group: 1, blocks: 1, block_rows: 1, tasks: 0 };
        }
        let position = row.saturating_mul(rows);
        if position <= TASK_ELEMENTS && rows <= max_rows {
            let group = (TASK_ELEMENTS / position).clamp(1, positions);
            return Cut { group, blocks: 1, block_rows: rows, tasks: positions.div_ceil(group) };
        }
        let per_task = (TASK_ELEMENTS / row).clamp(1, max_rows.max(1));
        let blocks = rows.div_ceil(per_task);
        let block_rows = rows.div_ceil(blocks);
        let blocks = rows.div_ceil(block_rows);
        Cut { group: 1, blocks, block_rows, tasks: positions * blocks }
    }

    /// The whole space in one task.
    #[must_use]
    pub fn whole(&self) -> Cut {
        Cut { group: self.positions().max(1), blocks: 1, block_rows: self.rows.size, tasks: 1 }
    }

    /// The pointers at one position of the outer axes.
    fn at(&self, nest: &mut Nest<'_>, position: Value, bases: &[Value]) -> Vec<Value> {
        let mut pointers = bases.to_vec();
        let mut left = position;
        for (index, axis) in self.outer.iter().enumerate().rev() {
            let step = if index == 0 {
                left
            } else {
                let (quotient, remainder) = nest.div_rem(left, axis.size as u64);
                left = quotient;
                remainder
            };
            for (operand, pointer) in pointers.iter_mut().enumerate() {
                if axis.strides[operand] != 0 {
                    *pointer = nest.step(*pointer, step, axis.bytes(operand));
                }
            }
        }
        pointers
    }

    /// Emits task number `task` of `cut`: `call` gets the operands' pointers and a count of rows.
    ///
    /// # Errors
    /// What `call` returns.
    pub fn emit(
        &self,
        nest: &mut Nest<'_>,
        cut: Cut,
        task: Value,
        bases: &[Value],
        call: CallRows<'_>,
    ) -> Result<(), CodegenError> {
        if cut.blocks > 1 {
            let (position, block) = nest.div_rem(task, cut.blocks as u64);
            let mut pointers = self.at(nest, position, bases);
            let first = nest.scale(block, cut.block_rows as i64);
            for (operand, pointer) in pointers.iter_mut().enumerate() {
                *pointer = nest.step(*pointer, first, self.rows.bytes(operand));
            }
            let rows = nest.int(self.rows.size as i64);
            let left = nest.sub(rows, first);
            let full = nest.int(cut.block_rows as i64);
            let count = nest.min(left, full);
            return call(nest, &pointers, count);
        }
        let rows = nest.int(self.rows.size as i64);
        if cut.group == 1 {
            let pointers = self.at(nest, task, bases);
            return call(nest, &pointers, rows);
        }
        let first = nest.scale(task, cut.group as i64);
        let end = nest.offset(first, cut.group as i64);
        let all = nest.int(self.positions() as i64);
        let end = nest.min(end, all);
        nest.for_range(first, end, 1, |nest, position| {
            let pointers = self.at(nest, position, bases);
            call(nest, &pointers, rows)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn dense_axes_merge_and_broadcasts_stay_apart() {
        let nhwc = [2 * 5 * 3, 1, 15, 3];
        let axes = collapse("t", &[4, 3, 2, 5], &[&nhwc, &nhwc]).unwrap();
        assert_eq!(axes, [Axis { size: 120, strides: SmallVec::from_slice(&[1, 1]) }]);
        let axes = collapse("t", &[4, 3, 2, 5], &[&nhwc, &[0, 1, 0, 0]]).unwrap();
        let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
        assert_eq!(sizes, [40, 3]);
    }

    #[test]
    fn an_output_that_repeats_and_sizes_that_overflow_are_refused() {
        assert!(collapse("t", &[4], &[&[0]]).is_err());
        assert!(collapse("t", &[usize::MAX, 2], &[&[1, 1]]).is_err());
        assert!(collapse("t", &[2, 2], &[&[1]]).is_err());
    }

    #[test]
    fn cuts_cover_all_rows_once() {
        for (outer, rows, row) in [(1, 1, 1), (7, 3, 5), (2, 100_000, 9), (5000, 4, 16), (3, 0, 4), (1, 40, 100_000)] {
            let unit = Axis::unit(1);
            let space = Rows { outer: vec![Axis { size: outer, ..unit.clone() }], rows: Axis { size: rows, ..unit } };
            for max_rows in [1, 16, usize::MAX] {
                let cut = space.cut(row, max_rows);
                if rows == 0 {
                    assert_eq!(cut.tasks, 0);
                    continue;
                }
                assert!(cut.block_rows <= max_rows && cut.block_rows * (cut.blocks - 1) < rows);
                assert!(cut.block_rows * cut.blocks >= rows);
                assert_eq!(cut.tasks, (outer * cut.blocks).div_ceil(cut.group));
                assert!(cut.group == 1 || cut.blocks == 1);
            }
        }
    }
}
