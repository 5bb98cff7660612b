//! The layout of packed weights: for each panel, for each position, what the bias of the panel's channels adds to their
//! products, then the transformed weights `[input channel][channel of the panel]`; channels are padded with zeros to whole
//! vectors.

use super::WinogradSpec;
use super::bad;
use super::grid::Grid;
use super::plan::Plan;
use super::program::Op;
use crate::codegen::CodegenError;
use crate::codegen::target::Target;
use incept_ir::tensor::narrow;

/// Output channels and input channels that are transformed at once.
const WIDE: usize = 16;
const DEEP: usize = 2;

/// One number of each of these filters: the output channels of the first input channel, then those of the next.
type Lanes = [f64; WIDE * DEEP];

/// How many floats [`pack`] writes.
///
/// # Errors
/// As [`super::emit`].
pub fn packed_len(spec: &WinogradSpec, target: &Target) -> Result<usize, CodegenError> {
    Ok(Plan::new(spec, target)?.floats)
}

/// Transforms weights `[O, I, kh, kw]` (in f64, rounded once) and packs them with the bias `[O]` (zeros if there is
/// none) for the kernel that [`super::emit`] makes of the same spec and target.
///
/// # Errors
/// As [`super::emit`], or [`CodegenError::BadSpec`] if a slice's length does not fit the spec.
pub fn pack(
    spec: &WinogradSpec,
    target: &Target,
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) -> Result<(), CodegenError> {
    let plan = Plan::new(spec, target)?;
    let conv = &plan.conv;
    let (channels, depth) = (conv.out_channels(), conv.input.channels);
    let filter = spec.conv.input.channels * spec.conv.kernel[0] * spec.conv.kernel[1];
    let needed = (channels * filter, channels, plan.floats);
    let given = (weights.len(), bias.map_or(channels, <[f32]>::len), out.len());
    if needed != given {
        return Err(bad(format!("lengths of weights, bias and packed weights are {given:?}, not {needed:?}")));
    }
    let folded = plan.fold.as_ref().map(|fold| fold.weights(weights));
    let (weights, filter) = match &folded {
        Some(folded) => (&folded[..], depth * conv.kernel[0] * conv.kernel[1]),
        None => (weights, filter),
    };
    let program = Steps::new(&plan.grids.weights);
    let mut values = vec![[0.0; WIDE * DEEP]; program.values];
    let mut first_channel = 0;
    let mut output = 0;
    for segment in &plan.segments {
        if segment.output != output {
            first_channel += conv.outputs[output].channels;
            output = segment.output;
        }
        let width = segment.vectors * plan.lanes;
        let end = first_channel + conv.outputs[output].channels;
        for panel in 0..segment.count {
            let start = segment.weights + panel * segment.panel_floats;
            let panels = &mut out[start..start + segment.panel_floats];
            let base = first_channel + segment.channel + panel * width;
            let exist = width.min(end.saturating_sub(base));
            for (row, factor) in panels.chunks_exact_mut((1 + depth) * width).zip(&plan.grids.ones) {
                row[..width].fill(0.0);
                for (start, bias) in row.iter_mut().zip(bias.iter().flat_map(|bias| &bias[base..base + exist])) {
                    *start = narrow(factor * f64::from(*bias));
                }
            }
            let filters = &weights[base * filter..(base + exist) * filter];
            program.panel(filters, panels, Shape { width, depth, exist }, &mut values);
        }
    }
    Ok(())
}

/// The sizes of a panel: its channels, the input's, and how many of its own exist.
#[derive(Clone, Copy)]
struct Shape {
    width: usize,
    depth: usize,
    exist: usize,
}

/// The transform of the weights with its factors as numbers.
struct Steps {
    taps: usize,
    values: usize,
    ops: Vec<(Kind, usize, usize, f64)>,
    results: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Kind {
    Add,
    Sub,
    Scale,
    MulAdd,
}

impl Steps {
    fn new(grid: &Grid) -> Self {
        let ops: Vec<_> = grid
            .ops()
            .iter()
            .map(|op| match *op {
                Op::Add(a, b) => (Kind::Add, a, b, 0.0),
                Op::Sub(a, b) => (Kind::Sub, a, b, 0.0),
                Op::Scale(factor, x) => (Kind::Scale, x, x, factor.to_f64()),
                Op::MulAdd(acc, factor, x) => (Kind::MulAdd, acc, x, factor.to_f64()),
            })
            .collect();
        Self { taps: grid.inputs(), values: grid.inputs() + ops.len(), ops, results: grid.results().collect() }
    }

    /// Transforms the filters of one panel.
    fn panel(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has what the function is compiled for.
            return unsafe { self.panel_avx512(filters, out, shape, values) };
        } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has what the function is compiled for.
            return unsafe { self.panel_avx2(filters, out, shape, values) };
        }
        self.panel_with(filters, out, shape, values);
    }

    /// # Safety
    /// The CPU has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn panel_avx512(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        self.panel_with(filters, out, shape, values);
    }

    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn panel_avx2(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        self.panel_with(filters, out, shape, values);
    }

    #[inline(always)]
    fn panel_with(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        let Shape { width, depth, exist } = shape;
        let filter = depth * self.taps;
        for first in (0..width).step_by(WIDE) {
            let lanes = WIDE.min(width - first);
            let some = lanes.min(exist.saturating_sub(first));
            values[..self.taps].fill([0.0; WIDE * DEEP]);
            for c in (0..depth).step_by(DEEP) {
                let deep = DEEP.min(depth - c);
                for lane in 0..some {
                    let at = (first + lane) * filter + c * self.taps;
                    let weights = filters[at..at + deep * self.taps].chunks_exact(self.taps);
                    for (lane, weights) in (lane..).step_by(WIDE).zip(weights) {
                        for (value, weight) in values.iter_mut().zip(weights) {
                            value[lane] = f64::from(*weight);
                        }
                    }
                }
                self.run(values);
                for (position, &result) in self.results.iter().enumerate() {
                    let at = (position * (1 + depth) + 1 + c) * width + first;
                    for (out, value) in out[at..].chunks_mut(width).zip(values[result].chunks(WIDE)).take(deep) {
                        for (out, value) in out[..lanes].iter_mut().zip(value) {
                            *out = narrow(*value);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn run(&self, values: &mut [Lanes]) {
        for (index, &(kind, a, b, factor)) in self.ops.iter().enumerate() {
            let (known, rest) = values.split_at_mut(self.taps + index);
            let Some(result) = rest.first_mut() else { return };
            let (a, b) = (&known[a], &known[b]);
            match kind {
                Kind::Add => each(result, a, b, |a, b| a + b),
                Kind::Sub => each(result, a, b, |a, b| a - b),
                Kind::Scale => each(result, a, b, |a, _| factor * a),
                Kind::MulAdd => each(result, a, b, |a, b| a + factor * b),
            }
        }
    }
}

#[inline(always)]
fn each(result: &mut Lanes, a: &Lanes, b: &Lanes, f: impl Fn(f64, f64) -> f64) {
    for ((result, a), b) in result.iter_mut().zip(a).zip(b) {
        *result = f(*a, *b);
    }
}
