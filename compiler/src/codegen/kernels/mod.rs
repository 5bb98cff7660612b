//! The kernels, a file (or folder) a family. Each is written once against [`super::vector::Asm`] for its inner tiles and
//! against [`super::nest::Nest`] for the loops around them, and is described by a plain spec.
//!
//! | files | what lives there |
//! |---|---|
//! | [`conv_direct`], [`conv_winograd`], [`depthwise`] | convolutions |
//! | [`pool`], [`global_pool`] | pooling |
//! | [`elementwise`], [`batch_norm`], [`copy`], [`pad`] | one loop nest over any strides |
//! | [`lrn`], [`softmax`] | normalisations |
//! | [`gemm`], [`matmul`] | products, by a constant and by another activation |
//! | [`axes`], [`lanes`], [`product`], [`math`], [`window`] | what they share |
//!
//! The kernel table is [`Spec`]: a new family is a file, a variant here and a case list in the tests, which the compiler
//! asks for.
//!
//! Invariants of every kernel:
//! 1. It writes nothing but the elements of its outputs, and reads nothing but those of its inputs.
//! 2. Tasks are independent, their number depends on the spec alone.
//! 3. Equal specs give equal code, so that steps can share a kernel.

pub mod axes;
pub mod batch_norm;
pub mod conv_direct;
pub mod conv_winograd;
pub mod copy;
pub mod depthwise;
pub mod elementwise;
pub mod gemm;
pub mod global_pool;
pub mod lanes;
pub mod lrn;
pub mod math;
pub mod matmul;
pub mod pad;
pub mod pool;
pub mod product;
pub mod softmax;
pub mod window;

#[cfg(test)]
mod tests;

use super::CodegenError;
use super::link::{KernelId, Linker};

/// Floats of a cache line.
const LINE: usize = 16;

/// An emitted kernel, before linking.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// The function; [`super::link::Linked::kernel`] gives its entry point.
    pub kernel: KernelId,
    /// How many tasks it is cut into; does not depend on the thread count.
    pub tasks: u64,
    /// Scratch memory for each calling thread.
    pub scratch_bytes: usize,
    /// The algorithm and its tiles, for people.
    pub name: String,
}

/// What a kernel is estimated to take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Cycles of one core, with everything in the second-level cache.
    pub cycles: f64,
    /// Bytes of packed weights that are read, as often as they are.
    pub weight_bytes: u64,
}

macro_rules! table {
    ($($(#[doc = $doc:literal])* $variant:ident: $spec:ty = $module:ident, $name:literal;)*) => {
        /// A kernel to emit: the table of all families.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec {
            $($(#[doc = $doc])* $variant($spec),)*
        }

        /// The families, without their specs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Family {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Family {
            /// All families, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in listings.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it computes, in a line.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }

        impl Spec {
            /// Its family.
            #[must_use]
            pub fn family(&self) -> Family {
                match self { $(Self::$variant(_) => Family::$variant,)* }
            }

            /// Emits the kernel, or returns the one that was emitted for an equal spec.
            ///
            /// # Errors
            /// [`CodegenError::BadSpec`] for an inconsistent spec; otherwise those of [`Linker::tile`] and
            /// [`Linker::kernel`].
            pub fn emit(&self, linker: &mut Linker) -> Result<Emitted, CodegenError> {
                linker.shared(format!("{self:?}"), |linker| match self {
                    $(Self::$variant(spec) => $module::emit(linker, spec),)*
                })
            }
        }
    };
}

table! {
    /// Convolution, direct: an implicit matrix product, or by channels where it is depthwise.
    Conv: conv_direct::ConvSpec = conv_direct, "conv";
    /// Convolution by Winograd's algorithm.
    Winograd: conv_winograd::WinogradSpec = conv_winograd, "winograd";
    /// Maximum or average over windows.
    Pool: pool::PoolSpec = pool, "pool";
    /// Average of whole planes.
    GlobalPool: global_pool::GlobalPoolSpec = global_pool, "global_pool";
    /// Fill, copy, activation, sum or product of elements, with broadcasting.
    Elementwise: elementwise::ElementwiseSpec = elementwise, "elementwise";
    /// Scale and shift of each channel.
    BatchNorm: batch_norm::BatchNormSpec = batch_norm, "batch_norm";
    /// Copies of views, whatever their strides.
    Copy: copy::CopySpec = copy, "copy";
    /// A constant border around a copy.
    Pad: pad::PadSpec = pad, "pad";
    /// Local response normalisation across channels.
    Lrn: lrn::LrnSpec = lrn, "lrn";
    /// Softmax along an axis.
    Softmax: softmax::SoftmaxSpec = softmax, "softmax";
    /// Product with a packed constant matrix.
    Gemm: gemm::GemmSpec = gemm, "gemm";
    /// Batched product of two activations.
    MatMul: matmul::MatMulSpec = matmul, "matmul";
}
