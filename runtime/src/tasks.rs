//! From a plan's steps to the units that threads take.
//!
//! A unit is one task of one step, or a few neighbouring ones where there are millions. The tasks of each step are divided
//! among the threads in contiguous ranges, the steps of a region one after the other, those with the costliest tasks
//! first: what does not divide evenly is made up for by smaller tasks. A region's units are numbered thread by thread, so
//! that a piece of neighbouring units is a few calls with ranges of tasks.
//!
//! Depends on [`crate::bind`] and [`crate::schedule`]. No unsafe code.

use std::ops::Range;

use incept_ir::plan::{Plan, Step, StepKind, View};

use crate::bind::Call;
use crate::schedule::{MAX_UNITS, Schedule};
use crate::session::SessionError;

/// Which tasks the units of each region stand for.
#[derive(Debug, Clone)]
pub struct Tasks {
    regions: Vec<Region>,
}

#[derive(Debug, Clone)]
struct Region {
    /// In the order of their units, which begin at 0.
    segments: Vec<Segment>,
    /// Tasks of a unit.
    grain: u64,
}

/// Neighbouring units that are tasks of one step.
#[derive(Debug, Clone, Copy)]
struct Segment {
    first_unit: u32,
    step: usize,
    first_task: u64,
    end_task: u64,
}

/// The tasks of a step, for dividing them.
#[derive(Debug, Clone, Copy)]
struct Work {
    step: usize,
    tasks: u64,
    units: u32,
    /// Of a unit.
    cost: f64,
}

impl Tasks {
    /// Divides a plan for a number of threads. `regions` are ranges of steps, in order.
    ///
    /// # Errors
    /// Where there are too many regions, or one has steps that do not exist.
    pub fn new(
        plan: &Plan,
        calls: &[Call],
        regions: &[Range<usize>],
        threads: usize,
    ) -> Result<(Self, Schedule), SessionError> {
        let mut schedule = Schedule::new(threads);
        let mut found = Vec::new();
        for steps in regions {
            let (Some(of_plan), Some(calls)) = (plan.steps.get(steps.clone()), calls.get(steps.clone())) else {
                return Err(SessionError::Module {
                    reason: format!("a region of steps {steps:?}, which do not exist"),
                });
            };
            let all = calls.iter().fold(0u64, |sum, call| sum.saturating_add(call.tasks));
            // Rounding up adds at most one unit for each step.
            let most = u64::from(MAX_UNITS).saturating_sub(calls.len() as u64).max(1);
            let grain = all.div_ceil(most).max(1);
            let works = of_plan.iter().zip(calls).zip(steps.clone()).map(|((of_plan, call), step)| {
                let units = u32::try_from(call.tasks.div_ceil(grain)).unwrap_or(u32::MAX);
                Work { step, tasks: call.tasks, units, cost: cost(plan, of_plan) / f64::from(units.max(1)) }
            });
            let (region, shares) = divide(works.collect(), grain, threads);
            if !schedule.push(&shares) {
                return Err(SessionError::Module { reason: "too many steps for several threads".to_owned() });
            }
            if !region.segments.is_empty() {
                found.push(region);
            }
        }
        Ok((Self { regions: found }, schedule))
    }

    /// Calls `run` with each step and the range of its tasks that some units of a region stand for.
    pub fn each(&self, region: usize, units: Range<u32>, mut run: impl FnMut(usize, Range<u64>)) {
        let Some(region) = self.regions.get(region) else { return };
        let after = region.segments.partition_point(|segment| segment.first_unit <= units.start);
        for segment in region.segments.iter().skip(after.saturating_sub(1)) {
            if segment.first_unit >= units.end {
                return;
            }
            let task = |unit: u32| {
                let offset = u64::from(unit.saturating_sub(segment.first_unit)).saturating_mul(region.grain);
                segment.first_task.saturating_add(offset).min(segment.end_task)
            };
            let tasks = task(units.start)..task(units.end);
            if !tasks.is_empty() {
                run(segment.step, tasks);
            }
        }
    }

