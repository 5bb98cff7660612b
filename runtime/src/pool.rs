//! A fork-join pool for runs of a few microseconds to seconds: threads that execute the regions of a [`Schedule`].
//!
//! The caller of [`Pool::run`] is one of the threads. The others are woken once a run, not once a region: within a run
//! they go from region to region by watching one word. Who waits spins for a while, then gives way to others, then
//! sleeps; between runs the pool costs nothing but memory. A run allocates nothing.
//!
//! # How work is handed out
//! Each thread's share of a region is a packed word `(region, begin, end)`. A thread takes three quarters of what is left
//! of its own share at a time, from the front, and once that is gone half of what is left of another's, from the back.
//! Pieces are therefore few, contiguous, and small towards the end. A word that still carries an earlier region stands
//! for the whole share, so nothing has to be prepared for a region, and the share of a thread that never comes (its core
//! is taken, it sleeps) is done by the others: **a region ends when its units are done, not when all threads arrive.**
//!
//! # How a region ends
//! `done` counts the units that have run. Whoever brings it to the region's number sets it back to zero and opens the
//! next region by writing `region`. One atomic addition for a piece and one store for a region are all there is.
//!
//! # Memory ordering
//! 1. *Units of different regions.* What a thread wrote in region r happens before its addition to `done` (release); the
//!    additions are read-modify-writes and form one release sequence, so the last of them (acquire) sees the writes of
//!    all; it stores `region` (release), which the others load (acquire) before they take units of r + 1. The reset of
//!    `done` lies between, so no addition of r + 1 can come before it.
//! 2. *Each unit once.* Units are taken by compare-and-swap on a share's word, which is one atomic object: relaxed order
//!    is enough. The word never returns to an earlier value during a run, for its region only grows and within a region
//!    its range only shrinks. A thread that was held up in region r finds nothing there later: once r has ended all its
//!    units have been taken, so a word is exhausted, or carries a later region, or its share of r was empty.
//! 3. *The caller's closure.* It is reached through `job`, written while nobody is inside. A worker enters by adding
//!    itself to `door` while that is open (acquire, paired with the release store that opened it), and leaves by
//!    subtracting itself (release). The caller closes the door and waits until nobody is inside (acquire) before it
//!    returns. A worker that comes too late finds the door closed and never looks at `job`.
//! 4. *Sleep.* A sleeper counts itself in `sleepers`, passes a sequentially consistent fence and then looks once more for
//!    what it waits for; who changes that passes such a fence and then reads `sleepers`. One of the two sees the other.
//!    The lock that is held from the look to the sleep keeps the bell from ringing in between.
//!
//! # Panics
//! Kernels cannot panic. Should the closure of another user do so, the panic is held back until the run has ended, and
//! then goes on in the caller of [`Pool::run`]; the pool stays usable.

use std::any::Any;
use std::cell::UnsafeCell;
use std::cmp::Ordering as Order;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::schedule::Schedule;

/// Units of one region, to be run by one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The thread: 0 is the caller. No two pieces of one thread run at once.
    pub thread: usize,
    /// The region.
    pub region: usize,
    /// The units.
    pub units: Range<u32>,
}

/// A value on cache lines of its own: two, because CPUs fetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

/// How long to wait by what means, from the start of waiting.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Watching without giving way.
    spin: Duration,
    /// Giving way between looks; sleep follows.
    give_way: Duration,
}

impl Patience {
    /// Within a run the next region is near: a wake-up through the system costs tens of microseconds on both sides.
    const WITHIN: Self = Self { spin: Duration::from_micros(50), give_way: Duration::from_millis(1) };
    /// Between runs: long enough for runs in a row.
    const BETWEEN: Self = Self { spin: Duration::from_micros(50), give_way: Duration::from_micros(50) };
    /// Where there are more threads than CPUs, who spins keeps others from the work that it waits for.
    const CROWDED: Self = Self { spin: Duration::ZERO, give_way: Duration::from_micros(50) };
}

/// What the workers of a run do: a closure without its type.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    call: unsafe fn(*const (), Piece),
}

/// See the module's documentation for the protocol.
struct Shared {
    schedule: Schedule,
    within: Patience,
    between: Patience,
    /// Whether a run takes workers, which one it is, and how many are inside: [`QUIT`], [`OPEN`], epoch, count.
    door: Apart<AtomicU64>,
    /// The region whose units are handed out; the number of regions once a run is done.
    region: Apart<AtomicUsize>,
    /// Units of it that are done.
    done: Apart<AtomicU32>,
    /// What is left of each thread's share.
    shares: Box<[Apart<AtomicU64>]>,
    job: UnsafeCell<Option<Job>>,
    /// The first panic of a run.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: Apart<AtomicUsize>,
    lock: Mutex<()>,
    bell: Condvar,
}

