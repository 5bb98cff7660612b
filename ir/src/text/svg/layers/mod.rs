//! A layered drawing of boxes and links: ranks from top to bottom, every link downwards.
//!
//! | module | what lives there |
//! |---|---|
//! | `rank` | which rank a box has; which links are long, and how those are led |
//! | `order` | the order within a rank, with few crossings |
//! | `place` | coordinates |
//!
//! The method is Sugiyama's: ranks by longest path, links over several ranks cut into pieces by bends, barycentres for the
//! order, and for the coordinates a least-squares fit to the neighbours under the order (pool adjacent violators).
//!
//! Invariants: boxes of one rank do not overlap; a rank is a band, and no link crosses a band but straight down, at least
//! half of [`GAP_X`] away from every box; between the bands there are no boxes. So no link runs through a box. Work and
//! memory grow as the number of boxes and links (times a logarithm), for links that would bend too often are led along
//! the right side. Nothing recurses.

mod order;
mod place;
mod rank;
#[cfg(test)]
mod tests;

/// Between boxes of one rank.
pub const GAP_X: f64 = 16.0;

/// Between ranks, at least.
pub const GAP_Y: f64 = 22.0;

/// A box to be placed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Size {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// The rank that it must lie in.
    pub pin: Pin,
}

/// A rank that a box must lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pin {
    /// Any.
    #[default]
    Free,
    /// The first; nothing links to it.
    First,
    /// The last; it links to nothing.
    Last,
}

/// A link from one box to another.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// The upper box.
    pub from: usize,
    /// Where the link leaves it, from its left side.
    pub from_x: f64,
    /// The lower box.
    pub to: usize,
    /// Where the link enters it, from its left side; where nothing is said, the links of a box share its upper side.
    pub to_x: Option<f64>,
}

/// A point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
}

/// A drawing, its left upper corner at the origin.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
    /// The left upper corner of each box.
    pub boxes: Vec<Point>,
    /// The points of each link. From one point to the next it runs straight down, or bends between two ranks.
    pub routes: Vec<Vec<Point>>,
}

/// Places boxes. Links that would close a cycle make everything in it and behind it share the first rank: callers give
/// none.
#[must_use]
pub fn layout(boxes: &[Size], links: &[Link]) -> Layout {
    if boxes.is_empty() {
        return Layout::default();
    }
    let ranked = rank::rank(boxes, links);
    let layers = order::order(&ranked);
    place::place(&ranked, &layers, boxes, links)
}
