#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
//! Whole plans, made by hand, compiled on every level and compared with the ops' own evaluation.

use std::sync::Arc;

use bytes::Bytes;
use incept_ir::abi::{AlignedBytes, CompiledModule, KernelArgs, Operand};
use incept_ir::ids::{BufferId, ConstId, StepId, ViewId};
use incept_ir::ops::{Activation, Operator, Pool, avg_pool, batch_norm, conv, gemm, global_avg_pool, softmax};
use incept_ir::plan::{
    Binary, Buffer, Memory, Place, Plan, PlanConstant, PoolKind, Port, Region, Step, StepKind, View, channels_last,
    row_major,
};
use incept_ir::tensor::Tensor;
use incept_ir::types::DType;

use super::target::Target;
use super::{CodegenError, LinkOptions, link, link_with};

/// Values that are the same on every run, between -1 and 1.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 37 + seed * 101 + index * index % 13) % 64) as f32 / 32.0 - 1.0).collect()
}

#[derive(Default)]
struct Builder {
    plan: Plan,
}

impl Builder {
    fn buffer(&mut self, place: Place, elements: usize) -> BufferId {
        let live = (StepId::new(0), StepId::new(0));
        self.plan.buffers.push(Buffer { place, bytes: elements * 4, name: "value".into(), live });
        BufferId::from_index(self.plan.buffers.len() - 1)
    }

    fn view(&mut self, place: Place, sizes: &[usize], strides: Vec<usize>) -> ViewId {
        let mut view = View { buffer: BufferId::new(0), offset: 0, sizes: sizes.to_vec(), strides };
        view.buffer = self.buffer(place, view.end().unwrap());
        self.plan.views.push(view);
        ViewId::from_index(self.plan.views.len() - 1)
    }

    /// A channels-last view of a new arena buffer.
    fn arena(&mut self, sizes: [usize; 4]) -> ViewId {
        let offset = self.plan.memory.arena_bytes;
        let elements: usize = sizes.iter().product();
        self.plan.memory.arena_bytes += (elements * 4).next_multiple_of(64);
        self.view(Place::Arena(offset), &sizes, channels_last(&sizes))
    }

