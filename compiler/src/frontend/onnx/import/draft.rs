//! The graph while it is imported: items in an order in which each comes after those that it reads.
//!
//! The draft exists because ONNX computes shapes, axes and bounds with ordinary nodes. Items that depend on no graph input
//! are *fixed*: [`Draft::value`] evaluates one when an importer needs it, and [`Draft::finish`] leaves out those that
//! nothing but importers has read. All other items become nodes, read or not: dropping them is a pass's business.
//!
//! Invariants: an item's type is what its op infers; an item reads earlier items only; nothing here recurses.

use std::sync::Arc;

use incept_ir::graph::{Graph, GraphError};
use incept_ir::ids::ValueId;
use incept_ir::ops::{Constant, Op, OpError};
use incept_ir::tensor::Tensor;
use incept_ir::types::{DType, Dim, TensorType};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// An item of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ItemId(usize);

/// One number of a shape that is computed at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// A known number.
    Known(i64),
    /// This many times the batch size.
    Batch(usize),
}

/// What an item is.
#[derive(Debug)]
enum Kind {
    Input,
    Op {
        op: Op,
        inputs: SmallVec<[ItemId; 4]>,
    },
    /// A vector (or scalar) of integers that holds the batch size. It has no op: what reads it must know what to do.
    Counts(Vec<Count>),
}

#[derive(Debug)]
struct Item {
    kind: Kind,
    name: Arc<str>,
    /// The name of the source node or initializer.
    source: Arc<str>,
    ty: TensorType,
    /// Whether it depends on no graph input.
    fixed: bool,
}

/// Larger values are not evaluated while importing: shapes, axes and bounds are small.
const MAX_EVALUATED: usize = 1 << 16;

/// The most bytes that all evaluated values may take: a small file cannot ask for more work or memory than this.
const MAX_EVALUATED_BYTES: usize = 1 << 26;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Draft {
    items: Vec<Item>,
    values: FxHashMap<ItemId, Tensor>,
    widened: FxHashMap<ItemId, ItemId>,
    /// Bytes of the values that were evaluated.
    evaluated: usize,
    /// Bytes of the constants that nodes asked to be made.
    made: usize,
}

impl Draft {
    pub(super) fn input(&mut self, name: &str, ty: TensorType) -> ItemId {
        self.push(Item { kind: Kind::Input, name: name.into(), source: name.into(), ty, fixed: false })
    }

    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> ItemId {
        let ty = tensor.ty();
        let kind = Kind::Op { op: Constant { tensor }.into(), inputs: SmallVec::new() };
        self.push(Item { kind, name: name.into(), source: name.into(), ty, fixed: true })
    }

    /// A vector of integers, or a scalar: a constant where the batch size does not occur.
    pub(super) fn counts(&mut self, name: &str, counts: Vec<Count>, scalar: bool) -> Result<ItemId, OpError> {
        let sizes: &[usize] = if scalar { &[] } else { &[counts.len()] };
        let known = |count: &Count| match count {
            Count::Known(value) => Some(*value),
            Count::Batch(_) => None,
        };
        if let Some(values) = counts.iter().map(known).collect::<Option<Vec<i64>>>() {
            return Ok(self.constant(name, Tensor::from_i64(sizes, values)?));
        }
        let ty = TensorType::new(DType::I64, incept_ir::types::Shape::fixed(sizes));
        let kind = Kind::Counts(counts);
        Ok(self.push(Item { kind, name: name.into(), source: name.into(), ty, fixed: false }))
    }

    /// Adds an op on items.
    ///
    /// Half-precision constants beside `f32` inputs are widened, which is exact; ops compute on `f32`.
    ///
    /// # Errors
    /// Where the op refuses the inputs' types.
    pub(super) fn op(&mut self, op: Op, name: &str, source: &str, inputs: &[ItemId]) -> Result<ItemId, OpError> {
        let mut inputs: SmallVec<[ItemId; 4]> = SmallVec::from_slice(inputs);
        if inputs.iter().any(|id| self.ty(*id).dtype == DType::F32) {
            for id in &mut inputs {
                *id = self.widen(*id)?;
            }
        }
        let inferred = {
            let types: SmallVec<[&TensorType; 4]> = inputs.iter().map(|id| self.ty(*id)).collect();
            op.infer(&types)?
        };
        let [ty] = inferred.as_slice() else {
            return Err(OpError::Type(format!("internal error: {} outputs where one is expected", inferred.len())));
        };
        let ty = ty.clone();
        let fixed = inputs.iter().all(|id| self.items[id.0].fixed);
        let kind = Kind::Op { op, inputs };
        Ok(self.push(Item { kind, name: name.into(), source: source.into(), ty, fixed }))
    }

    fn widen(&mut self, id: ItemId) -> Result<ItemId, OpError> {
        let item = &self.items[id.0];
        if !item.fixed || item.ty.dtype != DType::F16 {
            return Ok(id);
        }
        if let Some(wide) = self.widened.get(&id) {
            return Ok(*wide);
        }
        let (name, source) = (item.name.clone(), item.source.clone());
        let wide = match &item.kind {
            Kind::Op { op: Op::Constant(constant), .. } => {
                let tensor = constant.tensor.cast(DType::F32)?;
                self.constant(&name, tensor)
            }
            _ => self.op(incept_ir::ops::Cast { to: DType::F32 }.into(), &format!("{name}_widened"), &source, &[id])?,
        };
        self.widened.insert(id, wide);
        Ok(wide)
    }

