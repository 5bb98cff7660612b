#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
use proptest::prelude::*;

use super::*;

fn item(bytes: usize, first: usize, last: usize) -> Item {
    Item { bytes, first, last }
}

/// Checks that nothing overlaps, and what the placement says of itself.
fn check(items: &[Item], placement: &Placement) {
    let mut end = 0;
    for (at, a) in items.iter().enumerate() {
        assert!(placement.offsets[at].is_multiple_of(ALIGNMENT));
        end = end.max(placement.offsets[at] + a.room());
        for (other, b) in items.iter().enumerate().skip(at + 1) {
            let (x, y) = (placement.offsets[at], placement.offsets[other]);
            let apart = x + a.bytes <= y || y + b.bytes <= x;
            assert!(apart || a.last < b.first || b.last < a.first, "{a:?} at {x} and {b:?} at {y}");
        }
    }
    assert_eq!(placement.bytes, end);
    let sum_at = |step: usize| items.iter().filter(|i| i.first <= step && step <= i.last).map(Item::room).sum();
    let bound: usize = items.iter().map(|item| sum_at(item.first)).max().unwrap_or(0);
    assert_eq!(placement.lower_bound, bound);
    assert!(placement.bytes >= bound);
    assert!(placement.is_optimal || placement.bytes > bound);
}

/// The lowest arena, by trying every order: in one of them each item falls to where it lies in the best placement.
fn lowest(items: &[Item]) -> usize {
    fn drop_in(items: &[Item], placed: &mut Vec<(usize, usize)>, best: &mut usize, height: usize) {
        if placed.len() == items.len() {
            *best = height.min(*best);
            return;
        }
        for at in 0..items.len() {
            if placed.iter().any(|(other, _)| *other == at) {
                continue;
            }
            let item = &items[at];
            let below =
                placed.iter().filter(|(other, _)| items[*other].first <= item.last && item.first <= items[*other].last);
            let offset = below.map(|(other, offset)| offset + items[*other].room()).max().unwrap_or(0);
            if offset + item.room() < *best {
                placed.push((at, offset));
                drop_in(items, placed, best, height.max(offset + item.room()));
                placed.pop();
            }
        }
    }
    let mut best = usize::MAX;
    drop_in(items, &mut Vec::new(), &mut best, 0);
    best
}

/// Items that fill a rectangle without a gap: cut at random, then shuffled. Greedy strategies seldom put them together
/// again.
fn puzzle(seed: u64, cuts: usize, height: usize, length: usize) -> Vec<Item> {
    let mut state = seed;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    // (first, length, height)
    let mut pieces = vec![(0, length, height)];
    for _ in 0..cuts {
        let at = random(pieces.len());
        let (first, length, height) = pieces[at];
        if random(2) == 0 && length > 1 {
            let cut = 1 + random(length - 1);
            pieces[at] = (first, cut, height);
            pieces.push((first + cut, length - cut, height));
        } else if height > 1 {
            let cut = 1 + random(height - 1);
            pieces[at] = (first, length, cut);
            pieces.push((first, length, height - cut));
        }
    }
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, random(at + 1));
    }
    pieces.into_iter().map(|(first, length, height)| item(height * ALIGNMENT, first, first + length - 1)).collect()
}

fn greedy_only(items: &[Item]) -> Placement {
    place(items, &SearchLimits::NONE)
}

#[test]
fn a_chain_takes_its_largest_pair() {
    let chain = [item(1000, 0, 1), item(500, 1, 2), item(2000, 2, 3), item(64, 3, 4)];
    let placement = greedy_only(&chain);
    assert_eq!((placement.bytes, placement.lower_bound), (512 + 2048, 2560));
    assert!(placement.is_optimal);
}

#[test]
fn nothing_takes_nothing() {
    assert_eq!(place(&[], &SearchLimits::default()).bytes, 0);
}

