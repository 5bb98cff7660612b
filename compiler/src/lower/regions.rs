//! Parallel regions: consecutive steps that run between two barriers.
//!
//! Starting from an order of steps, each step opens a region, and steps that are ready there are drawn forward into it,
//! the next ones first: as many as fit without raising the peak. What one step of a region touches lives as long as any
//! other runs, so a step drawn forward lengthens the lives of what it writes and may shorten those of what it reads.
//!
//! A step waits for all that it depends on, and one that runs in place for all other readers of what it overwrites, so
//! the steps that are ready together never get into each other's way.

use std::collections::BTreeSet;
use std::ops::Range;

use smallvec::SmallVec;

use super::draft::{Draft, Home};
use super::place::{self, Item, Placement, SearchLimits};
use super::schedule::{self, Touched};

/// The pass's name on the command line and in reports.
pub const NAME: &str = "parallel_regions";

/// After this many refusals no more steps are offered a place in a region: keeps the time linear.
const MAX_REFUSALS: usize = 16;

/// An order of steps, cut into regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regions {
    /// The steps, in order.
    pub order: Vec<usize>,
    /// Where each region begins in that order, and at last where the last one ends.
    pub bounds: Vec<usize>,
}

impl Regions {
    /// A region a step.
    pub fn each(steps: usize) -> Self {
        Self { order: (0..steps).collect(), bounds: (0..=steps).collect() }
    }

    /// The lifetime of each arena root, counted in regions.
    pub fn lifetimes(&self, draft: &Draft<'_>) -> Vec<Option<Item>> {
        let mut times = vec![0; self.order.len()];
        for (region, bounds) in self.bounds.windows(2).enumerate() {
            for step in &self.order[bounds[0]..bounds[1]] {
                times[*step] = region;
            }
        }
        schedule::lifetimes(draft, |step| times[step])
    }
}

/// Regions, and where the roots lie for them.
#[derive(Debug)]
pub(super) struct Planned {
    pub regions: Regions,
    pub placement: Placement,
    /// The offset of each arena root in [`Planned::placement`].
    pub offsets: Vec<Option<usize>>,
}

impl Planned {
    /// Places the roots for these regions.
    pub fn new(draft: &Draft<'_>, regions: Regions, limits: &SearchLimits) -> Self {
        let items = regions.lifetimes(draft);
        let placement = place::place(&items.iter().copied().flatten().collect::<Vec<_>>(), limits);
        let mut offsets = placement.offsets.iter().copied();
        let offsets = items.iter().map(|item| item.and_then(|_| offsets.next())).collect();
        Self { regions, placement, offsets }
    }
}

/// The regions to run: wide ones, unless the arena is smaller with a region a step. `peak` is the peak of that.
pub(super) fn choose(draft: &Draft<'_>, peak: usize, limits: &SearchLimits) -> Planned {
    let wide = Planned::new(draft, form(draft, peak), limits);
    if wide.placement.bytes <= peak {
        return wide;
    }
    // Lives that overlap more may fit worse, though the largest sum is the same.
    let each = Planned::new(draft, Regions::each(draft.steps.len()), limits);
    if each.placement.bytes < wide.placement.bytes { each } else { wide }
}

/// One root while steps are drawn forward.
#[derive(Debug, Default, Clone)]
struct Life {
    bytes: i128,
    first: usize,
    last: usize,
    /// The steps that touch it, as they were ordered at first.
    users: SmallVec<[usize; 4]>,
    /// How many of `users` are left once those at the end that were drawn forward are dropped.
    left: usize,
    /// The last time to which a step that touches it was drawn.
    drawn: usize,
}

struct Drawing<'a> {
    touched: &'a Touched,
    lives: Vec<Life>,
    /// What lives at each time; times are the positions of the steps as they were ordered at first.
    profile: Profile,
    drawn: Vec<bool>,
    limit: i128,
}

/// Draws steps together as far as no more than `limit` bytes live at once.
pub(super) fn form(draft: &Draft<'_>, limit: usize) -> Regions {
    let touched = schedule::touched(draft);
    let followers = schedule::followers(draft);
    let mut drawing = Drawing::new(draft, &touched, limit);
    let mut missing: Vec<usize> = draft.steps.iter().map(|step| step.after.len()).collect();
    let mut ready: BTreeSet<usize> = (0..draft.steps.len()).filter(|step| missing[*step] == 0).collect();
    let mut regions = Regions { order: Vec::with_capacity(draft.steps.len()), bounds: vec![0] };
    for time in 0..draft.steps.len() {
        if drawing.drawn[time] {
            continue;
        }
        let begin = regions.order.len();
        regions.order.push(time);
        let mut refusals = 0;
        for step in ready.range(time + 1..) {
            if drawing.draw(*step, time) {
                regions.order.push(*step);
            } else {
                refusals += 1;
                if refusals == MAX_REFUSALS {
                    break;
                }
            }
        }
        for step in &regions.order[begin..] {
            ready.remove(step);
            for follower in &followers[*step] {
                missing[*follower] -= 1;
                if missing[*follower] == 0 {
                    ready.insert(*follower);
                }
            }
        }
        regions.bounds.push(regions.order.len());
    }
    regions
}

