#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::plan::{CopyKind, Region, StepKind, View};

/// Breaks the example and expects the invariant of this number with a message that holds this text.
fn expect(number: usize, text: &str, change: impl FnOnce(&mut Plan)) {
    let mut plan = example::plan();
    change(&mut plan);
    let error = plan.verify().unwrap_err();
    assert!(error.number == number && error.to_string().contains(text), "wanted {number}, `{text}`, but: {error}");
}

fn view_at(plan: &mut Plan, step: usize, input: usize) -> &mut View {
    let id = plan.steps[step].inputs[input];
    &mut plan.views[id.index()]
}

fn output_at(plan: &mut Plan, step: usize, output: usize) -> &mut View {
    let id = plan.steps[step].outputs[output];
    &mut plan.views[id.index()]
}

fn buffer_at<'plan>(plan: &'plan mut Plan, name: &str) -> &'plan mut Buffer {
    plan.buffers.iter_mut().find(|buffer| buffer.name == name).unwrap()
}

#[test]
fn the_example_holds_and_prints() {
    let plan = example::plan();
    plan.verify().unwrap();
    insta::assert_snapshot!(crate::plan::text::print(&plan));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&crate::plan::json::summary(&plan, None)).unwrap());
}

#[test]
fn invariant_1_limits() {
    expect(1, "the batch is 0", |plan| plan.batch = 0);
    expect(1, "a batch of 3 in 2 parts", |plan| {
        (plan.batch, plan.parts) = (3, NonZeroUsize::new(2).unwrap());
    });
    expect(1, "an arena of", |plan| plan.memory.arena_bytes = MAX_BYTES + 1);
    expect(1, "b1 has", |plan| plan.buffers[1].bytes = MAX_BYTES + 4);
    expect(1, "has rank 9", |plan| plan.views[3].sizes = vec![1; 9]);
    expect(1, "inputs; at most", |plan| plan.steps[0].inputs = vec![ViewId::new(0); MAX_WRITERS + 1]);
}

#[test]
fn invariant_2_references() {
    expect(2, "there is no buffer b99", |plan| plan.views[0].buffer = BufferId::new(99));
    expect(2, "there is no view v99", |plan| plan.steps[0].inputs[0] = ViewId::new(99));
    expect(2, "there is no view v98", |plan| plan.outputs[0].view = ViewId::new(98));
    expect(2, "there is no constant c99", |plan| plan.steps[0].constants[0] = ConstId::new(99));
    expect(2, "there is no constant c98", |plan| {
        buffer_at(plan, "addend").place = Place::Constant(ConstId::new(98));
    });
}

#[test]
fn invariant_3_alignment() {
    expect(3, "starts at byte 516", |plan| buffer_at(plan, "inner").place = Place::Arena(516));
    expect(3, "has 10 bytes", |plan| buffer_at(plan, "inner").bytes = 10);
    expect(3, "has 0 bytes", |plan| buffer_at(plan, "inner").bytes = 0);
}

#[test]
fn invariant_4_bounds() {
    expect(4, "leaves the arena", |plan| plan.memory.arena_bytes -= 64);
    expect(4, "leaves the arena", |plan| {
        buffer_at(plan, "inner").place = Place::Arena(usize::MAX - 63);
    });
    expect(4, "4 sizes but 3 strides", |plan| {
        view_at(plan, 0, 0).strides.pop();
    });
    expect(4, "leaves b1", |plan| view_at(plan, 2, 0).offset = 1);
    expect(4, "leaves b1", |plan| output_at(plan, 1, 0).strides[2] = usize::MAX / 2);
    expect(4, "no elements", |plan| output_at(plan, 1, 0).sizes[2] = 0);
    expect(4, "too many", |plan| output_at(plan, 1, 0).sizes = vec![1 << 40; 4]);
}

