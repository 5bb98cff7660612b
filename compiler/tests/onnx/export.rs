//! Exported graphs mean the same when they are imported again.

use bytes::Bytes;
use incept_compiler::frontend::onnx::proto::{ModelProto, NodeProto};
use incept_compiler::frontend::onnx::{BASE_OPSET, ExportError, export, import};
use incept_compiler::pass::PassOptions;
use incept_compiler::pipeline;
use incept_ir::graph::Graph;
use incept_ir::interp;
use incept_ir::ops::{Activation, Op};
use incept_ir::testing::{random_graph, random_inputs};
use incept_ir::text::parse;
use incept_ir::types::TensorType;
use prost::Message;

fn model(graph: &Graph) -> ModelProto {
    ModelProto::decode(Bytes::from(export(graph).unwrap())).unwrap()
}

fn nodes(graph: &Graph) -> Vec<NodeProto> {
    model(graph).graph.unwrap().node
}

/// One line a node: `op inputs -> outputs`, with its name and documentation.
fn lines(graph: &Graph) -> String {
    let line = |node: &NodeProto| {
        let op = node.op_type();
        let doc = node.doc_string.as_ref().map(|doc| format!(" # {doc}")).unwrap_or_default();
        format!("{}: {op}({}) -> {}{doc}\n", node.name(), node.input.join(", "), node.output.join(", "))
    };
    nodes(graph).iter().map(line).collect()
}

/// The names and types of the inputs, and of the outputs.
fn interface(graph: &Graph) -> [Vec<(String, TensorType)>; 2] {
    let inputs = graph.inputs().iter().map(|id| {
        let node = graph.node(*id).unwrap();
        (node.name.to_string(), graph.ty(node.outputs[0]).unwrap().clone())
    });
    let outputs = graph.outputs().iter().map(|out| (out.name.to_string(), graph.ty(out.value).unwrap().clone()));
    [inputs.collect(), outputs.collect()]
}

/// Every name is given once, every input was made before, and every value is typed as another engine would infer it.
fn well_formed(graph: &Graph) {
    let model = model(graph);
    assert!(model.opset_import[0].version() >= BASE_OPSET);
    let graph = model.graph.unwrap();
    let mut made: Vec<&str> = graph.input.iter().map(|input| input.name()).collect();
    made.extend(graph.initializer.iter().map(|tensor| tensor.name()));
    let mut names = Vec::new();
    for node in &graph.node {
        names.push(node.name());
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            assert!(made.contains(&input.as_str()), "{} reads {input} too early", node.name());
        }
        made.extend(node.output.iter().map(String::as_str));
    }
    for output in &graph.output {
        assert!(made.contains(&output.name()), "{} is not made", output.name());
    }
    for (what, mut names) in [("node", names), ("value", made)] {
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a {what} name is given twice: {names:?}");
    }
}

/// Whether an op becomes several nodes, of which each rounds what it hands on: an addition, and activations that compute
/// more than a bound.
fn rounds_more(op: &Op) -> bool {
    let computes = |activation: Option<Activation>| {
        activation.is_some_and(|applied| !matches!(applied, Activation::Relu | Activation::Clip { .. }))
    };
    match op {
        Op::Conv(conv) => {
            conv.residual || computes(conv.activation) || conv.ranges.iter().any(|range| computes(range.activation))
        }
        Op::Gemm(gemm) => computes(gemm.activation),
        _ => false,
    }
}

#[test]
fn random_graphs_compute_the_same_after_export_and_import() {
    let mut activations = 0;
    for seed in 0..300 {
        let graph = random_graph(seed, 9).unwrap();
        let optimized = pipeline::optimize(graph.clone(), &PassOptions::default(), &mut |_, _| {}).unwrap().graph;
        for graph in [&graph, &optimized] {
            well_formed(graph);
            let again = import(Bytes::from(export(graph).unwrap()), graph.name()).unwrap();
            assert_eq!(interface(graph), interface(&again), "seed {seed}");
            let rounds = graph.nodes().any(|(_, node)| rounds_more(&node.op));
            let inputs = random_inputs(graph, seed, 2).unwrap();
            let (before, after) = (interp::run(graph, &inputs).unwrap(), interp::run(&again, &inputs).unwrap());
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before.ty(), after.ty());
                let (before, after) = (before.as_f32().unwrap(), after.as_f32().unwrap());
                let largest =
                    before.iter().fold(0.0f32, |most, x| if x.is_finite() { most.max(x.abs()) } else { most });
                // All else gives the same bits.
                let allowed = if rounds { largest * 1e-5 } else { 0.0 };
                let near = |a: f32, b: f32| a == b || (a - b).abs() <= allowed || a.is_nan() && b.is_nan();
                assert!(before.iter().zip(after.iter()).all(|(a, b)| near(*a, *b)), "seed {seed}");
            }
        }
        activations += nodes(&optimized).iter().filter(|node| node.name().ends_with("_relu")).count();
    }
    assert!(activations > 100, "only {activations} fused activations were written");
}

#[test]
fn fused_activations_become_nodes_and_provenance_is_documented() {
    let graph = parse(
        r#"graph "g" stage optimized {
            input %0 "x": f32[N,2,4,4]
            constant %1 "w": f32[3,2,1,1] = seeded(1)
            %2 "conv" = conv(%0, %1) {activation=relu} from "conv", "act"
            constant %3 "v": f32[1,3,1,1] = seeded(2)
            %4 "conv" = conv(%2, %3) {activation=clip(-inf,6)}
            output "y" = %4
        }"#,
    )
    .unwrap();
    insta::assert_snapshot!(lines(&graph), @r"
    conv: Conv(x, w) -> conv_linear # from conv, act
    conv_relu: Relu(conv_linear) -> conv # from conv, act
    conv_1: Conv(conv, v) -> conv_linear_1
    conv_clip: Clip(conv_linear_1, , conv_max) -> y
    ");
}

