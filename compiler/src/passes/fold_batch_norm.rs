//! Folds a scale and shift of each channel into a convolution: a BatchNorm, and the Mul, Add, Sub and Div by constants that
//! exporters make of one, several in a row at once.
//!
//! Into the convolution before it, where it alone reads that one's result, or else into the convolutions that read what it
//! makes, where they are all its readers and either nothing is padded or nothing is shifted: padding is zero after the
//! shift, not before it. All parameters must be constants. The new weights are new constants, so another convolution that
//! shares the old ones keeps them. What normalises a graph input is for `fold_input_normalisation`.
//!
//! Changes rounding: the factors are computed in `f64`, and each weight is rounded once.

use incept_ir::graph::{Graph, GraphError, NewValue, Patch};
use incept_ir::ids::NodeId;
use incept_ir::ops::Op;

use super::affine::{Chain, Target};
use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "fold_batch_norm",
    description: "fold a BatchNorm, or the Mul and Add that one was exported as, into a convolution",
    rule: fold,
};

/// Why a folding is refused that would be legal.
pub(super) const NOT_FINITE: &str = "a folded weight or bias would not be a finite number";

fn fold(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let Some(chain) = Chain::from(graph, id)? else {
        if matches!(graph.node(id)?.op, Op::BatchNorm(_)) && super::affine::Affine::of(graph, id)?.is_none() {
            rewriter.refuse(&[id], "a parameter is not a constant");
        }
        return Ok(());
    };
    let (producer, node) = graph.producer(chain.input)?;
    if matches!(node.op, Op::Input(_)) {
        return Ok(());
    }
    let before = match refusal_before(graph, &chain, producer)? {
        None => return into_producer(rewriter, &chain, producer),
        Some(reason) => reason,
    };
    match refusal_after(graph, &chain)? {
        None => {
            let patch = rewriter.patch("its scale and shift became the next convolution's weights and bias");
            into_readers(rewriter, &chain, patch, chain.input.into())
        }
        Some(reason) => {
            let concerned: Vec<NodeId> = std::iter::once(producer).chain(chain.nodes.iter().copied()).collect();
            rewriter.refuse(&concerned, format!("{before}; {reason}"));
            Ok(())
        }
    }
}

/// Why the convolution before a chain cannot take it over.
fn refusal_before(graph: &Graph, chain: &Chain, producer: NodeId) -> Result<Option<String>, GraphError> {
    let Op::Conv(conv) = &graph.node(producer)?.op else {
        return Ok(Some(format!("its input is made by {}, not by a convolution", graph.label(producer))));
    };
    let reason = match Target::new(graph, producer)? {
        _ if graph.is_output(chain.input) => "the convolution's result is a graph output",
        _ if graph.only_use(chain.input).is_none() => "something else reads the convolution's result",
        _ if conv.activation.is_some() => "the convolution applies an activation first",
        _ if conv.residual || !conv.ranges.is_empty() => "the convolution adds a residual or has several outputs",
        None => "a weight is not a constant",
        Some(_) => return Ok(None),
    };
    Ok(Some(reason.to_owned()))
}

/// Why the convolutions after a chain cannot take it over.
pub(super) fn refusal_after(graph: &Graph, chain: &Chain) -> Result<Option<String>, GraphError> {
    let readers = graph.uses(chain.output);
    if graph.is_output(chain.output) {
        return Ok(Some("its own result is a graph output".to_owned()));
    }
    for reader in &readers {
        let label = || graph.label(reader.node);
        let Op::Conv(conv) = &graph.node(reader.node)?.op else {
            return Ok(Some(format!("{} reads its result, which is no convolution", label())));
        };
        if reader.slot != 0 {
            return Ok(Some(format!("{} reads its result, but not as the image", label())));
        }
        if Target::new(graph, reader.node)?.is_none() {
            return Ok(Some(format!("a weight of {} is not a constant", label())));
        }
        if conv.pads != [0; 4] && !chain.affine.only_scales() {
            return Ok(Some(format!("{} pads with zeros, which are no zeros before the shift", label())));
        }
    }
    Ok(readers.is_empty().then(|| "nothing reads its result".to_owned()))
}

fn into_producer(rewriter: &mut Rewriter<'_>, chain: &Chain, conv: NodeId) -> Result<(), GraphError> {
    let concerned: Vec<NodeId> = std::iter::once(conv).chain(chain.nodes.iter().copied()).collect();
    let graph = rewriter.graph();
    let provenance = rewriter.provenance(&concerned);
    let mut patch = rewriter.patch("its scale and shift became the convolution's weights and bias");
    let Some(target) = Target::new(graph, conv)? else { return Ok(()) };
    let fallback = bias_name(graph, chain)?;
    match target.followed_by(&mut patch, &chain.affine, &fallback, provenance)? {
        Some(new) => {
            patch.replace(chain.output, new);
            rewriter.apply(patch, &concerned)
        }
        None => {
            rewriter.refuse(&concerned, NOT_FINITE);
            Ok(())
        }
    }
}

/// Folds a chain into all convolutions that read it, which then read `x`; [`refusal_after`] has nothing against it.
pub(super) fn into_readers(
    rewriter: &mut Rewriter<'_>,
    chain: &Chain,
    mut patch: Patch,
    x: NewValue,
) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let readers: Vec<NodeId> = graph.uses(chain.output).into_iter().map(|reader| reader.node).collect();
    let concerned: Vec<NodeId> = chain.nodes.iter().chain(&readers).copied().collect();
    let fallback = bias_name(graph, chain)?;
    for reader in readers {
        let provenance: Vec<NodeId> = chain.nodes.iter().copied().chain([reader]).collect();
        let provenance = rewriter.provenance(&provenance);
        let Some(target) = Target::new(graph, reader)? else { return Ok(()) };
        match target.preceded_by(&mut patch, x, &chain.affine, &fallback, provenance)? {
            Some(new) => {
                for (index, output) in graph.node(reader)?.outputs.iter().enumerate() {
                    patch.replace(*output, new.output(index));
                }
            }
            None => {
                rewriter.refuse(&concerned, NOT_FINITE);
                return Ok(());
            }
        }
    }
    rewriter.apply(patch, &concerned)
}

/// What a bias is called that a convolution did not have: after the constant that shifts last.
fn bias_name(graph: &Graph, chain: &Chain) -> Result<String, GraphError> {
    for id in chain.nodes.iter().rev() {
        let node = graph.node(*id)?;
        let inputs = graph.node_inputs(*id);
        let mut constants = inputs.iter().filter(|value| graph.constant(**value).is_some());
        let shift = match &node.op {
            Op::BatchNorm(_) => inputs.get(2),
            Op::Add(_) | Op::Sub(_) => constants.next(),
            _ => None,
        };
        if let Some(shift) = shift {
            return Ok(graph.producer(*shift)?.1.name.to_string());
        }
    }
    let last = chain.nodes.last().copied().unwrap_or(NodeId::new(0));
    Ok(graph.node(last)?.name.to_string())
}
