//! The time of each step of a plan, beside what it must compute and move.
//!
//! Profiled runs alternate with plain ones. The quieter half of each is kept, and times are means over it: so the times of
//! the steps add up to the time of the profiled runs, and the plain runs say what profiling costs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use incept_ir::plan::{Plan, Step, StepKind, View};
use incept_runtime::profile::Record;

use super::machine::Peaks;
use super::sample::Contender;
use super::variants::Runs;
use crate::compile::Compiled;
use crate::error::Error;

/// The fewest pairs of runs.
const MIN_PAIRS: usize = 6;

/// The most pairs of runs: bounds the memory of the times.
const MAX_PAIRS: usize = 1_000;

/// What stands between a step and less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Multiply-adds: at peak they would take longer than the bytes.
    Compute,
    /// Bytes: at the reading speed of where they lie they would take longer than the multiply-adds.
    Memory,
}

impl Bound {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

/// What a step must do, whatever the algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Floating-point operations, a multiply-add being two. Of convolutions and pools those within the image: products
    /// with padding are not counted. Winograd's algorithm needs fewer, so its rate may be above the peak.
    pub flops: f64,
    /// Bytes of activations, each read or written once.
    pub activations: f64,
    /// Bytes of packed weights.
    pub weights: f64,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepProfile {
    /// Its position in the plan.
    pub index: usize,
    /// Its kind, as in `steps_by_kind`.
    pub kind: &'static str,
    /// The kernel: algorithm and tile.
    pub kernel: String,
    /// The name of its node.
    pub name: String,
    /// The source nodes that it stands for.
    pub nodes: Vec<String>,
    /// The module of the network: the first part of the source nodes' names.
    pub module: String,
    /// Its part of the run's seconds: what all threads spent on it, over their number.
    pub seconds: f64,
    /// What it must do.
    pub work: Work,
    /// What bounds it.
    pub bound: Bound,
    /// The share of the time that its bound would take, of the time that it took.
    pub of_peak: f64,
}

impl StepProfile {
    /// 10⁹ floating-point operations a second.
    #[must_use]
    pub fn gflops(&self) -> f64 {
        self.work.flops / self.seconds.max(1e-12) / 1e9
    }

    /// 10⁹ bytes a second.
    #[must_use]
    pub fn gbps(&self) -> f64 {
        (self.work.activations + self.work.weights) / self.seconds.max(1e-12) / 1e9
    }
}

/// A profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The steps, in order.
    pub steps: Vec<StepProfile>,
    /// Seconds of a plain run.
    pub total: f64,
    /// Seconds of all steps together. On one thread that is the run; on several, what is left of it is waiting.
    pub sum: f64,
    /// How many threads ran.
    pub threads: usize,
    /// How much longer a profiled run takes than a plain one: 0.01 is one hundredth.
    pub overhead: f64,
    /// How many runs of each kind were kept.
    pub runs: usize,
    /// When each call of a kernel ran on which thread, in one run, the one nearest to the mean: for traces.
    pub one_run: Vec<Record>,
    /// The machine's peaks, measured before and after.
    pub peaks: Peaks,
}

/// Profiles a compiled model on noise, on so many threads. `progress` is told the share of the work that is done.
///
/// # Errors
/// Where there is not enough memory, there are not enough threads, or a probe cannot be emitted.
pub fn profile(
    compiled: &Arc<Compiled>,
    threads: NonZeroUsize,
    duration: Duration,
    progress: &mut dyn FnMut(f64),
) -> Result<Profile, Error> {
    let mut session = Runs::new(compiled.clone(), threads)?;
    let threads = session.threads();
    let at_once = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let before = Peaks::measure(&compiled.target, at_once)?;
    let pairs = pairs(&mut session, duration, progress)?;
    let peaks = higher(before, Peaks::measure(&compiled.target, at_once)?);
    let plain = quieter(pairs.iter().map(|pair| pair.plain).collect());
    let mut profiled: Vec<&Pair> = pairs.iter().collect();
    profiled.sort_by(|a, b| a.profiled.total_cmp(&b.profiled));
    profiled.truncate(profiled.len().div_ceil(2));
    let runs = profiled.len();
    let steps = steps(compiled, &profiled, threads, &peaks);
    let (total, wall) = (mean(plain.iter().copied()), mean(profiled.iter().map(|pair| pair.profiled)));
    let sum = steps.iter().map(|step| step.seconds).sum();
    let nearest = profiled.iter().min_by(|a, b| (a.profiled - wall).abs().total_cmp(&(b.profiled - wall).abs()));
    let one_run = nearest.map(|pair| pair.records.clone()).unwrap_or_default();
    progress(1.0);
    Ok(Profile { steps, total, sum, threads, overhead: wall / total - 1.0, runs, one_run, peaks })
}

