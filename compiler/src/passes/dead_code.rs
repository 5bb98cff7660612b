//! Removes what no graph output needs: training heads, weights that nothing reads. Graph inputs stay, for they are the
//! caller's contract.

use incept_ir::graph::GraphError;
use incept_ir::ids::NodeId;

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass = Pass { name: "dead_code", description: "remove nodes that no graph output needs", rule: remove };

fn remove(rewriter: &mut Rewriter<'_>, node: NodeId) -> Result<(), GraphError> {
    rewriter.remove_unread(node);
    Ok(())
}
