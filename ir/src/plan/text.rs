//! The printed form of a plan: a summary, a line a port, a line a step, a line a root buffer. Steps that may run at once
//! are indented below a line that says so.
//!
//! A view prints as `b3+64[1,32,28,28]{nhwc/256}`: root, first element, sizes, layout. The layout is left out where the
//! elements lie in rows; `nhwc` has channels innermost, `nhwc/256` the same with 256 elements from pixel to pixel (a
//! slice of a concatenation); anything else is printed as its strides.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};

use super::{Binary, Place, Plan, PoolKind, Region, Step, StepKind, View, channels_last};
use crate::ids::{BufferId, ConstId, StepId};
use crate::ops::Activation;

/// The whole plan as text.
#[must_use]
pub fn print(plan: &Plan) -> String {
    let mut text = summary(plan);
    for (name, ports) in [("inputs", &plan.inputs), ("outputs", &plan.outputs)] {
        let _ = writeln!(text, "{name}:");
        for port in ports {
            let view = plan.view(port.view).map_or_else(|| port.view.to_string(), ToString::to_string);
            let _ = writeln!(text, "  \"{}\" {view}", port.name);
        }
    }
    text.push_str("steps:\n");
    let wide = plan.regions.iter().map(Region::steps).filter(|steps| steps.len() > 1);
    let wide: BTreeMap<usize, usize> = wide.map(|steps| (steps.start, steps.end)).collect();
    let mut end = 0;
    for (index, step) in plan.steps.iter().enumerate() {
        if let Some(last) = wide.get(&index) {
            text.push_str("  at once:\n");
            end = *last;
        }
        let indent = if index < end { "    " } else { "  " };
        let _ = writeln!(text, "{indent}{} {}", StepId::from_index(index), print_step(plan, step));
    }
    text.push_str("buffers:\n");
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let id = BufferId::from_index(index);
        let _ = match buffer.place {
            Place::Arena(offset) => {
                let (first, last) = buffer.live;
                writeln!(text, "  {id} arena {offset} +{} {first}..{last} \"{}\"", buffer.bytes, buffer.name)
            }
            Place::Input(position) => writeln!(text, "  {id} input {position} +{} \"{}\"", buffer.bytes, buffer.name),
            Place::Output(position) => {
                writeln!(text, "  {id} output {position} +{} \"{}\"", buffer.bytes, buffer.name)
            }
            Place::Constant(constant) => writeln!(text, "  {id} {constant} +{} \"{}\"", buffer.bytes, buffer.name),
        };
    }
    text
}

/// The plan in a few lines: steps by kind, memory, copies, weights.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let batch = if plan.symbolic_batch { " (symbolic)" } else { "" };
    let kinds: Vec<String> = plan.steps_by_kind().iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let exact = if plan.exact { ", exact" } else { "" };
    let memory = &plan.memory;
    let proven = if memory.proven_optimal { "optimal" } else { "not proven optimal" };
    format!(
        "plan \"{}\" batch {}{batch}{exact}\n{} steps in {} regions: {}\narena {} bytes, lower bound {}, {proven} ({})\ncopied {} bytes a \
         run, weights {} bytes\n",
        plan.name,
        plan.batch_text(),
        plan.steps.len(),
        plan.regions.len(),
        kinds.join(", "),
        memory.arena_bytes,
        memory.lower_bound_bytes,
        memory.strategy,
        plan.copied_bytes(),
        plan.weight_bytes(),
    )
}

/// One step on one line, without its id.
#[must_use]
pub fn print_step(plan: &Plan, step: &Step) -> String {
    let views = |ids: &[super::ViewId]| {
        let list: Vec<String> =
            ids.iter().map(|id| plan.view(*id).map_or_else(|| id.to_string(), ToString::to_string)).collect();
        list.join(", ")
    };
    let mut text =
        format!("{} \"{}\" {} = {}", plan.kind_name(step), step.name, views(&step.outputs), views(&step.inputs));
    for id in &step.constants {
        let _ = write!(text, ", {}", constant(plan, *id));
    }
    let _ = write!(text, "{}", Details(&step.kind));
    if step.nodes.len() != 1 || step.nodes.first() != Some(&step.name) {
        let _ = write!(text, " from {}", step.nodes.join(" "));
    }
    text
}

fn constant(plan: &Plan, id: ConstId) -> String {
    plan.constant(id).map_or_else(
        || id.to_string(),
        |constant| format!("{id}:{}{:?}", constant.dtype, constant.sizes).replace(' ', ""),
    )
}

