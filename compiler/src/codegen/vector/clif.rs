//! The 128-bit back end of the vector assembler: `F32X4` through Cranelift, on every instruction set that it has.
//!
//! Tiles are compiled with `opt_level = none`, which keeps the order of loads and multiply-adds that the kernel wrote;
//! their bytes are then linked like those of the other back end. Registers are Cranelift variables; their number is
//! bounded all the same, so that a tile that fits here does not spill (much).

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, Endianness, Function, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use super::{Addr, Asm, Count, P, TileCode, V};
use crate::codegen::CodegenError;
use crate::codegen::target::Target;

const LANES: usize = 4;
const INTS: usize = 15;

struct Frame {
    top: Block,
    end: Block,
    counter: Variable,
    int: Option<P>,
}

struct Clif<'a> {
    b: FunctionBuilder<'a>,
    fused: bool,
    args: usize,
    vectors: Vec<(Variable, bool)>,
    ints: Vec<(Variable, bool)>,
    loops: Vec<Option<Frame>>,
    error: Option<CodegenError>,
}

/// Emits a tile; see [`super::assemble`].
pub(super) fn assemble(target: &Target, args: usize, body: &dyn Fn(&mut dyn Asm)) -> Result<TileCode, CodegenError> {
    let isa = target.tile_isa();
    let mut signature = Signature::new(tile_call_conv(isa.default_call_conv()));
    signature.params.extend(std::iter::repeat_n(AbiParam::new(I64), args));
    let mut ctx = Context::for_function(Function::with_name_signature(UserFuncName::user(0, 0), signature));
    let mut builder_ctx = FunctionBuilderContext::new();
    let mut clif = Clif::new(FunctionBuilder::new(&mut ctx.func, &mut builder_ctx), target, args);
    body(&mut clif);
    if !clif.loops.is_empty() {
        clif.misuse("an open loop at the end of the tile");
    }
    clif.b.ins().return_(&[]);
    clif.b.seal_all_blocks();
    let Clif { b, error, .. } = clif;
    b.finalize(isa.frontend_config());
    if let Some(error) = error {
        return Err(error);
    }
    let text = ctx.func.display().to_string();
    let failed = |reason: String| CodegenError::Compile { name: "tile".to_owned(), reason };
    let code =
        ctx.compile(&**isa, &mut ControlPlane::default()).map_err(|error| failed(format!("{:?}", error.inner)))?;
    if !code.buffer.relocs().is_empty() {
        return Err(failed("a tile may not call library functions".to_owned()));
    }
    let bytes = code.code_buffer().to_vec();
    Ok(TileCode { code_len: bytes.len(), bytes, args, clif: Some(text) })
}

/// Tiles follow System V on x86-64 wherever they run, and the platform's convention elsewhere.
pub(crate) fn tile_call_conv(default: CallConv) -> CallConv {
    if cfg!(target_arch = "x86_64") { CallConv::SystemV } else { default }
}