    /// The most calls that a run of a schedule can make on all its threads together.
    #[must_use]
    pub fn most_calls(&self, schedule: &Schedule) -> usize {
        // Whoever takes units of a share leaves at most half of it, so a share of n units is gone after as many pieces as n
        // has binary digits; and each further segment that pieces touch adds a call.
        let digits = |share: Range<u32>| (u32::BITS - (share.end - share.start).leading_zeros()) as usize;
        let pieces =
            |region| (0..schedule.threads()).map(|thread| digits(schedule.share(region, thread))).sum::<usize>();
        let of = |(index, region): (usize, &Region)| pieces(index).saturating_add(region.segments.len());
        self.regions.iter().enumerate().map(of).fold(0, usize::saturating_add)
    }
}

/// Divides the steps of a region among threads: the segments, thread by thread, and the units of each thread.
fn divide(mut works: Vec<Work>, grain: u64, threads: usize) -> (Region, Vec<u32>) {
    for work in &mut works {
        work.cost = if work.cost.is_finite() { work.cost.max(1.0) } else { 1.0 };
    }
    works.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    let mut loads = vec![0.0f64; threads];
    let mut parts: Vec<Vec<Segment>> = vec![Vec::new(); threads];
    let mut shares = vec![0u32; threads];
    for work in works.iter().filter(|work| work.units > 0) {
        let mut unit = 0u32;
        for (thread, count) in fill(&mut loads, work).into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let task = |unit: u32| u64::from(unit).saturating_mul(grain).min(work.tasks);
            let (first_task, end_task) = (task(unit), task(unit.saturating_add(count)));
            // Numbered within the thread's share for now.
            parts[thread].push(Segment { first_unit: shares[thread], step: work.step, first_task, end_task });
            shares[thread] = shares[thread].saturating_add(count);
            unit = unit.saturating_add(count);
        }
    }
    let mut before = 0u32;
    for (part, share) in parts.iter_mut().zip(&shares) {
        part.iter_mut().for_each(|segment| segment.first_unit = segment.first_unit.saturating_add(before));
        before = before.saturating_add(*share);
    }
    (Region { segments: parts.concat(), grain }, shares)
}

/// How many units of a step each thread takes, so that the largest load stays small; adds them to the loads.
fn fill(loads: &mut [f64], work: &Work) -> Vec<u32> {
    // As water in a vessel with an uneven floor: the level at which all of the work is in.
    let mut floors = loads.to_vec();
    floors.sort_by(f64::total_cmp);
    let all = f64::from(work.units) * work.cost;
    let (mut sum, mut level) = (0.0, f64::INFINITY);
    for (index, floor) in floors.iter().enumerate() {
        if *floor >= level {
            break;
        }
        sum += floor;
        level = (all + sum) / (index + 1) as f64;
    }
    let mut left = work.units;
    let mut counts = Vec::with_capacity(loads.len());
    for load in loads.iter_mut() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most `left`, not negative")]
        let count = ((level - *load).max(0.0) / work.cost).floor().min(f64::from(left)) as u32;
        *load += f64::from(count) * work.cost;
        left -= count;
        counts.push(count);
    }
    // Fewer are left than there are threads.
    while left > 0 {
        let least = (0..loads.len()).min_by(|a, b| loads[*a].total_cmp(&loads[*b])).unwrap_or(0);
        loads[least] += work.cost;
        counts[least] += 1;
        left -= 1;
    }
    counts
}

fn elements(view: Option<&View>) -> f64 {
    view.and_then(View::elements).map_or(0.0, |count| count as f64)
}

