//! Convolutions of stride 2 by parts: the sum of four convolutions of stride 1 on the even and odd rows and columns is one
//! of stride 1 on an image with a quarter of the pixels and four times the channels, which Winograd's algorithm takes.
//!
//! Pixel (u, v) of the folded image holds the pixels (2u + i - top, 2v + j - left) of the input, i, j = 0, 1, each with
//! all its channels; what lies in padding is 0, so the folded image needs none. Window taps are folded alike: tap (a, b)
//! of part (i, j) is tap (2a + i, 2b + j), or 0 beyond the window. The rows that a block of tiles needs are folded into
//! scratch memory before its input transforms, element by element: meant for the few channels of a first layer.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

use super::plan::Plan;
use crate::codegen::CodegenError;
use crate::codegen::kernels::conv_direct::{ConvInput, ConvSpec, PixelStrides};
use crate::codegen::nest::Nest;

/// The stride that is folded away.
pub(super) const STRIDE: usize = 2;
/// Pixels of the input in one folded pixel.
const PARTS: usize = STRIDE * STRIDE;
/// Most channels of the input: more would be slow to copy one by one.
pub(super) const MOST_CHANNELS: usize = 8;

/// What was folded.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    /// The input as it lies in memory.
    pub input: ConvInput,
    /// Its padding above and to the left.
    pub pads: [usize; 2],
    /// The window before folding.
    pub kernel: [usize; 2],
    /// Folded rows from one row of tiles to the next, in scratch memory: rows are shared where all tiles are of one image.
    pub pitch: usize,
}

/// The folded convolution for output tiles of `m` pixels; `None` where a size overflows.
pub(super) fn fold(conv: &ConvSpec, m: [usize; 2]) -> Option<(ConvSpec, Fold)> {
    let kernel = conv.kernel.map(|taps| taps.div_ceil(STRIDE));
    let tiles = [conv.out_height.div_ceil(m[0]), conv.out_width.div_ceil(m[1])];
    let size = |axis: usize| tiles[axis].checked_mul(m[axis])?.checked_add(kernel[axis] - 1);
    let (height, width) = (size(0)?, size(1)?);
    let channels = conv.input.channels.checked_mul(PARTS)?;
    let row = width.checked_mul(channels)?;
    let strides = PixelStrides { n: height.checked_mul(row)?, h: row, w: channels };
    let pitch = if conv.batch == 1 { m[0] } else { m[0] + kernel[0] - 1 };
    let fold = Fold { input: conv.input, pads: conv.pads, kernel: conv.kernel, pitch };
    let input = ConvInput { channels, height, width, strides, channel_stride: 1 };
    Some((ConvSpec { input, kernel, strides: [1, 1], pads: [0, 0], ..conv.clone() }, fold))
}

impl Fold {
    /// Folds weights `[O, I, kh, kw]` into `[O, parts × I, a, b]`.
    pub fn weights(&self, weights: &[f32]) -> Vec<f32> {
        let [rows, columns] = self.kernel;
        let folded = self.kernel.map(|taps| taps.div_ceil(STRIDE));
        let channels = self.input.channels;
        let filter = channels * rows * columns;
        let mut out = Vec::with_capacity(weights.len() / (rows * columns).max(1) * PARTS * folded[0] * folded[1]);
        for filter in weights.chunks_exact(filter.max(1)) {
            for part in 0..PARTS {
                for channel in filter.chunks_exact((rows * columns).max(1)).take(channels) {
                    for a in 0..folded[0] {
                        for b in 0..folded[1] {
                            let (row, column) = (STRIDE * a + part / STRIDE, STRIDE * b + part % STRIDE);
                            let inside = row < rows && column < columns;
                            out.push(if inside { channel[row * columns + column] } else { 0.0 });
                        }
                    }
                }
            }
        }
        out
    }

    /// Bytes of scratch memory for the folded rows of `tile_rows` rows of tiles.
    pub fn bytes(&self, plan: &Plan, tile_rows: usize) -> Option<usize> {
        let rows = tile_rows.checked_sub(1)?.checked_mul(self.pitch)?.checked_add(plan.n[0])?;
        rows.checked_mul(plan.conv.input.strides.h)?.checked_mul(4)
    }
}

/// The folding of one block, in CLIF.
pub(super) struct Folding<'a> {
    pub plan: &'a Plan,
    pub fold: &'a Fold,
    /// The input, where the folded rows go, and zeros to read instead of padding.
    pub input: Value,
    pub folded: Value,
    pub zeros: Value,
}

fn bytes(elements: usize) -> i64 {
    elements as i64 * 4
}

