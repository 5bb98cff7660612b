//! The windows of convolutions and pools: explicit and automatic padding.

use super::super::attributes::{short, size};
use super::super::context::NodeContext;
use super::super::error::NodeError;
use super::super::table::refuse;

/// A window whose padding is resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) strides: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) pads: [usize; 4],
    pub(super) dilations: [usize; 2],
    /// Whether the padding follows from `SAME_UPPER` or `SAME_LOWER`, which fixes the output's size too.
    pub(super) same: bool,
}

/// Takes `strides`, `dilations`, `pads` and `auto_pad`, for a window of this size on an image of this size.
pub(super) fn window(
    context: &mut NodeContext<'_>,
    image: [usize; 2],
    kernel: [usize; 2],
) -> Result<Window, NodeError> {
    let attributes = &mut context.attributes;
    let strides = attributes.pair("strides", [1, 1])?;
    let dilations = attributes.pair("dilations", [1, 1])?;
    let pads = match attributes.ints("pads")? {
        None => [0; 4],
        Some(&[top, left, bottom, right]) => {
            let given = [top, left, bottom, right];
            if given.iter().any(|pad| *pad < 0) {
                return Err(refuse(format!("negative padding ({})", short(&given)), "crop with Slice before export"));
            }
            [size("pads", top)?, size("pads", left)?, size("pads", bottom)?, size("pads", right)?]
        }
        Some(other) => {
            let problem = format!("must be four integers (top, left, bottom, right), but is {}", short(other));
            return Err(NodeError::Attribute { name: "pads".into(), problem });
        }
    };
    let auto = attributes.string("auto_pad")?.unwrap_or("NOTSET");
    let upper = match auto {
        "NOTSET" | "" => return Ok(Window { strides, pads, dilations, same: false }),
        _ if pads != [0; 4] => {
            let problem = format!("is {auto}, but explicit pads are given too");
            return Err(NodeError::Attribute { name: "auto_pad".into(), problem });
        }
        "VALID" => return Ok(Window { strides, pads, dilations, same: false }),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => {
            let problem = format!("is `{other}`, but must be NOTSET, VALID, SAME_UPPER or SAME_LOWER");
            return Err(NodeError::Attribute { name: "auto_pad".into(), problem });
        }
    };
    let mut pads = [0; 4];
    for axis in 0..2 {
        let total = same_padding(image[axis], kernel[axis], strides[axis], dilations[axis]).ok_or_else(|| {
            NodeError::Attribute { name: "auto_pad".into(), problem: "leads to sizes that overflow".into() }
        })?;
        let (less, more) = (total / 2, total - total / 2);
        (pads[axis], pads[axis + 2]) = if upper { (less, more) } else { (more, less) };
    }
    Ok(Window { strides, pads, dilations, same: true })
}

/// The padding of both ends together that makes the output `ceil(image / stride)` long.
fn same_padding(image: usize, kernel: usize, stride: usize, dilation: usize) -> Option<usize> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let last_start = image.div_ceil(stride).checked_sub(1)?.checked_mul(stride)?;
    Some(last_start.checked_add(reach)?.saturating_sub(image))
}
