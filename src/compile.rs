//! From a model to code: the stages one after the other, each to be had alone.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incept_compiler::codegen::choose;
use incept_compiler::codegen::target::Target;
use incept_compiler::codegen::{self, CodegenError, Linked};
use incept_compiler::lower::{self, LowerOptions, LowerReport};
use incept_compiler::pass::{Optimized, PassOptions, PassReport};
use incept_compiler::pipeline;
use incept_ir::graph::{Graph, Node};
use incept_ir::ids::StepId;
use incept_ir::ops::Op;
use incept_ir::plan::Plan;
use incept_runtime::{Session, SessionOptions};

use crate::edit;
use crate::error::Error;
use crate::model::{Body, Model};
use crate::names::nearest;
use crate::tune;

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// The batch size that a symbolic batch takes; 1 where nothing is said. A model of fixed batch takes no other.
    pub batch: Option<usize>,
    /// Which instructions the code uses: `auto` (the widest that this CPU has), `avx512`, `avx2` or `v128`.
    pub target: String,
    /// Passes and lowering decisions to leave out, by name ([`pass_names`]).
    pub disabled: Vec<String>,
    /// Sums convolutions directly only. Without it they may take Winograd's algorithm where that is faster, whose
    /// transforms round: results then differ from the direct sums by some 1e-5 of the largest.
    pub exact: bool,
    /// Verifies the graph after every rewrite, not only at the end.
    pub verify_each: bool,
    /// Stops after this many rewrites: to find the one that breaks a model.
    pub stop_after: Option<usize>,
    /// Keeps the CLIF of every function, for the listing.
    pub keep_text: bool,
    /// The graph outputs that are wanted, by name and in this order; what others need is removed. Empty: all of them.
    pub outputs: Vec<String>,
    /// Is subtracted from the first input, one number for each channel; empty: nothing.
    pub mean: Vec<f32>,
    /// Divides the first input after that, one number for each channel; empty: nothing.
    pub std: Vec<f32>,
    /// A batch whose activations take more bytes than this runs in parts, if its images do not depend on each other. The
    /// size of a part may choose other algorithms, and so other roundings.
    pub part_bytes: usize,
    /// How many threads a session runs on; all cores that the process may use where nothing is said.
    pub threads: Option<NonZeroUsize>,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            batch: None,
            target: "auto".into(),
            disabled: Vec::new(),
            exact: false,
            verify_each: false,
            stop_after: None,
            keep_text: false,
            outputs: Vec::new(),
            mean: Vec::new(),
            std: Vec::new(),
            part_bytes: lower::parts::BYTES,
            threads: None,
        }
    }
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// All passes.
    pub optimize: Duration,
    /// Lowering, placing and verifying.
    pub lower: Duration,
    /// Emitting code and packing weights.
    pub link: Duration,
}

/// A plan, and how it came about.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan, verified.
    pub plan: Arc<Plan>,
    /// What the passes did; nothing where the model was a saved plan.
    pub passes: Option<PassReport>,
    /// What lowering decided; nothing where the model was a saved plan.
    pub lowering: Option<LowerReport>,
    /// How long it took; `link` is zero.
    pub times: Times,
}

/// What an algorithm was chosen for, and among which.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The step.
    pub step: StepId,
    /// The source nodes of the step.
    pub nodes: Vec<String>,
    /// The choice and the other candidates with their times, for people.
    pub text: String,
}

impl Planned {
    /// Measures the candidates of every convolution for about `budget` on this CPU, and keeps what was found in the plan;
    /// see [`tune`](mod@crate::tune).
    ///
    /// # Errors
    /// As [`tune::tune`].
    pub fn tune(
        &mut self,
        target: &Target,
        options: &CompileOptions,
        budget: Duration,
        progress: &mut dyn FnMut(f64),
    ) -> Result<(), Error> {
        let session = SessionOptions { threads: options.threads };
        let tuning = tune::tune(&self.plan, target, &session, budget, progress)?;
        self.plan = Arc::new(Plan { tuning: Some(tuning), ..(*self.plan).clone() });
        Ok(())
    }

