//! Padding: fills the border and copies the interior, slice by slice, so that slices are independent tasks.
//!
//! Operands of a kernel: the output, then the input.

use super::Emitted;
use super::axes::{BYTES, MAX_ELEMENTS, extent};
use super::elementwise::{ElementwiseSpec, Function, emitters};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;

const KERNEL: &str = "pad";

/// A padding, any rank.
#[derive(Debug, Clone, PartialEq)]
pub struct PadSpec {
    /// What fills the border.
    pub value: f32,
    /// Sizes of the output.
    pub out_sizes: Vec<usize>,
    /// Strides of the output; none is 0 where the size is above 1.
    pub out: Vec<usize>,
    /// Sizes of the input.
    pub in_sizes: Vec<usize>,
    /// Strides of the input.
    pub input: Vec<usize>,
    /// Where the input starts in the output, along each axis.
    pub begin: Vec<usize>,
}

/// The start of the interior along each axis, from the distance of its first element to the output's.
///
/// # Errors
/// [`CodegenError::BadSpec`] where the distance is that of no box within the output.
pub fn begin_of(
    distance: usize,
    out_sizes: &[usize],
    out: &[usize],
    in_sizes: &[usize],
) -> Result<Vec<usize>, CodegenError> {
    let outside =
        || CodegenError::BadSpec { kernel: KERNEL, reason: "the interior is not within the output".to_owned() };
    if out.len() != out_sizes.len() || in_sizes.len() != out_sizes.len() {
        return Err(outside());
    }
    let mut order: Vec<usize> = (0..out.len()).filter(|&axis| out_sizes[axis] > 1 && out[axis] > 0).collect();
    order.sort_by(|a, b| out[*b].cmp(&out[*a]));
    let (mut begin, mut left) = (vec![0; out.len()], distance);
    for axis in order {
        let most = out_sizes[axis].checked_sub(in_sizes[axis]).ok_or_else(outside)?;
        begin[axis] = (left / out[axis]).min(most);
        left -= begin[axis] * out[axis];
    }
    if left == 0 { Ok(begin) } else { Err(outside()) }
}

/// Emits a padding kernel.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &PadSpec) -> Result<Emitted, CodegenError> {
    let bad = |reason: &str| CodegenError::BadSpec { kernel: KERNEL, reason: reason.to_owned() };
    let rank = spec.out_sizes.len();
    if [spec.out.len(), spec.in_sizes.len(), spec.input.len(), spec.begin.len()].iter().any(|len| *len != rank) {
        return Err(bad("ranks differ"));
    }
    extent(KERNEL, &spec.out_sizes, &spec.out)?;
    let fits =
        |axis: usize| spec.begin[axis].checked_add(spec.in_sizes[axis]).is_some_and(|end| end <= spec.out_sizes[axis]);
    if !(0..rank).all(fits) {
        return Err(bad("the interior is not within the output"));
    }
    // Slices along the first axis that has several; the rest of the axes make a slice.
    let axis = spec.out_sizes.iter().position(|&size| size > 1);
    let without = |list: &[usize]| {
        let mut list = list.to_vec();
        if let Some(axis) = axis {
            list.remove(axis);
        }
        list
    };
    let part = |function, sizes: &[usize], inputs: Vec<Vec<usize>>| ElementwiseSpec {
        function,
        post: Vec::new(),
        sizes: without(sizes),
        out: without(&spec.out),
        inputs,
    };
    let border = part(Function::Fill(spec.value), &spec.out_sizes, Vec::new());
    let interior = part(Function::Copy, &spec.in_sizes, vec![without(&spec.input)]);
    let (fill, copy) = (emitters(linker, &border)?, emitters(linker, &interior)?);
    let inner = spec
        .begin
        .iter()
        .zip(&spec.out)
        .enumerate()
        .filter(|(index, _)| Some(*index) != axis)
        .try_fold(0usize, |sum, (_, (begin, stride))| sum.checked_add(begin.checked_mul(*stride)?))
        .filter(|offset| *offset < MAX_ELEMENTS)
        .ok_or_else(|| bad("it is too large"))? as i64
        * BYTES;
    let at = |list: &[usize], otherwise: usize| axis.map_or(otherwise, |axis| list[axis]) as i64;
    let empty = spec.out_sizes.contains(&0);
    let no_interior = spec.in_sizes.contains(&0);
    let tasks = if empty { 0 } else { at(&spec.out_sizes, 1) };
    let (begin, size) = (at(&spec.begin, 0), at(&spec.in_sizes, 1));
    let (out_stride, in_stride) = (at(&spec.out, 0) * BYTES, at(&spec.input, 0) * BYTES);
    let kernel = linker.kernel(KERNEL, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let (out, input) = (nest.operand(0), nest.operand(1));
        nest.for_tasks(|nest, task| {
            let slice = nest.step(out, task, out_stride);
            for emitter in &fill {
                emitter.emit(nest, None, &[slice])?;
            }
            if no_interior {
                return Ok(());
            }
            // One slice at most: the loop runs once where the slice has an interior, else not at all.
            let at = nest.offset(task, -begin);
            let (zero, next, size) = (nest.int(0), nest.offset(at, 1), nest.int(size));
            let (from, to) = (nest.max(at, zero), nest.min(next, size));
            nest.for_range(from, to, 1, |nest, index| {
                let source = nest.step(input, index, in_stride);
                let target = nest.offset(slice, inner);
                for emitter in &copy {
                    emitter.emit(nest, None, &[target, source])?;
                }
                Ok(())
            })
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks.unsigned_abs(), scratch_bytes: 0, name: KERNEL.to_owned() })
}
