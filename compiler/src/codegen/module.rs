//! Plan to compiled module: every step's kernel emitted, its weights packed, everything linked.
//!
//! Steps of equal specs share one kernel. Kernels are emitted and weights packed by several threads at once, each taking
//! the next job from one list; what they emit is gathered in the order of the plan, so the module does not depend on the
//! threads. Nothing runs on other threads once the module is there.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use incept_ir::abi::{AlignedBytes, CompiledModule, KernelEntry};
use incept_ir::ids::StepId;
use incept_ir::plan::{Place, Plan, PlanConstant, Step};
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::choose;
use super::kernels::{Emitted, Spec};
use super::link::{self, FunctionRecord, Linker};
use super::steps::{Lowered, lower};
use super::target::Target;
use super::weights::{Block, Packer, Raw, Weights, cut};

/// A compiled plan.
pub struct Linked {
    /// What the runtime runs.
    pub module: CompiledModule,
    /// What people look at.
    pub listing: Listing,
}

/// The emitted code, for people.
#[derive(Clone)]
pub struct Listing {
    code: Arc<link::Linked>,
    /// The vector level that code was emitted for.
    pub level: super::target::Level,
    /// One line for each step of the plan, in its order.
    pub steps: Vec<StepLine>,
}

/// How one step was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// The step's name.
    pub step: String,
    /// The kernel family.
    pub family: &'static str,
    /// The algorithm and its tiles.
    pub kernel: String,
    /// Tasks that the step is cut into.
    pub tasks: u64,
    /// Scratch memory for each calling thread.
    pub scratch_bytes: usize,
    /// Bytes of packed weights, shared ones included.
    pub packed_bytes: usize,
}

impl Listing {
    /// Every emitted function, in the order of emission: name, size, and CLIF where [`LinkOptions::keep_text`] asked for it.
    #[must_use]
    pub fn functions(&self) -> &[FunctionRecord] {
        self.code.records()
    }

    /// The function in Intel syntax.
    ///
    /// # Errors
    /// [`CodegenError::Host`] on machines other than x86-64.
    pub fn disassemble(&self, function: &FunctionRecord) -> Result<String, CodegenError> {
        self.code.disassemble(function)
    }

    /// The CLIF of every function that went through Cranelift, where [`LinkOptions::keep_text`] asked for it; tiles
    /// that the vector assembler encoded itself have none and are named.
    #[must_use]
    pub fn clif(&self) -> String {
        let mut text = String::new();
        for function in self.functions() {
            match &function.clif {
                Some(clif) => text += &format!("; {} ({} bytes)\n{clif}\n", function.name, function.size),
                None => {
                    text += &format!("; {} ({} bytes): no CLIF, see its assembly\n\n", function.name, function.size)
                }
            }
        }
        text
    }

    /// Every function in Intel syntax.
    ///
    /// # Errors
    /// [`CodegenError::Host`] on machines other than x86-64.
    pub fn asm(&self) -> Result<String, CodegenError> {
        let mut text = String::new();
        for function in self.functions() {
            text += &format!("; {} ({} bytes)\n{}\n", function.name, function.size, self.disassemble(function)?);
        }
        Ok(text)
    }

    /// Bytes of machine code and its constants.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.functions().iter().map(|function| function.size).sum()
    }
}

/// What to keep beside the code.
#[derive(Clone, Copy, Default)]
pub struct LinkOptions<'a> {
    /// Keep the CLIF text of every function for the listing.
    pub keep_text: bool,
    /// How many threads emit code and pack weights; as many as the process may use where nothing is said. The module does
    /// not depend on it.
    pub threads: Option<NonZeroUsize>,
    /// Is told from time to time, on any thread, that many megabytes of raw weights were read for the last time.
    pub packed: Option<&'a (dyn Fn() + Sync)>,
}

/// Compiles a plan for this CPU. The plan should be verified ([`incept_ir::plan::verify`]).
///
/// The module's plan keeps the bytes of those constants only that are operands: the others are packed. Where `plan` is the
/// last reference to it, they are let go one after the other, so that less memory is needed.
///
/// # Errors
/// [`CodegenError::Step`] with the step and the reason; [`CodegenError::Link`] if linking fails.
pub fn link(plan: Arc<Plan>, target: &Target) -> Result<Linked, CodegenError> {
    link_with(plan, target, LinkOptions::default())
}