// SAFETY: all but `job` is `Sync` by itself. `job` is written by the thread that owns the pool while the door is closed
// and nobody is inside, and read by workers inside only (point 3 of the module's documentation); what it points to is
// `Sync`, by the bound of `Pool::run`.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

/// In `door`: the pool is being dropped.
const QUIT: u64 = 1 << 63;
/// In `door`: workers may enter.
const OPEN: u64 = 1 << 62;
/// In `door`: one run.
const EPOCH: u64 = 1 << 32;
/// In `door`: the workers inside.
const INSIDE: u64 = EPOCH - 1;

fn epoch(door: u64) -> u64 {
    door & !(QUIT | OPEN | INSIDE)
}

/// What is left of a share: the region's number plus one (20 bits; 0 before the first), begin and end (22 bits each, as
/// [`crate::schedule`] limits them).
fn pack(tag: u64, units: &Range<u32>) -> u64 {
    tag << 44 | u64::from(units.start) << 22 | u64::from(units.end)
}

#[expect(clippy::cast_possible_truncation, reason = "masked to 22 bits")]
fn unpack(word: u64) -> (u64, Range<u32>) {
    let mask = (1 << 22) - 1;
    (word >> 44, (word >> 22 & mask) as u32..(word & mask) as u32)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is ever left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Opens a region, or the end of the run where there are no more.
    fn open(&self, region: usize) {
        self.done.0.store(0, Ordering::Relaxed);
        self.region.0.store(region, Ordering::Release);
        self.ring();
    }

    /// Units of a region for a thread to run; `None` once all are handed out.
    fn take(&self, region: usize, thread: usize) -> Option<Range<u32>> {
        let (tag, threads) = (region as u64 + 1, self.shares.len());
        for distance in 0..threads {
            let owner = (thread + distance) % threads;
            let share = &self.shares[owner].0;
            let mut word = share.load(Ordering::Relaxed);
            loop {
                let (of, left) = unpack(word);
                let left = match of.cmp(&tag) {
                    Order::Less => self.schedule.share(region, owner),
                    Order::Equal => left,
                    Order::Greater => return None,
                };
                let count = left.end - left.start;
                if count == 0 {
                    break;
                }
                let (taken, rest) = if distance == 0 {
                    let middle = left.start + (count - count / 4);
                    (left.start..middle, middle..left.end)
                } else {
                    let middle = left.end - count.div_ceil(2);
                    (middle..left.end, left.start..middle)
                };
                match share.compare_exchange_weak(word, pack(tag, &rest), Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Some(taken),
                    Err(now) => word = now,
                }
            }
        }
        None
    }

    /// Runs units until the run is done.
    ///
    /// # Safety
    /// `job` is that of the run that is going on, and its closure lives until this returns.
    unsafe fn take_part(&self, job: Job, thread: usize) {
        loop {
            let region = self.region.0.load(Ordering::Acquire);
            if region >= self.schedule.regions() {
                return;
            }
            while let Some(units) = self.take(region, thread) {
                let count = units.end - units.start;
                // SAFETY: the closure lives, by this function's contract, and `call` was made for its type.
                let run = || unsafe { (job.call)(job.closure, Piece { thread, region, units }) };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    locked(&self.panic).get_or_insert(panic);
                }
                if self.done.0.fetch_add(count, Ordering::AcqRel) + count == self.schedule.units(region) {
                    self.open(region + 1);
                    break;
                }
            }
            self.wait(self.within, || self.region.0.load(Ordering::Acquire) != region);
        }
    }

    /// Waits for a run other than `last` and enters it; `None` once the pool is dropped.
    fn enter(&self, last: u64) -> Option<u64> {
        let fresh = |door: u64| door & OPEN != 0 && epoch(door) != last;
        loop {
            let door = self.door.0.load(Ordering::Relaxed);
            if door & QUIT != 0 {
                return None;
            }
            if !fresh(door) {
                let called = |door: u64| fresh(door) || door & QUIT != 0;
                self.wait(self.between, || called(self.door.0.load(Ordering::Relaxed)));
            } else if self.door.0.compare_exchange_weak(door, door + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Some(epoch(door));
            }
        }
    }

    /// Leaves a run.
    fn leave(&self) {
        let before = self.door.0.fetch_sub(1, Ordering::Release);
        if before & OPEN == 0 && before & INSIDE == 1 {
            self.ring();
        }
    }

    /// The life of a worker.
    fn work(&self, thread: usize) {
        let mut last = 0;
        while let Some(run) = self.enter(last) {
            last = run;
            // SAFETY: inside, so the caller of `Pool::run` waits for us: it writes to `job` neither now nor before `leave`,
            // and keeps its closure alive until then.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: as above.
                unsafe { self.take_part(job, thread) };
            }
            self.leave();
        }
    }

    fn wait(&self, patience: Patience, ready: impl Fn() -> bool) {
        const LOOKS: usize = 32;
        let start = Instant::now();
        loop {
            let waited = start.elapsed();
            if waited < patience.spin {
                for _ in 0..LOOKS {
                    if ready() {
                        return;
                    }
                    std::hint::spin_loop();
                }
            } else if ready() {
                return;
            } else if waited < patience.give_way {
                std::thread::yield_now();
            } else {
                break;
            }
        }
        let mut guard = locked(&self.lock);
        self.sleepers.0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes who sleeps, after a change that someone may wait for.
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.0.load(Ordering::Relaxed) > 0 {
            drop(locked(&self.lock));
            self.bell.notify_all();
        }
    }
}

