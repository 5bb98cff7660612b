//! Zeroed memory for weights, activations and scratch: page-aligned, and on large pages where the system has them.
//!
//! The blocks of a network are many megabytes, written once and then streamed through. Large pages (2 MiB on x86-64) save
//! most of the page faults while they are filled and most of the address translations while they are read.

use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::MmapMut;

/// The size of a large page where the system has such.
const LARGE_PAGE: usize = 2 << 20;
/// The size of a page where it has not.
const SMALL_PAGE: usize = 4 << 10;

/// A block of memory that starts as zeros, aligned to a page and so to a cache line.
#[derive(Debug, Default)]
pub struct AlignedBytes {
    /// `None` for an empty block.
    map: Option<MmapMut>,
    /// Where the block starts in the mapping.
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes; `None` where there is not enough memory.
    #[must_use]
    pub fn zeroed(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self::default());
        }
        // Address space is reserved in whole lines, and for a large block so that it can begin with a large page: what is
        // never touched costs no memory.
        let lines = len.checked_next_multiple_of(64)?;
        let large = len >= LARGE_PAGE;
        let reserved = if large { lines.checked_add(LARGE_PAGE)? } else { lines };
        let map = MmapMut::map_anon(reserved).ok()?;
        let start = if large { map.as_ptr().align_offset(LARGE_PAGE) } else { 0 };
        let block = Self { start: if start > LARGE_PAGE { 0 } else { start }, map: Some(map), len };
        #[cfg(target_os = "linux")]
        if large && let Some(map) = &block.map {
            // Only advice: a system without large pages refuses it, and the block is on small ones.
            let _ = map.advise_range(memmap2::Advice::HugePage, block.start, lines);
        }
        Some(block)
    }

    /// Makes the system provide the memory of the first `len` bytes, page by page until told to `stop`. It clears each page
    /// when that is first touched, which takes about as long as to fill it.
    pub fn touch(&mut self, len: usize, stop: &AtomicBool) {
        for page in self.bytes_mut().chunks_mut(LARGE_PAGE).take(len.div_ceil(LARGE_PAGE)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            // They are zeros already; the compiler must not know.
            page.iter_mut().step_by(SMALL_PAGE).for_each(|byte| *byte = std::hint::black_box(0));
        }
    }

    /// Makes the block shorter. Its memory stays reserved; what was not touched costs nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |map| &map[self.start..][..self.len])
    }

    /// The bytes, to write.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().map_or(&mut [], |map| &mut map[self.start..][..self.len])
    }

    /// The whole lines as `f32`, padded with zeros to a multiple of 16 values.
    #[must_use]
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let padded = self.len.next_multiple_of(64);
        self.map.as_deref_mut().map_or(&mut [], |map| bytemuck::cast_slice_mut(&mut map[self.start..][..padded]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn touched_and_shorter_blocks_are_zeros() {
        let mut block = AlignedBytes::zeroed(3 * LARGE_PAGE + 5).unwrap();
        block.touch(LARGE_PAGE + 1, &AtomicBool::new(true));
        block.touch(usize::MAX, &AtomicBool::new(false));
        block.truncate(LARGE_PAGE + 7);
        assert!(block.len() == LARGE_PAGE + 7 && block.bytes().iter().all(|byte| *byte == 0));
        assert_eq!(block.floats_mut().len(), (LARGE_PAGE + 64) / 4);
        block.truncate(usize::MAX);
        assert_eq!(block.len(), LARGE_PAGE + 7);
        AlignedBytes::default().touch(9, &AtomicBool::new(false));
    }

    #[test]
    fn is_aligned_zero_and_as_long_as_asked() {
        for len in [0, 1, 64, 65, LARGE_PAGE - 1, LARGE_PAGE, 3 * LARGE_PAGE + 1] {
            let mut block = AlignedBytes::zeroed(len).unwrap();
            assert_eq!((block.len(), block.bytes().len(), block.bytes_mut().len()), (len, len, len));
            if len > 0 {
                assert_eq!(block.bytes().as_ptr() as usize % if len >= LARGE_PAGE { LARGE_PAGE } else { 64 }, 0);
            }
            assert_eq!(block.floats_mut().len(), len.div_ceil(64) * 16);
            assert!(block.floats_mut().iter().all(|value| value.to_bits() == 0));
            block.bytes_mut().fill(1);
            assert!(block.bytes().iter().all(|byte| *byte == 1));
        }
    }

    #[test]
    fn too_much_memory_is_refused() {
        assert!(AlignedBytes::zeroed(usize::MAX).is_none());
        assert!(AlignedBytes::zeroed(isize::MAX as usize - 63).is_none());
    }
}
