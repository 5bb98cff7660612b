//! Coordinates.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::rank::Ranked;
use super::{GAP_X, GAP_Y, Layout, Link, Point, Size};

/// How often positions are fitted, from above and from below.
const FITS: usize = 16;

/// The width that a bend keeps free.
const BEND: f64 = 4.0;

/// Between links that run side by side.
const LANE: f64 = 7.0;

/// How much harder a piece between two bends is kept straight than one between two boxes.
const STRAIGHT: f64 = 8.0;

pub(super) fn place(ranked: &Ranked, layers: &[Vec<usize>], boxes: &[Size], links: &[Link]) -> Layout {
    let width = |item: usize| boxes.get(item).map_or(BEND, |size| size.width);
    let mut middle = fit(ranked, layers, &width);
    let left = (0..middle.len()).map(|item| middle[item] - width(item) / 2.0).fold(f64::INFINITY, f64::min);
    middle.iter_mut().for_each(|x| *x -= left);
    let right = (0..middle.len()).map(|item| middle[item] + width(item) / 2.0).fold(0.0, f64::max);

    let bands = bands(ranked, layers, boxes, &middle);
    let corner = |item: usize| {
        let (top, bottom) = bands[ranked.rank[item]];
        let Size { width, height, .. } = boxes[item];
        Point { x: middle[item] - width / 2.0, y: f64::midpoint(top, bottom) - height / 2.0 }
    };
    let corners: Vec<Point> = (0..boxes.len()).map(corner).collect();
    let entries = entries(ranked, boxes, links, &middle, &corners);
    let (lanes, lane_count) = lanes(ranked, links);
    #[allow(clippy::cast_precision_loss, reason = "lanes are far fewer than 2^52")]
    let lane_x = |lane: usize| right + GAP_X + lane as f64 * LANE;
    let routes = links.iter().enumerate().map(|(index, link)| {
        let start = corners[link.from];
        let out = Point { x: start.x + link.from_x, y: start.y + boxes[link.from].height };
        let mut route = vec![out];
        let passed = ranked.paths[index].get(1..ranked.paths[index].len() - 1).unwrap_or_default();
        let (top, bottom) = (ranked.rank[link.from], ranked.rank[link.to]);
        push(&mut route, out.x, bands[top].1);
        if let Some(lane) = lanes[index] {
            push(&mut route, lane_x(lane), bands[top + 1].0);
            push(&mut route, lane_x(lane), bands[bottom - 1].1);
        }
        for bend in passed {
            let (above, below) = bands[ranked.rank[*bend]];
            push(&mut route, middle[*bend], above);
            push(&mut route, middle[*bend], below);
        }
        push(&mut route, entries[index], bands[bottom].0);
        push(&mut route, entries[index], corners[link.to].y);
        route
    });
    let routes = routes.collect();
    let height = bands.last().map_or(0.0, |(_, bottom)| *bottom);
    let width = if lane_count > 0 { lane_x(lane_count - 1) + BEND } else { right };
    Layout { width, height, boxes: corners, routes }
}

/// Adds a point, unless the link is there already.
fn push(route: &mut Vec<Point>, x: f64, y: f64) {
    if route.last().is_none_or(|last| (last.x - x).abs() > 0.01 || (last.y - y).abs() > 0.01) {
        route.push(Point { x, y });
    }
}

/// The upper and the lower border of each rank.
fn bands(ranked: &Ranked, layers: &[Vec<usize>], boxes: &[Size], middle: &[f64]) -> Vec<(f64, f64)> {
    // Where links go far to the side there is more room, so that they do not lie almost flat upon each other.
    let mut reach = vec![0.0f64; layers.len()];
    for piece in &ranked.pieces {
        let rank = ranked.rank[piece.from];
        let across = (middle[piece.to] + piece.to_dx - middle[piece.from] - piece.from_dx).abs();
        reach[rank] = reach[rank].max(across);
    }
    let mut y = 0.0;
    let bands = layers.iter().zip(&reach).map(|(layer, reach)| {
        let height = layer.iter().filter_map(|item| boxes.get(*item)).map(|size| size.height).fold(0.0, f64::max);
        let band = (y, y + height);
        y += height + GAP_Y + (reach * 0.08).min(34.0);
        band
    });
    bands.collect()
}

/// Where each link enters its box: as it says, or side by side in the order in which they come.
fn entries(ranked: &Ranked, boxes: &[Size], links: &[Link], middle: &[f64], corners: &[Point]) -> Vec<f64> {
    let mut entries: Vec<f64> =
        links.iter().map(|link| corners[link.to].x + link.to_x.unwrap_or(boxes[link.to].width / 2.0)).collect();
    let mut arriving: Vec<Vec<(f64, usize)>> = vec![Vec::new(); boxes.len()];
    for (index, link) in links.iter().enumerate().filter(|(_, link)| link.to_x.is_none()) {
        let path = &ranked.paths[index];
        let before = path.get(path.len() - 2).copied().unwrap_or(link.from);
        let from = match (ranked.aside[index], before == link.from) {
            (true, _) => f64::INFINITY,
            (_, true) => corners[link.from].x + link.from_x,
            _ => middle[before],
        };
        arriving[link.to].push((from, index));
    }
    for (item, mut found) in arriving.into_iter().enumerate().filter(|(_, found)| found.len() > 1) {
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        #[allow(clippy::cast_precision_loss, reason = "links are far fewer than 2^52")]
        let step = (boxes[item].width - 12.0).max(0.0) / found.len() as f64;
        #[allow(clippy::cast_precision_loss, reason = "links are far fewer than 2^52")]
        for (place, (_, index)) in found.into_iter().enumerate() {
            entries[index] = corners[item].x + 6.0 + step * (place as f64 + 0.5);
        }
    }
    entries
}

