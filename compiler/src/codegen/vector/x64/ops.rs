//! The operations of the x64 back end, one instruction or a few each.

use iced_x86::code_asm::{dword_bcst, ptr, registers as r};

use super::{FIRST_SAVED, Frame, GREATER, INTS, ROUND_DOWN, ROUND_NEAREST, Width, X64, gpr, x, y, z};
use crate::codegen::CodegenError;
use crate::codegen::vector::{Addr, Asm, Count, P, V};

impl Asm for X64 {
    fn lanes(&self) -> usize {
        match self.width {
            Width::Y => 8,
            Width::Z => 16,
        }
    }

    fn registers(&self) -> usize {
        match self.width {
            Width::Y => 16,
            Width::Z => 32,
        }
    }

    fn broadcast_operands(&self) -> bool {
        self.width == Width::Z
    }

    fn arg(&mut self, index: usize) -> P {
        if index >= self.args {
            self.misuse("an argument that the tile does not have");
            return P(0);
        }
        P(index as u8)
    }

    fn vec(&mut self) -> V {
        let available = self.registers();
        match self.vectors[..available].iter().position(|&used| !used) {
            Some(free) => {
                self.vectors[free] = true;
                V(free as u8)
            }
            None => {
                self.fail(CodegenError::OutOfRegisters { kind: "vector", available });
                V(0)
            }
        }
    }

    fn free(&mut self, v: V) {
        if !std::mem::replace(&mut self.vectors[usize::from(v.0 & 31)], false) {
            self.misuse("a vector register freed twice");
        }
    }

    fn int(&mut self) -> P {
        match self.ints.iter().position(|&used| !used) {
            Some(free) => {
                self.ints[free] = true;
                if free >= FIRST_SAVED {
                    self.saved.insert(free);
                }
                P(free as u8)
            }
            None => {
                self.fail(CodegenError::OutOfRegisters { kind: "integer", available: INTS.len() });
                P(0)
            }
        }
    }

    fn free_int(&mut self, p: P) {
        if !std::mem::replace(&mut self.ints[usize::from(p.0) % INTS.len()], false) {
            self.misuse("an integer register freed twice");
        }
    }

    fn load(&mut self, dst: V, from: Addr) {
        self.with(from, |s, m| whole!(s, vmovups(dst; ptr(m))));
    }

    fn load_first(&mut self, dst: V, from: Addr, n: usize) {
        match (self.width, n) {
            (_, 0) => self.zero(dst),
            (_, n) if n == self.lanes() => self.load(dst, from),
            (_, n) if n > self.lanes() => self.misuse("more lanes than a vector has"),
            (_, 1) => self.with(from, |s, m| emit!(s, vmovss(x(dst), ptr(m)))),
            (_, 2) => self.with(from, |s, m| emit!(s, vmovsd(x(dst), ptr(m)))),
            (_, 4) => self.with(from, |s, m| emit!(s, vmovups(x(dst), ptr(m)))),
            (Width::Y, _) => {
                let label = self.constant(&Self::lane_mask(n));
                // The destination is overwritten whole, so it can hold the mask.
                emit!(self, vmovups(y(dst), ptr(label)));
                self.with(from, |s, m| emit!(s, vmaskmovps(y(dst), y(dst), ptr(m))));
            }
            (Width::Z, 8) => self.with(from, |s, m| emit!(s, vmovups(y(dst), ptr(m)))),
            (Width::Z, _) => {
                let k = self.mask(n);
                self.with(from, |s, m| emit!(s, vmovups(masked!(k, z(dst)).z(), ptr(m))));
            }
        }
    }

    fn store(&mut self, to: Addr, src: V) {
        self.with(to, |s, m| match s.width {
            Width::Y => emit!(s, vmovups(ptr(m), y(src))),
            Width::Z => emit!(s, vmovups(ptr(m), z(src))),
        });
    }

    fn store_first(&mut self, to: Addr, src: V, n: usize) {
        match (self.width, n) {
            (_, 0) => {}
            (_, n) if n == self.lanes() => self.store(to, src),
            (_, n) if n > self.lanes() => self.misuse("more lanes than a vector has"),
            (_, 1) => self.with(to, |s, m| emit!(s, vmovss(ptr(m), x(src)))),
            (_, 2) => self.with(to, |s, m| emit!(s, vmovsd(ptr(m), x(src)))),
            (_, 4) => self.with(to, |s, m| emit!(s, vmovups(ptr(m), x(src)))),
            (Width::Y, _) => {
                let t = self.vec();
                let label = self.constant(&Self::lane_mask(n));
                emit!(self, vmovups(y(t), ptr(label)));
                self.with(to, |s, m| emit!(s, vmaskmovps(ptr(m), y(t), y(src))));
                self.free(t);
            }
            (Width::Z, 8) => self.with(to, |s, m| emit!(s, vmovups(ptr(m), y(src)))),
            (Width::Z, _) => {
                let k = self.mask(n);
                self.with(to, |s, m| emit!(s, vmovups(masked!(k, ptr(m)), z(src))));
            }
        }
    }

