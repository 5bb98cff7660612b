//! Arithmetic on views: dense layouts in any order of the axes, broadcasting, reshaping without a copy.

use incept_ir::plan::View;

/// The order of the axes of an activation of this rank, outermost first: channels innermost in rank 4, rows elsewhere.
pub(super) fn default_order(rank: usize) -> Vec<usize> {
    if rank == 4 { vec![0, 2, 3, 1] } else { row_order(rank) }
}

/// Rows: the last axis innermost.
pub(super) fn row_order(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// The order in which a view's axes lie in memory, outermost first. Axes of size 1 stay beside their neighbours.
pub(super) fn order_of(view: &View) -> Vec<usize> {
    let mut order: Vec<usize> = (0..view.sizes.len()).filter(|axis| view.sizes[*axis] != 1).collect();
    order.sort_by_key(|axis| std::cmp::Reverse(view.strides[*axis]));
    let mut all: Vec<usize> = (0..view.sizes.len()).filter(|axis| view.sizes[*axis] == 1).collect();
    all.extend(order);
    all
}

/// The strides of a dense tensor whose axes lie in this order. The product of the sizes is known not to overflow.
pub(super) fn dense(sizes: &[usize], order: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; sizes.len()];
    let mut span = 1usize;
    for axis in order.iter().rev() {
        strides[*axis] = span;
        span = span.saturating_mul(sizes[*axis]);
    }
    strides
}

/// Whether an axis has stride 1, or is of size 1.
pub(super) fn is_innermost(view: &View, axis: usize) -> bool {
    view.sizes.get(axis).is_none_or(|size| *size == 1) || view.strides.get(axis) == Some(&1)
}

/// The axis that has more than one element and stride 1.
pub(super) fn unit_axis(view: &View) -> Option<usize> {
    (0..view.sizes.len()).find(|axis| view.sizes[*axis] != 1 && view.strides[*axis] == 1)
}

/// The view with axes of size 1 put before its own, up to this rank.
pub(super) fn with_rank(view: &View, rank: usize) -> View {
    let more = rank.saturating_sub(view.sizes.len());
    let mut view = view.clone();
    view.sizes.splice(0..0, std::iter::repeat_n(1, more));
    view.strides.splice(0..0, std::iter::repeat_n(0, more));
    view
}

/// The view of the same rank repeated to these sizes, by stride 0; `None` where a size is neither equal nor 1.
pub(super) fn broadcast(view: &View, sizes: &[usize]) -> Option<View> {
    if view.sizes.len() != sizes.len() {
        return None;
    }
    let mut wide = view.clone();
    for (axis, size) in sizes.iter().enumerate() {
        if wide.sizes[axis] == *size {
            continue;
        }
        if wide.sizes[axis] != 1 {
            return None;
        }
        wide.sizes[axis] = *size;
        wide.strides[axis] = 0;
    }
    Some(wide)
}

/// The view under other sizes with the same elements in row-major order; `None` where no strides give that.
pub(super) fn reshape(view: &View, sizes: &[usize]) -> Option<View> {
    if view.sizes.iter().product::<usize>() != sizes.iter().product::<usize>() {
        return None;
    }
    // Blocks of axes that step evenly through memory: (elements, stride of the innermost).
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in view.sizes.iter().copied().zip(view.strides.iter().copied()).filter(|axis| axis.0 != 1) {
        match blocks.last_mut() {
            Some(block) if size.checked_mul(stride) == Some(block.1) => *block = (block.0 * size, stride),
            _ => blocks.push((size, stride)),
        }
    }
    let mut strides = vec![0; sizes.len()];
    let mut blocks = blocks.into_iter().rev();
    let (mut left, mut stride) = blocks.next().unwrap_or((1, 1));
    for (axis, size) in sizes.iter().enumerate().rev() {
        if *size == 1 {
            strides[axis] = stride;
            continue;
        }
        if left == 1 {
            (left, stride) = blocks.next()?;
        }
        if !left.is_multiple_of(*size) {
            return None;
        }
        strides[axis] = stride;
        stride = stride.checked_mul(*size)?;
        left /= size;
    }
    Some(View { buffer: view.buffer, offset: view.offset, sizes: sizes.to_vec(), strides })
}

