//! What can be wrong with a model, each with what would help.

use std::fmt::{self, Write};

use incept_ir::graph::GraphError;
use incept_ir::ops::OpError;
use incept_ir::tensor::TensorError;
use incept_ir::types::MAX_RANK;

use super::{MAX_OPSET, MIN_OPSET};

/// Why a model could not be imported. [`ImportError::help`] says what would help.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// The bytes are no protobuf message of ONNX's schema.
    #[error("this is not an ONNX model: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The message holds no graph.
    #[error("this is not an ONNX model: it holds no graph")]
    NoGraph,
    /// The model does not say which version of the operators it uses.
    #[error("the model does not say which version of the ai.onnx operators it uses (opset_import)")]
    NoOpset,
    /// The version of the operators is not one that the importer knows.
    #[error("the model uses opset {version}; opsets {MIN_OPSET} to {MAX_OPSET} are supported")]
    Opset {
        /// The model's.
        version: i64,
    },
    /// Nodes use operators that are not supported: all of them, not only the first.
    #[error("{}", unsupported_text(.0))]
    UnsupportedOps(Vec<UnsupportedOp>),
    /// A node is invalid, or asks for what is not supported.
    #[error("node `{node}` ({op}): {cause}")]
    Node {
        /// The node's name, or one made from its output where it has none.
        node: String,
        /// Its ONNX operator.
        op: String,
        /// Why.
        cause: Box<NodeError>,
    },
    /// An initializer cannot be read.
    #[error("initializer `{name}`: {cause}")]
    Initializer {
        /// Its name.
        name: String,
        /// Why.
        cause: Box<TensorProblem>,
    },
    /// Initializers are stored sparsely.
    #[error("initializer `{name}` is sparse")]
    SparseInitializer {
        /// The first one's name.
        name: String,
    },
    /// A graph input's type is not supported.
    #[error("graph input `{name}`: {cause}")]
    Input {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
        /// What would help.
        help: String,
    },
    /// Two things make a value of one name.
    #[error("the value `{name}` is defined twice: by {first} and by {second}")]
    Duplicate {
        /// The value's name.
        name: String,
        /// What defines it first.
        first: String,
        /// What defines it again.
        second: String,
    },
    /// A node reads a value that nothing makes.
    #[error("node `{node}` ({op}) reads `{name}`, which nothing defines")]
    Undefined {
        /// The reading node.
        node: String,
        /// Its ONNX operator.
        op: String,
        /// The value's name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// A graph output is a value that nothing makes.
    #[error("graph output `{name}` is defined by nothing")]
    UndefinedOutput {
        /// Its name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
    /// The graph has no outputs.
    #[error("the graph has no outputs")]
    NoOutputs,
    /// A graph output cannot be one.
    #[error("graph output `{name}`: {cause}")]
    Output {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
    /// Nodes read each other's results.
    #[error("nodes form a cycle: {}", .0.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" → "))]
    Cycle(Vec<String>),
    /// The graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// An operator that is not supported, and where it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedOp {
    /// Its name, with its domain where that is not ONNX's own.
    pub op: String,
    /// How many nodes use it.
    pub count: usize,
    /// The first few of these nodes.
    pub nodes: Vec<String>,
    /// Why it is not supported.
    pub why: String,
    /// What would help.
    pub help: String,
}

impl fmt::Display for UnsupportedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} node{}: ", self.op, self.count, if self.count == 1 { "" } else { "s" })?;
        for (index, node) in self.nodes.iter().enumerate() {
            write!(f, "{}`{node}`", if index == 0 { "" } else { ", " })?;
        }
        let more = if self.count > self.nodes.len() { ", …" } else { "" };
        write!(f, "{more}): {}", self.why)
    }
}

fn unsupported_text(ops: &[UnsupportedOp]) -> String {
    let mut text = match ops {
        [only] => return format!("an operator is not supported: {only}"),
        _ => format!("{} operators are not supported:", ops.len()),
    };
    for op in ops {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {op}");
    }
    text
}

/// Why a tensor of the file cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorProblem {
    /// Its element type is not supported.
    #[error("its element type {0} is not supported (f32, f64, f16, i64, i32, u8 and bool are)")]
    DType(String),
    /// Its data is in another file.
    #[error("its data is stored outside the model, in `{location}`")]
    External {
        /// Where.
        location: String,
    },
    /// It is a part of a tensor.
    #[error("it is one segment of a tensor that is stored in parts")]
    Segment,
    /// It has data in two places.
    #[error("it has data both in `{first}` and in `{second}`")]
    TwoData {
        /// A field.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// Its data is in the field of another type.
    #[error("it holds {dtype}, but its data is in the field `{field}`")]
    WrongField {
        /// Its element type.
        dtype: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A size is negative or cannot be addressed.
    #[error("its dimension {axis} is {size}")]
    Size {
        /// Which.
        axis: usize,
        /// The size.
        size: i64,
    },
    /// It has too many dimensions.
    #[error("it has {0} dimensions, but tensors have at most {MAX_RANK}")]
    Rank(usize),
    /// An element does not fit the type.
    #[error("element {index} is {value}, which is no {dtype}")]
    Value {
        /// Which.
        index: usize,
        /// The element.
        value: i32,
        /// The type.
        dtype: &'static str,
    },
    /// Its size is wrong or too large.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl TensorProblem {
    /// What would help.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::DType(_) => "export the model in f32, without quantisation".into(),
            Self::External { .. } => {
                "save the model as one file: onnx.save(onnx.load(\"model.onnx\"), \"whole.onnx\")".into()
            }
            Self::Segment => "save the tensor in one piece".into(),
            Self::Tensor(TensorError::Length { .. }) => {
                "the file is damaged, or the tool that wrote it is wrong; export it again".into()
            }
            _ => return None,
        })
    }
}

