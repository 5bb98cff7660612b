//! Who makes which value, who reads it, and an order to import the nodes in.
//!
//! ONNX links nodes by names and wants them sorted. This accepts any order without a cycle, and keeps the file's order
//! wherever that is one.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::error::ImportError;
use super::near::near;
use crate::frontend::onnx::proto::{NodeProto, ValueInfoProto};

/// What makes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    Input(usize),
    Initializer(usize),
    Node(usize),
}

/// The values of a graph by name. Everything borrows the model.
#[derive(Debug)]
pub(super) struct Names<'a> {
    makers: FxHashMap<&'a str, Maker>,
    /// The names that a node or the caller reads.
    read: FxHashSet<&'a str>,
    /// A name for each node: its own, or one made from its output; no two are the same.
    pub(super) nodes: Vec<Cow<'a, str>>,
}

/// An operator's type for messages.
pub(super) fn op_type(node: &NodeProto) -> &str {
    node.op_type.as_deref().unwrap_or_default()
}

/// A value's name; a name that is left out is the empty one.
pub(super) fn value_name(value: &ValueInfoProto) -> &str {
    value.name.as_deref().unwrap_or_default()
}

/// The inputs or outputs that are not left out.
fn present(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// A name for each node: its own, or its first output's, or its operator's; made unique by a number.
pub(super) fn node_names(nodes: &[NodeProto]) -> Vec<Cow<'_, str>> {
    let mut used: FxHashSet<Cow<'_, str>> = FxHashSet::default();
    let mut next: FxHashMap<&str, usize> = FxHashMap::default();
    let mut names = Vec::with_capacity(nodes.len());
    for node in nodes {
        let own = node.name.as_deref().filter(|name| !name.is_empty());
        let base = own.or_else(|| present(&node.output).next()).unwrap_or_else(|| op_type(node));
        let mut name = Cow::Borrowed(base);
        while used.contains(&name) {
            let number = next.entry(base).or_insert(1);
            *number += 1;
            name = Cow::Owned(format!("{base}_{number}"));
        }
        used.insert(name.clone());
        names.push(name);
    }
    names
}

impl<'a> Names<'a> {
    /// Collects all definitions and checks all uses.
    ///
    /// # Errors
    /// Where a name is defined twice, or read and not defined.
    pub(super) fn new(
        inputs: &'a [ValueInfoProto],
        initializers: &[&'a str],
        nodes: &'a [NodeProto],
        outputs: &'a [ValueInfoProto],
    ) -> Result<Self, ImportError> {
        let mut names = Self { makers: FxHashMap::default(), read: FxHashSet::default(), nodes: node_names(nodes) };
        for (index, name) in initializers.iter().enumerate() {
            names.define(name, Maker::Initializer(index))?;
        }
        for (index, input) in inputs.iter().enumerate() {
            names.define(value_name(input), Maker::Input(index))?;
        }
        for (index, node) in nodes.iter().enumerate() {
            for output in present(&node.output) {
                names.define(output, Maker::Node(index))?;
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            for name in present(&node.input) {
                if names.maker(name).is_none() {
                    let (op, near) = (op_type(node).to_owned(), names.near(name));
                    let node = names.nodes[index].to_string();
                    return Err(ImportError::Undefined { node, op, name: name.to_owned(), near });
                }
                names.read.insert(name);
            }
        }
        if outputs.is_empty() {
            return Err(ImportError::NoOutputs);
        }
        let mut seen = FxHashSet::default();
        for name in outputs.iter().map(value_name) {
            if names.maker(name).is_none() {
                return Err(ImportError::UndefinedOutput { name: name.to_owned(), near: names.near(name) });
            }
            if !seen.insert(name) {
                return Err(ImportError::Output { name: name.to_owned(), cause: "it is listed twice".into() });
            }
            names.read.insert(name);
        }
        Ok(names)
    }

    fn define(&mut self, name: &'a str, maker: Maker) -> Result<(), ImportError> {
        // Up to version 3 of the format, an initializer is listed as an input too; later that is a default value.
        if let (Maker::Input(_), Some(Maker::Initializer(_))) = (maker, self.maker(name)) {
            return Ok(());
        }
        match self.makers.insert(name, maker) {
            None => Ok(()),
            Some(first) => Err(ImportError::Duplicate {
                name: name.to_owned(),
                first: self.describe(first),
                second: self.describe(maker),
            }),
        }
    }

    fn describe(&self, maker: Maker) -> String {
        match maker {
            Maker::Input(_) => "a graph input".into(),
            Maker::Initializer(_) => "an initializer".into(),
            Maker::Node(index) => format!("node `{}`", self.nodes[index]),
        }
    }

    fn near(&self, name: &str) -> Vec<String> {
        near(name, self.makers.keys().copied())
    }

    pub(super) fn maker(&self, name: &str) -> Option<Maker> {
        self.makers.get(name).copied()
    }

    /// Whether a node or the caller reads this value.
    pub(super) fn is_read(&self, name: &str) -> bool {
        self.read.contains(name)
    }

    /// An order in which each node comes after those that it reads; among ready nodes, the file's order.
    ///
    /// # Errors
    /// Where there is a cycle; names its nodes.
    pub(super) fn order(&self, nodes: &[NodeProto]) -> Result<Vec<usize>, ImportError> {
        let before = |index: usize| {
            present(&nodes[index].input).filter_map(|name| match self.maker(name) {
                Some(Maker::Node(maker)) => Some(maker),
                _ => None,
            })
        };
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        let mut missing = vec![0usize; nodes.len()];
        for (index, missing) in missing.iter_mut().enumerate() {
            for maker in before(index) {
                readers[maker].push(index);
                *missing += 1;
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..nodes.len()).filter(|index| missing[*index] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(Reverse(index)) = ready.pop() {
            order.push(index);
            for reader in &readers[index] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.push(Reverse(*reader));
                }
            }
        }
        if order.len() == nodes.len() {
            return Ok(order);
        }
        // Every node that is still missing an input reads another such node: walking backwards must come round.
        let mut path: Vec<usize> = Vec::new();
        let mut position: FxHashMap<usize, usize> = FxHashMap::default();
        let mut at = missing.iter().position(|count| *count > 0);
        while let Some(index) = at {
            if let Some(first) = position.insert(index, path.len()) {
                path.drain(..first);
                break;
            }
            path.push(index);
            at = before(index).find(|maker| missing[*maker] > 0);
        }
        let mut cycle: Vec<String> = path.iter().rev().map(|index| self.nodes[*index].to_string()).collect();
        cycle.extend(cycle.first().cloned());
        Err(ImportError::Cycle(cycle))
    }
}
