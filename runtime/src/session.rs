//! A session: the memory of one execution at a time, and the calls of the kernels.
//!
//! Everything is allocated and every address that can be known is computed in [`Session::new`]; a run writes the caller's
//! addresses into the operand table and calls the kernels in order. Sessions of one module share its code and weights, so
//! a second session costs its arena, outputs and threads only; each may run on a thread of its own.
//!
//! # Threads
//! A session has a pool of its own, as large as [`SessionOptions::threads`] says; the thread that calls `run` is one of it.
//! One thread runs each step whole, without a pool. Several share the tasks of a region of the plan between two barriers.
//! The cut into tasks is the kernels' own and does not depend on the number of threads, so results are bit-identical for
//! any number. Where several sessions run at once, give each its part of the cores.
//!
//! # Parts
//! A run of a plan with several [parts](Plan::parts) executes it once for each, one after the other, on the same arena.
//!
//! # Denormals
//! Kernels run with denormal numbers off (*flush to zero*, and *denormals are zero* where the CPU has it): results and
//! operands below the smallest normal number, 1.2e-38, count as zero. The mode is set for the calls of the kernels only,
//! on each thread that takes part; the caller's floating-point environment is as before after a run, exception flags
//! included. See [`crate::call`].
//!
//! Invariants:
//! 1. `operands` holds, for every operand of every call, an address valid for the extent of what it stands for, except those
//!    of inputs and outputs, which are set at the start of every part of a run.
//! 2. The addresses of inputs and outputs are used by the calls of the part of a run that set them, and by no others.
//! 3. A run allocates nothing.
//! 4. No two calls at once get the same scratch memory: it belongs to a thread of the pool.

use std::num::NonZeroUsize;
use std::ops::Range;

use incept_ir::abi::{CompiledModule, KernelArgs};
use incept_ir::plan::Plan;

use crate::arena::Arena;
use crate::bind::{Address, Call, Layout, PortInfo};
use crate::call;
use crate::cpus::available_cores;
use crate::pool::{Piece, Pool};
use crate::profile::{Profile, Recorder, Unwatched, Watch};
use crate::tasks::Tasks;

/// Why a session could not be made or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The number of inputs is wrong.
    #[error("the model takes {} inputs ({}) but {given} are given", .names.len(), .names.join(", "))]
    InputCount {
        /// The inputs' names.
        names: Vec<String>,
        /// How many are given.
        given: usize,
    },
    /// The number of outputs is wrong.
    #[error("the model has {} outputs ({}) but {given} are given", .names.len(), .names.join(", "))]
    OutputCount {
        /// The outputs' names.
        names: Vec<String>,
        /// How many are given.
        given: usize,
    },
    /// A slice for an input or output has the wrong length.
    #[error("{} `{name}` has sizes {sizes:?}, that is {wanted} values, but {given} are given", if *.output { "output" } else { "input" })]
    PortSize {
        /// Whether it is an output.
        output: bool,
        /// The model's name for it.
        name: String,
        /// Its sizes.
        sizes: Vec<usize>,
        /// How many values that is.
        wanted: usize,
        /// How many are given.
        given: usize,
    },
    /// The module's parts contradict each other.
    #[error("the compiled module is inconsistent: {reason}")]
    Module {
        /// Where and how.
        reason: String,
    },
    /// There is not enough memory.
    #[error("there is not enough memory for {bytes} bytes of {what}")]
    Memory {
        /// What for.
        what: &'static str,
        /// How many bytes.
        bytes: usize,
    },
    /// The system gives no more threads.
    #[error("cannot start {threads} threads: {reason}; ask for fewer")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system says.
        reason: String,
    },
}

/// What may be chosen for a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// How many threads a run uses, the caller's included; [`available_cores`] where nothing is said. Never more than
    /// there are tasks to share.
    pub threads: Option<NonZeroUsize>,
}

/// The calls of a run, with all that they need.
struct Calls {
    calls: Vec<Call>,
    /// One pointer for each operand of each call.
    operands: Vec<*mut u8>,
    /// One for each thread.
    scratch: Vec<Arena>,
}

