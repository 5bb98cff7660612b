//! What graphs the importer makes: names, order, constants that stay and that go, open batches.

use incept_compiler::frontend::onnx::proto::TensorProto;
use incept_compiler::frontend::onnx::proto::tensor_proto::DataType;
use incept_compiler::frontend::onnx::{import, operators};
use insta::assert_snapshot;

use crate::builder::{empty, float, int, ints, model};

#[test]
fn initializers_that_are_listed_as_inputs_are_not_inputs() {
    let model = model(7).input("x", "1,2").input("w", "2,2").ones("w", &[2, 2]).node("MatMul", "x w", "y").output("y");
    let graph = model.import().unwrap();
    assert_eq!(graph.inputs().len(), 1);
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[1,2]") (): f32[1,2]
    w = constant (): f32[2,2]
    y_node = matmul (x, w): f32[1,2]
    "#);
}

#[test]
fn nodes_may_come_in_any_order_without_a_cycle() {
    let model = model(13)
        .input("x", "N,2")
        .node("Relu", "b", "c")
        .node("Identity", "x", "a")
        .node("Relu", "a", "b")
        .output("c");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    a_node = identity (x): f32[N,2]
    b_node = relu (a_node): f32[N,2]
    c_node = relu (b_node): f32[N,2]
    "#);
}

#[test]
fn constants_that_only_gave_shapes_and_bounds_are_left_out() {
    let model = model(13)
        .input("x", "N,2,3")
        .ints("six", &[6])
        .ints("open", &[-1])
        .node_with("Concat", "open six", "shape", vec![int("axis", 0)])
        .node("Reshape", "x shape", "r")
        .node_with("Constant", "", "lo", vec![float("value_float", -1.0)])
        .node("Clip", "r lo", "y")
        .output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2,3]") (): f32[N,2,3]
    r_node = reshape dims=Ints([-1, 6]) (x): f32[N,6]
    y_node = clip min=Float(-1.0) (r_node): f32[N,6]
    "#);
}

#[test]
fn a_constant_that_a_node_reads_too_stays() {
    let model = model(13)
        .input("x", "N,2")
        .node_with("Constant", "", "lo", vec![float("value_float", -1.0)])
        .node("Clip", "x lo", "c")
        .node("Add", "c lo", "y")
        .output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    lo_node = constant (): f32[]
    c_node = clip min=Float(-1.0) (x): f32[N,2]
    y_node = add (c_node, lo_node): f32[N,2]
    "#);
}

#[test]
fn nodes_that_nothing_reads_are_kept_for_a_pass_to_drop() {
    let model = model(13).input("x", "N,2").node("Relu", "x", "y").node("Relu", "y", "unread").output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    y_node = relu (x): f32[N,2]
    unread_node = relu (y_node): f32[N,2]
    "#);
}

#[test]
fn nodes_without_names_and_with_the_same_name_get_their_own() {
    let mut model =
        model(13).input("x", "2").node("Relu", "x", "a").node("Relu", "a", "b").node("Relu", "b", "c").output("c");
    model.graph().node[0].name = None;
    model.graph().node[1].name = Some("a".into());
    model.graph().node[2].name = Some("a".into());
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[2]") (): f32[2]
    a = relu (x): f32[2]
    a_2 = relu (a): f32[2]
    a_3 = relu (a_2): f32[2]
    "#);
}

#[test]
fn a_sum_of_three_is_two_additions() {
    let model = model(13).input("x", "N,2").node("Sum", "x x x", "y").output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    y_node_sum1 = add (x, x): f32[N,2]
    y_node = add (y_node_sum1, x): f32[N,2]
    "#);
}

#[test]
fn an_input_and_a_constant_may_be_outputs() {
    let model = model(13).input("x", "N,2").ones("w", &[1]).output("x").output("w");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    w = constant (): f32[1]
    "#);
}

#[test]
fn one_batch_serves_all_inputs() {
    let model = model(13).input("a", "N,2").input("b", "?,2").input("c", "1,2").node("Sum", "a b c", "y").output("y");
    assert_snapshot!(model.lines(), @r#"
    a = input type=Word("f32[N,2]") (): f32[N,2]
    b = input type=Word("f32[N,2]") (): f32[N,2]
    c = input type=Word("f32[1,2]") (): f32[1,2]
    y_node_sum1 = add (a, b): f32[N,2]
    y_node = add (y_node_sum1, c): f32[N,2]
    "#);
}

#[test]
fn a_view_that_is_computed_from_an_open_batch_becomes_a_static_reshape() {
    let model = model(11)
        .input("x", "batch,3,2,2")
        .node("Shape", "x", "s")
        .initializer(TensorProto { int64_data: vec![0], ..empty("zero", DataType::Int64, &[]) })
        .node("Gather", "s zero", "n")
        .node_with("Unsqueeze", "n", "n1", vec![ints("axes", &[0])])
        .ints("rest", &[-1])
        .node_with("Concat", "n1 rest", "shape", vec![int("axis", 0)])
        .node("Reshape", "x shape", "y")
        .output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,3,2,2]") (): f32[N,3,2,2]
    y_node = reshape dims=Ints([0, -1]) (x): f32[N,12]
    "#);
}