/// The attributes of a kind, each after a space; defaults are left out.
struct Details<'kind>(&'kind StepKind);

impl Display for Details<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            StepKind::Conv { strides, pads, dilations, group, residual, activations } => {
                window(f, *strides, *pads, *dilations)?;
                if *group != 1 {
                    write!(f, " group={group}")?;
                }
                if *residual {
                    f.write_str(" residual")?;
                }
                each_activated(f, activations)
            }
            StepKind::Pool { kind, window: pool } => {
                write!(f, " kernel={}x{}", pool.kernel[0], pool.kernel[1])?;
                window(f, pool.strides, pool.pads, pool.dilations)?;
                if pool.ceil_mode {
                    f.write_str(" ceil")?;
                }
                if let PoolKind::Average { count_include_pad: true } = kind {
                    f.write_str(" count_include_pad")?;
                }
                Ok(())
            }
            StepKind::Gemm { alpha, beta, trans_b, activation } => {
                for (name, factor) in [("alpha", alpha), ("beta", beta)] {
                    if (factor - 1.0).abs() > 0.0 {
                        write!(f, " {name}={factor}")?;
                    }
                }
                if *trans_b {
                    f.write_str(" trans_b")?;
                }
                activated(f, *activation)
            }
            StepKind::BatchNorm { epsilon } => write!(f, " epsilon={epsilon}"),
            StepKind::Activate(activation) => activated(f, Some(*activation)),
            StepKind::Binary { function, activation } => {
                f.write_str(match function {
                    Binary::Add => " add",
                    Binary::Sub => " sub",
                    Binary::Mul => " mul",
                    Binary::Div => " div",
                })?;
                activated(f, *activation)
            }
            StepKind::Lrn { size, alpha, beta, bias } => {
                write!(f, " size={size} alpha={alpha} beta={beta} bias={bias}")
            }
            StepKind::Softmax { axis } => write!(f, " axis={axis}"),
            StepKind::Pad { value } => write!(f, " value={value}"),
            StepKind::GlobalAvgPool | StepKind::MatMul | StepKind::Copy(_) => Ok(()),
        }
    }
}

fn window(f: &mut Formatter<'_>, strides: [usize; 2], pads: [usize; 4], dilations: [usize; 2]) -> fmt::Result {
    if strides != [1, 1] {
        write!(f, " strides={},{}", strides[0], strides[1])?;
    }
    if pads != [0; 4] {
        write!(f, " pads={},{},{},{}", pads[0], pads[1], pads[2], pads[3])?;
    }
    if dilations != [1, 1] {
        write!(f, " dilations={},{}", dilations[0], dilations[1])?;
    }
    Ok(())
}

fn activated(f: &mut Formatter<'_>, activation: Option<Activation>) -> fmt::Result {
    match activation {
        Some(activation) => write!(f, " {activation}"),
        None => Ok(()),
    }
}

/// The activations of several outputs: one where all have the same, else all of them.
fn each_activated(f: &mut Formatter<'_>, activations: &[Option<Activation>]) -> fmt::Result {
    let first = activations.first().copied().flatten();
    if activations.iter().all(|activation| *activation == first) {
        return activated(f, first);
    }
    for (index, activation) in activations.iter().enumerate() {
        f.write_char(if index > 0 { '/' } else { ' ' })?;
        match activation {
            Some(activation) => write!(f, "{activation}")?,
            None => f.write_str("none")?,
        }
    }
    Ok(())
}

impl Display for View {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.buffer)?;
        if self.offset != 0 {
            write!(f, "+{}", self.offset)?;
        }
        list(f, '[', &self.sizes, ']')?;
        if self.is_row_major() {
            return Ok(());
        }
        if let ([n, _, h, w], [_, _, _, pitch]) = (self.sizes.as_slice(), self.strides.as_slice()) {
            // A slice of channels has the strides of the root that it is cut from.
            let cut = channels_last(&[*n, *pitch, *h, *w]);
            let same = self.sizes.iter().zip(self.strides.iter().zip(&cut)).all(|(size, (a, b))| *size == 1 || a == b);
            if same && *w > 1 && *pitch >= self.sizes[1] {
                return match self.sizes[1] == *pitch {
                    true => f.write_str("{nhwc}"),
                    false => write!(f, "{{nhwc/{pitch}}}"),
                };
            }
        }
        list(f, '{', &self.strides, '}')
    }
}

fn list(f: &mut Formatter<'_>, open: char, values: &[usize], close: char) -> fmt::Result {
    f.write_char(open)?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write!(f, "{value}")?;
    }
    f.write_char(close)
}
