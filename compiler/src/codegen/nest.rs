//! Loop nests in CLIF: the drivers around the tiles.
//!
//! A [`Nest`] is the body of one kernel under construction: integer arithmetic on addresses, counted loops, branches,
//! and calls of tiles. It knows [`KernelArgs`] and nothing of any kernel family.
//!
//! What calls tiles only is compiled without Cranelift's mid-end, which would take a tenth of the time to load: so this
//! arithmetic does what matters there itself, with constants that are known and with divisions.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{
    BlockArg, ExtFuncData, ExternalName, FuncRef, InstBuilder, InstructionData, MemFlagsData, Opcode, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::FunctionBuilder;
use incept_ir::abi::KernelArgs;
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::link::TileId;

/// A kernel's body under construction. Values are 64-bit integers.
pub struct Nest<'a> {
    b: FunctionBuilder<'a>,
    call_conv: CallConv,
    args: Value,
    callees: FxHashMap<TileId, FuncRef>,
    works: bool,
}

impl<'a> Nest<'a> {
    pub(super) fn new(mut b: FunctionBuilder<'a>, call_conv: CallConv) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let args = b.block_params(entry)[0];
        Self { b, call_conv, args, callees: FxHashMap::default(), works: false }
    }

    /// Ends the kernel. Says whether it [works](Self::works) on elements itself.
    pub(super) fn finish(mut self, config: TargetFrontendConfig) -> bool {
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        self.b.finalize(config);
        self.works
    }

    /// Says that this nest touches elements itself instead of leaving them to tiles: its registers are then allocated with
    /// more care.
    pub fn works(&mut self) {
        self.works = true;
    }