/// Threads that execute one schedule; see the module's documentation.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the workers: one less than the schedule has threads, named `incept-1` and so on.
    ///
    /// # Errors
    /// Where the system has no more threads to give; those that were started have ended then.
    pub fn new(schedule: Schedule) -> io::Result<Self> {
        let threads = schedule.threads();
        let crowded = std::thread::available_parallelism().map_or(1, usize::from) < threads;
        let shared = Arc::new(Shared {
            within: if crowded { Patience::CROWDED } else { Patience::WITHIN },
            between: if crowded { Patience::CROWDED } else { Patience::BETWEEN },
            door: Apart(AtomicU64::new(0)),
            region: Apart(AtomicUsize::new(schedule.regions())),
            done: Apart(AtomicU32::new(0)),
            shares: (0..threads).map(|_| Apart(AtomicU64::new(0))).collect(),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: Apart(AtomicUsize::new(0)),
            lock: Mutex::new(()),
            bell: Condvar::new(),
            schedule,
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1) };
        for thread in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("incept-{thread}"));
            // On failure `pool` is dropped, which ends the workers that there are.
            pool.workers.push(builder.spawn(move || shared.work(thread))?);
        }
        Ok(pool)
    }

    /// How many threads take part, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.schedule.threads()
    }

    /// What is executed.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.shared.schedule
    }

    /// Executes the schedule once: `body` gets each unit of each region exactly once, in pieces; a region's pieces start
    /// after all of the region before have ended, and see what those wrote.
    ///
    /// # Panics
    /// Where `body` did, on any thread.
    pub fn run<F: Fn(Piece) + Sync>(&mut self, body: &F) {
        /// # Safety
        /// `closure` points to an `F` that lives.
        unsafe fn call<F: Fn(Piece)>(closure: *const (), piece: Piece) {
            // SAFETY: this function's contract.
            unsafe { (*closure.cast::<F>())(piece) }
        }
        /// Closes the door and waits for those inside, also if something unwinds.
        struct Inside<'a>(&'a Shared);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                let Self(shared) = self;
                shared.door.0.fetch_and(!OPEN, Ordering::Relaxed);
                shared.wait(shared.within, || shared.door.0.load(Ordering::Acquire) & INSIDE == 0);
            }
        }

        let shared = &*self.shared;
        let job = Job { closure: std::ptr::from_ref(body).cast(), call: call::<F> };
        for share in &shared.shares {
            share.0.store(0, Ordering::Relaxed);
        }
        shared.done.0.store(0, Ordering::Relaxed);
        shared.region.0.store(0, Ordering::Relaxed);
        // SAFETY: the door is closed and nobody is inside: so it was made, and so the last run left it (`&mut self` keeps
        // out another one).
        unsafe { *shared.job.get() = Some(job) };
        let run = epoch(shared.door.0.load(Ordering::Relaxed).wrapping_add(EPOCH));
        shared.door.0.store(run | OPEN, Ordering::Release);
        let inside = Inside(shared);
        shared.ring();
        // SAFETY: `job` is this run's, and `body` outlives this function.
        unsafe { shared.take_part(job, 0) };
        drop(inside);
        let panic = locked(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.door.0.fetch_or(QUIT, Ordering::Relaxed);
        self.shared.ring();
        for worker in self.workers.drain(..) {
            // A worker catches what its closure throws, so there is nothing to hear from it.
            let _ = worker.join();
        }
    }
}
