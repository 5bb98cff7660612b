//! From files to code: the ONNX importer, the stages of compilation, and saved plans.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run should stop")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use incept::compile::target;
use incept::compiler::codegen;
use incept::compiler::frontend::onnx::import;
use incept::compiler::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_proto, tensor_shape_proto, type_proto,
};
use incept::ir::plan::file;
use incept::{CompileOptions, Model};
use prost::Message;

/// Convolutions of the imported chain, and their channels: 57 like GoogLeNet's, 8 million weights.
const LAYERS: usize = 57;
const CHANNELS: usize = 128;

fn load(criterion: &mut Criterion) {
    let onnx: Bytes = chain().encode_to_vec().into();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    group.throughput(Throughput::Bytes(onnx.len() as u64));
    group.bench_function("import an ONNX chain of 57 convolutions", |bencher| {
        bencher.iter(|| import(black_box(onnx.clone()), "chain").unwrap());
    });

    let model = Model::load("googlenet").unwrap();
    let options = CompileOptions::default();
    let planned = model.plan(&options).unwrap();
    let mut saved = Vec::new();
    file::encode(&planned.plan, 0, &mut saved).unwrap();
    let saved = Bytes::from(saved);
    let target = target("auto").unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("optimise googlenet", |bencher| {
        bencher.iter(|| model.optimize(black_box(&options), &mut |_, _| {}).unwrap());
    });
    group.bench_function("optimise, lower and place googlenet", |bencher| {
        bencher.iter(|| model.plan(black_box(&options)).unwrap());
    });
    group.bench_function("read and verify a saved googlenet", |bencher| {
        bencher.iter(|| file::decode(black_box(&saved)).unwrap());
    });
    group.bench_function("emit code and pack weights of googlenet", |bencher| {
        bencher.iter(|| codegen::link(black_box(planned.plan.clone()), &target).unwrap());
    });
    group.finish();
}

/// Convolutions with BatchNorm and ReLU, one after the other.
fn chain() -> ModelProto {
    let mut graph = GraphProto {
        name: Some("chain".into()),
        input: vec![port("x0", &[1, CHANNELS as i64, 28, 28])],
        output: vec![port(&format!("x{LAYERS}"), &[1, CHANNELS as i64, 28, 28])],
        ..GraphProto::default()
    };
    for layer in 0..LAYERS {
        let name = |what: &str| format!("{what}{layer}");
        let channels = [CHANNELS as i64];
        graph.initializer.push(weights(&name("w"), &[CHANNELS as i64, CHANNELS as i64, 3, 3]));
        let statistics = ["scale", "bias", "mean", "var"].map(name);
        graph.initializer.extend(statistics.iter().map(|name| weights(name, &channels)));
        let pads = AttributeProto {
            name: Some("pads".into()),
            r#type: Some(attribute_proto::AttributeType::Ints as i32),
            ints: vec![1; 4],
            ..AttributeProto::default()
        };
        let out = format!("x{}", layer + 1);
        graph.node.push(node("Conv", &[&format!("x{layer}"), &name("w")], &name("c"), vec![pads]));
        let conv = name("c");
        let inputs: Vec<&str> = std::iter::once(conv.as_str()).chain(statistics.iter().map(String::as_str)).collect();
        graph.node.push(node("BatchNormalization", &inputs, &name("b"), Vec::new()));
        graph.node.push(node("Relu", &[&name("b")], &out, Vec::new()));
    }
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(13) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(output.into()),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn weights(name: &str, sizes: &[i64]) -> TensorProto {
    let count: i64 = sizes.iter().product();
    let bytes: Vec<u8> = (0..count).flat_map(|index| (((index % 13) as f32 + 1.0) / 64.0).to_le_bytes()).collect();
    TensorProto {
        name: Some(name.into()),
        data_type: Some(tensor_proto::DataType::Float as i32),
        dims: sizes.to_vec(),
        raw_data: Some(bytes.into()),
        ..TensorProto::default()
    }
}

fn port(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dim = sizes.iter().map(|size| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(*size)),
    });
    let tensor = type_proto::Tensor {
        elem_type: Some(tensor_proto::DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)) }),
    }
}

criterion_group!(benches, load);
criterion_main!(benches);
