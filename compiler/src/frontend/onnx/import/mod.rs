//! The importer: bytes to graph.
//!
//! | module | what lives there |
//! |---|---|
//! | `table` | the operators, a line each |
//! | `ops/` | the importers that the table names |
//! | `context`, `attributes` | what an importer sees of its node |
//! | `names` | definitions, uses, order |
//! | `draft` | the graph while it grows; evaluates constants where importers need them |
//! | `tensor` | initializers and tensor attributes |
//! | `error` | what can be wrong |
//!
//! Invariants: nothing panics on any bytes; nothing recurses over the graph (protobuf messages nest at most 100 deep, and
//! subgraphs are refused); every message names what it is about as the file does.

mod attributes;
mod context;
mod draft;
mod error;
mod names;
mod near;
mod ops;
mod table;
mod tensor;

use bytes::Bytes;
pub use error::{ImportError, NodeError, TensorProblem, UnsupportedOp};
use incept_ir::graph::Graph;
use incept_ir::tensor::Tensor;
use incept_ir::types::{Dim, MAX_RANK, Shape, TensorType};
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
pub use table::operators;
pub use tensor::read_tensor;

use self::attributes::Attributes;
use self::context::NodeContext;
use self::draft::{Draft, ItemId};
use self::names::{Maker, Names, node_names, op_type, value_name};
use super::proto::tensor_shape_proto::dimension;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

/// The oldest opset that is supported: ONNX's own collection of test models uses it.
pub const MIN_OPSET: i64 = 6;

/// The newest opset that is supported: from 22 to it, the operators of the table only gained element types.
pub const MAX_OPSET: i64 = 25;

/// How many nodes of one unsupported operator are named.
const NAMED_NODES: usize = 3;

/// Imports a model. Raw weights share `bytes`: they are not copied.
///
/// The first dimension of an input may be symbolic (a name, or nothing): that is the batch size. Every value of the graph
/// is typed. Nodes that nothing reads are kept; constants that only gave shapes, axes or bounds are not.
///
/// `name` becomes the graph's name.
///
/// # Errors
/// Where the bytes are no valid model, or one that is not supported; [`ImportError::help`] says what would help.
pub fn import(bytes: Bytes, name: &str) -> Result<Graph, ImportError> {
    let mut model = ModelProto::decode(bytes)?;
    let Some(graph) = model.graph.take() else { return Err(ImportError::NoGraph) };
    let opset = opset(&model)?;
    refuse_unsupported(&model, &graph, opset)?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().and_then(|values| values.name.clone()).unwrap_or_default();
        return Err(ImportError::SparseInitializer { name });
    }
    let GraphProto { node: nodes, initializer, input: inputs, output: outputs, .. } = graph;
    let initializers = initializer.into_iter().map(read_initializer).collect::<Result<Vec<_>, _>>()?;
    let initializer_names: Vec<&str> = initializers.iter().map(|(name, _)| name.as_str()).collect();
    let names = Names::new(&inputs, &initializer_names, &nodes, &outputs)?;
    let order = names.order(&nodes)?;

    let mut draft = Draft::default();
    let mut items: FxHashMap<&str, ItemId> = FxHashMap::default();
    import_inputs(&inputs, &names, &mut draft, &mut items)?;
    for (name, tensor) in &initializers {
        items.insert(name, draft.constant(name, tensor.clone()));
    }
    for index in order {
        let node = &nodes[index];
        let failed = |cause| ImportError::Node {
            node: names.nodes[index].to_string(),
            op: op_type(node).to_owned(),
            cause: Box::new(cause),
        };
        let item = import_node(node, &names.nodes[index], opset, &names, &mut draft, &items).map_err(failed)?;
        if let Some(output) = node.output.first().filter(|output| !output.is_empty()) {
            items.insert(output, item);
        }
    }
    let outputs = outputs.iter().map(|output| export(output, &items, &draft)).collect::<Result<Vec<_>, _>>()?;
    let graph = draft.finish(name, &outputs)?;
    Ok(graph)
}

