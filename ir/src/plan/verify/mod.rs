//! The plan verifier. Runs after every lowering and every load; shares no code with the planner.
//!
//! What it proves is what emitted code relies on: every access of every step lies within its buffer, reads what was
//! written, and overwrites nothing that is still needed.
//!
//! Invariants:
//! 1. **limits**: the batch is at least 1 and has equal parts; tables, ranks, buffers and the arena are within the limits of this module.
//! 2. **references**: every id names an entry of its table.
//! 3. **alignment**: arena buffers start at multiples of [`ALIGNMENT`]; every buffer holds whole elements, and at least
//!    one.
//! 4. **bounds**: arena buffers end within the arena; views have as many strides as sizes, at least one element, and end
//!    within their buffer.
//! 5. **constants**: a constant has the bytes that its type and sizes need; weights are `f32` or `f16`; a buffer over a
//!    constant has the size of that constant, which is `f32`.
//! 6. **ports**: the i-th input or output is the whole of the one buffer placed there, dense and row-major; where there are
//!    parts, its first size is the batch of one, and all parts together are within the limits.
//! 7. **operands**: a step has as many inputs, outputs and constants as its kind takes.
//! 8. **sizes**: the sizes of a step's operands and its attributes fit its kind and each other.
//! 9. **layout**: the strides of a step's operands are those that [`StepKind`](super::StepKind) promises to kernels.
//! 10. **stores**: what a step writes lies in the arena or in an output, and no two elements of a written view coincide.
//! 11. **order**: a step reads only elements that the caller gave, that are constant or that earlier steps wrote; at the
//!     end every output is written whole.
//! 12. **once**: no element of a root is written twice, but by a step that runs in place.
//! 13. **hazards**: a step's outputs overlap neither its inputs nor each other, but exactly, element by element, where
//!     the kind may run in place; the second output of a pad lies within the first.
//! 14. **lifetimes**: an arena buffer's lifetime is a range of steps that covers every step touching it.
//! 15. **overlap**: arena buffers that are live in the same region share no byte; a buffer is live in every region that
//!     holds a step of its lifetime.
//! 16. **memory**: the stated lower bound is the largest sum of buffers live in one region, the arena is no smaller, and it is called
//!     optimal where it is equal.
//! 17. **regions**: the regions cover the steps in order, none empty; within one, no step writes an element that another
//!     of its steps reads or writes.

#[cfg(test)]
pub(crate) mod example;
mod extent;
mod flow;
mod memory;
mod regions;
mod shapes;
#[cfg(test)]
mod tests;

use super::{ALIGNMENT, Buffer, Place, Plan, PlanConstant, Port, Step, View};
use crate::ids::{BufferId, ConstId, StepId, ViewId};
use crate::tensor::byte_length;
use crate::types::{DType, MAX_RANK};

/// The most entries that any table of a plan may have.
pub const MAX_ENTRIES: usize = 1 << 20;

/// The most bytes that a buffer or the arena may have (16 TiB): far above what runs, far below what overflows.
pub const MAX_BYTES: usize = 1 << 44;

/// The most parts in which one root buffer may be written (in place, any number of times), and the most operands of one
/// step.
pub const MAX_WRITERS: usize = 1 << 12;

/// The largest stride, dilation, padding or window side of a step.
pub const MAX_WINDOW: usize = 1 << 20;

const TITLES: [&str; 17] = [
    "limits",
    "references",
    "alignment",
    "bounds",
    "constants",
    "ports",
    "operands",
    "sizes",
    "layout",
    "stores",
    "order",
    "once",
    "hazards",
    "lifetimes",
    "overlap",
    "memory",
    "regions",
];

/// An invariant of a plan that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plan invariant {number} ({title}): {detail}")]
pub struct PlanError {
    /// The invariant's number in the documentation of [`crate::plan::verify`].
    pub number: usize,
    /// Its title.
    pub title: &'static str,
    /// Where and how it is broken.
    pub detail: String,
}

fn broken<T>(number: usize, detail: impl Into<String>) -> Result<T, PlanError> {
    let title = TITLES.get(number.wrapping_sub(1)).copied().unwrap_or("internal");
    Err(PlanError { number, title, detail: detail.into() })
}

