//! Initializers: every stored form of every type, sharing, and what is refused.

use incept_compiler::frontend::onnx::proto::tensor_proto::{DataLocation, DataType, Segment};
use incept_compiler::frontend::onnx::proto::{SparseTensorProto, StringStringEntryProto, TensorProto};
use incept_compiler::frontend::onnx::{import, read_tensor};
use incept_ir::types::DType;
use insta::assert_snapshot;
use prost::Message;

use crate::builder::{Builder, empty, f32s, i64s, int, model};

/// A model that gives this initializer as its output.
fn giving(tensor: TensorProto) -> Builder {
    model(13).initializer(tensor).output("t")
}

fn values(tensor: TensorProto) -> (DType, Vec<f64>) {
    let graph = giving(tensor).import().unwrap();
    let tensor = graph.constant(graph.outputs()[0].value).unwrap().clone();
    (tensor.dtype(), tensor.to_f64())
}

#[test]
fn typed_data_is_read() {
    let of = |dtype| empty("t", dtype, &[2]);
    let ints = |dtype, values: [i32; 2]| TensorProto { int32_data: values.to_vec(), ..of(dtype) };
    let cases = [
        (TensorProto { float_data: vec![0.5, -2.0], ..of(DataType::Float) }, DType::F32, [0.5, -2.0]),
        (TensorProto { double_data: vec![0.1, -2.0], ..of(DataType::Double) }, DType::F64, [0.1, -2.0]),
        (TensorProto { int64_data: vec![1 << 40, -3], ..of(DataType::Int64) }, DType::I64, [(1i64 << 40) as f64, -3.0]),
        (ints(DataType::Int32, [7, -8]), DType::I32, [7.0, -8.0]),
        (ints(DataType::Uint8, [7, 255]), DType::U8, [7.0, 255.0]),
        (ints(DataType::Bool, [1, 0]), DType::Bool, [1.0, 0.0]),
        (ints(DataType::Float16, [0x3c00, 0xc100]), DType::F16, [1.0, -2.5]),
    ];
    for (tensor, dtype, expected) in cases {
        assert_eq!(values(tensor), (dtype, expected.to_vec()));
    }
}