#[test]
fn the_search_puts_puzzles_together() {
    let mut missed = 0;
    for seed in 0..24 {
        let items = puzzle(seed, 70, 200, 60);
        let quick = greedy_only(&items);
        check(&items, &quick);
        missed += usize::from(!quick.is_optimal);
        let placement = place(&items, &SearchLimits::default());
        check(&items, &placement);
        assert_eq!(placement.bytes, 200 * ALIGNMENT, "seed {seed}: {}", placement.strategy);
        assert!(placement.is_optimal);
    }
    assert!(missed >= 6, "the quick strategies miss only {missed} of 24, so the search is not tested");
}

#[test]
fn the_same_work_gives_the_same_placement() {
    let items = puzzle(5, 120, 300, 90);
    let limits = SearchLimits { work: 3_000_000, ..SearchLimits::default() };
    let first = place(&items, &limits);
    check(&items, &first);
    assert_eq!(first, place(&items, &limits));
    // The work is kept, within what one node takes.
    assert!(first.bytes <= greedy_only(&items).bytes);
}

#[test]
fn what_is_enough_ends_the_search() {
    let items = puzzle(3, 70, 200, 60);
    let (quick, lower) = (greedy_only(&items).bytes, 200 * ALIGNMENT);
    let enough = (quick + lower) / 2;
    assert!(lower < enough && enough < quick);
    let placement = place(&items, &SearchLimits { enough, ..SearchLimits::default() });
    check(&items, &placement);
    assert!(placement.bytes <= enough, "{}", placement.bytes);
}

#[test]
fn an_optimum_above_the_lower_bound_is_proven() {
    // One of a hundred thousand random cases of ten items, nearly all of which reach the bound.
    let parts: [(usize, usize, usize); 10] =
        [(2, 3, 5), (1, 7, 8), (2, 7, 9), (3, 2, 3), (4, 4, 8), (4, 0, 1), (2, 2, 5), (4, 1, 2), (1, 0, 0), (4, 6, 6)];
    let items = parts.map(|(units, first, last)| item(units * ALIGNMENT, first, last));
    let placement = place(&items, &SearchLimits::default());
    check(&items, &placement);
    assert_eq!((placement.bytes, placement.lower_bound), (10 * ALIGNMENT, 9 * ALIGNMENT));
    assert_eq!(lowest(&items), 10 * ALIGNMENT);
    assert!(placement.is_optimal);
    // Without a search there is no proof.
    assert!(!greedy_only(&items).is_optimal);
}

#[test]
fn many_items_take_little_time() {
    // A chain with a skip now and then, and everything alive at once: pairs grow linearly and quadratically.
    let count = 100_000;
    let chain: Vec<Item> = (0..count).map(|at| item(64 * (1 + at % 7), at, at + 1 + (at % 50) / 49 * 30)).collect();
    let placement = place(&chain, &SearchLimits::default());
    assert!(placement.bytes <= placement.lower_bound * 2);
    let crowd: Vec<Item> = (0..count).map(|at| item(64 * (1 + at % 7), at % 10, count - at % 10)).collect();
    let placement = place(&crowd, &SearchLimits::default());
    assert!(placement.is_optimal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn random_lifetimes_never_overlap(
        parts in prop::collection::vec((1usize..5000, 0usize..40, 0usize..12), 0..60)
    ) {
        let items: Vec<Item> = parts.into_iter().map(|(bytes, first, len)| item(bytes, first, first + len)).collect();
        check(&items, &greedy_only(&items));
        check(&items, &place(&items, &SearchLimits { work: 200_000, ..SearchLimits::default() }));
    }

    #[test]
    fn few_items_are_placed_as_low_as_any_order_gives(
        parts in prop::collection::vec((1usize..6, 0usize..6, 0usize..4), 1..7)
    ) {
        let items: Vec<Item> =
            parts.into_iter().map(|(units, first, len)| item(units * ALIGNMENT, first, first + len)).collect();
        let placement = place(&items, &SearchLimits::default());
        check(&items, &placement);
        prop_assert!(placement.is_optimal);
        prop_assert_eq!(placement.bytes, lowest(&items));
    }
}
