//! Tests of the interpreter's order, lifetimes and checks; the ops have their own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::*;
use crate::ops::{Add, Concat, Conv, Flatten, MatMul, Relu};
use crate::types::{DType, MAX_ELEMENTS};

fn tensor(sizes: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(sizes, values.to_vec()).unwrap()
}

fn batched(dims: &[usize]) -> TensorType {
    let shape = std::iter::once(Dim::Batch(1)).chain(dims.iter().copied().map(Dim::Fixed)).collect();
    TensorType::new(DType::F32, shape)
}

/// A 1×1 convolution of `x` [N,2,1,1] by the rows of a 2×2 matrix, a Relu, and both concatenated and flattened.
fn network() -> Graph {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", batched(&[2, 1, 1])).unwrap();
    let weights = graph.add_constant("w", tensor(&[2, 2, 1, 1], &[1.0, 2.0, 1.0, -1.0])).unwrap();
    let conv = graph.add(Conv::default(), "conv", &[x, weights]).unwrap();
    let relu = graph.add(Relu, "relu", &[conv]).unwrap();
    let both = graph.add(Concat { axis: 1 }, "both", &[conv, relu]).unwrap();
    let flat = graph.add(Flatten { axis: 1 }, "flat", &[both]).unwrap();
    graph.add_output("y", flat).unwrap();
    graph
}

#[test]
fn the_batch_comes_from_the_input() {
    let graph = network();
    let one = run(&graph, &[tensor(&[1, 2, 1, 1], &[1.0, 3.0])]).unwrap();
    assert_eq!(one, [tensor(&[1, 4], &[7.0, -2.0, 7.0, 0.0])]);
    let two = run(&graph, &[tensor(&[2, 2, 1, 1], &[1.0, 3.0, 0.0, 1.0])]).unwrap();
    assert_eq!(two, [tensor(&[2, 4], &[7.0, -2.0, 7.0, 0.0, 2.0, -1.0, 2.0, 0.0])]);
}

#[test]
fn a_concrete_graph_gives_the_same() {
    let graph = network().with_batch(2).unwrap();
    let two = run(&graph, &[tensor(&[2, 2, 1, 1], &[1.0, 3.0, 0.0, 1.0])]).unwrap();
    assert_eq!(two, [tensor(&[2, 4], &[7.0, -2.0, 7.0, 0.0, 2.0, -1.0, 2.0, 0.0])]);
    let error = run(&graph, &[tensor(&[1, 2, 1, 1], &[1.0, 3.0])]).unwrap_err();
    assert_eq!(error.to_string(), "input `x` must be f32[2,2,1,1] but is f32[1,2,1,1]");
}

#[test]
fn run_all_keeps_every_value() {
    let graph = network();
    let all = run_all(&graph, &[tensor(&[1, 2, 1, 1], &[1.0, 3.0])]).unwrap();
    assert_eq!(all.len(), 6);
    let conv = graph.nodes().find(|(_, node)| &*node.name == "conv").unwrap().1.outputs[0];
    assert_eq!(all[&conv], tensor(&[1, 2, 1, 1], &[7.0, -2.0]));
}

#[test]
fn a_value_may_be_read_twice_and_be_an_output_twice() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", TensorType::f32(&[1])).unwrap();
    let sum = graph.add(Add, "sum", &[x, x]).unwrap();
    let relu = graph.add(Relu, "relu", &[sum]).unwrap();
    for (name, value) in [("x", x), ("sum", sum), ("again", sum), ("relu", relu)] {
        graph.add_output(name, value).unwrap();
    }
    let values: Vec<f64> =
        run(&graph, &[Tensor::from_f32(&[1], vec![-3.0]).unwrap()]).unwrap().iter().flat_map(Tensor::to_f64).collect();
    assert_eq!(values, [-3.0, -6.0, -6.0, 0.0]);
}

