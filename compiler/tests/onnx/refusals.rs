//! What is refused, and in which words.

use incept_compiler::frontend::onnx::proto::tensor_proto::DataType;
use incept_compiler::frontend::onnx::proto::{FunctionProto, GraphProto, TypeProto, ValueInfoProto, type_proto};
use incept_compiler::frontend::onnx::{ImportError, import};
use insta::assert_snapshot;

use crate::builder::{Builder, f32s, float, int, ints, model, string, tensor};

/// A model of one node on an image.
fn on_image(
    opset: i64,
    op: &str,
    inputs: &str,
    attributes: Vec<incept_compiler::frontend::onnx::proto::AttributeProto>,
) -> Builder {
    model(opset)
        .input("x", "1,2,5,5")
        .ones("w", &[2, 2, 3, 3])
        .ones("v", &[2])
        .node_with(op, inputs, "y", attributes)
        .output("y")
}

#[test]
fn files_that_are_no_models() {
    assert_eq!(import(Default::default(), "empty").unwrap_err(), ImportError::NoGraph);
    let error = import(b"\x89PNG\r\n\x1a\n".as_slice().into(), "image").unwrap_err();
    assert!(matches!(error, ImportError::Decode(_)) && error.help().is_some(), "{error}");
}

#[test]
fn opsets() {
    assert_snapshot!(on_image(5, "Relu", "x", vec![]).refusal(), @"
    the model uses opset 5; opsets 6 to 25 are supported
    help: convert it: onnx.version_converter.convert_version(model, 17)
    ");
    assert_snapshot!(on_image(26, "Relu", "x", vec![]).refusal(), @"
    the model uses opset 26; opsets 6 to 25 are supported
    help: convert it: onnx.version_converter.convert_version(model, 17)
    ");
    let mut none = on_image(13, "Relu", "x", vec![]);
    none.model.opset_import.clear();
    assert_snapshot!(none.refusal(), @"
    the model does not say which version of the ai.onnx operators it uses (opset_import)
    help: export the model again with a tool that writes opset_import
    ");
}

#[test]
fn all_unsupported_operators_are_listed_at_once() {
    let mut several = model(8)
        .input("x", "1,2")
        .node("HardSwish", "x", "a")
        .node("If", "a", "b")
        .node("Relo", "b", "c")
        .node("FusedConv", "c", "d")
        .node("ConstantOfShape", "d", "e")
        .node("QLinearConv", "e", "f")
        .node("Mine", "f", "g")
        .node("HardSwish", "g", "h")
        .node("HardSwish", "h", "i")
        .node("HardSwish", "i", "j")
        .output("j");
    several.graph().node[3].domain = Some("com.microsoft".into());
    several.graph().node[6].domain = Some("local".into());
    several.model.functions.push(FunctionProto { name: Some("Mine".into()), domain: Some("local".into()) });
    assert_snapshot!(several.refusal(), @r#"
    7 operators are not supported:
      HardSwish (4 nodes: `a_node`, `h_node`, `i_node`, …): it is supported in opsets 14 to 25, not in 8
      If (1 node: `b_node`): it holds subgraphs, and control flow is not supported
      Relo (1 node: `c_node`): there is no such operator here
      com.microsoft.FusedConv (1 node: `d_node`): it belongs to the domain `com.microsoft`, not to ai.onnx
      ConstantOfShape (1 node: `e_node`): it is supported in opsets 9 to 25, not in 8
      QLinearConv (1 node: `f_node`): quantised models are not supported
      local.Mine (1 node: `g_node`): it is a function that the model defines
    help: HardSwish: convert it: onnx.version_converter.convert_version(model, 14)
    If: export the model with fixed shapes and without data-dependent control flow
    Relo: did you mean `Relu`?
    com.microsoft.FusedConv: export the model again without the optimisations of another engine
    ConstantOfShape: convert it: onnx.version_converter.convert_version(model, 13)
    QLinearConv: use the f32 model that it was made from
    local.Mine: inline it first: onnx.inliner.inline_local_functions(model)
    "#);
    assert_snapshot!(model(13).input("x", "1").node("Sin", "x", "y").output("y").refusal(), @"
    an operator is not supported: Sin (1 node: `y_node`): there is no such operator here
    help: Sin: express it with supported operators, or cut the model before it
    ");
}

#[test]
fn names() {
    let good = model(13).input("x", "1,2").node("Relu", "x", "middle").node("Relu", "middle", "y").output("y");
    let mut undefined = good.clone();
    undefined.graph().node[1].input[0] = "midle".into();
    assert_snapshot!(undefined.refusal(), @"
    node `y_node` (Relu) reads `midle`, which nothing defines
    help: did you mean `middle`?
    ");
    let mut twice = good.clone();
    twice.graph().node[1].output[0] = "middle".into();
    assert_snapshot!(twice.refusal(), @"
    the value `middle` is defined twice: by node `middle_node` and by node `y_node`
    help: a value is made once; rename one of them
    ");
    let mut shadowed = good.clone();
    shadowed.graph().node[0].output[0] = "x".into();
    assert_snapshot!(shadowed.refusal(), @"
    the value `x` is defined twice: by a graph input and by node `middle_node`
    help: a value is made once; rename one of them
    ");
    assert_snapshot!(good.clone().ones("w", &[1]).ones("w", &[1]).refusal(), @"
    the value `w` is defined twice: by an initializer and by an initializer
    help: a value is made once; rename one of them
    ");
    assert_snapshot!(good.clone().input("x", "1").refusal(), @"
    the value `x` is defined twice: by a graph input and by a graph input
    help: a value is made once; rename one of them
    ");
    assert_snapshot!(good.clone().output("Y2").refusal(), @"
    graph output `Y2` is defined by nothing
    help: did you mean `y`?
    ");
    assert_snapshot!(good.clone().output("y").refusal(), @"graph output `y`: it is listed twice");
    let mut none = good.clone();
    none.graph().output.clear();
    assert_snapshot!(none.refusal(), @"
    the graph has no outputs
    help: name at least one value as an output of the graph
    ");
}

#[test]
fn cycles() {
    let cycle = model(13)
        .input("x", "1,2")
        .node("Relu", "x", "start")
        .node("Add", "start c", "a")
        .node("Relu", "a", "b")
        .node("Relu", "b", "c")
        .node("Relu", "c", "y")
        .output("y");
    assert_snapshot!(cycle.refusal(), @"nodes form a cycle: `b_node` → `c_node` → `a_node` → `b_node`");
    assert_snapshot!(model(13).node("Relu", "y", "y").output("y").refusal(), @"nodes form a cycle: `y_node` → `y_node`");
}

#[test]
fn inputs() {
    let reading = |model: Builder| model.node("Relu", "x", "y").output("y").refusal();
    assert_snapshot!(reading(model(13).input("x", "N,3,H,W")), @"
    graph input `x`: its dimension 2 is symbolic (`H`)
    help: only the first dimension, the batch, may be open: export the model with fixed image sizes
    ");
    assert_snapshot!(reading(model(13).input("x", "N,3,?,4")), @"
    graph input `x`: its dimension 2 is open
    help: only the first dimension, the batch, may be open: export the model with fixed image sizes
    ");
    assert_snapshot!(reading(model(13).input("x", "0,3")), @"
    graph input `x`: its dimension 0 is 0
    help: a size that is open is given a name (dim_param), and only the batch may be
    ");
    assert_snapshot!(reading(model(13).input("x", "1,-1")), @"
    graph input `x`: its dimension 1 is -1
    help: a size that is open is given a name (dim_param), and only the batch may be
    ");
    assert_snapshot!(reading(model(13).input("x", "N,2").input("z", "M,2")), @"
    graph input `z`: its batch size is `M`, but that of input `x` is `N`
    help: one batch size serves all inputs: give them the same name
    ");
    assert_snapshot!(reading(model(13).input("x", "1,1,1,1,1,1,1,1,1")), @"graph input `x`: it has 9 dimensions, but tensors have at most 8");
    assert_snapshot!(reading(model(13).input("x", "4294967296,4294967296")), @"graph input `x`: its shape [4294967296,4294967296] is too large");
    assert_snapshot!(reading(model(13).input_of(DataType::Int8, "x", "1")), @"
    graph input `x`: its element type INT8 is not supported (f32, f64, f16, i64, i32, u8 and bool are)
    help: export the model in f32, without quantisation
    ");
    assert_snapshot!(reading(model(13).input_of(DataType::Float16, "x", "1")), @"
    node `y_node` (Relu): computes on f32, but its input is f16[1]
    help: convert the model to f32; weights alone may be f16 (they are widened, or go through a Cast)
    ");
    let mut untyped = model(13);
    untyped.graph().input.push(ValueInfoProto { name: Some("x".into()), r#type: None });
    assert_snapshot!(reading(untyped), @"
    graph input `x`: it has no type
    help: export the model with typed inputs
    ");
    let mut shapeless = model(13).input("x", "1");
    let bare = type_proto::Tensor { elem_type: Some(1), shape: None };
    shapeless.graph().input[0].r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(bare)) });
    assert_snapshot!(reading(shapeless), @"
    graph input `x`: its shape is not given
    help: export the model with fixed shapes
    ");
    let mut sequence = model(13).input("x", "1");
    sequence.graph().input[0].r#type =
        Some(TypeProto { value: Some(type_proto::Value::SequenceType(Default::default())) });
    assert_snapshot!(reading(sequence), @"
    graph input `x`: it is not a tensor
    help: models take and give dense tensors
    ");
}

#[test]
fn attributes() {
    assert_snapshot!(on_image(13, "Relu", "x", vec![float("alpha", 0.1)]).refusal(), @"
    node `y_node` (Relu): has an attribute `alpha`, which the operator does not have in opset 13
    help: check which opset the model was written for
    ");
    assert_snapshot!(on_image(13, "Conv", "x w", vec![int("strides", 2)]).refusal(), @"node `y_node` (Conv): its attribute `strides` must be of type ints, but is of type int");
    assert_snapshot!(on_image(13, "Conv", "x w", vec![ints("strides", &[2])]).refusal(), @"node `y_node` (Conv): its attribute `strides` must be two integers of at least 1, but is [2]");
    assert_snapshot!(on_image(13, "Conv", "x w", vec![ints("strides", &[0, 1])]).refusal(), @"node `y_node` (Conv): its attribute `strides` must be two integers of at least 1, but is [0,1]");
    assert_snapshot!(on_image(13, "Conv", "x w", vec![int("group", 1), int("group", 1)]).refusal(), @"node `y_node` (Conv): its attribute `group` is given twice");
    assert_snapshot!(on_image(13, "Concat", "x x", vec![]).refusal(), @"node `y_node` (Concat): its attribute `axis` is required but left out");
    assert_snapshot!(on_image(13, "Concat", "x x", vec![int("axis", 4)]).refusal(), @"node `y_node` (Concat): its axis is 4, but the input has 4 dimensions");
    let subgraph = |name: &str| {
        let mut attribute = int(name, 0);
        attribute.r#type = Some(5);
        attribute.g = Some(GraphProto::default());
        attribute
    };
    assert_snapshot!(on_image(13, "Relu", "x", vec![subgraph("body")]).refusal(), @"
    node `y_node` (Relu): has an attribute `body`, which the operator does not have in opset 13
    help: check which opset the model was written for
    ");
    let mut linked = int("group", 0);
    linked.ref_attr_name = Some("groups".into());
    assert_snapshot!(on_image(13, "Conv", "x w", vec![linked]).refusal(), @"node `y_node` (Conv): its attribute `group` refers to a function's attribute, outside a function");
}

#[test]
fn numbers_of_inputs() {
    assert_snapshot!(on_image(13, "Add", "x", vec![]).refusal(), @"node `y_node` (Add): takes 2 inputs but has 1");
    assert_snapshot!(on_image(13, "Relu", "x x", vec![]).refusal(), @"node `y_node` (Relu): takes 1 input but has 2");
    assert_snapshot!(on_image(13, "Conv", "x _ v", vec![]).refusal(), @"node `y_node` (Conv): its input 1 is required but left out");
    assert_snapshot!(on_image(13, "Concat", "", vec![int("axis", 0)]).refusal(), @"node `y_node` (Concat): takes at least 1 input but has 0");
}

#[test]
fn windows() {
    let conv = |attributes| on_image(13, "Conv", "x w", attributes).refusal();
    assert_snapshot!(conv(vec![ints("kernel_shape", &[3, 2])]), @"node `y_node` (Conv): its attribute `kernel_shape` is [3,2], but the weights are f32[2,2,3,3]");
    assert_snapshot!(conv(vec![ints("pads", &[1, 1])]), @"node `y_node` (Conv): its attribute `pads` must be four integers (top, left, bottom, right), but is [1,1]");
    assert_snapshot!(conv(vec![ints("pads", &[-1, 0, 0, 0])]), @"
    node `y_node` (Conv): negative padding ([-1,0,0,0]) is not supported
    help: crop with Slice before export
    ");
    assert_snapshot!(conv(vec![string("auto_pad", "SAME")]), @"node `y_node` (Conv): its attribute `auto_pad` is `SAME`, but must be NOTSET, VALID, SAME_UPPER or SAME_LOWER");
    assert_snapshot!(conv(vec![string("auto_pad", "SAME_UPPER"), ints("pads", &[1, 1, 1, 1])]), @"node `y_node` (Conv): its attribute `auto_pad` is SAME_UPPER, but explicit pads are given too");
    assert_snapshot!(conv(vec![int("group", 3)]), @"node `y_node` (Conv): 3 groups do not divide 2 input channels and 2 output channels");
    assert_snapshot!(conv(vec![ints("dilations", &[3, 3])]), @"node `y_node` (Conv): a kernel that reaches over 7 is larger than the padded input of 5 (0 + 5 + 0)");
    assert_snapshot!(on_image(13, "MaxPool", "x", vec![]).refusal(), @"node `y_node` (MaxPool): its attribute `kernel_shape` is required but left out");
    let line = model(13).input("x", "1,2,5").ones("w", &[2, 2, 3]).node("Conv", "x w", "y").output("y");
    assert_snapshot!(line.refusal(), @"
    node `y_node` (Conv): a one-dimensional window (the input has rank 3) is not supported
    help: windows are two-dimensional: the input is N,C,H,W
    ");
    let volume = model(13).input("x", "1,2,5,5,5").node("GlobalAveragePool", "x", "y").output("y");
    assert_snapshot!(volume.refusal(), @"
    node `y_node` (GlobalAveragePool): a three-dimensional window (the input has rank 5) is not supported
    help: windows are two-dimensional: the input is N,C,H,W
    ");
}

#[test]
fn second_outputs() {
    let kernel = || vec![ints("kernel_shape", &[2, 2])];
    let pool = |outputs: &str| model(13).input("x", "1,2,5,5").node_with("MaxPool", "x", outputs, kernel());
    assert_snapshot!(pool("y indices").output("indices").refusal(), @"
    node `y_node` (MaxPool): its output 1 (`indices`) is used, but only output 0 is computed
    help: export the model for inference; remove what reads this output
    ");
    assert_snapshot!(pool("y indices").node("Cast", "indices", "z").output("z").refusal(), @"
    node `y_node` (MaxPool): its output 1 (`indices`) is used, but only output 0 is computed
    help: export the model for inference; remove what reads this output
    ");
    pool("y indices").output("y").import().unwrap();
    model(13).input("x", "1,2").node("Dropout", "x", "y mask").output("y").import().unwrap();
}

#[test]
fn training() {
    let norm = |opset, attributes| on_image(opset, "BatchNormalization", "x v v v v", attributes).refusal();
    assert_snapshot!(norm(15, vec![int("training_mode", 1)]), @"
    node `y_node` (BatchNormalization): batch normalisation in training mode is not supported
    help: export the model for inference (model.eval() in torch)
    ");
    assert_snapshot!(norm(6, vec![]), @"
    node `y_node` (BatchNormalization): batch normalisation in training mode is not supported
    help: export the model for inference (model.eval() in torch)
    ");
    assert_snapshot!(norm(7, vec![int("spatial", 0)]), @"
    node `y_node` (BatchNormalization): batch normalisation per position (spatial = 0) is not supported
    help: normalise per channel
    ");
    assert_snapshot!(norm(9, vec![int("spatial", 1)]), @"
    node `y_node` (BatchNormalization): has an attribute `spatial`, which the operator does not have in opset 9
    help: check which opset the model was written for
    ");
    let on = f32s("on", &[], &[1.0]);
    assert_snapshot!(model(13).input("x", "1").initializer(on).node("Dropout", "x _ on", "y").output("y").refusal(), @"
    node `y_node` (Dropout): dropout in training mode is not supported
    help: export the model for inference (model.eval() in torch)
    ");
    assert_snapshot!(on_image(6, "Dropout", "x", vec![]).refusal(), @"
    node `y_node` (Dropout): dropout in training mode is not supported
    help: export the model for inference (model.eval() in torch)
    ");
    assert_snapshot!(on_image(6, "Add", "x v", vec![]).refusal(), @"node `y_node` (Add): its operands have the types f32[1,2,5,5] and f32[2], but `broadcast` is not set");
    assert_snapshot!(on_image(6, "Add", "x v", vec![int("broadcast", 1), int("axis", -5)]).refusal(), @"node `y_node` (Add): its axis is -5, but the input has 4 dimensions");
    let saved = model(9).input("x", "1,2,5,5").ones("v", &[2]);
    assert_snapshot!(saved.node("BatchNormalization", "x v v v v", "y mean").output("y").output("mean").refusal(), @"
    node `y_node` (BatchNormalization): its output 1 (`mean`) is used, but only output 0 is computed
    help: export the model for inference; remove what reads this output
    ");
}

#[test]
fn what_must_be_known_and_is_not() {
    let given = model(13).input("x", "2,3").input_of(DataType::Int64, "s", "2").node("Reshape", "x s", "y").output("y");
    assert_snapshot!(given.refusal(), @"
    node `y_node` (Reshape): its shape (`s`) must be known when the model is compiled, but it depends on the graph input `s`
    help: export the model with fixed shapes, or fold its constants first (for example with onnxsim)
    ");
    let bound = model(13).input("x", "2,3").input("m", "").node("Relu", "m", "n").node("Clip", "x n", "y").output("y");
    assert_snapshot!(bound.refusal(), @"
    node `y_node` (Clip): its lower bound (`n`) must be known when the model is compiled, but it depends on the graph input `m`
    help: export the model with fixed shapes, or fold its constants first (for example with onnxsim)
    ");
    let heavy =
        model(13).input("x", "1,1").ones("m", &[1, 1]).node("MatMul", "m m", "n").node("Clip", "x n", "y").output("y");
    assert_snapshot!(heavy.refusal(), @"
    node `y_node` (Clip): its lower bound (`n`) must be known when the model is compiled, but it depends on node `n_node` (matmul), which is not evaluated here
    help: export the model with fixed shapes, or fold its constants first (for example with onnxsim)
    ");
    let batch = model(13).input("x", "N,3").node("Shape", "x", "s").node("ConstantOfShape", "s", "y").output("y");
    assert_snapshot!(batch.refusal(), @"
    node `y_node` (ConstantOfShape): its shape (`s`) must be known when the model is compiled, but it depends on the batch size
    help: export the model with fixed shapes, or fold its constants first (for example with onnxsim)
    ");
    let batch = model(13).input("x", "N,3").node("Shape", "x", "s").output("s");
    assert_snapshot!(batch.refusal(), @"graph output `s`: it is a shape that depends on the batch size");
    let batch = model(13).input("x", "N,3").node("Shape", "x", "s").node("Mul", "s s", "y").output("y");
    assert_snapshot!(batch.refusal(), @"
    node `y_node` (Mul): its input (`s`) must be known when the model is compiled, but it depends on the batch size, and only shapes may
    help: export the model with fixed shapes, or fold its constants first (for example with onnxsim)
    ");
    let gather = model(13).input("x", "N,3").ints("i", &[0]).node("Gather", "x i", "y").output("y");
    assert_snapshot!(gather.refusal(), @"
    node `y_node` (Gather): Gather along the batch is not supported
    help: gather along another axis
    ");
    let gather = |indices: &[i64]| {
        let model = model(13).input("x", "2,3").ints("i", indices);
        model.node_with("Gather", "x i", "y", vec![int("axis", 1)]).output("y").refusal()
    };
    assert_snapshot!(gather(&[2, 0]), @r#"
    node `y_node` (Gather): Gather of indices that do not follow each other is not supported
    help: gather one range, or use Slice
    "#);
    assert_snapshot!(gather(&[3]), @"node `y_node` (Gather): its list of indices holds 3, but the size is 3");
    let slice = |steps: &[i64], ends: &[i64]| {
        let model = model(13).input("x", "2,3").ints("s", &[0]).ints("e", ends).ints("a", &[1]).ints("t", steps);
        model.node("Slice", "x s e a t", "y").output("y").refusal()
    };
    assert_snapshot!(slice(&[2], &[3]), @r#"
    node `y_node` (Slice): Slice of a tensor by steps is not supported
    help: slice without gaps
    "#);
    assert_snapshot!(slice(&[1], &[3, 3]), @"node `y_node` (Slice): its bounds must be as many starts as ends, axes and steps");
}

#[test]
fn constants_that_would_be_too_large() {
    let large = |sizes: &[i64]| model(13).ints("s", sizes).node("ConstantOfShape", "s", "y").output("y").refusal();
    assert_snapshot!(large(&[1 << 20, 1 << 20, 1 << 20]), @"node `y_node` (ConstantOfShape): its shape is too large: a tensor of sizes [1048576, 1048576, 1048576] is larger than this program can address");
    assert_snapshot!(large(&[1 << 30]), @"node `y_node` (ConstantOfShape): its shape makes the model's constants larger than 2147483648 bytes together");
    assert_snapshot!(large(&[-1]), @"node `y_node` (ConstantOfShape): its shape holds -1, which is no size");
    assert_snapshot!(large(&[1; 9]), @"node `y_node` (ConstantOfShape): its shape is too large: a tensor of sizes [1, 1, 1, 1, 1, 1, 1, 1, 1] is larger than this program can address");
    let value = tensor("value", f32s("", &[2], &[1.0, 2.0]));
    let two = model(13).ints("s", &[1]).node_with("ConstantOfShape", "s", "y", vec![value]).output("y");
    assert_snapshot!(two.refusal(), @"node `y_node` (ConstantOfShape): its attribute `value` must be one number, but holds 2");
}

#[test]
fn shapes() {
    let reshape =
        |shape: &[i64]| model(13).input("x", "2,3").ints("s", shape).node("Reshape", "x s", "y").output("y").refusal();
    assert_snapshot!(reshape(&[-1, -1]), @"node `y_node` (Reshape): its shape is [-1,-1], which leaves more than one dimension open");
    assert_snapshot!(reshape(&[4, 2]), @"node `y_node` (Reshape): f32[2,3] cannot take the sizes [4, 2]");
    assert_snapshot!(reshape(&[-2, 3]), @"node `y_node` (Reshape): dims [-2, 3] hold the size -2");
    let on = |op, attributes| on_image(11, op, "x", attributes).refusal();
    assert_snapshot!(on("Transpose", vec![ints("perm", &[0, 1, 1, 2])]), @"node `y_node` (Transpose): its attribute `perm` is [0,1,1,2], which is no permutation of 4 axes");
    assert_snapshot!(on("Squeeze", vec![ints("axes", &[0, -4])]), @"node `y_node` (Squeeze): its axes are [0,-4], which names one twice");
    assert_snapshot!(on("Squeeze", vec![ints("axes", &[1])]), @"node `y_node` (Squeeze): axis 1 of f32[1,2,5,5] is not 1 and cannot be dropped");
    assert_snapshot!(on("Unsqueeze", vec![ints("axes", &[0, 1, 2, 3, 4])]), @"
    node `y_node` (Unsqueeze): a result with 9 dimensions is not supported
    help: use at most 8
    ");
    assert_snapshot!(on("Flatten", vec![int("axis", 5)]), @"node `y_node` (Flatten): its axis is 5, but the input has 4 dimensions");
    let open = model(13).input("x", "N,1").node("Squeeze", "x", "y").output("y");
    assert_snapshot!(open.refusal(), @"
    node `y_node` (Squeeze): squeezing all axes of size 1 of a value whose batch size is open is not supported
    help: give the axes to squeeze, or a fixed batch size
    ");
}

#[test]
fn pads() {
    let pad =
        |mode: &str, pads: &[i64]| on_image(10, "Pad", "x", vec![string("mode", mode), ints("pads", pads)]).refusal();
    assert_snapshot!(pad("reflect", &[0; 8]), @"
    node `y_node` (Pad): padding of mode `reflect` is not supported
    help: pad with a constant
    ");
    assert_snapshot!(pad("constant", &[0, 0, -1, 0, 0, 0, 0, 0]), @"
    node `y_node` (Pad): negative padding ([0,0,-1,0,0,0,0,0]) is not supported
    help: crop with Slice before export
    ");
    assert_snapshot!(pad("constant", &[0; 7]), @"node `y_node` (Pad): its list of pads must hold 8 numbers (a begin and an end for each axis), but holds 7");
}

#[test]
fn types() {
    let double = on_image(13, "Cast", "x", vec![int("to", 11)]).node("Relu", "y", "z").output("z");
    assert_snapshot!(double.refusal(), @"
    node `z_node` (Relu): computes on f32, but its input is f64[1,2,5,5]
    help: convert the model to f32; weights alone may be f16 (they are widened, or go through a Cast)
    ");
    assert_snapshot!(on_image(13, "Cast", "x", vec![int("to", 8)]).refusal(), @"
    node `y_node` (Cast): its attribute `to` is no tensor or type that can be used: its element type STRING is not supported (f32, f64, f16, i64, i32, u8 and bool are)
    help: export the model in f32, without quantisation
    ");
    assert_snapshot!(on_image(13, "Clip", "x v", vec![]).refusal(), @"node `y_node` (Clip): its lower bound must be one number, but holds 2");
    let mut declared = model(13).input("x", "1").node("Relu", "x", "y").output("y");
    let int64 = type_proto::Tensor { elem_type: Some(7), shape: None };
    declared.graph().output[0].r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(int64)) });
    assert_snapshot!(declared.refusal(), @"graph output `y`: it is declared as i64, but its value is f32[1]");
    assert_snapshot!(model(13).node_with("Constant", "", "y", vec![string("value_string", "a")]).output("y").refusal(), @"
    node `y_node` (Constant): a constant given as `value_string` is not supported
    help: use a dense tensor of numbers
    ");
    assert_snapshot!(model(13).node("Constant", "", "y").output("y").refusal(), @"node `y_node` (Constant): its attribute `value` is required but left out");
}
