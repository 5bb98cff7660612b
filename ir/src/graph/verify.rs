//! The graph verifier. Run after import, after each pass in tests and with `--verify-each`, and before lowering.
//!
//! Invariants:
//! 1. **arity**: every node has as many inputs as its op takes, in slots 0, 1, 2… without a gap.
//! 2. **values**: every input and every graph output is a value of a node that exists.
//! 3. **acyclic**: no node reads, directly or not, what it makes.
//! 4. **types**: the type of every value is what its op infers from the types of the inputs.
//! 5. **inputs**: the list of graph inputs holds exactly the input nodes, each once.
//! 6. **outputs**: there is at least one graph output, and no two have the same name.
//! 7. **stage**: every op is legal at the graph's stage.
//! 8. **batch**: all symbolic dimensions are multiples of one batch size: a value holds it at most once.

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{Graph, GraphError};
use crate::ops::Op;
use crate::types::TensorType;

const TITLES: [&str; 8] = ["arity", "values", "acyclic", "types", "inputs", "outputs", "stage", "batch"];

fn broken(number: u32, detail: String) -> GraphError {
    GraphError::Invariant { number, title: TITLES[number as usize - 1], detail }
}

impl Graph {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first that does not hold, and where.
    pub fn verify(&self) -> Result<(), GraphError> {
        let order = self.order().map_err(|error| broken(3, error.to_string()))?;
        for id in order {
            let node = self.node(id)?;
            let at = || self.label(id);
            let slots = self.slots(id);
            if !slots.iter().copied().eq(0..slots.len()) {
                return Err(broken(1, format!("{} has inputs in slots {slots:?}", at())));
            }
            if !node.op.arity().contains(&slots.len()) {
                return Err(broken(1, format!("{} has {} inputs", at(), slots.len())));
            }
            let inputs = self.node_inputs(id);
            let types: Result<SmallVec<[&TensorType; 4]>, _> = inputs.iter().map(|value| self.ty(*value)).collect();
            let types = types.map_err(|error| broken(2, format!("{}: {error}", at())))?;
            let inferred = node.op.infer(&types).map_err(|error| broken(4, format!("{}: {error}", at())))?;
            if inferred.len() != node.outputs.len() {
                return Err(broken(4, format!("{} has {} outputs, not {}", at(), node.outputs.len(), inferred.len())));
            }
            for (value, ty) in node.outputs.iter().zip(&inferred) {
                let has = self.ty(*value).map_err(|error| broken(2, format!("{}: {error}", at())))?;
                if has != ty {
                    return Err(broken(4, format!("{}: {value} is {has} but its op infers {ty}", at())));
                }
                if ty.shape.elements().is_none() {
                    return Err(broken(8, format!("{}: {value} of type {ty}", at())));
                }
            }
            if !self.stage().allows(&node.op) {
                return Err(broken(7, format!("{} may not remain at stage {}", at(), self.stage())));
            }
        }
        self.verify_ends()
    }

    fn verify_ends(&self) -> Result<(), GraphError> {
        let listed: FxHashSet<_> = self.inputs().iter().copied().collect();
        let present = self.nodes().filter(|(_, node)| matches!(node.op, Op::Input(_))).map(|(id, _)| id);
        if listed.len() != self.inputs().len() || listed != present.collect::<FxHashSet<_>>() {
            return Err(broken(5, "the list of graph inputs differs from the input nodes".into()));
        }
        if self.outputs().is_empty() {
            return Err(broken(6, "there is no graph output".into()));
        }
        let mut names = FxHashSet::default();
        for output in self.outputs() {
            self.ty(output.value).map_err(|error| broken(2, format!("output `{}`: {error}", output.name)))?;
            if !names.insert(&output.name) {
                return Err(broken(6, format!("two outputs are named `{}`", output.name)));
            }
        }
        Ok(())
    }
}
