//! One axis of a sliding window: which taps of which output positions fall inside the input.
//!
//! Kernels cut a row of outputs into tiles of a few neighbours. Tiles with the same *pattern* of taps inside share one
//! machine-code variant; a row has an interior pattern and a few edge patterns, so padding costs no memory and no branch.

/// A window sliding along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Input positions.
    pub input: usize,
    /// Output positions.
    pub output: usize,
    /// Taps.
    pub kernel: usize,
    /// Input positions from one output to the next.
    pub stride: usize,
    /// Input positions from one tap to the next.
    pub dilation: usize,
    /// Padding before the first input position.
    pub pad: usize,
}

impl Axis {
    /// Whether tap `tap` of output `output` is inside the input.
    #[must_use]
    pub fn inside(&self, output: usize, tap: usize) -> bool {
        let position = output.saturating_mul(self.stride).saturating_add(tap.saturating_mul(self.dilation));
        position >= self.pad && position - self.pad < self.input
    }

    /// Whether every tap of every output is inside.
    #[must_use]
    pub fn all_inside(&self) -> bool {
        self.output == 0 || self.kernel == 0 || (self.inside(0, 0) && self.inside(self.output - 1, self.kernel - 1))
    }
}

/// Which taps of each of a tile's positions are inside: `taps[tap][position]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// For each tap, each position of the tile.
    pub taps: Vec<Vec<bool>>,
}

impl Pattern {
    /// Positions in the tile.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taps.first().map_or(0, Vec::len)
    }

    /// Whether the tile has no positions (or the window no taps).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every tap is inside everywhere.
    #[must_use]
    pub fn full(&self) -> bool {
        self.taps.iter().flatten().all(|inside| *inside)
    }
}

/// Neighbouring tiles of one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Their pattern.
    pub pattern: Pattern,
    /// The first output position of the first tile.
    pub start: usize,
    /// The index of the first tile in its row.
    pub first: usize,
    /// How many tiles.
    pub count: usize,
}

/// Cuts a row into the fewest tiles of at most `most` positions, all of nearly the same size, and groups neighbours of
/// one pattern into runs.
#[must_use]
pub fn runs(axis: &Axis, most: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let tiles = axis.output.div_ceil(most.max(1));
    if tiles == 0 {
        return runs;
    }
    let (small, larger) = (axis.output / tiles, axis.output % tiles);
    let all_inside = axis.all_inside();
    let mut start = 0;
    for index in 0..tiles {
        let len = small + usize::from(index < larger);
        // Long rows without padding have two patterns at most; do not build one for each tile.
        if let Some(last) = runs.last_mut()
            && all_inside
            && last.pattern.len() == len
        {
            last.count += 1;
            start += len;
            continue;
        }
        let taps =
            (0..axis.kernel).map(|tap| (start..start + len).map(|output| axis.inside(output, tap)).collect()).collect();
        let pattern = Pattern { taps };
        match runs.last_mut() {
            Some(last) if last.pattern == pattern => last.count += 1,
            _ => runs.push(Run { pattern, start, first: index, count: 1 }),
        }
        start += len;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(input: usize, output: usize, kernel: usize, stride: usize, pad: usize) -> Axis {
        Axis { input, output, kernel, stride, dilation: 1, pad }
    }

    #[test]
    fn a_padded_row_has_two_edges_and_an_interior() {
        let runs = runs(&axis(56, 56, 3, 1, 1), 14);
        let shape: Vec<_> = runs.iter().map(|run| (run.start, run.count, run.pattern.full())).collect();
        assert_eq!(shape, [(0, 1, false), (14, 2, true), (42, 1, false)]);
        assert!(!runs[0].pattern.taps[0][0] && runs[0].pattern.taps[0][1] && runs[0].pattern.taps[1][0]);
    }

    #[test]
    fn tiles_are_balanced_and_cover_the_row() {
        for output in 1..70 {
            for most in 1..17 {
                let axis = axis(output + 2, output, 3, 1, 0);
                let runs = runs(&axis, most);
                let mut next = 0;
                for run in &runs {
                    assert_eq!(run.start, next);
                    assert!(run.pattern.full() && run.pattern.len() <= most);
                    next += run.count * run.pattern.len();
                }
                assert_eq!(next, output);
                assert!(runs.len() <= 2);
            }
        }
    }

    #[test]
    fn positions_entirely_in_padding_have_no_taps() {
        let axis = Axis { input: 2, output: 9, kernel: 2, stride: 1, dilation: 2, pad: 4 };
        let inside: Vec<bool> = (0..9).map(|output| (0..2).any(|tap| axis.inside(output, tap))).collect();
        assert_eq!(inside, [false, false, true, true, true, true, false, false, false]);
    }
}
