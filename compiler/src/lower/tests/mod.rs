#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod networks;
mod parallel;
mod parts;
mod random;
mod run;

use incept_ir::graph::Graph;
use incept_ir::ids::ValueId;
use incept_ir::interp;
use incept_ir::ops::{
    Activation, Add, AvgPool, BatchNorm, Cast, Concat, Conv, Dropout, Flatten, Gemm, GlobalAvgPool, Lrn, MatMul,
    MaxPool, Mul, Pad, Pool, Relu, Reshape, Softmax, Transpose,
};
use incept_ir::plan::{CopyKind, Place, Plan, StepKind, text};
use incept_ir::tensor::Tensor;
use incept_ir::types::{DType, TensorType};

use super::*;

/// Values that differ everywhere and are small: exact in `f32` sums of moderate length.
pub(super) fn values(sizes: &[usize], seed: usize) -> Tensor {
    let count: usize = sizes.iter().product();
    #[allow(clippy::cast_precision_loss, reason = "small integers")]
    let value = |at: usize| ((at * 37 + seed * 101 + 11) % 97) as f32 / 16.0 - 3.0;
    Tensor::from_f32(sizes, (0..count).map(value).collect()).unwrap()
}

pub(super) struct Net {
    pub graph: Graph,
    count: usize,
}

impl Net {
    pub fn new() -> Self {
        Self { graph: Graph::new("net"), count: 0 }
    }

    pub fn input(&mut self, sizes: &[usize]) -> ValueId {
        self.count += 1;
        self.graph.add_input(&format!("x{}", self.count), TensorType::f32(sizes)).unwrap()
    }

    pub fn constant(&mut self, sizes: &[usize]) -> ValueId {
        self.count += 1;
        self.graph.add_constant(&format!("c{}", self.count), values(sizes, self.count)).unwrap()
    }

    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let op = op.into();
        self.count += 1;
        let name = format!("{}{}", op.name(), self.count);
        self.graph.add(op, &name, inputs).unwrap()
    }

    pub fn sizes(&self, value: ValueId) -> Vec<usize> {
        self.graph.ty(value).unwrap().shape.sizes().unwrap()
    }

    /// A convolution with a square kernel, padded to keep the image's size at stride 1.
    pub fn conv(&mut self, x: ValueId, outputs: usize, kernel: usize) -> ValueId {
        let channels = self.sizes(x)[1];
        let w = self.constant(&[outputs, channels, kernel, kernel]);
        let bias = self.constant(&[outputs]);
        let conv = Conv { pads: [kernel / 2; 4], activation: Some(Activation::Relu), ..Conv::default() };
        self.add(conv, &[x, w, bias])
    }

    pub fn output(&mut self, value: ValueId) {
        let name = format!("y{}", self.graph.outputs().len());
        self.graph.add_output(&name, value).unwrap();
    }
}

fn options(disabled: &[&str]) -> LowerOptions {
    LowerOptions { disabled: disabled.iter().map(ToString::to_string).collect(), ..LowerOptions::default() }
}

/// Checks a plan's results against the interpreter, and that a saved plan is the same plan.
pub(super) fn check_plan(graph: &Graph, plan: &Plan) {
    let inputs: Vec<Tensor> = plan
        .inputs
        .iter()
        .enumerate()
        .map(|(at, port)| values(&plan.views[port.view.index()].sizes, at + 50))
        .collect();
    let wanted = interp::run(graph, &inputs).unwrap();
    let got = run::run(plan, &inputs);
    assert_eq!(wanted.len(), got.len());
    for (wanted, got) in wanted.iter().zip(&got) {
        assert_eq!(wanted.sizes(), got.sizes());
        let (wanted, got) = (wanted.to_f64(), got.to_f64());
        let scale = wanted.iter().fold(1e-3f64, |max, value| max.max(value.abs()));
        for (at, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            let equal = (wanted - got).abs() <= 1e-5 * scale || wanted.is_nan() && got.is_nan();
            assert!(equal, "element {at}: {got} instead of {wanted}\n{}", text::print(plan));
        }
    }
    let bits = |outputs: &[Tensor]| outputs.iter().map(Tensor::bytes).cloned().collect::<Vec<_>>();
    assert_eq!(bits(&run::run_backwards(plan, &inputs)), bits(&got), "{}", text::print(plan));
    let mut bytes = Vec::new();
    incept_ir::plan::file::encode(plan, 1, &mut bytes).unwrap();
    assert_eq!(&incept_ir::plan::file::decode(&bytes.into()).unwrap(), plan);
}

