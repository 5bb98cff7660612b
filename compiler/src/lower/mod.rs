//! Lowering: a concrete graph becomes a plan.
//!
//! | file | what it decides |
//! |---|---|
//! | `parts.rs` | in how many parts a large batch runs |
//! | `source.rs` | which nodes are needed, which values are other names of values, which are constant |
//! | `alias_concat.rs` | which values are written as slices of a concatenation |
//! | `select.rs`, `product.rs` | what runs for each op, on which views |
//! | `schedule.rs` | the order of the steps, lifetimes on roots |
//! | `in_place.rs` | which elementwise steps write over an input |
//! | `regions.rs` | which steps may run at once |
//! | `place/` | offsets in the arena |
//! | `finish.rs` | the plan's tables |
//!
//! Depends on the graph and the plan of `incept-ir`; knows no CPU and emits no code. Every plan is verified before it is
//! handed out, by code that shares nothing with this.
//!
//! Layout: rank-4 activations have their channels innermost (NHWC) in the arena, everything else lies in rows. Graph
//! inputs and outputs lie in rows. Views are strides alone, so a transposition never copies and a reshape seldom; a copy
//! is inserted where a kernel needs another innermost axis than a value has.

pub mod alias_concat;
mod draft;
mod finish;
pub mod in_place;
mod layout;
pub mod parts;
pub mod place;
mod product;
pub mod regions;
mod schedule;
mod select;
mod source;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;

use incept_ir::graph::{Graph, GraphError};
use incept_ir::ops::Op;
use incept_ir::plan::Plan;
use incept_ir::plan::verify::PlanError;

use self::draft::{Draft, Home, Stop, Stored};
use self::place::SearchLimits;
use self::regions::Regions;
use self::source::Sources;

/// How to lower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerOptions {
    /// Passes that do not run: [`PASSES`].
    pub disabled: Vec<String>,
    /// The batch size that the graph was made concrete for; the plan records it.
    pub batch: usize,
    /// Whether the model's batch was symbolic; the plan records it.
    pub symbolic_batch: bool,
    /// Whether convolutions are summed directly only; the plan records it.
    pub exact: bool,
    /// How long to search for a smaller arena where the quick strategies miss the lower bound.
    pub search: SearchLimits,
    /// The activations of more bytes than this are those of a large batch, which runs in parts.
    pub part_bytes: usize,
}

impl Default for LowerOptions {
    fn default() -> Self {
        Self {
            disabled: Vec::new(),
            batch: 1,
            symbolic_batch: false,
            exact: false,
            search: SearchLimits::default(),
            part_bytes: parts::BYTES,
        }
    }
}

impl LowerOptions {
    /// Whether a pass of this name runs.
    fn enabled(&self, pass: &str) -> bool {
        !self.disabled.iter().any(|name| name == pass)
    }
}

/// The passes of lowering that can be disabled, with a line about each.
pub const PASSES: [(&str, &str); 4] = [
    (alias_concat::NAME, "the parts of a concatenation are written where it lies, so that nothing is copied"),
    (in_place::NAME, "elementwise steps write over an input that nothing reads any more"),
    (regions::NAME, "steps that do not depend on each other run at once, where that takes no more memory"),
    (parts::NAME, "a large batch runs in parts whose activations stay in the caches"),
];

/// A node that cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The node's id and name, or the output's name.
    pub node: String,
    /// Its op.
    pub op: &'static str,
    /// Why not.
    pub reason: String,
}

/// Why a graph cannot be lowered.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// The graph's batch is symbolic.
    #[error("the graph's batch is symbolic: a plan is for one batch size")]
    Symbolic,
    /// Nodes that no step can run, all of them.
    #[error("cannot compile {} node(s): {}", .0.len(), list(.0))]
    Unsupported(Vec<Refused>),
    /// The graph does not hold together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The plan is larger than plans may be.
    #[error("the model is too large: {0}")]
    TooLarge(PlanError),
    /// The plan does not hold together: a defect of the planner.
    #[error("internal error of the planner: {0}")]
    Plan(PlanError),
}

/// The verifier's invariant on sizes.
const LIMITS: usize = 1;

fn list(refused: &[Refused]) -> String {
    let lines: Vec<String> = refused.iter().map(|one| format!("{} ({}): {}", one.node, one.op, one.reason)).collect();
    lines.join("; ")
}

/// What lowering did, or did not do and why, to some nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The pass.
    pub pass: &'static str,
    /// The nodes.
    pub nodes: Vec<String>,
    /// What it did, or why it did nothing.
    pub text: String,
}

/// What the passes of lowering did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LowerReport {
    /// What they did.
    pub rewrites: Vec<Note>,
    /// What they could not do, and why.
    pub refusals: Vec<Note>,
}