    /// How each convolution that has a choice will be computed on this CPU, and why.
    ///
    /// # Errors
    /// Where a step cannot be compiled.
    pub fn choices(&self, target: &Target) -> Result<Vec<Choice>, Error> {
        let plan = &self.plan;
        let failed = |source| Error::Codegen { model: plan.name.clone(), source: Box::new(source) };
        let cpu = target.cpu();
        let mut choices = Vec::new();
        for (id, found) in choose::all_candidates(plan, target).map_err(failed)? {
            let Some(step) = plan.steps.get(id.index()) else { continue };
            let tuned = plan.tuning.as_ref().filter(|tuning| tuning.cpu == cpu);
            let tuned = tuned.and_then(|tuning| tuning.steps.iter().find(|tuned| tuned.step == id));
            let (how, list): (&str, Vec<String>) = match tuned {
                Some(tuned) => {
                    let time = |(algorithm, ns): &(_, u64)| format!("{algorithm} {:.3} ms", *ns as f64 / 1e6);
                    ("measured", tuned.measured.iter().map(time).collect())
                }
                None => {
                    let time = |one: &choose::Candidate| format!("{} {:.0}k cycles", one.algorithm, one.cycles / 1e3);
                    ("estimated", found.iter().map(time).collect())
                }
            };
            if let Some((first, others)) = list.split_first() {
                let text = format!("{first} ({how}) rather than {}", others.join(", "));
                choices.push(Choice { step: id, nodes: step.nodes.clone(), text });
            }
        }
        Ok(choices)
    }

    /// Emits the code, on as many threads as runs are to use.
    ///
    /// # Errors
    /// Where code cannot be emitted.
    pub fn link(self, target: Target, options: &CompileOptions) -> Result<Compiled, Error> {
        link_planned(|| Ok(self), target, options, None, 0)
    }
}

/// Why there is no code.
enum Failed {
    NoPlan(Error),
    NoCode(CodegenError),
}

impl From<CodegenError> for Failed {
    fn from(error: CodegenError) -> Self {
        Self::NoCode(error)
    }
}

/// Makes a plan and emits its code; somebody is told now and then that weights were read for the last time. There are
/// `at_least` so many bytes of them.
fn link_planned(
    make: impl FnOnce() -> Result<Planned, Error>,
    target: Target,
    options: &CompileOptions,
    packed: Option<&(dyn Fn() + Sync)>,
    at_least: usize,
) -> Result<Compiled, Error> {
    let threads = options.threads.unwrap_or_else(incept_runtime::available_cores);
    let link = codegen::LinkOptions { keep_text: options.keep_text, threads: Some(threads), packed };
    let mut model = String::new();
    let make = || {
        let mut planned = make().map_err(Failed::NoPlan)?;
        model.clone_from(&planned.plan.name);
        // Perhaps the only reference: raw weights can then go while they are packed.
        Ok((std::mem::take(&mut planned.plan), (planned, Instant::now())))
    };
    let linked = codegen::link_made(make, &target, link, at_least);
    let (linked, (mut planned, start)) = linked.map_err(|failed| match failed {
        Failed::NoPlan(error) => error,
        Failed::NoCode(source) => Error::Codegen { model, source: Box::new(source) },
    })?;
    planned.plan = Arc::clone(&linked.module.plan);
    let times = Times { link: start.elapsed(), ..planned.times };
    Ok(Compiled { planned, linked, target, times, threads: options.threads })
}

/// Code for this CPU.
pub struct Compiled {
    /// The plan, and how it came about. Its weights are packed and no longer in it: a plan is saved before it is linked.
    pub planned: Planned,
    /// The code, and its listing.
    pub linked: Linked,
    /// What the code was emitted for.
    pub target: Target,
    /// How long each stage took.
    pub times: Times,
    /// How many threads its sessions run on; all cores that the process may use where nothing is said.
    pub threads: Option<NonZeroUsize>,
}