/// A lane for each link that goes along the side, such that no two in a lane meet; and how many lanes there are.
fn lanes(ranked: &Ranked, links: &[Link]) -> (Vec<Option<usize>>, usize) {
    let mut aside: Vec<usize> = (0..links.len()).filter(|index| ranked.aside[*index]).collect();
    aside.sort_by_key(|index| (ranked.rank[links[*index].from], *index));
    let mut lanes = vec![None; links.len()];
    let mut busy: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut free: BinaryHeap<Reverse<usize>> = BinaryHeap::new();
    let mut count = 0;
    for index in aside {
        let (top, bottom) = (ranked.rank[links[index].from], ranked.rank[links[index].to]);
        while let Some(Reverse((end, lane))) = busy.peek().copied() {
            if end > top {
                break;
            }
            busy.pop();
            free.push(Reverse(lane));
        }
        let lane = free.pop().map_or_else(
            || {
                count += 1;
                count - 1
            },
            |Reverse(lane)| lane,
        );
        busy.push(Reverse((bottom, lane)));
        lanes[index] = Some(lane);
    }
    (lanes, count)
}

/// The middle of each item: as near as the order allows to what it is linked to.
fn fit(ranked: &Ranked, layers: &[Vec<usize>], width: &impl Fn(usize) -> f64) -> Vec<f64> {
    let items = ranked.rank.len();
    let is_bend = |item: usize| item >= ranked.boxes;
    let (mut above, mut below) = (vec![Vec::new(); items], vec![Vec::new(); items]);
    for piece in &ranked.pieces {
        let weight = if is_bend(piece.from) && is_bend(piece.to) { STRAIGHT } else { 1.0 };
        above[piece.to].push((piece.from, piece.from_dx - piece.to_dx, weight));
        below[piece.from].push((piece.to, piece.to_dx - piece.from_dx, weight));
    }
    let offsets: Vec<Vec<f64>> = layers.iter().map(|layer| offsets(layer, ranked.boxes, width)).collect();
    let mut middle = vec![0.0; items];
    for (layer, offsets) in layers.iter().zip(&offsets) {
        // Ranks are first laid about a common axis.
        let half = offsets.last().copied().unwrap_or(0.0) / 2.0;
        layer.iter().zip(offsets).for_each(|(item, offset)| middle[*item] = offset - half);
    }
    for round in 0..FITS {
        for step in 0..layers.len() {
            let down = round.is_multiple_of(2);
            let rank = if down { step } else { layers.len() - 1 - step };
            let layer = &layers[rank];
            // The last rounds heed both sides.
            let both = round + 4 >= FITS;
            let wanted = layer.iter().map(|item| {
                let near = above[*item].iter().filter(|_| both || down);
                let near = near.chain(below[*item].iter().filter(|_| both || !down));
                let (mut sum, mut weight) = (0.0, 0.0);
                for (other, shift, strength) in near {
                    sum += (middle[*other] + shift) * strength;
                    weight += strength;
                }
                if weight > 0.0 { (sum / weight, weight) } else { (middle[*item], 0.01) }
            });
            let wanted: Vec<(f64, f64)> = wanted.collect();
            for (item, x) in layer.iter().zip(separated(&wanted, &offsets[rank])) {
                middle[*item] = x;
            }
        }
    }
    middle
}

/// The middles of a rank laid out as tightly as may be, from the middle of its first item.
fn offsets(layer: &[usize], boxes: usize, width: &impl Fn(usize) -> f64) -> Vec<f64> {
    let mut offset = 0.0;
    let mut before: Option<usize> = None;
    let offsets = layer.iter().map(|item| {
        if let Some(before) = before {
            let gap = if before >= boxes && *item >= boxes { LANE - BEND } else { GAP_X };
            offset += f64::midpoint(width(before), width(*item)) + gap;
        }
        before = Some(*item);
        offset
    });
    offsets.collect()
}

/// The middles in order, each as far from the first as `offsets` say or further, with the least weighted sum of squared
/// distances from what is wanted: isotonic regression by pooling adjacent violators.
fn separated(wanted: &[(f64, f64)], offsets: &[f64]) -> Vec<f64> {
    // Pools: mean, weight, how many.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for ((x, weight), offset) in wanted.iter().zip(offsets) {
        let mut pool = (x - offset, *weight, 1);
        while let Some(last) = pools.last().filter(|last| last.0 > pool.0).copied() {
            pools.pop();
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
        }
        pools.push(pool);
    }
    let means = pools.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count));
    means.zip(offsets).map(|(mean, offset)| mean + offset).collect()
}
