//! The graph: nodes, each an op with ordered inputs and typed outputs.
//!
//! Lives over a private petgraph; no petgraph type leaks out. Reading is by [`Node`] and the queries here; changing is by
//! adding nodes while a graph is built, and by [`Patch`] afterwards. Depends on `ops`, `types`, `tensor` and nothing else.
//!
//! Invariants are numbered in [`verify`].

mod error;
mod order;
pub mod patch;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod verify;

use std::sync::Arc;

pub use error::GraphError;
pub use patch::{NewValue, Patch};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use smallvec::SmallVec;
pub use stage::Stage;

use crate::ids::{NodeId, ValueId};
use crate::ops::{Constant, Input, Op};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// The names of the source nodes that a node came from, in source order. Shared, for most nodes of a pass keep theirs.
pub type Provenance = Arc<[Arc<str>]>;

/// A node: what it computes, and what it is called.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Its name in the source, or one that a pass derived.
    pub name: Arc<str>,
    /// The values it makes, in order.
    pub outputs: SmallVec<[ValueId; 1]>,
    /// The source nodes that it stands for.
    pub provenance: Provenance,
}

/// A value: what it is and who makes it.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its type.
    pub ty: TensorType,
    /// The node that makes it.
    pub producer: NodeId,
    /// Which output of that node it is.
    pub index: usize,
}

/// One use of a value: an input slot of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The reading node.
    pub node: NodeId,
    /// Which of its inputs.
    pub slot: usize,
}

/// A named graph output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name for the caller.
    pub name: Arc<str>,
    /// The value.
    pub value: ValueId,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    value: ValueId,
    slot: u32,
}