/// The version of ONNX's own operators.
fn opset(model: &ModelProto) -> Result<i64, ImportError> {
    let own = |domain: &Option<String>| table::is_own_domain(domain.as_deref().unwrap_or_default());
    let import = model.opset_import.iter().find(|import| own(&import.domain)).ok_or(ImportError::NoOpset)?;
    let version = import.version.unwrap_or(0);
    if (MIN_OPSET..=MAX_OPSET).contains(&version) { Ok(version) } else { Err(ImportError::Opset { version }) }
}

/// Lists all operators that are not supported, before anything else is looked at.
fn refuse_unsupported(model: &ModelProto, graph: &GraphProto, opset: i64) -> Result<(), ImportError> {
    let functions: FxHashSet<(&str, &str)> = model
        .functions
        .iter()
        .map(|function| (function.domain.as_deref().unwrap_or_default(), function.name.as_deref().unwrap_or_default()))
        .collect();
    let mut places: FxHashMap<(&str, &str), usize> = FxHashMap::default();
    let mut found: Vec<UnsupportedOp> = Vec::new();
    let mut node_names_of: Option<Vec<_>> = None;
    for (index, node) in graph.node.iter().enumerate() {
        let domain = node.domain.as_deref().unwrap_or_default();
        let key = (domain, op_type(node));
        let is_function = functions.contains(&key);
        if table::is_own_domain(domain) && !is_function && table::find(key.1, opset).is_some() {
            continue;
        }
        let names = node_names_of.get_or_insert_with(|| node_names(&graph.node));
        let place = *places.entry(key).or_insert_with(|| {
            found.push(table::unsupported(domain, key.1, opset, is_function));
            found.len() - 1
        });
        found[place].count += 1;
        if found[place].nodes.len() < NAMED_NODES {
            found[place].nodes.push(names[index].to_string());
        }
    }
    if found.is_empty() { Ok(()) } else { Err(ImportError::UnsupportedOps(found)) }
}

fn read_initializer(mut tensor: TensorProto) -> Result<(String, Tensor), ImportError> {
    let name = tensor.name.take().unwrap_or_default();
    match tensor::read(tensor) {
        Ok(value) => Ok((name, value)),
        Err(cause) => Err(ImportError::Initializer { name, cause: Box::new(cause) }),
    }
}

fn import_inputs<'a>(
    inputs: &'a [ValueInfoProto],
    names: &Names<'_>,
    draft: &mut Draft,
    items: &mut FxHashMap<&'a str, ItemId>,
) -> Result<(), ImportError> {
    let mut batch: Option<(&str, &str)> = None;
    for (index, input) in inputs.iter().enumerate() {
        let name = value_name(input);
        if names.maker(name) != Some(Maker::Input(index)) {
            continue;
        }
        let failed =
            |(cause, help): (String, &str)| ImportError::Input { name: name.to_owned(), cause, help: help.to_owned() };
        let (ty, symbol) = input_type(input).map_err(failed)?;
        match (batch, symbol) {
            (None, Some(symbol)) => batch = Some((symbol, name)),
            (Some((first, of)), Some(symbol)) if first != symbol => {
                let cause = format!("its batch size is `{symbol}`, but that of input `{of}` is `{first}`");
                return Err(failed((cause, "one batch size serves all inputs: give them the same name")));
            }
            _ => {}
        }
        items.insert(name, draft.input(name, ty));
    }
    Ok(())
}