// SAFETY: the pointers in `operands` lead to memory that the session owns (arena, results, aligned copies) or shares
// immutably (`module`, whose fields are `Send + Sync`); pointers to the caller's inputs and outputs are never used after
// the part of a run that set them.
unsafe impl Send for Calls {}
// SAFETY: threads that share it during a run only read its tables; what the calls do to the memory behind them is ordered
// by the contract of `Calls::call`.
unsafe impl Sync for Calls {}

impl Calls {
    /// Calls the kernel of a step for some of its tasks.
    ///
    /// # Safety
    /// Only within a run of the session that owns this: inputs and outputs are set, the session is borrowed exclusively and
    /// its module alive. All calls at once are of different threads and have different tasks, of one step or of steps of
    /// one region; those of earlier regions have ended.
    unsafe fn call(&self, step: usize, tasks: Range<u64>, thread: usize) {
        let (Some(call), Some(scratch)) = (self.calls.get(step), self.scratch.get(thread)) else { return };
        let args = KernelArgs {
            operands: self.operands[call.first_operand..].as_ptr(),
            scratch: scratch.start(),
            task_begin: tasks.start,
            task_end: tasks.end,
        };
        // What `KernelFn` asks for: each operand pointer is valid for the extent of its view (`Layout::of` checked every
        // view against its buffer and every buffer against its memory, and the run checked the lengths of the caller's
        // slices); arena and constants have the plan's alignment; what a step writes is never an input or a constant; the
        // scratch block is the thread's own and at least as large as the largest that any entry asks for.
        // SAFETY: the contract of `KernelFn` is kept as just said, and `args` lives across the call; that no two threads
        // have the same task and that the code is alive is this function's own contract.
        unsafe { call::call(call.function, &args) };
    }
}

/// One execution at a time of a compiled module. See the module's documentation.
pub struct Session {
    /// Dropped first: its threads end before what they ran on goes.
    pool: Option<Pool>,
    calls: Calls,
    tasks: Tasks,
    /// Operands to set for each part of a run: (position in `operands`, input, byte offset).
    from_inputs: Vec<(usize, usize, usize)>,
    /// The same in outputs: (position in `operands`, output, byte offset).
    from_outputs: Vec<(usize, usize, usize)>,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
    arena: Arena,
    arena_bytes: usize,
    results: Vec<Arena>,
    /// Copies of constants whose bytes are not aligned, kept for `calls`.
    _aligned: Vec<Arena>,
    /// Once a run was profiled.
    profile: Option<(Recorder, Profile)>,
    /// The code and weights, into which `calls` points.
    module: CompiledModule,
}

impl Session {
    /// A session of a module on all cores that the process may use: allocates the arena, the outputs and the scratch
    /// memory, computes all addresses and starts the threads.
    ///
    /// # Errors
    /// Where the module's parts contradict each other, or there is not enough memory, or there are not enough threads.
    pub fn new(module: CompiledModule) -> Result<Self, SessionError> {
        Self::with_options(module, &SessionOptions::default())
    }

    /// As [`Session::new`], with options.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_options(module: CompiledModule, options: &SessionOptions) -> Result<Self, SessionError> {
        let layout = Layout::of(&module)?;
        let asked = options.threads.unwrap_or_else(available_cores).get();
        let threads = usize::try_from(layout.most_tasks()).unwrap_or(usize::MAX).clamp(1, asked);
        let (tasks, schedule) = Tasks::new(&module.plan, &layout.calls, &layout.regions, threads)?;
        let memory = |what: &'static str, bytes: usize| Arena::new(bytes).ok_or(SessionError::Memory { what, bytes });
        let arena_bytes = module.plan.memory.arena_bytes;
        let arena = memory("activations", arena_bytes)?;
        let scratch = (0..threads).map(|_| memory("scratch", layout.scratch_bytes)).collect::<Result<Vec<_>, _>>()?;
        let results = layout
            .outputs
            .iter()
            .map(|port| memory("outputs", port.elements * size_of::<f32>()))
            .collect::<Result<Vec<_>, _>>()?;
        let (constants, aligned) = constant_addresses(&module.plan)?;

