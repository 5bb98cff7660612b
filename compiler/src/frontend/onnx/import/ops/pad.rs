//! Pad, with a constant value.

use incept_ir::ops::Pad;

use super::super::attributes::{short, size};
use super::super::context::{Imported, NodeContext, axis, wrong};
use super::super::error::NodeError;
use super::super::table::refuse;

/// Pad, opset 2 to 10: amounts and value are attributes.
pub(in super::super) fn by_attributes(context: &mut NodeContext<'_>) -> Imported {
    context.takes(1, 1)?;
    constant_mode(context)?;
    let amounts = context.attributes.ints("pads")?.ok_or(NodeError::MissingAttribute { name: "pads" })?;
    let value = context.attributes.float("value")?.unwrap_or(0.0);
    pad(context, amounts, None, value)
}

/// Pad, opset 11 to 25: amounts, value and (from 18) axes are inputs that must be known.
pub(in super::super) fn by_inputs(context: &mut NodeContext<'_>) -> Imported {
    context.takes(2, 4)?;
    constant_mode(context)?;
    let amounts = context.ints(1, "list of pads")?.ok_or(NodeError::MissingInput { slot: 1 })?;
    #[allow(clippy::cast_possible_truncation, reason = "the value has the data's type, f32")]
    let value = context.scalar(2, "padding value")?.unwrap_or(0.0) as f32;
    let axes = context.ints(3, "list of axes")?;
    pad(context, &amounts, axes, value)
}

fn constant_mode(context: &mut NodeContext<'_>) -> Result<(), NodeError> {
    match context.attributes.string("mode")?.unwrap_or("constant") {
        "constant" => Ok(()),
        mode => Err(refuse(format!("padding of mode `{mode}`"), "pad with a constant")),
    }
}

fn pad(context: &mut NodeContext<'_>, amounts: &[i64], axes: Option<Vec<i64>>, value: f32) -> Imported {
    let x = context.input(0)?;
    let rank = context.rank(x);
    let axes: Vec<usize> = match &axes {
        None => (0..rank).collect(),
        Some(axes) => axes.iter().map(|one| axis(*one, rank)).collect::<Result<_, _>>()?,
    };
    if amounts.len() != 2 * axes.len() {
        let problem = format!(
            "must hold {} numbers (a begin and an end for each axis), but holds {}",
            2 * axes.len(),
            amounts.len()
        );
        return Err(wrong("list of pads", problem));
    }
    if amounts.iter().any(|amount| *amount < 0) {
        return Err(refuse(format!("negative padding ({})", short(amounts)), "crop with Slice before export"));
    }
    let mut pads = vec![[0, 0]; rank];
    let mut seen = vec![false; rank];
    for (index, along) in axes.iter().enumerate() {
        if std::mem::replace(&mut seen[*along], true) {
            return Err(wrong("list of axes", format!("names axis {along} twice")));
        }
        pads[*along] = [size("pads", amounts[index])?, size("pads", amounts[index + axes.len()])?];
    }
    context.emit(Pad { pads, value }, &[x])
}
