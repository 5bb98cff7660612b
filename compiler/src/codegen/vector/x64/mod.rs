//! The x64 back end of the vector assembler: AVX2 and AVX-512 through `iced-x86`.
//!
//! Calling convention: System V, also on Windows (the callers declare it so). Which callee-saved registers and which lane
//! masks a tile uses is known once its body is emitted; the prologue that fits is emitted after it and placed before it.
//!
//! Depends on [`super`] and `iced-x86` only. Nothing here checks CPU features: [`super::assemble`] is reached with a
//! [`crate::codegen::target::Target`], which is the proof.

use std::collections::BTreeSet;

use iced_x86::Register;
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, AsmRegisterXmm, AsmRegisterYmm, AsmRegisterZmm, CodeAssembler, CodeLabel, ptr,
    registers as r,
};

use super::{Addr, Asm, P, TileCode, V};
use crate::codegen::CodegenError;

/// The vector width of the emitted code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 256-bit, AVX2 and FMA.
    Y,
    /// 512-bit, AVX-512 F, VL, BW and DQ.
    Z,
}

/// System V arguments, then scratch, then callee-saved registers.
const INTS: [AsmRegister64; 15] = [
    r::rdi,
    r::rsi,
    r::rdx,
    r::rcx,
    r::r8,
    r::r9,
    r::rax,
    r::r10,
    r::r11,
    r::rbx,
    r::rbp,
    r::r12,
    r::r13,
    r::r14,
    r::r15,
];
const FIRST_SAVED: usize = 9;

/// Masks k1 to k6 hold the first lane counts that are asked for, for the whole tile; k7 is for comparisons and all others.
const KEPT_MASKS: usize = 6;
const ROUND_NEAREST: u32 = 8;
const ROUND_DOWN: u32 = 9;
const GREATER: u32 = 30;

fn x(v: V) -> AsmRegisterXmm {
    r::get_xmm(Register::XMM0 + u32::from(v.0 & 31)).unwrap_or(r::xmm0)
}

fn y(v: V) -> AsmRegisterYmm {
    r::get_ymm(Register::YMM0 + u32::from(v.0 & 31)).unwrap_or(r::ymm0)
}

fn z(v: V) -> AsmRegisterZmm {
    r::get_zmm(Register::ZMM0 + u32::from(v.0 & 31)).unwrap_or(r::zmm0)
}

fn gpr(p: P) -> AsmRegister64 {
    INTS[usize::from(p.0) % INTS.len()]
}

struct Frame {
    top: CodeLabel,
    end: Option<CodeLabel>,
    counter: Option<P>,
    owned: bool,
}

struct X64 {
    a: CodeAssembler,
    width: Width,
    args: usize,
    vectors: [bool; 32],
    ints: [bool; INTS.len()],
    /// The callee-saved registers that are used.
    saved: BTreeSet<usize>,
    /// The lane counts of k1, k2 and so on.
    kept: Vec<usize>,
    constants: Vec<(Vec<u32>, CodeLabel)>,
    loops: Vec<Frame>,
    error: Option<CodegenError>,
}

/// Emits one instruction, keeping the first error.
macro_rules! emit {
    ($s:expr, $op:ident $args:tt) => {
        if $s.error.is_none() {
            if let Err(error) = $s.a.$op $args {
                $s.error = Some(error.into());
            }
        }
    };
}

/// One instruction on whole vectors, with the register names of the width, then other operands.
macro_rules! whole {
    ($s:expr, $op:ident($($v:expr),* $(; $t:expr)?)) => {
        match $s.width {
            Width::Y => emit!($s, $op($(y($v)),* $(, $t)?)),
            Width::Z => emit!($s, $op($(z($v)),* $(, $t)?)),
        }
    };
}

/// As [`whole`], where the two widths have different mnemonics.
macro_rules! either {
    ($s:expr, $narrow:ident | $wide:ident($($v:expr),* $(; $t:expr)?)) => {
        match $s.width {
            Width::Y => emit!($s, $narrow($(y($v)),* $(, $t)?)),
            Width::Z => emit!($s, $wide($(z($v)),* $(, $t)?)),
        }
    };
}

/// Applies a mask register by number to an operand.
macro_rules! masked {
    ($k:expr, $operand:expr) => {
        match $k {
            1 => $operand.k1(),
            2 => $operand.k2(),
            3 => $operand.k3(),
            4 => $operand.k4(),
            5 => $operand.k5(),
            6 => $operand.k6(),
            _ => $operand.k7(),
        }
    };
}

mod encode;
mod ops;

/// Emits a tile; see [`super::assemble`].
pub(super) fn assemble(width: Width, args: usize, body: &dyn Fn(&mut dyn Asm)) -> Result<TileCode, CodegenError> {
    let mut tile = X64::new(width, args)?;
    body(&mut tile);
    tile.finish()
}

