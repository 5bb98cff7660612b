//! What the machine is, and what it could do at best.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use incept_compiler::codegen::probe::{self, Probe};
use incept_compiler::codegen::target::{Target, cpu_name};
use incept_runtime::{Session, SessionOptions};
use serde::Serialize;

use crate::error::Error;

/// What a figure was measured on; goes into every report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The CPU's own name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The operating system and the architecture.
    pub system: String,
    /// The widest vector level.
    pub auto: String,
    /// The version of this program.
    pub incept: String,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cpu: cpu_name().unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            auto: Target::host().map_or_else(|_| "none".into(), |target| target.level().name().into()),
            incept: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// Working sets whose reading speed is measured, in bytes, besides the caches': the last is beyond most caches.
const LARGE_SETS: [usize; 3] = [8 << 20, 32 << 20, 96 << 20];

/// How long each probe runs.
const PROBE: Duration = Duration::from_millis(30);

/// What emitted code of one vector level reaches on this machine when nothing stands in its way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peaks {
    /// Multiply-adds on registers, two operations each; all threads together.
    pub gflops: f64,
    /// Reading speeds, all threads together: working set in bytes, GB/s; by size.
    pub gbps: Vec<(usize, f64)>,
}

impl Peaks {
    /// Measures them on so many threads at once: about a fifth of a second.
    ///
    /// # Errors
    /// Where a probe cannot be emitted or has no memory.
    pub fn measure(target: &Target, threads: NonZeroUsize) -> Result<Self, Error> {
        let failed = |source| Error::Codegen { model: "a probe of the machine".into(), source: Box::new(source) };
        let gflops = rate(&probe::multiply_adds(target).map_err(failed)?, threads)?;
        let mut sets = vec![target.l1_bytes() / 2, target.l2_bytes() / 2];
        sets.extend(LARGE_SETS);
        sets.sort_unstable();
        sets.dedup();
        let mut gbps: Vec<(usize, f64)> = Vec::with_capacity(sets.len());
        for bytes in sets {
            gbps.push((bytes, rate(&probe::stream(target, bytes).map_err(failed)?, threads)?));
        }
        Ok(Self { gflops, gbps })
    }

    /// The reading speed where so many bytes are in turn: that of the smallest measured set which is as large.
    #[must_use]
    pub fn bandwidth(&self, working_set: usize) -> f64 {
        let fitting = self.gbps.iter().find(|(bytes, _)| *bytes >= working_set).or(self.gbps.last());
        fitting.map_or(f64::NAN, |(_, rate)| *rate)
    }
}

/// The highest rate of a probe, in units of 10⁹ a second.
fn rate(probe: &Probe, threads: NonZeroUsize) -> Result<f64, Error> {
    let options = SessionOptions { threads: Some(threads) };
    let mut session = Session::with_options(probe.module.clone(), &options)?;
    session.poison_arena();
    session.run(&[])?;
    let (begin, mut least) = (Instant::now(), f64::INFINITY);
    while begin.elapsed() < PROBE {
        let start = Instant::now();
        session.run(&[])?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(probe.work / least.max(1e-9) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidth_is_that_of_the_set_that_fits() {
        let peaks = Peaks { gflops: 100.0, gbps: vec![(10, 3.0), (20, 2.0), (30, 1.0)] };
        assert_eq!([5, 10, 11, 30, 31].map(|bytes| peaks.bandwidth(bytes)), [3.0, 3.0, 2.0, 1.0, 1.0]);
        assert!(Peaks { gflops: 1.0, gbps: vec![] }.bandwidth(1).is_nan());
    }

    #[test]
    fn probes_run_on_every_level() {
        for target in Target::all().expect("a target") {
            let peaks = Peaks::measure(&target, NonZeroUsize::MIN).expect("probes run");
            // Slower than any machine that this runs on, faster than reading a clock; a probe whose work was optimised
            // away would be far above.
            assert!((0.5..1000.0).contains(&peaks.gflops), "{target:?}: {peaks:?}");
            assert!(
                peaks.gbps.len() >= 3 && peaks.gbps.iter().all(|(_, rate)| (0.2..5000.0).contains(rate)),
                "{peaks:?}"
            );
        }
    }
}
