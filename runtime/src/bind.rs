//! From a plan's views to addresses.
//!
//! [`Layout::of`] walks a module once and checks everything that a kernel call relies on: one entry for each step, every
//! operand within its buffer, every buffer within its memory, the ports' sizes. What it returns is flat tables, so that a
//! run neither looks anything up nor allocates. No unsafe code: offsets are checked here, turned into pointers in
//! [`crate::session`].
//!
//! The checks are made here again, although the plan's verifier makes them too: a module has public parts, and the code
//! that turns offsets into pointers should not have to trust anyone about their bounds.

use std::ops::Range;

use incept_ir::abi::{CompiledModule, KernelFn, Operand};
use incept_ir::ids::{BufferId, ConstId, ViewId};
use incept_ir::plan::{Place, Plan, Port};
use incept_ir::types::DType;

use crate::session::SessionError;

/// Where an operand's first byte is: an offset into one of the memories of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// In the arena.
    Arena(usize),
    /// In the caller's slice for this input.
    Input(usize, usize),
    /// In the memory of this output.
    Output(usize, usize),
    /// In this constant of the plan.
    Constant(ConstId, usize),
    /// In the packed weights.
    Packed(usize),
}

/// One kernel call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The code.
    pub function: KernelFn,
    /// The position of its first operand in [`Layout::operands`].
    pub first_operand: usize,
    /// How many tasks it has.
    pub tasks: u64,
}

/// A named input or output, with what the caller must give or gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// The model's name for it.
    pub name: String,
    /// Its sizes, outermost first.
    pub sizes: Vec<usize>,
    /// How many values that is.
    pub elements: usize,
}

/// The tables of a module; see the module's documentation.
#[derive(Debug)]
pub struct Layout {
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// The calls that may run at once: consecutive ranges of them, with a barrier between each two.
    pub regions: Vec<Range<usize>>,
    /// The operands of all calls, one after the other.
    pub operands: Vec<Address>,
    /// The largest scratch memory of any call.
    pub scratch_bytes: usize,
    /// The inputs.
    pub inputs: Vec<PortInfo>,
    /// The outputs.
    pub outputs: Vec<PortInfo>,
}

impl Layout {
    /// The tables of a module.
    ///
    /// # Errors
    /// Where the module's parts contradict each other; names the step, view or port.
    pub fn of(module: &CompiledModule) -> Result<Self, SessionError> {
        let plan = &module.plan;
        if module.entries.len() != plan.steps.len() {
            return broken(format!("{} kernels for {} steps", module.entries.len(), plan.steps.len()));
        }
        let inputs = ports(plan, &plan.inputs, Place::Input)?;
        let outputs = ports(plan, &plan.outputs, Place::Output)?;
        for (index, buffer) in plan.buffers.iter().enumerate() {
            check_place(plan, BufferId::from_index(index), buffer.place, buffer.bytes, &inputs, &outputs)?;
        }
        let mut layout = Self {
            calls: Vec::with_capacity(plan.steps.len()),
            regions: regions(plan)?,
            operands: Vec::new(),
            scratch_bytes: 0,
            inputs,
            outputs,
        };
        for (step, entry) in plan.steps.iter().zip(&module.entries) {
            let first_operand = layout.operands.len();
            for operand in &entry.operands {
                let address = match *operand {
                    Operand::View(view) => view_address(plan, view)?,
                    Operand::Packed(offset) if offset <= module.packed.len() => Address::Packed(offset),
                    Operand::Packed(offset) => {
                        let len = module.packed.len();
                        return broken(format!("`{}` reads packed weights at {offset} of {len} bytes", step.name));
                    }
                };
                layout.operands.push(address);
            }
            // What a step writes must be memory that a session owns or was lent for writing.
            for view in &step.outputs {
                if let Address::Input(..) | Address::Constant(..) = view_address(plan, *view)? {
                    return broken(format!("`{}` writes {view}, which is an input or a constant", step.name));
                }
            }
            layout.calls.push(Call { function: entry.function, first_operand, tasks: entry.tasks });
            layout.scratch_bytes = layout.scratch_bytes.max(entry.scratch_bytes);
        }
        Ok(layout)
    }

