//! Where everything lies: each frame as a drawing of its own, then the whole with a box for each frame.
//!
//! A frame has gates in its border: one for each value that enters, above, and one for each node whose value leaves,
//! below. Within, gates are boxes without a size in the first and the last rank; without, they are where links begin and
//! end. So a link that crosses borders is drawn in up to three parts that meet in the gates.

use rustc_hash::FxHashMap;

use super::groups::Groups;
use super::layers::{self, Layout, Link, Pin, Point, Size};
use super::{LETTER, MARGIN, TITLE};

/// A link, or the part of it within or without a frame.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// From one point to the next it runs straight down, or bends between two ranks.
    pub points: Vec<Point>,
    /// Whether it ends at a node.
    pub head: bool,
}

/// The place of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub corner: Point,
    pub size: Point,
}

/// Where everything lies.
#[derive(Debug)]
pub(super) struct Arranged {
    /// The left upper corner of each node.
    pub corners: Vec<Point>,
    /// The frames, in the order of their names.
    pub frames: Vec<Placed>,
    pub routes: Vec<Route>,
    pub size: Point,
}

/// A frame, laid out.
struct Frame {
    members: Vec<usize>,
    /// The boxes of the gates: by the node outside whose value enters, and by the node inside whose value leaves.
    entries: FxHashMap<usize, usize>,
    exits: FxHashMap<usize, usize>,
    links: Vec<Link>,
    layout: Layout,
    size: Size,
}

/// Places nodes of these sizes. A link is the numbers of its upper and its lower node.
pub(super) fn arrange(sizes: &[Size], links: &[(usize, usize)], groups: &Groups) -> Arranged {
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.names.len()];
    for (node, group) in groups.of.iter().enumerate() {
        if let Some(group) = group {
            members[*group].push(node);
        }
    }
    let mut touching: Vec<Vec<(usize, usize)>> = vec![Vec::new(); groups.names.len()];
    let mut crossing: Vec<(usize, usize)> = Vec::new();
    for (from, to) in links {
        let (one, other) = (groups.of[*from], groups.of[*to]);
        one.into_iter().for_each(|frame| touching[frame].push((*from, *to)));
        if one.is_none() || one != other {
            other.into_iter().for_each(|frame| touching[frame].push((*from, *to)));
            crossing.push((*from, *to));
        }
    }
    let frames: Vec<Frame> = members
        .into_iter()
        .zip(&touching)
        .zip(&groups.names)
        .map(|((members, links), name)| Frame::new(members, sizes, links, name))
        .collect();
    assemble(sizes, &crossing, groups, &frames)
}

impl Frame {
    fn new(members: Vec<usize>, sizes: &[Size], touching: &[(usize, usize)], name: &str) -> Self {
        let places: FxHashMap<usize, usize> = members.iter().enumerate().map(|(place, node)| (*node, place)).collect();
        let mut boxes: Vec<Size> = members.iter().map(|node| sizes[*node]).collect();
        let (mut entries, mut exits) = (FxHashMap::default(), FxHashMap::default());
        let mut links = Vec::new();
        for (from, to) in touching {
            let middle = sizes[*from].width / 2.0;
            match (places.get(from), places.get(to)) {
                (Some(from), Some(to)) => links.push(Link { from: *from, from_x: middle, to: *to, to_x: None }),
                (None, Some(to)) => {
                    let gate = *entries.entry(*from).or_insert_with(|| {
                        boxes.push(Size { pin: Pin::First, ..Size::default() });
                        boxes.len() - 1
                    });
                    links.push(Link { from: gate, from_x: 0.0, to: *to, to_x: None });
                }
                (Some(place), None) => {
                    // One gate, and one link to it, however many read the value outside.
                    exits.entry(*from).or_insert_with(|| {
                        boxes.push(Size { pin: Pin::Last, ..Size::default() });
                        links.push(Link { from: *place, from_x: middle, to: boxes.len() - 1, to_x: Some(0.0) });
                        boxes.len() - 1
                    });
                }
                (None, None) => {}
            }
        }
        let layout = layers::layout(&boxes, &links);
        #[allow(clippy::cast_precision_loss, reason = "names are short")]
        let title = name.chars().count() as f64 * (LETTER + 0.5) + MARGIN;
        let size = Size {
            width: layout.width.max(title) + 2.0 * MARGIN,
            height: layout.height + TITLE + MARGIN,
            pin: Pin::Free,
        };
        Self { members, entries, exits, links, layout, size }
    }

