//! The layout of packed weights: for each panel, for each position, what the bias of the panel's channels adds to their
//! products, then the transformed weights `[input channel][channel of the panel]`; channels are padded with zeros to whole
//! vectors.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm_loadu_ps, _mm_sfence, _mm_stream_ps};

use super::WinogradSpec;
use super::bad;
use super::grid::Grid;
use super::plan::Plan;
use super::program::Op;
use crate::codegen::CodegenError;
use crate::codegen::kernels::LINE;
use crate::codegen::target::Target;
use incept_ir::tensor::narrow;

/// Output channels and input channels that are transformed at once.
const WIDE: usize = 16;
const DEEP: usize = 2;
/// A line of packed weights is a vector of them.
const _: () = assert!(WIDE == LINE);

/// One number of each of these filters, for each input channel those of the output channels. Aligned, since a vector that
/// crosses a cache line takes two accesses.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Lanes([[f64; WIDE]; DEEP]);

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
    let mut values = vec![Lanes([[0.0; WIDE]; DEEP]); program.values];
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
        self.panel_with(filters, out, shape, values, |line, values| *line = values.map(narrow));
    }

    /// # Safety
    /// The CPU has AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn panel_avx512(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        // SAFETY: the fence follows.
        self.panel_with(filters, out, shape, values, |line, values| unsafe { stream(line, values) });
        _mm_sfence();
    }

    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn panel_avx2(&self, filters: &[f32], out: &mut [f32], shape: Shape, values: &mut [Lanes]) {
        // SAFETY: the fence follows.
        self.panel_with(filters, out, shape, values, |line, values| unsafe { stream(line, values) });
        _mm_sfence();
    }

    /// `write` fills a cache line, where the panel is made of whole ones.
    #[inline(always)]
    fn panel_with(
        &self,
        filters: &[f32],
        out: &mut [f32],
        shape: Shape,
        values: &mut [Lanes],
        write: impl Fn(&mut [f32; LINE], &[f64; LINE]),
    ) {
        let Shape { width, depth, exist } = shape;
        let (taps, filter) = (self.taps, depth * self.taps);
        let none = vec![0.0; DEEP * taps];
        for first in (0..width).step_by(WIDE) {
            let lanes = WIDE.min(width - first);
            for c in (0..depth).step_by(DEEP) {
                let deep = DEEP.min(depth - c);
                let rows: [&[f32]; WIDE] = std::array::from_fn(|lane| {
                    let at = (first + lane) * filter + c * taps;
                    if first + lane < exist { &filters[at..at + deep * taps] } else { &none[..deep * taps] }
                });
                for (tap, value) in values[..taps].iter_mut().enumerate() {
                    for (value, tap) in value.0.iter_mut().zip((tap..deep * taps).step_by(taps)) {
                        value.iter_mut().zip(rows).for_each(|(value, row)| *value = f64::from(row[tap]));
                    }
                }
                self.run(values);
                for (position, &result) in self.results.iter().enumerate() {
                    for (c, value) in (c..c + deep).zip(&values[result].0) {
                        let out = &mut out[(position * (1 + depth) + 1 + c) * width + first..][..lanes];
                        match out.as_mut_array() {
                            Some(line) => write(line, value),
                            None => out.iter_mut().zip(value).for_each(|(out, value)| *out = narrow(*value)),
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
    for ((result, a), b) in result.0.iter_mut().zip(&a.0).zip(&b.0) {
        for ((result, a), b) in result.iter_mut().zip(a).zip(b) {
            *result = f(*a, *b);
        }
    }
}

/// Fills a cache line past the caches, if it is one: packed weights are larger than those, and lines that come only to be
/// written cost as much as what is computed.
///
/// # Safety
/// [`_mm_sfence`] is called before anybody reads the line.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn stream(line: &mut [f32; LINE], values: &[f64; LINE]) {
    let values = values.map(narrow);
    if !line.as_ptr().addr().is_multiple_of(64) {
        *line = values;
        return;
    }
    let (to, from) = (line.as_chunks_mut::<4>().0, values.as_chunks::<4>().0);
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: SSE is part of x86-64; `to` are 16 bytes that may be written, and start at a multiple of 16.
        unsafe { _mm_stream_ps(to.as_mut_ptr(), _mm_loadu_ps(from.as_ptr())) };
    }
}
