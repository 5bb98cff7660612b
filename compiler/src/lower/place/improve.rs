//! Looks for a placement that is lower than the best one known.
//!
//! First the height is halved towards the lower bound as long as that is easy, then half of the work goes into the lower
//! bound itself, for that is often reached; what is left goes into the heights between. At each height several ranks of the blocks take turns, with twice the work from round to round: a search
//! that is lucky needs little, and which one is lucky cannot be foreseen.

use std::cmp::Reverse;
use std::time::Instant;

use super::problem::Problem;
use super::search::{Outcome, Search};
use super::{Item, Placement, SearchLimits};

/// What a block is ranked by, descending.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// How many steps it lives.
    Length,
    /// Its size times its length.
    Area,
    /// The largest sum of blocks with which it lives at once.
    Crowd,
    /// Its size.
    Size,
    /// How many blocks it meets.
    Meeting,
}

use Key::{Area, Crowd, Length, Meeting, Size};

/// The ranks that take turns, and the name of what each finds.
const RANKS: [([Key; 3], &str); 8] = [
    ([Length, Area, Crowd], "search by length, area"),
    ([Crowd, Area, Length], "search by crowd, area"),
    ([Crowd, Length, Area], "search by crowd, length"),
    ([Area, Length, Crowd], "search by area, length"),
    ([Size, Length, Crowd], "search by size, length"),
    ([Length, Crowd, Area], "search by length, crowd"),
    ([Length, Size, Crowd], "search by length, size"),
    ([Meeting, Crowd, Area], "search by blocks met, crowd"),
];

/// The work of each search in the first round.
const FIRST_ROUND: u64 = 200_000;

/// What is known of one height.
enum Height {
    Reached(Vec<usize>, &'static str),
    Impossible,
    Open,
}

/// Lowers a placement where that is possible within the limits.
pub(super) fn improve(items: &[Item], best: Placement, limits: &SearchLimits) -> Placement {
    let Some(problem) = Problem::new(items) else { return best };
    let ranks: Vec<Vec<usize>> = RANKS.iter().map(|(keys, _)| rank(&problem, items, keys)).collect();
    let start = Instant::now();
    let mut budget = Budget { left: limits.work, late: &mut || start.elapsed() > limits.time };
    let mut best = best;
    let lower = best.lower_bound / problem.unit;
    let goal = lower.max(limits.enough / problem.unit);
    // No height below `proven` is possible; none below `open` is tried again.
    let (mut proven, mut open) = (lower, goal);
    let middle = |open: usize, best: &Placement| open + (best.bytes / problem.unit).saturating_sub(open + 1) / 2;
    // What is easily gained first, then the lower bound, then what lies between.
    let (mut stage, mut height) = (Stage::Quick, middle(goal, &best));
    while height * problem.unit < best.bytes && best.bytes > limits.enough && budget.left > 0 {
        let share = if stage == Stage::Quick { limits.work / QUICK_SHARE } else { budget.left / 2 };
        let found = attempt(&problem, &ranks, height, share.max(1), &mut budget);
        if let Height::Reached(offsets, strategy) = found {
            let offsets: Vec<usize> = offsets.into_iter().map(|offset| offset * problem.unit).collect();
            let ends = items.iter().zip(&offsets).map(|(item, offset)| offset + item.room());
            best = Placement { bytes: ends.max().unwrap_or(0), offsets, strategy, ..best };
        } else {
            if let Height::Impossible = found {
                proven = height + 1;
            }
            if stage == Stage::Quick {
                (stage, height) = (Stage::Goal, goal.max(proven));
                continue;
            }
            (stage, open) = (Stage::Between, height + 1);
        }
        height = middle(open.max(proven), &best);
    }
    best.is_optimal = best.bytes == proven * problem.unit;
    best
}

/// Which heights are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Ever halfway down, as long as little work reaches it.
    Quick,
    /// The lowest that may be possible, or that is enough.
    Goal,
    /// Halfway between what is reached and what was tried in vain.
    Between,
}

/// A quick attempt takes this part of all the work.
const QUICK_SHARE: u64 = 32;

struct Budget<'a> {
    left: u64,
    late: &'a mut dyn FnMut() -> bool,
}

impl Budget<'_> {
    fn spend(&mut self, work: u64) {
        self.left = self.left.saturating_sub(work);
        if (self.late)() {
            self.left = 0;
        }
    }
}

/// Tries one height with this much work.
fn attempt(problem: &Problem, ranks: &[Vec<usize>], height: usize, work: u64, budget: &mut Budget<'_>) -> Height {
    let keep = budget.left.saturating_sub(work);
    let mut round = FIRST_ROUND;
    // A search that ended will end the same way again.
    let mut ended = vec![false; ranks.len()];
    while budget.left > keep {
        // Those that jump, and in each round one that does not: it alone can prove that there is nothing to find.
        let jumping = ranks.iter().enumerate().map(|(at, order)| (at, order, true));
        for (at, order, jumps) in jumping.chain(ranks.first().map(|order| (0, order, false))) {
            if (jumps && ended[at]) || budget.left <= keep {
                continue;
            }
            let mut search = Search::new(problem, height, order, jumps);
            let limit = round.min(budget.left - keep);
            let outcome = search.run(limit, &mut budget.late);
            // Setting up takes work too.
            budget.spend(search.work + problem.sections.len() as u64);
            match outcome {
                Outcome::Fits(offsets) => return Height::Reached(offsets, RANKS[at].1),
                Outcome::Never => return Height::Impossible,
                Outcome::Unknown => ended[at] = true,
                Outcome::Limit => {}
            }
        }
        round = round.saturating_mul(2);
    }
    Height::Open
}

/// The blocks by these keys, the largest first.
fn rank(problem: &Problem, items: &[Item], keys: &[Key; 3]) -> Vec<usize> {
    let value = |at: usize, key: Key| {
        let (item, block) = (&items[at], &problem.blocks[at]);
        let length = item.last - item.first + 1;
        match key {
            Length => length,
            Area => length.saturating_mul(block.size),
            Crowd => problem.totals[block.first..=block.last].iter().copied().max().unwrap_or(0),
            Size => block.size,
            Meeting => problem.meeting[at].len(),
        }
    };
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_cached_key(|at| (keys.map(|key| Reverse(value(*at, key))), *at));
    order
}
