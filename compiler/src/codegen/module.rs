//! Plan to compiled module: every step's kernel emitted, its weights packed, everything linked.
//!
//! Steps of equal specs share one kernel. Kernels are emitted and weights packed by several threads at once
//! ([`super::jobs`]); what they emit is gathered in the order of the plan, so the module does not depend on the threads.
//! Nothing runs on other threads once the module is there.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use incept_ir::abi::{AlignedBytes, CompiledModule, KernelEntry, Operand};
use incept_ir::ids::StepId;
use incept_ir::plan::{Place, Plan, PlanConstant, Step};
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::choose;
use super::jobs::{Filling, Job, Jobs};
use super::kernels::{Emitted, Spec};
use super::link::{self, FunctionRecord, Linker};
use super::lock;
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
    let (linked, ()) = link_made(|| Ok::<_, CodegenError>((plan, ())), target, options, 0)?;
    Ok(linked)
}

/// As [`link_with`], for a plan that is still to be made, perhaps with something else. Meanwhile a second thread gets memory
/// ready for packed weights, of which there will be about `at_least` so many bytes or more.
///
/// # Errors
/// What `make` returns, and as [`link`].
pub fn link_made<T, E: From<CodegenError>>(
    make: impl FnOnce() -> Result<(Arc<Plan>, T), E>,
    target: &Target,
    options: LinkOptions<'_>,
    at_least: usize,
) -> Result<(Linked, T), E> {
    let threads = options.threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (mut memory, weights, ready) = (None, OnceLock::new(), Ready::default());
    let jobs = Jobs::new(target, options.keep_text);
    let (plan, with, steps, firsts) = std::thread::scope(|scope| {
        let filling = jobs.filling();
        jobs.help(scope, 1..threads.min(2), || ready.prepare(at_least));
        let (plan, with) = make()?;
        jobs.help(scope, 2..threads.min(plan.steps.len()), || {});
        let ((blocks, bytes), steps, firsts) = place(&plan, target, &filling)?;
        let (plan, constants) = part(plan);
        let packer = Packer { target, raw: Raw::new(constants, &blocks, options.packed) };
        let (packer, blocks) = weights.get_or_init(|| (packer, blocks));
        let packed = ready.take(bytes).or_else(|| AlignedBytes::zeroed(bytes)).ok_or_else(|| {
            CodegenError::Link(format!("there is not enough memory for {bytes} bytes of packed weights"))
        })?;
        let mut slices: Vec<_> = blocks.iter().zip(cut(blocks, memory.insert(packed).floats_mut())?).collect();
        slices.sort_by_key(|(block, _)| block.floats());
        slices.into_iter().for_each(|(block, slice)| filling.push(Job::Pack(packer, block, slice)));
        drop(filling);
        jobs.work(0);
        Ok::<_, E>((plan, with, steps, firsts))
    })?;
    let kernels = jobs.finish()?;
    let packed = memory.unwrap_or_default();

    let mut linker = Linker::new(target);
    let mut emitted = Vec::with_capacity(kernels.len());
    for (kernel, index) in kernels.into_iter().zip(firsts) {
        let (own, kernel) = kernel.map_err(|error| at_step(index, &plan.steps[index], error))?;
        let moved = linker.absorb(own)?;
        emitted.push(Emitted { kernel: moved.kernel(kernel.kernel)?, ..kernel });
    }
    let code = Arc::new(linker.finish()?);
    let mut entries = Vec::with_capacity(plan.steps.len());
    let mut lines = Vec::with_capacity(plan.steps.len());
    for (step, placed) in plan.steps.iter().zip(steps) {
        let Emitted { kernel, tasks, scratch_bytes, name } = emitted[placed.number].clone();
        lines.push(StepLine {
            step: step.name.clone(),
            family: placed.family,
            kernel: name.clone(),
            tasks,
            scratch_bytes,
            packed_bytes: placed.packed_bytes,
        });
        let (function, operands) = (code.kernel(kernel)?, placed.operands);
        entries.push(KernelEntry { function, operands, tasks, scratch_bytes, name });
    }
    let listing = Listing { code: Arc::clone(&code), level: target.level(), steps: lines };
    let module = CompiledModule { plan: Arc::new(plan), entries, packed: Arc::new(packed), owner: code };
    Ok((Linked { module, listing }, with))
}

/// Memory for packed weights that one thread gets ready while another finds out how much is needed.
#[derive(Default)]
struct Ready {
    enough: AtomicBool,
    memory: Mutex<Option<AlignedBytes>>,
}

impl Ready {
    /// Packed weights are as large as raw ones or, transformed, up to this many times.
    const TIMES: usize = 4;
    /// Nothing is got ready for more raw weights than these, so that the reserved addresses stay few.
    const MOST: usize = 256 << 20;

    fn prepare(&self, at_least: usize) {
        let mut memory = lock(&self.memory);
        if self.enough.load(Ordering::Relaxed) || at_least > Self::MOST {
            return;
        }
        *memory = AlignedBytes::zeroed(at_least * Self::TIMES);
        if let Some(memory) = &mut *memory {
            memory.touch(at_least, &self.enough);
        }
    }

    /// The memory, if it is large enough.
    fn take(&self, bytes: usize) -> Option<AlignedBytes> {
        self.enough.store(true, Ordering::Relaxed);
        let memory = lock(&self.memory).take();
        let mut memory = memory.filter(|memory| memory.len() >= bytes)?;
        memory.truncate(bytes);
        Some(memory)
    }
}

/// A step with its kernel's number and its operands.
struct PlacedStep {
    number: usize,
    family: &'static str,
    operands: Vec<Operand>,
    packed_bytes: usize,
}

/// The blocks of packed weights with their bytes in all, the steps, and of each kernel the first step that it computes.
type Places = ((Vec<Block>, usize), Vec<PlacedStep>, Vec<usize>);

/// Gives each step its place in packed memory and its kernel, which is emitted meanwhile: equal specs share one.
fn place(plan: &Plan, target: &Target, filling: &Filling<'_, '_>) -> Result<Places, CodegenError> {
    let mut weights = Weights::new(plan, target);
    let mut steps = Vec::with_capacity(plan.steps.len());
    let mut firsts = Vec::new();
    let mut known = FxHashMap::default();
    for (index, step) in plan.steps.iter().enumerate() {
        let mut prepare = || {
            let lowered = chosen(plan, StepId::from_index(index), lower(plan, step)?, target)?;
            Ok((weights.place_step(&lowered)?, lowered.spec))
        };
        let ((operands, packed_bytes), spec) = prepare().map_err(|error| at_step(index, step, error))?;
        let family = spec.family().name();
        let number = *known.entry(format!("{spec:?}")).or_insert_with(|| {
            filling.push(Job::Emit(firsts.len(), spec));
            firsts.push(index);
            firsts.len() - 1
        });
        steps.push(PlacedStep { number, family, operands, packed_bytes });
    }
    Ok((weights.layout(), steps, firsts))
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