struct Pair {
    plain: f64,
    profiled: f64,
    /// The nanoseconds of each step, all threads together.
    steps: Vec<u64>,
    records: Vec<Record>,
}

fn pairs(runs: &mut Runs, duration: Duration, progress: &mut dyn FnMut(f64)) -> Result<Vec<Pair>, Error> {
    for _ in 0..2 {
        runs.run()?;
        runs.profiled()?;
    }
    let (begin, mut pairs) = (Instant::now(), Vec::new());
    while pairs.len() < MIN_PAIRS || (begin.elapsed() < duration && pairs.len() < MAX_PAIRS) {
        progress((begin.elapsed().as_secs_f64() / duration.as_secs_f64().max(1e-9)).min(1.0));
        let mut pair = Pair { plain: 0.0, profiled: 0.0, steps: Vec::new(), records: Vec::new() };
        // Who goes first alternates, so that a drift favours nobody.
        for which in 0..2 {
            let start = Instant::now();
            if (pairs.len() + which) % 2 == 0 {
                runs.run()?;
                pair.plain = start.elapsed().as_secs_f64();
            } else {
                let profile = runs.profiled()?;
                pair.profiled = start.elapsed().as_secs_f64();
                pair.steps.extend_from_slice(profile.steps_ns());
                pair.records.extend_from_slice(profile.records());
            }
        }
        pairs.push(pair);
    }
    Ok(pairs)
}

/// The shorter half.
fn quieter(mut seconds: Vec<f64>) -> Vec<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.truncate(seconds.len().div_ceil(2));
    seconds
}

#[allow(clippy::cast_precision_loss, reason = "counts are small")]
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values {
        (sum, count) = (sum + value, count + 1);
    }
    sum / count.max(1) as f64
}