#[test]
fn raw_data_is_shared_with_the_file() {
    let bytes = giving(f32s("t", &[4], &[1.0, 2.0, 3.0, 4.0])).bytes();
    let file = bytes.as_ptr_range();
    let graph = import(bytes.clone(), "shared").unwrap();
    let tensor = graph.constant(graph.outputs()[0].value).unwrap();
    assert!(file.contains(&tensor.bytes().as_ptr()));
    assert_eq!(tensor.to_f64(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_tensor_alone_is_read() {
    let bytes = f32s("input_0", &[2, 1], &[1.5, 2.5]).encode_to_vec();
    let (name, tensor) = read_tensor(bytes.into()).unwrap();
    assert_eq!((name.as_str(), tensor.sizes(), tensor.to_f64()), ("input_0", &[2, 1][..], vec![1.5, 2.5]));
    assert!(read_tensor(vec![0xff, 0xff].into()).is_err());
}

#[test]
fn a_scalar_and_an_empty_tensor_are_read() {
    assert_eq!(values(f32s("t", &[], &[3.0])).1, [3.0]);
    assert_eq!(values(empty("t", DataType::Float, &[0, 3])).1, [0.0; 0]);
}

#[test]
fn half_precision_weights_beside_f32_are_widened() {
    let half = TensorProto { int32_data: vec![0x3c00, 0xc100], ..empty("h", DataType::Float16, &[2]) };
    let model =
        model(13).input("x", "N,2").initializer(half).node("Mul", "x h", "y").node("Add", "y h", "z").output("z");
    let graph = model.import().unwrap();
    let constants: Vec<_> = graph.nodes().filter_map(|(id, _)| graph.constant(graph.output(id, 0).ok()?)).collect();
    assert_eq!(constants.len(), 1, "widened once, and the narrow one is not kept");
    assert_eq!((constants[0].dtype(), constants[0].to_f64()), (DType::F32, vec![1.0, -2.5]));
}

#[test]
fn half_precision_weights_behind_a_cast_stay() {
    let half = TensorProto { int32_data: vec![0x3c00, 0xc100], ..empty("h", DataType::Float16, &[2]) };
    let model = model(13)
        .input("x", "N,2")
        .initializer(half)
        .node_with("Cast", "h", "w", vec![int("to", 1)])
        .node("Mul", "x w", "y")
        .output("y");
    assert_snapshot!(model.lines(), @r#"
    x = input type=Word("f32[N,2]") (): f32[N,2]
    h = constant (): f16[2]
    w_node = cast to=Word("f32") (h): f32[2]
    y_node = mul (x, w_node): f32[N,2]
    "#);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
    let external = TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", "weights.bin"), entry("offset", "0")],
        ..empty("t", DataType::Float, &[2])
    };
    assert_snapshot!(giving(external).refusal(), @r#"
    initializer `t`: its data is stored outside the model, in `weights.bin`
    help: save the model as one file: onnx.save(onnx.load("model.onnx"), "whole.onnx")
    "#);
    assert_snapshot!(giving(f32s("t", &[3], &[1.0, 2.0])).refusal(), @"
    initializer `t`: a f32[3] tensor needs 12 bytes but 8 are given
    help: the file is damaged, or the tool that wrote it is wrong; export it again
    ");
    assert_snapshot!(giving(empty("t", DataType::Float, &[2])).refusal(), @"
    initializer `t`: a f32[2] tensor needs 8 bytes but 0 are given
    help: the file is damaged, or the tool that wrote it is wrong; export it again
    ");
    assert_snapshot!(
        giving(TensorProto { raw_data: Some(vec![0; 2].into()), ..empty("t", DataType::Int8, &[2]) }).refusal(), @"
    initializer `t`: its element type INT8 is not supported (f32, f64, f16, i64, i32, u8 and bool are)
    help: export the model in f32, without quantisation
    ");
    assert_snapshot!(giving(TensorProto { data_type: Some(99), ..empty("t", DataType::Float, &[2]) }).refusal(), @"
    initializer `t`: its element type number 99 is not supported (f32, f64, f16, i64, i32, u8 and bool are)
    help: export the model in f32, without quantisation
    ");
    assert_snapshot!(giving(TensorProto { float_data: vec![1.0], ..i64s("t", &[1], &[1]) }).refusal(), @"initializer `t`: it has data both in `float_data` and in `int64_data`");
    assert_snapshot!(giving(TensorProto { float_data: vec![1.0], ..empty("t", DataType::Int64, &[1]) }).refusal(), @"initializer `t`: it holds i64, but its data is in the field `float_data`");
    assert_snapshot!(giving(TensorProto { int32_data: vec![256], ..empty("t", DataType::Uint8, &[1]) }).refusal(), @"initializer `t`: element 0 is 256, which is no u8");
    assert_snapshot!(giving(f32s("t", &[-1], &[1.0])).refusal(), @"initializer `t`: its dimension 0 is -1");
    assert_snapshot!(giving(f32s("t", &[i64::MAX, 4], &[1.0])).refusal(), @"initializer `t`: a tensor of sizes [9223372036854775807, 4] is larger than this program can address");
    assert_snapshot!(giving(f32s("t", &[1; 9], &[1.0])).refusal(), @"initializer `t`: it has 9 dimensions, but tensors have at most 8");
    let segment = Some(Segment { begin: Some(0), end: Some(1) });
    assert_snapshot!(giving(TensorProto { segment, ..f32s("t", &[1], &[1.0]) }).refusal(), @"
    initializer `t`: it is one segment of a tensor that is stored in parts
    help: save the tensor in one piece
    ");
    let mut sparse = giving(f32s("t", &[1], &[1.0]));
    let values = Some(f32s("s", &[1], &[1.0]));
    sparse.graph().sparse_initializer.push(SparseTensorProto { values, ..Default::default() });
    assert_snapshot!(sparse.refusal(), @"
    initializer `s` is sparse
    help: store it as a dense tensor
    ");
}