/// An input's type, and the name of its batch size where it has one.
fn input_type(input: &ValueInfoProto) -> Result<(TensorType, Option<&str>), (String, &'static str)> {
    let tensor = match input.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        Some(_) => return Err(("it is not a tensor".into(), "models take and give dense tensors")),
        None => return Err(("it has no type".into(), "export the model with typed inputs")),
    };
    let dtype = tensor::dtype(tensor.elem_type.unwrap_or(0))
        .map_err(|problem| (problem.to_string(), "export the model in f32, without quantisation"))?;
    let Some(shape) = &tensor.shape else {
        return Err(("its shape is not given".into(), "export the model with fixed shapes"));
    };
    if shape.dim.len() > MAX_RANK {
        return Err((TensorProblem::Rank(shape.dim.len()).to_string(), ""));
    }
    let mut dims: SmallVec<[Dim; 4]> = SmallVec::new();
    let mut symbol = None;
    for (axis, dim) in shape.dim.iter().enumerate() {
        let name = match &dim.value {
            Some(dimension::Value::DimValue(size)) => match usize::try_from(*size) {
                Ok(size) if size > 0 => {
                    dims.push(Dim::Fixed(size));
                    continue;
                }
                _ => {
                    let help = "a size that is open is given a name (dim_param), and only the batch may be";
                    return Err((format!("its dimension {axis} is {size}"), help));
                }
            },
            Some(dimension::Value::DimParam(name)) => name.as_str(),
            None => "",
        };
        if axis > 0 {
            let open = if name.is_empty() { "open".into() } else { format!("symbolic (`{name}`)") };
            let help = "only the first dimension, the batch, may be open: export the model with fixed image sizes";
            return Err((format!("its dimension {axis} is {open}"), help));
        }
        symbol = (!name.is_empty()).then_some(name);
        dims.push(Dim::Batch(1));
    }
    let shape = Shape::new(&dims);
    if shape.elements().is_none() {
        return Err((format!("its shape {shape} is too large"), ""));
    }
    Ok((TensorType::new(dtype, shape), symbol))
}

fn import_node(
    node: &NodeProto,
    name: &str,
    opset: i64,
    names: &Names<'_>,
    draft: &mut Draft,
    items: &FxHashMap<&str, ItemId>,
) -> Result<ItemId, NodeError> {
    let mut inputs = SmallVec::new();
    for (slot, input) in node.input.iter().enumerate() {
        inputs.push(match input.as_str() {
            "" => None,
            // Only a secondary output of another node has no item, and those are refused where they are read.
            input => Some(*items.get(input).ok_or(NodeError::MissingInput { slot })?),
        });
    }
    for (index, output) in node.output.iter().enumerate().skip(1) {
        if names.is_read(output) {
            return Err(NodeError::OutputUsed { index, name: output.clone() });
        }
    }
    let Some(line) = table::find(op_type(node), opset) else {
        return Err(table::refuse("the operator", ""));
    };
    let attributes = Attributes::new(&node.attribute);
    let mut context = NodeContext { draft, name, opset, names: &node.input, inputs, attributes };
    let item = (line.import)(&mut context)?;
    context.attributes.finish(opset)?;
    Ok(item)
}

/// A graph output's item, checked against the type that the file declares.
fn export<'a>(
    output: &'a ValueInfoProto,
    items: &FxHashMap<&str, ItemId>,
    draft: &Draft,
) -> Result<(&'a str, ItemId), ImportError> {
    let name = value_name(output);
    let failed = |cause: String| ImportError::Output { name: name.to_owned(), cause };
    let id = *items.get(name).ok_or_else(|| failed("nothing computes it".into()))?;
    if draft.batch_counts(id).is_some() {
        return Err(failed("it is a shape that depends on the batch size".into()));
    }
    if let Some(type_proto::Value::TensorType(declared)) = output.r#type.as_ref().and_then(|ty| ty.value.as_ref())
        && let Ok(dtype) = tensor::dtype(declared.elem_type.unwrap_or(0))
        && dtype != draft.ty(id).dtype
    {
        return Err(failed(format!("it is declared as {dtype}, but its value is {}", draft.ty(id))));
    }
    Ok((name, id))
}
