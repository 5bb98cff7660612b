//! Invariants 14 to 16: lifetimes, the arena and its lower bound. The regions are known to cover the steps.

use std::collections::BTreeMap;

use super::super::{ALIGNMENT, Place, Plan};
use super::{PlanError, broken, steps, view_of};
use crate::ids::{BufferId, StepId};

pub(super) fn verify(plan: &Plan) -> Result<(), PlanError> {
    lifetimes(plan)?;
    let bound = overlap(plan)?;
    let memory = &plan.memory;
    if memory.lower_bound_bytes != bound {
        return broken(16, format!("the lower bound is {bound} bytes, not {}", memory.lower_bound_bytes));
    }
    if memory.arena_bytes < bound {
        return broken(16, format!("an arena of {} bytes is below the lower bound {bound}", memory.arena_bytes));
    }
    if memory.arena_bytes == bound && !memory.proven_optimal {
        return broken(16, "the arena reaches its lower bound but is not called optimal");
    }
    Ok(())
}

fn lifetimes(plan: &Plan) -> Result<(), PlanError> {
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let Place::Arena(_) = buffer.place else { continue };
        let (first, last) = buffer.live;
        if first > last || last.index() >= plan.steps.len() {
            let count = plan.steps.len();
            let id = BufferId::from_index(index);
            return broken(14, format!("{id} lives from {first} to {last}, but there are {count} steps"));
        }
    }
    for (id, step) in steps(plan) {
        for operand in step.inputs.iter().chain(&step.outputs) {
            let root = view_of(plan, *operand)?.buffer;
            let Some(buffer) = plan.buffer(root) else { continue };
            let covered = buffer.live.0 <= id && id <= buffer.live.1;
            if matches!(buffer.place, Place::Arena(_)) && !covered {
                let (first, last) = buffer.live;
                return broken(14, format!("{id} touches {root}, which lives from {first} to {last}"));
            }
        }
    }
    Ok(())
}

/// Sweeps over the regions with the live buffers ordered by address; gives the largest sum of their sizes.
fn overlap(plan: &Plan) -> Result<usize, PlanError> {
    let mut births: Vec<Vec<BufferId>> = vec![Vec::new(); plan.regions.len()];
    let mut deaths: Vec<Vec<BufferId>> = vec![Vec::new(); plan.regions.len()];
    // The region of each step.
    let within: Vec<usize> =
        plan.regions.iter().enumerate().flat_map(|(at, region)| region.steps().map(move |_| at)).collect();
    let at = |step: StepId| within.get(step.index()).copied().unwrap_or(usize::MAX);
    for (index, buffer) in plan.buffers.iter().enumerate() {
        if let Place::Arena(_) = buffer.place {
            let id = BufferId::from_index(index);
            let (first, last) = buffer.live;
            if let (Some(born), Some(dead)) = (births.get_mut(at(first)), deaths.get_mut(at(last))) {
                born.push(id);
                dead.push(id);
            }
        }
    }
    let range = |id: BufferId| match plan.buffer(id) {
        Some(buffer) => match buffer.place {
            Place::Arena(offset) => (offset, buffer.bytes),
            _ => (0, 0),
        },
        None => (0, 0),
    };
    let rounded = |bytes: usize| bytes.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT);
    let (mut live, mut sum, mut largest) = (BTreeMap::<usize, BufferId>::new(), 0usize, 0usize);
    for ((born, dead), region) in births.iter().zip(&deaths).zip(&plan.regions) {
        for id in born {
            let (offset, bytes) = range(*id);
            let below = live.range(..=offset).next_back();
            let above = live.range(offset..).next();
            for (_, other) in below.into_iter().chain(above) {
                let (start, len) = range(*other);
                if start < offset.saturating_add(bytes) && offset < start.saturating_add(len) {
                    let (begin, end) = (region.begin, region.end);
                    return broken(15, format!("{id} and {other} share bytes of the arena in region {begin}..{end}"));
                }
            }
            live.insert(offset, *id);
            sum = sum.saturating_add(rounded(bytes));
        }
        largest = largest.max(sum);
        for id in dead {
            let (offset, bytes) = range(*id);
            live.remove(&offset);
            sum = sum.saturating_sub(rounded(bytes));
        }
    }
    Ok(largest)
}
