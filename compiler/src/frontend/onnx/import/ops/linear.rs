//! Gemm, MatMul.

use incept_ir::ops::{Gemm, MatMul};

use super::super::context::{Imported, NodeContext};

/// Gemm, opset 6 to 13: `alpha · A · B + beta · C`; C may be left out.
pub(in super::super) fn gemm(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 3)?;
    if context.opset < 7 {
        // It allows C to have another shape than the product, which is always allowed here.
        context.attributes.flag("broadcast")?;
    }
    let op = Gemm {
        alpha: context.attributes.float("alpha")?.unwrap_or(1.0),
        beta: context.attributes.float("beta")?.unwrap_or(1.0),
        trans_a: context.attributes.flag("transA")?,
        trans_b: context.attributes.flag("transB")?,
        activation: None,
    };
    let (a, b) = (context.input(0)?, context.input(1)?);
    match context.optional(2) {
        Some(c) => context.emit(op, &[a, b, c]),
        None => context.emit(op, &[a, b]),
    }
}

/// MatMul, opset 1 to 13.
pub(in super::super) fn matmul(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 2)?;
    let inputs = [context.input(0)?, context.input(1)?];
    context.emit(MatMul, &inputs)
}
