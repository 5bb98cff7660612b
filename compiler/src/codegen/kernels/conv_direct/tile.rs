//! The inner tile: a few neighbouring pixels × a few vectors of output channels, in registers over all taps and channels.
//!
//! Arguments: the input at the first row that counts (at tap 0 of pixel 0, which may lie in padding and is then not
//! read), the panel's weights at that row of taps, the output, the number of rows of taps that count, the panel's bias,
//! the residual.

use crate::codegen::epilogue::{self, PostOp};
use crate::codegen::kernels::depthwise;
use crate::codegen::kernels::window::Pattern;
use crate::codegen::vector::{Addr, Asm, Count, P, V, repeat};

/// Arguments of a tile.
pub(super) const ARGS: usize = 6;
/// Multiply-adds that a loop body is unrolled to.
const UNROLLED: usize = 256;
/// Multiply-adds up to which a whole row of taps is unrolled, without an inner loop.
const FLAT: usize = 640;

/// A tile; distances are in bytes.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// Which taps of a row are inside the input, for each pixel.
    pub pattern: Pattern,
    /// Vectors of output channels.
    pub vectors: usize,
    /// Existing lanes of the last vector.
    pub last_lanes: usize,
    /// Whether a vector of output channels sees the same input channels (`channels` is then 1).
    pub depthwise: bool,
    /// Input channels that an output channel sees.
    pub channels: usize,
    /// From one input channel to the next.
    pub channel_step: i64,
    /// From one output pixel's input to the next one's.
    pub pixel_step: i64,
    /// From one tap of a row to the next.
    pub tap_step: i64,
    /// From one row of taps to the next.
    pub row_step: i64,
    /// From one output pixel to the next.
    pub out_step: i64,
    /// From one pixel of the residual to the next.
    pub residual_step: i64,
    /// How far ahead weights are fetched; 0: not at all.
    pub prefetch: i64,
    /// What is applied to the results.
    pub post: Vec<PostOp>,
}

struct Registers {
    /// `[pixel][vector]`.
    sums: Vec<Vec<V>>,
    weights: Vec<V>,
}

impl Tile {
    /// Emits the tile.
    pub fn emit(&self, a: &mut dyn Asm) {
        let (input, weights, out) = (a.arg(0), a.arg(1), a.arg(2));
        let (rows, bias, residual) = (a.arg(3), a.arg(4), a.arg(5));
        let vector = 4 * a.lanes() as i64;
        let sums: Vec<Vec<V>> = (0..self.pattern.len()).map(|_| (0..self.vectors).map(|_| a.vec()).collect()).collect();
        for (v, sum) in sums[0].iter().enumerate() {
            a.load(*sum, Addr::at(bias, v as i64 * vector));
        }
        for pixel in &sums[1..] {
            for (v, sum) in pixel.iter().enumerate() {
                a.copy(*sum, sums[0][v]);
            }
        }
        let registers = Registers { weights: (0..self.vectors).map(|_| a.vec()).collect(), sums };
        repeat(a, Count::Reg(rows), |a| {
            self.row(a, input, weights, &registers);
            a.add_imm(input, self.row_step);
        });
        for v in registers.weights {
            a.free(v);
        }
        let results: Vec<epilogue::Result> = registers
            .sums
            .iter()
            .enumerate()
            .flat_map(|(pixel, sums)| {
                sums.iter().enumerate().map(move |(v, sum)| epilogue::Result {
                    register: *sum,
                    residual: Some(Addr::at(residual, pixel as i64 * self.residual_step + v as i64 * vector)),
                    lanes: 0,
                })
            })
            .map(|result| epilogue::Result { lanes: a.lanes(), ..result })
            .collect();
        let results: Vec<epilogue::Result> = results
            .chunks(self.vectors)
            .flat_map(|pixel| {
                pixel.iter().enumerate().map(|(v, result)| {
                    let last = v + 1 == self.vectors;
                    epilogue::Result { lanes: if last { self.last_lanes } else { result.lanes }, ..*result }
                })
            })
            .collect();
        let place = |index: usize| {
            let (pixel, v) = ((index / self.vectors) as i64, (index % self.vectors) as i64);
            Addr::at(out, pixel * self.out_step + v * vector)
        };
        let places: Vec<Addr> = (0..results.len()).map(place).collect();
        epilogue::store(a, &self.post, &results, &places);
    }

