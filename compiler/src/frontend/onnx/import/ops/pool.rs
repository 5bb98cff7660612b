//! MaxPool, AveragePool, GlobalAveragePool.

use incept_ir::ops::{AvgPool, GlobalAvgPool, MaxPool, Pool};

use super::super::context::{Imported, NodeContext};
use super::super::draft::ItemId;
use super::super::error::NodeError;
use super::window::window;

/// MaxPool, opset 1 to 22. `storage_order` only orders the indices, which are not computed.
pub(in super::super) fn max_pool(context: &mut NodeContext<'_>) -> Imported {
    context.attributes.flag("storage_order")?;
    let (x, pool) = pool(context)?;
    context.emit(MaxPool { pool }, &[x])
}

/// AveragePool, opset 7 to 22.
pub(in super::super) fn average_pool(context: &mut NodeContext<'_>) -> Imported {
    let count_include_pad = context.attributes.flag("count_include_pad")?;
    let (x, pool) = pool(context)?;
    context.emit(AvgPool { pool, count_include_pad }, &[x])
}

/// GlobalAveragePool, opset 1 to 22.
pub(in super::super) fn global_average_pool(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    context.image(x)?;
    context.emit(GlobalAvgPool, &[x])
}

fn pool(context: &mut NodeContext<'_>) -> Result<(ItemId, Pool), NodeError> {
    context.takes(1, 1)?;
    let x = context.input(0)?;
    let image = context.image(x)?;
    if !context.attributes.has("kernel_shape") {
        return Err(NodeError::MissingAttribute { name: "kernel_shape" });
    }
    let kernel = context.attributes.pair("kernel_shape", [1, 1])?;
    let rounds_up = context.attributes.flag("ceil_mode")?;
    let window = window(context, image, kernel)?;
    let pool = Pool {
        kernel,
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        ceil_mode: rounds_up && !window.same,
    };
    Ok((x, pool))
}