/// What is wrong with a node, or what it asks for that is not supported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NodeError {
    /// It has too few or too many inputs.
    #[error("takes {wanted} but has {given}")]
    Inputs {
        /// What it takes, for people: `2 inputs`.
        wanted: String,
        /// What it has.
        given: usize,
    },
    /// A required input is left out.
    #[error("its input {slot} is required but left out")]
    MissingInput {
        /// Which.
        slot: usize,
    },
    /// A required attribute is left out.
    #[error("its attribute `{name}` is required but left out")]
    MissingAttribute {
        /// Its name.
        name: &'static str,
    },
    /// An attribute's value is wrong.
    #[error("its attribute `{name}` {problem}")]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// An attribute that the operator does not have.
    #[error("has an attribute `{name}`, which the operator does not have in opset {opset}")]
    UnknownAttribute {
        /// Its name.
        name: String,
        /// The model's opset.
        opset: i64,
    },
    /// An input that must be known at compile time is not.
    #[error("its {role} (`{input}`) must be known when the model is compiled, but {why}")]
    NotStatic {
        /// What the input is for.
        role: String,
        /// The value's name.
        input: String,
        /// Why it is not known.
        why: String,
    },
    /// An input's value is wrong.
    #[error("its {role} {problem}")]
    Value {
        /// What the input is for.
        role: String,
        /// What is wrong.
        problem: String,
    },
    /// It is a valid use of the operator, but not a supported one.
    #[error("{what} is not supported")]
    Unsupported {
        /// What it asks for.
        what: String,
        /// What would help.
        help: String,
    },
    /// A secondary output is read.
    #[error("its output {index} (`{name}`) is used, but only output 0 is computed")]
    OutputUsed {
        /// Which.
        index: usize,
        /// The value's name.
        name: String,
    },
    /// A tensor or an element type in an attribute cannot be used.
    #[error("its attribute `{name}` is no tensor or type that can be used: {problem}")]
    Tensor {
        /// The attribute.
        name: String,
        /// Why.
        problem: TensorProblem,
    },
    /// The op refuses its inputs.
    #[error("{0}")]
    Op(#[from] OpError),
    /// It computes on half or double precision.
    #[error("{0}")]
    Precision(OpError),
}

impl NodeError {
    /// What would help.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotStatic { .. } => "export the model with fixed shapes, or fold its constants first \
                (for example with onnxsim)"
                .into(),
            Self::Unsupported { help, .. } if !help.is_empty() => help.clone(),
            Self::OutputUsed { .. } => "export the model for inference; remove what reads this output".into(),
            Self::UnknownAttribute { .. } => "check which opset the model was written for".into(),
            Self::Tensor { problem, .. } => return problem.help(),
            Self::Precision(_) => {
                "convert the model to f32; weights alone may be f16 (they are widened, or go through a Cast)".into()
            }
            _ => return None,
        })
    }
}

fn near_help(near: &[String]) -> Option<String> {
    (!near.is_empty()).then(|| {
        format!("did you mean {}?", near.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or "))
    })
}

impl ImportError {
    /// What would help, where anything is known to.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Decode(_) | Self::NoGraph => {
                "check that the file is complete, and a model: not a tensor, an archive or a text file".into()
            }
            Self::NoOpset => "export the model again with a tool that writes opset_import".into(),
            Self::Opset { .. } => {
                format!("convert it: onnx.version_converter.convert_version(model, {})", DEFAULT_TARGET)
            }
            Self::UnsupportedOps(ops) => {
                let mut text = String::new();
                for op in ops {
                    let separator = if text.is_empty() { "" } else { "\n" };
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{separator}{}: {}", op.op, op.help);
                }
                text
            }
            Self::Node { cause, .. } => return cause.help(),
            Self::Initializer { cause, .. } => return cause.help(),
            Self::SparseInitializer { .. } => "store it as a dense tensor".into(),
            Self::Input { help, .. } if !help.is_empty() => help.clone(),
            Self::Duplicate { .. } => "a value is made once; rename one of them".into(),
            Self::Undefined { near, .. } | Self::UndefinedOutput { near, .. } => return near_help(near),
            Self::NoOutputs => "name at least one value as an output of the graph".into(),
            Self::Input { .. } | Self::Output { .. } | Self::Cycle(_) | Self::Graph(_) => return None,
        })
    }
}

/// The opset that is suggested to convert to: one that other tools support too.
const DEFAULT_TARGET: i64 = 17;
