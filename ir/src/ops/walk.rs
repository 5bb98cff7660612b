//! Row-major strides, and walks over a tensor in an order that is not its own.

use super::{OpError, check};

/// The distance in elements between neighbours along each axis of a row-major tensor.
pub fn strides(sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(sizes[axis]);
    }
    strides
}

/// The strides with which a tensor of `sizes` is read as one of the sizes `into`: 0 along broadcast axes.
pub fn broadcast_strides(sizes: &[usize], into: &[usize]) -> Vec<usize> {
    let own = strides(sizes);
    let missing = into.len().saturating_sub(sizes.len());
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(own_axis) if sizes[own_axis] != 1 => own[own_axis],
        _ => 0,
    };
    (0..into.len()).map(stride).collect()
}

/// The offsets of the elements of a view with these sizes and strides, the last axis fastest.
pub fn offsets(sizes: &[usize], strides: &[usize]) -> Result<Vec<usize>, OpError> {
    let count = check::count(sizes)?;
    let mut offsets = check::room(count)?;
    let mut index = vec![0usize; sizes.len()];
    let mut offset = 0usize;
    for _ in 0..count {
        offsets.push(offset);
        for axis in (0..sizes.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < sizes[axis] {
                break;
            }
            offset -= strides[axis] * sizes[axis];
            index[axis] = 0;
        }
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn strides_are_row_major() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [0usize; 0]);
    }

    #[test]
    fn broadcast_axes_have_stride_zero() {
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
    }

    #[test]
    fn offsets_walk_the_last_axis_first() {
        assert_eq!(offsets(&[2, 3], &[1, 2]).unwrap(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(offsets(&[], &[]).unwrap(), [0]);
        assert_eq!(offsets(&[2, 0], &[1, 1]).unwrap(), [0usize; 0]);
    }
}
