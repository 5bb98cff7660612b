//! The linker: collects tiles and kernels as machine code, then maps them all in one `JITModule`.
//!
//! A [`Linker`] is plain data until [`Linker::finish`], so code can be emitted on several threads, each into a linker of
//! its own, and gathered in a fixed order with [`Linker::absorb`]: the result does not depend on who emitted what.
//!
//! Code is written to pages that are writable, which become executable (and no longer writable) in [`Linker::finish`].
//! The memory is freed when the [`Linked`] code is dropped.
//!
//! Depends on Cranelift, [`super::vector`] and [`incept_ir::abi`].

use std::fmt::Write as _;
use std::sync::Mutex;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserExternalName, UserFuncName};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use incept_ir::abi::{CodeOwner, KernelFn};
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::kernels::Emitted;
use super::nest::Nest;
use super::target::Target;
use super::vector::{Asm, TileCode, assemble, clif::tile_call_conv};

/// Address space reserved for the code of one model, so that near calls always reach.
const RESERVED: usize = if cfg!(windows) { 32 << 20 } else { 256 << 20 };
/// Tiles start on a cache line.
const TILE_ALIGNMENT: u64 = 64;
/// Kernels start on a decoding window.
const KERNEL_ALIGNMENT: u64 = 16;

/// A tile that kernels of the same linker can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileId {
    /// The position among the linker's functions.
    index: u32,
    args: u32,
}

impl TileId {
    /// The name by which a kernel's CLIF calls the tile.
    pub(super) fn name(self) -> UserExternalName {
        UserExternalName { namespace: 0, index: self.index }
    }

    /// The tile's signature; `default` is the platform's calling convention.
    pub(super) fn signature(self, default: CallConv) -> Signature {
        let mut signature = Signature::new(tile_call_conv(default));
        signature.params.extend(std::iter::repeat_n(AbiParam::new(I64), self.args as usize));
        signature
    }
}

/// A kernel: a function with the signature of [`KernelFn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelId(u32);

/// What is known of an emitted function.
#[derive(Debug, Clone)]
pub struct FunctionRecord {
    /// Its name: unique in the module.
    pub name: String,
    /// Whether it is a kernel (else a tile).
    pub kernel: bool,
    /// Bytes of code and constants.
    pub size: usize,
    /// Bytes of code.
    pub code_len: usize,
    /// Its CLIF, if it went through Cranelift and [`Linker::keep_text`] was set.
    pub clif: Option<String>,
    index: usize,
}

/// A module that frees its memory when it is dropped.
struct Owned(Option<JITModule>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: pointers into the module are handed out by `Linked` only, whose users keep it alive (it is the
            // `CodeOwner` of a compiled module) as long as they may call; before `finish` there are none.
            unsafe { module.free_memory() };
        }
    }
}

/// An emitted function. Its code refers to others by their positions among the linker's functions.
enum Code {
    Tile(TileCode),
    Kernel { bytes: Vec<u8>, alignment: u64, relocs: Vec<ModuleReloc>, clif: Option<Box<Function>> },
}

struct Emission {
    /// Not yet unique.
    name: String,
    code: Code,
}

/// Collects tiles and kernels and links them.
pub struct Linker {
    target: Target,
    functions: Vec<Emission>,
    tiles: FxHashMap<TileCode, TileId>,
    emitted: FxHashMap<String, Emitted>,
    keep_text: bool,
}

/// Where the functions of a linker went that another one absorbed.
pub struct Moved(Vec<u32>);

impl Moved {
    /// What has become of a kernel.
    ///
    /// # Errors
    /// [`CodegenError::Internal`] if the kernel belongs to another linker.
    pub fn kernel(&self, id: KernelId) -> Result<KernelId, CodegenError> {
        let index = self.0.get(id.0 as usize).ok_or(CodegenError::Internal("a kernel of another linker"))?;
        Ok(KernelId(*index))
    }
}

