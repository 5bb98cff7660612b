//! Shapes as values: Shape, and what exporters compute with its result.
//!
//! Shape has no op in the graph, nor have Gather and Slice of shapes: they exist here, on lists of integers that are known
//! but for the batch size. Gather and Slice of other tensors are slices along an axis. Concat, Reshape, Squeeze, Unsqueeze, Identity and Cast come here when their data holds the batch size.

use incept_ir::ops::{Identity, Slice, Squeeze};
use incept_ir::types::Dim;

use super::super::context::{Imported, NodeContext, axis, wrong};
use super::super::draft::Count;
use super::super::error::NodeError;
use super::super::table::refuse;
use super::constant::is_integer;

const HELP: &str = "export the model with fixed shapes";

/// Shape, opset 1 to 25; `start` and `end` from 15.
pub(in super::super) fn shape(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    let start = context.attributes.int("start")?.unwrap_or(0);
    let end = context.attributes.int("end")?.unwrap_or(i64::MAX);
    let counts = context.ty(x).shape.dims().iter().map(|dim| match *dim {
        // Sizes are bounded far below 2⁶³.
        Dim::Fixed(size) => Count::Known(i64::try_from(size).unwrap_or(i64::MAX)),
        Dim::Batch(factor) => Count::Batch(factor),
    });
    let counts: Vec<Count> = counts.collect();
    let (start, end) = (clamp(start, counts.len()), clamp(end, counts.len()));
    let kept = counts.get(start..end).unwrap_or_default().to_vec();
    list(context, kept)
}

/// Gather, opset 1 to 13: from a list of integers, or neighbours along one axis of a tensor.
pub(in super::super) fn gather(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 2)?;
    let along = context.attributes.int("axis")?.unwrap_or(0);
    if !is_list(context)? {
        return gather_neighbours(context, along);
    }
    let counts = context.counts(0, "data")?;
    axis(along, 1)?;
    let indices = context.input(1)?;
    let scalar = context.rank(indices) == 0;
    let mut kept = Vec::new();
    for index in context.ints(1, "list of indices")?.unwrap_or_default() {
        let front = if index < 0 { index.saturating_add_unsigned(counts.len() as u64) } else { index };
        let found = usize::try_from(front).ok().and_then(|front| counts.get(front));
        let problem = || wrong("list of indices", format!("holds {index}, but there are {} numbers", counts.len()));
        kept.push(*found.ok_or_else(problem)?);
    }
    counts_item(context, kept, scalar)
}

/// Gather from a tensor, of one index or of successive ones: a slice.
fn gather_neighbours(context: &mut NodeContext<'_>, along: i64) -> Imported {
    let (x, indices) = (context.input(0)?, context.input(1)?);
    let (along, scalar) = (axis(along, context.rank(x))?, context.rank(indices) == 0);
    let Dim::Fixed(size) = context.ty(x).shape[along] else {
        return Err(refuse("Gather along the batch", "gather along another axis"));
    };
    let list = context.ints(1, "list of indices")?.unwrap_or_default();
    let problem = |index: i64| wrong("list of indices", format!("holds {index}, but the size is {size}"));
    let mut found = Vec::with_capacity(list.len());
    for index in list {
        let front = if index < 0 { index.saturating_add_unsigned(size as u64) } else { index };
        found.push(usize::try_from(front).ok().filter(|front| *front < size).ok_or_else(|| problem(index))?);
    }
    let start = found.first().copied().unwrap_or(0);
    if found.iter().enumerate().any(|(place, index)| *index != start + place) {
        return Err(refuse("Gather of indices that do not follow each other", "gather one range, or use Slice"));
    }
    let op = Slice { axis: along, start, length: found.len() };
    if !scalar {
        return context.emit(op, &[x]);
    }
    let sliced = context.emit_as(op, &format!("{}_slice", context.name), &[x])?;
    context.emit(Squeeze { axes: vec![along] }, &[sliced])
}

/// Slice, opset 1 to 9: bounds are attributes.
pub(in super::super) fn slice_by_attributes(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let starts = context.attributes.ints("starts")?.ok_or(NodeError::MissingAttribute { name: "starts" })?.to_vec();
    let ends = context.attributes.ints("ends")?.ok_or(NodeError::MissingAttribute { name: "ends" })?.to_vec();
    let axes = context.attributes.ints("axes")?.map(<[i64]>::to_vec);
    slice(context, &starts, &ends, axes, None)
}

/// Slice, opset 10 to 13: bounds are inputs.
pub(in super::super) fn slice_by_inputs(context: &mut NodeContext<'_>) -> Imported {
    context.takes(3, 5)?;
    let starts = context.ints(1, "list of starts")?.ok_or(NodeError::MissingInput { slot: 1 })?;
    let ends = context.ints(2, "list of ends")?.ok_or(NodeError::MissingInput { slot: 2 })?;
    let axes = context.ints(3, "list of axes")?;
    let steps = context.ints(4, "list of steps")?;
    slice(context, &starts, &ends, axes, steps)
}

