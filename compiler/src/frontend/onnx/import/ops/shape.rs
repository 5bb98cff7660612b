//! Reshape, Flatten, Squeeze, Unsqueeze, Transpose.

use incept_ir::ops::{Flatten, Reshape, Squeeze, Transpose, Unsqueeze};
use incept_ir::types::{Dim, MAX_RANK};

use super::super::attributes::short;
use super::super::context::{Imported, NodeContext, axes, axis, wrong};
use super::super::draft::Count;
use super::super::error::NodeError;
use super::super::table::refuse;
use super::shape_math;

/// Reshape, opset 5 to 25. The shape must be known but for the batch size, which becomes 0 (copied) or -1 (inferred).
pub(in super::super) fn reshape(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 2)?;
    let allow_zero = context.attributes.flag("allowzero")?;
    let x = context.input(0)?;
    let counts = context.counts(1, "shape")?;
    if context.draft.batch_counts(x).is_some() {
        return shape_math::reshape(context, &counts);
    }
    let mut dims = Vec::with_capacity(counts.len());
    for (index, count) in counts.iter().enumerate() {
        dims.push(match *count {
            Count::Known(value) => value,
            Count::Batch(factor) => {
                let copied = context.ty(x).shape.dims().get(index) == Some(&Dim::Batch(factor));
                if copied && !allow_zero { 0 } else { -1 }
            }
        });
    }
    if dims.iter().filter(|dim| **dim == -1).count() > 1 {
        let problem = format!("is {}, which leaves more than one dimension open", short(&dims));
        return Err(wrong("shape", problem));
    }
    context.emit(Reshape { dims, allow_zero }, &[x])
}

/// Flatten, opset 1 to 25: to a matrix of the axes before `axis` and those from it on.
pub(in super::super) fn flatten(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    let rank = context.rank(x);
    let at = context.attributes.int("axis")?.unwrap_or(1);
    // Unlike other axes, this one may lie behind the last.
    let at = if usize::try_from(at) == Ok(rank) { rank } else { axis(at, rank)? };
    context.emit(Flatten { axis: at }, &[x])
}

/// Squeeze, opset 1 to 12.
pub(in super::super) fn squeeze_by_attribute(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let given = context.attributes.ints("axes")?.map(<[i64]>::to_vec);
    squeeze(context, given)
}

/// Squeeze, opset 13 to 25.
pub(in super::super) fn squeeze_by_input(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 2)?;
    let given = context.ints(1, "list of axes")?;
    squeeze(context, given)
}

fn squeeze(context: &mut NodeContext<'_>, given: Option<Vec<i64>>) -> Imported {
    let x = context.input(0)?;
    let rank = context.rank(x);
    let axes = match given {
        Some(given) => axes(&given, rank)?,
        None if context.ty(x).shape.is_symbolic() => {
            let what = "squeezing all axes of size 1 of a value whose batch size is open";
            return Err(refuse(what, "give the axes to squeeze, or a fixed batch size"));
        }
        None => (0..rank).filter(|axis| context.ty(x).shape[*axis] == Dim::Fixed(1)).collect(),
    };
    if context.has_batch_counts() {
        return shape_math::squeeze(context);
    }
    context.emit(Squeeze { axes }, &[x])
}

/// Unsqueeze, opset 1 to 12.
pub(in super::super) fn unsqueeze_by_attribute(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let given = context.attributes.ints("axes")?.ok_or(NodeError::MissingAttribute { name: "axes" })?.to_vec();
    unsqueeze(context, &given)
}

/// Unsqueeze, opset 13 to 25.
pub(in super::super) fn unsqueeze_by_input(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 2)?;
    let given = context.ints(1, "list of axes")?.ok_or(NodeError::MissingInput { slot: 1 })?;
    unsqueeze(context, &given)
}

fn unsqueeze(context: &mut NodeContext<'_>, given: &[i64]) -> Imported {
    let x = context.input(0)?;
    let rank = context.rank(x).saturating_add(given.len());
    if rank > MAX_RANK {
        return Err(refuse(format!("a result with {rank} dimensions"), format!("use at most {MAX_RANK}")));
    }
    let axes = axes(given, rank)?;
    if context.has_batch_counts() {
        return shape_math::unsqueeze(context);
    }
    context.emit(Unsqueeze { axes }, &[x])
}

/// Transpose, opset 1 to 25.
pub(in super::super) fn transpose(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    let rank = context.rank(x);
    let perm = match context.attributes.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(given) => {
            // As a set it must be all axes: `axes` refuses what is out of range or there twice.
            if given.len() != rank || axes(given, rank).is_err() || given.iter().any(|axis| *axis < 0) {
                let problem = format!("is {}, which is no permutation of {rank} axes", short(given));
                return Err(NodeError::Attribute { name: "perm".into(), problem });
            }
            given.iter().map(|one| axis(*one, rank)).collect::<Result<_, _>>()?
        }
    };
    context.emit(Transpose { perm }, &[x])
}
