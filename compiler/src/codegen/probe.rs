//! Probes: modules that measure the machine instead of running a model.
//!
//! A probe is a compiled module like any other, so that a session runs it as it would run a model, on as many threads, and
//! what it measures is what emitted code of its vector level can reach here. Depends on the linker and on
//! [`incept_ir::abi`].

use std::sync::Arc;

use incept_ir::abi::{AlignedBytes, CompiledModule, KernelEntry, Operand};
use incept_ir::ids::{BufferId, StepId, ViewId};
use incept_ir::plan::{ALIGNMENT, Buffer, CopyKind, Memory, Place, Plan, Region, Step, StepKind, View};

use super::CodegenError;
use super::link::Linker;
use super::target::Target;
use super::vector::{Addr, Asm, Count, repeat};

/// The most tasks of a probe: enough for the threads of any machine.
const TASKS: u64 = 64;

/// Multiply-adds of each accumulator within one task.
const ROUNDS: u64 = 2_000;

/// Vectors that the inner loop of the stream reads.
const UNROLLED: usize = 8;

/// A module without inputs and outputs, and what one run of it does.
pub struct Probe {
    /// What a session runs.
    pub module: CompiledModule,
    /// Floating-point operations or bytes of a run.
    pub work: f64,
}

/// Nothing but independent multiply-adds on registers: `work` counts two operations each.
///
/// # Errors
/// Those of the linker.
pub fn multiply_adds(target: &Target) -> Result<Probe, CodegenError> {
    let mut linker = Linker::new(target);
    // One register is the other factor; two stay free for the back end.
    let sums = target.registers().saturating_sub(3);
    let body = move |a: &mut dyn Asm| {
        let zero = a.vec();
        a.zero(zero);
        let sums: Vec<_> = (0..sums).map(|_| a.vec()).collect();
        for sum in &sums {
            a.zero(*sum);
        }
        repeat(a, Count::Times(ROUNDS / 4), |a| {
            for sum in sums.repeat(4) {
                a.fma(sum, sum, zero);
            }
        });
    };
    let tile = linker.tile("probe_multiply_adds", 0, &body)?;
    let kernel = linker.kernel("probe_multiply_adds", |nest| {
        nest.for_tasks(|nest, _| {
            nest.call(tile, &[]);
            Ok(())
        })
    })?;
    let code = Arc::new(linker.finish()?);
    let function = code.kernel(kernel)?;
    let entry =
        KernelEntry { function, operands: Vec::new(), tasks: TASKS, scratch_bytes: 0, name: "multiply_adds".into() };
    let plan = plan(None);
    let work = 2.0 * (target.lanes() * sums) as f64 * (ROUNDS * TASKS) as f64;
    Ok(Probe { module: CompiledModule { plan, entries: vec![entry], packed: Arc::default(), owner: code }, work })
}

/// Reads a block of memory of about `bytes` bytes from one end to the other: `work` is how many it reads.
///
/// Poison the session's arena before timing: pages that nobody wrote are one page of zeros.
///
/// # Errors
/// [`CodegenError::BadSpec`] where the block is too large; those of the linker.
pub fn stream(target: &Target, bytes: usize) -> Result<Probe, CodegenError> {
    let step = UNROLLED * target.lanes() * size_of::<f32>();
    let each = (bytes / TASKS as usize).max(step).next_multiple_of(step);
    let too_large = || CodegenError::BadSpec { kernel: "stream", reason: format!("{bytes} bytes are too many") };
    let whole = each.checked_mul(TASKS as usize).filter(|whole| *whole <= 1 << 40).ok_or_else(too_large)?;
    let mut linker = Linker::new(target);
    let body = move |a: &mut dyn Asm| {
        let from = a.arg(0);
        let (sums, value) = ([a.vec(), a.vec(), a.vec(), a.vec()], a.vec());
        for sum in sums {
            a.zero(sum);
        }
        let vector = (a.lanes() * size_of::<f32>()) as i64;
        repeat(a, Count::Times((each / step) as u64), |a| {
            for index in 0..UNROLLED {
                a.load(value, Addr::at(from, index as i64 * vector));
                a.max(sums[index % 4], sums[index % 4], value);
            }
            a.add_imm(from, UNROLLED as i64 * vector);
        });
        // The first vector gets the result, so that no back end may leave the reads out.
        for sum in &sums[1..] {
            a.max(sums[0], sums[0], *sum);
        }
        a.add_imm(from, -(each as i64));
        a.store(Addr::new(from), sums[0]);
    };
    let tile = linker.tile("probe_stream", 1, &body)?;
    let kernel = linker.kernel("probe_stream", |nest| {
        let block = nest.operand(0);
        nest.for_tasks(|nest, task| {
            let from = nest.step(block, task, each as i64);
            nest.call(tile, &[from]);
            Ok(())
        })
    })?;
    let code = Arc::new(linker.finish()?);
    let function = code.kernel(kernel)?;
    let operands = vec![Operand::View(ViewId::new(0))];
    let entry = KernelEntry { function, operands, tasks: TASKS, scratch_bytes: 0, name: "stream".into() };
    let plan = plan(Some(whole));
    let packed = Arc::new(AlignedBytes::default());
    Ok(Probe { module: CompiledModule { plan, entries: vec![entry], packed, owner: code }, work: whole as f64 })
}

/// A plan of one step that writes a block of the arena, or nothing.
fn plan(bytes: Option<usize>) -> Arc<Plan> {
    let view = |bytes: usize| View {
        buffer: BufferId::new(0),
        offset: 0,
        sizes: vec![bytes / size_of::<f32>()],
        strides: vec![1],
    };
    let live = (StepId::new(0), StepId::new(0));
    let buffer = |bytes: usize| Buffer { place: Place::Arena(0), bytes, name: "probe".into(), live };
    let arena = bytes.map_or(0, |bytes| bytes.next_multiple_of(ALIGNMENT));
    Arc::new(Plan {
        name: "probe".into(),
        batch: 1,
        buffers: bytes.map(buffer).into_iter().collect(),
        views: bytes.map(view).into_iter().collect(),
        steps: vec![Step {
            kind: StepKind::Copy(CopyKind::Plain),
            inputs: Vec::new(),
            outputs: bytes.map(|_| ViewId::new(0)).into_iter().collect(),
            constants: Vec::new(),
            name: "probe".into(),
            nodes: Vec::new(),
        }],
        regions: Region::each(1),
        memory: Memory {
            arena_bytes: arena,
            lower_bound_bytes: arena,
            proven_optimal: true,
            strategy: "by hand".into(),
        },
        ..Plan::default()
    })
}
