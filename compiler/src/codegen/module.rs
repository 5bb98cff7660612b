//! Plan to compiled module: every step's kernel emitted, its weights packed, everything linked.
//!
//! Steps of equal specs share one kernel; steps of equal specs and constants share their packed weights. Packed weights
//! are laid out before anything is written, each step's at a multiple of [`ALIGNMENT`]. Constants that steps read as
//! plain operands go there too, widened to `f32`, so that the runtime never reads a constant's own bytes.

use std::borrow::Cow;
use std::sync::Arc;

use incept_ir::abi::{AlignedBytes, CompiledModule, KernelEntry, Operand};
use incept_ir::ids::{ConstId, StepId};
use incept_ir::plan::{ALIGNMENT, Plan, PlanConstant, Step};
use incept_ir::types::DType;
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::choose;
use super::kernels::batch_norm::{self, Statistics};
use super::kernels::{Emitted, Spec, conv_direct, conv_winograd, gemm, pool};
use super::link::{self, FunctionRecord, Linker};
use super::steps::{Argument, Lowered, Packing, constant_of, lower};
use super::target::Target;

const FLOAT: usize = size_of::<f32>();

/// A compiled plan.
pub struct Linked {
    /// What the runtime runs.
    pub module: CompiledModule,
    /// What people look at.
    pub listing: Listing,
}

/// The emitted code, for people.
#[derive(Clone)]
pub struct Listing {
    code: Arc<link::Linked>,
    /// The vector level that code was emitted for.
    pub level: super::target::Level,
    /// One line for each step of the plan, in its order.
    pub steps: Vec<StepLine>,
}

/// How one step was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// The step's name.
    pub step: String,
    /// The kernel family.
    pub family: &'static str,
    /// The algorithm and its tiles.
    pub kernel: String,
    /// Tasks that the step is cut into.
    pub tasks: u64,
    /// Scratch memory for each calling thread.
    pub scratch_bytes: usize,
    /// Bytes of packed weights, shared ones included.
    pub packed_bytes: usize,
}

impl Listing {
    /// Every emitted function, in the order of emission: name, size, and CLIF where [`LinkOptions::keep_text`] asked for it.
    #[must_use]
    pub fn functions(&self) -> &[FunctionRecord] {
        self.code.records()
    }

    /// The function in Intel syntax.
    ///
    /// # Errors
    /// [`CodegenError::Host`] on machines other than x86-64.
    pub fn disassemble(&self, function: &FunctionRecord) -> Result<String, CodegenError> {
        self.code.disassemble(function)
    }

    /// The CLIF of every function that went through Cranelift, where [`LinkOptions::keep_text`] asked for it; tiles
    /// that the vector assembler encoded itself have none and are named.
    #[must_use]
    pub fn clif(&self) -> String {
        let mut text = String::new();
        for function in self.functions() {
            match &function.clif {
                Some(clif) => text += &format!("; {} ({} bytes)\n{clif}\n", function.name, function.size),
                None => {
                    text += &format!("; {} ({} bytes): no CLIF, see its assembly\n\n", function.name, function.size)
                }
            }
        }
        text
    }

    /// Every function in Intel syntax.
    ///
    /// # Errors
    /// [`CodegenError::Host`] on machines other than x86-64.
    pub fn asm(&self) -> Result<String, CodegenError> {
        let mut text = String::new();
        for function in self.functions() {
            text += &format!("; {} ({} bytes)\n{}\n", function.name, function.size, self.disassemble(function)?);
        }
        Ok(text)
    }

    /// Bytes of machine code and its constants.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.functions().iter().map(|function| function.size).sum()
    }
}

/// What to keep beside the code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkOptions {
    /// Keep the CLIF text of every function for the listing.
    pub keep_text: bool,
}

/// Compiles a plan for this CPU. The plan should be verified ([`incept_ir::plan::verify`]).
///
/// # Errors
/// [`CodegenError::Step`] with the step and the reason; [`CodegenError::Link`] if linking fails.
pub fn link(plan: Arc<Plan>, target: &Target) -> Result<Linked, CodegenError> {
    link_with(plan, target, LinkOptions::default())
}

