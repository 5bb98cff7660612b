//! What a description can say, as types. Their serde form is the schema of `docs/describe.md`.

use serde::Serialize;

use super::error::Line;

/// A model: inputs, layers in order, outputs. Made by [`super::parse_toml`], [`super::parse_json`], by deserialising
/// from any other serde format, or by hand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// The model's name; becomes the graph's.
    pub name: String,
    /// What is added to the variance by each batch normalisation that does not say its own; at least 0.
    pub epsilon: f32,
    /// The inputs in the caller's order; at least one.
    pub inputs: Vec<InputDescription>,
    /// The layers; each reads only what comes before it.
    pub layers: Vec<Layer>,
    /// The outputs in the caller's order; empty means the last layer, under its own name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputDescription>,
    /// More outputs that only the training form has; see [`super::BuildOptions::training`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub training_outputs: Vec<OutputDescription>,
}

/// A graph input; always `f32`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputDescription {
    /// Its name.
    pub name: String,
    /// Its sizes, outermost first. Images are N, C, H, W.
    pub shape: Vec<Size>,
}

/// A size of an input: a number, or `"N"` for the batch that is chosen later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A known size; at least 1.
    Fixed(usize),
    /// The batch.
    Batch,
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(size) => size.serialize(serializer),
            Self::Batch => serializer.serialize_str("N"),
        }
    }
}

/// A graph output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputDescription {
    /// Its name for the caller.
    pub name: String,
    /// The layer or input that it shows.
    pub from: String,
}

/// A layer. Two layers are equal that say the same, wherever they stand in a file.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    /// What it computes.
    #[serde(flatten)]
    pub op: LayerOp,
    /// Its name: the prefix of its nodes' and parameters' names, and what other layers' `from` refers to.
    pub name: String,
    /// The layers or inputs that it reads; empty means the layer before it, or the only input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Where it stands in its file, for errors.
    #[serde(skip)]
    pub line: Line,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        (&self.op, &self.name, &self.from) == (&other.op, &other.name, &other.from)
    }
}