/// As [`link`], with options.
///
/// # Errors
/// As [`link`].
pub fn link_with(plan: Arc<Plan>, target: &Target, options: LinkOptions<'_>) -> Result<Linked, CodegenError> {
    let mut weights = Weights::new(&plan, target);
    let mut places = Vec::with_capacity(plan.steps.len());
    // Equal specs share a kernel: the number of each step's, and the first step of each.
    let mut numbers = Vec::with_capacity(plan.steps.len());
    let mut firsts: Vec<(usize, Spec)> = Vec::new();
    let mut known = FxHashMap::default();
    for (index, step) in plan.steps.iter().enumerate() {
        let mut prepare = || {
            let lowered = chosen(&plan, StepId::from_index(index), lower(&plan, step)?, target)?;
            Ok((weights.place_step(&lowered)?, lowered.spec))
        };
        let (place, spec) = prepare().map_err(|error| at_step(index, step, error))?;
        places.push((place, spec.family()));
        let number = *known.entry(format!("{spec:?}")).or_insert_with(|| {
            firsts.push((index, spec));
            firsts.len() - 1
        });
        numbers.push(number);
    }
    let (blocks, bytes) = weights.layout();
    let (plan, constants) = part(plan);
    let packer = Packer { target, raw: Raw::new(constants, &blocks, options.packed) };
    let mut packed = AlignedBytes::zeroed(bytes)
        .ok_or_else(|| CodegenError::Link(format!("there is not enough memory for {bytes} bytes of packed weights")))?;
    let kernels = work(&firsts, &blocks, &packer, packed.floats_mut(), target, options)?;

    let mut linker = Linker::new(target);
    let mut emitted = Vec::with_capacity(kernels.len());
    for (kernel, (index, _)) in kernels.into_iter().zip(&firsts) {
        let (own, kernel) = kernel.map_err(|error| at_step(*index, &plan.steps[*index], error))?;
        let moved = linker.absorb(own)?;
        emitted.push(Emitted { kernel: moved.kernel(kernel.kernel)?, ..kernel });
    }
    let code = Arc::new(linker.finish()?);
    let mut entries = Vec::with_capacity(plan.steps.len());
    let mut lines = Vec::with_capacity(plan.steps.len());
    for ((step, number), ((operands, packed_bytes), family)) in plan.steps.iter().zip(numbers).zip(places) {
        let Emitted { kernel, tasks, scratch_bytes, name } = emitted[number].clone();
        lines.push(StepLine {
            step: step.name.clone(),
            family: family.name(),
            kernel: name.clone(),
            tasks,
            scratch_bytes,
            packed_bytes,
        });
        entries.push(KernelEntry { function: code.kernel(kernel)?, operands, tasks, scratch_bytes, name });
    }
    let listing = Listing { code: Arc::clone(&code), level: target.level(), steps: lines };
    let module = CompiledModule { plan: Arc::new(plan), entries, packed: Arc::new(packed), owner: code };
    Ok(Linked { module, listing })
}

/// The plan without the bytes of its constants, and the constants with them. Those that are operands keep theirs.
fn part(plan: Arc<Plan>) -> (Plan, Vec<PlanConstant>) {
    let mut plan = Arc::unwrap_or_clone(plan);
    let constants = plan.constants.clone();
    let mut operand = vec![false; constants.len()];
    for buffer in &plan.buffers {
        if let Place::Constant(id) = buffer.place
            && let Some(operand) = operand.get_mut(id.index())
        {
            *operand = true;
        }
    }
    for (constant, operand) in plan.constants.iter_mut().zip(operand) {
        if !operand {
            constant.values = Default::default();
        }
    }
    (plan, constants)
}

type Kernel = Result<(Linker, Emitted), CodegenError>;

enum Job<'a> {
    /// The kernel of this number.
    Emit(usize),
    Pack(&'a Block, &'a mut [f32]),
}

/// Emits all kernels and packs all weights, on several threads.
fn work(
    specs: &[(usize, Spec)],
    blocks: &[Block],
    packer: &Packer<'_>,
    packed: &mut [f32],
    target: &Target,
    options: LinkOptions<'_>,
) -> Result<Vec<Kernel>, CodegenError> {
    let cells: Vec<OnceLock<Kernel>> = specs.iter().map(|_| OnceLock::new()).collect();
    let failed: OnceLock<CodegenError> = OnceLock::new();
    // Emission keeps a core busy, packing the memory: half of the threads begin at either end, and they meet in the middle,
    // where the jobs are small.
    let mut jobs: VecDeque<Job<'_>> = (0..specs.len()).map(Job::Emit).collect();
    let mut slices: Vec<_> = blocks.iter().zip(cut(blocks, packed)?).collect();
    slices.sort_by_key(|(block, _)| block.floats());
    jobs.extend(slices.into_iter().map(|(block, slice)| Job::Pack(block, slice)));
    let run = |job: Job<'_>, scratch: &mut Vec<f32>| match job {
        Job::Emit(number) => {
            let mut linker = Linker::new(target);
            linker.keep_text(options.keep_text);
            let emitted = specs[number].1.emit(&mut linker);
            // Each number comes once.
            let _ = cells[number].set(emitted.map(|emitted| (linker, emitted)));
        }
        Job::Pack(block, slice) => {
            if let Err(error) = packer.pack(block, scratch, slice) {
                let _ = failed.set(error);
            }
        }
    };
    let threads = options.threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let helpers = threads.min(jobs.len()).saturating_sub(1);
    let jobs = Mutex::new(jobs);
    let next = |worker: usize| {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if worker.is_multiple_of(2) { jobs.pop_front() } else { jobs.pop_back() }
    };
    let work = |worker: usize| {
        let mut scratch = Vec::new();
        while let Some(job) = next(worker) {
            run(job, &mut scratch);
        }
    };
    std::thread::scope(|scope| {
        for helper in 1..=helpers {
            // Where the system gives no more threads, those that there are do the work.
            let name = format!("incept-load-{helper}");
            let work = &work;
            if std::thread::Builder::new().name(name).spawn_scoped(scope, move || work(helper)).is_err() {
                break;
            }
        }
        work(0);
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let missing = || Err(CodegenError::Internal("a kernel that nobody emitted"));
    Ok(cells.into_iter().map(|cell| cell.into_inner().unwrap_or_else(missing)).collect())
}

/// The step with the algorithm that is to compute it.
fn chosen(plan: &Plan, step: StepId, lowered: Lowered, target: &Target) -> Result<Lowered, CodegenError> {
    let Spec::Conv(conv) = &lowered.spec else { return Ok(lowered) };
    let algorithm = choose::choose(plan, step, conv, target)?;
    Ok(Lowered { spec: choose::spec(conv, algorithm), ..lowered })
}

pub(super) fn at_step(index: usize, step: &Step, error: CodegenError) -> CodegenError {
    CodegenError::Step {
        step: StepId::from_index(index),
        kind: step.kind.name(),
        name: step.name.clone(),
        source: Box::new(error),
    }
}