/// As [`link`], with options.
///
/// # Errors
/// As [`link`].
pub fn link_with(plan: Arc<Plan>, target: &Target, options: LinkOptions) -> Result<Linked, CodegenError> {
    let mut linker = Linker::new(target)?;
    linker.keep_text(options.keep_text);
    let mut weights = Weights { plan: &plan, target, blocks: Vec::new(), known: FxHashMap::default(), len: 0 };
    let mut steps: Vec<(Emitted, Vec<Operand>)> = Vec::with_capacity(plan.steps.len());
    let mut lines = Vec::with_capacity(plan.steps.len());
    for (index, step) in plan.steps.iter().enumerate() {
        let mut compile = || {
            let lowered = chosen(&plan, StepId::from_index(index), lower(&plan, step)?, target)?;
            let emitted = lowered.spec.emit(&mut linker)?;
            let (operands, packed_bytes) = weights.place_step(&lowered)?;
            lines.push(StepLine {
                step: step.name.clone(),
                family: lowered.spec.family().name(),
                kernel: emitted.name.clone(),
                tasks: emitted.tasks,
                scratch_bytes: emitted.scratch_bytes,
                packed_bytes,
            });
            steps.push((emitted, operands));
            Ok(())
        };
        compile().map_err(|error| at_step(index, step, error))?;
    }
    let mut packed = AlignedBytes::zeroed(weights.len);
    weights.pack(packed.floats_mut())?;
    let code = Arc::new(linker.finish()?);
    let mut entries = Vec::with_capacity(steps.len());
    for (emitted, operands) in steps {
        entries.push(KernelEntry {
            function: code.kernel(emitted.kernel)?,
            operands,
            tasks: emitted.tasks,
            scratch_bytes: emitted.scratch_bytes,
            name: emitted.name,
        });
    }
    let listing = Listing { code: Arc::clone(&code), level: target.level(), steps: lines };
    let module = CompiledModule { plan, entries, packed: Arc::new(packed), owner: code };
    Ok(Linked { module, listing })
}

/// The step with the algorithm that is to compute it.
fn chosen(plan: &Plan, step: StepId, lowered: Lowered, target: &Target) -> Result<Lowered, CodegenError> {
    let Spec::Conv(conv) = &lowered.spec else { return Ok(lowered) };
    let algorithm = choose::choose(plan, step, conv, target)?;
    Ok(Lowered { spec: choose::spec(conv, algorithm), ..lowered })
}

pub(super) fn at_step(index: usize, step: &Step, error: CodegenError) -> CodegenError {
    CodegenError::Step {
        step: StepId::from_index(index),
        kind: step.kind.name(),
        name: step.name.clone(),
        source: Box::new(error),
    }
}

/// What one block of packed memory holds.
enum Content {
    /// A constant, as it is.
    Raw(ConstId),
    /// A step's weights.
    Step(Box<Lowered>),
}

struct Block {
    /// In floats.
    start: usize,
    len: usize,
    content: Content,
}

/// The layout of packed memory.
struct Weights<'a> {
    plan: &'a Plan,
    target: &'a Target,
    blocks: Vec<Block>,
    /// Where the block of this description starts, in floats, and its length.
    known: FxHashMap<String, (usize, usize)>,
    /// In bytes.
    len: usize,
}

