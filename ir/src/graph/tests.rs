//! Patches and orders, on small graphs in the text form and on long chains.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::ops::{Add, Clip, Identity, Relu};
use crate::testing::{Random, random_graph};
use crate::text::{Constants, PrintOptions, parse, print};
use crate::types::Dim;

fn text(graph: &Graph) -> String {
    print(graph, &PrintOptions { constants: Constants::Full })
}

fn value(number: u32) -> ValueId {
    ValueId::new(number)
}

fn no_names() -> Provenance {
    Arc::from([])
}

/// Asserts that a patch is refused with this message and that the graph is as it was, ids and ranks included.
fn assert_refused(graph: &mut Graph, patch: Patch, message: &str) {
    let before = (text(graph), graph.places.len(), graph.values.len());
    assert_eq!(graph.apply(patch).unwrap_err().to_string(), message);
    assert_eq!((text(graph), graph.places.len(), graph.values.len()), before);
    graph.verify().unwrap();
    assert_ranks(graph);
}

fn assert_ranks(graph: &Graph) {
    for (id, _) in graph.nodes() {
        for value in graph.node_inputs(id) {
            assert!(graph.rank(id) > graph.rank(graph.value(value).unwrap().producer), "{}", graph.label(id));
        }
    }
}

/// x → a → b → c → y, all relu; b is read twice.
fn chain() -> Graph {
    parse(
        r#"graph "g" {
            input %0 "x": f32[2,3]
            %1 "a" = relu(%0)
            %2 "b" = relu(%1)
            %3 "c" = add(%2, %2)
            output "y" = %3
            output "b" = %2
        }"#,
    )
    .unwrap()
}

#[test]
fn replacement_reaches_every_reader_and_drops_what_nobody_reads() {
    let mut graph = chain();
    let mut patch = Patch::new("test", "because");
    let new =
        patch.node(Clip { min: 0.0, max: 6.0 }, "new", vec![value(0).into()], Arc::from(["a".into(), "b".into()]));
    patch.replace(value(2), new);
    let applied = graph.apply(patch).unwrap();
    assert_eq!(applied.added, [NodeId::new(4)]);
    let removed: Vec<&str> = applied.removed.iter().map(|(_, name)| &**name).collect();
    assert_eq!(removed, ["b", "a"]);
    insta::assert_snapshot!(text(&graph), @r#"
    graph "g" stage imported {
      input %0 "x": f32[2,3]
      %4 "new" = clip(%0) {min=0.0, max=6.0} : f32[2,3] from "a", "b"
      %3 "c" = add(%4, %4) : f32[2,3]
      output "y" = %3
      output "b" = %4
    }
    "#);
    graph.verify().unwrap();
    assert_ranks(&graph);
    assert!(graph.node(NodeId::new(1)).is_err() && graph.value(value(1)).is_err());
}

#[test]
fn a_patch_node_may_read_what_it_replaces() {
    let mut graph = chain();
    let mut patch = Patch::new("test", "");
    let new = patch.node(Identity, "new", vec![value(2).into()], no_names());
    patch.replace(value(2), new);
    graph.apply(patch).unwrap();
    graph.verify().unwrap();
    assert_ranks(&graph);
    assert_eq!(graph.uses(value(2)).len(), 1);
    assert_eq!(graph.outputs()[1].value, value(4));
}

#[test]
fn unread_nodes_of_a_patch_vanish() {
    let mut graph = chain();
    let before = text(&graph);
    let mut patch = Patch::new("test", "");
    patch.node(Relu, "new", vec![value(0).into()], no_names());
    let applied = graph.apply(patch).unwrap();
    assert_eq!(applied.removed.len(), 1);
    assert_eq!(text(&graph), before);
}

#[test]
fn remove_unread_keeps_what_is_read_and_inputs() {
    let mut graph = chain();
    assert!(graph.remove_unread(vec![NodeId::new(1), NodeId::new(0), NodeId::new(77)]).is_empty());
    graph.set_outputs(vec![Output { name: "b".into(), value: value(2) }]).unwrap();
    let removed = graph.remove_unread(vec![NodeId::new(3)]);
    assert_eq!(removed.len(), 1);
    graph.set_outputs(vec![Output { name: "x".into(), value: value(0) }]).unwrap();
    let removed = graph.remove_unread(vec![NodeId::new(2)]);
    assert_eq!(removed.len(), 2);
    assert_eq!((graph.len(), graph.inputs().len()), (1, 1));
}

#[test]
fn refused_where_a_type_changes() {
    let mut graph = chain();
    let mut patch = Patch::new("test", "");
    let new = patch.node(crate::ops::Flatten { axis: 0 }, "flat", vec![value(1).into()], no_names());
    patch.replace(value(2), new);
    assert_refused(&mut graph, patch, "patch by test: %2 of type f32[2,3] would become %4 of type f32[1,6]");
}

#[test]
fn refused_where_a_cycle_arises() {
    let mut graph = chain();
    let mut patch = Patch::new("test", "");
    patch.replace(value(1), value(2));
    assert_refused(&mut graph, patch, "patch by test: replacing %1 by %2 would make a cycle");
    let mut patch = Patch::new("test", "");
    let new = patch.node(Add, "new", vec![value(1).into(), value(3).into()], no_names());
    patch.replace(value(1), new);
    assert_refused(&mut graph, patch, "patch by test: replacing %1 by %4 would make a cycle");
}

#[test]
fn refused_where_two_replacements_make_a_cycle_together() {
    let mut graph = parse(
        r#"graph "g" {
            input %0 "x": f32[2]
            %1 "a" = relu(%0)
            %2 "b" = clip(%0)
            %3 "reads a" = relu(%1)
            %4 "reads b" = relu(%2)
            output "p" = %3
            output "q" = %4
            output "a" = %1
        }"#,
    )
    .unwrap();
    let mut patch = Patch::new("test", "");
    patch.replace(value(1), value(4));
    patch.replace(value(2), value(3));
    assert_refused(&mut graph, patch, "patch by test: replacing %2 by %3 would make a cycle");
    let mut patch = Patch::new("test", "");
    patch.replace(value(1), value(4));
    graph.apply(patch).unwrap();
    graph.verify().unwrap();
    assert_ranks(&graph);
}