impl Compiled {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.planned.plan
    }

    /// The assembly of every emitted function, in Intel syntax.
    ///
    /// # Errors
    /// On machines other than x86-64.
    pub fn assembly(&self) -> Result<String, Error> {
        let failed = |source| Error::Codegen { model: self.planned.plan.name.clone(), source: Box::new(source) };
        self.linked.listing.asm().map_err(failed)
    }

    /// A session, on as many threads as [`CompileOptions::threads`] said. Sessions of one compiled model share its code and
    /// weights, and may run at the same time.
    ///
    /// # Errors
    /// Where there is not enough memory, or not enough threads.
    pub fn session(&self) -> Result<Session, Error> {
        self.session_with(&SessionOptions { threads: self.threads })
    }

    /// As [`Compiled::session`], with options of its own.
    ///
    /// # Errors
    /// As [`Compiled::session`].
    pub fn session_with(&self, options: &SessionOptions) -> Result<Session, Error> {
        Ok(Session::with_options(self.linked.module.clone(), options)?)
    }
}

/// The names that [`CompileOptions::disabled`] knows: passes, then decisions of lowering.
pub fn pass_names() -> impl Iterator<Item = &'static str> {
    pipeline::PASSES.iter().map(|pass| pass.name).chain(lower::PASSES.iter().map(|(name, _)| *name))
}

/// The target of this name.
///
/// # Errors
/// Where the name is unknown or this CPU lacks the instructions.
pub fn target(name: &str) -> Result<Target, Error> {
    Target::parse(name).map_err(|error| Error::Target(Box::new(error)))
}

fn check_disabled(disabled: &[String]) -> Result<(), Error> {
    let names: Vec<String> =
        disabled.iter().filter(|name| !pass_names().any(|known| known == *name)).cloned().collect();
    match names.first() {
        None => Ok(()),
        Some(first) => {
            let nearest = nearest(first, pass_names()).map(Into::into);
            Err(Error::NoPass { names, nearest })
        }
    }
}

impl Model {
    /// The optimised graph. `observer` sees the name of each pass that ran and the graph after it.
    ///
    /// # Errors
    /// Where the model is a saved plan, a name in `disabled` is unknown, or a pass fails.
    pub fn optimize(
        &self,
        options: &CompileOptions,
        observer: &mut dyn FnMut(&str, &Graph),
    ) -> Result<Optimized, Error> {
        check_disabled(&options.disabled)?;
        let mut graph = self.graph()?.clone();
        edit::apply(&mut graph, options, self.name())?;
        let pass_options = PassOptions {
            disabled: options
                .disabled
                .iter()
                .filter(|name| pipeline::PASSES.iter().any(|pass| pass.name == *name))
                .cloned()
                .collect(),
            verify_each: options.verify_each,
            stop_after: options.stop_after,
        };
        pipeline::optimize(graph, &pass_options, &mut |pass, graph| observer(pass.name, graph))
            .map_err(|source| Error::Pass { model: self.name().into(), source: Box::new(source) })
    }

    /// A graph of this model, its symbolic batch set to a size.
    ///
    /// # Errors
    /// Where an op refuses the size.
    pub fn with_batch(&self, graph: &Graph, batch: usize) -> Result<Graph, Error> {
        graph.with_batch(batch).map_err(|source| Error::Graph { model: self.name().into(), source: Box::new(source) })
    }

