//! Measuring which algorithm is fastest for each convolution of a plan, on this CPU.
//!
//! Candidates are measured in place: the whole plan is compiled with the first candidate of every convolution, with the
//! second, and so on, and runs are profiled, one variant after the other in turn. So each kernel finds the caches and the
//! memory as they are in use, and every round costs one run for each variant. What counts is the least time of a step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incept_compiler::codegen::choose::{self, Algorithm};
use incept_compiler::codegen::link;
use incept_compiler::codegen::target::Target;
use incept_ir::ids::StepId;
use incept_ir::plan::{Plan, Tuned, Tuning};
use incept_runtime::{Session, SessionOptions};

use crate::error::Error;

/// Rounds that are enough, whatever time is left.
const MOST_ROUNDS: usize = 200;
/// Rounds that there are at least, however little time there is.
const LEAST_ROUNDS: usize = 3;

/// Measures every candidate of every convolution for about `budget` and gives what was found; `progress` is told the part
/// that is done, from 0 to 1.
///
/// # Errors
/// Where a variant cannot be compiled or there is not enough memory for one of them.
pub fn tune(
    plan: &Plan,
    target: &Target,
    threads: &SessionOptions,
    budget: Duration,
    progress: &mut dyn FnMut(f64),
) -> Result<Tuning, Error> {
    let start = Instant::now();
    let failed = |source| Error::Codegen { model: plan.name.clone(), source: Box::new(source) };
    let candidates = choose::all_candidates(plan, target).map_err(failed)?;
    let most = candidates.iter().map(|(_, found)| found.len()).max().unwrap_or(0);
    let mut variants = Vec::with_capacity(most);
    for number in 0..most {
        // Steps with fewer candidates run their first one, and are measured more often.
        let steps: Vec<(StepId, Algorithm)> =
            candidates.iter().map(|(step, found)| (*step, found.get(number).unwrap_or(&found[0]).algorithm)).collect();
        let session = Session::with_options(linked(plan, target, &steps).map_err(failed)?, threads)?;
        variants.push((steps, session));
    }
    let inputs: Vec<Vec<f32>> = match variants.first() {
        Some((_, session)) => session.inputs().iter().map(|port| values(port.elements)).collect(),
        None => Vec::new(),
    };
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut least: BTreeMap<StepId, BTreeMap<String, (Algorithm, u64)>> = BTreeMap::new();
    let used = variants.first().map_or(1, |(_, session)| session.threads());
    for round in 0..MOST_ROUNDS {
        if round >= LEAST_ROUNDS && start.elapsed() >= budget {
            break;
        }
        for (steps, session) in &mut variants {
            let profile = session.run_profiled(&inputs)?;
            // The first round warms up.
            for (step, algorithm) in steps.iter().filter(|_| round > 0) {
                let Some(time) = profile.steps_ns().get(step.index()) else { continue };
                let known = least.entry(*step).or_default();
                let known = known.entry(algorithm.to_string()).or_insert((*algorithm, u64::MAX));
                known.1 = known.1.min(*time);
            }
        }
        let done = start.elapsed().as_secs_f64() / budget.as_secs_f64().max(1e-9);
        progress(done.max(round as f64 / MOST_ROUNDS as f64).min(1.0));
    }
    let steps = least.into_iter().map(|(step, measured)| {
        let mut measured: Vec<(Algorithm, u64)> = measured.into_values().collect();
        measured.sort_by_key(|(_, time)| *time);
        Tuned { step, measured }
    });
    Ok(Tuning { cpu: target.cpu().to_owned(), threads: used, steps: steps.collect() })
}

/// The plan compiled with these algorithms.
fn linked(
    plan: &Plan,
    target: &Target,
    steps: &[(StepId, Algorithm)],
) -> Result<incept_ir::abi::CompiledModule, incept_compiler::codegen::CodegenError> {
    let steps = steps.iter().map(|(step, algorithm)| Tuned { step: *step, measured: vec![(*algorithm, 0)] });
    let tuning = Tuning { cpu: target.cpu().to_owned(), threads: 1, steps: steps.collect() };
    let plan = Plan { tuning: Some(tuning), ..plan.clone() };
    Ok(link(Arc::new(plan), target)?.module)
}

/// Values that are neither all alike nor denormal: times do not depend on them.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index % 255) as f32 / 128.0 - 1.0).collect()
}