/// Lowers in all ways and checks each; gives the plan with everything enabled.
pub(super) fn check(graph: &Graph) -> Lowered {
    for disabled in
        [&["alias_concat"][..], &["in_place"], &["parallel_regions"], &["alias_concat", "in_place", "parallel_regions"]]
    {
        check_plan(graph, &lower(graph, &options(disabled)).unwrap());
    }
    let lowered = lower_with_report(graph, &options(&[])).unwrap();
    check_plan(graph, &lowered.plan);
    lowered
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.steps.iter().map(|step| plan.kind_name(step)).collect()
}

fn inception(net: &mut Net, x: ValueId) -> ValueId {
    let one = net.conv(x, 4, 1);
    let reduced = net.conv(x, 3, 1);
    let three = net.conv(reduced, 5, 3);
    let pooled = net.add(MaxPool { pool: Pool { pads: [1; 4], ..Pool::new([3, 3]) } }, &[x]);
    let projected = net.conv(pooled, 2, 1);
    net.add(Concat { axis: 1 }, &[one, three, projected])
}

#[test]
fn an_inception_module_copies_nothing() {
    let mut net = Net::new();
    let x = net.input(&[2, 3, 6, 6]);
    let x = net.conv(x, 4, 3);
    let joined = inception(&mut net, x);
    let joined = inception(&mut net, joined);
    let mean = net.add(GlobalAvgPool, &[joined]);
    let flat = net.add(Flatten { axis: 1 }, &[mean]);
    let (w, c) = (net.constant(&[7, 11]), net.constant(&[7]));
    let scores = net.add(Gemm { trans_b: true, ..Gemm::default() }, &[flat, w, c]);
    net.output(scores);
    let lowered = check(&net.graph);
    assert_eq!(lowered.plan.copied_bytes(), 0);
    assert!(lowered.report.refusals.is_empty());
    insta::assert_snapshot!(text::print(&lowered.plan));
    let copying = lower(&net.graph, &options(&["alias_concat"])).unwrap();
    assert_eq!(copying.steps_by_kind().get("concat"), Some(&2));
    assert_eq!(copying.copied_bytes(), 2 * 2 * 11 * 36 * 4);
}

#[test]
fn nested_concatenations_alias_into_the_outermost() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let (a, b, c) = (net.conv(x, 2, 1), net.conv(x, 3, 3), net.conv(x, 4, 1));
    let inner = net.add(Concat { axis: 1 }, &[a, b]);
    let used = net.conv(inner, 2, 3);
    let outer = net.add(Concat { axis: 1 }, &[c, inner, used]);
    let last = net.conv(outer, 3, 1);
    let mean = net.add(GlobalAvgPool, &[last]);
    net.output(mean);
    let plan = check(&net.graph).plan;
    assert_eq!(plan.copied_bytes(), 0);
    // One root holds a, b, c, the inner and the outer concatenation.
    let arena = plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Arena(_)));
    assert_eq!(arena.count(), 2);
}

#[test]
fn a_concatenation_of_neighbours_is_a_view() {
    // As in DenseNet: each concatenation repeats the parts of the one before.
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let mut parts = vec![net.conv(x, 4, 1)];
    for _ in 0..3 {
        let joined = net.add(Concat { axis: 1 }, &parts);
        parts.push(net.conv(joined, 2, 3));
    }
    let all = net.add(Concat { axis: 1 }, &parts);
    let mean = net.add(GlobalAvgPool, &[all]);
    net.output(mean);
    let lowered = check(&net.graph);
    assert_eq!(lowered.plan.copied_bytes(), 0, "{:#?}", lowered.report);
}

