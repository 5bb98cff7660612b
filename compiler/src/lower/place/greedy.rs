//! Greedy placement: an order of the items, and the gap that each one takes among those placed before.
//!
//! In the order of time this is an allocator that is replayed, in `n log n` time. In any other order each item looks at all
//! that it meets, so these strategies are only tried where not too many pairs of items meet.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Item;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The lowest gap that is large enough.
    First,
    /// The smallest gap that is large enough.
    Best,
}

/// The key by which a strategy sorts items; the smallest is placed first.
type Key = fn(&Item) -> (Reverse<usize>, usize);

/// The strategies that look at pairs, in the order in which they are tried.
const BY_PAIRS: [(&str, Key, Fit); 4] = [
    ("largest first, first fit", |item| (Reverse(item.room()), item.first), Fit::First),
    ("largest first, best fit", |item| (Reverse(item.room()), item.first), Fit::Best),
    ("longest first, first fit", |item| (Reverse(item.last - item.first), usize::MAX - item.room()), Fit::First),
    (
        "largest area first, first fit",
        |item| (Reverse(item.room().saturating_mul(item.last - item.first + 1)), item.first),
        Fit::First,
    ),
];

/// The strategies in the order of time.
const IN_TIME: [(&str, Fit); 2] = [("earliest first, best fit", Fit::Best), ("earliest first, first fit", Fit::First)];

/// The most pairs that the strategies by pairs look at.
const MAX_PAIRS: usize = 1 << 22;

/// Every strategy's name and offsets, computed as they are asked for.
pub(super) fn strategies(items: &[Item]) -> impl Iterator<Item = (&'static str, Vec<usize>)> {
    let mut meeting = None;
    let few = count_pairs(items) <= MAX_PAIRS;
    let by_pairs = BY_PAIRS.into_iter().filter(move |_| few).map(move |(name, key, fit)| {
        let meeting = meeting.get_or_insert_with(|| Meeting::new(items));
        (name, by_pairs(items, meeting, key, fit))
    });
    // The lowest gap is found by looking at all of them.
    let in_time = IN_TIME.into_iter().filter(move |(_, fit)| few || *fit == Fit::Best);
    by_pairs.chain(in_time.map(|(name, fit)| (name, replay(items, fit))))
}

/// The items by their first step, the larger first.
fn by_birth(items: &[Item]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| (items[*at].first, Reverse(items[*at].room()), *at));
    order
}

/// Calls `each` with every item, in the order of birth, and those born before it that live when it is born.
fn sweep(items: &[Item], mut each: impl FnMut(usize, &BTreeSet<(usize, usize)>)) {
    // By last step.
    let mut live: BTreeSet<(usize, usize)> = BTreeSet::new();
    for at in by_birth(items) {
        while live.first().is_some_and(|(last, _)| *last < items[at].first) {
            live.pop_first();
        }
        each(at, &live);
        live.insert((items[at].last, at));
    }
}

/// How many pairs of items meet.
pub(super) fn count_pairs(items: &[Item]) -> usize {
    let mut pairs = 0usize;
    sweep(items, |_, live| pairs = pairs.saturating_add(live.len()));
    pairs
}

/// Which items live at some step with each item.
#[derive(Debug)]
pub(super) struct Meeting(Vec<Vec<u32>>);

impl Meeting {
    /// Takes time and memory for each pair: see [`count_pairs`].
    pub fn new(items: &[Item]) -> Self {
        let mut meeting = vec![Vec::new(); items.len()];
        let id = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        sweep(items, |at, live| {
            for (_, other) in live {
                meeting[at].push(id(*other));
                meeting[*other].push(id(at));
            }
        });
        Self(meeting)
    }

    /// Those that one item meets.
    pub fn of(&self, at: usize) -> impl Iterator<Item = usize> {
        self.0[at].iter().map(|other| *other as usize)
    }
}

fn by_pairs(items: &[Item], meeting: &Meeting, key: Key, fit: Fit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| (key(&items[*at]), *at));
    let mut offsets: Vec<Option<usize>> = vec![None; items.len()];
    let mut placed: Vec<(usize, usize)> = Vec::new();
    for at in order {
        let room = items[at].room();
        placed.clear();
        let found = meeting.of(at).filter_map(|other| Some((offsets[other]?, items[other].room())));
        placed.extend(found);
        placed.sort_unstable();
        let mut top = 0usize;
        let mut found: Option<(usize, usize)> = None;
        for (offset, other) in &placed {
            let gap = offset.saturating_sub(top);
            if gap >= room && found.is_none_or(|(smallest, _)| gap < smallest) {
                found = Some((gap, top));
                if fit == Fit::First {
                    break;
                }
            }
            top = top.max(offset.saturating_add(*other));
        }
        offsets[at] = Some(found.map_or(top, |(_, offset)| offset));
    }
    offsets.into_iter().map(Option::unwrap_or_default).collect()
}

/// Gaps between what lives, below the highest of it.
#[derive(Debug, Default)]
struct Gaps {
    /// Size by offset.
    at: BTreeMap<usize, usize>,
    /// (size, offset).
    by_size: BTreeSet<(usize, usize)>,
    /// Where the highest of what lives ends.
    top: usize,
}

impl Gaps {
    fn insert(&mut self, offset: usize, size: usize) {
        self.at.insert(offset, size);
        self.by_size.insert((size, offset));
    }

    fn remove(&mut self, offset: usize) -> usize {
        let size = self.at.remove(&offset).unwrap_or(0);
        self.by_size.remove(&(size, offset));
        size
    }

    fn take(&mut self, room: usize, fit: Fit) -> usize {
        let found = match fit {
            Fit::Best => self.by_size.range((room, 0)..).next().map(|(_, offset)| *offset),
            Fit::First => self.at.iter().find(|(_, size)| **size >= room).map(|(offset, _)| *offset),
        };
        let Some(offset) = found else {
            let offset = self.top;
            self.top = self.top.saturating_add(room);
            return offset;
        };
        let size = self.remove(offset);
        if size > room {
            self.insert(offset + room, size - room);
        }
        offset
    }

    fn give(&mut self, offset: usize, room: usize) {
        let (mut start, mut size) = (offset, room);
        let below = self.at.range(..offset).next_back().map(|(start, size)| (*start, *size));
        if let Some((below, len)) = below.filter(|(below, len)| below + len == offset) {
            self.remove(below);
            (start, size) = (below, size + len);
        }
        if self.at.contains_key(&(offset + room)) {
            size += self.remove(offset + room);
        }
        if start + size == self.top {
            self.top = start;
        } else {
            self.insert(start, size);
        }
    }
}

fn replay(items: &[Item], fit: Fit) -> Vec<usize> {
    let mut offsets = vec![0usize; items.len()];
    let mut live: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut gaps = Gaps::default();
    for at in by_birth(items) {
        while let Some((last, dead)) = live.first().copied().filter(|(last, _)| *last < items[at].first) {
            live.remove(&(last, dead));
            gaps.give(offsets[dead], items[dead].room());
        }
        offsets[at] = gaps.take(items[at].room(), fit);
        live.insert((items[at].last, at));
    }
    offsets
}