fn bits() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'a> Clif<'a> {
    fn new(mut b: FunctionBuilder<'a>, target: &Target, args: usize) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let vectors = (0..target.registers()).map(|_| (b.declare_var(F32X4), false)).collect();
        let mut ints: Vec<(Variable, bool)> = (0..INTS).map(|_| (b.declare_var(I64), false)).collect();
        let params = b.block_params(entry).to_vec();
        for (slot, param) in ints.iter_mut().zip(params) {
            slot.1 = true;
            b.def_var(slot.0, param);
        }
        Self { b, fused: target.fused(), args, vectors, ints, loops: Vec::new(), error: None }
    }

    fn fail(&mut self, error: CodegenError) {
        self.error.get_or_insert(error);
    }

    fn misuse(&mut self, what: &'static str) {
        self.fail(CodegenError::Misuse(what));
    }

    fn v(&mut self, v: V) -> Value {
        let variable = self.vectors[usize::from(v.0) % self.vectors.len()].0;
        self.b.use_var(variable)
    }

    fn set_v(&mut self, v: V, value: Value) {
        let variable = self.vectors[usize::from(v.0) % self.vectors.len()].0;
        self.b.def_var(variable, value);
    }

    fn p(&mut self, p: P) -> Value {
        self.b.use_var(self.ints[usize::from(p.0) % INTS].0)
    }

    fn set_p(&mut self, p: P, value: Value) {
        self.b.def_var(self.ints[usize::from(p.0) % INTS].0, value);
    }

    fn address(&mut self, addr: Addr) -> (Value, i32) {
        let mut base = self.p(addr.base);
        if let Some((index, scale)) = addr.index {
            if !matches!(scale, 1 | 2 | 4 | 8) {
                self.misuse("an index scale other than 1, 2, 4, 8");
            }
            let index = self.p(index);
            let scaled = self.b.ins().ishl_imm_s(index, i64::from(scale.trailing_zeros()));
            base = self.b.ins().iadd(base, scaled);
        }
        match i32::try_from(addr.disp) {
            Ok(disp) => (base, disp),
            Err(_) => (self.b.ins().iadd_imm_s(base, addr.disp), 0),
        }
    }

    fn load_type(&mut self, ty: Type, from: Addr) -> Value {
        let (base, disp) = self.address(from);
        self.b.ins().load(ty, memory(), base, disp)
    }

    fn as_int(&mut self, v: V) -> Value {
        let value = self.v(v);
        self.b.ins().bitcast(I32X4, bits(), value)
    }

    fn set_int(&mut self, v: V, value: Value) {
        let value = self.b.ins().bitcast(F32X4, bits(), value);
        self.set_v(v, value);
    }

    /// `a + x * y`. Cranelift ties the first factor to the result on x64: `x` is the one that dies here.
    fn multiply_add(&mut self, x: Value, y: Value, a: Value) -> Value {
        if self.fused {
            return self.b.ins().fma(x, y, a);
        }
        let product = self.b.ins().fmul(x, y);
        self.b.ins().fadd(a, product)
    }

    fn binary(&mut self, dst: V, a: V, b: V, f: impl FnOnce(&mut FunctionBuilder<'a>, Value, Value) -> Value) {
        let (a, b) = (self.v(a), self.v(b));
        let value = f(&mut self.b, a, b);
        self.set_v(dst, value);
    }

    fn int_binary(&mut self, dst: V, a: V, b: V, f: impl FnOnce(&mut FunctionBuilder<'a>, Value, Value) -> Value) {
        let (a, b) = (self.as_int(a), self.as_int(b));
        let value = f(&mut self.b, a, b);
        self.set_int(dst, value);
    }

    fn fold(&mut self, dst: V, a: V, f: fn(&mut FunctionBuilder<'a>, Value, Value) -> Value) {
        let a = self.v(a);
        let lane: Vec<Value> = (0..4).map(|lane| self.b.ins().extractlane(a, lane)).collect();
        // The same tree as the other back end: halves, then quarters.
        let even = f(&mut self.b, lane[0], lane[2]);
        let odd = f(&mut self.b, lane[1], lane[3]);
        let all = f(&mut self.b, even, odd);
        let value = self.b.ins().splat(F32X4, all);
        self.set_v(dst, value);
    }
}

/// `a > b ? a : b`, in the form that Cranelift turns into one instruction on x64.
fn pick_max(b: &mut FunctionBuilder<'_>, x: Value, y: Value) -> Value {
    let smaller = b.ins().fcmp(FloatCC::LessThan, y, x);
    let mask = b.ins().bitcast(F32X4, bits(), smaller);
    b.ins().bitselect(mask, x, y)
}

fn pick_min(b: &mut FunctionBuilder<'_>, x: Value, y: Value) -> Value {
    let smaller = b.ins().fcmp(FloatCC::LessThan, x, y);
    let mask = b.ins().bitcast(F32X4, bits(), smaller);
    b.ins().bitselect(mask, x, y)
}

impl Asm for Clif<'_> {
    fn lanes(&self) -> usize {
        LANES
    }

    fn registers(&self) -> usize {
        self.vectors.len()
    }

    fn broadcast_operands(&self) -> bool {
        false
    }

    fn arg(&mut self, index: usize) -> P {
        if index >= self.args {
            self.misuse("an argument that the tile does not have");
            return P(0);
        }
        P(index as u8)
    }

    fn vec(&mut self) -> V {
        match self.vectors.iter().position(|slot| !slot.1) {
            Some(free) => {
                self.vectors[free].1 = true;
                V(free as u8)
            }
            None => {
                let available = self.vectors.len();
                self.fail(CodegenError::OutOfRegisters { kind: "vector", available });
                V(0)
            }
        }
    }

    fn free(&mut self, v: V) {
        let index = usize::from(v.0) % self.vectors.len();
        if !std::mem::replace(&mut self.vectors[index].1, false) {
            self.misuse("a vector register freed twice");
        }
    }

    fn int(&mut self) -> P {
        match self.ints.iter().position(|slot| !slot.1) {
            Some(free) => {
                self.ints[free].1 = true;
                P(free as u8)
            }
            None => {
                self.fail(CodegenError::OutOfRegisters { kind: "integer", available: INTS });
                P(0)
            }
        }
    }

    fn free_int(&mut self, p: P) {
        if !std::mem::replace(&mut self.ints[usize::from(p.0) % INTS].1, false) {
            self.misuse("an integer register freed twice");
        }
    }

    fn load(&mut self, dst: V, from: Addr) {
        let value = self.load_type(F32X4, from);
        self.set_v(dst, value);
    }

    fn load_first(&mut self, dst: V, from: Addr, n: usize) {
        match n {
            0 => self.zero(dst),
            1..=3 => {
                let zero = self.b.ins().f32const(0.0);
                let mut value = self.b.ins().splat(F32X4, zero);
                for lane in 0..n {
                    let one = self.load_type(F32, from.offset(4 * lane as i64));
                    value = self.b.ins().insertlane(value, one, lane as u8);
                }
                self.set_v(dst, value);
            }
            LANES => self.load(dst, from),
            _ => self.misuse("more lanes than a vector has"),
        }
    }

    fn store(&mut self, to: Addr, src: V) {
        let value = self.v(src);
        let (base, disp) = self.address(to);
        self.b.ins().store(memory(), value, base, disp);
    }

    fn store_first(&mut self, to: Addr, src: V, n: usize) {
        match n {
            0..=3 => {
                for lane in 0..n {
                    self.store_lane(to.offset(4 * lane as i64), src, lane);
                }
            }
            LANES => self.store(to, src),
            _ => self.misuse("more lanes than a vector has"),
        }
    }

    fn store_lane(&mut self, to: Addr, src: V, lane: usize) {
        if lane >= LANES {
            return self.misuse("a lane that a vector does not have");
        }
        let value = self.v(src);
        let one = self.b.ins().extractlane(value, lane as u8);
        let (base, disp) = self.address(to);
        self.b.ins().store(memory(), one, base, disp);
    }

    fn broadcast(&mut self, dst: V, from: Addr) {
        let one = self.load_type(F32, from);
        let value = self.b.ins().splat(F32X4, one);
        self.set_v(dst, value);
    }

    fn splat_bits(&mut self, dst: V, bits: u32) {
        let one = self.b.ins().iconst(I32, i64::from(bits));
        let value = self.b.ins().splat(I32X4, one);
        self.set_int(dst, value);
    }

    fn zero(&mut self, dst: V) {
        let zero = self.b.ins().f32const(0.0);
        let value = self.b.ins().splat(F32X4, zero);
        self.set_v(dst, value);
    }

    fn copy(&mut self, dst: V, src: V) {
        let value = self.v(src);
        self.set_v(dst, value);
    }

    fn prefetch(&mut self, _at: Addr) {}

    fn fma(&mut self, acc: V, a: V, b: V) {
        let (x, y, z) = (self.v(a), self.v(b), self.v(acc));
        let value = self.multiply_add(x, y, z);
        self.set_v(acc, value);
    }

    fn fnma(&mut self, acc: V, a: V, b: V) {
        let (x, y, z) = (self.v(a), self.v(b), self.v(acc));
        let negated = self.b.ins().fneg(x);
        let value = self.multiply_add(negated, y, z);
        self.set_v(acc, value);
    }

    fn fma_broadcast(&mut self, acc: V, from: Addr, b: V) {
        let one = self.load_type(F32, from);
        let x = self.b.ins().splat(F32X4, one);
        let (y, z) = (self.v(b), self.v(acc));
        let value = self.multiply_add(x, y, z);
        self.set_v(acc, value);
    }

    fn fma_mem(&mut self, acc: V, a: V, from: Addr) {
        let x = self.load_type(F32X4, from);
        let (y, z) = (self.v(a), self.v(acc));
        let value = self.multiply_add(x, y, z);
        self.set_v(acc, value);
    }

    fn add(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, |f, x, y| f.ins().fadd(x, y));
    }

    fn sub(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, |f, x, y| f.ins().fsub(x, y));
    }

    fn mul(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, |f, x, y| f.ins().fmul(x, y));
    }

    fn div(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, |f, x, y| f.ins().fdiv(x, y));
    }

    fn max(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, pick_max);
    }

    fn min(&mut self, dst: V, a: V, b: V) {
        self.binary(dst, a, b, pick_min);
    }

    fn sqrt(&mut self, dst: V, a: V) {
        let value = self.v(a);
        let value = self.b.ins().sqrt(value);
        self.set_v(dst, value);
    }

    fn floor(&mut self, dst: V, a: V) {
        let value = self.v(a);
        let value = self.b.ins().floor(value);
        self.set_v(dst, value);
    }

    fn nearest(&mut self, dst: V, a: V) {
        let value = self.v(a);
        let value = self.b.ins().nearest(value);
        self.set_v(dst, value);
    }

    fn select_gt(&mut self, dst: V, a: V, b: V, x: V, y: V) {
        let (a, b, x, y) = (self.v(a), self.v(b), self.as_int(x), self.as_int(y));
        let mask = self.b.ins().fcmp(FloatCC::GreaterThan, a, b);
        let value = self.b.ins().bitselect(mask, x, y);
        self.set_int(dst, value);
    }

    fn float_to_int(&mut self, dst: V, a: V) {
        let value = self.v(a);
        let rounded = self.b.ins().nearest(value);
        let value = self.b.ins().fcvt_to_sint_sat(I32X4, rounded);
        self.set_int(dst, value);
    }

    fn int_to_float(&mut self, dst: V, a: V) {
        let value = self.as_int(a);
        let value = self.b.ins().fcvt_from_sint(F32X4, value);
        self.set_v(dst, value);
    }

    fn int_add(&mut self, dst: V, a: V, b: V) {
        self.int_binary(dst, a, b, |f, x, y| f.ins().iadd(x, y));
    }

    fn int_sub(&mut self, dst: V, a: V, b: V) {
        self.int_binary(dst, a, b, |f, x, y| f.ins().isub(x, y));
    }

    fn shift_left(&mut self, dst: V, a: V, bits: u8) {
        let value = self.as_int(a);
        let value = self.b.ins().ishl_imm_s(value, i64::from(bits));
        self.set_int(dst, value);
    }

    fn shift_right(&mut self, dst: V, a: V, bits: u8) {
        let value = self.as_int(a);
        let value = self.b.ins().ushr_imm_s(value, i64::from(bits));
        self.set_int(dst, value);
    }

    fn shift_right_signed(&mut self, dst: V, a: V, bits: u8) {
        let value = self.as_int(a);
        let value = self.b.ins().sshr_imm_s(value, i64::from(bits));
        self.set_int(dst, value);
    }

    fn and(&mut self, dst: V, a: V, b: V) {
        self.int_binary(dst, a, b, |f, x, y| f.ins().band(x, y));
    }

    fn or(&mut self, dst: V, a: V, b: V) {
        self.int_binary(dst, a, b, |f, x, y| f.ins().bor(x, y));
    }

    fn xor(&mut self, dst: V, a: V, b: V) {
        self.int_binary(dst, a, b, |f, x, y| f.ins().bxor(x, y));
    }

    fn reduce_add(&mut self, dst: V, a: V) {
        self.fold(dst, a, |f, x, y| f.ins().fadd(x, y));
    }

    fn reduce_max(&mut self, dst: V, a: V) {
        self.fold(dst, a, |f, x, y| {
            let greater = f.ins().fcmp(FloatCC::GreaterThan, x, y);
            f.ins().select(greater, x, y)
        });
    }

    fn mov(&mut self, dst: P, src: P) {
        let value = self.p(src);
        self.set_p(dst, value);
    }

    fn set(&mut self, dst: P, value: i64) {
        let value = self.b.ins().iconst(I64, value);
        self.set_p(dst, value);
    }

    fn add_imm(&mut self, dst: P, value: i64) {
        let old = self.p(dst);
        let new = self.b.ins().iadd_imm_s(old, value);
        self.set_p(dst, new);
    }

    fn int_sum(&mut self, dst: P, a: P, b: P) {
        let (a, b) = (self.p(a), self.p(b));
        let value = self.b.ins().iadd(a, b);
        self.set_p(dst, value);
    }

    fn int_diff(&mut self, dst: P, a: P, b: P) {
        if dst == b && a != b {
            return self.misuse("int_diff into its second operand");
        }
        let (a, b) = (self.p(a), self.p(b));
        let value = self.b.ins().isub(a, b);
        self.set_p(dst, value);
    }

    fn mul_imm(&mut self, dst: P, a: P, value: i64) {
        let a = self.p(a);
        let value = self.b.ins().imul_imm_s(a, value);
        self.set_p(dst, value);
    }

    fn load_int(&mut self, dst: P, from: Addr) {
        let value = self.load_type(I64, from);
        self.set_p(dst, value);
    }

    fn store_int(&mut self, to: Addr, src: P) {
        let value = self.p(src);
        let (base, disp) = self.address(to);
        self.b.ins().store(memory(), value, base, disp);
    }

    fn loop_begin(&mut self, count: Count) {
        if count == Count::Times(1) {
            self.loops.push(None);
            return;
        }
        let int = match count {
            Count::Times(n) => {
                let counter = self.int();
                match i64::try_from(n) {
                    Ok(n) => self.set(counter, n),
                    Err(_) => self.misuse("a loop count beyond 63 bits"),
                }
                Some(counter)
            }
            Count::Reg(_) => None,
        };
        let counter = match (count, int) {
            (Count::Reg(p), _) | (_, Some(p)) => self.ints[usize::from(p.0) % INTS].0,
            (Count::Times(_), None) => return self.fail(CodegenError::Internal("a loop without a counter")),
        };
        let (top, end) = (self.b.create_block(), self.b.create_block());
        let value = self.b.use_var(counter);
        match count {
            Count::Times(n) if n > 0 => {
                self.b.ins().jump(top, &[]);
            }
            _ => {
                let any = self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0);
                self.b.ins().brif(any, top, &[], end, &[]);
            }
        }
        self.b.switch_to_block(top);
        self.loops.push(Some(Frame { top, end, counter, int }));
    }

    fn loop_end(&mut self) {
        match self.loops.pop() {
            None => self.misuse("a loop closed that was not open"),
            Some(None) => {}
            Some(Some(frame)) => {
                let value = self.b.use_var(frame.counter);
                let less = self.b.ins().iadd_imm_s(value, -1);
                self.b.def_var(frame.counter, less);
                let any = self.b.ins().icmp_imm_s(IntCC::NotEqual, less, 0);
                self.b.ins().brif(any, frame.top, &[], frame.end, &[]);
                self.b.seal_block(frame.top);
                self.b.seal_block(frame.end);
                self.b.switch_to_block(frame.end);
                if let Some(int) = frame.int {
                    self.free_int(int);
                }
            }
        }
    }
}