fn higher(a: Peaks, b: Peaks) -> Peaks {
    let gbps = a.gbps.iter().zip(&b.gbps).map(|((bytes, a), (_, b))| (*bytes, a.max(*b))).collect();
    Peaks { gflops: a.gflops.max(b.gflops), gbps }
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds and bytes")]
fn steps(compiled: &Compiled, runs: &[&Pair], threads: usize, peaks: &Peaks) -> Vec<StepProfile> {
    let plan = compiled.plan();
    let module = &compiled.linked.module;
    // Activations move within the arena, weights in turn with all others and the arena.
    let arena = plan.memory.arena_bytes;
    let parts = plan.parts.get() as f64;
    let (activations, weights) = (peaks.bandwidth(arena), peaks.bandwidth(arena.saturating_add(module.packed.len())));
    let lines = module.entries.iter().zip(&compiled.linked.listing.steps);
    let steps = plan.steps.iter().zip(lines).enumerate();
    steps
        .map(|(index, (step, (entry, line)))| {
            let nanos = mean(runs.iter().map(|run| run.steps.get(index).map_or(0.0, |nanos| *nanos as f64)));
            let seconds = nanos / 1e9 / threads as f64;
            let work = Work {
                flops: parts * flops(plan, step),
                activations: parts * activation_bytes(plan, step),
                weights: parts * line.packed_bytes as f64,
            };
            let compute = work.flops / (peaks.gflops * 1e9);
            let memory = work.activations / (activations * 1e9) + work.weights / (weights * 1e9);
            let bound = if compute >= memory { Bound::Compute } else { Bound::Memory };
            StepProfile {
                index,
                kind: plan.kind_name(step),
                kernel: entry.name.clone(),
                name: step.name.clone(),
                nodes: step.nodes.clone(),
                module: module_of(step),
                seconds,
                work,
                bound,
                of_peak: compute.max(memory) / seconds.max(1e-12),
            }
        })
        .collect()
}

/// The module of the network that a step belongs to: the first part of its first source node's name, `inception3a` of
/// `inception3a.branch1.conv` or of `/inception3a/conv`; the whole name where it has one part only.
#[must_use]
pub fn module_of(step: &Step) -> String {
    let name = step.nodes.first().unwrap_or(&step.name).trim_start_matches('/');
    name.split(['.', '/']).next().unwrap_or(name).to_owned()
}

/// The floating-point operations of a step in one part of the batch; see [`Work::flops`].
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an estimate of work")]
pub fn flops(plan: &Plan, step: &Step) -> f64 {
    let view = |ids: &[incept_ir::ids::ViewId], index: usize| ids.get(index).and_then(|id| plan.view(*id));
    let elements = |view: Option<&View>| view.and_then(View::elements).unwrap_or(0) as f64;
    let (x, y) = (view(&step.inputs, 0), view(&step.outputs, 0));
    let out: f64 = step.outputs.iter().map(|id| elements(plan.view(*id))).sum();
    let size = |view: Option<&View>, axis: usize| view.and_then(|view| view.sizes.get(axis)).copied().unwrap_or(0);
    match &step.kind {
        StepKind::Conv { strides, pads, dilations, .. } => {
            let weights = step.constants.first().and_then(|id| plan.constant(*id));
            let [_, channels, height, width] = weights.map_or(&[][..], |weights| &weights.sizes) else { return 0.0 };
            let taps = window_taps(x, y, [*height, *width], *strides, *pads, *dilations);
            let pixels = (size(y, 2) * size(y, 3)).max(1) as f64;
            2.0 * out / pixels * taps * *channels as f64
        }
        StepKind::Pool { window, .. } => {
            let taps = window_taps(x, y, window.kernel, window.strides, window.pads, window.dilations);
            out / (size(y, 2) * size(y, 3)).max(1) as f64 * taps
        }
        StepKind::Gemm { .. } => 2.0 * out * size(x, 1) as f64,
        StepKind::MatMul => 2.0 * out * x.and_then(|x| x.sizes.last()).copied().unwrap_or(0) as f64,
        StepKind::GlobalAvgPool => elements(x),
        StepKind::BatchNorm { .. } => 2.0 * out,
        StepKind::Activate(_) | StepKind::Binary { .. } => out,
        // A square for each element, the window's sum, the power and the product.
        StepKind::Lrn { size, .. } => out * (*size as f64 + 3.0),
        // The maximum, the exponential, the sum and the product.
        StepKind::Softmax { .. } => 4.0 * out,
        StepKind::Copy(_) | StepKind::Pad { .. } => 0.0,
    }
}

/// How many elements of the image the windows over it cover, all windows together.
#[allow(clippy::cast_precision_loss, reason = "an estimate of work")]
fn window_taps(
    x: Option<&View>,
    y: Option<&View>,
    kernel: [usize; 2],
    strides: [usize; 2],
    pads: [usize; 4],
    dilations: [usize; 2],
) -> f64 {
    let axis = |axis: usize| -> f64 {
        let size = |view: Option<&View>| view.and_then(|view| view.sizes.get(axis + 2)).copied().unwrap_or(0);
        let (image, outputs, stride) = (size(x), size(y), strides[axis].max(1));
        let taps = (0..kernel[axis]).map(|tap| {
            // Windows whose tap lies within: `0 <= window * stride + tap * dilation - pad < image`.
            let at = tap.saturating_mul(dilations[axis]);
            let first = pads[axis].saturating_sub(at).div_ceil(stride);
            let end = (image + pads[axis]).saturating_sub(at).div_ceil(stride).min(outputs);
            end.saturating_sub(first)
        });
        taps.sum::<usize>() as f64
    };
    axis(0) * axis(1)
}

/// The bytes of the views of a step, each element once.
#[allow(clippy::cast_precision_loss, reason = "an estimate of work")]
fn activation_bytes(plan: &Plan, step: &Step) -> f64 {
    let views = step.inputs.iter().chain(&step.outputs).filter_map(|id| plan.view(*id));
    let elements = views.map(|view| {
        let distinct = view.sizes.iter().zip(&view.strides).filter(|(_, stride)| **stride > 0);
        distinct.map(|(size, _)| *size as f64).product::<f64>()
    });
    4.0 * elements.sum::<f64>()
}
