//! Invariants 10 to 13: what is written, by whom, and before what reads it.

use super::super::{Place, Plan, Step, StepKind, View};
use super::extent::{Cells, Cuboid, Extent};
use super::{MAX_WRITERS, PlanError, broken, buffer_of, steps, view_of};
use crate::ids::{BufferId, StepId, ViewId};

/// The most single elements that are visited for roots whose extents are no boxes.
const MAX_VISITS: usize = 1 << 28;

/// The most distinct strides of a root whose extents are compared as boxes: far more than slices of slices have.
const MAX_UNITS: usize = 64;

/// What is known of one root that steps write.
#[derive(Debug, Default)]
pub(super) struct Root {
    /// The strides of all its extents, in descending order, ending in 1.
    units: Vec<usize>,
    /// Whether some extent is no box in these units, so that elements are marked one by one.
    pub irregular: bool,
    /// What is written so far, disjoint.
    written: Vec<Cuboid>,
    /// The same for irregular roots.
    cells: Option<Cells>,
}

impl Root {
    /// An extent as a box in these units; `None` where it is none.
    pub fn cuboid(&self, extent: &Extent) -> Option<Cuboid> {
        extent.to_box(&self.units)
    }

    fn covers(&self, extent: &Extent) -> bool {
        if let Some(cells) = &self.cells {
            return cells.covers(extent);
        }
        let Some(wanted) = self.cuboid(extent) else { return false };
        let found = self.written.iter().fold(0usize, |sum, part| sum.saturating_add(part.common(&wanted)));
        found >= wanted.count()
    }

    /// Whether no more extents can be written: they are compared with each other.
    fn is_full(&self) -> bool {
        self.written.len() >= MAX_WRITERS
    }

    /// Marks an extent as written; false where some element already was.
    fn write(&mut self, extent: &Extent) -> bool {
        if let Some(cells) = &mut self.cells {
            return cells.write(extent);
        }
        let Some(part) = self.cuboid(extent) else { return false };
        if self.written.iter().any(|other| other.common(&part) > 0) {
            return false;
        }
        self.written.push(part);
        true
    }

    fn meet(&self, a: &Extent, b: &Extent, elements: usize) -> bool {
        if self.irregular {
            return Cells::new(elements).meet(a, b);
        }
        match (self.cuboid(a), self.cuboid(b)) {
            (Some(a), Some(b)) => a.common(&b) > 0,
            _ => true,
        }
    }
}

/// The roots that steps write, by buffer; `None` for what the caller gives and for constants.
pub(super) struct Flow<'plan> {
    plan: &'plan Plan,
    extents: Vec<Extent>,
    roots: Vec<Option<Root>>,
}

/// Gives what it found out about the roots.
pub(super) fn verify(plan: &Plan) -> Result<Flow<'_>, PlanError> {
    let mut flow = Flow::new(plan)?;
    for (id, step) in steps(plan) {
        flow.step(id, step)?;
    }
    for (index, output) in plan.outputs.iter().enumerate() {
        let buffer = view_of(plan, output.view)?.buffer;
        if !flow.covers(buffer, output.view) {
            return broken(11, format!("output {index} `{}` ({buffer}) is not written whole", output.name));
        }
    }
    Ok(flow)
}

impl<'plan> Flow<'plan> {
    fn new(plan: &'plan Plan) -> Result<Self, PlanError> {
        let extents: Vec<Extent> = plan.views.iter().map(Extent::new).collect();
        let mut roots: Vec<Option<Root>> = plan
            .buffers
            .iter()
            .map(|buffer| {
                let written = matches!(buffer.place, Place::Arena(_) | Place::Output(_));
                written.then(|| Root { units: vec![1], ..Root::default() })
            })
            .collect();
        // Only views that are operands count: the units then come from what is accessed.
        let mut visits = vec![0usize; plan.buffers.len()];
        let touched = plan.steps.iter().flat_map(|step| step.inputs.iter().chain(&step.outputs).copied());
        let touched: Vec<ViewId> = touched.chain(plan.outputs.iter().map(|port| port.view)).collect();
        let of_view = |id: ViewId| Some((plan.view(id)?, extents.get(id.index())?));
        for (view, extent) in touched.iter().filter_map(|id| of_view(*id)) {
            let at = view.buffer.index();
            if let Some(Some(root)) = roots.get_mut(at).filter(|root| root.as_ref().is_some_and(|root| !root.irregular))
            {
                root.units.extend(extent.axes.iter().map(|axis| axis.1));
                // Kept small while it grows: a root has few distinct strides.
                if root.units.len() > 2 * MAX_UNITS {
                    tidy(&mut root.units);
                    root.irregular = root.units.len() > MAX_UNITS;
                }
            }
            if let Some(count) = visits.get_mut(at) {
                // Marking, clearing and the searches for hazards and conflicts walk an extent a few times, and the root
                // once.
                let elements = plan.buffer(view.buffer).map_or(0, |buffer| buffer.bytes / 4);
                *count = count.saturating_add(extent.count().saturating_mul(5)).saturating_add(elements);
            }
        }
        for root in roots.iter_mut().flatten() {
            tidy(&mut root.units);
            root.irregular |= root.units.len() > MAX_UNITS;
        }
        for (view, extent) in touched.iter().filter_map(|id| of_view(*id)) {
            if let Some(Some(root)) = roots.get_mut(view.buffer.index()) {
                root.irregular = root.irregular || extent.to_box(&root.units).is_none();
            }
        }
        let mut budget = MAX_VISITS;
        for (index, root) in roots.iter_mut().enumerate() {
            let Some(root) = root.as_mut().filter(|root| root.irregular) else { continue };
            let id = BufferId::from_index(index);
            let elements = buffer_of(plan, id)?.bytes / 4;
            let cost = visits.get(index).copied().unwrap_or(0).saturating_add(elements);
            match budget.checked_sub(cost) {
                Some(left) => budget = left,
                None => return broken(1, format!("the views of {id} cross each other and are too large to check")),
            }
            root.cells = Some(Cells::new(elements));
        }
        Ok(Self { plan, extents, roots })
    }