#[test]
fn refused_where_an_op_or_an_id_is_wrong() {
    let mut graph = chain();
    let mut patch = Patch::new("test", "");
    let good = patch.node(Relu, "good", vec![value(0).into()], no_names());
    patch.node(Relu, "bad", vec![good, good], no_names());
    patch.replace(value(2), good);
    assert_refused(&mut graph, patch, "node `bad` (relu): takes 1 inputs but has 2");
    let mut patch = Patch::new("test", "");
    patch.replace(value(9), value(0));
    assert_refused(&mut graph, patch, "there is no value %9");
    let mut patch = Patch::new("test", "");
    patch.replace(value(2), NewValue::New { node: 3, output: 0 });
    assert_refused(&mut graph, patch, "there is no node n3");
    let mut patch = Patch::new("test", "");
    let new = patch.node(Input { ty: TensorType::f32(&[2, 3]) }, "in", Vec::new(), no_names());
    patch.replace(value(2), new);
    assert_refused(&mut graph, patch, "patch by test: `in` would be a new graph input");
}

#[test]
fn random_patches_leave_a_legal_graph() {
    let mut random = Random::new(1);
    let (mut applied, mut refused) = (0, 0);
    for seed in 0..200 {
        let mut graph = random_graph(seed, 6).unwrap();
        for _ in 0..20 {
            let values: Vec<ValueId> = graph.nodes().flat_map(|(_, node)| node.outputs.clone()).collect();
            let mut patch = Patch::new("random", "");
            for _ in 0..1 + random.below(3) {
                let old = values[random.below(values.len())];
                let same: Vec<ValueId> =
                    values.iter().copied().filter(|other| graph.ty(*other) == graph.ty(old)).collect();
                let new: NewValue = same[random.below(same.len())].into();
                let new = if random.chance(50) { patch.node(Identity, "id", vec![new], no_names()) } else { new };
                patch.replace(old, new);
            }
            let before = text(&graph);
            match graph.apply(patch) {
                Ok(_) => applied += 1,
                Err(_) => {
                    assert_eq!(text(&graph), before);
                    refused += 1;
                }
            }
            graph.verify().unwrap();
            assert_ranks(&graph);
        }
    }
    assert!(applied > 500 && refused > 200, "{applied} applied, {refused} refused");
}

