//! Computes nodes whose inputs are all constants, with the reference implementation of their op. Rounds as that does:
//! once, from `f64`.

use incept_ir::graph::GraphError;
use incept_ir::ids::NodeId;
use incept_ir::ops::Op;
use incept_ir::tensor::{Tensor, byte_length};

use crate::pass::{Pass, Rewriter};

/// See the module's documentation.
pub const PASS: Pass =
    Pass { name: "fold_constants", description: "compute nodes whose inputs are all constants", rule: fold };

/// No result larger than this is folded: a small model must not become a large plan.
const MAX_BYTES: usize = 64 << 20;

fn fold(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let values = graph.node_inputs(id);
    if values.is_empty() || matches!(node.op, Op::Input(_) | Op::Constant(_)) {
        return Ok(());
    }
    let tensors: Option<Vec<&Tensor>> = values.iter().map(|value| graph.constant(*value)).collect();
    let Some(tensors) = tensors else { return Ok(()) };
    let mut too_large = None;
    for output in &node.outputs {
        let ty = graph.ty(*output)?;
        let small = ty.shape.sizes().is_some_and(|sizes| byte_length(ty.dtype, &sizes).is_ok_and(|n| n <= MAX_BYTES));
        if !small {
            too_large = Some(format!("its constant result {ty} is larger than {} MiB", MAX_BYTES >> 20));
        }
    }
    if let Some(reason) = too_large {
        rewriter.refuse(&[id], reason);
        return Ok(());
    }
    let refused = |source| GraphError::Op { node: node.name.to_string(), op: node.op.name(), source: Box::new(source) };
    let results = node.op.evaluate(&tensors).map_err(refused)?;
    let mut patch = rewriter.patch(format!("{} of constants is a constant", node.op.name()));
    for (output, tensor) in node.outputs.iter().zip(results) {
        let constant = patch.constant(&node.name, tensor, node.provenance.clone());
        patch.replace(*output, constant);
    }
    rewriter.apply(patch, &[id])
}