/// A rough measure of a step's work, in multiply-adds of full vectors: good enough to share out a region whose steps
/// differ.
fn cost(plan: &Plan, step: &Step) -> f64 {
    const TAP: f64 = 2.0;
    const ELEMENT: f64 = 8.0;
    const FUNCTION: f64 = 32.0;
    let out: f64 = step.outputs.iter().map(|id| elements(plan.view(*id))).sum();
    let read: f64 = step.inputs.iter().map(|id| elements(plan.view(*id))).sum();
    // What one element of the output takes.
    let product = |sizes: &[usize]| sizes.iter().map(|size| *size as f64).product::<f64>();
    let weights = || step.constants.first().and_then(|id| plan.constant(*id)).map_or(&[][..], |found| &found.sizes);
    let last = || step.inputs.first().and_then(|id| plan.view(*id)).and_then(|view| view.sizes.last()).copied();
    match &step.kind {
        StepKind::Conv { .. } => out * product(weights().get(1..).unwrap_or(&[])),
        StepKind::Pool { window, .. } => out * TAP * product(&window.kernel),
        StepKind::Gemm { .. } | StepKind::MatMul => out * last().unwrap_or(1) as f64,
        StepKind::Lrn { .. } | StepKind::Softmax { .. } => out * FUNCTION,
        _ => (out + read) * ELEMENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(works: &[(u64, f64)], grain: u64, threads: usize) -> (Tasks, Schedule) {
        let works = works.iter().enumerate().map(|(step, &(tasks, cost))| Work {
            step,
            tasks,
            units: u32::try_from(tasks.div_ceil(grain)).unwrap_or(u32::MAX),
            cost,
        });
        let (region, shares) = divide(works.collect(), grain, threads);
        let mut schedule = Schedule::new(threads);
        assert!(schedule.push(&shares));
        (Tasks { regions: vec![region] }, schedule)
    }

    fn calls(tasks: &Tasks, units: Range<u32>) -> Vec<(usize, Range<u64>)> {
        let mut calls = Vec::new();
        tasks.each(0, units, |step, tasks| calls.push((step, tasks)));
        calls
    }

    fn shares(works: &[(u64, f64)], threads: usize) -> Vec<Vec<(usize, Range<u64>)>> {
        let (tasks, schedule) = region(works, 1, threads);
        (0..threads).map(|thread| calls(&tasks, schedule.share(0, thread))).collect()
    }

    #[test]
    fn a_step_is_cut_evenly() {
        assert_eq!(shares(&[(8, 5.0)], 2), [[(0, 0..4)], [(0, 4..8)]]);
        assert_eq!(shares(&[(7, 5.0)], 3), [[(0, 0..3)], [(0, 3..5)], [(0, 5..7)]]);
        assert_eq!(shares(&[(1, 5.0)], 2), [vec![(0, 0..1)], vec![]]);
    }

    #[test]
    fn small_tasks_make_up_for_large_ones() {
        // Two of the four large tasks each, and the smaller ones between them.
        let shares_of = shares(&[(4, 1.0), (2, 4.0), (4, 10.0)], 2);
        assert_eq!(shares_of, [[(2, 0..2), (1, 0..1), (0, 0..2)], [(2, 2..4), (1, 1..2), (0, 2..4)]]);
        // An odd number of large tasks, and the small ones where there is room.
        assert_eq!(shares(&[(3, 10.0), (10, 1.0)], 2), [vec![(0, 0..2)], vec![(0, 2..3), (1, 0..10)]]);
    }

    #[test]
    fn each_task_is_in_one_unit_whatever_the_costs() {
        for threads in 1..9 {
            for grain in [1, 3] {
                for works in [
                    vec![(1, 1.0)],
                    vec![(3, f64::NAN), (0, 1.0), (5, 0.0)],
                    vec![(5, -1.0), (50, f64::INFINITY), (2, 1e300), (2, 1e-300)],
                    vec![(100, 3.0), (1, 1000.0), (17, 20.0)],
                ] {
                    let (tasks, schedule) = region(&works, grain, threads);
                    for size in [1, 2, 1000] {
                        let mut seen: Vec<Vec<u64>> = works.iter().map(|_| Vec::new()).collect();
                        let mut count = 0;
                        for first in (0..schedule.units(0)).step_by(size as usize) {
                            for (step, range) in calls(&tasks, first..(first + size).min(schedule.units(0))) {
                                seen[step].extend(range);
                                count += 1;
                            }
                        }
                        for (seen, (tasks, _)) in seen.iter_mut().zip(&works) {
                            seen.sort_unstable();
                            assert_eq!(*seen, (0..*tasks).collect::<Vec<_>>());
                        }
                        assert!(size < 1000 || count <= tasks.most_calls(&schedule));
                    }
                }
            }
        }
    }
}