    /// The most tasks of any region: more threads find nothing to do.
    #[must_use]
    pub fn most_tasks(&self) -> u64 {
        let tasks = |region: &Range<usize>| {
            let calls = self.calls.get(region.clone()).unwrap_or_default();
            calls.iter().fold(0u64, |sum, call| sum.saturating_add(call.tasks))
        };
        self.regions.iter().map(tasks).max().unwrap_or(0)
    }
}

fn broken<T>(reason: String) -> Result<T, SessionError> {
    Err(SessionError::Module { reason })
}

/// Where a view starts, its whole extent checked against its buffer.
fn view_address(plan: &Plan, id: ViewId) -> Result<Address, SessionError> {
    let Some(view) = plan.views.get(id.index()) else { return broken(format!("there is no view {id}")) };
    let Some(buffer) = plan.buffers.get(view.buffer.index()) else {
        return broken(format!("{id} is a view of {}, which does not exist", view.buffer));
    };
    let end = view.end().and_then(|end| end.checked_mul(size_of::<f32>()));
    let (Some(end), Some(offset)) = (end, view.offset.checked_mul(size_of::<f32>())) else {
        return broken(format!("the end of {id} overflows"));
    };
    if view.sizes.len() != view.strides.len() || end > buffer.bytes || offset > buffer.bytes {
        return broken(format!("{id} ends at byte {end} of {}, which has {}", view.buffer, buffer.bytes));
    }
    Ok(match buffer.place {
        Place::Arena(start) => Address::Arena(start + offset),
        Place::Input(index) => Address::Input(index, offset),
        Place::Output(index) => Address::Output(index, offset),
        Place::Constant(constant) => Address::Constant(constant, offset),
    })
}

/// The ranges of steps that may run at once: all steps, in order.
fn regions(plan: &Plan) -> Result<Vec<Range<usize>>, SessionError> {
    let mut next = 0;
    let mut ranges = Vec::with_capacity(plan.regions.len());
    for region in &plan.regions {
        let steps = region.steps();
        if steps.start != next || steps.is_empty() || steps.end > plan.steps.len() {
            return broken(format!("a region of the steps {}..{} where step {next} is next", steps.start, steps.end));
        }
        next = steps.end;
        ranges.push(steps);
    }
    match plan.steps.len() {
        steps if steps == next => Ok(ranges),
        steps => broken(format!("{steps} steps, of which {next} are in regions")),
    }
}

fn check_place(
    plan: &Plan,
    id: BufferId,
    place: Place,
    bytes: usize,
    inputs: &[PortInfo],
    outputs: &[PortInfo],
) -> Result<(), SessionError> {
    let has = match place {
        Place::Arena(start) => plan.memory.arena_bytes.checked_sub(start),
        Place::Input(index) => inputs.get(index).map(|port| port.elements * size_of::<f32>()),
        Place::Output(index) => outputs.get(index).map(|port| port.elements * size_of::<f32>()),
        Place::Constant(constant) => match plan.constants.get(constant.index()) {
            Some(found) if found.dtype != DType::F32 => {
                return broken(format!("{id} is {constant} of type {}, which steps cannot read", found.dtype));
            }
            found => found.map(|found| found.values.len()),
        },
    };
    match has {
        Some(has) if bytes <= has => Ok(()),
        Some(has) => broken(format!("{id} needs {bytes} bytes where there are {has} ({place:?})")),
        None => broken(format!("{id} lies nowhere ({place:?})")),
    }
}

fn ports(plan: &Plan, ports: &[Port], place: fn(usize) -> Place) -> Result<Vec<PortInfo>, SessionError> {
    let mut infos = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let Some(view) = plan.views.get(port.view.index()) else {
            return broken(format!("port `{}` is {}, which does not exist", port.name, port.view));
        };
        let fits = plan.buffers.get(view.buffer.index()).is_some_and(|buffer| buffer.place == place(index));
        let all = |count: usize| count.checked_mul(plan.parts.get());
        let elements = view.elements().and_then(all).filter(|count| *count <= isize::MAX as usize / size_of::<f32>());
        let (true, Some(elements), true) = (fits, elements, view.is_row_major() && view.offset == 0) else {
            return broken(format!("port `{}` is not the whole of the caller's memory", port.name));
        };
        let Some(sizes) = plan.port_sizes(port) else {
            return broken(format!("port `{}` has no first size that parts could share", port.name));
        };
        infos.push(PortInfo { name: port.name.clone(), sizes, elements });
    }
    Ok(infos)
}
