//! A run allocates nothing: counted by the global allocator, so this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small test values")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use incept_runtime::{Session, SessionOptions};
use support::{N, expected, module};

/// Allocations of all threads. The test harness's own threads may allocate too, once in a while.
static COUNT: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; the counter is a number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_neither_allocates_nor_frees() {
    let x = [1.5f32; N];
    let (mut y, mut z) = (vec![0.0; N], vec![0.0; 1]);
    for threads in [1, 2, 4] {
        let before = COUNT.load(Ordering::Relaxed);
        let mut session =
            Session::with_options(module(), &SessionOptions { threads: NonZeroUsize::new(threads) }).unwrap();
        // The first profiled run makes room for its records.
        session.run_profiled(&[&x]).unwrap();
        assert!(COUNT.load(Ordering::Relaxed) > before, "the counter counts");
        // What a run allocates, each round would show.
        let rounds = (0..10).map(|_| {
            let before = COUNT.load(Ordering::Relaxed);
            for _ in 0..10 {
                session.run(&[&x]).unwrap();
                session.run_profiled(&[&x]).unwrap();
                session.run_into(&[&x], &mut [&mut y, &mut z]).unwrap();
            }
            COUNT.load(Ordering::Relaxed) - before
        });
        assert_eq!(rounds.min(), Some(0), "on {threads} threads");
        assert_eq!((y.clone(), z[0]), expected(&x));
    }
}
