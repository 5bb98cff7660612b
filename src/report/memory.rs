//! The arena of a plan: who lies where, from when to when.

use std::fmt::Write as _;

use incept_ir::ids::{BufferId, StepId};
use incept_ir::plan::{Place, Plan};
use serde_json::{Value, json};

/// The most rows of a picture; of a longer plan several steps share a row.
const MAX_ROWS: usize = 400;

/// A buffer of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'p> {
    /// Its id in the plan.
    pub id: BufferId,
    /// What it holds: the name of the value.
    pub name: &'p str,
    /// Its first byte.
    pub offset: usize,
    /// How many bytes it has.
    pub bytes: usize,
    /// The first and the last step that touch it.
    pub live: (StepId, StepId),
}

impl Block<'_> {
    /// One past its last byte.
    fn end(&self) -> usize {
        self.offset.saturating_add(self.bytes)
    }
}

/// The buffers of the arena, in the order of their ids.
#[must_use]
pub fn blocks(plan: &Plan) -> Vec<Block<'_>> {
    let blocks = plan.buffers.iter().enumerate().filter_map(|(index, buffer)| match buffer.place {
        Place::Arena(offset) => Some(Block {
            id: BufferId::from_index(index),
            name: &buffer.name,
            offset,
            bytes: buffer.bytes,
            live: buffer.live,
        }),
        _ => None,
    });
    blocks.collect()
}

/// The bytes of the buffers that hold memory at each step, by the position of the step. The steps of a region run at once,
/// so what lives at one of them lives at all of them.
#[must_use]
pub fn live_bytes(plan: &Plan) -> Vec<usize> {
    // The first and the last step of each step's region.
    let mut regions: Vec<(usize, usize)> = (0..plan.steps.len()).map(|step| (step, step)).collect();
    for region in &plan.regions {
        for step in region.steps() {
            if let Some(bounds) = regions.get_mut(step) {
                *bounds = (region.begin.index(), region.end.index().saturating_sub(1));
            }
        }
    }
    // What begins and what ends at each step, then the running sum: linear in steps and buffers.
    let mut begins = vec![0usize; plan.steps.len()];
    let mut ends = vec![0usize; plan.steps.len() + 1];
    for block in blocks(plan) {
        let (first, last) = (block.live.0.index(), block.live.1.index());
        let first = regions.get(first).map_or(first, |bounds| bounds.0);
        let last = regions.get(last).map_or(last, |bounds| bounds.1);
        if let (Some(begin), Some(end)) = (begins.get_mut(first), ends.get_mut(last.saturating_add(1))) {
            *begin = begin.saturating_add(block.bytes);
            *end = end.saturating_add(block.bytes);
        }
    }
    let mut live = 0usize;
    let sums = begins.iter().zip(&ends).map(|(begin, end)| {
        live = live.saturating_sub(*end).saturating_add(*begin);
        live
    });
    sums.collect()
}

/// The arena as JSON:
///
/// ```text
/// {"schema": 1, "name", "batch", "parts", "arena_bytes", "arena_lower_bound_bytes", "arena_proven_optimal", "arena_strategy",
///  "buffers": [{"buffer": "b3", "name", "offset", "bytes", "first": "s0", "last": "s4"}],
///  "steps":   [{"step": "s0", "kind", "name", "live_bytes"}]}
/// ```
#[must_use]
pub fn json(plan: &Plan) -> Value {
    let block = |block: Block<'_>| {
        json!({
            "buffer": block.id.to_string(),
            "name": block.name,
            "offset": block.offset,
            "bytes": block.bytes,
            "first": block.live.0.to_string(),
            "last": block.live.1.to_string(),
        })
    };
    let live = live_bytes(plan);
    let steps = plan.steps.iter().zip(&live).enumerate().map(|(index, (step, live))| {
        json!({
            "step": StepId::from_index(index).to_string(),
            "kind": plan.kind_name(step),
            "name": step.name,
            "live_bytes": live,
        })
    });
    json!({
        "schema": incept_ir::plan::json::SCHEMA,
        "name": plan.name,
        "batch": plan.batch,
        "parts": plan.parts,
        "arena_bytes": plan.memory.arena_bytes,
        "arena_lower_bound_bytes": plan.memory.lower_bound_bytes,
        "arena_proven_optimal": plan.memory.proven_optimal,
        "arena_strategy": plan.memory.strategy,
        "buffers": blocks(plan).into_iter().map(block).collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
    })
}