impl Folding<'_> {
    /// Folds all that the rows of tiles `first..end` read, counted over all images.
    pub fn emit(&self, nest: &mut Nest<'_>, first: Value, end: Value) -> Result<(), CodegenError> {
        let (plan, fold) = (self.plan, self.fold);
        nest.works();
        nest.for_range(first, end, 1, |nest, tile_row| {
            let (image, y) = nest.div_rem(tile_row, plan.tiles[0] as u64);
            let source = nest.step(self.input, image, bytes(fold.input.strides.n));
            let top = nest.scale(y, plan.m[0] as i64);
            let local = nest.sub(tile_row, first);
            let to = nest.step(self.folded, local, bytes(fold.pitch * plan.conv.input.strides.h));
            // Where rows are shared, those that the row of tiles before needs as well are there already.
            let shared = nest.int((plan.n[0] - fold.pitch) as i64);
            let none = nest.int(0);
            let begin = nest.builder().ins().icmp_imm_s(IntCC::Equal, local, 0);
            let begin = nest.builder().ins().select(begin, none, shared);
            let all = nest.int(plan.n[0] as i64);
            nest.for_range(begin, all, 1, |nest, row| {
                let to = nest.step(to, row, bytes(plan.conv.input.strides.h));
                let u = nest.add(top, row);
                (0..STRIDE).try_for_each(|i| self.row(nest, source, to, u, i))
            })
        })
    }

    /// Part `i` of the folded row `u`.
    fn row(&self, nest: &mut Nest<'_>, source: Value, to: Value, u: Value, i: usize) -> Result<(), CodegenError> {
        let fold = self.fold;
        let y = nest.scale(u, STRIDE as i64);
        let y = nest.offset(y, i as i64 - fold.pads[0] as i64);
        let source = nest.step(source, y, bytes(fold.input.strides.h));
        let to = nest.offset(to, bytes(i * STRIDE * fold.input.channels));
        // Columns whose two pixels are both inside.
        let width = self.plan.conv.input.width;
        let begin = fold.pads[1].div_ceil(STRIDE).min(width);
        let end = ((fold.input.width + fold.pads[1]) / STRIDE).clamp(begin, width);
        let inside = nest.builder().ins().icmp_imm_u(IntCC::UnsignedLessThan, y, fold.input.height as i64);
        nest.branch(
            inside,
            |nest| {
                self.columns(nest, source, to, 0..begin, true)?;
                self.columns(nest, source, to, begin..end, false)?;
                self.columns(nest, source, to, end..width, true)
            },
            |nest| {
                let (first, last) = (nest.int(0), nest.int(width as i64));
                nest.for_range(first, last, 1, |nest, v| {
                    let to = nest.step(to, v, bytes(self.plan.conv.input.channels));
                    let zero = nest.builder().ins().f32const(0.0);
                    for element in 0..STRIDE * fold.input.channels {
                        nest.builder().ins().store(MemFlagsData::trusted(), zero, to, bytes(element) as i32);
                    }
                    Ok(())
                })
            },
        )
    }

    /// Copies folded pixels of one row, whose pixels of the input may lie outside where they are `checked`.
    fn columns(
        &self,
        nest: &mut Nest<'_>,
        source: Value,
        to: Value,
        columns: std::ops::Range<usize>,
        checked: bool,
    ) -> Result<(), CodegenError> {
        let (plan, input) = (self.plan, &self.fold.input);
        if columns.is_empty() {
            return Ok(());
        }
        let (first, end) = (nest.int(columns.start as i64), nest.int(columns.end as i64));
        nest.for_range(first, end, 1, |nest, v| {
            let to = nest.step(to, v, bytes(plan.conv.input.channels));
            let x = nest.scale(v, STRIDE as i64);
            let x = nest.offset(x, -(self.fold.pads[1] as i64));
            for j in 0..STRIDE {
                let x = nest.offset(x, j as i64);
                let pixel = nest.step(source, x, bytes(input.strides.w));
                let inside = nest.builder().ins().icmp_imm_u(IntCC::UnsignedLessThan, x, input.width as i64);
                for channel in 0..input.channels {
                    let from = nest.offset(pixel, bytes(channel * input.channel_stride));
                    let b = nest.builder();
                    let from = if checked { b.ins().select(inside, from, self.zeros) } else { from };
                    let value = b.ins().load(F32, MemFlagsData::trusted(), from, 0);
                    let place = bytes(j * input.channels + channel);
                    b.ins().store(MemFlagsData::trusted(), value, to, place as i32);
                }
            }
            Ok(())
        })
    }
}
