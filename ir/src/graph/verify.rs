//! The graph verifier. Run after import, after each pass in tests and with `--verify-each`, and before lowering.
//!
//! Invariants:
//! 1. **arity**: every node has as many inputs as its op takes, in slots 0, 1, 2… without a gap.
//! 2. **values**: every input and every graph output is a value of a node that exists, and that node says so too.
//! 3. **acyclic**: no node reads, directly or not, what it makes.
//! 4. **types**: the type of every value is what its op infers from the types of the inputs.
//! 5. **inputs**: the list of graph inputs holds exactly the input nodes, each once.
//! 6. **outputs**: there is at least one graph output, and no two have the same name.
//! 7. **stage**: every op is legal at the graph's stage.
//! 8. **batch**: all symbolic dimensions are multiples of one batch size: a value holds it at most once, and its number of
//!    elements does not overflow.

use petgraph::Direction;
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::{Graph, GraphError};
use crate::ids::NodeId;
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
            self.verify_edges(id)?;
            for (index, value) in node.outputs.iter().enumerate() {
                let made = self.value(*value).map_err(|error| broken(2, format!("{}: {error}", at())))?;
                if (made.producer, made.index) != (id, index) {
                    return Err(broken(2, format!("{}: {value} says that {} makes it", at(), made.producer)));
                }
                if made.ty.shape.elements().is_none() {
                    return Err(broken(8, format!("{}: {value} of type {}", at(), made.ty)));
                }
            }
            let types: Result<SmallVec<[&TensorType; 4]>, _> = inputs.iter().map(|value| self.ty(*value)).collect();
            let types = types.map_err(|error| broken(2, format!("{}: {error}", at())))?;
            let inferred = node.op.infer(&types).map_err(|error| broken(4, format!("{}: {error}", at())))?;
            if inferred.len() != node.outputs.len() {
                return Err(broken(4, format!("{} has {} outputs, not {}", at(), node.outputs.len(), inferred.len())));
            }
            for (value, ty) in node.outputs.iter().zip(&inferred) {
                let has = self.ty(*value)?;
                if has != ty {
                    return Err(broken(4, format!("{}: {value} is {has} but its op infers {ty}", at())));
                }
            }
            if !self.stage().allows(&node.op) {
                return Err(broken(7, format!("{} may not remain at stage {}", at(), self.stage())));
            }
        }
        self.verify_ends()
    }

    /// Every edge comes from the node that makes the value it carries.
    fn verify_edges(&self, id: NodeId) -> Result<(), GraphError> {
        for edge in self.inner.edges_directed(self.place(id)?, Direction::Incoming) {
            let value = edge.weight().value;
            let known = self.value(value).map_err(|error| broken(2, format!("{}: {error}", self.label(id))))?;
            if self.inner.node_weight(edge.source()).is_none_or(|(from, _)| *from != known.producer) {
                let label = self.label(id);
                let detail = format!("{label} reads {value} of {} by an edge from another node", known.producer);
                return Err(broken(2, detail));
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use super::super::{Edge, Output, Stage};
    use super::*;
    use crate::ids::ValueId;
    use crate::types::{Dim, Shape};

    /// x → relu a → relu b → y, and add of a and b, unread.
    fn graph() -> Graph {
        crate::text::parse(
            r#"graph "g" {
                input %0 "x": f32[N,2]
                %1 "a" = relu(%0)
                %2 "b" = relu(%1)
                %3 "sum" = add(%1, %2)
                output "y" = %2
            }"#,
        )
        .unwrap()
    }

    fn assert_broken(graph: &Graph, number: u32, detail: &str) {
        match graph.verify() {
            Err(GraphError::Invariant { number: found, detail: text, .. }) => {
                assert_eq!((found, text.as_str()), (number, detail));
            }
            other => panic!("expected invariant {number}: {other:?}"),
        }
    }

    fn edge_into(graph: &Graph, node: u32, slot: u32) -> petgraph::stable_graph::EdgeIndex {
        let place = graph.place(NodeId::new(node)).unwrap();
        let mut edges = graph.inner.edges_directed(place, Direction::Incoming);
        EdgeRef::id(&edges.find(|edge| edge.weight().slot == slot).unwrap())
    }

    #[test]
    fn the_whole_graph_is_legal() {
        graph().verify().unwrap();
    }

    #[test]
    fn invariant_1_a_missing_slot() {
        let mut graph = graph();
        let edge = edge_into(&graph, 3, 0);
        graph.inner.remove_edge(edge);
        assert_broken(&graph, 1, "n3 \"sum\" (add) has inputs in slots [1]");
    }

    #[test]
    fn invariant_1_too_many_inputs() {
        let mut graph = graph();
        graph.connect(ValueId::new(0), NodeId::new(1), 1).unwrap();
        assert_broken(&graph, 1, "n1 \"a\" (relu) has 2 inputs");
    }

    #[test]
    fn invariant_2_a_value_that_is_gone() {
        let mut graph = graph();
        graph.values[0] = None;
        assert_broken(&graph, 2, "n0 \"x\" (input): there is no value %0");
    }

    #[test]
    fn invariant_2_an_edge_of_a_value_that_never_was() {
        let mut graph = graph();
        let edge = edge_into(&graph, 1, 0);
        *graph.inner.edge_weight_mut(edge).unwrap() = Edge { value: ValueId::new(9), slot: 0 };
        assert_broken(&graph, 2, "n1 \"a\" (relu): there is no value %9");
    }

    #[test]
    fn invariant_2_an_edge_from_another_node_than_the_value() {
        let mut graph = graph();
        let edge = edge_into(&graph, 2, 0);
        *graph.inner.edge_weight_mut(edge).unwrap() = Edge { value: ValueId::new(0), slot: 0 };
        assert_broken(&graph, 2, "n2 \"b\" (relu) reads %0 of n0 by an edge from another node");
    }

    #[test]
    fn invariant_2_a_value_of_another_node() {
        let mut graph = graph();
        graph.values[1].as_mut().unwrap().producer = NodeId::new(2);
        assert_broken(&graph, 2, "n1 \"a\" (relu): %1 says that n2 makes it");
    }

    #[test]
    fn invariant_2_an_output_that_is_gone() {
        let mut graph = graph();
        graph.outputs.push(Output { name: "z".into(), value: ValueId::new(7) });
        assert_broken(&graph, 2, "output `z`: there is no value %7");
    }

    #[test]
    fn invariant_3_a_cycle() {
        let mut graph = graph();
        let edge = edge_into(&graph, 1, 0);
        graph.inner.remove_edge(edge);
        graph.connect(ValueId::new(2), NodeId::new(1), 0).unwrap();
        assert_broken(&graph, 3, "the graph has a cycle through n2 \"b\" (relu) → n1 \"a\" (relu) → n2 \"b\" (relu)");
    }

    #[test]
    fn invariant_4_a_type_that_is_not_inferred() {
        let mut graph = graph();
        graph.values[2].as_mut().unwrap().ty = TensorType::f32(&[2]);
        assert_broken(&graph, 4, "n2 \"b\" (relu): %2 is f32[2] but its op infers f32[N,2]");
    }

    #[test]
    fn invariant_4_inputs_that_the_op_refuses() {
        let mut graph = graph();
        let place = graph.place(NodeId::new(2)).unwrap();
        graph.inner.node_weight_mut(place).unwrap().1.op = crate::ops::Flatten { axis: 7 }.into();
        assert_broken(&graph, 4, "n2 \"b\" (flatten): axis 7 is out of range for f32[N,2]");
    }

    #[test]
    fn invariant_5_an_input_that_is_not_listed() {
        let mut graph = graph();
        graph.inputs.clear();
        assert_broken(&graph, 5, "the list of graph inputs differs from the input nodes");
    }

    #[test]
    fn invariant_5_an_input_listed_twice() {
        let mut graph = graph();
        graph.inputs.push(NodeId::new(0));
        assert_broken(&graph, 5, "the list of graph inputs differs from the input nodes");
    }

    #[test]
    fn invariant_6_no_output() {
        let mut graph = graph();
        graph.outputs.clear();
        assert_broken(&graph, 6, "there is no graph output");
    }

    #[test]
    fn invariant_6_two_outputs_of_one_name() {
        let mut graph = graph();
        graph.add_output("y", ValueId::new(0)).unwrap();
        assert_broken(&graph, 6, "two outputs are named `y`");
    }

    #[test]
    fn invariant_7_an_op_of_an_earlier_stage() {
        let mut graph = graph();
        graph.add(crate::ops::Dropout { ratio: 0.5 }, "drop", &[ValueId::new(1)]).unwrap();
        graph.verify().unwrap();
        graph.set_stage(Stage::Optimized);
        assert_broken(&graph, 7, "n4 \"drop\" (dropout) may not remain at stage optimized");
    }

    #[test]
    fn invariant_8_a_value_that_holds_the_batch_twice() {
        let mut graph = graph();
        graph.values[1].as_mut().unwrap().ty.shape = Shape::new(&[Dim::Batch(1), Dim::Batch(1)]);
        assert_broken(&graph, 8, "n1 \"a\" (relu): %1 of type f32[N,N]");
    }
}
