//! The arena as a picture: addresses from left to right, steps from top to bottom, every buffer a named box.

use std::fmt::Write as _;

use incept_ir::plan::Plan;

use super::escape;
use crate::report::memory::{self, Block};

/// The width of the picture of the arena alone.
const WIDTH: f64 = 860.0;

/// Left of it stand the steps, right of it the buffers that begin there.
const LEFT: f64 = 130.0;
const RIGHT: f64 = 350.0;

/// Above it stand the addresses.
const TOP: f64 = 24.0;

/// A step's row where there are few; of a long plan rows are lower, and steps are not named.
const ROW: f64 = 17.0;
const MOST_NAMED: usize = 400;
const MOST_HIGH: f64 = 8000.0;

/// The width of a character.
const LETTER: f64 = 6.0;

/// The picture, as SVG to stand in a page.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "pixels")]
pub(super) fn picture(plan: &Plan) -> String {
    let (steps, arena) = (plan.steps.len().max(1), plan.memory.arena_bytes.max(1));
    let named = steps <= MOST_NAMED;
    let row = if named { ROW } else { (MOST_HIGH / steps as f64).min(ROW) };
    let height = TOP + row * steps as f64 + 8.0;
    let x = |byte: usize| LEFT + byte as f64 / arena as f64 * WIDTH;
    let y = |step: usize| TOP + step as f64 * row;
    let mut out = String::new();
    let width = LEFT + WIDTH + RIGHT;
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"arena\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" \
         height=\"{height:.0}\" role=\"img\"><title>Memory of {}</title><style>\
         .arena text{{font:10px system-ui,'DejaVu Sans',sans-serif;fill:#1b1f24}}.arena .dim{{fill:#57606a}}\
         .arena .end{{text-anchor:end}}.arena rect{{stroke:#57606a;stroke-width:.6}}\
         .arena .free{{fill:#fff;stroke:#d0d7de}}.arena .peak{{fill:#fff1e5;stroke:none}}</style>",
        escaped(&plan.name)
    );
    let _ = write!(
        out,
        "<rect class=\"free\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{:.1}\"/>",
        row * steps as f64
    );
    let live = memory::live_bytes(plan);
    let peak = live.iter().copied().max().unwrap_or(0);
    for (step, _) in live.iter().enumerate().filter(|(_, bytes)| **bytes == peak && peak > 0) {
        let _ =
            write!(out, "<rect class=\"peak\" x=\"0\" y=\"{:.1}\" width=\"{width}\" height=\"{row:.1}\"/>", y(step));
    }
    for part in 0..=4u32 {
        let byte = (arena as f64 * f64::from(part) / 4.0) as usize;
        let _ = write!(out, "<text class=\"dim end\" x=\"{:.0}\" y=\"14\">{}</text>", x(byte), short(byte));
    }
    let mut begins: Vec<Vec<Block<'_>>> = vec![Vec::new(); steps];
    for block in memory::blocks(plan) {
        let (first, last) = (block.live.0.index().min(steps - 1), block.live.1.index().min(steps - 1));
        let (left, wide) = (x(block.offset), (block.bytes as f64 / arena as f64 * WIDTH).max(1.5));
        let _ = write!(
            out,
            "<g><title>{} {}\n{} bytes from {}\nlives from {} to {}</title><rect x=\"{left:.1}\" y=\"{:.1}\" \
             width=\"{wide:.1}\" height=\"{:.1}\" rx=\"2\" fill=\"hsl({},70%,84%)\"/>",
            block.id,
            escaped(block.name),
            block.bytes,
            block.offset,
            block.live.0,
            block.live.1,
            y(first) + 0.5,
            row * (last + 1).saturating_sub(first) as f64 - 1.0,
            hue(block.name),
        );
        let label = [format!("{} {}", block.id, block.name), block.id.to_string()]
            .into_iter()
            .find(|label| label.chars().count() as f64 * LETTER + 6.0 <= wide);
        if let (Some(label), true) = (label, named) {
            let _ =
                write!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", left + 3.0, y(first) + 12.0, escaped(&label));
        }
        out.push_str("</g>");
        begins[first].push(block);
    }
    if named {
        for (index, step) in plan.steps.iter().enumerate() {
            let base = y(index) + 12.0;
            let _ = write!(
                out,
                "<text class=\"dim end\" x=\"{}\" y=\"{base:.1}\">s{index} {}<title>{}</title></text>",
                LEFT - 6.0,
                plan.kind_name(step),
                escaped(&step.name)
            );
            let names: Vec<String> = begins[index]
                .iter()
                .map(|block| format!("{} {} ({})", block.id, block.name, short(block.bytes)))
                .collect();
            let all = names.join(", ");
            let _ = write!(
                out,
                "<text x=\"{}\" y=\"{base:.1}\">{}<title>{}</title></text>",
                LEFT + WIDTH + 6.0,
                escaped(&fitted(&all)),
                escaped(&all)
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// As much of a line as there is room for beside the arena.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn fitted(line: &str) -> String {
    let room = (RIGHT / LETTER) as usize;
    if line.chars().count() <= room {
        return line.to_owned();
    }
    line.chars().take(room - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(&mut out, text);
    out
}

/// A colour that the parts of a module share.
fn hue(name: &str) -> u32 {
    let module = name.trim_start_matches('/').split(['.', '/']).next().unwrap_or(name);
    module.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte) * 97)) % 360
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn short(bytes: usize) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}