#[test]
fn invariant_5_constants() {
    expect(5, "has 96 bytes but needs 192", |plan| plan.constants[0].sizes[0] = 16);
    expect(5, "larger than", |plan| plan.constants[0].sizes[0] = usize::MAX);
    expect(5, "which holds i32, as weights", |plan| plan.constants[0].dtype = DType::I32);
    expect(5, "has 16 bytes but c3 has 32", |plan| {
        let buffer = buffer_at(plan, "addend");
        buffer.bytes = 16;
        view_at(plan, 2, 1).sizes[1] = 4;
    });
    expect(5, "b3 is c3, which holds i32", |plan| plan.constants[3].dtype = DType::I32);
}

#[test]
fn invariant_6_ports() {
    expect(6, "has sizes [1, 3, 4, 4] in a part of 2", |plan| {
        (plan.batch, plan.parts) = (4, NonZeroUsize::new(2).unwrap());
    });
    expect(6, "bytes in 1099511627776 parts", |plan| {
        (plan.batch, plan.parts) = (1 << 40, NonZeroUsize::new(1 << 40).unwrap());
    });
    expect(6, "two buffers are output 0", |plan| buffer_at(plan, "out1").place = Place::Output(0));
    expect(6, "is output 7 of 2", |plan| buffer_at(plan, "out1").place = Place::Output(7));
    expect(6, "is a view of Output(0)", |plan| plan.outputs[1].view = plan.outputs[0].view);
    expect(6, "is not the whole of", |plan| view_at(plan, 0, 0).sizes[2] = 3);
    expect(6, "is not the whole of", |plan| plan.views[0].strides = vec![48, 1, 12, 3]);
}

#[test]
fn invariant_7_operands() {
    expect(7, "(conv) has 2 inputs, not 1 to 1", |plan| plan.steps[0].inputs.push(ViewId::new(0)));
    expect(7, "(max_pool) has 0 outputs", |plan| plan.steps[3].outputs.clear());
    expect(7, "(batch_norm) has 3 constants", |plan| {
        plan.steps[5].constants.pop();
    });
    expect(7, "(layout) has 2 outputs", |plan| plan.steps[7].outputs.push(ViewId::new(0)));
    expect(7, "(pad) has 1 outputs", |plan| {
        plan.steps[4].outputs.pop();
    });
}

#[test]
fn invariant_8_sizes() {
    expect(8, "4 output channels from weights for 8", |plan| {
        plan.steps[0].outputs.pop();
    });
    expect(8, "1 activations for 2 outputs", |plan| {
        if let StepKind::Conv { activations, .. } = &mut plan.steps[0].kind {
            activations.pop();
        }
    });
    expect(8, "a bias of sizes [4, 2]", |plan| plan.constants[1].sizes = vec![4, 2]);
    expect(8, "for 3 channels in 2 groups", |plan| {
        if let StepKind::Conv { group, .. } = &mut plan.steps[0].kind {
            *group = 2;
        }
    });
    expect(8, "sizes [1, 4, 4, 4] from [1, 4, 4, 4]", |plan| {
        if let StepKind::Conv { strides, .. } = &mut plan.steps[1].kind {
            *strides = [2, 1];
        }
    });
    expect(8, "from [1, 4, 4, 4]", |plan| {
        if let StepKind::Conv { dilations, .. } = &mut plan.steps[1].kind {
            *dilations = [0, 1];
        }
    });
    expect(8, "by Pool", |plan| {
        if let StepKind::Pool { window, .. } = &mut plan.steps[3].kind {
            window.kernel = [usize::MAX; 2];
        }
    });
    expect(8, "an interior of sizes", |plan| output_at(plan, 4, 1).sizes[3] = 1);
    expect(8, "a constant of sizes [2, 4]", |plan| plan.constants[5].sizes = vec![2, 4]);
    expect(8, "a window of 0 channels", |plan| {
        if let StepKind::Lrn { size, .. } = &mut plan.steps[6].kind {
            *size = 0;
        }
    });
    expect(8, "(lrn): sizes [1, 8, 4, 2] from", |plan| view_at(plan, 8, 0).sizes[3] = 2);
    expect(8, "an addend of sizes", |plan| {
        let last = plan.constants.len() - 1;
        plan.constants[last].sizes = vec![1, 5];
    });
    expect(8, "(gemm): sizes", |plan| {
        if let StepKind::Gemm { trans_b, .. } = &mut plan.steps[9].kind {
            *trans_b = false;
        }
    });
    expect(8, "(matmul): sizes", |plan| view_at(plan, 10, 0).sizes[0] = 4);
    expect(8, "axis 2 of rank 2", |plan| plan.steps[11].kind = StepKind::Softmax { axis: 2 });
    expect(8, "(global_avg_pool): sizes", |plan| output_at(plan, 8, 0).sizes[1] = 7);
    expect(8, "(elementwise): sizes", |plan| view_at(plan, 2, 1).sizes[1] = 7);
}

