//! Computes once what several nodes compute alike: the same op with the same attributes on the same inputs. Constant
//! inputs are the same where they hold the same bytes.
//!
//! Readers of a value are compared when the node that makes it is visited. Nodes are visited in topological order, so what
//! becomes equal by a replacement is found when the value that replaced it is visited. Changes no rounding.

use std::hash::{Hash, Hasher};

use incept_ir::graph::{Graph, GraphError};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::Op;
use rustc_hash::{FxHashMap, FxHasher};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass {
    name: "common_subexpressions",
    description: "compute once what several nodes compute alike",
    rule: unify_readers,
};

fn unify_readers(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let node = rewriter.graph().node(id)?;
    // What reads constants alone is folded instead.
    if matches!(node.op, Op::Constant(_)) {
        return Ok(());
    }
    for value in node.outputs.clone() {
        unify(rewriter, value)?;
    }
    Ok(())
}

/// Replaces those readers of a value that compute what another one does.
fn unify(rewriter: &mut Rewriter<'_>, value: ValueId) -> Result<(), GraphError> {
    let uses = rewriter.graph().uses(value);
    if uses.len() < 2 {
        return Ok(());
    }
    let mut readers: Vec<NodeId> = uses.into_iter().map(|found| found.node).collect();
    readers.dedup();
    let mut known: FxHashMap<u64, Vec<NodeId>> = FxHashMap::default();
    for reader in readers {
        let graph = rewriter.graph();
        let alike = known.entry(fingerprint(graph, reader)?).or_default();
        let Some(first) = alike.iter().copied().find(|other| same(graph, *other, reader)) else {
            alike.push(reader);
            continue;
        };
        let (kept, gone) = (graph.node(first)?, graph.node(reader)?);
        let mut patch = rewriter.patch(format!("{} \"{}\" computes the same", kept.op.name(), kept.name));
        for (old, new) in gone.outputs.iter().zip(&kept.outputs) {
            patch.replace(*old, *new);
        }
        rewriter.apply(patch, &[first, reader])?;
    }
    Ok(())
}

/// Equal for nodes that compute the same, and for few others.
fn fingerprint(graph: &Graph, id: NodeId) -> Result<u64, GraphError> {
    let mut hasher = FxHasher::default();
    graph.node(id)?.op.name().hash(&mut hasher);
    for input in graph.node_inputs(id) {
        match graph.constant(input) {
            Some(tensor) => {
                tensor.sizes().hash(&mut hasher);
                tensor.values().tell(&mut hasher);
            }
            None => input.hash(&mut hasher),
        }
    }
    Ok(hasher.finish())
}

fn same(graph: &Graph, a: NodeId, b: NodeId) -> bool {
    let (Ok(left), Ok(right)) = (graph.node(a), graph.node(b)) else { return false };
    let (inputs, others) = (graph.node_inputs(a), graph.node_inputs(b));
    left.op == right.op
        && inputs.len() == others.len()
        && inputs
            .iter()
            .zip(&others)
            .all(|(a, b)| a == b || matches!((graph.constant(*a), graph.constant(*b)), (Some(a), Some(b)) if a == b))
}