/// The view with its axes permuted: axis k of the result is axis `perm[k]`.
pub(super) fn permute(view: &View, perm: &[usize]) -> View {
    View {
        buffer: view.buffer,
        offset: view.offset,
        sizes: perm.iter().map(|axis| view.sizes[*axis]).collect(),
        strides: perm.iter().map(|axis| view.strides[*axis]).collect(),
    }
}

/// Whether two views are the same elements in the same order.
pub(super) fn same(a: &View, b: &View) -> bool {
    a.buffer == b.buffer
        && a.offset == b.offset
        && a.sizes == b.sizes
        && (0..a.sizes.len()).all(|axis| a.sizes[axis] == 1 || a.strides[axis] == b.strides[axis])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use incept_ir::ids::BufferId;
    use proptest::prelude::*;

    use super::*;

    fn view(sizes: &[usize], strides: &[usize]) -> View {
        View { buffer: BufferId::new(0), offset: 3, sizes: sizes.into(), strides: strides.into() }
    }

    fn places(view: &View) -> Vec<usize> {
        let mut places = vec![view.offset];
        for (size, stride) in view.sizes.iter().zip(&view.strides) {
            places = places.iter().flat_map(|place| (0..*size).map(move |i| place + i * stride)).collect();
        }
        places
    }

    #[test]
    fn layouts() {
        assert_eq!(dense(&[2, 3, 4, 5], &default_order(4)), [60, 1, 15, 3]);
        assert_eq!(dense(&[2, 3], &default_order(2)), [3, 1]);
        assert_eq!(order_of(&view(&[2, 3, 4, 5], &[60, 1, 15, 3])), default_order(4));
        assert_eq!(unit_axis(&view(&[1, 3, 1, 5], &[1, 5, 1, 1])), Some(3));
        assert_eq!(broadcast(&view(&[1, 3], &[3, 1]), &[4, 3]).unwrap().strides, [0, 1]);
        assert!(broadcast(&view(&[2, 3], &[3, 1]), &[4, 3]).is_none());
    }

    #[test]
    fn reshapes() {
        // Flattening NHWC takes a copy, unless the image is one pixel.
        assert!(reshape(&view(&[1, 8, 2, 2], &[32, 1, 16, 8]), &[1, 32]).is_none());
        assert_eq!(reshape(&view(&[2, 8, 1, 1], &[8, 1, 8, 8]), &[2, 8]).unwrap().strides, [8, 1]);
        assert_eq!(reshape(&view(&[4, 6], &[1, 4]), &[2, 2, 6]).unwrap().strides, [2, 1, 4]);
    }

    proptest! {
        #[test]
        fn reshaping_keeps_the_elements_and_their_order(
            axes in prop::collection::vec((1usize..5, 0usize..20), 0..4),
            cuts in prop::collection::vec(1usize..7, 0..5),
        ) {
            let (sizes, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let view = view(&sizes, &strides);
            let count: usize = sizes.iter().product();
            let mut left = count;
            let mut wanted: Vec<usize> = cuts.into_iter().filter(|cut| {
                let divides = left.is_multiple_of(*cut);
                if divides { left /= cut; }
                divides
            }).collect();
            wanted.push(left);
            if let Some(reshaped) = reshape(&view, &wanted) {
                prop_assert_eq!(places(&reshaped), places(&view));
            } else {
                prop_assert!(!view.is_row_major());
            }
        }

        #[test]
        fn dense_orders_come_back(sizes in prop::collection::vec(2usize..5, 0..5), seed in 0usize..120) {
            let mut order: Vec<usize> = (0..sizes.len()).collect();
            for at in (1..order.len()).rev() {
                order.swap(at, seed % (at + 1));
            }
            prop_assert_eq!(order_of(&view(&sizes, &dense(&sizes, &order))), order);
        }
    }
}