#[test]
fn invariant_9_layout() {
    // A convolution's output in rows.
    expect(9, "axis 1 is not innermost", |plan| output_at(plan, 0, 1).strides = vec![64, 16, 4, 1]);
    expect(9, "axis 1 is not innermost", |plan| output_at(plan, 3, 0).strides = vec![32, 4, 2, 1]);
    expect(9, "no axis has stride 1 in all", |plan| {
        plan.views.push(View { strides: vec![1, 5], ..plan.views[plan.steps[11].inputs[0].index()].clone() });
        plan.steps[11].inputs[0] = ViewId::from_index(plan.views.len() - 1);
    });
    expect(9, "(matmul): strides", |plan| {
        plan.views.push(View { strides: vec![1, 5], ..plan.views[plan.steps[10].outputs[0].index()].clone() });
        plan.steps[10].outputs[0] = ViewId::from_index(plan.views.len() - 1);
    });
}

#[test]
fn invariant_10_stores() {
    expect(10, "writes v0 of b0, which is Input(0)", |plan| {
        let mut fresh = example::Builder::default();
        let x = fresh.rows("x", &[1, 3], Some(Place::Input(0)));
        fresh.step(StepKind::Copy(CopyKind::Plain), &[x], &[x], &[]);
        fresh.plan.inputs.push(Port { name: "x".into(), view: x });
        *plan = fresh.finish();
    });
    expect(10, "whose elements coincide", |plan| output_at(plan, 1, 0).strides[3] = 0);
    expect(10, "whose elements coincide", |plan| output_at(plan, 1, 0).strides[3] = 2);
}

#[test]
fn invariant_11_order() {
    expect(11, "s0 reads", |plan| plan.steps.swap(0, 1));
    // The concatenation's second half is never written.
    expect(11, "s1 reads v1 of b1, which is not all written", |plan| {
        plan.steps.remove(1);
    });
    expect(11, "output 1 `out1` (b7) is not written whole", |plan| {
        plan.steps.remove(7);
        // Lifetimes are checked later.
    });
}

#[test]
fn invariant_12_once() {
    expect(12, "some of which was written before", |plan| {
        plan.steps.insert(1, plan.steps[0].clone());
    });
    // The other half overlaps the first by one channel, and reaches the end.
    expect(12, "s1 writes", |plan| output_at(plan, 1, 0).offset = 0);
}

#[test]
fn invariant_13_hazards() {
    expect(13, "over its input", |plan| {
        let view = plan.steps[6].inputs[0];
        plan.steps[6].outputs[0] = view;
    });
    // In place, but shifted by a channel.
    expect(13, "but they differ", |plan| {
        let root = plan.views[1].buffer;
        plan.views.push(View { buffer: root, offset: 1, sizes: vec![1, 4, 4, 4], strides: vec![128, 1, 32, 8] });
        plan.views.push(View { buffer: root, offset: 0, sizes: vec![1, 4, 4, 4], strides: vec![128, 1, 32, 8] });
        let last = plan.views.len();
        let kind = StepKind::Activate(crate::ops::Activation::Relu);
        let step = Step { kind, inputs: vec![ViewId::from_index(last - 2)], ..plan.steps[2].clone() };
        plan.steps[2] = Step { outputs: vec![ViewId::from_index(last - 1)], ..step };
    });
    expect(13, "over its other output", |plan| {
        plan.steps[0].outputs[1] = plan.steps[0].outputs[0];
    });
    expect(13, "does not lie within", |plan| {
        let pooled = plan.steps[3].outputs[0];
        let other = View { offset: 0, sizes: vec![1, 8, 2, 2], ..plan.views[pooled.index()].clone() };
        plan.views.push(other);
        let inner = ViewId::from_index(plan.views.len() - 1);
        plan.steps[4].outputs[1] = inner;
        // It reads what it does not write.
        plan.steps[4].inputs[0] = {
            let whole = plan.steps[3].inputs[0];
            let part = View { sizes: vec![1, 8, 2, 2], ..plan.views[whole.index()].clone() };
            plan.views.push(part);
            ViewId::from_index(plan.views.len() - 1)
        };
    });
}

