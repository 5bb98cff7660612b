//! Invariant 17: parallel regions. What may run at once must not get into each other's way.

use super::super::Plan;
use super::extent::{Cells, Cuboid};
use super::flow::Flow;
use super::{PlanError, broken, buffer_of, view_of};
use crate::ids::{BufferId, StepId, ViewId};

/// One use of a root by a step; sorts by root, writes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    buffer: BufferId,
    reads: bool,
    step: StepId,
    view: ViewId,
}

/// The regions cover the steps in order, each once.
pub(super) fn cover(plan: &Plan) -> Result<(), PlanError> {
    let mut next = 0;
    for (index, region) in plan.regions.iter().enumerate() {
        let (begin, end) = (region.begin, region.end);
        if begin.index() != next || end <= begin {
            return broken(17, format!("region {index} is {begin}..{end}, but s{next} is next"));
        }
        next = end.index();
    }
    if next != plan.steps.len() {
        return broken(17, format!("the regions cover {next} of {} steps", plan.steps.len()));
    }
    Ok(())
}

/// No step of a region writes an element that another step of it reads or writes.
pub(super) fn apart(plan: &Plan, flow: &Flow<'_>) -> Result<(), PlanError> {
    let mut accesses: Vec<Access> = Vec::new();
    for region in plan.regions.iter().filter(|region| region.steps().len() > 1) {
        accesses.clear();
        for index in region.steps() {
            let Some(step) = plan.steps.get(index) else { continue };
            let reads = step.inputs.iter().map(|view| (*view, true));
            for (view, reads) in reads.chain(step.outputs.iter().map(|view| (*view, false))) {
                let buffer = view_of(plan, view)?.buffer;
                accesses.push(Access { buffer, reads, step: StepId::from_index(index), view });
            }
        }
        accesses.sort_unstable();
        for of_root in accesses.chunk_by(|a, b| a.buffer == b.buffer) {
            let alone = of_root.iter().all(|access| access.step == of_root[0].step);
            if of_root[0].reads || alone {
                continue;
            }
            let Some(root) = flow.root(of_root[0].buffer) else { continue };
            let found = if root.irregular {
                element_conflict(plan, flow, of_root)?
            } else {
                let boxes: Vec<Option<Cuboid>> =
                    of_root.iter().map(|access| root.cuboid(flow.extent(access.view)?)).collect();
                box_conflict(of_root, &boxes)
            };
            if let Some((writer, other)) = found {
                let verb = if other.reads { "reads" } else { "writes" };
                return broken(
                    17,
                    format!(
                        "{} writes {} of {} while {}, in the same region, {verb} {}",
                        writer.step, writer.view, writer.buffer, other.step, other.view
                    ),
                );
            }
        }
    }
    Ok(())
}

/// The first write that meets another step's access; a view that is no box meets everything.
fn box_conflict(accesses: &[Access], boxes: &[Option<Cuboid>]) -> Option<(Access, Access)> {
    for (at, writer) in accesses.iter().enumerate().take_while(|(_, access)| !access.reads) {
        for (other, access) in accesses.iter().enumerate().skip(at + 1) {
            let meet = || match (&boxes[at], &boxes[other]) {
                (Some(a), Some(b)) => a.common(b) > 0,
                _ => true,
            };
            if access.step != writer.step && meet() {
                return Some((*writer, *access));
            }
        }
    }
    None
}

/// The same element by element.
fn element_conflict(plan: &Plan, flow: &Flow<'_>, accesses: &[Access]) -> Result<Option<(Access, Access)>, PlanError> {
    let elements = buffer_of(plan, accesses[0].buffer)?.bytes / 4;
    // Which access wrote each element, as its position and one.
    let mut writers = vec![0usize; elements];
    for (at, access) in accesses.iter().enumerate() {
        let Some(extent) = flow.extent(access.view) else { continue };
        let mut met = None;
        Cells::walk(extent, |element| {
            let Some(writer) = writers.get_mut(element) else { return false };
            let before = writer.checked_sub(1).map(|before| accesses[before]);
            if let Some(before) = before.filter(|before| before.step != access.step) {
                met = Some(before);
                return false;
            }
            if !access.reads {
                *writer = at + 1;
            }
            true
        });
        if let Some(writer) = met {
            return Ok(Some((writer, *access)));
        }
    }
    Ok(None)
}