impl Weights<'_> {
    /// Reserves a block, or finds the one with the same content.
    fn block(&mut self, key: String, len: usize, content: Content) -> Result<(usize, usize), CodegenError> {
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let start = self.len.next_multiple_of(ALIGNMENT);
        let end =
            len.checked_mul(FLOAT).and_then(|bytes| start.checked_add(bytes)).filter(|end| *end <= isize::MAX as usize);
        self.len = end.ok_or_else(|| CodegenError::Link("the packed weights are too large".to_owned()))?;
        let place = (start / FLOAT, len);
        self.blocks.push(Block { start: place.0, len, content });
        self.known.insert(key, place);
        Ok(place)
    }

    /// The operands of a step and the bytes of its packed weights.
    fn place_step(&mut self, lowered: &Lowered) -> Result<(Vec<Operand>, usize), CodegenError> {
        let len = match (&lowered.packing, &lowered.spec) {
            (Packing::None, _) => 0,
            (Packing::Conv(..), Spec::Conv(spec)) => conv_direct::packed_len(spec, self.target)?,
            (Packing::Conv(..), Spec::Winograd(spec)) => conv_winograd::packed_len(spec, self.target)?,
            (Packing::Divisors, Spec::Pool(spec)) => pool::packed_len(spec)?,
            (Packing::Gemm(..), Spec::Gemm(spec)) => gemm::packed_len(spec, self.target)?,
            (Packing::BatchNorm(_, channels, _), Spec::BatchNorm(_)) => channels.saturating_mul(2),
            _ => return Err(CodegenError::Internal("a packing of another kernel")),
        };
        let (start, len) = if len == 0 {
            (0, 0)
        } else {
            let key = format!("{:?} {:?}", lowered.packing, lowered.spec);
            self.block(key, len, Content::Step(Box::new(lowered.clone())))?
        };
        let mut operands = Vec::with_capacity(lowered.arguments.len());
        for argument in &lowered.arguments {
            operands.push(match *argument {
                Argument::Packed(first) => Operand::Packed(first.saturating_add(start).saturating_mul(FLOAT)),
                Argument::View(view) => match constant_of(self.plan, view) {
                    None => Operand::View(view),
                    Some((id, offset)) => {
                        let elements = self.constant(id)?.1.len();
                        let (start, len) = self.block(format!("{id}"), elements, Content::Raw(id))?;
                        let end = self.plan.view(view).and_then(incept_ir::plan::View::end);
                        if end.is_none_or(|end| end > len) {
                            return Err(CodegenError::Internal("a view beyond the end of its constant"));
                        }
                        Operand::Packed((start + offset) * FLOAT)
                    }
                },
            });
        }
        Ok((operands, len * FLOAT))
    }

    fn constant(&self, id: ConstId) -> Result<(&PlanConstant, Cow<'_, [f32]>), CodegenError> {
        let constant =
            self.plan.constant(id).ok_or(CodegenError::Internal("a constant that the plan does not have"))?;
        Ok((constant, widened(constant)?))
    }

    /// Writes every block.
    fn pack(&self, floats: &mut [f32]) -> Result<(), CodegenError> {
        for block in &self.blocks {
            let end = block.start.saturating_add(block.len);
            let out = floats.get_mut(block.start..end).ok_or(CodegenError::Internal("a block beyond packed memory"))?;
            match &block.content {
                Content::Raw(id) => out.copy_from_slice(&self.constant(*id)?.1),
                Content::Step(lowered) => self.pack_step(lowered, out)?,
            }
        }
        Ok(())
    }

    fn pack_step(&self, lowered: &Lowered, out: &mut [f32]) -> Result<(), CodegenError> {
        let optional = |id: &Option<ConstId>| -> Result<Option<Cow<'_, [f32]>>, CodegenError> {
            id.map(|id| Ok(self.constant(id)?.1)).transpose()
        };
        match (&lowered.packing, &lowered.spec) {
            (Packing::None, _) => Ok(()),
            (Packing::Conv(weights, bias), Spec::Conv(spec)) => {
                let bias = optional(bias)?;
                conv_direct::pack(spec, self.target, &self.constant(*weights)?.1, bias.as_deref(), out)
            }
            (Packing::Conv(weights, bias), Spec::Winograd(spec)) => {
                let bias = optional(bias)?;
                conv_winograd::pack(spec, self.target, &self.constant(*weights)?.1, bias.as_deref(), out)
            }
            (Packing::Divisors, Spec::Pool(spec)) => pool::pack(spec, out),
            (Packing::Gemm(matrix, addend, factors), Spec::Gemm(spec)) => {
                let addend = optional(addend)?;
                gemm::pack(spec, self.target, *factors, &self.constant(*matrix)?.1, addend.as_deref(), out)
            }
            (Packing::BatchNorm([scale, bias, mean, variance], channels, epsilon), Spec::BatchNorm(_)) => {
                let list = |id: &ConstId| Ok::<_, CodegenError>(self.constant(*id)?.1);
                let (scale, bias, mean, variance) = (list(scale)?, list(bias)?, list(mean)?, list(variance)?);
                let (scales, shifts) = out.split_at_mut((*channels).min(out.len()));
                let statistics =
                    Statistics { scale: &scale, bias: &bias, mean: &mean, variance: &variance, epsilon: *epsilon };
                batch_norm::pack(&statistics, scales, shifts)
            }
            _ => Err(CodegenError::Internal("a packing of another kernel")),
        }
    }
}

/// A constant's elements as `f32`; borrowed where they are that already and lie aligned.
fn widened(constant: &PlanConstant) -> Result<Cow<'_, [f32]>, CodegenError> {
    let bytes: &[u8] = &constant.bytes;
    let bad = |reason: String| CodegenError::Constant { name: constant.name.clone(), reason };
    let elements = constant.sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    if elements.and_then(|elements| elements.checked_mul(constant.dtype.bytes())) != Some(bytes.len()) {
        return Err(bad(format!("{} bytes do not hold sizes {:?}", bytes.len(), constant.sizes)));
    }
    match constant.dtype {
        DType::F32 => {
            if cfg!(target_endian = "little")
                && let Ok(floats) = bytemuck::try_cast_slice(bytes)
            {
                return Ok(Cow::Borrowed(floats));
            }
            let (words, _) = bytes.as_chunks::<4>();
            Ok(Cow::Owned(words.iter().map(|word| f32::from_le_bytes(*word)).collect()))
        }
        DType::F16 => {
            let (words, _) = bytes.as_chunks::<2>();
            Ok(Cow::Owned(words.iter().map(|word| half::f16::from_le_bytes(*word).to_f32()).collect()))
        }
        other => Err(bad(format!("kernels read f32 and f16 constants, not {other}"))),
    }
}
