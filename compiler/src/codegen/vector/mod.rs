//! The small vector assembler: one trait, two back ends.
//!
//! A *tile* is a leaf function `extern "C" fn(i64 or pointer, ...)` of up to [`MAX_ARGS`] arguments. It is written once
//! against [`Asm`] and becomes machine code through `clif` (128-bit vectors, every instruction set that Cranelift has)
//! or `x64` (AVX2: 8 lanes, 16 registers; AVX-512: 16 lanes, 32 registers).
//!
//! ```
//! use incept_compiler::codegen::vector::{Addr, Asm, Count, repeat};
//!
//! /// `y[0..lanes] = sum over the rows of x[row][0..lanes]`, rows counted at run time.
//! fn column_sum(a: &mut dyn Asm) {
//!     let (x, y, rows) = (a.arg(0), a.arg(1), a.arg(2));
//!     let (sum, row) = (a.vec(), a.vec());
//!     let bytes = 4 * a.lanes() as i64;
//!     a.zero(sum);
//!     repeat(a, Count::Reg(rows), |a| {
//!         a.load(row, Addr::new(x));
//!         a.add(sum, sum, row);
//!         a.add_imm(x, bytes);
//!     });
//!     a.store(Addr::new(y), sum);
//! }
//! ```
//!
//! Invariants:
//! 1. A tile's body is called once or twice by [`assemble`] and must emit the same each time: it may depend only on what
//!    it captures and on [`Asm::lanes`], [`Asm::registers`] and [`Asm::broadcast_operands`].
//! 2. Errors stick: after running out of registers every call is harmless and [`assemble`] returns the first error.
//! 3. `load_first` and `store_first` touch no byte beyond their lanes.
//! 4. f32 semantics are the same in all back ends, except that [`Asm::fma`] rounds twice on an x86-64 CPU without FMA,
//!    and [`Asm::float_to_int`] of values outside i32 (or NaN) is unspecified. In particular `max(a, b)` is `a > b ? a : b` and
//!    `min(a, b)` is `a < b ? a : b`: **if either is NaN, or both are zeros, the result is `b`**. So `max(zero, x)` is a
//!    Relu that passes NaN (and -0) on, and `max(x, zero)` would silently turn NaN into 0: kernels use the former.

pub mod clif;
pub mod x64;

#[cfg(test)]
mod tests;

use super::CodegenError;
use super::target::{Level, Target};

/// Most arguments of a tile: what System V passes in registers.
pub const MAX_ARGS: usize = 6;

/// A vector register of f32 (or i32) lanes: a mutable variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct V(pub(crate) u8);

/// A 64-bit integer or pointer register: a mutable variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct P(pub(crate) u8);

/// An address: `base + index * scale + disp`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addr {
    /// The base register.
    pub base: P,
    /// An optional index register and its scale: 1, 2, 4 or 8.
    pub index: Option<(P, u8)>,
    /// Displacement in bytes, of any size (one beyond 31 bits costs two instructions).
    pub disp: i64,
}

impl Addr {
    /// The address in `base`.
    #[must_use]
    pub fn new(base: P) -> Self {
        Self { base, index: None, disp: 0 }
    }

    /// The address in `base` plus `disp` bytes.
    #[must_use]
    pub fn at(base: P, disp: i64) -> Self {
        Self { base, index: None, disp }
    }

    /// This address with an index register times `scale` (1, 2, 4 or 8) added.
    #[must_use]
    pub fn index(self, index: P, scale: u8) -> Self {
        Self { index: Some((index, scale)), ..self }
    }

    /// This address `bytes` further.
    #[must_use]
    pub fn offset(self, bytes: i64) -> Self {
        Self { disp: self.disp.wrapping_add(bytes), ..self }
    }
}

/// How often a loop runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A constant number of times; 0 is fine.
    Times(u64),
    /// As often as this register says, 0 included; the loop counts it down to 0.
    Reg(P),
}

