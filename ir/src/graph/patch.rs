//! A rewrite as a value: checked as a whole, then applied as a whole.
//!
//! A pass proposes a [`Patch`]; [`Graph::apply`] type-checks it, applies it and drops the nodes that nothing reads any
//! more. So rewrites can be logged with their reason, counted, and stopped after the n-th.
//!
//! Invariants:
//! 1. A refused patch leaves the graph as it was.
//! 2. A replacement has exactly the type of what it replaces.
//! 3. A patch never makes a cycle.

use std::sync::Arc;

use petgraph::Direction;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{Graph, GraphError, PATCH_RANK_STEP, Provenance, RANK_STEP, Use};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Constant, Op};
use crate::tensor::Tensor;

/// A value that a patch refers to: one of the graph, or one that the patch makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewValue {
    /// A value of the graph.
    Old(ValueId),
    /// An output of a node that the patch adds.
    New {
        /// Position among the patch's nodes.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

impl NewValue {
    /// Another output of the same new node; a value of the graph stays what it is.
    #[must_use]
    pub fn output(self, index: usize) -> Self {
        match self {
            Self::New { node, .. } => Self::New { node, output: index },
            Self::Old(value) => Self::Old(value),
        }
    }
}

impl From<ValueId> for NewValue {
    fn from(value: ValueId) -> Self {
        Self::Old(value)
    }
}

#[derive(Debug, Clone)]
struct NewNode {
    op: Op,
    name: Arc<str>,
    inputs: Vec<NewValue>,
    provenance: Provenance,
}

/// A proposed rewrite.
#[derive(Debug, Clone)]
pub struct Patch {
    pass: &'static str,
    reason: String,
    nodes: Vec<NewNode>,
    replacements: Vec<(ValueId, NewValue)>,
}

/// What was done of a patch so far, to be taken back where it is refused later.
#[derive(Default)]
struct Done {
    added: Vec<NodeId>,
    /// Uses, what they read before and what they read now.
    moved: Vec<(Use, ValueId, ValueId)>,
    /// Graph outputs by position, and what they were before.
    outputs: Vec<(usize, ValueId)>,
    /// Whether the ranks were given anew.
    ranked: bool,
}

/// What a patch did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The nodes it added.
    pub added: Vec<NodeId>,
    /// The nodes that nothing read any more, with their names.
    pub removed: Vec<(NodeId, Arc<str>)>,
}

impl Patch {
    /// An empty patch by this pass, for this reason.
    #[must_use]
    pub fn new(pass: &'static str, reason: impl Into<String>) -> Self {
        Self { pass, reason: reason.into(), nodes: Vec::new(), replacements: Vec::new() }
    }

    /// Why the pass proposes it, naming the source nodes.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The pass that proposes it.
    #[must_use]
    pub fn pass(&self) -> &'static str {
        self.pass
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: &str, tensor: Tensor, provenance: Provenance) -> NewValue {
        self.node(Constant { tensor }, name, Vec::new(), provenance)
    }

    /// Adds a node and gives its first output; its inputs are given before it.
    pub fn node(&mut self, op: impl Into<Op>, name: &str, inputs: Vec<NewValue>, provenance: Provenance) -> NewValue {
        self.nodes.push(NewNode { op: op.into(), name: name.into(), inputs, provenance });
        NewValue::New { node: self.nodes.len() - 1, output: 0 }
    }

    /// Makes every reader of `old`, the caller among them, read `new` instead.
    pub fn replace(&mut self, old: ValueId, new: impl Into<NewValue>) {
        self.replacements.push((old, new.into()));
    }
}

impl Graph {
    /// Applies a patch whole, or refuses it whole.
    ///
    /// # Errors
    /// Where an input does not exist, an op refuses its inputs, a replacement changes a type, or a cycle would arise.
    pub fn apply(&mut self, patch: Patch) -> Result<Applied, GraphError> {
        let before = (self.places.len(), self.values.len());
        let mut done = Done::default();
        if let Err(error) = self.try_apply(&patch, &mut done) {
            self.undo(done, before)?;
            return Err(error);
        }
        let mut candidates: Vec<NodeId> = Vec::new();
        for (old, _) in &patch.replacements {
            candidates.push(self.value(*old)?.producer);
        }
        candidates.extend(&done.added);
        Ok(Applied { removed: self.remove_unread(candidates), added: done.added })
    }

