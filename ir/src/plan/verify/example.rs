//! A small plan with most kinds of steps, for tests. Laid out by hand and by obvious code, not by the planner.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use bytes::Bytes;

use crate::ids::{BufferId, ConstId, StepId, ViewId};
use crate::ops::{Activation, Pool};
use crate::plan::{
    ALIGNMENT, Binary, Buffer, CopyKind, Memory, Place, Plan, PlanConstant, PoolKind, Port, Region, Step, StepKind,
    View, channels_last, row_major,
};
use crate::types::DType;

#[derive(Default)]
pub(crate) struct Builder {
    pub plan: Plan,
    arena: usize,
}

impl Builder {
    pub fn arena(&mut self, name: &str, elements: usize) -> BufferId {
        let offset = self.arena;
        self.arena = (offset + elements * 4).next_multiple_of(ALIGNMENT);
        self.buffer(name, elements, Place::Arena(offset))
    }

    pub fn buffer(&mut self, name: &str, elements: usize, place: Place) -> BufferId {
        let live = (StepId::new(0), StepId::new(0));
        self.plan.buffers.push(Buffer { place, bytes: elements * 4, name: name.into(), live });
        BufferId::from_index(self.plan.buffers.len() - 1)
    }

    pub fn view(&mut self, buffer: BufferId, offset: usize, sizes: &[usize], strides: &[usize]) -> ViewId {
        self.plan.views.push(View { buffer, offset, sizes: sizes.into(), strides: strides.into() });
        ViewId::from_index(self.plan.views.len() - 1)
    }

    /// A dense NHWC arena buffer and the view of all of it.
    pub fn image(&mut self, name: &str, sizes: [usize; 4]) -> ViewId {
        let buffer = self.arena(name, sizes.iter().product());
        self.view(buffer, 0, &sizes, &channels_last(&sizes))
    }

    /// A row-major buffer and the view of all of it.
    pub fn rows(&mut self, name: &str, sizes: &[usize], place: Option<Place>) -> ViewId {
        let elements = sizes.iter().product();
        let buffer = match place {
            Some(place) => self.buffer(name, elements, place),
            None => self.arena(name, elements),
        };
        self.view(buffer, 0, sizes, &row_major(sizes))
    }

    pub fn constant(&mut self, dtype: DType, sizes: &[usize]) -> ConstId {
        let bytes = sizes.iter().product::<usize>() * dtype.bytes();
        let id = ConstId::from_index(self.plan.constants.len());
        let bytes: Bytes = (0..bytes).map(|byte| (byte % 32) as u8).collect::<Vec<u8>>().into();
        self.plan.constants.push(PlanConstant {
            name: format!("w{id}"),
            dtype,
            sizes: sizes.into(),
            values: bytes.into(),
        });
        id
    }

    pub fn step(&mut self, kind: StepKind, inputs: &[ViewId], outputs: &[ViewId], constants: &[ConstId]) {
        let name = format!("node{}", self.plan.steps.len());
        self.plan.steps.push(Step {
            kind,
            inputs: inputs.into(),
            outputs: outputs.into(),
            constants: constants.into(),
            nodes: vec![name.clone()],
            name,
        });
    }

    /// Fills in lifetimes and the memory summary, and a region a step where there are none.
    pub fn finish(mut self) -> Plan {
        let plan = &mut self.plan;
        if plan.regions.is_empty() {
            plan.regions = Region::each(plan.steps.len());
        }
        plan.name = "example".into();
        plan.batch = 1;
        for (index, buffer) in plan.buffers.iter_mut().enumerate() {
            let touching = plan.steps.iter().enumerate().filter(|(_, step)| {
                let mut views = step.inputs.iter().chain(&step.outputs);
                views.any(|id| plan.views[id.index()].buffer.index() == index)
            });
            let touching: Vec<usize> = touching.map(|(at, _)| at).collect();
            if let (Place::Arena(_), Some(first), Some(last)) = (buffer.place, touching.first(), touching.last()) {
                buffer.live = (StepId::from_index(*first), StepId::from_index(*last));
            }
        }
        let live_in = |region: &Region| -> usize {
            let live = plan.buffers.iter().filter(|buffer| {
                let (first, last) = buffer.live;
                matches!(buffer.place, Place::Arena(_)) && first < region.end && region.begin <= last
            });
            live.map(|buffer| buffer.bytes.next_multiple_of(ALIGNMENT)).sum()
        };
        let bound = plan.regions.iter().map(live_in).max().unwrap_or(0);
        plan.memory = Memory {
            arena_bytes: self.arena,
            lower_bound_bytes: bound,
            proven_optimal: self.arena == bound,
            strategy: "by hand".into(),
        };
        self.plan
    }
}