    fn store_lane(&mut self, to: Addr, src: V, lane: usize) {
        if lane >= self.lanes() {
            return self.misuse("a lane that a vector does not have");
        }
        let within = (lane % 4) as u32;
        let put = |s: &mut Self, quarter: V| {
            s.with(to, |s, m| match within {
                0 => emit!(s, vmovss(ptr(m), x(quarter))),
                _ => emit!(s, vextractps(ptr(m), x(quarter), within)),
            });
        };
        if lane < 4 {
            return put(self, src);
        }
        let t = self.vec();
        match self.width {
            Width::Y => emit!(self, vextractf128(x(t), y(src), (lane / 4) as u32)),
            Width::Z => emit!(self, vextractf32x4(x(t), z(src), (lane / 4) as u32)),
        }
        put(self, t);
        self.free(t);
    }

    fn broadcast(&mut self, dst: V, from: Addr) {
        self.with(from, |s, m| whole!(s, vbroadcastss(dst; ptr(m))));
    }

    fn splat_bits(&mut self, dst: V, bits: u32) {
        let label = self.constant(&[bits]);
        whole!(self, vbroadcastss(dst; ptr(label)));
    }

    fn zero(&mut self, dst: V) {
        either!(self, vpxor | vpxord(dst, dst, dst));
    }

    fn copy(&mut self, dst: V, src: V) {
        if dst != src {
            whole!(self, vmovaps(dst, src));
        }
    }

    fn prefetch(&mut self, at: Addr) {
        self.with(at, |s, m| emit!(s, prefetcht0(ptr(m))));
    }

    fn fma(&mut self, acc: V, a: V, b: V) {
        whole!(self, vfmadd231ps(acc, a, b));
    }

    fn fnma(&mut self, acc: V, a: V, b: V) {
        whole!(self, vfnmadd231ps(acc, a, b));
    }

    fn fma_broadcast(&mut self, acc: V, from: Addr, b: V) {
        match self.width {
            Width::Z => self.with(from, |s, m| emit!(s, vfmadd231ps(z(acc), z(b), dword_bcst(m)))),
            Width::Y => {
                let t = self.vec();
                self.broadcast(t, from);
                self.fma(acc, t, b);
                self.free(t);
            }
        }
    }

    fn fma_mem(&mut self, acc: V, a: V, from: Addr) {
        self.with(from, |s, m| whole!(s, vfmadd231ps(acc, a; ptr(m))));
    }

    fn add(&mut self, dst: V, a: V, b: V) {
        whole!(self, vaddps(dst, a, b));
    }

    fn sub(&mut self, dst: V, a: V, b: V) {
        whole!(self, vsubps(dst, a, b));
    }

    fn mul(&mut self, dst: V, a: V, b: V) {
        whole!(self, vmulps(dst, a, b));
    }

    fn div(&mut self, dst: V, a: V, b: V) {
        whole!(self, vdivps(dst, a, b));
    }

    fn max(&mut self, dst: V, a: V, b: V) {
        whole!(self, vmaxps(dst, a, b));
    }

    fn min(&mut self, dst: V, a: V, b: V) {
        whole!(self, vminps(dst, a, b));
    }

    fn sqrt(&mut self, dst: V, a: V) {
        whole!(self, vsqrtps(dst, a));
    }

    fn floor(&mut self, dst: V, a: V) {
        either!(self, vroundps | vrndscaleps(dst, a; ROUND_DOWN));
    }

    fn nearest(&mut self, dst: V, a: V) {
        either!(self, vroundps | vrndscaleps(dst, a; ROUND_NEAREST));
    }

    fn select_gt(&mut self, dst: V, a: V, b: V, x: V, y_: V) {
        match self.width {
            Width::Y => {
                let t = self.vec();
                emit!(self, vcmpps(y(t), y(a), y(b), GREATER));
                emit!(self, vblendvps(y(dst), y(y_), y(x), y(t)));
                self.free(t);
            }
            Width::Z => {
                emit!(self, vcmpps(r::k7, z(a), z(b), GREATER));
                emit!(self, vblendmps(z(dst).k7(), z(y_), z(x)));
            }
        }
    }

    fn float_to_int(&mut self, dst: V, a: V) {
        whole!(self, vcvtps2dq(dst, a));
    }

    fn int_to_float(&mut self, dst: V, a: V) {
        whole!(self, vcvtdq2ps(dst, a));
    }

    fn int_add(&mut self, dst: V, a: V, b: V) {
        whole!(self, vpaddd(dst, a, b));
    }

    fn int_sub(&mut self, dst: V, a: V, b: V) {
        whole!(self, vpsubd(dst, a, b));
    }

