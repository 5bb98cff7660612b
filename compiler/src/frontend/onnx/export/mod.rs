//! The exporter: graph to bytes.
//!
//! What ONNX has no operator for is written as several: what passes fused into a convolution (an activation, an addition)
//! becomes nodes of its own again, and one with several outputs a convolution for each. Names of inputs and outputs are kept, those of nodes too; where two would be equal, the later gets a number. What a
//! node stands for (its provenance) is its `doc_string`, which viewers show.
//!
//! | module | what lives there |
//! |---|---|
//! | `ops` | the form of each op, an arm each |
//! | `names` | names that are given once only |
//!
//! Invariants: [`import`](super::import) of what is exported computes the same; the opset is the oldest in which every
//! node means the same, at least [`BASE_OPSET`]; nodes stand in an order in which they can run.

mod names;
mod ops;

use bytes::Bytes;
use incept_ir::graph::{Graph, GraphError, Node};
use incept_ir::ids::{NodeId, ValueId};
use incept_ir::ops::Op;
use incept_ir::tensor::{Tensor, TensorError};
use incept_ir::types::{DType, Dim, TensorType};
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};

use self::names::Names;
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// The opset of a model that needs no later one.
pub const BASE_OPSET: i64 = 13;

/// The most bytes that a protobuf message may have.
const MAX_BYTES: usize = (1 << 31) - 1;

/// Why a graph could not be written as ONNX.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// The graph is not what its own queries promise: a defect of this program.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A constant cannot be cut into parts: a defect of this program.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A type has no form in ONNX.
    #[error("input `{name}` of type {ty} has no form in ONNX: an open dimension there is not a multiple of another")]
    Input {
        /// The graph input.
        name: String,
        /// Its type.
        ty: TensorType,
    },
    /// The file would be larger than the format allows.
    #[error("the file would have {bytes} bytes; a protobuf message has {MAX_BYTES} at most")]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
}

/// Writes a graph as an ONNX model. Symbolic batches become the open dimension `N`. Constants that nothing reads are left
/// out.
///
/// # Errors
/// Where an input's type has no form in ONNX, or the file would be too large.
pub fn export(graph: &Graph) -> Result<Vec<u8>, ExportError> {
    let mut exporter = Exporter::new(graph)?;
    for id in graph.order()? {
        exporter.node(id, graph.node(id)?)?;
    }
    let model = exporter.finish()?;
    let bytes = model.encoded_len();
    if bytes > MAX_BYTES {
        return Err(ExportError::TooLarge { bytes });
    }
    Ok(model.encode_to_vec())
}

/// A model as far as it is written.
struct Exporter<'g> {
    graph: &'g Graph,
    opset: i64,
    values: FxHashMap<ValueId, String>,
    value_names: Names,
    node_names: Names,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    described: Vec<ValueInfoProto>,
    /// Outputs that are a second name of a value: the name, and what it is.
    copies: Vec<(String, ValueId)>,
}

/// A node to be written, but for its name and its outputs.
struct Form {
    op: &'static str,
    /// Empty where an optional input is left out.
    inputs: Vec<String>,
    attributes: Vec<AttributeProto>,
}

