//! Invariants 7 to 9: how many operands a step has, and their sizes and strides.

use std::ops::RangeInclusive;

use super::super::{Plan, PlanConstant, Step, StepKind, View};
use super::{MAX_WINDOW, MAX_WRITERS, PlanError, broken, constant_of, view_of};
use crate::ids::StepId;
use crate::ops::Pool;

/// Invariant 7.
pub(super) fn operands(plan: &Plan, id: StepId, step: &Step) -> Result<(), PlanError> {
    let one = 1..=1;
    let (inputs, outputs, constants): (RangeInclusive<usize>, RangeInclusive<usize>, RangeInclusive<usize>) =
        match &step.kind {
            StepKind::Conv { residual: false, .. } => (one, 1..=MAX_WRITERS, 1..=2),
            StepKind::Conv { residual: true, .. } => (2..=2, one, 1..=2),
            StepKind::Pool { .. }
            | StepKind::GlobalAvgPool
            | StepKind::Activate(_)
            | StepKind::Lrn { .. }
            | StepKind::Softmax { .. } => (one.clone(), one, 0..=0),
            StepKind::Gemm { .. } => (one.clone(), one, 1..=2),
            StepKind::MatMul | StepKind::Binary { .. } => (2..=2, one, 0..=0),
            StepKind::BatchNorm { .. } => (one.clone(), one, 4..=4),
            StepKind::Copy(_) => (1..=MAX_WRITERS, step.inputs.len()..=step.inputs.len(), 0..=0),
            StepKind::Pad { .. } => (one, 2..=2, 0..=0),
        };
    for (what, wanted, has) in [
        ("inputs", inputs, step.inputs.len()),
        ("outputs", outputs, step.outputs.len()),
        ("constants", constants, step.constants.len()),
    ] {
        if !wanted.contains(&has) {
            let name = plan.kind_name(step);
            return broken(7, format!("{id} ({name}) has {has} {what}, not {} to {}", wanted.start(), wanted.end()));
        }
    }
    Ok(())
}

/// The operands of one step, resolved.
struct Operands<'plan> {
    inputs: Vec<&'plan View>,
    outputs: Vec<&'plan View>,
    constants: Vec<&'plan PlanConstant>,
}

impl<'plan> Operands<'plan> {
    fn new(plan: &'plan Plan, step: &Step) -> Result<Self, PlanError> {
        Ok(Self {
            inputs: step.inputs.iter().map(|id| view_of(plan, *id)).collect::<Result<_, _>>()?,
            outputs: step.outputs.iter().map(|id| view_of(plan, *id)).collect::<Result<_, _>>()?,
            constants: step.constants.iter().map(|id| constant_of(plan, *id)).collect::<Result<_, _>>()?,
        })
    }
}

/// A refusal without its place, which the caller adds.
type Check = Result<(), String>;

fn require(holds: bool, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(detail()) }
}

fn rank4(view: &View) -> Result<[usize; 4], String> {
    view.sizes.as_slice().try_into().map_err(|_| format!("sizes {:?} where rank 4 is needed", view.sizes))
}

/// Invariant 8.
pub(super) fn sizes(plan: &Plan, id: StepId, step: &Step) -> Result<(), PlanError> {
    let operands = Operands::new(plan, step)?;
    sizes_fit(step, &operands).or_else(|detail| broken(8, format!("{id} ({}): {detail}", plan.kind_name(step))))
}

