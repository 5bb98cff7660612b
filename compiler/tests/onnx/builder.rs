//! Builds ONNX models in a few lines.

use bytes::Bytes;
use incept_compiler::frontend::onnx::proto::attribute_proto::AttributeType;
use incept_compiler::frontend::onnx::proto::tensor_proto::DataType;
use incept_compiler::frontend::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use incept_compiler::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use incept_compiler::frontend::onnx::{self, ImportError};
use incept_ir::graph::Graph;
use prost::Message;

/// A model that grows. Fields of the proto are reached through `model`.
#[derive(Clone)]
pub struct Builder {
    pub model: ModelProto,
}

/// A model of this opset.
pub fn model(opset: i64) -> Builder {
    let graph = GraphProto { name: Some("test".into()), ..Default::default() };
    let opset = OperatorSetIdProto { domain: None, version: Some(opset) };
    Builder {
        model: ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() },
    }
}

impl Builder {
    pub fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_default()
    }

    /// An input of `f32`; dimensions are written as `N,3,?,8`: a name, sizes, one that is left open.
    pub fn input(self, name: &str, dims: &str) -> Self {
        self.input_of(DataType::Float, name, dims)
    }

    pub fn input_of(mut self, dtype: DataType, name: &str, dims: &str) -> Self {
        let dim = |word: &str| {
            let value = match word {
                "?" => None,
                word => Some(match word.parse() {
                    Ok(size) => dimension::Value::DimValue(size),
                    Err(_) => dimension::Value::DimParam(word.into()),
                }),
            };
            Dimension { value }
        };
        let dim = dims.split(',').filter(|word| !word.is_empty()).map(dim).collect();
        let tensor = type_proto::Tensor { elem_type: Some(dtype as i32), shape: Some(TensorShapeProto { dim }) };
        let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)) };
        self.graph().input.push(ValueInfoProto { name: Some(name.into()), r#type: Some(ty) });
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: Some(name.into()), r#type: None });
        self
    }

    pub fn initializer(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    /// An initializer of ones.
    pub fn ones(self, name: &str, dims: &[i64]) -> Self {
        let count = dims.iter().product::<i64>();
        self.initializer(f32s(name, dims, &vec![1.0; usize::try_from(count).unwrap()]))
    }

    /// An initializer that is a list of integers.
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        self.initializer(i64s(name, &[i64::try_from(values.len()).unwrap()], values))
    }

    /// A node named as its first output, without attributes. Inputs and outputs are separated by spaces; `_` is left out.
    pub fn node(self, op: &str, inputs: &str, outputs: &str) -> Self {
        self.node_with(op, inputs, outputs, Vec::new())
    }

    pub fn node_with(mut self, op: &str, inputs: &str, outputs: &str, attribute: Vec<AttributeProto>) -> Self {
        let names = |text: &str| -> Vec<String> {
            text.split_whitespace().map(|name| if name == "_" { String::new() } else { name.into() }).collect()
        };
        let (input, output) = (names(inputs), names(outputs));
        let name = output.first().map(|name| format!("{name}_node"));
        self.graph().node.push(NodeProto {
            input,
            output,
            name,
            op_type: Some(op.into()),
            attribute,
            ..Default::default()
        });
        self
    }

    pub fn bytes(&self) -> Bytes {
        self.model.encode_to_vec().into()
    }

    pub fn import(&self) -> Result<Graph, ImportError> {
        onnx::import(self.bytes(), "test")
    }

    /// The error's message and help.
    pub fn refusal(&self) -> String {
        let error = self.import().unwrap_err();
        match error.help() {
            Some(help) => format!("{error}\nhelp: {help}"),
            None => error.to_string(),
        }
    }

    /// The graph in a short form: a line a node, `name = op attributes (inputs): type`.
    pub fn lines(&self) -> String {
        let graph = self.import().unwrap();
        graph.verify().unwrap();
        let name = |value| graph.producer(value).unwrap().1.name.clone();
        let mut lines: Vec<String> = Vec::new();
        for id in graph.order().unwrap() {
            let node = graph.node(id).unwrap();
            let inputs: Vec<_> = graph.node_inputs(id).into_iter().map(name).collect();
            let attributes: Vec<_> =
                node.op.attributes().into_iter().map(|(key, value)| format!(" {key}={value:?}")).collect();
            let ty = graph.ty(graph.output(id, 0).unwrap()).unwrap();
            lines.push(format!(
                "{} = {}{} ({}): {ty}",
                node.name,
                node.op.name(),
                attributes.concat(),
                inputs.join(", ")
            ));
        }
        lines.join("\n")
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(Bytes::copy_from_slice(value.as_bytes())), ..attribute(name, AttributeType::String) }
}

pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) }
}

/// A tensor without data.
pub fn empty(name: &str, dtype: DataType, dims: &[i64]) -> TensorProto {
    TensorProto { name: Some(name.into()), data_type: Some(dtype as i32), dims: dims.to_vec(), ..Default::default() }
}

/// A tensor of raw `f32`.
pub fn f32s(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { raw_data: Some(raw.into()), ..empty(name, DataType::Float, dims) }
}

/// A tensor of typed `i64`.
pub fn i64s(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto { int64_data: values.to_vec(), ..empty(name, DataType::Int64, dims) }
}