impl Plan {
    /// Checks every invariant. Never panics, whatever the plan holds.
    ///
    /// # Errors
    /// The first invariant that does not hold, and where.
    pub fn verify(&self) -> Result<(), PlanError> {
        limits(self)?;
        references(self)?;
        buffers(self)?;
        views(self)?;
        constants(self)?;
        ports(self)?;
        for (id, step) in steps(self) {
            shapes::operands(self, id, step)?;
            shapes::sizes(self, id, step)?;
            shapes::layout(self, id, step)?;
        }
        let flow = flow::verify(self)?;
        regions::cover(self)?;
        regions::apart(self, &flow)?;
        memory::verify(self)
    }
}

fn steps(plan: &Plan) -> impl Iterator<Item = (StepId, &Step)> {
    plan.steps.iter().enumerate().map(|(index, step)| (StepId::from_index(index), step))
}

fn view_of(plan: &Plan, id: ViewId) -> Result<&View, PlanError> {
    plan.view(id).map_or_else(|| broken(2, format!("there is no view {id}")), Ok)
}

fn buffer_of(plan: &Plan, id: BufferId) -> Result<&Buffer, PlanError> {
    plan.buffer(id).map_or_else(|| broken(2, format!("there is no buffer {id}")), Ok)
}

fn constant_of(plan: &Plan, id: ConstId) -> Result<&PlanConstant, PlanError> {
    plan.constant(id).map_or_else(|| broken(2, format!("there is no constant {id}")), Ok)
}

fn limits(plan: &Plan) -> Result<(), PlanError> {
    if plan.batch == 0 {
        return broken(1, "the batch is 0");
    }
    if !plan.batch.is_multiple_of(plan.parts.get()) {
        return broken(1, format!("a batch of {} in {} parts", plan.batch, plan.parts));
    }
    let tables = [
        ("buffers", plan.buffers.len()),
        ("views", plan.views.len()),
        ("constants", plan.constants.len()),
        ("steps", plan.steps.len()),
        ("regions", plan.regions.len()),
        ("inputs", plan.inputs.len()),
        ("outputs", plan.outputs.len()),
    ];
    for (table, len) in tables {
        if len > MAX_ENTRIES {
            return broken(1, format!("{len} {table}; at most {MAX_ENTRIES}"));
        }
    }
    if plan.memory.arena_bytes > MAX_BYTES {
        return broken(1, format!("an arena of {} bytes; at most {MAX_BYTES}", plan.memory.arena_bytes));
    }
    for (index, buffer) in plan.buffers.iter().enumerate() {
        if buffer.bytes > MAX_BYTES {
            let id = BufferId::from_index(index);
            return broken(1, format!("{id} has {} bytes; at most {MAX_BYTES}", buffer.bytes));
        }
    }
    for (index, view) in plan.views.iter().enumerate() {
        if view.sizes.len() > MAX_RANK {
            return broken(1, format!("{} has rank {}", ViewId::from_index(index), view.sizes.len()));
        }
    }
    for (id, step) in steps(plan) {
        for (what, len) in
            [("inputs", step.inputs.len()), ("outputs", step.outputs.len()), ("constants", step.constants.len())]
        {
            if len > MAX_WRITERS {
                return broken(1, format!("{id} has {len} {what}; at most {MAX_WRITERS}"));
            }
        }
    }
    Ok(())
}

fn references(plan: &Plan) -> Result<(), PlanError> {
    for view in &plan.views {
        buffer_of(plan, view.buffer)?;
    }
    for port in plan.inputs.iter().chain(&plan.outputs) {
        view_of(plan, port.view)?;
    }
    for buffer in &plan.buffers {
        if let Place::Constant(id) = buffer.place {
            constant_of(plan, id)?;
        }
    }
    for step in &plan.steps {
        for view in step.inputs.iter().chain(&step.outputs) {
            view_of(plan, *view)?;
        }
        for constant in &step.constants {
            constant_of(plan, *constant)?;
        }
    }
    Ok(())
}

fn buffers(plan: &Plan) -> Result<(), PlanError> {
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let id = BufferId::from_index(index);
        if buffer.bytes == 0 || !buffer.bytes.is_multiple_of(4) {
            return broken(3, format!("{id} has {} bytes", buffer.bytes));
        }
        let Place::Arena(offset) = buffer.place else { continue };
        if !offset.is_multiple_of(ALIGNMENT) {
            return broken(3, format!("{id} starts at byte {offset} of the arena"));
        }
        if offset.checked_add(buffer.bytes).is_none_or(|end| end > plan.memory.arena_bytes) {
            let arena = plan.memory.arena_bytes;
            return broken(4, format!("{id}, {} bytes at {offset}, leaves the arena of {arena} bytes", buffer.bytes));
        }
    }
    Ok(())
}

