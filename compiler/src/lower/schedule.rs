//! The order of the steps, and their lifetimes on roots.
//!
//! Two orders are tried: the graph's own, and one that always takes the ready step that adds least to the arena. The one
//! with the lower peak, counted with what runs in place in it, is kept; the graph's own where they are equal. Steps that
//! may run at once are then drawn together by [`super::regions`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use smallvec::SmallVec;

use super::draft::{Draft, DraftStep, Home};
use super::in_place::{self, Merges};
use super::place::{self, Item};
use super::{LowerReport, Refused};

/// The roots that each step touches, ascending, each once.
pub(super) type Touched = Vec<SmallVec<[usize; 4]>>;

/// The roots that each step of a draft touches.
pub(super) fn touched(draft: &Draft<'_>) -> Touched {
    let of = |step: &DraftStep| {
        let mut roots: SmallVec<[usize; 4]> =
            step.inputs.iter().chain(&step.outputs).map(|view| view.buffer.index()).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    };
    draft.steps.iter().map(of).collect()
}

/// For each step, those that come after it.
pub(super) fn followers(draft: &Draft<'_>) -> Vec<SmallVec<[usize; 4]>> {
    let mut followers = vec![SmallVec::new(); draft.steps.len()];
    for (at, step) in draft.steps.iter().enumerate() {
        for before in &step.after {
            followers[*before].push(at);
        }
    }
    followers
}

/// Sorts the draft's steps, and lets steps run in place where `overwrite`. Gives the peak: the largest sum of roots that
/// live at one step.
pub(super) fn order(draft: &mut Draft<'_>, overwrite: bool, report: &mut LowerReport) -> usize {
    let touched = touched(draft);
    let measure = |order: &[usize]| {
        let merges = if overwrite { in_place::find(draft, &touched, order) } else { Merges::none(draft.roots.len()) };
        (peak(draft, &touched, order, &merges), merges)
    };
    let own: Vec<usize> = (0..draft.steps.len()).collect();
    let lean = lean_order(draft, &touched);
    let (own_peak, own_merges) = measure(&own);
    let (lean_peak, lean_merges) = measure(&lean);
    let (peak, order, merges) =
        if lean_peak < own_peak { (lean_peak, lean, lean_merges) } else { (own_peak, own, own_merges) };
    in_place::apply(draft, &merges, report);
    reorder(draft, &order);
    peak
}

/// Brings the steps into this order.
pub(super) fn reorder(draft: &mut Draft<'_>, order: &[usize]) {
    let mut places = vec![0; order.len()];
    for (place, step) in order.iter().enumerate() {
        places[*step] = place;
    }
    let mut steps: Vec<(usize, DraftStep)> = places.iter().copied().zip(std::mem::take(&mut draft.steps)).collect();
    steps.sort_unstable_by_key(|(place, _)| *place);
    draft.steps = steps.into_iter().map(|(_, step)| step).collect();
    for before in draft.steps.iter_mut().flat_map(|step| &mut step.after) {
        *before = places[*before];
    }
}

/// The lifetime of each arena root, as the first and the last of the times at which steps touch it; `None` for other
/// roots and for those that nothing touches.
pub(super) fn lifetimes(draft: &Draft<'_>, times: impl Fn(usize) -> usize) -> Vec<Option<Item>> {
    let mut items: Vec<Option<Item>> = vec![None; draft.roots.len()];
    for (step, content) in draft.steps.iter().enumerate() {
        for view in content.inputs.iter().chain(&content.outputs) {
            live_at(draft, &mut items, view.buffer.index(), times(step));
        }
    }
    items
}

fn live_at(draft: &Draft<'_>, items: &mut [Option<Item>], root: usize, time: usize) {
    if draft.roots[root].home == Home::Arena {
        let bytes = draft.roots[root].elements * 4;
        let item = items[root].get_or_insert(Item { bytes, first: time, last: time });
        item.first = item.first.min(time);
        item.last = item.last.max(time);
    }
}

fn peak(draft: &Draft<'_>, touched: &Touched, order: &[usize], merges: &Merges) -> usize {
    let mut items: Vec<Option<Item>> = vec![None; draft.roots.len()];
    for (time, step) in order.iter().enumerate() {
        for root in &touched[*step] {
            live_at(draft, &mut items, merges.root(*root), time);
        }
    }
    place::lower_bound(&items.into_iter().flatten().collect::<Vec<_>>())
}

/// How a step changes what lives: what it begins, less what it ends.
struct Growth<'a> {
    draft: &'a Draft<'a>,
    touched: &'a Touched,
    born: Vec<bool>,
    /// The steps to come that touch each root.
    uses: Vec<usize>,
}

impl Growth<'_> {
    fn of(&self, step: usize) -> i128 {
        let arena = self.touched[step].iter().filter(|root| self.draft.roots[**root].home == Home::Arena);
        arena.fold(0i128, |sum, root| {
            let bytes = self.draft.roots[*root].elements as i128;
            let begins = if self.born[*root] { 0 } else { bytes };
            let ends = if self.uses[*root] == 1 { bytes } else { 0 };
            sum + begins - ends
        })
    }
}

/// Takes the ready step that adds least to what lives, the first such.
fn lean_order(draft: &Draft<'_>, touched: &Touched) -> Vec<usize> {
    let count = draft.steps.len();
    let followers = followers(draft);
    let mut missing: Vec<usize> = draft.steps.iter().map(|step| step.after.len()).collect();
    let mut users: Vec<SmallVec<[usize; 4]>> = vec![SmallVec::new(); draft.roots.len()];
    for (step, roots) in touched.iter().enumerate() {
        for root in roots {
            users[*root].push(step);
        }
    }
    let uses = users.iter().map(SmallVec::len).collect();
    let mut growth = Growth { draft, touched, born: vec![false; draft.roots.len()], uses };
    let mut done = vec![false; count];
    // May hold a step several times; the entry with its growth as it is now counts.
    let mut ready: BinaryHeap<Reverse<(i128, usize)>> =
        (0..count).filter(|step| missing[*step] == 0).map(|step| Reverse((growth.of(step), step))).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse((grown, step))) = ready.pop() {
        if done[step] || grown != growth.of(step) {
            continue;
        }
        done[step] = true;
        order.push(step);
        for root in &touched[step] {
            let begins = !std::mem::replace(&mut growth.born[*root], true);
            growth.uses[*root] -= 1;
            // Whoever touches it now begins it no more; the last to touch it ends it.
            if begins || growth.uses[*root] == 1 {
                let waiting = users[*root].iter().filter(|user| missing[**user] == 0 && !done[**user]);
                ready.extend(waiting.map(|user| Reverse((growth.of(*user), *user))));
            }
        }
        for follower in &followers[step] {
            missing[*follower] -= 1;
            if missing[*follower] == 0 {
                ready.push(Reverse((growth.of(*follower), *follower)));
            }
        }
    }
    order
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
