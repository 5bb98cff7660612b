#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;

use super::*;
use crate::graph::{Graph, Patch, Stage};
use crate::ids::ValueId;
use crate::ops::{Attribute, Clip, Identity, Op, Relu};
use crate::tensor::Tensor;
use crate::testing::{random_graph, random_inputs};
use crate::types::{DType, TensorType};

const FULL: PrintOptions = PrintOptions { constants: Constants::Full };

/// Asserts that two graphs differ in nothing but their ids.
fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!((a.name(), a.stage(), a.len()), (b.name(), b.stage(), b.len()));
    let mut ids = std::collections::HashMap::new();
    for (left, right) in a.order().unwrap().into_iter().zip(b.order().unwrap()) {
        let (x, y) = (a.node(left).unwrap(), b.node(right).unwrap());
        assert_eq!((&x.op, &x.name, &x.provenance), (&y.op, &y.name, &y.provenance));
        let inputs: Vec<ValueId> = a.node_inputs(left).iter().map(|value| ids[value]).collect();
        assert_eq!(inputs.as_slice(), b.node_inputs(right).as_slice());
        assert_eq!(x.outputs.len(), y.outputs.len());
        for (p, q) in x.outputs.iter().zip(&y.outputs) {
            assert_eq!(a.ty(*p).unwrap(), b.ty(*q).unwrap());
            ids.insert(*p, *q);
        }
    }
    let names = |graph: &Graph| -> Vec<Arc<str>> {
        graph.inputs().iter().map(|id| graph.node(*id).unwrap().name.clone()).collect()
    };
    assert_eq!(names(a), names(b));
    let outputs: Vec<_> = a.outputs().iter().map(|output| (output.name.clone(), ids[&output.value])).collect();
    let others: Vec<_> = b.outputs().iter().map(|output| (output.name.clone(), output.value)).collect();
    assert_eq!(outputs, others);
}