#[test]
fn what_cannot_alias_is_copied_with_a_reason() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let weights = net.constant(&[1, 2, 4, 4]);
    let a = net.conv(x, 2, 1);
    let turned = net.add(Transpose { perm: vec![0, 1, 3, 2] }, &[a]);
    let whole = net.add(Concat { axis: 1 }, &[x, a, a, weights, turned]);
    let other = net.add(Concat { axis: 1 }, &[a, x]);
    let sum = net.conv(whole, 2, 1);
    net.output(sum);
    net.output(other);
    let lowered = check(&net.graph);
    let reasons: Vec<&str> = lowered.report.refusals.iter().map(|note| note.text.as_str()).collect();
    insta::assert_debug_snapshot!(reasons);
}

#[test]
fn one_channel_parts() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let a = net.conv(x, 1, 3);
    let b = net.conv(x, 1, 1);
    let product = net.add(Mul, &[a, b]);
    let c = net.conv(x, 1, 3);
    let whole = net.add(Concat { axis: 1 }, &[a, product, c]);
    let last = net.conv(whole, 2, 1);
    net.output(last);
    let lowered = check(&net.graph);
    assert!(lowered.report.refusals[0].text.contains("no two of its elements"), "{:?}", lowered.report);
}

#[test]
fn concatenations_on_other_axes_alias_too() {
    for axis in [0, 2, 3] {
        let mut net = Net::new();
        let x = net.input(&[1, 3, 4, 4]);
        let (a, b) = (net.conv(x, 2, 1), net.conv(x, 2, 3));
        let whole = net.add(Concat { axis }, &[a, b]);
        let last = net.conv(whole, 3, 1);
        net.output(last);
        let plan = check(&net.graph).plan;
        assert_eq!(plan.steps_by_kind().get("concat"), None);
    }
}

#[test]
fn inputs_and_outputs_keep_their_layout() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let pooled = net.add(AvgPool { pool: Pool::new([2, 2]), count_include_pad: false }, &[x]);
    net.output(pooled);
    let plan = check(&net.graph).plan;
    assert_eq!(kinds(&plan), ["layout", "avg_pool", "layout"]);
    // Elementwise steps take any layout.
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let y = net.add(Relu, &[x]);
    net.output(y);
    assert_eq!(kinds(&check(&net.graph).plan), ["relu"]);
    // One pixel lies the same way in both.
    let mut net = Net::new();
    let x = net.input(&[2, 3, 1, 1]);
    let y = net.conv(x, 5, 1);
    net.output(y);
    assert_eq!(kinds(&check(&net.graph).plan), ["conv"]);
}

#[test]
fn unusual_outputs() {
    let mut net = Net::new();
    let x = net.input(&[2, 3]);
    let unread = net.input(&[4]);
    let y = net.add(Relu, &[x]);
    let flat = net.add(Reshape { dims: vec![6], allow_zero: false }, &[y]);
    let constant = net.constant(&[2, 2]);
    let scalar = net.constant(&[]);
    let one = net.input(&[]);
    let sum = net.add(Add, &[scalar, one]);
    let dead = net.add(Relu, &[y]);
    for value in [x, y, y, flat, constant, sum, scalar] {
        net.output(value);
    }
    let plan = check(&net.graph).plan;
    assert_eq!(plan.inputs.len(), 3);
    assert_eq!(plan.outputs.len(), 7);
    assert_eq!(kinds(&plan).iter().filter(|kind| **kind == "relu").count(), 1, "{dead} and {unread} are not needed");
    assert_eq!(plan.steps.iter().filter(|step| step.kind == StepKind::Copy(CopyKind::Plain)).count(), 5);
}

#[test]
fn elementwise_steps_run_in_place() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let a = net.conv(x, 4, 3);
    let norms: Vec<ValueId> = (0..3).map(|_| net.constant(&[4])).collect();
    let var = net.add(Mul, &[norms[0], norms[0]]);
    let b = net.add(BatchNorm { epsilon: 0.5 }, &[a, norms[0], norms[1], norms[2], var]);
    let c = net.add(Relu, &[b]);
    let d = net.conv(c, 4, 3);
    let e = net.add(Add, &[d, c]);
    let f = net.add(Relu, &[e]);
    let g = net.add(GlobalAvgPool, &[f]);
    net.output(g);
    let plan = check(&net.graph).plan;
    assert_eq!(plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Arena(_))).count(), 2);
    let apart = lower(&net.graph, &options(&["in_place"])).unwrap();
    assert_eq!(apart.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Arena(_))).count(), 6);
}

