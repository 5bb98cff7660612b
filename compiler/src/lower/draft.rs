//! The plan while it is made: roots without addresses, steps without a final order.
//!
//! Views are those of the plan; their buffer is the root's position here.

use bytes::Bytes;
use incept_ir::graph::{Graph, Node};
use incept_ir::ids::{BufferId, ConstId, NodeId, ValueId};
use incept_ir::plan::{CopyKind, PlanConstant, StepKind, View};
use incept_ir::tensor::Tensor;
use incept_ir::types::DType;
use rustc_hash::FxHashMap;

use super::alias_concat::Slice;
use super::layout;
use super::source::Sources;

/// What becomes of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// It gets a place in the arena.
    Arena,
    /// The caller's input of this position.
    Input(usize),
    /// The caller's output of this position.
    Output(usize),
    /// A constant of the plan.
    Constant(ConstId),
}

#[derive(Debug, Clone)]
pub(super) struct Root {
    pub elements: usize,
    pub name: String,
    pub home: Home,
}

#[derive(Debug, Clone)]
pub(super) struct DraftStep {
    pub kind: StepKind,
    pub inputs: Vec<View>,
    pub outputs: Vec<View>,
    pub constants: Vec<ConstId>,
    pub name: String,
    pub nodes: Vec<String>,
    /// The steps whose results it reads, ascending.
    pub after: Vec<usize>,
}

/// A value that can be read: where it lies, and the steps that write it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub view: View,
    pub writers: Vec<usize>,
}

/// Why a node is not lowered.
#[derive(Debug)]
pub(super) enum Stop {
    /// It cannot be; the reason, to be reported.
    Refused(String),
    /// Something that it reads was refused, which is reported there.
    Poisoned,
}

pub(super) type Step<T> = Result<T, Stop>;

pub(super) fn refuse<T>(reason: impl Into<String>) -> Step<T> {
    Err(Stop::Refused(reason.into()))
}

pub(super) struct Draft<'graph> {
    pub graph: &'graph Graph,
    pub sources: Sources,
    pub slices: FxHashMap<ValueId, Slice>,
    pub roots: Vec<Root>,
    pub steps: Vec<DraftStep>,
    pub constants: Vec<PlanConstant>,
    stored: FxHashMap<ValueId, Stored>,
    /// Where values are to be written that others lie in, known before they are stored.
    reserved: FxHashMap<ValueId, View>,
    weights: FxHashMap<ValueId, ConstId>,
    /// Copies in another layout, by what they copy and the order of the axes.
    copies: FxHashMap<(View, Vec<usize>), Stored>,
}

impl<'graph> Draft<'graph> {
    pub fn new(graph: &'graph Graph, sources: Sources, slices: FxHashMap<ValueId, Slice>) -> Self {
        Self {
            graph,
            sources,
            slices,
            roots: Vec::new(),
            steps: Vec::new(),
            constants: Vec::new(),
            stored: FxHashMap::default(),
            reserved: FxHashMap::default(),
            weights: FxHashMap::default(),
            copies: FxHashMap::default(),
        }
    }

    /// The sizes of a value that steps compute on.
    pub fn sizes(&self, value: ValueId) -> Step<Vec<usize>> {
        let Ok(found) = self.graph.value(value) else { return refuse(format!("there is no value {value}")) };
        let ty = &found.ty;
        if ty.dtype != DType::F32 {
            return refuse(format!("a value of type {ty}: only f32 is computed on"));
        }
        let Some(sizes) = ty.shape.sizes() else {
            return refuse(format!("a value of type {ty}: its batch is not set"));
        };
        if sizes.contains(&0) {
            return refuse(format!("a value of type {ty} has no elements"));
        }
        if ty.shape.elements().is_none() {
            return refuse(format!("a value of type {ty} is too large"));
        }
        Ok(sizes)
    }

    pub fn root(&mut self, name: &str, elements: usize, home: Home) -> BufferId {
        self.roots.push(Root { elements, name: name.into(), home });
        BufferId::from_index(self.roots.len() - 1)
    }

    /// A new dense root whose axes lie in this order.
    pub fn fresh(&mut self, name: &str, sizes: &[usize], order: &[usize], home: Home) -> View {
        let buffer = self.root(name, sizes.iter().product(), home);
        View { buffer, offset: 0, sizes: sizes.to_vec(), strides: layout::dense(sizes, order) }
    }

