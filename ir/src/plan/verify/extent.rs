//! Views as sets of elements, and how such sets intersect.
//!
//! An [`Extent`] is a view without order: broadcast axes and axes of size 1 dropped, axes that continue each other merged,
//! the largest stride first. All extents of one root are then written as *boxes* in one system of coordinates, whose
//! units are all strides that occur: the slices of a concatenation are boxes over (pixel, channel). Boxes intersect axis
//! by axis, so coverage is counted without touching single elements. [`Cells`] does the same element by element for
//! roots whose extents are no boxes.

use super::super::View;

/// The elements of a view, without their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first element.
    pub offset: usize,
    /// (size, stride), the largest stride first; no size is 1, no stride 0.
    pub axes: Vec<(usize, usize)>,
}

impl Extent {
    /// The extent of a view whose end is known not to overflow.
    pub fn new(view: &View) -> Self {
        let mut axes: Vec<(usize, usize)> = view
            .sizes
            .iter()
            .copied()
            .zip(view.strides.iter().copied())
            .filter(|(size, stride)| *size != 1 && *stride != 0)
            .collect();
        axes.sort_unstable_by_key(|axis| std::cmp::Reverse(axis.1));
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(axes.len());
        for (size, stride) in axes {
            match merged.last_mut() {
                Some(outer) if size.checked_mul(stride) == Some(outer.1) => {
                    *outer = (outer.0.saturating_mul(size), stride);
                }
                _ => merged.push((size, stride)),
            }
        }
        Self { offset: view.offset, axes: merged }
    }

    /// How many elements there are, each counted as often as it occurs.
    pub fn count(&self) -> usize {
        self.axes.iter().fold(1, |count: usize, (size, _)| count.saturating_mul(*size))
    }

    /// Whether each axis steps over all that the smaller ones span, so that no two elements coincide.
    pub fn is_injective(&self) -> bool {
        let mut span = 1usize;
        for (size, stride) in self.axes.iter().rev() {
            if *stride < span {
                return false;
            }
            span = span.saturating_add((size - 1).saturating_mul(*stride));
        }
        true
    }

    /// The extent as a box in coordinates of these units (strides in descending order, ending in 1); `None` where it is
    /// none.
    pub fn to_box(&self, units: &[usize]) -> Option<Cuboid> {
        let mut rest = self.offset;
        let mut ranges: Vec<(usize, usize)> = Vec::with_capacity(units.len());
        for unit in units {
            ranges.push((rest / unit, 1));
            rest %= unit;
        }
        for (size, stride) in &self.axes {
            let at = units.iter().position(|unit| unit == stride)?;
            let range = ranges.get_mut(at)?;
            if range.1 != 1 {
                return None;
            }
            range.1 = *size;
        }
        // From the inside out: what fills an axis wholly carries over into the next.
        let mut span = 0usize;
        for at in (1..units.len()).rev() {
            let (unit, above) = (units[at], units[at - 1]);
            let (start, len) = ranges[at];
            let reach = start.checked_add(len - 1)?.checked_mul(unit)?.checked_add(span)?;
            if reach < above {
                span = reach;
                continue;
            }
            let radix = above / unit;
            if start != 0 || !above.is_multiple_of(unit) || !len.is_multiple_of(radix) || ranges[at - 1].1 != 1 {
                return None;
            }
            ranges[at] = (0, radix);
            ranges[at - 1].1 = len / radix;
            span = (radix - 1).checked_mul(unit)?.checked_add(span)?;
        }
        Some(Cuboid { ranges })
    }
}

/// A box: (start, length) along each coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cuboid {
    ranges: Vec<(usize, usize)>,
}

impl Cuboid {
    /// How many elements lie in both.
    pub fn common(&self, other: &Self) -> usize {
        self.ranges.iter().zip(&other.ranges).fold(1usize, |count, (a, b)| {
            let start = a.0.max(b.0);
            let end = a.0.saturating_add(a.1).min(b.0.saturating_add(b.1));
            count.saturating_mul(end.saturating_sub(start))
        })
    }

    /// How many elements there are.
    pub fn count(&self) -> usize {
        self.ranges.iter().fold(1, |count: usize, (_, len)| count.saturating_mul(*len))
    }
}

/// Which elements of one root are written, element by element.
#[derive(Debug)]
pub(super) struct Cells {
    written: Vec<bool>,
}