#[test]
fn invariant_14_lifetimes() {
    expect(14, "s3 touches b1, which lives from s0 to s2", |plan| buffer_at(plan, "concat").live.1 = StepId::new(2));
    expect(14, "there are 12 steps", |plan| buffer_at(plan, "concat").live.1 = StepId::new(12));
    expect(14, "lives from s9 to s3", |plan| buffer_at(plan, "concat").live.0 = StepId::new(9));
}

#[test]
fn invariant_15_overlap() {
    expect(15, "share bytes of the arena in region s0..s1", |plan| buffer_at(plan, "inner").place = Place::Arena(0));
    expect(15, "share bytes", |plan| buffer_at(plan, "pooled").place = Place::Arena(448));
    // Sharing one after the other is what an arena is for.
    let mut plan = example::plan();
    buffer_at(&mut plan, "square").place = Place::Arena(0);
    plan.verify().unwrap();
}

#[test]
fn invariant_16_memory() {
    expect(16, "the lower bound is", |plan| plan.memory.lower_bound_bytes -= 64);
    expect(16, "not called optimal", |plan| {
        for (name, offset) in [("inner", 512), ("pooled", 512), ("padded", 0), ("lrn", 512), ("mean", 0)] {
            buffer_at(plan, name).place = Place::Arena(offset);
        }
        for (name, offset) in [("scores", 64), ("square", 128)] {
            buffer_at(plan, name).place = Place::Arena(offset);
        }
        plan.memory.arena_bytes = plan.memory.lower_bound_bytes;
    });
}

/// Makes one region of two that follow each other.
fn join(plan: &mut Plan, region: usize) {
    plan.regions[region].end = plan.regions.remove(region + 1).end;
}

#[test]
fn invariant_17_regions() {
    expect(17, "region 0 is s1..s2, but s0 is next", |plan| {
        plan.regions.remove(0);
    });
    expect(17, "region 3 is s3..s3, but s3 is next", |plan| plan.regions[3].end = StepId::new(3));
    expect(17, "region 4 is s3..s5, but s4 is next", |plan| plan.regions[4].begin = StepId::new(3));
    expect(17, "the regions cover 11 of 12 steps", |plan| {
        plan.regions.pop();
    });
    expect(17, "the regions cover 13 of 12 steps", |plan| plan.regions[10].end = StepId::new(13));
    // The second convolution reads what the first writes.
    expect(17, "s0 writes v4 of b2 while s1, in the same region, reads v4", |plan| join(plan, 0));
    // The addition runs in place on what the second convolution writes.
    expect(17, "s1 writes v3 of b1 while s2, in the same region, writes v1", |plan| join(plan, 1));
}

/// Two convolutions at once into one root of 8 channels, 4 each, the second from channel `offset` on; then a copy of all.
fn branches(offset: usize) -> Plan {
    let mut b = example::Builder::default();
    let x = b.rows("x", &[1, 4, 3, 3], Some(Place::Input(0)));
    let root = b.arena("concat", 8 * 9);
    let strides = [72, 1, 24, 8];
    let whole = b.view(root, 0, &[1, 8, 3, 3], &strides);
    for start in [0, offset] {
        let w = b.constant(DType::F32, &[4, 4, 1, 1]);
        let part = b.view(root, start, &[1, 4, 3, 3], &strides);
        b.step(example::conv(0, false, 1), &[x], &[part], &[w]);
    }
    let out = b.rows("out", &[1, 8, 3, 3], Some(Place::Output(0)));
    b.step(StepKind::Copy(CopyKind::Layout), &[whole], &[out], &[]);
    b.plan.inputs = vec![Port { name: "x".into(), view: x }];
    b.plan.outputs = vec![Port { name: "out".into(), view: out }];
    b.plan.regions = Region::each(3);
    join(&mut b.plan, 0);
    b.finish()
}

