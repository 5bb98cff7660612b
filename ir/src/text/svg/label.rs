//! What is written on a node.

use std::fmt::Write as _;

use crate::graph::{Graph, Node};
use crate::ids::NodeId;
use crate::ops::{Activation, Op};
use crate::text::attribute_text;
use crate::types::{Dim, TensorType};

/// The longest line of a node's label, in characters.
pub(super) const LONGEST: usize = 30;

/// The colour of a node, as a CSS class.
pub(super) fn class(op: &Op) -> &'static str {
    match op {
        Op::Input(_) | Op::Constant(_) => "port",
        Op::Conv(_) => "conv",
        Op::Gemm(_) | Op::MatMul(_) => "gemm",
        Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool(_) => "pool",
        Op::BatchNorm(_) | Op::Lrn(_) | Op::Softmax(_) => "norm",
        Op::Relu(_) | Op::Clip(_) => "act",
        Op::Concat(_) => "join",
        _ => "other",
    }
}

/// The lines of a label: what it computes, its name within its frame, and what it makes.
pub(super) fn lines(graph: &Graph, id: NodeId, node: &Node, frame: Option<&str>) -> Vec<String> {
    let mut name: &str = &node.name;
    if let Some(frame) = frame {
        let inner = name.trim_start_matches('/').strip_prefix(frame);
        name = inner.map_or(name, |inner| inner.trim_start_matches(['.', '/']));
    }
    let types = node.outputs.iter().filter_map(|value| graph.ty(*value).ok()).map(sizes).collect::<Vec<_>>();
    [summary(graph, id, node), name.to_owned(), types.join(", ")]
        .into_iter()
        .filter(|line| !line.is_empty())
        .map(|line| shortened(&line))
        .collect()
}

/// The op with what matters most of it: `conv 3×3/2 relu`.
fn summary(graph: &Graph, id: NodeId, node: &Node) -> String {
    let mut text = node.op.name().to_owned();
    let by_strides = |text: &mut String, strides: [usize; 2]| {
        let _ = match strides {
            [1, 1] => Ok(()),
            [one, other] if one == other => write!(text, "/{one}"),
            [one, other] => write!(text, "/{one},{other}"),
        };
    };
    let activation = |text: &mut String, applied: Option<Activation>| {
        if let Some(applied) = applied {
            let _ = write!(text, " + {applied}");
        }
    };
    match &node.op {
        Op::Conv(conv) => {
            let weights = graph.node_inputs(id).get(1).and_then(|weights| graph.ty(*weights).ok()).map(|ty| &ty.shape);
            if let Some([_, _, height, width]) = weights.map(|shape| shape.dims()) {
                let _ = write!(text, " {height}×{width}");
            }
            by_strides(&mut text, conv.strides);
            if conv.group > 1 {
                let _ = write!(text, " g{}", conv.group);
            }
            activation(&mut text, conv.activation);
        }
        Op::Gemm(gemm) => activation(&mut text, gemm.activation),
        Op::MaxPool(crate::ops::MaxPool { pool }) | Op::AvgPool(crate::ops::AvgPool { pool, .. }) => {
            let _ = write!(text, " {}×{}", pool.kernel[0], pool.kernel[1]);
            by_strides(&mut text, pool.strides);
        }
        _ => {}
    }
    text
}

/// The sizes of a type without the batch: `64×56×56`.
fn sizes(ty: &TensorType) -> String {
    let dims = ty.shape.dims();
    let inner = match dims {
        [Dim::Batch(_) | Dim::Fixed(1), inner @ ..] if !inner.is_empty() => inner,
        all => all,
    };
    inner.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

fn shortened(line: &str) -> String {
    let line: String = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.chars().count() <= LONGEST {
        return line;
    }
    // Names differ most at their ends.
    let kept: Vec<char> = line.chars().collect();
    let (head, tail) = (&kept[..LONGEST / 3], &kept[kept.len() - (LONGEST - LONGEST / 3 - 1)..]);
    head.iter().chain(['…'].iter()).chain(tail).collect()
}

/// Everything about a node, for whoever points at it.
pub(super) fn details(graph: &Graph, id: NodeId, node: &Node) -> String {
    let mut text = format!("{} ({})", node.name, node.op.name());
    if !matches!(node.op, Op::Input(_)) {
        for (name, value) in node.op.attributes() {
            let _ = write!(text, "\n{name} = {}", attribute_text(&value));
        }
    }
    for value in graph.node_inputs(id) {
        if let (Ok((_, producer)), Ok(ty)) = (graph.producer(value), graph.ty(value)) {
            let _ = write!(text, "\nreads {} {ty}", producer.name);
        }
    }
    for value in &node.outputs {
        if let Ok(ty) = graph.ty(*value) {
            let _ = write!(text, "\nmakes {ty}");
        }
    }
    if !matches!(&node.provenance[..], [only] if *only == node.name) {
        let _ = write!(text, "\nfrom {}", node.provenance.join(", "));
    }
    text
}