impl LowerReport {
    fn rewrite(&mut self, pass: &'static str, nodes: &[impl AsRef<str>], text: String) {
        self.rewrites.push(note(pass, nodes, text));
    }

    fn refusal(&mut self, pass: &'static str, nodes: &[impl AsRef<str>], text: String) {
        self.refusals.push(note(pass, nodes, text));
    }
}

fn note(pass: &'static str, nodes: &[impl AsRef<str>], text: String) -> Note {
    Note { pass, nodes: nodes.iter().map(|node| node.as_ref().to_owned()).collect(), text }
}

/// A plan and how it came about.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The plan, verified.
    pub plan: Plan,
    /// What the passes did.
    pub report: LowerReport,
}

/// Lowers a graph whose sizes are all known.
///
/// # Errors
/// As [`lower_with_report`].
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Plan, LowerError> {
    Ok(lower_with_report(graph, options)?.plan)
}

/// Lowers a graph whose sizes are all known, and says what was done.
///
/// # Errors
/// Where the batch is symbolic, or nodes cannot run: all of them are listed.
pub fn lower_with_report(graph: &Graph, options: &LowerOptions) -> Result<Lowered, LowerError> {
    if graph.is_symbolic() {
        return Err(LowerError::Symbolic);
    }
    let whole = lower_part(graph, NonZeroUsize::MIN, options)?;
    if options.enabled(parts::NAME) && whole.plan.memory.arena_bytes > options.part_bytes {
        return parts::split(graph, whole, options);
    }
    Ok(whole)
}

/// Lowers the graph of one of so many parts of the batch.
fn lower_part(graph: &Graph, parts: NonZeroUsize, options: &LowerOptions) -> Result<Lowered, LowerError> {
    let mut report = LowerReport::default();
    let order = source::needed(graph)?;
    let (sources, unfolded) = Sources::new(graph, &order)?;
    let mut refused: Vec<Refused> = Vec::new();
    for (id, reason) in unfolded {
        refused.push(Refused { node: graph.label(id), op: graph.node(id)?.op.name(), reason });
    }
    let slices = if options.enabled(alias_concat::NAME) {
        alias_concat::slices(graph, &sources, &order, &mut report)
    } else {
        Default::default()
    };
    let mut draft = Draft::new(graph, sources, slices);
    store_inputs(&mut draft, &mut refused)?;
    for id in &order {
        let node = graph.node(*id)?;
        if let Err(Stop::Refused(reason)) = draft.select(*id, node) {
            refused.push(Refused { node: format!("{id} \"{}\"", node.name), op: node.op.name(), reason });
            draft.store_refused(node);
        }
    }
    let mut poisoned = Vec::new();
    for (name, stop) in draft.outputs() {
        match stop {
            Stop::Refused(reason) => refused.push(Refused { node: format!("output \"{name}\""), op: "output", reason }),
            Stop::Poisoned => poisoned.push(name),
        }
    }
    if let (true, Some(name)) = (refused.is_empty(), poisoned.first()) {
        let reason = "internal: nothing stores it".to_owned();
        refused.push(Refused { node: format!("output \"{name}\""), op: "output", reason });
    }
    if !refused.is_empty() {
        return Err(LowerError::Unsupported(refused));
    }
    let peak = schedule::order(&mut draft, options.enabled(in_place::NAME), &mut report);
    schedule::check(&draft).map_err(|one| LowerError::Unsupported(vec![one]))?;
    let planned = if options.enabled(regions::NAME) {
        regions::choose(&draft, peak, &options.search)
    } else {
        regions::Planned::new(&draft, Regions::each(draft.steps.len()), &options.search)
    };
    schedule::reorder(&mut draft, &planned.regions.order);
    let plan = finish::plan(&draft, &planned, parts, options);
    plan.verify().map_err(|error| match error.number {
        LIMITS => LowerError::TooLarge(error),
        _ => LowerError::Plan(error),
    })?;
    Ok(Lowered { plan, report })
}

/// The caller's inputs, in rows, read or not.
fn store_inputs(draft: &mut Draft<'_>, refused: &mut Vec<Refused>) -> Result<(), LowerError> {
    for (position, id) in draft.graph.inputs().iter().enumerate() {
        let node = draft.graph.node(*id)?;
        let (Op::Input(_), Some(value)) = (&node.op, node.outputs.first()) else { continue };
        match draft.sizes(*value) {
            Ok(sizes) => {
                let rows = layout::row_order(sizes.len());
                let view = draft.fresh(&node.name, &sizes, &rows, Home::Input(position));
                draft.store(*value, Stored { view, writers: Vec::new() });
            }
            Err(Stop::Refused(reason)) => {
                refused.push(Refused { node: format!("{id} \"{}\"", node.name), op: "input", reason });
            }
            Err(Stop::Poisoned) => {}
        }
    }
    Ok(())
}
