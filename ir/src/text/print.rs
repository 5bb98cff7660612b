//! A graph as text.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use super::lex::quote;
use super::literal::{write_f32, write_values};
use crate::graph::{Graph, Node};
use crate::ids::{NodeId, ValueId};
use crate::ops::{Attribute, Op};

/// How the values of constants are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Constants {
    /// All of them: the text parses back.
    Full,
    /// Only their hash, whatever their size.
    #[default]
    Elided,
}

/// How a graph is printed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrintOptions {
    /// The values of constants.
    pub constants: Constants,
}

/// The graph as text; see [`super`]. Nodes stand in an order in which they can run, the lowest ids first.
///
/// A graph with a cycle, which no function of [`Graph`] makes, is printed in the order of ids.
#[must_use]
pub fn print(graph: &Graph, options: &PrintOptions) -> String {
    let mut out = String::from("graph ");
    quote(&mut out, graph.name());
    out.push_str(" stage ");
    out.push_str(graph.stage().name());
    out.push_str(" {\n");
    for id in graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect()) {
        if let Ok(node) = graph.node(id) {
            print_node(&mut out, graph, id, node, options);
        }
    }
    for output in graph.outputs() {
        out.push_str("  output ");
        quote(&mut out, &output.name);
        put(&mut out, format_args!(" = {}\n", output.value));
    }
    out.push_str("}\n");
    out
}

/// One statement, as in the whole print, for messages and diffs.
fn print_node(out: &mut String, graph: &Graph, id: NodeId, node: &Node, options: &PrintOptions) {
    out.push_str("  ");
    match &node.op {
        Op::Input(_) => out.push_str("input "),
        Op::Constant(_) => out.push_str("constant "),
        _ => {}
    }
    put_list(out, node.outputs.iter());
    out.push(' ');
    quote(out, &node.name);
    match &node.op {
        Op::Input(input) => put(out, format_args!(": {}", input.ty)),
        Op::Constant(constant) => {
            put(out, format_args!(": {} = ", constant.tensor.ty()));
            match options.constants {
                Constants::Full => write_values(out, &constant.tensor),
                Constants::Elided => put(out, format_args!("elided({:016x})", xxh3_64(constant.tensor.bytes()))),
            }
        }
        op => {
            put(out, format_args!(" = {}(", op.name()));
            put_list(out, graph.node_inputs(id).iter());
            out.push(')');
            put_attributes(out, op);
            out.push_str(" : ");
            for (index, value) in node.outputs.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                match graph.ty(*value) {
                    Ok(ty) => put(out, format_args!("{ty}")),
                    Err(error) => put(out, format_args!("<{error}>")),
                }
            }
        }
    }
    if !matches!(&node.provenance[..], [only] if *only == node.name) {
        out.push_str(" from ");
        if node.provenance.is_empty() {
            out.push_str("nothing");
        }
        for (index, name) in node.provenance.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            quote(out, name);
        }
    }
    out.push('\n');
}

fn put_attributes(out: &mut String, op: &Op) {
    let attributes = op.attributes();
    for (index, (name, value)) in attributes.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { " {" });
        out.push_str(name);
        out.push('=');
        put_attribute(out, value);
    }
    if !attributes.is_empty() {
        out.push('}');
    }
}

/// An attribute's value, as the parser reads it.
#[must_use]
pub fn attribute_text(value: &Attribute) -> String {
    let mut text = String::new();
    put_attribute(&mut text, value);
    text
}

/// An attribute's value, as the parser reads it.
pub fn put_attribute(out: &mut String, value: &Attribute) {
    match value {
        Attribute::Int(value) => put(out, format_args!("{value}")),
        Attribute::Float(value) => {
            let written = write_f32(out, *value);
            debug_assert!(written.is_ok(), "writing to a string never fails");
        }
        Attribute::Ints(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                put(out, format_args!("{}{value}", if index > 0 { "," } else { "" }));
            }
            out.push(']');
        }
        Attribute::Word(word) => out.push_str(word),
    }
}

fn put_list<'a>(out: &mut String, values: impl Iterator<Item = &'a ValueId>) {
    for (index, value) in values.enumerate() {
        put(out, format_args!("{}{value}", if index > 0 { ", " } else { "" }));
    }
}

fn put(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a string never fails");
}