        let mut operands = Vec::with_capacity(layout.operands.len());
        let mut from_inputs = Vec::new();
        let mut from_outputs = Vec::new();
        for (position, address) in layout.operands.iter().enumerate() {
            operands.push(match *address {
                // The offsets were checked against these memories by `Layout::of`.
                Address::Arena(offset) => arena.start().wrapping_add(offset),
                Address::Packed(offset) => module.packed.bytes().as_ptr().wrapping_add(offset).cast_mut(),
                Address::Constant(constant, offset) => {
                    let start = constants.get(constant.index()).copied().unwrap_or(std::ptr::null());
                    start.wrapping_add(offset).cast_mut()
                }
                Address::Input(input, offset) => {
                    from_inputs.push((position, input, offset));
                    std::ptr::null_mut()
                }
                Address::Output(output, offset) => {
                    from_outputs.push((position, output, offset));
                    std::ptr::null_mut()
                }
            });
        }
        let start = || Pool::new(schedule);
        let pool = (threads > 1).then(start).transpose();
        Ok(Self {
            pool: pool.map_err(|error| SessionError::Threads { threads, reason: error.to_string() })?,
            calls: Calls { calls: layout.calls, operands, scratch },
            tasks,
            from_inputs,
            from_outputs,
            inputs: layout.inputs,
            outputs: layout.outputs,
            arena,
            arena_bytes,
            results,
            _aligned: aligned,
            profile: None,
            module,
        })
    }

    /// The plan that this session runs.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.module.plan
    }

    /// The inputs, in the order in which `run` takes them.
    #[must_use]
    pub fn inputs(&self) -> &[PortInfo] {
        &self.inputs
    }

    /// The outputs, in the order of [`Session::output`].
    #[must_use]
    pub fn outputs(&self) -> &[PortInfo] {
        &self.outputs
    }

    /// How many threads a run uses, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.calls.scratch.len()
    }

    /// Runs the model on row-major inputs, each in the model's own layout, and keeps the outputs for
    /// [`Session::output`]. Allocates nothing.
    ///
    /// # Errors
    /// Where the number of inputs or the length of one is wrong; nothing has run then.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Result<(), SessionError> {
        self.check_inputs(inputs)?;
        self.execute(inputs, None, &Unwatched);
        Ok(())
    }

    /// As [`Session::run`], writing the outputs to the caller's memory; [`Session::output`] keeps what it had.
    ///
    /// # Errors
    /// Where the number of inputs or outputs or the length of one is wrong; nothing has run then.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), SessionError> {
        if outputs.len() != self.outputs.len() {
            return Err(SessionError::OutputCount { names: names(&self.outputs), given: outputs.len() });
        }
        for (port, output) in self.outputs.iter().zip(outputs.iter()) {
            check_size(port, output.len(), true)?;
        }
        self.check_inputs(inputs)?;
        self.execute(inputs, Some(outputs), &Unwatched);
        Ok(())
    }

    /// As [`Session::run`], and when each call of a kernel ran on which thread. The first such run allocates.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_profiled(&mut self, inputs: &[&[f32]]) -> Result<&Profile, SessionError> {
        self.check_inputs(inputs)?;
        let steps = self.calls.calls.len();
        let most = self.pool.as_ref().map_or(steps, |pool| self.tasks.most_calls(pool.schedule()));
        let most = most.saturating_mul(self.module.plan.parts.get());
        let (mut recorder, mut profile) =
            self.profile.take().unwrap_or_else(|| (Recorder::new(most), Profile::default()));
        recorder.start();
        self.execute(inputs, None, &recorder);
        recorder.finish(steps, &mut profile);
        Ok(&self.profile.insert((recorder, profile)).1)
    }

    /// An output of the last [`Session::run`], row-major in the model's own layout; zeros before the first, empty where
    /// there is no such output.
    #[must_use]
    pub fn output(&self, index: usize) -> &[f32] {
        match (self.results.get(index), self.outputs.get(index)) {
            (Some(result), Some(port)) => result.floats(port.elements),
            _ => &[],
        }
    }

    /// The size of the arena in bytes.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Fills all memory that a run may use with NaN. For tests: a step that reads what no step of the same run wrote
    /// shows itself in the outputs.
    pub fn poison_arena(&mut self) {
        let arena = std::iter::once(&mut self.arena);
        for memory in arena.chain(&mut self.calls.scratch).chain(&mut self.results) {
            memory.floats_mut().fill(f32::NAN);
        }
    }

    fn check_inputs(&self, inputs: &[&[f32]]) -> Result<(), SessionError> {
        if inputs.len() != self.inputs.len() {
            return Err(SessionError::InputCount { names: names(&self.inputs), given: inputs.len() });
        }
        for (port, input) in self.inputs.iter().zip(inputs) {
            check_size(port, input.len(), false)?;
        }
        Ok(())
    }

    /// Calls all kernels for each part. The lengths of inputs, and of outputs that are the caller's, were checked.
    fn execute(&mut self, inputs: &[&[f32]], mut outputs: Option<&mut [&mut [f32]]>, watch: &impl Watch) {
        let parts = self.module.plan.parts.get();
        for part in 0..parts {
            // Indices were checked by `Layout::of`; a port's elements are those of all parts.
            let start = |port: &PortInfo| port.elements / parts * part * size_of::<f32>();
            for (position, input, offset) in &self.from_inputs {
                let offset = start(&self.inputs[*input]) + offset;
                self.calls.operands[*position] = inputs[*input].as_ptr().cast::<u8>().wrapping_add(offset).cast_mut();
            }
            for (position, output, offset) in &self.from_outputs {
                let offset = start(&self.outputs[*output]) + offset;
                let memory = match &mut outputs {
                    Some(outputs) => outputs[*output].as_mut_ptr().cast(),
                    None => self.results[*output].start(),
                };
                self.calls.operands[*position] = memory.wrapping_add(offset);
            }
            self.execute_part(watch);
        }
    }

    /// Calls all kernels once. The operands are set.
    fn execute_part(&mut self, watch: &impl Watch) {
        let Self { pool, calls, tasks, .. } = self;
        let Some(pool) = pool else {
            for (step, call) in calls.calls.iter().enumerate() {
                // SAFETY: within a run, whose only call this is at the time.
                watch.around(step, 0, || unsafe { calls.call(step, 0..call.tasks, 0) });
            }
            return;
        };
        pool.run(&|piece: Piece| {
            tasks.each(piece.region, piece.units, |step, tasks| {
                // SAFETY: within a run; the pool hands out each unit once, ends each region before the next, and gives a
                // thread one piece at a time; units of a region are tasks of its steps, and no two the same.
                watch.around(step, piece.thread, || unsafe { calls.call(step, tasks, piece.thread) });
            });
        });
    }
}

