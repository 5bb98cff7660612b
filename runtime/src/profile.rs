//! What ran when: the calls of one profiled run.
//!
//! Each call of a kernel writes one record to a place of its own, found by counting up; nothing is allocated while
//! anything is timed. A run that is not profiled is compiled without any of this.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use incept_ir::ids::StepId;

/// One call of a kernel: some tasks of a step, on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The step.
    pub step: StepId,
    /// The thread: 0 is the caller of the run, k the one that is named `incept-k`.
    pub thread: usize,
    /// When it began, in nanoseconds from the start of the run.
    pub begin_ns: u64,
    /// When it ended.
    pub end_ns: u64,
}

impl Record {
    /// How long it took, in nanoseconds.
    #[must_use]
    pub fn ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.begin_ns)
    }
}

/// The times of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    records: Vec<Record>,
    steps_ns: Vec<u64>,
    total_ns: u64,
}

impl Profile {
    /// The calls, by the time at which they began. At one thread there is one for each step.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// For each step of the plan the nanoseconds that its tasks took, summed over the threads. Divide by the number of
    /// threads for its part of the run's time; the difference of these parts' sum to [`Profile::total_ns`] is what threads
    /// waited for each other.
    #[must_use]
    pub fn steps_ns(&self) -> &[u64] {
        &self.steps_ns
    }

    /// The nanoseconds from the start of the run to its end.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }
}

/// Around the calls of a run.
pub(crate) trait Watch: Sync {
    /// Does `run`, a call of this step on this thread.
    fn around(&self, step: usize, thread: usize, run: impl FnOnce());
}

/// Watches nothing.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    #[inline]
    fn around(&self, _step: usize, _thread: usize, run: impl FnOnce()) {
        run();
    }
}

#[derive(Debug, Default)]
struct Slot {
    step: AtomicU32,
    thread: AtomicU32,
    begin: AtomicU64,
    end: AtomicU64,
}

/// Writes records.
#[derive(Debug)]
pub(crate) struct Recorder {
    slots: Vec<Slot>,
    next: AtomicUsize,
    start: Instant,
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Recorder {
    /// With room for this many calls.
    pub fn new(calls: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(calls, Slot::default);
        Self { slots, next: AtomicUsize::new(0), start: Instant::now() }
    }

    /// The run starts now.
    pub fn start(&mut self) {
        self.next = AtomicUsize::new(0);
        self.start = Instant::now();
    }

    /// The run has ended: sums it up, reusing the memory of `profile`.
    pub fn finish(&self, steps: usize, profile: &mut Profile) {
        profile.total_ns = nanoseconds(self.start);
        let used = self.next.load(Ordering::Relaxed).min(self.slots.len());
        profile.records.clear();
        profile.records.reserve(self.slots.len());
        profile.steps_ns.clear();
        profile.steps_ns.resize(steps, 0);
        for slot in &self.slots[..used] {
            // The end of the run has made all writes visible.
            let record = Record {
                step: StepId::new(slot.step.load(Ordering::Relaxed)),
                thread: slot.thread.load(Ordering::Relaxed) as usize,
                begin_ns: slot.begin.load(Ordering::Relaxed),
                end_ns: slot.end.load(Ordering::Relaxed),
            };
            if let Some(sum) = profile.steps_ns.get_mut(record.step.index()) {
                *sum = sum.saturating_add(record.ns());
            }
            profile.records.push(record);
        }
        profile.records.sort_unstable_by_key(|record| (record.begin_ns, record.thread, record.step));
    }
}

impl Watch for Recorder {
    fn around(&self, step: usize, thread: usize, run: impl FnOnce()) {
        let begin = nanoseconds(self.start);
        run();
        let end = nanoseconds(self.start);
        let Some(slot) = self.slots.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
            debug_assert!(false, "more calls than were counted on");
            return;
        };
        slot.step.store(u32::try_from(step).unwrap_or(u32::MAX), Ordering::Relaxed);
        slot.thread.store(u32::try_from(thread).unwrap_or(u32::MAX), Ordering::Relaxed);
        slot.begin.store(begin, Ordering::Relaxed);
        slot.end.store(end, Ordering::Relaxed);
    }
}
