//! How many threads are worth having: the physical cores that this process may use.
//!
//! Two threads of one core share its FMA units, so a kernel that keeps them busy gains nothing from the second. What the
//! process may use is the affinity mask (`taskset`, `cpuset`) and the quota of its control group.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

/// The number of physical cores that the calling thread may run on, and at most as many as the quota of its control group
/// allows; at least one. Where the system does not tell cores from their threads, each counts as a core.
#[must_use]
pub fn available_cores() -> NonZeroUsize {
    // Respects the affinity mask and the control group's quota, but counts hardware threads.
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let cores = std::fs::read_to_string("/proc/thread-self/status").ok().and_then(|status| {
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        cores(&cpu_list(allowed)?, |cpu| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            cpu_list(&std::fs::read_to_string(path).ok()?)
        })
    });
    cores.map_or(threads, |cores| cores.min(threads))
}

/// How many cores these CPUs belong to, each named by the lowest CPU of its core.
fn cores(cpus: &[usize], siblings: impl Fn(usize) -> Option<Vec<usize>>) -> Option<NonZeroUsize> {
    let first = |&cpu: &usize| siblings(cpu).and_then(|cpus| cpus.into_iter().min()).unwrap_or(cpu);
    NonZeroUsize::new(cpus.iter().map(first).collect::<BTreeSet<_>>().len())
}

/// The kernel's list form: `0-3,8,10-11`.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    const MOST: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        if last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(cpu_list("0-3,8,10-11\n").unwrap(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(cpu_list("\t5").unwrap(), [5]);
        for wrong in ["", "a", "1-", "0-99999999999", "1,,2"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn threads_of_a_core_count_once() {
        // Four cores of two threads, numbered as most servers do it: 0 and 4 share a core.
        let siblings = |cpu: usize| Some(vec![cpu % 4, cpu % 4 + 4]);
        let count = |cpus: &[usize]| cores(cpus, siblings).map(NonZeroUsize::get);
        assert_eq!(count(&[0, 1, 2, 3, 4, 5, 6, 7]), Some(4));
        assert_eq!(count(&[4, 5]), Some(2));
        assert_eq!(count(&[0, 4, 7]), Some(2));
        assert_eq!(count(&[]), None);
        assert_eq!(cores(&[0, 1, 2], |_| None).map(NonZeroUsize::get), Some(3));
    }

    #[test]
    fn there_is_a_core() {
        let cores = available_cores();
        assert!(cores <= std::thread::available_parallelism().unwrap());
    }
}