    /// One row of taps: `weights` moves past it, `input` stays.
    fn row(&self, a: &mut dyn Asm, input: P, weights: P, registers: &Registers) {
        let step = 4 * (a.lanes() * self.vectors) as i64;
        let taps = self.pattern.taps.len();
        let per_channel = self.pattern.len() * self.vectors;
        let steps = taps.saturating_mul(self.channels);
        if steps.saturating_mul(per_channel) <= FLAT {
            for (tap, inside) in self.pattern.taps.iter().enumerate() {
                for c in 0..self.channels {
                    let from = Addr::at(input, tap as i64 * self.tap_step + c as i64 * self.channel_step);
                    self.step(a, inside, from, Addr::at(weights, (tap * self.channels + c) as i64 * step), registers);
                }
            }
            a.add_imm(weights, steps as i64 * step);
            return;
        }
        let from = a.int();
        if self.pattern.full() && taps > 4 {
            // Many taps: a loop over them keeps the code short.
            let base = a.int();
            a.mov(base, input);
            repeat(a, Count::Times(taps as u64), |a| {
                a.mov(from, base);
                self.channels(a, &self.pattern.taps[0], from, weights, registers);
                a.add_imm(base, self.tap_step);
            });
            a.free_int(base);
        } else {
            for (tap, inside) in self.pattern.taps.iter().enumerate() {
                if inside.iter().any(|inside| *inside) {
                    a.mov(from, input);
                    a.add_imm(from, tap as i64 * self.tap_step);
                    self.channels(a, inside, from, weights, registers);
                } else {
                    a.add_imm(weights, self.channels as i64 * step);
                }
            }
        }
        a.free_int(from);
    }

    /// All input channels of one tap; `from` and `weights` move past them.
    fn channels(&self, a: &mut dyn Asm, inside: &[bool], from: P, weights: P, registers: &Registers) {
        let step = 4 * (a.lanes() * self.vectors) as i64;
        let per_channel = self.pattern.len() * self.vectors;
        let unroll = (UNROLLED / per_channel).clamp(1, self.channels.min(16));
        let (times, rest) = (self.channels / unroll, self.channels % unroll);
        let some = |a: &mut dyn Asm, count: usize| {
            for c in 0..count as i64 {
                self.step(a, inside, Addr::at(from, c * self.channel_step), Addr::at(weights, c * step), registers);
            }
            a.add_imm(from, count as i64 * self.channel_step);
            a.add_imm(weights, count as i64 * step);
        };
        repeat(a, Count::Times(times as u64), |a| some(a, unroll));
        some(a, rest);
    }

    /// One step of K: one input channel of one tap for all pixels that have it.
    fn step(&self, a: &mut dyn Asm, inside: &[bool], from: Addr, weights: Addr, registers: &Registers) {
        let vector = 4 * a.lanes() as i64;
        for (v, register) in registers.weights.iter().enumerate() {
            let from = weights.offset(v as i64 * vector);
            if self.prefetch > 0 {
                a.prefetch(from.offset(self.prefetch));
            }
            a.load(*register, from);
        }
        if self.depthwise {
            let sums: Vec<(usize, &[V])> =
                registers.sums.iter().map(|sums| &sums[..]).enumerate().filter(|(pixel, _)| inside[*pixel]).collect();
            return depthwise::tap(a, &sums, &registers.weights, (from, self.pixel_step), self.last_lanes);
        }
        let pixels = inside.iter().zip(&registers.sums).enumerate().filter(|(_, (inside, _))| **inside);
        for (pixel, (_, sums)) in pixels {
            let from = from.offset(pixel as i64 * self.pixel_step);
            if let ([sum], [weights]) = (&sums[..], &registers.weights[..]) {
                a.fma_broadcast(*sum, from, *weights);
                continue;
            }
            let x = a.vec();
            a.broadcast(x, from);
            for (sum, weights) in sums.iter().zip(&registers.weights) {
                a.fma(*sum, x, *weights);
            }
            a.free(x);
        }
    }
}