impl X64 {
    fn new(width: Width, args: usize) -> Result<Self, CodegenError> {
        let mut a = CodeAssembler::new(64)?;
        // The encodings without EVEX reach registers 0 to 15 only.
        a.set_prefer_vex(width == Width::Y);
        let mut ints = [false; INTS.len()];
        ints[..args].fill(true);
        Ok(Self {
            a,
            width,
            args,
            vectors: [false; 32],
            ints,
            saved: BTreeSet::new(),
            kept: Vec::new(),
            constants: Vec::new(),
            loops: Vec::new(),
            error: None,
        })
    }

    fn fail(&mut self, error: CodegenError) {
        self.error.get_or_insert(error);
    }

    fn misuse(&mut self, what: &'static str) {
        self.fail(CodegenError::Misuse(what));
    }

    fn prologue(&mut self) {
        for &register in &self.saved.clone() {
            emit!(self, push(INTS[register]));
        }
        for (index, lanes) in self.kept.clone().into_iter().enumerate() {
            self.load_mask(index + 1, lanes);
        }
    }

    fn load_mask(&mut self, k: usize, lanes: usize) {
        let label = self.constant(&[(1u32 << lanes) - 1]);
        let register = [r::k0, r::k1, r::k2, r::k3, r::k4, r::k5, r::k6, r::k7][k & 7];
        emit!(self, kmovw(register, ptr(label)));
    }

    /// The mask register that holds `lanes` ones.
    fn mask(&mut self, lanes: usize) -> usize {
        if let Some(index) = self.kept.iter().position(|&kept| kept == lanes) {
            return index + 1;
        }
        if self.kept.len() < KEPT_MASKS {
            self.kept.push(lanes);
            return self.kept.len();
        }
        self.load_mask(7, lanes);
        7
    }

    /// The label of a constant behind the code.
    fn constant(&mut self, words: &[u32]) -> CodeLabel {
        if let Some((_, label)) = self.constants.iter().find(|(known, _)| known == words) {
            return *label;
        }
        let label = self.a.create_label();
        self.constants.push((words.to_vec(), label));
        label
    }

    /// Runs `f` with the memory operand of `addr`; a temporary holds a displacement beyond 31 bits.
    fn with(&mut self, addr: Addr, f: impl FnOnce(&mut Self, AsmMemoryOperand)) {
        let base = gpr(addr.base);
        let (index, scale) = match addr.index {
            None => (None, 1),
            Some((index, scale @ (1 | 2 | 4 | 8))) => (Some(gpr(index)), i32::from(scale)),
            Some(_) => return self.misuse("an index scale other than 1, 2, 4, 8"),
        };
        if let Ok(disp) = i32::try_from(addr.disp) {
            let operand = match index {
                None => base + disp,
                Some(index) => base + index * scale + disp,
            };
            return f(self, operand);
        }
        let temp = self.int();
        emit!(self, mov(gpr(temp), addr.disp));
        emit!(self, add(gpr(temp), base));
        let operand = match index {
            None => gpr(temp) + 0,
            Some(index) => gpr(temp) + index * scale,
        };
        f(self, operand);
        self.free_int(temp);
    }

    fn fold(&mut self, dst: V, a: V, step: fn(&mut Self, AsmRegisterXmm, AsmRegisterXmm), wide: fn(&mut Self, V, V)) {
        let t = self.vec();
        match self.width {
            Width::Y => {
                emit!(self, vextractf128(x(t), y(a), 1));
                emit!(self, vmovups(x(dst), x(a)));
            }
            Width::Z => {
                emit!(self, vextractf64x4(y(t), z(a), 1));
                emit!(self, vmovups(y(dst), y(a)));
                wide(self, dst, t);
                emit!(self, vextractf32x4(x(t), y(dst), 1));
            }
        }
        step(self, x(dst), x(t));
        emit!(self, vmovhlps(x(t), x(dst), x(dst)));
        step(self, x(dst), x(t));
        emit!(self, vshufps(x(t), x(dst), x(dst), 0x55));
        step(self, x(dst), x(t));
        match self.width {
            Width::Y => emit!(self, vbroadcastss(y(dst), x(dst))),
            Width::Z => emit!(self, vbroadcastss(z(dst), x(dst))),
        }
        self.free(t);
    }

    fn lane_mask(lanes: usize) -> Vec<u32> {
        (0..8).map(|lane| if lane < lanes { u32::MAX } else { 0 }).collect()
    }

    fn finish(mut self) -> Result<TileCode, CodegenError> {
        if !self.loops.is_empty() {
            self.misuse("an open loop at the end of the tile");
        }
        emit!(self, vzeroupper());
        for &register in self.saved.clone().iter().rev() {
            emit!(self, pop(INTS[register]));
        }
        emit!(self, ret());
        let code = self.a.instructions().len();
        self.prologue();
        let prologue = self.a.instructions().len();
        for (words, mut label) in std::mem::take(&mut self.constants) {
            emit!(self, set_label(&mut label));
            emit!(self, dd(&words));
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        let (before, constants) = self.a.instructions().split_at(prologue);
        let (body, prologue) = before.split_at(code);
        let (bytes, code_len) = encode::encode([prologue, body], constants)?;
        Ok(TileCode { bytes, code_len, args: self.args, clif: None })
    }
}