#[test]
fn slices_of_a_concatenation_may_be_written_at_once() {
    branches(4).verify().unwrap();
    assert_eq!(branches(3).verify().unwrap_err().number, 12);
    let mut plan = branches(4);
    join(&mut plan, 0);
    assert_eq!(plan.verify().unwrap_err().number, 17);
}

#[test]
fn what_lives_in_one_region_shares_no_byte() {
    // x → a → y, x → b → z, and b in the place of a.
    let chains = |ends: &[u32]| {
        let mut b = example::Builder::default();
        let x = b.rows("x", &[16], Some(Place::Input(0)));
        let relu = StepKind::Activate(crate::ops::Activation::Relu);
        for (position, name) in ["y", "z"].into_iter().enumerate() {
            let middle = b.rows("middle", &[16], None);
            let out = b.rows(name, &[16], Some(Place::Output(position)));
            b.step(relu.clone(), &[x], &[middle], &[]);
            b.step(relu.clone(), &[middle], &[out], &[]);
            b.plan.outputs.push(Port { name: name.into(), view: out });
        }
        b.plan.inputs = vec![Port { name: "x".into(), view: x }];
        let bounds = ends.windows(2).map(|ends| (StepId::new(ends[0]), StepId::new(ends[1])));
        b.plan.regions = bounds.map(|(begin, end)| Region { begin, end }).collect();
        let mut plan = b.finish();
        plan.buffers[3].place = Place::Arena(0);
        plan.memory.proven_optimal = true;
        plan
    };
    chains(&[0, 1, 2, 3, 4]).verify().unwrap();
    // The step that reads a and the one that writes b may run at once.
    assert_eq!(chains(&[0, 1, 3, 4]).verify().unwrap_err().number, 15);
}

#[test]
fn crossing_views_are_checked_element_by_element() {
    // Two writers whose slices cross the reader's rows at no common unit: 6 = 3 × 2 = 2 × 3.
    let mut b = example::Builder::default();
    let x = b.rows("x", &[7], Some(Place::Input(0)));
    let root = b.arena("root", 7);
    let even = b.view(root, 0, &[4], &[2]);
    let odd = b.view(root, 1, &[2], &[3]);
    let rest = b.view(root, 3, &[2], &[2]);
    let out = b.rows("out", &[7], Some(Place::Output(0)));
    let input = b.plan.views[x.index()].buffer;
    let (four, two) = (b.view(input, 0, &[4], &[1]), b.view(input, 4, &[2], &[1]));
    let all = b.view(root, 0, &[7], &[1]);
    b.step(StepKind::Copy(CopyKind::Layout), &[four], &[even], &[]);
    b.step(StepKind::Copy(CopyKind::Layout), &[two], &[rest], &[]);
    let one = b.view(root, 1, &[1], &[1]);
    let single = b.view(input, 6, &[1], &[1]);
    b.step(StepKind::Copy(CopyKind::Layout), &[single], &[one], &[]);
    b.step(StepKind::Copy(CopyKind::Plain), &[all], &[out], &[]);
    b.plan.inputs.push(Port { name: "x".into(), view: x });
    b.plan.outputs.push(Port { name: "out".into(), view: out });
    let mut plan = b.finish();
    plan.memory.proven_optimal = true;
    plan.verify().unwrap();
    // The writers may run at once, the reader not with them.
    let mut joined = plan.clone();
    join(&mut joined, 0);
    join(&mut joined, 0);
    joined.verify().unwrap();
    join(&mut joined, 0);
    let error = joined.verify().unwrap_err().to_string();
    assert!(error.contains("s0 writes v1 of b1 while s3, in the same region, reads"), "{error}");
    // {1, 4} meets the even elements.
    plan.steps[2].outputs[0] = odd;
    plan.steps[2].inputs[0] = two;
    assert_eq!(plan.verify().unwrap_err().number, 12);
    plan.steps.remove(2);
    assert_eq!(plan.verify().unwrap_err().number, 11);
}