    /// Stores something of the right sizes for the outputs of a node that was refused, so that what follows is checked
    /// too. The draft then never becomes a plan.
    pub fn store_refused(&mut self, node: &Node) {
        for value in &node.outputs {
            if let Ok(sizes) = self.sizes(*value) {
                let view = self.fresh(&node.name, &sizes, &layout::row_order(sizes.len()), Home::Arena);
                self.store(*value, Stored { view, writers: Vec::new() });
            }
        }
    }

    pub fn store(&mut self, value: ValueId, stored: Stored) {
        self.stored.insert(value, stored);
    }

    /// Where a value lies; makes a buffer over a constant.
    pub fn read(&mut self, value: ValueId) -> Step<Stored> {
        let value = self.sources.of(value);
        if let Some(stored) = self.stored.get(&value) {
            return Ok(stored.clone());
        }
        let Some(tensor) = self.sources.constant(value).cloned() else { return Err(Stop::Poisoned) };
        self.sizes(value)?;
        let stored = self.constant_operand(&self.name_of(value), tensor);
        self.stored.insert(value, stored.clone());
        Ok(stored)
    }

    /// Whether a value is stored or constant.
    pub fn is_known(&self, value: ValueId) -> bool {
        self.stored.contains_key(&self.sources.of(value)) || self.sources.constant(value).is_some()
    }

    /// A buffer over an `f32` constant, in rows.
    pub fn constant_operand(&mut self, name: &str, tensor: Tensor) -> Stored {
        let sizes = tensor.sizes().to_vec();
        let id = self.plan_constant(name, &tensor);
        let view = self.fresh(name, &sizes, &layout::row_order(sizes.len()), Home::Constant(id));
        Stored { view, writers: Vec::new() }
    }

    pub fn plan_constant(&mut self, name: &str, tensor: &Tensor) -> ConstId {
        self.constants.push(PlanConstant {
            name: name.into(),
            dtype: tensor.dtype(),
            sizes: tensor.sizes().to_vec(),
            values: tensor.values().clone(),
        });
        ConstId::from_index(self.constants.len() - 1)
    }

    /// A constant that steps take as weights, as the graph has it.
    pub fn weights(&mut self, what: &str, value: ValueId) -> Step<ConstId> {
        let value = self.sources.of(value);
        if let Some(id) = self.weights.get(&value) {
            return Ok(*id);
        }
        self.sizes(value)?;
        let Some(tensor) = self.sources.weights(value).cloned() else {
            return refuse(format!(
                "{what} `{}` is not constant; only constant weights are supported",
                self.name_of(value)
            ));
        };
        let id = self.plan_constant(&self.name_of(value), &tensor);
        self.weights.insert(value, id);
        Ok(id)
    }

    pub fn name_of(&self, value: ValueId) -> String {
        self.graph.producer(value).map_or_else(|_| value.to_string(), |(_, node)| node.name.to_string())
    }

    /// Where a value is to be written: its slice of a concatenation, what was reserved for it, or a new root whose axes
    /// lie in this order.
    pub fn destination(&mut self, value: ValueId, order: &[usize]) -> Step<View> {
        let mut chain: Vec<Slice> = Vec::new();
        let mut outermost = value;
        while let Some(slice) = self.slices.get(&outermost) {
            chain.push(*slice);
            outermost = slice.parent;
        }
        let mut view = match self.reserved.get(&outermost) {
            Some(view) => view.clone(),
            None => {
                let sizes = self.sizes(outermost)?;
                let name = self.name_of(outermost);
                // What others lie in has the layout that all of them can write.
                let order = if chain.is_empty() { order.to_vec() } else { layout::default_order(sizes.len()) };
                let view = self.fresh(&name, &sizes, &order, Home::Arena);
                self.reserved.insert(outermost, view.clone());
                view
            }
        };
        for slice in chain.iter().rev() {
            let Some(stride) = view.strides.get(slice.axis) else {
                return refuse("internal: a slice without its axis");
            };
            view.offset += slice.start * stride;
        }
        view.sizes = self.sizes(value)?;
        Ok(view)
    }

