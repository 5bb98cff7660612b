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

/// No node that adds up more terms than this is folded: the reference implementation is slow.
const MAX_TERMS: usize = 1 << 28;

fn fold(rewriter: &mut Rewriter<'_>, id: NodeId) -> Result<(), GraphError> {
    let graph = rewriter.graph();
    let node = graph.node(id)?;
    let values = graph.node_inputs(id);
    if values.is_empty() || matches!(node.op, Op::Input(_) | Op::Constant(_)) {
        return Ok(());
    }
    let tensors: Option<Vec<&Tensor>> = values.iter().map(|value| graph.constant(*value)).collect();
    let Some(tensors) = tensors else { return Ok(()) };
    let mut reason = None;
    for output in &node.outputs {
        let ty = graph.ty(*output)?;
        let sizes = ty.shape.sizes().unwrap_or_default();
        if !byte_length(ty.dtype, &sizes).is_ok_and(|bytes| bytes <= MAX_BYTES) {
            reason = Some(format!("its constant result {ty} is larger than {} MiB", MAX_BYTES >> 20));
        } else if terms(&node.op, &tensors).saturating_mul(sizes.iter().product()) > MAX_TERMS {
            reason = Some(format!("its constant result {ty} takes more than {MAX_TERMS} terms to compute"));
        }
    }
    if let Some(reason) = reason {
        rewriter.refuse(&[id], reason);
        return Ok(());
    }
    let results = match node.op.evaluate(&tensors) {
        Ok(results) => results,
        Err(error) => {
            let reason = format!("its constant result cannot be computed: {error}");
            rewriter.refuse(&[id], reason);
            return Ok(());
        }
    };
    let mut patch = rewriter.patch(format!("{} of constants is a constant", node.op.name()));
    for (output, tensor) in node.outputs.iter().zip(results) {
        let constant = patch.constant(&node.name, tensor, node.provenance.clone());
        patch.replace(*output, constant);
    }
    rewriter.apply(patch, &[id])
}

/// How many terms an element of the result adds up, at most.
fn terms(op: &Op, inputs: &[&Tensor]) -> usize {
    let sizes = |input: usize| inputs.get(input).map_or(&[][..], |tensor| tensor.sizes());
    let window = |kernel: [usize; 2]| {
        // Taps outside of the image are not visited.
        let image = sizes(0).iter().rev().zip(kernel.iter().rev());
        image.map(|(size, taps)| *size.min(taps)).fold(1, usize::saturating_mul)
    };
    match op {
        Op::Conv(_) => sizes(1).iter().skip(1).fold(1, |count, size| count.saturating_mul(*size)),
        Op::Gemm(gemm) => sizes(0).get(usize::from(!gemm.trans_a)).copied().unwrap_or(1),
        Op::MatMul(_) => sizes(0).last().copied().unwrap_or(1),
        Op::MaxPool(max_pool) => window(max_pool.pool.kernel),
        Op::AvgPool(avg_pool) => window(avg_pool.pool.kernel),
        Op::GlobalAvgPool(_) => window([usize::MAX; 2]),
        Op::Lrn(lrn) => lrn.size.min(sizes(0).get(1).copied().unwrap_or(1)),
        _ => 1,
    }
}