/// The arena as a picture in text: addresses from left to right, a row a step from top to bottom. A buffer is a box
/// `[b3 name   ]` over the rows of the steps during which it lives; `·` is free. After each row stand the bytes that live
/// then; the rows of the peak are marked. Below the picture, a line a buffer.
///
/// `columns` is the width of the picture of the arena alone, at least 16.
#[must_use]
pub fn text(plan: &Plan, columns: usize) -> String {
    let columns = columns.max(16);
    let memory = &plan.memory;
    let blocks = blocks(plan);
    let proven = if memory.proven_optimal { "proven optimal" } else { "not proven optimal" };
    let mut text = format!(
        "arena {} bytes, lower bound {}, {proven}, placed by {}\n{} buffers over {} steps; a column is {} bytes\n\n",
        memory.arena_bytes,
        memory.lower_bound_bytes,
        memory.strategy,
        blocks.len(),
        plan.steps.len(),
        memory.arena_bytes.div_ceil(columns),
    );
    if !blocks.is_empty() {
        put_picture(&mut text, plan, &blocks, columns);
        put_list(&mut text, &blocks);
    }
    text
}

fn put_picture(text: &mut String, plan: &Plan, blocks: &[Block<'_>], columns: usize) {
    let each = plan.steps.len().div_ceil(MAX_ROWS).max(1);
    let live = live_bytes(plan);
    let peak = live.iter().copied().max().unwrap_or(0);
    let rows = live.chunks(each).count();
    let mut cells = vec![vec!['·'; columns]; rows];
    // Small buffers are at least a column wide, so they are drawn last: none disappears under a neighbour.
    let mut order: Vec<&Block<'_>> = blocks.iter().collect();
    order.sort_by_key(|block| std::cmp::Reverse(block.bytes));
    for block in order {
        let column = |byte: usize| scaled(byte, plan.memory.arena_bytes, columns);
        let first = column(block.offset).min(columns - 1);
        let width = column(block.end()).saturating_sub(first).max(1).min(columns - first);
        let (top, bottom) = (block.live.0.index() / each, block.live.1.index() / each);
        for (row, line) in cells.iter_mut().enumerate().take(bottom.saturating_add(1)).skip(top) {
            let label = if row == top { format!("{} {}", block.id, block.name) } else { String::new() };
            draw(&mut line[first..first + width], &label);
        }
    }
    let names: Vec<String> = plan
        .steps
        .chunks(each)
        .enumerate()
        .map(|(row, steps)| {
            let first = StepId::from_index(row * each);
            match steps {
                [step] => format!("{first} {}", plan.kind_name(step)),
                steps => format!("{first} and {} more", steps.len() - 1),
            }
        })
        .collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for ((name, line), live) in names.iter().zip(&cells).zip(live.chunks(each)) {
        let most = live.iter().copied().max().unwrap_or(0);
        let mark = if most == peak { " peak" } else { "" };
        let line: String = line.iter().collect();
        let _ = writeln!(text, "{name:<widest$} {line} {most:>10}{mark}");
    }
    text.push('\n');
}

/// `byte` of `bytes` as a part of `columns`, rounded.
fn scaled(byte: usize, bytes: usize, columns: usize) -> usize {
    let (byte, bytes, columns) = (byte as u128, (bytes as u128).max(1), columns as u128);
    usize::try_from((byte * columns + bytes / 2) / bytes).unwrap_or(usize::MAX)
}

/// Draws one row of a box, with as much of the label as fits.
fn draw(cells: &mut [char], label: &str) {
    match cells {
        [] => {}
        [only] => *only = '|',
        [first, inner @ .., last] => {
            (*first, *last) = ('[', ']');
            inner.fill(' ');
            let label = label.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
            inner.iter_mut().zip(label).for_each(|(cell, letter)| *cell = letter);
        }
    }
}

fn put_list(text: &mut String, blocks: &[Block<'_>]) {
    let mut blocks = blocks.to_vec();
    blocks.sort_by_key(|block| (block.live.0, block.offset));
    let ids = blocks.iter().map(|block| block.id.to_string().len()).max().unwrap_or(0);
    let _ = writeln!(text, "{:<ids$} {:>12} {:>12}  {:<12} holds", "", "from byte", "bytes", "steps");
    for block in blocks {
        let steps = format!("{}..{}", block.live.0, block.live.1);
        let id = block.id.to_string();
        let _ = writeln!(text, "{id:<ids$} {:>12} {:>12}  {steps:<12} {}", block.offset, block.bytes, block.name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use incept_ir::plan::{Buffer, Memory, Region, Step, StepKind};

    use super::*;

    /// A plan whose steps do nothing, with an arena of these buffers: offset, bytes, first and last step.
    fn plan(steps: usize, buffers: &[(usize, usize, usize, usize)]) -> Plan {
        let step = Step {
            kind: StepKind::GlobalAvgPool,
            inputs: Vec::new(),
            outputs: Vec::new(),
            constants: Vec::new(),
            name: "step".into(),
            nodes: Vec::new(),
        };
        let buffer = |(index, (offset, bytes, first, last)): (usize, &(usize, usize, usize, usize))| Buffer {
            place: Place::Arena(*offset),
            bytes: *bytes,
            name: format!("value{index}"),
            live: (StepId::from_index(*first), StepId::from_index(*last)),
        };
        let mut plan = Plan {
            steps: vec![step; steps],
            buffers: buffers.iter().enumerate().map(buffer).collect(),
            ..Plan::default()
        };
        let end = buffers.iter().map(|(offset, bytes, ..)| offset.saturating_add(*bytes)).max().unwrap_or(0);
        let live = live_bytes(&plan).into_iter().max().unwrap_or(0);
        plan.memory =
            Memory { arena_bytes: end, lower_bound_bytes: live, proven_optimal: end == live, strategy: "hand".into() };
        plan
    }

    #[test]
    fn the_picture_shows_each_buffer_where_and_when_it_lives() {
        let plan = plan(4, &[(0, 640, 0, 1), (640, 640, 1, 3), (0, 320, 2, 3)]);
        insta::assert_snapshot!(text(&plan, 32), @r"
        arena 1280 bytes, lower bound 1280, proven optimal, placed by hand
        3 buffers over 4 steps; a column is 40 bytes

        s0 global_avg_pool [b0 value0     ]················        640
        s1 global_avg_pool [              ][b1 value1     ]       1280 peak
        s2 global_avg_pool [b2 val]········[              ]        960
        s3 global_avg_pool [      ]········[              ]        960

              from byte        bytes  steps        holds
        b0            0          640  s0..s1       value0
        b1          640          640  s1..s3       value1
        b2            0          320  s2..s3       value2
        ");
    }

    #[test]
    fn what_lives_at_a_step_lives_in_its_whole_region() {
        let mut plan = plan(3, &[(0, 64, 0, 1), (64, 128, 2, 2)]);
        assert_eq!(live_bytes(&plan), [64, 64, 128]);
        let step = StepId::from_index;
        plan.regions = vec![Region { begin: step(0), end: step(1) }, Region { begin: step(1), end: step(3) }];
        assert_eq!(live_bytes(&plan), [64, 192, 192]);
    }

    #[test]
    fn small_buffers_stay_visible_and_long_plans_share_rows() {
        let tiny = plan(1, &[(0, 1 << 20, 0, 0), (1 << 20, 4, 0, 0)]);
        assert!(text(&tiny, 20).contains("[b0 value0         |    1048580 peak"), "{}", text(&tiny, 20));
        let long = plan(4 * MAX_ROWS, &[(0, 64, 0, 4 * MAX_ROWS - 1)]);
        let rows = text(&long, 20).lines().filter(|line| line.contains("and 3 more")).count();
        assert_eq!(rows, MAX_ROWS);
    }

    #[test]
    fn what_is_empty_or_wild_does_not_panic() {
        assert!(text(&Plan::default(), 0).contains("0 buffers over 0 steps"));
        let mut wild = plan(2, &[(usize::MAX - 3, usize::MAX, 0, 7)]);
        wild.memory.arena_bytes = 0;
        let _ = (text(&wild, 20), json(&wild));
    }

    #[test]
    fn json_says_what_lives_at_each_step() {
        let value = json(&plan(3, &[(0, 64, 0, 1), (64, 128, 1, 2)]));
        let live: Vec<u64> =
            value["steps"].as_array().unwrap().iter().map(|step| step["live_bytes"].as_u64().unwrap()).collect();
        assert_eq!(live, [64, 192, 128]);
        assert_eq!(value["buffers"][1]["first"], "s1");
        assert_eq!(value["arena_proven_optimal"], true);
    }
}