    /// Adds a step for a node.
    pub fn step(
        &mut self,
        node: &Node,
        kind: StepKind,
        inputs: &[&Stored],
        outputs: Vec<View>,
        constants: Vec<ConstId>,
    ) -> usize {
        let mut after: Vec<usize> = inputs.iter().flat_map(|input| input.writers.iter().copied()).collect();
        after.sort_unstable();
        after.dedup();
        self.steps.push(DraftStep {
            kind,
            inputs: inputs.iter().map(|input| input.view.clone()).collect(),
            outputs,
            constants,
            name: node.name.to_string(),
            nodes: node.provenance.iter().map(ToString::to_string).collect(),
            after,
        });
        self.steps.len() - 1
    }

    /// The same value with this axis innermost, in rank 4 the default order and otherwise the last one moved: copied
    /// where it is not so.
    pub fn innermost(&mut self, node: &Node, stored: &Stored, axis: usize) -> Step<Stored> {
        if layout::is_innermost(&stored.view, axis) {
            return Ok(stored.clone());
        }
        let rank = stored.view.sizes.len();
        let mut order: Vec<usize> = (0..rank).filter(|other| *other != axis).collect();
        order.push(axis);
        self.relaid(node, stored, &order)
    }

    /// A dense copy whose axes lie in this order, made once for all readers; a constant is permuted now.
    pub fn relaid(&mut self, node: &Node, stored: &Stored, order: &[usize]) -> Step<Stored> {
        let buffer = stored.view.buffer;
        let key = (stored.view.clone(), order.to_vec());
        if let Some(copy) = self.copies.get(&key) {
            return Ok(copy.clone());
        }
        let name = self.roots[buffer.index()].name.clone();
        let copy = if let Home::Constant(id) = self.roots[buffer.index()].home {
            let tensor = self.permuted_constant(id, &stored.view, order)?;
            let mut copy = self.constant_operand(&name, tensor);
            // The tensor's sizes are in the order of memory; the view's in that of the axes.
            copy.view.sizes.clone_from(&stored.view.sizes);
            copy.view.strides = layout::dense(&stored.view.sizes, order);
            copy
        } else {
            let view = self.fresh(&name, &stored.view.sizes, order, Home::Arena);
            let writer = self.step(node, StepKind::Copy(CopyKind::Layout), &[stored], vec![view.clone()], Vec::new());
            Stored { view, writers: vec![writer] }
        };
        self.copies.insert(key, copy.clone());
        Ok(copy)
    }

    /// The elements of a view of a constant, its axes permuted.
    fn permuted_constant(&self, id: ConstId, view: &View, order: &[usize]) -> Step<Tensor> {
        let Some(constant) = self.constants.get(id.index()) else {
            return refuse(format!("internal: no constant {id}"));
        };
        let (values, _) = constant.values.bytes().as_chunks::<4>();
        let turned = layout::permute(view, order);
        let mut bytes: Vec<u8> = Vec::with_capacity(turned.elements().unwrap_or(0).saturating_mul(4));
        let mut index = vec![0usize; turned.sizes.len()];
        let mut at = turned.offset;
        loop {
            let Some(value) = values.get(at) else { return refuse(format!("internal: {id} is too short")) };
            bytes.extend_from_slice(value);
            let mut axis = index.len();
            loop {
                if axis == 0 {
                    let tensor = Tensor::from_bytes(DType::F32, &turned.sizes, Bytes::from(bytes));
                    return tensor.or_else(|error| refuse(error.to_string()));
                }
                axis -= 1;
                if index[axis] + 1 < turned.sizes[axis] {
                    index[axis] += 1;
                    at += turned.strides[axis];
                    break;
                }
                at -= index[axis] * turned.strides[axis];
                index[axis] = 0;
            }
        }
    }

    /// The value under other sizes, copied to rows where its layout does not allow that.
    pub fn reshaped(&mut self, node: &Node, stored: &Stored, sizes: &[usize]) -> Step<Stored> {
        let rows = match layout::reshape(&stored.view, sizes) {
            Some(view) => return Ok(Stored { view, writers: stored.writers.clone() }),
            None => self.relaid(node, stored, &layout::row_order(stored.view.sizes.len()))?,
        };
        match layout::reshape(&rows.view, sizes) {
            Some(view) => Ok(Stored { view, writers: rows.writers }),
            None => refuse(format!("internal: {:?} does not reshape to {sizes:?}", rows.view.sizes)),
        }
    }

    /// The inputs of a node.
    pub fn inputs(&self, id: NodeId) -> Vec<ValueId> {
        self.graph.node_inputs(id).into_iter().collect()
    }
}
