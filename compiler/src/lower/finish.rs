//! The plan's tables from the draft: addresses, views listed once, ports.

use std::num::NonZeroUsize;

use incept_ir::ids::{BufferId, ConstId, StepId, ViewId};
use incept_ir::ops::Op;
use incept_ir::plan::{Buffer, Memory, Place, Plan, PlanConstant, Port, Region, Step, View};
use rustc_hash::{FxHashMap, FxHashSet};

use super::draft::{Draft, Home};
use super::layout;
use super::regions::Planned;
use super::{LowerOptions, schedule};

#[derive(Default)]
struct Tables {
    plan: Plan,
    /// The plan's buffer of each root that anything touches.
    buffers: FxHashMap<BufferId, BufferId>,
    views: FxHashMap<View, ViewId>,
}

impl Tables {
    /// The id of a view of the draft.
    fn view(&mut self, view: &View) -> ViewId {
        let buffer = self.buffers.get(&view.buffer).copied().unwrap_or(BufferId::new(u32::MAX));
        *self.views.entry(View { buffer, ..view.clone() }).or_insert_with_key(|view| {
            self.plan.views.push(view.clone());
            ViewId::from_index(self.plan.views.len() - 1)
        })
    }
}

/// The constants that some step reads, in the draft's order.
struct Constants {
    used: Vec<PlanConstant>,
    ids: FxHashMap<ConstId, ConstId>,
}

impl Constants {
    fn new(draft: &Draft<'_>, touched: &[bool]) -> Self {
        let operands = draft.roots.iter().zip(touched).filter_map(|(root, touched)| match root.home {
            Home::Constant(id) if *touched => Some(id),
            _ => None,
        });
        let weights = draft.steps.iter().flat_map(|step| step.constants.iter().copied());
        let wanted: FxHashSet<ConstId> = operands.chain(weights).collect();
        let (mut used, mut ids) = (Vec::with_capacity(wanted.len()), FxHashMap::default());
        for (index, constant) in draft.constants.iter().enumerate() {
            let id = ConstId::from_index(index);
            if wanted.contains(&id) {
                ids.insert(id, ConstId::from_index(used.len()));
                used.push(constant.clone());
            }
        }
        Self { used, ids }
    }

    fn id(&self, id: ConstId) -> ConstId {
        self.ids.get(&id).copied().unwrap_or(ConstId::new(u32::MAX))
    }
}

/// Makes the plan of a draft, of one of these parts of a batch, whose steps are in their final order, that of these regions.
pub(super) fn plan(draft: &Draft<'_>, planned: &Planned, parts: NonZeroUsize, options: &LowerOptions) -> Plan {
    let items = schedule::lifetimes(draft, |step| step);
    let placement = &planned.placement;
    let mut touched = vec![false; draft.roots.len()];
    for view in draft.steps.iter().flat_map(|step| step.inputs.iter().chain(&step.outputs)) {
        touched[view.buffer.index()] = true;
    }
    let constants = Constants::new(draft, &touched);
    let never = (StepId::new(0), StepId::new(0));
    let mut tables = Tables::default();
    for (index, root) in draft.roots.iter().enumerate() {
        let (place, live) = match (root.home, items[index]) {
            (Home::Arena, Some(item)) => {
                let live = (StepId::from_index(item.first), StepId::from_index(item.last));
                (Place::Arena(planned.offsets[index].unwrap_or(usize::MAX)), live)
            }
            (Home::Arena, None) => continue,
            (Home::Constant(_), _) if !touched[index] => continue,
            (Home::Constant(id), _) => (Place::Constant(constants.id(id)), never),
            (Home::Input(position), _) => (Place::Input(position), never),
            (Home::Output(position), _) => (Place::Output(position), never),
        };
        let id = BufferId::from_index(tables.plan.buffers.len());
        tables.buffers.insert(BufferId::from_index(index), id);
        tables.plan.buffers.push(Buffer { place, bytes: root.elements * 4, name: root.name.clone(), live });
    }
    for step in &draft.steps {
        let inputs = step.inputs.iter().map(|view| tables.view(view)).collect();
        let outputs = step.outputs.iter().map(|view| tables.view(view)).collect();
        let (kind, constants) = (step.kind.clone(), step.constants.iter().map(|id| constants.id(*id)).collect());
        let (name, nodes) = (step.name.clone(), step.nodes.clone());
        tables.plan.steps.push(Step { kind, inputs, outputs, constants, name, nodes });
    }
    tables.plan.regions = planned
        .regions
        .bounds
        .windows(2)
        .map(|bounds| Region { begin: StepId::from_index(bounds[0]), end: StepId::from_index(bounds[1]) })
        .collect();
    let graph = draft.graph;
    let inputs = graph.inputs().iter().filter_map(|id| {
        let node = graph.node(*id).ok()?;
        match &node.op {
            Op::Input(input) => Some((node.name.to_string(), input.ty.shape.sizes()?)),
            _ => None,
        }
    });
    let outputs = graph
        .outputs()
        .iter()
        .filter_map(|output| Some((output.name.to_string(), graph.ty(output.value).ok()?.shape.sizes()?)));
    let inputs: Vec<_> = inputs.enumerate().map(|(at, (name, sizes))| (Home::Input(at), name, sizes)).collect();
    let outputs: Vec<_> = outputs.enumerate().map(|(at, (name, sizes))| (Home::Output(at), name, sizes)).collect();
    tables.plan.inputs =
        inputs.into_iter().map(|(home, name, sizes)| port(draft, &mut tables, home, name, sizes)).collect();
    tables.plan.outputs =
        outputs.into_iter().map(|(home, name, sizes)| port(draft, &mut tables, home, name, sizes)).collect();
    let mut plan = tables.plan;
    plan.name = graph.name().to_string();
    plan.batch = options.batch;
    plan.parts = parts;
    plan.symbolic_batch = options.symbolic_batch;
    plan.exact = options.exact;
    plan.constants = constants.used;
    plan.memory = Memory {
        arena_bytes: placement.bytes,
        lower_bound_bytes: placement.lower_bound,
        proven_optimal: placement.is_optimal,
        strategy: placement.strategy.into(),
    };
    plan
}

fn port(draft: &Draft<'_>, tables: &mut Tables, home: Home, name: String, sizes: Vec<usize>) -> Port {
    let root = draft.roots.iter().position(|root| root.home == home).unwrap_or(usize::MAX);
    let strides = layout::dense(&sizes, &layout::row_order(sizes.len()));
    let view = View { buffer: BufferId::from_index(root), offset: 0, sizes, strides };
    Port { name, view: tables.view(&view) }
}