    /// Where a box lies within the frame.
    fn inside(&self, corner: Point, point: Point) -> Point {
        let margin = (self.size.width - self.layout.width) / 2.0;
        Point { x: corner.x + margin + point.x, y: corner.y + TITLE + point.y }
    }

    /// Where a gate lies, from the left side of the frame.
    fn gate(&self, gate: Option<&usize>) -> f64 {
        let place = gate.and_then(|gate| self.layout.boxes.get(*gate));
        place.map_or(self.size.width / 2.0, |place| self.inside(Point { x: 0.0, y: 0.0 }, *place).x)
    }

    /// The links within the frame, once it lies somewhere.
    fn routes(&self, corner: Point) -> impl Iterator<Item = Route> {
        self.layout.routes.iter().zip(&self.links).map(move |(route, link)| {
            let mut points: Vec<Point> = route.iter().map(|point| self.inside(corner, *point)).collect();
            // Gates lie a little inside of the border.
            if let (true, Some(first)) = (link.from >= self.members.len(), points.first().copied()) {
                points.insert(0, Point { x: first.x, y: corner.y });
            }
            let leaves = link.to >= self.members.len();
            if let (true, Some(last)) = (leaves, points.last().copied()) {
                points.push(Point { x: last.x, y: corner.y + self.size.height });
            }
            Route { points, head: !leaves }
        })
    }
}

/// Lays out the frames and the nodes that stand alone.
fn assemble(sizes: &[Size], crossing: &[(usize, usize)], groups: &Groups, frames: &[Frame]) -> Arranged {
    // Items in the order of their first node, which is one in which they can run.
    let mut item_of_frame: Vec<Option<usize>> = vec![None; frames.len()];
    let mut items: Vec<Size> = Vec::new();
    let mut add = |size: Size| {
        items.push(size);
        items.len() - 1
    };
    let item_of: Vec<usize> = groups
        .of
        .iter()
        .enumerate()
        .map(|(node, group)| match group {
            None => add(sizes[node]),
            Some(group) => *item_of_frame[*group].get_or_insert_with(|| add(frames[*group].size)),
        })
        .collect();
    let mut links = Vec::new();
    let mut heads = Vec::new();
    let mut entered: FxHashMap<(usize, usize), ()> = FxHashMap::default();
    for (from, to) in crossing {
        let into = groups.of[*to];
        // One link for all readers within a frame.
        if into.is_some_and(|frame| entered.insert((*from, frame), ()).is_some()) {
            continue;
        }
        let from_x = match groups.of[*from] {
            Some(frame) => frames[frame].gate(frames[frame].exits.get(from)),
            None => sizes[*from].width / 2.0,
        };
        let to_x = into.map(|frame| frames[frame].gate(frames[frame].entries.get(from)));
        links.push(Link { from: item_of[*from], from_x, to: item_of[*to], to_x });
        heads.push(into.is_none());
    }
    let layout = layers::layout(&items, &links);
    let mut routes: Vec<Route> =
        layout.routes.iter().zip(heads).map(|(points, head)| Route { points: points.clone(), head }).collect();
    let mut corners: Vec<Point> = item_of.iter().map(|item| layout.boxes[*item]).collect();
    let mut placed = Vec::new();
    for (frame, item) in frames.iter().zip(&item_of_frame) {
        let corner = item.map_or(Point { x: 0.0, y: 0.0 }, |item| layout.boxes[item]);
        for (node, place) in frame.members.iter().zip(&frame.layout.boxes) {
            corners[*node] = frame.inside(corner, *place);
        }
        routes.extend(frame.routes(corner));
        placed.push(Placed { corner, size: Point { x: frame.size.width, y: frame.size.height } });
    }
    Arranged { corners, frames: placed, routes, size: Point { x: layout.width, y: layout.height } }
}
