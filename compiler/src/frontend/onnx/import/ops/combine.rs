//! Concat.

use incept_ir::ops::Concat;

use super::super::context::{Imported, NodeContext, axis};
use super::shape_math;

/// Concat, opset 4 to 13.
pub(in super::super) fn concat(context: &mut NodeContext<'_>) -> Imported {
    let inputs = context.all_inputs()?;
    let along = context.required_int("axis")?;
    let along = axis(along, context.rank(inputs[0]))?;
    if context.has_batch_counts() {
        return shape_math::concat(context);
    }
    context.emit(Concat { axis: along }, &inputs)
}