fn sizes_fit(step: &Step, operands: &Operands<'_>) -> Check {
    let (inputs, outputs) = (&operands.inputs, &operands.outputs);
    let (Some(x), Some(y)) = (inputs.first(), outputs.first()) else {
        return Err("no input or no output".into());
    };
    match &step.kind {
        StepKind::Conv { strides, pads, dilations, group, residual, activations } => {
            let window = [*strides, [pads[0], pads[1]], [pads[2], pads[3]], *dilations];
            conv_fits(operands, window, *group, *residual)?;
            let (given, wanted) = (activations.len(), outputs.len());
            require(given == wanted, || format!("{given} activations for {wanted} outputs"))
        }
        StepKind::Pool { window, .. } => pool_fits(rank4(x)?, rank4(y)?, window),
        StepKind::GlobalAvgPool => {
            let ([n, c, _, _], out) = (rank4(x)?, rank4(y)?);
            require(out == [n, c, 1, 1], || format!("sizes {out:?} from {:?}", x.sizes))
        }
        StepKind::Gemm { trans_b, .. } => gemm_fits(x, y, &operands.constants, *trans_b),
        StepKind::MatMul => {
            let (Some(b), Some(split)) = (inputs.get(1), x.sizes.len().checked_sub(2)) else {
                return Err("operands below rank 2".into());
            };
            let wanted = (x.sizes.len() == b.sizes.len() && x.sizes[..split] == b.sizes[..split]).then(|| {
                let mut sizes = x.sizes.clone();
                sizes[split + 1] = b.sizes[split + 1];
                sizes
            });
            let fits = wanted.as_ref() == Some(&y.sizes) && x.sizes[split + 1] == b.sizes[split];
            require(fits, || format!("sizes {:?} from {:?} · {:?}", y.sizes, x.sizes, b.sizes))
        }
        StepKind::BatchNorm { .. } => {
            let [_, c, _, _] = rank4(x)?;
            require(x.sizes == y.sizes, || format!("sizes {:?} from {:?}", y.sizes, x.sizes))?;
            operands.constants.iter().try_for_each(|constant| {
                require(constant.sizes == [c], || format!("a constant of sizes {:?} for {c} channels", constant.sizes))
            })
        }
        StepKind::Lrn { size, .. } => {
            rank4(x)?;
            require(*size > 0 && *size <= MAX_WINDOW, || format!("a window of {size} channels"))?;
            require(x.sizes == y.sizes, || format!("sizes {:?} from {:?}", y.sizes, x.sizes))
        }
        StepKind::Softmax { axis } => {
            require(*axis < x.sizes.len(), || format!("axis {axis} of rank {}", x.sizes.len()))?;
            require(x.sizes == y.sizes, || format!("sizes {:?} from {:?}", y.sizes, x.sizes))
        }
        StepKind::Activate(_) | StepKind::Binary { .. } | StepKind::Copy(_) => {
            // A binary step has one output and two inputs of its sizes; a copy has pairs.
            let outputs = outputs.iter().chain(std::iter::repeat(y));
            inputs.iter().zip(outputs).try_for_each(|(input, output)| {
                require(input.sizes == output.sizes, || format!("sizes {:?} from {:?}", output.sizes, input.sizes))
            })
        }
        StepKind::Pad { .. } => match outputs.get(1) {
            Some(inner) if inner.sizes == x.sizes => Ok(()),
            Some(inner) => Err(format!("an interior of sizes {:?} from {:?}", inner.sizes, x.sizes)),
            None => Err("no interior".into()),
        },
    }
}

/// The number of places of a window along one axis; `None` where there is none or a size overflows.
fn window_places(size: usize, kernel: usize, step: [usize; 4], ceil: bool) -> Option<usize> {
    let [stride, before, after, dilation] = step;
    if [kernel, stride, dilation].iter().any(|value| *value == 0 || *value > MAX_WINDOW)
        || before.max(after) > MAX_WINDOW
    {
        return None;
    }
    let reach = dilation.checked_mul(kernel - 1)?.checked_add(1)?;
    let padded = size.checked_add(before)?.checked_add(after)?;
    if !ceil {
        return Some(padded.checked_sub(reach)? / stride + 1);
    }
    let Some(room) = padded.checked_sub(reach) else {
        // A kernel that overhangs by less than a stride has one place.
        return (reach - padded < stride).then_some(1);
    };
    let places = room.div_ceil(stride) + 1;
    // A last window that would start beyond the input and what lies before it is dropped.
    let beyond = (places - 1).checked_mul(stride)? >= size.checked_add(before)?;
    Some(if beyond { places - 1 } else { places })
}

fn conv_fits(operands: &Operands<'_>, window: [[usize; 2]; 4], group: usize, residual: bool) -> Check {
    let (inputs, outputs, constants) = (&operands.inputs, &operands.outputs, &operands.constants);
    let (Some(x), Some(weights)) = (inputs.first(), constants.first()) else { return Err("no weights".into()) };
    let [n, channels, h, w] = rank4(x)?;
    let [o, depth, kh, kw]: [usize; 4] =
        weights.sizes.as_slice().try_into().map_err(|_| format!("weights of sizes {:?}", weights.sizes))?;
    let groups = group > 0 && o.is_multiple_of(group) && depth.checked_mul(group) == Some(channels);
    require(groups, || format!("weights {:?} for {channels} channels in {group} groups", weights.sizes))?;
    let [strides, before, after, dilations] = window;
    let height = window_places(h, kh, [strides[0], before[0], after[0], dilations[0]], false);
    let width = window_places(w, kw, [strides[1], before[1], after[1], dilations[1]], false);
    let mut made = 0usize;
    for output in outputs {
        let [on, oc, oh, ow] = rank4(output)?;
        let fits = on == n && Some(oh) == height && Some(ow) == width;
        require(fits, || format!("sizes {:?} from {:?} by {:?}", output.sizes, x.sizes, weights.sizes))?;
        made = made.saturating_add(oc);
    }
    require(made == o, || format!("{made} output channels from weights for {o}"))?;
    if let Some(bias) = constants.get(1) {
        require(bias.sizes == [o], || format!("a bias of sizes {:?} for {o} channels", bias.sizes))?;
    }
    match (residual, inputs.get(1), outputs.first()) {
        (true, Some(addend), Some(output)) => {
            require(addend.sizes == output.sizes, || format!("a residual of sizes {:?}", addend.sizes))
        }
        (true, ..) => Err("no residual".into()),
        (false, ..) => Ok(()),
    }
}