    fn push(&mut self, item: Item) -> ItemId {
        self.items.push(item);
        ItemId(self.items.len() - 1)
    }

    /// Counts bytes of a constant that a node asks to be made; false where all together exceed `limit`.
    pub(super) fn account(&mut self, bytes: usize, limit: usize) -> bool {
        self.made = self.made.saturating_add(bytes);
        self.made <= limit
    }

    pub(super) fn ty(&self, id: ItemId) -> &TensorType {
        &self.items[id.0].ty
    }

    /// The numbers of an item that holds the batch size.
    pub(super) fn batch_counts(&self, id: ItemId) -> Option<&[Count]> {
        match &self.items[id.0].kind {
            Kind::Counts(counts) => Some(counts),
            _ => None,
        }
    }

    /// The item's value, computed once.
    ///
    /// # Errors
    /// In words: why it is not known.
    pub(super) fn value(&mut self, id: ItemId) -> Result<Tensor, String> {
        let mut pending = vec![id];
        while let Some(&at) = pending.last() {
            if self.values.contains_key(&at) {
                pending.pop();
                continue;
            }
            let item = &self.items[at.0];
            let (op, inputs) = match &item.kind {
                Kind::Input => return Err(format!("it depends on the graph input `{}`", item.name)),
                Kind::Counts(_) => return Err("it depends on the batch size".into()),
                Kind::Op { op, inputs } => (op, inputs),
            };
            if let Op::Constant(constant) = op {
                let tensor = constant.tensor.clone();
                self.values.insert(at, tensor);
                continue;
            }
            if !cheap(op) {
                return Err(format!("it depends on node `{}` ({}), which is not evaluated here", item.name, op.name()));
            }
            let small =
                |ty: &TensorType| matches!(ty.shape.elements(), Some(Dim::Fixed(count)) if count <= MAX_EVALUATED);
            if item.fixed && !inputs.iter().map(|id| self.ty(*id)).chain([&item.ty]).all(small) {
                return Err(format!("it depends on node `{}`, whose value is large ({})", item.name, item.ty));
            }
            let missing: SmallVec<[ItemId; 4]> =
                inputs.iter().copied().filter(|id| !self.values.contains_key(id)).collect();
            if !missing.is_empty() {
                pending.extend(missing);
                continue;
            }
            let made = {
                let tensors: SmallVec<[&Tensor; 4]> = inputs.iter().filter_map(|id| self.values.get(id)).collect();
                op.evaluate(&tensors).map_err(|error| format!("node `{}`: {error}", item.name))?
            };
            let Some(value) = made.into_iter().next() else {
                return Err(format!("internal error: node `{}` has no value", item.name));
            };
            self.evaluated = self.evaluated.saturating_add(value.bytes().len());
            if self.evaluated > MAX_EVALUATED_BYTES {
                return Err(format!("the model computes more than {MAX_EVALUATED_BYTES} bytes of such values"));
            }
            self.values.insert(at, value);
        }
        self.values.get(&id).cloned().ok_or_else(|| "internal error: it was not evaluated".into())
    }

    /// The graph, with these named outputs.
    ///
    /// # Errors
    /// Where the graph is too large.
    pub(super) fn finish(self, name: &str, outputs: &[(&str, ItemId)]) -> Result<Graph, GraphError> {
        let mut needed: Vec<bool> = self.items.iter().map(|item| !item.fixed).collect();
        for (_, id) in outputs {
            needed[id.0] = true;
        }
        for (index, item) in self.items.iter().enumerate().rev() {
            if let (true, Kind::Op { inputs, .. }) = (needed[index], &item.kind) {
                for input in inputs {
                    needed[input.0] = true;
                }
            }
        }
        let mut graph = Graph::new(name);
        let mut placed: Vec<Option<ValueId>> = Vec::with_capacity(self.items.len());
        for (item, needed) in self.items.into_iter().zip(needed) {
            let value = match item.kind {
                Kind::Counts(_) => None,
                _ if !needed => None,
                Kind::Input => Some(graph.add_input(&item.name, item.ty)?),
                Kind::Op { op, inputs } => {
                    let inputs: SmallVec<[ValueId; 4]> = inputs.iter().filter_map(|id| placed[id.0]).collect();
                    let node = graph.add_node(op, &item.name, &inputs, [item.source].into())?;
                    Some(graph.output(node, 0)?)
                }
            };
            placed.push(value);
        }
        for (name, id) in outputs {
            if let Some(value) = placed[id.0] {
                graph.add_output(name, value)?;
            }
        }
        Ok(graph)
    }
}

/// Whether an op may be evaluated while importing: those that shapes and bounds are computed with.
fn cheap(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_)
            | Op::Mul(_)
            | Op::Concat(_)
            | Op::Unsqueeze(_)
            | Op::Squeeze(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Cast(_)
            | Op::Identity(_)
            | Op::Dropout(_)
            | Op::Clip(_)
            | Op::Relu(_)
            | Op::Pad(_)
    )
}
