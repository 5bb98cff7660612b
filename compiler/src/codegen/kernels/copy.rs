//! Copies of pairs of views, any rank, any strides; a pair whose inner axes agree is copied in vectors.
//!
//! Operands of a kernel: the output and the input of each pair, in turn.

use cranelift_codegen::ir::Value;

use super::Emitted;
use super::elementwise::{self, ElementwiseSpec, Function};
use crate::codegen::CodegenError;
use crate::codegen::link::Linker;

const KERNEL: &str = "copy";

/// One output and its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Sizes of both.
    pub sizes: Vec<usize>,
    /// Strides of the output; none is 0 where the size is above 1.
    pub out: Vec<usize>,
    /// Strides of the input.
    pub input: Vec<usize>,
}

/// Copies, in one step. Outputs do not overlap each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySpec {
    /// The pairs.
    pub pairs: Vec<Pair>,
}

/// Emits the copies.
///
/// # Errors
/// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and [`Linker::kernel`].
pub fn emit(linker: &mut Linker, spec: &CopySpec) -> Result<Emitted, CodegenError> {
    let mut pairs = Vec::with_capacity(spec.pairs.len());
    for pair in &spec.pairs {
        let spec = ElementwiseSpec {
            function: Function::Copy,
            post: Vec::new(),
            sizes: pair.sizes.clone(),
            out: pair.out.clone(),
            inputs: vec![pair.input.clone()],
        };
        pairs.push(elementwise::emitters(linker, &spec)?);
    }
    let tasks = pairs.iter().map(|pair| elementwise::tasks(pair)).fold(0, usize::saturating_add);
    let vector = pairs.iter().all(|pair| elementwise::vectorised(pair));
    let name = format!("{KERNEL}{}", if vector { "" } else { "/scalar" });
    let kernel = linker.kernel(&name, |nest| {
        let mut first = 0;
        for (index, pair) in pairs.iter().enumerate() {
            let bases: [Value; 2] = [nest.operand(2 * index), nest.operand(2 * index + 1)];
            first = elementwise::run(nest, pair, &bases, first)?;
        }
        Ok(())
    })?;
    Ok(Emitted { kernel, tasks: tasks as u64, scratch_bytes: 0, name })
}
