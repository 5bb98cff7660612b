//! A graph as Graphviz DOT, for people.
//!
//! Constants are lines of the label of the node that reads them, not nodes of their own, unless the caller gets one as an
//! output. Nodes whose source names share their first part (`inception3a.branch1…`) lie in one cluster.

use std::fmt::Write;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::print::put_attribute;
use crate::graph::{Graph, Node};
use crate::ids::NodeId;
use crate::ops::Op;

/// The graph in the DOT language.
#[must_use]
pub fn print(graph: &Graph) -> String {
    let mut out = String::from("digraph ");
    quote(&mut out, graph.name());
    out.push_str(" {\n  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=10];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=8];\n");
    let order = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    let drawn: Vec<(NodeId, &Node)> = order
        .into_iter()
        .filter_map(|id| Some((id, graph.node(id).ok()?)))
        .filter(|(_, node)| !matches!(node.op, Op::Constant(_)) || node.outputs.iter().any(|out| graph.is_output(*out)))
        .collect();
    for (cluster, (prefix, nodes)) in clusters(&drawn).iter().enumerate() {
        let clustered = prefix.is_some();
        if let Some(prefix) = prefix {
            put(&mut out, format_args!("  subgraph cluster_{cluster} {{\n    label="));
            quote(&mut out, prefix);
            out.push_str("; color=gray; fontname=\"sans-serif\"; fontsize=10;\n");
        }
        for (id, node) in nodes {
            put(&mut out, format_args!("  {}{id} [label=", if clustered { "  " } else { "" }));
            quote(&mut out, &label(graph, *id, node));
            out.push_str(match node.op {
                Op::Input(_) => ", shape=ellipse];\n",
                _ => "];\n",
            });
        }
        if clustered {
            out.push_str("  }\n");
        }
    }
    for (id, _) in &drawn {
        for value in graph.node_inputs(*id) {
            if graph.constant(value).is_some() && !graph.is_output(value) {
                continue;
            }
            if let Ok(found) = graph.value(value) {
                put(&mut out, format_args!("  {} -> {id} [label=", found.producer));
                quote(&mut out, &format!("{value} {}", found.ty));
                out.push_str("];\n");
            }
        }
    }
    for (index, output) in graph.outputs().iter().enumerate() {
        put(&mut out, format_args!("  out{index} [shape=ellipse, label="));
        quote(&mut out, &format!("output {}", output.name));
        out.push_str("];\n");
        if let Ok(found) = graph.value(output.value) {
            put(&mut out, format_args!("  {} -> out{index} [label=", found.producer));
            quote(&mut out, &format!("{} {}", output.value, found.ty));
            out.push_str("];\n");
        }
    }
    out.push_str("}\n");
    out
}

/// The name of a cluster, none where a node stands alone, and its nodes.
type Cluster<'a> = (Option<Arc<str>>, Vec<(NodeId, &'a Node)>);

/// Nodes by cluster, in the order of their first node; those without one each stand alone.
fn clusters<'a>(drawn: &[(NodeId, &'a Node)]) -> Vec<Cluster<'a>> {
    let mut sizes: FxHashMap<&str, usize> = FxHashMap::default();
    for (_, node) in drawn {
        *sizes.entry(prefix(node)).or_default() += 1;
    }
    let mut found: Vec<Cluster<'a>> = Vec::new();
    let mut places: FxHashMap<&str, usize> = FxHashMap::default();
    for (id, node) in drawn {
        let prefix = prefix(node);
        let size = sizes.get(prefix).copied().unwrap_or(0);
        let cluster = !prefix.is_empty() && size > 1 && size < drawn.len();
        match places.get(prefix) {
            Some(place) if cluster => found[*place].1.push((*id, node)),
            _ => {
                places.insert(prefix, found.len());
                found.push((cluster.then(|| prefix.into()), vec![(*id, node)]));
            }
        }
    }
    found
}

/// The first part of the name of a node's first source node: `inception3a` of `inception3a.branch1` or of
/// `/inception3a/conv`; empty where the name has one part only.
fn prefix(node: &Node) -> &str {
    let name = node.provenance.first().unwrap_or(&node.name).trim_start_matches('/');
    name.split_once(['.', '/']).map_or("", |(first, _)| first)
}

fn label(graph: &Graph, id: NodeId, node: &Node) -> String {
    let mut label = format!("{}\n{}", node.name, node.op.name());
    if !matches!(node.op, Op::Input(_)) {
        for (name, value) in node.op.attributes() {
            put(&mut label, format_args!("\n{name}="));
            put_attribute(&mut label, &value);
        }
    }
    for value in graph.node_inputs(id) {
        if let (Ok((_, producer)), Some(tensor)) = (graph.producer(value), graph.constant(value)) {
            put(&mut label, format_args!("\n{} {}", producer.name, tensor.ty()));
        }
    }
    label
}

/// Writes a DOT string. Only the quote and the backslash are special; a new line becomes a centred one.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for found in text.chars() {
        match found {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            found if found.is_control() => out.extend(found.escape_default().flat_map(|part| match part {
                '\\' => vec!['\\', '\\'],
                part => vec![part],
            })),
            found => out.push(found),
        }
    }
    out.push('"');
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a string never fails");
}
