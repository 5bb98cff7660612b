//! Offsets in the arena: buffers that live at the same step must not share bytes; the arena should be small.
//!
//! The problem is NP-hard, but good orders with a good fit are nearly always at the lower bound (the largest sum of
//! buffers that live at once). Each strategy is tried until one reaches it, and the best is kept. A strategy is an order
//! and a fit, one line in [`STRATEGIES`]; a search that improves on the best one belongs after the loop in [`place`].

use std::cmp::Reverse;

use incept_ir::plan::ALIGNMENT;

/// A buffer to place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its size.
    pub bytes: usize,
    /// The first step that touches it.
    pub first: usize,
    /// The last step that touches it.
    pub last: usize,
}

impl Item {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The bytes that it takes: up to the next boundary.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT)
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
    /// The strategy that found it.
    pub strategy: &'static str,
}

impl Placement {
    /// Whether no smaller arena exists.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.bytes == self.lower_bound
    }
}

#[derive(Debug, Clone, Copy)]
enum Fit {
    /// The lowest gap that is large enough.
    First,
    /// The smallest gap that is large enough.
    Best,
}

/// The key by which a strategy sorts items; the smallest is placed first.
type Key = fn(&Item) -> (Reverse<usize>, usize);

/// The strategies, in the order in which they are tried.
const STRATEGIES: [(&str, Key, Fit); 6] = [
    ("largest first, first fit", |item| (Reverse(item.room()), item.first), Fit::First),
    ("largest first, best fit", |item| (Reverse(item.room()), item.first), Fit::Best),
    ("longest first, first fit", |item| (Reverse(item.last - item.first), usize::MAX - item.room()), Fit::First),
    (
        "largest area first, first fit",
        |item| (Reverse(item.room().saturating_mul(item.last - item.first + 1)), item.first),
        Fit::First,
    ),
    ("earliest first, best fit", |item| (Reverse(usize::MAX - item.first), usize::MAX - item.room()), Fit::Best),
    ("earliest first, first fit", |item| (Reverse(usize::MAX - item.first), usize::MAX - item.room()), Fit::First),
];

/// Above this many items only the first two strategies are tried: each takes quadratic time.
const MANY: usize = 4096;

/// Places the items. Lifetimes are ranges: `first ≤ last`.
#[must_use]
pub fn place(items: &[Item]) -> Placement {
    let lower_bound = lower_bound(items);
    let tried = if items.len() > MANY { 2 } else { STRATEGIES.len() };
    let mut best: Option<Placement> = None;
    for (strategy, key, fit) in STRATEGIES.into_iter().take(tried) {
        let offsets = greedy(items, key, fit);
        let ends = items.iter().zip(&offsets).map(|(item, offset)| offset.saturating_add(item.room()));
        let bytes = ends.max().unwrap_or(0);
        if best.as_ref().is_none_or(|best| bytes < best.bytes) {
            best = Some(Placement { offsets, bytes, lower_bound, strategy });
        }
        if bytes == lower_bound {
            break;
        }
    }
    best.unwrap_or(Placement { offsets: Vec::new(), bytes: 0, lower_bound, strategy: "nothing to place" })
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

fn greedy(items: &[Item], key: Key, fit: Fit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| (key(&items[*at]), *at));
    let mut offsets = vec![0usize; items.len()];
    // The items already placed, by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(items.len());
    for at in order {
        let item = &items[at];
        let mut top = 0usize;
        let mut found: Option<(usize, usize)> = None;
        for other in placed.iter().copied().filter(|other| items[*other].meets(item)) {
            let gap = offsets[other].saturating_sub(top);
            if gap >= item.room() {
                match fit {
                    Fit::First => {
                        found = Some((gap, top));
                        break;
                    }
                    Fit::Best if found.is_none_or(|(smallest, _)| gap < smallest) => found = Some((gap, top)),
                    Fit::Best => {}
                }
            }
            top = top.max(offsets[other].saturating_add(items[other].room()));
        }
        offsets[at] = found.map_or(top, |(_, offset)| offset);
        let position = placed.partition_point(|other| offsets[*other] <= offsets[at]);
        placed.insert(position, at);
    }
    offsets
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn item(bytes: usize, first: usize, last: usize) -> Item {
        Item { bytes, first, last }
    }

    #[test]
    fn a_chain_takes_its_largest_pair() {
        let chain = [item(1000, 0, 1), item(500, 1, 2), item(2000, 2, 3), item(64, 3, 4)];
        let placement = place(&chain);
        assert_eq!((placement.bytes, placement.lower_bound), (512 + 2048, 2560));
        assert!(placement.is_optimal());
    }

    #[test]
    fn nothing_takes_nothing() {
        assert_eq!(place(&[]).bytes, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn random_lifetimes_never_overlap(
            parts in prop::collection::vec((1usize..5000, 0usize..40, 0usize..12), 0..60)
        ) {
            let items: Vec<Item> = parts.into_iter().map(|(bytes, first, len)| item(bytes, first, first + len)).collect();
            let placement = place(&items);
            for (at, a) in items.iter().enumerate() {
                prop_assert!(placement.offsets[at].is_multiple_of(ALIGNMENT));
                prop_assert!(placement.offsets[at] + a.bytes <= placement.bytes);
                for (other, b) in items.iter().enumerate().skip(at + 1) {
                    let (x, y) = (placement.offsets[at], placement.offsets[other]);
                    let apart = x + a.bytes <= y || y + b.bytes <= x;
                    prop_assert!(apart || a.last < b.first || b.last < a.first);
                }
            }
            let sum_at = |step: usize| items.iter().filter(|i| i.first <= step && step <= i.last).map(Item::room).sum();
            let bound: usize = (0..60).map(sum_at).max().unwrap();
            prop_assert_eq!(placement.lower_bound, bound);
            prop_assert!(placement.bytes >= bound);
        }
    }
}
