//! Concatenations as views: each part is written where the concatenation lies.
//!
//! A part is aliased where a step makes it and that step can write a slice: it then lies at a distance along one axis of
//! the concatenation, with the concatenation's strides. Nested concatenations alias into the outermost, since they are
//! visited from the last to the first. A concatenation whose parts already lie side by side in a later one is a view of
//! that one. What cannot be aliased is copied, and the report says why.
//!
//! Depends on the graph alone: it decides before any buffer exists.

use incept_ir::graph::Graph;
use incept_ir::ids::{BufferId, NodeId, ValueId};
use incept_ir::ops::Op;
use incept_ir::plan::View;
use rustc_hash::FxHashMap;

use super::source::Sources;
use super::{LowerReport, layout};

/// The pass's name on the command line and in reports.
pub const NAME: &str = "alias_concat";

/// Where a value lies within another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    /// The value that it lies in.
    pub parent: ValueId,
    /// Along this axis,
    pub axis: usize,
    /// at this index.
    pub start: usize,
}

/// The slices of all concatenations among `order`, which holds the needed nodes in topological order.
pub(super) fn slices(
    graph: &Graph,
    sources: &Sources,
    order: &[NodeId],
    report: &mut LowerReport,
) -> FxHashMap<ValueId, Slice> {
    let mut slices: FxHashMap<ValueId, Slice> = FxHashMap::default();
    for id in order.iter().rev() {
        let Ok(node) = graph.node(*id) else { continue };
        let (Op::Concat(concat), Some(whole)) = (&node.op, node.outputs.first()) else { continue };
        if sources.constant(*whole).is_some() {
            continue;
        }
        let parts: Vec<ValueId> = graph.node_inputs(*id).into_iter().map(|part| sources.of(part)).collect();
        let lengths: Option<Vec<usize>> = parts.iter().map(|part| length(graph, *part, concat.axis)).collect();
        let Some(lengths) = lengths else { continue };
        if let Some(slice) =
            side_by_side(&slices, &parts, &lengths, concat.axis).filter(|_| !slices.contains_key(whole))
        {
            slices.insert(*whole, slice);
            let within = graph.label_of(slice.parent);
            report.rewrite(NAME, &[&node.name], format!("its parts already lie side by side in {within}"));
            continue;
        }
        let (mut start, mut aliased) = (0, 0);
        for (part, length) in parts.iter().zip(&lengths) {
            match refusal(graph, sources, &slices, *part, *whole) {
                None => {
                    slices.insert(*part, Slice { parent: *whole, axis: concat.axis, start });
                    aliased += 1;
                }
                Some(reason) => {
                    report.refusal(NAME, &[&node.name], format!("part {} is copied: {reason}", graph.label_of(*part)));
                }
            }
            start += length;
        }
        if aliased > 0 {
            let count = parts.len();
            report.rewrite(NAME, &[&node.name], format!("{aliased} of {count} parts are written in place"));
        }
    }
    slices
}

/// A value for people: its name and op.
trait LabelOf {
    fn label_of(&self, value: ValueId) -> String;
}

impl LabelOf for Graph {
    fn label_of(&self, value: ValueId) -> String {
        match self.value(value) {
            Ok(found) => self.label(found.producer),
            Err(_) => value.to_string(),
        }
    }
}

fn length(graph: &Graph, value: ValueId, axis: usize) -> Option<usize> {
    graph.ty(value).ok()?.shape.dims().get(axis)?.fixed()
}

/// The slice that all parts make up together, where they lie in one parent along the same axis without a gap.
fn side_by_side(
    slices: &FxHashMap<ValueId, Slice>,
    parts: &[ValueId],
    lengths: &[usize],
    axis: usize,
) -> Option<Slice> {
    let first = *slices.get(parts.first()?)?;
    let mut next = first.start;
    for (part, length) in parts.iter().zip(lengths) {
        let slice = slices.get(part)?;
        if slice.parent != first.parent || slice.axis != axis || slice.start != next {
            return None;
        }
        next += length;
    }
    Some(first)
}

/// Why a part cannot be written in place; `None` where it can.
fn refusal(
    graph: &Graph,
    sources: &Sources,
    slices: &FxHashMap<ValueId, Slice>,
    part: ValueId,
    whole: ValueId,
) -> Option<String> {
    if let Some(other) = slices.get(&part) {
        return Some(format!("it already lies in {}", graph.label_of(other.parent)));
    }
    if sources.constant(part).is_some() {
        return Some("it is constant".into());
    }
    let (Ok(value), Ok((_, node))) = (graph.value(part), graph.producer(part)) else {
        return Some("it has no producer".into());
    };
    let sizes = value.ty.shape.sizes().unwrap_or_default();
    // Rank 4 has its channels innermost in the arena; where that is the caller's order too, the caller's memory can be
    // written directly, and a copy into the concatenation costs no more than one out of it.
    let in_rows = match sizes.as_slice() {
        [_, channels, height, width] => *channels == 1 || height * width == 1,
        _ => true,
    };
    if in_rows && graph.outputs().iter().any(|output| sources.of(output.value) == part) {
        return Some("it is an output of the graph, written where the caller wants it".into());
    }
    let rank = sizes.len();
    let fixed = |what: &str| Some(format!("{what} of rank {rank} writes dense rows"));
    match &node.op {
        Op::Input(_) => Some("it is an input of the graph".into()),
        Op::Constant(_) => Some("it is constant".into()),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Transpose(_) | Op::Slice(_) => {
            Some("it is a view of another value".into())
        }
        Op::Identity(_) | Op::Dropout(_) | Op::Cast(_) => Some("it is another value under another name".into()),
        Op::MatMul(_) if rank != 2 => fixed("a matrix product"),
        Op::BatchNorm(_) if rank != 2 && rank != 4 => fixed("a normalisation"),
        Op::Softmax(softmax) if softmax.flatten && softmax.axis + 1 != rank => fixed("a softmax over several axes"),
        Op::Conv(_)
        | Op::BatchNorm(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::GlobalAvgPool(_)
        | Op::Concat(_)
        | Op::Gemm(_)
        | Op::MatMul(_)
        | Op::Lrn(_) => None,
        Op::Relu(_)
        | Op::Clip(_)
        | Op::LeakyRelu(_)
        | Op::Sigmoid(_)
        | Op::HardSigmoid(_)
        | Op::HardSwish(_)
        | Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::Softmax(_)
        | Op::Pad(_) => {
            let scattered = !has_unit_axis(graph, slices, &sizes, whole).unwrap_or(false);
            scattered
                .then(|| "no two of its elements would be neighbours, so it could not be written in vectors".into())
        }
    }
}

/// Whether a slice of these sizes within `whole` has an axis with more than one element and stride 1, or just one element.
fn has_unit_axis(graph: &Graph, slices: &FxHashMap<ValueId, Slice>, sizes: &[usize], whole: ValueId) -> Option<bool> {
    let mut outermost = whole;
    while let Some(slice) = slices.get(&outermost) {
        outermost = slice.parent;
    }
    let all = graph.ty(outermost).ok()?.shape.sizes()?;
    let strides = layout::dense(&all, &layout::default_order(all.len()));
    let slice = View { buffer: BufferId::new(0), offset: 0, sizes: sizes.to_vec(), strides };
    Some(slice.elements() == Some(1) || layout::unit_axis(&slice).is_some())
}