#[test]
fn a_value_still_read_is_not_overwritten() {
    let mut net = Net::new();
    let x = net.input(&[4, 4]);
    let a = net.add(Relu, &[x]);
    let b = net.add(Mul, &[a, a]);
    let turned = net.add(Transpose { perm: vec![1, 0] }, &[b]);
    let c = net.add(Add, &[b, turned]);
    let d = net.add(Add, &[c, a]);
    net.output(d);
    check(&net.graph);
}

#[test]
fn products() {
    let mut net = Net::new();
    let x = net.input(&[3, 4]);
    let y = net.input(&[2, 3, 4]);
    let image = net.input(&[1, 2, 3, 4]);
    let (w, v, t) = (net.constant(&[4, 5]), net.constant(&[4]), net.constant(&[5, 3]));
    let stack = net.constant(&[2, 4, 2]);
    let cases = [
        net.add(MatMul, &[x, w]),
        net.add(MatMul, &[y, w]),
        net.add(MatMul, &[x, v]),
        net.add(MatMul, &[v, w]),
        net.add(MatMul, &[v, v]),
        net.add(MatMul, &[y, stack]),
        net.add(MatMul, &[image, stack]),
    ];
    let turned = net.add(Transpose { perm: vec![1, 0] }, &[x]);
    let square = net.add(MatMul, &[x, turned]);
    let (full, column, one) = (net.constant(&[4, 3]), net.constant(&[4, 1]), net.constant(&[1]));
    let gemm = Gemm { alpha: 0.5, beta: 2.0, trans_a: true, trans_b: true, activation: Some(Activation::Relu) };
    let wide = net.add(Transpose { perm: vec![1, 0] }, &[t]);
    let long = net.input(&[5, 4]);
    let tail = net.add(Relu, &[full]);
    let other = net.input(&[3, 5]);
    let moving = net.input(&[4, 3]);
    let gemms = [
        net.add(gemm.clone(), &[long, wide, full]),
        net.add(gemm.clone(), &[long, wide, column]),
        net.add(gemm.clone(), &[long, wide, one]),
        net.add(gemm.clone(), &[long, wide, tail]),
        net.add(gemm.clone(), &[long, wide, moving]),
        net.add(gemm.clone(), &[long, other, moving]),
        net.add(gemm.clone(), &[long, other]),
        net.add(Gemm { alpha: 1.0, beta: 1.0, ..gemm.clone() }, &[long, other]),
        net.add(Gemm { activation: None, alpha: 1.0, ..gemm }, &[long, other]),
    ];
    for value in cases.into_iter().chain(gemms).chain([square]) {
        net.output(value);
    }
    check(&net.graph);
}