/// The vector assembler. Every operation works on whole vectors of [`Asm::lanes`] lanes unless it says otherwise.
///
/// `dst` may be the same register as any source unless stated.
pub trait Asm {
    /// f32 lanes of a vector: 4, 8 or 16.
    fn lanes(&self) -> usize;
    /// How many vector registers [`Asm::vec`] hands out in all.
    fn registers(&self) -> usize;
    /// Whether [`Asm::fma_broadcast`] is a single instruction without a temporary register.
    fn broadcast_operands(&self) -> bool;

    /// The tile's argument number `index` as a register; free it when it is no longer needed.
    fn arg(&mut self, index: usize) -> P;
    /// A fresh vector register, undefined.
    fn vec(&mut self) -> V;
    /// Gives a vector register back.
    fn free(&mut self, v: V);
    /// A fresh integer register, undefined.
    fn int(&mut self) -> P;
    /// Gives an integer register back.
    fn free_int(&mut self, p: P);

    /// Loads all lanes; no alignment is needed.
    fn load(&mut self, dst: V, from: Addr);
    /// Loads the first `n <= lanes` lanes and zeroes the others; memory beyond is not touched.
    fn load_first(&mut self, dst: V, from: Addr, n: usize);
    /// Stores all lanes; no alignment is needed.
    fn store(&mut self, to: Addr, src: V);
    /// Stores the first `n <= lanes` lanes; memory beyond is not touched.
    fn store_first(&mut self, to: Addr, src: V, n: usize);
    /// Stores the one lane `lane < lanes`.
    fn store_lane(&mut self, to: Addr, src: V, lane: usize);
    /// One f32 in memory into all lanes.
    fn broadcast(&mut self, dst: V, from: Addr);
    /// A constant, given by its bits, in all lanes.
    fn splat_bits(&mut self, dst: V, bits: u32);
    /// All lanes 0.
    fn zero(&mut self, dst: V);
    /// `dst = src`.
    fn copy(&mut self, dst: V, src: V);
    /// A hint to fetch the cache line at an address; nothing where the back end has no such instruction.
    fn prefetch(&mut self, at: Addr);

    /// `acc += a * b`, rounded once (see the invariants). Pass a factor that is not used again as `a`.
    fn fma(&mut self, acc: V, a: V, b: V);
    /// `acc -= a * b`, rounded once.
    fn fnma(&mut self, acc: V, a: V, b: V);
    /// `acc += broadcast(from) * b`. A temporary register is taken where [`Asm::broadcast_operands`] is false.
    fn fma_broadcast(&mut self, acc: V, from: Addr, b: V);
    /// `acc += a * load(from)`.
    fn fma_mem(&mut self, acc: V, a: V, from: Addr);
    /// `dst = a + b`.
    fn add(&mut self, dst: V, a: V, b: V);
    /// `dst = a - b`.
    fn sub(&mut self, dst: V, a: V, b: V);
    /// `dst = a * b`.
    fn mul(&mut self, dst: V, a: V, b: V);
    /// `dst = a / b`.
    fn div(&mut self, dst: V, a: V, b: V);
    /// `dst = a > b ? a : b`: `b` if either is NaN.
    fn max(&mut self, dst: V, a: V, b: V);
    /// `dst = a < b ? a : b`: `b` if either is NaN.
    fn min(&mut self, dst: V, a: V, b: V);
    /// `dst = sqrt(a)`, correctly rounded.
    fn sqrt(&mut self, dst: V, a: V);
    /// `dst = floor(a)`.
    fn floor(&mut self, dst: V, a: V);
    /// `dst = a` rounded to the nearest integer, ties to even.
    fn nearest(&mut self, dst: V, a: V);
    /// `dst = a > b ? x : y`; `y` where a or b is NaN. `dst` is neither `x` nor `y`. Takes a temporary on AVX2.
    fn select_gt(&mut self, dst: V, a: V, b: V, x: V, y: V);