    /// Adds the nodes and makes the replacements one after another, for each is checked in the graph that those before it
    /// left: two that are legal alone may make a cycle together.
    fn try_apply(&mut self, patch: &Patch, done: &mut Done) -> Result<(), GraphError> {
        let refused = |reason: String| GraphError::Patch { pass: patch.pass.into(), reason };
        for (old, _) in &patch.replacements {
            self.value(*old)?;
        }
        for node in &patch.nodes {
            if matches!(node.op, Op::Input(_)) {
                return Err(refused(format!("`{}` would be a new graph input", node.name)));
            }
            let inputs: Result<SmallVec<[ValueId; 4]>, _> =
                node.inputs.iter().map(|input| self.resolve(*input, &done.added)).collect();
            let provenance = node.provenance.clone();
            done.added.push(self.insert_node(node.op.clone(), &node.name, &inputs?, provenance, PATCH_RANK_STEP)?);
        }
        for (old, new) in &patch.replacements {
            let (old, new) = (*old, self.resolve(*new, &done.added)?);
            let (had, has) = (self.ty(old)?, self.ty(new)?);
            if had != has {
                return Err(refused(format!("{old} of type {had} would become {new} of type {has}")));
            }
            let mut readers = self.uses(old);
            // The patch's own nodes keep reading `old`: they are what the replacement is made of.
            readers.retain(|found| !done.added.contains(&found.node));
            let rank = self.rank(self.value(new)?.producer);
            // What ranks above the new value cannot be what it is computed from.
            let ranks_hold = readers.iter().all(|found| self.rank(found.node) > rank);
            if !ranks_hold && readers.iter().any(|found| self.node_reaches(found.node, new)) {
                return Err(refused(format!("replacing {old} by {new} would make a cycle")));
            }
            for found in readers {
                self.disconnect(old, found.node, found.slot);
                self.connect(new, found.node, found.slot)?;
                done.moved.push((found, old, new));
            }
            for (index, output) in self.outputs.iter_mut().enumerate().filter(|(_, output)| output.value == old) {
                output.value = new;
                done.outputs.push((index, old));
            }
            if !ranks_hold {
                done.ranked = true;
                self.rank_all()?;
            }
        }
        Ok(())
    }

    /// Takes back what a refused patch did before it was refused.
    fn undo(&mut self, done: Done, (nodes, values): (usize, usize)) -> Result<(), GraphError> {
        for (index, old) in done.outputs.into_iter().rev() {
            self.outputs[index].value = old;
        }
        for (found, old, new) in done.moved.into_iter().rev() {
            self.disconnect(new, found.node, found.slot);
            self.connect(old, found.node, found.slot)?;
        }
        for id in done.added.into_iter().rev() {
            self.remove(id);
        }
        self.places.truncate(nodes);
        self.ranks.truncate(nodes);
        self.values.truncate(values);
        if done.ranked {
            self.rank_all()?;
        }
        Ok(())
    }

    /// Removes those of `candidates` that nothing reads, and what only they read. Inputs stay.
    pub fn remove_unread(&mut self, mut candidates: Vec<NodeId>) -> Vec<(NodeId, Arc<str>)> {
        let mut removed = Vec::new();
        while let Some(id) = candidates.pop() {
            let Ok(node) = self.node(id) else { continue };
            if matches!(node.op, Op::Input(_)) || node.outputs.iter().any(|value| self.is_read(*value)) {
                continue;
            }
            removed.push((id, node.name.clone()));
            for value in self.node_inputs(id) {
                if let Ok(value) = self.value(value) {
                    candidates.push(value.producer);
                }
            }
            self.remove(id);
        }
        removed
    }

    fn resolve(&self, value: NewValue, added: &[NodeId]) -> Result<ValueId, GraphError> {
        match value {
            NewValue::Old(value) => Ok(value),
            NewValue::New { node, output } => match added.get(node) {
                Some(id) => self.output(*id, output),
                None => Err(GraphError::NoNode(NodeId::from_index(node))),
            },
        }
    }

    fn disconnect(&mut self, value: ValueId, node: NodeId, slot: usize) {
        let Ok(to) = self.place(node) else { return };
        // From the reader's side: a node reads few values, but a value may have many readers.
        let edge = self
            .inner
            .edges_directed(to, Direction::Incoming)
            .find(|edge| edge.weight().value == value && edge.weight().slot as usize == slot)
            .map(|edge| edge.id());
        if let Some(edge) = edge {
            self.inner.remove_edge(edge);
        }
    }

    fn remove(&mut self, id: NodeId) {
        let Ok(place) = self.place(id) else { return };
        if let Some((_, node)) = self.inner.remove_node(place) {
            for value in node.outputs {
                self.values[value.index()] = None;
            }
        }
        self.places[id.index()] = None;
    }

    /// Gives every node its rank anew, with room between them.
    fn rank_all(&mut self) -> Result<(), GraphError> {
        for id in self.order()? {
            let above = |value: ValueId| {
                self.value(value).map_or(0, |value| self.rank(value.producer).saturating_add(RANK_STEP))
            };
            let rank = self.node_inputs(id).into_iter().map(above).max().unwrap_or(0);
            self.ranks[id.index()] = rank;
        }
        Ok(())
    }

    /// Whether `to` is made by `from` or computed from what `from` makes. Walks backwards from `to`, with a worklist.
    fn node_reaches(&self, from: NodeId, to: ValueId) -> bool {
        let mut seen = FxHashSet::default();
        let mut work: Vec<NodeId> = self.value(to).map(|value| value.producer).into_iter().collect();
        while let Some(id) = work.pop() {
            if id == from {
                return true;
            }
            // What ranks no higher cannot be computed from it.
            if self.rank(id) > self.rank(from) && seen.insert(id) {
                work.extend(
                    self.node_inputs(id).into_iter().filter_map(|value| Some(self.value(value).ok()?.producer)),
                );
            }
        }
        false
    }
}
