//! How the work of a run is cut for a number of threads: data that a [`Pool`](crate::pool::Pool) executes.
//!
//! A schedule is a row of *regions*, with a barrier between each two. A region is a row of *units*, numbered from 0, that
//! may run at once and in any order. Each thread has a *share* of every region, neighbouring units that it starts with;
//! who is done with its own helps the others. Whoever makes a schedule numbers the units so that shares cost the same: most
//! runs need no help then, and a thread finds in its cache what it wrote in the region before.
//!
//! Depends on nothing.

use std::ops::Range;

/// The most regions of a schedule.
pub const MAX_REGIONS: usize = (1 << 20) - 2;
/// The most units of a region.
pub const MAX_UNITS: u32 = (1 << 22) - 1;

/// Regions and their shares; see the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    threads: usize,
    /// The number of units of each region; none is empty.
    units: Vec<u32>,
    /// For each region where each thread's share begins, and one past the last unit.
    cuts: Vec<u32>,
}

impl Schedule {
    /// No regions yet, for this many threads (at least one).
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), units: Vec::new(), cuts: Vec::new() }
    }

    /// Adds a region whose threads have shares of these numbers of units: those of thread 0 come first in the numbering. A
    /// region without units is left out. False where there are too many regions or units, or shares of more threads than
    /// there are; the schedule is unchanged then.
    #[must_use]
    pub fn push(&mut self, shares: &[u32]) -> bool {
        let units = shares.iter().try_fold(0u32, |sum, share| sum.checked_add(*share));
        let fits = shares.len() <= self.threads && self.units.len() < MAX_REGIONS;
        let Some(units) = units.filter(|units| *units <= MAX_UNITS && fits) else { return false };
        if units > 0 {
            self.units.push(units);
            let mut cut = 0;
            for thread in 0..=self.threads {
                self.cuts.push(cut);
                cut += shares.get(thread).copied().unwrap_or(0);
            }
        }
        true
    }

    /// How many threads it is for.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many regions there are.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.units.len()
    }

    /// How many units a region has; 0 where there is no such region.
    #[must_use]
    pub fn units(&self, region: usize) -> u32 {
        self.units.get(region).copied().unwrap_or(0)
    }

    /// The units with which a thread starts; none where there is no such region or thread.
    #[must_use]
    pub fn share(&self, region: usize, thread: usize) -> Range<u32> {
        let at = region.saturating_mul(self.threads + 1).saturating_add(thread);
        match (self.cuts.get(at), self.cuts.get(at.saturating_add(1))) {
            (Some(&begin), Some(&end)) if thread < self.threads => begin..end,
            _ => 0..0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_each_other() {
        let mut schedule = Schedule::new(3);
        assert!(schedule.push(&[2, 0, 3]) && schedule.push(&[1]));
        assert_eq!([0, 1, 2, 3].map(|thread| schedule.share(0, thread)), [0..2, 2..2, 2..5, 0..0]);
        assert_eq!([0, 1, 2].map(|thread| schedule.share(1, thread)), [0..1, 1..1, 1..1]);
        assert_eq!([0, 1, 2].map(|region| schedule.units(region)), [5, 1, 0]);
        assert_eq!(schedule.share(2, 0), 0..0);
    }

    #[test]
    fn empty_regions_are_left_out_and_large_ones_refused() {
        let mut schedule = Schedule::new(2);
        assert!(schedule.push(&[]) && schedule.push(&[0, 0]));
        assert_eq!(schedule.regions(), 0);
        assert!(!schedule.push(&[MAX_UNITS, 1]));
        assert!(!schedule.push(&[u32::MAX, 1]));
        assert!(!schedule.push(&[1, 1, 1]));
        assert!(schedule.push(&[MAX_UNITS]));
        assert_eq!((schedule.regions(), schedule.units(0)), (1, MAX_UNITS));
    }
}
