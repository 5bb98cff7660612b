//! A module made by hand: kernels written in Rust in the place of emitted code.
//!
//! The network is `y = (x + c) · x`, `z = sum(x + c)` over `n` values; `x + c` lives in the arena, `c` is a constant.

use std::sync::Arc;

use incept_ir::abi::{AlignedBytes, CodeOwner, CompiledModule, KernelArgs, KernelEntry, KernelFn, Operand};
use incept_ir::ids::{BufferId, ConstId, StepId, ViewId};
use incept_ir::ops::Activation;
use incept_ir::plan::{Buffer, Memory, Place, Plan, PlanConstant, Port, Region, Step, StepKind, View};
use incept_ir::types::DType;

/// How many values `x` has.
pub const N: usize = 37;

struct Nothing;
impl CodeOwner for Nothing {}

/// The operand of this position as values.
///
/// # Safety
/// The operand has `count` values.
unsafe fn operand<'a>(args: *const KernelArgs, index: usize, count: usize) -> &'a mut [f32] {
    // SAFETY: the caller's contract, and that of `KernelFn`.
    unsafe { std::slice::from_raw_parts_mut((*(*args).operands.add(index)).cast::<f32>(), count) }
}

unsafe extern "C" fn add(args: *const KernelArgs) {
    // SAFETY: all three operands have N values, by the plan below.
    let (x, c, sum) = unsafe { (operand(args, 0, N), operand(args, 1, N), operand(args, 2, N)) };
    // SAFETY: `args` is valid.
    let (begin, end) = unsafe { ((*args).task_begin as usize, (*args).task_end as usize) };
    for index in begin..end {
        sum[index] = x[index] + c[index];
    }
}

unsafe extern "C" fn multiply(args: *const KernelArgs) {
    // SAFETY: all three operands have N values, by the plan below.
    let (a, b, y) = unsafe { (operand(args, 0, N), operand(args, 1, N), operand(args, 2, N)) };
    for index in 0..N {
        y[index] = a[index] * b[index];
    }
}

unsafe extern "C" fn total(args: *const KernelArgs) {
    // SAFETY: N values, 1 value, 1 packed value, by the plan below; scratch of N values.
    let (a, z, factor) = unsafe { (operand(args, 0, N), operand(args, 1, 1), operand(args, 2, 1)) };
    // SAFETY: the entry asks for this much scratch memory.
    let scratch = unsafe { std::slice::from_raw_parts_mut((*args).scratch.cast::<f32>(), N) };
    scratch.copy_from_slice(a);
    z[0] = factor[0] * scratch.iter().sum::<f32>();
}

fn dense(buffer: usize, sizes: &[usize]) -> View {
    View {
        buffer: BufferId::from_index(buffer),
        offset: 0,
        sizes: sizes.to_vec(),
        strides: incept_ir::plan::row_major(sizes),
    }
}

fn step(name: &str, inputs: &[u32], outputs: &[u32]) -> Step {
    let views = |ids: &[u32]| ids.iter().copied().map(ViewId::new).collect();
    Step {
        kind: StepKind::Activate(Activation::Relu), // what it says does not matter to the runtime
        inputs: views(inputs),
        outputs: views(outputs),
        constants: Vec::new(),
        name: name.into(),
        nodes: vec![name.into()],
    }
}

/// The plan of the network. View k is the whole of buffer k: x, c, x + c, y, z.
pub fn plan() -> Plan {
    let live = (StepId::new(0), StepId::new(2));
    let buffer = |name: &str, place, count: usize| Buffer { place, bytes: count * 4, name: name.into(), live };
    // One byte off, so that the constant is never aligned.
    let mut bytes = vec![0u8; N * 4 + 1];
    for index in 0..N {
        bytes[1 + index * 4..][..4].copy_from_slice(&(index as f32).to_le_bytes());
    }
    Plan {
        name: "by-hand".into(),
        batch: 1,
        buffers: vec![
            buffer("x", Place::Input(0), N),
            buffer("c", Place::Constant(ConstId::new(0)), N),
            buffer("sum", Place::Arena(64), N),
            buffer("y", Place::Output(0), N),
            buffer("z", Place::Output(1), 1),
        ],
        views: vec![dense(0, &[1, N]), dense(1, &[1, N]), dense(2, &[1, N]), dense(3, &[1, N]), dense(4, &[1])],
        constants: vec![PlanConstant {
            name: "c".into(),
            dtype: DType::F32,
            sizes: vec![1, N],
            values: bytes::Bytes::from(bytes).slice(1..).into(),
        }],
        steps: vec![step("add", &[0, 1], &[2]), step("multiply", &[2, 0], &[3]), step("total", &[2], &[4])],
        regions: Region::each(3),
        inputs: vec![Port { name: "x".into(), view: ViewId::new(0) }],
        outputs: vec![Port { name: "y".into(), view: ViewId::new(3) }, Port { name: "z".into(), view: ViewId::new(4) }],
        memory: Memory { arena_bytes: 64 + N * 4, ..Memory::default() },
        ..Plan::default()
    }
}

/// The module of a plan like [`plan`]'s.
pub fn module_of(plan: Plan) -> CompiledModule {
    let entry = |function: KernelFn, operands: Vec<Operand>, tasks, scratch_bytes| KernelEntry {
        function,
        operands,
        tasks,
        scratch_bytes,
        name: "by_hand".into(),
    };
    let view = |id| Operand::View(ViewId::new(id));
    let mut packed = AlignedBytes::zeroed(64).unwrap();
    packed.floats_mut()[8] = 2.0;
    CompiledModule {
        plan: Arc::new(plan),
        entries: vec![
            entry(add, vec![view(0), view(1), view(2)], N as u64, 0),
            entry(multiply, vec![view(2), view(0), view(3)], 1, 0),
            entry(total, vec![view(2), view(4), Operand::Packed(32)], 1, N * 4),
        ],
        packed: Arc::new(packed),
        owner: Arc::new(Nothing),
    }
}

/// The module of [`plan`].
pub fn module() -> CompiledModule {
    module_of(plan())
}

/// What the network gives for `x`.
pub fn expected(x: &[f32]) -> (Vec<f32>, f32) {
    let sum: Vec<f32> = x.iter().enumerate().map(|(index, value)| value + index as f32).collect();
    let y = sum.iter().zip(x).map(|(a, b)| a * b).collect();
    (y, 2.0 * sum.iter().sum::<f32>())
}
