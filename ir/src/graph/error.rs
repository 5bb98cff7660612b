//! What can go wrong with a graph.

use crate::ids::{NodeId, ValueId};
use crate::ops::OpError;

/// Why a graph could not be built, read or changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// There is no such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// There is no such value.
    #[error("there is no value {0}")]
    NoValue(ValueId),
    /// A node has no such output.
    #[error("{node} has no output {index}")]
    NoOutput {
        /// The node.
        node: NodeId,
        /// The output asked for.
        index: usize,
    },
    /// An op refuses its inputs.
    #[error("node `{node}` ({op}): {source}")]
    Op {
        /// The node's name.
        node: String,
        /// Its op.
        op: &'static str,
        /// Why.
        source: Box<OpError>,
    },
    /// Nodes form a cycle.
    #[error("the graph has a cycle through {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// The graph is larger than ids allow.
    #[error("the graph has more than {limit} nodes or values")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A patch would break the graph.
    #[error("patch by {pass}: {reason}")]
    Patch {
        /// The pass that made it.
        pass: String,
        /// What it would break.
        reason: String,
    },
    /// A batch size makes a shape too large, or two inputs contradict each other.
    #[error("batch {batch}: {reason}")]
    Batch {
        /// The batch.
        batch: usize,
        /// Why not.
        reason: String,
    },
    /// An invariant of [`super::verify`] does not hold.
    #[error("invariant {number} ({title}): {detail}")]
    Invariant {
        /// The invariant's number in the module documentation of [`super::verify`].
        number: u32,
        /// Its title.
        title: &'static str,
        /// Where and how.
        detail: String,
    },
}