fn names(ports: &[PortInfo]) -> Vec<String> {
    ports.iter().map(|port| port.name.clone()).collect()
}

fn check_size(port: &PortInfo, given: usize, output: bool) -> Result<(), SessionError> {
    if port.elements == given {
        return Ok(());
    }
    let (name, sizes, wanted) = (port.name.clone(), port.sizes.clone(), port.elements);
    Err(SessionError::PortSize { output, name, sizes, wanted, given })
}

/// The address of each constant that a buffer is made of, and the copies made of those that are not aligned in the file.
fn constant_addresses(plan: &Plan) -> Result<(Vec<*const u8>, Vec<Arena>), SessionError> {
    let mut addresses = vec![std::ptr::null(); plan.constants.len()];
    let mut copies = Vec::new();
    for buffer in &plan.buffers {
        let incept_ir::plan::Place::Constant(id) = buffer.place else { continue };
        let (Some(constant), Some(address)) = (plan.constants.get(id.index()), addresses.get_mut(id.index())) else {
            continue; // refused by `Layout::of`
        };
        if constant.values.bytes().as_ptr().align_offset(incept_ir::plan::ALIGNMENT) == 0 {
            *address = constant.values.bytes().as_ptr();
            continue;
        }
        let bytes = constant.values.len();
        let mut copy = Arena::new(bytes).ok_or(SessionError::Memory { what: "constants", bytes })?;
        for (value, bytes) in copy.floats_mut().iter_mut().zip(constant.values.bytes().as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        *address = copy.start();
        copies.push(copy);
    }
    Ok((addresses, copies))
}