    /// The builder itself, for what this type does not offer.
    pub fn builder(&mut self) -> &mut FunctionBuilder<'a> {
        &mut self.b
    }

    /// A 64-bit value in memory.
    pub fn load(&mut self, base: Value, offset: i32) -> Value {
        self.b.ins().load(I64, MemFlagsData::trusted(), base, offset)
    }

    fn field(&mut self, offset: usize) -> Value {
        self.load(self.args, offset as i32)
    }

    /// The pointer of operand number `index`.
    pub fn operand(&mut self, index: usize) -> Value {
        let table = self.field(offset_of!(KernelArgs, operands));
        self.load(table, 8 * index as i32)
    }

    /// The calling thread's scratch memory.
    pub fn scratch(&mut self) -> Value {
        self.field(offset_of!(KernelArgs, scratch))
    }

    /// The first task to run.
    pub fn task_begin(&mut self) -> Value {
        self.field(offset_of!(KernelArgs, task_begin))
    }

    /// One past the last task to run.
    pub fn task_end(&mut self) -> Value {
        self.field(offset_of!(KernelArgs, task_end))
    }

    /// A constant.
    pub fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(I64, value)
    }

    /// The constant that a value is, if it is one.
    fn known(&self, value: Value) -> Option<i64> {
        let inst = self.b.func.dfg.value_def(value).inst()?;
        match self.b.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        match (self.known(a), self.known(b)) {
            (_, Some(b)) => self.offset(a, b),
            (Some(a), None) => self.offset(b, a),
            (None, None) => self.b.ins().iadd(a, b),
        }
    }

    /// `a + constant`.
    pub fn offset(&mut self, a: Value, constant: i64) -> Value {
        match self.known(a) {
            _ if constant == 0 => a,
            Some(a) => self.int(a.wrapping_add(constant)),
            None => self.b.ins().iadd_imm_s(a, constant),
        }
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        match self.known(b) {
            Some(b) => self.offset(a, b.wrapping_neg()),
            None => self.b.ins().isub(a, b),
        }
    }

    /// `a * constant`.
    pub fn scale(&mut self, a: Value, constant: i64) -> Value {
        match self.known(a) {
            Some(a) => self.int(a.wrapping_mul(constant)),
            None if constant == 0 => self.int(0),
            None if constant == 1 => a,
            None if constant.count_ones() == 1 => self.b.ins().ishl_imm_u(a, i64::from(constant.trailing_zeros())),
            None => self.b.ins().imul_imm_s(a, constant),
        }
    }

    /// `base + index * stride`.
    pub fn step(&mut self, base: Value, index: Value, stride: i64) -> Value {
        let scaled = self.scale(index, stride);
        self.add(base, scaled)
    }

    /// Unsigned `(a / constant, a % constant)`; the constant is at least 1, and `a` is a number of tasks, tiles, pixels or the
    /// like, below 2⁴⁸.
    pub fn div_rem(&mut self, a: Value, constant: u64) -> (Value, Value) {
        if constant <= 1 {
            let zero = self.int(0);
            return (a, zero);
        }
        if constant.is_power_of_two() {
            let quotient = self.b.ins().ushr_imm_u(a, i64::from(constant.trailing_zeros()));
            return (quotient, self.b.ins().band_imm_s(a, constant as i64 - 1));
        }
        let quotient = if constant < 1 << 16 {
            // a · (2⁶⁴ + e) / (constant · 2⁶⁴) with 0 < e <= constant: too large by less than 1 / constant, as a · e < 2⁶⁴.
            let reciprocal = self.int((u64::MAX / constant + 1) as i64);
            self.b.ins().umulhi(a, reciprocal)
        } else {
            let divisor = self.int(constant as i64);
            self.b.ins().udiv(a, divisor)
        };
        let back = self.scale(quotient, constant as i64);
        (quotient, self.sub(a, back))
    }

    /// The smaller, signed.
    pub fn min(&mut self, a: Value, b: Value) -> Value {
        match (self.known(a), self.known(b)) {
            (Some(a), Some(b)) => self.int(a.min(b)),
            _ => self.b.ins().smin(a, b),
        }
    }

    /// The larger, signed.
    pub fn max(&mut self, a: Value, b: Value) -> Value {
        match (self.known(a), self.known(b)) {
            (Some(a), Some(b)) => self.int(a.max(b)),
            _ => self.b.ins().smax(a, b),
        }
    }

    /// `a < constant`, signed, for [`Nest::branch`].
    pub fn less(&mut self, a: Value, constant: i64) -> Value {
        self.b.ins().icmp_imm_s(IntCC::SignedLessThan, a, constant)
    }

    /// Calls a tile.
    pub fn call(&mut self, tile: TileId, args: &[Value]) {
        let (func, call_conv) = (&mut *self.b.func, self.call_conv);
        let callee = *self.callees.entry(tile).or_insert_with(|| {
            let signature = func.import_signature(tile.signature(call_conv));
            let name = ExternalName::user(func.declare_imported_user_function(tile.name()));
            func.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
        });
        self.b.ins().call(callee, args);
    }

    /// Runs `body` for `begin, begin + step, ...` while below `end` (signed).
    ///
    /// # Errors
    /// What `body` returns.
    pub fn for_range(
        &mut self,
        begin: Value,
        end: Value,
        step: i64,
        body: impl FnOnce(&mut Self, Value) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let index = self.b.append_block_param(head, I64);
        self.b.ins().jump(head, &[BlockArg::Value(begin)]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, index, end);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        self.b.seal_block(inside);
        body(self, index)?;
        let next = self.b.ins().iadd_imm_s(index, step);
        self.b.ins().jump(head, &[BlockArg::Value(next)]);
        self.b.seal_block(head);
        self.b.switch_to_block(after);
        self.b.seal_block(after);
        Ok(())
    }

    /// Runs `body` for each task that the caller asked for.
    ///
    /// # Errors
    /// What `body` returns.
    pub fn for_tasks(
        &mut self,
        body: impl FnOnce(&mut Self, Value) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let (begin, end) = (self.task_begin(), self.task_end());
        self.for_range(begin, end, 1, body)
    }

    /// Runs one of two bodies.
    ///
    /// # Errors
    /// What the bodies return.
    pub fn branch(
        &mut self,
        condition: Value,
        yes: impl FnOnce(&mut Self) -> Result<(), CodegenError>,
        no: impl FnOnce(&mut Self) -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let (then, other, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, then, &[], other, &[]);
        self.b.switch_to_block(then);
        self.b.seal_block(then);
        yes(self)?;
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(other);
        self.b.seal_block(other);
        no(self)?;
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
        self.b.seal_block(after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;
    use crate::codegen::link::Linker;
    use crate::codegen::target::Target;

    /// What a nest computes for each of these values.
    fn computed<const N: usize>(
        values: &[u64],
        build: impl Fn(&mut Nest<'_>, Value) -> [Value; N],
    ) -> Result<Vec<[u64; N]>, CodegenError> {
        let mut linker = Linker::new(&Target::host()?);
        let kernel = linker.kernel("computed", |nest| {
            let (from, to) = (nest.operand(0), nest.operand(1));
            nest.for_tasks(|nest, task| {
                let from = nest.step(from, task, 8);
                let value = nest.load(from, 0);
                let results = build(nest, value);
                let to = nest.step(to, task, 8 * N as i64);
                for (index, result) in results.into_iter().enumerate() {
                    nest.builder().ins().store(MemFlagsData::trusted(), result, to, 8 * index as i32);
                }
                Ok(())
            })
        })?;
        let code = linker.finish()?;
        let mut results = vec![[0; N]; values.len()];
        let operands: [*mut u8; 2] = [values.as_ptr().cast_mut().cast(), results.as_mut_ptr().cast()];
        let (scratch, task_end) = (std::ptr::null_mut(), values.len() as u64);
        let args = KernelArgs { operands: operands.as_ptr(), scratch, task_begin: 0, task_end };
        // SAFETY: the kernel reads one number and writes N of them for each task; there are as many in both operands.
        unsafe { (code.kernel(kernel)?)(&args) };
        Ok(results)
    }

    #[test]
    fn divisions_by_constants_are_exact() {
        let most = (1u64 << 48) - 1;
        for constant in [1, 2, 3, 5, 7, 10, 14, 28, 56, 64, 641, 1000, 12_289, 65_535, 65_536, 65_537, 1 << 40] {
            let around = |value: u64| (value.saturating_sub(2)..value.saturating_add(3)).filter(|value| *value <= most);
            let multiples = [0, 1, 2, 1000, most / constant / 2, most / constant].map(|times| times * constant);
            let values: Vec<u64> = multiples.into_iter().chain([1 << 32, most]).flat_map(around).collect();
            let found = computed(&values, |nest, value| {
                let (quotient, remainder) = nest.div_rem(value, constant);
                [quotient, remainder]
            });
            let expected: Vec<_> = values.iter().map(|value| [value / constant, value % constant]).collect();
            assert_eq!(found.unwrap(), expected, "{constant}");
        }
    }

    #[test]
    fn what_is_known_is_computed_at_once() {
        let values = [0, 1, 5, 1 << 40, u64::MAX];
        let found = computed(&values, |nest, x| {
            let (three, minus) = (nest.int(3), nest.int(-4));
            let twelve = nest.scale(minus, -3);
            let known = nest.step(twelve, three, 5);
            assert_eq!(nest.known(known), Some(27));
            let (low, high) = (nest.min(three, minus), nest.max(three, minus));
            assert_eq!((nest.known(low), nest.known(high)), (Some(-4), Some(3)));
            let (zero, same) = (nest.scale(x, 0), nest.scale(x, 1));
            assert_eq!((nest.known(zero), same), (Some(0), x));
            [nest.add(three, x), nest.sub(x, minus), nest.sub(three, x), nest.scale(x, 8), nest.scale(x, -7)]
        });
        let expected = values.map(|x| {
            let x = x as i64;
            [x.wrapping_add(3), x.wrapping_add(4), 3i64.wrapping_sub(x), x.wrapping_mul(8), x.wrapping_mul(-7)]
                .map(|value| value as u64)
        });
        assert_eq!(found.unwrap(), expected);
    }
}
