//! Which algorithm computes a convolution: candidates, their estimated times, and the choice.
//!
//! The estimate counts cycles of register tiles (as the tiles' own planners do) and the bytes of packed weights, which
//! stream from beyond the second-level cache: in a whole network each layer finds its weights pushed out by the others'.
//! It depends on the spec, the target and its cache sizes alone, so the same machine always chooses the same.
//!
//! Where a plan was tuned on this CPU, what was measured there decides instead.
//!
//! Winograd's algorithm is a candidate only where its error is known to stay within what a network tolerates
//! ([`MOST_INPUTS`]); a plan that is [`exact`](incept_ir::plan::Plan::exact) has direct sums only.

use incept_ir::ids::StepId;
pub use incept_ir::plan::Algorithm;
use incept_ir::plan::Plan;

use super::CodegenError;
use super::kernels::Spec;
use super::kernels::conv_direct::{self, ConvSpec};
use super::kernels::conv_winograd::{self, WinogradSpec};
use super::steps::lower;
use super::target::Target;

/// Most inputs of a transform along an axis (`m + taps - 1`). Larger transforms would need fewer multiplications still, but
/// their errors add up over the layers of a deep network to more than some 1e-5 of the largest result.
pub const MOST_INPUTS: usize = 6;

/// Bytes of weights that arrive in a cycle from beyond the second-level cache. About half as many do; the other half of the
/// wait passes while products are computed.
const BYTES_A_CYCLE: f64 = 16.0;

/// An algorithm that could compute a convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Its estimated time in cycles of one core.
    pub cycles: f64,
}

/// The kernel that computes a convolution by an algorithm.
#[must_use]
pub fn spec(conv: &ConvSpec, algorithm: Algorithm) -> Spec {
    match algorithm {
        Algorithm::Direct => Spec::Conv(conv.clone()),
        Algorithm::Winograd { m } => Spec::Winograd(WinogradSpec { conv: conv.clone(), m }),
    }
}

/// All algorithms that may compute a convolution, the one to choose first. There is always the direct one.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec.
pub fn candidates(conv: &ConvSpec, target: &Target, exact: bool) -> Result<Vec<Candidate>, CodegenError> {
    let time = |cycles: f64, weight_bytes: f64| {
        let streamed = if weight_bytes > target.l2_bytes() as f64 / 2.0 { weight_bytes / BYTES_A_CYCLE } else { 0.0 };
        cycles + streamed
    };
    let direct = conv_direct::estimate(conv, target)?;
    let mut found =
        vec![Candidate { algorithm: Algorithm::Direct, cycles: time(direct.cycles, direct.weight_bytes as f64) }];
    if !exact && conv_winograd::supports(conv).is_ok() {
        for m in sizes(conv) {
            let winograd = conv_winograd::estimate(&WinogradSpec { conv: conv.clone(), m }, target)?;
            let cycles = time(winograd.cycles, winograd.weight_bytes as f64);
            found.push(Candidate { algorithm: Algorithm::Winograd { m }, cycles });
        }
    }
    found.sort_by(|a, b| a.cycles.total_cmp(&b.cycles));
    Ok(found)
}

/// Output tiles whose error is within bounds.
fn sizes(conv: &ConvSpec) -> impl Iterator<Item = usize> {
    let [vertical, horizontal] = conv.strides;
    let kernel = [conv.kernel[0].div_ceil(vertical), conv.kernel[1].div_ceil(horizontal)];
    let most_taps = kernel.into_iter().max().unwrap_or(1);
    2..=(MOST_INPUTS + 1).saturating_sub(most_taps)
}

/// The algorithm of a step that is this convolution: what was measured on this CPU, else the least estimate.
///
/// # Errors
/// As [`candidates`].
pub fn choose(plan: &Plan, step: StepId, conv: &ConvSpec, target: &Target) -> Result<Algorithm, CodegenError> {
    let found = candidates(conv, target, plan.exact)?;
    let tuned = plan.tuning.as_ref().and_then(|tuning| tuning.choice(step, target.cpu()));
    let tuned = tuned.filter(|algorithm| found.iter().any(|candidate| candidate.algorithm == *algorithm));
    let best = found.first().map(|candidate| candidate.algorithm);
    tuned.or(best).ok_or(CodegenError::Internal("no algorithm for a convolution"))
}

/// The candidates of every convolution of a plan that has more than one.
///
/// # Errors
/// [`CodegenError::Step`] where a step cannot be compiled.
pub fn all_candidates(plan: &Plan, target: &Target) -> Result<Vec<(StepId, Vec<Candidate>)>, CodegenError> {
    let mut all = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let found = lower(plan, step).and_then(|lowered| match &lowered.spec {
            Spec::Conv(conv) => candidates(conv, target, plan.exact),
            _ => Ok(Vec::new()),
        });
        let found = found.map_err(|error| super::module::at_step(index, step, error))?;
        if found.len() > 1 {
            all.push((StepId::from_index(index), found));
        }
    }
    Ok(all)
}