pub(crate) fn conv(pads: usize, residual: bool, outputs: usize) -> StepKind {
    StepKind::Conv {
        strides: [1, 1],
        pads: [pads; 4],
        dilations: [1, 1],
        group: 1,
        residual,
        activations: vec![Some(Activation::Relu); outputs],
    }
}

/// Two convolutions into one concatenation, an addition in place, and one step of most other kinds.
pub(crate) fn plan() -> Plan {
    let mut b = Builder::default();
    let x = b.rows("x", &[1, 3, 4, 4], Some(Place::Input(0)));
    // s0: a merged convolution into the concatenation's first half and an inner branch.
    let (w0, bias0) = (b.constant(DType::F32, &[8, 3, 1, 1]), b.constant(DType::F32, &[8]));
    let root = b.arena("concat", 8 * 16);
    let (whole, strides) = (b.view(root, 0, &[1, 8, 4, 4], &[128, 1, 32, 8]), [128, 1, 32, 8]);
    let first = b.view(root, 0, &[1, 4, 4, 4], &strides);
    let second = b.view(root, 4, &[1, 4, 4, 4], &strides);
    let inner = b.image("inner", [1, 4, 4, 4]);
    b.step(conv(0, false, 2), &[x], &[first, inner], &[w0, bias0]);
    // s1: the other half.
    let w1 = b.constant(DType::F16, &[4, 4, 3, 3]);
    b.step(conv(1, false, 1), &[inner], &[second], &[w1]);
    // s2: a constant for each channel is added in place.
    let c2 = b.constant(DType::F32, &[8]);
    let addend = b.buffer("addend", 8, Place::Constant(c2));
    let addend = b.view(addend, 0, &[1, 8, 4, 4], &[0, 1, 0, 0]);
    b.step(StepKind::Binary { function: Binary::Add, activation: None }, &[whole, addend], &[whole], &[]);
    // s3
    let pooled = b.image("pooled", [1, 8, 2, 2]);
    let pool = Pool { kernel: [2, 2], strides: [2, 2], pads: [0; 4], dilations: [1, 1], ceil_mode: true };
    b.step(StepKind::Pool { kind: PoolKind::Max, window: pool }, &[whole], &[pooled], &[]);
    // s4: a border of one pixel.
    let padded = b.image("padded", [1, 8, 4, 4]);
    let padded_root = b.plan.views[padded.index()].buffer;
    let interior = b.view(padded_root, 40, &[1, 8, 2, 2], &strides);
    b.step(StepKind::Pad { value: 0.5 }, &[pooled], &[padded, interior], &[]);
    // s5, s6
    let norms: Vec<ConstId> = (0..4).map(|_| b.constant(DType::F32, &[8])).collect();
    b.step(StepKind::BatchNorm { epsilon: 0.001 }, &[padded], &[padded], &norms);
    let lrn = b.image("lrn", [1, 8, 4, 4]);
    b.step(StepKind::Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 }, &[padded], &[lrn], &[]);
    // s7: an output in the model's order.
    let out1 = b.rows("out1", &[1, 8, 4, 4], Some(Place::Output(1)));
    b.step(StepKind::Copy(CopyKind::Layout), &[lrn], &[out1], &[]);
    // s8 to s11: the head.
    let mean = b.image("mean", [1, 8, 1, 1]);
    b.step(StepKind::GlobalAvgPool, &[lrn], &[mean], &[]);
    let mean_root = b.plan.views[mean.index()].buffer;
    let flat = b.view(mean_root, 0, &[1, 8], &[8, 1]);
    let (w9, bias9) = (b.constant(DType::F32, &[5, 8]), b.constant(DType::F32, &[5]));
    let scores = b.rows("scores", &[1, 5], None);
    let gemm = StepKind::Gemm { alpha: 1.0, beta: 2.0, trans_b: true, activation: None };
    b.step(gemm, &[flat], &[scores], &[w9, bias9]);
    let square = b.rows("square", &[5, 5], None);
    let scores_root = b.plan.views[scores.index()].buffer;
    let column = b.view(scores_root, 0, &[5, 1], &[1, 5]);
    b.step(StepKind::MatMul, &[column, scores], &[square], &[]);
    let out0 = b.rows("out0", &[5, 5], Some(Place::Output(0)));
    b.step(StepKind::Softmax { axis: 1 }, &[square], &[out0], &[]);
    b.plan.regions = Region::each(b.plan.steps.len());
    // s7 and s8 both read what s6 wrote.
    b.plan.regions[7].end = b.plan.regions.remove(8).end;
    b.plan.inputs = vec![Port { name: "x".into(), view: x }];
    b.plan.outputs = vec![Port { name: "out0".into(), view: out0 }, Port { name: "out1".into(), view: out1 }];
    b.finish()
}
