//! The steps of a plan. One step is one emitted kernel.

use serde::{Deserialize, Serialize};

use crate::ids::{ConstId, ViewId};
use crate::ops::{Activation, Pool};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// What it reads, in the order that the kind states.
    pub inputs: Vec<ViewId>,
    /// What it writes.
    pub outputs: Vec<ViewId>,
    /// The constants that it reads as packed weights, in the order that the kind states.
    pub constants: Vec<ConstId>,
    /// The name of the node that it runs.
    pub name: String,
    /// The names of the source nodes that it stands for.
    pub nodes: Vec<String>,
}

/// What a step does. Views are rank 4 in the order N, C, H, W unless said otherwise.
///
/// *Channels innermost* says that axis 1 has stride 1 (or size 1). *A common unit axis* says that some axis has stride 1
/// in the output and stride 1 or 0 in every input, or that there is but one element. The verifier checks both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StepKind {
    /// Two-dimensional convolution. Inputs: x, and the residual of the same sizes as the output where `residual`.
    /// Constants: weights [O, I/group, kh, kw], and the bias [O] where there are two. Several outputs are successive
    /// ranges of output channels, each with a destination and an activation of its own; then there is no residual. Outputs (and the residual) have their channels
    /// innermost; x has any strides.
    Conv {
        /// Vertical, horizontal.
        strides: [usize; 2],
        /// Top, left, bottom, right.
        pads: [usize; 4],
        /// Vertical, horizontal.
        dilations: [usize; 2],
        /// Groups of channels.
        group: usize,
        /// Whether the second input is added before the activation.
        residual: bool,
        /// Applied last, one for each output.
        activations: Vec<Option<Activation>>,
    },
    /// Pooling over windows. Input: x. Channels innermost.
    Pool {
        /// Maximum or average.
        kind: PoolKind,
        /// The windows. `ceil_mode` is already in the output's sizes; pads are as in the model.
        window: Pool,
    },
    /// The average over H and W; the output is [N, C, 1, 1]. Channels innermost.
    GlobalAvgPool,
    /// `activation(alpha · a · B + beta · c)`. Input: a, rank 2 [M, K] in any strides. Constants: B, [K, N] or [N, K]
    /// where `trans_b`, and c [N] where there are two. Output [M, N], the stride along N is 1.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of the addend.
        beta: f32,
        /// Whether B is stored [N, K].
        trans_b: bool,
        /// Applied last.
        activation: Option<Activation>,
    },
    /// `a · b` over the last two axes, the axes before them equal (broadcast by stride 0). Inputs: a [.., M, K],
    /// b [.., K, N]. Output [.., M, N]. Along N the strides of b and of the output are 1.
    MatMul,
    /// `(x − mean) / sqrt(var + epsilon) · scale + bias` for each channel (axis 1). Constants: scale, bias, mean, var.
    /// Channels innermost. May run in place.
    BatchNorm {
        /// Added to the variance.
        epsilon: f32,
    },
    /// An activation by itself. Any rank, a common unit axis. May run in place.
    Activate(Activation),
    /// An elementwise function of two inputs of the output's sizes (broadcast by stride 0), then an activation. Any rank,
    /// a common unit axis. May run in place, over either input.
    Binary {
        /// The function.
        function: Binary,
        /// Applied last.
        activation: Option<Activation>,
    },
    /// Local response normalisation across channels (axis 1). Channels innermost.
    Lrn {
        /// Channels in a window.
        size: usize,
        /// Scale of the sum of squares, divided by `size`.
        alpha: f32,
        /// The exponent.
        beta: f32,
        /// Added to the scaled sum.
        bias: f32,
    },
    /// Softmax along one axis. Any rank, a common unit axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Copies `inputs[i]` to `outputs[i]`, each pair of equal sizes. Any rank, any strides.
    Copy(CopyKind),
    /// Fills `outputs[0]` with a value, then copies the input to `outputs[1]`, a view within it. Any rank, a
    /// common unit axis.
    Pad {
        /// What fills the border.
        value: f32,
    },
}

/// Why a copy is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyKind {
    /// Parts of a concatenation that could not be written in place.
    Concat,
    /// Another order of the elements.
    Layout,
    /// A plain copy, to an output that is also an input, say.
    Plain,
}

/// An elementwise function of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a / b
    Div,
}

/// Maximum or average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// The largest element of the window; padding never wins.
    Max,
    /// The mean of the window.
    Average {
        /// Whether padding (but not what `ceil_mode` adds beyond it) counts in the divisor.
        count_include_pad: bool,
    },
}

impl StepKind {
    /// Whether each output element depends on no input element but those at its own place, so that the output may be
    /// exactly the view that an input is.
    #[must_use]
    pub fn may_run_in_place(&self) -> bool {
        matches!(self, Self::Activate(_) | Self::Binary { .. } | Self::BatchNorm { .. })
    }

    /// The kind's name in `steps_by_kind`, profiles and dumps.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv { .. } => "conv",
            Self::Pool { kind: PoolKind::Max, .. } => "max_pool",
            Self::Pool { kind: PoolKind::Average { .. }, .. } => "avg_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Gemm { .. } => "gemm",
            Self::MatMul => "matmul",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activate(Activation::Relu) => "relu",
            Self::Activate(_) | Self::Binary { .. } => "elementwise",
            Self::Lrn { .. } => "lrn",
            Self::Softmax { .. } => "softmax",
            Self::Copy(CopyKind::Concat) => "concat",
            Self::Copy(CopyKind::Layout) => "layout",
            Self::Copy(CopyKind::Plain) => "copy",
            Self::Pad { .. } => "pad",
        }
    }
}