fn slice(
    context: &mut NodeContext<'_>,
    starts: &[i64],
    ends: &[i64],
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Imported {
    if !is_list(context)? {
        return slice_tensor(context, starts, ends, axes, steps);
    }
    let counts = context.counts(0, "data")?;
    let (&[start], &[end]) = (starts, ends) else {
        return Err(wrong("bounds", "must be one start and one end: the input is a list"));
    };
    match axes.as_deref() {
        None => {}
        Some(&[along]) => {
            axis(along, 1)?;
        }
        Some(_) => return Err(wrong("list of axes", "must name one axis: the input is a list")),
    }
    let step = match steps.as_deref() {
        None => 1,
        Some(&[step]) => step,
        Some(_) => return Err(wrong("list of steps", "must hold one step: the input is a list")),
    };
    let step = usize::try_from(step).ok().filter(|step| *step > 0);
    let step = step.ok_or_else(|| refuse("slicing a shape backwards", HELP))?;
    let (start, end) = (clamp(start, counts.len()), clamp(end, counts.len()));
    let kept = counts.get(start..end).unwrap_or_default().iter().copied().step_by(step).collect();
    list(context, kept)
}

/// A slice of a tensor along some of its axes.
fn slice_tensor(
    context: &mut NodeContext<'_>,
    starts: &[i64],
    ends: &[i64],
    axes: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Imported {
    let x = context.input(0)?;
    let rank = context.rank(x);
    let axes = match axes {
        Some(axes) => axes,
        None => (0..starts.len()).map(|axis| i64::try_from(axis).unwrap_or(i64::MAX)).collect(),
    };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|length| *length != starts.len()) {
        return Err(wrong("bounds", "must be as many starts as ends, axes and steps"));
    }
    if steps.iter().any(|step| *step != 1) {
        return Err(refuse("Slice of a tensor by steps", "slice without gaps"));
    }
    let mut cuts = Vec::new();
    for ((start, end), along) in starts.iter().zip(ends).zip(&axes) {
        let along = axis(*along, rank)?;
        match context.ty(x).shape[along] {
            Dim::Fixed(size) => {
                let (start, end) = (clamp(*start, size), clamp(*end, size));
                let length = end.saturating_sub(start);
                if length != size {
                    cuts.push(Slice { axis: along, start, length });
                }
            }
            // Bounds in 32 bits are usual for "to the end".
            Dim::Batch(_) if *start == 0 && *end >= i64::from(i32::MAX) => {}
            Dim::Batch(_) => return Err(refuse("Slice of the batch", "slice other axes")),
        }
    }
    let Some(last) = cuts.pop() else { return context.emit(Identity, &[x]) };
    let mut sliced = x;
    for (index, cut) in cuts.into_iter().enumerate() {
        sliced = context.emit_as(cut, &format!("{}_slice{index}", context.name), &[sliced])?;
    }
    context.emit(last, &[sliced])
}

/// Concat of lists, some of which hold the batch size.
pub(super) fn concat(context: &mut NodeContext<'_>) -> Imported {
    let mut all = Vec::new();
    for slot in 0..context.inputs.len() {
        let id = context.input(slot)?;
        if context.rank(id) != 1 {
            return Err(wrong("inputs", "must all be lists, but one is a single number"));
        }
        all.extend(context.counts(slot, "shape")?);
    }
    list(context, all)
}

/// A list of one number from a single number.
pub(super) fn unsqueeze(context: &mut NodeContext<'_>) -> Imported {
    let counts = context.counts(0, "shape")?;
    if context.rank(context.input(0)?) != 0 {
        return Err(refuse("a table of sizes", HELP));
    }
    list(context, counts)
}

/// A single number from a list of one.
pub(super) fn squeeze(context: &mut NodeContext<'_>) -> Imported {
    let counts = context.counts(0, "shape")?;
    if counts.len() != 1 {
        return Err(wrong("data", format!("has {} numbers, where one is needed", counts.len())));
    }
    counts_item(context, counts, true)
}

/// The same list under another shape, which must be a list again (`shape` is what it is to become).
pub(super) fn reshape(context: &mut NodeContext<'_>, shape: &[Count]) -> Imported {
    let counts = context.counts(0, "shape")?;
    let length = i64::try_from(counts.len()).unwrap_or(i64::MAX);
    match *shape {
        [] if length == 1 => counts_item(context, counts, true),
        [Count::Known(-1)] => list(context, counts),
        [Count::Known(size)] if size == length => list(context, counts),
        _ => Err(refuse("a table of sizes", HELP)),
    }
}

/// The same numbers.
pub(super) fn keep(context: &mut NodeContext<'_>) -> Imported {
    context.input(0)
}

/// Whether the data is a list of integers: a shape, or a part of one.
fn is_list(context: &NodeContext<'_>) -> Result<bool, NodeError> {
    let ty = context.ty(context.input(0)?);
    Ok(is_integer(ty.dtype) && ty.shape.rank() == 1)
}

fn list(context: &mut NodeContext<'_>, counts: Vec<Count>) -> Imported {
    counts_item(context, counts, false)
}

fn counts_item(context: &mut NodeContext<'_>, counts: Vec<Count>, scalar: bool) -> Imported {
    if scalar && counts.len() != 1 {
        return Err(wrong("data", format!("has {} numbers, where one is needed", counts.len())));
    }
    Ok(context.draft.counts(context.name, counts, scalar)?)
}

/// A bound of a slice: from the end where negative, and never outside.
fn clamp(bound: i64, length: usize) -> usize {
    let front = if bound < 0 { bound.saturating_add_unsigned(length as u64) } else { bound };
    usize::try_from(front).unwrap_or(0).min(length)
}
