//! Depth-first search for a placement within a given height.
//!
//! Blocks are placed from the bottom up, each as low as those before it allow, in ascending order of their offsets (and of
//! rank, where these are equal): every placement can be pressed down into one of this form, so no other needs to be
//! looked at. (The idea of such canonical solutions, and that of pruning by sections, dominance and hats, are from
//! M. D. Moffitt, MiniMalloc, ASPLOS 2023.) A branch ends where
//!
//! - in some section, what is placed or must stay empty, and what is still to come, are higher than the limit. Any set of
//!   blocks that live together reaches up to its lowest offset and the sum of its sizes;
//! - a block was passed over that nothing is left to lift: it would have to come earlier in the order;
//! - a whole block fits below all that may come next: it would better lie there.
//!
//! A block with nothing left to come above it needs no alternative. Once no block crosses from one section into the next,
//! both sides are searched apart. Where every choice fails, the search goes back to the last block whose place bears on
//! some section that failed; that is a guess, for what was passed over depends on other blocks too, so a search that
//! jumped proves nothing when it ends without a placement.
//!
//! The search holds its own stack: its depth is the number of blocks.

use super::problem::{Bits, Block, Problem};

/// How a search ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A placement: the offset of each block.
    Fits(Vec<usize>),
    /// No placement exists.
    Never,
    /// None was found, though one may exist.
    Unknown,
    /// The work ran out.
    Limit,
}

/// A change that can be taken back.
#[derive(Debug, Clone, Copy)]
enum Change {
    Placed(usize),
    Support(usize, usize),
    Lowest(usize, usize),
    Floor(usize, usize),
}

/// A part of the problem that is searched apart: blocks, and the sections in which they live.
#[derive(Debug, Default)]
struct Part {
    blocks: Vec<usize>,
    first: usize,
    last: usize,
}

/// The choice of the next block of a part.
#[derive(Debug)]
struct Choice {
    part: Part,
    /// Offset and rank of what may come next, ascending.
    candidates: Vec<(usize, usize)>,
    next: usize,
    /// No other candidate needs to be tried.
    settled: bool,
    /// The block that is placed now, and the length of the trail before it was.
    placed: usize,
    mark: usize,
    /// What is left to place then, in parts, and how many of these are begun.
    parts: Vec<Part>,
    begun: usize,
    /// The blocks that bear on what failed.
    blame: Bits,
}

#[derive(Debug)]
pub(super) struct Search<'a> {
    problem: &'a Problem,
    height: usize,
    /// Blocks by rank, and ranks by block.
    order: &'a [usize],
    rank: Vec<usize>,
    jumps: bool,
    offsets: Vec<Option<usize>>,
    /// The top of what is placed below each block: its offset, if it comes next.
    support: Vec<usize>,
    /// A bound on its offset from below.
    lowest: Vec<usize>,
    /// Up to where each section is taken or must stay empty.
    floor: Vec<usize>,
    /// The sum of what is still to place in each section.
    left: Vec<usize>,
    cuts: Vec<usize>,
    trail: Vec<Change>,
    /// Sections to look at again, each once.
    stale: Vec<usize>,
    is_stale: Vec<bool>,
    jobs: Vec<(usize, usize)>,
    /// The section that failed last.
    failed: usize,
    jumped: bool,
    /// What was done so far, in elements looked at.
    pub work: u64,
}

impl<'a> Search<'a> {
    /// A search for a placement of this height at most, in units; `order` ranks the blocks. Without `jumps` it is
    /// exhaustive.
    pub fn new(problem: &'a Problem, height: usize, order: &'a [usize], jumps: bool) -> Self {
        let (blocks, sections) = (problem.blocks.len(), problem.sections.len());
        let mut rank = vec![0; blocks];
        for (place, block) in order.iter().enumerate() {
            rank[*block] = place;
        }
        Self {
            problem,
            height,
            order,
            rank,
            jumps,
            offsets: vec![None; blocks],
            support: vec![0; blocks],
            lowest: vec![0; blocks],
            floor: vec![0; sections],
            left: problem.totals.clone(),
            cuts: problem.cuts(),
            trail: Vec::new(),
            stale: Vec::new(),
            is_stale: vec![false; sections],
            jobs: Vec::new(),
            failed: 0,
            jumped: false,
            work: 0,
        }
    }

