//! In how many parts a large batch runs.
//!
//! The images of a batch do not depend on each other, so a plan for some of them, run several times, does for all. Steps
//! that take few operations for a byte, pools above all, are faster while the activations of a part stay in the caches,
//! and the arena is smaller; the last layers, whose weights are many and whose images are small, would rather have more
//! images at once. Parts are as large as [`LowerOptions::part_bytes`] allows.
//!
//! Only where each op treats the first axis of what depends on the inputs as images, and each type of the smaller graph
//! says the same, is a batch split: [`images`] proves it.

use std::num::NonZeroUsize;

use incept_ir::graph::{Graph, Node};
use incept_ir::ids::ValueId;
use incept_ir::ops::Op;
use rustc_hash::FxHashSet;

use super::{LowerError, LowerOptions, Lowered, lower_part};

/// The name, for [`LowerOptions::disabled`].
pub const NAME: &str = "split_batch";

/// The bytes of activations that parts have at most where nothing is said; one image may have more. What a few cores have
/// of cache: on GoogLeNet, batches of one and two images (4 and 8 MB) are the fastest for each image. The same for any number
/// of threads, for the size of a part may choose other algorithms, and results are to be the same.
pub const BYTES: usize = 8 << 20;

/// The plan of parts of the batch in the place of that of all, where that is possible, and the reason.
pub(super) fn split(graph: &Graph, mut whole: Lowered, options: &LowerOptions) -> Result<Lowered, LowerError> {
    let bytes = whole.plan.memory.arena_bytes;
    let names: Vec<String> = whole.plan.inputs.iter().map(|port| port.name.clone()).collect();
    let Some(parts) = count(options.batch, bytes, options.part_bytes) else { return Ok(whole) };
    let smaller = match images(graph, options.batch, options.batch / parts) {
        Ok(smaller) => smaller,
        Err(reason) => {
            whole.report.refusal(NAME, &names, reason);
            return Ok(whole);
        }
    };
    let mut part = lower_part(&smaller, parts, options)?;
    let text = format!("{parts} parts of {}: the activations of all would take {bytes} bytes", options.batch / parts);
    part.report.rewrite(NAME, &names, text);
    Ok(part)
}

/// The fewest equal parts of a batch whose share of `bytes` is at most `most`, or one for each image; `None` for one part.
fn count(batch: usize, bytes: usize, most: usize) -> Option<NonZeroUsize> {
    let fits = |parts: &usize| batch.is_multiple_of(*parts) && bytes / parts <= most;
    (2..batch).find(fits).or((batch > 1).then_some(batch)).and_then(NonZeroUsize::new)
}

/// The graph for `part` of `batch` images, if each image of every output depends on that image of the inputs alone;
/// otherwise why not.
fn images(graph: &Graph, batch: usize, part: usize) -> Result<Graph, String> {
    let smaller = graph.with_first_size(part).map_err(|error| error.to_string())?;
    let internal = |error: incept_ir::graph::GraphError| error.to_string();
    // What depends on an input, and so has images.
    let mut batched: FxHashSet<ValueId> = FxHashSet::default();
    for id in graph.order().map_err(internal)? {
        let node = graph.node(id).map_err(internal)?;
        let inputs = graph.node_inputs(id);
        let depends: Vec<bool> = inputs.iter().map(|value| batched.contains(value)).collect();
        if !matches!(node.op, Op::Input(_)) {
            if !depends.contains(&true) {
                continue;
            }
            let dims = |value: &ValueId| graph.ty(*value).ok().and_then(|ty| ty.shape.sizes());
            let sizes: Option<Vec<Vec<usize>>> = inputs.iter().map(dims).collect();
            if !sizes.is_some_and(|sizes| by_image(node, &depends, &sizes)) {
                return Err(format!("{} may join images of the batch", graph.label(id)));
            }
        }
        for value in &node.outputs {
            let sizes = |graph: &Graph| graph.ty(*value).ok().and_then(|ty| ty.shape.sizes());
            let of_part = sizes(graph).and_then(|mut sizes| {
                let first = sizes.first_mut().filter(|first| **first == batch)?;
                *first = part;
                Some(sizes)
            });
            if of_part.is_none() || of_part != sizes(&smaller) {
                return Err(format!("the first axis of what {} makes is not the batch of {batch}", graph.label(id)));
            }
            batched.insert(*value);
        }
    }
    match graph.outputs().iter().find(|output| !batched.contains(&output.value)) {
        Some(output) => Err(format!("the output \"{}\" does not depend on the inputs", output.name)),
        None => Ok(smaller),
    }
}

/// Whether an op makes each image of its result of that image of the operands that have images (`depends`), and of all of
/// the others. That the result has as many, also in the smaller graph, is known from types: so an operand without images is
/// the same for all. Ops that are not listed are taken to join images.
fn by_image(node: &Node, depends: &[bool], sizes: &[Vec<usize>]) -> bool {
    let first_only = depends.iter().enumerate().all(|(index, depends)| *depends == (index == 0));
    let rank = sizes.iter().map(Vec::len).max().unwrap_or(0);
    // Otherwise its images would lie along another axis of the result.
    let aligned = |index: usize| !depends[index] || sizes[index].len() == rank;
    match &node.op {
        Op::Relu(_) | Op::Clip(_) | Op::LeakyRelu(_) | Op::Sigmoid(_) | Op::HardSigmoid(_) | Op::HardSwish(_) => {
            first_only
        }
        Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool(_) | Op::Lrn(_) | Op::BatchNorm(_) => first_only,
        // In rows, an image before and after is the same elements.
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => first_only,
        Op::Dropout(_) | Op::Identity(_) | Op::Cast(_) => first_only,
        Op::Conv(conv) => {
            let residual = if conv.residual { depends.len().checked_sub(1) } else { None };
            depends.iter().enumerate().all(|(index, depends)| *depends == (index == 0 || Some(index) == residual))
        }
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => (0..sizes.len()).all(aligned),
        Op::Concat(concat) => concat.axis != 0 && !depends.contains(&false),
        Op::Softmax(softmax) => softmax.axis != 0,
        Op::Transpose(transpose) => transpose.perm.first() == Some(&0),
        Op::Pad(pad) => first_only && pad.pads.first() == Some(&[0, 0]),
        Op::Gemm(gemm) => {
            let rows = |sizes: &Vec<usize>| !depends[2] || sizes.len() == 2;
            !gemm.trans_a && depends[0] && !depends[1] && sizes.get(2).is_none_or(rows)
        }
        Op::MatMul(_) => match (depends, sizes) {
            ([true, false], [_, b]) => b.len() <= 2,
            ([true, true], [a, b]) => a.len() == b.len() && a.len() > 2,
            _ => false,
        },
        _ => false,
    }
}
