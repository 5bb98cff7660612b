//! What the search knows about the items before it begins.
//!
//! Time is cut into *sections*: the steps at which something was born last before something dies. At any other step no
//! more lives than at one of these, so only sections need to be looked at.

use super::Item;
use super::greedy::{Meeting, count_pairs};

/// The most items that are searched, and the most pairs of them that meet.
const MAX_ITEMS: usize = 4096;
const MAX_PAIRS: usize = 1 << 20;

/// An item in units of the search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub size: usize,
    /// The first and the last section in which it lives.
    pub first: usize,
    pub last: usize,
}

/// A set of small numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub fn none(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    pub fn insert(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    pub fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    pub fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    pub fn fill(&mut self) {
        self.0.fill(u64::MAX);
    }
}

#[derive(Debug)]
pub(super) struct Problem {
    /// Bytes in a unit: the greatest common divisor of all rooms.
    pub unit: usize,
    pub blocks: Vec<Block>,
    /// The blocks that live in some section with each block.
    pub meeting: Vec<Vec<usize>>,
    /// The blocks that live in each section.
    pub sections: Vec<Vec<usize>>,
    /// Their sum.
    pub totals: Vec<usize>,
    /// The blocks whose places bear on a section: those that live there, and those that meet them.
    pub near: Vec<Bits>,
}

impl Problem {
    /// `None` where there are too many items or pairs of them to search.
    pub fn new(items: &[Item]) -> Option<Self> {
        if items.is_empty() || items.len() > MAX_ITEMS || count_pairs(items) > MAX_PAIRS {
            return None;
        }
        let unit = items.iter().fold(0, |unit, item| gcd(unit, item.room())).max(1);
        let times = sections(items);
        let blocks: Vec<Block> = items
            .iter()
            .map(|item| Block {
                size: item.room() / unit,
                first: times.partition_point(|time| *time < item.first),
                last: times.partition_point(|time| *time <= item.last).saturating_sub(1),
            })
            .collect();
        let mut sections = vec![Vec::new(); times.len()];
        for (at, block) in blocks.iter().enumerate() {
            for section in &mut sections[block.first..=block.last] {
                section.push(at);
            }
        }
        let pairs = Meeting::new(items);
        let meeting: Vec<Vec<usize>> = (0..items.len()).map(|at| pairs.of(at).collect()).collect();
        let near = sections.iter().map(|section| {
            let mut near = Bits::none(items.len());
            for at in section {
                near.insert(*at);
                meeting[*at].iter().for_each(|other| near.insert(*other));
            }
            near
        });
        let near = near.collect();
        let totals = sections.iter().map(|section| section.iter().map(|at| blocks[*at].size).sum()).collect();
        Some(Self { unit, blocks, meeting, sections, totals, near })
    }

    /// How many blocks live on from each section into the next.
    pub fn cuts(&self) -> Vec<usize> {
        let mut cuts = vec![0; self.sections.len()];
        for block in &self.blocks {
            for cut in &mut cuts[block.first..block.last] {
                *cut += 1;
            }
        }
        cuts
    }
}

fn gcd(a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The steps at which as much lives as at any near them.
fn sections(items: &[Item]) -> Vec<usize> {
    // A death is at the step after the last.
    let births = items.iter().map(|item| (item.first, true));
    let mut events: Vec<(usize, bool)> = births.chain(items.iter().map(|item| (item.last + 1, false))).collect();
    // At equal times, deaths come first.
    events.sort_unstable();
    let (mut sections, mut born) = (Vec::new(), None);
    for (time, is_birth) in events {
        if is_birth {
            born = Some(time);
        } else if let Some(time) = born.take() {
            sections.push(time);
        }
    }
    sections
}
