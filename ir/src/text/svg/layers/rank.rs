//! Ranks: each box below all boxes that link to it.

use rustc_hash::FxHashMap;

use super::{Link, Pin, Size};

/// Bends that a drawing may have beside this many for each box and link; the longest links go along the side instead.
const BENDS_PER_ITEM: usize = 6;

/// What lies in ranks: boxes first, then bends.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranked {
    /// The rank of each item.
    pub rank: Vec<usize>,
    /// How many items are boxes.
    pub boxes: usize,
    /// Pieces of links, each from a rank to the next.
    pub pieces: Vec<Piece>,
    /// The items that each link passes, its ends among them; only the ends where it goes along the side.
    pub paths: Vec<Vec<usize>>,
    /// Whether each link goes along the side.
    pub aside: Vec<bool>,
    /// The number of ranks.
    pub count: usize,
}

/// A piece of one or several links.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub from: usize,
    /// From the middle of the upper item.
    pub from_dx: f64,
    pub to: usize,
    /// From the middle of the lower item.
    pub to_dx: f64,
}

pub(super) fn rank(boxes: &[Size], links: &[Link]) -> Ranked {
    let rank = ranks(boxes, links);
    let count = rank.iter().max().map_or(0, |last| last + 1);
    let mut ranked = Ranked { rank, boxes: boxes.len(), count, ..Ranked::default() };
    // A link to the next rank has no bend.
    let bends = |link: &Link| ranked.rank[link.to].saturating_sub(ranked.rank[link.from] + 1);
    let mut aside = vec![false; links.len()];
    let mut by_bends: Vec<usize> = (0..links.len()).collect();
    by_bends.sort_by_key(|index| bends(&links[*index]));
    let mut room = BENDS_PER_ITEM * (boxes.len() + links.len()) + 256;
    for index in by_bends {
        match room.checked_sub(bends(&links[index])) {
            Some(left) => room = left,
            None => aside[index] = true,
        }
    }
    ranked.aside = aside;
    cut(&mut ranked, boxes, links);
    ranked
}

/// Longest paths from above; then what has no link from above, or fewer than to below, moves down to what it feeds.
fn ranks(boxes: &[Size], links: &[Link]) -> Vec<usize> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); boxes.len()];
    let mut missing = vec![0usize; boxes.len()];
    for link in links {
        readers[link.from].push(link.to);
        missing[link.to] += 1;
    }
    let incoming = missing.clone();
    let mut rank = vec![0usize; boxes.len()];
    let mut order: Vec<usize> = (0..boxes.len()).filter(|item| missing[*item] == 0).collect();
    let mut next = 0;
    while let Some(item) = order.get(next).copied() {
        next += 1;
        for reader in &readers[item] {
            rank[*reader] = rank[*reader].max(rank[item] + 1);
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                order.push(*reader);
            }
        }
    }
    let last = rank.iter().copied().max().unwrap_or(0);
    for item in order.into_iter().rev() {
        let below = readers[item].iter().map(|reader| rank[*reader]).min();
        match (boxes[item].pin, below) {
            (Pin::First, _) => {}
            (Pin::Last, _) => rank[item] = last,
            (Pin::Free, Some(below)) if incoming[item] < readers[item].len() => {
                rank[item] = below.saturating_sub(1).max(rank[item]);
            }
            (Pin::Free, _) => {}
        }
    }
    rank
}

/// Cuts the links into pieces. Links of one origin share their bends.
fn cut(ranked: &mut Ranked, boxes: &[Size], links: &[Link]) {
    // The bends of each origin so far, one a rank.
    let mut trunks: FxHashMap<(usize, u64), Vec<usize>> = FxHashMap::default();
    ranked.paths = vec![Vec::new(); links.len()];
    for (index, link) in links.iter().enumerate() {
        let (top, bottom) = (ranked.rank[link.from], ranked.rank[link.to]);
        if ranked.aside[index] || bottom <= top {
            ranked.aside[index] = bottom > top;
            ranked.paths[index] = vec![link.from, link.to];
            continue;
        }
        let from_dx = link.from_x - boxes[link.from].width / 2.0;
        let trunk = trunks.entry((link.from, link.from_x.to_bits())).or_default();
        while trunk.len() < bottom - top - 1 {
            let bend = ranked.rank.len();
            ranked.rank.push(top + 1 + trunk.len());
            let above = trunk.last().copied();
            ranked.pieces.push(Piece {
                from: above.unwrap_or(link.from),
                from_dx: if above.is_some() { 0.0 } else { from_dx },
                to: bend,
                to_dx: 0.0,
            });
            trunk.push(bend);
        }
        let passed = &trunk[..bottom - top - 1];
        let to_dx = link.to_x.map_or(0.0, |x| x - boxes[link.to].width / 2.0);
        ranked.pieces.push(match passed.last() {
            Some(bend) => Piece { from: *bend, from_dx: 0.0, to: link.to, to_dx },
            None => Piece { from: link.from, from_dx, to: link.to, to_dx },
        });
        ranked.paths[index] = std::iter::once(link.from).chain(passed.iter().copied()).chain([link.to]).collect();
    }
}