impl Linker {
    /// No functions yet, for `target`.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            functions: Vec::new(),
            tiles: FxHashMap::default(),
            emitted: FxHashMap::default(),
            keep_text: false,
        }
    }

    /// Whether to keep the CLIF text of functions, for dumps.
    pub fn keep_text(&mut self, keep: bool) {
        self.keep_text = keep;
    }

    /// The target that code is emitted for.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn push(&mut self, name: String, code: Code) -> Result<u32, CodegenError> {
        let index = u32::try_from(self.functions.len()).map_err(|_| CodegenError::Link("too many functions".into()))?;
        self.functions.push(Emission { name, code });
        Ok(index)
    }

    fn push_tile(&mut self, name: String, code: TileCode) -> Result<TileId, CodegenError> {
        if let Some(known) = self.tiles.get(&code) {
            return Ok(*known);
        }
        let args = u32::try_from(code.args).map_err(|_| CodegenError::Internal("arguments of a tile"))?;
        let index = self.push(name, Code::Tile(code.clone()))?;
        let id = TileId { index, args };
        self.tiles.insert(code, id);
        Ok(id)
    }

    /// Assembles a tile of `args` arguments; one with the same machine code is shared.
    ///
    /// # Errors
    /// Those of [`assemble`], or [`CodegenError::Link`].
    pub fn tile(&mut self, name: &str, args: usize, body: &dyn Fn(&mut dyn Asm)) -> Result<TileId, CodegenError> {
        let mut code = assemble(&self.target, args, body)?;
        if !self.keep_text {
            code.clif = None;
        }
        self.push_tile(name.to_owned(), code)
    }

    /// Compiles a kernel: the loop nest that `build` emits.
    ///
    /// # Errors
    /// What `build` returns, [`CodegenError::Compile`] or [`CodegenError::Link`].
    pub fn kernel(
        &mut self,
        name: &str,
        build: impl FnOnce(&mut Nest<'_>) -> Result<(), CodegenError>,
    ) -> Result<KernelId, CodegenError> {
        let isa = self.target.kernel_isa(false);
        let call_conv = isa.default_call_conv();
        let mut signature = Signature::new(call_conv);
        signature.params.push(AbiParam::new(I64));
        let position = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        let function = Function::with_name_signature(UserFuncName::user(0, position), signature);
        let mut ctx = Context::for_function(function);
        let mut builder_ctx = FunctionBuilderContext::new();
        let mut nest = Nest::new(FunctionBuilder::new(&mut ctx.func, &mut builder_ctx), call_conv);
        build(&mut nest)?;
        let isa = self.target.kernel_isa(nest.finish(isa.frontend_config()));
        let clif = self.keep_text.then(|| Box::new(ctx.func.clone()));
        let failed = |reason: String| CodegenError::Compile { name: name.to_owned(), reason };
        ctx.compile(&**isa, &mut ControlPlane::default()).map_err(|error| failed(format!("{:?}", error.inner)))?;
        let code = ctx.compiled_code().ok_or(CodegenError::Internal("a compiled function without code"))?;
        let (bytes, alignment) = (code.code_buffer().to_vec(), u64::from(code.buffer.alignment));
        let this = FuncId::from_u32(position);
        let relocs = code.buffer.relocs().iter();
        let relocs = relocs.map(|reloc| ModuleReloc::from_mach_reloc(reloc, &ctx.func, this)).collect();
        let alignment = alignment.max(KERNEL_ALIGNMENT);
        Ok(KernelId(self.push(name.to_owned(), Code::Kernel { bytes, alignment, relocs, clif })?))
    }

    /// The kernel emitted before under this key, or what `make` emits now: steps of equal shape share one function. The
    /// key holds everything that the code depends on beside the target; the debug form of a spec does.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn shared(
        &mut self,
        key: String,
        make: impl FnOnce(&mut Self) -> Result<Emitted, CodegenError>,
    ) -> Result<Emitted, CodegenError> {
        if let Some(known) = self.emitted.get(&key) {
            return Ok(known.clone());
        }
        let emitted = make(self)?;
        self.emitted.insert(key, emitted.clone());
        Ok(emitted)
    }

    /// Takes over the functions of another linker of the same target; tiles that are known already are not taken twice.
    ///
    /// # Errors
    /// [`CodegenError::Link`] if there are too many.
    pub fn absorb(&mut self, other: Self) -> Result<Moved, CodegenError> {
        let mut moved = Vec::with_capacity(other.functions.len());
        for Emission { name, code } in other.functions {
            let index = match code {
                Code::Tile(code) => self.push_tile(name, code)?.index,
                Code::Kernel { bytes, alignment, mut relocs, mut clif } => {
                    // A kernel calls what was emitted before it.
                    for reloc in &mut relocs {
                        if let ModuleRelocTarget::User { index, .. } = &mut reloc.name {
                            *index = found(&moved, *index)?;
                        }
                    }
                    if let Some(clif) = &mut clif {
                        rename(clif, &moved, self.functions.len())?;
                    }
                    self.push(name, Code::Kernel { bytes, alignment, relocs, clif })?
                }
            };
            moved.push(index);
        }
        Ok(Moved(moved))
    }

    /// Links everything and makes it executable.
    ///
    /// # Errors
    /// [`CodegenError::Link`] if there is not enough memory or it cannot be protected.
    pub fn finish(self) -> Result<Linked, CodegenError> {
        let isa = self.target.kernel_isa(false).clone();
        let call_conv = isa.default_call_conv();
        let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
        let memory =
            ArenaMemoryProvider::new_with_size(RESERVED).map_err(|error| CodegenError::Link(error.to_string()))?;
        builder.memory_provider(Box::new(memory));
        let mut owned = Owned(Some(JITModule::new(builder)));
        let module = owned.0.as_mut().ok_or(CodegenError::Internal("the linker's module is gone"))?;

        let mut names = FxHashMap::<String, usize>::default();
        let mut ids: Vec<FuncId> = Vec::with_capacity(self.functions.len());
        let mut records = Vec::with_capacity(self.functions.len());
        for (index, Emission { name, code }) in self.functions.into_iter().enumerate() {
            let count = names.entry(name.clone()).or_insert(0);
            *count += 1;
            let name = if *count == 1 { name } else { format!("{name}#{count}") };
            // What is not called from outside needs no true signature.
            let id = module.declare_function(&name, Linkage::Local, &Signature::new(call_conv))?;
            ids.push(id);
            records.push(match code {
                Code::Tile(TileCode { bytes, code_len, clif, .. }) => {
                    module.define_function_bytes(id, TILE_ALIGNMENT, &bytes, &[])?;
                    FunctionRecord { name, kernel: false, size: bytes.len(), code_len, clif, index }
                }
                Code::Kernel { bytes, alignment, mut relocs, clif } => {
                    for reloc in &mut relocs {
                        match &mut reloc.name {
                            ModuleRelocTarget::User { index, .. } => {
                                let callee = ids.get(*index as usize);
                                *index = callee.ok_or(CodegenError::Internal("a tile of another linker"))?.as_u32();
                            }
                            ModuleRelocTarget::FunctionOffset(of, _) => *of = id,
                            _ => {}
                        }
                    }
                    module.define_function_bytes(id, alignment, &bytes, &relocs)?;
                    let (size, clif) = (bytes.len(), clif.map(|clif| clif.display().to_string()));
                    FunctionRecord { name, kernel: true, size, code_len: size, clif, index }
                }
            });
        }
        module.finalize_definitions()?;
        let addresses = ids.iter().map(|id| module.get_finalized_function(*id) as usize).collect();
        Ok(Linked { addresses, records, _module: Mutex::new(owned) })
    }
}

