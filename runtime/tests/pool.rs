//! The pool by itself: every unit once, regions in order, any number of threads, no thread left behind.
//!
//! Also meant to be run by hand under Miri, which knows data races and the freedom of weak memory orders:
//! `cargo +nightly miri test -p incept-runtime --test pool`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use incept_runtime::pool::{Piece, Pool};
use incept_runtime::schedule::Schedule;

/// How much of a test Miri does, which is a thousand times slower.
const fn times(full: usize, miri: usize) -> usize {
    if cfg!(miri) { miri } else { full }
}

/// Regions of these numbers of units, shared out unevenly, in a way that differs between regions.
fn schedule(threads: usize, regions: &[u32]) -> Schedule {
    let mut schedule = Schedule::new(threads);
    for (region, &units) in regions.iter().enumerate() {
        let mut left = units;
        let mut shares: Vec<u32> = (1..threads)
            .map(|thread| {
                let share = (units / threads as u32 + ((region + thread) % 3) as u32).min(left);
                left -= share;
                share
            })
            .collect();
        shares.push(left);
        assert!(schedule.push(&shares));
    }
    schedule
}

/// Plain memory that the pool's threads share, so that a missing ordering is a data race.
struct Cells(Vec<UnsafeCell<u64>>);

// SAFETY: each test says why no two threads touch one cell at once.
unsafe impl Sync for Cells {}

impl Cells {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| UnsafeCell::new(0)).collect())
    }

    fn get(&self, index: usize) -> u64 {
        // SAFETY: written in an earlier region or run only.
        unsafe { *self.0[index].get() }
    }

    fn set(&self, index: usize, value: u64) {
        // SAFETY: the cell of a unit, which runs once.
        unsafe { *self.0[index].get() = value };
    }
}

/// Runs a schedule in which each unit reads cells of the region before and writes its own; any unit that is lost,
/// repeated or early shows in the last region.
fn check(pool: &mut Pool, runs: usize) {
    let schedule = pool.schedule().clone();
    let layers: Vec<Cells> =
        (0..schedule.regions()).map(|region| Cells::new(schedule.units(region) as usize)).collect();
    let value = |run: u64, region: usize, unit: usize, sum: u64| {
        (run + 1).wrapping_mul(0x9e37_79b9).wrapping_add((region * 31 + unit) as u64).wrapping_add(sum.rotate_left(7))
    };
    // Neighbours on both sides: units of other threads' shares among them.
    let sources = |unit: usize, below: usize| [unit % below, (unit * 7 + 3) % below, below - 1 - unit % below];
    let mut expected: Vec<Vec<u64>> = layers.iter().map(|layer| vec![0; layer.0.len()]).collect();
    for run in 0..runs as u64 {
        let counts: Vec<AtomicUsize> = layers.iter().map(|_| AtomicUsize::new(0)).collect();
        pool.run(&|piece: Piece| {
            assert!(piece.thread < schedule.threads() && !piece.units.is_empty());
            counts[piece.region].fetch_add(piece.units.len(), Ordering::Relaxed);
            for unit in piece.units {
                let unit = unit as usize;
                let sum = match piece.region {
                    0 => 0,
                    region => {
                        let below = &layers[region - 1];
                        sources(unit, below.0.len()).iter().fold(0u64, |sum, &from| sum.wrapping_add(below.get(from)))
                    }
                };
                layers[piece.region].set(unit, value(run, piece.region, unit, sum));
            }
        });
        for region in 0..layers.len() {
            assert_eq!(counts[region].load(Ordering::Relaxed), layers[region].0.len());
            for unit in 0..layers[region].0.len() {
                let sum = match region {
                    0 => 0,
                    _ => sources(unit, layers[region - 1].0.len())
                        .iter()
                        .fold(0u64, |sum, &from| sum.wrapping_add(expected[region - 1][from])),
                };
                expected[region][unit] = value(run, region, unit, sum);
                assert_eq!(layers[region].get(unit), expected[region][unit], "run {run}, region {region}, unit {unit}");
            }
        }
    }
}

/// As many units as a network's regions have: one, a few, many.
const NETWORK: &[u32] = &[3, 1, 18, 6, 1, 2, 33, 2, 12, 1];

#[test]
fn every_unit_once_and_regions_in_order() {
    for threads in [1, 2, 3, 4, 8] {
        let mut pool = Pool::new(schedule(threads, NETWORK)).unwrap();
        assert_eq!(pool.threads(), threads);
        check(&mut pool, times(2000 / threads, 3));
    }
}

#[test]
fn many_small_regions() {
    let regions: Vec<u32> = (0..times(2000, 20)).map(|region| if region % 3 == 0 { 1 } else { 3 }).collect();
    for threads in [2, 3] {
        check(&mut Pool::new(schedule(threads, &regions)).unwrap(), times(20, 2));
    }
}

#[test]
fn wakes_again_after_sleep() {
    let mut pool = Pool::new(schedule(3, NETWORK)).unwrap();
    for pause in 0..times(40, 2) {
        std::thread::sleep(Duration::from_micros(50 * pause as u64));
        check(&mut pool, 2);
    }
}

#[test]
fn more_threads_than_cpus_and_slow_units() {
    let mut pool = Pool::new(schedule(8, &[8, 1, 40])).unwrap();
    for _ in 0..times(20, 1) {
        let ran = AtomicUsize::new(0);
        pool.run(&|piece: Piece| {
            for unit in piece.units {
                if unit % 5 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
                ran.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(ran.into_inner(), 49);
    }
}

#[test]
fn several_pools_at_once() {
    std::thread::scope(|scope| {
        for user in 0..times(4, 2) {
            scope.spawn(move || {
                for _ in 0..times(20, 1) {
                    let mut pool = Pool::new(schedule(1 + user % 3, NETWORK)).unwrap();
                    check(&mut pool, times(50, 2));
                }
            });
        }
    });
}

#[test]
fn a_pool_may_be_dropped_in_any_state() {
    for wait in [0, 20, 100, 3000] {
        for runs in [0, 1] {
            let mut pool = Pool::new(schedule(4, NETWORK)).unwrap();
            check(&mut pool, runs);
            std::thread::sleep(Duration::from_micros(wait));
        }
    }
}

#[test]
fn a_schedule_without_regions_runs() {
    let mut pool = Pool::new(Schedule::new(2)).unwrap();
    for _ in 0..10 {
        pool.run(&|_| panic!("there is nothing to run"));
    }
}

#[test]
fn a_panic_reaches_the_caller_and_leaves_the_pool_usable() {
    for threads in [1, 3] {
        let mut pool = Pool::new(schedule(threads, NETWORK)).unwrap();
        for bad in [0, 1, 15] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(&|piece: Piece| {
                    if piece.region == 2 && piece.units.contains(&bad) {
                        std::panic::resume_unwind(Box::new("unit"));
                    }
                });
            }));
            assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "unit");
            check(&mut pool, 2);
        }
    }
}

/// The pool's threads have names, and sleep soon after a run.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn nobody_is_busy_after_a_run() {
    // The threads of the whole process: other tests run beside this one, so look for numbers that only this pool has.
    let mut pool = Pool::new(schedule(24, NETWORK)).unwrap();
    check(&mut pool, 3);
    std::thread::sleep(Duration::from_millis(300));
    let mut seen = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        // `id (name) state ...`
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.split_once(") ")) else { continue };
        if let Some(number) = name.strip_prefix("incept-").and_then(|number| number.parse::<usize>().ok())
            && number >= 8
        {
            assert!(rest.starts_with('S'), "{name} is awake: {rest}");
            seen.push(number);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (8..24).collect::<Vec<_>>());
}