    fn shift_left(&mut self, dst: V, a: V, bits: u8) {
        whole!(self, vpslld(dst, a; u32::from(bits)));
    }

    fn shift_right(&mut self, dst: V, a: V, bits: u8) {
        whole!(self, vpsrld(dst, a; u32::from(bits)));
    }

    fn shift_right_signed(&mut self, dst: V, a: V, bits: u8) {
        whole!(self, vpsrad(dst, a; u32::from(bits)));
    }

    fn and(&mut self, dst: V, a: V, b: V) {
        either!(self, vpand | vpandd(dst, a, b));
    }

    fn or(&mut self, dst: V, a: V, b: V) {
        either!(self, vpor | vpord(dst, a, b));
    }

    fn xor(&mut self, dst: V, a: V, b: V) {
        either!(self, vpxor | vpxord(dst, a, b));
    }

    fn reduce_add(&mut self, dst: V, a: V) {
        self.fold(dst, a, |s, d, t| emit!(s, vaddps(d, d, t)), |s, d, t| emit!(s, vaddps(y(d), y(d), y(t))));
    }

    fn reduce_max(&mut self, dst: V, a: V) {
        self.fold(dst, a, |s, d, t| emit!(s, vmaxps(d, d, t)), |s, d, t| emit!(s, vmaxps(y(d), y(d), y(t))));
    }

    fn mov(&mut self, dst: P, src: P) {
        if dst != src {
            emit!(self, mov(gpr(dst), gpr(src)));
        }
    }

    fn set(&mut self, dst: P, value: i64) {
        emit!(self, mov(gpr(dst), value));
    }

    fn add_imm(&mut self, dst: P, value: i64) {
        match i32::try_from(value) {
            Ok(0) => {}
            Ok(small) => emit!(self, add(gpr(dst), small)),
            Err(_) => {
                let t = self.int();
                emit!(self, mov(gpr(t), value));
                emit!(self, add(gpr(dst), gpr(t)));
                self.free_int(t);
            }
        }
    }

    fn int_sum(&mut self, dst: P, a: P, b: P) {
        emit!(self, lea(gpr(dst), ptr(gpr(a) + gpr(b))));
    }

    fn int_diff(&mut self, dst: P, a: P, b: P) {
        if dst == b && a != b {
            return self.misuse("int_diff into its second operand");
        }
        self.mov(dst, a);
        emit!(self, sub(gpr(dst), gpr(b)));
    }

    fn mul_imm(&mut self, dst: P, a: P, value: i64) {
        match i32::try_from(value) {
            Ok(small) => emit!(self, imul_3(gpr(dst), gpr(a), small)),
            Err(_) => {
                let t = self.int();
                emit!(self, mov(gpr(t), value));
                emit!(self, imul_2(gpr(t), gpr(a)));
                emit!(self, mov(gpr(dst), gpr(t)));
                self.free_int(t);
            }
        }
    }

    fn load_int(&mut self, dst: P, from: Addr) {
        self.with(from, |s, m| emit!(s, mov(gpr(dst), ptr(m))));
    }

    fn store_int(&mut self, to: Addr, src: P) {
        self.with(to, |s, m| emit!(s, mov(ptr(m), gpr(src))));
    }

    fn loop_begin(&mut self, count: Count) {
        let mut frame = Frame { top: self.a.create_label(), end: None, counter: None, owned: false };
        match count {
            Count::Times(1) => {}
            Count::Times(0) => {
                let end = self.a.create_label();
                emit!(self, jmp(end));
                frame.end = Some(end);
            }
            Count::Times(n) => match i64::try_from(n) {
                Ok(n) => {
                    let counter = self.int();
                    self.set(counter, n);
                    (frame.counter, frame.owned) = (Some(counter), true);
                }
                Err(_) => self.misuse("a loop count beyond 63 bits"),
            },
            Count::Reg(counter) => {
                let end = self.a.create_label();
                emit!(self, test(gpr(counter), gpr(counter)));
                emit!(self, je(end));
                (frame.counter, frame.end) = (Some(counter), Some(end));
            }
        }
        if frame.counter.is_some() {
            emit!(self, set_label(&mut frame.top));
            // Two labels cannot stand at one place, and a nested loop may begin with its own.
            emit!(self, nop());
        }
        self.loops.push(frame);
    }

    fn loop_end(&mut self) {
        let Some(frame) = self.loops.pop() else {
            return self.misuse("a loop closed that was not open");
        };
        if let Some(counter) = frame.counter {
            emit!(self, dec(gpr(counter)));
            emit!(self, jne(frame.top));
            if frame.owned {
                self.free_int(counter);
            }
        }
        if let Some(mut end) = frame.end {
            emit!(self, set_label(&mut end));
            emit!(self, nop());
        }
    }
}