fn found(moved: &[u32], index: u32) -> Result<u32, CodegenError> {
    moved.get(index as usize).copied().ok_or(CodegenError::Internal("a tile of another linker"))
}

/// Gives a function and those that it calls their new positions.
fn rename(function: &mut Function, moved: &[u32], position: usize) -> Result<(), CodegenError> {
    function.name = UserFuncName::user(0, u32::try_from(position).unwrap_or(u32::MAX));
    let callees: Vec<_> = function.params.user_named_funcs().iter().map(|(at, name)| (at, name.clone())).collect();
    for (at, name) in callees {
        let name = UserExternalName { index: found(moved, name.index)?, ..name };
        function.params.reset_user_func_name(at, name);
    }
    Ok(())
}

/// Linked code, executable until this is dropped.
pub struct Linked {
    /// Of each function, by position.
    addresses: Vec<usize>,
    records: Vec<FunctionRecord>,
    /// Only kept to be freed; the mutex makes this type `Sync`.
    _module: Mutex<Owned>,
}

impl CodeOwner for Linked {}

impl Linked {
    /// The entry point of a kernel of this module. It must not be called after this value is dropped.
    ///
    /// # Errors
    /// [`CodegenError::Internal`] if the kernel belongs to another module.
    pub fn kernel(&self, id: KernelId) -> Result<KernelFn, CodegenError> {
        let kernel = |record: &&FunctionRecord| record.kernel;
        self.records.get(id.0 as usize).filter(kernel).ok_or(CodegenError::Internal("a kernel of another module"))?;
        let address = self.addresses.get(id.0 as usize).ok_or(CodegenError::Internal("a kernel of another module"))?;
        // SAFETY: the address is that of a finalized function, which was declared with exactly this signature and the
        // platform's C calling convention.
        Ok(unsafe { std::mem::transmute::<*const (), KernelFn>(*address as *const ()) })
    }