    /// Searches until the work done is `limit`, or `stop` says so: it is asked now and then.
    pub fn run(&mut self, limit: u64, mut stop: impl FnMut() -> bool) -> Outcome {
        let all = Part { blocks: (0..self.offsets.len()).collect(), first: 0, last: self.floor.len().max(1) - 1 };
        let mut root = self.choice(Part::default(), (0, 0));
        root.settled = true;
        root.parts = self.split(&all);
        let mut stack = vec![root];
        // Whether to try another candidate, rather than to go on below the one that is placed.
        let mut retry = false;
        let mut rounds = 0u32;
        while let Some(top) = stack.last_mut() {
            rounds = rounds.wrapping_add(1);
            if self.work > limit || (rounds.is_multiple_of(1024) && stop()) {
                return Outcome::Limit;
            }
            if !retry {
                let bound = top.next.checked_sub(1).map_or((0, 0), |last| top.candidates[last]);
                let Some(part) = top.parts.get_mut(top.begun).map(std::mem::take) else {
                    // All parts are placed, so what lies above this choice goes on.
                    stack.pop();
                    continue;
                };
                top.begun += 1;
                let choice = self.choice(part, bound);
                stack.push(choice);
                retry = true;
                continue;
            }
            if !top.settled && top.next < top.candidates.len() {
                let (offset, rank) = top.candidates[top.next];
                top.next += 1;
                let block = self.order[rank];
                top.mark = self.trail.len();
                top.placed = block;
                let (fits, is_hatless) = self.place(block, offset, &top.part);
                top.settled |= is_hatless;
                if fits {
                    top.parts = self.rest(&top.part, block);
                    top.begun = 0;
                    retry = false;
                } else {
                    top.blame.add(&self.problem.near[self.failed]);
                    let mark = top.mark;
                    self.undo(mark);
                }
            } else if let Some(exhausted) = stack.pop()
                && !self.go_back(&mut stack, exhausted)
            {
                return if self.jumped { Outcome::Unknown } else { Outcome::Never };
            }
        }
        Outcome::Fits(self.offsets.iter().map(|offset| offset.unwrap_or(0)).collect())
    }

    /// Takes back the last choice that bears on what failed; false where there is none.
    fn go_back(&mut self, stack: &mut Vec<Choice>, exhausted: Choice) -> bool {
        let mut blame = exhausted.blame;
        if exhausted.candidates.is_empty() || !self.jumps {
            blame.fill();
        }
        // The lowest choice is none: it only holds the parts of the whole.
        while stack.len() > 1 {
            let Some(choice) = stack.last_mut() else { break };
            let mark = choice.mark;
            let is_to_blame = blame.has(choice.placed);
            if is_to_blame {
                choice.blame.add(&blame);
            }
            self.undo(mark);
            if is_to_blame {
                return true;
            }
            self.jumped = true;
            stack.pop();
        }
        false
    }

    fn choice(&mut self, part: Part, bound: (usize, usize)) -> Choice {
        let blocks = &self.problem.blocks;
        // What would start above this height leaves room for a whole block below it.
        let top = part.blocks.iter().map(|block| self.support[*block] + blocks[*block].size).min().unwrap_or(0);
        let places = part.blocks.iter().map(|block| (self.support[*block], self.rank[*block]));
        let mut candidates: Vec<(usize, usize)> = places.filter(|place| place.0 < top && *place >= bound).collect();
        candidates.sort_unstable();
        self.work += part.blocks.len() as u64 * 2;
        Choice {
            part,
            candidates,
            next: 0,
            settled: false,
            placed: 0,
            mark: 0,
            parts: Vec::new(),
            begun: 0,
            blame: Bits::none(blocks.len()),
        }
    }

    /// What is left of a part, in parts that share no block.
    fn rest(&mut self, part: &Part, placed: usize) -> Vec<Part> {
        let blocks = part.blocks.iter().copied().filter(|block| *block != placed).collect();
        let rest = Part { blocks, ..*part };
        self.work += part.blocks.len() as u64;
        let block = self.problem.blocks[placed];
        if self.cuts[block.first..block.last].contains(&0) {
            return self.split(&rest);
        }
        if rest.blocks.is_empty() { Vec::new() } else { vec![rest] }
    }

    fn split(&mut self, whole: &Part) -> Vec<Part> {
        let mut parts = vec![Part { blocks: Vec::new(), first: whole.first, last: whole.first }];
        let mut at = Vec::with_capacity(whole.last - whole.first + 1);
        for section in whole.first..=whole.last {
            if section > whole.first && self.cuts[section - 1] == 0 {
                parts.push(Part { blocks: Vec::new(), first: section, last: section });
            }
            at.push(parts.len() - 1);
            if let Some(part) = parts.last_mut() {
                part.last = section;
            }
        }
        for block in &whole.blocks {
            parts[at[self.problem.blocks[*block].first - whole.first]].blocks.push(*block);
        }
        self.work += (at.len() + whole.blocks.len()) as u64;
        parts.retain(|part| !part.blocks.is_empty());
        parts
    }