#[test]
fn what_no_output_needs_is_not_run() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", TensorType::f32(&[1])).unwrap();
    let dead = graph.add(Relu, "dead", &[x]).unwrap();
    graph.add(Relu, "deader", &[dead]).unwrap();
    let live = graph.add(Relu, "live", &[x]).unwrap();
    graph.add_output("y", live).unwrap();
    let names: Vec<String> =
        needed(&graph).unwrap().iter().map(|id| graph.node(*id).unwrap().name.to_string()).collect();
    assert_eq!(names, ["x", "live"]);
    assert_eq!(run(&graph, &[tensor(&[1], &[4.0])]).unwrap(), [tensor(&[1], &[4.0])]);
    assert_eq!(run_all(&graph, &[tensor(&[1], &[4.0])]).unwrap().len(), 4);
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    let mut graph = Graph::new("test");
    let mut value = graph.add_input("x", TensorType::f32(&[1])).unwrap();
    for index in 0..20_000 {
        value = graph.add(Relu, &format!("relu{index}"), &[value]).unwrap();
    }
    graph.add_output("y", value).unwrap();
    assert_eq!(run(&graph, &[tensor(&[1], &[2.0])]).unwrap(), [tensor(&[1], &[2.0])]);
}

#[test]
fn inputs_are_checked() {
    let graph = network();
    let error = |inputs: &[Tensor]| run(&graph, inputs).unwrap_err().to_string();
    assert_eq!(error(&[]), "the graph has 1 inputs but 0 are given");
    assert_eq!(error(&[tensor(&[1, 3, 1, 1], &[0.0; 3])]), "input `x` must be f32[N,2,1,1] but is f32[1,3,1,1]");
    assert_eq!(error(&[tensor(&[2, 1, 1], &[0.0; 2])]), "input `x` must be f32[N,2,1,1] but is f32[2,1,1]");
    assert_eq!(error(&[tensor(&[0, 2, 1, 1], &[])]), "input `x` must be f32[N,2,1,1] but is f32[0,2,1,1]");
    let integers = Tensor::from_i64(&[1, 2, 1, 1], vec![1, 2]).unwrap();
    assert_eq!(error(&[integers]), "input `x` must be f32[N,2,1,1] but is i64[1,2,1,1]");
}

#[test]
fn all_inputs_have_one_batch() {
    let mut graph = Graph::new("test");
    let a = graph.add_input("a", batched(&[1])).unwrap();
    let doubled = TensorType::new(DType::F32, Shape::new(&[Dim::Batch(2), Dim::Fixed(1)]));
    let b = graph.add_input("b", doubled).unwrap();
    graph.add_output("a", a).unwrap();
    graph.add_output("b", b).unwrap();
    let pair = |a: usize, b: usize| [tensor(&[a, 1], &vec![0.0; a]), tensor(&[b, 1], &vec![0.0; b])];
    assert_eq!(run(&graph, &pair(2, 4)).unwrap().len(), 2);
    assert_eq!(
        run(&graph, &pair(2, 6)).unwrap_err().to_string(),
        "input `b` has a batch of 3, but the inputs before it have 2"
    );
    assert_eq!(run(&graph, &pair(2, 5)).unwrap_err().to_string(), "input `b` must be f32[2N,1] but is f32[5,1]");
}

#[test]
fn an_error_names_the_node_and_its_op() {
    let mut graph = Graph::new("test");
    let x = graph.add_input("x", batched(&[0])).unwrap();
    let nothing = graph.add_constant("w", tensor(&[0, MAX_ELEMENTS], &[])).unwrap();
    let wide = graph.add(MatMul, "wide", &[x, nothing]).unwrap();
    graph.add_output("y", wide).unwrap();
    // The types are legal for one item. At two the product is too large, though its operands hold not one element.
    let error = run(&graph, &[tensor(&[2, 0], &[])]).unwrap_err();
    assert!(matches!(&error, InterpError::Op { source, .. } if matches!(**source, OpError::Overflow(_))), "{error:?}");
    assert_eq!(error.to_string(), "n2 \"wide\" (matmul): a size overflows: f32[2,1099511627776] has too many elements");
}
