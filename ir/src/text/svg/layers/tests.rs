//! What a drawing promises, on random graphs and on large ones.

use super::*;
use crate::testing::Random;

fn boxes(sizes: &[(f64, f64)]) -> Vec<Size> {
    sizes.iter().map(|(width, height)| Size { width: *width, height: *height, pin: Pin::Free }).collect()
}

/// A random graph: links from a box to later ones, mostly near.
fn random(seed: u64, count: usize) -> (Vec<Size>, Vec<Link>) {
    let mut random = Random::new(seed);
    let size = |random: &mut Random| {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let side = |random: &mut Random, most: usize| 10.0 + random.below(most) as f64;
        (side(random, 120), side(random, 60))
    };
    let sizes: Vec<(f64, f64)> = (0..count).map(|_| size(&mut random)).collect();
    let boxes = boxes(&sizes);
    let mut links = Vec::new();
    for to in 1..count {
        for _ in 0..1 + random.below(3) {
            let back = if random.chance(80) { 1 + random.below(4) } else { 1 + random.below(count) };
            let from = to.saturating_sub(back);
            links.push(Link { from, from_x: boxes[from].width / 2.0, to, to_x: None });
        }
    }
    (boxes, links)
}

/// The points of a route, close enough together that no box could lie between two of them unseen.
fn sampled(route: &[Point]) -> Vec<Point> {
    let mut points = Vec::new();
    for pair in route.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        for step in 0..=32u32 {
            let t = f64::from(step) / 32.0;
            // The curve of the picture: upright at both ends, half-way in between.
            let (u, half) = (1.0 - t, f64::midpoint(a.y, b.y));
            points.push(Point {
                x: (u * u * u + 3.0 * u * u * t) * a.x + (3.0 * u * t * t + t * t * t) * b.x,
                y: u * u * u * a.y + 3.0 * u * u * t * half + 3.0 * u * t * t * half + t * t * t * b.y,
            });
        }
    }
    points
}

fn check(boxes: &[Size], links: &[Link], layout: &Layout) {
    let within = |point: Point, index: usize, margin: f64| {
        let (corner, size) = (layout.boxes[index], boxes[index]);
        point.x > corner.x + margin
            && point.x < corner.x + size.width - margin
            && point.y > corner.y + margin
            && point.y < corner.y + size.height - margin
    };
    for (index, (corner, size)) in layout.boxes.iter().zip(boxes).enumerate() {
        assert!(corner.x >= -0.01 && corner.x + size.width <= layout.width + 0.01, "box {index} is inside");
        assert!(corner.y >= -0.01 && corner.y + size.height <= layout.height + 0.01, "box {index} is inside");
        for (other, (at, its)) in layout.boxes.iter().zip(boxes).enumerate().take(index) {
            let apart = corner.x + size.width < at.x + 0.01
                || at.x + its.width < corner.x + 0.01
                || corner.y + size.height < at.y + 0.01
                || at.y + its.height < corner.y + 0.01;
            assert!(apart, "boxes {other} and {index} overlap");
        }
    }
    for (link, route) in links.iter().zip(&layout.routes) {
        let (from, to) = (layout.boxes[link.from], layout.boxes[link.to]);
        let (first, last) = (route[0], route[route.len() - 1]);
        assert!((first.y - from.y - boxes[link.from].height).abs() < 0.01, "leaves from below");
        assert!(
            (last.y - to.y).abs() < 0.01 && last.x >= to.x && last.x <= to.x + boxes[link.to].width,
            "arrives above"
        );
        assert!(route.windows(2).all(|pair| pair[1].y >= pair[0].y - 0.01), "never runs upwards");
        for point in sampled(route) {
            for index in 0..boxes.len() {
                assert!(!within(point, index, 0.5), "a link from {} to {} runs through {index}", link.from, link.to);
            }
        }
    }
}

#[test]
fn boxes_do_not_overlap_and_no_link_runs_through_one() {
    for seed in 0..60 {
        let (boxes, links) = random(seed, 3 + usize::try_from(seed).unwrap_or(0));
        check(&boxes, &links, &layout(&boxes, &links));
    }
}

#[test]
fn a_diamond_has_its_branches_side_by_side_without_a_crossing() {
    let boxes = boxes(&[(40.0, 20.0); 4]);
    let link = |from, to| Link { from, from_x: 20.0, to, to_x: None };
    let placed = layout(&boxes, &[link(0, 1), link(0, 2), link(1, 3), link(2, 3)]);
    let x = |index: usize| placed.boxes[index].x;
    assert!((x(0) - x(3)).abs() < 1.0 && (x(1) + x(2) - 2.0 * x(0)).abs() < 1.0, "{:?}", placed.boxes);
    assert!((placed.boxes[1].y - placed.boxes[2].y).abs() < 0.01);
}

#[test]
fn pins_hold() {
    let mut boxes = boxes(&[(10.0, 10.0); 5]);
    (boxes[3].pin, boxes[4].pin) = (Pin::First, Pin::Last);
    let link = |from, to| Link { from, from_x: 5.0, to, to_x: None };
    let placed = layout(&boxes, &[link(0, 1), link(1, 2), link(3, 2), link(0, 4)]);
    assert!((placed.boxes[3].y - placed.boxes[0].y).abs() < 0.01);
    assert!((placed.boxes[4].y - placed.boxes[2].y).abs() < 0.01);
}

#[test]
fn large_graphs_are_drawn_in_bounded_room() {
    // Each box links to the next and to the last: as pieces these would be quadratic, so most go along the side.
    let count = 4000;
    let boxes = boxes(&vec![(20.0, 10.0); count]);
    let link = |from, to| Link { from, from_x: 10.0, to, to_x: None };
    let chain = (1..count).map(|to| link(to - 1, to));
    let links: Vec<Link> = chain.chain((0..count - 2).map(|from| link(from, count - 1))).collect();
    let placed = layout(&boxes, &links);
    let points: usize = placed.routes.iter().map(Vec::len).sum();
    assert!(points < 16 * (boxes.len() + links.len()), "{points} points");
    assert!(placed.routes.iter().flatten().all(|point| point.x.is_finite() && point.y.is_finite()));
    let sparse: Vec<usize> = (0..links.len()).step_by(97).collect();
    for index in sparse {
        for point in sampled(&placed.routes[index]) {
            let through = placed.boxes.iter().zip(&boxes).any(|(corner, size)| {
                point.x > corner.x + 0.5
                    && point.x < corner.x + size.width - 0.5
                    && point.y > corner.y + 0.5
                    && point.y < corner.y + size.height - 0.5
            });
            assert!(!through, "link {index} runs through a box");
        }
    }
}
