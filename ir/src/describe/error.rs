//! What can be wrong with a description or with its weights.

use std::fmt;

use super::suggest::nearest;
use crate::graph::GraphError;
use crate::tensor::TensorError;
use crate::types::TensorType;

/// Which part of a description an error speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The top level.
    Model,
    /// An input; by its name where it has one yet.
    Input {
        /// Its position, from 0.
        index: usize,
        /// Its name.
        name: Option<String>,
    },
    /// A layer; by its name where it has one yet.
    Layer {
        /// Its position, from 0.
        index: usize,
        /// Its name.
        name: Option<String>,
    },
    /// A graph output.
    Output {
        /// Its position, from 0.
        index: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model => f.write_str("model"),
            Self::Input { name: Some(name), .. } => write!(f, "input `{name}`"),
            Self::Input { index, name: None } => write!(f, "input {}", index.saturating_add(1)),
            Self::Layer { name: Some(name), .. } => write!(f, "layer `{name}`"),
            Self::Layer { index, name: None } => write!(f, "layer {}", index.saturating_add(1)),
            Self::Output { index } => write!(f, "output {}", index.saturating_add(1)),
        }
    }
}

/// A line of the source, from 1, where the format says; displays as ` (line 12)` or as nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line(pub Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

/// A hint; displays as `; did you mean \`kernel\`?` or as nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suggestion(pub Option<Box<str>>);

impl Suggestion {
    /// The nearest of the known words, if any is near enough to be meant.
    #[must_use]
    pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self(nearest(word, known).map(Into::into))
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(word) => write!(f, "; did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

/// Why a description cannot be read or built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DescribeError {
    /// The text is not TOML or not JSON.
    #[error("this is not {format}: {message}{}", at(*.line, *.column))]
    Syntax {
        /// `TOML` or `JSON`.
        format: &'static str,
        /// What the parser says.
        message: String,
        /// The line, from 1.
        line: Option<usize>,
        /// The column, from 1.
        column: Option<usize>,
    },
    /// A key that the place does not have.
    #[error("{place}{line}: there is no key `{key}` here{suggestion} (its keys: {})", .known.join(", "))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The line of the key.
        line: Line,
        /// The key.
        key: String,
        /// The nearest key that is known.
        suggestion: Suggestion,
        /// The keys that are known here.
        known: Box<[&'static str]>,
    },
    /// A key that must be given is not.
    #[error("{place}{line}: the key `{key}` is missing: {wanted}")]
    MissingKey {
        /// Where.
        place: Place,
        /// The line of the place.
        line: Line,
        /// The key.
        key: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A value is of the wrong kind or out of range.
    #[error("{place}{line}: `{key}` should be {wanted}, not {found}")]
    Value {
        /// Where.
        place: Place,
        /// The line of the value.
        line: Line,
        /// The key.
        key: String,
        /// What it should hold.
        wanted: &'static str,
        /// What it holds.
        found: String,
    },
    /// No layer has this op.
    #[error("{place}{line}: there is no op `{op}`{suggestion} (ops: {})", super::LayerOp::NAMES.join(", "))]
    UnknownOp {
        /// Where.
        place: Place,
        /// The line.
        line: Line,
        /// The name given.
        op: String,
        /// The nearest name that is known.
        suggestion: Suggestion,
    },
    /// A reference to a layer or input that does not exist or comes later.
    #[error("{place}{line}: nothing before it is called `{from}`{suggestion}")]
    UnknownSource {
        /// Where.
        place: Place,
        /// The line.
        line: Line,
        /// The name referred to.
        from: String,
        /// The nearest name that is known.
        suggestion: Suggestion,
    },
    /// Two inputs, layers, nodes or parameters have one name.
    #[error("{place}{line}: the name `{name}` is already taken")]
    DuplicateName {
        /// Where.
        place: Place,
        /// The line.
        line: Line,
        /// The name.
        name: String,
    },
    /// A layer that nothing reads and that is no output: most often a forgotten `from`.
    #[error("{place}{line}: no output of the model needs it; remove it, read it, or add it to `outputs`")]
    Unused {
        /// The layer.
        place: Place,
        /// The line.
        line: Line,
    },
    /// A layer does not fit what it reads.
    #[error("{place}{line}: {reason}")]
    Layer {
        /// The layer.
        place: Place,
        /// The line.
        line: Line,
        /// Why not.
        reason: String,
    },
    /// The graph refuses a node of a layer.
    #[error("{place}{line}: {source}")]
    Graph {
        /// The layer.
        place: Place,
        /// The line.
        line: Line,
        /// Why.
        source: Box<GraphError>,
    },
    /// A tensor of a layer could not be made.
    #[error("{place}{line}: {source}")]
    Tensor {
        /// The layer.
        place: Place,
        /// The line.
        line: Line,
        /// Why.
        source: Box<TensorError>,
    },
    /// The model is too large to fill with seeded weights.
    #[error("{place}{line}: the model needs more than {limit} seeded weights")]
    TooManyWeights {
        /// The layer that exceeds the limit.
        place: Place,
        /// The line.
        line: Line,
        /// The limit, in elements.
        limit: usize,
    },
    /// The weights do not fit the description.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

fn at(line: Option<usize>, column: Option<usize>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!(" (line {line}, column {column})"),
        (Some(line), None) => format!(" (line {line})"),
        _ => String::new(),
    }
}

/// Why a weights file cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// The file is not a safetensors file, or is damaged.
    #[error("the weights are not a sound safetensors file: {0}")]
    Malformed(String),
    /// Tensors are missing, left over, or of another type than the model needs: all of them.
    #[error("the weights do not fit the model: {} problem{}{}", .0.len(), if .0.len() == 1 { "" } else { "s" }, listed(.0))]
    Mismatch(Vec<WeightProblem>),
}

fn listed(problems: &[WeightProblem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// One thing wrong with a weights file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightProblem {
    /// The file lacks a tensor.
    #[error("`{name}` is missing (the model needs {wanted}){suggestion}")]
    Missing {
        /// The tensor's name.
        name: String,
        /// Its type.
        wanted: TensorType,
        /// A tensor of the file that has a similar name and that the model does not use.
        suggestion: Suggestion,
    },
    /// The file has a tensor that the model does not use.
    #[error("`{name}` {found} is not used by the model")]
    Extra {
        /// The tensor's name.
        name: String,
        /// Its element type and sizes.
        found: String,
    },
    /// A tensor has other sizes.
    #[error("`{name}` has sizes {found:?} but the model needs {wanted:?}")]
    Shape {
        /// The tensor's name.
        name: String,
        /// The sizes that the model needs.
        wanted: Vec<usize>,
        /// The sizes in the file.
        found: Vec<usize>,
    },
    /// A tensor has an element type that weights cannot have.
    #[error("`{name}` holds {found}; weights are F32, F64, F16 or BF16")]
    DType {
        /// The tensor's name.
        name: String,
        /// The element type in the file.
        found: String,
    },
}
