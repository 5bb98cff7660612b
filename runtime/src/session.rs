//! A session: the memory of one execution at a time, and the loop that calls the kernels.
//!
//! Everything is allocated and every address that can be known is computed in [`Session::new`]; a run writes the caller's
//! addresses into the operand table and calls the kernels in order. Sessions of one module share its code and weights, so
//! a second session costs its arena and outputs only; each may run on a thread of its own.
//!
//! Runs are single-threaded: each call gets all tasks of its step.
//!
//! Invariants:
//! 1. After `new`, `operands` holds, for every operand of every call, an address valid for the extent of what it stands
//!    for, except those of inputs, which are set at the start of every run.
//! 2. No method returns while an operand still points to memory of the caller: outputs are set back after each run, and
//!    inputs are only read by the calls of a run, which sets them first.
//! 3. A run allocates nothing.

use std::time::Instant;

use incept_ir::abi::{CompiledModule, KernelArgs};
use incept_ir::plan::Plan;

use crate::arena::Arena;
use crate::bind::{Address, Call, Layout, PortInfo};

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
}

/// One execution at a time of a compiled module. See the module's documentation.
pub struct Session {
    /// The code and weights; must outlive `operands` and `calls`, which point into them.
    module: CompiledModule,
    calls: Vec<Call>,
    /// One pointer for each operand of each call.
    operands: Vec<*mut u8>,
    /// Operands to set for each run: (position in `operands`, input, byte offset).
    from_inputs: Vec<(usize, usize, usize)>,
    /// Operands in outputs: (position in `operands`, output, byte offset).
    from_outputs: Vec<(usize, usize, usize)>,
    inputs: Vec<PortInfo>,
    outputs: Vec<PortInfo>,
    arena: Arena,
    arena_bytes: usize,
    scratch: Arena,
    results: Vec<Arena>,
    /// Copies of constants whose bytes are not aligned, kept for `operands`.
    _aligned: Vec<Arena>,
    step_times: Vec<u64>,
}

// SAFETY: the pointers in `operands` lead to memory that the session owns (arena, scratch, results, aligned copies) or
// shares immutably (`module`, whose parts are `Send + Sync`); pointers to the caller's inputs are never read after the
// run that set them.
unsafe impl Send for Session {}

impl Session {
    /// A session of a module: allocates the arena, the outputs and the scratch memory, and computes all addresses.
    ///
    /// # Errors
    /// Where the module's parts contradict each other or there is not enough memory.
    pub fn new(module: CompiledModule) -> Result<Self, SessionError> {
        let layout = Layout::of(&module)?;
        let memory = |what: &'static str, bytes: usize| Arena::new(bytes).ok_or(SessionError::Memory { what, bytes });
        let arena_bytes = module.plan.memory.arena_bytes;
        let arena = memory("activations", arena_bytes)?;
        let scratch = memory("scratch", layout.scratch_bytes)?;
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
        let mut session = Self {
            calls: layout.calls,
            operands,
            from_inputs,
            from_outputs,
            inputs: layout.inputs,
            outputs: layout.outputs,
            arena,
            arena_bytes,
            scratch,
            results,
            _aligned: aligned,
            step_times: vec![0; module.plan.steps.len()],
            module,
        };
        session.own_outputs();
        Ok(session)
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

    /// Runs the model on row-major inputs, each in the model's own layout, and keeps the outputs for
    /// [`Session::output`]. Allocates nothing.
    ///
    /// # Errors
    /// Where the number of inputs or the length of one is wrong; nothing has run then.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Result<(), SessionError> {
        self.set_inputs(inputs)?;
        for call in &self.calls {
            self.call(call);
        }
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
        self.set_inputs(inputs)?;
        for (position, output, offset) in &self.from_outputs {
            // Both indices were checked: by `Layout::of`, and by the length above.
            self.operands[*position] = outputs[*output].as_mut_ptr().cast::<u8>().wrapping_add(*offset);
        }
        for call in &self.calls {
            self.call(call);
        }
        self.own_outputs();
        Ok(())
    }

    /// As [`Session::run`], and the nanoseconds that each step of the plan took.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_profiled(&mut self, inputs: &[&[f32]]) -> Result<&[u64], SessionError> {
        self.set_inputs(inputs)?;
        for index in 0..self.calls.len() {
            let start = Instant::now();
            self.call(&self.calls[index]);
            self.step_times[index] = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        }
        Ok(&self.step_times)
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
        for memory in [&mut self.arena, &mut self.scratch].into_iter().chain(&mut self.results) {
            memory.floats_mut().fill(f32::NAN);
        }
    }

    fn set_inputs(&mut self, inputs: &[&[f32]]) -> Result<(), SessionError> {
        if inputs.len() != self.inputs.len() {
            return Err(SessionError::InputCount { names: names(&self.inputs), given: inputs.len() });
        }
        for (port, input) in self.inputs.iter().zip(inputs) {
            check_size(port, input.len(), false)?;
        }
        for (position, input, offset) in &self.from_inputs {
            // Both indices were checked: by `Layout::of`, and by the length above.
            self.operands[*position] = inputs[*input].as_ptr().cast::<u8>().wrapping_add(*offset).cast_mut();
        }
        Ok(())
    }

    fn own_outputs(&mut self) {
        for (position, output, offset) in &self.from_outputs {
            self.operands[*position] = self.results[*output].start().wrapping_add(*offset);
        }
    }

    /// Calls one kernel. Only within a run: inputs are set, and the session is borrowed exclusively.
    fn call(&self, call: &Call) {
        let args = KernelArgs {
            operands: self.operands[call.first_operand..].as_ptr(),
            scratch: self.scratch.start(),
            task_begin: 0,
            task_end: call.tasks,
        };
        // SAFETY: the contract of `KernelFn`: `args` lives across the call; each operand pointer is valid for the extent
        // of its view (`Layout::of` checked every view against its buffer and every buffer against its memory, and the
        // callers of this method checked the lengths of the caller's slices); arena and constants have the plan's
        // alignment; what a step writes is never an input or a constant; the scratch block is at least as large as the
        // largest that any entry asks for; and `&mut self` of every run keeps other threads out. The code is alive, for
        // `self.module` owns it.
        unsafe { (call.function)(&raw const args) };
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
        if constant.bytes.as_ptr().align_offset(incept_ir::plan::ALIGNMENT) == 0 {
            *address = constant.bytes.as_ptr();
            continue;
        }
        let bytes = constant.bytes.len();
        let mut copy = Arena::new(bytes).ok_or(SessionError::Memory { what: "constants", bytes })?;
        for (value, bytes) in copy.floats_mut().iter_mut().zip(constant.bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        *address = copy.start();
        copies.push(copy);
    }
    Ok((addresses, copies))
}
