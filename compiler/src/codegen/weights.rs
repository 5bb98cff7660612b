//! Packed weights: one block of memory for a whole module, laid out first, then filled block by block.
//!
//! Steps of equal specs and constants share their packed weights. Each block starts at a multiple of [`ALIGNMENT`].
//! Constants that steps read as plain operands go there too, widened to `f32`, so that the runtime never reads a
//! constant's own bytes. Blocks are filled in any order, on any thread: each is a slice of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use incept_ir::abi::Operand;
use incept_ir::ids::ConstId;
use incept_ir::plan::{ALIGNMENT, Plan, PlanConstant};
use incept_ir::types::DType;
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::kernels::batch_norm::{self, Statistics};
use super::kernels::{Spec, conv_direct, conv_winograd, gemm, pool};
use super::lock;
use super::steps::{Argument, Lowered, Packing, constant_of};
use super::target::Target;

const FLOAT: usize = size_of::<f32>();

/// What one block of packed memory holds.
enum Content {
    /// A constant, as it is.
    Raw(ConstId),
    /// A step's weights.
    Step(Box<Lowered>),
}

/// Some packed memory and what goes there.
pub(super) struct Block {
    /// In floats.
    start: usize,
    len: usize,
    content: Content,
}

impl Block {
    /// How many floats it has.
    pub fn floats(&self) -> usize {
        self.len
    }

    /// The constants that it is made of.
    pub fn constants(&self) -> Vec<ConstId> {
        match &self.content {
            Content::Raw(id) => vec![*id],
            Content::Step(lowered) => lowered.packing.constants(),
        }
    }
}

/// The layout of packed memory.
pub(super) struct Weights<'a> {
    plan: &'a Plan,
    target: &'a Target,
    blocks: Vec<Block>,
    /// Where the block of this description starts, in floats, and its length.
    known: FxHashMap<String, (usize, usize)>,
    /// In bytes.
    len: usize,
}

impl<'a> Weights<'a> {
    /// No blocks yet.
    pub fn new(plan: &'a Plan, target: &'a Target) -> Self {
        Self { plan, target, blocks: Vec::new(), known: FxHashMap::default(), len: 0 }
    }

    /// The blocks, one after the other, and the bytes that they take in all.
    pub fn layout(self) -> (Vec<Block>, usize) {
        (self.blocks, self.len)
    }

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
    pub fn place_step(&mut self, lowered: &Lowered) -> Result<(Vec<Operand>, usize), CodegenError> {
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
                        let elements = elements(constant(self.plan, id)?)?;
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
}

/// The constants of a plan while they are packed. The bytes of each are let go once the last block that is made of them is
/// filled, so that raw and packed weights are never all there at once.
pub(super) struct Raw<'a> {
    cells: Vec<Mutex<Held>>,
    /// Bytes that were let go since somebody was last told.
    gone: AtomicUsize,
    tell: Option<&'a (dyn Fn() + Sync)>,
}

/// After how many bytes somebody is told.
const TELL: usize = 8 << 20;

struct Held {
    constant: PlanConstant,
    /// Blocks that still need it.
    uses: usize,
}

impl<'a> Raw<'a> {
    /// Constants that these blocks are made of, and who is told that some were let go.
    pub fn new(constants: Vec<PlanConstant>, blocks: &[Block], tell: Option<&'a (dyn Fn() + Sync)>) -> Self {
        let mut cells: Vec<Held> = constants.into_iter().map(|constant| Held { constant, uses: 0 }).collect();
        for id in blocks.iter().flat_map(Block::constants) {
            if let Some(cell) = cells.get_mut(id.index()) {
                cell.uses += 1;
            }
        }
        Self { cells: cells.into_iter().map(Mutex::new).collect(), gone: AtomicUsize::new(0), tell }
    }

    /// A constant; its bytes are a counted reference.
    fn get(&self, id: ConstId) -> Result<PlanConstant, CodegenError> {
        let cell =
            self.cells.get(id.index()).ok_or(CodegenError::Internal("a constant that the plan does not have"))?;
        Ok(lock(cell).constant.clone())
    }

    /// A block has been filled.
    fn done(&self, block: &Block) {
        for cell in block.constants().iter().filter_map(|id| self.cells.get(id.index())) {
            let mut cell = lock(cell);
            cell.uses = cell.uses.saturating_sub(1);
            if cell.uses == 0 {
                let bytes = std::mem::take(&mut cell.constant.values).len();
                let gone = self.gone.fetch_add(bytes, Ordering::Relaxed) + bytes;
                if let (Some(tell), true) = (self.tell, gone >= TELL) {
                    self.gone.store(0, Ordering::Relaxed);
                    tell();
                }
            }
        }
    }
}

/// Fills packed memory from a plan's constants.
pub(super) struct Packer<'a> {
    pub target: &'a Target,
    pub raw: Raw<'a>,
}

/// Cuts packed memory into the slices of its blocks, in their order.
///
/// # Errors
/// [`CodegenError::Internal`] if the memory is too short.
pub(super) fn cut<'a>(blocks: &[Block], mut floats: &'a mut [f32]) -> Result<Vec<&'a mut [f32]>, CodegenError> {
    let mut slices = Vec::with_capacity(blocks.len());
    let mut position = 0;
    for block in blocks {
        let beyond = CodegenError::Internal("a block beyond packed memory");
        let skip = block.start.checked_sub(position).filter(|skip| *skip <= floats.len());
        let Some(skip) = skip else { return Err(beyond) };
        let (_, rest) = floats.split_at_mut(skip);
        if block.len > rest.len() {
            return Err(beyond);
        }
        let (slice, rest) = rest.split_at_mut(block.len);
        slices.push(slice);
        floats = rest;
        position = block.start + block.len;
    }
    Ok(slices)
}