fn pool_fits(x: [usize; 4], y: [usize; 4], window: &Pool) -> Check {
    let Pool { kernel, strides, pads, dilations, ceil_mode } = *window;
    let places = |axis: usize| {
        // Every window lies on some element, or there would be neither a maximum nor an average.
        let (before, after, size) = (pads[axis], pads[axis + 2], x[axis + 2]);
        if before.max(after) >= kernel[axis] || (kernel[axis] > 1 && dilations[axis] > size) {
            return None;
        }
        let step = [strides[axis], pads[axis], pads[axis + 2], dilations[axis]];
        window_places(x[axis + 2], kernel[axis], step, ceil_mode)
    };
    let fits = x[..2] == y[..2] && places(0) == Some(y[2]) && places(1) == Some(y[3]);
    require(fits, || format!("sizes {y:?} from {x:?} by {window:?}"))
}

fn gemm_fits(a: &View, y: &View, constants: &[&PlanConstant], trans_b: bool) -> Check {
    let ([m, k], [rows, n]) = (a.sizes.as_slice(), y.sizes.as_slice()) else {
        return Err(format!("sizes {:?} from {:?} where rank 2 is needed", y.sizes, a.sizes));
    };
    let Some(b) = constants.first() else { return Err("no weights".into()) };
    let wanted = if trans_b { [*n, *k] } else { [*k, *n] };
    require(m == rows && b.sizes == wanted, || format!("sizes {:?} from {:?} · {:?}", y.sizes, a.sizes, b.sizes))?;
    match constants.get(1) {
        Some(c) => require(c.sizes == [*n], || format!("an addend of sizes {:?} for {n} columns", c.sizes)),
        None => Ok(()),
    }
}

/// Invariant 9.
pub(super) fn layout(plan: &Plan, id: StepId, step: &Step) -> Result<(), PlanError> {
    let operands = Operands::new(plan, step)?;
    layout_fits(step, &operands).or_else(|detail| broken(9, format!("{id} ({}): {detail}", plan.kind_name(step))))
}

fn unit_stride(view: &View, axis: usize) -> Check {
    let holds = view.sizes.get(axis).is_none_or(|size| *size == 1) || view.strides.get(axis) == Some(&1);
    require(holds, || format!("strides {:?} of sizes {:?}: axis {axis} is not innermost", view.strides, view.sizes))
}

fn layout_fits(step: &Step, operands: &Operands<'_>) -> Check {
    let all = || operands.inputs.iter().chain(&operands.outputs);
    match &step.kind {
        StepKind::Conv { .. } => {
            operands.inputs.iter().skip(1).chain(&operands.outputs).try_for_each(|view| unit_stride(view, 1))
        }
        StepKind::Pool { .. } | StepKind::GlobalAvgPool | StepKind::BatchNorm { .. } | StepKind::Lrn { .. } => {
            all().try_for_each(|view| unit_stride(view, 1))
        }
        StepKind::Gemm { .. } => operands.outputs.iter().try_for_each(|view| unit_stride(view, 1)),
        StepKind::MatMul => operands.inputs.iter().skip(1).chain(&operands.outputs).try_for_each(|view| {
            let Some(last) = view.sizes.len().checked_sub(1) else { return Err("rank 0".into()) };
            unit_stride(view, last)
        }),
        StepKind::Activate(_) | StepKind::Binary { .. } | StepKind::Softmax { .. } | StepKind::Pad { .. } => {
            let Some(output) = operands.outputs.first() else { return Err("no output".into()) };
            let common = |axis: usize| {
                all().all(|view| {
                    matches!((view.strides.get(axis), view.sizes.get(axis)), (Some(0 | 1), _) | (_, Some(1)))
                }) && output.strides.get(axis) == Some(&1)
                    && output.sizes.get(axis) != Some(&1)
            };
            let found = output.elements() == Some(1) || (0..output.sizes.len()).any(common);
            require(found, || "no axis has stride 1 in all operands".into())
        }
        StepKind::Copy(_) => Ok(()),
    }
}
