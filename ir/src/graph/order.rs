//! Topological order, and the graph at a given batch size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::{Graph, GraphError, Node};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Input, Op};
use crate::types::{Dim, Shape, TensorType};

/// What is wrong with an input whose size overflows.
const TOO_LARGE: &str = "becomes too large";

impl Graph {
    /// All nodes, each after those that it reads; among ready nodes, the lowest id first, so the order is the same
    /// everywhere.
    ///
    /// # Errors
    /// Where the graph has a cycle; names the nodes of one.
    pub fn order(&self) -> Result<Vec<NodeId>, GraphError> {
        let mut missing: Vec<usize> = vec![0; self.places.len()];
        let mut ready = BinaryHeap::new();
        for (id, _) in self.nodes() {
            let inputs = self.inner.edges_directed(self.place(id)?, Direction::Incoming).count();
            missing[id.index()] = inputs;
            if inputs == 0 {
                ready.push(Reverse(id));
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for edge in self.inner.edges_directed(self.place(id)?, Direction::Outgoing) {
                let Some((reader, _)) = self.inner.node_weight(edge.target()) else { continue };
                missing[reader.index()] -= 1;
                if missing[reader.index()] == 0 {
                    ready.push(Reverse(*reader));
                }
            }
        }
        if order.len() == self.len() { Ok(order) } else { Err(GraphError::Cycle(self.find_cycle(&missing))) }
    }

    /// The names of the nodes of one cycle, found by walking backwards among the nodes that never became ready.
    fn find_cycle(&self, missing: &[usize]) -> Vec<String> {
        let stuck = |id: NodeId| missing.get(id.index()).is_some_and(|count| *count > 0);
        let Some((start, _)) = self.nodes().find(|(id, _)| stuck(*id)) else { return Vec::new() };
        let mut path: Vec<NodeId> = Vec::new();
        let mut position: FxHashMap<NodeId, usize> = FxHashMap::default();
        let mut at = start;
        while !position.contains_key(&at) {
            position.insert(at, path.len());
            path.push(at);
            let before = self.node_inputs(at).into_iter().filter_map(|value| Some(self.value(value).ok()?.producer));
            match before.into_iter().find(|id| stuck(*id)) {
                Some(id) => at = id,
                None => break,
            }
        }
        let first = position.get(&at).copied().unwrap_or(0);
        let mut cycle: Vec<String> = path[first..].iter().rev().map(|id| self.label(*id)).collect();
        cycle.extend(cycle.first().cloned());
        cycle
    }

    /// A node for people: `n3 "conv1" (conv)`.
    #[must_use]
    pub fn label(&self, id: NodeId) -> String {
        match self.node(id) {
            Ok(node) => format!("{id} \"{}\" ({})", node.name, node.op.name()),
            Err(_) => id.to_string(),
        }
    }

    /// The same graph with every symbolic batch set to `batch`, all types inferred anew. Ids are kept.
    ///
    /// # Errors
    /// Where the batch is 0, makes a size overflow, or an op refuses the concrete shapes.
    pub fn with_batch(&self, batch: usize) -> Result<Self, GraphError> {
        self.resized(batch, &|shape| shape.with_batch(batch).ok_or(TOO_LARGE))
    }

    /// The same graph with `first` as the first size of every input, all types inferred anew. Ids are kept.
    ///
    /// # Errors
    /// Where an input has no sizes, `first` is 0 or makes a size overflow, or an op refuses the shapes.
    pub fn with_first_size(&self, first: usize) -> Result<Self, GraphError> {
        self.resized(first, &|shape| {
            let rest = shape.dims().get(1..).ok_or("has no first size")?;
            Ok(std::iter::once(Dim::Fixed(first)).chain(rest.iter().copied()).collect())
        })
    }

    /// With other shapes of the inputs, or with what is wrong with one.
    fn resized(
        &self,
        batch: usize,
        shape_of: &dyn Fn(&Shape) -> Result<Shape, &'static str>,
    ) -> Result<Self, GraphError> {
        let fail = |reason: String| GraphError::Batch { batch, reason };
        if batch == 0 {
            return Err(fail("a batch has at least one item".into()));
        }
        let mut graph = self.clone();
        for id in self.order()? {
            let place = graph.place(id)?;
            if let Some((_, Node { op: Op::Input(Input { ty }), name, .. })) = graph.inner.node_weight_mut(place) {
                let name = name.clone();
                ty.shape = shape_of(&ty.shape)
                    .and_then(|shape| if shape.elements().is_some() { Ok(shape) } else { Err(TOO_LARGE) })
                    .map_err(|reason| fail(format!("input `{name}` of type {ty} {reason}")))?;
            }
            let inputs: SmallVec<[ValueId; 4]> = graph.node_inputs(id);
            let types: Result<SmallVec<[&TensorType; 4]>, _> = inputs.iter().map(|value| graph.ty(*value)).collect();
            let node = graph.node(id)?;
            let refused =
                |source| GraphError::Op { node: node.name.to_string(), op: node.op.name(), source: Box::new(source) };
            let inferred = node.op.infer(&types?).map_err(refused)?;
            let outputs = node.outputs.clone();
            for (value, ty) in outputs.into_iter().zip(inferred) {
                if let Some(value) = graph.values.get_mut(value.index()).and_then(Option::as_mut) {
                    value.ty = ty;
                }
            }
        }
        Ok(graph)
    }

    /// Whether any input has a symbolic batch.
    #[must_use]
    pub fn is_symbolic(&self) -> bool {
        self.inputs
            .iter()
            .any(|id| matches!(self.node(*id), Ok(Node { op: Op::Input(input), .. }) if input.ty.shape.is_symbolic()))
    }
}