    /// The plan for a batch size.
    ///
    /// # Errors
    /// As [`Model::optimize`], and where nodes have no compiled form or the batch size does not suit the model.
    pub fn plan(&self, options: &CompileOptions) -> Result<Planned, Error> {
        check_disabled(&options.disabled)?;
        let graph = match self.body() {
            Body::Graph(graph) => graph,
            Body::Plan(plan) => return self.saved_plan(plan, options),
        };
        if let (false, Some(batch)) = (graph.is_symbolic(), options.batch) {
            fixed_batch(self, self.fixed_batch(), batch)?;
        }
        let start = Instant::now();
        let optimized = self.optimize(options, &mut |_, _| {})?;
        let optimize = start.elapsed();
        let start = Instant::now();
        let batch = options.batch.or(self.fixed_batch()).unwrap_or(1);
        let concrete = self.with_batch(&optimized.graph, batch)?;
        let lower_options = LowerOptions {
            disabled: options
                .disabled
                .iter()
                .filter(|name| lower::PASSES.iter().any(|(known, _)| known == name))
                .cloned()
                .collect(),
            batch,
            symbolic_batch: graph.is_symbolic(),
            exact: options.exact,
            part_bytes: options.part_bytes,
            ..LowerOptions::default()
        };
        let lowered = lower::lower_with_report(&concrete, &lower_options)
            .map_err(|source| Error::Lower { model: self.name().into(), source: Box::new(source) })?;
        let times = Times { optimize, lower: start.elapsed(), link: Duration::ZERO };
        Ok(Planned {
            plan: Arc::new(lowered.plan),
            passes: Some(optimized.report),
            lowering: Some(lowered.report),
            times,
        })
    }

    fn saved_plan(&self, plan: &Plan, options: &CompileOptions) -> Result<Planned, Error> {
        if !options.disabled.is_empty() || options.stop_after.is_some() {
            return Err(Error::NotApplicable {
                option: "leaving passes out",
                to: self.source().to_string(),
                help: "the passes have run: compile the plan again from its model",
            });
        }
        if !(options.outputs.is_empty() && options.mean.is_empty() && options.std.is_empty()) {
            return Err(Error::NotApplicable {
                option: "choosing outputs or normalising the input",
                to: self.source().to_string(),
                help: "compile the plan again from its model, with the same options",
            });
        }
        if let Some(batch) = options.batch {
            fixed_batch(self, Some(plan.batch), batch)?;
        }
        // Verified when it was read; a plan made by hand is checked by its session.
        let plan = Plan { exact: plan.exact || options.exact, ..plan.clone() };
        Ok(Planned { plan: Arc::new(plan), passes: None, lowering: None, times: Times::default() })
    }

    /// The plan and its code.
    ///
    /// # Errors
    /// As [`Model::plan`], and where the target is unknown or not available here.
    pub fn compile(&self, options: &CompileOptions) -> Result<Compiled, Error> {
        let target = target(&options.target)?;
        let plan = || {
            let planned = self.plan(options)?;
            // Weights are read once more, to be packed: what of a mapped file was read need not stay.
            self.let_go();
            Ok(planned)
        };
        let weights = match self.body() {
            Body::Graph(graph) => graph.nodes().map(|(_, node)| constant_bytes(node)).sum(),
            Body::Plan(plan) => plan.constants.iter().map(|constant| constant.values.len()).sum(),
        };
        link_planned(plan, target, options, Some(&|| self.let_go()), weights)
    }

    /// The batch size of a model that allows no other: the first size of its first input.
    fn fixed_batch(&self) -> Option<usize> {
        let Body::Graph(graph) = self.body() else { return None };
        let input = graph.output(*graph.inputs().first()?, 0).ok()?;
        graph.ty(input).ok()?.shape.dims().first()?.fixed()
    }
}

fn constant_bytes(node: &Node) -> usize {
    match &node.op {
        Op::Constant(constant) => constant.tensor.values().len(),
        _ => 0,
    }
}

fn fixed_batch(model: &Model, has: Option<usize>, asked: usize) -> Result<(), Error> {
    if has == Some(asked) {
        return Ok(());
    }
    let has = has.map_or_else(|| "no batch".into(), |has| format!("the fixed batch size {has}"));
    Err(Error::NotApplicable {
        option: "another batch size",
        to: format!("{}, which has {has}", model.source()),
        help: "export the model with a symbolic batch, or leave --batch out",
    })
}