fn views(plan: &Plan) -> Result<(), PlanError> {
    for (index, view) in plan.views.iter().enumerate() {
        let id = ViewId::from_index(index);
        if view.sizes.len() != view.strides.len() {
            return broken(4, format!("{id} has {} sizes but {} strides", view.sizes.len(), view.strides.len()));
        }
        if view.elements().is_none_or(|count| count == 0) {
            return broken(4, format!("{id} of sizes {:?} has no elements, or too many", view.sizes));
        }
        let bytes = buffer_of(plan, view.buffer)?.bytes;
        if view.end().is_none_or(|end| end > bytes / 4) {
            let detail = format!("offset {}, sizes {:?}, strides {:?}", view.offset, view.sizes, view.strides);
            return broken(4, format!("{id} ({detail}) leaves {} of {} elements", view.buffer, bytes / 4));
        }
    }
    Ok(())
}

fn constants(plan: &Plan) -> Result<(), PlanError> {
    for (index, constant) in plan.constants.iter().enumerate() {
        let id = ConstId::from_index(index);
        match byte_length(constant.dtype, &constant.sizes) {
            Ok(needed) if needed == constant.values.len() && needed > 0 => {}
            Ok(needed) => {
                return broken(5, format!("{id} has {} bytes but needs {needed}", constant.values.len()));
            }
            Err(error) => return broken(5, format!("{id}: {error}")),
        }
    }
    for (id, step) in steps(plan) {
        for weight in &step.constants {
            let dtype = constant_of(plan, *weight)?.dtype;
            if !matches!(dtype, DType::F32 | DType::F16) {
                return broken(5, format!("{id} takes {weight}, which holds {dtype}, as weights"));
            }
        }
    }
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let Place::Constant(constant) = buffer.place else { continue };
        let id = BufferId::from_index(index);
        let found = constant_of(plan, constant)?;
        if found.dtype != DType::F32 {
            return broken(5, format!("{id} is {constant}, which holds {}", found.dtype));
        }
        if found.values.len() != buffer.bytes {
            return broken(5, format!("{id} has {} bytes but {constant} has {}", buffer.bytes, found.values.len()));
        }
    }
    Ok(())
}

fn ports(plan: &Plan) -> Result<(), PlanError> {
    let mut placed = [vec![0usize; plan.inputs.len()], vec![0usize; plan.outputs.len()]];
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let (side, name, position) = match buffer.place {
            Place::Input(position) => (&mut placed[0], "input", position),
            Place::Output(position) => (&mut placed[1], "output", position),
            Place::Arena(_) | Place::Constant(_) => continue,
        };
        match side.get_mut(position) {
            Some(count) if *count == 0 => *count = 1,
            Some(_) => return broken(6, format!("two buffers are {name} {position}")),
            None => {
                let id = BufferId::from_index(index);
                return broken(6, format!("{id} is {name} {position} of {}", side.len()));
            }
        }
    }
    let check = |ports: &[Port], name: &str, wanted: fn(usize) -> Place| {
        for (index, port) in ports.iter().enumerate() {
            let view = view_of(plan, port.view)?;
            let buffer = buffer_of(plan, view.buffer)?;
            if buffer.place != wanted(index) {
                return broken(6, format!("{name} {index} `{}` is a view of {:?}", port.name, buffer.place));
            }
            if view.offset != 0 || !view.is_row_major() || view.elements() != Some(buffer.bytes / 4) {
                return broken(
                    6,
                    format!("{name} {index} `{}` is not the whole of {} in rows", port.name, view.buffer),
                );
            }
            let (parts, batch) = (plan.parts.get(), plan.batch / plan.parts);
            if parts > 1 && view.sizes.first() != Some(&batch) {
                let text = format!("{name} {index} `{}` has sizes {:?} in a part of {batch}", port.name, view.sizes);
                return broken(6, text);
            }
            if buffer.bytes.checked_mul(parts).is_none_or(|bytes| bytes > MAX_BYTES) {
                return broken(
                    6,
                    format!("{name} {index} `{}` has {} bytes in {parts} parts", port.name, buffer.bytes),
                );
            }
        }
        Ok(())
    };
    check(&plan.inputs, "input", Place::Input)?;
    check(&plan.outputs, "output", Place::Output)
}