impl<'a> Drawing<'a> {
    fn new(draft: &Draft<'_>, touched: &'a Touched, limit: usize) -> Self {
        let mut lives = vec![Life::default(); draft.roots.len()];
        for (step, roots) in touched.iter().enumerate() {
            for root in roots {
                lives[*root].users.push(step);
            }
        }
        let mut profile = Profile::new(touched.len());
        for (life, root) in lives.iter_mut().zip(&draft.roots) {
            let (Home::Arena, Some(first), Some(last)) = (root.home, life.users.first(), life.users.last()) else {
                continue;
            };
            let bytes = Item { bytes: root.elements * 4, first: *first, last: *last }.room();
            (life.first, life.last, life.left, life.bytes) = (*first, *last, life.users.len(), bytes as i128);
            profile.add(life.first..life.last + 1, life.bytes);
        }
        Self { touched, lives, profile, drawn: vec![false; touched.len()], limit: limit as i128 }
    }

    /// Moves a step forward to this time, where the limit allows.
    fn draw(&mut self, step: usize, time: usize) -> bool {
        self.drawn[step] = true;
        let mut moves: SmallVec<[(usize, usize, usize, usize); 4]> = SmallVec::new();
        for root in &self.touched[step] {
            let life = &self.lives[*root];
            if life.bytes == 0 {
                continue;
            }
            let mut left = life.left;
            while left > 0 && self.drawn[life.users[left - 1]] {
                left -= 1;
            }
            let drawn = life.drawn.max(time);
            let last = life.users[..left].last().map_or(drawn, |user| drawn.max(*user));
            moves.push((*root, life.first.min(time), last, left));
        }
        for (root, first, last, _) in &moves {
            let life = &self.lives[*root];
            self.profile.add(*first..life.first, life.bytes);
            self.profile.add(last + 1..life.last + 1, -life.bytes);
        }
        let fits = self.profile.largest(time..step + 1) <= self.limit;
        for (root, first, last, left) in moves {
            let life = &mut self.lives[root];
            if fits {
                (life.first, life.last, life.left) = (first, last, left);
                life.drawn = life.drawn.max(time);
            } else {
                self.profile.add(first..life.first, -life.bytes);
                self.profile.add(last + 1..life.last + 1, life.bytes);
            }
        }
        self.drawn[step] = fits;
        fits
    }
}

/// A sum at each time: adds to ranges, gives the largest of a range, both in logarithmic time. A segment tree in an
/// array, node `n` above `2n` and `2n + 1`; what is added to all below a node is kept there.
#[derive(Debug)]
struct Profile {
    len: usize,
    largest: Vec<i128>,
    pending: Vec<i128>,
}

impl Profile {
    fn new(len: usize) -> Self {
        Self { len, largest: vec![0; len * 2], pending: vec![0; len] }
    }

    fn apply(&mut self, node: usize, value: i128) {
        self.largest[node] += value;
        if let Some(pending) = self.pending.get_mut(node) {
            *pending += value;
        }
    }

    /// The fewest nodes that make up a range.
    fn nodes(&self, range: &Range<usize>) -> SmallVec<[usize; 64]> {
        let (mut low, mut high) = (range.start + self.len, range.end + self.len);
        let mut nodes = SmallVec::new();
        while low < high {
            if low % 2 == 1 {
                nodes.push(low);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                nodes.push(high);
            }
            (low, high) = (low / 2, high / 2);
        }
        nodes
    }

    fn add(&mut self, range: Range<usize>, value: i128) {
        if range.is_empty() {
            return;
        }
        for node in self.nodes(&range) {
            self.apply(node, value);
        }
        for leaf in [range.start, range.end - 1] {
            let mut node = (leaf + self.len) / 2;
            while node > 0 {
                let below = self.largest[node * 2].max(self.largest[node * 2 + 1]);
                self.largest[node] = below + self.pending[node];
                node /= 2;
            }
        }
    }

    fn largest(&self, range: Range<usize>) -> i128 {
        let value = |node: usize| {
            // What is pending above counts too.
            let above = std::iter::successors(Some(node / 2), |above| Some(above / 2)).take_while(|above| *above > 0);
            self.largest[node] + above.map(|above| self.pending[above]).sum::<i128>()
        };
        self.nodes(&range).into_iter().map(value).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_profile_is_an_array(
            len in 1usize..40,
            changes in prop::collection::vec((0usize..40, 0usize..40, -50i128..50, 0usize..40, 0usize..40), 1..60),
        ) {
            let mut plain = vec![0i128; len];
            let mut profile = Profile::new(len);
            for (begin, end, value, low, high) in changes {
                let range = begin.min(len)..end.min(len);
                if range.start < range.end {
                    plain[range.clone()].iter_mut().for_each(|sum| *sum += value);
                }
                profile.add(range, value);
                let (low, high) = (low.min(len - 1), high.min(len - 1));
                let (low, high) = (low.min(high), low.max(high));
                prop_assert_eq!(profile.largest(low..high + 1), *plain[low..=high].iter().max().unwrap());
            }
        }
    }
}
