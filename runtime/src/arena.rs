//! One aligned block of memory, allocated once and addressed by raw pointers.
//!
//! Kernels write to it through pointers that are computed once, so it hands out no references that could go stale: only
//! its owner turns ranges into slices, while nothing runs.

use std::ptr::NonNull;

use incept_ir::abi::AlignedBytes;
use incept_ir::plan::ALIGNMENT;

/// A block of zeroed memory, aligned to [`ALIGNMENT`].
#[derive(Debug)]
pub struct Arena {
    start: NonNull<u8>,
    /// Where `start` points to; never touched again but to be freed.
    memory: AlignedBytes,
}

// SAFETY: the block is owned memory without thread affinity, and no method hands out access without a borrow of `self`
// except through raw pointers, whose users answer for themselves.
unsafe impl Send for Arena {}
// SAFETY: as above; `&Arena` gives only an address and shared slices.
unsafe impl Sync for Arena {}

impl Arena {
    /// A block of `bytes` zero bytes (rounded up to whole cache lines, at least one); `None` where there is not enough
    /// memory.
    #[must_use]
    pub fn new(bytes: usize) -> Option<Self> {
        let mut memory = AlignedBytes::zeroed(bytes.max(1).checked_next_multiple_of(ALIGNMENT)?)?;
        Some(Self { start: NonNull::new(memory.bytes_mut().as_mut_ptr())?, memory })
    }

    /// The size in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there are no bytes; never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// The first byte; valid for reads and writes of [`Arena::len`] bytes as long as the block lives.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The first `count` values of the block; fewer where it is smaller.
    #[must_use]
    pub fn floats(&self, count: usize) -> &[f32] {
        let count = count.min(self.len() / size_of::<f32>());
        // SAFETY: in bounds by the line above, aligned to 64 bytes, initialised to zeros and valid for any bits;
        // kernels write only while the session is borrowed exclusively, so not during the life of this borrow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<f32>(), count) }
    }

    /// The whole block as values.
    #[must_use]
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let count = self.len() / size_of::<f32>();
        // SAFETY: as in `floats`, and exclusive through `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast::<f32>(), count) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn is_aligned_and_zero() {
        for bytes in [0, 1, 64, 65, 100_000] {
            let mut arena = Arena::new(bytes).unwrap();
            assert_eq!(arena.start() as usize % ALIGNMENT, 0);
            assert!(arena.len() >= bytes && arena.len() < bytes.max(1) + ALIGNMENT);
            assert!(arena.floats_mut().iter().all(|value| value.to_bits() == 0));
        }
    }

    #[test]
    fn too_much_memory_is_refused() {
        assert!(Arena::new(usize::MAX).is_none());
        assert!(Arena::new(isize::MAX as usize - 63).is_none());
    }
}
