//! The order within ranks.

use super::rank::Ranked;

/// How often the ranks are gone through, down and up.
const SWEEPS: usize = 12;

/// Fewer where there are more items than this.
const MANY: usize = 20_000;

/// The items of each rank, from left to right.
pub(super) fn order(ranked: &Ranked) -> Vec<Vec<usize>> {
    let items = ranked.rank.len();
    let mut layers: Vec<Vec<usize>> = vec![Vec::new(); ranked.count];
    for item in 0..items {
        layers[ranked.rank[item]].push(item);
    }
    let (mut above, mut below) = (vec![Vec::new(); items], vec![Vec::new(); items]);
    for piece in &ranked.pieces {
        above[piece.to].push(piece.from);
        below[piece.from].push(piece.to);
    }
    let mut position = vec![0usize; items];
    for layer in &layers {
        number(&mut position, layer);
    }
    let mut best = (crossings(ranked, &layers, &position, &below), layers.clone());
    let sweeps = if items > MANY { SWEEPS / 3 } else { SWEEPS };
    for sweep in 0..sweeps {
        if best.0 == 0 {
            break;
        }
        let down = sweep.is_multiple_of(2);
        for step in 0..layers.len() {
            let rank = if down { step } else { layers.len() - 1 - step };
            let neighbours = if down { &above } else { &below };
            sort(&mut layers[rank], neighbours, &position);
            number(&mut position, &layers[rank]);
        }
        let found = crossings(ranked, &layers, &position, &below);
        if found < best.0 {
            best = (found, layers.clone());
        }
    }
    best.1
}

fn number(position: &mut [usize], layer: &[usize]) {
    for (index, item) in layer.iter().enumerate() {
        position[*item] = index;
    }
}

/// Sorts a rank by the mean position of the neighbours; what has none stays about where it is.
#[allow(clippy::cast_precision_loss, reason = "positions are far below 2^52")]
fn sort(layer: &mut [usize], neighbours: &[Vec<usize>], position: &[usize]) {
    let mut keyed: Vec<(f64, usize)> = layer
        .iter()
        .map(|item| {
            let near = &neighbours[*item];
            let sum: usize = near.iter().map(|other| position[*other]).sum();
            let mean = if near.is_empty() { position[*item] as f64 } else { sum as f64 / near.len() as f64 };
            (mean, *item)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (place, (_, item)) in layer.iter_mut().zip(keyed) {
        *place = item;
    }
}

/// How many pairs of pieces cross: inversions, counted with a Fenwick tree for each rank.
fn crossings(ranked: &Ranked, layers: &[Vec<usize>], position: &[usize], below: &[Vec<usize>]) -> usize {
    let mut total = 0usize;
    for (rank, layer) in layers.iter().enumerate() {
        let width = layers.get(rank + 1).map_or(0, Vec::len);
        let mut tree = vec![0usize; width + 1];
        let mut seen = 0usize;
        for item in layer {
            let mut ends: Vec<usize> = below[*item].iter().map(|other| position[*other]).collect();
            ends.sort_unstable();
            for end in &ends {
                // Those that end further right and began further left.
                let mut before = 0;
                let mut at = end + 1;
                while at > 0 {
                    before += tree[at];
                    at &= at - 1;
                }
                total += seen - before;
            }
            for end in ends {
                let mut at = end + 1;
                while at <= width {
                    tree[at] += 1;
                    at += at & at.wrapping_neg();
                }
                seen += 1;
            }
        }
    }
    debug_assert!(ranked.count == layers.len(), "a layer a rank");
    total
}