/// A directed acyclic graph of ops. See the module's documentation.
#[derive(Debug, Clone)]
pub struct Graph {
    name: Arc<str>,
    stage: Stage,
    inner: StableDiGraph<(NodeId, Node), Edge>,
    /// Where each node lies; `None` once it is removed. Ids are never reused, petgraph's indices are.
    places: Vec<Option<NodeIndex>>,
    /// A number for each node id that is larger than those of all nodes it reads: makes most cycle checks free. Numbers
    /// lie far apart ([`RANK_STEP`]), so that patches find room between them and need no new ones downstream.
    ranks: Vec<u64>,
    values: Vec<Option<Value>>,
    inputs: Vec<NodeId>,
    outputs: Vec<Output>,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            stage: Stage::Imported,
            inner: StableDiGraph::new(),
            places: Vec::new(),
            ranks: Vec::new(),
            values: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// The graph's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How far the graph has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Marks how far the graph has come; [`verify`] says what the stage allows.
    pub fn set_stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// Adds a graph input after the others.
    ///
    /// # Errors
    /// Where the type is too large.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> Result<ValueId, GraphError> {
        let node = self.add_input_node(ty, name, [name.into()].into())?;
        self.output(node, 0)
    }

    /// Adds a graph input of this provenance after the others.
    pub(crate) fn add_input_node(
        &mut self,
        ty: TensorType,
        name: &str,
        provenance: Provenance,
    ) -> Result<NodeId, GraphError> {
        let node = self.add_node(Input { ty }.into(), name, &[], provenance)?;
        self.inputs.push(node);
        Ok(node)
    }

    /// Adds a constant.
    ///
    /// # Errors
    /// Where the graph is full.
    pub fn add_constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, GraphError> {
        let node = self.add_node(Constant { tensor }.into(), name, &[], [name.into()].into())?;
        self.output(node, 0)
    }

    /// Adds a node whose provenance is its own name, and gives its first output.
    ///
    /// # Errors
    /// As [`Graph::add_node`].
    pub fn add(&mut self, op: impl Into<Op>, name: &str, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        let node = self.add_node(op.into(), name, inputs, [name.into()].into())?;
        self.output(node, 0)
    }

    /// Adds a node and infers the types of its outputs.
    ///
    /// # Errors
    /// Where an input does not exist, the op refuses the inputs' types, or the graph is full.
    pub fn add_node(
        &mut self,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        provenance: Provenance,
    ) -> Result<NodeId, GraphError> {
        self.insert_node(op, name, inputs, provenance, RANK_STEP)
    }

    /// Adds a node whose rank lies `step` above those of the nodes it reads.
    fn insert_node(
        &mut self,
        op: Op,
        name: &str,
        inputs: &[ValueId],
        provenance: Provenance,
        step: u64,
    ) -> Result<NodeId, GraphError> {
        let types = {
            let types: Result<SmallVec<[&TensorType; 4]>, _> = inputs.iter().map(|value| self.ty(*value)).collect();
            let refused = |source| GraphError::Op { node: name.into(), op: op.name(), source: Box::new(source) };
            op.infer(&types?).map_err(refused)?
        };
        if self.places.len().max(self.values.len()) >= MAX_NODES {
            return Err(GraphError::TooLarge { limit: MAX_NODES });
        }
        let id = NodeId::from_index(self.places.len());
        let mut outputs = SmallVec::new();
        for (index, ty) in types.into_iter().enumerate() {
            outputs.push(ValueId::from_index(self.values.len()));
            self.values.push(Some(Value { ty, producer: id, index }));
        }
        let place = self.inner.add_node((id, Node { op, name: name.into(), outputs, provenance }));
        self.places.push(Some(place));
        self.ranks.push(0);
        for (slot, value) in inputs.iter().enumerate() {
            self.connect(*value, id, slot)?;
            self.rank_after(*value, id, step)?;
        }
        Ok(id)
    }

    /// Adds a graph output after the others.
    ///
    /// # Errors
    /// Where the value does not exist.
    pub fn add_output(&mut self, name: &str, value: ValueId) -> Result<(), GraphError> {
        self.value(value)?;
        self.outputs.push(Output { name: name.into(), value });
        Ok(())
    }

    /// Replaces the list of graph outputs; dead-code elimination then drops what they do not need.
    ///
    /// # Errors
    /// Where a value does not exist.
    pub fn set_outputs(&mut self, outputs: Vec<Output>) -> Result<(), GraphError> {
        for output in &outputs {
            self.value(output.value)?;
        }
        self.outputs = outputs;
        Ok(())
    }

    /// The input nodes, in the caller's order.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The outputs, in the caller's order.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.node_count()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A node.
    ///
    /// # Errors
    /// Where there is none of this id, or it was removed.
    pub fn node(&self, id: NodeId) -> Result<&Node, GraphError> {
        let place = self.place(id)?;
        self.inner.node_weight(place).map(|(_, node)| node).ok_or(GraphError::NoNode(id))
    }

    /// A value.
    ///
    /// # Errors
    /// Where there is none of this id, or its producer was removed.
    pub fn value(&self, id: ValueId) -> Result<&Value, GraphError> {
        self.values.get(id.index()).and_then(Option::as_ref).ok_or(GraphError::NoValue(id))
    }

    /// A value's type.
    ///
    /// # Errors
    /// As [`Graph::value`].
    pub fn ty(&self, id: ValueId) -> Result<&TensorType, GraphError> {
        Ok(&self.value(id)?.ty)
    }

    /// The node that makes a value.
    ///
    /// # Errors
    /// As [`Graph::value`].
    pub fn producer(&self, id: ValueId) -> Result<(NodeId, &Node), GraphError> {
        let node = self.value(id)?.producer;
        Ok((node, self.node(node)?))
    }

    /// The tensor of a value that is a constant.
    #[must_use]
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        match &self.producer(id).ok()?.1.op {
            Op::Constant(constant) => Some(&constant.tensor),
            _ => None,
        }
    }

    /// An output of a node.
    ///
    /// # Errors
    /// Where the node or the output does not exist.
    pub fn output(&self, node: NodeId, index: usize) -> Result<ValueId, GraphError> {
        self.node(node)?.outputs.get(index).copied().ok_or(GraphError::NoOutput { node, index })
    }

    /// A node's inputs, by slot. Empty where the node does not exist.
    #[must_use]
    pub fn node_inputs(&self, id: NodeId) -> SmallVec<[ValueId; 4]> {
        let Ok(place) = self.place(id) else { return SmallVec::new() };
        let mut edges: SmallVec<[Edge; 4]> =
            self.inner.edges_directed(place, Direction::Incoming).map(|edge| *edge.weight()).collect();
        edges.sort_unstable_by_key(|edge| edge.slot);
        edges.into_iter().map(|edge| edge.value).collect()
    }

    /// The slots in which a node has inputs, ascending; for the verifier.
    fn slots(&self, id: NodeId) -> SmallVec<[usize; 4]> {
        let Ok(place) = self.place(id) else { return SmallVec::new() };
        let mut slots: SmallVec<[usize; 4]> =
            self.inner.edges_directed(place, Direction::Incoming).map(|edge| edge.weight().slot as usize).collect();
        slots.sort_unstable();
        slots
    }

    /// Every use of a value by a node, in the order of ids and slots. Graph outputs are not among them.
    #[must_use]
    pub fn uses(&self, id: ValueId) -> SmallVec<[Use; 4]> {
        let mut uses: SmallVec<[Use; 4]> = self.unordered_uses(id).collect();
        uses.sort_unstable_by_key(|found| (found.node, found.slot));
        uses
    }

    fn unordered_uses(&self, id: ValueId) -> impl Iterator<Item = Use> {
        let place = self.value(id).ok().and_then(|value| self.place(value.producer).ok());
        let edges = place.into_iter().flat_map(|place| self.inner.edges_directed(place, Direction::Outgoing));
        edges.filter(move |edge| edge.weight().value == id).filter_map(|edge| {
            let node = self.inner.node_weight(edge.target())?.0;
            Some(Use { node, slot: edge.weight().slot as usize })
        })
    }

    /// Whether a value is a graph output.
    #[must_use]
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|output| output.value == id)
    }

    /// The one use of a value that nothing else reads: neither another slot nor the caller. Does not look at more than two.
    #[must_use]
    pub fn only_use(&self, id: ValueId) -> Option<Use> {
        let mut uses = self.unordered_uses(id);
        match (uses.next(), uses.next()) {
            (Some(only), None) if !self.is_output(id) => Some(only),
            _ => None,
        }
    }

    /// All nodes in the order of their ids: the order in which they were added, not one to run them in.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.places.iter().flatten().filter_map(|place| self.inner.node_weight(*place)).map(|(id, node)| (*id, node))
    }

    /// Whether the caller or a node reads a value. Does not look at more than one reader.
    #[must_use]
    pub fn is_read(&self, id: ValueId) -> bool {
        self.unordered_uses(id).next().is_some() || self.is_output(id)
    }

    fn rank(&self, id: NodeId) -> u64 {
        self.ranks.get(id.index()).copied().unwrap_or(0)
    }

    fn place(&self, id: NodeId) -> Result<NodeIndex, GraphError> {
        self.places.get(id.index()).copied().flatten().ok_or(GraphError::NoNode(id))
    }

    /// Adds an edge; ranks are the caller's business.
    fn connect(&mut self, value: ValueId, node: NodeId, slot: usize) -> Result<(), GraphError> {
        let from = self.place(self.value(value)?.producer)?;
        let to = self.place(node)?;
        let slot = u32::try_from(slot).map_err(|_| GraphError::TooLarge { limit: MAX_NODES })?;
        self.inner.add_edge(from, to, Edge { value, slot });
        Ok(())
    }

    /// Lifts a node's rank to `step` above that of a value it reads.
    fn rank_after(&mut self, value: ValueId, node: NodeId, step: u64) -> Result<(), GraphError> {
        let after = self.rank(self.value(value)?.producer).saturating_add(step);
        if let Some(rank) = self.ranks.get_mut(node.index()) {
            *rank = after.max(*rank);
        }
        Ok(())
    }
}

/// How far a node's rank lies above those of the nodes it reads. [`MAX_NODES`] such steps still fit.
const RANK_STEP: u64 = 1 << 36;

/// The same for a node that a patch adds: thousands of them fit between two that were there before, and as many between
/// two of those.
const PATCH_RANK_STEP: u64 = 1 << 18;

/// The most nodes and values that one graph may ever hold.
pub const MAX_NODES: usize = 1 << 24;