impl Packer<'_> {
    /// Fills a block; once for each. `scratch` may hold anything and is worth keeping for the next one.
    ///
    /// # Errors
    /// Those of the kernels' packing, and [`CodegenError::Constant`] for constants that kernels do not read.
    pub fn pack(&self, block: &Block, scratch: &mut Vec<f32>, out: &mut [f32]) -> Result<(), CodegenError> {
        match &block.content {
            Content::Raw(id) => out.copy_from_slice(widened(&self.raw.get(*id)?, scratch)?),
            Content::Step(lowered) => self.pack_step(lowered, scratch, out)?,
        }
        self.raw.done(block);
        Ok(())
    }

    fn pack_step(&self, lowered: &Lowered, scratch: &mut Vec<f32>, out: &mut [f32]) -> Result<(), CodegenError> {
        let get = |id: &ConstId| self.raw.get(*id);
        let maybe = |id: &Option<ConstId>| id.as_ref().map(get).transpose();
        let mut bias_scratch = Vec::new();
        match (&lowered.packing, &lowered.spec) {
            (Packing::None, _) => Ok(()),
            (Packing::Conv(weights, bias), Spec::Conv(spec)) => {
                let (weights, bias) = (get(weights)?, maybe(bias)?);
                let bias = bias.as_ref().map(|bias| widened(bias, &mut bias_scratch)).transpose()?;
                conv_direct::pack(spec, self.target, widened(&weights, scratch)?, bias, out)
            }
            (Packing::Conv(weights, bias), Spec::Winograd(spec)) => {
                let (weights, bias) = (get(weights)?, maybe(bias)?);
                let bias = bias.as_ref().map(|bias| widened(bias, &mut bias_scratch)).transpose()?;
                conv_winograd::pack(spec, self.target, widened(&weights, scratch)?, bias, out)
            }
            (Packing::Divisors, Spec::Pool(spec)) => pool::pack(spec, out),
            (Packing::Gemm(matrix, addend, factors), Spec::Gemm(spec)) => {
                let (matrix, addend) = (get(matrix)?, maybe(addend)?);
                let addend = addend.as_ref().map(|addend| widened(addend, &mut bias_scratch)).transpose()?;
                gemm::pack(spec, self.target, *factors, widened(&matrix, scratch)?, addend, out)
            }
            (Packing::BatchNorm(parts, channels, epsilon), Spec::BatchNorm(_)) => {
                let parts = [get(&parts[0])?, get(&parts[1])?, get(&parts[2])?, get(&parts[3])?];
                let mut scratches = [const { Vec::new() }; 4];
                let [first, second, third, fourth] = &mut scratches;
                let statistics = Statistics {
                    scale: widened(&parts[0], first)?,
                    bias: widened(&parts[1], second)?,
                    mean: widened(&parts[2], third)?,
                    variance: widened(&parts[3], fourth)?,
                    epsilon: *epsilon,
                };
                let (scales, shifts) = out.split_at_mut((*channels).min(out.len()));
                batch_norm::pack(&statistics, scales, shifts)
            }
            _ => Err(CodegenError::Internal("a packing of another kernel")),
        }
    }
}

fn constant(plan: &Plan, id: ConstId) -> Result<&PlanConstant, CodegenError> {
    plan.constant(id).ok_or(CodegenError::Internal("a constant that the plan does not have"))
}

/// How many elements a constant has: as many as its bytes hold.
fn elements(constant: &PlanConstant) -> Result<usize, CodegenError> {
    let elements = constant.sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    let bytes = elements.and_then(|elements| elements.checked_mul(constant.dtype.bytes()));
    elements.filter(|_| bytes == Some(constant.values.len())).ok_or_else(|| CodegenError::Constant {
        name: constant.name.clone(),
        reason: format!("{} bytes do not hold sizes {:?}", constant.values.len(), constant.sizes),
    })
}

/// A constant's elements as `f32`. Where they are not there as such, `scratch` takes them: packing reads each once, and fresh
/// memory costs more than what is computed into it.
fn widened<'a>(constant: &'a PlanConstant, scratch: &'a mut Vec<f32>) -> Result<&'a [f32], CodegenError> {
    let elements = elements(constant)?;
    if constant.dtype == DType::F32
        && let Some(Ok(floats)) = constant.values.there().map(|bytes| bytemuck::try_cast_slice(bytes))
    {
        return Ok(floats);
    }
    scratch.resize(elements, 0.0);
    match constant.dtype {
        DType::F32 => constant.values.read_f32(0, scratch),
        DType::F16 => {
            let bytes = constant.values.compute();
            for (value, word) in scratch.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = half::f16::from_le_bytes(*word).to_f32();
            }
        }
        other => {
            return Err(CodegenError::Constant {
                name: constant.name.clone(),
                reason: format!("kernels read f32 and f16 constants, not {other}"),
            });
        }
    }
    Ok(scratch)
}