    fn constant(&mut self, name: &str, sizes: &[usize], data: &[f32], dtype: DType) -> ConstId {
        let bytes: Vec<u8> = match dtype {
            DType::F16 => data.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect(),
            _ => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        let values = Bytes::from(bytes).into();
        self.plan.constants.push(PlanConstant { name: name.into(), dtype, sizes: sizes.to_vec(), values });
        ConstId::from_index(self.plan.constants.len() - 1)
    }

    fn step(&mut self, kind: StepKind, inputs: &[ViewId], output: ViewId, constants: &[ConstId]) {
        let name = format!("node{}", self.plan.steps.len());
        let (inputs, constants) = (inputs.to_vec(), constants.to_vec());
        self.plan.steps.push(Step { kind, inputs, outputs: vec![output], constants, nodes: vec![name.clone()], name });
    }

    /// Lifetimes from the steps.
    fn finish(mut self) -> Plan {
        for (index, buffer) in self.plan.buffers.iter_mut().enumerate() {
            let touches = |step: &Step| {
                step.inputs.iter().chain(&step.outputs).any(|id| self.plan.views[id.index()].buffer.index() == index)
            };
            let first = self.plan.steps.iter().position(touches).unwrap_or(0);
            let last = self.plan.steps.iter().rposition(touches).unwrap_or(0);
            buffer.live = (StepId::from_index(first), StepId::from_index(last));
        }
        self.plan.regions = Region::each(self.plan.steps.len());
        self.plan.memory = Memory {
            lower_bound_bytes: 0,
            strategy: "by hand".into(),
            proven_optimal: false,
            arena_bytes: self.plan.memory.arena_bytes,
        };
        self.plan
    }
}

/// Runs a module with its one input and one output, each step's tasks in two parts.
fn run(module: &CompiledModule, input: &[f32]) -> Vec<f32> {
    let plan = &module.plan;
    let mut arena = AlignedBytes::zeroed(plan.memory.arena_bytes).unwrap();
    arena.floats_mut().fill(f32::NAN);
    let outputs = plan.view(plan.outputs[0].view).unwrap().elements().unwrap();
    let mut output = vec![f32::NAN; outputs];
    let base = arena.bytes_mut().as_mut_ptr();
    for entry in &module.entries {
        let mut scratch = AlignedBytes::zeroed(entry.scratch_bytes).unwrap();
        let operands: Vec<*mut u8> = entry
            .operands
            .iter()
            .map(|operand| match *operand {
                Operand::Packed(offset) => module.packed.bytes()[offset..].as_ptr().cast_mut(),
                Operand::View(id) => {
                    let view = plan.view(id).unwrap();
                    let start = match plan.buffer(view.buffer).unwrap().place {
                        Place::Arena(offset) => base.wrapping_add(offset),
                        Place::Input(_) => input.as_ptr().cast_mut().cast(),
                        Place::Output(_) => output.as_mut_ptr().cast(),
                        Place::Constant(id) => panic!("{id} was not packed"),
                    };
                    start.wrapping_add(view.offset * 4)
                }
            })
            .collect();
        let half = entry.tasks / 2;
        for (task_begin, task_end) in [(half, entry.tasks), (0, half)] {
            let scratch = scratch.bytes_mut().as_mut_ptr();
            let args = KernelArgs { operands: operands.as_ptr(), scratch, task_begin, task_end };
            // SAFETY: the operands are those of a verified plan, in memory of the sizes that it states.
            unsafe { (entry.function)(&args) };
        }
    }
    output
}

const POOL: Pool = Pool { kernel: [3; 2], strides: [2; 2], pads: [1; 4], dilations: [1; 2], ceil_mode: false };

/// A small network that has most kinds of step, and what it gives for `input`.
fn network(input: &[f32]) -> (Plan, Vec<f32>) {
    let tensor = |sizes: &[usize], data: &[f32]| Tensor::from_f32(sizes, data.to_vec()).unwrap();
    let one = |mut list: smallvec::SmallVec<[Tensor; 1]>| list.remove(0);
    let mut b = Builder::default();
    let x_sizes = [2, 3, 7, 7];
    let x = b.view(Place::Input(0), &x_sizes, row_major(&x_sizes));
    b.plan.inputs.push(Port { name: "x".into(), view: x });
    let (weights, bias) = (values(9 * 3 * 9, 1), values(9, 2));
    let (w, c) = (b.constant("w", &[9, 3, 3, 3], &weights, DType::F16), b.constant("c", &[9], &bias, DType::F32));
    let y = b.arena([2, 9, 7, 7]);
    let kind = StepKind::Conv {
        strides: [1; 2],
        pads: [1; 4],
        dilations: [1; 2],
        group: 1,
        residual: false,
        activations: vec![Some(Activation::Relu)],
    };
    b.step(kind, &[x], y, &[w, c]);
    let op = conv::Conv { pads: [1; 4], activation: Some(Activation::Relu), ..conv::Conv::default() };
    let wide = [tensor(&x_sizes, input), tensor(&[9, 3, 3, 3], &weights), tensor(&[9], &bias)];
    let mut value = one(op.evaluate(&wide.each_ref()).unwrap());

    let kind = StepKind::Pool { kind: PoolKind::Average { count_include_pad: false }, window: POOL };
    let pooled = b.arena([2, 9, 4, 4]);
    b.step(kind, &[y], pooled, &[]);
    value = one(avg_pool::AvgPool { pool: POOL, count_include_pad: false }.evaluate(&[&value]).unwrap());

    let names = ["scale", "shift", "mean", "variance"];
    let lists: Vec<Vec<f32>> =
        (0..4).map(|seed| values(9, 3 + seed)).map(|v| v.iter().map(|x| x.abs() + 0.5).collect()).collect();
    let ids: Vec<ConstId> =
        names.iter().zip(&lists).map(|(name, list)| b.constant(name, &[9], list, DType::F32)).collect();
    let normal = b.arena([2, 9, 4, 4]);
    b.step(StepKind::BatchNorm { epsilon: 1e-3 }, &[pooled], normal, &ids);
    let lists: Vec<Tensor> = lists.iter().map(|list| tensor(&[9], list)).collect();
    let inputs = [&value, &lists[0], &lists[1], &lists[2], &lists[3]];
    value = one(batch_norm::BatchNorm { epsilon: 1e-3 }.evaluate(&inputs).unwrap());

    // An addend of each channel, read from a constant.
    let addend = values(9, 8);
    let id = b.constant("addend", &[9], &addend, DType::F16);
    let buffer = b.view(Place::Constant(id), &[2, 9, 4, 4], vec![0, 1, 0, 0]);
    let sum = b.arena([2, 9, 4, 4]);
    let activation = Some(Activation::Clip { min: -0.5, max: 2.0 });
    b.step(StepKind::Binary { function: Binary::Add, activation }, &[normal, buffer], sum, &[]);
    let mut index = 0;
    let data: Vec<f32> = value
        .as_f32()
        .unwrap()
        .iter()
        .map(|x| {
            let channel = index / 16 % 9;
            index += 1;
            (x + addend[channel]).clamp(-0.5, 2.0)
        })
        .collect();
    value = tensor(&[2, 9, 4, 4], &data);

    let mean = b.arena([2, 9, 1, 1]);
    b.step(StepKind::GlobalAvgPool, &[sum], mean, &[]);
    value = one(global_avg_pool::GlobalAvgPool.evaluate(&[&value]).unwrap());

    let flat = View { buffer: b.plan.views[mean.index()].buffer, offset: 0, sizes: vec![2, 9], strides: vec![9, 1] };
    b.plan.views.push(flat);
    let flat = ViewId::from_index(b.plan.views.len() - 1);
    let (matrix, addend) = (values(5 * 9, 9), values(5, 10));
    let constants = [b.constant("m", &[5, 9], &matrix, DType::F32), b.constant("a", &[5], &addend, DType::F32)];
    let logits = {
        let offset = b.plan.memory.arena_bytes;
        b.plan.memory.arena_bytes += 64;
        b.view(Place::Arena(offset), &[2, 5], vec![5, 1])
    };
    b.step(StepKind::Gemm { alpha: 2.0, beta: 0.5, trans_b: true, activation: None }, &[flat], logits, &constants);
    let op = gemm::Gemm { alpha: 2.0, beta: 0.5, trans_a: false, trans_b: true, activation: None };
    let inputs = [tensor(&[2, 9], &value.as_f32().unwrap()), tensor(&[5, 9], &matrix), tensor(&[5], &addend)];
    value = one(op.evaluate(&inputs.each_ref()).unwrap());

    let out = b.view(Place::Output(0), &[2, 5], vec![5, 1]);
    b.plan.outputs.push(Port { name: "y".into(), view: out });
    b.step(StepKind::Softmax { axis: 1 }, &[logits], out, &[]);
    value = one(softmax::Softmax { axis: 1, flatten: false }.evaluate(&[&value]).unwrap());
    let wanted = value.as_f32().unwrap().to_vec();
    (b.finish(), wanted)
}

#[test]
fn a_plan_runs_as_its_ops_evaluate() {
    let input = values(2 * 3 * 49, 0);
    let (plan, wanted) = network(&input);
    let plan = Arc::new(plan);
    for target in Target::all().unwrap() {
        let linked = link(Arc::clone(&plan), &target).unwrap();
        assert_eq!(linked.module.entries.len(), plan.steps.len());
        assert_eq!(linked.listing.steps.len(), plan.steps.len());
        let got = run(&linked.module, &input);
        for (got, wanted) in got.iter().zip(&wanted) {
            assert!((got - wanted).abs() < 1e-6, "{target:?}: {got} instead of {wanted}");
        }
        // The module keeps its code alive by itself.
        let module = linked.module.clone();
        drop(linked);
        assert_eq!(run(&module, &input), got);
    }
}

#[test]
fn packed_blocks_are_aligned_and_shared() {
    let input = values(2 * 3 * 49, 0);
    let (mut plan, _) = network(&input);
    let target = Target::host().unwrap();
    let once = link(Arc::new(plan.clone()), &target).unwrap();
    let packed = |operands: &[Operand]| {
        operands.iter().find_map(|operand| match operand {
            Operand::Packed(offset) => Some(*offset),
            Operand::View(_) => None,
        })
    };
    for entry in &once.module.entries {
        assert!(packed(&entry.operands).is_none_or(|offset| offset % 64 == 0), "{}", entry.name);
    }
    // The same convolution again: the same kernel, the same weights.
    plan.steps.insert(1, plan.steps[0].clone());
    let twice = link(Arc::new(plan), &target).unwrap();
    assert_eq!(twice.module.packed.len(), once.module.packed.len());
    let [a, b] = [&twice.module.entries[0], &twice.module.entries[1]];
    assert_eq!((a.function as usize, packed(&a.operands)), (b.function as usize, packed(&b.operands)));
    assert_eq!(twice.listing.functions().len(), once.listing.functions().len());
}

#[test]
fn the_listing_shows_every_function() {
    let input = values(2 * 3 * 49, 0);
    let plan = Arc::new(network(&input).0);
    for target in Target::all().unwrap() {
        let linked =
            link_with(Arc::clone(&plan), &target, LinkOptions { keep_text: true, ..LinkOptions::default() }).unwrap();
        assert!(linked.listing.code_bytes() > 1000);
        for function in linked.listing.functions() {
            assert!(!function.kernel || function.clif.as_ref().is_some_and(|text| text.contains("function")));
            if cfg!(target_arch = "x86_64") {
                assert!(linked.listing.disassemble(function).unwrap().contains("ret"), "{}", function.name);
            }
        }
    }
}

#[test]
fn broken_plans_are_refused_with_the_step() {
    let input = values(2 * 3 * 49, 0);
    let (plan, _) = network(&input);
    let target = Target::host().unwrap();
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        match link(Arc::new(plan), &target) {
            Ok(_) => panic!("a broken plan was compiled"),
            Err(error) => error.to_string(),
        }
    };
    let message = refused(&|plan| plan.steps[1].inputs.clear());
    assert_eq!(message, "step s1 (avg_pool `node1`): kernel `avg_pool` cannot be emitted: an operand is missing");
    assert!(refused(&|plan| plan.steps[0].constants.clear()).contains("a constant is missing"));
    assert!(refused(&|plan| plan.steps[2].inputs[0] = ViewId::new(999)).contains("no view of the plan"));
    assert!(refused(&|plan| plan.views[1].sizes[1] = 8).contains("s0"));
    assert!(refused(&|plan| plan.views[0].strides[0] = usize::MAX / 2).contains("too large"));
    assert!(refused(&|plan| plan.constants[0].values = Bytes::from_static(b"abc").into()).contains("3 bytes"));
    assert!(refused(&|plan| plan.steps[6].kind = StepKind::Softmax { axis: 7 }).contains("no such axis"));
    let message = refused(&|plan| {
        plan.constants[1].dtype = DType::I32;
    });
    assert!(message.contains("not i32"), "{message}");
}

#[test]
fn errors_keep_their_source() {
    let input = values(2 * 3 * 49, 0);
    let (mut plan, _) = network(&input);
    plan.steps[4].outputs.clear();
    match link(Arc::new(plan), &Target::host().unwrap()) {
        Err(CodegenError::Step { step, source, .. }) => {
            assert_eq!(step, StepId::new(4));
            assert!(matches!(*source, CodegenError::BadSpec { kernel: "global_avg_pool", .. }));
        }
        _ => panic!("a step without output was compiled"),
    }
}