#[test]
fn random_graphs_round_trip() {
    for seed in 0..300 {
        let graph = random_graph(seed, 8).unwrap();
        let text = print(&graph, &FULL);
        let parsed = parse(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        assert_same(&graph, &parsed);
        assert_eq!(text, print(&parsed, &FULL), "seed {seed}");
        let inputs = random_inputs(&graph, seed, 2).unwrap();
        assert_eq!(
            format!("{:?}", crate::interp::run(&graph, &inputs)),
            format!("{:?}", crate::interp::run(&parsed, &inputs))
        );
    }
}

#[test]
fn random_graphs_hold_every_op() {
    let mut missing: Vec<&str> = Op::NAMES.to_vec();
    for seed in 0..300 {
        let graph = random_graph(seed, 8).unwrap();
        missing.retain(|name| !graph.nodes().any(|(_, node)| node.op.name() == *name));
    }
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn patched_graph_round_trips_with_new_ids() {
    let mut graph =
        parse("graph \"g\" { input %5 \"x\": f32[N,2] %9 \"a\" = relu(%5) %7 \"b\" = relu(%9) output \"y\" = %7 }")
            .unwrap();
    let (x, a) = (ValueId::new(0), ValueId::new(1));
    let mut patch = Patch::new("test", "because");
    let new = patch.node(
        Clip { min: 0.0, max: f32::INFINITY },
        "clip",
        vec![x.into()],
        Arc::from(["a".into(), "x\"".into()]),
    );
    patch.replace(a, new);
    graph.apply(patch).unwrap();
    graph.set_stage(Stage::Optimized);
    let text = print(&graph, &FULL);
    let parsed = parse(&text).unwrap();
    assert_same(&graph, &parsed);
    insta::assert_snapshot!(text, @r#"
    graph "g" stage optimized {
      input %0 "x": f32[N,2]
      %3 "clip" = clip(%0) {min=0.0} : f32[N,2] from "a", "x\""
      %2 "b" = relu(%3) : f32[N,2]
      output "y" = %2
    }
    "#);
}

#[test]
fn names_of_any_characters_round_trip() {
    for name in [
        "",
        "a b",
        "\"",
        "\\",
        "it's",
        "a\nb\t\r\0",
        "\u{7f}\u{200b}\u{feff}",
        "模型/层",
        "e\u{301}",
        "{%0} // x",
        "🦀",
    ] {
        let mut graph = Graph::new(name);
        let x = graph.add_input(name, TensorType::f32(&[1])).unwrap();
        let c = graph.add_constant(name, Tensor::from_f32(&[0], Vec::new()).unwrap()).unwrap();
        let node = graph.add_node(Identity.into(), name, &[x], Arc::from([])).unwrap();
        let y = graph.output(node, 0).unwrap();
        graph.add_output(name, y).unwrap();
        graph.add_output("c", c).unwrap();
        let text = print(&graph, &FULL);
        assert_same(&graph, &parse(&text).unwrap());
        assert!(!text.contains(['\u{200b}', '\0']), "{text}");
    }
}

#[test]
fn constants_keep_their_bits() {
    let floats =
        [0.0, -0.0, 0.1, f32::MIN_POSITIVE / 3.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    let base = Tensor::from_f32(&[9], floats.to_vec()).unwrap();
    let mut graph = Graph::new("bits");
    for dtype in DType::ALL {
        let value = graph.add_constant(dtype.name(), base.cast(dtype).unwrap()).unwrap();
        graph.add_output(dtype.name(), value).unwrap();
    }
    let odd = [0x7fc0_0001u32, 0xff80_0001, 1, 0x8000_0000].map(u32::to_le_bytes).concat();
    let odd = Tensor::from_bytes(DType::F32, &[2, 2], odd.into()).unwrap();
    let odd = graph.add_constant("odd", odd).unwrap();
    graph.add_output("odd", odd).unwrap();
    assert_same(&graph, &parse(&print(&graph, &FULL)).unwrap());
}

#[test]
fn attributes_that_are_not_finite_round_trip() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", TensorType::f32(&[1])).unwrap();
    let y = graph.add(crate::ops::Pad { pads: vec![[1, 0]], value: f32::NEG_INFINITY }, "inf", &[x]).unwrap();
    let y = graph.add(Clip { min: f32::INFINITY, max: 0.1 }, "clip", &[y]).unwrap();
    graph.add_output("y", y).unwrap();
    let z = graph.add(crate::ops::Pad { pads: vec![[1, 0]], value: f32::NAN }, "nan", &[y]).unwrap();
    graph.add_output("z", z).unwrap();
    let text = print(&graph, &FULL);
    assert_eq!(print(&parse(&text).unwrap(), &FULL), text);
}

#[test]
fn seeded_values_are_small_and_the_same_everywhere() {
    let text = "graph \"g\" { constant %0 \"a\": f32[4] = seeded(7) constant %1 \"b\": f32[4] = positive(7)
                 constant %2 \"c\": i64[4] = seeded(1) constant %3 \"d\": f16[2,2] = splat(0.5)
                 constant %4 \"e\": bool[3] = seeded(3)
                 output \"a\" = %0 output \"b\" = %1 output \"c\" = %2 output \"d\" = %3 output \"e\" = %4 }";
    insta::assert_snapshot!(print(&parse(text).unwrap(), &FULL));
}

#[test]
fn elided_constants_print_a_hash_and_do_not_parse() {
    let graph = parse("graph \"g\" { constant %0 \"a\": f32[2] = [1, 2] output \"a\" = %0 }").unwrap();
    let text = print(&graph, &PrintOptions { constants: Constants::Elided });
    insta::assert_snapshot!(format!("{text}\n{}", parse(&text).unwrap_err()));
}

#[test]
fn errors_say_where_and_what() {
    let big = format!("graph \"g\" {{ constant %0 \"a\": f32[{}] = splat(1) }}", 1usize << 29);
    let cases = [
        "",
        "graf",
        "graph g",
        "graph \"g\" stage late {",
        "graph \"g\" {\n  input %0 \"x\" f32[1]\n}",
        "graph \"g\" {\n  input %0 \"x\": f31[1]\n}",
        "graph \"g\" { input %0 \"x\": f32[1,M] }",
        "graph \"g\" { input %0 \"x\": f32[N,0N] }",
        "graph \"g\" { input %0 \"x\": f32[N,N] }",
        "graph \"g\" { input %0 \"x\": f32[1,1,1,1,1,1,1,1,1] }",
        "graph \"g\" { input %0 \"x\": f32[99999999999999999999] }",
        "graph \"g\" { input %99999999999 \"x\": f32[1] }",
        "graph \"g\" { input %0 \"x\": f32[1] input %0 \"y\": f32[1] }",
        "graph \"g\" { input %0 \"x\": f32[1]\n  // äöü\n  %1 \"é\" = relu(%2)\n}",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = rélu(%0) }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = rely(%0) }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = relu(%0, %0) }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = relu(%0) {a=1} }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = clip(%0) {min=0, min=1} }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = clip(%0) {min=(} }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = clip(%0) {min=f32[} }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = relu(%0) : f32[2] }",
        "graph \"g\" { input %0 \"x\": f32[1] %1, %2 \"y\" = relu(%0) }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = relu(%0) : f32[1], f32[1] }",
        "graph \"g\" { input %0 \"x\": f32[1] %1 \"y\" = relu(%0) from x }",
        "graph \"g\" { input %0 \"x\": f32[1] }",
        "graph \"g\" { input %0 \"x\": f32[1] output \"x\" = %0 output \"x\" = %0 }",
        "graph \"g\" { input %0 \"x\": f32[1] output \"x\" = %0 } }",
        "graph \"g\" stage optimized { input %0 \"x\": f32[1] %1 \"i\" = identity(%0) output \"x\" = %1 }",
        "graph \"g\" { constant %0 \"a\": f32[2] = [1] }",
        "graph \"g\" { constant %0 \"a\": f32[2] = [1, 2, 3] }",
        "graph \"g\" { constant %0 \"a\": f32[2] = [1, x] }",
        "graph \"g\" { constant %0 \"a\": u8[1] = [256] }",
        "graph \"g\" { constant %0 \"a\": i32[1] = [nan] }",
        "graph \"g\" { constant %0 \"a\": f32[1] = [nan(0x1)] }",
        "graph \"g\" { constant %0 \"a\": f32[N] = splat(1) }",
        "graph \"g\" { constant %0 \"a\": f32[1] = seeded(-1) }",
        "graph \"g\" { constant %0 \"a\": f32[1] = 1 }",
        &big,
        "graph \"g",
        "graph \"a\\x\"",
        "graph \"\\u{110000}\"",
        "graph \"\\u{41\"",
        "graph \"g\" { $",
    ];
    let mut errors = String::new();
    for case in cases {
        errors += &format!("{case}\n    {}\n", parse(case).unwrap_err());
    }
    insta::assert_snapshot!(errors);
}