#[test]
fn one_of_everything_else() {
    let mut net = Net::new();
    let x = net.input(&[2, 3, 4, 5]);
    let a = net.add(Lrn { size: 3, alpha: 0.1, beta: 0.75, bias: 1.0 }, &[x]);
    let b = net.add(Pad { pads: vec![[0, 0], [1, 0], [1, 2], [0, 1]], value: 2.5 }, &[a]);
    let c = net.add(Softmax { axis: 1, flatten: true }, &[b]);
    let d = net.add(Softmax { axis: 1, flatten: false }, &[c]);
    let e = net.add(Dropout { ratio: 0.5 }, &[d]);
    let e = net.add(Cast { to: DType::F32 }, &[e]);
    let f = net.add(Transpose { perm: vec![0, 2, 3, 1] }, &[e]);
    let g = net.add(Reshape { dims: vec![2, -1], allow_zero: false }, &[f]);
    let padded = net.add(Pad { pads: vec![[0, 0], [0, 0], [1, 1], [1, 1]], value: 0.0 }, &[x]);
    let h = net.conv(padded, 2, 3);
    // Normalisation of rank 2 and 3, of a broadcast product, and by a constant image.
    let scale: Vec<ValueId> = (0..2).map(|_| net.constant(&[4])).collect();
    let var = net.add(Mul, &[scale[0], scale[0]]);
    let rows = net.input(&[3, 4]);
    let lines = net.input(&[2, 4, 5]);
    let norm = BatchNorm { epsilon: 0.5 };
    let i = net.add(norm.clone(), &[rows, scale[0], scale[1], scale[0], var]);
    let j = net.add(norm, &[lines, scale[0], scale[1], scale[0], var]);
    let k = net.conv(x, 3, 1);
    let image = net.constant(&[3, 4, 5]);
    let l = net.add(Mul, &[k, image]);
    let mean = net.add(GlobalAvgPool, &[k]);
    let m = net.add(Mul, &[l, mean]);
    let column = net.constant(&[4, 1]);
    let n = net.add(Add, &[m, column]);
    let o = net.add(Add, &[n, x]);
    for value in [e, g, h, i, j, o] {
        net.output(value);
    }
    let plan = check(&net.graph).plan;
    insta::assert_snapshot!(text::print(&plan));
}

#[test]
fn half_weights_stay_half() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let half = values(&[2, 3, 1, 1], 4).cast(DType::F16).unwrap();
    let half = net.graph.add_constant("half", half).unwrap();
    let w = net.add(Cast { to: DType::F32 }, &[half]);
    let y = net.add(Conv::default(), &[x, w]);
    net.output(y);
    let plan = check(&net.graph).plan;
    assert_eq!(plan.constants[0].dtype, DType::F16);
    assert_eq!(plan.weight_bytes(), 12);
}

#[test]
fn everything_unsupported_is_listed() {
    let mut net = Net::new();
    let x = net.input(&[1, 3, 4, 4]);
    let w = net.input(&[2, 3, 1, 1]);
    let a = net.add(Conv::default(), &[x, w]);
    let b = net.add(Relu, &[a]);
    let c = net.add(Cast { to: DType::I64 }, &[x]);
    let empty = net.input(&[0, 3]);
    let d = net.add(Relu, &[empty]);
    for value in [b, c, d] {
        net.output(value);
    }
    let error = lower(&net.graph, &options(&[])).unwrap_err();
    insta::assert_snapshot!(error.to_string());
    let LowerError::Unsupported(list) = error else { panic!("{error}") };
    // What only follows from these is not listed.
    assert_eq!(list.iter().map(|one| one.op).collect::<Vec<_>>(), ["input", "conv", "cast"]);
}

#[test]
fn a_symbolic_graph_is_refused() {
    use incept_ir::types::{Dim, Shape};
    let mut graph = Graph::new("net");
    let ty = TensorType::new(DType::F32, Shape::new(&[Dim::Batch(1), Dim::Fixed(3)]));
    let x = graph.add_input("x", ty).unwrap();
    let y = graph.add(Relu, "relu", &[x]).unwrap();
    graph.add_output("y", y).unwrap();
    assert!(matches!(lower(&graph, &options(&[])), Err(LowerError::Symbolic)));
    let three = graph.with_batch(3).unwrap();
    let plan = lower(&three, &LowerOptions { batch: 3, symbolic_batch: true, ..options(&[]) }).unwrap();
    assert_eq!((plan.batch, plan.symbolic_batch), (3, true));
}

#[test]
fn huge_models_are_refused_not_wrapped() {
    let mut net = Net::new();
    let x = net.input(&[1, 1 << 39]);
    let parts: Vec<ValueId> = (0..6).map(|_| net.add(Concat { axis: 0 }, &[x, x])).collect();
    let mut sum = parts[0];
    for part in &parts[1..] {
        sum = net.add(Add, &[*part, sum]);
    }
    // The sum is made in an order that keeps all parts alive.
    for part in &parts {
        sum = net.add(Mul, &[sum, *part]);
    }
    net.output(sum);
    let result = lower(&net.graph, &options(&[]));
    assert!(matches!(result, Err(LowerError::TooLarge(_))), "{:?}", result.err());
}
