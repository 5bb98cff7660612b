//! A graph as JSON, for other programs. Constants are described, not written out.

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::graph::{Graph, Node};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Attribute, Op};

/// The `schema` number. Keys may be added within one schema, not changed or removed.
pub const SCHEMA: u32 = 1;

/// The graph as a JSON object:
///
/// ```text
/// {"schema": 1, "name", "stage",
///  "inputs":  [{"name", "value", "type"}],
///  "outputs": [{"name", "value", "type"}],
///  "nodes":   [{"id", "name", "op", "inputs": ["%0"], "outputs": [{"value", "type"}],
///               "attributes": {}, "provenance": ["conv1"],
///               "constant": {"bytes", "xxh3"}}]}
/// ```
///
/// Nodes stand in an order in which they can run; only those of op `constant` have the key `constant`. Types are strings
/// such as `f32[N,3,224,224]`. Floats that JSON lacks (infinities, NaN) are strings.
#[must_use]
pub fn print(graph: &Graph) -> Value {
    let end =
        |name: &str, value: Option<ValueId>| json!({"name": name, "value": text(value), "type": ty(graph, value)});
    let inputs: Vec<Value> = graph
        .inputs()
        .iter()
        .filter_map(|id| graph.node(*id).ok())
        .map(|node| end(&node.name, node.outputs.first().copied()))
        .collect();
    let outputs: Vec<Value> = graph.outputs().iter().map(|output| end(&output.name, Some(output.value))).collect();
    let order = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    let nodes: Vec<Value> =
        order.into_iter().filter_map(|id| Some(print_node(graph, id, graph.node(id).ok()?))).collect();
    json!({
        "schema": SCHEMA,
        "name": &**graph.name(),
        "stage": graph.stage().name(),
        "inputs": inputs,
        "outputs": outputs,
        "nodes": nodes,
    })
}

fn print_node(graph: &Graph, id: NodeId, node: &Node) -> Value {
    let outputs: Vec<Value> =
        node.outputs.iter().map(|value| json!({"value": value.to_string(), "type": ty(graph, Some(*value))})).collect();
    let attributes: Map<String, Value> =
        node.op.attributes().into_iter().map(|(name, value)| (name, attribute(value))).collect();
    let mut object = json!({
        "id": id.to_string(),
        "name": &*node.name,
        "op": node.op.name(),
        "inputs": graph.node_inputs(id).iter().map(ToString::to_string).collect::<Vec<_>>(),
        "outputs": outputs,
        "attributes": attributes,
        "provenance": node.provenance.iter().map(|name| &**name).collect::<Vec<_>>(),
    });
    if let (Op::Constant(constant), Some(object)) = (&node.op, object.as_object_mut()) {
        let bytes = constant.tensor.bytes();
        let hash = format!("{:016x}", xxh3_64(bytes));
        object.insert("constant".into(), json!({"bytes": bytes.len(), "xxh3": hash}));
    }
    object
}

fn attribute(value: Attribute) -> Value {
    match value {
        Attribute::Int(value) => value.into(),
        Attribute::Float(value) if value.is_finite() => value.into(),
        Attribute::Float(value) => value.to_string().into(),
        Attribute::Ints(values) => values.into(),
        Attribute::Word(word) => match word.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            _ => word.into(),
        },
    }
}

fn text(value: Option<ValueId>) -> Value {
    value.map_or(Value::Null, |value| value.to_string().into())
}

fn ty(graph: &Graph, value: Option<ValueId>) -> Value {
    value.and_then(|value| graph.ty(value).ok()).map_or(Value::Null, |ty| ty.to_string().into())
}