/// What a layer computes. The variants' names in snake case are the values of the key `op`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum LayerOp {
    /// Two-dimensional convolution. Parameters: `NAME.weight`, and with `bias` `NAME.bias`.
    Conv(ConvLayer),
    /// Convolution and ReLU. Parameters: `NAME.conv.weight`, and with `bias` `NAME.conv.bias`.
    ConvRelu(ConvLayer),
    /// Convolution without bias, batch normalisation and ReLU. Parameters: `NAME.conv.weight`, and under `NAME.bn` those
    /// of `batch_norm`.
    ConvBnRelu(ConvBnLayer),
    /// Batch normalisation with fixed statistics. Parameters: `NAME.weight`, `NAME.bias`, `NAME.running_mean`,
    /// `NAME.running_var`.
    BatchNorm {
        /// Added to the variance; `None` means the model's.
        #[serde(skip_serializing_if = "Option::is_none")]
        epsilon: Option<f32>,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x` limited to `[min, max]`; an open end is `None`.
    Clip {
        /// The lower limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<f32>,
        /// The upper limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<f32>,
    },
    /// The largest value of each window.
    MaxPool(PoolLayer),
    /// The mean of each window.
    AvgPool {
        /// The windows.
        #[serde(flatten)]
        pool: PoolLayer,
        /// Whether padding counts as zeros (else the mean is over what is there).
        count_include_pad: bool,
    },
    /// The mean over height and width, which become 1.
    GlobalAvgPool,
    /// Joins its inputs along an axis.
    Concat {
        /// The axis; 1 is the channels.
        axis: usize,
    },
    /// The sum of two inputs.
    Add,
    /// The product of two inputs.
    Mul,
    /// Local response normalisation across channels: `x / (bias + alpha / size * Σ x²)^beta`.
    Lrn {
        /// How many channels the sum runs over; odd.
        size: usize,
        /// Scale of the sum.
        alpha: f32,
        /// The exponent.
        beta: f32,
        /// Added to the sum.
        bias: f32,
    },
    /// `x · Wᵀ + b` on `[N, features]`. Parameters: `NAME.weight` `[features, inputs]`, and with `bias` `NAME.bias`.
    Linear {
        /// How many features it makes.
        features: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// Makes two axes of all: those before `axis` and the rest.
    Flatten {
        /// The first axis of the second part.
        axis: usize,
    },
    /// Exponentials over an axis, scaled to sum to 1.
    Softmax {
        /// The axis; `None` means the last.
        #[serde(skip_serializing_if = "Option::is_none")]
        axis: Option<usize>,
    },
    /// Nothing at inference.
    Dropout {
        /// The share that training drops.
        ratio: f32,
    },
    /// The same values under other sizes.
    Reshape {
        /// The sizes; 0 copies the input's, one -1 is what is left.
        dims: Vec<i64>,
    },
    /// The axes in another order.
    Transpose {
        /// Which input axis each output axis is.
        perm: Vec<usize>,
    },
    /// The same values.
    Identity,
    /// An Inception module: four branches, joined. See [`InceptionLayer`].
    Inception(InceptionLayer),
    /// A module of Inception v3. See [`InceptionV3Layer`].
    InceptionV3(InceptionV3Layer),
}

/// A convolution's windows and channels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvLayer {
    /// Where the windows lie.
    #[serde(flatten)]
    pub window: ConvWindow,
    /// Whether it adds a bias.
    pub bias: bool,
}

/// A convolution without bias whose output is batch normalised.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvBnLayer {
    /// Where the windows lie.
    #[serde(flatten)]
    pub window: ConvWindow,
    /// Added to the variance; `None` means the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f32>,
}

/// What all convolutions have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConvWindow {
    /// Output channels.
    pub channels: usize,
    /// Height, width.
    pub kernel: [usize; 2],
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub pad: [usize; 4],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// How many groups of channels do not see each other.
    pub groups: usize,
}

impl ConvWindow {
    /// A square convolution of stride 1.
    #[must_use]
    pub const fn square(channels: usize, kernel: usize, pad: usize) -> Self {
        Self { channels, kernel: [kernel; 2], stride: [1; 2], pad: [pad; 4], dilation: [1; 2], groups: 1 }
    }
}

/// A pooling's windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolLayer {
    /// Height, width.
    pub kernel: [usize; 2],
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub pad: [usize; 4],
    /// Whether the output size is rounded up.
    pub ceil: bool,
}

/// An Inception module. The outputs of four branches are joined along the channels, in this order:
///
/// | branch | what | its names |
/// |---|---|---|
/// | 1 | 1×1 | `NAME.branch1` |
/// | 2 | 1×1, then 3×3 | `NAME.branch2.0`, `NAME.branch2.1` |
/// | 3 | 1×1, then 3×3 (`batch_norm`) or 5×5 (`paper`) | `NAME.branch3.0`, `NAME.branch3.1` |
/// | 4 | 3×3 max-pool of stride 1, then 1×1 | `NAME.branch4.0`, `NAME.branch4.1` |
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InceptionLayer {
    /// What each convolution is.
    pub form: InceptionForm,
    /// Channels of the 1×1 branch.
    pub branch1: usize,
    /// Channels of the 1×1 reduction and of the 3×3 convolution.
    pub branch2: [usize; 2],
    /// Channels of the 1×1 reduction and of the "5×5" convolution.
    pub branch3: [usize; 2],
    /// Channels of the projection after the pool.
    pub branch4: usize,
    /// Added to the variance in the `batch_norm` form; `None` means the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f32>,
}

/// The two forms of an Inception module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InceptionForm {
    /// Every convolution is a `conv_bn_relu`; the third branch's is 3×3, padding 1.
    BatchNorm,
    /// Every convolution is a `conv_relu` with bias; the third branch's is 5×5, padding 2.
    Paper,
}

/// A module of Inception v3 (Szegedy et al., "Rethinking the Inception architecture for computer vision", 2015), with
/// the names of its common PyTorch implementation. Every convolution is a `conv_bn_relu` called `NAME.BRANCH`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InceptionV3Layer {
    /// Which module, and what of it the network chooses.
    #[serde(flatten)]
    pub module: InceptionV3Module,
    /// Added to the variance; `None` means the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f32>,
}

/// The five modules of Inception v3. Average pools are 3×3 of stride 1 and count their padding; max-pools are 3×3 of
/// stride 2 without padding, and halve height and width, as the convolutions beside them do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "module", rename_all = "snake_case")]
pub enum InceptionV3Module {
    /// 1×1; 1×1, 5×5; 1×1, 3×3, 3×3; average pool, 1×1. Makes 224 channels and those of the last.
    A {
        /// Channels of the projection after the pool.
        pool: usize,
    },
    /// 3×3 of stride 2; 1×1, 3×3, 3×3 of stride 2; max-pool. Makes 480 channels more than it reads.
    B,
    /// 1×1; 1×1, 1×7, 7×1; 1×1, 7×1, 1×7, 7×1, 1×7; average pool, 1×1. Makes 768 channels.
    C {
        /// Channels between the factors of the 7×7 convolutions.
        inner: usize,
    },
    /// 1×1, 3×3 of stride 2; 1×1, 1×7, 7×1, 3×3 of stride 2; max-pool. Makes 512 channels more than it reads.
    D,
    /// 1×1; 1×1, then 1×3 beside 3×1; 1×1, 3×3, then 1×3 beside 3×1; average pool, 1×1. Makes 2048 channels.
    E,
}

impl LayerOp {
    /// The values of the key `op`.
    pub const NAMES: &'static [&'static str] = &[
        "conv",
        "conv_relu",
        "conv_bn_relu",
        "batch_norm",
        "relu",
        "clip",
        "max_pool",
        "avg_pool",
        "global_avg_pool",
        "concat",
        "add",
        "mul",
        "lrn",
        "linear",
        "flatten",
        "softmax",
        "dropout",
        "reshape",
        "transpose",
        "identity",
        "inception",
        "inception_v3",
    ];
}