    /// Places a block and draws conclusions. Gives whether all may still fit, and whether nothing is left to come above
    /// the block.
    fn place(&mut self, block: usize, offset: usize, part: &Part) -> (bool, bool) {
        let problem = self.problem;
        let placed = problem.blocks[block];
        let top = offset + placed.size;
        self.offsets[block] = Some(offset);
        self.trail.push(Change::Placed(block));
        for section in placed.first..=placed.last {
            self.left[section] -= placed.size;
            self.raise_floor(section, top);
            self.mark_stale(section);
        }
        for cut in &mut self.cuts[placed.first..placed.last] {
            *cut -= 1;
        }
        let mut is_hatless = true;
        self.work += problem.meeting[block].len() as u64;
        for other in problem.meeting[block].iter().copied() {
            if self.offsets[other].is_some() {
                continue;
            }
            is_hatless = false;
            if self.support[other] < top {
                self.trail.push(Change::Support(other, self.support[other]));
                self.support[other] = top;
                self.raise_lowest(other, top);
            }
        }
        let fits = self.lift_passed(block, offset, part) && self.check(offset, part);
        for section in self.stale.drain(..) {
            self.is_stale[section] = false;
        }
        (fits, is_hatless)
    }

    /// What was passed over comes later, on top of something that lies no lower than `offset`.
    fn lift_passed(&mut self, block: usize, offset: usize, part: &Part) -> bool {
        let problem = self.problem;
        self.work += part.blocks.len() as u64;
        for passed in part.blocks.iter().copied() {
            if passed == block || (self.support[passed], self.rank[passed]) >= (offset, self.rank[block]) {
                continue;
            }
            self.work += problem.meeting[passed].len() as u64;
            let lifters = problem.meeting[passed].iter().copied().filter(|other| self.offsets[*other].is_none());
            let tops = lifters.map(|other| self.lowest[other].max(offset) + problem.blocks[other].size);
            let Block { size, first, .. } = problem.blocks[passed];
            let Some(lowest) = tops.min().filter(|lowest| lowest + size <= self.height) else {
                self.failed = first;
                return false;
            };
            self.raise_lowest(passed, lowest);
        }
        true
    }

    /// Whether every section may still be filled within the height; nothing more comes below `offset`.
    fn check(&mut self, offset: usize, part: &Part) -> bool {
        self.work += (part.last - part.first + 1) as u64;
        for section in part.first..=part.last {
            if self.left[section] > 0 && self.floor[section].max(offset) + self.left[section] > self.height {
                self.failed = section;
                return false;
            }
        }
        for at in 0..self.stale.len() {
            let section = self.stale[at];
            if self.left[section] > 0 && !self.check_section(section, offset) {
                self.failed = section;
                return false;
            }
        }
        true
    }

    fn check_section(&mut self, section: usize, offset: usize) -> bool {
        let problem = self.problem;
        let mut jobs = std::mem::take(&mut self.jobs);
        jobs.clear();
        let to_come = problem.sections[section].iter().filter(|block| self.offsets[**block].is_none());
        jobs.extend(to_come.map(|block| (self.lowest[*block].max(offset), problem.blocks[*block].size)));
        self.work += problem.sections[section].len() as u64;
        jobs.sort_unstable();
        if let Some((lowest, _)) = jobs.first() {
            self.raise_floor(section, *lowest);
        }
        let mut sum = 0;
        let fits = jobs.iter().rev().all(|(lowest, size)| {
            sum += size;
            lowest + sum <= self.height
        });
        self.jobs = jobs;
        fits
    }

    fn raise_floor(&mut self, section: usize, floor: usize) {
        if self.floor[section] < floor {
            self.trail.push(Change::Floor(section, self.floor[section]));
            self.floor[section] = floor;
        }
    }

    fn raise_lowest(&mut self, block: usize, lowest: usize) {
        if self.lowest[block] < lowest {
            self.trail.push(Change::Lowest(block, self.lowest[block]));
            self.lowest[block] = lowest;
            let Block { first, last, .. } = self.problem.blocks[block];
            for section in first..=last {
                self.mark_stale(section);
            }
        }
    }

    fn mark_stale(&mut self, section: usize) {
        if !std::mem::replace(&mut self.is_stale[section], true) {
            self.stale.push(section);
        }
    }

    /// Takes back all changes since the trail had this length.
    fn undo(&mut self, mark: usize) {
        while self.trail.len() > mark {
            match self.trail.pop() {
                Some(Change::Support(block, before)) => self.support[block] = before,
                Some(Change::Lowest(block, before)) => self.lowest[block] = before,
                Some(Change::Floor(section, before)) => self.floor[section] = before,
                Some(Change::Placed(block)) => {
                    self.offsets[block] = None;
                    let placed = self.problem.blocks[block];
                    for left in &mut self.left[placed.first..=placed.last] {
                        *left += placed.size;
                    }
                    for cut in &mut self.cuts[placed.first..placed.last] {
                        *cut += 1;
                    }
                }
                None => break,
            }
        }
    }
}
