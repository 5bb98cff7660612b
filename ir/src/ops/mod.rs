//! The operators: one file an op, and the closed `enum Op` over them.
//!
//! An op's file holds its attributes, arity, type inference, reference evaluation and printed attributes. To add one,
//! write its file and add its line to the list at the end of this module. Ops know nothing of graphs, plans or code.
//!
//! Semantics are those of the ONNX operator of the same name (the version is in each file's documentation), with all
//! attributes resolved to static values: `auto_pad`, constant inputs and opset differences are the importer's business.
//!
//! Invariants:
//! 1. `infer` never panics and checks every size; what it accepts, `evaluate` can compute.
//! 2. `evaluate` accumulates in `f64` and rounds once; it is the oracle, slow and obvious.
//! 3. `Op::parse(op.name(), op.attributes())` gives the op back.

mod attributes;
mod check;
mod product;
mod walk;

use std::ops::RangeInclusive;

pub use attributes::{Attribute, AttributeReader, Attributes};
use smallvec::SmallVec;

use crate::tensor::{Tensor, TensorError};
use crate::types::TensorType;

/// The types of a node's outputs. All ops but a merged convolution have one.
pub type OutputTypes = SmallVec<[TensorType; 1]>;

/// Why an op refuses its inputs or attributes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpError {
    /// The number of inputs is wrong.
    #[error("takes {wanted} inputs but has {given}")]
    Arity {
        /// What it takes, for people.
        wanted: String,
        /// What it has.
        given: usize,
    },
    /// The inputs' types do not fit the op or each other. Says which and why.
    #[error("{0}")]
    Type(String),
    /// An attribute is missing, unknown or out of range. Says which and why.
    #[error("{0}")]
    Attribute(String),
    /// A size overflows.
    #[error("a size overflows: {0}")]
    Overflow(String),
    /// A tensor could not be read or made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// What every op defines.
pub trait Operator: Clone + std::fmt::Debug + PartialEq {
    /// The name in dumps and errors.
    const NAME: &'static str;

    /// How many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize>;

    /// The types of its outputs.
    ///
    /// # Errors
    /// Where the inputs' types do not fit. The number of inputs is checked before.
    fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError>;

    /// Its outputs, computed slowly and obviously. The inputs' types were accepted by `infer`, and are concrete.
    ///
    /// # Errors
    /// Where a tensor cannot be read or made.
    fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError>;

    /// The attributes, for dumps; defaults may be left out.
    fn attributes(&self) -> Attributes;

    /// The op with these attributes.
    ///
    /// # Errors
    /// Where one is missing or out of range. Unknown ones are reported by the caller.
    fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError>;
}

macro_rules! ops {
    ($($module:ident :: $name:ident),* $(,)?) => {
        $(pub mod $module;)*
        $(pub use $module::$name;)*

        /// Any operator.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each variant is the type of the same name")]
        pub enum Op {
            $($name($name),)*
        }

        impl Op {
            /// The names of all ops, in the order of the list.
            pub const NAMES: &'static [&'static str] = &[$(<$name as Operator>::NAME,)*];

            /// The name in dumps and errors.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => <$name as Operator>::NAME,)*
                }
            }

            /// How many inputs it takes.
            #[must_use]
            pub fn arity(&self) -> RangeInclusive<usize> {
                match self {
                    $(Self::$name(op) => op.arity(),)*
                }
            }

            /// The types of its outputs.
            ///
            /// # Errors
            /// Where the number of inputs or their types do not fit, or an output has too many dimensions or elements.
            pub fn infer(&self, inputs: &[&TensorType]) -> Result<OutputTypes, OpError> {
                let arity = self.arity();
                if !arity.contains(&inputs.len()) {
                    return Err(OpError::Arity { wanted: arity_text(&arity), given: inputs.len() });
                }
                let types = match self {
                    $(Self::$name(op) => op.infer(inputs),)*
                }?;
                types.iter().try_for_each(check::representable)?;
                Ok(types)
            }

            /// Its outputs; see [`Operator::evaluate`].
            ///
            /// # Errors
            /// Where the inputs do not fit, or a tensor cannot be read or made.
            pub fn evaluate(&self, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 1]>, OpError> {
                let types: SmallVec<[TensorType; 4]> = inputs.iter().map(|tensor| tensor.ty()).collect();
                self.infer(&types.iter().collect::<SmallVec<[&TensorType; 4]>>())?;
                match self {
                    $(Self::$name(op) => op.evaluate(inputs),)*
                }
            }

            /// The attributes, for dumps.
            #[must_use]
            pub fn attributes(&self) -> Attributes {
                match self {
                    $(Self::$name(op) => op.attributes(),)*
                }
            }

            /// The op of this name with these attributes; `None` where no op has the name.
            ///
            /// # Errors
            /// Where an attribute is missing, unknown or out of range.
            pub fn parse(name: &str, attributes: Attributes) -> Option<Result<Self, OpError>> {
                let mut reader = AttributeReader::new(attributes);
                let op = $(if name == <$name as Operator>::NAME {
                    <$name as Operator>::parse(&mut reader).map(Self::$name)
                } else)* {
                    return None;
                };
                Some(op.and_then(|op| reader.finish().map(|()| op)))
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*
    };
}

fn arity_text(arity: &RangeInclusive<usize>) -> String {
    match (*arity.start(), *arity.end()) {
        (low, high) if low == high => low.to_string(),
        (low, usize::MAX) => format!("at least {low}"),
        (low, high) => format!("{low} to {high}"),
    }
}

pub mod activation;
pub mod elementwise;
pub mod window;
pub use activation::Activation;
pub use conv::ConvRange;
pub use window::Pool;

ops! {
    input::Input,
    constant::Constant,
    conv::Conv,
    batch_norm::BatchNorm,
    relu::Relu,
    clip::Clip,
    leaky_relu::LeakyRelu,
    sigmoid::Sigmoid,
    hard_sigmoid::HardSigmoid,
    hard_swish::HardSwish,
    max_pool::MaxPool,
    avg_pool::AvgPool,
    global_avg_pool::GlobalAvgPool,
    concat::Concat,
    add::Add,
    sub::Sub,
    mul::Mul,
    div::Div,
    gemm::Gemm,
    matmul::MatMul,
    reshape::Reshape,
    flatten::Flatten,
    softmax::Softmax,
    lrn::Lrn,
    dropout::Dropout,
    identity::Identity,
    unsqueeze::Unsqueeze,
    squeeze::Squeeze,
    transpose::Transpose,
    pad::Pad,
    slice::Slice,
    cast::Cast,
}

#[cfg(test)]
mod tests;