#[test]
fn residuals_and_ranges_become_nodes() {
    let graph = parse(
        r#"graph "g" stage optimized {
            input %0 "x": f32[N,2,4,4]
            constant %1 "w": f32[5,2,1,1] = seeded(1)
            constant %2 "b": f32[5] = seeded(2)
            %3, %4 "merged" = conv(%0, %1, %2) {outputs=[3,2], activation=relu}
            constant %5 "v": f32[2,3,1,1] = seeded(3)
            %6 "sum" = conv(%3, %5, %4) {residual=true, activation=relu}
            output "y" = %6
        }"#,
    )
    .unwrap();
    well_formed(&graph);
    insta::assert_snapshot!(lines(&graph), @r"
    merged: Conv(x, merged.weight, merged.bias) -> merged_linear
    merged_relu: Relu(merged_linear) -> merged
    merged_1: Conv(x, merged:1.weight, merged:1.bias) -> merged_linear_1
    merged_relu_1: Relu(merged_linear_1) -> merged:1
    sum: Conv(merged, v) -> sum_linear
    sum_add: Add(sum_linear, merged:1) -> sum_linear_1
    sum_relu: Relu(sum_linear_1) -> y
    ");
    let again = import(Bytes::from(export(&graph).unwrap()), "g").unwrap();
    let inputs = random_inputs(&graph, 1, 2).unwrap();
    let (before, after) = (interp::run(&graph, &inputs).unwrap(), interp::run(&again, &inputs).unwrap());
    let (before, after) = (before[0].as_f32().unwrap(), after[0].as_f32().unwrap());
    assert!(before.iter().zip(after.iter()).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0)));
}

#[test]
fn ranges_of_weights_that_are_computed_are_split_off() {
    let graph = parse(
        r#"graph "g" {
            input %0 "x": f32[N,2,4,4]
            input %1 "w": f32[5,2,1,1]
            %2, %3 "merged" = conv(%0, %1) {outputs=[3,2], activation=relu}
            output "a" = %2
            output "b" = %3
        }"#,
    )
    .unwrap();
    well_formed(&graph);
    insta::assert_snapshot!(lines(&graph), @r"
    merged: Conv(x, w) -> merged_whole
    merged_split: Split(merged_whole, merged_channels) -> merged_part, merged_part_1
    merged_relu: Relu(merged_part) -> a
    merged_relu_1: Relu(merged_part_1) -> b
    ");
}

#[test]
fn outputs_keep_their_names_whatever_they_are() {
    let graph = parse(
        r#"graph "g" {
            input %0 "x": f32[2]
            constant %1 "k": f32[2] = [1.0, 2.0]
            %2 "y" = relu(%0)
            %3 "second" = relu(%2)
            output "x" = %0
            output "same" = %0
            output "constant" = %1
            output "twice" = %2
            output "again" = %2
            output "y" = %3
        }"#,
    )
    .unwrap();
    well_formed(&graph);
    insta::assert_snapshot!(lines(&graph), @r"
    y: Relu(x) -> twice
    second: Relu(twice) -> y
    same_output: Identity(x) -> same
    constant_output: Identity(k) -> constant
    again_output: Identity(twice) -> again
    ");
}

#[test]
fn ops_take_the_oldest_opset_that_has_them() {
    let opset = |pool: &str| {
        let text = format!(r#"graph "g" {{ input %0 "x": f32[1,1,5,5] %1 "p" = {pool} output "y" = %1 }}"#);
        model(&parse(&text).unwrap()).opset_import[0].version()
    };
    assert_eq!(opset("avg_pool(%0) {kernel=[3,3]}"), 13);
    assert_eq!(opset("avg_pool(%0) {kernel=[3,3], dilations=[2,2]}"), 19);
    // Rounding up changes nothing here, so it is not asked for.
    assert_eq!(opset("avg_pool(%0) {kernel=[3,3], strides=[2,2], ceil_mode=true}"), 13);
    assert_eq!(opset("avg_pool(%0) {kernel=[2,2], strides=[2,2], ceil_mode=true}"), 19);
}

#[test]
fn a_softmax_over_several_axes_is_one_over_a_matrix() {
    let graph = parse(
        r#"graph "g" {
            input %0 "x": f32[N,2,3]
            %1 "s" = softmax(%0) {axis=1, flatten=true}
            output "y" = %1
        }"#,
    )
    .unwrap();
    insta::assert_snapshot!(lines(&graph), @r"
    s_flatten: Flatten(x) -> s_matrix
    s: Softmax(s_matrix) -> s_rows
    s_reshape: Reshape(s_rows, s_shape) -> y
    ");
    let again = import(Bytes::from(export(&graph).unwrap()), "g").unwrap();
    assert_eq!(interface(&graph), interface(&again));
}

#[test]
fn an_input_that_is_a_multiple_of_the_batch_is_refused() {
    let graph = parse(r#"graph "g" { input %0 "x": f32[2N,2] output "y" = %0 }"#).unwrap();
    let error = export(&graph).unwrap_err();
    assert!(matches!(&error, ExportError::Input { name, .. } if name == "x"), "{error}");
}
