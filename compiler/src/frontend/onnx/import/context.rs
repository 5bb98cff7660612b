//! What the importer of one node sees: its inputs, its attributes, and where its result goes.

use incept_ir::ops::{Op, OpError};
use incept_ir::tensor::Tensor;
use incept_ir::types::{DType, Dim, TensorType};
use smallvec::SmallVec;

use super::attributes::{Attributes, short};
use super::draft::{Count, Draft, ItemId};
use super::error::NodeError;

/// See the module's documentation.
pub(super) struct NodeContext<'a> {
    pub(super) draft: &'a mut Draft,
    /// The node's name, unique in the graph.
    pub(super) name: &'a str,
    pub(super) opset: i64,
    /// The names of the inputs' values, by slot; empty where an optional one is left out.
    pub(super) names: &'a [String],
    /// By slot; `None` where an optional input is left out.
    pub(super) inputs: SmallVec<[Option<ItemId>; 4]>,
    pub(super) attributes: Attributes<'a>,
}

/// What an importer gives: the item that the node's first output stands for.
pub(super) type Imported = Result<ItemId, NodeError>;

impl NodeContext<'_> {
    /// Checks the number of inputs; trailing ones that are left out do not count.
    pub(super) fn takes(&self, low: usize, high: usize) -> Result<(), NodeError> {
        let given = self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if (low..=high).contains(&given) {
            return Ok(());
        }
        let wanted = match high {
            usize::MAX => format!("at least {low}"),
            _ if low == high => low.to_string(),
            _ => format!("{low} to {high}"),
        } + if high == 1 || (low, high) == (1, usize::MAX) { " input" } else { " inputs" };
        Err(NodeError::Inputs { wanted, given })
    }

    /// A required input.
    pub(super) fn input(&self, slot: usize) -> Result<ItemId, NodeError> {
        self.optional(slot).ok_or(NodeError::MissingInput { slot })
    }

    fn value_name(&self, slot: usize) -> String {
        self.names.get(slot).cloned().unwrap_or_default()
    }

    /// An optional input.
    pub(super) fn optional(&self, slot: usize) -> Option<ItemId> {
        self.inputs.get(slot).copied().flatten()
    }

    /// All inputs of a node that takes any number of them.
    pub(super) fn all_inputs(&self) -> Result<SmallVec<[ItemId; 4]>, NodeError> {
        self.takes(1, usize::MAX)?;
        (0..self.inputs.len()).map(|slot| self.input(slot)).collect()
    }

    pub(super) fn ty(&self, id: ItemId) -> &TensorType {
        self.draft.ty(id)
    }

    pub(super) fn rank(&self, id: ItemId) -> usize {
        self.ty(id).shape.rank()
    }

    /// Adds the op that the node stands for.
    pub(super) fn emit(&mut self, op: impl Into<Op>, inputs: &[ItemId]) -> Imported {
        self.emit_as(op, self.name, inputs)
    }

    /// Adds one of several ops that the node stands for.
    pub(super) fn emit_as(&mut self, op: impl Into<Op>, name: &str, inputs: &[ItemId]) -> Imported {
        for id in inputs {
            if self.draft.batch_counts(*id).is_some() {
                return Err(NodeError::NotStatic {
                    role: "input".into(),
                    input: self
                        .inputs
                        .iter()
                        .position(|input| *input == Some(*id))
                        .map_or_else(String::new, |slot| self.value_name(slot)),
                    why: "it depends on the batch size, and only shapes may".into(),
                });
            }
        }
        self.draft.op(op.into(), name, self.name, inputs).map_err(|error| match error {
            OpError::Type(_) if inputs.iter().any(|id| matches!(self.ty(*id).dtype, DType::F16 | DType::F64)) => {
                NodeError::Precision(error)
            }
            error => NodeError::Op(error),
        })
    }

    /// The value of an input that must be known now.
    pub(super) fn value(&mut self, slot: usize, role: &str) -> Result<Tensor, NodeError> {
        let id = self.input(slot)?;
        let value = self.draft.value(id);
        value.map_err(|why| NodeError::NotStatic { role: role.to_owned(), input: self.value_name(slot), why })
    }

    /// The integers of a list (or a single integer) that must be known now; `None` where it is left out.
    pub(super) fn ints(&mut self, slot: usize, role: &str) -> Result<Option<Vec<i64>>, NodeError> {
        if self.optional(slot).is_none() {
            return Ok(None);
        }
        let tensor = self.value(slot, role)?;
        if tensor.sizes().len() > 1 {
            return Err(wrong(role, format!("must be a list, but has {} dimensions", tensor.sizes().len())));
        }
        match tensor.to_i64() {
            Ok(values) => Ok(Some(values)),
            Err(error) => Err(wrong(role, format!("cannot be read: {error}"))),
        }
    }

    /// A single number that must be known now; `None` where it is left out.
    pub(super) fn scalar(&mut self, slot: usize, role: &str) -> Result<Option<f64>, NodeError> {
        if self.optional(slot).is_none() {
            return Ok(None);
        }
        match *self.value(slot, role)?.to_f64().as_slice() {
            [value] => Ok(Some(value)),
            ref values => Err(wrong(role, format!("must be one number, but holds {}", values.len()))),
        }
    }

    /// The integers of an input that is a list or a scalar, where they are known but for the batch size.
    ///
    /// # Errors
    /// Where they are not.
    pub(super) fn counts(&mut self, slot: usize, role: &str) -> Result<Vec<Count>, NodeError> {
        let id = self.input(slot)?;
        if let Some(counts) = self.draft.batch_counts(id) {
            return Ok(counts.to_vec());
        }
        Ok(self.ints(slot, role)?.unwrap_or_default().into_iter().map(Count::Known).collect())
    }

    /// Whether any input holds the batch size as a number.
    pub(super) fn has_batch_counts(&self) -> bool {
        self.inputs.iter().flatten().any(|id| self.draft.batch_counts(*id).is_some())
    }

    /// A required integer attribute.
    pub(super) fn required_int(&mut self, name: &'static str) -> Result<i64, NodeError> {
        self.attributes.int(name)?.ok_or(NodeError::MissingAttribute { name })
    }

    /// Checks that an input is an image batch, N,C,H,W, and gives its height and width.
    pub(super) fn image(&self, id: ItemId) -> Result<[usize; 2], NodeError> {
        let shape = &self.ty(id).shape;
        if shape.rank() != 4 {
            let what = match shape.rank() {
                3 => "a one-dimensional window (the input has rank 3)".into(),
                5 => "a three-dimensional window (the input has rank 5)".into(),
                rank => format!("an input of rank {rank}"),
            };
            let help = "windows are two-dimensional: the input is N,C,H,W".into();
            return Err(NodeError::Unsupported { what, help });
        }
        match (shape[2], shape[3]) {
            (Dim::Fixed(height), Dim::Fixed(width)) => Ok([height, width]),
            _ => Err(NodeError::Unsupported {
                what: format!("an input of type {}", self.ty(id)),
                help: "height and width may not depend on the batch size".into(),
            }),
        }
    }
}

/// An input's value is wrong.
pub(super) fn wrong(role: &str, problem: impl Into<String>) -> NodeError {
    NodeError::Value { role: role.to_owned(), problem: problem.into() }
}

/// An axis from the front, below `rank`.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, NodeError> {
    // Ranks are at most 8 by construction of every type.
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_front) {
        Ok(front) if front < rank => Ok(front),
        _ => Err(wrong("axis", format!("is {axis}, but the input has {rank} dimensions"))),
    }
}

/// Axes from the front, ascending, each once.
pub(super) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>, NodeError> {
    let mut axes = given.iter().map(|one| axis(*one, rank)).collect::<Result<Vec<_>, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(wrong("axes", format!("are {}, which names one twice", short(given))));
    }
    Ok(axes)
}
