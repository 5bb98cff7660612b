//! Conv.

use incept_ir::ops::Conv;

use super::super::attributes::{short, size};
use super::super::context::{Imported, NodeContext};
use super::super::error::NodeError;
use super::window::window;

/// Conv, opset 1 to 22: x, w and an optional bias; two-dimensional.
pub(in super::super) fn conv(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 3)?;
    let (x, w) = (context.input(0)?, context.input(1)?);
    let image = context.image(x)?;
    let kernel = context.image(w)?;
    if let Some(given) = context.attributes.ints("kernel_shape")? {
        let matches = matches!(*given, [height, width]
            if size("kernel_shape", height)? == kernel[0] && size("kernel_shape", width)? == kernel[1]);
        if !matches {
            let problem = format!("is {}, but the weights are {}", short(given), context.ty(w));
            return Err(NodeError::Attribute { name: "kernel_shape".into(), problem });
        }
    }
    let group = context.attributes.int("group")?.unwrap_or(1);
    let group = size("group", group)?;
    let window = window(context, image, kernel)?;
    let (strides, pads, dilations) = (window.strides, window.pads, window.dilations);
    let op = Conv { strides, pads, dilations, group, ..Conv::default() };
    match context.optional(2) {
        Some(bias) => context.emit(op, &[x, w, bias]),
        None => context.emit(op, &[x, w]),
    }
}
