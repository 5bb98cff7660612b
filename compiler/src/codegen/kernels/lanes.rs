//! Walking a run of elements in vectors: whole vectors in an unrolled loop, then what is left, masked.
//!
//! A run whose operands are not contiguous is walked one element at a time, in the first lane of each register: the same
//! tile code, only slower.

use crate::codegen::vector::{Addr, Asm, Count, P, V, repeat};

use super::axes::BYTES;

/// A run of elements along which a tile is vectorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How many elements.
    pub len: usize,
    /// Whether neighbours lie side by side in every operand that is not constant along the run; else one element at a time.
    pub vector: bool,
}

impl Run {
    /// Elements that one register takes.
    #[must_use]
    pub fn width(self, lanes: usize) -> usize {
        if self.vector { lanes } else { 1 }
    }
}

/// A pointer that walks along a run.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    /// The register; it is moved during the walk and put back after it.
    pub pointer: P,
    /// Elements between neighbours of the run; 0 for a constant.
    pub stride: usize,
}

impl Cursor {
    /// The address of register number `piece` of a block.
    #[must_use]
    pub fn at(self, piece: usize, width: usize) -> Addr {
        Addr::at(self.pointer, (piece * width * self.stride) as i64 * BYTES)
    }
}

/// The registers of a block: how many of each one's lanes are in use.
pub type Pieces = [usize];

/// Walks `run` in blocks of at most `unroll` registers. `body` is emitted once for the blocks of the loop and once for
/// what is left; it addresses register `i` of a block by [`Cursor::at`].
pub fn walk(a: &mut dyn Asm, run: Run, unroll: usize, cursors: &[Cursor], mut body: impl FnMut(&mut dyn Asm, &Pieces)) {
    let width = run.width(a.lanes());
    let (whole, tail) = (run.len / width, run.len % width);
    // A tail of lanes joins the last block, so that it does not run alone.
    let looped = if whole + usize::from(tail > 0) <= unroll { 0 } else { whole / unroll };
    let mut rest = vec![width; whole - looped * unroll];
    rest.extend((tail > 0).then_some(tail));
    if looped > 0 {
        let pieces = vec![width; unroll];
        repeat(a, Count::Times(looped as u64), |a| {
            body(a, &pieces);
            for cursor in cursors {
                a.add_imm(cursor.pointer, (unroll * width * cursor.stride) as i64 * BYTES);
            }
        });
    }
    if !rest.is_empty() {
        body(a, &rest);
    }
    for cursor in cursors {
        a.add_imm(cursor.pointer, -((looped * unroll * width * cursor.stride) as i64 * BYTES));
    }
}

/// As many registers as there are pieces.
pub fn registers(a: &mut dyn Asm, pieces: &Pieces) -> Vec<V> {
    pieces.iter().map(|_| a.vec()).collect()
}

/// Gives them back.
pub fn release(a: &mut dyn Asm, registers: &[V]) {
    for &register in registers {
        a.free(register);
    }
}
