//! The average of whole planes: [N, C, H, W] to [N, C].
//!
//! A task is one image's block of channels: as many registers of channels as the tile holds, summed over all pixels in
//! row-major order, then divided. Operands of a kernel: the output, then the input.

use super::Emitted;
use super::axes::{BYTES, extent};
use super::lanes::{Cursor, Run, registers, release};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;
use crate::codegen::vector::{Asm, Count, repeat, splat};

const KERNEL: &str = "global_avg_pool";
/// Registers of channels in a block.
const BLOCK: usize = 8;
/// Pixels that one pass of the loop takes.
const UNROLL: usize = 4;

/// A global average.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalPoolSpec {
    /// N, C, H, W of the input.
    pub sizes: [usize; 4],
    /// Strides of the input.
    pub input: [usize; 4],
    /// Strides of the output's N and C.
    pub out: [usize; 2],
}

/// Emits a global average.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &GlobalPoolSpec) -> Result<Emitted, CodegenError> {
    let [batch, channels, height, width] = spec.sizes;
    extent(KERNEL, &spec.sizes, &spec.input)?;
    extent(KERNEL, &spec.sizes[..2], &spec.out)?;
    if height * width == 0 {
        return Err(CodegenError::BadSpec { kernel: KERNEL, reason: "the planes are empty".to_owned() });
    }
    let vector = channels == 1 || (spec.input[1] == 1 && spec.out[1] == 1);
    let run = Run { len: channels, vector };
    let block = BLOCK * run.width(linker.target().lanes());
    let (whole, rest) = (channels / block, channels % block);
    let mut tile = |len: usize| linker.tile(KERNEL, 2, &|a| plane_tile(a, spec, Run { len, ..run }));
    let full = (whole > 0).then(|| tile(block)).transpose()?;
    let last = (rest > 0).then(|| tile(rest)).transpose()?;
    let blocks = channels.div_ceil(block);
    let tasks = batch * blocks;
    let name = format!("{KERNEL}{}", if vector { "" } else { "/scalar" });
    let kernel = linker.kernel(&name, |nest| {
        if tasks == 0 {
            return Ok(());
        }
        let (out, input) = (nest.operand(0), nest.operand(1));
        nest.for_tasks(|nest, task| {
            let (image, index) = nest.div_rem(task, blocks as u64);
            let place = |nest: &mut crate::codegen::nest::Nest<'_>, base, n: usize, c: usize| {
                let at = nest.step(base, image, n as i64 * BYTES);
                nest.step(at, index, (block * c) as i64 * BYTES)
            };
            let out = place(nest, out, spec.out[0], spec.out[1]);
            let input = place(nest, input, spec.input[0], spec.input[1]);
            match (full, last) {
                (Some(full), Some(last)) => {
                    let more = nest.less(index, whole as i64);
                    nest.branch(
                        more,
                        |nest| {
                            nest.call(full, &[out, input]);
                            Ok(())
                        },
                        |nest| {
                            nest.call(last, &[out, input]);
                            Ok(())
                        },
                    )
                }
                (Some(tile), None) | (None, Some(tile)) => {
                    nest.call(tile, &[out, input]);
                    Ok(())
                }
                (None, None) => Err(CodegenError::Internal("a global pool without channels has tasks")),
            }
        })
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}

/// The tile: arguments are the output's and the input's pointers.
fn plane_tile(a: &mut dyn Asm, spec: &GlobalPoolSpec, run: Run) {
    let (out, input) = (a.arg(0), a.arg(1));
    let [_, _, height, width] = spec.sizes;
    let lanes = run.width(a.lanes());
    let mut pieces = vec![lanes; run.len / lanes];
    let tail = run.len % lanes;
    pieces.extend((tail > 0).then_some(tail));
    let sums = registers(a, &pieces);
    for &sum in &sums {
        a.zero(sum);
    }
    let [_, channel, row, pixel] = spec.input;
    let cursor = Cursor { pointer: input, stride: channel };
    let x = a.vec();
    let add = |a: &mut dyn Asm, pixel_offset: i64| {
        for (piece, (&lanes_used, &sum)) in pieces.iter().zip(&sums).enumerate() {
            a.load_first(x, cursor.at(piece, lanes).offset(pixel_offset), lanes_used);
            a.add(sum, sum, x);
        }
    };
    // Rows that follow each other without a gap are one long row.
    let (rows, pixels) = if height == 1 || row == width * pixel { (1, height * width) } else { (height, width) };
    repeat(a, Count::Times(rows as u64), |a| {
        let step = pixel as i64 * BYTES;
        repeat(a, Count::Times((pixels / UNROLL) as u64), |a| {
            for index in 0..UNROLL {
                add(a, index as i64 * step);
            }
            a.add_imm(input, UNROLL as i64 * step);
        });
        for index in 0..pixels % UNROLL {
            add(a, index as i64 * step);
        }
        a.add_imm(input, row as i64 * BYTES - (pixels / UNROLL * UNROLL) as i64 * step);
    });
    splat(a, x, (height * width) as f32);
    let cursor = Cursor { pointer: out, stride: spec.out[1] };
    for (piece, (&lanes_used, &sum)) in pieces.iter().zip(&sums).enumerate() {
        a.div(sum, sum, x);
        a.store_first(cursor.at(piece, lanes), sum, lanes_used);
    }
    release(a, &sums);
    a.free(x);
}