    /// All functions, in the order of their definition.
    #[must_use]
    pub fn records(&self) -> &[FunctionRecord] {
        &self.records
    }

    /// The machine code of a function as it lies in memory.
    #[must_use]
    pub fn bytes(&self, record: &FunctionRecord) -> &[u8] {
        match self.addresses.get(record.index) {
            // SAFETY: the function's code lies there, readable and immutable while `self` lives.
            Some(&address) => unsafe { std::slice::from_raw_parts(address as *const u8, record.size) },
            None => &[],
        }
    }

    /// The address of a tile, for tests and benchmarks that call it directly.
    ///
    /// # Errors
    /// [`CodegenError::Internal`] if the tile belongs to another module.
    pub fn tile_address(&self, id: TileId) -> Result<*const (), CodegenError> {
        let address = self.addresses.get(id.index as usize);
        let address = address.ok_or(CodegenError::Internal("a tile of another module"))?;
        Ok(*address as *const ())
    }

    /// A listing in Intel syntax, relative to the function's start; calls name their target.
    ///
    /// # Errors
    /// [`CodegenError::Host`] on machines other than x86-64.
    pub fn disassemble(&self, record: &FunctionRecord) -> Result<String, CodegenError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(CodegenError::Host("the disassembler knows x86-64 only".to_owned()));
        }
        let base = self.addresses.get(record.index).copied().unwrap_or_default() as u64;
        let code = &self.bytes(record)[..record.code_len.min(record.size)];
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_first_operand_char_index(9);
        let (mut text, mut line) = (String::new(), String::new());
        for instruction in Decoder::with_ip(64, code, base, DecoderOptions::NONE) {
            line.clear();
            formatter.format(&instruction, &mut line);
            let target = instruction.near_branch_target() as usize;
            let callee = self.records.iter().find(|other| self.addresses.get(other.index) == Some(&target));
            let note = match callee {
                Some(callee) if instruction.is_call_near() => format!("  ; {}", callee.name),
                _ => String::new(),
            };
            writeln!(text, "{:6x}  {line}{note}", instruction.ip() - base)
                .map_err(|_| CodegenError::Internal("formatting"))?;
        }
        Ok(text)
    }
}