/// One change of one number somewhere in a plan.
#[derive(Debug, Clone)]
struct Change {
    table: usize,
    entry: usize,
    field: usize,
    at: usize,
    value: usize,
}

fn apply(plan: &mut Plan, change: &Change) {
    let Change { table, entry, field, at, value } = *change;
    fn pick<T>(list: &mut [T], at: usize) -> Option<&mut T> {
        let len = list.len().max(1);
        list.get_mut(at % len)
    }
    match table {
        0 => {
            let Some(view) = pick(&mut plan.views, entry) else { return };
            match field % 4 {
                0 => view.offset = value,
                1 => {
                    if let Some(size) = pick(&mut view.sizes, at) {
                        *size = value;
                    }
                }
                2 => {
                    if let Some(stride) = pick(&mut view.strides, at) {
                        *stride = value;
                    }
                }
                _ => view.buffer = BufferId::from_index(value),
            }
        }
        1 => {
            let Some(buffer) = pick(&mut plan.buffers, entry) else { return };
            match field % 5 {
                0 => buffer.bytes = value,
                1 => buffer.place = Place::Arena(value),
                2 => buffer.place = Place::Output(value),
                3 => buffer.live.0 = StepId::from_index(value),
                _ => buffer.live.1 = StepId::from_index(value),
            }
        }
        2 => {
            let Some(step) = pick(&mut plan.steps, entry) else { return };
            let list = if field.is_multiple_of(2) { &mut step.inputs } else { &mut step.outputs };
            match field % 5 {
                0 | 1 => {
                    if let Some(id) = pick(list, at) {
                        *id = ViewId::from_index(value);
                    }
                }
                2 => list.push(ViewId::from_index(value)),
                3 => list.clear(),
                _ => {
                    if let StepKind::Conv { strides, pads, dilations, group, .. } = &mut step.kind {
                        let mut fields = [&mut strides[0], &mut pads[3], &mut dilations[1], group];
                        if let Some(field) = pick(&mut fields, at) {
                            **field = value;
                        }
                    } else if let StepKind::Pool { window, .. } = &mut step.kind {
                        let mut fields = [&mut window.strides[0], &mut window.pads[3], &mut window.kernel[1]];
                        if let Some(field) = pick(&mut fields, at) {
                            **field = value;
                        }
                    }
                }
            }
        }
        3 => {
            let Some(constant) = pick(&mut plan.constants, entry) else { return };
            if let Some(size) = pick(&mut constant.sizes, at) {
                *size = value;
            }
        }
        4 => {
            let len = plan.steps.len().max(1);
            plan.steps.swap(entry % len, at % len);
        }
        5 => {
            let Some(region) = pick(&mut plan.regions, entry) else { return };
            match field % 3 {
                0 => region.begin = StepId::from_index(value),
                1 => region.end = StepId::from_index(value),
                _ => plan.regions.truncate(at),
            }
        }
        _ => match field % 2 {
            0 => plan.memory.arena_bytes = value,
            _ => plan.memory.lower_bound_bytes = value,
        },
    }
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..20, 2 => 0usize..2000, 1 => prop::sample::select(vec![usize::MAX, usize::MAX / 2, 1 << 32, 1 << 44])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    /// No mutation makes the verifier panic; and what it accepts stays within memory, by an independent count.
    #[test]
    fn mutations_never_panic(changes in prop::collection::vec(
        (0usize..7, 0usize..40, 0usize..20, 0usize..16, number())
            .prop_map(|(table, entry, field, at, value)| Change { table, entry, field, at, value }),
        1..4,
    )) {
        let mut plan = example::plan();
        for change in &changes {
            apply(&mut plan, change);
        }
        let _ = crate::plan::text::print(&plan);
        if plan.verify().is_ok() {
            for view in &plan.views {
                let last: usize = view.sizes.iter().zip(&view.strides).map(|(size, stride)| (size - 1) * stride).sum();
                prop_assert!((view.offset + last) * 4 < plan.buffers[view.buffer.index()].bytes);
            }
        }
    }
}
