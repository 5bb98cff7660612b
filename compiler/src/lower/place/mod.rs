//! Offsets in the arena: buffers that live at the same time must not share bytes; the arena should be small.
//!
//! The problem is NP-hard, but good orders with a good fit are nearly always at the lower bound (the largest sum of
//! buffers that live at once). The strategies of [`greedy`] are tried until one reaches it, and the best is kept; where
//! none does, [`search`] looks for a lower arena, within a limit.
//!
//! | file | what lives there |
//! |---|---|
//! | `greedy.rs` | orders and fits, near-linear in the number of pairs that meet |
//! | `problem.rs` | the items as the search sees them: sections of time, who meets whom |
//! | `search.rs` | depth-first search for a placement within a height |
//! | `improve.rs` | which heights are tried, in which orders, with how much work |
//!
//! The limit is counted in work, which is the same on every machine, so a plan is too. The limit on time is for those who
//! would rather wait for a time than for a result: reached first, it makes the plan depend on the machine.

mod greedy;
mod improve;
mod problem;
mod search;
#[cfg(test)]
mod tests;

use std::time::Duration;

use incept_ir::plan::ALIGNMENT;

/// A buffer to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its size.
    pub bytes: usize,
    /// The first time at which something touches it: a step or a region.
    pub first: usize,
    /// The last time at which something touches it.
    pub last: usize,
}

impl Item {
    /// The bytes that it takes: up to the next boundary.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
    }
}

/// How long to search for a lower arena where the quick strategies miss the lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchLimits {
    /// The work: elements that the search looks at. A machine does 50 to 400 million in a second.
    pub work: u64,
    /// The time after which it ends even so.
    pub time: Duration,
    /// An arena of this many bytes is small enough to end the search; 0 for the smallest.
    pub enough: usize,
}

impl SearchLimits {
    /// No search at all.
    pub const NONE: Self = Self { work: 0, time: Duration::ZERO, enough: 0 };
}

impl Default for SearchLimits {
    /// A fraction of a second's work, and far more time than that takes.
    fn default() -> Self {
        Self { work: 50_000_000, time: Duration::from_secs(20), enough: 0 }
    }
}

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The offset of each item, a multiple of [`ALIGNMENT`].
    pub offsets: Vec<usize>,
    /// The arena's size, a multiple of [`ALIGNMENT`].
    pub bytes: usize,
    /// The largest sum of items that live at once.
    pub lower_bound: usize,
    /// Whether no smaller arena exists: it is as large as the lower bound, or the search for a smaller one was exhausted.
    pub is_optimal: bool,
    /// The strategy that found it.
    pub strategy: &'static str,
}

/// Places the items. Lifetimes are ranges: `first ≤ last`. The same items and the same limit on work give the same
/// placement everywhere, unless the time runs out first.
#[must_use]
pub fn place(items: &[Item], limits: &SearchLimits) -> Placement {
    let lower_bound = lower_bound(items);
    let nothing =
        Placement { offsets: Vec::new(), bytes: 0, lower_bound, is_optimal: true, strategy: "nothing to place" };
    let mut best: Option<Placement> = None;
    for (strategy, offsets) in greedy::strategies(items) {
        let ends = items.iter().zip(&offsets).map(|(item, offset)| offset.saturating_add(item.room()));
        let bytes = ends.max().unwrap_or(0);
        if best.as_ref().is_none_or(|best| bytes < best.bytes) {
            best = Some(Placement { offsets, bytes, lower_bound, is_optimal: bytes == lower_bound, strategy });
        }
        if bytes == lower_bound {
            break;
        }
    }
    match best {
        Some(best) if best.is_optimal || limits.work == 0 => best,
        Some(best) => improve::improve(items, best, limits),
        None => nothing,
    }
}

/// The largest sum of items that live at once: no placement needs less.
#[must_use]
pub fn lower_bound(items: &[Item]) -> usize {
    let mut changes: Vec<(usize, bool, usize)> = Vec::with_capacity(items.len() * 2);
    for item in items {
        changes.push((item.first, true, item.room()));
        changes.push((item.last + 1, false, item.room()));
    }
    // At equal times, what ends makes room before what begins.
    changes.sort_unstable();
    let (mut live, mut largest) = (0usize, 0);
    for (_, begins, bytes) in changes {
        live = if begins { live.saturating_add(bytes) } else { live.saturating_sub(bytes) };
        largest = largest.max(live);
    }
    largest
}
