//! Folds what normalises a graph input, a scale and a shift of each channel, into the convolutions that read it: BatchNorm,
//! or Add, Sub, Mul and Div by constants, also where exporters take the channels apart, treat each by itself and put them
//! together again.
//!
//! Exact where nothing is padded or nothing is shifted: padding is zero after the shift, not before it. Elsewhere the
//! scale alone goes into the weights, and a single addition of `shift / factor` stays before the convolution, so that what
//! is padded is the shifted image: `(x · f + s) · w = (x + s / f) · (f · w)`, at the border as well.
//!
//! Changes rounding, as `fold_batch_norm` does.

use incept_ir::graph::{Graph, GraphError};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{Add, Concat, Op, Slice};
use incept_ir::tensor::Tensor;

use super::affine::{Affine, Chain, narrowed};
use super::fold_batch_norm::{into_readers, refusal_after};
use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "fold_input_normalisation",
    description: "fold what normalises a graph input into the first convolution",
    rule: fold,
};

fn fold(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let found = match &graph.node(id)?.op {
        Op::Concat(concat) => taken_apart(graph, id, concat)?,
        _ => Chain::from(graph, id)?,
    };
    let Some(chain) = found else { return Ok(()) };
    if !matches!(graph.producer(chain.input)?.1.op, Op::Input(_)) {
        return Ok(());
    }
    let Some(reason) = refusal_after(graph, &chain)? else {
        let patch = rewriter.patch("the normalisation of the input became the first convolution's weights and bias");
        return into_readers(rewriter, &chain, patch, chain.input.into());
    };
    // What is padded may be the obstacle: then the scale can go alone.
    let scaled = Chain { affine: chain.affine.without_shifts(), ..chain.clone() };
    let offsets = chain.affine.offsets();
    let alone = chain.nodes.len() == 1 && chain.affine.only_shifts();
    match offsets {
        Some(offsets) if !alone && refusal_after(graph, &scaled)?.is_none() => {
            let provenance = rewriter.provenance(&chain.nodes);
            let mut patch = rewriter.patch(
                "the scale of the input became the first convolution's weights; the shift stays, for what is padded is \
                 zero after it",
            );
            let last = chain.nodes.last().copied().unwrap_or(id);
            let node = graph.node(last)?;
            let tensor = Tensor::from_f32(&[1, offsets.len(), 1, 1], narrowed(&offsets)).map_err(|error| {
                GraphError::Op { node: node.name.to_string(), op: node.op.name(), source: Box::new(error.into()) }
            })?;
            let offsets = patch.constant(&format!("{}.shift", node.name), tensor, provenance.clone());
            let shifted = patch.node(Add, &node.name, vec![chain.input.into(), offsets], provenance);
            into_readers(rewriter, &scaled, patch, shifted)
        }
        _ => {
            rewriter.refuse(&chain.nodes, reason);
            Ok(())
        }
    }
}

/// A concatenation of all channels of one value, each range of them scaled and shifted by nodes of its own.
fn taken_apart(graph: &Graph, id: NodeId, concat: &Concat) -> Result<Option<Chain>, GraphError> {
    if concat.axis != 1 {
        return Ok(None);
    }
    let output = graph.output(id, 0)?;
    let mut whole = Affine { factors: Vec::new(), shifts: Vec::new() };
    let (mut nodes, mut input) = (Vec::new(), None);
    for part in graph.node_inputs(id) {
        let before = nodes.len();
        let Some((source, start, affine)) = range_of(graph, part, &mut nodes)? else { return Ok(None) };
        // They were found from the last to the first.
        nodes[before..].reverse();
        if start != whole.factors.len() || input.is_some_and(|input| input != source) {
            return Ok(None);
        }
        input = Some(source);
        whole.factors.extend(affine.factors);
        whole.shifts.extend(affine.shifts);
    }
    nodes.push(id);
    Ok(match input {
        Some(input) if graph.ty(input)? == graph.ty(output)? => Some(Chain { nodes, input, output, affine: whole }),
        _ => None,
    })
}

/// The value of which a part is a scaled and shifted range of channels, and the first of these. Adds the nodes on the way.
fn range_of(
    graph: &Graph,
    part: ValueId,
    nodes: &mut Vec<NodeId>,
) -> Result<Option<(ValueId, usize, Affine)>, GraphError> {
    let (mut at, mut affine) = (part, None::<Affine>);
    loop {
        let (id, node) = graph.producer(at)?;
        nodes.push(id);
        if let Op::Slice(Slice { axis: 1, start, length }) = node.op {
            let source = graph.node_inputs(id).first().copied().ok_or(GraphError::NoNode(id))?;
            return Ok(Some((source, start, affine.unwrap_or_else(|| Affine::identity(length)))));
        }
        let Some((before, own)) = Affine::of(graph, id)? else { return Ok(None) };
        affine = Some(match affine {
            Some(later) => own.then(&later),
            None => own,
        });
        at = before;
    }
}