impl<'g> Exporter<'g> {
    /// Names the inputs and outputs, before any node can take their names.
    fn new(graph: &'g Graph) -> Result<Self, ExportError> {
        let mut this = Self {
            graph,
            opset: BASE_OPSET,
            values: FxHashMap::default(),
            value_names: Names::default(),
            node_names: Names::default(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            described: Vec::new(),
            copies: Vec::new(),
        };
        for id in graph.inputs() {
            let (name, value) = (&graph.node(*id)?.name, graph.output(*id, 0)?);
            let ty = graph.ty(value)?;
            if ty.shape.dims().iter().any(|dim| matches!(dim, Dim::Batch(factor) if *factor != 1)) {
                return Err(ExportError::Input { name: name.to_string(), ty: ty.clone() });
            }
            let name = this.value_names.unique(name);
            this.inputs.push(described(&name, ty));
            this.values.insert(value, name);
        }
        let mut unnamed: FxHashSet<ValueId> = this.values.keys().copied().collect();
        for output in graph.outputs() {
            let ty = graph.ty(output.value)?;
            let name = match this.values.get(&output.value) {
                // An input that is passed on under its own name needs no node.
                Some(name) if name.as_str() == &*output.name && unnamed.remove(&output.value) => name.clone(),
                known => {
                    let made_by_node = known.is_none() && graph.constant(output.value).is_none();
                    let name = this.value_names.unique(&output.name);
                    if made_by_node {
                        this.values.insert(output.value, name.clone());
                    } else {
                        this.copies.push((name.clone(), output.value));
                    }
                    name
                }
            };
            this.outputs.push(described(&name, ty));
        }
        Ok(this)
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<(), ExportError> {
        let name = if node.name.is_empty() { node.op.name() } else { &*node.name };
        match &node.op {
            Op::Input(_) => return Ok(()),
            // Written where it is read first.
            Op::Constant(_) => return Ok(()),
            _ => {}
        }
        for (index, value) in node.outputs.iter().enumerate() {
            if self.values.contains_key(value) {
                continue;
            }
            let name = if index == 0 {
                self.value_names.unique(name)
            } else {
                self.value_names.unique(&format!("{name}:{index}"))
            };
            self.described.push(described(&name, self.graph.ty(*value)?));
            self.values.insert(*value, name);
        }
        let outputs = node.outputs.iter().map(|value| self.value(*value)).collect::<Result<Vec<_>, _>>()?;
        let doc = provenance(node);
        let first = self.nodes.len();
        ops::write(self, id, node, name, outputs)?;
        for written in &mut self.nodes[first..] {
            written.doc_string.clone_from(&doc);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ModelProto, ExportError> {
        for (name, value) in std::mem::take(&mut self.copies) {
            let form = Form { op: "Identity", inputs: vec![self.value(value)?], attributes: Vec::new() };
            let node_name = format!("{name}_output");
            self.push(&node_name, form, vec![name]);
        }
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) };
        // The version of the file format that came with the opset.
        let ir_version = if self.opset >= 19 { 9 } else { 8 };
        let graph = GraphProto {
            name: Some(self.graph.name().to_string()),
            node: self.nodes,
            initializer: self.initializers,
            input: self.inputs,
            output: self.outputs,
            value_info: self.described,
            ..GraphProto::default()
        };
        Ok(ModelProto {
            ir_version: Some(ir_version),
            opset_import: vec![opset],
            producer_name: Some("incept".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(graph),
            ..ModelProto::default()
        })
    }

    /// The names of what a node reads.
    fn inputs(&mut self, id: NodeId) -> Result<Vec<String>, ExportError> {
        self.graph.node_inputs(id).into_iter().map(|value| self.value(value)).collect()
    }

    /// The name of a value. A constant is written when it is asked for first.
    fn value(&mut self, value: ValueId) -> Result<String, ExportError> {
        if let Some(name) = self.values.get(&value) {
            return Ok(name.clone());
        }
        let tensor = self.graph.constant(value).ok_or(GraphError::NoValue(value))?;
        let (_, node) = self.graph.producer(value)?;
        let wanted = if node.name.is_empty() { "constant" } else { &*node.name };
        let name = self.initializer(wanted, tensor);
        self.values.insert(value, name.clone());
        Ok(name)
    }

    /// Adds a node.
    fn push(&mut self, name: &str, form: Form, outputs: Vec<String>) {
        let Form { op, mut inputs, attributes } = form;
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        self.nodes.push(NodeProto {
            input: inputs,
            output: outputs,
            name: Some(self.node_names.unique(name)),
            op_type: Some(op.to_owned()),
            attribute: attributes,
            ..NodeProto::default()
        });
    }

    /// Adds a constant and gives the name it got. Its bytes are shared until the file is written.
    fn initializer(&mut self, name: &str, tensor: &Tensor) -> String {
        let name = self.value_names.unique(name);
        self.initializers.push(TensorProto {
            dims: tensor.sizes().iter().map(|size| int(*size)).collect(),
            data_type: Some(data_type(tensor.dtype()) as i32),
            name: Some(name.clone()),
            raw_data: Some(tensor.bytes().clone()),
            ..TensorProto::default()
        });
        name
    }

    /// Adds a list of integers, as axes and shapes are given.
    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let name = self.value_names.unique(name);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializers.push(TensorProto {
            dims: vec![int(values.len())],
            data_type: Some(DataType::Int64 as i32),
            name: Some(name.clone()),
            raw_data: Some(Bytes::from(bytes)),
            ..TensorProto::default()
        });
        name
    }

    /// Says that the nodes written so far need this opset.
    fn needs(&mut self, opset: i64) {
        self.opset = self.opset.max(opset);
    }
}

/// What a node stands for, where that is more than itself.
fn provenance(node: &Node) -> Option<String> {
    if matches!(&node.provenance[..], [only] if *only == node.name) || node.provenance.is_empty() {
        return None;
    }
    Some(format!("from {}", node.provenance.join(", ")))
}

/// A value's name and type, as viewers and other engines read it.
fn described(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(size) => dimension::Value::DimValue(int(*size)),
            open @ Dim::Batch(_) => dimension::Value::DimParam(open.to_string()),
        }),
    };
    let shape = TensorShapeProto { dim: ty.shape.dims().iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(data_type(ty.dtype) as i32), shape: Some(shape) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)) }),
    }
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F64 => DataType::Double,
        DType::F16 => DataType::Float16,
        DType::I64 => DataType::Int64,
        DType::I32 => DataType::Int32,
        DType::U8 => DataType::Uint8,
        DType::Bool => DataType::Bool,
    }
}

/// A size as ONNX stores it. Sizes are bounded far below 2⁶³.
fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
