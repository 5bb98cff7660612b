//! A run allocates nothing: counted by the global allocator, so this test has a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small test values")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use incept_runtime::Session;
use support::{N, expected, module};

thread_local! {
    /// Allocations of this thread, so that the test harness's own threads do not count.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system allocator unchanged; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_neither_allocates_nor_frees() {
    let mut session = Session::new(module()).unwrap();
    let x = [1.5f32; N];
    let (mut y, mut z) = (vec![0.0; N], vec![0.0; 1]);
    let before = COUNT.with(Cell::get);
    assert!(before > 0, "the counter counts");
    for _ in 0..10 {
        session.run(&[&x]).unwrap();
        session.run_profiled(&[&x]).unwrap();
        session.run_into(&[&x], &mut [&mut y, &mut z]).unwrap();
    }
    assert_eq!(COUNT.with(Cell::get), before);
    assert_eq!((y, z[0]), expected(&x));
}