#[test]
fn any_prefix_and_any_changed_byte_is_an_error_or_a_graph() {
    let graph = random_graph(3, 6).unwrap();
    let text = print(&graph, &PrintOptions { constants: Constants::Elided });
    let mut parts = text.split("elided(");
    let first = parts.next().unwrap().to_owned();
    // The hash has 16 digits.
    let text = parts.fold(first, |text, part| text + "seeded(7" + &part[16..]);
    assert!(parse(&text).is_ok());
    let mut bytes = text.into_bytes();
    let mut parsed = 0;
    for at in (0..bytes.len()).step_by(3) {
        if let Ok(prefix) = std::str::from_utf8(&bytes[..at]) {
            assert!(parse(prefix).is_err() || prefix.ends_with('}'), "{prefix}");
        }
        for new in *b"9{\"%-\xff" {
            let old = std::mem::replace(&mut bytes[at], new);
            if let Ok(text) = std::str::from_utf8(&bytes) {
                parsed += usize::from(parse(text).is_ok());
            }
            bytes[at] = old;
        }
    }
    assert!(parsed > 0, "a changed digit of a name is still a graph");
}

#[test]
fn deep_graphs_need_no_stack() {
    let mut graph = Graph::new("deep");
    let mut value = graph.add_input("x", TensorType::f32(&[1])).unwrap();
    for index in 0..100_000 {
        value = graph.add(Relu, &format!("r{index}"), &[value]).unwrap();
    }
    graph.add_output("y", value).unwrap();
    assert_eq!(parse(&print(&graph, &FULL)).unwrap().len(), graph.len());
    assert!(dot::print(&graph).len() > graph.len());
    assert_eq!(json::print(&graph)["nodes"].as_array().unwrap().len(), graph.len());
}

#[test]
fn dot_escapes_names_and_clusters_by_prefix() {
    let text = r#"graph "a \"quoted\" graph" {
        input %0 "x": f32[N,2,4,4]
        constant %1 "b1.w": f32[2,2,1,1] = seeded(1)
        %2 "b1.conv\\n\n" = conv(%0, %1) {strides=[2,2]}
        %3 "b1.relu" = relu(%2)
        %4 "out\u{7}" = relu(%3)
        output "y" = %4
        output "w" = %1
    }"#;
    insta::assert_snapshot!(dot::print(&parse(text).unwrap()));
}

#[test]
fn json_describes_the_graph() {
    let text = r#"graph "g" {
        input %0 "x": f32[N,2,4,4]
        constant %1 "w": f32[2,2,1,1] = seeded(1)
        %2 "conv" = conv(%0, %1) {strides=[2,2], activation=clip(0,6)} from "conv", "clip"
        %3 "clip" = clip(%2) {min=-inf, max=0.5}
        output "y" = %3
    }"#;
    insta::assert_snapshot!(serde_json::to_string_pretty(&json::print(&parse(text).unwrap())).unwrap());
}

#[test]
fn attribute_words_parse_with_their_arguments() {
    let graph = parse(
        "graph \"g\" { input %0 \"x\": f32[1,1,2,2] constant %1 \"w\": f32[1,1,1,1] = splat(2)
           %2 \"c\" = conv(%0, %1) {activation=clip(-1, 6)} output \"y\" = %2 }",
    )
    .unwrap();
    let (_, conv) = graph.producer(graph.outputs()[0].value).unwrap();
    assert!(conv.op.attributes().contains(&("activation".into(), Attribute::Word("clip(-1,6)".into()))));
}