/// As torchvision exports `transform_input`.
#[test]
fn channels_that_are_taken_apart_are_slices() {
    let model = model(13)
        .input("x", "batch,2,4,4")
        .initializer(TensorProto { int64_data: vec![0], ..empty("zero", DataType::Int64, &[]) })
        .initializer(TensorProto { int64_data: vec![-1], ..empty("last", DataType::Int64, &[]) })
        .ints("axis", &[1])
        .ones("scale", &[1])
        .node_with("Gather", "x zero", "g0", vec![int("axis", 1)])
        .node("Unsqueeze", "g0 axis", "x0")
        .node("Mul", "x0 scale", "m0")
        .node_with("Gather", "x last", "g1", vec![int("axis", 1)])
        .node("Unsqueeze", "g1 axis", "x1")
        .node("Div", "x1 scale", "d1")
        .node("Sub", "d1 scale", "m1")
        .node_with("Concat", "m0 m1", "y", vec![int("axis", 1)])
        .output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2,4,4]") (): f32[N,2,4,4]
    scale = constant (): f32[1]
    g0_node_slice = slice axis=Int(1) start=Int(0) length=Int(1) (x): f32[N,1,4,4]
    g0_node = squeeze axes=Ints([1]) (g0_node_slice): f32[N,4,4]
    x0_node = unsqueeze axes=Ints([1]) (g0_node): f32[N,1,4,4]
    m0_node = mul (x0_node, scale): f32[N,1,4,4]
    g1_node_slice = slice axis=Int(1) start=Int(1) length=Int(1) (x): f32[N,1,4,4]
    g1_node = squeeze axes=Ints([1]) (g1_node_slice): f32[N,4,4]
    x1_node = unsqueeze axes=Ints([1]) (g1_node): f32[N,1,4,4]
    d1_node = div (x1_node, scale): f32[N,1,4,4]
    m1_node = sub (d1_node, scale): f32[N,1,4,4]
    y_node = concat axis=Int(1) (m0_node, m1_node): f32[N,2,4,4]
    "#);
}

#[test]
fn tensors_are_sliced_along_axes() {
    let model = model(13)
        .input("x", "batch,4,5")
        .ints("starts", &[0, 1, -3])
        .ints("ends", &[i64::MAX, 3, i64::from(i32::MAX)])
        .node("Slice", "x starts ends", "a")
        .ints("neighbours", &[0, 1])
        .node_with("Gather", "a neighbours", "b", vec![int("axis", 2)])
        .output("b");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,4,5]") (): f32[N,4,5]
    a_node_slice0 = slice axis=Int(1) start=Int(1) length=Int(2) (x): f32[N,2,5]
    a_node = slice axis=Int(2) start=Int(2) length=Int(3) (a_node_slice0): f32[N,2,3]
    b_node = slice axis=Int(2) start=Int(0) length=Int(2) (a_node): f32[N,2,2]
    "#);
    let batch = crate::builder::model(13).input("x", "batch,4").ints("zero", &[0]).ints("four", &[4]);
    assert_snapshot!(batch.node("Slice", "x zero four zero", "y").output("y").refusal(), @"
    node `y_node` (Slice): Slice of the batch is not supported
    help: slice other axes
    ");
    let whole = crate::builder::model(13)
        .input("x", "2,4")
        .ints("zero", &[0])
        .ints("four", &[4])
        .node("Slice", "x zero four zero", "y")
        .output("y");
    assert_snapshot!(whole.lines(), @r#"
    x = input type=Word("f32[2,4]") (): f32[2,4]
    y_node = identity (x): f32[2,4]
    "#);
}

#[test]
fn the_graph_has_the_name_that_is_given() {
    let bytes = model(13).input("x", "1").node("Relu", "x", "y").output("y").bytes();
    assert_eq!(&**import(bytes, "mine").unwrap().name(), "mine");
}

#[test]
fn every_opset_in_range_is_accepted() {
    for opset in 6..=25 {
        model(opset).input("x", "1,2").node("Relu", "x", "y").output("y").import().unwrap();
    }
    assert_eq!(operators().count(), 34 + 1);
}

#[test]
fn a_long_chain_takes_no_stack() {
    let mut long = model(13).input("x", "2").ints("k0", &[1]);
    for step in 0..20_000 {
        long = long.node("Identity", &format!("k{step}"), &format!("k{}", step + 1));
    }
    let long = long.node("Reshape", "x k20000", "y").output("y");
    assert!(long.refusal().contains("reshape") || long.refusal().contains("Reshape"));
}
