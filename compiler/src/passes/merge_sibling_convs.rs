//! Makes one convolution of several that read the same value with the same kernel, strides, pads and dilations: the 1×1
//! convolutions at the head of an Inception module become one matrix product whose ranges of columns each have a bias, an
//! activation and a destination of their own. Nothing is split afterwards: each range is an output.
//!
//! Legal for one group, constant weights and no residual. Such siblings depend on the common input alone, so that no cycle
//! can arise (and a patch that made one would be refused). A bias of zeros is added where only some have one. Changes no
//! rounding.
//!
//! Worth it where reading the input again (and transforming it, where a Winograd convolution may do that) is a part of the
//! work that counts, or where there is so little work that running one step instead of several counts. Elsewhere all
//! results would have to live at once for nothing.

use incept_ir::graph::{Graph, GraphError, NewValue};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::{Conv, ConvRange, Op};
use incept_ir::tensor::Tensor;
use incept_ir::types::Dim;

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "merge_sibling_convs",
    description: "make one convolution of those that read the same value with the same window",
    rule: merge_readers,
};

/// Multiply-adds that take as long as reading an element of the input once more.
const READING: usize = 8;

/// Multiply-adds that take as long as transforming an element for a Winograd convolution, and the part of the
/// multiply-adds of a direct convolution that it needs in practice.
const TRANSFORM: usize = 16;
const WINOGRAD_PART: usize = 2;

/// Merging must save at least one part in so many.
const LEAST_GAIN: usize = 100;

/// Multiply-adds that take little longer than starting a step.
const SMALL: usize = 1 << 20;

/// What siblings have in common beside their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
    dilations: [usize; 2],
}

/// Looks at a node for the sake of what reads its outputs, so that each value is looked at once however many read it.
fn merge_readers(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let node = rewriter.graph().node(id)?;
    if matches!(node.op, Op::Constant(_)) {
        return Ok(());
    }
    for value in node.outputs.clone() {
        merge(rewriter, value)?;
    }
    Ok(())
}

fn merge(rewriter: &mut Rewriter<'_>, x: ValueId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let mut groups: Vec<(Window, Vec<NodeId>)> = Vec::new();
    let (mut all, mut apart) = (Vec::new(), Vec::new());
    for found in graph.uses(x).into_iter().filter(|found| found.slot == 0) {
        let Op::Conv(conv) = &graph.node(found.node)?.op else { continue };
        all.push(found.node);
        match window(graph, found.node, conv) {
            Ok(window) => match groups.iter_mut().find(|(other, _)| *other == window) {
                Some((_, members)) => members.push(found.node),
                None => groups.push((window, vec![found.node])),
            },
            Err(reason) => apart.push((found.node, reason)),
        }
    }
    if all.len() < 2 {
        return Ok(());
    }
    for (window, members) in &groups {
        if members.len() > 1 {
            merge_group(rewriter, x, *window, members)?;
        } else {
            let reason = "no other convolution on its input has the same kernel, strides, pads and dilations";
            rewriter.refuse(members, reason);
        }
    }
    for (node, reason) in apart {
        rewriter.refuse(&[node], reason);
    }
    Ok(())
}

/// What a convolution must have in common with its siblings, or why it can have none.
fn window(graph: &Graph, id: NodeId, conv: &Conv) -> Result<Window, &'static str> {
    let inputs = graph.node_inputs(id);
    let constants: Option<Vec<&Tensor>> = inputs.iter().skip(1).map(|value| graph.constant(*value)).collect();
    match constants.as_deref() {
        _ if conv.group != 1 => Err("it has groups, and a group reads only some of the input"),
        _ if conv.residual => Err("it adds a residual"),
        _ if !conv.ranges.is_empty() => Err("it has several outputs already"),
        Some([weights, ..]) => match *weights.sizes() {
            [_, _, height, width] => {
                let Conv { strides, pads, dilations, .. } = *conv;
                Ok(Window { kernel: [height, width], strides, pads, dilations })
            }
            _ => Err("its weights have no kernel"),
        },
        _ => Err("its weights are not constant"),
    }
}

fn merge_group(rewriter: &mut Rewriter<'_>, x: ValueId, window: Window, members: &[NodeId]) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let mut siblings = Vec::with_capacity(members.len());
    for id in members {
        siblings.push(Sibling::new(graph, *id)?);
    }
    if let Some(reason) = not_worth_it(graph, x, &window, &siblings)? {
        rewriter.refuse(members, reason);
        return Ok(());
    }
    let (first, count) = (&siblings[0], siblings.len());
    let Some(weights) = concatenated(&siblings, |sibling| Ok(sibling.weights.clone()))? else { return Ok(()) };
    let bias = match siblings.iter().find_map(|sibling| sibling.bias.as_ref()) {
        Some((name, _)) => concatenated(&siblings, Sibling::bias_or_zeros)?.map(|bias| (name, bias)),
        None => None,
    };
    let Window { strides, pads, dilations, .. } = window;
    let ranges: Vec<ConvRange> = siblings.iter().map(|sibling| sibling.range).collect();
    let provenance = rewriter.provenance(members);
    let channels: Vec<String> = ranges.iter().map(|range| range.channels.to_string()).collect();
    let mut patch = rewriter.patch(format!("one convolution with ranges of {} channels", channels.join(", ")));
    let suffix = format!("+{}", count - 1);
    let mut inputs = vec![NewValue::Old(x)];
    inputs.push(patch.constant(&format!("{}{suffix}", first.weight_name), weights, provenance.clone()));
    if let Some((name, bias)) = bias {
        inputs.push(patch.constant(&format!("{name}{suffix}"), bias, provenance.clone()));
    }
    let conv = Conv { strides, pads, dilations, ranges, ..Conv::default() };
    let new = patch.node(conv, &format!("{}{suffix}", first.name), inputs, provenance);
    for (index, sibling) in siblings.iter().enumerate() {
        patch.replace(sibling.output, new.output(index));
    }
    rewriter.apply(patch, members)
}