impl Cells {
    /// A root of this many elements, none written.
    pub fn new(elements: usize) -> Self {
        Self { written: vec![false; elements] }
    }

    /// Calls `each` with every element of an extent; stops where it gives false, and says whether it never did.
    pub fn walk(extent: &Extent, mut each: impl FnMut(usize) -> bool) -> bool {
        let mut index = vec![0usize; extent.axes.len()];
        let mut at = extent.offset;
        loop {
            if !each(at) {
                return false;
            }
            let mut axis = extent.axes.len();
            loop {
                if axis == 0 {
                    return true;
                }
                axis -= 1;
                let (size, stride) = extent.axes[axis];
                if index[axis] + 1 < size {
                    index[axis] += 1;
                    at += stride;
                    break;
                }
                at -= index[axis] * stride;
                index[axis] = 0;
            }
        }
    }

    /// Whether every element of an extent is written.
    pub fn covers(&self, extent: &Extent) -> bool {
        Self::walk(extent, |at| self.written.get(at).copied().unwrap_or(false))
    }

    /// Marks an extent as written; false where some element already was.
    pub fn write(&mut self, extent: &Extent) -> bool {
        Self::walk(extent, |at| self.written.get_mut(at).is_some_and(|cell| !std::mem::replace(cell, true)))
    }

    /// Whether two extents share an element. Leaves everything unwritten: for a fresh set of cells only.
    pub fn meet(&mut self, a: &Extent, b: &Extent) -> bool {
        Self::walk(a, |at| {
            if let Some(cell) = self.written.get_mut(at) {
                *cell = true;
            }
            true
        });
        let apart = Self::walk(b, |at| !self.written.get(at).copied().unwrap_or(false));
        Self::walk(a, |at| {
            if let Some(cell) = self.written.get_mut(at) {
                *cell = false;
            }
            true
        });
        !apart
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::BufferId;

    fn elements(extent: &Extent) -> Vec<usize> {
        let mut all = Vec::new();
        Cells::walk(extent, |at| {
            all.push(at);
            true
        });
        all
    }

    fn view(offset: usize, axes: &[(usize, usize)]) -> View {
        let (sizes, strides) = axes.iter().copied().unzip();
        View { buffer: BufferId::new(0), offset, sizes, strides }
    }

    #[test]
    fn slices_of_a_concatenation_are_boxes() {
        // 5 pixels of 7 channels: channels 2..6, and the whole.
        let slice = Extent::new(&view(2, &[(1, 35), (4, 1), (1, 35), (5, 7)]));
        let whole = Extent::new(&view(0, &[(1, 35), (7, 1), (1, 35), (5, 7)]));
        assert_eq!(whole.axes, [(35, 1)]);
        let units = [7, 1];
        let (slice, whole) = (slice.to_box(&units).unwrap(), whole.to_box(&units).unwrap());
        assert_eq!((slice.count(), whole.count(), slice.common(&whole)), (20, 35, 20));
    }

    proptest! {
        #[test]
        fn boxes_agree_with_elements(
            a in (0usize..30, prop::collection::vec((1usize..5, 0usize..40), 0..4)),
            b in (0usize..30, prop::collection::vec((1usize..5, 0usize..40), 0..4)),
        ) {
            let (a, b) = (Extent::new(&view(a.0, &a.1)), Extent::new(&view(b.0, &b.1)));
            let (list_a, list_b) = (elements(&a), elements(&b));
            let (set_a, set_b): (BTreeSet<_>, BTreeSet<_>) =
                (list_a.iter().copied().collect(), list_b.iter().copied().collect());
            if a.is_injective() {
                prop_assert_eq!(set_a.len(), list_a.len());
            }
            prop_assert_eq!(a.count(), list_a.len());
            let mut units: Vec<usize> = a.axes.iter().chain(&b.axes).map(|axis| axis.1).chain([1]).collect();
            units.sort_unstable_by(|a, b| b.cmp(a));
            units.dedup();
            if let (Some(box_a), Some(box_b)) = (a.to_box(&units), b.to_box(&units)) {
                prop_assert_eq!(box_a.count(), set_a.len());
                prop_assert_eq!(box_b.count(), set_b.len());
                prop_assert_eq!(box_a.common(&box_b), set_a.intersection(&set_b).count());
            }
            prop_assert_eq!(Cells::new(400).meet(&a, &b), !set_a.is_disjoint(&set_b));
        }
    }
}
