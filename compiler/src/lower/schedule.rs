//! The order of the steps, their lifetimes on roots, and what may run in place.
//!
//! Two orders are tried: the graph's own, and one that always takes the ready step that adds least to the arena. The one
//! with the lower peak is kept; the graph's own where they are equal.

use std::collections::BTreeSet;

use super::draft::{Draft, DraftStep, Home};
use super::layout;
use super::place::{self, Item};
use super::{LowerReport, Refused};

/// The pass's name on the command line and in reports.
pub const IN_PLACE: &str = "in_place";

/// The buffers that each step touches, in the order of the steps, without repetition.
fn touched(steps: &[DraftStep]) -> Vec<BTreeSet<usize>> {
    steps.iter().map(|step| step.inputs.iter().chain(&step.outputs).map(|view| view.buffer.index()).collect()).collect()
}

/// Sorts the draft's steps, and says how high the arena is for both orders.
pub(super) fn order(draft: &mut Draft<'_>) {
    let touched = touched(&draft.steps);
    let own: Vec<usize> = (0..draft.steps.len()).collect();
    let lean = lean_order(draft, &touched);
    if peak(draft, &touched, &lean) < peak(draft, &touched, &own) {
        let mut places = vec![0; lean.len()];
        for (place, step) in lean.iter().enumerate() {
            places[*step] = place;
        }
        let mut steps: Vec<(usize, DraftStep)> = std::mem::take(&mut draft.steps)
            .into_iter()
            .enumerate()
            .map(|(step, mut content)| {
                for before in &mut content.after {
                    *before = places[*before];
                }
                (places[step], content)
            })
            .collect();
        steps.sort_unstable_by_key(|(place, _)| *place);
        draft.steps = steps.into_iter().map(|(_, step)| step).collect();
    }
}

/// The first and the last step that touch each arena buffer; `None` for others and for buffers that nothing touches.
pub(super) fn lifetimes(draft: &Draft<'_>) -> Vec<Option<Item>> {
    let own: Vec<usize> = (0..draft.steps.len()).collect();
    lifetimes_in(draft, &touched(&draft.steps), &own)
}

fn lifetimes_in(draft: &Draft<'_>, touched: &[BTreeSet<usize>], order: &[usize]) -> Vec<Option<Item>> {
    let mut items: Vec<Option<Item>> = vec![None; draft.roots.len()];
    for (place, step) in order.iter().enumerate() {
        for root in &touched[*step] {
            if draft.roots[*root].home == Home::Arena {
                let item = items[*root].get_or_insert(Item {
                    bytes: draft.roots[*root].elements * 4,
                    first: place,
                    last: place,
                });
                item.last = place;
            }
        }
    }
    items
}

fn peak(draft: &Draft<'_>, touched: &[BTreeSet<usize>], order: &[usize]) -> usize {
    let items: Vec<Item> = lifetimes_in(draft, touched, order).into_iter().flatten().collect();
    place::lower_bound(&items)
}

/// Takes the ready step that adds least to what lives, the first such.
fn lean_order(draft: &Draft<'_>, touched: &[BTreeSet<usize>]) -> Vec<usize> {
    let count = draft.steps.len();
    let mut missing: Vec<usize> = draft.steps.iter().map(|step| step.after.len()).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, step) in draft.steps.iter().enumerate() {
        for before in &step.after {
            readers[*before].push(at);
        }
    }
    let mut uses = vec![0usize; draft.roots.len()];
    for root in touched.iter().flatten() {
        uses[*root] += 1;
    }
    let mut born = vec![false; draft.roots.len()];
    let mut ready: BTreeSet<usize> = (0..count).filter(|step| missing[*step] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while !ready.is_empty() {
        let growth = |step: &usize| -> i128 {
            let arena = touched[*step].iter().filter(|root| draft.roots[**root].home == Home::Arena);
            arena.fold(0i128, |sum, root| {
                let bytes = draft.roots[*root].elements as i128;
                let begins = if born[*root] { 0 } else { bytes };
                let ends = if uses[*root] == 1 { bytes } else { 0 };
                sum + begins - ends
            })
        };
        let Some(next) = ready.iter().copied().min_by_key(|step| (growth(step), *step)) else { break };
        ready.remove(&next);
        order.push(next);
        for root in &touched[next] {
            born[*root] = true;
            uses[*root] -= 1;
        }
        for reader in &readers[next] {
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    order
}

/// Lets elementwise steps write over an input that dies there, where both are the whole of their buffers.
pub(super) fn in_place(draft: &mut Draft<'_>, report: &mut LowerReport) {
    let touched = touched(&draft.steps);
    let (mut first, mut last) = (vec![usize::MAX; draft.roots.len()], vec![0usize; draft.roots.len()]);
    for (step, roots) in touched.iter().enumerate() {
        for root in roots {
            first[*root] = first[*root].min(step);
            last[*root] = step;
        }
    }
    for at in 0..draft.steps.len() {
        let step = &draft.steps[at];
        let (true, [output]) = (step.kind.may_run_in_place(), step.outputs.as_slice()) else { continue };
        let to = output.buffer.index();
        let whole = |root: usize, draft: &Draft<'_>| output.elements() == Some(draft.roots[root].elements);
        let writable = matches!(draft.roots[to].home, Home::Arena | Home::Output(_));
        if !writable || first[to] != at || !whole(to, draft) {
            continue;
        }
        let found = step.inputs.iter().map(|input| (input, input.buffer.index())).find(|(input, from)| {
            let mut moved = (*input).clone();
            moved.buffer = output.buffer;
            *from != to
                && draft.roots[*from].home == Home::Arena
                && last[*from] == at
                && whole(*from, draft)
                && layout::same(&moved, output)
                // Another input that is another view of the same buffer would be overwritten.
                && step.inputs.iter().all(|other| other.buffer != input.buffer || layout::same(other, input))
        });
        let Some((input, from)) = found else { continue };
        let gone = input.buffer;
        let kept = output.buffer;
        report.rewrite(IN_PLACE, &[&step.name], format!("writes over \"{}\"", draft.roots[from].name));
        // Only steps from the buffer's first to this one touch it.
        for step in &mut draft.steps[first[from]..=at] {
            for view in step.inputs.iter_mut().chain(&mut step.outputs) {
                if view.buffer == gone {
                    view.buffer = kept;
                }
            }
        }
        first[to] = first[from];
    }
}

/// Checks that the order is whole: every step appears once, after those that it needs.
pub(super) fn check(draft: &Draft<'_>) -> Result<(), Refused> {
    for (at, step) in draft.steps.iter().enumerate() {
        if step.after.iter().any(|before| *before >= at) {
            return Err(Refused {
                node: step.name.clone(),
                op: step.kind.name(),
                reason: "internal: out of order".into(),
            });
        }
    }
    Ok(())
}