/// One of the convolutions to be merged.
struct Sibling {
    name: String,
    weight_name: String,
    weights: Tensor,
    /// Name and values.
    bias: Option<(String, Tensor)>,
    range: ConvRange,
    output: ValueId,
}

impl Sibling {
    fn new(graph: &Graph, id: NodeId) -> Result<Self, GraphError> {
        let node = graph.node(id)?;
        let inputs = graph.node_inputs(id);
        let constant = |slot: usize| -> Result<Option<(String, Tensor)>, GraphError> {
            let Some(value) = inputs.get(slot).copied() else { return Ok(None) };
            let (producer, node) = graph.producer(value)?;
            let tensor = graph.constant(value).ok_or(GraphError::NoNode(producer))?;
            Ok(Some((node.name.to_string(), tensor.clone())))
        };
        let (weight_name, weights) = constant(1)?.ok_or(GraphError::NoNode(id))?;
        let activation = match &node.op {
            Op::Conv(conv) => conv.activation,
            _ => None,
        };
        let range = ConvRange { channels: weights.sizes().first().copied().unwrap_or(0), activation };
        let (name, output) = (node.name.to_string(), graph.output(id, 0)?);
        Ok(Self { name, weight_name, weights, bias: constant(2)?, range, output })
    }

    fn bias_or_zeros(&self) -> Result<Tensor, GraphError> {
        match &self.bias {
            Some((_, bias)) => Ok(bias.clone()),
            None => {
                let channels = self.range.channels;
                Tensor::from_f32(&[channels], vec![0.0; channels]).map_err(|error| self.failed(error))
            }
        }
    }

    fn failed(&self, error: incept_ir::tensor::TensorError) -> GraphError {
        GraphError::Op { node: self.name.clone(), op: "conv", source: Box::new(error.into()) }
    }
}

/// Tensors of the siblings one after the other along their first axis.
fn concatenated(
    siblings: &[Sibling],
    part: impl Fn(&Sibling) -> Result<Tensor, GraphError>,
) -> Result<Option<Tensor>, GraphError> {
    let parts: Vec<Tensor> = siblings.iter().map(part).collect::<Result<_, _>>()?;
    let Some(first) = siblings.first() else { return Ok(None) };
    Tensor::concatenated(&parts).map(Some).map_err(|error| first.failed(error))
}

/// Why merging would gain nothing; `None` where it gains.
fn not_worth_it(
    graph: &Graph,
    x: ValueId,
    window: &Window,
    siblings: &[Sibling],
) -> Result<Option<String>, GraphError> {
    let image = |value: ValueId| -> Result<[usize; 3], GraphError> {
        let dims = graph.ty(value)?.shape.dims();
        Ok([1, 2, 3].map(|axis| dims.get(axis).copied().and_then(Dim::fixed).unwrap_or(1)))
    };
    let ([depth, height, width], [_, rows, columns]) = (image(x)?, image(siblings[0].output)?);
    let times = |factors: &[usize]| factors.iter().fold(1usize, |product, factor| product.saturating_mul(*factor));
    let [taps_y, taps_x] = window.kernel;
    let outputs = siblings.iter().fold(0usize, |sum, sibling| sum.saturating_add(sibling.range.channels));
    let products = times(&[rows, columns, taps_y, taps_x, depth, outputs]);
    if products <= SMALL {
        return Ok(None);
    }
    let read = times(&[height, width, depth]).min(times(&[rows, columns, taps_y, taps_x, depth]));
    let again = siblings.len() - 1;
    let transformed = window.kernel != [1, 1] && window.strides == [1, 1] && window.dilations == [1, 1];
    let (saved, needed) = if transformed {
        (times(&[read, again, READING + TRANSFORM]), products / WINOGRAD_PART)
    } else {
        (times(&[read, again, READING]), products)
    };
    if saved.saturating_mul(LEAST_GAIN) >= needed {
        return Ok(None);
    }
    let each = products / read.max(1) / again;
    Ok(Some(format!(
        "nothing is gained: for each time that an element of the input would be read less, it takes part in {each} \
         multiply-adds"
    )))
}
