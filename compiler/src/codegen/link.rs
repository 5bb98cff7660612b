//! The linker: owns all emitted code, tiles and kernels alike, in one `JITModule`.
//!
//! Code is written to pages that are writable, which become executable (and no longer writable) in [`Linker::finish`].
//! The memory is freed when the [`Linker`] or the [`Linked`] code is dropped, whichever comes last.
//!
//! Depends on Cranelift, [`super::vector`] and [`incept_ir::abi`].

use std::fmt::Write as _;
use std::sync::Mutex;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserFuncName};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use incept_ir::abi::{CodeOwner, KernelFn};
use rustc_hash::FxHashMap;

use super::CodegenError;
use super::kernels::Emitted;
use super::nest::Nest;
use super::target::{Target, isa};
use super::vector::{Asm, TileCode, assemble, clif::tile_call_conv};

/// Address space reserved for the code of one model, so that near calls always reach.
const RESERVED: usize = if cfg!(windows) { 32 << 20 } else { 256 << 20 };
/// Tiles start on a cache line.
const TILE_ALIGNMENT: u64 = 64;

/// A tile that kernels can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileId(FuncId);

impl TileId {
    pub(super) fn function(self) -> FuncId {
        self.0
    }
}

/// A kernel: a function with the signature of [`KernelFn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KernelId(FuncId);

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
    id: FuncId,
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

/// Collects tiles and kernels and links them.
pub struct Linker {
    module: Owned,
    target: Target,
    records: Vec<FunctionRecord>,
    tiles: FxHashMap<TileCode, TileId>,
    names: FxHashMap<String, usize>,
    emitted: FxHashMap<String, Emitted>,
    keep_text: bool,
}

impl Linker {
    /// An empty module for `target`.
    ///
    /// # Errors
    /// [`CodegenError::Host`] or [`CodegenError::Link`] if the code generator cannot start on this machine.
    pub fn new(target: &Target) -> Result<Self, CodegenError> {
        let mut builder = JITBuilder::with_isa(isa("speed")?, cranelift_module::default_libcall_names());
        let memory =
            ArenaMemoryProvider::new_with_size(RESERVED).map_err(|error| CodegenError::Link(error.to_string()))?;
        builder.memory_provider(Box::new(memory));
        Ok(Self {
            module: Owned(Some(JITModule::new(builder))),
            target: target.clone(),
            records: Vec::new(),
            tiles: FxHashMap::default(),
            names: FxHashMap::default(),
            emitted: FxHashMap::default(),
            keep_text: false,
        })
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

    fn unique(&mut self, name: &str) -> String {
        let count = self.names.entry(name.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { name.to_owned() } else { format!("{name}#{count}") }
    }

    fn module(&mut self) -> Result<&mut JITModule, CodegenError> {
        self.module.0.as_mut().ok_or(CodegenError::Internal("the linker's module is gone"))
    }

    /// Assembles a tile of `args` arguments; one with the same machine code is shared.
    ///
    /// # Errors
    /// Those of [`assemble`], or [`CodegenError::Link`].
    pub fn tile(&mut self, name: &str, args: usize, body: &dyn Fn(&mut dyn Asm)) -> Result<TileId, CodegenError> {
        let mut code = assemble(&self.target, args, body)?;
        let clif = code.clif.take();
        if let Some(known) = self.tiles.get(&code) {
            return Ok(*known);
        }
        let name = self.unique(name);
        let keep_text = self.keep_text;
        let module = self.module()?;
        let mut signature = Signature::new(tile_call_conv(module.isa().default_call_conv()));
        signature.params.extend(std::iter::repeat_n(AbiParam::new(I64), args));
        let id = module.declare_function(&name, Linkage::Local, &signature)?;
        module.define_function_bytes(id, TILE_ALIGNMENT, &code.bytes, &[])?;
        self.records.push(FunctionRecord {
            name,
            kernel: false,
            size: code.bytes.len(),
            code_len: code.code_len,
            clif: clif.filter(|_| keep_text),
            id,
        });
        self.tiles.insert(code, TileId(id));
        Ok(TileId(id))
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
        let name = self.unique(name);
        let keep_text = self.keep_text;
        let module = self.module()?;
        let call_conv: CallConv = module.isa().default_call_conv();
        let mut signature = Signature::new(call_conv);
        signature.params.push(AbiParam::new(I64));
        let id = module.declare_function(&name, Linkage::Export, &signature)?;
        let function = Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature);
        let mut ctx = Context::for_function(function);
        let mut builder_ctx = FunctionBuilderContext::new();
        let config = module.isa().frontend_config();
        let mut nest = Nest::new(FunctionBuilder::new(&mut ctx.func, &mut builder_ctx), module);
        build(&mut nest)?;
        nest.finish(config);
        let text = keep_text.then(|| ctx.func.display().to_string());
        let failed = |reason: String| CodegenError::Compile { name: name.clone(), reason };
        let code = ctx
            .compile(module.isa(), &mut ControlPlane::default())
            .map_err(|error| failed(format!("{:?}", error.inner)))?;
        let (bytes, alignment) = (code.code_buffer().to_vec(), u64::from(code.buffer.alignment));
        let relocs = code.buffer.relocs().to_vec();
        let relocs: Vec<ModuleReloc> =
            relocs.iter().map(|reloc| ModuleReloc::from_mach_reloc(reloc, &ctx.func, id)).collect();
        module.define_function_bytes(id, alignment.max(16), &bytes, &relocs)?;
        let size = bytes.len();
        self.records.push(FunctionRecord { name, kernel: true, size, code_len: size, clif: text, id });
        Ok(KernelId(id))
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

    /// Links everything and makes it executable.
    ///
    /// # Errors
    /// [`CodegenError::Link`] if memory cannot be protected.
    pub fn finish(mut self) -> Result<Linked, CodegenError> {
        self.module()?.finalize_definitions()?;
        let mut functions = FxHashMap::default();
        let records = std::mem::take(&mut self.records);
        let module = self.module()?;
        for record in &records {
            functions.insert(record.id, module.get_finalized_function(record.id) as usize);
        }
        Ok(Linked { functions, records, _module: Mutex::new(Owned(self.module.0.take())) })
    }
}

/// Linked code, executable until this is dropped.
pub struct Linked {
    functions: FxHashMap<FuncId, usize>,
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
        let address = self.functions.get(&id.0).ok_or(CodegenError::Internal("a kernel of another module"))?;
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
        match self.functions.get(&record.id) {
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
        let address = self.functions.get(&id.0).ok_or(CodegenError::Internal("a tile of another module"))?;
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
        let base = self.functions.get(&record.id).copied().unwrap_or_default() as u64;
        let code = &self.bytes(record)[..record.code_len.min(record.size)];
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_first_operand_char_index(9);
        let (mut text, mut line) = (String::new(), String::new());
        for instruction in Decoder::with_ip(64, code, base, DecoderOptions::NONE) {
            line.clear();
            formatter.format(&instruction, &mut line);
            let target = instruction.near_branch_target() as usize;
            let callee = self.records.iter().find(|other| self.functions.get(&other.id) == Some(&target));
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