/// A chain of Relu, each patched in turn: to a node, to a pair of nodes, or away.
fn patched_chain(nodes: usize) -> Duration {
    let start = Instant::now();
    let mut graph = Graph::new("long");
    let mut last =
        graph.add_input("x", TensorType::new(crate::types::DType::F32, [Dim::Batch(1)].into_iter().collect())).unwrap();
    let scale = graph.add_constant("c", Tensor::from_f32(&[1], vec![1.0]).unwrap()).unwrap();
    for index in 0..nodes {
        let name = format!("r{index}");
        last = if index % 4 == 0 { graph.add(Add, &name, &[last, scale]) } else { graph.add(Relu, &name, &[last]) }
            .unwrap();
    }
    graph.add_output("y", last).unwrap();
    for (index, id) in graph.order().unwrap().into_iter().enumerate() {
        if !matches!(graph.node(id).unwrap().op, Op::Relu(_)) {
            continue;
        }
        let (old, input) = (graph.output(id, 0).unwrap(), graph.node_inputs(id)[0]);
        let mut patch = Patch::new("test", "");
        let new = match index % 3 {
            0 => input.into(),
            1 => patch.node(Identity, "one", vec![input.into()], no_names()),
            _ => {
                let first = patch.node(Identity, "first", vec![input.into()], no_names());
                patch.node(Add, "second", vec![first, scale.into()], no_names())
            }
        };
        patch.replace(old, new);
        graph.apply(patch).unwrap();
    }
    graph.verify().unwrap();
    start.elapsed()
}

#[test]
fn long_chains_are_patched_in_near_linear_time() {
    patched_chain(2_000);
    let small = (0..3).map(|_| patched_chain(5_000)).min().unwrap();
    let large = (0..3).map(|_| patched_chain(40_000)).min().unwrap();
    // Eight times the nodes; quadratic would be 64 times.
    assert!(large < small * 24, "{small:?} for 5,000 nodes, {large:?} for 40,000");
}

#[test]
fn order_is_by_lowest_id_and_names_a_cycle() {
    let graph = parse(
        r#"graph "g" {
            input %0 "x": f32[1]
            %1 "a" = relu(%0)
            %2 "b" = relu(%0)
            %3 "c" = add(%2, %1)
            output "y" = %3
        }"#,
    )
    .unwrap();
    assert_eq!(graph.order().unwrap(), [0, 1, 2, 3].map(NodeId::new));
    let mut broken = graph.clone();
    broken.connect(value(3), NodeId::new(2), 1).unwrap();
    let message = broken.order().unwrap_err().to_string();
    assert_eq!(message, "the graph has a cycle through n3 \"c\" (add) → n2 \"b\" (relu) → n3 \"c\" (add)");
}

#[test]
fn with_batch_makes_every_type_concrete() {
    for seed in 0..50 {
        let graph = random_graph(seed, 6).unwrap();
        let batched = graph.with_batch(3).unwrap();
        assert!(!batched.is_symbolic());
        batched.verify().unwrap();
        assert!(batched.nodes().all(|(_, node)| batched.ty(node.outputs[0]).unwrap().shape.sizes().is_some()));
    }
    let graph = chain();
    assert!(graph.with_batch(0).is_err());
    let symbolic = parse("graph \"g\" { input %0 \"x\": f32[N,1000] output \"y\" = %0 }").unwrap();
    let message = symbolic.with_batch(usize::MAX / 8).unwrap_err().to_string();
    assert!(message.ends_with("input `x` of type f32[N,1000] becomes too large"), "{message}");
}