    /// f32 to i32 lanes, to nearest even, for values in range.
    fn float_to_int(&mut self, dst: V, a: V);
    /// i32 to f32 lanes.
    fn int_to_float(&mut self, dst: V, a: V);
    /// i32 lanes: `dst = a + b`, wrapping.
    fn int_add(&mut self, dst: V, a: V, b: V);
    /// i32 lanes: `dst = a - b`, wrapping.
    fn int_sub(&mut self, dst: V, a: V, b: V);
    /// i32 lanes: `dst = a << bits`, `bits < 32`.
    fn shift_left(&mut self, dst: V, a: V, bits: u8);
    /// i32 lanes: `dst = a >> bits`, filled with zeros, `bits < 32`.
    fn shift_right(&mut self, dst: V, a: V, bits: u8);
    /// i32 lanes: `dst = a >> bits`, filled with the sign, `bits < 32`.
    fn shift_right_signed(&mut self, dst: V, a: V, bits: u8);
    /// Bits: `dst = a & b`.
    fn and(&mut self, dst: V, a: V, b: V);
    /// Bits: `dst = a | b`.
    fn or(&mut self, dst: V, a: V, b: V);
    /// Bits: `dst = a ^ b`.
    fn xor(&mut self, dst: V, a: V, b: V);

    /// The sum of all lanes, in every lane of `dst`; halves are added pairwise, so the order depends on the lane count.
    /// Takes a temporary.
    fn reduce_add(&mut self, dst: V, a: V);
    /// The maximum of all lanes (as [`Asm::max`]), in every lane of `dst`. Takes a temporary.
    fn reduce_max(&mut self, dst: V, a: V);

    /// `dst = src`.
    fn mov(&mut self, dst: P, src: P);
    /// `dst = value`.
    fn set(&mut self, dst: P, value: i64);
    /// `dst += value`.
    fn add_imm(&mut self, dst: P, value: i64);
    /// `dst = a + b`.
    fn int_sum(&mut self, dst: P, a: P, b: P);
    /// `dst = a - b`; `dst` is not `b`.
    fn int_diff(&mut self, dst: P, a: P, b: P);
    /// `dst = a * value`.
    fn mul_imm(&mut self, dst: P, a: P, value: i64);
    /// The 64-bit integer or pointer in memory.
    fn load_int(&mut self, dst: P, from: Addr);
    /// Stores a 64-bit integer or pointer.
    fn store_int(&mut self, to: Addr, src: P);

    /// Opens a loop; prefer [`repeat`].
    fn loop_begin(&mut self, count: Count);
    /// Closes the innermost loop; prefer [`repeat`].
    fn loop_end(&mut self);
}

/// Emits a loop around what `body` emits.
pub fn repeat(a: &mut dyn Asm, count: Count, body: impl FnOnce(&mut dyn Asm)) {
    a.loop_begin(count);
    body(a);
    a.loop_end();
}

/// `dst = value` in all lanes.
pub fn splat(a: &mut dyn Asm, dst: V, value: f32) {
    if value.to_bits() == 0 { a.zero(dst) } else { a.splat_bits(dst, value.to_bits()) }
}

/// The machine code of a tile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TileCode {
    /// Position-independent code, then its constants.
    pub bytes: Vec<u8>,
    /// How many of the bytes are instructions.
    pub code_len: usize,
    /// Arguments that the tile takes.
    pub args: usize,
    /// The CLIF text, for tiles that went through Cranelift.
    pub clif: Option<String>,
}

/// Turns a tile into machine code for `target`.
///
/// # Errors
/// The first error of the tile: too many registers, a misuse of the assembler; or an error of the encoder.
pub fn assemble(target: &Target, args: usize, body: &dyn Fn(&mut dyn Asm)) -> Result<TileCode, CodegenError> {
    if args > MAX_ARGS {
        return Err(CodegenError::Misuse("a tile takes at most six arguments"));
    }
    match target.level() {
        Level::V128 => clif::assemble(target, args, body),
        Level::Avx2 => x64::assemble(x64::Width::Y, args, body),
        Level::Avx512 => x64::assemble(x64::Width::Z, args, body),
    }
}