    /// The elements of a view.
    pub fn extent(&self, id: ViewId) -> Option<&Extent> {
        self.extents.get(id.index())
    }

    /// A root that steps write; `None` for what the caller gives and for constants.
    pub fn root(&self, id: BufferId) -> Option<&Root> {
        self.roots.get(id.index()).and_then(Option::as_ref)
    }

    fn covers(&self, buffer: BufferId, id: ViewId) -> bool {
        match self.roots.get(buffer.index()) {
            Some(Some(root)) => self.extent(id).is_some_and(|extent| root.covers(extent)),
            _ => true,
        }
    }

    fn step(&mut self, id: StepId, step: &Step) -> Result<(), PlanError> {
        let plan = self.plan;
        for input in &step.inputs {
            let buffer = view_of(plan, *input)?.buffer;
            if !self.covers(buffer, *input) {
                return broken(11, format!("{id} reads {input} of {buffer}, which is not all written before"));
            }
        }
        let mut in_place = vec![false; step.outputs.len()];
        for (slot, output) in step.outputs.iter().enumerate() {
            let view = view_of(plan, *output)?;
            let buffer = buffer_of(plan, view.buffer)?;
            if !matches!(buffer.place, Place::Arena(_) | Place::Output(_)) {
                return broken(10, format!("{id} writes {output} of {}, which is {:?}", view.buffer, buffer.place));
            }
            let broadcast = view.sizes.iter().zip(&view.strides).any(|(size, stride)| *size != 1 && *stride == 0);
            if broadcast || !self.extent(*output).is_some_and(Extent::is_injective) {
                return broken(10, format!("{id} writes {output}, whose elements coincide"));
            }
            for input in &step.inputs {
                if !self.meet(*output, *input)? {
                    continue;
                }
                let same = same_elements(view, view_of(plan, *input)?);
                if !(same && step.kind.may_run_in_place()) {
                    let cause = if same { "its kind may not run in place" } else { "they differ" };
                    return broken(13, format!("{id} writes {output} over its input {input}, but {cause}"));
                }
                if let Some(flag) = in_place.get_mut(slot) {
                    *flag = true;
                }
            }
            for other in step.outputs.iter().take(slot) {
                if matches!(step.kind, StepKind::Pad { .. }) {
                    if !self.within(*output, *other)? {
                        return broken(13, format!("{id} pads into {output}, which does not lie within {other}"));
                    }
                } else if self.meet(*output, *other)? {
                    return broken(13, format!("{id} writes {output} over its other output {other}"));
                }
            }
        }
        for (slot, output) in step.outputs.iter().enumerate() {
            // A pad's second output lies within its first; what runs in place was written before.
            let again =
                in_place.get(slot).copied().unwrap_or(false) || (slot > 0 && matches!(step.kind, StepKind::Pad { .. }));
            let buffer = view_of(plan, *output)?.buffer;
            let Some(extent) = self.extents.get(output.index()) else { continue };
            let Some(Some(root)) = self.roots.get_mut(buffer.index()) else { continue };
            if again {
                continue;
            }
            if root.is_full() {
                return broken(1, format!("more than {MAX_WRITERS} parts of {buffer} are written"));
            }
            if !root.write(extent) {
                return broken(12, format!("{id} writes {output} of {buffer}, some of which was written before"));
            }
        }
        Ok(())
    }

    fn meet(&self, a: ViewId, b: ViewId) -> Result<bool, PlanError> {
        let buffer = view_of(self.plan, a)?.buffer;
        if buffer != view_of(self.plan, b)?.buffer {
            return Ok(false);
        }
        let elements = buffer_of(self.plan, buffer)?.bytes / 4;
        Ok(match (self.roots.get(buffer.index()), self.extent(a), self.extent(b)) {
            (Some(Some(root)), Some(a), Some(b)) => root.meet(a, b, elements),
            _ => false,
        })
    }

    fn within(&self, inner: ViewId, outer: ViewId) -> Result<bool, PlanError> {
        let buffer = view_of(self.plan, inner)?.buffer;
        if buffer != view_of(self.plan, outer)?.buffer {
            return Ok(false);
        }
        Ok(match (self.roots.get(buffer.index()), self.extent(inner), self.extent(outer)) {
            (Some(Some(root)), Some(inner), Some(outer)) => {
                let mut alone = Root { units: root.units.clone(), irregular: root.irregular, ..Root::default() };
                if root.irregular {
                    alone.cells = Some(Cells::new(buffer_of(self.plan, buffer)?.bytes / 4));
                }
                alone.write(outer) && alone.covers(inner)
            }
            _ => false,
        })
    }
}

fn tidy(units: &mut Vec<usize>) {
    units.sort_unstable_by(|a, b| b.cmp(a));
    units.dedup();
}

/// Whether element (i₀, i₁, …) of one view is element (i₀, i₁, …) of the other.
fn same_elements(a: &View, b: &View) -> bool {
    let strides = || a.strides.iter().zip(&b.strides);
    a.offset == b.offset
        && a.sizes == b.sizes
        && a.sizes.iter().zip(strides()).all(|(size, (a, b))| *size == 1 || a == b)
}
